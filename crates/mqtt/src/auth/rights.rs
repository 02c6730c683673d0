//! What one connection may do, remembered for the topics it uses.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::{Access, Credentials, Principal, Verdict};
use crate::net::{Listener, Security};

/// Answers that a connection remembers.
const REMEMBERED_MAX: usize = 256;

/// As whom a connection was accepted: a reload asks again.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) listener: Arc<Listener>,
    pub(crate) client_id: Bytes,
    pub(crate) user_name: Option<String>,
    pub(crate) proof: Proof,
    pub(crate) peer: SocketAddr,
}

/// What the client proved its name with.
#[derive(Debug)]
pub(crate) enum Proof {
    /// With a password, or nothing; kept only where somebody will ask for it again.
    Password(Option<Bytes>),
    /// The TLS layer has checked its certificate.
    Certificate,
    /// With SCRAM, against this stored key.
    Scram(Vec<u8>),
}

impl Login {
    fn client_id(&self) -> &str {
        std::str::from_utf8(&self.client_id).unwrap_or_default()
    }

    /// Whether it would be accepted by these rules.
    pub(crate) fn is_accepted(&self, by: &Security) -> bool {
        let Some(user_name) = &self.user_name else { return by.allow_anonymous };
        let password = match &self.proof {
            Proof::Certificate => return true,
            Proof::Password(password) => password.as_deref(),
            Proof::Scram(key) => {
                let secret = by.authenticator.as_ref().and_then(|a| a.scram_secret(user_name));
                return secret.is_some_and(|s| s.stored_key == *key);
            }
        };
        let Some(authenticator) = &by.authenticator else { return by.allow_anonymous };
        let credentials = Credentials {
            client_id: self.client_id(),
            user_name: Some(user_name),
            password,
            peer: self.peer,
        };
        authenticator.check(&credentials) == Verdict::Accept
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Rights {
    login: Arc<Login>,
    /// Rules and version that the answers are from.
    seen: Arc<Security>,
    version: u64,
    answers: HashMap<(Access, Bytes), bool>,
}

impl Rights {
    pub(crate) fn new(login: Arc<Login>) -> Self {
        let seen = login.listener.security.load_full();
        Self { login, seen, version: 0, answers: HashMap::new() }
    }

    /// As whom the client is here.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Whether the client may do that now.
    pub(crate) fn allow(&mut self, access: Access, topic: &Bytes) -> bool {
        let now = self.login.listener.security.load();
        let Some(authorizer) = &now.authorizer else { return true };
        let version = authorizer.version();
        if version != self.version || !Arc::ptr_eq(&now, &self.seen) {
            self.answers.clear();
            (self.version, self.seen) = (version, Arc::clone(&now));
        }
        if let Some(answer) = self.answers.get(&(access, topic.clone())) {
            return *answer;
        }
        let Ok(name) = std::str::from_utf8(topic) else { return false };
        let who = Principal {
            user_name: self.login.user_name.as_deref(),
            client_id: self.login.client_id(),
            peer: self.login.peer,
        };
        let answer = authorizer.allows(&who, access, name);
        if self.answers.len() >= REMEMBERED_MAX {
            self.answers.clear();
        }
        // A copy, so that a remembered name does not keep the buffer it came in.
        self.answers.insert((access, Bytes::copy_from_slice(topic)), answer);
        answer
    }
}
