//! An answer on its way out: bytes in memory and ranges of files, in order.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use log::StorageFile;
use tokio::io::Interest;

use super::stream::Stream;

/// Bytes moved from a file to a socket in one go; between two the runtime may do something else.
const FILE_CHUNK_BYTES: usize = 512 << 10;

/// A piece of a response.
pub(crate) enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file.
    File {
        /// The file.
        file: Arc<dyn StorageFile>,
        /// First byte.
        position: u64,
        /// Number of bytes.
        len: usize,
    },
}

/// What a request leads to.
pub(crate) enum Reply {
    /// One frame.
    Frame {
        /// Its bytes, length prefix included, in pieces.
        parts: Vec<Part>,
    },
    /// Nothing (`acks=0`).
    Nothing,
    /// One frame, the last one: the connection is closed after it.
    Last {
        /// Its bytes, length prefix included.
        parts: Vec<Part>,
        /// Why.
        reason: String,
    },
    /// The connection must be closed.
    Close(String),
}

/// Sends replies over one socket, small ones together.
pub(crate) struct Sender {
    out: Vec<u8>,
}

/// Bytes gathered before they are written although more replies are ready.
const GATHER_BYTES: usize = 64 << 10;

impl Sender {
    pub(crate) fn new() -> Self {
        Self { out: Vec::new() }
    }

    /// Keeps no more than small replies need; to be called when there is nothing to send.
    pub(crate) fn rest(&mut self) {
        const KEPT_BYTES: usize = 512;
        if self.out.is_empty() && self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
    }

    /// Adds a reply; writes only when enough has gathered. Call [`Sender::flush`] after the last one.
    pub(crate) async fn send(&mut self, stream: &mut Stream, parts: Vec<Part>) -> io::Result<()> {
        for part in parts {
            match part {
                Part::Bytes(bytes) if bytes.len() < GATHER_BYTES => {
                    self.out.extend_from_slice(&bytes);
                    if self.out.len() >= GATHER_BYTES {
                        self.flush(stream).await?;
                    }
                }
                Part::Bytes(bytes) => {
                    self.flush(stream).await?;
                    stream.write_all(&bytes).await?;
                }
                // Few bytes go out with what is around them: one system call, one packet.
                Part::File { file, position, len } if len <= COPIED_FILE_BYTES => {
                    let start = self.out.len();
                    self.out.resize(start + len, 0);
                    let read = file.read_at(position, self.out.get_mut(start..).unwrap_or_default())?;
                    if read < len {
                        return Err(cut_short((len - read) as u64));
                    }
                }
                Part::File { file, position, len } => {
                    self.flush(stream).await?;
                    send_file(stream, &file, position, len).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(crate) async fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        if !self.out.is_empty() {
            stream.write_all(&self.out).await?;
            if self.out.capacity() > 2 * GATHER_BYTES {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        }
        Ok(())
    }
}

/// Smaller ranges of files are copied instead of sent by the kernel.
const COPIED_FILE_BYTES: usize = 16 << 10;

async fn send_file(
    stream: &mut Stream,
    file: &Arc<dyn StorageFile>,
    position: u64,
    len: usize,
) -> io::Result<()> {
    let mut at = position;
    let end = position.saturating_add(len as u64);
    #[cfg(target_os = "linux")]
    if let (Some(os_file), Some(stream)) = (file.os_file(), stream.plain()) {
        while at < end {
            let chunk = FILE_CHUNK_BYTES.min(usize::try_from(end - at).unwrap_or(FILE_CHUNK_BYTES));
            let sent = stream.try_io(Interest::WRITABLE, || {
                let mut offset = at;
                rustix::fs::sendfile(stream, os_file, Some(&mut offset), chunk).map_err(io::Error::from)
            });
            match sent {
                Ok(0) => return Err(cut_short(end - at)),
                Ok(sent) => {
                    at += sent as u64;
                    if at < end && sent == chunk {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    }
    let mut buffer = vec![0; FILE_CHUNK_BYTES.min(len)];
    while at < end {
        let chunk = buffer.len().min(usize::try_from(end - at).unwrap_or(buffer.len()));
        let Some(target) = buffer.get_mut(..chunk) else { break };
        let read = file.read_at(at, target)?;
        if read == 0 {
            return Err(cut_short(end - at));
        }
        stream.write_all(buffer.get(..read).unwrap_or_default()).await?;
        at += read as u64;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn cut_short(missing: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("segment file ends {missing} bytes too early"))
}
