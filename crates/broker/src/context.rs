//! What a handler knows about the request it handles.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_codec::Uuid;

use crate::node::Node;
use crate::quota::{self, Mute};
use crate::security::ListenerSecurity;

/// The listener a connection came in by.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    /// Index in the configuration.
    pub(crate) index: usize,
    /// Name.
    pub(crate) name: String,
    /// How it knows its clients.
    pub(crate) security: ListenerSecurity,
}

/// One connection, shared by its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number, no other one's.
    pub(crate) id: u64,
    /// The address the client came by.
    pub(crate) local: SocketAddr,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The listener.
    pub(crate) listener: Arc<ListenerInfo>,
    /// Holds the connection of a client that exceeds a quota.
    pub(crate) mute: Mute,
    /// Name and version of the client's library, once it told them.
    pub(crate) software: OnceLock<(String, String)>,
    /// Id under which the client tells its metrics, once it has one.
    pub(crate) telemetry: OnceLock<Uuid>,
}

impl Connection {
    /// A new connection.
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr, listener: Arc<ListenerInfo>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            local,
            peer,
            listener,
            mute: Mute::default(),
            software: OnceLock::new(),
            telemetry: OnceLock::new(),
        }
    }
}

/// A request's surroundings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    /// The broker.
    pub(crate) node: Arc<Node>,
    /// The connection the request came by.
    pub(crate) connection: Arc<Connection>,
    /// Version of the API the client speaks.
    pub(crate) version: i16,
    /// The client's name for itself.
    pub(crate) client_id: Option<Arc<str>>,
    /// Who the client is: `User:alice`.
    pub(crate) principal: Arc<str>,
}

/// Who a client is that did not have to say it.
pub(crate) const ANONYMOUS: &str = "User:ANONYMOUS";

impl Context {
    /// The client's address as Kafka shows it: `/127.0.0.1`.
    pub(crate) fn client_host(&self) -> String {
        format!("/{}", self.connection.peer.ip())
    }

    /// Whose quotas count.
    pub(crate) fn quota_client(&self) -> quota::Client<'_> {
        quota::Client {
            user: self.principal.strip_prefix("User:").unwrap_or(&self.principal),
            client_id: self.client_id.as_deref().unwrap_or_default(),
        }
    }

    /// Counts `amount` against one of the client's quotas; answers for how many milliseconds it has to wait, and
    /// holds its connection for so long.
    pub(crate) fn spend(&self, what: &'static str, amount: f64) -> i32 {
        let state = self.node.state();
        if state.image.quotas.is_empty() {
            return 0;
        }
        let wait = self.node.quotas.record(&state, self.quota_client(), what, amount, crate::api::now_ms());
        self.hold(wait)
    }

    /// Holds the client's connection; answers the time as the protocol tells it.
    pub(crate) fn hold(&self, wait_ms: i64) -> i32 {
        let ms = i32::try_from(wait_ms).unwrap_or(i32::MAX).max(0);
        if ms > 0 {
            self.connection.mute.hold(Duration::from_millis(u64::from(ms.unsigned_abs())));
        }
        ms
    }
}
