//! AddOffsetsToTxn (25), versions 0–4: a group's offsets join a transaction. Clients of transaction version 2 leave it
//! out.

use coordinator::txn::{Producer, TxnPartition};
use kafka_codec::ErrorCode;
use kafka_codec::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::older_fencing;
use crate::context::Context;
use crate::groups::OFFSETS_TOPIC;

/// First version that knows PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

pub(crate) async fn handle(ctx: Context, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let error = add(&ctx, &request).await.err().unwrap_or(ErrorCode::None);
    AddOffsetsToTxnResponse {
        error_code: older_fencing(error, ctx.version < FENCED_FROM).code(),
        ..AddOffsetsToTxnResponse::default()
    }
}

async fn add(ctx: &Context, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let node = &ctx.node;
    if let Err(error) = node.groups.ensure_topic(node).await {
        tracing::warn!(%error, "cannot create the offsets topic");
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    let index = node.groups.partition_of(&request.group_id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let partitions = [TxnPartition::new(OFFSETS_TOPIC, index)];
    node.transactions.add_partitions(node, &request.transactional_id, producer, &partitions).await
}
