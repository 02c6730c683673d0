//! ConsumerGroupHeartbeat (68), versions 0–1: a member of a consumer group (KIP-848) joins, lives and leaves.

use coordinator::{Assignment, ConsumerHeartbeat, ErrorCode, HeartbeatAnswer, Request, Response};
use kafka_codec::messages::consumer_group_heartbeat_response as told;
use kafka_codec::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use crate::context::Context;
use crate::groups::settings;
use crate::node::random_uuid;

pub(crate) async fn handle(
    ctx: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.clone();
    let owned = request.topic_partitions.map(|topics| {
        let mut owned = Assignment::new();
        for topic in topics {
            owned.entry(topic.topic_id).or_default().extend(topic.partitions);
        }
        owned
    });
    let beat = ConsumerHeartbeat {
        group: request.group_id,
        member: request.member_id,
        member_id_required: ctx.version >= 1,
        epoch: request.member_epoch,
        instance: request.instance_id,
        rack: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned,
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: ctx.client_host(),
        fresh_id: random_uuid().to_string(),
        settings: settings::consumer(&ctx.node.state(), &group),
    };
    let answer = match ctx.node.groups.ask(&group, Request::ConsumerHeartbeat(beat)).await {
        Some(Response::ModernHeartbeat(answer)) => answer,
        _ => HeartbeatAnswer::failed(ErrorCode::CoordinatorNotAvailable),
    };
    ConsumerGroupHeartbeatResponse {
        error_code: answer.error.code(),
        error_message: answer.message,
        member_id: answer.member,
        member_epoch: answer.epoch,
        heartbeat_interval_ms: answer.interval_ms,
        assignment: answer.assignment.map(|assignment| told::Assignment {
            topic_partitions: assignment
                .into_iter()
                .map(|(topic_id, partitions)| told::TopicPartitions {
                    topic_id,
                    partitions: partitions.into_iter().collect(),
                    ..told::TopicPartitions::default()
                })
                .collect(),
            ..told::Assignment::default()
        }),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
