//! WebSocket as a client speaks it: frames around any stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Frames, Role, check_response, request};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;
/// Bytes put into one frame.
const FRAME_MAX: usize = 64 << 10;

/// A stream of bytes in WebSocket's binary frames.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    frames: Frames,
    raw: BytesMut,
    payload: BytesMut,
    pending: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Asks the server for WebSocket.
    ///
    /// # Errors
    /// Of the stream, or when the server does not speak MQTT over WebSocket at `path`.
    pub async fn open(mut stream: S, host: &str, path: &str) -> io::Result<Self> {
        let refused = |what: String| io::Error::new(io::ErrorKind::ConnectionRefused, what);
        let request = request(host, path, &[]).map_err(|e| io::Error::other(e.to_string()))?;
        stream.write_all(&request.bytes).await?;
        stream.flush().await?;
        let mut input = BytesMut::new();
        let rest = loop {
            match check_response(&request, &mut input) {
                Ok(Some(rest)) => break rest,
                Ok(None) => {}
                Err(why) => return Err(refused(format!("{why:?}"))),
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        Ok(Self {
            stream,
            frames: Frames::new(Role::Client),
            raw: BytesMut::from(&rest[..]),
            payload: BytesMut::new(),
            pending: BytesMut::new(),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let decoded = this.frames.decode(&mut this.raw, &mut this.payload, &mut this.pending);
            decoded.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            if !this.payload.is_empty() {
                let n = this.payload.len().min(buf.remaining());
                buf.put_slice(&this.payload.split_to(n));
                return Poll::Ready(Ok(()));
            }
            // Answers to pings; whoever writes next takes along what does not go out now.
            if let Poll::Ready(Err(e)) = this.poll_send(cx) {
                return Poll::Ready(Err(e));
            }
            if this.frames.is_closed() {
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0u8; READ_BYTES];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.raw.extend_from_slice(read.filled());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let piece = buf.get(..buf.len().min(FRAME_MAX)).unwrap_or_default();
        let n = this.frames.binary(&[IoSlice::new(piece)], &mut this.pending);
        if let Poll::Ready(Err(e)) = this.poll_send(cx) {
            return Poll::Ready(Err(e));
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frames.close(&mut this.pending);
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
