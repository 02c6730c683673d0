//! DescribeUserScramCredentials (50): there are no users.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_codec::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use crate::context::Context;

pub(crate) async fn handle(
    _ctx: Context,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let results = request
        .users
        .unwrap_or_default()
        .into_iter()
        .map(|user| DescribeUserScramCredentialsResult {
            error_code: ErrorCode::ResourceNotFound.code(),
            error_message: Some(format!(
                "Attempt to describe a user credential that does not exist: {}",
                user.name
            )),
            user: user.name,
            ..DescribeUserScramCredentialsResult::default()
        })
        .collect();
    DescribeUserScramCredentialsResponse { results, ..DescribeUserScramCredentialsResponse::default() }
}
