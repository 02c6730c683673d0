//! What idempotent and transactional producers have left in a log: the state behind exactly-once.
//!
//! The rules are Kafka's (`ProducerStateManager`, `ProducerAppendInfo`): a batch must follow its producer's last
//! sequence number; one of the last five batches repeated is answered with its old offset; an older epoch is
//! fenced. Open transactions hold the last stable offset back.

use std::collections::BTreeMap;

use crate::batch::{EndTxnMarker, Head, be};
use crate::cleaner::LastBatch;
use crate::{AbortedTxn, ActiveProducer, LogError, TopicPartition};

/// Batches remembered per producer: as many as a client may have in flight.
const BATCHES_KEPT: usize = 5;
/// Offset delta of a batch whose records were aborted.
const SPENT: i32 = -1;
const NO_EPOCH: i16 = -1;
const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_HEAD: usize = 10;
const SNAPSHOT_ENTRY: usize = 46;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchMeta {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
}

impl BatchMeta {
    pub fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        i32::try_from(first & 0x7fff_ffff).unwrap_or(0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ProducerEntry {
    epoch: i16,
    /// Oldest first; of the current epoch only.
    batches: Vec<BatchMeta>,
    coordinator_epoch: i32,
    txn_first_offset: Option<i64>,
    last_timestamp_ms: i64,
}

impl ProducerEntry {
    fn new(epoch: i16) -> Self {
        Self {
            epoch,
            batches: Vec::new(),
            coordinator_epoch: -1,
            txn_first_offset: None,
            last_timestamp_ms: -1,
        }
    }

    fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |b| b.last_sequence)
    }

    /// After an abort a batch sent again must not pass for one that is there: its records are not. Where the sequence
    /// stands is kept, as a batch that nothing equals.
    fn forget_aborted(&mut self) {
        if let Some(last) = self.batches.last().copied() {
            self.batches = vec![BatchMeta { offset_delta: SPENT, ..last }];
        }
    }

    fn note(&mut self, head: &Head) {
        if self.epoch != head.producer_epoch {
            self.epoch = head.producer_epoch;
            self.batches.clear();
        }
        if self.batches.len() == BATCHES_KEPT {
            self.batches.remove(0);
        }
        self.batches.push(BatchMeta {
            last_sequence: head.last_sequence(),
            last_offset: head.last_offset(),
            offset_delta: head.last_offset_delta,
            timestamp_ms: head.max_timestamp_ms,
        });
        self.last_timestamp_ms = head.max_timestamp_ms;
    }
}

/// What the check of a producer's batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To be appended.
    New,
    /// Appended before.
    Duplicate(BatchMeta),
}

/// Producer state of one log, as of its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    entries: BTreeMap<i64, ProducerEntry>,
    /// First offsets of open transactions.
    open_txns: BTreeMap<i64, i64>,
}

fn follows(last: i32, next: i32) -> bool {
    if last == i32::MAX { next == 0 } else { next == last + 1 }
}

impl Producers {
    /// Checks batches of one append, in order, without changing anything.
    pub fn check(&self, partition: &TopicPartition, heads: &[Head]) -> Result<Verdict, LogError> {
        // State as it would be after the batches before the one at hand: (producer, epoch, last sequence).
        let mut staged: Vec<(i64, i16, i32)> = Vec::new();
        let mut verdict = Verdict::New;
        for (i, head) in heads.iter().enumerate() {
            if head.producer_id < 0 {
                continue;
            }
            match self.check_one(partition, head, &staged)? {
                Verdict::Duplicate(old) if i == 0 => verdict = Verdict::Duplicate(old),
                Verdict::Duplicate(_) if matches!(verdict, Verdict::Duplicate(_)) => {}
                Verdict::New if matches!(verdict, Verdict::New) => {}
                _ => {
                    return Err(LogError::InvalidBatch {
                        partition: partition.clone(),
                        reason: "batches already appended mixed with new ones".into(),
                    });
                }
            }
            staged.retain(|s| s.0 != head.producer_id);
            staged.push((head.producer_id, head.producer_epoch, head.last_sequence()));
        }
        Ok(verdict)
    }

    fn check_one(
        &self,
        partition: &TopicPartition,
        head: &Head,
        staged: &[(i64, i16, i32)],
    ) -> Result<Verdict, LogError> {
        let producer_id = head.producer_id;
        let entry = self.entries.get(&producer_id);
        let earlier = staged.iter().find(|s| s.0 == producer_id);
        let same_epoch = entry.filter(|e| earlier.is_none() && e.epoch == head.producer_epoch);
        let same = |b: &&BatchMeta| {
            b.offset_delta != SPENT
                && b.first_sequence() == head.base_sequence
                && b.last_sequence == head.last_sequence()
        };
        if let Some(old) = same_epoch.and_then(|e| e.batches.iter().find(same)) {
            return Ok(Verdict::Duplicate(*old));
        }
        let outside = |e: &ProducerEntry| e.txn_first_offset.is_some() && e.epoch == head.producer_epoch;
        if !head.is_transactional() && entry.is_some_and(outside) {
            return Err(LogError::InvalidTxnState { partition: partition.clone(), producer_id });
        }
        let (epoch, last_sequence) = match (earlier, entry) {
            (Some(&(_, epoch, last)), _) => (epoch, last),
            (None, Some(entry)) => (entry.epoch, entry.last_sequence()),
            (None, None) => (NO_EPOCH, -1),
        };
        if head.producer_epoch < epoch {
            return Err(LogError::InvalidProducerEpoch {
                partition: partition.clone(),
                producer_id,
                got: head.producer_epoch,
                current: epoch,
            });
        }
        // Of an unknown producer any sequence is taken, as in Kafka: its state may have expired.
        let expected = match epoch {
            NO_EPOCH => head.base_sequence,
            epoch if epoch != head.producer_epoch => 0,
            _ if last_sequence == i32::MAX => 0,
            _ => last_sequence + 1,
        };
        debug_assert!(epoch != head.producer_epoch || epoch < 0 || follows(last_sequence, expected));
        if head.base_sequence != expected {
            return Err(LogError::OutOfOrderSequence {
                partition: partition.clone(),
                producer_id,
                got: head.base_sequence,
                expected,
            });
        }
        Ok(Verdict::New)
    }

    /// Checks a batch that this node writes itself: epochs only, no sequences.
    pub fn check_coordinator(
        &self,
        partition: &TopicPartition,
        head: &Head,
        marker: Option<&EndTxnMarker>,
    ) -> Result<(), LogError> {
        let Some(entry) = self.entries.get(&head.producer_id).filter(|_| head.producer_id >= 0) else {
            return Ok(());
        };
        if head.producer_epoch < entry.epoch {
            return Err(LogError::InvalidProducerEpoch {
                partition: partition.clone(),
                producer_id: head.producer_id,
                got: head.producer_epoch,
                current: entry.epoch,
            });
        }
        if let Some(marker) = marker.filter(|m| m.coordinator_epoch < entry.coordinator_epoch) {
            return Err(LogError::CoordinatorFenced {
                partition: partition.clone(),
                producer_id: head.producer_id,
                got: marker.coordinator_epoch,
                current: entry.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Takes note of an appended data batch (offsets assigned).
    pub fn note_batch(&mut self, head: &Head) {
        if head.producer_id < 0 {
            return;
        }
        let entry =
            self.entries.entry(head.producer_id).or_insert_with(|| ProducerEntry::new(head.producer_epoch));
        entry.note(head);
        if head.is_transactional() && entry.txn_first_offset.is_none() {
            entry.txn_first_offset = Some(head.base_offset);
            self.open_txns.insert(head.base_offset, head.producer_id);
        }
    }

    /// Takes note of an appended end-of-transaction marker; returns the transaction it ended, with the last
    /// stable offset left open (0).
    pub fn note_marker(&mut self, head: &Head, marker: &EndTxnMarker) -> Option<EndedTxn> {
        let entry =
            self.entries.entry(head.producer_id).or_insert_with(|| ProducerEntry::new(head.producer_epoch));
        if entry.epoch != head.producer_epoch {
            entry.epoch = head.producer_epoch;
            entry.batches.clear();
        }
        if !marker.commit {
            entry.forget_aborted();
        }
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp_ms = head.max_timestamp_ms;
        let first_offset = entry.txn_first_offset.take()?;
        self.open_txns.remove(&first_offset);
        Some(EndedTxn {
            producer_id: head.producer_id,
            first_offset,
            last_offset: head.last_offset(),
            aborted: !marker.commit,
        })
    }

    /// First offset of the oldest open transaction.
    pub fn first_open_txn(&self) -> Option<i64> {
        self.open_txns.first_key_value().map(|(offset, _)| *offset)
    }

    /// Drops producers that were silent since `before_ms` and have no open transaction.
    pub fn expire(&mut self, before_ms: i64) {
        self.entries.retain(|_, e| e.txn_first_offset.is_some() || e.last_timestamp_ms >= before_ms);
    }

    /// All producers.
    pub fn list(&self) -> Vec<ActiveProducer> {
        self.entries
            .iter()
            .map(|(id, e)| ActiveProducer {
                producer_id: *id,
                epoch: e.epoch,
                last_sequence: e.last_sequence(),
                last_timestamp_ms: e.last_timestamp_ms,
                coordinator_epoch: e.coordinator_epoch,
                current_txn_first_offset: e.txn_first_offset,
            })
            .collect()
    }

    /// The last batch of each producer, which compaction must leave in the log.
    pub fn last_batches(&self) -> BTreeMap<i64, LastBatch> {
        let last = |e: &ProducerEntry| LastBatch {
            data_offset: e.batches.last().map(|batch| batch.last_offset),
            epoch: e.epoch,
        };
        self.entries.iter().map(|(id, entry)| (*id, last(entry))).collect()
    }

    /// Kafka's snapshot file. Kafka keeps one batch per producer in it; we write all remembered ones as entries of
    /// their own, oldest first, of which Kafka's reader keeps the last: so retries of several batches in flight
    /// are recognised after a restart too.
    pub fn encode_snapshot(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut count: u32 = 0;
        let mut put = |id: i64, e: &ProducerEntry, batch: Option<&BatchMeta>| {
            entries.extend_from_slice(&id.to_be_bytes());
            entries.extend_from_slice(&e.epoch.to_be_bytes());
            entries.extend_from_slice(&batch.map_or(-1, |b| b.last_sequence).to_be_bytes());
            entries.extend_from_slice(&batch.map_or(-1, |b| b.last_offset).to_be_bytes());
            entries.extend_from_slice(&batch.map_or(0, |b| b.offset_delta).to_be_bytes());
            let timestamp_ms = batch.map_or(e.last_timestamp_ms, |b| b.timestamp_ms);
            entries.extend_from_slice(&timestamp_ms.to_be_bytes());
            entries.extend_from_slice(&e.coordinator_epoch.to_be_bytes());
            entries.extend_from_slice(&e.txn_first_offset.unwrap_or(-1).to_be_bytes());
            count += 1;
        };
        for (id, entry) in &self.entries {
            if entry.batches.is_empty() {
                put(*id, entry, None);
            }
            for (i, batch) in entry.batches.iter().enumerate() {
                // The last one carries the producer's own last time (a marker's may be later).
                let last = i + 1 == entry.batches.len();
                let batch =
                    if last { BatchMeta { timestamp_ms: entry.last_timestamp_ms, ..*batch } } else { *batch };
                put(*id, entry, Some(&batch));
            }
        }
        let mut body = Vec::with_capacity(entries.len() + 4);
        body.extend_from_slice(&count.to_be_bytes());
        body.extend_from_slice(&entries);
        let mut file = Vec::with_capacity(body.len() + 6);
        file.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        file.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Reads a snapshot file; `None` if it is damaged or of another version.
    pub fn decode_snapshot(bytes: &[u8]) -> Option<Self> {
        let version = i16::from_be_bytes(be(bytes, 0)?);
        let crc = u32::from_be_bytes(be(bytes, 2)?);
        let body = bytes.get(6..)?;
        if version != SNAPSHOT_VERSION || crc32c::crc32c(body) != crc {
            return None;
        }
        let count = usize::try_from(u32::from_be_bytes(be(bytes, 6)?)).ok()?;
        let entries = bytes.get(SNAPSHOT_HEAD..)?;
        if entries.len() != count.checked_mul(SNAPSHOT_ENTRY)? {
            return None;
        }
        let mut producers = Self::default();
        for raw in entries.chunks_exact(SNAPSHOT_ENTRY) {
            let producer_id = i64::from_be_bytes(be(raw, 0)?);
            let epoch = i16::from_be_bytes(be(raw, 8)?);
            let batch = BatchMeta {
                last_sequence: i32::from_be_bytes(be(raw, 10)?),
                last_offset: i64::from_be_bytes(be(raw, 14)?),
                offset_delta: i32::from_be_bytes(be(raw, 22)?),
                timestamp_ms: i64::from_be_bytes(be(raw, 26)?),
            };
            let entry = producers.entries.entry(producer_id).or_insert_with(|| ProducerEntry::new(epoch));
            entry.epoch = epoch;
            entry.coordinator_epoch = i32::from_be_bytes(be(raw, 34)?);
            let txn_first_offset = i64::from_be_bytes(be(raw, 38)?);
            entry.txn_first_offset = (txn_first_offset >= 0).then_some(txn_first_offset);
            entry.last_timestamp_ms = batch.timestamp_ms;
            if batch.last_offset >= 0 {
                if entry.batches.len() == BATCHES_KEPT {
                    entry.batches.remove(0);
                }
                entry.batches.push(batch);
            }
            if txn_first_offset >= 0 {
                producers.open_txns.insert(txn_first_offset, producer_id);
            }
        }
        Some(producers)
    }
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub aborted: bool,
}

impl EndedTxn {
    pub fn into_aborted(self, last_stable_offset: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: self.producer_id,
            first_offset: self.first_offset,
            last_offset: self.last_offset,
            last_stable_offset,
        }
    }
}
