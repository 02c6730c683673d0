//! The Java exceptions of Kafka's error codes, as Kafka's tools print them.

use kafka_codec::ErrorCode;

/// Names that do not follow from the code's constant name.
const IRREGULAR: &[(ErrorCode, &str)] = &[
    (ErrorCode::UnknownServerError, "UnknownServerException"),
    (ErrorCode::CorruptMessage, "CorruptRecordException"),
    (ErrorCode::RequestTimedOut, "TimeoutException"),
    (ErrorCode::MessageTooLarge, "RecordTooLargeException"),
    (ErrorCode::StaleControllerEpoch, "ControllerMovedException"),
    (ErrorCode::OffsetMetadataTooLarge, "OffsetMetadataTooLarge"),
    (ErrorCode::NetworkException, "NetworkException"),
    (ErrorCode::InvalidTopicException, "InvalidTopicException"),
    (ErrorCode::RecordListTooLarge, "RecordBatchTooLargeException"),
    (ErrorCode::TopicAuthorizationFailed, "TopicAuthorizationException"),
    (ErrorCode::GroupAuthorizationFailed, "GroupAuthorizationException"),
    (ErrorCode::ClusterAuthorizationFailed, "ClusterAuthorizationException"),
    (ErrorCode::TopicAlreadyExists, "TopicExistsException"),
    (ErrorCode::InvalidConfig, "InvalidConfigurationException"),
    (ErrorCode::OutOfOrderSequenceNumber, "OutOfOrderSequenceException"),
    (ErrorCode::DuplicateSequenceNumber, "DuplicateSequenceException"),
    (ErrorCode::InvalidProducerIdMapping, "InvalidPidMappingException"),
    (ErrorCode::InvalidTransactionTimeout, "InvalidTxnTimeoutException"),
    (ErrorCode::TransactionalIdAuthorizationFailed, "TransactionalIdAuthorizationException"),
    (ErrorCode::KafkaStorageError, "KafkaStorageException"),
    (ErrorCode::SaslAuthenticationFailed, "SaslAuthenticationException"),
    (ErrorCode::DelegationTokenAuthDisabled, "DelegationTokenDisabledException"),
    (ErrorCode::DelegationTokenRequestNotAllowed, "UnsupportedByAuthenticationException"),
    (ErrorCode::DelegationTokenAuthorizationFailed, "DelegationTokenAuthorizationException"),
    (ErrorCode::NonEmptyGroup, "GroupNotEmptyException"),
    (ErrorCode::PrincipalDeserializationFailure, "PrincipalDeserializationException"),
    (ErrorCode::FetchSessionTopicIdError, "FetchSessionTopicIdException"),
    (ErrorCode::InvalidRegularExpression, "InvalidRegularExpression"),
];

/// The exception's fully qualified class name.
pub(super) fn java_exception(code: ErrorCode) -> String {
    if code == ErrorCode::InvalidRecord {
        return "org.apache.kafka.common.InvalidRecordException".to_owned();
    }
    let irregular = IRREGULAR.iter().find(|(irregular, _)| *irregular == code);
    let class = irregular.map_or_else(
        || {
            let words = code.name().split('_').map(|word| {
                let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
                first.to_owned() + &rest.to_ascii_lowercase()
            });
            words.collect::<String>() + "Exception"
        },
        |(_, class)| (*class).to_owned(),
    );
    format!("org.apache.kafka.common.errors.{class}")
}
