//! DescribeQuorum (55): the metadata quorum, which is this node alone.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_codec::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::now_ms;
use crate::context::Context;
use crate::metadata::METADATA_TOPIC;

/// First version that names the nodes and their directories.
const NODES_FROM: i16 = 2;

pub(crate) async fn handle(ctx: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let node = &ctx.node;
    let names = ctx.version >= NODES_FROM;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| TopicData {
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| {
                    if topic.topic_name == METADATA_TOPIC && wanted.partition_index == 0 {
                        leader(&ctx, names)
                    } else {
                        PartitionData {
                            partition_index: wanted.partition_index,
                            error_code: ErrorCode::UnknownTopicOrPartition.code(),
                            ..PartitionData::default()
                        }
                    }
                })
                .collect(),
            topic_name: topic.topic_name,
            ..TopicData::default()
        })
        .collect();
    let endpoint = node.endpoint_for(&ctx);
    let listener = Listener {
        name: ctx.connection.listener.name.clone(),
        host: endpoint.host,
        port: endpoint.port,
        ..Listener::default()
    };
    let nodes = if names {
        vec![Node { node_id: node.id, listeners: vec![listener], ..Node::default() }]
    } else {
        Vec::new()
    };
    DescribeQuorumResponse { topics, nodes, ..DescribeQuorumResponse::default() }
}

fn leader(ctx: &Context, names: bool) -> PartitionData {
    let (leader_epoch, end_offset) = ctx.node.metadata.log_position();
    let now_ms = now_ms();
    let voter = ReplicaState {
        replica_id: ctx.node.id,
        replica_directory_id: if names { ctx.node.directory_id } else { kafka_codec::Uuid::ZERO },
        log_end_offset: end_offset,
        last_fetch_timestamp: now_ms,
        last_caught_up_timestamp: now_ms,
        ..ReplicaState::default()
    };
    PartitionData {
        leader_id: ctx.node.id,
        leader_epoch,
        high_watermark: end_offset,
        current_voters: vec![voter],
        ..PartitionData::default()
    }
}
