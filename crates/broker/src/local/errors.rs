//! What a failure looks like through the door.

use client::door::DoorError;
use kafka_codec::ErrorCode;
use kafka_codec::records::RecordError;
use log::LogError;
use meta::MetaError;

pub(crate) fn of_log(error: &LogError) -> DoorError {
    match error {
        LogError::NoSpace { .. } => DoorError::Unavailable(error.to_string()),
        LogError::UnknownLog(partition) | LogError::Closed(partition) => {
            DoorError::UnknownTopic(partition.to_string())
        }
        LogError::TooLarge { partition, size, max } => {
            DoorError::TooLarge { topic: partition.topic.to_string(), size: *size, max: *max }
        }
        LogError::Invalid(_)
        | LogError::InvalidBatch { .. }
        | LogError::Batch { .. }
        | LogError::OffsetOutOfRange { .. } => DoorError::Invalid(error.to_string()),
        _ => DoorError::Storage(error.to_string()),
    }
}

pub(crate) fn of_records(error: &RecordError) -> DoorError {
    DoorError::Invalid(error.to_string())
}

pub(crate) fn of_meta(error: &MetaError) -> DoorError {
    match error {
        MetaError::Refused { code: ErrorCode::PolicyViolation, message } => DoorError::Limit(message.clone()),
        MetaError::Refused { message, .. } => DoorError::Invalid(message.clone()),
        MetaError::Log(error) => of_log(error),
        other => DoorError::Storage(other.to_string()),
    }
}
