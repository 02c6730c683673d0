//! The produce path: check, assign offsets, hand to the journal or write to the segment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kafka_codec::records::{Batch, BatchRules, Batches, Compression, RecordError, set_max_timestamp};
use parking_lot::MutexGuard;

use crate::batch::{self, EndTxnMarker, HEADER_LEN, Head};
use crate::dir::LogDir;
use crate::journal::{PartHead, PartKind};
use crate::log::{AppendState, Log, Mark};
use crate::producer::Verdict;
use crate::segment::Segment;
use crate::shared::{Job, QueuedPart};
use crate::{AppendBatches, Appended, LogConfig, LogError, Origin, TimestampType};

/// Batches that passed the checks which need no lock.
struct Prepared {
    bytes: Bytes,
    heads: Vec<Head>,
    leader_epoch: i32,
    origin: Origin,
    /// Offsets the append takes.
    offsets: i64,
    max_timestamp_ms: i64,
}

/// Where an append goes.
struct Place {
    base_offset: i64,
    segment: Arc<Segment>,
    position: u64,
    append_time_ms: Option<i64>,
}

impl Place {
    fn answer(&self, log: &Log, prepared: &Prepared) -> Appended {
        Appended {
            base_offset: self.base_offset,
            last_offset: self.base_offset + prepared.offsets - 1,
            log_append_time_ms: self.append_time_ms.unwrap_or(-1),
            log_start_offset: log.log_start(),
            duplicate: false,
        }
    }
}

impl Log {
    /// Appends batches. Returns as soon as they have their offsets; they are durable and readable when
    /// [`crate::LogEvents::advanced`] passes their last offset. Waits only while more than
    /// `journal.queue.bytes.max` is on its way to the journal.
    ///
    /// # Errors
    /// Whatever is wrong with the batches or their producer's state; [`LogError::NoSpace`] (nothing was changed,
    /// the same append may succeed later); [`LogError::Offline`].
    pub fn append(self: &Arc<Self>, batches: AppendBatches) -> Result<Appended, LogError> {
        let config = self.config();
        let prepared = self.prepare(batches, &config)?;
        self.shared.wait_for_room();
        let mut state = self.append.lock();
        self.check_writable()?;
        if let Some(duplicate) = self.check_state(&state, &prepared)? {
            return Ok(duplicate);
        }
        let place = self.make_room(&mut state, &prepared, &config)?;
        let journaled = !config.write_caching
            && prepared.bytes.len() <= self.shared.config.journal_batch_bytes_max
            && self.takes_journal(place.base_offset + prepared.offsets);
        if journaled {
            self.note(&mut state, &place, &prepared, &config);
            let sync_direct_first = self.cached_unsynced.load(Ordering::Acquire);
            let part = self.part(&place, &prepared, sync_direct_first, true);
            self.shared.enqueue(|data| write_stamped(data, &place, &prepared), std::iter::once(part));
        } else {
            self.append_direct(&mut state, &place, &prepared, &config)?;
        }
        drop(state);
        if !journaled && config.write_caching {
            self.direct_done(self.mark_after(&place, &prepared));
        }
        Ok(place.answer(self, &prepared))
    }

    /// Journaled appends may only begin when no direct one is under way (see [`crate::log::Durable`]).
    fn takes_journal(&self, new_end: i64) -> bool {
        let mut durable = self.durable.lock();
        if durable.direct_queued > durable.end.offset {
            return false;
        }
        durable.journal_queued = new_end;
        true
    }

    fn mark_after(&self, place: &Place, prepared: &Prepared) -> Mark {
        Mark {
            offset: place.base_offset + prepared.offsets,
            segment_base: place.segment.base_offset,
            position: place.position + prepared.bytes.len() as u64,
        }
    }

    fn part(
        self: &Arc<Self>,
        place: &Place,
        prepared: &Prepared,
        sync_direct_first: bool,
        ends_append: bool,
    ) -> QueuedPart {
        QueuedPart {
            log: Arc::clone(self),
            segment: Arc::clone(&place.segment),
            head: PartHead {
                key: self.key,
                kind: PartKind::Data {
                    base_offset: place.base_offset,
                    segment_base: place.segment.base_offset,
                    position: place.position,
                },
                len: u32::try_from(prepared.bytes.len()).unwrap_or(u32::MAX),
            },
            end_offset: place.base_offset + prepared.offsets,
            sync_direct_first,
            ends_append,
        }
    }

    /// Checks that need no lock: shape, checksum, size.
    fn prepare(&self, batches: AppendBatches, config: &LogConfig) -> Result<Prepared, LogError> {
        let AppendBatches { mut bytes, leader_epoch, origin, mut validated } = batches;
        if let Some(target) = config.compression.filter(|_| origin == Origin::Client)
            && let Some(stored) = self.recompress(&bytes, target, validated, config)?
        {
            bytes = stored;
            validated = true;
        }
        let invalid = |reason: &str| LogError::InvalidBatch {
            partition: self.partition.clone(),
            reason: reason.to_owned(),
        };
        let mut heads = Vec::with_capacity(1);
        let mut rest: &[u8] = &bytes;
        let mut offsets: i64 = 0;
        let mut max_timestamp_ms = -1;
        while !rest.is_empty() {
            let mut head = Head::parse(rest).ok_or_else(|| invalid("incomplete batch"))?;
            let (whole, after) =
                rest.split_at_checked(head.size).ok_or_else(|| invalid("incomplete batch"))?;
            if origin == Origin::Client && !validated {
                let rules = self.rules(config);
                head.max_timestamp_ms =
                    crate::records::validate(whole, &rules).map_err(|e| self.batch_error(e))?;
            } else {
                self.check_shape(&head, whole, origin, validated)?;
            }
            offsets = match origin {
                Origin::Replica => {
                    let first = heads.first().map_or(head.base_offset, |h: &Head| h.base_offset);
                    head.last_offset() + 1 - first
                }
                _ => offsets + i64::from(head.last_offset_delta) + 1,
            };
            max_timestamp_ms = max_timestamp_ms.max(head.max_timestamp_ms);
            heads.push(head);
            rest = after;
        }
        if heads.is_empty() {
            return Err(invalid("no batch"));
        }
        if bytes.len() > config.segment_bytes as usize {
            return Err(self.too_large(bytes.len(), config.segment_bytes as usize));
        }
        Ok(Prepared { bytes, heads, leader_epoch, origin, offsets, max_timestamp_ms })
    }

    /// A client's batches as `compression.type` wants them; `None` when they are so already.
    fn recompress(
        &self,
        bytes: &Bytes,
        (codec, level): (Compression, Option<i32>),
        validated: bool,
        config: &LogConfig,
    ) -> Result<Option<Bytes>, LogError> {
        let is_other = |batch: Result<Batch<'_>, _>| batch.is_ok_and(|b| b.header.compression() != Ok(codec));
        if !Batches::new(bytes).any(is_other) {
            return Ok(None);
        }
        let rules = self.rules(config);
        let mut out = Vec::new();
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|e| self.batch_error(e))?;
            let wrong_maximum = if validated {
                None
            } else {
                let facts = crate::records::validate(batch.bytes, &rules);
                let found = facts.map_err(|e| self.batch_error(e))?;
                (found != batch.header.max_timestamp).then_some(found)
            };
            let stored = crate::records::recompress(&batch, codec, level, rules.decompressed_bytes_max);
            let mut stored = stored.map_err(|e| self.batch_error(e))?;
            if stored.len() > rules.batch_bytes_max {
                return Err(self.too_large(stored.len(), rules.batch_bytes_max));
            }
            if let Some(max_timestamp_ms) = wrong_maximum {
                set_max_timestamp(&mut stored, max_timestamp_ms);
            }
            out.extend_from_slice(&stored);
        }
        Ok(Some(Bytes::from(out)))
    }

    fn rules(&self, config: &LogConfig) -> BatchRules {
        BatchRules {
            batch_bytes_max: config.max_message_bytes as usize,
            decompressed_bytes_max: self.shared.config.decompressed_bytes_max,
            keys_required: config.cleanup_policy.compact,
        }
    }

    fn too_large(&self, size: usize, max: usize) -> LogError {
        LogError::TooLarge { partition: self.partition.clone(), size, max }
    }

    fn batch_error(&self, error: RecordError) -> LogError {
        match error {
            RecordError::TooLarge { size, max } => self.too_large(size, max),
            source => LogError::Batch { partition: self.partition.clone(), source },
        }
    }

    /// What the log's own structure rests on.
    fn check_shape(
        &self,
        head: &Head,
        whole: &[u8],
        origin: Origin,
        validated: bool,
    ) -> Result<(), LogError> {
        let invalid = |reason: &str| LogError::InvalidBatch {
            partition: self.partition.clone(),
            reason: reason.to_owned(),
        };
        if let Some(defect) = head.defect() {
            return Err(invalid(defect));
        }
        // Only a leader's batches may have been compacted.
        if origin != Origin::Replica && head.record_count != head.last_offset_delta.saturating_add(1) {
            return Err(invalid("record count and offsets do not match"));
        }
        if !validated {
            let computed = batch::checksum(whole);
            if computed != head.crc {
                return Err(self.batch_error(RecordError::Crc { stored: head.crc, computed }));
            }
        }
        Ok(())
    }

    /// Checks against the log's state; answers a duplicate with its old place.
    fn check_state(&self, state: &AppendState, prepared: &Prepared) -> Result<Option<Appended>, LogError> {
        let log_end = self.log_end();
        match prepared.origin {
            Origin::Client => {
                if let Verdict::Duplicate(old) = state.producers.check(&self.partition, &prepared.heads)? {
                    return Ok(Some(Appended {
                        base_offset: old.base_offset(),
                        last_offset: old.last_offset,
                        log_append_time_ms: match self.config().timestamp_type {
                            TimestampType::LogAppendTime => old.timestamp_ms,
                            TimestampType::CreateTime => -1,
                        },
                        log_start_offset: self.log_start(),
                        duplicate: true,
                    }));
                }
            }
            Origin::Coordinator => {
                for (head, whole) in batches_of(prepared) {
                    let marker = if head.is_control() { batch::end_txn_marker(whole) } else { None };
                    state.producers.check_coordinator(&self.partition, &head, marker.as_ref())?;
                }
            }
            Origin::Replica => {
                let mut expected = log_end;
                for head in &prepared.heads {
                    // Compaction leaves gaps, never steps back.
                    if head.base_offset < expected {
                        return Err(LogError::OffsetsNotContinuous {
                            partition: self.partition.clone(),
                            got: head.base_offset,
                            expected,
                        });
                    }
                    expected = head.last_offset() + 1;
                }
            }
        }
        Ok(None)
    }

    /// Rolls the segment if it must be, and reserves the append's room on disk.
    fn make_room(
        self: &Arc<Self>,
        state: &mut AppendState,
        prepared: &Prepared,
        config: &LogConfig,
    ) -> Result<Place, LogError> {
        let now_ms = self.shared.clock.now_ms();
        let len = prepared.bytes.len() as u64;
        let base_offset = match (prepared.origin, prepared.heads.first()) {
            (Origin::Replica, Some(first)) => first.base_offset,
            _ => self.log_end(),
        };
        if self.must_roll(state, prepared, base_offset, config, now_ms)? {
            self.roll(state, base_offset, now_ms)?;
        }
        let segment = Arc::clone(&state.active);
        let at_once = if config.preallocate { u64::from(config.segment_bytes) } else { 0 };
        segment
            .reserve(len, u64::from(config.segment_bytes), at_once)
            .map_err(|e| self.io_error("reserving room in the segment", e))?;
        let stamps =
            config.timestamp_type == TimestampType::LogAppendTime && prepared.origin == Origin::Client;
        Ok(Place { base_offset, position: segment.size(), segment, append_time_ms: stamps.then_some(now_ms) })
    }

    fn must_roll(
        &self,
        state: &AppendState,
        prepared: &Prepared,
        base_offset: i64,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<bool, LogError> {
        let active = &state.active;
        if active.size() == 0 {
            // An empty segment is only in the way when a follower starts elsewhere.
            return Ok(base_offset != active.base_offset && active.end_offset() != base_offset);
        }
        let last_offset = base_offset + prepared.offsets - 1;
        if active.size() + prepared.bytes.len() as u64 > u64::from(config.segment_bytes)
            || last_offset - active.base_offset > i64::from(i32::MAX)
            || active.index_is_full(config.segment_index_bytes)
        {
            return Ok(true);
        }
        let first = active.first_timestamp().map_err(|e| self.io_error("reading the first batch", e))?;
        let age_ms = match first.filter(|t| *t >= 0) {
            Some(first) => prepared.max_timestamp_ms.saturating_sub(first),
            None => now_ms.saturating_sub(active.created_ms),
        };
        Ok(age_ms > self.segment_ms(config, active.base_offset))
    }

    /// Age at which the segment from `base_offset` on is closed. In a compacted log no record waits for the cleaner
    /// longer than `max.compaction.lag.ms` because its segment is still open.
    fn segment_ms(&self, config: &LogConfig, base_offset: i64) -> i64 {
        let compacted = config.cleanup_policy.compact && config.max_compaction_lag_ms > 0;
        let segment_ms =
            if compacted { config.segment_ms.min(config.max_compaction_lag_ms) } else { config.segment_ms };
        let jitter_max = config.segment_jitter_ms.min(segment_ms);
        if jitter_max <= 0 {
            return segment_ms;
        }
        // Different for each segment, the same whenever it is asked for.
        let mut seed = self.key.topic_id.to_vec();
        seed.extend_from_slice(&self.key.partition.to_be_bytes());
        seed.extend_from_slice(&base_offset.to_be_bytes());
        segment_ms - i64::from(crc32c::crc32c(&seed)) % jitter_max
    }

    /// Closes the active segment for appends and starts a new one at `base_offset`.
    pub(crate) fn roll(
        self: &Arc<Self>,
        state: &mut AppendState,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<(), LogError> {
        let new = Segment::create(&self.storage, &self.dir, base_offset, now_ms)
            .map_err(|e| self.io_error("creating a segment", e))?;
        let new = Arc::new(new);
        let old = std::mem::replace(&mut state.active, Arc::clone(&new));
        {
            let mut segments = self.segments.write();
            let mut list = segments.as_ref().clone();
            if old.size() == 0 {
                list.retain(|s| !Arc::ptr_eq(s, &old));
            }
            list.push(new);
            *segments = Arc::new(list);
        }
        // Before the seal, which counts on it.
        let bytes = state.producers.encode_snapshot();
        self.shared.add_job(Job::Snapshot { log: Arc::clone(self), offset: base_offset, bytes });
        if old.size() > 0 {
            let mut durable = self.durable.lock();
            if old.end_offset() <= durable.end.offset {
                drop(durable);
                self.shared.add_job(Job::Seal { log: Arc::clone(self), segment: old });
            } else {
                durable.closing.push(old);
            }
        }
        Ok(())
    }

    /// Takes an append into the log's state.
    fn note(
        self: &Arc<Self>,
        state: &mut AppendState,
        place: &Place,
        prepared: &Prepared,
        config: &LogConfig,
    ) {
        let mut next_offset = place.base_offset;
        let mut position = place.position;
        for (mut head, whole) in batches_of(prepared) {
            if prepared.origin != Origin::Replica {
                head.base_offset = next_offset;
                head.leader_epoch = prepared.leader_epoch;
            }
            if let Some(now_ms) = place.append_time_ms {
                head.max_timestamp_ms = now_ms;
            }
            self.note_transaction(state, place, &head, whole);
            if !head.is_control() {
                state.producers.note_batch(&head);
            }
            if head.leader_epoch >= 0 && self.epochs.read().latest() != Some(head.leader_epoch) {
                self.epochs.write().assign(head.leader_epoch, head.base_offset);
            }
            place.segment.note_batch(&head, position, config.index_interval_bytes);
            position += head.size as u64;
            next_offset = head.last_offset() + 1;
        }
        if prepared.heads.iter().any(Head::is_transactional) {
            self.txns.lock().first_open = state.producers.first_open_txn();
            self.txns_in_view.store(true, Ordering::Release);
        }
        self.log_end.store(next_offset, Ordering::Release);
    }

    fn note_transaction(self: &Arc<Self>, state: &mut AppendState, place: &Place, head: &Head, whole: &[u8]) {
        let marker: Option<EndTxnMarker> =
            if head.is_control() { batch::end_txn_marker(whole) } else { None };
        let Some(ended) = marker.and_then(|marker| state.producers.note_marker(head, &marker)) else {
            return;
        };
        if ended.aborted {
            let stable = state.producers.first_open_txn().unwrap_or(ended.last_offset + 1);
            let pushed = place.segment.txns.push(&*self.storage, ended.into_aborted(stable));
            if let Err(e) = pushed {
                // The entry is in memory; recovery makes the file anew from the log.
                tracing::warn!(partition = %self.partition, error = %e, "aborted-transaction index not written");
            }
        }
        self.txns.lock().ended.insert(ended.first_offset, ended.last_offset);
    }

    /// Writes straight to the segment; the flusher syncs it (nobody does for `write.caching` logs).
    fn append_direct(
        self: &Arc<Self>,
        state: &mut AppendState,
        place: &Place,
        prepared: &Prepared,
        config: &LogConfig,
    ) -> Result<(), LogError> {
        let headers = stamped_headers(place, prepared);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(headers.len() * 2);
        let mut at = 0;
        for (header, head) in headers.iter().zip(&prepared.heads) {
            parts.push(header);
            parts.push(prepared.bytes.get(at + HEADER_LEN..at + head.size).unwrap_or_default());
            at += head.size;
        }
        let file = place.segment.file().map_err(|e| self.io_error("opening the segment", e))?;
        if let Err(e) = file.write_at(place.position, &parts) {
            let error = self.io_error("writing the segment", e);
            if let LogError::Io { source, .. } = &error {
                self.fail_io(&format!("write to {}", place.segment.log_name()), source);
            }
            return Err(error);
        }
        self.note(state, place, prepared, config);
        let mark = self.mark_after(place, prepared);
        self.durable.lock().direct_queued = mark.offset;
        let mut direct = self.direct.lock();
        if !direct.segments.last().is_some_and(|last| Arc::ptr_eq(last, &place.segment)) {
            direct.segments.push(Arc::clone(&place.segment));
        }
        if config.write_caching {
            self.cached_unsynced.store(true, Ordering::Release);
            // Nothing waits for these: sealed ones are synced on their own, only the newest may not be.
            let surplus = direct.segments.len().saturating_sub(1);
            direct.segments.drain(..surplus);
            return Ok(());
        }
        self.shared.count_unchecked(prepared.bytes.len());
        direct.mark = Some(mark);
        let queue_it = !std::mem::replace(&mut direct.queued, true);
        drop(direct);
        if queue_it {
            self.shared.add_direct(Arc::clone(self));
        }
        Ok(())
    }
}

/// The batches of an append, each with its bytes.
fn batches_of(prepared: &Prepared) -> impl Iterator<Item = (Head, &[u8])> {
    let mut at = 0;
    prepared.heads.iter().map(move |head| {
        let whole = prepared.bytes.get(at..at + head.size).unwrap_or_default();
        at += head.size;
        (*head, whole)
    })
}

fn stamp(
    header: &mut [u8],
    rest: &[u8],
    next_offset: &mut i64,
    head: &Head,
    place: &Place,
    prepared: &Prepared,
) {
    if prepared.origin == Origin::Replica {
        return;
    }
    batch::stamp(header, *next_offset, prepared.leader_epoch);
    if let Some(now_ms) = place.append_time_ms {
        batch::stamp_time(header, rest, now_ms, true);
    } else if Head::parse(header).is_some_and(|h| h.max_timestamp_ms != head.max_timestamp_ms) {
        // A faulty producer's header; the time index must be able to rely on it.
        batch::stamp_time(header, rest, head.max_timestamp_ms, false);
    }
    *next_offset += i64::from(head.last_offset_delta) + 1;
}

/// Copies the batches to `data`, stamped.
fn write_stamped(data: &mut Vec<u8>, place: &Place, prepared: &Prepared) {
    let mut at = data.len();
    data.extend_from_slice(&prepared.bytes);
    let mut next_offset = place.base_offset;
    for head in &prepared.heads {
        if let Some((header, rest)) =
            data.get_mut(at..at + head.size).and_then(|whole| whole.split_at_mut_checked(HEADER_LEN))
        {
            stamp(header, rest, &mut next_offset, head, place, prepared);
        }
        at += head.size;
    }
}

/// Stamped copies of the batches' headers only.
fn stamped_headers(place: &Place, prepared: &Prepared) -> Vec<[u8; HEADER_LEN]> {
    let mut next_offset = place.base_offset;
    batches_of(prepared)
        .map(|(head, whole)| {
            let mut header = [0u8; HEADER_LEN];
            let (front, rest) = whole.split_at_checked(HEADER_LEN).unwrap_or_default();
            if front.len() == HEADER_LEN {
                header.copy_from_slice(front);
            }
            stamp(&mut header, rest, &mut next_offset, &head, place, prepared);
            header
        })
        .collect()
}

impl LogDir {
    /// Appends to several logs as one step: after any crash all of it is there or none of it. Every log may appear
    /// once. Always goes through the journal, also for `write.caching` logs.
    ///
    /// # Errors
    /// As [`Log::append`]; then nothing at all was appended. [`LogError::TooLarge`] when the whole does not fit one
    /// round of the journal. A duplicate among idempotent batches is refused as [`LogError::InvalidBatch`].
    pub fn append_atomic(&self, appends: Vec<(Arc<Log>, AppendBatches)>) -> Result<Vec<Appended>, LogError> {
        struct Entry<'a> {
            log: &'a Arc<Log>,
            prepared: Prepared,
            config: Arc<LogConfig>,
        }
        let mut total = 0;
        let mut logs = Vec::with_capacity(appends.len());
        let mut batches = Vec::with_capacity(appends.len());
        for (log, batch) in appends {
            total += batch.bytes.len() + crate::journal::round_overhead(1);
            logs.push(log);
            batches.push(batch);
        }
        let Some(first) = logs.first() else { return Ok(Vec::new()) };
        if total > self.journal().append_bytes_max() {
            return Err(first.too_large(total, self.journal().append_bytes_max()));
        }
        let mut entries = Vec::with_capacity(logs.len());
        for (log, batch) in logs.iter().zip(batches) {
            let config = log.config();
            let prepared = log.prepare(batch, &config)?;
            entries.push(Entry { log, prepared, config });
        }
        // Locked in one order everywhere, so that two atomic appends cannot wait for each other.
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|i| logs.get(*i).map_or(0, |log| log.number()));
        if order.windows(2).any(|pair| match pair {
            [a, b] => logs.get(*a).map(|l| l.number()) == logs.get(*b).map(|l| l.number()),
            _ => false,
        }) {
            return Err(LogError::Invalid("a log appears twice in an atomic append".into()));
        }
        first.shared.wait_for_room();
        let mut states: Vec<(usize, MutexGuard<'_, AppendState>)> = Vec::with_capacity(order.len());
        for i in order {
            if let Some(log) = logs.get(i) {
                states.push((i, log.append.lock()));
            }
        }
        states.sort_by_key(|(i, _)| *i);
        let mut places = Vec::with_capacity(entries.len());
        for (entry, (_, state)) in entries.iter().zip(&mut states) {
            let Entry { log, prepared, config } = entry;
            log.check_writable()?;
            if log.check_state(state, prepared)?.is_some() {
                return Err(LogError::InvalidBatch {
                    partition: log.partition.clone(),
                    reason: "a batch of an atomic append was appended before".into(),
                });
            }
            places.push(log.make_room(state, prepared, config)?);
        }
        let mut parts = Vec::with_capacity(entries.len());
        let last = entries.len().saturating_sub(1);
        for (i, (entry, (_, state))) in entries.iter().zip(&mut states).enumerate() {
            let Entry { log, prepared, config } = entry;
            let Some(place) = places.get(i) else { continue };
            let sync_direct_first = {
                let mut durable = log.durable.lock();
                durable.journal_queued = place.base_offset + prepared.offsets;
                durable.direct_queued > durable.end.offset || log.cached_unsynced.load(Ordering::Acquire)
            };
            log.note(state, place, prepared, config);
            parts.push(log.part(place, prepared, sync_direct_first, i == last));
        }
        let fill = |data: &mut Vec<u8>| {
            for (entry, place) in entries.iter().zip(&places) {
                write_stamped(data, place, &entry.prepared);
            }
        };
        first.shared.enqueue(fill, parts.into_iter());
        drop(states);
        Ok(entries
            .iter()
            .zip(&places)
            .map(|(entry, place)| place.answer(entry.log, &entry.prepared))
            .collect())
    }
}
