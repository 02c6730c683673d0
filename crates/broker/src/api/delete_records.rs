//! DeleteRecords (21): everything before an offset is given up.

use kafka_codec::ErrorCode;
use kafka_codec::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_codec::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use log::LogError;
use meta::controller;

use super::error_code::of_log;
use crate::context::Context;
use crate::node::Node;

/// Asks for everything up to the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(ctx: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .into_iter()
                .map(|partition| {
                    let done = delete(&ctx.node, &topic.name, partition.partition_index, partition.offset);
                    let (code, low_watermark) = match done {
                        Ok(start) => (ErrorCode::None, start),
                        Err(code) => (code, -1),
                    };
                    DeleteRecordsPartitionResult {
                        partition_index: partition.partition_index,
                        low_watermark,
                        error_code: code.code(),
                        ..DeleteRecordsPartitionResult::default()
                    }
                })
                .collect();
            DeleteRecordsTopicResult { name: topic.name, partitions, ..DeleteRecordsTopicResult::default() }
        })
        .collect();
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

fn delete(node: &Node, topic: &str, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    if controller::INTERNAL_TOPICS.contains(&topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = node.replicas.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.config().delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let log = partition.log().map_err(|error| of_log(&error))?;
    let end = log.high_watermark();
    let offset = if offset == HIGH_WATERMARK { end } else { offset };
    if offset < 0 || offset > end {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    log.delete_records_before(offset).map_err(|error: LogError| {
        tracing::warn!(partition = %log.partition(), offset, %error, "records not deleted");
        of_log(&error)
    })
}
