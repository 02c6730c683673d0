//! DescribeProducers (61): idempotent producers that a partition remembers.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_codec::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::error_code::of_log;
use crate::context::Context;
use crate::node::Node;

pub(crate) async fn handle(ctx: Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|index| describe(&ctx.node, &topic.name, *index))
                .collect();
            TopicResponse { name: topic.name, partitions, ..TopicResponse::default() }
        })
        .collect();
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

fn describe(node: &Node, topic: &str, partition_index: i32) -> PartitionResponse {
    let refuse = |code: ErrorCode| PartitionResponse {
        partition_index,
        error_code: code.code(),
        error_message: Some(code.message().to_owned()),
        ..PartitionResponse::default()
    };
    let Some(partition) = node.replicas.partition(topic, partition_index) else {
        return refuse(ErrorCode::UnknownTopicOrPartition);
    };
    let log = match partition.log() {
        Ok(log) => log,
        Err(error) => return refuse(of_log(&error)),
    };
    let active_producers = log
        .active_producers()
        .into_iter()
        .map(|producer| ProducerState {
            producer_id: producer.producer_id,
            producer_epoch: i32::from(producer.epoch),
            last_sequence: producer.last_sequence,
            last_timestamp: producer.last_timestamp_ms,
            coordinator_epoch: producer.coordinator_epoch,
            current_txn_start_offset: producer.current_txn_first_offset.unwrap_or(-1),
            ..ProducerState::default()
        })
        .collect();
    PartitionResponse { partition_index, active_producers, ..PartitionResponse::default() }
}
