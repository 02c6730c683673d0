//! OffsetForLeaderEpoch (23): where an epoch ended, so that consumers notice a truncated log.

use kafka_codec::ErrorCode;
use kafka_codec::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_codec::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_codec::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::check_leader_epoch;
use super::error_code::of_log;
use crate::context::Context;
use crate::node::Node;

pub(crate) async fn handle(
    ctx: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions =
                topic.partitions.iter().map(|wanted| answer(&ctx.node, &topic.topic, wanted)).collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
                ..OffsetForLeaderTopicResult::default()
            }
        })
        .collect();
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

fn answer(node: &Node, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let (code, leader_epoch, end_offset) = match epoch_end(node, topic, wanted) {
        Ok((epoch, end)) => (ErrorCode::None, epoch, end),
        Err(code) => (code, -1, -1),
    };
    EpochEndOffset {
        error_code: code.code(),
        partition: wanted.partition,
        leader_epoch,
        end_offset,
        ..EpochEndOffset::default()
    }
}

fn epoch_end(node: &Node, topic: &str, wanted: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let partition =
        node.replicas.partition(topic, wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(&partition, wanted.current_leader_epoch)?;
    let log = partition.log().map_err(|error| of_log(&error))?;
    if wanted.leader_epoch == partition.leader_epoch() {
        return Ok((wanted.leader_epoch, log.high_watermark()));
    }
    Ok(log.epoch_end(wanted.leader_epoch).map_or((-1, -1), |end| (end.epoch, end.end_offset)))
}
