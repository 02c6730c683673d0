//! All sessions by client id: who has one, and who is connected with it.

use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::Session;
use crate::auth::Login;

const SHARDS: usize = 32;

/// The place of one client id. Whoever connects, ends or expires the session holds the lock.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Client id.
    pub(crate) client_id: Bytes,
    /// What is there.
    pub(crate) state: tokio::sync::Mutex<SeatState>,
    /// The session, while no connection has it.
    pub(crate) session: Mutex<Option<Box<Session>>>,
}

/// What is known of the present (or last) connection.
#[derive(Debug, Default)]
pub(crate) struct SeatState {
    /// The connection that has the session.
    pub(crate) live: Option<Live>,
}

/// A connection that has a session.
#[derive(Debug)]
pub(crate) struct Live {
    /// Tells it to end, and why.
    pub(crate) kick: oneshot::Sender<ReasonCode>,
    /// As whom it was accepted.
    pub(crate) login: Arc<Login>,
    /// Becomes true when it has ended and put the session back.
    pub(crate) ended: watch::Receiver<bool>,
}

/// Seats by client id.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: [Mutex<HashMap<Bytes, Arc<Seat>>>; SHARDS],
    hasher: std::hash::RandomState,
}

impl Default for Registry {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: std::hash::RandomState::new() }
    }
}

impl Registry {
    fn shard(&self, client_id: &[u8]) -> &Mutex<HashMap<Bytes, Arc<Seat>>> {
        let at = (self.hasher.hash_one(client_id) as usize) % SHARDS;
        self.shards.get(at).unwrap_or(&self.shards[0])
    }

    /// The seat of a client id, a new one if there is none.
    pub(crate) fn seat(&self, client_id: &Bytes) -> Arc<Seat> {
        self.shard(client_id)
            .lock()
            .entry(client_id.clone())
            .or_insert_with(|| {
                Arc::new(Seat {
                    client_id: client_id.clone(),
                    state: tokio::sync::Mutex::default(),
                    session: Mutex::default(),
                })
            })
            .clone()
    }

    /// The seat of a client id, if there is one.
    pub(crate) fn find(&self, client_id: &[u8]) -> Option<Arc<Seat>> {
        self.shard(client_id).lock().get(client_id).cloned()
    }

    /// Removes a seat that holds nothing and nobody else is about to use.
    pub(crate) fn remove_if_empty(&self, seat: &Arc<Seat>) {
        let mut shard = self.shard(&seat.client_id).lock();
        // The map's reference and the caller's.
        let unused = Arc::strong_count(seat) <= 2 && seat.session.lock().is_none();
        let same = shard.get(&seat.client_id).is_some_and(|s| Arc::ptr_eq(s, seat));
        if unused && same {
            shard.remove(&seat.client_id);
        }
    }

    /// All seats.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        self.shards.iter().flat_map(|s| s.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Number of seats.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}
