//! Accepts connections.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use client::door;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrival;
use super::establish::{Guest, Identity, establish};
use super::stream::Socket;
use crate::auth::{Authenticator, Authorizer};
use crate::broker::Broker;
use crate::config::{ListenAddress, ListenerConfig};
use crate::error::MqttError;
use crate::stats::Stats;

/// Pause when the system has no socket left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Connections the system keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// Clients beyond the limit that are told of another server at one time.
const REDIRECTED: usize = 64;

/// One listening socket.
pub(crate) struct Listener {
    /// Its rules.
    pub(crate) config: ListenerConfig,
    /// Where it listens, with the port that was picked.
    pub(crate) bound: ListenAddress,
    /// Who may come in and what they may do; replaced as a whole by a reload.
    pub(crate) security: ArcSwap<Security>,
    /// Users and rights of the log.
    pub(crate) access: Option<Arc<dyn door::Access>>,
    open: AtomicUsize,
    rate: Mutex<Rate>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.config.address).finish_non_exhaustive()
    }
}

/// The rules of a listener that a reload replaces.
pub(crate) struct Security {
    pub(crate) allow_anonymous: bool,
    pub(crate) client_id_prefixes: Option<String>,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("allow_anonymous", &self.allow_anonymous).finish_non_exhaustive()
    }
}

impl Security {
    /// Reads the listener's certificates.
    ///
    /// # Errors
    /// [`MqttError::Tls`].
    pub(crate) fn of(config: &ListenerConfig) -> Result<Arc<Self>, MqttError> {
        let tls = config.tls.as_ref().map(|files| files.load()).transpose()?;
        Ok(Arc::new(Self {
            allow_anonymous: config.allow_anonymous,
            client_id_prefixes: config.client_id_prefixes.clone(),
            authenticator: config.authenticator.clone(),
            authorizer: config.authorizer.clone(),
            tls,
        }))
    }
}

/// Connections accepted in the present second.
#[derive(Debug)]
struct Rate {
    second: Instant,
    accepted: u32,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Bound {
    /// Over TCP.
    Tcp(TcpListener, SocketAddr),
    /// At a path, which is removed with it.
    Unix(UnixListener, UnixPath),
}

/// Removes a Unix socket's file.
#[derive(Debug)]
pub(crate) struct UnixPath(std::path::PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Bound {
    async fn accept(&self) -> std::io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(socket, _) => {
                let (stream, peer) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), peer))
            }
            // Only this machine can open it.
            Self::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((Socket::Unix(stream), (Ipv4Addr::LOCALHOST, 0).into()))
            }
        }
    }

    /// What it is bound to.
    pub(crate) fn address(&self) -> ListenAddress {
        match self {
            Self::Tcp(_, address) => ListenAddress::Tcp(*address),
            Self::Unix(_, path) => ListenAddress::Unix(path.0.clone()),
        }
    }
}

impl Listener {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`MqttError::Listen`], [`MqttError::Tls`].
    pub(crate) fn bind(
        config: ListenerConfig,
        access: Option<Arc<dyn door::Access>>,
    ) -> Result<(Arc<Self>, Bound), MqttError> {
        let security = Security::of(&config)?;
        let bound = match &config.address {
            ListenAddress::Tcp(address) => bind_tcp(*address),
            ListenAddress::Unix(path) => bind_unix(path),
        };
        let address = config.address.clone();
        let bound = bound.map_err(|source| MqttError::Listen { address, source })?;
        let listener = Self {
            bound: bound.address(),
            config,
            security: ArcSwap::new(security),
            access,
            open: AtomicUsize::new(0),
            rate: Mutex::new(Rate { second: Instant::now(), accepted: 0 }),
        };
        Ok((Arc::new(listener), bound))
    }

    /// What stands for a listener where this broker has opened the connection itself.
    pub(crate) fn of_bridges() -> Arc<Self> {
        let config = ListenerConfig::new((Ipv4Addr::UNSPECIFIED, 0).into());
        let security = Security {
            allow_anonymous: true,
            client_id_prefixes: None,
            authenticator: None,
            authorizer: None,
            tls: None,
        };
        Arc::new(Self {
            bound: config.address.clone(),
            config,
            security: ArcSwap::new(Arc::new(security)),
            access: None,
            open: AtomicUsize::new(1),
            rate: Mutex::new(Rate { second: Instant::now(), accepted: 0 }),
        })
    }

    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether one more connection is allowed in this second.
    fn is_too_fast(&self, now: Instant) -> bool {
        let Some(max) = self.config.max_connect_rate else { return false };
        let mut rate = self.rate.lock();
        if now.duration_since(rate.second) >= Duration::from_secs(1) {
            *rate = Rate { second: now, accepted: 0 };
        }
        rate.accepted = rate.accepted.saturating_add(1);
        rate.accepted > max
    }

    /// Accepts until `stop` becomes true.
    pub(crate) async fn run(
        self: Arc<Self>,
        socket: Bound,
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
            let limits = &broker.config.limits;
            let now = Instant::now();
            let deadline = now + limits.connect_timeout;
            let (listener, all) = (self.clone(), all.clone());
            let max = self.config.max_connections.unwrap_or(usize::MAX);
            let is_beyond = total > limits.max_connections || here > max;
            let identity = Identity::NotAsked;
            let mut guest = Guest { peer, deadline, is_beyond, identity, listener, all };
            let room = if broker.config.redirect.is_some() { REDIRECTED } else { 0 };
            if is_beyond
                && (total > limits.max_connections.saturating_add(room) || here > max.saturating_add(room))
            {
                tracing::info!(%peer, "connection refused: too many connections");
                continue;
            }
            if self.is_too_fast(now) {
                tracing::info!(%peer, "connection refused: too many connections in one second");
                continue;
            }
            let (broker, listener) = (broker.clone(), self.clone());
            tokio::spawn(async move {
                let established = establish(&listener, stream, &mut guest);
                let stream = match tokio::time::timeout_at(deadline, established).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return tracing::info!(peer = %guest.peer, %error, "no MQTT connection"),
                    Err(_) => return tracing::info!(peer = %guest.peer, "no CONNECT in time"),
                };
                arrival::serve(broker, listener, stream, guest).await;
            });
        }
    }
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<Bound> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to fade; Windows gives the option another meaning.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let bound = socket.local_addr()?;
    Ok(Bound::Tcp(socket, bound))
}

/// A socket file that nobody listens at any more is replaced; anything else there is left alone.
fn bind_unix(path: &Path) -> std::io::Result<Bound> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    Ok(Bound::Unix(socket, UnixPath(path.to_path_buf())))
}
