//! What is wrong with single records of a refused batch, in Kafka's words (KIP-467).

use std::fmt::Write as _;

use kafka_codec::ErrorCode;
use kafka_codec::records::{Batch, Record, records};
use meta::config::TopicConfig;

/// Records named in one answer at most.
const NAMED_MAX: usize = 10_000;
/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Earliest and latest timestamp that may be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimestampRange {
    earliest_ms: i64,
    latest_ms: i64,
}

impl TimestampRange {
    /// The range that `message.timestamp.before.max.ms` and `…after.max.ms` leave.
    pub(super) fn new(config: &TopicConfig, now_ms: i64) -> Self {
        Self {
            earliest_ms: now_ms.saturating_sub(config.timestamp_before_max_ms),
            latest_ms: now_ms.saturating_add(config.timestamp_after_max_ms),
        }
    }

    /// Whether a record of that time may be stored.
    pub(super) fn allows(&self, timestamp_ms: i64) -> bool {
        timestamp_ms == NO_TIMESTAMP || (self.earliest_ms..=self.latest_ms).contains(&timestamp_ms)
    }
}

/// A batch refused for the sake of some of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordErrors {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// Index in the batch and what is wrong there.
    pub(super) records: Vec<(i32, String)>,
}

/// Looks for the records at fault in a batch that can be read; `None` when there are none.
pub(super) fn find(
    bytes: &[u8],
    config: &TopicConfig,
    range: Option<TimestampRange>,
    partition: &str,
    bytes_max: usize,
    scratch: &mut Vec<u8>,
) -> Option<RecordErrors> {
    let batch = Batch::first(bytes).ok()?;
    let mut wrong_time = false;
    let mut found = Vec::new();
    for (index, record) in (0..).zip(records(&batch, bytes_max, scratch).ok()?) {
        let record: Record<'_> = record.ok()?;
        if found.len() == NAMED_MAX {
            break;
        }
        let timestamp_ms = record.timestamp_ms;
        if config.compact && record.key.is_none() {
            let message =
                format!("Compacted topic cannot accept message without key in topic partition {partition}.");
            found.push((index, message));
        } else if let Some(range) = range.filter(|range| !range.allows(timestamp_ms)) {
            wrong_time = true;
            let TimestampRange { earliest_ms, latest_ms } = range;
            let message = format!(
                "Timestamp {timestamp_ms} of message with offset {index} is out of range. The timestamp should be \
                 within [{earliest_ms}, {latest_ms}]"
            );
            found.push((index, message));
        }
    }
    if found.is_empty() {
        return None;
    }
    if wrong_time {
        return Some(RecordErrors {
            code: ErrorCode::InvalidTimestamp,
            message: "One or more records have been rejected due to invalid timestamp".to_owned(),
            records: found,
        });
    }
    let mut message = format!(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three \
         errors at most: [",
        found.len()
    );
    for (i, (index, what)) in found.iter().take(3).enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        let _ = write!(message, "{comma}RecordError(batchIndex={index}, message='{what}')");
    }
    message.push(']');
    Some(RecordErrors { code: ErrorCode::InvalidRecord, message, records: found })
}
