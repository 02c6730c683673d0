//! CreateAcls (30): there is no authorizer, and Kafka's answer to that.

use kafka_codec::ErrorCode;
use kafka_codec::messages::create_acls_response::AclCreationResult;
use kafka_codec::messages::{CreateAclsRequest, CreateAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::context::Context;

pub(crate) async fn handle(_ctx: Context, request: CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(NO_AUTHORIZER.to_owned()),
        ..AclCreationResult::default()
    };
    CreateAclsResponse { results: vec![refused; request.creations.len()], ..CreateAclsResponse::default() }
}
