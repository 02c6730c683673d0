//! One partition's log.

use bytes::Bytes;

use crate::{
    AbortedTxn, ActiveProducer, AppendBatches, Appended, EpochEnd, LogConfig, LogError, ReadRequest,
    ReadSlice, TimestampOffset, TopicId, TopicPartition,
};

/// One partition's log. Shared by reference; one appender at a time, readers never block it.
pub struct Log {
    _private: (),
}

#[allow(unused_variables)]
impl Log {
    /// Appends batches. Returns as soon as they have their offsets; they are durable (and readable) when
    /// [`crate::LogEvents::advanced`] passes their last offset.
    pub fn append(&self, batches: AppendBatches) -> Result<Appended, LogError> {
        unimplemented_yet()
    }
    /// Finds whole batches to read. Never blocks an appender.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadSlice, LogError> {
        unimplemented_yet()
    }
    /// Like [`Log::read`], with the bytes.
    pub fn read_bytes(&self, request: &ReadRequest) -> Result<(ReadSlice, Bytes), LogError> {
        unimplemented_yet()
    }
    /// The log's name.
    pub fn partition(&self) -> &TopicPartition {
        unimplemented_yet()
    }
    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        unimplemented_yet()
    }
    /// A number for the owner's use (an index of its own), 0 until set.
    pub fn tag(&self) -> u64 {
        unimplemented_yet()
    }
    /// Sets [`Log::tag`].
    pub fn set_tag(&self, tag: u64) {
        unimplemented_yet()
    }
    /// First offset stored.
    pub fn log_start(&self) -> i64 {
        unimplemented_yet()
    }
    /// Offset of the next append.
    pub fn log_end(&self) -> i64 {
        unimplemented_yet()
    }
    /// End of what is on stable storage.
    pub fn durable_end(&self) -> i64 {
        unimplemented_yet()
    }
    /// End of what consumers may see: the durable end, unless a replication layer holds it back.
    pub fn high_watermark(&self) -> i64 {
        unimplemented_yet()
    }
    /// Makes the high watermark the replication layer's: never above the durable end.
    pub fn set_high_watermark(&self, offset: i64) {
        unimplemented_yet()
    }
    /// First offset of the oldest open transaction, else the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        unimplemented_yet()
    }
    /// Current settings.
    pub fn config(&self) -> std::sync::Arc<LogConfig> {
        unimplemented_yet()
    }
    /// Replaces the settings; they count from the next append or maintenance on.
    pub fn set_config(&self, config: LogConfig) {
        unimplemented_yet()
    }
    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        unimplemented_yet()
    }
    /// First record whose timestamp is at or after `timestamp_ms`, among those below `limit`.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> Result<Option<TimestampOffset>, LogError> {
        unimplemented_yet()
    }
    /// Record with the largest timestamp (`ListOffsets` -3, KIP-734).
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, LogError> {
        unimplemented_yet()
    }
    /// Newest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        unimplemented_yet()
    }
    /// Leader epoch of the batch at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        unimplemented_yet()
    }
    /// End offset of `epoch` (KIP-101/279).
    pub fn epoch_end(&self, epoch: i32) -> Option<EpochEnd> {
        unimplemented_yet()
    }
    /// Aborted transactions that touch `from..to`.
    pub fn aborted_txns(&self, from: i64, to: i64) -> Result<Vec<AbortedTxn>, LogError> {
        unimplemented_yet()
    }
    /// Producers with state in this log.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        unimplemented_yet()
    }
    /// Makes `offset` the first one stored (`DeleteRecords`); returns the new log start.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, LogError> {
        unimplemented_yet()
    }
    /// Cuts everything from `offset` on (followers only: what is cut may have been acknowledged).
    pub fn truncate_to(&self, offset: i64) -> Result<(), LogError> {
        unimplemented_yet()
    }
}

#[allow(clippy::panic)]
fn unimplemented_yet<T>() -> T {
    panic!("outline only: the code comes with the next commits")
}
