//! DescribeAcls (29): there is no authorizer, and Kafka's answer to that.

use kafka_codec::ErrorCode;
use kafka_codec::messages::{DescribeAclsRequest, DescribeAclsResponse};

use crate::context::Context;

/// What Kafka says without an authorizer.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

pub(crate) async fn handle(_ctx: Context, _request: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.to_owned()),
        ..DescribeAclsResponse::default()
    }
}
