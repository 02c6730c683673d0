//! Looking inside batches: the check of what producers send, the search for a record by its time.

use std::cell::RefCell;

use kafka_codec::records::{Batch, BatchRules, Compression, RecordError, records, validate_producer_batch};

/// A scratch buffer larger than this is not kept between batches.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        let result = work(scratch);
        if scratch.capacity() > SCRATCH_KEPT {
            *scratch = Vec::new();
        }
        result
    })
}

/// Checks one producer's batch as a broker must; answers the records' largest timestamp.
pub(crate) fn validate(batch: &[u8], rules: &BatchRules) -> Result<i64, RecordError> {
    with_scratch(|scratch| validate_producer_batch(batch, rules, scratch)).map(|facts| facts.max_timestamp_ms)
}

/// A batch with its records compressed otherwise.
pub(crate) fn recompress(
    batch: &Batch<'_>,
    codec: Compression,
    level: Option<i32>,
    bytes_max: usize,
) -> Result<Vec<u8>, RecordError> {
    with_scratch(|scratch| kafka_codec::records::recompress(batch, codec, level, bytes_max, scratch))
}

/// The first record of a batch, from `offset` on, for which `wanted(timestamp)` holds: its timestamp and offset.
pub(crate) fn find_by_time(
    batch: &[u8],
    offset: i64,
    bytes_max: usize,
    wanted: impl Fn(i64) -> bool,
) -> Result<Option<(i64, i64)>, RecordError> {
    let batch = Batch::first(batch)?;
    with_scratch(|scratch| {
        for record in records(&batch, bytes_max, scratch)? {
            let record = record?;
            if record.offset >= offset && wanted(record.timestamp_ms) {
                return Ok(Some((record.timestamp_ms, record.offset)));
            }
        }
        Ok(None)
    })
}
