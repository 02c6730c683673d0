//! LeaveGroup (13), versions 0–5: one member up to version 2, several since.

use coordinator::{ErrorCode, LeaveGroup, Request, Response};
use kafka_codec::messages::leave_group_response::MemberResponse;
use kafka_codec::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let is_single = ctx.version <= 2;
    let group = request.group_id.clone();
    let members = if is_single {
        vec![(request.member_id, None)]
    } else {
        request.members.into_iter().map(|member| (member.member_id, member.group_instance_id)).collect()
    };
    let leave = LeaveGroup { group: request.group_id, members };
    let Some(Response::Leave(left)) = ctx.node.groups.ask(&group, Request::Leave(leave)).await else {
        let error_code = ErrorCode::CoordinatorNotAvailable.code();
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    };
    if is_single {
        let own = left.members.first().map_or(ErrorCode::None, |(_, _, error)| *error);
        let error = if left.error == ErrorCode::None { own } else { left.error };
        return LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() };
    }
    let members = left
        .members
        .into_iter()
        .map(|(member_id, group_instance_id, error)| MemberResponse {
            member_id,
            group_instance_id,
            error_code: error.code(),
            ..MemberResponse::default()
        })
        .collect();
    LeaveGroupResponse { error_code: left.error.code(), members, ..LeaveGroupResponse::default() }
}
