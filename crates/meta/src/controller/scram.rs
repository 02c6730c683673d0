//! Changing the credentials of SCRAM users.

use kafka_codec::ErrorCode;
use kafka_codec::messages::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};

use crate::image::Image;
use crate::scram::{ScramCredential, ScramMechanism};
use crate::{MetaError, MetaRecord};

/// Checks what a client wants to set before keys are made of it.
///
/// # Errors
/// `UNACCEPTABLE_CREDENTIAL` or `UNSUPPORTED_SASL_MECHANISM` in Kafka's words.
pub fn check_scram_upsertion(
    user: &str,
    mechanism: i8,
    iterations: i32,
) -> Result<ScramMechanism, MetaError> {
    let mechanism = check_scram_user(user, mechanism)?;
    let refuse = |message: &str| Err(MetaError::refused(ErrorCode::UnacceptableCredential, message));
    if iterations < ScramMechanism::MIN_ITERATIONS {
        return refuse("Too few iterations");
    }
    if iterations > ScramMechanism::MAX_ITERATIONS {
        return refuse("Too many iterations");
    }
    Ok(mechanism)
}

fn check_scram_user(user: &str, mechanism: i8) -> Result<ScramMechanism, MetaError> {
    if user.is_empty() {
        return Err(MetaError::refused(ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    ScramMechanism::from_code(mechanism)
        .ok_or_else(|| MetaError::refused(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"))
}

/// Sets a credential.
pub fn upsert_scram(user: &str, mechanism: ScramMechanism, credential: &ScramCredential) -> MetaRecord {
    UserScramCredentialRecord {
        name: user.to_owned(),
        mechanism: mechanism.code(),
        salt: credential.salt.clone(),
        stored_key: credential.stored_key.clone(),
        server_key: credential.server_key.clone(),
        iterations: credential.iterations,
        ..UserScramCredentialRecord::default()
    }
    .into()
}

/// Plans the removal of a credential.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` when there is none, in Kafka's words.
pub fn delete_scram(image: &Image, user: &str, mechanism: i8) -> Result<MetaRecord, MetaError> {
    let known = check_scram_user(user, mechanism)?;
    if !image.scram.contains_key(&(user.to_owned(), known)) {
        let message = "Attempt to delete a user credential that does not exist";
        return Err(MetaError::refused(ErrorCode::ResourceNotFound, message));
    }
    Ok(RemoveUserScramCredentialRecord {
        name: user.to_owned(),
        mechanism,
        ..RemoveUserScramCredentialRecord::default()
    }
    .into())
}
