//! SyncGroup (14), versions 0–5. Waits for the leader's assignment.

use coordinator::{ErrorCode, Request, Response, SyncGroup};
use kafka_codec::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let failed =
        |error: ErrorCode| SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() };
    // Nullable on the wire, and yet demanded by Kafka.
    if ctx.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return failed(ErrorCode::InconsistentGroupProtocol);
    }
    let group = request.group_id.clone();
    let sync = SyncGroup {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignments: request
            .assignments
            .into_iter()
            .map(|entry| (entry.member_id, entry.assignment))
            .collect(),
    };
    let Some(Response::Sync(synced)) = ctx.node.groups.ask(&group, Request::Sync(sync)).await else {
        return failed(ErrorCode::CoordinatorNotAvailable);
    };
    SyncGroupResponse {
        error_code: synced.error.code(),
        protocol_type: synced.protocol_type,
        protocol_name: synced.protocol_name,
        assignment: synced.assignment,
        ..SyncGroupResponse::default()
    }
}
