//! Compaction: of each key only the newest record stays (`cleanup.policy=compact`).
//!
//! A cleaning walks the dirty part of a log (what was appended since the last one) and notes the newest offset of
//! each key, as many as memory allows; then it writes all segments up to there anew without the records that are
//! superseded, several small ones into one, and swaps them in. Rules and file names are Kafka's: [`filter`], [`swap`].

mod filter;
mod map;
mod rewrite;
mod swap;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kafka_codec::records::RecordError;
use parking_lot::{Condvar, Mutex};

pub(crate) use filter::LastBatch;
pub(crate) use swap::finish_swaps;

pub use crate::config::CleanerConfig;
use crate::log::Log;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::{LogError, Threads, TopicPartition};

/// What the cleaner's thread shares with those who steer it.
pub(crate) struct CleanerControl {
    config: Mutex<CleanerConfig>,
    woken: Condvar,
    /// Contents of the checkpoint file, as far as this process wrote them.
    written: Mutex<BTreeMap<TopicPartition, i64>>,
    /// One cleaning at a time.
    at_work: Mutex<()>,
}

impl CleanerControl {
    pub fn new(config: CleanerConfig) -> Self {
        Self {
            config: Mutex::new(config),
            woken: Condvar::new(),
            written: Mutex::default(),
            at_work: Mutex::default(),
        }
    }

    pub fn set_config(&self, config: CleanerConfig) {
        *self.config.lock() = config;
        self.woken.notify_all();
    }

    /// Lets the thread look again, or stop.
    pub fn wake(&self) {
        let _config = self.config.lock();
        self.woken.notify_all();
    }

    /// Whether the checkpoint file must be written to hold `cleaned`; it counts as written then.
    pub fn note_written(&self, cleaned: &BTreeMap<TopicPartition, i64>) -> bool {
        let mut written = self.written.lock();
        let changed = *written != *cleaned;
        if changed {
            written.clone_from(cleaned);
        }
        changed
    }
}

/// Why a cleaning ended before its end.
enum Ended {
    /// The log was deleted, cut or closed, or the directory closes: nothing was changed since the last whole group.
    Abandoned,
    Io(io::Error),
    /// A batch that cannot be read: file, position, reason.
    Damaged(String, u64, String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damaged(segment: &Segment, position: u64, error: &RecordError) -> Ended {
    Ended::Damaged(segment.log_name(), position, error.to_string())
}

/// Keeps the cleaner within its share of the disk.
struct Budget<'a> {
    shared: &'a Shared,
    bytes_per_second: u64,
    begun: Instant,
    bytes: u64,
}

impl<'a> Budget<'a> {
    fn new(shared: &'a Shared, config: &CleanerConfig) -> Self {
        // In manual mode the caller's time is not ours to spend.
        let limited = shared.config.threads == Threads::Own;
        let bytes_per_second = if limited { config.io_bytes_per_second } else { 0 };
        Self { shared, bytes_per_second, begun: Instant::now(), bytes: 0 }
    }

    /// Accounts for `bytes` read or written; waits when that was too fast.
    fn spend(&mut self, bytes: u64) -> Result<(), Ended> {
        /// Shorter pauses are saved up.
        const PAUSE_MIN: Duration = Duration::from_millis(10);
        self.bytes = self.bytes.saturating_add(bytes);
        loop {
            if self.shared.stop.load(Ordering::Acquire) || self.shared.failure().is_some() {
                return Err(Ended::Abandoned);
            }
            if self.bytes_per_second == 0 {
                return Ok(());
            }
            #[allow(clippy::cast_precision_loss)]
            let due =
                Duration::from_secs_f64((self.bytes as f64 / self.bytes_per_second as f64).min(86_400.0));
            let ahead = due.saturating_sub(self.begun.elapsed());
            if ahead < PAUSE_MIN {
                return Ok(());
            }
            let mut config = self.shared.cleaner.config.lock();
            if self.shared.stop.load(Ordering::Acquire) {
                return Err(Ended::Abandoned);
            }
            self.shared.cleaner.woken.wait_for(&mut config, ahead);
        }
    }
}

/// The part of a log that can be cleaned.
struct Dirty {
    /// First offset not cleaned yet.
    from: i64,
    /// Segments that may be rewritten, the clean ones included.
    segments: Vec<Arc<Segment>>,
    clean_bytes: u64,
    dirty_bytes: u64,
    /// `max.compaction.lag.ms` has passed for the oldest dirty record.
    overdue: bool,
}

impl Dirty {
    /// Dirty share in millionths.
    fn share(&self) -> u64 {
        let all = self.clean_bytes + self.dirty_bytes;
        u64::try_from(u128::from(self.dirty_bytes) * 1_000_000 / u128::from(all.max(1))).unwrap_or(1_000_000)
    }
}

impl Log {
    /// What of the log can be cleaned now; `None` if that is not worth it yet.
    fn dirty(&self, now_ms: i64) -> io::Result<Option<Dirty>> {
        let config = self.config();
        let list = self.segment_list();
        let start = self.log_start().max(list.first().map_or(0, |s| s.base_offset));
        let cleaned_to = self.cleaned_to.load(Ordering::Acquire);
        let known = (start..=self.log_end()).contains(&cleaned_to);
        let from = if known { cleaned_to } else { start };
        // Open transactions may still be aborted; and what the journal might write again must keep its place.
        let bound = self.last_stable_offset().min(self.recovery_point());
        let mut dirty = Dirty { from, segments: Vec::new(), clean_bytes: 0, dirty_bytes: 0, overdue: false };
        let mut oldest_ms = None;
        for segment in list.iter().take(list.len().saturating_sub(1)) {
            if !segment.is_sealed() || segment.end_offset() > bound {
                break;
            }
            if segment.end_offset() <= from {
                dirty.clean_bytes += segment.size();
            } else {
                let newest_ms = segment.max_timestamp()?.map_or(-1, |max| max.timestamp_ms);
                if config.min_compaction_lag_ms > 0
                    && newest_ms > now_ms.saturating_sub(config.min_compaction_lag_ms)
                {
                    break;
                }
                let first_ms = segment.first_timestamp()?.filter(|first_ms| *first_ms > 0);
                oldest_ms = match (oldest_ms, first_ms) {
                    (Some(a), Some(b)) => Some(i64::min(a, b)),
                    (a, b) => a.or(b),
                };
                dirty.dirty_bytes += segment.size();
            }
            dirty.segments.push(Arc::clone(segment));
        }
        dirty.overdue = oldest_ms
            .is_some_and(|oldest_ms| oldest_ms < now_ms.saturating_sub(config.max_compaction_lag_ms));
        let ratio = u64::from(config.min_cleanable_dirty_ratio) * 1000;
        let worth_it = dirty.dirty_bytes > 0 && (dirty.overdue || dirty.share() > ratio);
        Ok(worth_it.then_some(dirty))
    }
}

/// Cleans the log with the largest dirty share. Answers whether one needed it.
pub(crate) fn clean_filthiest(shared: &Arc<Shared>) -> Result<bool, LogError> {
    let _one_at_a_time = shared.cleaner.at_work.lock();
    let now_ms = shared.clock.now_ms();
    let logs: Vec<Arc<Log>> = shared.logs.read().values().cloned().collect();
    let mut filthiest: Option<(Arc<Log>, Dirty)> = None;
    for log in logs {
        let left_alone = !log.config().cleanup_policy.compact
            || log.failure().is_some()
            || log.uncleanable.load(Ordering::Acquire);
        if left_alone {
            continue;
        }
        let dirty = log.dirty(now_ms).map_err(|e| log.io_error("looking for what to compact", e))?;
        if let Some(dirty) = dirty
            && filthiest
                .as_ref()
                .is_none_or(|(_, other)| (dirty.overdue, dirty.share()) > (other.overdue, other.share()))
        {
            filthiest = Some((log, dirty));
        }
    }
    let Some((log, dirty)) = filthiest else { return Ok(false) };
    let config = shared.cleaner.config.lock().clone();
    let mut budget = Budget::new(shared, &config);
    match log.clean(&dirty, &config, now_ms, &mut budget) {
        Ok(cleaned_to) => {
            log.cleaned_to.store(cleaned_to, Ordering::Release);
            shared
                .write_checkpoints()
                .map_err(|e| log.io_error("writing checkpoints after compaction", e))?;
            Ok(true)
        }
        Err(Ended::Abandoned) => Ok(false),
        Err(Ended::Io(error)) => Err(log.io_error("compaction", error)),
        Err(Ended::Damaged(file, position, reason)) => {
            log.uncleanable.store(true, Ordering::Release);
            Err(LogError::Corrupt { partition: log.partition().clone(), file, position, reason })
        }
    }
}

/// The cleaner's thread.
pub(crate) fn run_cleaner(shared: &Arc<Shared>) {
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let enabled = shared.cleaner.config.lock().enabled && shared.failure().is_none();
        if enabled {
            match clean_filthiest(shared) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "compaction failed"),
            }
        }
        let mut config = shared.cleaner.config.lock();
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let pause = Duration::from_millis(config.backoff_ms.clamp(10, 3_600_000));
        shared.cleaner.woken.wait_for(&mut config, pause);
    }
}
