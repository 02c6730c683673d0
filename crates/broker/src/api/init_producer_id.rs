//! InitProducerId (22): an id for an idempotent producer.
//!
//! A transactional id needs a transaction coordinator, which this broker does not have yet. The answer is
//! `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`: Java, librdkafka and the others take it as final and report it,
//! where the coordinator's own errors would have them retry for ever.

use kafka_codec::ErrorCode;
use kafka_codec::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refuse = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    };
    if request.transactional_id.as_deref().is_some_and(str::is_empty) {
        return refuse(ErrorCode::InvalidRequest);
    }
    if request.transactional_id.is_some() {
        return refuse(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    match ctx.node.producer_ids.next(&ctx.node.metadata, ctx.node.id).await {
        Ok(producer_id) => {
            InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
        }
        Err(error) => {
            tracing::error!(%error, "no producer id to give");
            refuse(ErrorCode::CoordinatorNotAvailable)
        }
    }
}
