//! Which Kafka error a failure is.

use kafka_codec::ErrorCode;
use kafka_codec::records::RecordError;
use log::LogError;

/// The code for a failure of a log.
pub(crate) fn of_log(error: &LogError) -> ErrorCode {
    match error {
        LogError::UnknownLog(_) => ErrorCode::UnknownTopicOrPartition,
        // Deleted, or the broker stops: the client looks for the leader anew.
        LogError::Closed(_) => ErrorCode::NotLeaderOrFollower,
        LogError::InvalidBatch { .. } => ErrorCode::InvalidRecord,
        LogError::Batch { source, .. } => of_records(source),
        LogError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        LogError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        LogError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        LogError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        LogError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        LogError::Invalid(_) => ErrorCode::InvalidRequest,
        _ => ErrorCode::KafkaStorageError,
    }
}

/// The code for a batch that may not be stored.
pub(crate) fn of_records(error: &RecordError) -> ErrorCode {
    match error {
        // Kafka 4 has no down-conversion to talk about: old formats are simply not valid.
        RecordError::OldMagic(_) => ErrorCode::InvalidRecord,
        other => other.error_code(),
    }
}
