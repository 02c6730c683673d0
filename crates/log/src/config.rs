//! Settings of one log and of the log directory, under Kafka's names where Kafka has them.

use kafka_codec::records::Compression;

/// What happens to old records (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// `delete`: whole segments go when they are too old or the log is too large.
    pub delete: bool,
    /// `compact`: only the newest record of each key is kept.
    pub compact: bool,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        Self { delete: true, compact: false }
    }
}

/// Whose clock stamps a record (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's (`CreateTime`).
    #[default]
    CreateTime,
    /// The log's, at the append (`LogAppendTime`).
    LogAppendTime,
}

/// Settings of one partition's log. Times in milliseconds, sizes in bytes, `-1` = without limit as in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows past this (at most 2^31 - 1).
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is closed when its first record is this old.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to so much is taken from `segment.ms`, another amount for each segment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is closed when one of its indexes would grow past this.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: one index entry about every so many bytes.
    pub index_interval_bytes: u32,
    /// `retention.ms`.
    pub retention_ms: i64,
    /// `retention.bytes`.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long a deleted segment's files stay, renamed, for readers at work.
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `delete.retention.ms`: how long the cleaner keeps tombstones.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: Thousandths,
    /// `preallocate`: a new segment's whole room is reserved at once.
    pub preallocate: bool,
    /// `compression.type`, and the codec's level: what clients' batches are stored as; `None` = as they came.
    pub compression: Option<(Compression, Option<i32>)>,
    /// `max.message.bytes`: largest record batch accepted from a client.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `write.caching`: an append counts as done once it is in the page cache; nothing is journaled or synced
    /// for it (Kafka's own habit). Survives a kill of the process, not a power failure.
    pub write_caching: bool,
}

/// A ratio from 0 to 1 in thousandths, so that settings can be compared exactly.
pub type Thousandths = u32;

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            cleanup_policy: CleanupPolicy::default(),
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 500,
            preallocate: false,
            compression: None,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            write_caching: false,
        }
    }
}

/// Who does the directory's syncing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// Two threads of the directory's own: the committer (journal) and the flusher (segments).
    #[default]
    Own,
    /// None: the caller runs [`crate::LogDir::run_pending`]. For simulation and property tests.
    Manual,
}

/// Settings of the cleaner, which compacts logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`, and `log.cleaner.threads` above 0.
    pub enabled: bool,
    /// `log.cleaner.dedupe.buffer.size`: most memory for the newest offsets of keys. Taken only as far as needed.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`: read and written together; 0 = without limit.
    pub io_bytes_per_second: u64,
    /// `log.cleaner.backoff.ms`: pause when there was nothing to clean.
    pub backoff_ms: u64,
}

impl Default for CleanerConfig {
    fn default() -> Self {
        Self { enabled: true, dedupe_buffer_bytes: 128 << 20, io_bytes_per_second: 0, backoff_ms: 15_000 }
    }
}

/// Settings of a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirConfig {
    /// `journal.bytes`: size at which one of the two journal files is full.
    pub journal_bytes: u64,
    /// `journal.batch.bytes.max`: a larger append goes straight to its segment and is synced there.
    pub journal_batch_bytes_max: usize,
    /// `journal.queue.bytes.max`: appends wait while so many bytes are queued for the journal.
    pub journal_queue_bytes_max: usize,
    /// `producer.id.expiration.ms`: state of a producer that was silent so long is dropped.
    pub producer_id_expiration_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`: how often recovery points move.
    pub checkpoint_interval_ms: i64,
    /// The recovery points are also moved when so many bytes were written straight to segments.
    pub checkpoint_bytes: u64,
    /// Most bytes that the records of one batch may decompress to.
    pub decompressed_bytes_max: usize,
    /// Who does the syncing.
    pub threads: Threads,
    /// The cleaner's settings.
    pub cleaner: CleanerConfig,
    /// Settings of logs found at opening, until their owner gives them their own.
    pub log_defaults: LogConfig,
}

impl Default for LogDirConfig {
    fn default() -> Self {
        Self {
            journal_bytes: 64 << 20,
            journal_batch_bytes_max: 32 << 10,
            journal_queue_bytes_max: 64 << 20,
            producer_id_expiration_ms: 24 * 3_600_000,
            checkpoint_interval_ms: 60_000,
            checkpoint_bytes: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            threads: Threads::Own,
            cleaner: CleanerConfig::default(),
            log_defaults: LogConfig::default(),
        }
    }
}
