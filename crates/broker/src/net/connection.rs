//! One client's connection: frames in, replies out in the order of their requests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::{MemoryBudget, MemoryPermit};
use super::response::{Reply, Sender};
use super::stream::Stream;

/// Buffer that every connection may have without asking the budget.
const FREE_BUFFER_BYTES: usize = 64 << 10;
/// First buffer of a connection: most requests are smaller.
const FIRST_BUFFER_BYTES: usize = 4 << 10;
/// Largest frame before the connection has sent one valid request.
pub(crate) const FIRST_FRAME_BYTES_MAX: usize = 512 << 10;
/// How long a connection with a half-read request may wait for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// How long a client may take to say who it is.
const AUTHENTICATION_WAIT: Duration = Duration::from_secs(30);

/// Limits of a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimits {
    /// `socket.request.max.bytes`.
    pub(crate) frame_bytes_max: usize,
    /// Largest frame of a client that is not known yet (`sasl.server.max.receive.size`).
    pub(crate) first_frame_bytes_max: usize,
    /// `queued.max.requests.per.connection`.
    pub(crate) pipelined_max: usize,
    /// `connections.max.idle.ms`; `None` = never.
    pub(crate) idle: Option<Duration>,
}

/// What a request's handling looks like from the connection.
pub(crate) struct Handling {
    /// Leads to the reply.
    pub(crate) reply: BoxFuture<'static, Reply>,
    /// Later requests may begin before this one is answered (they are answered later all the same).
    pub(crate) pipelined: bool,
}

/// Turns frames into replies. What must happen in the order of the requests is done before the first point at
/// which the reply's future waits.
pub(crate) trait FrameHandler: Send {
    /// Handles one frame (without its length prefix).
    fn handle(&mut self, frame: Bytes) -> Handling;

    /// Whether it is known who the client is. Before that only small frames are taken, and not for long.
    fn knows_client(&self) -> bool {
        true
    }

    /// Until when nothing is taken from the client, because it exceeded a quota.
    fn held_until(&self) -> Option<Instant> {
        None
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionEnd {
    /// The client closed it, or the broker stops.
    #[error("closed")]
    Closed,
    /// The client sent what it must not.
    #[error("{0}")]
    Misbehaved(String),
    /// Nothing happened for too long.
    #[error("idle for too long")]
    Idle,
    /// The network failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

enum Slot {
    Ready(Reply),
    Waiting { reply: BoxFuture<'static, Reply>, serial: bool },
}

struct Queued {
    slot: Slot,
    _memory: MemoryPermit,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    limits: ConnectionLimits,
    budget: Arc<MemoryBudget>,
    mut handler: impl FrameHandler,
    mut stop: watch::Receiver<bool>,
) -> ConnectionEnd {
    let mut connection = Connection {
        stream,
        limits,
        buffer: BytesMut::new(),
        memory: MemoryPermit::empty(&budget),
        queue: VecDeque::new(),
        sender: Sender::new(),
        proven: false,
        input_over: false,
    };
    tracing::trace!(%peer, "connected");
    tokio::select! {
        end = connection.run(&mut handler) => end,
        _ = stop.wait_for(|stop| *stop) => ConnectionEnd::Closed,
    }
}

struct Connection {
    stream: Stream,
    limits: ConnectionLimits,
    buffer: BytesMut,
    memory: MemoryPermit,
    queue: VecDeque<Queued>,
    sender: Sender,
    /// One request of a known client was understood: larger ones are welcome.
    proven: bool,
    /// The client will send no more; what it asked is still answered.
    input_over: bool,
}

enum Event {
    FrontReady(Reply),
    Readable,
    IdleCheck,
    Released,
    StillUnknown,
}

impl Connection {
    async fn run(&mut self, handler: &mut impl FrameHandler) -> ConnectionEnd {
        match self.run_inner(handler).await {
            Ok(()) => ConnectionEnd::Closed,
            Err(end) => end,
        }
    }

    async fn run_inner(&mut self, handler: &mut impl FrameHandler) -> Result<(), ConnectionEnd> {
        let mut last_activity = Instant::now();
        let idle = self.limits.idle;
        let idle_timer = tokio::time::sleep(idle.unwrap_or(Duration::from_secs(86_400)));
        tokio::pin!(idle_timer);
        let unknown_timer = tokio::time::sleep(AUTHENTICATION_WAIT);
        tokio::pin!(unknown_timer);
        loop {
            self.take_frames(handler).await?;
            self.send_ready().await?;
            // A serial request at the front may have been answered just now: there may be frames left to take.
            let held = handler.held_until();
            if held.is_none() && self.queue.is_empty() && self.frame_waits()? {
                continue;
            }
            // What a held client sent before it left is still done.
            let rest = held.is_some() && self.frame_waits()?;
            if self.input_over && self.queue.is_empty() && !rest {
                return Ok(());
            }
            // Most connections are silent most of the time: they keep no buffer.
            if self.queue.is_empty() && self.buffer.is_empty() {
                self.buffer = BytesMut::new();
                self.sender.rest();
            }
            let may_read = held.is_none() && !self.input_over && self.queue.len() < self.limits.pipelined_max;
            let event = {
                let front = self.queue.front_mut();
                let stream = &self.stream;
                tokio::select! {
                    biased;
                    reply = front_reply(front) => Event::FrontReady(reply),
                    ready = stream.readable(), if may_read => { ready?; Event::Readable }
                    () = release(held), if held.is_some() => Event::Released,
                    () = &mut unknown_timer, if !handler.knows_client() => Event::StillUnknown,
                    () = &mut idle_timer => Event::IdleCheck,
                }
            };
            match event {
                Event::FrontReady(reply) => {
                    if let Some(front) = self.queue.front_mut() {
                        front.slot = Slot::Ready(reply);
                    }
                    last_activity = Instant::now();
                }
                Event::Readable => {
                    self.read().await?;
                    last_activity = Instant::now();
                }
                Event::Released => {}
                Event::StillUnknown => {
                    let reason = format!("it did not say who it is within {AUTHENTICATION_WAIT:?}");
                    return Err(ConnectionEnd::Misbehaved(reason));
                }
                Event::IdleCheck => {
                    let Some(idle) = idle else {
                        idle_timer.as_mut().reset(Instant::now() + Duration::from_secs(86_400));
                        continue;
                    };
                    if self.queue.is_empty() && last_activity.elapsed() >= idle {
                        return Err(ConnectionEnd::Idle);
                    }
                    let since = if self.queue.is_empty() { last_activity } else { Instant::now() };
                    idle_timer.as_mut().reset(since + idle);
                }
            }
        }
    }

    /// The length of the frame at the start of the buffer, once its four bytes are there.
    fn frame_len(&self) -> Result<Option<usize>, ConnectionEnd> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        let limit = if self.proven {
            self.limits.frame_bytes_max
        } else {
            self.limits.frame_bytes_max.min(self.limits.first_frame_bytes_max)
        };
        match usize::try_from(announced) {
            Ok(len) if len <= limit => Ok(Some(len)),
            Ok(len) => Err(ConnectionEnd::Misbehaved(format!(
                "a request of {len} bytes is larger than the {limit} allowed{}",
                if self.proven { "" } else { " for a first one" }
            ))),
            Err(_) => Err(ConnectionEnd::Misbehaved(format!("a request of {announced} bytes was announced"))),
        }
    }

    fn frame_waits(&self) -> Result<bool, ConnectionEnd> {
        Ok(self.frame_len()?.is_some_and(|len| self.buffer.len() >= 4 + len))
    }

    /// Begins all requests that are there whole, as far as the limits and serial ones let it.
    async fn take_frames(&mut self, handler: &mut impl FrameHandler) -> Result<(), ConnectionEnd> {
        while self.queue.len() < self.limits.pipelined_max {
            if matches!(self.queue.back(), Some(Queued { slot: Slot::Waiting { serial: true, .. }, .. })) {
                break;
            }
            if handler.held_until().is_some() {
                break;
            }
            let Some(len) = self.frame_len()? else { break };
            if self.buffer.len() < 4 + len {
                break;
            }
            self.buffer.advance(4);
            let frame = self.buffer.split_to(len).freeze();
            let held = self.memory.bytes().min(4 + len as u64);
            let memory = self.memory.split(held);
            let Handling { mut reply, pipelined } = handler.handle(frame);
            let slot = match poll_once(&mut reply).await {
                Poll::Ready(reply) => Slot::Ready(reply),
                Poll::Pending => Slot::Waiting { reply, serial: !pipelined },
            };
            if let Slot::Ready(Reply::Close(reason)) = slot {
                return Err(ConnectionEnd::Misbehaved(reason));
            }
            self.proven = handler.knows_client();
            self.queue.push_back(Queued { slot, _memory: memory });
        }
        Ok(())
    }

    /// Sends the replies that are ready, up to the first that is not.
    async fn send_ready(&mut self) -> Result<(), ConnectionEnd> {
        let stuck = self.limits.idle.unwrap_or(Duration::from_secs(86_400));
        while matches!(self.queue.front(), Some(Queued { slot: Slot::Ready(_), .. })) {
            let Some(Queued { slot: Slot::Ready(reply), _memory }) = self.queue.pop_front() else { break };
            match reply {
                Reply::Frame { parts } => within(stuck, self.sender.send(&mut self.stream, parts)).await?,
                Reply::Nothing => {}
                Reply::Last { parts, reason } => {
                    within(stuck, self.sender.send(&mut self.stream, parts)).await?;
                    within(stuck, self.sender.flush(&mut self.stream)).await?;
                    return Err(ConnectionEnd::Misbehaved(reason));
                }
                Reply::Close(reason) => return Err(ConnectionEnd::Misbehaved(reason)),
            }
        }
        within(stuck, self.sender.flush(&mut self.stream)).await
    }

    /// Reads what is there, into a buffer that grows as bytes arrive.
    async fn read(&mut self) -> Result<(), ConnectionEnd> {
        if self.buffer.capacity() == self.buffer.len() {
            let have = self.buffer.len();
            let more = have.max(FIRST_BUFFER_BYTES);
            let target = match self.frame_len()? {
                Some(len) if have < 4 + len => (have + more).min(4 + len).max(have + 1),
                _ => have + more,
            };
            if target > FREE_BUFFER_BYTES {
                let growing = self.memory.grow_to(target as u64);
                if tokio::time::timeout(MEMORY_WAIT, growing).await.is_err() {
                    return Err(ConnectionEnd::Misbehaved(
                        "no memory left for its request (queued.max.request.bytes)".into(),
                    ));
                }
            }
            self.buffer.reserve(target - have);
        }
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => {
                self.input_over = true;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn within(limit: Duration, sending: impl Future<Output = io::Result<()>>) -> Result<(), ConnectionEnd> {
    match tokio::time::timeout(limit, sending).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ConnectionEnd::Idle),
    }
}

/// Waits until a held connection is read again.
async fn release(held: Option<Instant>) {
    if let Some(until) = held {
        tokio::time::sleep_until(until).await;
    }
}

/// Polls a future once, so that its first stretch runs now.
async fn poll_once<T>(future: &mut BoxFuture<'static, T>) -> Poll<T> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits for the reply at the front of the queue; for ever when there is none.
async fn front_reply(front: Option<&mut Queued>) -> Reply {
    match front {
        Some(Queued { slot: Slot::Waiting { reply, .. }, .. }) => reply.as_mut().await,
        // Ready ones were sent before anybody waits here.
        _ => std::future::pending().await,
    }
}
