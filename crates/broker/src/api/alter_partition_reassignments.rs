//! AlterPartitionReassignments (45): on one node a partition can only be moved to where it is.

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_codec::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_codec::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use crate::context::Context;
use crate::node::Node;

pub(crate) async fn handle(
    ctx: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let responses = request
        .topics
        .into_iter()
        .map(|topic| {
            let answer = |wanted: &ReassignablePartition| {
                let (code, message) = reassign(&ctx.node, &topic.name, wanted);
                ReassignablePartitionResponse {
                    partition_index: wanted.partition_index,
                    error_code: code.code(),
                    error_message: message,
                    ..ReassignablePartitionResponse::default()
                }
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            ReassignableTopicResponse { name: topic.name, partitions, ..ReassignableTopicResponse::default() }
        })
        .collect();
    AlterPartitionReassignmentsResponse { responses, ..AlterPartitionReassignmentsResponse::default() }
}

fn reassign(node: &Node, topic: &str, wanted: &ReassignablePartition) -> (ErrorCode, Option<String>) {
    let refuse = |code: ErrorCode| (code, Some(code.message().to_owned()));
    if node.replicas.partition(topic, wanted.partition_index).is_none() {
        return refuse(ErrorCode::UnknownTopicOrPartition);
    }
    match &wanted.replicas {
        // A reassignment is to be cancelled, and there never is one.
        None => refuse(ErrorCode::NoReassignmentInProgress),
        Some(replicas) if *replicas == [node.id] => (ErrorCode::None, None),
        Some(replicas) => {
            let message = match replicas.iter().find(|replica| **replica != node.id) {
                Some(other) => format!(
                    "The manual partition assignment includes broker {other}, but no such broker is registered."
                ),
                None if replicas.is_empty() => {
                    "The manual partition assignment includes an empty replica list.".to_owned()
                }
                None => {
                    format!("The manual partition assignment includes the broker {} more than once.", node.id)
                }
            };
            (ErrorCode::InvalidReplicaAssignment, Some(message))
        }
    }
}
