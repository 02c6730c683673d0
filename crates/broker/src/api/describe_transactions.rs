//! DescribeTransactions (65): what the coordinator knows of transactional ids.

use std::collections::BTreeMap;

use coordinator::txn::Txn;
use kafka_codec::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_codec::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use crate::context::Context;

pub(crate) async fn handle(
    ctx: Context,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for transactional_id in request.transactional_ids {
        transaction_states.push(match ctx.node.transactions.describe(&transactional_id).await {
            Ok(txn) => described(transactional_id, txn),
            Err(error) => {
                TransactionState { error_code: error.code(), transactional_id, ..TransactionState::default() }
            }
        });
    }
    DescribeTransactionsResponse { transaction_states, ..DescribeTransactionsResponse::default() }
}

fn described(transactional_id: String, txn: Txn) -> TransactionState {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in &txn.partitions {
        topics.entry(partition.topic.to_string()).or_default().push(partition.partition);
    }
    TransactionState {
        transactional_id,
        transaction_state: txn.state.as_str().to_owned(),
        transaction_timeout_ms: txn.timeout_ms,
        transaction_start_time_ms: txn.start_ms,
        producer_id: txn.producer.id,
        producer_epoch: txn.producer.epoch,
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| TopicData { topic, partitions, ..TopicData::default() })
            .collect(),
        ..TransactionState::default()
    }
}
