//! Reading the records of a batch.

use bytes::Bytes;

use super::{Batch, BatchHeader, Compression, RecordError, TimestampType, decompress};
use crate::DecodeError;
use crate::wire::Reader;

/// Fewest bytes of a header: empty name, null value.
const HEADER_BYTES_MIN: usize = 2;

/// One record, borrowed from its batch (or from the buffer it was decompressed into).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since the epoch; the batch's append time for [`TimestampType::LogAppendTime`].
    pub timestamp_ms: i64,
    /// Key; `None` = null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` = null, a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: Headers<'a>,
}

/// A record's headers as (name, value), in order; known to be well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let mut r = Reader::new(self.bytes);
        let header = read_header(&mut r).ok();
        self.bytes = r.rest();
        self.left = if header.is_some() { self.left - 1 } else { 0 };
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

fn read_header<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), DecodeError> {
    let Some(name) = read_sized(r)? else {
        return Err(DecodeError::Null { what: "header name", position: r.position() });
    };
    Ok((name, read_sized(r)?))
}

/// Bytes behind a zigzag length, -1 = null.
fn read_sized<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    let length = r.varint()?;
    match usize::try_from(length) {
        Ok(n) => r.take(n).map(Some),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(DecodeError::Length {
            what: "key, value or header",
            length: i64::from(length),
            position: r.position(),
        }),
    }
}

/// Walks the records of one batch. After an error it ends.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    index: i32,
    failed: bool,
}

impl<'a> RecordIter<'a> {
    /// Walks `payload`, the decompressed records of a batch with this header.
    pub fn new(header: BatchHeader, payload: &'a [u8]) -> Self {
        Self { header, rest: payload, index: 0, failed: false }
    }

    /// Bytes after the last record that was answered.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Record<'a>, DecodeError> {
        let mut outer = Reader::new(self.rest);
        let length = outer.varint()?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Length {
            what: "record",
            length: i64::from(length),
            position: outer.position(),
        })?;
        let mut r = Reader::new(outer.take(length)?);
        let _attributes = r.i8()?;
        let timestamp_delta = r.varlong()?;
        let offset_delta = r.varint()?;
        let key = read_sized(&mut r)?;
        let value = read_sized(&mut r)?;
        let count = r.varint()?;
        let left = match usize::try_from(count) {
            Ok(n) if n <= r.remaining() / HEADER_BYTES_MIN => n,
            _ => {
                let position = r.position();
                return Err(DecodeError::Length { what: "headers", length: i64::from(count), position });
            }
        };
        let headers = Headers { bytes: r.rest(), left };
        for _ in 0..left {
            read_header(&mut r)?;
        }
        r.finish()?;
        self.rest = outer.rest();
        Ok(Record {
            offset: self.header.base_offset.wrapping_add(i64::from(offset_delta)),
            offset_delta,
            timestamp_ms: match self.header.timestamp_type() {
                TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
                TimestampType::LogAppendTime => self.header.max_timestamp,
            },
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        self.index += 1;
        Some(self.read().map_err(|source| {
            self.failed = true;
            RecordError::Record { index, source }
        }))
    }
}

/// Walks the records of a whole batch. Compressed ones are decompressed into `scratch` first, to `bytes_max` bytes
/// at most. Neither the checksum nor the count is checked.
///
/// # Errors
/// [`RecordError`] when decompression fails; malformed records are the iterator's errors.
pub fn records<'a>(
    batch: &Batch<'a>,
    bytes_max: usize,
    scratch: &'a mut Vec<u8>,
) -> Result<RecordIter<'a>, RecordError> {
    let payload = match batch.header.compression()? {
        Compression::None => batch.payload(),
        codec => {
            decompress(codec, batch.payload(), bytes_max, scratch)?;
            scratch.as_slice()
        }
    };
    Ok(RecordIter::new(batch.header, payload))
}

/// A batch whose records can be had as [`Bytes`] that share memory: with the batch itself when it is not
/// compressed, else with one buffer that it was decompressed into.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    header: BatchHeader,
    payload: Bytes,
}

impl DecodedBatch {
    /// Decodes the first batch of `bytes`, decompressing to `bytes_max` bytes at most.
    ///
    /// # Errors
    /// Those of [`Batch::first`] and [`decompress`].
    pub fn decode(bytes: &Bytes, bytes_max: usize) -> Result<Self, RecordError> {
        let batch = Batch::first(bytes)?;
        let payload = match batch.header.compression()? {
            Compression::None => bytes.slice_ref(batch.payload()),
            codec => {
                let mut out = Vec::new();
                decompress(codec, batch.payload(), bytes_max, &mut out)?;
                out.into()
            }
        };
        Ok(Self { header: batch.header, payload })
    }

    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Walks the records.
    pub fn records(&self) -> RecordIter<'_> {
        RecordIter::new(self.header, &self.payload)
    }

    /// A part of one of this batch's records (key, value, header) as [`Bytes`], without copying.
    pub fn share(&self, part: &[u8]) -> Bytes {
        let whole = self.payload.as_ptr_range();
        let wanted = part.as_ptr_range();
        if whole.start <= wanted.start && wanted.end <= whole.end {
            self.payload.slice_ref(part)
        } else {
            Bytes::copy_from_slice(part)
        }
    }
}
