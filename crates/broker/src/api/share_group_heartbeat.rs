//! ShareGroupHeartbeat (76), version 1: a member of a share group (KIP-932) joins, lives and leaves.

use coordinator::{ErrorCode, HeartbeatAnswer, Request, Response, ShareHeartbeat};
use kafka_codec::messages::share_group_heartbeat_response as told;
use kafka_codec::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use super::share_fetch::is_member_id;
use crate::context::Context;
use crate::groups::settings;

pub(crate) async fn handle(ctx: Context, request: ShareGroupHeartbeatRequest) -> ShareGroupHeartbeatResponse {
    if !is_member_id(&request.member_id) {
        return ShareGroupHeartbeatResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some("Invalid member id in the request.".to_owned()),
            ..ShareGroupHeartbeatResponse::default()
        };
    }
    let group = request.group_id.clone();
    let beat = ShareHeartbeat {
        group: request.group_id,
        member: request.member_id,
        epoch: request.member_epoch,
        rack: request.rack_id,
        topics: request.subscribed_topic_names,
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: ctx.client_host(),
        settings: settings::share(&ctx.node.state(), &group),
    };
    let answer = match ctx.node.groups.ask(&group, Request::ShareHeartbeat(beat)).await {
        Some(Response::ModernHeartbeat(answer)) => answer,
        _ => HeartbeatAnswer::failed(ErrorCode::CoordinatorNotAvailable),
    };
    ShareGroupHeartbeatResponse {
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
        ..ShareGroupHeartbeatResponse::default()
    }
}
