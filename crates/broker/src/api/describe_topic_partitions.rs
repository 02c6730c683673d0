//! DescribeTopicPartitions (75): topics page by page (KIP-966). Memory: at most
//! `max.request.partition.size.limit` partitions an answer.

use std::collections::BTreeSet;

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_codec::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use meta::{PartitionState, controller};

use super::authorized_topic_operations;
use crate::context::Context;
use crate::node::Node;

pub(crate) async fn handle(
    ctx: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let node = &ctx.node;
    let state = node.state();
    let limit =
        request.response_partition_limit.min(state.properties.int("max.request.partition.size.limit")).max(1);
    let mut room = usize::try_from(limit).unwrap_or(1);
    let all = request.topics.is_empty();
    let mut names: BTreeSet<String> = if all {
        state.image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).collect()
    };
    let mut first_partition = 0;
    if let Some(cursor) = request.cursor {
        names = names.split_off(&cursor.topic_name);
        if names.contains(&cursor.topic_name) {
            first_partition = usize::try_from(cursor.partition_index).unwrap_or(0);
        }
    }
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if room == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, ..Cursor::default() });
            break;
        }
        let first = std::mem::take(&mut first_partition);
        let Some(topic) = state.image.topic(&name) else {
            let error = if controller::check_topic_name(&name).is_err() {
                ErrorCode::InvalidTopicException
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: error.code(),
                is_internal: controller::is_internal(&name),
                name: Some(name),
                ..DescribeTopicPartitionsResponseTopic::default()
            });
            continue;
        };
        let partitions: Vec<_> = (0..)
            .zip(&topic.partitions)
            .skip(first)
            .take(room)
            .map(|(index, partition)| describe(node, &name, index, partition))
            .collect();
        let shown = first + partitions.len();
        room -= partitions.len();
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id,
            is_internal: controller::is_internal(&name),
            partitions,
            topic_authorized_operations: authorized_topic_operations(true),
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if shown < topic.partitions.len() {
            let partition_index = i32::try_from(shown).unwrap_or(i32::MAX);
            response.next_cursor = Some(Cursor { topic_name: name, partition_index, ..Cursor::default() });
            break;
        }
    }
    response
}

fn describe(
    node: &Node,
    topic: &str,
    index: i32,
    state: &PartitionState,
) -> DescribeTopicPartitionsResponsePartition {
    let served = node.replicas.partition(topic, index).is_some_and(|partition| !partition.is_offline());
    let error = if served { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id: if served { state.leader } else { -1 },
        leader_epoch: state.leader_epoch,
        replica_nodes: state.replicas.clone(),
        isr_nodes: state.isr.clone(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: if served { Vec::new() } else { state.replicas.clone() },
        ..DescribeTopicPartitionsResponsePartition::default()
    }
}
