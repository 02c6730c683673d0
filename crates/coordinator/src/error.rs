use kafka_codec::DecodeError;

/// Why a record of `__consumer_offsets` could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatorError {
    /// Key or value does not have the shape its version number promises.
    #[error("malformed {what} in a coordinator record")]
    Malformed {
        /// `OffsetCommitKey`, `GroupMetadataValue` …
        what: &'static str,
        /// What the decoder found.
        source: DecodeError,
    },
    /// A record that contradicts itself (a member twice, a member without the group's protocol type).
    #[error("inconsistent group record for group {group}: {why}")]
    Inconsistent {
        /// Group id of the record's key.
        group: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A transaction in a state that this version does not know.
    #[error("transactional id {id} is in the unknown state {status}")]
    UnknownTxnState {
        /// Transactional id of the record's key.
        id: String,
        /// The state's number.
        status: i8,
    },
}
