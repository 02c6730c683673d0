//! Configuration of share consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parse::{Properties, Values};
use super::{ClientConfig, Role};
use crate::error::ConfigError;

/// Properties of consumers that mean nothing in a share group; Kafka refuses them.
const UNSUPPORTED: [&str; 10] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "group.instance.id",
    "isolation.level",
    "partition.assignment.strategy",
    "interceptor.classes",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol",
    "group.remote.assignor",
];

/// `share.acknowledgement.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcknowledgementMode {
    /// The next poll or commit accepts all records of the last poll.
    Implicit,
    /// Every record is acknowledged by itself before the next poll.
    Explicit,
}

/// `share.acquire.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum AcquireMode {
    /// More than `max.poll.records` may come, up to the end of a batch.
    BatchOptimized = 0,
    /// Never more than `max.poll.records` come.
    RecordLimit = 1,
}

/// Configuration of a [`ShareConsumer`](crate::ShareConsumer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareConsumerConfig {
    /// Connections.
    pub client: ClientConfig,
    /// `group.id`.
    pub group_id: String,
    /// `share.acknowledgement.mode`.
    pub acknowledgement_mode: AcknowledgementMode,
    /// `share.acquire.mode`.
    pub acquire_mode: AcquireMode,
    /// `max.poll.interval.ms`: a member that does not poll for so long leaves the group.
    pub max_poll_interval: Duration,
    /// `max.poll.records`.
    pub max_poll_records: i32,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait: Duration,
    /// `check.crcs`.
    pub check_crcs: bool,
}

impl ShareConsumerConfig {
    /// Reads a share consumer's properties.
    ///
    /// # Errors
    /// [`ConfigError`] with Kafka's text.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        let mut values = Values::new(properties);
        let unsupported: Vec<&str> = UNSUPPORTED.into_iter().filter(|name| values.has(name)).collect();
        if !unsupported.is_empty() {
            let names = unsupported.join(", ");
            return Err(ConfigError::Message(format!("{names} cannot be set when using a share group.")));
        }
        let mut client = ClientConfig::read(&mut values, Role::Consumer)?;
        let group_id = values.optional("group.id")?.unwrap_or_default();
        if group_id.trim().is_empty() {
            return Err(ConfigError::Message(
                "You must provide a valid group.id in the consumer configuration.".to_owned(),
            ));
        }
        let mode =
            values.one_of_any_case("share.acknowledgement.mode", "implicit", &["implicit", "explicit"])?;
        let acquire = values.one_of_any_case(
            "share.acquire.mode",
            "batch_optimized",
            &["batch_optimized", "record_limit"],
        )?;
        Ok(Self {
            acknowledgement_mode: match mode.eq_ignore_ascii_case("explicit") {
                true => AcknowledgementMode::Explicit,
                false => AcknowledgementMode::Implicit,
            },
            acquire_mode: match acquire.eq_ignore_ascii_case("record_limit") {
                true => AcquireMode::RecordLimit,
                false => AcquireMode::BatchOptimized,
            },
            max_poll_interval: values.duration_int("max.poll.interval.ms", 300_000, 1)?,
            max_poll_records: values.int("max.poll.records", 500, 1)?,
            fetch_min_bytes: values.int("fetch.min.bytes", 1, 0)?,
            fetch_max_bytes: values.int("fetch.max.bytes", 52_428_800, 0)?,
            fetch_max_wait: values.duration_int("fetch.max.wait.ms", 500, 0)?,
            check_crcs: values.boolean("check.crcs", true)?,
            client: {
                // Known to consumers, of no use in a share group.
                values.boolean("allow.auto.create.topics", true)?;
                values.int("max.partition.fetch.bytes", 1_048_576, 0)?;
                client.finish(values, Role::Consumer, |n| format!("consumer-{group_id}-{n}"));
                client
            },
            group_id,
        })
    }

    /// The defaults with these bootstrap servers (`host:port,…`) and group.
    ///
    /// # Errors
    /// [`ConfigError`] for a malformed address or an empty group.
    pub fn new(bootstrap_servers: &str, group_id: &str) -> Result<Self, ConfigError> {
        Self::from_properties(BTreeMap::from([
            ("bootstrap.servers".to_owned(), bootstrap_servers.to_owned()),
            ("group.id".to_owned(), group_id.to_owned()),
        ]))
    }
}
