//! Opening a connection.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// Bytes both ways, whatever lies below.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// An open connection.
pub type Stream = Box<dyn Duplex>;

/// Opens connections to a broker.
pub trait Dial: Send + Sync {
    /// Opens one.
    fn dial(&self) -> BoxFuture<'static, io::Result<Stream>>;
    /// Where to, for people.
    fn address(&self) -> String;
}

/// TCP, with TLS on it when a configuration is given.
#[derive(Clone, Debug)]
pub struct Tcp {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Tcp {
    /// Plain TCP.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: None }
    }

    /// TLS; the certificate must be the host's.
    #[must_use]
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

impl Dial for Tcp {
    fn dial(&self) -> BoxFuture<'static, io::Result<Stream>> {
        let Self { host, port, tls } = self.clone();
        Box::pin(async move {
            let stream = connect(&host, port).await?;
            // Acknowledgements are small and must not wait for each other.
            stream.set_nodelay(true)?;
            let Some(tls) = tls else { return Ok(Box::new(stream) as Stream) };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?) as Stream)
        })
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The first address of the host that answers.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))))
}
