//! Bytes on their way to a client: small packets in one buffer, large payloads by reference, one `writev` for all.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Payloads from this size on are not copied.
const BY_REFERENCE: usize = 4096;
/// Slices for one system call.
const SLICES: usize = 64;
/// Above this much nothing more is taken from the queue until the socket has taken some.
const FULL: usize = 64 << 10;

/// The output of one connection.
#[derive(Debug, Default)]
pub(crate) struct OutBuf {
    /// Whole pieces, in order, before `tail`.
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes in `pieces`.
    pieces_len: usize,
}

impl OutBuf {
    /// Where packets are encoded to.
    pub(crate) fn encode_to(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds a payload.
    pub(crate) fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < BY_REFERENCE {
            self.tail.put_slice(payload);
        } else {
            let head = self.tail.split().freeze();
            self.pieces_len += head.len() + payload.len();
            self.pieces.extend([head, payload.clone()].into_iter().filter(|p| !p.is_empty()));
        }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= FULL
    }

    /// Writes as much as `sink` takes now; answers how much that was.
    pub(crate) fn write(
        &mut self,
        mut sink: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut total = 0;
        while !self.is_empty() {
            let result = if self.pieces.is_empty() {
                sink(&[IoSlice::new(&self.tail)])
            } else {
                let mut slices: Vec<IoSlice<'_>> =
                    self.pieces.iter().take(SLICES).map(|p| IoSlice::new(p)).collect();
                if self.pieces.len() < SLICES {
                    slices.push(IoSlice::new(&self.tail));
                }
                sink(&slices)
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    total += n;
                    self.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if self.is_empty() && self.tail.capacity() > FULL {
            self.tail = BytesMut::new();
        }
        Ok(total)
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if n < piece.len() {
                piece.advance(n);
                self.pieces_len -= n;
                return;
            }
            n -= piece.len();
            self.pieces_len -= piece.len();
            self.pieces.pop_front();
        }
        if n >= self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn everything_arrives_in_order_over_a_slow_reader() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        let (mut client, (server, _)) = (client.unwrap(), server.unwrap());
        let mut out = OutBuf::default();
        let mut expected = Vec::new();
        for n in 0..300usize {
            let head = [n as u8; 3];
            let payload = Bytes::from(vec![n as u8; if n % 3 == 0 { 40_000 } else { 20 }]);
            out.encode_to().put_slice(&head);
            out.put_payload(&payload);
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&payload);
        }
        assert_eq!(out.len(), expected.len());
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        while !out.is_empty() {
            server.writable().await.unwrap();
            out.write(|slices| server.try_write_vectored(slices)).unwrap();
        }
        drop(server);
        assert!(reader.await.unwrap() == expected);
    }
}
