//! ListGroups (16), versions 0–5.

use coordinator::ListGroups;
use kafka_codec::messages::list_groups_response::ListedGroup;
use kafka_codec::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let filter = ListGroups { states: request.states_filter, types: request.types_filter };
    let listed = ctx.node.groups.list(filter).await;
    let groups = listed
        .groups
        .into_iter()
        .map(|group| ListedGroup {
            group_id: group.group,
            protocol_type: group.protocol_type,
            group_state: group.state,
            group_type: group.group_type.to_owned(),
            ..ListedGroup::default()
        })
        .collect();
    ListGroupsResponse { error_code: listed.error.code(), groups, ..ListGroupsResponse::default() }
}
