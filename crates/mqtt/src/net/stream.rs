//! One client's byte stream: a socket, TLS on it if the listener has it, WebSocket frames in that.
//!
//! Everything is "readiness, then try": a layer is a state machine between buffers, never a task of its own.

use std::io::{self, IoSlice, Read, Write};

use bytes::{Buf, BytesMut};
use rustls::Connection as Tls;
use tokio::net::{TcpStream, UnixStream};

use super::outbuf::OutBuf;
use super::websocket::{Frames, Role};

/// Bytes taken from a socket below WebSocket at a time.
const READ_BYTES: usize = 16 << 10;
/// TLS records and WebSocket frames that may wait for the socket, bytes.
const PENDING_MAX: usize = 128 << 10;

/// The socket itself.
#[derive(Debug)]
pub(crate) enum Socket {
    /// From a TCP listener.
    Tcp(TcpStream),
    /// From a Unix socket listener.
    Unix(UnixStream),
}

impl Socket {
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.readable().await,
            Self::Unix(s) => s.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.writable().await,
            Self::Unix(s) => s.writable().await,
        }
    }

    pub(super) fn try_read_buf(&self, buf: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.try_read_buf(buf),
            Self::Unix(s) => s.try_read_buf(buf),
        }
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.try_read(buf),
            Self::Unix(s) => s.try_read(buf),
        }
    }

    fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.try_write(buf),
            Self::Unix(s) => s.try_write(buf),
        }
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (_, [one]) => self.try_write(one),
            (Self::Tcp(s), _) => s.try_write_vectored(slices),
            (Self::Unix(s), _) => s.try_write_vectored(slices),
        }
    }
}

/// The socket as TLS wants it: what was read before TLS began comes first.
struct Raw<'s> {
    socket: &'s Socket,
    early: &'s mut BytesMut,
}

impl Read for Raw<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            return self.socket.try_read(buf);
        }
        let n = self.early.len().min(buf.len());
        let (to, from) = (buf.get_mut(..n), self.early.get(..n));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        self.early.advance(n);
        Ok(n)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Socket and TLS.
#[derive(Debug)]
struct Lower {
    socket: Socket,
    /// Read from the socket and not yet looked at.
    early: BytesMut,
    /// Came out of TLS and was put back.
    unread: BytesMut,
    tls: Option<Box<Tls>>,
}

impl Lower {
    fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            input.extend_from_slice(&unread);
            return Ok(unread.len());
        }
        let Some(tls) = &mut self.tls else {
            if self.early.is_empty() {
                return self.socket.try_read_buf(input);
            }
            let early = self.early.split();
            input.extend_from_slice(&early);
            return Ok(early.len());
        };
        let read = tls.read_tls(&mut Raw { socket: &self.socket, early: &mut self.early })?;
        let state = match tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // The alert says to the client what was wrong.
                let _ = self.flush();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        };
        let before = input.len();
        input.reserve(state.plaintext_bytes_to_read());
        let mut reader = tls.reader();
        loop {
            let n = match io::BufRead::fill_buf(&mut reader) {
                Ok([]) => break,
                Ok(chunk) => {
                    input.extend_from_slice(chunk);
                    chunk.len()
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e),
            };
            io::BufRead::consume(&mut reader, n);
        }
        match input.len() - before {
            0 if read == 0 || state.peer_has_closed() => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Takes as much as there is room for; "would block" when there is none.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.try_write_vectored(slices) };
        let taken = tls.writer().write_vectored(slices)?;
        self.flush()?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Writes TLS records as far as the socket takes them.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut Raw { socket: &self.socket, early: &mut self.early }) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn is_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|t| t.wants_write())
    }
}

/// WebSocket in a stream.
#[derive(Debug)]
struct Framed {
    frames: Frames,
    raw: BytesMut,
    /// Whole frames that wait for the layer below.
    pending: BytesMut,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Stream {
    lower: Lower,
    framed: Option<Box<Framed>>,
}

impl Stream {
    /// A stream of plain bytes; `early` was read from the socket already.
    pub(crate) fn new(socket: Socket, early: BytesMut) -> Self {
        Self { lower: Lower { socket, early, unread: BytesMut::new(), tls: None }, framed: None }
    }

    /// Puts TLS on it; the handshake goes on with reads and writes.
    pub(crate) fn start_tls(&mut self, mut tls: Tls) {
        tls.set_buffer_limit(Some(PENDING_MAX));
        self.lower.tls = Some(Box::new(tls));
    }

    /// From here on there are WebSocket frames; `raw` was read after the upgrade request.
    pub(super) fn start_frames(&mut self, raw: BytesMut) {
        let frames = Frames::new(Role::Server);
        self.framed = Some(Box::new(Framed { frames, raw, pending: BytesMut::new() }));
    }

    /// The TLS layer.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.lower.tls.as_deref()
    }

    /// Goes on with a handshake that has to be finished before more can be written.
    pub(crate) async fn handshake_step(&mut self) -> io::Result<()> {
        super::handshake::wait_to_read(self).await?;
        let mut input = BytesMut::new();
        match self.read(&mut input) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.unread(input);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.flush(),
            Err(e) => Err(e),
        }
    }

    /// Waits until [`Stream::read`] may find something.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let buffered = self.framed.as_ref().is_some_and(|f| !f.raw.is_empty());
        if buffered || !self.lower.early.is_empty() || !self.lower.unread.is_empty() {
            return Ok(());
        }
        self.lower.socket.readable().await
    }

    /// Waits until [`Stream::write`] may write something.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.lower.socket.writable().await
    }

    /// Adds what has arrived to `input`; 0 = the end, "would block" = nothing yet.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        let Some(framed) = &mut self.framed else { return self.lower.read(input) };
        if framed.raw.is_empty() {
            framed.raw.reserve(READ_BYTES);
            if self.lower.read(&mut framed.raw)? == 0 {
                return Ok(0);
            }
        }
        let decoded = framed.frames.decode(&mut framed.raw, input, &mut framed.pending);
        let ended = framed.frames.is_closed();
        if decoded.is_err() || !framed.pending.is_empty() {
            // Answers to pings and closes.
            self.flush()?;
        }
        match decoded {
            Ok(0) if ended => Ok(0),
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(n) => Ok(n),
            Err(why) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
    }

    /// Writes from `out` what the layers take now; answers how much that was.
    pub(crate) fn write(&mut self, out: &mut OutBuf) -> io::Result<usize> {
        let Some(framed) = &mut self.framed else {
            let n = out.write(|slices| self.lower.write(slices))?;
            self.lower.flush()?;
            return Ok(n);
        };
        let Framed { frames, pending, .. } = &mut **framed;
        let n = out.write(|slices| {
            if pending.len() >= PENDING_MAX {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(frames.binary(slices, pending))
        })?;
        self.flush()?;
        Ok(n)
    }

    /// Writes what waits in the layers.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(framed) = &mut self.framed {
            while !framed.pending.is_empty() {
                match self.lower.write(&[IoSlice::new(&framed.pending)]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => framed.pending.advance(n),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
            if framed.pending.capacity() > PENDING_MAX {
                framed.pending = BytesMut::new();
            }
        }
        self.lower.flush()
    }

    /// Whether the layers hold bytes for the socket.
    pub(crate) fn is_pending(&self) -> bool {
        self.lower.is_pending() || self.framed.as_ref().is_some_and(|f| !f.pending.is_empty())
    }

    /// Puts bytes back that were read too far.
    pub(super) fn unread(&mut self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.lower.unread = bytes;
        }
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&mut self) {
        if let Some(framed) = &mut self.framed {
            framed.frames.close(&mut framed.pending);
            let _ = self.flush();
        }
        if let Some(tls) = &mut self.lower.tls {
            tls.send_close_notify();
            let _ = self.lower.flush();
        }
    }
}
