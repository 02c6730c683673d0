//! Records on their way to one partition, and the promise to those who sent them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use kafka_codec::ErrorCode;
use kafka_codec::records::{Batch as RecordBatch, BatchBuilder, Compression, RecordError, records};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::error::{BrokerError, Error, Result};
use crate::record::RecordMetadata;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// −1 when unknown.
    pub(super) base_offset: i64,
    /// −1 when the records keep their own timestamps.
    pub(super) log_append_time_ms: i64,
}

/// Why a batch was refused, with what the broker said of single records.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) records: BTreeMap<i32, String>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, records: BTreeMap::new() }
    }
}

impl Refused {
    /// The error of one record. When the broker blamed single records, the others failed only for being with them.
    fn of(&self, index: i32) -> Error {
        if self.records.is_empty() {
            return self.error.clone();
        }
        let code = self.error.code().unwrap_or(ErrorCode::InvalidRecord);
        let message = self.records.get(&index).cloned().unwrap_or_else(|| {
            "Failed to append record because it was part of a batch which had one more more invalid records".to_owned()
        });
        Error::Broker(BrokerError { code, message: Some(message) })
    }
}

/// The fate of a batch, shared by all who wait for one of its records.
#[derive(Debug, Default)]
pub(super) struct Outcome(Mutex<Fate>);

#[derive(Debug)]
enum Fate {
    Open(Vec<Option<Waker>>),
    Done(Result<Written, Refused>),
    /// The batch was too large and became several: index of the first record of each, ascending.
    Split(Vec<(i32, Arc<Outcome>)>),
}

impl Default for Fate {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

impl Outcome {
    fn set(&self, fate: Fate) {
        let wakers = {
            let mut state = self.0.lock();
            match &mut *state {
                Fate::Open(wakers) => {
                    let wakers = std::mem::take(wakers);
                    *state = fate;
                    wakers
                }
                // The first word counts: a batch that expired stays expired.
                _ => return,
            }
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn succeed(&self, written: Written) {
        self.set(Fate::Done(Ok(written)));
    }

    pub(super) fn fail(&self, refused: Refused) {
        self.set(Fate::Done(Err(refused)));
    }

    pub(super) fn is_done(&self) -> bool {
        !matches!(&*self.0.lock(), Fate::Open(_))
    }

    /// Waits until this and all it was split into is decided.
    pub(super) async fn settled(self: Arc<Self>) {
        let mut open = vec![self];
        while let Some(outcome) = open.pop() {
            Waiting { outcome: Arc::clone(&outcome), slot: None }.await;
            if let Fate::Split(parts) = &*outcome.0.lock() {
                open.extend(parts.iter().map(|(_, part)| Arc::clone(part)));
            }
        }
    }

    /// Registers who waits; `Some` when there is nothing to wait for.
    fn poll(&self, slot: &mut Option<usize>, waker: &Waker) -> Poll<()> {
        match &mut *self.0.lock() {
            Fate::Open(wakers) => {
                let place = slot.and_then(|slot| wakers.get_mut(slot));
                match place {
                    Some(place) => *place = Some(waker.clone()),
                    None => {
                        *slot = Some(wakers.len());
                        wakers.push(Some(waker.clone()));
                    }
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

struct Waiting {
    outcome: Arc<Outcome>,
    slot: Option<usize>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let outcome = Arc::clone(&self.outcome);
        outcome.poll(&mut self.slot, context.waker())
    }
}

/// The fate of one record: resolves once `acks` holds or the record failed for good. May be dropped: the record
/// is sent all the same.
#[derive(Debug)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    slot: Option<usize>,
    /// Place in the batch.
    index: i32,
    /// With the offset relative to the batch, and the record's own timestamp.
    metadata: RecordMetadata,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let outcome = Arc::clone(&self.outcome);
            if outcome.poll(&mut self.slot, context.waker()).is_pending() {
                return Poll::Pending;
            }
            match &*outcome.0.lock() {
                Fate::Open(_) => return Poll::Pending,
                Fate::Done(Ok(written)) => {
                    let mut metadata = self.metadata.clone();
                    if written.base_offset >= 0 {
                        metadata.offset = written.base_offset + i64::from(self.index);
                    }
                    if written.log_append_time_ms >= 0 {
                        metadata.timestamp_ms = written.log_append_time_ms;
                    }
                    return Poll::Ready(Ok(metadata));
                }
                Fate::Done(Err(refused)) => return Poll::Ready(Err(refused.of(self.index))),
                Fate::Split(parts) => {
                    let part = parts.iter().rev().find(|(first, _)| *first <= self.index);
                    let Some((first, part)) = part else { return Poll::Pending };
                    let this = &mut *self;
                    this.index -= first;
                    this.slot = None;
                    this.outcome = Arc::clone(part);
                }
            }
        }
    }
}

/// Place of a batch in the order of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    /// Sequence number of the first record.
    pub(super) base: i32,
}

/// Sequence numbers go round after 2³¹ − 1.
pub(super) fn sequence_after(base: i32, count: i32) -> i32 {
    base.wrapping_add(count) & i32::MAX
}

/// A batch never holds more than this, compressed or not.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

enum Content {
    Open(BatchBuilder),
    Built(Bytes),
}

/// A batch: open for records at first, then built and sent, perhaps several times.
pub(super) struct Batch {
    content: Content,
    transactional: bool,
    pub(super) outcome: Arc<Outcome>,
    pub(super) count: i32,
    pub(super) created: Instant,
    /// Not to be sent before.
    pub(super) not_before: Instant,
    pub(super) attempts: i32,
    /// Set when first sent, kept for all retries.
    pub(super) sequence: Option<Sequence>,
    /// Buffer memory it holds.
    memory: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(super) fn new(
        compression: Compression,
        level: Option<i32>,
        transactional: bool,
        now: Instant,
    ) -> Self {
        let mut builder = BatchBuilder::new(compression);
        if transactional {
            builder = builder.transactional();
        }
        if let Some(level) = level {
            builder = builder.level(level);
        }
        Self {
            content: Content::Open(builder),
            transactional,
            outcome: Arc::default(),
            count: 0,
            created: now,
            not_before: now,
            attempts: 0,
            sequence: None,
            memory: None,
        }
    }

    /// Adds a record; `metadata` as its delivery will tell it, without offset.
    pub(super) fn push(
        &mut self,
        record: &crate::record::ProducerRecord,
        metadata: RecordMetadata,
        memory: OwnedSemaphorePermit,
    ) -> Result<Delivery, RecordError> {
        let Content::Open(builder) = &mut self.content else {
            return Err(RecordError::Unrepresentable("a record after the batch was built"));
        };
        let headers = record.headers.iter().map(|h| (&h.key[..], h.value.as_deref()));
        let index =
            builder.push(metadata.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)?;
        self.count += 1;
        match &mut self.memory {
            Some(held) => held.merge(memory),
            None => self.memory = Some(memory),
        }
        Ok(Delivery { outcome: Arc::clone(&self.outcome), slot: None, index, metadata })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.content, Content::Open(_))
    }

    /// Bytes so far, before compression while it is open.
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.size_bytes(),
            Content::Built(bytes) => bytes.len(),
        }
    }

    /// The bytes to send, with the sequence number it has now.
    pub(super) fn bytes(&mut self) -> Result<Bytes, RecordError> {
        if let Content::Open(builder) = &mut self.content {
            let mut builder = std::mem::replace(builder, BatchBuilder::new(Compression::None));
            if let Some(sequence) = self.sequence {
                builder.set_producer(sequence.producer_id, sequence.epoch, sequence.base);
            }
            self.content = Content::Built(builder.build()?.into());
        }
        match &self.content {
            Content::Built(bytes) => Ok(bytes.clone()),
            Content::Open(_) => Err(RecordError::Unrepresentable("an open batch")),
        }
    }

    /// Gives it a place in the order; a batch that is built already is sealed anew.
    pub(super) fn set_sequence(&mut self, sequence: Sequence) {
        self.sequence = Some(sequence);
        if let Content::Built(bytes) = &mut self.content {
            let mut copy = bytes.to_vec();
            reseal(&mut copy, sequence);
            *bytes = copy.into();
        }
    }

    /// Makes two of a batch that the broker found too large. `None` when it has a single record or cannot be read.
    pub(super) fn split(&mut self, compression: Compression, level: Option<i32>) -> Option<[Self; 2]> {
        let bytes = self.bytes().ok()?;
        let batch = RecordBatch::first(&bytes).ok()?;
        let half = self.count / 2;
        if half == 0 {
            return None;
        }
        let mut parts = [0, 1].map(|_| Self::new(compression, level, self.transactional, self.created));
        let mut scratch = Vec::new();
        for record in records(&batch, BATCH_BYTES_MAX, &mut scratch).ok()? {
            let record = record.ok()?;
            let [first, second] = &mut parts;
            let part = if record.offset_delta < half { first } else { second };
            if let Content::Open(builder) = &mut part.content {
                builder.push(record.timestamp_ms, record.key, record.value, record.headers).ok()?;
                part.count += 1;
            }
        }
        let [first, second] = &mut parts;
        for part in [&mut *first, &mut *second] {
            part.attempts = self.attempts;
        }
        if let Some(sequence) = self.sequence {
            first.sequence = Some(sequence);
            let base = sequence_after(sequence.base, first.count);
            second.sequence = Some(Sequence { base, ..sequence });
        }
        // Both hold the memory of the whole until the second is gone: the second does.
        second.memory = self.memory.take();
        self.outcome
            .set(Fate::Split(vec![(0, Arc::clone(&first.outcome)), (half, Arc::clone(&second.outcome))]));
        Some(parts)
    }
}

/// Writes producer id, epoch and sequence into a built batch and corrects its checksum.
fn reseal(batch: &mut [u8], sequence: Sequence) {
    /// Positions in the v2 batch header.
    const CRC: usize = 17;
    const ATTRIBUTES: usize = 21;
    const PRODUCER: usize = 43;
    let mut producer = Vec::with_capacity(14);
    producer.extend(sequence.producer_id.to_be_bytes());
    producer.extend(sequence.epoch.to_be_bytes());
    producer.extend(sequence.base.to_be_bytes());
    if let Some(place) = batch.get_mut(PRODUCER..PRODUCER + producer.len()) {
        place.copy_from_slice(&producer);
    }
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES..).unwrap_or_default());
    if let Some(place) = batch.get_mut(CRC..CRC + 4) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ProducerRecord;
    use tokio::sync::Semaphore;

    async fn batch(values: &[&str]) -> (Batch, Vec<Delivery>) {
        let memory = Arc::new(Semaphore::new(1000));
        let mut batch = Batch::new(Compression::Lz4, None, false, Instant::now());
        let mut deliveries = Vec::new();
        for value in values {
            let record = ProducerRecord::new("t", (*value).to_owned());
            let metadata = RecordMetadata {
                topic: "t".into(),
                partition: 0,
                offset: -1,
                timestamp_ms: 5,
                serialized_key_size: -1,
                serialized_value_size: 1,
            };
            let permit = Arc::clone(&memory).acquire_owned().await.unwrap();
            deliveries.push(batch.push(&record, metadata, permit).unwrap());
        }
        (batch, deliveries)
    }

    fn values(bytes: &Bytes) -> Vec<String> {
        let batch = RecordBatch::first(bytes).unwrap();
        batch.check_crc().unwrap();
        let mut scratch = Vec::new();
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        records(&batch, 1 << 20, &mut scratch).unwrap().map(|r| text(r.unwrap().value)).collect()
    }

    #[tokio::test]
    async fn a_resealed_batch_has_its_new_sequence_and_a_right_checksum() {
        let (mut batch, _) = batch(&["a", "b"]).await;
        batch.set_sequence(Sequence { producer_id: 7, epoch: 1, base: 40 });
        let first = batch.bytes().unwrap();
        batch.set_sequence(Sequence { producer_id: 7, epoch: 2, base: 0 });
        let second = batch.bytes().unwrap();
        assert_eq!(values(&first), values(&second));
        let header = RecordBatch::first(&second).unwrap().header;
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 2, 0));
    }

    #[tokio::test]
    async fn the_records_of_a_split_batch_learn_their_own_offsets() {
        let (mut batch, deliveries) = batch(&["a", "b", "c", "d", "e"]).await;
        batch.set_sequence(Sequence { producer_id: 7, epoch: 1, base: i32::MAX });
        let [mut first, mut second] = batch.split(Compression::None, None).unwrap();
        assert_eq!(values(&first.bytes().unwrap()), ["a", "b"]);
        assert_eq!(values(&second.bytes().unwrap()), ["c", "d", "e"]);
        assert_eq!(second.sequence.unwrap().base, 1, "sequence numbers go round");
        first.outcome.succeed(Written { base_offset: 100, log_append_time_ms: -1 });
        second.outcome.succeed(Written { base_offset: 300, log_append_time_ms: 9 });
        let mut got = Vec::new();
        for delivery in deliveries {
            let metadata = delivery.await.unwrap();
            got.push((metadata.offset, metadata.timestamp_ms));
        }
        assert_eq!(got, [(100, 5), (101, 5), (300, 9), (301, 9), (302, 9)]);
        batch.outcome.settled().await;
    }

    #[tokio::test]
    async fn the_blamed_record_gets_its_own_message() {
        let (batch, deliveries) = batch(&["a", "b"]).await;
        let refused = Refused {
            error: Error::broker(ErrorCode::InvalidRecord),
            records: BTreeMap::from([(1, "bad key".to_owned())]),
        };
        batch.outcome.fail(refused);
        batch.outcome.succeed(Written { base_offset: 0, log_append_time_ms: -1 });
        let mut got = Vec::new();
        for delivery in deliveries {
            got.push(delivery.await.unwrap_err().to_string());
        }
        assert!(got[0].starts_with("Failed to append record because it was part of a batch"), "{got:?}");
        assert_eq!(got[1], "bad key");
    }
}
