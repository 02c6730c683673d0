//! One client's connection: reads packets, acts on them, writes acknowledgements in their order and deliveries as
//! the window allows.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use client::door::TopicImage;
use futures_util::FutureExt;
use hashbrown::HashMap;
use mqtt_codec::{Decoder, Disconnect, Packet, PacketType, ProtocolVersion, ReasonCode};
use tokio::sync::oneshot;

use super::alarm::Alarm;
use super::aliases::Aliases;
use super::answers::{Step, settle_steps};
use super::close::Close;
use super::gathered::Gathered;
use super::handshake::farewell;
use super::listener::Listener;
use super::outbuf::OutBuf;
use super::stream::Stream;
use super::under_way::UnderWay;
use crate::auth::Rights;
use crate::bridge::Link;
use crate::broker::{Broker, Located};
use crate::deliver::{Delivery, ShareGroup};
use crate::packet::{auth, connect};
use crate::session::{Resend, Seat, Session};
use crate::stats::Stats;
use crate::will::{Ended, show};

/// Bytes read at a time.
pub(super) const READ_BYTES: usize = 16 << 10;
/// How often the output is filled and written before others get their turn.
const WRITES_A_TURN: usize = 8;
/// Packets handled before others get their turn.
const PACKETS_A_TURN: usize = 256;
/// Topics whose place in the log a connection remembers.
const LOCATED_MAX: usize = 256;

/// A connected client.
pub(crate) struct Connection {
    pub(crate) broker: Arc<Broker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) session: Box<Session>,
    pub(crate) version: ProtocolVersion,
    /// Topic aliases set by the client.
    pub(crate) aliases: Vec<Bytes>,
    /// Topic aliases set by us.
    pub(super) outgoing_aliases: Aliases,
    /// QoS 1 and 2 publishes received and not answered to their end.
    pub(crate) receiving: usize,
    /// What we told the client about `receiving`.
    pub(crate) receive_maximum: u16,
    /// The session holds a no-local subscription.
    pub(crate) no_local: bool,
    /// The share groups the session is a member of.
    pub(crate) shares: Vec<Arc<ShareGroup>>,
    pub(crate) keep_alive: Option<Duration>,
    /// The client is the bridge of another broker (by the protocol level of version 3): nothing comes back to it.
    pub(crate) is_bridge: bool,
    /// When the client connected, milliseconds since the epoch.
    pub(super) since_ms: i64,
    /// Where this broker has opened the connection.
    pub(crate) link: Option<Box<Link>>,
    /// How the client may prove itself again.
    pub(crate) reauthentication: Option<auth::Reauthentication>,
    /// What the client may do.
    pub(crate) rights: Rights,
    /// The client's maximum packet size, bytes.
    pub(crate) packet_size_max: usize,
    /// What the client wants to be told.
    pub(crate) tells: connect::Tells,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    pub(super) stream: Stream,
    pub(super) peer: SocketAddr,
    pub(super) output: OutBuf,
    /// Ends the connection, between two packets.
    pub(super) kick: oneshot::Receiver<ReasonCode>,
    /// Why it ends once all that had arrived by then is handled.
    pub(super) leaving: Option<ReasonCode>,
    pub(super) gathered: Option<Gathered>,
    pub(super) under_way: UnderWay,
    /// What the client sent and got no answer to: gathered or under way.
    pub(super) unanswered: usize,
    pub(super) alarm: Alarm,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) heard: Instant,
    pub(super) checkpoint_due: Option<Instant>,
    pub(super) located: HashMap<Bytes, Located>,
    pub(super) located_in: Arc<TopicImage>,
}

impl Connection {
    /// The client id, for logs.
    pub(crate) fn name(&self) -> String {
        show(&self.session.client_id)
    }

    pub(super) async fn run(&mut self) -> Close {
        if let Err(close) = self.resume().await {
            return close;
        }
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(close) => return close,
            }
        }
    }

    /// What the session still owes the client, then the queue.
    async fn resume(&mut self) -> Result<(), Close> {
        let durable = self.session.is_persistent();
        for resend in self.session.outbound.resume() {
            match resend {
                Resend::Publish { id, origin, dup } => self.send_publish(Some(id), &origin, dup),
                Resend::Release { id } => self.send_pubrel(id, ReasonCode::Success),
                Resend::Store { id, slot, origin } => self.store_slot(id, slot, &origin),
                Resend::StoreRelease { id, slot } => self.store_release(id, slot),
            }
        }
        if durable {
            self.session.dirty = true;
        }
        self.broker.hub.connect(&self.session.consumer).await.map_err(|e| Close::storage(&e))
    }

    /// Does everything that can be done now, then waits for one more thing.
    async fn turn(&mut self) -> Result<(), Close> {
        for _ in 0..PACKETS_A_TURN {
            if !self.may_go_on() {
                break;
            }
            let Some(packet) = self.decoder.decode(&mut self.input)? else { break };
            Stats::add(&self.broker.stats.packets_received, 1);
            self.handle(packet).await?;
        }
        self.flush();
        self.take_steps()?;
        let mut more = true;
        for _ in 0..WRITES_A_TURN {
            more = self.take_deliveries();
            self.write()?;
            if !more || self.has_output() {
                break;
            }
        }
        // Nobody tells of what is queued already, nor of a socket that took everything.
        let more = more && !self.has_output();
        self.plan_checkpoint();

        let may_read = self.may_go_on();
        let buffered = may_read && self.has_whole_packet()?;
        if let Some(reason) = self.leaving.filter(|_| !buffered) {
            return Err(Close::error(reason, reason.name()));
        }
        let deadline = self.deadline();
        // In no fixed order: a flood of deliveries shall not keep us from reading, nor the other way round.
        tokio::select! {
            step = self.under_way.next(), if !self.under_way.is_empty() => {
                if let Some(step) = step {
                    self.step(step)?;
                }
            }
            reason = &mut self.kick, if self.leaving.is_none() => {
                let reason = reason.unwrap_or(ReasonCode::ServerShuttingDown);
                self.leaving = Some(reason);
                if reason == ReasonCode::SessionTakenOver {
                    // A client that publishes, goes and connects anew at once has said all of it. (That it went is
                    // no news.)
                    let _ = self.read();
                } else {
                    return Err(Close::error(reason, reason.name()));
                }
            }
            () = self.session.consumer.ready.notified(), if !self.output.is_full() => {}
            result = self.stream.readable(), if may_read && !buffered => {
                result.map_err(|e| Close::io(&e))?;
                self.read()?;
            }
            result = self.stream.writable(), if self.has_output() => {
                result.map_err(|e| Close::io(&e))?;
            }
            () = tokio::task::yield_now(), if buffered || more => {}
            () = self.alarm.at(deadline) => self.check_time().await?,
        }
        Ok(())
    }

    /// Whether something waits for the socket.
    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.stream.is_pending()
    }

    /// Whether the client may be given more to answer.
    fn may_go_on(&self) -> bool {
        let limits = &self.broker.config.limits;
        // Whoever waits for nothing may send something: it is not the one that fills the memory, and nothing would wake it.
        let has_room =
            self.unanswered == 0 || self.broker.stats.bytes_under_way() < limits.max_publish_bytes_under_way;
        has_room && self.unanswered < limits.max_publishes_under_way && !self.output.is_full()
    }

    fn has_whole_packet(&self) -> Result<bool, Close> {
        Ok(matches!(self.decoder.peek(&self.input)?, mqtt_codec::Framing::Whole(_)))
    }

    fn read(&mut self) -> Result<(), Close> {
        if self.input.is_empty() && self.input.capacity() < READ_BYTES {
            self.input = BytesMut::with_capacity(READ_BYTES);
        }
        self.input.reserve(READ_BYTES / 4);
        match self.stream.read(&mut self.input) {
            Ok(0) => Err(Close::Gone("connection closed by the client".to_owned())),
            Ok(n) => {
                Stats::add(&self.broker.stats.bytes_received, n);
                self.heard = Instant::now();
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if self.input.is_empty() {
                    // An idle connection keeps no buffer.
                    self.input = BytesMut::new();
                }
                Ok(())
            }
            Err(e) => Err(Close::io(&e)),
        }
    }

    fn write(&mut self) -> Result<(), Close> {
        if self.output.is_empty() {
            return if self.stream.is_pending() {
                self.stream.flush().map_err(|e| Close::io(&e))
            } else {
                Ok(())
            };
        }
        let n = self.stream.write(&mut self.output).map_err(|e| Close::io(&e))?;
        Stats::add(&self.broker.stats.bytes_sent, n);
        Ok(())
    }

    /// The next moment at which something is due.
    fn deadline(&self) -> Option<Instant> {
        let silent = self.keep_alive.and_then(|k| self.heard.checked_add(k));
        let of_link = self.link.as_ref().and_then(|l| l.due_at());
        [silent, self.checkpoint_due, of_link].into_iter().flatten().min()
    }

    async fn check_time(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        if let Some(link) = &mut self.link {
            if link.is_idle(now) {
                return Err(Close::Idle);
            }
            if link.pings(now) {
                self.send(&Packet::PingReq);
            }
        }
        if self.keep_alive.is_some_and(|k| now.duration_since(self.heard) >= k) {
            // What has arrived but was not read yet counts as heard.
            let before = self.heard;
            self.read()?;
            if self.heard == before {
                return Err(Close::error(ReasonCode::KeepAliveTimeout, "keep alive timeout"));
            }
        }
        if self.checkpoint_due.is_some_and(|at| at <= now) {
            self.checkpoint_due = None;
            if self.session.is_persistent() {
                // What the checkpoint takes for handed out must be on its way to the log before it.
                self.take_steps()?;
                let parts = self.broker.store.checkpoint(&mut self.session);
                if let Err(error) = self.broker.store.write(&self.session.client_id, parts).await {
                    tracing::warn!(client = %self.name(), %error, "cannot save a session's cursors");
                    self.session.dirty = true;
                }
            }
        }
        Ok(())
    }

    fn plan_checkpoint(&mut self) {
        if self.session.dirty && self.checkpoint_due.is_none() && self.session.is_persistent() {
            self.checkpoint_due = Instant::now().checked_add(self.broker.config.checkpoint_interval);
        }
    }

    /// Puts something under way; its end is acted on after everything put under way before.
    pub(crate) fn later(&mut self, step: impl Future<Output = Step> + Send + 'static) {
        self.flush();
        self.unanswered += 1;
        self.under_way.push(step.boxed());
    }

    /// Acts on what has ended by now.
    fn take_steps(&mut self) -> Result<(), Close> {
        while !self.under_way.is_empty() {
            let Some(Some(step)) = self.under_way.next().now_or_never() else { break };
            self.step(step)?;
        }
        Ok(())
    }

    /// Waits for everything under way.
    pub(crate) async fn finish_steps(&mut self) -> Result<(), Close> {
        self.flush();
        while let Some(step) = self.under_way.next().await {
            self.step(step)?;
        }
        Ok(())
    }

    /// A topic's place in the log, remembered as long as no topic is created or deleted.
    pub(crate) fn located(&mut self, topic: &Bytes, name: &str) -> Option<Located> {
        let image = self.broker.hub.image();
        if !Arc::ptr_eq(&image, &self.located_in) || self.located.len() >= LOCATED_MAX {
            self.located.clear();
            self.located_in = image;
        }
        if let Some(l) = self.located.get(topic) {
            return Some(l.clone());
        }
        let l = self.broker.locate_now(name, &self.located_in)?;
        self.located.insert(Bytes::copy_from_slice(topic), l.clone());
        Some(l)
    }

    /// Says goodbye, closes the socket, waits for what is under way and puts the session back.
    pub(super) async fn end(mut self, close: Close, seat: &Arc<Seat>) {
        self.flush();
        let how = match &close {
            Close::Disconnected | Close::Idle => Ended::Cleanly,
            Close::Error(ReasonCode::SessionTakenOver, _) => Ended::TakenOver,
            _ => Ended::Badly,
        };
        match &close {
            Close::Disconnected | Close::Idle => {
                tracing::debug!(client = %self.name(), "client disconnected")
            }
            Close::Gone(why) => tracing::info!(client = %self.name(), peer = %self.peer, why, "client gone"),
            Close::Quiet(why) => {
                tracing::info!(client = %self.name(), peer = %self.peer, why, "client closed")
            }
            Close::Error(reason, why) => {
                tracing::info!(client = %self.name(), peer = %self.peer, %reason, why, "client closed");
            }
        }
        if self.link.is_some() {
            // Without DISCONNECT the other broker tells everybody that the bridge is away.
            if matches!(close, Close::Idle) {
                self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
            }
            farewell(&mut self.output, &mut self.stream).await;
        } else if let Close::Error(reason, why) = close {
            if self.version.is_v5() && reason.allowed_in(PacketType::Disconnect) {
                self.send_disconnect(reason, why);
            }
            farewell(&mut self.output, &mut self.stream).await;
        } else {
            let _ = self.stream.write(&mut self.output);
            self.stream.close();
        }
        let Self { broker, mut session, under_way, stream, .. } = self;
        drop(stream);
        // Until the log has answered nobody knows what this session holds.
        settle_steps(&mut session, under_way).await;
        broker.leave(seat, session, how).await;
    }
}
