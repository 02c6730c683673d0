//! Accepts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::connection;
use crate::broker::Broker;
use crate::config::ListenerConfig;
use crate::error::MqttError;
use crate::stats::Stats;

/// Pause when the system has no socket left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Connections the system keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Its rules.
    pub(crate) config: ListenerConfig,
    open: AtomicUsize,
}

/// Counts a connection as long as it lives.
struct Guest {
    listener: Arc<Listener>,
    all: Arc<AtomicUsize>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::SeqCst);
        self.all.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listener {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`MqttError::Listen`].
    pub(crate) fn bind(config: ListenerConfig) -> Result<(Arc<Self>, TcpListener, SocketAddr), MqttError> {
        let address = config.address;
        let bind = || {
            use socket2::{Domain, Protocol, Socket, Type};
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            // A restart must not wait for connections of the last run to fade; Windows gives the option another
            // meaning.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            let bound = socket.local_addr()?;
            Ok((socket, bound))
        };
        let (socket, bound) = bind().map_err(|source| MqttError::Listen { address, source })?;
        Ok((Arc::new(Self { config, open: AtomicUsize::new(0) }), socket, bound))
    }

    /// Accepts until `stop` becomes true.
    pub(crate) async fn run(
        self: Arc<Self>,
        socket: TcpListener,
        broker: Arc<Broker>,
        all: Arc<AtomicUsize>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|s| *s) => return,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            Stats::add(&broker.stats.sockets, 1);
            let total = all.fetch_add(1, Ordering::SeqCst) + 1;
            let here = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            let guest = Guest { listener: self.clone(), all: all.clone() };
            let limits = &broker.config.limits;
            if total > limits.max_connections || self.config.max_connections.is_some_and(|max| here > max) {
                tracing::info!(%peer, "connection refused: too many connections");
                drop(guest);
                continue;
            }
            let (broker, listener) = (broker.clone(), self.clone());
            tokio::spawn(async move {
                connection::serve(broker, listener, stream, peer).await;
                drop(guest);
            });
        }
    }
}
