//! What all logs of a directory share: the queue of the committer, the queues of the flusher, the failure state.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::cleaner::CleanerControl;
use crate::journal::{LogKey, PartHead, PartKind};
use crate::log::Log;
use crate::segment::Segment;
use crate::{Clock, LogDirConfig, LogError, LogEvents, Storage, Threads, TopicPartition};

/// Threads that create, recover or close logs.
const SYNCING_THREADS_MAX: usize = 16;

/// A journaled append on its way.
pub(crate) struct QueuedPart {
    pub log: Arc<Log>,
    pub segment: Arc<Segment>,
    pub head: PartHead,
    /// End of the log after it.
    pub end_offset: i64,
    /// Appends that were written straight to the segments before it must be synced first.
    pub sync_direct_first: bool,
    /// The last part of its append; an append is never divided over two rounds.
    pub ends_append: bool,
}

/// Appends waiting for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    pub parts: Vec<QueuedPart>,
    /// The parts' bytes, one after the other.
    pub data: Vec<u8>,
    /// Logs whose direct appends became durable in their segments, to be noted with the next round.
    pub durable_notes: BTreeMap<LogKey, i64>,
}

/// Background work.
pub(crate) enum Job {
    /// A segment was closed for appends: complete its indexes, sync it, trim it.
    Seal { log: Arc<Log>, segment: Arc<Segment> },
    /// A journal slot is full: sync the segments its rounds went to, then it may be used again.
    Recycle { slot: usize, segments: Vec<(Arc<Log>, Arc<Segment>)> },
    /// Move recovery points.
    Checkpoint,
    /// Write a producer snapshot.
    Snapshot { log: Arc<Log>, offset: i64, bytes: Vec<u8> },
}

pub(crate) struct Shared {
    pub path: PathBuf,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub events: Arc<dyn LogEvents>,
    pub config: LogDirConfig,
    pub logs: RwLock<BTreeMap<TopicPartition, Arc<Log>>>,
    pub queue: Mutex<Queue>,
    pub queue_filled: Condvar,
    pub queue_drained: Condvar,
    /// Logs with direct appends to sync.
    pub direct: Mutex<VecDeque<Arc<Log>>>,
    pub direct_filled: Condvar,
    pub jobs: Mutex<VecDeque<Job>>,
    pub jobs_filled: Condvar,
    /// Files and directories to remove: when (milliseconds), which, whether it is a directory.
    pub doomed: Mutex<Vec<(i64, PathBuf, bool)>>,
    /// Starts of logs that stayed closed, to be kept in the checkpoint.
    pub refused_starts: Mutex<BTreeMap<TopicPartition, i64>>,
    /// Held while checkpoint files are written.
    pub checkpointing: Mutex<()>,
    /// Bytes written straight to segments since the recovery points were last moved for their sake.
    pub unchecked_bytes: AtomicU64,
    pub cleaner: CleanerControl,
    pub stop: AtomicBool,
    /// Why the whole directory is offline.
    failure: OnceLock<Arc<str>>,
}

impl Shared {
    pub fn new(
        path: PathBuf,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        events: Arc<dyn LogEvents>,
        config: LogDirConfig,
    ) -> Self {
        let cleaner_config = config.cleaner.clone();
        Self {
            path,
            storage,
            clock,
            events,
            config,
            logs: RwLock::new(BTreeMap::new()),
            queue: Mutex::new(Queue::default()),
            queue_filled: Condvar::new(),
            queue_drained: Condvar::new(),
            direct: Mutex::new(VecDeque::new()),
            direct_filled: Condvar::new(),
            jobs: Mutex::new(VecDeque::new()),
            jobs_filled: Condvar::new(),
            doomed: Mutex::new(Vec::new()),
            refused_starts: Mutex::new(BTreeMap::new()),
            checkpointing: Mutex::new(()),
            unchecked_bytes: AtomicU64::new(0),
            cleaner: CleanerControl::new(cleaner_config),
            stop: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// Calls `each` for all items, on several threads when there are many: each waits for syncs most of the time,
    /// and a file system commits those of several threads together. Answers in the items' order.
    pub fn side_by_side<T: Sync, R: Send>(
        &self,
        items: &[T],
        each: impl Fn(&T) -> Result<R, LogError> + Sync,
    ) -> Result<Vec<R>, LogError> {
        if items.len() <= 1 || self.config.threads == Threads::Manual {
            return items.iter().map(each).collect();
        }
        let each = &each;
        let share = items.len().div_ceil(SYNCING_THREADS_MAX).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = items
                .chunks(share)
                .map(|part| scope.spawn(move || part.iter().map(each).collect::<Result<Vec<R>, _>>()))
                .collect();
            let mut all = Vec::with_capacity(items.len());
            for thread in threads {
                let panicked = |_| LogError::Invalid("a thread that syncs logs panicked".into());
                all.extend(thread.join().map_err(panicked)??);
            }
            Ok(all)
        })
    }

    pub fn failure(&self) -> Option<&Arc<str>> {
        self.failure.get()
    }

    /// Takes the whole directory offline: what the journal holds is not known.
    pub fn fail_all(&self, cause: &str) {
        let cause: Arc<str> = cause.into();
        if self.failure.set(Arc::clone(&cause)).is_err() {
            return;
        }
        tracing::error!(directory = %self.path.display(), %cause, "log directory is offline until the next start");
        let logs: Vec<Arc<Log>> = self.logs.read().values().cloned().collect();
        for log in logs {
            log.fail(&cause);
        }
        // Whoever waits for room must see the failure.
        let _queue = self.queue.lock();
        self.queue_drained.notify_all();
    }

    /// Queues one append of one or more parts whose bytes lie in `fill`. Waits while too much is queued.
    pub fn enqueue(&self, fill: impl FnOnce(&mut Vec<u8>), parts: impl Iterator<Item = QueuedPart>) {
        let mut queue = self.queue.lock();
        let was_empty = queue.parts.is_empty();
        fill(&mut queue.data);
        queue.parts.extend(parts);
        drop(queue);
        if was_empty {
            self.queue_filled.notify_one();
        }
    }

    /// Back-pressure: waits until the committer has taken enough of the queue. Call it without holding a log's lock.
    pub fn wait_for_room(&self) {
        if self.config.threads == Threads::Manual {
            return;
        }
        let mut queue = self.queue.lock();
        while queue.data.len() > self.config.journal_queue_bytes_max
            && self.failure.get().is_none()
            && !self.stop.load(Ordering::Acquire)
        {
            self.queue_drained.wait(&mut queue);
        }
    }

    pub fn add_job(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.jobs_filled.notify_one();
    }

    /// Counts bytes written straight to segments: after so many the recovery points are moved on, so that a crash
    /// finds little to check however fast the log grows.
    pub fn count_unchecked(&self, bytes: usize) {
        let before = self.unchecked_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) >= self.config.checkpoint_bytes {
            self.unchecked_bytes.store(0, Ordering::Relaxed);
            self.add_job(Job::Checkpoint);
        }
    }

    pub fn add_direct(&self, log: Arc<Log>) {
        self.direct.lock().push_back(log);
        self.direct_filled.notify_one();
    }

    pub fn offline_error(&self, partition: &TopicPartition) -> Option<LogError> {
        self.failure
            .get()
            .map(|cause| LogError::Offline { partition: partition.clone(), cause: Arc::clone(cause) })
    }
}

impl QueuedPart {
    /// The place in the segment, for parts that carry data.
    pub fn position(&self) -> Option<u64> {
        match self.head.kind {
            PartKind::Data { position, .. } => Some(position),
            _ => None,
        }
    }
}
