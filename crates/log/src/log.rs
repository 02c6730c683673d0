//! One partition's log: its segments, how far it is durable, its state.
//!
//! Three locks, always taken in this order: the appender's state, the durable state, the directory's queue. None
//! is held by a reader while it touches a file.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::epochs::LeaderEpochs;
use crate::journal::LogKey;
use crate::producer::Producers;
use crate::segment::{Segment, file_name};
use crate::shared::{Job, Shared};
use crate::storage::{LogStorage, OpenMode, Storage};
use crate::{ActiveProducer, EpochEnd, LogConfig, LogError, TopicId, TopicPartition, checkpoint};

/// Durable ends remembered with their file positions: tail readers continue exactly there.
const RECENT_MARKS: usize = 32;
/// Producer snapshots kept per log.
const SNAPSHOTS_KEPT: usize = 2;

/// The offset in a snapshot's file name.
pub(crate) fn snapshot_offset(name: &str) -> Option<i64> {
    name.strip_suffix(".snapshot").filter(|n| n.len() == 20)?.parse().ok()
}

/// An offset and where it stands: a batch boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub offset: i64,
    pub segment_base: i64,
    pub position: u64,
}

/// How far appends are on stable storage. They go two ways, through the journal or straight to their segment, and
/// become durable in offset order over both. A journaled append begins only when no direct one is under way, so
/// there is at most one run of journaled ones followed by one run of direct ones.
pub(crate) struct Durable {
    pub journal_queued: i64,
    pub journal_done: Mark,
    pub direct_queued: i64,
    pub direct_done: Mark,
    pub end: Mark,
    pub recent: VecDeque<Mark>,
    /// Cuts (truncations) that reached the journal.
    pub cuts_done: u64,
    /// Segments closed for appends that wait until all of them is durable.
    pub closing: Vec<Arc<Segment>>,
}

impl Durable {
    pub fn at(end: Mark) -> Self {
        Self {
            journal_queued: end.offset,
            journal_done: end,
            direct_queued: end.offset,
            direct_done: end,
            end,
            recent: VecDeque::from([end]),
            cuts_done: 0,
            closing: Vec::new(),
        }
    }

    /// Moves the durable end as far as both ways allow; the new end, if it moved.
    fn settle(&mut self) -> Option<i64> {
        let mut target = self.journal_done;
        if self.journal_done.offset >= self.journal_queued && self.direct_done.offset > target.offset {
            target = self.direct_done;
        }
        if target.offset <= self.end.offset {
            return None;
        }
        self.end = target;
        if self.recent.len() == RECENT_MARKS {
            self.recent.pop_front();
        }
        self.recent.push_back(target);
        Some(target.offset)
    }

    /// Segments that are durable as a whole and can be sealed.
    fn take_closed(&mut self) -> Vec<Arc<Segment>> {
        if self.closing.is_empty() {
            return Vec::new();
        }
        let end = self.end.offset;
        let (closed, open) = self.closing.drain(..).partition(|s| s.end_offset() <= end);
        self.closing = open;
        closed
    }
}

/// Direct appends whose segments are to be synced.
#[derive(Default)]
pub(crate) struct Direct {
    pub segments: Vec<Arc<Segment>>,
    pub mark: Option<Mark>,
    pub queued: bool,
}

/// What the appender works on.
pub(crate) struct AppendState {
    pub active: Arc<Segment>,
    pub producers: Producers,
    /// Offset of the snapshot that is on stable storage, if it is known.
    pub snapshot_offset: Option<i64>,
}

/// Transactions as the last stable offset sees them.
#[derive(Default)]
pub(crate) struct TxnView {
    pub first_open: Option<i64>,
    /// Ended ones (first offset → marker's offset) whose marker is not below the high watermark yet.
    pub ended: BTreeMap<i64, i64>,
}

/// One partition's log. Shared by reference; one appender at a time, readers never block it.
pub struct Log {
    pub(crate) number: u64,
    pub(crate) partition: TopicPartition,
    pub(crate) key: LogKey,
    pub(crate) dir: Arc<Path>,
    pub(crate) storage: Arc<LogStorage>,
    pub(crate) shared: Arc<Shared>,
    config: RwLock<Arc<LogConfig>>,
    tag: AtomicU64,
    pub(crate) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    pub(crate) append: Mutex<AppendState>,
    pub(crate) epochs: RwLock<LeaderEpochs>,
    pub(crate) durable: Mutex<Durable>,
    /// Wakes who waits for a change of `durable`.
    pub(crate) settled: Condvar,
    pub(crate) direct: Mutex<Direct>,
    direct_sync: Mutex<()>,
    pub(crate) log_start: AtomicI64,
    pub(crate) log_end: AtomicI64,
    pub(crate) durable_end: AtomicI64,
    /// Set by a replication layer; `i64::MAX` = follow the durable end.
    pub(crate) high_watermark: AtomicI64,
    pub(crate) recovery_point: AtomicI64,
    /// The recovery point that stands in the checkpoint file.
    pub(crate) checkpointed: AtomicI64,
    pub(crate) txns: Mutex<TxnView>,
    pub(crate) txns_in_view: AtomicBool,
    /// Page-cache-only appends lie in the segment: a journaled append must sync them first.
    pub(crate) cached_unsynced: AtomicBool,
    /// Held while segments are taken out of the log or replaced; before all other locks.
    pub(crate) files: Mutex<()>,
    /// Up to where the log is compacted.
    pub(crate) cleaned_to: AtomicI64,
    /// A batch that the cleaner could not read was met: the log is left as it is.
    pub(crate) uncleanable: AtomicBool,
    failed: OnceLock<Arc<str>>,
    closed: AtomicBool,
}

/// What loading a log from disk gives.
pub(crate) struct LoadedLog {
    pub partition: TopicPartition,
    pub topic_id: TopicId,
    pub dir: Arc<Path>,
    pub storage: Arc<LogStorage>,
    pub config: LogConfig,
    /// At least one, sorted.
    pub segments: Vec<Arc<Segment>>,
    pub producers: Producers,
    pub epochs: LeaderEpochs,
    pub log_start: i64,
    pub log_end: i64,
    pub recovery_point: i64,
    pub ended_txns: BTreeMap<i64, i64>,
    pub snapshot_offset: Option<i64>,
}

impl Log {
    /// A log from its parts; `None` without a segment.
    pub(crate) fn from_loaded(number: u64, shared: &Arc<Shared>, loaded: LoadedLog) -> Option<Arc<Self>> {
        let active = Arc::clone(loaded.segments.last()?);
        let end = Mark { offset: loaded.log_end, segment_base: active.base_offset, position: active.size() };
        let first_open = loaded.producers.first_open_txn();
        Some(Arc::new(Self {
            number,
            key: LogKey { topic_id: loaded.topic_id, partition: loaded.partition.partition },
            partition: loaded.partition,
            dir: loaded.dir,
            storage: loaded.storage,
            shared: Arc::clone(shared),
            config: RwLock::new(Arc::new(loaded.config)),
            tag: AtomicU64::new(0),
            segments: RwLock::new(Arc::new(loaded.segments)),
            append: Mutex::new(AppendState {
                active,
                producers: loaded.producers,
                snapshot_offset: loaded.snapshot_offset,
            }),
            epochs: RwLock::new(loaded.epochs),
            durable: Mutex::new(Durable::at(end)),
            settled: Condvar::new(),
            direct: Mutex::new(Direct::default()),
            direct_sync: Mutex::new(()),
            log_start: AtomicI64::new(loaded.log_start),
            log_end: AtomicI64::new(loaded.log_end),
            durable_end: AtomicI64::new(loaded.log_end),
            high_watermark: AtomicI64::new(i64::MAX),
            recovery_point: AtomicI64::new(loaded.recovery_point),
            checkpointed: AtomicI64::new(loaded.recovery_point),
            txns_in_view: AtomicBool::new(first_open.is_some() || !loaded.ended_txns.is_empty()),
            txns: Mutex::new(TxnView { first_open, ended: loaded.ended_txns }),
            cached_unsynced: AtomicBool::new(false),
            files: Mutex::new(()),
            cleaned_to: AtomicI64::new(0),
            uncleanable: AtomicBool::new(false),
            failed: OnceLock::new(),
            closed: AtomicBool::new(false),
        }))
    }

    /// The log's name.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        self.key.topic_id
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A number for the owner's use (an index of its own), 0 until set.
    pub fn tag(&self) -> u64 {
        self.tag.load(Ordering::Acquire)
    }

    /// Sets [`Log::tag`].
    pub fn set_tag(&self, tag: u64) {
        self.tag.store(tag, Ordering::Release);
    }

    /// First offset stored.
    pub fn log_start(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// Offset of the next append.
    pub fn log_end(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    /// End of what is on stable storage (for `write.caching` logs: in the page cache).
    pub fn durable_end(&self) -> i64 {
        self.durable_end.load(Ordering::Acquire)
    }

    /// End of what consumers may see: the durable end, unless a replication layer holds it back.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire).min(self.durable_end())
    }

    /// Makes the high watermark the replication layer's; the durable end still bounds it.
    pub fn set_high_watermark(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
    }

    /// First offset of the oldest transaction that is open, or whose end is not below the high watermark yet; else
    /// the high watermark. `read_committed` consumers see up to here.
    pub fn last_stable_offset(&self) -> i64 {
        let high_watermark = self.high_watermark();
        if !self.txns_in_view.load(Ordering::Acquire) {
            return high_watermark;
        }
        let mut txns = self.txns.lock();
        txns.ended.retain(|_, marker| *marker >= high_watermark);
        let first_ended = txns.ended.keys().next().copied();
        let first = [txns.first_open, first_ended].into_iter().flatten().min();
        self.txns_in_view.store(first.is_some(), Ordering::Release);
        first.map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// Current settings.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Replaces the settings; they count from the next append or maintenance on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write() = Arc::new(config);
    }

    /// Bytes of records on disk.
    pub fn size(&self) -> u64 {
        self.segment_list().iter().map(|s| s.size()).sum()
    }

    pub(crate) fn segment_list(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read())
    }

    pub(crate) fn first_segment_base(&self) -> i64 {
        self.segments.read().first().map_or(0, |s| s.base_offset)
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.read().len()
    }

    /// Up to where the segments themselves are on stable storage: recovery looks only at what lies behind.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point.load(Ordering::Acquire)
    }

    /// Up to where the log is compacted: of each key there is at most one record below.
    pub fn compacted_to(&self) -> i64 {
        self.cleaned_to.load(Ordering::Acquire)
    }

    /// Newest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.read().latest()
    }

    /// Leader epoch of the batch at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.read().at(offset)
    }

    /// End offset of `epoch`, or of the largest one below it (KIP-101/279); `None` if the log knows nothing of it.
    pub fn epoch_end(&self, epoch: i32) -> Option<EpochEnd> {
        self.epochs.read().end_of(epoch, self.log_end())
    }

    /// Producers with state in this log.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.append.lock().producers.list()
    }

    /// Why the log takes no appends, if so.
    pub fn failure(&self) -> Option<LogError> {
        if let Some(cause) = self.failed.get() {
            let partition = self.partition.clone();
            return Some(LogError::Offline { partition, cause: Arc::clone(cause) });
        }
        if self.is_closed() {
            return Some(LogError::Closed(self.partition.clone()));
        }
        self.shared.offline_error(&self.partition)
    }

    pub(crate) fn check_writable(&self) -> Result<(), LogError> {
        self.failure().map_or(Ok(()), Err)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// Takes the log offline for appends; reads go on.
    pub(crate) fn fail(self: &Arc<Self>, cause: &Arc<str>) {
        if self.failed.set(Arc::clone(cause)).is_err() || self.is_closed() {
            return;
        }
        tracing::error!(partition = %self.partition, %cause, "log is offline until the next start");
        self.settled.notify_all();
        if let Some(error) = self.failure() {
            self.shared.events.failed(self, &error);
        }
    }

    pub(crate) fn fail_io(self: &Arc<Self>, doing: &str, error: &io::Error) {
        self.fail(&format!("{doing}: {error}").into());
    }

    pub(crate) fn io_error(&self, doing: &str, error: io::Error) -> LogError {
        if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
            return LogError::NoSpace { partition: self.partition.clone(), source: Arc::new(error) };
        }
        LogError::io(format!("{doing} of {}", self.partition), error)
    }

    // ---- durability ----

    /// The journaled appends up to `mark` are durable and in their segments.
    pub(crate) fn journal_done(self: &Arc<Self>, mark: Mark) {
        self.settle(|durable| durable.journal_done = mark);
    }

    /// A cut is noted in the journal.
    pub(crate) fn journal_cut_done(self: &Arc<Self>) {
        self.durable.lock().cuts_done += 1;
        self.settled.notify_all();
    }

    /// The direct appends up to `mark` are durable.
    pub(crate) fn direct_done(self: &Arc<Self>, mark: Mark) {
        self.settle(|durable| durable.direct_done = mark);
    }

    fn settle(self: &Arc<Self>, change: impl FnOnce(&mut Durable)) {
        if self.is_failed() {
            return;
        }
        let (moved, closed) = {
            let mut durable = self.durable.lock();
            change(&mut durable);
            let moved = durable.settle();
            if let Some(end) = moved {
                self.durable_end.store(end, Ordering::Release);
            }
            (moved, durable.take_closed())
        };
        self.settled.notify_all();
        for segment in closed {
            self.shared.add_job(Job::Seal { log: Arc::clone(self), segment });
        }
        if let Some(end) = moved.filter(|_| !self.is_closed()) {
            self.shared.events.advanced(self, end);
        }
    }

    /// Syncs a segment; a failure takes the log offline for good.
    pub(crate) fn sync_segment(self: &Arc<Self>, segment: &Segment) -> io::Result<()> {
        segment.sync(
            || if self.is_failed() { Err(io::Error::other("the log is offline")) } else { Ok(()) },
            |e| self.fail_io(&format!("sync of {}", segment.log_name()), e),
        )
    }

    /// Syncs what direct appends wrote so far.
    pub(crate) fn sync_direct(self: &Arc<Self>) {
        let _one_at_a_time = self.direct_sync.lock();
        self.cached_unsynced.store(false, Ordering::Release);
        let (segments, mark) = {
            let mut direct = self.direct.lock();
            direct.queued = false;
            (std::mem::take(&mut direct.segments), direct.mark.take())
        };
        for segment in &segments {
            if self.sync_segment(segment).is_err() {
                return;
            }
        }
        if let Some(mark) = mark {
            self.direct_done(mark);
            let durable_end = self.durable_end();
            self.shared.queue.lock().durable_notes.insert(self.key, durable_end);
        }
    }

    /// Completes a segment that takes no more appends.
    pub(crate) fn seal(self: &Arc<Self>, segment: &Segment) {
        if self.is_closed() || self.is_failed() {
            return;
        }
        if let Err(e) = segment.flush_indexes(true) {
            // Indexes can be made again: the recovery point stays before this segment.
            tracing::warn!(partition = %self.partition, error = %e, "indexes of a closed segment not written");
            return;
        }
        if let Err(e) = segment.trim() {
            tracing::warn!(partition = %self.partition, error = %e, "reserved room of a closed segment not given back");
        }
        if self.sync_segment(segment).is_err() {
            return;
        }
        // The snapshot taken at the roll: recovery will count on it once the recovery point is past it.
        let snapshot = self.dir.join(file_name(segment.end_offset(), "snapshot"));
        let storage = &*self.storage;
        let synced = storage
            .open(&snapshot, OpenMode::Write)
            .and_then(|file| file.sync_data())
            .and_then(|()| storage.sync_dir(&self.dir));
        if let Err(e) = synced.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
        {
            tracing::warn!(partition = %self.partition, error = %e, "producer snapshot not synced");
            return;
        }
        segment.mark_sealed();
        let point = self.recovery_point();
        if point >= segment.base_offset && point < segment.end_offset() {
            self.recovery_point.store(segment.end_offset(), Ordering::Release);
        }
    }

    /// Makes the segments themselves durable up to the durable end, and moves the recovery point there.
    /// `write.caching` logs are left to the system, but for their closed segments.
    pub(crate) fn flush_for_checkpoint(self: &Arc<Self>) {
        if self.is_closed() || self.is_failed() {
            return;
        }
        self.write_epochs();
        let end = self.durable.lock().end;
        if self.recovery_point() >= end.offset || self.config().write_caching {
            return;
        }
        let list = self.segment_list();
        for segment in list.iter() {
            if segment.is_sealed() || segment.base_offset > end.segment_base {
                continue;
            }
            let mut synced = segment.flush_indexes(false).and_then(|()| self.sync_segment(segment));
            let closed = list.last().is_some_and(|active| !Arc::ptr_eq(active, segment));
            if closed && segment.end_offset() <= end.offset {
                // The recovery point may pass a roll only when the snapshot taken there is on disk.
                synced = synced.and_then(|()| self.sync_snapshot_after(segment));
            }
            if let Err(e) = synced {
                tracing::warn!(partition = %self.partition, error = %e, "recovery point not moved");
                return;
            }
        }
        self.recovery_point.fetch_max(end.offset, Ordering::AcqRel);
    }

    /// Closes files that nobody used since the last call. Those of a segment that takes appends stay open until they
    /// are on stable storage.
    pub(crate) fn close_idle_files(&self) {
        let synced = self.config().write_caching || self.recovery_point() >= self.log_end();
        for segment in self.segment_list().iter() {
            if synced || segment.is_sealed() {
                segment.close_if_idle();
            }
        }
    }

    /// Leaves the log as a clean opening expects it.
    pub(crate) fn finish(self: &Arc<Self>) -> io::Result<()> {
        self.write_epochs();
        let state = self.append.lock();
        for segment in self.segment_list().iter().filter(|s| !s.is_sealed()) {
            if self.recovery_point() < self.log_end() || segment.size() > 0 && segment.times.len() == 0 {
                segment.flush_indexes(true)?;
                segment.trim()?;
                self.sync_segment(segment)?;
            }
        }
        if state.snapshot_offset != Some(self.log_end()) {
            self.write_snapshot(self.log_end(), &state.producers.encode_snapshot());
            self.sync_snapshot(self.log_end())?;
        }
        self.recovery_point.store(self.log_end(), Ordering::Release);
        for segment in self.segment_list().iter() {
            segment.close_files();
        }
        Ok(())
    }

    pub(crate) fn write_epochs(&self) {
        let entries = {
            let mut epochs = self.epochs.write();
            if !std::mem::take(&mut epochs.dirty) {
                return;
            }
            epochs.entries().to_vec()
        };
        let path = self.dir.join(checkpoint::LEADER_EPOCHS);
        if let Err(e) = checkpoint::write_epochs(&*self.storage, &path, &entries) {
            self.epochs.write().dirty = true;
            tracing::warn!(partition = %self.partition, error = %e, "leader epochs not written");
        }
    }

    /// Syncs the snapshot taken when `segment` was closed for appends: it bears the next segment's name.
    fn sync_snapshot_after(&self, segment: &Segment) -> io::Result<()> {
        let list = self.segment_list();
        let next = list.iter().find(|s| s.base_offset > segment.base_offset);
        self.sync_snapshot(next.map_or(segment.end_offset(), |s| s.base_offset))
    }

    fn sync_snapshot(&self, offset: i64) -> io::Result<()> {
        let storage = &*self.storage;
        storage.open(&self.dir.join(file_name(offset, "snapshot")), OpenMode::Write)?.sync_data()?;
        storage.sync_dir(&self.dir)
    }

    /// Writes a producer snapshot and removes old ones. Not synced: it carries a checksum, and recovery falls back
    /// to an older one.
    pub(crate) fn write_snapshot(&self, offset: i64, bytes: &[u8]) {
        if self.is_closed() {
            return;
        }
        let storage = &*self.storage;
        let done = (|| {
            let path = self.dir.join(file_name(offset, "snapshot"));
            crate::committer::write_unsynced(storage, &path, bytes)?;
            let names = storage.list(&self.dir)?;
            let mut snapshots: Vec<i64> = names.iter().filter_map(|e| snapshot_offset(&e.name)).collect();
            snapshots.sort_unstable();
            // Recovery starts from the newest one that is not above the recovery point.
            let checkpointed = self.checkpointed.load(Ordering::Acquire);
            let needed = snapshots.iter().rposition(|o| *o <= checkpointed).unwrap_or(0);
            let surplus = snapshots.len().saturating_sub(SNAPSHOTS_KEPT).min(needed);
            for old in snapshots.iter().take(surplus) {
                storage.remove(&self.dir.join(file_name(*old, "snapshot")))?;
            }
            Ok::<(), io::Error>(())
        })();
        if let Err(e) = done {
            tracing::warn!(partition = %self.partition, error = %e, "producer snapshot not written");
        }
    }
}
