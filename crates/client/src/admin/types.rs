//! What admin requests take and answer.

use std::collections::BTreeMap;

use kafka_codec::Uuid;

use crate::door::TopicPartition;
use crate::error::Error;
use crate::record::OffsetAndMetadata;

/// A node of the cluster as metadata names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Broker id; −1 when only the id's absence is known.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port; 0 when the node is known by id only (offline).
    pub port: i32,
    /// Rack, if the broker has one.
    pub rack: Option<String>,
}

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Topic name.
    pub name: String,
    /// Partition count; `None` = the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// Replication factor; `None` = the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Explicit replicas (broker ids) per partition; excludes the two counts above.
    pub assignments: BTreeMap<i32, Vec<i32>>,
    /// Topic configuration in order.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with a partition count and replication factor (`None` = the broker's default).
    pub fn new(name: impl Into<String>, partitions: Option<i32>, replication_factor: Option<i16>) -> Self {
        Self { name: name.into(), partitions, replication_factor, ..Self::default() }
    }

    /// As many copies as state should have that nobody else keeps: three, with two in sync for a write, or as many as
    /// there are brokers.
    #[must_use]
    pub fn kept_by(mut self, brokers: usize) -> Self {
        self.replication_factor = Some(i16::try_from(brokers.clamp(1, 3)).unwrap_or(1));
        if brokers >= 3 {
            self.configs.push(("min.insync.replicas".to_owned(), "2".to_owned()));
        }
        self
    }
}

/// Options of [`create_topics`](super::Admin::create_topics).
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateTopicsOptions {
    /// Only check the request.
    pub validate_only: bool,
}

/// A topic that was created.
#[derive(Clone, Debug, Default)]
pub struct CreatedTopic {
    /// Topic id (zero from brokers before 2.8).
    pub id: Uuid,
    /// Partition count; −1 when the broker does not tell.
    pub partitions: i32,
    /// Replication factor; −1 when the broker does not tell.
    pub replication_factor: i16,
}

/// A topic in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// Topic name.
    pub name: String,
    /// Topic id (zero from brokers before 2.8).
    pub id: Uuid,
    /// Kafka's own topic (`__consumer_offsets` and its like).
    pub internal: bool,
}

/// One partition in a topic description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Partition index.
    pub partition: i32,
    /// Leader; `None` while there is none.
    pub leader: Option<Node>,
    /// Leader epoch, −1 when unknown.
    pub leader_epoch: i32,
    /// Replicas in preference order.
    pub replicas: Vec<Node>,
    /// In-sync replicas.
    pub isr: Vec<Node>,
    /// Replicas on brokers that are down.
    pub offline: Vec<Node>,
    /// Eligible leader replicas (KIP-966); `None` when the broker does not tell.
    pub elr: Option<Vec<Node>>,
    /// Last known eligible leader replicas (KIP-966); `None` when the broker does not tell.
    pub last_known_elr: Option<Vec<Node>>,
}

/// A topic's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Topic name.
    pub name: String,
    /// Topic id (zero from brokers before 2.8).
    pub id: Uuid,
    /// Kafka's own topic.
    pub internal: bool,
    /// Partitions by index.
    pub partitions: Vec<PartitionInfo>,
    /// Operations this client may do, as a bit field; `None` when not asked for or not known.
    pub authorized_operations: Option<i32>,
}

/// Partitions to add to a topic.
#[derive(Clone, Debug)]
pub struct NewPartitions {
    /// Total count after the change.
    pub total_count: i32,
    /// Replicas of each new partition; `None` = the controller chooses.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigResourceType {
    /// A topic.
    Topic = 2,
    /// A broker (an empty name is the cluster-wide default).
    Broker = 4,
    /// A broker's loggers.
    BrokerLogger = 8,
    /// Client metrics subscriptions.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

/// One thing that has a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Its type.
    pub kind: ConfigResourceType,
    /// Its name: topic, broker id, group.
    pub name: String,
}

impl ConfigResource {
    /// The topic `name`.
    pub fn topic(name: impl Into<String>) -> Self {
        Self { kind: ConfigResourceType::Topic, name: name.into() }
    }

    /// The broker `id`, or all brokers' default.
    pub fn broker(id: Option<i32>) -> Self {
        Self { kind: ConfigResourceType::Broker, name: id.map(|id| id.to_string()).unwrap_or_default() }
    }
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Not told.
    Unknown,
    /// The topic's own configuration.
    DynamicTopic,
    /// The broker's dynamic configuration.
    DynamicBroker,
    /// The cluster-wide dynamic default of brokers.
    DynamicDefaultBroker,
    /// `server.properties`.
    StaticBroker,
    /// Built in.
    Default,
    /// A broker's logger level.
    DynamicBrokerLogger,
    /// A client metrics subscription.
    ClientMetrics,
    /// A group's own configuration.
    Group,
}

impl ConfigSource {
    /// Kafka's enum name, as tools print it (`DYNAMIC_TOPIC_CONFIG` …).
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
            Self::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            Self::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Self::StaticBroker => "STATIC_BROKER_CONFIG",
            Self::Default => "DEFAULT_CONFIG",
            Self::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            Self::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            Self::Group => "DYNAMIC_GROUP_CONFIG",
        }
    }

    pub(crate) fn from_code(code: i8) -> Self {
        match code {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            7 => Self::ClientMetrics,
            8 => Self::Group,
            _ => Self::Unknown,
        }
    }
}

/// Another place where the same configuration has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name there.
    pub name: String,
    /// Value there; `None` when sensitive.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// One configuration value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Name.
    pub name: String,
    /// Value; `None` when sensitive or null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed at run time.
    pub read_only: bool,
    /// Whether the value is secret.
    pub sensitive: bool,
    /// All places with a value, the effective one first.
    pub synonyms: Vec<ConfigSynonym>,
    /// Kafka's type code (1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0 unknown).
    pub config_type: i8,
    /// Documentation, if asked for.
    pub documentation: Option<String>,
}

/// A change of one configuration value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterConfigOp {
    /// Sets the value.
    Set(String, String),
    /// Goes back to the default.
    Delete(String),
    /// Appends to a list value.
    Append(String, String),
    /// Removes from a list value.
    Subtract(String, String),
}

/// Which offset of a partition to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// First offset stored (−2).
    Earliest,
    /// Next offset to be written, or the last stable offset under `read_committed` (−1).
    Latest,
    /// First record at or after this time, milliseconds since the epoch.
    Timestamp(i64),
    /// Record with the largest timestamp (−3).
    MaxTimestamp,
    /// First offset on local disk, with tiered storage (−4).
    EarliestLocal,
    /// Last offset in tiered storage (−5).
    LatestTiered,
    /// First offset that waits to be uploaded to tiered storage (−6).
    EarliestPendingUpload,
}

impl OffsetSpec {
    pub(crate) fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
            Self::Timestamp(ms) => ms,
        }
    }
}

/// Which records count for offset look-ups and fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IsolationLevel {
    /// All records.
    #[default]
    ReadUncommitted,
    /// Records outside transactions and of committed ones.
    ReadCommitted,
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// Offset; −1 when no record matches.
    pub offset: i64,
    /// Timestamp of the record in milliseconds, −1 for earliest and latest.
    pub timestamp_ms: i64,
    /// Leader epoch, if known.
    pub leader_epoch: Option<i32>,
}

/// The cluster's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Cluster id.
    pub cluster_id: Option<String>,
    /// Current controller.
    pub controller: Option<Node>,
    /// Live brokers by id.
    pub nodes: Vec<Node>,
    /// Operations this client may do, as a bit field, if known.
    pub authorized_operations: Option<i32>,
}

/// A group in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Group id.
    pub group_id: String,
    /// `consumer` for consumer groups, empty for simple groups (offsets only), other values for other users.
    pub protocol_type: String,
    /// State as Kafka names it (`Stable`, `Empty` …); `None` from brokers before 2.6.
    pub state: Option<String>,
    /// Type (`Classic`, `Consumer`, `Share` …); `None` from brokers before 3.8.
    pub group_type: Option<String>,
}

/// Options of [`list_groups`](super::Admin::list_groups).
#[derive(Clone, Debug, Default)]
pub struct ListGroupsOptions {
    /// Only groups in these states; empty = all.
    pub states: Vec<String>,
    /// Only groups of these types (`classic`, `consumer` …); empty = all.
    pub types: Vec<String>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Member id.
    pub member_id: String,
    /// `group.instance.id`, if static.
    pub group_instance_id: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Host, as the broker saw it (`/127.0.0.1`).
    pub host: String,
    /// Partitions assigned.
    pub assignment: Vec<TopicPartition>,
    /// Partitions it should end up with (consumer protocol only).
    pub target_assignment: Option<Vec<TopicPartition>>,
    /// Member epoch (consumer protocol only).
    pub member_epoch: Option<i32>,
}

/// A group's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Group id.
    pub group_id: String,
    /// `consumer`, `share`, empty, or another user's protocol type.
    pub protocol_type: String,
    /// `Classic`, `Consumer` or `Share`.
    pub group_type: String,
    /// State as Kafka names it (`Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Assigning`, `Reconciling`, `Dead`).
    pub state: String,
    /// Assignor in use; empty when there are no members.
    pub assignor: String,
    /// Members.
    pub members: Vec<MemberDescription>,
    /// Its coordinator.
    pub coordinator: Node,
    /// Group epoch (consumer protocol only).
    pub group_epoch: Option<i32>,
    /// Epoch of the target assignment (consumer protocol only).
    pub target_assignment_epoch: Option<i32>,
    /// Operations this client may do, as a bit field, if asked for.
    pub authorized_operations: Option<i32>,
}

/// Committed offsets of one group; `Err` for partitions that the coordinator refused, `None` for partitions
/// without an offset.
pub type GroupOffsets = BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>, Error>>;

/// Where a share group stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareOffset {
    /// First offset that is not acknowledged.
    pub start_offset: i64,
    /// Leader epoch, if known.
    pub leader_epoch: Option<i32>,
    /// Records that are not acknowledged, if known.
    pub lag: Option<i64>,
}

/// A reassignment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Partition that moves.
    pub partition: TopicPartition,
    /// Current replicas.
    pub replicas: Vec<i32>,
    /// Those being added.
    pub adding: Vec<i32>,
    /// Those being removed.
    pub removing: Vec<i32>,
}

/// One replica on a broker's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Partition.
    pub partition: TopicPartition,
    /// Bytes on disk.
    pub size: i64,
    /// How far it lags, in messages.
    pub offset_lag: i64,
    /// Whether it is being moved here from another directory.
    pub is_future: bool,
}

/// One log directory of a broker.
#[derive(Clone, Debug)]
pub struct LogDir {
    /// Path on the broker.
    pub path: String,
    /// Why it is offline, if it is.
    pub error: Option<Error>,
    /// Bytes of the volume; `None` when not told.
    pub total_bytes: Option<i64>,
    /// Usable bytes of the volume; `None` when not told.
    pub usable_bytes: Option<i64>,
    /// Replicas in it.
    pub replicas: Vec<ReplicaInfo>,
}
