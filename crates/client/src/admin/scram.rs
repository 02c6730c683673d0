//! Credentials of SCRAM users (KIP-554).

use std::num::NonZeroU32;

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_codec::messages::describe_user_scram_credentials_request::UserName;
use kafka_codec::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};

use super::{Admin, Each, Target, controller_moves};
use crate::error::{Error, Result};
use crate::security::scram::ScramMechanism;

/// Bytes of a new salt.
const SALT_BYTES: usize = 26;

/// A change of one credential.
#[derive(Clone, PartialEq, Eq)]
pub enum ScramChange {
    /// Sets it. The password does not leave this client: what is sent is salted.
    Set {
        /// Mechanism.
        mechanism: ScramMechanism,
        /// Iterations of the salting.
        iterations: u32,
        /// Password.
        password: String,
    },
    /// Takes it away.
    Delete {
        /// Mechanism.
        mechanism: ScramMechanism,
    },
}

/// Passwords are not shown.
impl std::fmt::Debug for ScramChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set { mechanism, iterations, .. } => f
                .debug_struct("Set")
                .field("mechanism", mechanism)
                .field("iterations", iterations)
                .finish_non_exhaustive(),
            Self::Delete { mechanism } => f.debug_struct("Delete").field("mechanism", mechanism).finish(),
        }
    }
}

impl Admin {
    /// Which credentials users have: mechanism and iterations. Without names, of everybody.
    ///
    /// # Errors
    /// As [`Admin`] says. `ResourceNotFound` is told per user.
    pub async fn describe_user_scram_credentials(
        &self,
        users: &[String],
    ) -> Result<Each<String, Vec<(ScramMechanism, i32)>>> {
        let names = users.iter().map(|name| UserName { name: name.clone(), ..UserName::default() });
        let request = DescribeUserScramCredentialsRequest {
            users: (!users.is_empty()).then(|| names.collect()),
            ..DescribeUserScramCredentialsRequest::default()
        };
        let response = self
            .retrying("describeUserScramCredentials", || async {
                let response = self.connect(&Target::Any).await?.call(&request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            })
            .await?;
        let told = response.results.into_iter().map(|result| {
            let outcome = Error::check(result.error_code, result.error_message.as_deref()).map(|()| {
                let info = |info: &kafka_codec::messages::describe_user_scram_credentials_response::CredentialInfo| {
                    Some((ScramMechanism::from_code(info.mechanism)?, info.iterations))
                };
                result.credential_infos.iter().filter_map(info).collect()
            });
            (result.user, outcome)
        });
        Ok(told.collect())
    }

    /// Changes the credentials of one user, all or none.
    ///
    /// # Errors
    /// As [`Admin`] says; what the broker refuses.
    pub async fn alter_user_scram_credentials(&self, user: &str, changes: &[ScramChange]) -> Result<()> {
        let mut request = AlterUserScramCredentialsRequest::default();
        for change in changes {
            match change {
                ScramChange::Set { mechanism, iterations, password } => {
                    let mut salt = vec![0; SALT_BYTES];
                    getrandom::fill(&mut salt).map_err(|_| Error::broker(ErrorCode::UnknownServerError))?;
                    let count = NonZeroU32::new(*iterations).unwrap_or(NonZeroU32::MIN);
                    let salted = mechanism.salted_password(password.as_bytes(), &salt, count);
                    request.upsertions.push(ScramCredentialUpsertion {
                        name: user.to_owned(),
                        mechanism: mechanism.code(),
                        iterations: i32::try_from(*iterations).unwrap_or(i32::MAX),
                        salt: salt.into(),
                        salted_password: salted.into(),
                        ..ScramCredentialUpsertion::default()
                    });
                }
                ScramChange::Delete { mechanism } => request.deletions.push(ScramCredentialDeletion {
                    name: user.to_owned(),
                    mechanism: mechanism.code(),
                    ..ScramCredentialDeletion::default()
                }),
            }
        }
        let answers = self
            .retrying_each("alterUserScramCredentials", vec![user.to_owned()], controller_moves, |_| async {
                let response = self.connect(&Target::Controller).await?.call(&request).await?;
                let each = response.results.into_iter().map(|result| {
                    (result.user, Error::check(result.error_code, result.error_message.as_deref()))
                });
                Ok(each.collect())
            })
            .await?;
        answers.into_iter().try_for_each(|(_, outcome)| outcome)
    }
}
