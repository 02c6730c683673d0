//! Accepting connections on one listener, within the limits on their number.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How many connections are open, in all and by address.
#[derive(Debug)]
pub(crate) struct ConnectionCount {
    max: usize,
    max_per_ip: usize,
    overrides: HashMap<IpAddr, usize>,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl ConnectionCount {
    /// Allows `max` connections (`max.connections`), `max_per_ip` of one address (`max.connections.per.ip`) unless
    /// the address has a number of its own.
    pub(crate) fn new(max: usize, max_per_ip: usize, overrides: HashMap<IpAddr, usize>) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, overrides, open: Mutex::default() })
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<ConnectionTicket, &'static str> {
        let mut open = self.open.lock();
        if open.total >= self.max {
            return Err("max.connections");
        }
        let of_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= self.overrides.get(&ip.to_canonical()).copied().unwrap_or(self.max_per_ip) {
            return Err("max.connections.per.ip");
        }
        open.by_ip.insert(ip, of_ip + 1);
        open.total += 1;
        Ok(ConnectionTicket { count: Arc::clone(self), ip })
    }
}

/// One counted connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ConnectionTicket {
    count: Arc<ConnectionCount>,
    ip: IpAddr,
}

impl Drop for ConnectionTicket {
    fn drop(&mut self) {
        let mut open = self.count.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(of_ip) = open.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

/// Binds a listener with `backlog` waiting places.
pub(crate) fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `::` takes IPv4 too, as Java's sockets do; a system that cannot says no and stays with IPv6.
        let _ = socket.set_only_v6(false);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop; `serve` gets each admitted connection.
pub(crate) async fn run(
    listener: TcpListener,
    name: String,
    count: Arc<ConnectionCount>,
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
        match count.admit(peer.ip()) {
            Ok(ticket) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY refused");
                }
                serve(stream, peer, ticket);
            }
            Err(limit) => {
                tracing::warn!(listener = name, %peer, limit, "connection refused: limit reached");
            }
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
        let count = ConnectionCount::new(3, 2, HashMap::from([(closed, 0)]));
        assert_eq!(count.admit(closed).unwrap_err(), "max.connections.per.ip");
        let first = count.admit(a).unwrap();
        let _second = count.admit(a).unwrap();
        assert_eq!(count.admit(a).unwrap_err(), "max.connections.per.ip");
        let _third = count.admit(b).unwrap();
        assert_eq!(count.admit(b).unwrap_err(), "max.connections");
        drop(first);
        count.admit(b).unwrap();
    }
}
