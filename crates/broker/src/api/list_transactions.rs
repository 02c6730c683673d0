//! ListTransactions (66): there are none.

use kafka_codec::messages::{ListTransactionsRequest, ListTransactionsResponse};

use crate::context::Context;

pub(crate) async fn handle(_ctx: Context, _request: ListTransactionsRequest) -> ListTransactionsResponse {
    ListTransactionsResponse::default()
}
