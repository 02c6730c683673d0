//! The door: what everything above the commit log (MQTT, bridge, Connect, console) asks of it.
//!
//! Two implementations exist: the broker in the same process (`broker::local`) and the Kafka client in
//! this crate against any Kafka cluster. Nothing that holds a [`Door`] may know which of the two it has.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
pub use kafka_codec::acl::{AclOperation, CLUSTER_NAME, ResourceType};
use tokio::sync::watch;

use crate::security::scram::{ScramMechanism, ScramSecret};

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Kafka topic name.
    pub topic: Arc<str>,
    /// Partition index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// One header of a record: a name and an optional value, in the order the producer gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Header name (UTF-8).
    pub key: Bytes,
    /// Header value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// A record as it is handed in: no offset yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Record key; `None` is Kafka's null key.
    pub key: Option<Bytes>,
    /// Record value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; repeated names are kept.
    pub headers: Vec<Header>,
    /// Create time in milliseconds since the epoch; `None` = now.
    pub timestamp_ms: Option<i64>,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Offset in its partition.
    pub offset: i64,
    /// Timestamp in milliseconds since the epoch (create or log-append time).
    pub timestamp_ms: i64,
    /// Record key.
    pub key: Option<Bytes>,
    /// Record value.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<Header>,
}

/// When an append is answered (DESIGN promise 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ack {
    /// `acks=1`: in the leader's log, not yet necessarily on stable storage.
    Leader,
    /// `acks=all`: on stable storage of every in-sync replica.
    All,
}

/// A topic as the door sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Topic name.
    pub name: Arc<str>,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// `__consumer_offsets` and its like: never routed to MQTT.
    pub internal: bool,
    /// `write.caching`: what is acknowledged may be in the page cache only.
    pub caching: bool,
}

/// All topics at one moment, sorted by name; replaced whole on each change.
#[derive(Clone, Debug, Default)]
pub struct TopicImage {
    /// Topics sorted by name.
    pub topics: Vec<TopicInfo>,
}

impl TopicImage {
    /// Looks a topic up by name.
    pub fn get(&self, name: &str) -> Option<&TopicInfo> {
        self.topics.binary_search_by(|t| (*t.name).cmp(name)).ok().and_then(|i| self.topics.get(i))
    }
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Topic name.
    pub name: String,
    /// Partition count; `None` = the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// Topic configuration (`cleanup.policy`, `write.caching` …).
    pub configs: Vec<(String, String)>,
}

/// Where a tail or listing starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// First offset still stored.
    Earliest,
    /// Next offset to be written.
    Latest,
    /// First record whose timestamp is at or after this, milliseconds since the epoch.
    Timestamp(i64),
    /// This offset.
    Offset(i64),
}

/// Records read from one partition.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Records in offset order; control records and aborted transactions are left out.
    pub records: Vec<StoredRecord>,
    /// Where the next read continues (may be past the last record: control records, compaction gaps).
    pub next_offset: i64,
    /// First offset still stored, when read.
    pub log_start_offset: i64,
    /// End of what readers may see (last stable offset), when read.
    pub end_offset: i64,
}

/// Follows one partition.
pub trait Tail: Send {
    /// Waits for records at or after the tail's position, returns at least one and moves on.
    /// If retention overtook the position, continues at the first offset still stored
    /// (`Chunk::records[0].offset` then tells the gap).
    ///
    /// # Errors
    /// [`DoorError::UnknownTopic`] when the topic was deleted, others when the log fails.
    fn next(&mut self) -> BoxFuture<'_, Result<Chunk, DoorError>>;
}

/// Why the door refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// No such topic or partition.
    #[error("unknown topic or partition {0}")]
    UnknownTopic(String),
    /// A name that Kafka forbids, or another invalid argument.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The record is larger than `max.message.bytes`.
    #[error("record of {size} bytes is larger than the {max} allowed by {topic}")]
    TooLarge {
        /// Topic written to.
        topic: String,
        /// Size of the record batch in bytes.
        size: usize,
        /// `max.message.bytes` of the topic.
        max: usize,
    },
    /// The topic's limit (`max.partitions` or so) is reached.
    #[error("limit reached: {0}")]
    Limit(String),
    /// Not authorized.
    #[error("not authorized: {0}")]
    Unauthorized(String),
    /// Passing trouble: no leader, not enough replicas, disk full. Retry with the same records later.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
    /// The partition is offline (failed fsync, corrupt log) or the node stops.
    #[error("storage failed: {0}")]
    Storage(String),
    /// Another node has taken this one's place: it may append nothing atomically any more.
    #[error("another node has taken this one's place: {0}")]
    Fenced(String),
}

/// Who may do what: the one answer for every front end. It holds at once, also for connections that are there.
pub trait Access: Send + Sync + 'static {
    /// Whether `principal` (`User:alice`), connected from `host`, may do `operation` to the resource of that name.
    /// Everybody may everything where no authorizer is configured.
    fn allows(
        &self,
        principal: &str,
        host: IpAddr,
        operation: AclOperation,
        resource: ResourceType,
        name: &str,
    ) -> bool;

    /// Whether an authorizer is configured: without one everybody may everything.
    fn is_enforced(&self) -> bool;

    /// Numbers of what answers rest on: a new one comes with each change of a right or of a user.
    fn changes(&self) -> watch::Receiver<u64>;

    /// What is kept of a user's password.
    fn scram_secret(&self, user: &str, mechanism: ScramMechanism) -> Option<ScramSecret>;
}

/// Nodes that stand side by side on one log. Each appends atomically under a name of its own, and one that takes another's
/// place makes sure that nothing more comes under that name but from itself.
pub trait Nodes: Send + Sync + 'static {
    /// This node's name.
    fn name(&self) -> Arc<str>;

    /// Becomes true when another has taken this node's place.
    fn lost(&self) -> watch::Receiver<bool>;

    /// Takes the place of the node `name`: what that has under way is in the log or never will be when this returns, and
    /// what it appends atomically from now on is refused. The empty name stands for whoever was there before nodes had
    /// names.
    fn replace(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn InPlace>, DoorError>>;
}

/// Appends in the place of another node.
pub trait InPlace: Send + Sync {
    /// As [`Door::append_atomic`]; refused as soon as somebody else has taken that place, too.
    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>>;
}

/// What everything above the commit log asks of it.
pub trait Door: Send + Sync + 'static {
    /// Who may do what; `None` where the door does not decide it (the cluster behind it does, by the one user it knows).
    fn access(&self) -> Option<Arc<dyn Access>> {
        None
    }

    /// The nodes that share the log; `None` where this one has it to itself.
    fn nodes(&self) -> Option<Arc<dyn Nodes>> {
        None
    }

    /// The topics, now and on every change.
    fn topics(&self) -> watch::Receiver<Arc<TopicImage>>;

    /// Creates a topic; succeeds quietly when it exists already.
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'static, Result<(), DoorError>>;

    /// Appends one record and answers its offset once `ack` holds. Appends to one partition made one
    /// after the other by one caller keep their order. Many appends under way share batches and syncs.
    fn append(
        &self,
        to: &TopicPartition,
        record: Record,
        ack: Ack,
    ) -> BoxFuture<'static, Result<i64, DoorError>>;

    /// Appends records to one partition in their order, as [`Door::append`] does one after the other, and answers
    /// what became of each: one wait for all of them.
    fn append_all(
        &self,
        to: &TopicPartition,
        records: Vec<Record>,
        ack: Ack,
    ) -> BoxFuture<'static, Vec<Result<i64, DoorError>>> {
        let each: Vec<_> = records.into_iter().map(|record| self.append(to, record, ack)).collect();
        Box::pin(futures_util::future::join_all(each))
    }

    /// Appends records to several partitions as one step: after any crash either all of them are in the log
    /// or none. Answers the offsets, in the order given, once all are on stable storage ([`Ack::All`]).
    /// Keeps the order with [`Door::append`]s of the same caller.
    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>>;

    /// Reads records from `offset` on, without waiting: about `max_bytes`, at least one if there is one.
    fn read(
        &self,
        from: &TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Chunk, DoorError>>;

    /// Resolves a start position to an offset.
    fn offset_at(&self, of: &TopicPartition, at: StartAt) -> BoxFuture<'static, Result<i64, DoorError>>;

    /// Says how far a group without members of its own has read, for `kafka-consumer-groups` to show. Whoever reads keeps
    /// positions of its own; doors that have no groups do nothing.
    fn commit_offsets(
        &self,
        _group: &str,
        _offsets: Vec<(TopicPartition, i64)>,
    ) -> BoxFuture<'static, Result<(), DoorError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Forgets what [`Door::commit_offsets`] said of a group.
    fn forget_group(&self, _group: &str) -> BoxFuture<'static, Result<(), DoorError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Follows a partition from `at` on.
    fn tail(&self, of: &TopicPartition, at: StartAt) -> Box<dyn Tail>;
}

/// The partition that Kafka's default partitioner picks for a key: `toPositive(murmur2(key)) % partitions`
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as i32) % partitions.max(1)
}

/// MurmurHash2, 32 bit, with Kafka's seed `0x9747b28c`.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for c in &mut chunks {
        let mut k = u32::from_le_bytes([c[0], c[1], c[2], c[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (i, b) in rest.iter().enumerate() {
        h ^= u32::from(*b) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}
