//! The batch header, walking batches, and the fields a broker writes in place.

use super::{Compression, RecordError};
use crate::wire::Reader;

/// Size of a batch header, up to and including the record count.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and length: what stands before the bytes that the length counts.
pub const BATCH_OVERHEAD_BYTES: usize = 12;

const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// The checksum covers everything from here on.
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

pub(super) const COMPRESSION_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
pub(super) const DELETE_HORIZON_BIT: i16 = 0x40;

/// Which clock the records' timestamps are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's when it appended; all records of the batch have the batch's maximum timestamp.
    LogAppendTime,
}

/// A batch header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (also when compaction has removed it since).
    pub base_offset: i64,
    /// Bytes after this field; see [`BatchHeader::size_bytes`].
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch, -1 = not known.
    pub leader_epoch: i32,
    /// CRC-32C of the bytes from the attributes to the end.
    pub crc: u32,
    /// Attribute bits.
    pub attributes: i16,
    /// Offset of the last record minus base offset (also when compaction has removed it since).
    pub last_offset_delta: i32,
    /// What records' timestamps are relative to, milliseconds since the epoch; with
    /// [`BatchHeader::has_delete_horizon`] it is that horizon instead.
    pub base_timestamp: i64,
    /// Largest timestamp, or the append time for [`TimestampType::LogAppendTime`].
    pub max_timestamp: i64,
    /// Idempotent or transactional producer, -1 = none.
    pub producer_id: i64,
    /// Its epoch, -1 = none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 = none.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records need not be there.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] for fewer than 61 bytes (17 suffice to find out about other formats),
    /// [`RecordError::OldMagic`], [`RecordError::UnknownMagic`], [`RecordError::BatchLength`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let truncated = || RecordError::Truncated { needed: BATCH_HEADER_BYTES, available: bytes.len() };
        match bytes.get(MAGIC_AT).map(|m| *m as i8) {
            Some(2) => {}
            Some(old @ (0 | 1)) => return Err(RecordError::OldMagic(old)),
            Some(other) => return Err(RecordError::UnknownMagic(other)),
            None => return Err(truncated()),
        }
        let header = Self::read(&mut Reader::new(bytes)).map_err(|_| truncated())?;
        if header.size_bytes() < BATCH_HEADER_BYTES {
            return Err(RecordError::BatchLength(header.batch_length));
        }
        Ok(header)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, crate::DecodeError> {
        let base_offset = r.i64()?;
        let batch_length = r.i32()?;
        let leader_epoch = r.i32()?;
        let _magic = r.i8()?;
        Ok(Self {
            base_offset,
            batch_length,
            leader_epoch,
            crc: r.u32()?,
            attributes: r.i16()?,
            last_offset_delta: r.i32()?,
            base_timestamp: r.i64()?,
            max_timestamp: r.i64()?,
            producer_id: r.i64()?,
            producer_epoch: r.i16()?,
            base_sequence: r.i32()?,
            record_count: r.i32()?,
        })
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |n| n + BATCH_OVERHEAD_BYTES)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record (they wrap from 2³¹ - 1 to 0); -1 = none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        last.rem_euclid(1 << 31) as i32
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`].
    pub fn compression(&self) -> Result<Compression, RecordError> {
        Compression::from_id((self.attributes & COMPRESSION_BITS) as u8)
    }

    /// Which clock the timestamps are from.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Part of a transaction (markers included).
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Control records (transaction markers, the metadata log's own), which consumers never see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The base timestamp is the time at which compaction may drop the batch's tombstones (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Written by an idempotent or transactional producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Attribute bits that format v2 does not define.
    pub(super) fn undefined_attributes(&self) -> bool {
        self.attributes & !0x7f != 0
    }
}

pub(super) fn attributes(
    compression: Compression,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
) -> i16 {
    let flag = |set: bool, bit: i16| if set { bit } else { 0 };
    i16::from(compression.id())
        | flag(timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME_BIT)
        | flag(transactional, TRANSACTIONAL_BIT)
        | flag(control, CONTROL_BIT)
}

/// One whole batch: its header and all its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The header's fields.
    pub header: BatchHeader,
    /// The batch from its base offset to its last record.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Takes the first batch of `bytes`.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`]; [`RecordError::Truncated`] when the batch is not there whole.
    pub fn first(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_bytes();
        match bytes.get(..needed) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(RecordError::Truncated { needed, available: bytes.len() }),
        }
    }

    /// The records' bytes, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default()
    }

    /// Compares the checksum.
    ///
    /// # Errors
    /// [`RecordError::Crc`].
    pub fn check_crc(&self) -> Result<(), RecordError> {
        let computed = crc32c::crc32c(self.bytes.get(ATTRIBUTES_AT..).unwrap_or_default());
        if computed != self.header.crc {
            return Err(RecordError::Crc { stored: self.header.crc, computed });
        }
        Ok(())
    }
}

/// Walks the batches of a buffer without looking into them. Ends at the end or at the first incomplete batch
/// (fetch responses may end in one); [`Batches::rest`] then tells what is left.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// Bytes after the last batch that was answered.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match Batch::first(self.rest) {
            Ok(batch) => {
                self.rest = self.rest.get(batch.bytes.len()..).unwrap_or_default();
                Some(Ok(batch))
            }
            Err(RecordError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

fn put<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = batch.get_mut(at..at + N) {
        field.copy_from_slice(&value);
    }
}

/// Writes the base offset into a batch (outside the checksum).
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    put(batch, 0, base_offset.to_be_bytes());
}

/// Writes the leader epoch into a batch (outside the checksum).
pub fn set_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    put(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes());
}

/// Makes a batch's timestamps the append time `now_ms`, and computes the checksum anew.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    if let Some(low) = batch.get_mut(ATTRIBUTES_AT + 1) {
        *low |= LOG_APPEND_TIME_BIT as u8;
    }
    set_max_timestamp(batch, now_ms);
}

/// Writes the largest timestamp of a batch whose producer got it wrong, and computes the checksum anew.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp_ms: i64) {
    put(batch, MAX_TIMESTAMP_AT, max_timestamp_ms.to_be_bytes());
    write_crc(batch);
}

/// Computes the checksum of a whole batch and writes it.
pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// Appends a header; the length and checksum are written by [`seal`].
pub(super) fn put_header(w: &mut Vec<u8>, header: &BatchHeader) {
    w.extend_from_slice(&header.base_offset.to_be_bytes());
    w.extend_from_slice(&header.batch_length.to_be_bytes());
    w.extend_from_slice(&header.leader_epoch.to_be_bytes());
    w.push(2);
    w.extend_from_slice(&header.crc.to_be_bytes());
    w.extend_from_slice(&header.attributes.to_be_bytes());
    w.extend_from_slice(&header.last_offset_delta.to_be_bytes());
    w.extend_from_slice(&header.base_timestamp.to_be_bytes());
    w.extend_from_slice(&header.max_timestamp.to_be_bytes());
    w.extend_from_slice(&header.producer_id.to_be_bytes());
    w.extend_from_slice(&header.producer_epoch.to_be_bytes());
    w.extend_from_slice(&header.base_sequence.to_be_bytes());
    w.extend_from_slice(&header.record_count.to_be_bytes());
}

/// Writes the length and the checksum of a finished batch.
///
/// # Errors
/// [`RecordError::Unrepresentable`] for more than 2 GiB.
pub(super) fn seal(batch: &mut [u8]) -> Result<(), RecordError> {
    let length = i32::try_from(batch.len() - BATCH_OVERHEAD_BYTES.min(batch.len()))
        .map_err(|_| RecordError::Unrepresentable("2 GiB"))?;
    put(batch, 8, length.to_be_bytes());
    write_crc(batch);
    Ok(())
}
