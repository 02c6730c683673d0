//! AddPartitionsToTxn (24), versions 0–5: partitions join a transaction before anything is written to them. Clients of
//! transaction version 2 leave it out. Versions 4 and 5 take several transactions and may only verify.

use coordinator::txn::{Producer, TxnPartition};
use kafka_codec::ErrorCode;
use kafka_codec::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_codec::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_codec::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::older_fencing;
use crate::context::Context;

/// First version that takes several transactions.
const BATCHED_FROM: i16 = 4;
/// First version that knows PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// First version that knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 5;

pub(crate) async fn handle(ctx: Context, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if ctx.version < BATCHED_FROM {
        let producer =
            Producer { id: request.v3_and_below_producer_id, epoch: request.v3_and_below_producer_epoch };
        let id = request.v3_and_below_transactional_id;
        let results = add(&ctx, &id, producer, request.v3_and_below_topics, false).await;
        return AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: results,
            ..AddPartitionsToTxnResponse::default()
        };
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for txn in request.transactions {
        let producer = Producer { id: txn.producer_id, epoch: txn.producer_epoch };
        let topic_results = add(&ctx, &txn.transactional_id, producer, txn.topics, txn.verify_only).await;
        results.push(AddPartitionsToTxnResult {
            transactional_id: txn.transactional_id,
            topic_results,
            ..AddPartitionsToTxnResult::default()
        });
    }
    AddPartitionsToTxnResponse { results_by_transaction: results, ..AddPartitionsToTxnResponse::default() }
}

async fn add(
    ctx: &Context,
    transactional_id: &str,
    producer: Producer,
    topics: Vec<AddPartitionsToTxnTopic>,
    verify_only: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut wanted = Vec::new();
    let mut unknown = false;
    for topic in &topics {
        let found = ctx.node.replicas.topic(&topic.name);
        for index in &topic.partitions {
            match found.as_ref().filter(|found| found.partition(*index).is_some()) {
                Some(found) => wanted.push(TxnPartition::new(found.name.clone(), *index)),
                None => unknown = true,
            }
        }
    }
    let whole = if unknown {
        // All or nothing.
        ErrorCode::OperationNotAttempted
    } else if verify_only {
        ErrorCode::None
    } else {
        let added = ctx.node.transactions.add_partitions(&ctx.node, transactional_id, producer, &wanted);
        older_fencing(added.await.err().unwrap_or(ErrorCode::None), ctx.version < FENCED_FROM)
    };
    let outcome = |topic: &str, index: i32| {
        let partition = TxnPartition::new(topic, index);
        if unknown && !wanted.contains(&partition) {
            return ErrorCode::UnknownTopicOrPartition;
        }
        if !verify_only || whole != ErrorCode::None {
            return whole;
        }
        match ctx.node.transactions.verify(transactional_id, producer, &partition) {
            Ok(()) => ErrorCode::None,
            Err(ErrorCode::TransactionAbortable) if ctx.version < ABORTABLE_FROM => {
                ErrorCode::InvalidTxnState
            }
            Err(error) => error,
        }
    };
    topics
        .iter()
        .map(|topic| AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic
                .partitions
                .iter()
                .map(|index| AddPartitionsToTxnPartitionResult {
                    partition_index: *index,
                    partition_error_code: outcome(&topic.name, *index).code(),
                    ..AddPartitionsToTxnPartitionResult::default()
                })
                .collect(),
            ..AddPartitionsToTxnTopicResult::default()
        })
        .collect()
}
