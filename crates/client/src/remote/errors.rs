//! What a failure of the cluster looks like through the door.

use kafka_codec::ErrorCode;

use crate::door::DoorError;
use crate::error::Error;

/// An error that concerns `topic` (or one of its partitions).
pub(super) fn of_topic(error: &Error, topic: &str) -> DoorError {
    let text = format!("{topic}: {error}");
    match error {
        Error::Timeout(_) | Error::Connection { .. } => DoorError::Unavailable(text),
        Error::RecordTooLarge(_) => DoorError::Limit(text),
        Error::Broker(broker) => of_code(broker.code, topic, text),
        Error::Illegal(_) => DoorError::Invalid(text),
        _ => DoorError::Storage(text),
    }
}

fn of_code(code: ErrorCode, topic: &str, text: String) -> DoorError {
    use ErrorCode as E;
    match code {
        E::UnknownTopicOrPartition | E::UnknownTopicId => DoorError::UnknownTopic(topic.to_owned()),
        E::MessageTooLarge | E::RecordListTooLarge | E::PolicyViolation | E::ThrottlingQuotaExceeded => {
            DoorError::Limit(text)
        }
        E::TopicAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::SaslAuthenticationFailed => DoorError::Unauthorized(text),
        E::InvalidTopicException
        | E::InvalidConfig
        | E::InvalidPartitions
        | E::InvalidReplicationFactor
        | E::InvalidRequest
        | E::InvalidRecord
        | E::InvalidTimestamp
        | E::OffsetOutOfRange => DoorError::Invalid(text),
        E::ProducerFenced | E::InvalidProducerEpoch | E::InvalidProducerIdMapping => DoorError::Fenced(text),
        E::NotEnoughReplicas | E::NotEnoughReplicasAfterAppend => DoorError::Unavailable(text),
        code if code.is_retriable() => DoorError::Unavailable(text),
        _ => DoorError::Storage(text),
    }
}
