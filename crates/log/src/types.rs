//! What goes into a log and what comes out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::StorageFile;

/// A topic's id, which a deleted and re-created topic of the same name does not share (KIP-516).
pub type TopicId = [u8; 16];

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
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

/// Who appends; decides what is checked and what is written into the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: offsets are assigned, sequences are checked, control batches are refused.
    Client,
    /// This node itself (coordinators, metadata, transaction markers): offsets are assigned, no sequences are
    /// asked for, control batches are allowed.
    Coordinator,
    /// The partition's leader: batches keep their offsets and epochs and must continue the log.
    Replica,
}

/// Batches to append.
#[derive(Clone, Debug)]
pub struct AppendBatches {
    /// One or more whole v2 record batches, as the producer sent them.
    pub bytes: Bytes,
    /// Leader epoch written into the batches (not for [`Origin::Replica`]).
    pub leader_epoch: i32,
    /// Who appends.
    pub origin: Origin,
    /// The caller has run `kafka_codec::records::validate` over the bytes already; the log then checks only
    /// what its own structure rests on.
    pub validated: bool,
}

impl AppendBatches {
    /// Batches from a producer.
    pub fn client(bytes: Bytes, leader_epoch: i32) -> Self {
        Self { bytes, leader_epoch, origin: Origin::Client, validated: false }
    }

    /// Batches that this node built itself.
    pub fn coordinator(bytes: Bytes, leader_epoch: i32) -> Self {
        Self { bytes, leader_epoch, origin: Origin::Coordinator, validated: true }
    }

    /// Batches from the leader.
    pub fn replica(bytes: Bytes) -> Self {
        Self { bytes, leader_epoch: -1, origin: Origin::Replica, validated: false }
    }
}

/// Where an append went. It is durable once `Log::durable_end()` is past `last_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The log's time, milliseconds since the epoch, when it stamps (`LogAppendTime`); else -1.
    pub log_append_time_ms: i64,
    /// First offset still stored.
    pub log_start_offset: i64,
    /// The batch had been appended before (idempotent retry); the offsets are those of then.
    pub duplicate: bool,
}

/// A range of a segment file: whole batches.
#[derive(Clone)]
pub struct ReadSlice {
    /// The file; reads stay possible after the segment was deleted.
    pub file: Arc<dyn StorageFile>,
    /// First byte.
    pub position: u64,
    /// Bytes; 0 when there is nothing to read yet.
    pub len: usize,
    /// Base offset of the first batch (may lie before the offset asked for).
    pub base_offset: i64,
    /// First offset still stored, at the time of the read.
    pub log_start_offset: i64,
    /// The limit used: what this reader could see at most, at the time of the read.
    pub end_offset: i64,
}

impl fmt::Debug for ReadSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadSlice")
            .field("position", &self.position)
            .field("len", &self.len)
            .field("base_offset", &self.base_offset)
            .field("end_offset", &self.end_offset)
            .finish()
    }
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLimit {
    /// The high watermark (`read_uncommitted`).
    HighWatermark,
    /// The last stable offset (`read_committed`).
    LastStable,
    /// The end of the durable log (followers, coordinators loading).
    DurableEnd,
    /// This offset, if it is below the durable end.
    Offset(i64),
}

/// Which batches to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// First offset wanted; the slice starts with the batch that holds it.
    pub offset: i64,
    /// About how many bytes at most.
    pub max_bytes: usize,
    /// Return one batch even when it is larger than `max_bytes`.
    pub at_least_one: bool,
    /// Where the reader's view ends.
    pub limit: ReadLimit,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its offset.
    pub offset: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

/// End of an epoch in this log (`OffsetForLeaderEpoch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// Largest epoch in the log that is not above the one asked for.
    pub epoch: i32,
    /// Offset after its last record.
    pub end_offset: i64,
}

/// An aborted transaction whose records lie in a range that was read (`Fetch` v4, `read_committed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTxn {
    /// Producer id.
    pub producer_id: i64,
    /// First offset of the transaction.
    pub first_offset: i64,
    /// Offset of its abort marker.
    pub last_offset: i64,
    /// Last stable offset when the marker was appended.
    pub last_stable_offset: i64,
}

/// What a producer left in a log (`DescribeProducers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Last sequence appended, -1 if none.
    pub last_sequence: i32,
    /// Timestamp of its last batch, milliseconds since the epoch.
    pub last_timestamp_ms: i64,
    /// Epoch of the transaction coordinator, -1 if none wrote a marker.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub current_txn_first_offset: Option<i64>,
}
