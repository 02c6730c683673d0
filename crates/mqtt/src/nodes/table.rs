//! What `__mqtt_sessions` says by now of every client: the parts of its session, and who has it.

use std::sync::Arc;

use bytes::Bytes;
use client::door::StoredRecord;
use hashbrown::{HashMap, HashSet};

use super::claims::Claims;
use crate::session::record::{self, Key};
use crate::session::store::Loaded;

#[derive(Debug, Default)]
struct Entry {
    parts: Loaded,
    claims: Claims,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Table {
    clients: HashMap<Bytes, Entry>,
    by_node: HashMap<Arc<str>, HashSet<Bytes>>,
    orphans: HashSet<Bytes>,
}

/// What a record was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Part of a session.
    Part,
    /// Who has the session of this client id.
    Claim(Bytes),
    /// None of ours.
    Unknown,
}

impl Table {
    /// Takes over what the log says.
    pub(crate) fn apply(&mut self, record: &StoredRecord) -> Applied {
        let Some((client_id, key)) = record.key.as_ref().and_then(Key::parse) else {
            return Applied::Unknown;
        };
        // Keys and values are slices of what was read in one go: keep copies, not that.
        let client_id = Bytes::copy_from_slice(&client_id);
        let value = record.value.as_ref().map(|v| Bytes::copy_from_slice(v));
        let entry = self.clients.entry(client_id.clone()).or_default();
        let applied = if let Key::Claim(node) = key {
            let Ok(node) = std::str::from_utf8(&node) else { return Applied::Unknown };
            let urgent = match value.as_ref().map(record::decode_claim) {
                Some(None) => return Applied::Unknown,
                Some(urgent) => urgent,
                None => None,
            };
            let node: Arc<str> = node.into();
            entry.claims.apply(&node, record.offset, urgent);
            if urgent.is_some() {
                self.by_node.entry(node).or_default().insert(client_id.clone());
            } else if let Some(clients) = self.by_node.get_mut(&node) {
                clients.remove(&client_id);
                if clients.is_empty() {
                    self.by_node.remove(&node);
                }
            }
            Applied::Claim(client_id.clone())
        } else if entry.parts.apply(key, value.as_ref()).is_some() {
            Applied::Part
        } else {
            Applied::Unknown
        };
        if entry.parts.has_session() && entry.claims.is_empty() {
            self.orphans.insert(client_id.clone());
        } else {
            self.orphans.remove(&client_id);
        }
        if entry.parts.is_empty() && entry.claims.is_empty() {
            self.clients.remove(&client_id);
        }
        applied
    }

    /// Who has and wants a client's session.
    pub(crate) fn claims(&self, client_id: &[u8]) -> Option<&Claims> {
        self.clients.get(client_id).map(|entry| &entry.claims)
    }

    /// The parts of a client's session.
    pub(crate) fn parts(&self, client_id: &[u8]) -> Loaded {
        self.clients.get(client_id).map(|entry| entry.parts.clone()).unwrap_or_default()
    }

    /// Nodes with claims.
    pub(crate) fn nodes(&self) -> Vec<Arc<str>> {
        self.by_node.keys().cloned().collect()
    }

    /// The clients whose sessions a node claims.
    pub(crate) fn claimed_by(&self, node: &str) -> Vec<Bytes> {
        self.by_node.get(node).map(|clients| clients.iter().cloned().collect()).unwrap_or_default()
    }

    /// Some of the sessions that nobody has.
    pub(crate) fn orphans(&self, max: usize) -> Vec<Bytes> {
        self.orphans.iter().take(max).cloned().collect()
    }

    /// Whether any session that is stored has a subscription under this filter.
    pub(crate) fn subscribes(&self, filter: &str) -> bool {
        self.clients.values().any(|entry| entry.parts.subscribes(filter.as_bytes()))
    }
}
