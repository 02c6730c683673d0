//! DescribeUserScramCredentials (50): which users have which credentials (KIP-554); never the credentials themselves.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_codec::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use crate::context::Context;

pub(crate) async fn handle(
    ctx: Context,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let state = ctx.node.state();
    let mut known: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for ((user, mechanism), credential) in state.image.scram.iter() {
        known.entry(user).or_default().push(CredentialInfo {
            mechanism: mechanism.code(),
            iterations: credential.iterations,
            ..CredentialInfo::default()
        });
    }
    // No list, or an empty one, means everybody.
    let asked = request.users.filter(|users| !users.is_empty());
    let results = match asked {
        None => known.into_iter().map(|(user, infos)| found(user.to_owned(), infos)).collect(),
        Some(users) => {
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            for user in users {
                *times.entry(user.name).or_default() += 1;
            }
            times
                .into_iter()
                .map(|(user, times)| match known.remove(user.as_str()) {
                    _ if times > 1 => refused(
                        ErrorCode::DuplicateResource,
                        format!("Cannot describe SCRAM credentials for the same user twice in a single request: {user}"),
                        user,
                    ),
                    Some(infos) => found(user, infos),
                    None => refused(
                        ErrorCode::ResourceNotFound,
                        format!("Attempt to describe a user credential that does not exist: {user}"),
                        user,
                    ),
                })
                .collect()
        }
    };
    DescribeUserScramCredentialsResponse { results, ..DescribeUserScramCredentialsResponse::default() }
}

fn found(user: String, credential_infos: Vec<CredentialInfo>) -> DescribeUserScramCredentialsResult {
    DescribeUserScramCredentialsResult {
        user,
        credential_infos,
        ..DescribeUserScramCredentialsResult::default()
    }
}

fn refused(code: ErrorCode, message: String, user: String) -> DescribeUserScramCredentialsResult {
    DescribeUserScramCredentialsResult {
        user,
        error_code: code.code(),
        error_message: Some(message),
        ..DescribeUserScramCredentialsResult::default()
    }
}
