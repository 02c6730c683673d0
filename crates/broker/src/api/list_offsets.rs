//! ListOffsets (2): offsets by time, the first, the last, the one with the largest timestamp.

use std::sync::Arc;

use kafka_codec::ErrorCode;
use kafka_codec::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_codec::messages::{ListOffsetsRequest, ListOffsetsResponse};
use log::{ReadLimit, TimestampOffset};

use super::error_code::of_log;
use super::{READ_COMMITTED, check_leader_epoch};
use crate::context::Context;
use crate::replica::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// First version that tells leader epochs.
const LEADER_EPOCH_FROM: i16 = 4;

struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

/// No such record.
const NOTHING: Found = Found { timestamp: -1, offset: -1, leader_epoch: -1 };

pub(crate) async fn handle(ctx: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let partition = ctx.node.replicas.partition(&topic.name, wanted.partition_index);
            let found = match partition {
                Some(partition) => match check_leader_epoch(&partition, wanted.current_leader_epoch) {
                    Ok(()) => find(partition, wanted.timestamp, ctx.version, committed).await,
                    Err(code) => Err(code),
                },
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            let (code, found) = match found {
                Ok(found) => (ErrorCode::None, found),
                Err(code) => (code, NOTHING),
            };
            partitions.push(ListOffsetsPartitionResponse {
                partition_index: wanted.partition_index,
                error_code: code.code(),
                timestamp: found.timestamp,
                offset: found.offset,
                leader_epoch: if ctx.version >= LEADER_EPOCH_FROM { found.leader_epoch } else { -1 },
                ..ListOffsetsPartitionResponse::default()
            });
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
            ..ListOffsetsTopicResponse::default()
        });
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

async fn find(
    partition: Arc<Partition>,
    timestamp: i64,
    version: i16,
    committed: bool,
) -> Result<Found, ErrorCode> {
    let log = partition.log().map_err(|error| of_log(&error))?;
    let end = if committed { log.last_stable_offset() } else { log.high_watermark() };
    let epoch = partition.leader_epoch();
    let at =
        |offset: i64| Found { timestamp: -1, offset, leader_epoch: log.epoch_at(offset).unwrap_or(epoch) };
    // Kafka asks for the version in which each special time came to be.
    let since = match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    if version < since {
        return Err(ErrorCode::UnsupportedVersion);
    }
    match timestamp {
        LATEST => Ok(Found { timestamp: -1, offset: end, leader_epoch: epoch }),
        // Without tiers everything is local.
        EARLIEST | EARLIEST_LOCAL => Ok(at(log.log_start())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
        time if time < 0 && time != MAX_TIMESTAMP => Err(ErrorCode::InvalidRequest),
        _ => {
            // Looks into segment files: off the runtime's own threads.
            let log = Arc::clone(log);
            let limit = if committed { ReadLimit::LastStable } else { ReadLimit::HighWatermark };
            let search = move || match timestamp {
                MAX_TIMESTAMP => log.max_timestamp(),
                time => log.offset_for_timestamp(time, limit),
            };
            let found: Option<TimestampOffset> = tokio::task::spawn_blocking(search)
                .await
                .map_err(|_| ErrorCode::UnknownServerError)?
                .map_err(|error| of_log(&error))?;
            Ok(found.filter(|found| found.offset < end).map_or(NOTHING, |found| Found {
                timestamp: found.timestamp_ms,
                offset: found.offset,
                leader_epoch: found.leader_epoch,
            }))
        }
    }
}
