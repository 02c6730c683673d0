//! The committer: takes everything that is queued, makes it durable with one sync of the journal, writes it to the
//! segments, tells the logs. The flusher: syncs segments, for direct appends at once, for the rest in the background.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use crate::journal::{PartHead, PartKind, Slot, round_overhead};
use crate::log::{Log, Mark};
use crate::segment::Segment;
use crate::shared::{Job, Queue, QueuedPart, Shared};
use crate::storage::OpenMode;

/// Most bytes of one round; more is divided, so that the first waiters need not wait for the last.
const ROUND_BYTES_MAX: usize = 8 << 20;

/// Which slots may be used again, and the generations to give.
struct SlotTable {
    /// Prepared slots, the one in use excepted.
    free: Vec<Slot>,
    /// Full ones whose segments are not synced yet, by slot number.
    full: Vec<Slot>,
    next_generation: u64,
    next_number: u32,
}

/// The journal as the committer uses it.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    current: Mutex<Current>,
    table: Mutex<SlotTable>,
    slot_freed: Condvar,
}

struct Current {
    slot: Option<Slot>,
    /// Segments that rounds of this slot were written to.
    touched: BTreeMap<(u64, i64), (Arc<Log>, Arc<Segment>)>,
    scratch: Vec<u8>,
}

impl Journal {
    /// A journal over two prepared slots.
    pub fn new(shared: Arc<Shared>, first: Slot, second: Slot, next_generation: u64) -> Self {
        let next_number = first.number.max(second.number) + 1;
        Self {
            shared,
            current: Mutex::new(Current { slot: Some(first), touched: BTreeMap::new(), scratch: Vec::new() }),
            table: Mutex::new(SlotTable {
                free: vec![second],
                full: Vec::new(),
                next_generation,
                next_number,
            }),
            slot_freed: Condvar::new(),
        }
    }

    /// Largest append that fits a round.
    pub fn append_bytes_max(&self) -> usize {
        let slot_max = self.current.lock().slot.as_ref().map_or(0, Slot::round_bytes_max);
        ROUND_BYTES_MAX.min(slot_max / 2)
    }

    /// One step of the committer: everything that is queued now. Returns whether there was anything.
    pub fn commit_queued(&self, inline_jobs: bool) -> bool {
        let queue = {
            let mut queue = self.shared.queue.lock();
            if queue.parts.is_empty() {
                return false;
            }
            let taken = std::mem::take(&mut *queue);
            // The next round is likely to be of a similar size.
            queue.data = Vec::with_capacity(taken.data.len().min(1 << 20));
            queue.parts = Vec::with_capacity(taken.parts.len().min(4096));
            self.shared.queue_drained.notify_all();
            taken
        };
        self.commit(&queue, inline_jobs);
        true
    }

    fn commit(&self, queue: &Queue, inline_jobs: bool) {
        let limit = self.append_bytes_max();
        let notes: Vec<_> = queue.durable_notes.iter().map(|(key, end)| (*key, *end)).collect();
        let mut notes = notes.as_slice();
        let mut part_from = 0;
        let mut data_from = 0;
        while part_from < queue.parts.len() {
            // As many whole appends as fit one round.
            let mut part_to = part_from;
            let mut data_to = data_from;
            let mut size = round_overhead(notes.len());
            let mut append_end = part_from;
            let mut append_data = data_from;
            for (i, part) in queue.parts.iter().enumerate().skip(part_from) {
                append_end = i + 1;
                append_data += part.head.len as usize;
                size += round_overhead(1) + part.head.len as usize;
                if part.ends_append {
                    if part_to > part_from && size > limit {
                        break;
                    }
                    part_to = append_end;
                    data_to = append_data;
                }
            }
            if part_to == part_from {
                // An append without its last part cannot happen; take what there is rather than loop.
                part_to = append_end;
                data_to = append_data;
            }
            let parts = queue.parts.get(part_from..part_to).unwrap_or_default();
            let data = queue.data.get(data_from..data_to).unwrap_or_default();
            self.commit_round(parts, notes, data, inline_jobs);
            notes = &[];
            part_from = part_to;
            data_from = data_to;
        }
        self.shared.events.round_over();
    }

    fn commit_round(
        &self,
        parts: &[QueuedPart],
        notes: &[(crate::journal::LogKey, i64)],
        data: &[u8],
        inline_jobs: bool,
    ) {
        if self.shared.failure().is_some() {
            return;
        }
        for part in parts {
            // A segment that could vanish in a crash must not be what the journal refers to.
            if let Err(e) = part.segment.sync_directory() {
                part.log.fail_io("sync of the log's directory", &e);
            }
            if part.sync_direct_first {
                part.log.sync_direct();
            }
        }
        let mut current = self.current.lock();
        let current = &mut *current;
        if let Err(e) = self.write_round(current, parts, notes, data, inline_jobs) {
            self.shared.fail_all(&format!("journal: {e}"));
            return;
        }
        self.write_to_segments(current, parts, data);
    }

    fn write_round(
        &self,
        current: &mut Current,
        parts: &[QueuedPart],
        notes: &[(crate::journal::LogKey, i64)],
        data: &[u8],
        inline_jobs: bool,
    ) -> io::Result<()> {
        let len = round_overhead(parts.len() + notes.len()) + data.len();
        if current.slot.as_ref().is_none_or(|slot| !slot.has_room(len)) {
            self.switch_slot(current, inline_jobs)?;
        }
        let Some(slot) = current.slot.as_mut() else {
            return Err(io::Error::other("no journal slot"));
        };
        if !slot.has_room(len) {
            return Err(io::Error::other("round does not fit the journal"));
        }
        let heads: Vec<PartHead> = notes
            .iter()
            .map(|(key, end_offset)| PartHead {
                key: *key,
                kind: PartKind::Durable { end_offset: *end_offset },
                len: 0,
            })
            .chain(parts.iter().map(|p| p.head))
            .collect();
        slot.write_round(&mut current.scratch, heads.into_iter(), data)?;
        Ok(())
    }

    fn switch_slot(&self, current: &mut Current, inline_jobs: bool) -> io::Result<()> {
        let segments: Vec<_> = std::mem::take(&mut current.touched).into_values().collect();
        let mut table = self.table.lock();
        if let Some(full) = current.slot.take() {
            let slot = full.number as usize;
            table.full.push(full);
            self.shared.add_job(Job::Recycle { slot, segments });
        }
        loop {
            if let Some(slot) = table.free.pop() {
                current.slot = Some(slot);
                return Ok(());
            }
            if self.shared.failure().is_some() {
                return Err(io::Error::other("the directory is offline"));
            }
            if inline_jobs {
                drop(table);
                if !self.run_job() {
                    return Err(io::Error::other("no journal slot is free"));
                }
                table = self.table.lock();
            } else {
                self.slot_freed.wait(&mut table);
            }
        }
    }

    /// Writes the parts' bytes to their segments (page cache), one write for each log where they are adjacent, and
    /// tells the logs.
    fn write_to_segments(&self, current: &mut Current, parts: &[QueuedPart], data: &[u8]) {
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(parts.len());
        let mut at = 0;
        for (i, part) in parts.iter().enumerate() {
            order.push((i, at));
            at += part.head.len as usize;
        }
        order.sort_by_key(|(i, _)| parts.get(*i).map_or(0, |p| p.log.number()));
        let mut slices: Vec<&[u8]> = Vec::new();
        let mut rest = order.as_slice();
        while let Some((first, _)) = rest.first().and_then(|(i, at)| Some((parts.get(*i)?, *at))) {
            let mut taken = 0;
            let mut last = first;
            let mut bytes: u64 = 0;
            slices.clear();
            for (i, at) in rest {
                let Some(part) = parts.get(*i) else { break };
                let adjacent = part.log.number() == first.log.number()
                    && Arc::ptr_eq(&part.segment, &first.segment)
                    && part.position() == first.position().map(|p| p + bytes);
                if taken > 0 && !adjacent {
                    break;
                }
                let len = part.head.len as usize;
                slices.push(data.get(*at..*at + len).unwrap_or_default());
                bytes += len as u64;
                last = part;
                taken += 1;
            }
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(position) = first.position() {
                let written =
                    first.segment.file().and_then(|file| file.write_at(position, slices.as_slice()));
                let key = (first.log.number(), first.segment.base_offset);
                current
                    .touched
                    .entry(key)
                    .or_insert_with(|| (Arc::clone(&first.log), Arc::clone(&first.segment)));
                match written {
                    Ok(()) => last.log.journal_done(Mark {
                        offset: last.end_offset,
                        segment_base: last.segment.base_offset,
                        position: position + bytes,
                    }),
                    Err(e) => first.log.fail_io(&format!("write to {}", first.segment.log_name()), &e),
                }
            } else {
                last.log.journal_cut_done();
            }
        }
    }

    /// One background job; returns whether there was one.
    pub fn run_job(&self) -> bool {
        let Some(job) = self.shared.jobs.lock().pop_front() else { return false };
        match job {
            Job::Seal { log, segment } => log.seal(&segment),
            Job::Recycle { slot, segments } => self.recycle(slot, &segments),
            Job::Checkpoint => self.checkpoint(),
            Job::Snapshot { log, offset, bytes } => log.write_snapshot(offset, &bytes),
        }
        true
    }

    fn recycle(&self, number: usize, segments: &[(Arc<Log>, Arc<Segment>)]) {
        let mut all_synced = true;
        for (log, segment) in segments {
            if log.is_closed() {
                continue;
            }
            all_synced &= log.sync_segment(segment).is_ok();
        }
        let mut table = self.table.lock();
        let Some(at) = table.full.iter().position(|s| s.number as usize == number) else { return };
        let mut slot = table.full.swap_remove(at);
        let generation = table.next_generation;
        table.next_generation += 1;
        let capacity = slot.capacity();
        if !all_synced {
            // The journal may now hold the only copy of some records: keep the slot for the next start's recovery,
            // and go on with a new one.
            let number = table.next_number;
            table.next_number += 1;
            drop(table);
            let storage = &*self.shared.storage;
            let made = Slot::prepare(storage, &self.shared.path, number, generation, capacity)
                .and_then(|slot| storage.sync_dir(&self.shared.path).map(|()| slot));
            match made {
                Ok(slot) => self.table.lock().free.push(slot),
                Err(e) => self.shared.fail_all(&format!("journal: {e}")),
            }
            self.slot_freed.notify_all();
            return;
        }
        drop(table);
        match slot.start_generation(generation) {
            Ok(()) => self.table.lock().free.push(slot),
            Err(e) => self.shared.fail_all(&format!("journal: {e}")),
        }
        self.slot_freed.notify_all();
    }

    /// Syncs the active segments, moves the recovery points and closes files that nobody used since the last time.
    pub fn checkpoint(&self) {
        let logs: Vec<Arc<Log>> = self.shared.logs.read().values().cloned().collect();
        for log in &logs {
            log.flush_for_checkpoint();
            log.close_idle_files();
        }
        if let Err(e) = self.shared.write_checkpoints() {
            tracing::warn!(directory = %self.shared.path.display(), error = %e, "checkpoint not written");
        }
    }

    /// Ends the current generation of every slot: all segments are synced, the journal holds nothing.
    pub fn reset(&self) -> io::Result<()> {
        let mut current = self.current.lock();
        let mut table = self.table.lock();
        let mut slots: Vec<&mut Slot> = Vec::new();
        let mut generation = table.next_generation;
        let table = &mut *table;
        slots.extend(current.slot.as_mut());
        slots.extend(table.free.iter_mut());
        slots.extend(table.full.iter_mut());
        for slot in slots {
            slot.start_generation(generation)?;
            generation += 1;
        }
        table.next_generation = generation;
        current.touched.clear();
        Ok(())
    }

    /// Wakes a committer that waits for a slot, after a failure or at the stop.
    pub fn wake(&self) {
        self.slot_freed.notify_all();
    }
}

/// The committer thread.
pub(crate) fn run_committer(journal: &Journal) {
    let shared = &journal.shared;
    loop {
        {
            let mut queue = shared.queue.lock();
            while queue.parts.is_empty() {
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                shared.queue_filled.wait(&mut queue);
            }
        }
        journal.commit_queued(false);
    }
}

/// A thread that syncs direct appends.
pub(crate) fn run_flusher(shared: &Shared) {
    loop {
        let log = {
            let mut direct = shared.direct.lock();
            loop {
                if let Some(log) = direct.pop_front() {
                    break log;
                }
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                shared.direct_filled.wait(&mut direct);
            }
        };
        log.sync_direct();
        shared.events.round_over();
    }
}

/// The thread for everything nobody waits for.
pub(crate) fn run_housekeeper(journal: &Journal) {
    let shared = &journal.shared;
    loop {
        {
            let mut jobs = shared.jobs.lock();
            while jobs.is_empty() {
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                shared.jobs_filled.wait(&mut jobs);
            }
        }
        journal.run_job();
    }
}

/// Replaces or makes a file without syncing it (its contents can be made again).
pub(crate) fn write_unsynced(
    storage: &dyn crate::Storage,
    path: &std::path::Path,
    bytes: &[u8],
) -> io::Result<()> {
    storage.open(path, OpenMode::Truncate)?.write_at(0, &[bytes])
}
