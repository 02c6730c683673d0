//! Records as producers hand them in and consumers get them.

use std::sync::Arc;

use bytes::Bytes;

use crate::door::Header;

/// A record to produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Topic to write to.
    pub topic: Arc<str>,
    /// Explicit partition; `None` = the partitioner decides.
    pub partition: Option<i32>,
    /// Create time in milliseconds since the epoch; `None` = now.
    pub timestamp_ms: Option<i64>,
    /// Key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; repeated names are kept.
    pub headers: Vec<Header>,
}

impl ProducerRecord {
    /// A record with a value and neither key, partition nor headers.
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), value: Some(value.into()), ..Self::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Bytes>, value: Option<Bytes>) -> Self {
        self.headers.push(Header { key: key.into(), value });
        self
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset; −1 when unknown (`acks=0`, or a duplicate whose offset the broker no longer knows).
    pub offset: i64,
    /// Timestamp of the record in milliseconds: the producer's, or the broker's for `LogAppendTime` topics.
    pub timestamp_ms: i64,
    /// Size of the serialized key in bytes, −1 for null.
    pub serialized_key_size: i32,
    /// Size of the serialized value in bytes, −1 for null.
    pub serialized_value_size: i32,
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Records of formats older than any timestamp.
    NoTimestampType,
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
}

/// A record that was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Timestamp in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// Key; `None` is null.
    pub key: Option<Bytes>,
    /// Value; `None` is null.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<Header>,
    /// Leader epoch of the batch, if known.
    pub leader_epoch: Option<i32>,
}

/// An offset to commit or as it was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// Next offset to consume.
    pub offset: i64,
    /// Leader epoch of the last record consumed, if known.
    pub leader_epoch: Option<i32>,
    /// Free text kept with the offset.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// A bare offset.
    pub fn new(offset: i64) -> Self {
        Self { offset, ..Self::default() }
    }
}

/// Answer of a look-up by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// Offset of the first record at or after the time.
    pub offset: i64,
    /// Its timestamp in milliseconds (−1 for the special look-ups earliest and latest).
    pub timestamp_ms: i64,
    /// Its leader epoch, if known.
    pub leader_epoch: Option<i32>,
}
