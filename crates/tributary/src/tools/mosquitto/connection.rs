//! Opening the connection: TCP to each address of a host in turn, or a Unix socket; TLS and WebSocket on it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mqtt::websocket::WebSocket;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::options::Options;

/// An open connection.
pub type Stream = Box<dyn Duplex>;

/// Bytes both ways, whatever lies below.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Connects to where the options say, through TLS and WebSocket where they say so.
///
/// # Errors
/// [`Failure::Lookup`], [`Failure::Tls`] or [`Failure::System`], the latter for the last address tried.
pub async fn dial(options: &Options) -> Result<Stream, Failure> {
    let mut stream = dial_socket(options).await?;
    if options.tls.is_on() {
        let config = options.tls.config()?;
        let name = ServerName::try_from(options.host.clone()).map_err(|e| Failure::Tls(e.to_string()))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        stream = Box::new(connected.map_err(|e| Failure::Tls(e.to_string()))?);
    }
    if options.websocket {
        let host = format!("{}:{}", options.host, options.port_or_default());
        let opened = WebSocket::open(stream, &host, &options.websocket_path).await;
        stream = Box::new(opened.map_err(Failure::System)?);
    }
    Ok(stream)
}

async fn dial_socket(options: &Options) -> Result<Stream, Failure> {
    let port = options.port_or_default();
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
                return Ok(Box::new(stream));
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
    match tokio::net::UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Failure::System(error)),
    }
}

#[cfg(not(unix))]
async fn dial_unix(_path: &str) -> Result<Stream, Failure> {
    Err(Failure::NotSupported)
}
