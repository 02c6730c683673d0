//! DescribeGroups (15), versions 0–6. A group that does not exist is an error since version 6, before that a group
//! in state `Dead`.

use coordinator::{DescribedGroup as Described, ErrorCode, Request, Response};
use futures_util::future::join_all;
use kafka_codec::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_codec::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::context::Context;

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS as bits: all that can be done to a group.
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(crate) async fn handle(ctx: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let with_operations = request.include_authorized_operations;
    let groups =
        join_all(request.groups.into_iter().map(|group| describe(&ctx, group, with_operations))).await;
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

async fn describe(ctx: &Context, group: String, with_operations: bool) -> DescribedGroup {
    let asked = Request::Describe(vec![group.clone()]);
    let described = match ctx.node.groups.ask(&group, asked).await {
        Some(Response::Describe(mut groups)) => groups.pop(),
        _ => None,
    };
    let described = described.unwrap_or_else(|| Described::failed(group, ErrorCode::CoordinatorNotAvailable));
    let is_missing = described.error == ErrorCode::GroupIdNotFound;
    let error = if is_missing && ctx.version < 6 { ErrorCode::None } else { described.error };
    let members = described
        .members
        .into_iter()
        .map(|member| DescribedGroupMember {
            member_id: member.member,
            group_instance_id: member.instance,
            client_id: member.client_id,
            client_host: member.client_host,
            member_metadata: member.metadata,
            member_assignment: member.assignment,
            ..DescribedGroupMember::default()
        })
        .collect();
    let mut answer = DescribedGroup {
        error_code: error.code(),
        error_message: (is_missing && ctx.version >= 6)
            .then(|| format!("Group {} not found.", described.group)),
        group_id: described.group,
        group_state: described.state,
        protocol_type: described.protocol_type,
        protocol_data: described.protocol,
        members,
        ..DescribedGroup::default()
    };
    if with_operations && error == ErrorCode::None {
        answer.authorized_operations = ALL_OPERATIONS;
    }
    answer
}
