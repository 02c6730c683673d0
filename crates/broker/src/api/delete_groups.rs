//! DeleteGroups (42), versions 0–2: groups without members, with their offsets.

use coordinator::{ErrorCode, Request, Response};
use futures_util::future::join_all;
use kafka_codec::messages::delete_groups_response::DeletableGroupResult;
use kafka_codec::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = join_all(request.groups_names.into_iter().map(|group| delete(&ctx, group))).await;
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}

async fn delete(ctx: &Context, group: String) -> DeletableGroupResult {
    // First what it stores elsewhere: a group of the same name must not find it.
    if let Err(error) = super::share_group_offsets::forget_group(ctx, &group).await {
        return DeletableGroupResult {
            group_id: group,
            error_code: error.code(),
            ..DeletableGroupResult::default()
        };
    }
    let asked = Request::Delete(vec![group.clone()]);
    let outcome = match ctx.node.groups.ask(&group, asked).await {
        Some(Response::Delete(groups)) => groups.first().map(|(_, error)| *error),
        _ => None,
    };
    let error = outcome.unwrap_or(ErrorCode::CoordinatorNotAvailable);
    DeletableGroupResult { group_id: group, error_code: error.code(), ..DeletableGroupResult::default() }
}
