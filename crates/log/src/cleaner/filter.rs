//! What of a batch survives a cleaning: Kafka's rules (`Cleaner`, `CleanedTransactionMetadata`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_codec::records::{
    Batch, BatchBuilder, BatchHeader, RecordError, RecordIter, records, without_records,
};

use super::map::OffsetMap;
use crate::AbortedTxn;
use crate::batch::end_txn_marker;

/// A transaction known to be aborted, while the walk is inside it.
struct Aborted {
    txn: AbortedTxn,
    /// A batch of it was met: its marker is still needed.
    met: bool,
}

/// Follows transactions along a walk in offset order.
#[derive(Default)]
pub(crate) struct TxnWalk {
    /// By first offset; not reached yet.
    ahead: VecDeque<AbortedTxn>,
    aborted: BTreeMap<i64, Aborted>,
    /// Producers of which batches of a committed (or still open) transaction were met.
    committed: BTreeSet<i64>,
    /// Aborted transactions whose markers stay, since the last [`TxnWalk::take_index`].
    index: Vec<AbortedTxn>,
}

impl TxnWalk {
    /// A walk over a range that these transactions touch.
    pub fn new(mut aborted: Vec<AbortedTxn>) -> Self {
        aborted.sort_by_key(|txn| (txn.first_offset, txn.last_offset));
        Self { ahead: aborted.into(), ..Self::default() }
    }

    fn reach(&mut self, offset: i64) {
        while let Some(txn) = self.ahead.front().copied().filter(|txn| txn.first_offset <= offset) {
            self.ahead.pop_front();
            self.aborted.entry(txn.producer_id).or_insert(Aborted { txn, met: false });
        }
    }

    /// A data batch: whether it was aborted.
    fn data(&mut self, header: &BatchHeader) -> bool {
        self.reach(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some(aborted) => {
                aborted.met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch: whether nothing is left that needs it.
    fn control(&mut self, batch: &Batch<'_>) -> bool {
        let header = &batch.header;
        self.reach(header.last_offset());
        if header.record_count == 0 {
            // Cleaned before.
            return true;
        }
        let Some(marker) = end_txn_marker(batch.bytes) else { return false };
        if marker.commit {
            return !self.committed.remove(&header.producer_id);
        }
        match self.aborted.remove(&header.producer_id) {
            Some(aborted) if aborted.met => {
                self.index.push(aborted.txn);
                false
            }
            _ => true,
        }
    }

    /// Whether the records of a batch were taken back; markers count as records of nobody.
    pub fn hides(&mut self, batch: &Batch<'_>) -> bool {
        if batch.header.is_control() {
            self.control(batch);
            return true;
        }
        self.data(&batch.header)
    }

    /// The aborted transactions for the index of the segment written last.
    pub fn take_index(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.index)
    }
}

/// Last batch of a producer that still has state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastBatch {
    /// Last offset of its last data batch, `None` when only a marker is known.
    pub data_offset: Option<i64>,
    pub epoch: i16,
}

/// What one cleaning goes by.
pub(crate) struct Rules<'a> {
    pub map: &'a OffsetMap,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    pub producers: &'a BTreeMap<i64, LastBatch>,
    pub decompressed_bytes_max: usize,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    Nothing,
    AsItIs,
    Changed(Vec<u8>),
}

impl Rules<'_> {
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let Some(last) = self.producers.get(&header.producer_id) else { return false };
        match last.data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        }
    }

    /// Filters one sound batch. `must_stay`: if no record remains, the empty batch does.
    pub fn filter(
        &self,
        bytes: &[u8],
        must_stay: bool,
        txns: &mut TxnWalk,
        scratch: &mut Vec<u8>,
    ) -> Result<Remains, RecordError> {
        let batch = Batch::first(bytes)?;
        batch.check_crc()?;
        let header = batch.header;
        let control = header.is_control();
        let unneeded = if control { txns.control(&batch) } else { txns.data(&header) };
        let horizon_ms = header.has_delete_horizon().then_some(header.base_timestamp);
        // Markers go by the same delay as tombstones, so that a reader under way still sees them.
        let discard = if control {
            unneeded && horizon_ms.is_some_and(|horizon_ms| horizon_ms <= self.now_ms)
        } else {
            unneeded
        };
        let must_stay = must_stay || header.has_producer() && self.is_last_of_producer(&header);
        let mut kept = Vec::new();
        let mut tombstones = false;
        let walk = records(&batch, self.decompressed_bytes_max, scratch)?;
        if !discard {
            for record in walk.clone() {
                let record = record?;
                let keep = control || self.keeps(record.key, record.value, record.offset, horizon_ms);
                tombstones |= keep && !control && record.value.is_none();
                kept.push(keep);
            }
        }
        let remaining = kept.iter().filter(|keep| **keep).count();
        let needs_horizon = horizon_ms.is_none() && (tombstones || control && unneeded);
        if remaining == 0 {
            return match (must_stay, header.record_count) {
                (false, _) => Ok(Remains::Nothing),
                (true, 0) => Ok(Remains::AsItIs),
                (true, _) => without_records(&header).map(Remains::Changed),
            };
        }
        if remaining == kept.len() && !needs_horizon {
            return Ok(Remains::AsItIs);
        }
        let horizon_ms = needs_horizon.then(|| self.now_ms.saturating_add(self.delete_retention_ms));
        rebuild(&header, walk, &kept, horizon_ms).map(Remains::Changed)
    }

    fn keeps(&self, key: Option<&[u8]>, value: Option<&[u8]>, offset: i64, horizon_ms: Option<i64>) -> bool {
        if offset > self.map.latest() {
            return true;
        }
        // Records without a key are from before the topic was compacted.
        let Some(key) = key else { return false };
        let newest = self.map.get(key).is_none_or(|newest| offset >= newest);
        let tombstone_stays = horizon_ms.is_none_or(|horizon_ms| self.now_ms < horizon_ms);
        newest && (value.is_some() || tombstone_stays)
    }
}

fn rebuild(
    header: &BatchHeader,
    walk: RecordIter<'_>,
    kept: &[bool],
    new_horizon_ms: Option<i64>,
) -> Result<Vec<u8>, RecordError> {
    let mut builder = BatchBuilder::remaining_of(header)?;
    if let Some(horizon_ms) = new_horizon_ms {
        builder = builder.delete_horizon(horizon_ms);
    }
    for (record, keep) in walk.zip(kept) {
        let record = record?;
        if *keep {
            let headers = record.headers;
            builder.push_at(record.offset_delta, record.timestamp_ms, record.key, record.value, headers)?;
        }
    }
    builder.set_last_offset_delta(header.last_offset_delta);
    builder.build()
}

#[cfg(test)]
mod tests;
