//! From a share partition to records in a member's hands.

use std::sync::Arc;

use bytes::Bytes;
use coordinator::ErrorCode;
use coordinator::share::{AcquireOrder, Acquired};
use kafka_codec::records::{BatchHeader, Batches};
use log::{AbortedTxn, LogError, ReadLimit, ReadRequest};

use super::live::Live;
use super::settings::ShareSettings;
use crate::api::error_code::of_log;

/// Most bytes read from one partition at a time: a member that wants more asks again.
const READ_BYTES: usize = 1 << 20;
/// How often is read again because another member was faster, or all that was read was aborted.
const ROUNDS: usize = 8;

/// What a fetch wants of one share partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Most bytes.
    pub(crate) max_bytes: usize,
    /// One batch is handed out although it is larger.
    pub(crate) at_least_one: bool,
    /// Most records.
    pub(crate) records_max: i64,
    /// Records that are to be acknowledged together, about.
    pub(crate) batch_size: i64,
    /// `records_max` is strict.
    pub(crate) strict: bool,
}

/// What a member got.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Record batches.
    pub(crate) records: Bytes,
    /// Which of their records are the member's now.
    pub(crate) acquired: Vec<Acquired>,
}

fn limit(settings: &ShareSettings) -> ReadLimit {
    if settings.committed { ReadLimit::LastStable } else { ReadLimit::HighWatermark }
}

/// About how many bytes there are to be had.
///
/// # Errors
/// The code for the client.
pub(crate) fn readable(live: &Live, ask: &Ask, settings: &ShareSettings) -> Result<usize, ErrorCode> {
    let log = live.partition.log().map_err(|error| of_log(&error))?;
    let Some(offset) = live.next_fetch_offset(log.log_start(), &settings.limits)? else { return Ok(0) };
    let request =
        ReadRequest { offset, max_bytes: ask.max_bytes, at_least_one: true, limit: limit(settings) };
    match log.read(&request) {
        Ok(slice) => Ok(slice.len),
        Err(LogError::OffsetOutOfRange { .. }) => Ok(0),
        Err(error) => Err(of_log(&error)),
    }
}

/// Gives a member records, if there are any.
///
/// # Errors
/// The code for the client.
pub(crate) fn take(
    live: &Live,
    member: &Arc<str>,
    ask: &Ask,
    settings: &ShareSettings,
    now_ms: i64,
) -> Result<Taken, ErrorCode> {
    let log = live.partition.log().map_err(|error| of_log(&error))?;
    for _ in 0..ROUNDS {
        let Some(offset) = live.next_fetch_offset(log.log_start(), &settings.limits)? else { break };
        let request = ReadRequest {
            offset,
            max_bytes: ask.max_bytes.min(READ_BYTES),
            at_least_one: ask.at_least_one,
            limit: limit(settings),
        };
        let (slice, bytes) = match log.read_bytes(&request) {
            Ok(read) => read,
            // The log was cut at its start a moment ago, and the next round begins there; or the offset lies behind its
            // end, and comes to be when that is reached.
            Err(LogError::OffsetOutOfRange { .. }) if offset < log.log_start() => continue,
            Err(LogError::OffsetOutOfRange { .. }) => break,
            Err(error) => {
                tracing::error!(partition = %log.partition(), offset, %error, "read failed");
                return Err(of_log(&error));
            }
        };
        let headers = headers(&bytes)?;
        if headers.is_empty() {
            break;
        }
        let batches: Vec<(i64, i64)> =
            headers.iter().map(|header| (header.base_offset, header.last_offset())).collect();
        let order = AcquireOrder {
            fetch_offset: offset,
            records_max: ask.records_max,
            batch_size: ask.batch_size,
            strict: ask.strict,
        };
        let mut acquired = live.acquire(member, &batches, &order, now_ms, &settings.limits)?;
        if settings.committed && !acquired.is_empty() {
            let aborted = log.aborted_in(offset, &slice).map_err(|error| of_log(&error))?;
            for header in headers.iter().filter(|header| is_aborted(header, &aborted)) {
                let (first, last) = (header.base_offset, header.last_offset());
                live.archive(member, first, last);
                acquired = without(acquired, first, last);
            }
        }
        if let (Some(first), Some(last)) = (acquired.first(), acquired.last()) {
            let records = cut(&bytes, &headers, first.first, last.last);
            return Ok(Taken { records, acquired });
        }
    }
    Ok(Taken::default())
}

/// The headers of all whole batches.
fn headers(bytes: &[u8]) -> Result<Vec<BatchHeader>, ErrorCode> {
    Batches::new(bytes)
        .map(|batch| batch.map(|batch| batch.header).map_err(|_| ErrorCode::CorruptMessage))
        .collect()
}

fn is_aborted(header: &BatchHeader, aborted: &[AbortedTxn]) -> bool {
    header.is_transactional()
        && !header.is_control()
        && aborted.iter().any(|txn| {
            txn.producer_id == header.producer_id
                && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
        })
}

/// Takes a range out.
fn without(acquired: Vec<Acquired>, first: i64, last: i64) -> Vec<Acquired> {
    let mut left = Vec::with_capacity(acquired.len());
    for part in acquired {
        if part.last < first || part.first > last {
            left.push(part);
            continue;
        }
        if part.first < first {
            left.push(Acquired { last: first - 1, ..part });
        }
        if part.last > last {
            left.push(Acquired { first: last + 1, ..part });
        }
    }
    left
}

/// The batches that hold `first` to `last`.
fn cut(bytes: &Bytes, headers: &[BatchHeader], first: i64, last: i64) -> Bytes {
    let (mut begin, mut end) = (0, 0);
    for header in headers {
        if header.last_offset() < first {
            begin += header.size_bytes();
            end = begin;
        } else if header.base_offset <= last {
            end += header.size_bytes();
        }
    }
    bytes.slice(begin.min(bytes.len())..end.min(bytes.len()))
}
