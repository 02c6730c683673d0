//! Writing batches.

use super::batch::{COMPRESSION_BITS, DELETE_HORIZON_BIT, attributes, put_header, seal};
use super::{BATCH_HEADER_BYTES, BatchHeader, Compression, RecordError, TimestampType, compress};
use crate::wire::{put_varint, put_varlong, varlong_len};

/// A header to write: name and value (`None` = null).
pub type RecordHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// Collects records and makes a batch of them.
///
/// ```
/// use kafka_codec::records::{Batch, BatchBuilder, Compression, records};
/// let mut builder = BatchBuilder::new(Compression::Lz4);
/// builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"), [(&b"name"[..], None)].into_iter())?;
/// let bytes = builder.build()?;
/// let mut scratch = Vec::new();
/// let record = records(&Batch::first(&bytes)?, 1 << 20, &mut scratch)?.next().ok_or("empty")??;
/// assert_eq!((record.key, record.value), (Some(&b"key"[..]), Some(&b"value"[..])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
    delete_horizon_ms: Option<i64>,
    header: BatchHeader,
    /// Room for the header, then the records, not yet compressed.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// Starts an empty batch: base offset 0, no leader epoch, no producer, create time.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            level: None,
            timestamp_type: TimestampType::CreateTime,
            transactional: false,
            control: false,
            delete_horizon_ms: None,
            header: BatchHeader {
                base_offset: 0,
                batch_length: 0,
                leader_epoch: -1,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: -1,
                max_timestamp: -1,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                record_count: 0,
            },
            bytes: vec![0; BATCH_HEADER_BYTES],
        }
    }

    /// Starts what a cleaned batch becomes: everything of its header stays, but for the records (to be given again
    /// with [`BatchBuilder::push_at`]) and what follows from them.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`].
    pub fn remaining_of(original: &BatchHeader) -> Result<Self, RecordError> {
        let mut builder = Self::new(original.compression()?)
            .base_offset(original.base_offset)
            .leader_epoch(original.leader_epoch)
            .producer(original.producer_id, original.producer_epoch, original.base_sequence);
        builder.transactional = original.is_transactional();
        builder.control = original.is_control();
        if original.timestamp_type() == TimestampType::LogAppendTime {
            builder = builder.log_append_time(original.max_timestamp);
        }
        if original.has_delete_horizon() {
            builder = builder.delete_horizon(original.base_timestamp);
        }
        Ok(builder)
    }

    /// When the cleaner may drop the batch's tombstones (KIP-534), milliseconds since the epoch. Before the first
    /// record.
    #[must_use]
    pub fn delete_horizon(mut self, horizon_ms: i64) -> Self {
        self.delete_horizon_ms = Some(horizon_ms);
        self
    }

    /// Compresses with this level instead of the codec's default.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    /// Epoch of the leader that writes the batch.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.header.leader_epoch = leader_epoch;
        self
    }

    /// Producer id and epoch, and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.set_producer(id, epoch, base_sequence);
        self
    }

    /// As [`BatchBuilder::producer`], on a builder in use.
    pub fn set_producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Marks the batch as holding control records.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// All records get this append time in milliseconds since the epoch; their own timestamps only stay as deltas.
    #[must_use]
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.timestamp_type = TimestampType::LogAppendTime;
        self.header.max_timestamp = now_ms;
        self
    }

    /// Adds a record after the last one; answers its offset delta.
    ///
    /// # Errors
    /// [`RecordError::Unrepresentable`]: 2³¹ records or bytes. The batch is as before then.
    pub fn push<'r>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = RecordHeader<'r>> + Clone,
    ) -> Result<i32, RecordError> {
        let delta = self
            .header
            .last_offset_delta
            .checked_add(1)
            .ok_or(RecordError::Unrepresentable("2³¹ records in one batch"))?;
        self.push_at(delta, timestamp_ms, key, value, headers)?;
        Ok(delta)
    }

    /// Adds a record with the offset delta given, which must be larger than the last one's: what remains of a
    /// batch after compaction has gaps.
    ///
    /// # Errors
    /// As [`BatchBuilder::push`]; also for a delta that is not larger.
    pub fn push_at<'r>(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = RecordHeader<'r>> + Clone,
    ) -> Result<(), RecordError> {
        if offset_delta <= self.header.last_offset_delta {
            return Err(RecordError::Unrepresentable("offsets that do not grow"));
        }
        let base_timestamp = match self.delete_horizon_ms {
            Some(horizon_ms) => horizon_ms,
            None if self.header.record_count == 0 => timestamp_ms,
            None => self.header.base_timestamp,
        };
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp);
        let (mut count, mut header_bytes) = (0usize, 0usize);
        for (name, value) in headers.clone() {
            count += 1;
            header_bytes += sized_len(Some(name)) + sized_len(value);
        }
        let length = 1
            + varlong_len(timestamp_delta)
            + varlong_len(i64::from(offset_delta))
            + sized_len(key)
            + sized_len(value)
            + varlong_len(count as i64)
            + header_bytes;
        // Also bounds every length inside.
        let size = self.bytes.len() + length + 5;
        let (Ok(length), true) = (i32::try_from(length), i32::try_from(size).is_ok()) else {
            return Err(RecordError::Unrepresentable("2 GiB"));
        };
        let w = &mut self.bytes;
        put_varint(w, length);
        w.push(0);
        put_varlong(w, timestamp_delta);
        put_varint(w, offset_delta);
        put_sized(w, key);
        put_sized(w, value);
        put_varint(w, count as i32);
        for (name, value) in headers {
            put_sized(w, Some(name));
            put_sized(w, value);
        }
        self.header.base_timestamp = base_timestamp;
        if self.timestamp_type == TimestampType::CreateTime {
            self.header.max_timestamp = match self.header.record_count {
                0 => timestamp_ms,
                _ => self.header.max_timestamp.max(timestamp_ms),
            };
        }
        self.header.last_offset_delta = offset_delta;
        self.header.record_count += 1;
        Ok(())
    }

    /// Makes the batch end later than its last record: offsets that compaction has emptied stay counted.
    pub fn set_last_offset_delta(&mut self, last_offset_delta: i32) {
        self.header.last_offset_delta = self.header.last_offset_delta.max(last_offset_delta);
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// True before the first record.
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Compresses, computes the checksum and answers the batch.
    ///
    /// # Errors
    /// [`RecordError::Unrepresentable`] when the codec refuses or the batch takes 2 GiB.
    pub fn build(self) -> Result<Vec<u8>, RecordError> {
        let mut header = self.header;
        header.attributes =
            attributes(self.compression, self.timestamp_type, self.transactional, self.control);
        if self.delete_horizon_ms.is_some() {
            header.attributes |= DELETE_HORIZON_BIT;
        }
        let mut head = Vec::with_capacity(BATCH_HEADER_BYTES);
        put_header(&mut head, &header);
        let mut batch = self.bytes;
        if self.compression != Compression::None {
            let mut compressed = Vec::with_capacity(BATCH_HEADER_BYTES + batch.len() / 2);
            compressed.extend_from_slice(&head);
            let payload = batch.get(BATCH_HEADER_BYTES..).unwrap_or_default();
            compress(self.compression, self.level, payload, &mut compressed)?;
            batch = compressed;
        } else if let Some(room) = batch.get_mut(..BATCH_HEADER_BYTES) {
            room.copy_from_slice(&head);
        }
        seal(&mut batch)?;
        Ok(batch)
    }
}

/// The batch without any record: what the cleaner leaves where a producer's last sequence number, or the end of the
/// cleaned offsets, must stay known.
///
/// # Errors
/// None in practice: the batch is 61 bytes long.
pub fn without_records(original: &BatchHeader) -> Result<Vec<u8>, RecordError> {
    let header = BatchHeader {
        attributes: original.attributes & !(COMPRESSION_BITS | DELETE_HORIZON_BIT),
        base_timestamp: -1,
        record_count: 0,
        ..*original
    };
    let mut batch = Vec::with_capacity(BATCH_HEADER_BYTES);
    put_header(&mut batch, &header);
    seal(&mut batch)?;
    Ok(batch)
}

fn sized_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varlong_len(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

fn put_sized(w: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(w, bytes.len() as i32);
            w.extend_from_slice(bytes);
        }
        None => put_varint(w, -1),
    }
}
