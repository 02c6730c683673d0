//! What one connection may do, remembered for the topics it uses.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::kafka::KafkaRights;
use super::{Access, Login, Principal};
use crate::net::Security;

/// Answers that a connection remembers.
const REMEMBERED_MAX: usize = 256;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Rights {
    login: Arc<Login>,
    /// Rules and version that the answers are from.
    seen: Arc<Security>,
    version: u64,
    answers: HashMap<(Access, Bytes), bool>,
    /// What the log says of it, where it says anything.
    pub(crate) kafka: Option<Box<KafkaRights>>,
}

impl Rights {
    pub(crate) fn new(login: Arc<Login>) -> Self {
        let seen = login.listener.security.load_full();
        let kafka = KafkaRights::of(&login).map(Box::new);
        Self { login, seen, version: 0, answers: HashMap::new(), kafka }
    }

    /// As whom the client is here.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Whether the listener's rules let the client do that now.
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
