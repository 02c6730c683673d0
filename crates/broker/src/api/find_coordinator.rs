//! FindCoordinator (10), versions 0–6: who keeps a group. The offsets topic is made when first asked for.

use coordinator::ErrorCode;
use kafka_codec::messages::find_coordinator_response::Coordinator;
use kafka_codec::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::context::Context;

/// `key_type` of groups; 1 is transactions, 2 share groups.
const GROUP: i8 = 0;

pub(crate) async fn handle(ctx: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if ctx.version >= 4 {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            coordinators.push(find(&ctx, request.key_type, key).await);
        }
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let found = find(&ctx, request.key_type, request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

async fn find(ctx: &Context, key_type: i8, key: String) -> Coordinator {
    let failed = |error: ErrorCode, message: String| Coordinator {
        key: key.clone(),
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: error.code(),
        error_message: Some(message),
        ..Coordinator::default()
    };
    if key_type != GROUP {
        return failed(
            ErrorCode::InvalidRequest,
            format!("There is no coordinator of type {key_type} here."),
        );
    }
    if let Err(error) = ctx.node.groups.ensure_topic(&ctx.node).await {
        tracing::warn!(%error, "cannot create the offsets topic");
        return failed(ErrorCode::CoordinatorNotAvailable, error.to_string());
    }
    if let Err(error) = ctx.node.groups.check(&key) {
        return failed(error, error.message().to_owned());
    }
    let endpoint = ctx.node.endpoint_for(ctx);
    Coordinator {
        node_id: ctx.node.id,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        error_code: ErrorCode::None.code(),
        error_message: (ctx.version < 4).then(|| ErrorCode::None.message().to_owned()),
        key,
        ..Coordinator::default()
    }
}
