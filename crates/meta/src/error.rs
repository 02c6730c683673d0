use kafka_codec::{DecodeError, EncodeError, ErrorCode};

/// Why the cluster state cannot be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// A request that cannot be granted; nothing changed. Code and words are those that the client gets.
    #[error("{message}")]
    Refused {
        /// Kafka's code.
        code: ErrorCode,
        /// What to tell the client.
        message: String,
    },
    /// The metadata log does not say what this version understands.
    #[error("metadata log at offset {offset}: {reason}")]
    BadLog {
        /// Offset of the record.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The metadata log failed.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// A record could not be written down.
    #[error("metadata record: {0}")]
    Encode(#[from] EncodeError),
    /// A record's bytes are not one.
    #[error("metadata record: {0}")]
    Decode(#[from] DecodeError),
    /// `meta.properties` contradicts the configuration or cannot be read.
    #[error("{file}: {reason}")]
    Properties {
        /// Path of the file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl MetaError {
    /// A refusal with Kafka's code and words.
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// The code and words that a client gets.
    pub fn to_client(&self) -> (ErrorCode, String) {
        match self {
            Self::Refused { code, message } => (*code, message.clone()),
            Self::Log(_) => (ErrorCode::KafkaStorageError, self.to_string()),
            _ => (ErrorCode::UnknownServerError, self.to_string()),
        }
    }
}
