//! Configuration by Kafka's own property names, with Kafka's defaults and texts.

mod parse;
mod share;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use parse::Properties;
pub(crate) use parse::Values;
pub use share::{AcknowledgementMode, AcquireMode, ShareConsumerConfig};

use crate::admin::IsolationLevel;
use crate::consumer::AssignorKind;
use crate::error::ConfigError;
use crate::producer::PartitionerKind;
use crate::security::SecuritySettings;

/// What producers, consumers and admin clients have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `bootstrap.servers` (for admin clients also `bootstrap.controllers`) as `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`; a generated one (`producer-1` …) when it is not given.
    pub client_id: String,
    /// `client.rack`.
    pub client_rack: String,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: the limit of one admin or consumer call.
    pub default_api_timeout: Duration,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`.
    pub reconnect_backoff_max: Duration,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Duration,
    /// `connections.max.idle.ms`; `None` = never.
    pub connections_max_idle: Option<Duration>,
    /// `send.buffer.bytes` (`SO_SNDBUF`); `None` = the system's.
    pub send_buffer_bytes: Option<usize>,
    /// `receive.buffer.bytes` (`SO_RCVBUF`); `None` = the system's.
    pub receive_buffer_bytes: Option<usize>,
    /// `max.in.flight.requests.per.connection`.
    pub max_in_flight: usize,
    /// `metadata.recovery.strategy=rebootstrap`: when no known broker answers, start from the bootstrap servers again.
    pub rebootstrap: bool,
    /// `security.protocol` and what belongs to it.
    pub security: SecuritySettings,
    /// Properties that mean nothing to this kind of client, for a warning as Kafka gives it.
    pub unknown: Vec<String>,
    /// Properties that Kafka's client knows and this one ignores because it has no such feature
    /// (interceptors, serializers, metric reporters …).
    pub ignored: Vec<String>,
}

impl ClientConfig {
    /// Reads the common part of an admin client's properties. Shorthand for
    /// [`AdminConfig::from_properties`] where only connections are needed.
    ///
    /// # Errors
    /// [`ConfigError`] with Kafka's text.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        AdminConfig::from_properties(properties).map(|admin| admin.client)
    }

    fn read(values: &mut Values, role: Role) -> Result<Self, ConfigError> {
        let bootstrap_servers = bootstrap_servers(values, role)?;
        let security = SecuritySettings::read(values)?;
        values.one_of(
            "client.dns.lookup",
            "use_all_dns_ips",
            &["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"],
        )?;
        let idle = values.long(
            "connections.max.idle.ms",
            if role == Role::Admin { 300_000 } else { 540_000 },
            i64::MIN,
        )?;
        let receive_default = if role == Role::Producer { 32_768 } else { 65_536 };
        let rebootstrap =
            values.one_of_any_case("metadata.recovery.strategy", "rebootstrap", &["REBOOTSTRAP", "NONE"])?;
        Ok(Self {
            bootstrap_servers,
            client_id: values.string("client.id", "")?,
            client_rack: if role == Role::Consumer {
                values.string("client.rack", "")?
            } else {
                String::new()
            },
            request_timeout: values.duration_int("request.timeout.ms", 30_000, 0)?,
            default_api_timeout: if role == Role::Producer {
                Duration::from_secs(60)
            } else {
                values.duration_int("default.api.timeout.ms", 60_000, 0)?
            },
            metadata_max_age: values.duration("metadata.max.age.ms", 300_000, 0)?,
            retry_backoff: values.duration("retry.backoff.ms", 100, 0)?,
            retry_backoff_max: values.duration("retry.backoff.max.ms", 1_000, 0)?,
            reconnect_backoff: values.duration("reconnect.backoff.ms", 50, 0)?,
            reconnect_backoff_max: values.duration("reconnect.backoff.max.ms", 1_000, 0)?,
            connect_timeout: values.duration("socket.connection.setup.timeout.ms", 10_000, 0)?,
            connections_max_idle: u64::try_from(idle).ok().map(Duration::from_millis),
            send_buffer_bytes: usize::try_from(values.int("send.buffer.bytes", 131_072, -1)?).ok(),
            receive_buffer_bytes: usize::try_from(values.int("receive.buffer.bytes", receive_default, -1)?)
                .ok(),
            max_in_flight: if role == Role::Producer {
                values.count("max.in.flight.requests.per.connection", 5, 1)?
            } else {
                100
            },
            rebootstrap: rebootstrap.eq_ignore_ascii_case("rebootstrap"),
            security,
            unknown: Vec::new(),
            ignored: Vec::new(),
        })
    }

    fn finish(&mut self, values: Values, role: Role, default_id: impl FnOnce(u32) -> String) {
        static NEXT: [AtomicU32; 3] = [const { AtomicU32::new(1) }; 3];
        if self.client_id.is_empty() {
            let next = match role {
                Role::Producer => &NEXT[0],
                Role::Consumer => &NEXT[1],
                Role::Admin => &NEXT[2],
            };
            self.client_id = default_id(next.fetch_add(1, Ordering::Relaxed));
        }
        (self.ignored, self.unknown) = values.leftovers(role);
    }
}

/// Which of Kafka's clients a set of properties is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    Admin,
}

fn bootstrap_servers(values: &mut Values, role: Role) -> Result<Vec<String>, ConfigError> {
    let mut servers = values.list("bootstrap.servers", "")?;
    if role == Role::Admin {
        servers.extend(values.list("bootstrap.controllers", "")?);
    }
    for url in &servers {
        check_address(url)?;
    }
    if !servers.is_empty() {
        return Ok(servers);
    }
    Err(match role {
        Role::Admin => {
            ConfigError::Message("You must set either bootstrap.servers or bootstrap.controllers".to_owned())
        }
        _ if values.has("bootstrap.servers") => ConfigError::Message(
            "Configuration 'bootstrap.servers' must not be empty. Valid values include: any non-empty value"
                .to_owned(),
        ),
        _ => ConfigError::Missing("bootstrap.servers".to_owned()),
    })
}

/// `host:port`, `[v6]:port`, optionally with a `PROTOCOL://` in front, as Kafka accepts it.
fn check_address(url: &str) -> Result<(), ConfigError> {
    let invalid = || ConfigError::Message(format!("Invalid url in bootstrap.servers: {url}"));
    let (host, port) = split_address(url).ok_or_else(invalid)?;
    if host.is_empty() {
        return Err(invalid());
    }
    match port.parse::<u32>() {
        Err(_) => Err(invalid()),
        Ok(port) if port > u32::from(u16::MAX) => {
            Err(ConfigError::Message(format!("Invalid port in bootstrap.servers: {url}")))
        }
        Ok(_) => Ok(()),
    }
}

pub(crate) fn split_address(url: &str) -> Option<(&str, &str)> {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, port) = address.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Configuration of an [`Admin`](crate::Admin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Connections.
    pub client: ClientConfig,
    /// `retries`.
    pub retries: i32,
}

impl AdminConfig {
    /// Reads an admin client's properties.
    ///
    /// # Errors
    /// [`ConfigError`] with Kafka's text.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        let mut values = Values::new(properties);
        let mut client = ClientConfig::read(&mut values, Role::Admin)?;
        let retries = values.int("retries", i32::MAX, 0)?;
        client.finish(values, Role::Admin, |n| format!("adminclient-{n}"));
        Ok(Self { client, retries })
    }

    /// The defaults with these bootstrap servers (`host:port,…`).
    ///
    /// # Errors
    /// [`ConfigError`] for a malformed address.
    pub fn new(bootstrap_servers: &str) -> Result<Self, ConfigError> {
        Self::from_properties(BTreeMap::from([(
            "bootstrap.servers".to_owned(),
            bootstrap_servers.to_owned(),
        )]))
    }
}

/// `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Acks {
    /// The broker does not answer at all.
    None = 0,
    /// In the leader's log.
    Leader = 1,
    /// On every in-sync replica.
    All = -1,
}

/// `compression.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Uncompressed.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy with xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Reads Kafka's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Configuration of a [`Producer`](crate::Producer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Connections.
    pub client: ClientConfig,
    /// `acks`.
    pub acks: Acks,
    /// `compression.type`.
    pub compression: Compression,
    /// `compression.gzip.level`, `.lz4.level` or `.zstd.level` of the chosen type; `None` = the codec's default.
    pub compression_level: Option<i32>,
    /// `enable.idempotence`.
    pub idempotence: bool,
    /// `linger.ms`.
    pub linger: Duration,
    /// `batch.size`, bytes.
    pub batch_size: usize,
    /// `buffer.memory`, bytes.
    pub buffer_memory: usize,
    /// `max.block.ms`.
    pub max_block: Duration,
    /// `max.request.size`, bytes.
    pub max_request_size: usize,
    /// `delivery.timeout.ms`.
    pub delivery_timeout: Duration,
    /// `retries`.
    pub retries: i32,
    /// `partitioner.class`, or `partitioner` by librdkafka's and kafka-go's names.
    pub partitioner: PartitionerKind,
    /// `partitioner.ignore.keys`.
    pub partitioner_ignore_keys: bool,
    /// `transactional.id`; without it there are no transactions.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
}

impl ProducerConfig {
    /// Reads a producer's properties.
    ///
    /// # Errors
    /// [`ConfigError`] with Kafka's text.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        let mut values = Values::new(properties);
        let mut client = ClientConfig::read(&mut values, Role::Producer)?;
        let acks = match values.one_of("acks", "all", &["all", "-1", "0", "1"])?.as_str() {
            "0" => Acks::None,
            "1" => Acks::Leader,
            _ => Acks::All,
        };
        let compression =
            values.one_of("compression.type", "none", &["none", "gzip", "snappy", "lz4", "zstd"])?;
        let compression = Compression::from_name(&compression).unwrap_or_default();
        let gzip = values.level("compression.gzip.level", 1, 9, Some(-1))?;
        let lz4 = values.level("compression.lz4.level", 1, 17, None)?;
        let zstd = values.level("compression.zstd.level", -131_072, 22, None)?;
        let compression_level = match compression {
            Compression::Gzip => gzip.filter(|&level| level != -1),
            Compression::Lz4 => lz4,
            Compression::Zstd => zstd,
            Compression::None | Compression::Snappy => None,
        };
        let retries = values.int("retries", i32::MAX, 0)?;
        let idempotence_given = values.has("enable.idempotence");
        let idempotence = values.boolean("enable.idempotence", true)?
            && idempotence_possible(idempotence_given, acks, retries, client.max_in_flight)?;
        let linger = values.duration("linger.ms", 5, 0)?;
        let delivery_given = values.has("delivery.timeout.ms");
        let mut delivery_timeout = values.duration_int("delivery.timeout.ms", 120_000, 0)?;
        let least = linger + client.request_timeout;
        if delivery_timeout < least {
            if delivery_given {
                return Err(ConfigError::Message(
                    "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms"
                        .to_owned(),
                ));
            }
            delivery_timeout = least;
        }
        let transactional_id = Some(values.string("transactional.id", "")?).filter(|id| !id.is_empty());
        let transaction_timeout = values.duration_int("transaction.timeout.ms", 60_000, 1)?;
        if transactional_id.is_some() && !idempotence {
            return Err(ConfigError::Message(
                "Cannot set a transactional.id without also enabling idempotence.".to_owned(),
            ));
        }
        let (class, short) = (values.string("partitioner.class", "")?, values.string("partitioner", "")?);
        let partitioner = match (class.as_str(), short.as_str()) {
            ("", "") => PartitionerKind::Default,
            ("", name) => PartitionerKind::from_name(name).ok_or_else(|| ConfigError::Invalid {
                name: "partitioner".to_owned(),
                value: name.to_owned(),
                reason: "No such partitioner.".to_owned(),
            })?,
            (name, _) => PartitionerKind::from_name(name).ok_or_else(|| ConfigError::Invalid {
                name: "partitioner.class".to_owned(),
                value: name.to_owned(),
                reason: format!("Class {name} could not be found."),
            })?,
        };
        let config = Self {
            acks,
            compression,
            compression_level,
            idempotence,
            linger,
            batch_size: values.count("batch.size", 16_384, 0)?,
            buffer_memory: values.size("buffer.memory", 33_554_432, 0)?,
            max_block: values.duration("max.block.ms", 60_000, 0)?,
            max_request_size: values.count("max.request.size", 1_048_576, 0)?,
            delivery_timeout,
            retries,
            partitioner,
            partitioner_ignore_keys: values.boolean("partitioner.ignore.keys", false)?,
            transactional_id,
            transaction_timeout,
            client: {
                client.finish(values, Role::Producer, |n| format!("producer-{n}"));
                client
            },
        };
        Ok(config)
    }

    /// The defaults with these bootstrap servers (`host:port,…`).
    ///
    /// # Errors
    /// [`ConfigError`] for a malformed address.
    pub fn new(bootstrap_servers: &str) -> Result<Self, ConfigError> {
        Self::from_properties(BTreeMap::from([(
            "bootstrap.servers".to_owned(),
            bootstrap_servers.to_owned(),
        )]))
    }
}

/// Whether acks, retries and requests in flight allow idempotence. Kafka refuses the contradiction only when
/// idempotence was asked for by name, and otherwise goes without it.
fn idempotence_possible(
    asked_for: bool,
    acks: Acks,
    retries: i32,
    max_in_flight: usize,
) -> Result<bool, ConfigError> {
    let conflict = if retries == 0 {
        Some("Must set retries to non-zero when using the idempotent producer.")
    } else if acks != Acks::All {
        Some(
            "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.",
        )
    } else {
        None
    };
    match conflict {
        Some(text) if asked_for => Err(ConfigError::Message(text.to_owned())),
        Some(_) => Ok(false),
        None if max_in_flight > 5 => Err(ConfigError::Message(format!(
            "To use the idempotent producer, max.in.flight.requests.per.connection must be set to at most 5. \
             Current value is {max_in_flight}."
        ))),
        None => Ok(true),
    }
}

/// `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// First offset stored.
    Earliest,
    /// Next offset to be written.
    Latest,
    /// Refuse.
    None,
    /// First record younger than this.
    ByDuration(Duration),
}

/// Configuration of a [`Consumer`](crate::Consumer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Connections.
    pub client: ClientConfig,
    /// `group.id`.
    pub group_id: Option<String>,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
    /// `group.protocol` is `consumer`: the coordinator assigns (KIP-848).
    pub by_heartbeats: bool,
    /// `group.remote.assignor`: the assignor asked of the coordinator.
    pub remote_assignor: Option<String>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: also the rebalance timeout.
    pub max_poll_interval: Duration,
    /// `max.poll.records`.
    pub max_poll_records: usize,
    /// `partition.assignment.strategy` in order of preference.
    pub assignors: Vec<AssignorKind>,
    /// `enable.auto.commit`.
    pub auto_commit: bool,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval: Duration,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub fetch_max_wait: Duration,
    /// `max.partition.fetch.bytes`.
    pub max_partition_fetch_bytes: i32,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `isolation.level`.
    pub isolation: IsolationLevel,
    /// `allow.auto.create.topics`.
    pub allow_auto_create_topics: bool,
    /// `exclude.internal.topics`: whether a pattern subscription leaves Kafka's own topics out.
    pub exclude_internal_topics: bool,
}

impl ConsumerConfig {
    /// Reads a consumer's properties.
    ///
    /// # Errors
    /// [`ConfigError`] with Kafka's text.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        let mut values = Values::new(properties);
        let mut client = ClientConfig::read(&mut values, Role::Consumer)?;
        let group_id = values.optional("group.id")?;
        if group_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return Err(ConfigError::Message(
                "The configured group.id should not be an empty string or whitespace.".to_owned(),
            ));
        }
        let group_instance_id = values.optional_non_empty("group.instance.id")?;
        let protocol = values.one_of_any_case("group.protocol", "classic", &["CONSUMER", "CLASSIC"])?;
        let by_heartbeats = protocol.eq_ignore_ascii_case("consumer");
        if by_heartbeats {
            let classic_only =
                ["partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms"];
            if let Some(name) = classic_only.into_iter().find(|name| values.has(name)) {
                return Err(ConfigError::Message(format!(
                    "{name} cannot be set when group.protocol=CONSUMER"
                )));
            }
        }
        let remote_assignor = values.optional_non_empty("group.remote.assignor")?;
        if remote_assignor.is_some() && !by_heartbeats {
            return Err(ConfigError::Message(
                "group.remote.assignor cannot be set when group.protocol=CLASSIC".to_owned(),
            ));
        }
        let session_timeout = values.duration_int("session.timeout.ms", 45_000, 0)?;
        let heartbeat_interval = values.duration_int("heartbeat.interval.ms", 3_000, 0)?;
        if heartbeat_interval >= session_timeout {
            return Err(ConfigError::Message(
                "Heartbeat must be set lower than the session timeout".to_owned(),
            ));
        }
        let mut assignors = Vec::new();
        for name in values.list("partition.assignment.strategy", "range,cooperative-sticky")? {
            let kind = AssignorKind::from_name(&name).ok_or_else(|| ConfigError::Invalid {
                name: "partition.assignment.strategy".to_owned(),
                value: name.clone(),
                reason: format!("Class {name} could not be found."),
            })?;
            if !assignors.contains(&kind) {
                assignors.push(kind);
            }
        }
        let auto_commit_given = values.has("enable.auto.commit");
        let mut auto_commit = values.boolean("enable.auto.commit", true)?;
        if group_id.is_none() && auto_commit {
            if auto_commit_given {
                return Err(ConfigError::Message(
                    "enable.auto.commit cannot be set to true when default group id (null) is used."
                        .to_owned(),
                ));
            }
            auto_commit = false;
        }
        let offset_reset = values.string("auto.offset.reset", "latest")?;
        let offset_reset = parse::offset_reset(&offset_reset).ok_or_else(|| ConfigError::Invalid {
            name: "auto.offset.reset".to_owned(),
            value: offset_reset.clone(),
            reason: format!("Invalid value `{offset_reset}` for configuration auto.offset.reset. The value must be either 'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'."),
        })?;
        let isolation =
            values.one_of("isolation.level", "read_uncommitted", &["read_committed", "read_uncommitted"])?;
        let config = Self {
            by_heartbeats,
            remote_assignor,
            session_timeout,
            heartbeat_interval,
            max_poll_interval: values.duration_int("max.poll.interval.ms", 300_000, 1)?,
            max_poll_records: values.count("max.poll.records", 500, 1)?,
            assignors,
            auto_commit,
            auto_commit_interval: values.duration_int("auto.commit.interval.ms", 5_000, 0)?,
            offset_reset,
            fetch_min_bytes: values.int("fetch.min.bytes", 1, 0)?,
            fetch_max_bytes: values.int("fetch.max.bytes", 52_428_800, 0)?,
            fetch_max_wait: values.duration_int("fetch.max.wait.ms", 500, 0)?,
            max_partition_fetch_bytes: values.int("max.partition.fetch.bytes", 1_048_576, 0)?,
            check_crcs: values.boolean("check.crcs", true)?,
            isolation: if isolation == "read_committed" {
                IsolationLevel::ReadCommitted
            } else {
                IsolationLevel::ReadUncommitted
            },
            allow_auto_create_topics: values.boolean("allow.auto.create.topics", true)?,
            exclude_internal_topics: values.boolean("exclude.internal.topics", true)?,
            client: {
                client.finish(values, Role::Consumer, |n| match (&group_id, &group_instance_id) {
                    (Some(group), Some(instance)) => format!("consumer-{group}-{instance}"),
                    (Some(group), None) => format!("consumer-{group}-{n}"),
                    (None, _) => format!("consumer-null-{n}"),
                });
                client
            },
            group_id,
            group_instance_id,
        };
        Ok(config)
    }

    /// The preferred assignor of the classic protocol.
    pub(crate) fn first_assignor(&self) -> AssignorKind {
        self.assignors.first().copied().unwrap_or(AssignorKind::Range)
    }

    /// The defaults with these bootstrap servers (`host:port,…`) and group.
    ///
    /// # Errors
    /// [`ConfigError`] for a malformed address.
    pub fn new(bootstrap_servers: &str, group_id: Option<&str>) -> Result<Self, ConfigError> {
        let mut properties = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap_servers.to_owned())]);
        if let Some(group) = group_id {
            properties.insert("group.id".to_owned(), group.to_owned());
        }
        Self::from_properties(properties)
    }
}
