//! As whom a connection was accepted, and whether it still would be.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use client::door;
use client::security::scram::{ScramMechanism, ScramSecret};

use super::{Credentials, Verdict};
use crate::net::{Listener, Security};

/// As whom a connection was accepted: a change of the rules asks again.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) listener: Arc<Listener>,
    pub(crate) client_id: Bytes,
    pub(crate) user_name: Option<String>,
    pub(crate) proof: Proof,
    pub(crate) peer: SocketAddr,
    /// Somebody vouches for the name: what others were given under it may be used.
    pub(crate) is_proven: bool,
    /// The key of the log's user that the password fitted.
    pub(crate) stored_key: Option<Vec<u8>>,
}

/// What the client proved its name with.
#[derive(Debug)]
pub(crate) enum Proof {
    /// With a password, or nothing; kept only where somebody will ask for it again.
    Password(Option<Bytes>),
    /// The TLS layer has checked its certificate.
    Certificate,
    /// With SCRAM, against this stored key.
    Scram(ScramMechanism, Vec<u8>),
}

/// What becomes of a login.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It may not come in.
    Refused,
    /// It may, but nobody has checked its name, if it has one.
    Unproven,
    /// It is who it says it is, where that is by a user of the log with this stored key.
    Proven(Option<Vec<u8>>),
}

const MECHANISMS: [ScramMechanism; 2] = [ScramMechanism::Sha256, ScramMechanism::Sha512];

impl Login {
    pub(crate) fn client_id(&self) -> &str {
        std::str::from_utf8(&self.client_id).unwrap_or_default()
    }

    /// The user as Kafka writes it: names that nobody has checked are nobody's.
    pub(crate) fn principal(&self) -> String {
        let name = self.user_name.as_deref().filter(|_| self.is_proven);
        format!("User:{}", name.unwrap_or("ANONYMOUS"))
    }

    /// Whether the users of the log decide about it.
    pub(crate) fn is_of_the_log(&self, by: &Security) -> bool {
        let Some(user) = &self.user_name else { return false };
        let in_file = by.authenticator.as_ref().is_some_and(|a| a.knows(user));
        !in_file && !matches!(self.proof, Proof::Certificate)
    }

    /// Decides by these rules. May take as long as a password takes to hash.
    pub(crate) fn check(&self, by: &Security) -> Outcome {
        let unproven = if by.allow_anonymous { Outcome::Unproven } else { Outcome::Refused };
        let Some(user) = &self.user_name else { return unproven };
        let password = match &self.proof {
            Proof::Certificate => return Outcome::Proven(None),
            Proof::Password(password) => password.as_deref(),
            Proof::Scram(mechanism, key) => {
                let secret = scram_secret(by, self.listener.access.as_deref(), user, *mechanism);
                let holds = secret.is_some_and(|s| s.stored_key == *key);
                return if holds { Outcome::Proven(None) } else { Outcome::Refused };
            }
        };
        if let Some(authenticator) = by.authenticator.as_ref().filter(|a| a.knows(user)) {
            let (client_id, user_name, peer) = (self.client_id(), Some(user.as_str()), self.peer);
            return match authenticator.check(&Credentials { client_id, user_name, password, peer }) {
                Verdict::Accept => Outcome::Proven(None),
                Verdict::NotAuthorized => Outcome::Refused,
            };
        }
        let secrets: Vec<_> = match &self.listener.access {
            Some(access) => MECHANISMS.iter().filter_map(|m| access.scram_secret(user, *m)).collect(),
            None => Vec::new(),
        };
        if secrets.is_empty() {
            return if by.authenticator.is_some() { Outcome::Refused } else { unproven };
        }
        let password = password.filter(|p| !p.is_empty());
        let fits = secrets.iter().find(|s| self.stored_key.as_ref() == Some(&s.stored_key)).or_else(|| {
            let password = password?;
            secrets.iter().find(|s| s.matches(password))
        });
        fits.map_or(Outcome::Refused, |s| Outcome::Proven(Some(s.stored_key.clone())))
    }
}

/// What is known of a user's password: by the listener's own users, else by those of the log.
pub(crate) fn scram_secret(
    by: &Security,
    access: Option<&dyn door::Access>,
    user: &str,
    mechanism: ScramMechanism,
) -> Option<ScramSecret> {
    match by.authenticator.as_ref().filter(|a| a.knows(user)) {
        Some(authenticator) => authenticator.scram_secret(user).filter(|s| s.mechanism == mechanism),
        None => access?.scram_secret(user, mechanism),
    }
}
