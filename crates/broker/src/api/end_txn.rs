//! EndTxn (26), versions 0–5: commits or aborts. Answered when all partitions have the marker on stable storage. From
//! version 5 on the answer carries the epoch that the producer goes on with (KIP-890).

use coordinator::txn::Producer;
use kafka_codec::messages::{EndTxnRequest, EndTxnResponse};

use super::older_fencing;
use crate::context::Context;

/// First version that knows PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// First version of transaction version 2.
const EPOCH_BUMP_FROM: i16 = 5;

pub(crate) async fn handle(ctx: Context, request: EndTxnRequest) -> EndTxnResponse {
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let version = if ctx.version >= EPOCH_BUMP_FROM { 2 } else { 0 };
    let (node, id) = (&ctx.node, &request.transactional_id);
    match node.transactions.end(node, id, producer, request.committed, version).await {
        Ok(next) if version >= 2 => {
            EndTxnResponse { producer_id: next.id, producer_epoch: next.epoch, ..EndTxnResponse::default() }
        }
        Ok(_) => EndTxnResponse::default(),
        Err(error) => EndTxnResponse {
            error_code: older_fencing(error, ctx.version < FENCED_FROM).code(),
            ..EndTxnResponse::default()
        },
    }
}
