//! Fetch (1): record batches as they lie in the log, by reference to the segment files; waits for new ones.
//! Memory: the response's head; records go from the page cache to the socket.
//!
//! Fetch sessions (KIP-227) are not kept: every answer says session 0, with which clients send full requests.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kafka_codec::acl::AclOperation;
use kafka_codec::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, LeaderIdAndEpoch,
    PartitionFetchResponse, TopicFetchResponse,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, ErrorCode, frame};
use log::{LogError, ReadLimit, ReadRequest, ReadSlice};
use meta::quota;
use tokio::time::Instant;

use super::error_code::of_log;
use super::{READ_COMMITTED, check_leader_epoch};
use crate::authorize::Access;
use crate::context::Context;
use crate::dispatch::{Call, unwritable};
use crate::net::connection::Handling;
use crate::net::response::{Part, Reply};
use crate::replica::Partition;
use crate::replica::waiters::WakeSlot;

/// First version with topic ids.
const TOPIC_IDS_FROM: i16 = 13;
/// Epochs of requests that want everything named in them.
const FULL_FETCH_EPOCHS: [i32; 2] = [0, -1];

/// Begins a fetch request: what is there is found now, waiting for more does not hold up the connection's other
/// requests.
pub(crate) fn begin(call: Call) -> Result<Handling, DecodeError> {
    FetchRequest::decode(&mut Reader::shared(&call.body), call.version)?;
    Ok(Handling { reply: fetch(call).boxed(), pipelined: true })
}

/// One partition of the request.
struct Wanted {
    partition: Result<Arc<Partition>, ErrorCode>,
    request: FetchPartition,
}

/// What was found for one partition.
struct Found {
    response: PartitionFetchResponse<usize>,
    slice: Option<ReadSlice>,
}

/// What was found for all.
struct Round {
    found: Vec<Found>,
    bytes: usize,
    /// Something that the client should know at once: an error, a diverging epoch.
    urgent: bool,
}

async fn fetch(call: Call) -> Reply {
    let Call { ctx, version, correlation_id, body, .. } = call;
    let request = match FetchRequest::decode(&mut Reader::shared(&body), version) {
        Ok(request) => request,
        Err(error) => return Reply::Close(error.to_string()),
    };
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let full = FULL_FETCH_EPOCHS.contains(&request.session_epoch);
    if !full || (request.session_id != 0 && request.session_epoch == 0) {
        let response = FetchResponse::<usize> {
            error_code: ErrorCode::FetchSessionIdNotFound.code(),
            ..FetchResponse::default()
        };
        return reply(version, correlation_id, &response, Vec::new());
    }
    let wanted = resolve(&ctx, &request, version);
    let limits = Limits {
        max_bytes: usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(usize::try_from(ctx.node.state().properties.long("fetch.max.bytes")).unwrap_or(usize::MAX)),
        committed: request.isolation_level == READ_COMMITTED,
        node_id: ctx.node.id,
    };
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let enough = |round: &Round| round.urgent || round.bytes >= min_bytes;
    let mut round = read_all(&wanted, &limits);
    if !enough(&round) && !wanted.is_empty() {
        round = wait(&wanted, &limits, deadline, enough).await;
    }
    // What a client fetched is told with the time it has to wait before the next answer.
    #[allow(clippy::cast_precision_loss)]
    let throttle_time_ms = ctx.spend(quota::CONSUMER_BYTE_RATE, round.bytes as f64);
    let mut found = round.found.into_iter();
    let mut slices = Vec::new();
    let topics = request
        .topics
        .iter()
        .map(|topic| TopicFetchResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: found
                .by_ref()
                .take(topic.partitions.len())
                .map(|found| {
                    slices.push(found.slice);
                    found.response
                })
                .collect(),
        })
        .collect();
    reply(
        version,
        correlation_id,
        &FetchResponse { throttle_time_ms, topics, ..FetchResponse::default() },
        slices,
    )
}

/// Puts the head and the records of a response together. `slices` has an entry for each partition.
fn reply(
    version: i16,
    correlation_id: i32,
    response: &FetchResponse<'_, usize>,
    mut slices: Vec<Option<ReadSlice>>,
) -> Reply {
    let pieces = match response.encode_frame(version, correlation_id) {
        Ok(pieces) => pieces,
        Err(error) => return unwritable(ApiKey::Fetch, version, &error),
    };
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            frame::Part::Bytes(bytes) => parts.push(Part::Bytes(bytes)),
            frame::Part::Records { index, bytes } => match slices.get_mut(index).and_then(Option::take) {
                Some(slice) if slice.len == bytes => {
                    parts.push(Part::File { file: slice.file, position: slice.position, len: slice.len });
                }
                _ => return Reply::Close("a fetch response lost its records".into()),
            },
        }
    }
    Reply::Frame { parts }
}

fn resolve(ctx: &Context, request: &FetchRequest<'_>, version: i16) -> Vec<Wanted> {
    let node = &ctx.node;
    let access = node.authorizer.enabled.then(|| Access::of(ctx));
    let may_read = |name: &str| access.as_ref().is_none_or(|access| access.topic(AclOperation::Read, name));
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let (replicas, unknown) = if version >= TOPIC_IDS_FROM {
            (node.replicas.topic_by_id(topic.topic_id), ErrorCode::UnknownTopicId)
        } else {
            (node.replicas.topic(topic.topic), ErrorCode::UnknownTopicOrPartition)
        };
        let refused = match &replicas {
            Some(replicas) => !may_read(&replicas.name),
            // A name that may not be read is refused whether the topic is there or not.
            None => version < TOPIC_IDS_FROM && !may_read(topic.topic),
        };
        for partition in &topic.partitions {
            let found = match &replicas {
                _ if refused => Err(ErrorCode::TopicAuthorizationFailed),
                Some(topic) => {
                    topic.partition(partition.partition).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
                }
                None => Err(unknown),
            };
            wanted.push(Wanted { partition: found, request: *partition });
        }
    }
    wanted
}

struct Limits {
    max_bytes: usize,
    committed: bool,
    node_id: i32,
}

/// Looks again whenever one of the partitions has moved on, until there is enough or the time is over.
async fn wait(
    wanted: &[Wanted],
    limits: &Limits,
    deadline: Instant,
    enough: impl Fn(&Round) -> bool,
) -> Round {
    let registered = Registered { slot: Arc::default(), wanted };
    loop {
        registered.everywhere();
        let round = read_all(wanted, limits);
        if enough(&round) || Instant::now() >= deadline {
            return round;
        }
        // Timed out: what is there by then goes out.
        let _ = tokio::time::timeout_at(deadline, registered.slot.woken()).await;
        registered.nowhere();
    }
}

/// A slot on the waiting lists of the request's partitions; taken off them when dropped (the client may go away
/// in the middle of a wait).
struct Registered<'a> {
    slot: Arc<WakeSlot>,
    wanted: &'a [Wanted],
}

impl Registered<'_> {
    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.wanted.iter().filter_map(|wanted| wanted.partition.as_ref().ok())
    }

    fn everywhere(&self) {
        for partition in self.partitions() {
            partition.waiters.wait_change(Arc::clone(&self.slot));
        }
    }

    fn nowhere(&self) {
        for partition in self.partitions() {
            partition.waiters.forget(&self.slot);
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.nowhere();
    }
}

fn read_all(wanted: &[Wanted], limits: &Limits) -> Round {
    let mut round = Round { found: Vec::with_capacity(wanted.len()), bytes: 0, urgent: false };
    for wanted in wanted {
        let room = limits.max_bytes.saturating_sub(round.bytes);
        let found = match &wanted.partition {
            Ok(partition) => read(partition, &wanted.request, room, round.bytes == 0, limits),
            Err(code) => Err(*code),
        };
        let found = found.unwrap_or_else(|code| refused(wanted, code, limits));
        round.bytes += found.slice.as_ref().map_or(0, |slice| slice.len);
        round.urgent |=
            found.response.error_code != 0 || found.response.diverging_epoch != EpochEndOffset::default();
        round.found.push(found);
    }
    round
}

fn refused(wanted: &Wanted, code: ErrorCode, limits: &Limits) -> Found {
    let tells_leader = matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
    let current_leader = match &wanted.partition {
        Ok(partition) if tells_leader => {
            LeaderIdAndEpoch { leader_id: limits.node_id, leader_epoch: partition.leader_epoch() }
        }
        _ => LeaderIdAndEpoch::default(),
    };
    Found {
        response: PartitionFetchResponse {
            partition_index: wanted.request.partition,
            error_code: code.code(),
            high_watermark: -1,
            current_leader,
            records: Some(0),
            ..PartitionFetchResponse::default()
        },
        slice: None,
    }
}

fn read(
    partition: &Partition,
    wanted: &FetchPartition,
    room: usize,
    at_least_one: bool,
    limits: &Limits,
) -> Result<Found, ErrorCode> {
    check_leader_epoch(partition, wanted.current_leader_epoch)?;
    if partition.is_deleted() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let log = partition.log().map_err(|error| of_log(&error))?;
    let mut response = PartitionFetchResponse {
        partition_index: wanted.partition,
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable_offset(),
        log_start_offset: log.log_start(),
        records: Some(0),
        aborted_transactions: limits.committed.then(Vec::new),
        ..PartitionFetchResponse::default()
    };
    if let Some(diverging) = diverging_epoch(partition, log, wanted)? {
        response.diverging_epoch = diverging;
        return Ok(Found { response, slice: None });
    }
    let max_bytes = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(room);
    let request = ReadRequest {
        offset: wanted.fetch_offset,
        max_bytes,
        at_least_one,
        limit: if limits.committed { ReadLimit::LastStable } else { ReadLimit::HighWatermark },
    };
    let slice = log.read(&request).map_err(|error| {
        if !matches!(error, LogError::OffsetOutOfRange { .. }) {
            tracing::error!(partition = %log.partition(), offset = wanted.fetch_offset, %error, "read failed");
        }
        of_log(&error)
    })?;
    response.log_start_offset = slice.log_start_offset;
    response.records = Some(slice.len);
    if limits.committed && slice.len > 0 {
        let aborted = log
            .aborted_in(wanted.fetch_offset, &slice)
            .map_err(|error| of_log(&error))?
            .into_iter()
            .map(|txn| AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset })
            .collect();
        response.aborted_transactions = Some(aborted);
    }
    Ok(Found { response, slice: (slice.len > 0).then_some(slice) })
}

/// Whether the reader's last epoch ended before the offset it wants (KIP-595): its log and ours part ways.
fn diverging_epoch(
    partition: &Partition,
    log: &log::Log,
    wanted: &FetchPartition,
) -> Result<Option<EpochEndOffset>, ErrorCode> {
    let last = wanted.last_fetched_epoch;
    if last < 0 {
        return Ok(None);
    }
    let (epoch, end_offset) = if last == partition.leader_epoch() {
        (last, log.log_end())
    } else {
        let end = log.epoch_end(last).ok_or(ErrorCode::OffsetOutOfRange)?;
        (end.epoch, end.end_offset)
    };
    let diverges = epoch < last || end_offset < wanted.fetch_offset;
    Ok(diverges.then_some(EpochEndOffset { epoch, end_offset }))
}
