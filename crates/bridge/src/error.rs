//! Why a bridge does not start, or cannot go on.

/// Errors of the bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The MQTT broker will not have us.
    #[error("MQTT broker {address}: {source}")]
    Mqtt {
        /// Whom.
        address: String,
        /// Why.
        #[source]
        source: mqtt_client::Error,
    },
    /// The MQTT broker refuses a subscription.
    #[error("MQTT broker {address} refuses the subscription to {filter:?}: {reason}")]
    Subscription {
        /// Whom.
        address: String,
        /// To what.
        filter: String,
        /// Why.
        reason: mqtt_codec::ReasonCode,
    },
    /// The Kafka cluster will not have us.
    #[error("Kafka: {0}")]
    Kafka(#[from] client::Error),
    /// The topic that QoS 2 stands on cannot be used.
    #[error("Kafka: the state topic {topic}: {source}")]
    StateTopic {
        /// Which.
        topic: String,
        /// Why.
        #[source]
        source: client::Error,
    },
    /// A port or thread cannot be had.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl From<client::ConfigError> for BridgeError {
    fn from(error: client::ConfigError) -> Self {
        Self::Kafka(error.into())
    }
}
