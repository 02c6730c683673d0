//! Opening the socket: TCP to each address of a host in turn, or a Unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::failure::Failure;
use super::options::Options;

/// The port of plain MQTT.
const PORT: u16 = 1883;

/// An open connection.
#[derive(Debug)]
pub enum Stream {
    /// To a host and port.
    Tcp(TcpStream),
    /// To a path.
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// Connects to where the options say.
///
/// # Errors
/// [`Failure::Lookup`] or [`Failure::System`], the latter for the last address tried.
pub async fn dial(options: &Options) -> Result<Stream, Failure> {
    let port = options.port.unwrap_or(PORT);
    if port == 0 {
        return dial_unix(&options.host).await;
    }
    let addresses = lookup_host((options.host.as_str(), port)).await.map_err(|_| Failure::Lookup)?;
    let bind_address = match &options.bind_address {
        Some(host) => {
            let mut found = lookup_host((host.as_str(), 0)).await.map_err(|_| Failure::Lookup)?;
            Some(found.next().ok_or(Failure::Lookup)?.ip())
        }
        None => None,
    };
    let mut last = None;
    for address in addresses {
        match dial_tcp(address, bind_address).await {
            Ok(stream) => {
                // Small packets of a client should not wait for each other's acknowledgement.
                if options.nodelay {
                    stream.set_nodelay(true).map_err(Failure::System)?;
                }
                return Ok(Stream::Tcp(stream));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(Failure::Lookup, Failure::System))
}

async fn dial_tcp(address: SocketAddr, bind_address: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(bind) = bind_address else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(bind, 0))?;
    socket.connect(address).await
}

#[cfg(unix)]
async fn dial_unix(path: &str) -> Result<Stream, Failure> {
    tokio::net::UnixStream::connect(path).await.map(Stream::Unix).map_err(Failure::System)
}

#[cfg(not(unix))]
async fn dial_unix(_path: &str) -> Result<Stream, Failure> {
    Err(Failure::NotSupported)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
