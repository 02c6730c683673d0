//! AlterUserScramCredentials (51): sets and removes credentials (KIP-554), each user's on its own, in one change. What
//! comes is a salted password; what is kept can check one but is none.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_codec::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_codec::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use meta::{MetaError, MetaRecord, controller};

use crate::context::Context;
use crate::metadata::State;
use crate::security::sasl;

pub(crate) async fn handle(
    ctx: Context,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let decided = ctx.node.metadata.change(|state| Ok(decide(state, &request))).await;
    let results = decided.unwrap_or_else(|error| {
        let users =
            request.deletions.iter().map(|d| &d.name).chain(request.upsertions.iter().map(|u| &u.name));
        users
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|user| told(user, Err(&error)))
            .collect()
    });
    AlterUserScramCredentialsResponse { results, ..AlterUserScramCredentialsResponse::default() }
}

fn decide(
    state: &State,
    request: &AlterUserScramCredentialsRequest,
) -> (Vec<MetaRecord>, Vec<AlterUserScramCredentialsResult>) {
    let mut times: BTreeMap<(&str, i8), usize> = BTreeMap::new();
    for deletion in &request.deletions {
        *times.entry((&deletion.name, deletion.mechanism)).or_default() += 1;
    }
    for upsertion in &request.upsertions {
        *times.entry((&upsertion.name, upsertion.mechanism)).or_default() += 1;
    }
    let mut by_user: BTreeMap<&str, Result<Vec<MetaRecord>, MetaError>> = BTreeMap::new();
    let mut add = |user, mechanism, planned: Result<MetaRecord, MetaError>| {
        let doubled = times.get(&(user, mechanism)).is_some_and(|times| *times > 1);
        let planned = if doubled {
            let message = "A user credential cannot be altered twice in the same request";
            Err(MetaError::refused(ErrorCode::DuplicateResource, message))
        } else {
            planned
        };
        // One thing wrong with a user leaves all of the user's credentials as they are.
        let of_user = by_user.entry(user).or_insert_with(|| Ok(Vec::new()));
        match (of_user.as_mut(), planned) {
            (Ok(records), Ok(record)) => records.push(record),
            (Ok(_), Err(error)) => *of_user = Err(error),
            (Err(_), _) => {}
        }
    };
    for deletion in &request.deletions {
        let planned = controller::delete_scram(&state.image, &deletion.name, deletion.mechanism);
        add(deletion.name.as_str(), deletion.mechanism, planned);
    }
    for upsertion in &request.upsertions {
        add(upsertion.name.as_str(), upsertion.mechanism, upsert(upsertion));
    }
    let mut records = Vec::new();
    let mut results = Vec::new();
    for (user, planned) in by_user {
        match planned {
            Ok(more) => {
                records.extend(more);
                results.push(told(user, Ok(())));
            }
            Err(error) => results.push(told(user, Err(&error))),
        }
    }
    (records, results)
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Result<MetaRecord, MetaError> {
    let mechanism =
        controller::check_scram_upsertion(&upsertion.name, upsertion.mechanism, upsertion.iterations)?;
    let refuse = |message: &str| Err(MetaError::refused(ErrorCode::UnacceptableCredential, message));
    if upsertion.salt.is_empty() {
        return refuse("Salt must not be empty");
    }
    if upsertion.salted_password.is_empty() {
        return refuse("Salted password must not be empty");
    }
    // Copied: what the request's frame holds must not stay in memory for as long as the user does.
    let salt = bytes::Bytes::copy_from_slice(&upsertion.salt);
    let credential = sasl::credential(mechanism, &upsertion.salted_password, salt, upsertion.iterations);
    Ok(controller::upsert_scram(&upsertion.name, mechanism, &credential))
}

fn told(user: &str, outcome: Result<(), &MetaError>) -> AlterUserScramCredentialsResult {
    let (code, message) = match outcome.map_err(MetaError::to_client) {
        Ok(()) => (0, None),
        Err((code, message)) => (code.code(), Some(message)),
    };
    AlterUserScramCredentialsResult {
        user: user.to_owned(),
        error_code: code,
        error_message: message,
        ..AlterUserScramCredentialsResult::default()
    }
}
