//! The Kafka side: its clients, and what their errors mean for a message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::admin::{CreateTopicsOptions, NewTopic};
use client::{Admin, AdminConfig, ConsumerConfig, Error, Producer, ProducerConfig};
use kafka_codec::ErrorCode;

use crate::error::BridgeError;

/// How long a record may wait for its topic or for memory before somebody asks why.
const MAX_BLOCK_MS: &str = "10000";

/// So many answers in a row must say that a topic is not there, with this pause between them.
const MISSING_ANSWERS: u32 = 10;
const MISSING_PAUSE: Duration = Duration::from_secs(2);

/// Makes clients with the configured properties.
#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    properties: Arc<BTreeMap<String, String>>,
}

/// What a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicState {
    There,
    Missing,
    /// Nobody answers.
    Unknown,
}

impl Kafka {
    pub(crate) fn new(properties: &BTreeMap<String, String>) -> Self {
        Self { properties: Arc::new(properties.clone()) }
    }

    /// The configured properties under ours.
    fn with(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let mut all: BTreeMap<String, String> = defaults.iter().map(pair).collect();
        all.extend(self.properties.iter().map(|(k, v)| (k.clone(), v.clone())));
        all.extend(fixed.iter().map(pair));
        all
    }

    fn producer_properties(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        // One request for each broker: what comes meanwhile is the next one, so that batches grow with the load and
        // nothing lingers without it.
        let defaults = [
            ("linger.ms", "0"),
            ("batch.size", "262144"),
            ("max.in.flight.requests.per.connection", "1"),
            ("max.request.size", "1048576"),
        ];
        // Records are never given up while Kafka is away: they wait here, and the MQTT broker keeps the rest.
        let fixed = [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("retries", "2147483647"),
            ("delivery.timeout.ms", "2147483647"),
            ("max.block.ms", MAX_BLOCK_MS),
        ];
        let mut all = self.with(&defaults, &fixed);
        all.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        all
    }

    /// A producer that answers when all in-sync replicas have a record, and repeats nothing.
    /// `bytes` of messages are sure to have room.
    pub(crate) fn producer(&self, bytes: usize) -> Result<Producer, BridgeError> {
        let memory = bytes.saturating_mul(2).saturating_add(32 << 20).to_string();
        let properties = self.producer_properties(&[("buffer.memory", &memory)]);
        Ok(Producer::new(ProducerConfig::from_properties(properties)?)?)
    }

    /// A producer of transactions.
    pub(crate) fn transactional(&self, id: &str) -> Result<Producer, BridgeError> {
        let more = [("transactional.id", id), ("transaction.timeout.ms", "60000")];
        Ok(Producer::new(ProducerConfig::from_properties(self.producer_properties(&more))?)?)
    }

    pub(crate) fn admin(&self) -> Result<Admin, BridgeError> {
        let defaults = [("default.api.timeout.ms", "10000"), ("request.timeout.ms", "5000")];
        Ok(Admin::new(AdminConfig::from_properties(self.with(&defaults, &[]))?)?)
    }

    /// A consumer with these properties over the configured ones.
    pub(crate) fn consumer(&self, fixed: &[(&str, &str)]) -> Result<client::Consumer, BridgeError> {
        // A bridge that was killed and started again waits until its former self is missed.
        let defaults = [
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "3000"),
        ];
        Ok(client::Consumer::new(ConsumerConfig::from_properties(self.with(&defaults, fixed))?)?)
    }
}

/// Whether a topic is there, as the cluster says now.
pub(crate) async fn topic_state(admin: &Admin, topic: &str) -> TopicState {
    let asked = admin.describe_topics(std::slice::from_ref(&topic.to_owned())).await;
    let Ok(answers) = asked else { return TopicState::Unknown };
    match answers.into_iter().next() {
        Some((_, Ok(_))) => TopicState::There,
        Some((_, Err(error))) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
            TopicState::Missing
        }
        _ => TopicState::Unknown,
    }
}

/// As [`topic_state`], but a topic is missing only when it stays missing: a broker that has just started knows of none.
pub(crate) async fn lasting_topic_state(admin: &Admin, topic: &str) -> TopicState {
    for _ in 0..MISSING_ANSWERS {
        match topic_state(admin, topic).await {
            TopicState::Missing => tokio::time::sleep(MISSING_PAUSE).await,
            other => return other,
        }
    }
    TopicState::Missing
}

/// Makes a topic of the bridge's own unless it is there.
pub(crate) async fn create_topic(
    admin: &Admin,
    name: &str,
    configs: &[(&str, &str)],
) -> Result<(), client::Error> {
    let brokers = admin.describe_cluster().await?.nodes.len();
    let mut topic = NewTopic::new(name, Some(1), None).kept_by(brokers);
    topic.configs.extend(configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    for (_, answer) in admin.create_topics(&[topic], CreateTopicsOptions::default()).await? {
        match answer {
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
            other => {
                other?;
            }
        }
    }
    Ok(())
}

/// Whether an error is of one record, so that the next may fare better.
pub(crate) fn is_poison(error: &Error) -> bool {
    match error {
        Error::RecordTooLarge(_) => true,
        Error::Broker(e) => matches!(
            e.code,
            ErrorCode::MessageTooLarge
                | ErrorCode::RecordListTooLarge
                | ErrorCode::InvalidRecord
                | ErrorCode::InvalidTimestamp
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::InvalidTopicException
                | ErrorCode::PolicyViolation
                | ErrorCode::UnsupportedForMessageFormat
        ),
        _ => false,
    }
}

/// Whether an error can only be mended by somebody.
pub(crate) fn is_fatal(error: &Error) -> bool {
    match error {
        Error::Config(_) | Error::UnsupportedVersion(_) => true,
        Error::Broker(e) => matches!(
            e.code,
            ErrorCode::ClusterAuthorizationFailed
                | ErrorCode::TransactionalIdAuthorizationFailed
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::SaslAuthenticationFailed
                | ErrorCode::UnsupportedSaslMechanism
                | ErrorCode::IllegalSaslState
        ),
        _ => false,
    }
}

/// Pauses between attempts that nobody else paces.
pub(crate) fn pause(failures: u32) -> Duration {
    Duration::from_millis(200u64 << failures.min(5))
}
