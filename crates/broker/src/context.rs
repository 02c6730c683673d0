//! What a handler knows about the request it handles.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::node::Node;

/// The listener a connection came in by.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    /// Index in the configuration.
    pub(crate) index: usize,
    /// Name.
    pub(crate) name: String,
}

/// One connection, shared by its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The address the client came by.
    pub(crate) local: SocketAddr,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The listener.
    pub(crate) listener: Arc<ListenerInfo>,
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
}

impl Context {
    /// The client's address as Kafka shows it: `/127.0.0.1`.
    pub(crate) fn client_host(&self) -> String {
        format!("/{}", self.connection.peer.ip())
    }
}
