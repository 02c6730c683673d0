//! The log directory: all logs of one data directory, their journal and their recovery.

use std::path::Path;
use std::sync::Arc;

use crate::{
    AppendBatches, Appended, Clock, Log, LogConfig, LogDirConfig, LogError, Storage, TopicId, TopicPartition,
};

/// What the directory tells its owner; called on its own threads (in manual mode: by `run_pending`), so an
/// implementation must be quick and must not append.
pub trait LogEvents: Send + Sync + 'static {
    /// Everything of `log` below `durable_end` is on stable storage (for `write.caching` logs: in the page
    /// cache) and readable.
    fn advanced(&self, log: &Arc<Log>, durable_end: i64);
    /// A round of [`LogEvents::advanced`] calls is over: the moment to wake those who wait, once.
    fn round_over(&self) {}
    /// `log` takes no more appends until the process starts anew.
    fn failed(&self, log: &Arc<Log>, error: &LogError);
}

/// A log to create.
#[derive(Clone, Debug)]
pub struct NewLog {
    /// Its name.
    pub partition: TopicPartition,
    /// Its topic's id.
    pub topic_id: TopicId,
    /// Its settings.
    pub config: LogConfig,
}

/// What recovery did to one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The log.
    pub partition: TopicPartition,
    /// End of the log after recovery.
    pub end_offset: i64,
    /// Bytes written again from the journal.
    pub replayed_bytes: u64,
    /// Bytes cut off the end because they were not whole batches.
    pub truncated_bytes: u64,
    /// Why they were cut.
    pub reason: String,
}

/// A log that was not opened.
#[derive(Clone, Debug)]
pub struct RefusedLog {
    /// The log.
    pub partition: TopicPartition,
    /// Why.
    pub error: LogError,
}

/// What happened at the opening of a directory.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The directory had been closed properly; nothing was scanned.
    pub clean: bool,
    /// Logs that recovery changed.
    pub recovered: Vec<RecoveredLog>,
    /// Logs that stay closed.
    pub refused: Vec<RefusedLog>,
    /// Damage that belongs to no single log (journal, checkpoint files), one line each.
    pub notes: Vec<String>,
}

/// All logs of one data directory.
pub struct LogDir {
    _private: (),
}

impl LogDir {
    /// Opens a data directory (made if missing), recovers its logs. They start with
    /// `config.log_defaults`; give them their own with [`Log::set_config`] before the first maintenance.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process holds it, [`LogError::Io`]. Damage to single logs is no
    /// error: see [`RecoveryReport::refused`].
    pub fn open(
        _path: &Path,
        _config: LogDirConfig,
        _storage: Arc<dyn Storage>,
        _clock: Arc<dyn Clock>,
        _events: Arc<dyn LogEvents>,
    ) -> Result<(Self, RecoveryReport), LogError> {
        Err(LogError::Invalid("not yet".into()))
    }

    /// Creates logs; one that exists already with the same topic id is returned as it is.
    pub fn create_logs(&self, _logs: &[NewLog]) -> Result<Vec<Arc<Log>>, LogError> {
        Err(LogError::Invalid("not yet".into()))
    }

    /// Creates one log.
    pub fn create_log(&self, _log: NewLog) -> Result<Arc<Log>, LogError> {
        Err(LogError::Invalid("not yet".into()))
    }

    /// Looks a log up.
    pub fn log(&self, _partition: &TopicPartition) -> Option<Arc<Log>> {
        None
    }

    /// All open logs, sorted by name.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        Vec::new()
    }

    /// Deletes a log: gone at once for users, from the disk after `file.delete.delay.ms`.
    pub fn delete_log(&self, _partition: &TopicPartition) -> Result<(), LogError> {
        Err(LogError::Invalid("not yet".into()))
    }

    /// Appends to several logs as one step: after any crash all of it is there or none. Each log at most once.
    pub fn append_atomic(&self, _appends: Vec<(Arc<Log>, AppendBatches)>) -> Result<Vec<Appended>, LogError> {
        Err(LogError::Invalid("not yet".into()))
    }

    /// Housekeeping, to be called about every second: retention, rolls by time, checkpoints, removal of deleted
    /// files, expiry of producers.
    pub fn run_maintenance(&self) {}

    /// In manual mode: does the work that waits for the committer and the flusher.
    pub fn run_pending(&self) {}

    /// Syncs everything, writes the checkpoints and the clean-shutdown marker, gives the directory free.
    pub fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}
