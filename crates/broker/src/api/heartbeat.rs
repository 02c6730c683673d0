//! Heartbeat (12), versions 0–4.

use coordinator::{ErrorCode, Heartbeat, Request, Response};
use kafka_codec::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = request.group_id.clone();
    let beat = Heartbeat {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
    };
    let error = match ctx.node.groups.ask(&group, Request::Heartbeat(beat)).await {
        Some(Response::Heartbeat(error)) => error,
        _ => ErrorCode::CoordinatorNotAvailable,
    };
    HeartbeatResponse { error_code: error.code(), ..HeartbeatResponse::default() }
}
