//! What became of records: acknowledgements, and their form on the wire.

use std::collections::BTreeMap;
use std::fmt;

use kafka_codec::messages::share_acknowledge_request as acknowledge;
use kafka_codec::messages::share_fetch_request as fetch;

use crate::door::TopicPartition;
use crate::error::Result;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum AcknowledgeType {
    /// It was processed.
    Accept = 1,
    /// It was not processed, and goes to whoever comes next.
    Release = 2,
    /// It cannot be processed by anybody.
    Reject = 3,
    /// It is still being processed: the lock begins anew (brokers since 4.2).
    Renew = 4,
}

impl fmt::Display for AcknowledgeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Release => "release",
            Self::Reject => "reject",
            Self::Renew => "renew",
        })
    }
}

/// A broker's answer to acknowledgements of one partition.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The partition.
    pub partition: TopicPartition,
    /// Offsets of the records.
    pub offsets: Vec<i64>,
    /// Whether the broker has them; if not, the records are delivered again.
    pub outcome: Result<()>,
}

/// An offset that was locked for this consumer, and holds no record (compaction, control records).
pub(super) const GAP: i8 = 0;
pub(super) const RELEASE: i8 = AcknowledgeType::Release as i8;
pub(super) const REJECT: i8 = AcknowledgeType::Reject as i8;
pub(super) const RENEW: i8 = AcknowledgeType::Renew as i8;

/// Acknowledgements of one partition: codes by offset.
pub(super) type Codes = BTreeMap<i64, i8>;

/// From the same code on for so many offsets it is written once for all of them.
const RUN_MIN: usize = 10;

/// One range on the wire: first and last offset, and one code for all or for each.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: i64,
    last: i64,
    codes: Vec<i8>,
}

/// Neighbouring offsets in as few ranges as possible.
fn ranges(codes: &Codes) -> Vec<Range> {
    // Runs of the same code at neighbouring offsets.
    let mut runs: Vec<(i64, i64, i8)> = Vec::new();
    for (&offset, &code) in codes {
        match runs.last_mut() {
            Some((_, last, same)) if *same == code && last.checked_add(1) == Some(offset) => *last = offset,
            _ => runs.push((offset, offset, code)),
        }
    }
    let mut ranges: Vec<Range> = Vec::new();
    for (first, last, code) in runs {
        let count = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
        let joined = match ranges.last_mut() {
            Some(range) if count < RUN_MIN && range.last.checked_add(1) == Some(first) => {
                let length =
                    usize::try_from(range.last - range.first).unwrap_or(usize::MAX).saturating_add(1);
                let short = range.codes.len() == length || length < RUN_MIN;
                if short {
                    let one = range.codes.first().copied().unwrap_or(GAP);
                    if range.codes.len() == 1 {
                        range.codes.resize(length, one);
                    }
                    range.codes.resize(length + count, code);
                    range.last = last;
                }
                short
            }
            _ => false,
        };
        if !joined {
            ranges.push(Range { first, last, codes: vec![code] });
        }
    }
    ranges
}

pub(super) fn fetch_batches(codes: &Codes) -> Vec<fetch::AcknowledgementBatch> {
    let batch = |range: Range| fetch::AcknowledgementBatch {
        first_offset: range.first,
        last_offset: range.last,
        acknowledge_types: range.codes,
        ..fetch::AcknowledgementBatch::default()
    };
    ranges(codes).into_iter().map(batch).collect()
}

pub(super) fn acknowledge_batches(codes: &Codes) -> Vec<acknowledge::AcknowledgementBatch> {
    let batch = |range: Range| acknowledge::AcknowledgementBatch {
        first_offset: range.first,
        last_offset: range.last,
        acknowledge_types: range.codes,
        ..acknowledge::AcknowledgementBatch::default()
    };
    ranges(codes).into_iter().map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(codes: &[(i64, i8)], expected: &[(i64, i64, &[i8])]) {
        let got = ranges(&codes.iter().copied().collect());
        let got: Vec<_> = got.iter().map(|r| (r.first, r.last, r.codes.as_slice())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn neighbours_share_a_range() {
        check(&[], &[]);
        check(&[(5, 1), (6, 1), (7, 1)], &[(5, 7, &[1])]);
        check(&[(5, 1), (7, 1)], &[(5, 5, &[1]), (7, 7, &[1])]);
        check(&[(5, 1), (6, 2), (7, 2), (8, 0)], &[(5, 8, &[1, 2, 2, 0])]);
        let long: Vec<_> = (0..20).map(|offset| (offset, 1)).chain([(20, 2), (21, 3)]).collect();
        check(&long, &[(0, 19, &[1]), (20, 21, &[2, 3])]);
        let late: Vec<_> = [(0, 2)].into_iter().chain((1..20).map(|offset| (offset, 1))).collect();
        check(&late, &[(0, 0, &[2]), (1, 19, &[1])]);
    }
}
