//! Connections, one after the other, and what moves on them.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use mqtt_codec::{PacketId, ProtocolVersion, Publish};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::dial::{Dial, Stream};
use crate::error::Error;
use crate::inbound::Token;
use crate::session::{Event, Session};

/// Bytes of a block to read into.
const READ_CHUNK: usize = 64 * 1024;
/// A block is used as long as it has this much room.
const READ_MIN: usize = 8 * 1024;

/// A client of one broker. One owner; [`Client::next`] and [`Client::stay`] may be dropped at any time and lose nothing.
pub struct Client {
    session: Session,
    dial: Arc<dyn Dial>,
    link: Link,
    backoff: Backoff,
    connect_timeout: std::time::Duration,
}

enum Link {
    Waiting(Pin<Box<Sleep>>),
    Dialling(BoxFuture<'static, io::Result<Stream>>),
    Up(Box<Connection>),
    Down,
}

struct Connection {
    stream: Stream,
    input: BytesMut,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    unflushed: bool,
}

/// What woke a connection up.
enum Woken {
    Read,
    Written,
    Time,
    Closed,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.dial.address()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when it is first asked for events.
    pub fn new(config: Config, dial: Arc<dyn Dial>) -> Self {
        let backoff = Backoff::new(config.reconnect.0, config.reconnect.1);
        let connect_timeout = config.connect_timeout;
        let link = Link::Dialling(attempt(&dial, connect_timeout));
        Self { session: Session::new(config), dial, link, backoff, connect_timeout }
    }

    /// Waits for the next event, and moves everything meanwhile. Never ends by itself: a lost connection is
    /// [`Event::Lost`], and asking again makes the next one.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.session.events.pop_front() {
                return event;
            }
            self.turn(true).await;
        }
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.session.events.pop_front()
    }

    /// [`Client::next`] when `read`, else [`Client::stay`] and nothing.
    pub async fn drive(&mut self, read: bool) -> Option<Event> {
        if read {
            return Some(self.next().await);
        }
        self.stay().await;
        None
    }

    /// Keeps the connection alive and writes what is to be written, but reads nothing: for callers who cannot take
    /// more now. Ends when there is an event more all the same: the connection was lost.
    pub async fn stay(&mut self) {
        let known = self.session.events.len();
        while self.session.events.len() == known {
            self.turn(false).await;
        }
    }

    /// The caller has done with a message: PUBACK or PUBREC, in the order of the messages.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn acknowledge(&mut self, token: Token) -> Result<(), Error> {
        self.session.acknowledge(token)
    }

    /// The caller has forgotten a QoS 2 message after [`Event::Release`]: PUBCOMP.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn complete(&mut self, id: PacketId) -> Result<(), Error> {
        self.session.complete(id)
    }

    /// Publishes with the highest QoS that the broker allows up to the message's; [`Event::Published`] with `tag`
    /// follows. QoS 0 messages are dropped while there is no connection, others are kept and sent again as needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a message that MQTT or the broker does not allow.
    pub fn publish(&mut self, tag: u64, message: Publish) -> Result<(), Error> {
        self.session.publish(tag, message)
    }

    /// QoS 1 and 2 messages of ours that are not acknowledged.
    pub fn outstanding(&self) -> usize {
        self.session.outstanding()
    }

    /// Whether CONNACK came and the connection stands.
    pub fn is_connected(&self) -> bool {
        self.session.is_active()
    }

    /// Number of the broker's session with us; changes when the broker has lost it.
    pub fn session(&self) -> u64 {
        self.session.inbound.session()
    }

    /// Where to, for people.
    pub fn address(&self) -> String {
        self.dial.address()
    }

    /// Version spoken, or to be tried next.
    pub fn version(&self) -> ProtocolVersion {
        self.session.version()
    }

    /// Subscribes when the broker does not know our subscriptions yet (see [`Config::subscribe_at_once`]).
    ///
    /// # Errors
    /// When a filter is not valid.
    pub fn subscribe(&mut self) -> Result<(), Error> {
        self.session.subscribe()
    }

    /// Sends DISCONNECT and what stands before it, and ends the connection. No other is made.
    pub async fn disconnect(&mut self) {
        if self.session.disconnect().is_ok() {
            while let Link::Up(_) = self.link {
                if self.session.out.is_empty() {
                    break;
                }
                self.turn(false).await;
            }
        }
        if let Link::Up(connection) = &mut self.link {
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut connection.stream).await;
        }
        self.link = Link::Down;
    }

    async fn turn(&mut self, read: bool) {
        match &mut self.link {
            Link::Waiting(pause) => {
                pause.await;
                self.link = Link::Dialling(attempt(&self.dial, self.connect_timeout));
            }
            Link::Dialling(attempt) => match attempt.await {
                Ok(stream) => {
                    let now = Instant::now();
                    self.link = Link::Up(Box::new(Connection::new(stream, now)));
                    if let Err(error) = self.session.begin(now) {
                        self.lost(error);
                    }
                }
                Err(error) => self.lost(error.into()),
            },
            Link::Up(connection) => {
                let was_active = self.session.is_active();
                match connection.turn(&mut self.session, read).await {
                    Ok(()) if !was_active && self.session.is_active() => self.backoff.reset(),
                    Ok(()) => {}
                    Err(error) => self.lost(error),
                }
            }
            Link::Down => std::future::pending().await,
        }
    }

    fn lost(&mut self, error: Error) {
        if self.session.is_closing() {
            self.link = Link::Down;
            return;
        }
        let mut random = [128u8];
        // Without randomness all pauses are of middle length.
        let _ = getrandom::fill(&mut random);
        let pause = self.backoff.next(random[0]);
        tracing::debug!(address = self.dial.address(), %error, ?pause, "no connection");
        self.link = Link::Waiting(Box::pin(tokio::time::sleep(pause)));
        self.session.lost(error);
    }
}

fn attempt(dial: &Arc<dyn Dial>, timeout: std::time::Duration) -> BoxFuture<'static, io::Result<Stream>> {
    let dialling = dial.dial();
    Box::pin(async move {
        match tokio::time::timeout(timeout, dialling).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

impl Connection {
    fn new(stream: Stream, now: Instant) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(READ_CHUNK),
            timer: Box::pin(sleep_until(now)),
            timer_at: now,
            unflushed: false,
        }
    }

    /// Waits until something has moved, and carries it out.
    async fn turn(&mut self, session: &mut Session, read: bool) -> Result<(), Error> {
        if read && !self.input.is_empty() {
            // What came with the last read and was left when nothing was to be read.
            let before = self.input.len();
            session.receive(&mut self.input, Instant::now())?;
            if self.input.len() != before {
                return Ok(());
            }
        }
        let woken = poll_fn(|cx| self.poll(cx, session, read)).await?;
        let now = Instant::now();
        match woken {
            Woken::Read => session.receive(&mut self.input, now),
            Woken::Written => {
                session.sent(now);
                Ok(())
            }
            Woken::Time => session.due(now, read),
            Woken::Closed => Err(Error::Closed),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, session: &mut Session, read: bool) -> Poll<io::Result<Woken>> {
        let mut wrote = false;
        while !session.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &session.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Woken::Closed)),
                Poll::Ready(Ok(n)) => {
                    session.out.advance(n);
                    wrote = true;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if wrote {
            return Poll::Ready(Ok(Woken::Written));
        }
        if read {
            // One block serves many reads: messages that are kept for long should not hold a block each.
            if self.input.capacity() - self.input.len() < READ_MIN {
                self.input.reserve(READ_CHUNK);
            }
            let reading = pin!(self.stream.read_buf(&mut self.input));
            match reading.poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Woken::Closed)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(Woken::Read)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        // The timer is set again only when it has gone off too early: deadlines move with every packet.
        if let Some(at) = session.deadline() {
            if at < self.timer_at || self.timer.is_elapsed() {
                self.timer_at = at;
                self.timer.as_mut().reset(at);
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                if at <= Instant::now() {
                    return Poll::Ready(Ok(Woken::Time));
                }
                self.timer_at = at;
                self.timer.as_mut().reset(at);
            }
        }
        Poll::Pending
    }
}
