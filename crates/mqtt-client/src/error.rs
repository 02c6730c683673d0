//! What can go wrong, split by what a caller does about it.

use std::io;
use std::sync::Arc;

use mqtt_codec::{DecodeError, EncodeError, ReasonCode};

/// Why a connection could not be made or has ended, or why something cannot be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host is not known, nobody listens, or the network failed.
    #[error("{0}")]
    Io(#[from] Arc<io::Error>),
    /// The broker answered CONNECT with a refusal.
    #[error("the broker refuses the connection: {reason}{}", text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Refused {
        /// Its reason; an MQTT 3 return code as the nearest reason of MQTT 5.
        reason: ReasonCode,
        /// Its own words.
        text: Option<String>,
    },
    /// The broker ended the connection and said why (MQTT 5).
    #[error("the broker ended the connection: {reason}{}", text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Disconnected {
        /// Its reason.
        reason: ReasonCode,
        /// Its own words.
        text: Option<String>,
    },
    /// The connection ended without a word.
    #[error("the connection was closed by the broker")]
    Closed,
    /// Nothing came in time: no CONNACK, or no answer to a ping.
    #[error("the broker does not answer")]
    Silent,
    /// What came is not MQTT, or not allowed now.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// What was to be sent is not valid, or larger than the broker takes.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether trying again as the same client cannot help: wrong credentials, a client id that is refused, or that
    /// somebody else uses now.
    pub fn is_final(&self) -> bool {
        use ReasonCode as R;
        match self {
            Self::Refused { reason, .. } => matches!(
                reason,
                R::BadUserNameOrPassword
                    | R::NotAuthorized
                    | R::ClientIdentifierNotValid
                    | R::Banned
                    | R::BadAuthenticationMethod
            ),
            Self::Disconnected { reason, .. } => matches!(reason, R::SessionTakenOver | R::NotAuthorized),
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        Self::Invalid(error.to_string())
    }
}
