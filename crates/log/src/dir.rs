//! The log directory: all logs of one data directory, their journal and their recovery.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::checkpoint;
use crate::cleaner::{self, CleanerConfig};
use crate::committer::{Journal, run_committer, run_flusher, run_housekeeper};
use crate::journal::{LogKey, Slot, slot_number, slot_path};
use crate::recovery::{self, FoundLog, LoadContext};
use crate::retention::{deleted_dir_name, is_deleted_dir};
use crate::segment::Segment;
use crate::shared::{Job, Shared};
use crate::storage::{LogStorage, StorageLock, replace_file};
use crate::{Clock, Log, LogConfig, LogDirConfig, LogError, Storage, Threads, TopicId, TopicPartition};

/// Threads that sync direct appends; several, as one sync waits for the device.
const FLUSHERS: usize = 2;
/// Longest topic name, as in Kafka.
const TOPIC_NAME_MAX: usize = 249;

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
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_number: AtomicU64,
    last_checkpoint_ms: AtomicI64,
    last_expiry_ms: AtomicI64,
    /// Creation and deletion go one at a time.
    changing: Mutex<()>,
    lock: Mutex<Option<Box<dyn StorageLock>>>,
}

impl LogDir {
    /// Opens a data directory (made if missing), recovers its logs. They start with `config.log_defaults`; give
    /// them their own settings with [`Log::set_config`] before the first maintenance.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process holds it, [`LogError::Io`]. Damage to single logs is no error: see
    /// [`RecoveryReport::refused`].
    pub fn open(
        path: &Path,
        config: LogDirConfig,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        events: Arc<dyn LogEvents>,
    ) -> Result<(Self, RecoveryReport), LogError> {
        let io = |doing: &str| {
            let doing = format!("{doing} {}", path.display());
            move |e| LogError::io(doing, e)
        };
        storage.create_dir_all(path).map_err(io("creating"))?;
        // The new directory itself must survive, and every one above it, which may be as new. One that cannot be
        // opened is not ours to sync.
        for above in path.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            let _ = storage.sync_dir(above);
        }
        let lock = storage.lock(&path.join(".lock")).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => LogError::Locked { path: path.display().to_string() },
            _ => LogError::io(format!("locking {}", path.display()), e),
        })?;
        let shared = Arc::new(Shared::new(path.to_path_buf(), storage, clock, events, config));
        let mut report = RecoveryReport::default();
        let (journal, last_number) = Opening { shared: &shared, report: &mut report }.run()?;
        let journal = Arc::new(journal);
        let now_ms = shared.clock.now_ms();
        let dir = Self {
            shared,
            journal,
            threads: Mutex::new(Vec::new()),
            next_number: AtomicU64::new(last_number + 1),
            last_checkpoint_ms: AtomicI64::new(now_ms),
            last_expiry_ms: AtomicI64::new(now_ms),
            changing: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
        };
        if dir.shared.config.threads == Threads::Own {
            dir.start_threads().map_err(io("starting the threads of"))?;
        }
        Ok((dir, report))
    }

    fn start_threads(&self) -> io::Result<()> {
        let mut threads = self.threads.lock();
        let journal = Arc::clone(&self.journal);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        threads.push(named("log-committer").spawn(move || run_committer(&journal))?);
        for _ in 0..FLUSHERS {
            let shared = Arc::clone(&self.shared);
            threads.push(named("log-flusher").spawn(move || run_flusher(&shared))?);
        }
        let shared = Arc::clone(&self.shared);
        threads.push(named("log-cleaner").spawn(move || cleaner::run_cleaner(&shared))?);
        let journal = Arc::clone(&self.journal);
        threads.push(named("log-housekeeper").spawn(move || run_housekeeper(&journal))?);
        Ok(())
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Creates logs, all of them with a few syncs: their directories are on stable storage afterwards. One that
    /// exists already with the same topic id is returned as it is.
    ///
    /// # Errors
    /// [`LogError::Exists`] with another topic id; [`LogError::Invalid`] for a name that cannot be a directory's or
    /// a topic id of zero; [`LogError::NoSpace`], [`LogError::Io`].
    pub fn create_logs(&self, logs: &[NewLog]) -> Result<Vec<Arc<Log>>, LogError> {
        let _one_at_a_time = self.changing.lock();
        for new in logs {
            check_name(&new.partition)?;
            if new.topic_id == TopicId::default() {
                return Err(LogError::Invalid(format!("{} has no topic id", new.partition)));
            }
            if self.log(&new.partition).is_some_and(|log| log.topic_id() != new.topic_id) {
                return Err(LogError::Exists(new.partition.clone()));
            }
        }
        let now_ms = self.shared.clock.now_ms();
        let mut created = Vec::with_capacity(logs.len());
        let mut absent = Vec::new();
        for new in logs {
            match self.log(&new.partition) {
                Some(log) => {
                    log.set_config(new.config.clone());
                    created.push(log);
                }
                None => absent.push(new),
            }
        }
        if !absent.is_empty() {
            let made = self.shared.side_by_side(&absent, |new| self.make_log(new, now_ms))?;
            created.extend(made.into_iter().flatten());
            self.shared
                .storage
                .sync_dir(&self.shared.path)
                .map_err(|e| LogError::io(format!("syncing {}", self.shared.path.display()), e))?;
        }
        let mut open = self.shared.logs.write();
        for log in &created {
            open.insert(log.partition().clone(), Arc::clone(log));
        }
        Ok(created)
    }

    fn make_log(&self, new: &NewLog, now_ms: i64) -> Result<Option<Arc<Log>>, LogError> {
        self.lay_out(new, now_ms).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull => {
                LogError::NoSpace { partition: new.partition.clone(), source: Arc::new(e) }
            }
            _ => LogError::io(format!("creating {}", new.partition), e),
        })
    }

    fn lay_out(&self, new: &NewLog, now_ms: i64) -> io::Result<Option<Arc<Log>>> {
        let storage = &LogStorage::new(&self.shared.storage);
        let dir = self.shared.path.join(new.partition.to_string());
        storage.create_dir_all(&dir)?;
        let dir: Arc<Path> = dir.into();
        let segment = Segment::create(storage, &dir, 0, now_ms)?;
        // The last step of it syncs the directory, and with it the segment's entry.
        let metadata = checkpoint::partition_metadata(new.topic_id);
        replace_file(&**storage, &dir.join(checkpoint::PARTITION_METADATA), metadata.as_bytes())?;
        segment.in_directory();
        let loaded = crate::log::LoadedLog {
            partition: new.partition.clone(),
            topic_id: new.topic_id,
            dir,
            storage: Arc::clone(storage),
            config: new.config.clone(),
            segments: vec![Arc::new(segment)],
            producers: crate::producer::Producers::default(),
            epochs: crate::epochs::LeaderEpochs::default(),
            log_start: 0,
            log_end: 0,
            recovery_point: 0,
            ended_txns: BTreeMap::new(),
            snapshot_offset: None,
        };
        Ok(Log::from_loaded(self.next_number.fetch_add(1, Ordering::Relaxed), &self.shared, loaded))
    }

    /// Creates one log.
    ///
    /// # Errors
    /// As [`LogDir::create_logs`].
    pub fn create_log(&self, log: NewLog) -> Result<Arc<Log>, LogError> {
        let partition = log.partition.clone();
        self.create_logs(&[log])?.pop().ok_or(LogError::UnknownLog(partition))
    }

    /// Looks a log up.
    pub fn log(&self, partition: &TopicPartition) -> Option<Arc<Log>> {
        self.shared.logs.read().get(partition).cloned()
    }

    /// All open logs, sorted by name.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.shared.logs.read().values().cloned().collect()
    }

    /// Why the whole directory takes no appends, if so.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.failure().cloned()
    }

    /// Deletes a log.
    ///
    /// # Errors
    /// As [`LogDir::delete_logs`].
    pub fn delete_log(&self, partition: &TopicPartition) -> Result<(), LogError> {
        self.delete_logs(std::slice::from_ref(partition))
    }

    /// Deletes logs: gone at once for users and after a crash, from the disk after `file.delete.delay.ms`.
    ///
    /// # Errors
    /// [`LogError::UnknownLog`], then nothing was deleted; [`LogError::Io`].
    pub fn delete_logs(&self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let _one_at_a_time = self.changing.lock();
        let mut logs = Vec::with_capacity(partitions.len());
        {
            let mut open = self.shared.logs.write();
            if let Some(unknown) = partitions.iter().find(|p| !open.contains_key(*p)) {
                return Err(LogError::UnknownLog(unknown.clone()));
            }
            logs.extend(partitions.iter().filter_map(|p| open.remove(p)));
        }
        let now_ms = self.shared.clock.now_ms();
        let storage = &*self.shared.storage;
        let io = |e| LogError::io(format!("deleting logs of {}", self.shared.path.display()), e);
        let names = storage.list(&self.shared.path).map_err(io)?;
        for log in &logs {
            {
                // A cleaning under way ends before its files get another name.
                let _files = log.files.lock();
                log.close();
                log.storage.shut();
            }
            let mut unique = now_ms.unsigned_abs() << 20 | log.number() & 0xf_ffff;
            let name = loop {
                let name = deleted_dir_name(&log.partition().to_string(), unique);
                if !names.iter().any(|e| e.name == name) {
                    break name;
                }
                unique += 1;
            };
            let path = self.shared.path.join(name);
            storage.rename(&log.dir, &path).map_err(io)?;
            let due_ms = now_ms.saturating_add(log.config().file_delete_delay_ms);
            self.shared.remove_later(path, true, due_ms);
        }
        storage.sync_dir(&self.shared.path).map_err(io)?;
        // A log of the same name that is created later must not inherit a recovery point.
        self.shared.write_checkpoints().map_err(io)
    }

    /// Housekeeping, to be called now and then: retention, checkpoints, removal of deleted files, expiry of
    /// producers. Returns what failed; the rest was done.
    pub fn run_maintenance(&self) -> Vec<LogError> {
        /// Producers are looked through this often.
        const EXPIRY_INTERVAL_MS: i64 = 60_000;
        let now_ms = self.shared.clock.now_ms();
        let mut errors = Vec::new();
        let expire = due(&self.last_expiry_ms, now_ms, EXPIRY_INTERVAL_MS);
        for log in self.logs() {
            if log.failure().is_some() {
                continue;
            }
            if let Err(e) = log.apply_retention(now_ms) {
                errors.push(e);
            }
            if expire {
                log.expire_producers(now_ms);
            }
        }
        self.shared.remove_due(now_ms);
        if due(&self.last_checkpoint_ms, now_ms, self.shared.config.checkpoint_interval_ms) {
            self.shared.add_job(Job::Checkpoint);
        }
        errors
    }

    /// Deletes what retention allows, of one log, now.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::NoSpace`].
    pub fn run_retention(&self, log: &Arc<Log>) -> Result<usize, LogError> {
        log.apply_retention(self.shared.clock.now_ms())
    }

    /// Replaces the cleaner's settings; they count from its next look on.
    pub fn set_cleaner_config(&self, config: CleanerConfig) {
        self.shared.cleaner.set_config(config);
    }

    /// Compacts the log that needs it most, now, on the caller's thread. Answers whether one needed it.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::NoSpace`]; [`LogError::Corrupt`] when a batch cannot be read: that log is left
    /// alone from then on.
    pub fn clean_pending(&self) -> Result<bool, LogError> {
        cleaner::clean_filthiest(&self.shared)
    }

    /// Moves the recovery points now, on the caller's thread, and closes files that nobody used since the last time:
    /// a crash afterwards finds little to check.
    pub fn checkpoint(&self) {
        self.journal.checkpoint();
    }

    /// Whether [`LogDir::close_idle_files`] should be called: more than half of the files that this process may open
    /// are open.
    pub fn files_run_short(&self) -> bool {
        self.shared.storage.files_run_short()
    }

    /// Closes all files that are not in use, on the caller's thread; what was written to them is synced before. They
    /// are opened again when somebody needs them.
    pub fn close_idle_files(&self) {
        // What was used since the last time is closed by the second pass.
        self.journal.checkpoint();
        self.journal.checkpoint();
    }

    /// In manual mode ([`Threads::Manual`]): does all the work that waits for the committer, the flushers and the
    /// housekeeper.
    pub fn run_pending(&self) {
        loop {
            let mut worked = self.commit_pending();
            worked |= self.flush_pending();
            while self.journal.run_job() {
                worked = true;
            }
            if !worked {
                return;
            }
        }
    }

    /// In manual mode: one step of the committer. Returns whether there was work.
    pub fn commit_pending(&self) -> bool {
        self.journal.commit_queued(true)
    }

    /// In manual mode: syncs the direct appends. Returns whether there was work.
    pub fn flush_pending(&self) -> bool {
        let mut worked = false;
        loop {
            let Some(log) = self.shared.direct.lock().pop_front() else { return worked };
            log.sync_direct();
            worked = true;
        }
    }

    /// In manual mode: one job of the housekeeper. Returns whether there was work.
    pub fn housekeep_pending(&self) -> bool {
        self.journal.run_job()
    }

    fn stop_threads(&self) {
        self.shared.stop.store(true, Ordering::Release);
        {
            let _queue = self.shared.queue.lock();
            self.shared.queue_filled.notify_all();
            self.shared.queue_drained.notify_all();
        }
        {
            let _direct = self.shared.direct.lock();
            self.shared.direct_filled.notify_all();
        }
        self.shared.cleaner.wake();
        self.journal.wake();
        let mut threads: Vec<_> = self.threads.lock().drain(..).collect();
        // The housekeeper frees what the committer may wait for, so it goes last.
        let housekeeper = threads.pop();
        for thread in threads {
            let _ = thread.join();
        }
        {
            let _jobs = self.shared.jobs.lock();
            self.shared.jobs_filled.notify_all();
        }
        if let Some(housekeeper) = housekeeper {
            let _ = housekeeper.join();
        }
    }

    /// Syncs everything, writes snapshots, checkpoints and the clean-shutdown marker, gives the directory free. No
    /// append may follow.
    ///
    /// # Errors
    /// What kept the close from being a clean one; the next opening then recovers.
    pub fn close(&self) -> Result<(), LogError> {
        self.stop_threads();
        if self.shared.config.threads == Threads::Manual {
            self.run_pending();
        }
        let result = self.close_logs();
        self.lock.lock().take();
        result
    }

    fn close_logs(&self) -> Result<(), LogError> {
        let logs = self.logs();
        if let Some(error) = logs.iter().find_map(|log| log.failure()) {
            return Err(error);
        }
        self.shared.side_by_side(&logs, |log| {
            log.finish().map_err(|e| LogError::io(format!("closing {}", log.partition()), e))?;
            log.close();
            Ok(())
        })?;
        let io = |e| LogError::io(format!("closing {}", self.shared.path.display()), e);
        self.shared.write_checkpoints().map_err(io)?;
        self.journal.reset().map_err(io)?;
        // Kafka's own contents of this file.
        let marker = br#"{"version":0,"brokerEpoch":-1}"#;
        replace_file(&*self.shared.storage, &self.shared.path.join(checkpoint::CLEAN_SHUTDOWN), marker)
            .map_err(io)
    }
}

impl Drop for LogDir {
    /// Without [`LogDir::close`] this leaves the directory as a crash would, save that queued appends are finished.
    fn drop(&mut self) {
        self.stop_threads();
    }
}

/// Whether `interval_ms` passed since `last_ms`, which then moves; a clock that stepped back restarts the wait.
fn due(last_ms: &AtomicI64, now_ms: i64, interval_ms: i64) -> bool {
    let last = last_ms.load(Ordering::Relaxed);
    if now_ms < last {
        last_ms.store(now_ms, Ordering::Relaxed);
        return false;
    }
    let due = now_ms - last >= interval_ms;
    if due {
        last_ms.store(now_ms, Ordering::Relaxed);
    }
    due
}

/// A name must be a legal Kafka topic's, as it becomes a directory's.
fn check_name(partition: &TopicPartition) -> Result<(), LogError> {
    let name = &*partition.topic;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty()
        || name == "."
        || name == ".."
        || name.len() > TOPIC_NAME_MAX
        || !name.bytes().all(legal)
        || partition.partition < 0
    {
        return Err(LogError::Invalid(format!("{partition} cannot name a log")));
    }
    Ok(())
}

/// The steps of [`LogDir::open`] between taking the lock and starting the threads.
struct Opening<'a> {
    shared: &'a Arc<Shared>,
    report: &'a mut RecoveryReport,
}

impl Opening<'_> {
    fn io<T>(&self, doing: &str, result: io::Result<T>) -> Result<T, LogError> {
        result.map_err(|e| LogError::io(format!("{doing} {}", self.shared.path.display()), e))
    }

    fn run(mut self) -> Result<(Journal, u64), LogError> {
        let path = self.shared.path.clone();
        let storage = Arc::clone(&self.shared.storage);
        let entries = self.io("listing", storage.list(&path))?;
        let files: Vec<String> = entries.iter().filter(|e| !e.is_dir).map(|e| e.name.clone()).collect();
        let clean = files.iter().any(|n| n == checkpoint::CLEAN_SHUTDOWN);
        self.report.clean = clean;
        let notes = self.report.notes.len();
        let recovery_points = self.read_checkpoint(checkpoint::RECOVERY_POINTS);
        let points_known = self.report.notes.len() == notes;
        let cleaned = self.read_checkpoint(checkpoint::CLEANER_OFFSETS);
        let log_starts = self.read_checkpoint(checkpoint::LOG_STARTS);
        let acknowledged = self.read_checkpoint(checkpoint::ACKNOWLEDGED);
        let mut still_acknowledged = BTreeMap::new();
        let mut logs = BTreeMap::new();
        for entry in entries.iter().filter(|e| e.is_dir) {
            if is_deleted_dir(&entry.name) {
                self.io("removing a deleted log from", storage.remove_dir_all(&path.join(&entry.name)))?;
            } else if let Some(partition) = recovery::partition_of(&entry.name)
                && let Some(found) = self.identify(partition, &path.join(&entry.name))?
            {
                logs.insert(LogKey { topic_id: found.topic_id, partition: found.partition.partition }, found);
            }
        }
        let slots = self.io("reading the journal of", recovery::read_journal(self.shared, &files))?;
        let mut refused = Vec::new();
        let mut replayed = BTreeMap::new();
        if !clean {
            self.report.notes.extend(slots.iter().filter_map(|s| s.damage.clone()));
            replayed =
                recovery::replay(self.shared, &slots, &logs, &recovery_points, points_known, &mut refused)?;
        }
        let replay_failed = !refused.is_empty();
        let mut refused: BTreeMap<TopicPartition, LogError> = refused.into_iter().collect();
        let mut loading = Vec::with_capacity(logs.len());
        for (key, found) in &logs {
            let mut replayed = replayed.remove(key).unwrap_or_default();
            let recovery_point = recovery_points.get(&found.partition).copied().unwrap_or(0);
            let known = acknowledged.get(&found.partition).copied();
            replayed.durable_end = replayed.durable_end.max(known.unwrap_or(0));
            let known_end = recovery_point.max(replayed.durable_end);
            let context = LoadContext {
                // A log that was refused before has not been checked since.
                clean: clean && known.is_none(),
                recovery_point: if known.is_some() { 0 } else { recovery_point },
                log_start: log_starts.get(&found.partition).copied().unwrap_or(0),
                replayed,
            };
            match refused.remove(&found.partition) {
                Some(error) => {
                    still_acknowledged.insert(found.partition.clone(), known_end);
                    self.refuse(&found.partition, context.log_start, error);
                }
                None => loading.push((found, context, known_end)),
            }
        }
        let loaded = self
            .shared
            .side_by_side(&loading, |(found, context, _)| Ok(recovery::load(self.shared, found, context)))?;
        let mut number = 0;
        let mut open = BTreeMap::new();
        for ((found, context, known_end), loaded) in loading.into_iter().zip(loaded) {
            let partition = &found.partition;
            match loaded {
                Ok((loaded, recovered)) => {
                    self.report.recovered.extend(recovered);
                    number += 1;
                    if let Some(log) = Log::from_loaded(number, self.shared, loaded) {
                        let cleaned_to = cleaned.get(partition).copied().unwrap_or(0);
                        log.cleaned_to.store(cleaned_to, Ordering::Release);
                        open.insert(partition.clone(), log);
                    }
                }
                Err(error) => {
                    still_acknowledged.insert(partition.clone(), known_end);
                    self.refuse(partition, context.log_start, error);
                }
            }
        }
        let open_logs: Vec<Arc<Log>> = open.values().cloned().collect();
        *self.shared.logs.write() = open;
        if !clean || !self.report.refused.is_empty() {
            self.write_points(&open_logs, &still_acknowledged)?;
        }
        let journal = self.new_journal(&slots, &files, replay_failed)?;
        if clean {
            self.io(
                "removing the clean-shutdown mark of",
                storage.remove(&path.join(checkpoint::CLEAN_SHUTDOWN)),
            )?;
            self.io("syncing", storage.sync_dir(&path))?;
        }
        Ok((journal, number))
    }

    /// The log stays closed, and keeps its start.
    fn refuse(&mut self, partition: &TopicPartition, log_start: i64, error: LogError) {
        tracing::error!(%partition, %error, "log stays closed");
        self.shared.refused_starts.lock().insert(partition.clone(), log_start);
        self.report.refused.push(RefusedLog { partition: partition.clone(), error });
    }

    /// Checkpoint files are an optimisation: a damaged one means more to check, not a refusal.
    fn read_checkpoint(&mut self, name: &str) -> BTreeMap<TopicPartition, i64> {
        match checkpoint::read_offsets(&*self.shared.storage, &self.shared.path.join(name)) {
            Ok(offsets) => offsets,
            Err(e) => {
                self.report.notes.push(format!("{e}; going on without it"));
                BTreeMap::new()
            }
        }
    }

    fn identify(&mut self, partition: TopicPartition, dir: &Path) -> Result<Option<FoundLog>, LogError> {
        let storage = &*self.shared.storage;
        let metadata =
            checkpoint::read_partition_metadata(storage, &dir.join(checkpoint::PARTITION_METADATA));
        match metadata {
            Ok(Some(topic_id)) => Ok(Some(FoundLog { partition, topic_id, dir: dir.to_path_buf() })),
            Ok(None) => {
                let entries = self.io("listing a log of", storage.list(dir))?;
                if entries.iter().any(|e| e.len > 0 && e.name.ends_with(".log")) {
                    let error = LogError::Invalid(format!("{partition} has no partition.metadata"));
                    self.report.refused.push(RefusedLog { partition, error });
                } else {
                    // Its creation was interrupted before anybody was told of it.
                    self.io("removing a half-made log from", storage.remove_dir_all(dir))?;
                }
                Ok(None)
            }
            Err(e) => {
                let error = LogError::io(format!("reading the metadata of {partition}"), e);
                self.report.refused.push(RefusedLog { partition, error });
                Ok(None)
            }
        }
    }

    /// After recovery: the new recovery points. What is known to be acknowledged of a refused log is kept, as the
    /// journal will forget it: the log must be refused, not truncated, next time too.
    fn write_points(
        &self,
        open_logs: &[Arc<Log>],
        acknowledged: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), LogError> {
        let storage = &*self.shared.storage;
        let path = self.shared.path.join(checkpoint::ACKNOWLEDGED);
        self.io("writing checkpoints of", checkpoint::write_offsets(storage, &path, acknowledged))?;
        let points: BTreeMap<TopicPartition, i64> =
            open_logs.iter().map(|log| (log.partition().clone(), log.recovery_point())).collect();
        let path = self.shared.path.join(checkpoint::RECOVERY_POINTS);
        self.io("writing checkpoints of", checkpoint::write_offsets(storage, &path, &points))
    }

    /// Two fresh slots; whatever the old ones held is in the segments now.
    fn new_journal(
        &self,
        old: &[crate::journal::ReadSlot],
        files: &[String],
        keep_old: bool,
    ) -> Result<Journal, LogError> {
        let storage = &*self.shared.storage;
        let path = &self.shared.path;
        let generation = old.iter().map(|s| s.generation).max().unwrap_or(0) + 1;
        let capacity = self.shared.config.journal_bytes;
        let numbers: Vec<u32> = files.iter().filter_map(|n| slot_number(n)).collect();
        // Slots that could not be replayed may hold the only copy of something: they stay, others are taken.
        let number = if keep_old { numbers.iter().max().map_or(0, |n| n + 1) } else { 0 };
        let prepare = |number, generation| Slot::prepare(storage, path, number, generation, capacity);
        let first = self.io("preparing the journal of", prepare(number, generation))?;
        let second = self.io("preparing the journal of", prepare(number + 1, generation + 1))?;
        for number in numbers.into_iter().filter(|n| *n > 1 && !keep_old) {
            self.io("removing an old journal of", storage.remove(&slot_path(path, number)))?;
        }
        self.io("syncing", storage.sync_dir(path))?;
        Ok(Journal::new(Arc::clone(self.shared), first, second, generation + 2))
    }
}
