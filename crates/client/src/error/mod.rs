//! What can go wrong in the client, split by what a caller does about it.

mod java_name;

use std::io;
use std::sync::Arc;

use kafka_codec::{ApiKey, ErrorCode};

/// An error that a broker answered, with its own words where it sent any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct BrokerError {
    /// Kafka's error code.
    pub code: ErrorCode,
    /// The broker's message; `None` or empty when it sent only the code.
    pub message: Option<String>,
}

impl BrokerError {
    /// An error with the code alone.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// The broker's message, or Kafka's standard text of the code.
    pub fn text(&self) -> &str {
        match self.message.as_deref() {
            Some(message) if !message.is_empty() => message,
            _ => self.code.message(),
        }
    }

    /// `Ok` for code 0, otherwise the error with the broker's message.
    #[allow(dead_code)] // TEMP
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        match ErrorCode::from_wire(code) {
            ErrorCode::None => Ok(()),
            code => Err(Self { code, message: message.filter(|m| !m.is_empty()).map(str::to_owned) }),
        }
    }
}

/// Why a configuration was refused; the texts are those of Kafka's `ConfigException`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that cannot be parsed or is out of range.
    #[error("Invalid value {value} for configuration {name}{}", if reason.is_empty() { String::new() } else { format!(": {reason}") })]
    Invalid {
        /// Property name.
        name: String,
        /// The value given.
        value: String,
        /// What is wrong with it; may be empty.
        reason: String,
    },
    /// A property that must be given.
    #[error("Missing required configuration \"{0}\" which has no default value.")]
    Missing(String),
    /// Anything else: contradicting properties, bad bootstrap addresses, a feature that is not there.
    #[error("{0}")]
    Message(String),
}

/// Errors of the Kafka client.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A broker refused the request.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answered in time; the text says what was awaited (Kafka's `TimeoutException`).
    #[error("{0}")]
    Timeout(String),
    /// The connection could not be made or broke; the request may or may not have been carried out.
    #[error("connection to {address} failed: {source}")]
    Connection {
        /// `host:port` of the peer.
        address: String,
        /// Cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// The broker speaks no version of the API that this client knows, or not one with the feature asked for.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The peer sent bytes that are not Kafka's protocol, or an answer that contradicts the request.
    #[error("malformed {api:?} response from {address}: {reason}")]
    Protocol {
        /// The request's API.
        api: ApiKey,
        /// `host:port` of the peer.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// A record batch that was fetched is corrupt.
    #[error("Record batch for partition {partition} at offset {offset} is invalid, cause: {reason}")]
    CorruptRecord {
        /// `topic-partition`.
        partition: String,
        /// Base offset of the batch.
        offset: i64,
        /// What was wrong.
        reason: String,
    },
    /// The record cannot fit (Kafka's `RecordTooLargeException`).
    #[error("{0}")]
    RecordTooLarge(String),
    /// The caller asked for something that makes no sense in this state (Kafka's `IllegalStateException`
    /// and `IllegalArgumentException`).
    #[error("{0}")]
    Illegal(String),
    /// `auto.offset.reset=none` and these partitions have no valid position.
    #[error("{0}")]
    NoOffset(String),
    /// The consumer's group membership ended before the commit (Kafka's `CommitFailedException`).
    #[error("{0}")]
    CommitFailed(String),
    /// The producer, consumer or admin client was closed.
    #[error("{0} is closed")]
    Closed(&'static str),
}

impl Error {
    /// The broker's error code, if a broker answered one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker(e) => Some(e.code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker(e) => e.code.is_retriable(),
            Self::Timeout(_) | Self::Connection { .. } => true,
            _ => false,
        }
    }

    /// The fully qualified name of the Java exception that Kafka's own tools print for this error.
    pub fn java_exception(&self) -> String {
        const ERRORS: &str = "org.apache.kafka.common.errors";
        match self {
            Self::Broker(e) => java_name::java_exception(e.code),
            Self::Config(_) => "org.apache.kafka.common.config.ConfigException".to_owned(),
            Self::Timeout(_) => format!("{ERRORS}.TimeoutException"),
            Self::Connection { .. } => format!("{ERRORS}.DisconnectException"),
            Self::UnsupportedVersion(_) => format!("{ERRORS}.UnsupportedVersionException"),
            Self::Protocol { .. } | Self::CorruptRecord { .. } => {
                "org.apache.kafka.common.KafkaException".to_owned()
            }
            Self::RecordTooLarge(_) => format!("{ERRORS}.RecordTooLargeException"),
            Self::Illegal(_) | Self::Closed(_) => "java.lang.IllegalStateException".to_owned(),
            Self::NoOffset(_) => "org.apache.kafka.clients.consumer.NoOffsetForPartitionException".to_owned(),
            Self::CommitFailed(_) => "org.apache.kafka.clients.consumer.CommitFailedException".to_owned(),
        }
    }

    pub(crate) fn broker(code: ErrorCode) -> Self {
        Self::Broker(BrokerError::new(code))
    }

    #[allow(dead_code)] // TEMP
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        BrokerError::check(code, message).map_err(Self::Broker)
    }
}

/// Result of the client's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
