//! Sessions: what a client and we owe each other, apart from any connection.
//!
//! [`Inbound`] and [`Outbound`] are pure state machines: packets and completed log writes go in, what to send or
//! to write next comes out. [`record`] is how a session stands in `__mqtt_sessions`.

mod inbound;
mod outbound;
pub(crate) mod record;
mod registry;
pub(crate) mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

pub(crate) use inbound::{Inbound, Rel, Step2};
pub(crate) use outbound::{Acked, Entry, Next, Origin, Outbound, Resend, State};
pub(crate) use registry::{Live, Registry, Seat};

use crate::auth::Login;
use crate::deliver::Consumer;
use crate::message::{PartitionId, Publication};

/// A will message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    /// Seconds between the end of the connection and the will.
    pub(crate) delay_s: u32,
    /// What is published then.
    pub(crate) publication: Publication,
}

/// Session expiry interval that means "never".
pub(crate) const NEVER: u32 = u32::MAX;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Client id.
    pub(crate) client_id: Bytes,
    /// Tells this session from earlier ones of the same client id.
    pub(crate) generation: u64,
    /// Session expiry interval; 0 = ends with its connection.
    pub(crate) expiry_s: u32,
    /// Whether records of it stand in the log.
    pub(crate) stored: bool,
    /// Its queue and cursors.
    pub(crate) consumer: Arc<Consumer>,
    /// QoS 2 publishes received.
    pub(crate) inbound: Inbound,
    /// QoS 1 and 2 publishes sent.
    pub(crate) outbound: Outbound,
    /// To be published when the connection ends badly.
    pub(crate) will: Option<Will>,
    /// As whom its client was here last in this process: whose right the will needs.
    pub(crate) login: Option<Arc<Login>>,
    /// When the last connection ended, milliseconds since the epoch; `None` while there is one.
    pub(crate) disconnected_ms: Option<i64>,
    /// When the will is to be published, and when the session ends, by the clock that only goes forward.
    pub(crate) will_due: Option<Instant>,
    pub(crate) ends: Option<Instant>,
    /// Another connection took it over, and decides about its will.
    pub(crate) taken_over: bool,
    /// Counts connections.
    pub(crate) connections: u64,
    /// How far QoS 2 messages were handed out, per partition, since the last checkpoint.
    pub(crate) qos2_floors: HashMap<PartitionId, i64>,
    /// Outbound slots that were ever written.
    pub(crate) slots_written: HashSet<u16>,
    /// Something changed since the last checkpoint.
    pub(crate) dirty: bool,
}

impl Session {
    /// A new session.
    pub(crate) fn new(client_id: Bytes, generation: u64, consumer: Arc<Consumer>) -> Box<Self> {
        Box::new(Self {
            client_id,
            generation,
            expiry_s: 0,
            stored: false,
            consumer,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            will: None,
            login: None,
            disconnected_ms: None,
            will_due: None,
            ends: None,
            taken_over: false,
            connections: 0,
            qos2_floors: HashMap::new(),
            slots_written: HashSet::new(),
            dirty: false,
        })
    }

    /// Whether it outlives its connection.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }

    /// How long it lives without a connection; `None` = for ever.
    pub(crate) fn lifetime(&self, cap: Option<Duration>) -> Option<Duration> {
        let asked = (self.expiry_s != NEVER).then(|| Duration::from_secs(u64::from(self.expiry_s)));
        match (asked, cap) {
            (Some(a), Some(c)) => Some(a.min(c)),
            (a, c) => a.or(c),
        }
    }
}
