//! Deleting: old segments, records before an offset, whole logs; and the cut of a follower's log.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::dir::LogDir;
use crate::journal::{PartHead, PartKind};
use crate::log::{AppendState, Durable, Log, Mark, TxnView, snapshot_offset};
use crate::producer::Producers;
use crate::segment::{Segment, file_name};
use crate::shared::QueuedPart;
use crate::storage::Storage;
use crate::{LogError, Threads, checkpoint};

/// Suffixes of a segment's files.
pub(crate) const SEGMENT_FILES: [&str; 4] = ["log", "index", "timeindex", "txnindex"];

impl Log {
    /// Deletes segments that are too old or too much (`retention.ms`, `retention.bytes`). Answers how many.
    pub(crate) fn apply_retention(self: &Arc<Self>, now_ms: i64) -> Result<usize, LogError> {
        let config = self.config();
        let list = self.segment_list();
        let visible = self.high_watermark();
        let mut doomed = 0;
        if config.cleanup_policy.delete {
            let mut surplus = match u64::try_from(config.retention_bytes) {
                Ok(allowed) => self.size().saturating_sub(allowed),
                Err(_) => 0,
            };
            for segment in list.iter() {
                let size = segment.size();
                if size == 0 || segment.end_offset() > visible {
                    break;
                }
                let newest = segment
                    .max_timestamp()
                    .map_err(|e| self.io_error("reading the time index", e))?
                    .map_or(segment.created_ms, |m| m.timestamp_ms);
                let too_old = config.retention_ms >= 0 && now_ms.saturating_sub(newest) > config.retention_ms;
                let too_much = surplus >= size;
                if !too_old && !too_much {
                    break;
                }
                surplus = surplus.saturating_sub(size);
                doomed += 1;
            }
        }
        // Segments that DeleteRecords left behind the log's start go under every policy.
        let start = self.log_start();
        let behind = list.iter().skip(1).take_while(|s| s.base_offset <= start).count();
        let doomed = doomed.max(behind);
        if doomed == 0 { Ok(0) } else { self.delete_segments(doomed, now_ms) }
    }

    /// Deletes up to `count` of the first segments. If that is all of them, a new one is begun first. Segments that
    /// are not sealed yet wait for the next time: only when the recovery point and a producer snapshot behind them
    /// are on disk can their contents be missed.
    fn delete_segments(self: &Arc<Self>, count: usize, now_ms: i64) -> Result<usize, LogError> {
        let _files = self.files.lock();
        let mut state = self.append.lock();
        self.check_writable()?;
        let mut list = self.segment_list();
        if count >= list.len() && list.last().is_some_and(|s| s.size() > 0) {
            let end = self.log_end();
            self.roll(&mut state, end, now_ms)?;
            list = self.segment_list();
        }
        drop(state);
        let sealed = list.iter().take_while(|s| s.is_sealed()).count();
        let count = count.min(sealed).min(list.len().saturating_sub(1));
        let (doomed, kept) = list.split_at_checked(count).unwrap_or_default();
        let Some(first_kept) = kept.first().filter(|_| count > 0) else { return Ok(0) };
        let start = first_kept.base_offset;
        if self.recovery_point() < start {
            return Ok(0);
        }
        // What stays must be findable before what goes is gone.
        first_kept.sync_directory().map_err(|e| self.io_error("syncing the directory", e))?;
        self.log_start.fetch_max(start, Ordering::AcqRel);
        self.epochs.write().truncate_start(start);
        self.shared.write_checkpoints().map_err(|e| self.io_error("writing the log's start", e))?;
        {
            let mut segments = self.segments.write();
            let kept: Vec<_> = segments.iter().filter(|s| s.base_offset >= start).cloned().collect();
            *segments = Arc::new(kept);
        }
        let due_ms = now_ms.saturating_add(self.config().file_delete_delay_ms);
        for segment in doomed {
            tracing::info!(partition = %self.partition, segment = segment.log_name(), "deleting a segment");
            self.retire(segment, due_ms).map_err(|e| self.io_error("deleting a segment", e))?;
        }
        Ok(count)
    }

    /// Renames a segment's files; they are removed when `due_ms` has come.
    pub(crate) fn retire(&self, segment: &Segment, due_ms: i64) -> io::Result<()> {
        for suffix in SEGMENT_FILES {
            let path = self.dir.join(file_name(segment.base_offset, suffix));
            let mut renamed = path.as_os_str().to_owned();
            renamed.push(".deleted");
            let renamed = PathBuf::from(renamed);
            match self.storage.rename(&path, &renamed) {
                Ok(()) => self.shared.remove_later(renamed, false, due_ms),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Makes `offset` the first one stored (`DeleteRecords`); -1 means the high watermark. Whole segments before it
    /// go with the next maintenance. Answers the new start.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] above the high watermark; [`LogError::Io`].
    pub fn delete_records_before(self: &Arc<Self>, offset: i64) -> Result<i64, LogError> {
        let visible = self.high_watermark();
        let offset = if offset == -1 { visible } else { offset };
        if offset < 0 || offset > visible {
            return Err(LogError::OffsetOutOfRange {
                partition: self.partition.clone(),
                offset,
                start: self.log_start(),
                end: visible,
            });
        }
        self.check_writable()?;
        if offset > self.log_start() {
            self.log_start.fetch_max(offset, Ordering::AcqRel);
            self.epochs.write().truncate_start(offset);
            self.shared.write_log_starts().map_err(|e| self.io_error("writing the log's start", e))?;
        }
        Ok(self.log_start())
    }

    /// Forgets producers that were silent too long.
    pub(crate) fn expire_producers(&self, now_ms: i64) {
        let before = now_ms.saturating_sub(self.shared.config.producer_id_expiration_ms);
        self.append.lock().producers.expire(before);
    }
}

impl LogDir {
    /// Cuts a log at `offset` (or at the start of the batch that holds it). For followers: what is cut may have been
    /// acknowledged by an earlier leader. Waits until appends under way are durable. Answers the new end.
    ///
    /// # Errors
    /// [`LogError::Offline`], [`LogError::Io`].
    pub fn truncate(&self, log: &Arc<Log>, offset: i64) -> Result<i64, LogError> {
        let _files = log.files.lock();
        let mut state = log.append.lock();
        self.await_settled(log, |d| {
            d.journal_done.offset >= d.journal_queued && d.end.offset >= d.direct_queued
        })?;
        if offset >= log.log_end() {
            return Ok(log.log_end());
        }
        let list = log.segment_list();
        let offset = offset.max(log.first_segment_base());
        let at = list.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
        let Some(segment) = list.get(at) else { return Err(LogError::Closed(log.partition.clone())) };
        let found =
            segment.locate(offset, segment.size()).map_err(|e| log.io_error("searching the cut", e))?;
        let (position, end) = match found {
            Ok((position, head)) => (position, head.base_offset.min(offset)),
            Err(position) => (position, offset),
        };
        let end = end.max(segment.base_offset);
        // The journal must not bring back what is cut, nor the recovery point vouch for it.
        self.journal_note(log, segment, PartKind::Truncate { offset: end })?;
        log.recovery_point.fetch_min(end, Ordering::AcqRel);
        log.cleaned_to.fetch_min(end, Ordering::AcqRel);
        log.shared.write_checkpoints().map_err(|e| log.io_error("writing checkpoints", e))?;
        self.cut_files(log, &mut state, &list, at, position, end).map_err(|e| {
            log.fail_io("truncation", &e);
            log.io_error("truncating", e)
        })?;
        self.journal_note(log, segment, PartKind::Durable { end_offset: end })?;
        Ok(end)
    }

    fn cut_files(
        &self,
        log: &Arc<Log>,
        state: &mut MutexGuard<'_, AppendState>,
        list: &[Arc<Segment>],
        at: usize,
        position: u64,
        end: i64,
    ) -> io::Result<()> {
        let storage = &*log.storage;
        let (kept, gone) = list.split_at_checked(at + 1).unwrap_or_default();
        let Some(segment) = kept.last() else { return Ok(()) };
        for entry in storage.list(&log.dir)? {
            if snapshot_offset(&entry.name).is_some_and(|o| o > end) {
                storage.remove(&log.dir.join(&entry.name))?;
            }
        }
        for segment in gone {
            for suffix in SEGMENT_FILES {
                match storage.remove(&log.dir.join(file_name(segment.base_offset, suffix))) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        let aborted: Vec<_> = segment
            .txns
            .overlapping(storage, 0, i64::MAX)?
            .0
            .into_iter()
            .filter(|t| t.last_offset < end)
            .collect();
        segment.reset()?;
        segment.txns.replace(storage, aborted)?;
        let interval = log.config().index_interval_bytes;
        let mut scan = segment.scan(0, position)?;
        while let Some((at, head)) = scan.next()? {
            segment.note_batch(&head, at, interval);
        }
        segment.set_size(position);
        segment.set_end_offset(end);
        segment.reopen();
        segment.trim()?;
        log.sync_segment(segment)?;
        storage.sync_dir(&log.dir)?;
        log.epochs.write().truncate_end(end);
        *log.segments.write() = Arc::new(kept.to_vec());
        state.active = Arc::clone(segment);
        state.producers = self.producers_at(log, kept, end)?;
        let first_open = state.producers.first_open_txn();
        log.txns_in_view.store(first_open.is_some(), Ordering::Release);
        *log.txns.lock() = TxnView { first_open, ..TxnView::default() };
        log.log_end.store(end, Ordering::Release);
        log.durable_end.store(end, Ordering::Release);
        let mark = Mark { offset: end, segment_base: segment.base_offset, position };
        let mut durable = log.durable.lock();
        *durable = Durable { cuts_done: durable.cuts_done, ..Durable::at(mark) };
        Ok(())
    }

    /// Producer state as of `end`, from the newest snapshot below it.
    fn producers_at(&self, log: &Arc<Log>, segments: &[Arc<Segment>], end: i64) -> io::Result<Producers> {
        crate::recovery::producers_at(&*log.storage, &log.dir, segments, end)
    }

    /// Writes a note about a log into the journal and waits for it.
    fn journal_note(&self, log: &Arc<Log>, segment: &Arc<Segment>, kind: PartKind) -> Result<(), LogError> {
        let wanted = log.durable.lock().cuts_done + 1;
        let part = QueuedPart {
            log: Arc::clone(log),
            segment: Arc::clone(segment),
            head: PartHead { key: log.key, kind, len: 0 },
            end_offset: 0,
            sync_direct_first: false,
            ends_append: true,
        };
        log.shared.enqueue(|_| {}, std::iter::once(part));
        self.await_settled(log, |d| d.cuts_done >= wanted)
    }

    fn await_settled(&self, log: &Arc<Log>, reached: impl Fn(&Durable) -> bool) -> Result<(), LogError> {
        loop {
            log.check_writable()?;
            let mut durable = log.durable.lock();
            if reached(&durable) {
                return Ok(());
            }
            if log.shared.config.threads == Threads::Manual {
                drop(durable);
                self.run_pending();
            } else {
                log.settled.wait_for(&mut durable, std::time::Duration::from_millis(100));
            }
        }
    }
}

/// Name of the directory that a deleted log's is renamed to (Kafka: `topic-partition.<id>-delete`).
pub(crate) fn deleted_dir_name(name: &str, unique: u64) -> String {
    // Kafka keeps names within the file system's limit by cutting the topic's part.
    const NAME_MAX: usize = 255;
    let suffix = format!(".{unique:032x}-delete");
    let cut = name.len().min(NAME_MAX - suffix.len());
    let name = name.get(..cut).unwrap_or(name);
    format!("{name}{suffix}")
}

/// Whether a directory is a deleted log's.
pub(crate) fn is_deleted_dir(name: &str) -> bool {
    name.ends_with("-delete")
}

impl crate::shared::Shared {
    /// Writes `log-start-offset-checkpoint`.
    pub fn write_log_starts(&self) -> io::Result<()> {
        let _one_at_a_time = self.checkpointing.lock();
        let logs: Vec<Arc<Log>> = self.logs.read().values().cloned().collect();
        self.write_log_starts_of(&logs)
    }

    fn write_log_starts_of(&self, logs: &[Arc<Log>]) -> io::Result<()> {
        let mut starts = self.refused_starts.lock().clone();
        for log in logs.iter().filter(|log| log.log_start() > 0) {
            starts.insert(log.partition().clone(), log.log_start());
        }
        checkpoint::write_offsets(&*self.storage, &self.path.join(checkpoint::LOG_STARTS), &starts)
    }

    /// Writes the checkpoint files from the logs' present state.
    pub fn write_checkpoints(&self) -> io::Result<()> {
        let _one_at_a_time = self.checkpointing.lock();
        let logs: Vec<Arc<Log>> = self.logs.read().values().cloned().collect();
        let mut recovery_points = BTreeMap::new();
        let mut watermarks = BTreeMap::new();
        let mut cleaned = BTreeMap::new();
        for log in &logs {
            let cleaned_to = log.cleaned_to.load(Ordering::Acquire);
            if cleaned_to > 0 {
                cleaned.insert(log.partition().clone(), cleaned_to);
            }
            recovery_points.insert(log.partition().clone(), log.recovery_point());
            watermarks.insert(log.partition().clone(), log.high_watermark());
        }
        self.write_log_starts_of(&logs)?;
        let path = |name| self.path.join(name);
        if self.cleaner.note_written(&cleaned) {
            checkpoint::write_offsets(&*self.storage, &path(checkpoint::CLEANER_OFFSETS), &cleaned)?;
        }
        checkpoint::write_offsets(&*self.storage, &path(checkpoint::HIGH_WATERMARKS), &watermarks)?;
        checkpoint::write_offsets(&*self.storage, &path(checkpoint::RECOVERY_POINTS), &recovery_points)?;
        for log in &logs {
            if let Some(point) = recovery_points.get(log.partition()) {
                log.checkpointed.store(*point, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Removes a renamed file or directory once `due_ms` has come.
    pub fn remove_later(&self, path: PathBuf, is_dir: bool, due_ms: i64) {
        self.doomed.lock().push((due_ms, path, is_dir));
    }

    /// Removes what is due.
    pub fn remove_due(&self, now_ms: i64) {
        let due: Vec<_> = {
            let mut doomed = self.doomed.lock();
            let (due, later) = doomed.drain(..).partition(|(due_ms, ..)| *due_ms <= now_ms);
            *doomed = later;
            due
        };
        for (_, path, is_dir) in due {
            let removed =
                if is_dir { self.storage.remove_dir_all(&path) } else { self.storage.remove(&path) };
            if let Err(e) =
                removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            {
                tracing::warn!(path = %path.display(), error = %e, "deleted file not removed");
            }
        }
    }
}
