//! Accepting connections on one listener, within the limits on their number.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How often a full listener looks whether its limits were changed.
const LIMITS_RECHECK: Duration = Duration::from_secs(1);

/// How many connections are open, in all, by listener and by address.
#[derive(Debug)]
pub(crate) struct ConnectionCount {
    overrides: HashMap<IpAddr, usize>,
    open: Mutex<OpenConnections>,
    /// Wakes who waits for one to end.
    ended: Notify,
}

/// Why a connection is not served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// It waits until another one ends; which limit is reached.
    Wait(&'static str),
    /// It is closed; which limit is reached.
    Refuse(&'static str),
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_listener: HashMap<usize, usize>,
    by_ip: HashMap<IpAddr, usize>,
}

/// How many may be open when one more comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionsAllowed {
    /// `max.connections`.
    pub(crate) all: usize,
    /// `listener.name.<name>.max.connections`.
    pub(crate) of_listener: usize,
    /// `max.connections.per.ip`.
    pub(crate) per_ip: usize,
}

impl ConnectionCount {
    /// Counts from nothing; `overrides` are numbers of certain addresses (`max.connections.per.ip.overrides`).
    pub(crate) fn new(overrides: HashMap<IpAddr, usize>) -> Arc<Self> {
        Arc::new(Self { overrides, open: Mutex::default(), ended: Notify::new() })
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// Which limit is reached, and what that means: as in Kafka those of the broker and of a listener let connections
    /// wait, that of an address closes them.
    pub(crate) fn admit(
        self: &Arc<Self>,
        listener: usize,
        ip: IpAddr,
        allowed: ConnectionsAllowed,
    ) -> Result<ConnectionTicket, Full> {
        let mut open = self.open.lock();
        let of_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= self.overrides.get(&ip.to_canonical()).copied().unwrap_or(allowed.per_ip) {
            return Err(Full::Refuse("max.connections.per.ip"));
        }
        if open.total >= allowed.all {
            return Err(Full::Wait("max.connections"));
        }
        let of_listener = open.by_listener.get(&listener).copied().unwrap_or(0);
        if of_listener >= allowed.of_listener {
            return Err(Full::Wait("the listener's max.connections"));
        }
        open.by_ip.insert(ip, of_ip + 1);
        open.by_listener.insert(listener, of_listener + 1);
        open.total += 1;
        Ok(ConnectionTicket { count: Arc::clone(self), listener, ip })
    }

    /// Returns when a connection has ended after this call, or limits may have changed (which nobody tells here).
    fn next_end(&self) -> impl Future<Output = ()> {
        let ended = self.ended.notified();
        async move {
            let _ = tokio::time::timeout(LIMITS_RECHECK, ended).await;
        }
    }
}

/// One counted connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ConnectionTicket {
    count: Arc<ConnectionCount>,
    listener: usize,
    ip: IpAddr,
}

impl Drop for ConnectionTicket {
    fn drop(&mut self) {
        let mut open = self.count.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(of_listener) = open.by_listener.get_mut(&self.listener) {
            *of_listener = of_listener.saturating_sub(1);
        }
        if let Some(of_ip) = open.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
        drop(open);
        self.count.ended.notify_waiters();
    }
}

/// Sizes of sockets' buffers; `None` = the system's own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketBuffers {
    /// `socket.receive.buffer.bytes`.
    pub(crate) receive: Option<usize>,
    /// `socket.send.buffer.bytes`.
    pub(crate) send: Option<usize>,
}

/// Binds a listener with `backlog` waiting places. Connections inherit its buffers.
pub(crate) fn bind(address: SocketAddr, backlog: i32, buffers: SocketBuffers) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `::` takes IPv4 too, as Java's sockets do; a system that cannot says no and stays with IPv6.
        let _ = socket.set_only_v6(false);
    }
    if let Some(bytes) = buffers.receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = buffers.send {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop; `serve` gets each admitted connection. While the broker or the listener is full, the
/// connection that came last waits, and others behind it in the system's backlog.
pub(crate) async fn run(
    listener: TcpListener,
    name: String,
    count: &ConnectionCount,
    admit: impl Fn(IpAddr) -> Result<ConnectionTicket, Full>,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr, ConnectionTicket),
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors and the like: others must end first.
                tracing::error!(listener = name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut waits = false;
        let ticket = loop {
            // Asked for before the look, so that no end in between is missed.
            let ended = count.next_end();
            match admit(peer.ip()) {
                Ok(ticket) => break Some(ticket),
                Err(Full::Refuse(limit)) => {
                    tracing::warn!(listener = name, %peer, limit, "connection refused: limit reached");
                    break None;
                }
                Err(Full::Wait(limit)) => {
                    if !std::mem::replace(&mut waits, true) {
                        tracing::warn!(listener = name, %peer, limit, "connections wait: limit reached");
                    }
                    tokio::select! {
                        () = ended => {}
                        _ = stop.wait_for(|stop| *stop) => return,
                    }
                }
            }
        };
        if let Some(ticket) = ticket {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "TCP_NODELAY refused");
            }
            serve(stream, peer, ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_places_come_back() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let closed = IpAddr::from([10, 0, 0, 3]);
        let count = ConnectionCount::new(HashMap::from([(closed, 0)]));
        let allowed = ConnectionsAllowed { all: 3, of_listener: 2, per_ip: 2 };
        let admit = |listener, ip| count.admit(listener, ip, allowed);
        assert_eq!(admit(0, closed).unwrap_err(), Full::Refuse("max.connections.per.ip"));
        let first = admit(0, a).unwrap();
        let _second = admit(1, a).unwrap();
        assert_eq!(admit(1, a).unwrap_err(), Full::Refuse("max.connections.per.ip"));
        let _third = admit(0, b).unwrap();
        assert_eq!(admit(1, b).unwrap_err(), Full::Wait("max.connections"));
        drop(first);
        let _fourth = admit(0, b).unwrap();
        assert_eq!(
            count.admit(0, a, ConnectionsAllowed { all: 9, ..allowed }).unwrap_err(),
            Full::Wait("the listener's max.connections")
        );
    }
}
