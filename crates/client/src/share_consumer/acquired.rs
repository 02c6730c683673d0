//! Records that a broker has locked for this consumer, out of the batches it sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::share_fetch_response::AcquiredRecords;
use kafka_codec::records::{
    Batch, BatchHeader, DecodedBatch, RecordError, TimestampType as BatchTimestampType,
};

use super::ShareRecord;
use super::acknowledge::{Codes, GAP, REJECT, RELEASE};
use crate::door::{Header, TopicPartition};
use crate::error::Error;
use crate::record::{ConsumerRecord, TimestampType};

/// Most bytes that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 512 << 20;
/// Most offsets that one answer may lock in one partition: brokers lock some thousands.
const OFFSETS_MAX: i64 = 1_000_000;

/// What one partition's part of an answer holds.
#[derive(Debug, Default)]
pub(super) struct Acquired {
    /// Records locked for this consumer, by offset.
    pub(super) records: Vec<ShareRecord>,
    /// What the application need not see to acknowledge it.
    pub(super) settled: Codes,
    /// Why some of them cannot be read.
    pub(super) corrupt: Option<Error>,
}

/// Reads what was sent. Offsets that were locked and are no records are settled as gaps; those of batches that cannot
/// be read are rejected, as no other consumer could read them.
///
/// # Errors
/// A sentence when the broker claims to have locked more than can be.
pub(super) fn read(
    partition: &TopicPartition,
    records: &Bytes,
    acquired: &[AcquiredRecords],
    check_crcs: bool,
) -> Result<Acquired, String> {
    let mut open: BTreeMap<i64, i16> = BTreeMap::new();
    let mut count = 0i64;
    for range in acquired {
        let length = range.last_offset.checked_sub(range.first_offset).and_then(|n| n.checked_add(1));
        count = length.filter(|n| *n > 0).and_then(|n| count.checked_add(n)).unwrap_or(i64::MAX);
        if count > OFFSETS_MAX {
            return Err(format!("records {} to {} acquired", range.first_offset, range.last_offset));
        }
        open.extend((range.first_offset..=range.last_offset).map(|offset| (offset, range.delivery_count)));
    }
    let mut result = Acquired::default();
    let mut rest = records.clone();
    while !rest.is_empty() && !open.is_empty() {
        let batch = match Batch::first(&rest) {
            Ok(batch) => batch,
            Err(RecordError::Truncated { .. }) => break,
            Err(error) => {
                // Where the next batch begins is not known: somebody else may fare better.
                result.settle(std::mem::take(&mut open).into_keys(), RELEASE);
                result.fail(partition, -1, &error);
                break;
            }
        };
        let (header, size) = (batch.header, batch.bytes.len());
        let checked = if check_crcs { batch.check_crc() } else { Ok(()) };
        let decoded = checked.and_then(|()| {
            if header.is_control() {
                return Ok(());
            }
            decode(partition, &rest.slice(..size), &header, &mut open, &mut result.records)
        });
        if let Err(error) = decoded {
            let (inside, outside) = open
                .into_iter()
                .partition(|(offset, _)| (header.base_offset..=header.last_offset()).contains(offset));
            open = outside;
            let inside: BTreeMap<i64, i16> = inside;
            result.settle(inside.into_keys(), REJECT);
            result.fail(partition, header.base_offset, &error);
        }
        rest = rest.slice(size..);
    }
    result.settle(open.into_keys(), GAP);
    Ok(result)
}

impl Acquired {
    fn settle(&mut self, offsets: impl Iterator<Item = i64>, code: i8) {
        self.settled.extend(offsets.map(|offset| (offset, code)));
    }

    fn fail(&mut self, partition: &TopicPartition, offset: i64, reason: &RecordError) {
        let (partition, reason) = (partition.to_string(), reason.to_string());
        self.corrupt.get_or_insert(Error::CorruptRecord { partition, offset, reason });
    }
}

/// Moves the records of one batch that are locked from `open` to `records`.
fn decode(
    partition: &TopicPartition,
    bytes: &Bytes,
    header: &BatchHeader,
    open: &mut BTreeMap<i64, i16>,
    records: &mut Vec<ShareRecord>,
) -> Result<(), RecordError> {
    let batch = DecodedBatch::decode(bytes, DECOMPRESSED_BYTES_MAX)?;
    let timestamp_type = match header.timestamp_type() {
        BatchTimestampType::LogAppendTime => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    };
    let leader_epoch = (header.leader_epoch >= 0).then_some(header.leader_epoch);
    let mut found = Vec::new();
    for record in batch.records() {
        let record = record?;
        let Some(delivery_count) = open.get(&record.offset).copied() else { continue };
        let share = |part: Option<&[u8]>| part.map(|part| batch.share(part));
        let named =
            |(key, value): (&[u8], Option<&[u8]>)| Header { key: batch.share(key), value: share(value) };
        found.push(ShareRecord {
            record: ConsumerRecord {
                topic: Arc::clone(&partition.topic),
                partition: partition.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                timestamp_type,
                key: share(record.key),
                value: share(record.value),
                headers: record.headers.map(named).collect(),
                leader_epoch,
            },
            delivery_count,
        });
    }
    for record in &found {
        open.remove(&record.record.offset);
    }
    records.append(&mut found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use kafka_codec::records::{BatchBuilder, Compression, end_transaction_marker, set_base_offset};

    use super::*;

    fn batch(base: i64, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(base);
        for value in values {
            builder.push(1, None, Some(value.as_bytes()), std::iter::empty()).unwrap();
        }
        builder.build().unwrap()
    }

    /// Offsets with their counts of deliveries, offsets that were settled, and whether something was corrupt.
    type Got = (Vec<(i64, i16)>, Vec<(i64, i8)>, bool);

    fn check(bytes: Vec<u8>, ranges: &[(i64, i64, i16)]) -> Got {
        let range = |&(first_offset, last_offset, delivery_count): &(i64, i64, i16)| AcquiredRecords {
            first_offset,
            last_offset,
            delivery_count,
            ..AcquiredRecords::default()
        };
        let ranges: Vec<_> = ranges.iter().map(range).collect();
        let got = read(&TopicPartition::new("t", 0), &bytes.into(), &ranges, true).unwrap();
        let records = got.records.iter().map(|r| (r.record.offset, r.delivery_count)).collect();
        (records, got.settled.into_iter().collect(), got.corrupt.is_some())
    }

    #[test]
    fn only_what_is_locked_is_handed_out() {
        let bytes = batch(10, &["a", "b", "c", "d"]);
        assert_eq!(
            check(bytes, &[(11, 12, 1), (13, 13, 3)]),
            (vec![(11, 1), (12, 1), (13, 3)], vec![], false)
        );
    }

    #[test]
    fn gaps_and_markers_are_settled() {
        let mut bytes = batch(10, &["a"]);
        let mut marker = end_transaction_marker(7, 0, true, 0, 1).unwrap();
        set_base_offset(&mut marker, 11);
        bytes.extend(marker);
        bytes.extend(batch(13, &["b"]));
        let (records, settled, corrupt) = check(bytes, &[(10, 13, 1)]);
        assert_eq!(records, [(10, 1), (13, 1)]);
        assert_eq!(settled, [(11, GAP), (12, GAP)]);
        assert!(!corrupt);
    }

    #[test]
    fn a_corrupt_batch_is_rejected_and_the_rest_is_read() {
        let mut bad = batch(10, &["a", "b"]);
        let last = bad.len() - 1;
        bad[last] ^= 1;
        bad.extend(batch(12, &["c"]));
        let (records, settled, corrupt) = check(bad, &[(10, 12, 1)]);
        assert_eq!(records, [(12, 1)]);
        assert_eq!(settled, [(10, REJECT), (11, REJECT)]);
        assert!(corrupt);
    }

    #[test]
    fn impossible_claims_are_refused() {
        let range = AcquiredRecords { first_offset: 0, last_offset: i64::MAX, ..AcquiredRecords::default() };
        assert!(read(&TopicPartition::new("t", 0), &Bytes::new(), &[range], true).is_err());
    }
}
