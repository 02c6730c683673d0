//! ElectLeaders (43): on one node every leader is the preferred one already.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_codec::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let mut wanted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    // When all are asked for, those that need no election are left out, as in Kafka.
    for topic in request.topic_partitions.unwrap_or_default() {
        wanted.entry(topic.topic).or_default().extend(topic.partitions);
    }
    let result = |topic: &str, partition_id: i32| {
        let (code, message) = match ctx.node.replicas.partition(topic, partition_id) {
            Some(_) => {
                (ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.".to_owned())
            }
            None => {
                (ErrorCode::UnknownTopicOrPartition, format!("No such partition as {topic}-{partition_id}"))
            }
        };
        PartitionResult {
            partition_id,
            error_code: code.code(),
            error_message: Some(message),
            ..PartitionResult::default()
        }
    };
    let replica_election_results = wanted
        .into_iter()
        .map(|(topic, partitions)| ReplicaElectionResult {
            partition_result: partitions.into_iter().map(|partition| result(&topic, partition)).collect(),
            topic,
            ..ReplicaElectionResult::default()
        })
        .collect();
    ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
}
