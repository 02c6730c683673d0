//! InitProducerId (22), versions 0–5: an id for an idempotent producer, or id and epoch for a transactional one, which
//! fences all that had the same transactional id before.

use coordinator::txn::{InitProducer, Producer};
use kafka_codec::ErrorCode;
use kafka_codec::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::older_fencing;
use crate::context::Context;

/// First version that knows PRODUCER_FENCED.
const FENCED_FROM: i16 = 4;

pub(crate) async fn handle(ctx: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let version = ctx.version;
    match init(&ctx, request).await {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..InitProducerIdResponse::default()
        },
        Err(error) => InitProducerIdResponse {
            error_code: older_fencing(error, version < FENCED_FROM).code(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn init(ctx: &Context, request: InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    let node = &ctx.node;
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (id, epoch) if id >= 0 && epoch >= 0 => Some(Producer { id, epoch }),
        _ => return Err(ErrorCode::InvalidRequest),
    };
    let Some(transactional_id) = request.transactional_id else {
        return match node.producer_ids.next(&node.metadata, node.id).await {
            Ok(id) => Ok(Producer { id, epoch: 0 }),
            Err(error) => {
                tracing::error!(%error, "no producer id to give");
                Err(ErrorCode::CoordinatorNotAvailable)
            }
        };
    };
    let timeout_ms = request.transaction_timeout_ms;
    let asked = InitProducer { transactional_id, timeout_ms, expected, fresh_producer_id: None };
    node.transactions.init_producer(node, asked).await
}
