//! One connection's bytes, with TLS or without.
//!
//! TLS is driven here directly: the connection's one task reads and writes, so nothing is shared and nothing is lost
//! when it stops waiting for one thing because another came first.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ServerConnection;
use tokio::net::TcpStream;

/// Plain text given to TLS before its records are written out.
const PIECE_BYTES: usize = 64 << 10;

/// One connection's bytes.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A TLS session over its socket.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
    /// Plain text is there that was not taken yet.
    has_text: bool,
}

/// A socket's bytes, as they are there without waiting.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// The socket, where bytes go out as they are.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.readable().await,
            Self::Tls(tls) if tls.has_text => Ok(()),
            Self::Tls(tls) => tls.socket.readable().await,
        }
    }

    /// Reads what is there into the buffer's spare room; 0 = the client will send no more.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read_buf(buffer),
            Self::Tls(tls) => tls.read(buffer).await,
        }
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => {
                while !bytes.is_empty() {
                    match socket.try_write(bytes) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Self::Tls(tls) => {
                while !bytes.is_empty() {
                    let piece = bytes.get(..PIECE_BYTES.min(bytes.len())).unwrap_or_default();
                    let taken = tls.session.writer().write(piece)?;
                    if taken == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    bytes = bytes.get(taken..).unwrap_or_default();
                    tls.flush().await?;
                }
                Ok(())
            }
        }
    }
}

impl TlsStream {
    /// Shakes hands.
    ///
    /// # Errors
    /// The network failed, or the client does not speak TLS as it is asked for.
    pub(crate) async fn accept(socket: TcpStream, config: Arc<rustls::ServerConfig>) -> io::Result<Self> {
        let invalid = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut session = ServerConnection::new(config).map_err(invalid)?;
        session.set_buffer_limit(Some(2 * PIECE_BYTES));
        let mut tls = Self { socket, session, has_text: false };
        while tls.session.is_handshaking() {
            tls.flush().await?;
            if !tls.session.is_handshaking() {
                break;
            }
            tls.socket.readable().await?;
            match tls.session.read_tls(&mut Now(&tls.socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.session.process_new_packets() {
                // The client is told why.
                let _ = tls.flush().await;
                return Err(invalid(error));
            }
        }
        tls.flush().await?;
        tls.has_text = tls.text_waits();
        Ok(tls)
    }

    /// The certificates that the client showed.
    pub(crate) fn peer_certificates(&self) -> Option<&[rustls::pki_types::CertificateDer<'static>]> {
        self.session.peer_certificates()
    }

    fn text_waits(&mut self) -> bool {
        self.session.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Now(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut ended = false;
        if !self.has_text {
            match self.session.read_tls(&mut Now(&self.socket)) {
                Ok(0) => ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let state = self.session.process_new_packets();
            let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            ended |= state.peer_has_closed();
            // Keys may be changed in the middle of a session.
            if self.session.wants_write() {
                self.flush().await?;
            }
        }
        let room = buffer.capacity() - buffer.len();
        let start = buffer.len();
        buffer.resize(start + room, 0);
        let read = self.session.reader().read(buffer.get_mut(start..).unwrap_or_default());
        let (count, more) = match read {
            Ok(count) => (count, count == room),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
            // Cut off without a farewell: what came before was complete frames or is of no use.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                ended = true;
                (0, false)
            }
            Err(error) => {
                buffer.truncate(start);
                return Err(error);
            }
        };
        buffer.truncate(start + count);
        self.has_text = more && self.text_waits();
        if count == 0 && !ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }
}
