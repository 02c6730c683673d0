//! One cleaning of one log: the map of its dirty part, then its segments group by group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_codec::records::{Batch, RecordError, records};

use super::filter::{LastBatch, Remains, Rules, TxnWalk};
use super::map::OffsetMap;
use super::{Budget, CleanerConfig, Dirty, Ended, damaged};
use crate::batch::Head;
use crate::log::Log;
use crate::recovery::{BatchReader, Next};
use crate::segment::{Segment, file_name};
use crate::storage::{OpenMode, Storage};

/// Bytes collected before they are written.
const WRITE_CHUNK: usize = 1 << 20;

/// Walks the whole batches of a segment.
fn for_each_batch(
    segment: &Segment,
    budget: &mut Budget<'_>,
    mut visit: impl FnMut(&[u8], u64, &mut Budget<'_>) -> Result<bool, Ended>,
) -> Result<(), Ended> {
    let mut reader = BatchReader::new(segment.file()?, 0, segment.size());
    loop {
        let position = reader.position;
        match reader.next()? {
            Next::End => return Ok(()),
            Next::Defect(reason) => {
                return Err(Ended::Damaged(segment.log_name(), position, reason.to_owned()));
            }
            Next::Batch(batch) => {
                budget.spend(batch.len() as u64)?;
                if !visit(batch, position, budget)? {
                    return Ok(());
                }
            }
        }
    }
}

impl Log {
    /// Cleans the log; answers up to where it is clean now.
    pub(super) fn clean(
        self: &Arc<Self>,
        dirty: &Dirty,
        config: &CleanerConfig,
        now_ms: i64,
        budget: &mut Budget<'_>,
    ) -> Result<i64, Ended> {
        let end = dirty.segments.last().map_or(dirty.from, |s| s.end_offset());
        if self.checkpointed.load(Ordering::Acquire) < end {
            // A crash must not write to their old places what is about to move.
            self.shared.write_checkpoints()?;
            if self.checkpointed.load(Ordering::Acquire) < end {
                return Err(Ended::Abandoned);
            }
        }
        let map = self.map_dirty(dirty, end, config, budget)?;
        let upto = map.latest() + 1;
        if upto <= dirty.from {
            return Err(Ended::Abandoned);
        }
        let producers: BTreeMap<i64, LastBatch> = self.append.lock().producers.last_batches();
        let log_config = self.config();
        let rules = Rules {
            map: &map,
            now_ms,
            delete_retention_ms: log_config.delete_retention_ms,
            producers: &producers,
            decompressed_bytes_max: self.shared.config.decompressed_bytes_max,
        };
        let segments: Vec<_> = dirty.segments.iter().filter(|s| s.base_offset < upto).cloned().collect();
        // The last one may reach further than the map: its transactions count too.
        let first = segments.first().map_or(0, |s| s.base_offset);
        let last = segments.last().map_or(upto, |s| s.end_offset());
        let mut txns = TxnWalk::new(self.aborted(first, last)?);
        let groups = group(&segments, u64::from(log_config.segment_bytes), log_config.segment_index_bytes);
        let before: u64 = segments.iter().map(|s| s.size()).sum();
        let mut after = 0;
        for group in groups {
            after += self.clean_group(group, &rules, &mut txns, budget)?;
        }
        tracing::info!(
            partition = %self.partition, upto, bytes_before = before, bytes_after = after, "compacted"
        );
        Ok(upto)
    }

    fn aborted(&self, from: i64, to: i64) -> Result<Vec<crate::AbortedTxn>, Ended> {
        self.aborted_txns(from, to).map_err(|e| Ended::Io(std::io::Error::other(e.to_string())))
    }

    fn map_dirty(
        &self,
        dirty: &Dirty,
        end: i64,
        config: &CleanerConfig,
        budget: &mut Budget<'_>,
    ) -> Result<OffsetMap, Ended> {
        let expected = u64::try_from(end - dirty.from).unwrap_or(0);
        let mut map = OffsetMap::new(config.dedupe_buffer_bytes, expected);
        let mut txns = TxnWalk::new(self.aborted(dirty.from, end)?);
        let mut scratch = Vec::new();
        let bytes_max = self.shared.config.decompressed_bytes_max;
        let mut full = false;
        for segment in dirty.segments.iter().filter(|s| s.end_offset() > dirty.from) {
            for_each_batch(segment, budget, |bytes, position, _| {
                let noted = Batch::first(bytes).and_then(|batch| {
                    note_keys(&batch, dirty.from, &mut map, &mut txns, bytes_max, &mut scratch)
                });
                full = !noted.map_err(|e| damaged(segment, position, &e))?;
                Ok(!full)
            })?;
            if full {
                break;
            }
            map.passed(segment.end_offset() - 1);
        }
        Ok(map)
    }

    /// Rewrites segments as one and swaps it in; answers its bytes.
    fn clean_group(
        self: &Arc<Self>,
        group: &[Arc<Segment>],
        rules: &Rules<'_>,
        txns: &mut TxnWalk,
        budget: &mut Budget<'_>,
    ) -> Result<u64, Ended> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(0) };
        let written = self.rewrite(first, last, group, rules, txns, budget);
        match written {
            Ok((new, true)) => {
                let size = new.size();
                self.swap_in(Arc::new(new), group)?;
                Ok(size)
            }
            Ok((unchanged, false)) => {
                self.remove_unfinished(first.base_offset);
                Ok(unchanged.size())
            }
            Err(ended) => {
                // A full disk must not be kept full.
                self.remove_unfinished(first.base_offset);
                Err(ended)
            }
        }
    }

    /// Writes what remains of a group beside it; whether anything is different from it.
    fn rewrite(
        &self,
        first: &Segment,
        last: &Arc<Segment>,
        group: &[Arc<Segment>],
        rules: &Rules<'_>,
        txns: &mut TxnWalk,
        budget: &mut Budget<'_>,
    ) -> Result<(Segment, bool), Ended> {
        let storage = &self.storage;
        let path = self.dir.join(file_name(first.base_offset, "log.cleaned"));
        let file = storage.open(&path, OpenMode::Truncate)?;
        let new =
            Segment::replacement(storage, &self.dir, first.base_offset, last.created_ms, Arc::clone(&file));
        let interval = self.config().index_interval_bytes;
        let mut out: Vec<u8> = Vec::new();
        let mut position = 0;
        let mut changed = group.len() > 1;
        let mut scratch = Vec::new();
        for segment in group {
            let ends_group = Arc::ptr_eq(segment, last);
            for_each_batch(segment, budget, |bytes, at, budget| {
                let must_stay = ends_group && at + bytes.len() as u64 == segment.size();
                let remains = rules
                    .filter(bytes, must_stay, txns, &mut scratch)
                    .map_err(|e| damaged(segment, at, &e))?;
                let kept: &[u8] = match &remains {
                    Remains::Nothing => &[],
                    Remains::AsItIs => bytes,
                    Remains::Changed(bytes) => bytes,
                };
                changed |= remains != Remains::AsItIs;
                if let Some(head) = Head::parse(kept) {
                    new.note_batch(&head, position + out.len() as u64, interval);
                    out.extend_from_slice(kept);
                }
                if out.len() >= WRITE_CHUNK {
                    budget.spend(out.len() as u64)?;
                    file.write_at(position, &[&out])?;
                    position += out.len() as u64;
                    out.clear();
                }
                Ok(true)
            })?;
        }
        file.write_at(position, &[&out])?;
        new.set_end_offset(last.end_offset());
        let index = txns.take_index();
        if changed {
            file.sync_data()?;
            new.write_replacement_indexes(".cleaned", index)?;
        }
        Ok((new, changed))
    }
}

/// Notes the keys of a batch; `false` when the map is full.
fn note_keys(
    batch: &Batch<'_>,
    from: i64,
    map: &mut OffsetMap,
    txns: &mut TxnWalk,
    bytes_max: usize,
    scratch: &mut Vec<u8>,
) -> Result<bool, RecordError> {
    batch.check_crc()?;
    let last_offset = batch.header.last_offset();
    if !txns.hides(batch) && last_offset >= from {
        for record in records(batch, bytes_max, scratch)? {
            let record = record?;
            if record.offset < from {
                continue;
            }
            match record.key {
                Some(key) if !map.put(key, record.offset) => return Ok(false),
                _ => map.passed(record.offset),
            }
        }
    }
    map.passed(last_offset);
    Ok(true)
}

/// Neighbours that fit one segment together, `segment.bytes` and the reach of relative offsets allowing.
fn group(segments: &[Arc<Segment>], bytes_max: u64, index_bytes_max: u32) -> Vec<&[Arc<Segment>]> {
    let mut groups = Vec::new();
    let mut rest = segments;
    while let Some(first) = rest.first() {
        let (mut bytes, mut index_bytes, mut count) = (0, 0, 0);
        for segment in rest {
            bytes += segment.size();
            index_bytes += segment.index.len() * 8;
            let fits = bytes <= bytes_max
                && index_bytes <= index_bytes_max as usize
                && segment.end_offset() - first.base_offset <= i64::from(i32::MAX);
            if count > 0 && !fits {
                break;
            }
            count += 1;
        }
        let (group, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        groups.push(group);
        rest = after;
    }
    groups
}
