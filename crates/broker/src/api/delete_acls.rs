//! DeleteAcls (31): there is no authorizer, and Kafka's answer to that.

use kafka_codec::ErrorCode;
use kafka_codec::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_codec::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::context::Context;

pub(crate) async fn handle(_ctx: Context, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.to_owned()),
        ..DeleteAclsFilterResult::default()
    };
    DeleteAclsResponse {
        filter_results: vec![refused; request.filters.len()],
        ..DeleteAclsResponse::default()
    }
}
