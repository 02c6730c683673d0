//! FindCoordinator (10), versions 0–6: who keeps a group, a transactional id or a share partition. Their topics are made
//! when first asked for.

use coordinator::ErrorCode;
use coordinator::share::ShareKey;
use kafka_codec::messages::find_coordinator_response::Coordinator;
use kafka_codec::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::context::Context;
use crate::groups::OFFSETS_TOPIC;
use crate::shares::SHARE_STATE_TOPIC;
use crate::txns::TRANSACTIONS_TOPIC;

/// `key_type` of groups.
const GROUP: i8 = 0;
/// `key_type` of transactional ids.
const TRANSACTION: i8 = 1;
/// `key_type` of share partitions: group, topic id and partition by colons.
const SHARE: i8 = 2;
/// First version with share partitions.
const SHARE_FROM: i16 = 6;

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
    if !matches!(key_type, GROUP | TRANSACTION | SHARE) || (key_type == SHARE && ctx.version < SHARE_FROM) {
        return failed(
            ErrorCode::InvalidRequest,
            format!("There is no coordinator of type {key_type} here."),
        );
    }
    let share_key = ShareKey::parse(&key);
    if key_type == SHARE && share_key.is_none() {
        let code = ErrorCode::InvalidRequest;
        return failed(code, code.message().to_owned());
    }
    let topic = match key_type {
        GROUP => OFFSETS_TOPIC,
        TRANSACTION => TRANSACTIONS_TOPIC,
        _ => SHARE_STATE_TOPIC,
    };
    if let Err(error) = ctx.node.ensure_topic(topic).await {
        tracing::warn!(%error, topic, "cannot create a coordinator's topic");
        return failed(ErrorCode::CoordinatorNotAvailable, error.to_string());
    }
    let checked = match key_type {
        GROUP => ctx.node.groups.check(&key),
        TRANSACTION => ctx.node.transactions.check(&key),
        _ => share_key.map_or(Err(ErrorCode::InvalidRequest), |key| ctx.node.shares.check(&key)),
    };
    if let Err(error) = checked {
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
