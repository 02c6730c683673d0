//! The metadata log: reading it into an image, and building the batch that changes it.

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Batches, Compression, RecordError, records};
use log::{Log, ReadLimit, ReadRequest};

use crate::{Image, MetaError, MetaRecord, decode, encode};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Most bytes that a compressed batch of another writer may grow to.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Reads the whole log.
///
/// # Errors
/// [`MetaError::BadLog`] for records this version does not understand, and read errors.
pub fn replay(log: &Log) -> Result<Image, MetaError> {
    let mut image = Image::default();
    let mut offset = log.log_start();
    let end = log.durable_end();
    let mut scratch = Vec::new();
    while offset < end {
        let request =
            ReadRequest { offset, max_bytes: READ_BYTES, at_least_one: true, limit: ReadLimit::DurableEnd };
        let (_, bytes) = log.read_bytes(&request)?;
        let before = offset;
        for batch in Batches::new(&bytes) {
            let bad = |offset, error: RecordError| MetaError::BadLog { offset, reason: error.to_string() };
            let batch = batch.map_err(|error| bad(offset, error))?;
            let next = batch.header.next_offset();
            if !batch.header.is_control() {
                let walk = records(&batch, DECOMPRESSED_BYTES_MAX, &mut scratch);
                for record in walk.map_err(|error| bad(offset, error))? {
                    let record = record.map_err(|error| bad(offset, error))?;
                    let refuse = |reason: String| MetaError::BadLog { offset: record.offset, reason };
                    let change = decode(record.value.unwrap_or_default())
                        .map_err(|error| refuse(error.to_string()))?;
                    image.apply(record.offset, &change).map_err(refuse)?;
                }
            }
            offset = next;
        }
        if offset == before {
            return Err(MetaError::BadLog { offset, reason: "no whole batch could be read".into() });
        }
    }
    image.end_offset = end;
    Ok(image)
}

/// One batch of records: all of them are in the log after a crash, or none.
///
/// # Errors
/// [`MetaError::Encode`] for a record that cannot be written down.
pub fn batch(records: &[MetaRecord], now_ms: i64) -> Result<Bytes, MetaError> {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let value = encode(record)?;
        builder
            .push(now_ms, None, Some(&value), std::iter::empty())
            .map_err(|error| MetaError::BadLog { offset: -1, reason: error.to_string() })?;
    }
    let bytes =
        builder.build().map_err(|error| MetaError::BadLog { offset: -1, reason: error.to_string() })?;
    Ok(bytes.into())
}
