//! ListPartitionReassignments (46): on one node nothing ever moves.

use kafka_codec::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::context::Context;

pub(crate) async fn handle(
    _ctx: Context,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
