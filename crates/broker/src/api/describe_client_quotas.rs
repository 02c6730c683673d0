//! DescribeClientQuotas (48): nobody has a quota.

use kafka_codec::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use crate::context::Context;

pub(crate) async fn handle(
    _ctx: Context,
    _request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse { entries: Some(Vec::new()), ..DescribeClientQuotasResponse::default() }
}
