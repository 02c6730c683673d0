//! Opening a directory: replay of the journal, then each log from its recovery point on.
//!
//! What counts as acknowledged is known from three places: the recovery points, the journal's data (all of its log
//! before it was durable), the journal's notes. Below that line a damaged batch is an error and the log stays
//! closed as it is; above it everything from the first damaged batch on is cut off, as nobody was told of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{self, HEADER_LEN, Head};
use crate::checkpoint;
use crate::epochs::LeaderEpochs;
use crate::journal::{LogKey, PartKind, ReadSlot, read_slot, slot_number};
use crate::log::{LoadedLog, snapshot_offset};
use crate::producer::Producers;
use crate::segment::{FoundFiles, Segment, file_name};
use crate::shared::Shared;
use crate::storage::{LogStorage, OpenMode, read_file};
use crate::{LogError, RecoveredLog, Storage, TopicId, TopicPartition};

/// Bytes read at once when batches are checked.
const READ_CHUNK: usize = 1 << 20;

/// A log's directory as found.
#[derive(Clone, Debug)]
pub(crate) struct FoundLog {
    pub partition: TopicPartition,
    pub topic_id: TopicId,
    pub dir: PathBuf,
}

/// What the journal says about one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    /// Everything below was acknowledged.
    pub durable_end: i64,
    pub bytes: u64,
    /// A cut was begun here, and is not known to have been finished.
    pub cut: Option<i64>,
}

/// The partition in a directory's name (`topic-partition`).
pub(crate) fn partition_of(dir_name: &str) -> Option<TopicPartition> {
    let (topic, partition) = dir_name.rsplit_once('-')?;
    let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    if topic.is_empty() || !digits {
        return None;
    }
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

/// End offset of a run of batches.
fn end_of_batches(mut bytes: &[u8]) -> Option<i64> {
    let mut end = None;
    while let Some(head) = Head::parse(bytes) {
        end = Some(head.last_offset() + 1);
        bytes = bytes.get(head.size..)?;
    }
    end
}

/// Reads all journal slots, oldest generation first, and their highest generation.
pub(crate) fn read_journal(shared: &Shared, names: &[String]) -> io::Result<Vec<ReadSlot>> {
    let mut slots = Vec::new();
    for number in names.iter().filter_map(|n| slot_number(n)) {
        slots.extend(read_slot(&*shared.storage, &shared.path, number)?);
    }
    slots.sort_by_key(|s| s.generation);
    Ok(slots)
}

/// End offset of the whole batches in a segment's file.
fn file_end(file: &Arc<dyn crate::StorageFile>, segment_base: i64) -> io::Result<i64> {
    let mut reader = BatchReader::new(Arc::clone(file), 0, file.len()?);
    let mut end = segment_base;
    while let Next::Batch(batch) = reader.next()? {
        end = Head::parse(batch).map_or(end, |head| head.last_offset() + 1);
    }
    Ok(end)
}

/// Batches of one segment in the journal.
struct JournaledData<'a> {
    base_offset: i64,
    /// Offset after the last record.
    end: i64,
    /// Where in the segment's file they belong.
    position: u64,
    bytes: &'a [u8],
}

/// Writes to one segment what it is not known to have, and syncs it. Answers how many bytes. The file is closed again:
/// as many logs as there are may have something in the journal.
fn replay_segment(
    shared: &Shared,
    found: &FoundLog,
    segment_base: i64,
    parts: &[JournaledData<'_>],
    points_known: bool,
) -> io::Result<u64> {
    let path = found.dir.join(file_name(segment_base, "log"));
    let file = match shared.storage.open(&path, OpenMode::Write) {
        Ok(file) => file,
        // Deleted: its directory entry was durable before it was journaled.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut bytes = 0;
    for data in parts {
        if !points_known && file_end(&file, segment_base).is_ok_and(|end| data.end <= end) {
            continue;
        }
        file.write_at(data.position, &[data.bytes])?;
        bytes += data.bytes.len() as u64;
    }
    file.sync_data()?;
    Ok(bytes)
}

/// Writes the journal's data to the segments again, where those still exist and are not known to have it.
/// `points_known` is false when the file of recovery points was unreadable: a cleaned segment, in which positions
/// are no longer what they were, must then be recognised by what it holds.
pub(crate) fn replay(
    shared: &Shared,
    slots: &[ReadSlot],
    logs: &BTreeMap<LogKey, FoundLog>,
    recovery_points: &BTreeMap<TopicPartition, i64>,
    points_known: bool,
    refused: &mut Vec<(TopicPartition, LogError)>,
) -> Result<BTreeMap<LogKey, Replayed>, LogError> {
    let mut replayed: BTreeMap<LogKey, Replayed> = BTreeMap::new();
    // By segment, each in the order of the journal.
    let mut parts: BTreeMap<(LogKey, i64), Vec<JournaledData<'_>>> = BTreeMap::new();
    for slot in slots {
        for part in &slot.parts {
            let key = part.head.key;
            let entry = replayed.entry(key).or_default();
            let bytes = slot.bytes.get(part.data.clone()).unwrap_or_default();
            match part.head.kind {
                PartKind::Data { base_offset, segment_base, position } => {
                    let end = end_of_batches(bytes).unwrap_or(base_offset);
                    entry.durable_end = entry.durable_end.max(end);
                    entry.cut = None;
                    parts.entry((key, segment_base)).or_default().push(JournaledData {
                        base_offset,
                        end,
                        position,
                        bytes,
                    });
                }
                PartKind::Durable { end_offset } => {
                    entry.durable_end = entry.durable_end.max(end_offset);
                    entry.cut = None;
                }
                PartKind::Truncate { offset } => {
                    entry.durable_end = entry.durable_end.min(offset);
                    entry.cut = Some(offset);
                    // A cut voids what the journal holds of its log from there on.
                    for (_, of_segment) in parts.range_mut((key, i64::MIN)..=(key, i64::MAX)) {
                        of_segment.retain(|data| data.base_offset < offset);
                    }
                }
            }
        }
    }
    let mut segments = Vec::new();
    for ((key, segment_base), mut of_segment) in parts {
        let Some(found) = logs.get(&key) else { continue };
        let point = recovery_points.get(&found.partition).copied().unwrap_or(0);
        of_segment.retain(|data| data.end > point);
        if !of_segment.is_empty() {
            segments.push((key, segment_base, found, of_segment));
        }
    }
    let written = shared.side_by_side(&segments, |(_, segment_base, found, of_segment)| {
        Ok(replay_segment(shared, found, *segment_base, of_segment, points_known))
    })?;
    for ((key, _, found, _), written) in segments.into_iter().zip(written) {
        match (written, replayed.get_mut(&key)) {
            (Ok(bytes), Some(entry)) => entry.bytes += bytes,
            (Ok(_), None) => {}
            (Err(e), _) => refused.push((
                found.partition.clone(),
                LogError::io(format!("replaying the journal into {}", found.partition), e),
            )),
        }
    }
    Ok(replayed)
}

/// How a log is to be loaded.
pub(crate) struct LoadContext {
    /// The directory was closed properly.
    pub clean: bool,
    pub recovery_point: i64,
    pub log_start: i64,
    pub replayed: Replayed,
}

struct Loader<'a> {
    shared: &'a Arc<Shared>,
    found: &'a FoundLog,
    dir: Arc<Path>,
    storage: Arc<LogStorage>,
}

/// What recovery cut off.
#[derive(Default)]
struct Cut {
    bytes: u64,
    reason: String,
}

/// Loads one log, recovering it if need be.
pub(crate) fn load(
    shared: &Arc<Shared>,
    found: &FoundLog,
    context: &LoadContext,
) -> Result<(LoadedLog, Option<RecoveredLog>), LogError> {
    let storage = LogStorage::new(&shared.storage);
    let loader = Loader { shared, found, dir: Arc::from(found.dir.as_path()), storage };
    loader.load(context)
}

impl Loader<'_> {
    fn io<T>(&self, doing: &str, result: io::Result<T>) -> Result<T, LogError> {
        result.map_err(|e| LogError::io(format!("{doing} {}", self.found.partition), e))
    }

    fn load(&self, context: &LoadContext) -> Result<(LoadedLog, Option<RecoveredLog>), LogError> {
        let storage = &*self.storage;
        let (mut segments, mut snapshots) = self.find_segments(context)?;
        let mut recovery_point = match context.replayed.cut {
            Some(cut) => context.recovery_point.min(cut),
            None => context.recovery_point,
        };
        let known_end = recovery_point.max(context.replayed.durable_end);
        let epochs_path = self.dir.join(checkpoint::LEADER_EPOCHS);
        let mut epochs = match checkpoint::read_epochs(storage, &epochs_path) {
            Ok(entries) => LeaderEpochs::new(entries),
            Err(e) => {
                // Written anew from the batches.
                tracing::warn!(partition = %self.found.partition, error = %e, "leader epochs are unreadable");
                recovery_point = 0;
                LeaderEpochs::default()
            }
        };
        let mut cut = Cut::default();
        let opened = if context.clean { self.resume_clean(&segments)? } else { None };
        let log_end = match opened {
            Some(end) => end,
            None => self.recover(&mut segments, recovery_point, known_end, context, &mut epochs, &mut cut)?,
        };
        let clean = opened.is_some();
        // Of a future that did not come. They must not be back after the next crash, when it has come otherwise.
        let mut removed = false;
        for snapshot in snapshots.iter().filter(|o| **o > log_end) {
            let path = self.dir.join(file_name(*snapshot, "snapshot"));
            self.io("removing a snapshot of", storage.remove(&path))?;
            removed = true;
        }
        if removed {
            self.io("syncing the directory of", storage.sync_dir(&self.dir))?;
        }
        snapshots.retain(|o| *o <= log_end);
        epochs.truncate_end(log_end);
        let log_start = context.log_start.max(segments.first().map_or(0, |s| s.base_offset)).min(log_end);
        epochs.truncate_start(log_start);
        let trusted = if clean { log_end } else { recovery_point };
        let producers = self.rebuild_producers(&segments, &snapshots, trusted, log_end)?;
        if !clean {
            // The recovery point will be behind the entries that were made again.
            for segment in &segments {
                self.io("syncing the aborted-transaction index of", segment.txns.sync(storage))?;
            }
        }
        let last_base = segments.last().map_or(0, |s| s.base_offset);
        if !clean && last_base > 0 {
            // Segments before the last may be deleted from now on: their part of the state must not go with them.
            let path = self.dir.join(file_name(log_end, "snapshot"));
            let made = storage.open(&path, OpenMode::Truncate).and_then(|file| {
                file.write_at(0, &[&producers.encode_snapshot()])?;
                file.sync_data()?;
                storage.sync_dir(&self.dir)
            });
            self.io("writing a snapshot of", made)?;
        }
        let recovered = (!clean && (cut.bytes > 0 || context.replayed.bytes > 0)).then(|| RecoveredLog {
            partition: self.found.partition.clone(),
            end_offset: log_end,
            replayed_bytes: context.replayed.bytes,
            truncated_bytes: cut.bytes,
            reason: cut.reason,
        });
        let sealed = segments.len().saturating_sub(1);
        for segment in segments.iter().take(sealed) {
            segment.mark_sealed();
        }
        // All of it is on stable storage. There may be more logs than files that a process may open.
        for segment in &segments {
            segment.close_files();
        }
        let loaded = LoadedLog {
            partition: self.found.partition.clone(),
            topic_id: self.found.topic_id,
            dir: Arc::clone(&self.dir),
            storage: Arc::clone(&self.storage),
            config: self.shared.config.log_defaults.clone(),
            segments,
            producers,
            epochs,
            log_start,
            log_end,
            recovery_point: log_end,
            ended_txns: BTreeMap::new(),
            snapshot_offset: if clean { snapshots.last().copied() } else { None },
        };
        Ok((loaded, recovered))
    }

    /// Lists the directory: segments (sorted, at least one), offsets of producer snapshots. Removes leftovers.
    fn find_segments(&self, context: &LoadContext) -> Result<(Vec<Arc<Segment>>, Vec<i64>), LogError> {
        let storage = &self.storage;
        let mut files: BTreeMap<i64, FoundFiles> = BTreeMap::new();
        let mut logs: BTreeMap<i64, ()> = BTreeMap::new();
        let mut snapshots = Vec::new();
        crate::cleaner::finish_swaps(&**storage, &self.dir)
            .or_else(|e| self.io("finishing a compaction of", Err(e)))?;
        for entry in self.io("listing", storage.list(&self.dir))? {
            let path = self.dir.join(&entry.name);
            if [".deleted", ".tmp", ".cleaned"].iter().any(|s| entry.name.ends_with(s)) {
                self.io("removing a leftover of", storage.remove(&path))?;
                continue;
            }
            if let Some(offset) = snapshot_offset(&entry.name) {
                snapshots.push(offset);
                continue;
            }
            let Some((base, suffix)) = entry.name.split_once('.').filter(|(base, _)| base.len() == 20) else {
                continue;
            };
            let Ok(base) = base.parse::<i64>() else { continue };
            let found = files.entry(base).or_default();
            match suffix {
                "log" => {
                    found.log_len = entry.len;
                    logs.insert(base, ());
                }
                "index" => found.index_len = Some(entry.len),
                "timeindex" => found.time_len = Some(entry.len),
                "txnindex" => found.txn = true,
                _ => {}
            }
        }
        snapshots.sort_unstable();
        let bases: Vec<i64> = logs.keys().copied().collect();
        let now_ms = self.shared.clock.now_ms();
        let mut segments = Vec::new();
        for (i, base) in bases.iter().enumerate() {
            let found = files.remove(base).unwrap_or_default();
            // Deleted, and back after a crash that came before the deletion was durable. (Segments that only
            // DeleteRecords left behind may still be needed for the producers' state; maintenance deletes them.)
            let next = bases.get(i + 1).copied().filter(|next| *next <= context.log_start);
            if next.is_some_and(|next| self.has_snapshot(&snapshots, next, context.recovery_point)) {
                for suffix in ["log", "index", "timeindex", "txnindex"] {
                    let removed = storage.remove(&self.dir.join(file_name(*base, suffix)));
                    if let Err(e) = removed.or_else(ignore_missing) {
                        return self.io("removing a deleted segment of", Err(e));
                    }
                }
                continue;
            }
            segments.push(Arc::new(Segment::existing(storage, &self.dir, *base, now_ms, &found)));
        }
        // Index files without their log.
        for (base, _) in files.iter().filter(|(base, _)| !logs.contains_key(base)) {
            for suffix in ["index", "timeindex", "txnindex"] {
                let removed = storage.remove(&self.dir.join(file_name(*base, suffix)));
                if let Err(e) = removed.or_else(ignore_missing) {
                    return self.io("removing an orphaned index of", Err(e));
                }
            }
        }
        if segments.is_empty() {
            let made = Segment::create(storage, &self.dir, context.log_start, now_ms)
                .and_then(|s| s.sync_directory().map(|()| s));
            segments.push(Arc::new(self.io("creating a segment of", made)?));
        }
        Ok((segments, snapshots))
    }

    /// Whether a sound producer snapshot lies in `from..=to`.
    fn has_snapshot(&self, snapshots: &[i64], from: i64, to: i64) -> bool {
        snapshots.iter().filter(|o| (from..=to).contains(*o)).any(|o| {
            let bytes = read_file(&*self.storage, &self.dir.join(file_name(*o, "snapshot")));
            bytes.ok().flatten().is_some_and(|bytes| Producers::decode_snapshot(&bytes).is_some())
        })
    }

    /// Takes up a log that was closed properly, reading only the end of its last segment. `None` if it is not as a
    /// proper close leaves it.
    fn resume_clean(&self, segments: &[Arc<Segment>]) -> Result<Option<i64>, LogError> {
        let mut ends = segments.iter().skip(1).map(|s| s.base_offset);
        for segment in segments {
            match ends.next() {
                Some(next_base) => {
                    segment.set_end_offset(next_base);
                    if segment.size() > 0
                        && (segment.times.len() == 0 || segment.size() > 1 << 16 && segment.index.len() == 0)
                    {
                        self.io("rebuilding indexes of", self.rebuild_indexes(segment))?;
                    }
                }
                None => {
                    let Some(end) = self.io("reading the end of", self.resume_segment(segment))? else {
                        return Ok(None);
                    };
                    segment.set_end_offset(end);
                    return Ok(Some(end));
                }
            }
        }
        Ok(None)
    }

    /// Walks from the last index entry to the end of the file; `None` if they do not meet.
    fn resume_segment(&self, segment: &Segment) -> io::Result<Option<i64>> {
        let size = segment.size();
        let last = segment.index.last(segment.storage())?;
        let from = last.map_or(0, |e| u64::from(e.position));
        let mut end = segment.base_offset;
        let mut max = None;
        let mut scan = segment.scan(from, size)?;
        let mut first = true;
        while let Some((_, head)) = scan.next()? {
            let expected = last.filter(|_| first).map(|e| segment.base_offset + i64::from(e.relative_offset));
            if expected.is_some_and(|offset| head.last_offset() != offset) {
                return Ok(None);
            }
            first = false;
            end = head.last_offset() + 1;
            let newer = |m: &crate::segment::MaxTimestamp| head.max_timestamp_ms > m.timestamp_ms;
            if max.as_ref().is_none_or(newer) {
                max = Some(crate::segment::MaxTimestamp {
                    timestamp_ms: head.max_timestamp_ms,
                    offset: head.last_offset(),
                });
            }
        }
        if scan.position() != size || (last.is_some() && first) {
            return Ok(None);
        }
        if size > 0 && segment.times.len() == 0 && last.is_some() {
            self.rebuild_indexes(segment)?;
            segment.set_end_offset(end);
            return Ok(Some(end));
        }
        segment.resume(size - from, max)?;
        Ok(Some(end))
    }

    /// Makes a sound segment's offset and time index again.
    fn rebuild_indexes(&self, segment: &Segment) -> io::Result<()> {
        let size = segment.size();
        let end = segment.end_offset();
        segment.reset()?;
        let interval = self.shared.config.log_defaults.index_interval_bytes;
        let mut scan = segment.scan(0, size)?;
        while let Some((position, head)) = scan.next()? {
            segment.note_batch(&head, position, interval);
        }
        segment.set_size(size);
        segment.set_end_offset(end);
        segment.flush_indexes(true)
    }

    /// Checks everything from the recovery point on; cuts what is not whole; answers the log's end.
    fn recover(
        &self,
        segments: &mut Vec<Arc<Segment>>,
        recovery_point: i64,
        known_end: i64,
        context: &LoadContext,
        epochs: &mut LeaderEpochs,
        cut: &mut Cut,
    ) -> Result<i64, LogError> {
        let first = segments.partition_point(|s| s.base_offset <= recovery_point).saturating_sub(1);
        for (i, segment) in segments.iter().enumerate().take(first) {
            segment.set_end_offset(segments.get(i + 1).map_or(segment.base_offset, |s| s.base_offset));
            if segment.size() > 0 && segment.times.len() == 0 {
                self.io("rebuilding indexes of", self.rebuild_indexes(segment))?;
            }
        }
        let mut end = segments.get(first).map_or(0, |s| s.base_offset);
        let mut keep = segments.len();
        for (i, segment) in segments.iter().enumerate().skip(first) {
            if i > first && (segment.base_offset < end || segment.base_offset > end.max(known_end)) {
                // It does not continue the segment before it, whose end was lost: it hangs in the air.
                cut.reason = format!("{} does not continue the log at offset {end}", segment.log_name());
                keep = i;
                break;
            }
            let file_len = segment.size();
            let (sound, next, defect) = self.check_segment(
                segment,
                end.max(segment.base_offset),
                recovery_point,
                known_end,
                context,
                epochs,
            )?;
            end = next;
            if let Some(reason) = defect {
                if end < known_end {
                    return Err(LogError::Corrupt {
                        partition: self.found.partition.clone(),
                        file: segment.log_name(),
                        position: sound,
                        reason: format!("{reason}; acknowledged up to offset {known_end}"),
                    });
                }
                cut.reason = format!("{} at byte {sound}: {reason}", segment.log_name());
            }
            if sound < file_len {
                cut.bytes += file_len - sound;
                segment.set_size(sound);
                self.io("truncating", segment.trim())?;
                // Later segments hang in the air now.
                if i + 1 < segments.len() {
                    keep = i + 1;
                }
            }
            self.io("writing indexes of", segment.flush_indexes(i + 1 < segments.len()))?;
            self.io("syncing", segment.sync(|| Ok(()), |_| {}))?;
            if keep <= i + 1 {
                break;
            }
        }
        if end < known_end {
            let last = segments.last();
            return Err(LogError::Corrupt {
                partition: self.found.partition.clone(),
                file: last.map_or_else(String::new, |s| s.log_name()),
                position: last.map_or(0, |s| s.size()),
                reason: format!("the log ends at offset {end}, but was acknowledged up to {known_end}"),
            });
        }
        for segment in segments.drain(keep..) {
            cut.bytes += segment.size();
            for suffix in ["log", "index", "timeindex", "txnindex"] {
                let removed = self.storage.remove(&self.dir.join(file_name(segment.base_offset, suffix)));
                if let Err(e) = removed.or_else(ignore_missing) {
                    return self.io("removing a segment after the cut of", Err(e));
                }
            }
        }
        self.io("syncing the directory of", self.storage.sync_dir(&self.dir))?;
        Ok(end)
    }

    /// Checks one segment's batches and makes its indexes again. Answers the bytes that are sound, the offset after
    /// them, and what is wrong there if they are not all.
    fn check_segment(
        &self,
        segment: &Segment,
        first_offset: i64,
        recovery_point: i64,
        known_end: i64,
        context: &LoadContext,
        epochs: &mut LeaderEpochs,
    ) -> Result<(u64, i64, Option<String>), LogError> {
        let file_len = segment.size();
        let interval = self.shared.config.log_defaults.index_interval_bytes;
        let below: Vec<_> = self
            .io(
                "reading the aborted-transaction index of",
                segment.txns.overlapping(segment.storage(), 0, i64::MAX),
            )?
            .0
            .into_iter()
            .filter(|t| t.last_offset < recovery_point)
            .collect();
        self.io("resetting indexes of", segment.reset())?;
        self.io("resetting indexes of", segment.txns.replace(segment.storage(), below))?;
        let file = self.io("opening", segment.file())?;
        let mut reader = BatchReader::new(file, 0, file_len);
        let mut next = first_offset;
        let (sound, defect) = loop {
            let position = reader.position;
            let batch = match self.io("reading", reader.next())? {
                Next::Batch(batch) => batch,
                Next::End => break (position, None),
                Next::Defect(reason) => break (position, Some(reason.to_owned())),
            };
            let Some(head) = Head::parse(batch) else {
                break (position, Some("incomplete header".to_owned()));
            };
            if head.base_offset < next {
                let reason = format!("base offset {} where {next} or later must be", head.base_offset);
                break (position, Some(reason));
            }
            // Compaction leaves gaps, but only in what was acknowledged; behind that a gap is a lost write.
            if head.base_offset > next && head.base_offset > known_end {
                break (position, Some(format!("offsets {next}..{} are missing", head.base_offset)));
            }
            if context.replayed.cut.is_some_and(|cut| head.last_offset() >= cut) {
                break (position, Some("cut by a truncation".to_owned()));
            }
            if head.last_offset() >= recovery_point && batch::checksum(batch) != head.crc {
                break (position, Some("the checksum does not match".to_owned()));
            }
            epochs.assign(head.leader_epoch, head.base_offset);
            segment.note_batch(&head, position, interval);
            next = head.last_offset() + 1;
        };
        segment.set_end_offset(next);
        segment.set_size(file_len);
        Ok((sound, next, defect))
    }

    /// Producer state at the log's end: the newest sound snapshot that is not above `trusted`, and the batches after
    /// it. Aborted transactions that end at `trusted` or later go to their segments' indexes again.
    fn rebuild_producers(
        &self,
        segments: &[Arc<Segment>],
        snapshots: &[i64],
        trusted: i64,
        log_end: i64,
    ) -> Result<Producers, LogError> {
        let storage = &*self.storage;
        let state = ProducerReplay { storage, dir: &self.dir, segments, trusted };
        self.io("rebuilding producer state of", state.run(snapshots, log_end))
    }
}

/// Producer state as of `end`, all of whose batches are sound.
pub(crate) fn producers_at(
    storage: &dyn Storage,
    dir: &Path,
    segments: &[Arc<Segment>],
    end: i64,
) -> io::Result<Producers> {
    let mut snapshots: Vec<i64> =
        storage.list(dir)?.iter().filter_map(|e| snapshot_offset(&e.name)).collect();
    snapshots.sort_unstable();
    ProducerReplay { storage, dir, segments, trusted: end }.run(&snapshots, end)
}

struct ProducerReplay<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    segments: &'a [Arc<Segment>],
    trusted: i64,
}

impl ProducerReplay<'_> {
    fn run(&self, snapshots: &[i64], log_end: i64) -> io::Result<Producers> {
        let mut producers = Producers::default();
        let mut from = self.segments.first().map_or(0, |s| s.base_offset);
        for offset in snapshots.iter().rev().filter(|o| **o <= self.trusted) {
            let path = self.dir.join(file_name(*offset, "snapshot"));
            let bytes = read_file(self.storage, &path)?.unwrap_or_default();
            if let Some(found) = Producers::decode_snapshot(&bytes) {
                producers = found;
                from = *offset;
                break;
            }
            tracing::warn!(file = %path.display(), "producer snapshot is damaged; using an older one");
        }
        for segment in self.segments.iter().filter(|s| s.end_offset() > from && from < log_end) {
            let Ok((start, _)) = segment.locate(from, segment.size())? else { continue };
            let mut scan = segment.scan(start, segment.size())?;
            while let Some((position, head)) = scan.next()? {
                if head.base_offset >= from && head.base_offset < log_end {
                    self.note(&mut producers, segment, position, &head)?;
                }
            }
        }
        Ok(producers)
    }

    fn note(
        &self,
        producers: &mut Producers,
        segment: &Segment,
        position: u64,
        head: &Head,
    ) -> io::Result<()> {
        if !head.is_control() {
            producers.note_batch(head);
            return Ok(());
        }
        let mut bytes = vec![0u8; head.size.min(READ_CHUNK)];
        let n = segment.file()?.read_at(position, &mut bytes)?;
        bytes.truncate(n);
        let Some(marker) = batch::end_txn_marker(&bytes) else { return Ok(()) };
        let Some(ended) = producers.note_marker(head, &marker) else { return Ok(()) };
        if ended.aborted && ended.last_offset >= self.trusted {
            let stable = producers.first_open_txn().unwrap_or(ended.last_offset + 1);
            segment.txns.push(segment.storage(), ended.into_aborted(stable))?;
        }
        Ok(())
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Reads whole batches one after the other.
pub(crate) struct BatchReader {
    file: Arc<dyn crate::StorageFile>,
    pub position: u64,
    end: u64,
    buf: Vec<u8>,
    buf_start: u64,
}

pub(crate) enum Next<'a> {
    Batch(&'a [u8]),
    End,
    Defect(&'static str),
}

impl BatchReader {
    /// Reads from byte `position` to byte `end`.
    pub fn new(file: Arc<dyn crate::StorageFile>, position: u64, end: u64) -> Self {
        Self { file, position, end, buf: Vec::new(), buf_start: 0 }
    }

    fn fill(&mut self, len: usize) -> io::Result<bool> {
        let buffered_end = self.buf_start + self.buf.len() as u64;
        if self.position >= self.buf_start && self.position + len as u64 <= buffered_end {
            return Ok(true);
        }
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        if len > left {
            return Ok(false);
        }
        self.buf.resize(len.max(READ_CHUNK).min(left), 0);
        let n = self.file.read_at(self.position, &mut self.buf)?;
        self.buf.truncate(n);
        self.buf_start = self.position;
        Ok(n >= len)
    }

    pub fn next(&mut self) -> io::Result<Next<'_>> {
        if self.position >= self.end {
            return Ok(Next::End);
        }
        if !self.fill(HEADER_LEN)? {
            return Ok(Next::Defect("incomplete header"));
        }
        let at = usize::try_from(self.position - self.buf_start).unwrap_or(usize::MAX);
        let Some(head) = self.buf.get(at..).and_then(Head::parse) else {
            return Ok(Next::Defect("incomplete header"));
        };
        if let Some(defect) = head.defect() {
            return Ok(Next::Defect(defect));
        }
        if !self.fill(head.size)? {
            return Ok(Next::Defect("incomplete batch"));
        }
        let at = usize::try_from(self.position - self.buf_start).unwrap_or(usize::MAX);
        let Some(batch) = self.buf.get(at..at.saturating_add(head.size)) else {
            return Ok(Next::Defect("incomplete batch"));
        };
        self.position += head.size as u64;
        Ok(Next::Batch(batch))
    }
}
