//! ListTransactions (66), versions 0–2: transactional ids with producer id and state. An id's pattern (version 2) must
//! match all of it.

use coordinator::txn::{ListTransactions, TxnState};
use kafka_codec::ErrorCode;
use kafka_codec::messages::list_transactions_response::TransactionState;
use kafka_codec::messages::{ListTransactionsRequest, ListTransactionsResponse};
use regex::Regex;

use crate::context::Context;

/// Compiled patterns may take so many bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(crate) async fn handle(ctx: Context, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let failed = |error: ErrorCode| ListTransactionsResponse {
        error_code: error.code(),
        ..ListTransactionsResponse::default()
    };
    let pattern = match request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty()) {
        Some(pattern) => match whole(pattern) {
            Ok(pattern) => Some(pattern),
            Err(_) => return failed(ErrorCode::InvalidRegularExpression),
        },
        None => None,
    };
    let mut states = Vec::new();
    let mut unknown_state_filters = Vec::new();
    for name in request.state_filters {
        match TxnState::from_name(&name) {
            Some(state) => states.push(state),
            None => unknown_state_filters.push(name),
        }
    }
    if states.is_empty() && !unknown_state_filters.is_empty() {
        // Nothing is in a state that does not exist.
        return ListTransactionsResponse { unknown_state_filters, ..ListTransactionsResponse::default() };
    }
    let filter = ListTransactions {
        states,
        producer_ids: request.producer_id_filters,
        open_longer_than_ms: request.duration_filter,
    };
    match ctx.node.transactions.list(&filter, ctx.node.groups.now()).await {
        Ok(listed) => ListTransactionsResponse {
            unknown_state_filters,
            transaction_states: listed
                .into_iter()
                .filter(|(id, ..)| pattern.as_ref().is_none_or(|pattern| pattern.is_match(id)))
                .map(|(transactional_id, producer_id, state)| TransactionState {
                    transactional_id,
                    producer_id,
                    transaction_state: state.to_owned(),
                    ..TransactionState::default()
                })
                .collect(),
            ..ListTransactionsResponse::default()
        },
        Err(error) => failed(error),
    }
}

fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}
