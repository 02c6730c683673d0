//! What a broker checks before it stores a producer's batch.

use super::{Batch, BatchHeader, RecordError, TimestampType, records};

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct BatchRules {
    /// Largest batch in bytes, as it comes (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Most bytes that its records may decompress to.
    pub decompressed_bytes_max: usize,
    /// Every record must have a key (compacted topics).
    pub keys_required: bool,
}

/// What validation found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// The header as it came.
    pub header: BatchHeader,
    /// Smallest timestamp of the records.
    pub min_timestamp_ms: i64,
    /// Largest timestamp of the records. When it differs from the header's (which only a faulty producer does),
    /// write it with [`set_max_timestamp`](super::set_max_timestamp).
    pub max_timestamp_ms: i64,
    /// Offset delta of the first record that has the largest timestamp.
    pub max_timestamp_delta: i32,
}

/// Checks one producer's batch, the first of `bytes`, and every record in it: size, format, checksum, attributes,
/// codec, producer fields, that the records are as many as the header says and that their offset deltas run
/// 0, 1, 2 …, so that offsets are dense and can be assigned by writing the base offset alone. Records are decompressed
/// into `scratch` for this, and thrown away: what is stored are the bytes as they came.
///
/// # Errors
/// [`RecordError`]; [`RecordError::error_code`] is what Kafka answers.
pub fn validate_producer_batch(
    bytes: &[u8],
    rules: &BatchRules,
    scratch: &mut Vec<u8>,
) -> Result<BatchFacts, RecordError> {
    let batch = Batch::first(bytes)?;
    let header = batch.header;
    if batch.bytes.len() > rules.batch_bytes_max {
        return Err(RecordError::TooLarge { size: batch.bytes.len(), max: rules.batch_bytes_max });
    }
    batch.check_crc()?;
    check_header(&header)?;
    let facts = check_records(&batch, rules, scratch)?;
    Ok(facts)
}

fn check_header(header: &BatchHeader) -> Result<(), RecordError> {
    let attributes = |why| Err(RecordError::Attributes { attributes: header.attributes, why });
    let producer = |why| {
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *header;
        Err(RecordError::Producer { producer_id, producer_epoch, base_sequence, why })
    };
    header.compression()?;
    if header.undefined_attributes() {
        return attributes("undefined bits");
    }
    if header.is_control() {
        return attributes("clients may not write control records");
    }
    if header.has_delete_horizon() {
        return attributes("only the log cleaner writes delete horizons");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return attributes("clients may not set the append time");
    }
    if header.producer_id < -1 {
        return producer("negative id");
    }
    if header.has_producer() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return producer("an id needs an epoch and a sequence");
    }
    if header.is_transactional() && !header.has_producer() {
        return producer("a transaction needs a producer id");
    }
    // The offsets 0..count are assigned by the header alone.
    if header.record_count < 1 || header.last_offset_delta != header.record_count - 1 {
        return Err(wrong_count(header));
    }
    Ok(())
}

fn wrong_count(header: &BatchHeader) -> RecordError {
    RecordError::Count { count: header.record_count, last_offset_delta: header.last_offset_delta }
}

fn check_records(
    batch: &Batch<'_>,
    rules: &BatchRules,
    scratch: &mut Vec<u8>,
) -> Result<BatchFacts, RecordError> {
    let header = batch.header;
    let mut facts =
        BatchFacts { header, min_timestamp_ms: i64::MAX, max_timestamp_ms: i64::MIN, max_timestamp_delta: 0 };
    // A local batch ties the records' lifetime to the scratch buffer's.
    let local = Batch { header, bytes: batch.bytes };
    let mut walk = records(&local, rules.decompressed_bytes_max, scratch)?;
    let mut index = 0;
    for record in &mut walk {
        let record = record?;
        if record.offset_delta != index {
            return Err(RecordError::OffsetDelta { index, delta: record.offset_delta });
        }
        if rules.keys_required && record.key.is_none() {
            return Err(RecordError::KeyMissing { index });
        }
        if record.timestamp_ms > facts.max_timestamp_ms || index == 0 {
            facts.max_timestamp_ms = record.timestamp_ms;
            facts.max_timestamp_delta = index;
        }
        facts.min_timestamp_ms = facts.min_timestamp_ms.min(record.timestamp_ms);
        index += 1;
    }
    if index != header.record_count || !walk.rest().is_empty() {
        return Err(wrong_count(&header));
    }
    Ok(facts)
}
