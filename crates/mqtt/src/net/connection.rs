//! One client's connection: reads packets, acts on them, writes acknowledgements in their order and deliveries as
//! the window allows.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use client::door::{DoorError, TopicImage};
use futures_util::FutureExt;
use hashbrown::HashMap;
use mqtt_codec::{
    Ack, AckProperties, DecodeError, Decoder, Disconnect, Packet, PacketId, PacketType, Property,
    ProtocolVersion, PublishHead, QoS, ReasonCode, UserProperty,
};

use super::alarm::Alarm;
use super::aliases::{Alias, Aliases};
use super::establish::{Guest, Identity};
use super::gathered::{Gathered, Sent, settle_published};
use super::listener::Listener;
use super::outbuf::OutBuf;
use super::stream::Stream;
use super::under_way::UnderWay;
use crate::auth::{Access, Rights};
use crate::broker::{Broker, Located, reason_of};
use crate::config::AckLevel;
use crate::deliver::{Delivery, Partition, ShareGroup};
use crate::message::now_ms;
use crate::packet::{auth, connect};
use crate::session::record::SlotState;
use crate::session::{Next, Origin, Resend, Seat, Session};
use crate::stats::Stats;
use crate::will::{Ended, show};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;
/// Deliveries taken from the queue at a time.
const TAKE: usize = 256;
/// How often the output is filled and written before others get their turn.
const WRITES_A_TURN: usize = 8;
/// Packets handled before others get their turn.
const PACKETS_A_TURN: usize = 256;
/// How long a last word (DISCONNECT, CONNACK with an error) may take to be written.
const FAREWELL: Duration = Duration::from_millis(500);
/// Topics whose place in the log a connection remembers.
const LOCATED_MAX: usize = 256;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Close {
    /// DISCONNECT without a will.
    Disconnected,
    /// The client is gone, or asked for its will.
    Gone(String),
    /// We end it: reason for the client, words for the log.
    Error(ReasonCode, String),
    /// We end it without a word to the client, as Mosquitto does for wrong acknowledgements and packets that no
    /// client sends.
    Quiet(String),
}

impl Close {
    /// We end it.
    pub(crate) fn error(reason: ReasonCode, why: &str) -> Self {
        Self::Error(reason, why.to_owned())
    }

    /// The log failed where nothing weaker than closing keeps what was promised.
    pub(crate) fn storage(error: &DoorError) -> Self {
        Self::Error(reason_of(error), format!("the commit log failed: {error}"))
    }

    fn io(error: &io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

impl From<DecodeError> for Close {
    fn from(e: DecodeError) -> Self {
        use PacketType as P;
        let packet = match &e {
            DecodeError::Invalid { packet, .. } | DecodeError::Unexpected { packet, .. } => Some(*packet),
            _ => None,
        };
        // Where the specification leaves a choice, Mosquitto's.
        let reason = match (packet, &e) {
            (Some(P::Subscribe | P::Unsubscribe), _) => ReasonCode::MalformedPacket,
            (Some(P::Publish), DecodeError::Invalid { problem: "holds a wildcard", .. }) => {
                ReasonCode::ProtocolError
            }
            (Some(P::Publish | P::Disconnect | P::Auth), _) | (None, _) => e.reason(),
            _ => return Self::Quiet(e.to_string()),
        };
        Self::Error(reason, e.to_string())
    }
}

/// Something that was under way and has ended.
#[derive(Debug)]
pub(crate) enum Step {
    /// A publish is in the log, or not.
    Published { sent: Sent, result: Result<Option<(Arc<Partition>, i64)>, DoorError> },
    /// Publishes that were gathered are in the log, or not.
    AllPublished { partition: Arc<Partition>, publishes: Vec<Sent>, results: Vec<Result<i64, DoorError>> },
    /// A publish was not accepted.
    Refused { id: Option<PacketId>, qos: QoS, reason: ReasonCode, why: &'static str },
    /// The release of an inbound QoS 2 publish is in the log, or not.
    Released { id: PacketId, result: Result<(), DoorError> },
    /// PUBREL for something unknown.
    Unreleased { id: PacketId, reason: ReasonCode },
    /// The slot of an outbound QoS 2 publish is in the log, or not.
    SlotStored { id: PacketId, result: Result<(), DoorError> },
    /// The PUBREC of an outbound QoS 2 publish is in the log, or not.
    ReleaseStored { id: PacketId, result: Result<(), DoorError> },
}

/// A connected client.
pub(crate) struct Connection {
    pub(crate) broker: Arc<Broker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) session: Box<Session>,
    pub(crate) version: ProtocolVersion,
    /// Topic aliases set by the client.
    pub(crate) aliases: Vec<Bytes>,
    /// Topic aliases set by us.
    outgoing_aliases: Aliases,
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
    since_ms: i64,
    /// How the client may prove itself again.
    pub(crate) reauthentication: Option<auth::Reauthentication>,
    /// What the client may do.
    pub(crate) rights: Rights,
    /// The client's maximum packet size, bytes.
    pub(crate) packet_size_max: usize,
    /// What the client wants to be told.
    pub(crate) tells: connect::Tells,
    decoder: Decoder,
    input: BytesMut,
    stream: Stream,
    peer: SocketAddr,
    output: OutBuf,
    pub(super) gathered: Option<Gathered>,
    pub(super) under_way: UnderWay,
    /// What the client sent and got no answer to: gathered or under way.
    pub(super) unanswered: usize,
    alarm: Alarm,
    deliveries: Vec<Delivery>,
    heard: Instant,
    checkpoint_due: Option<Instant>,
    located: HashMap<Bytes, Located>,
    located_in: Arc<TopicImage>,
}

/// Serves one client from its first byte of MQTT to its last.
pub(super) async fn serve(
    broker: Arc<Broker>,
    listener: Arc<Listener>,
    mut stream: Stream,
    mut guest: Guest,
) {
    let peer = guest.peer;
    let mut decoder = Decoder::for_server(broker.config.limits.max_connect_size);
    let mut input = BytesMut::new();
    let first = read_connect(&broker, &mut decoder, &mut input, &mut stream);
    let packet = match tokio::time::timeout_at(guest.deadline, first).await {
        Ok(Ok(Some(packet))) => packet,
        Ok(Ok(None)) => return,
        Ok(Err(close)) => {
            tracing::info!(%peer, ?close, "no MQTT connection");
            if let Close::Error(reason, _) = close {
                let mut out = OutBuf::default();
                connect::refuse_early(&mut out, &input, reason);
                farewell(&mut out, &mut stream).await;
            }
            return;
        }
        Err(_) => {
            tracing::info!(%peer, "no CONNECT in time");
            return;
        }
    };
    let Packet::Connect(packet) = packet else { return };
    let (version, is_bridge) = (packet.version, packet.bridge);
    let tells = connect::Tells::of(&packet);
    let mut reauthentication = None;
    let entered = match packet.properties.authentication_method.clone() {
        _ if guest.is_beyond => {
            Err(connect::Refused::new(ReasonCode::UseAnotherServer, "too many connections"))
        }
        None => connect::enter(&broker, &listener, *packet, &guest).await,
        Some(method) => {
            let mut step = ReadStep {
                broker: &broker,
                decoder: &mut decoder,
                input: &mut input,
                stream: &mut stream,
                deadline: guest.deadline,
            };
            match auth::prove(&mut step, &listener, &packet, &method).await {
                Ok(proven) => {
                    let key = proven.stored_key.clone();
                    guest.identity = Identity::Scram(proven.user.clone(), proven.mechanism, key);
                    let entered = connect::enter(&broker, &listener, *packet, &guest).await;
                    reauthentication = Some(auth::Reauthentication::new(proven.mechanism));
                    entered.map(|mut e| {
                        let properties = &mut e.connack.properties;
                        properties.authentication_method = Some(proven.mechanism.name().to_owned());
                        properties.authentication_data = Some(proven.server_final.into());
                        e
                    })
                }
                Err(Some(refused)) => Err(refused),
                Err(None) => return,
            }
        }
    };
    let entered = match entered {
        Ok(entered) => entered,
        Err(refused) => {
            tracing::info!(%peer, reason = %refused.reason, why = refused.why, "connection refused");
            let mut out = OutBuf::default();
            let connack = refused.connack(&broker, tells);
            if Packet::ConnAck(Box::new(connack)).encode(version, out.encode_to()).is_ok() {
                farewell(&mut out, &mut stream).await;
            }
            return;
        }
    };
    Stats::add(&broker.stats.connects, 1);
    broker.stats.client_connected();
    decoder.set_packet_size_max(broker.config.limits.max_packet_size);
    let connect::Entered {
        session,
        seat,
        mut kick,
        ended,
        connack,
        keep_alive,
        receive_maximum,
        window,
        packet_size_max,
        login,
    } = entered;
    let receiving = session.inbound.len();
    let mut connection = Connection {
        no_local: session.consumer.has_no_local(),
        shares: broker.hub.shares_of(&session.consumer),
        listener,
        session,
        version,
        aliases: Vec::new(),
        outgoing_aliases: Aliases::new(tells.aliases.min(broker.config.limits.max_outgoing_aliases)),
        receiving,
        receive_maximum,
        keep_alive,
        is_bridge,
        since_ms: now_ms(),
        reauthentication,
        rights: Rights::new(login),
        packet_size_max,
        tells,
        decoder,
        input,
        stream,
        peer,
        output: OutBuf::default(),
        gathered: None,
        under_way: UnderWay::default(),
        unanswered: 0,
        alarm: Alarm::default(),
        deliveries: Vec::new(),
        heard: Instant::now(),
        checkpoint_due: None,
        located: HashMap::new(),
        located_in: broker.hub.image(),
        broker: broker.clone(),
    };
    connection.session.outbound.set_window(window);
    connection.session.inbound.new_connection();
    connection.send(&Packet::ConnAck(Box::new(connack)));
    let connack_fits = connection.output.len() <= packet_size_max;
    if !connack_fits {
        connection.output = OutBuf::default();
    }
    // A panic must cost this connection only, and not its session.
    let run = std::panic::AssertUnwindSafe(async {
        if connack_fits {
            connection.run().await
        } else {
            Close::Quiet("CONNACK is larger than the client's maximum packet size".to_owned())
        }
    });
    let close = tokio::select! {
        biased;
        reason = &mut kick => {
            let reason = reason.unwrap_or(ReasonCode::ServerShuttingDown);
            Close::Error(reason, reason.name().to_owned())
        }
        close = run.catch_unwind() => close.unwrap_or_else(|_| {
            tracing::error!(%peer, "a connection panicked; it is closed, the session stays");
            Close::error(ReasonCode::UnspecifiedError, "internal error")
        }),
    };
    connection.end(close, &seat).await;
    broker.stats.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    let _ = ended.send(true);
    broker.registry.remove_if_empty(&seat);
}

/// Reads packets before there is a session.
pub(crate) struct ReadStep<'a> {
    broker: &'a Broker,
    decoder: &'a mut Decoder,
    input: &'a mut BytesMut,
    stream: &'a mut Stream,
    deadline: tokio::time::Instant,
}

impl ReadStep<'_> {
    /// Sends AUTH and waits for what the client says to it; `None` when it says nothing (any more).
    pub(crate) async fn ask(&mut self, packet: &Packet) -> Option<Packet> {
        let mut out = OutBuf::default();
        packet.encode(ProtocolVersion::V5, out.encode_to()).ok()?;
        let exchange = async {
            while !out.is_empty() {
                self.stream.writable().await.ok()?;
                self.stream.write(&mut out).ok()?;
            }
            read_connect(self.broker, self.decoder, self.input, self.stream).await.ok().flatten()
        };
        tokio::time::timeout_at(self.deadline, exchange).await.ok().flatten()
    }
}

async fn read_connect(
    broker: &Broker,
    decoder: &mut Decoder,
    input: &mut BytesMut,
    stream: &mut Stream,
) -> Result<Option<Packet>, Close> {
    loop {
        if let mqtt_codec::Framing::Whole(_) = decoder.peek(input)? {
            // A copy, because a refusal has to look at the bytes once more.
            let mut bytes = input.clone();
            let packet = decoder.decode(&mut bytes)?;
            Stats::add(&broker.stats.packets_received, 1);
            *input = bytes;
            return Ok(packet);
        }
        wait_to_read(stream).await.map_err(|e| Close::io(&e))?;
        input.reserve(if input.is_empty() { 512 } else { READ_BYTES });
        match stream.read(input) {
            Ok(0) => return Ok(None),
            Ok(n) => Stats::add(&broker.stats.bytes_received, n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Close::io(&e)),
        }
    }
}

/// Waits until there may be something to read; what the layers still have to write goes out meanwhile.
pub(super) async fn wait_to_read(stream: &mut Stream) -> io::Result<()> {
    loop {
        if !stream.is_pending() {
            return stream.readable().await;
        }
        tokio::select! {
            ready = stream.readable() => return ready,
            ready = stream.writable() => ready?,
        }
        stream.flush()?;
    }
}

/// Writes what is left, for a short time.
pub(super) async fn farewell(out: &mut OutBuf, stream: &mut Stream) {
    let write = async {
        let mut closing = false;
        while !out.is_empty() || stream.is_pending() || !closing {
            if out.is_empty() && !closing {
                closing = true;
                stream.close();
                continue;
            }
            if stream.writable().await.is_err() || stream.write(out).is_err() || stream.flush().is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, write).await;
}

impl Connection {
    /// The client id, for logs.
    pub(crate) fn name(&self) -> String {
        show(&self.session.client_id)
    }

    async fn run(&mut self) -> Close {
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
        let deadline = self.deadline();
        // In no fixed order: a flood of deliveries shall not keep us from reading, nor the other way round.
        tokio::select! {
            step = self.under_way.next(), if !self.under_way.is_empty() => {
                if let Some(step) = step {
                    self.step(step)?;
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
        self.unanswered < self.broker.config.limits.max_publishes_under_way && !self.output.is_full()
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
        [silent, self.checkpoint_due].into_iter().flatten().min()
    }

    async fn check_time(&mut self) -> Result<(), Close> {
        let now = Instant::now();
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

    fn step(&mut self, step: Step) -> Result<(), Close> {
        if let Step::AllPublished { partition, publishes, results } = step {
            return self.all_published(&partition, publishes, results);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        match step {
            Step::AllPublished { .. } => Ok(()),
            Step::Published { sent, result } => {
                let at = result.as_ref().map(|at| at.as_ref().map(|(p, offset)| (&**p, *offset)));
                self.published(sent, at.map_err(Clone::clone))
            }
            Step::Refused { id, qos, reason, why } => self.refused(id, qos, reason, why),
            Step::Released { id, result } => match result {
                Ok(()) => {
                    self.session.inbound.released(id);
                    self.receiving = self.receiving.saturating_sub(1);
                    self.send_ack(PacketType::PubComp, id, ReasonCode::Success);
                    Ok(())
                }
                Err(e) => {
                    self.session.inbound.release_failed(id);
                    Err(Close::storage(&e))
                }
            },
            Step::Unreleased { id, reason } => {
                self.send_ack(PacketType::PubComp, id, reason);
                Ok(())
            }
            Step::SlotStored { id, result } => {
                result.map_err(|e| Close::storage(&e))?;
                let origin = self.session.outbound.stored(id).map(|e| e.origin.clone());
                if let Some(origin) = origin {
                    self.send_publish(Some(id), &origin, false);
                }
                Ok(())
            }
            Step::ReleaseStored { id, result } => {
                result.map_err(|e| Close::storage(&e))?;
                if self.session.outbound.release_stored(id) {
                    self.send_pubrel(id, ReasonCode::Success);
                }
                Ok(())
            }
        }
    }

    pub(super) fn published(
        &mut self,
        sent: Sent,
        result: Result<Option<(&Partition, i64)>, DoorError>,
    ) -> Result<(), Close> {
        let Sent { id, qos, matched, level } = sent;
        let Some(id) = id else {
            if let Err(error) = result {
                Stats::add(&self.broker.stats.publish_dropped, 1);
                tracing::warn!(client = %self.name(), %error, "a QoS 0 message was dropped");
            }
            return Ok(());
        };
        let at = match result {
            Ok(at) => at,
            Err(error) => return self.not_stored(id, qos, &error),
        };
        let properties = match at.filter(|_| self.tells.position) {
            Some((partition, offset)) => coordinates(partition, offset, level),
            None => AckProperties::default(),
        };
        if qos == QoS::ExactlyOnce {
            self.session.inbound.stored(id, true);
            self.send_ack_with(PacketType::PubRec, id, ReasonCode::Success, properties);
        } else {
            self.receiving = self.receiving.saturating_sub(1);
            let reason = if matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            self.send_ack_with(PacketType::PubAck, id, reason, properties);
        }
        Ok(())
    }

    fn not_stored(&mut self, id: PacketId, qos: QoS, error: &DoorError) -> Result<(), Close> {
        tracing::warn!(client = %self.name(), %error, "a message was not accepted");
        let reason = reason_of(error);
        if !self.version.is_v5() {
            // MQTT 3 has no way to say no: better no answer than a false one.
            self.forget_refused(id, qos);
            return Err(Close::Error(reason, format!("a message was not accepted: {error}")));
        }
        self.refused(Some(id), qos, reason, &error.to_string())
    }

    fn forget_refused(&mut self, id: PacketId, qos: QoS) {
        self.receiving = self.receiving.saturating_sub(1);
        if qos == QoS::ExactlyOnce {
            self.session.inbound.stored(id, false);
        }
    }

    fn refused(
        &mut self,
        id: Option<PacketId>,
        qos: QoS,
        reason: ReasonCode,
        why: &str,
    ) -> Result<(), Close> {
        Stats::add(&self.broker.stats.publish_dropped, 1);
        let Some(id) = id else { return Ok(()) };
        if self.version.is_v5() || qos == QoS::AtLeastOnce {
            self.forget_refused(id, qos);
        } else {
            // An MQTT 3 client goes through with the whole exchange.
            self.session.inbound.stored(id, true);
        }
        let packet = if qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
        let reason_string = self.tells.reasons.then(|| why.to_owned());
        self.send_ack_with(packet, id, reason, AckProperties { reason_string, ..AckProperties::default() });
        Ok(())
    }

    /// Moves deliveries from the queue to the output, as far as output and window have room. Answers whether it
    /// ended for want of room in the output.
    fn take_deliveries(&mut self) -> bool {
        let mut more = true;
        while !self.output.is_full() {
            let mut deliveries = std::mem::take(&mut self.deliveries);
            self.session.consumer.take(TAKE, self.session.outbound.room(), &mut deliveries);
            let taken = deliveries.len();
            let now = now_ms();
            for delivery in deliveries.drain(..) {
                self.deliver(delivery, None, now);
            }
            self.deliveries = deliveries;
            if taken < TAKE {
                more = false;
                break;
            }
        }
        for at in 0..self.shares.len() {
            let Some(group) = self.shares.get(at).cloned() else { break };
            if self.output.is_full() {
                group.decline(&self.session.consumer);
                more = true;
                continue;
            }
            let mut deliveries = std::mem::take(&mut self.deliveries);
            group.take(&self.session.consumer, self.session.outbound.room(), &mut deliveries);
            for delivery in deliveries.drain(..) {
                self.deliver_shared(delivery, &group);
            }
            self.deliveries = deliveries;
        }
        more
    }

    /// Sends what was taken from a share group, as this member's own subscription says.
    fn deliver_shared(&mut self, mut delivery: Delivery, group: &Arc<ShareGroup>) {
        let Some(own) = self.session.consumer.subscription(&group.filter) else {
            group.give_back(vec![delivery]);
            return;
        };
        let taken = delivery.message.position.filter(|_| delivery.qos != QoS::AtMostOnce);
        delivery.qos = delivery.qos.min(own.qos);
        delivery.retain &= own.retain_as_published;
        delivery.subscription_ids = own.id.into_iter().collect();
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        let under_way = self.session.outbound.len();
        self.deliver(delivery, acknowledged.then(|| group.clone()), now_ms());
        // Sent with QoS 0, or dropped: nothing will be acknowledged.
        let over = !acknowledged || self.session.outbound.len() == under_way;
        if let Some(at) = taken.filter(|_| over) {
            group.done(at);
        }
    }

    fn deliver(&mut self, delivery: Delivery, share: Option<Arc<ShareGroup>>, now_ms: i64) {
        if !self.may_get(&delivery) {
            if delivery.qos != QoS::AtMostOnce {
                self.session.dirty = true;
                // As with Mosquitto what was queued while the client was away has used up a packet identifier.
                if delivery.message.stored_ms < self.since_ms && !delivery.from_retained {
                    self.session.outbound.skip_id();
                }
            }
            return;
        }
        if delivery.qos == QoS::AtMostOnce {
            self.send_publish(None, &delivery.into(), false);
            return;
        }
        self.session.dirty = true;
        if delivery.message.life_left(now_ms).is_none() || self.is_too_large(&delivery) {
            // As with Mosquitto it has used up its packet identifier.
            if !delivery.from_retained {
                self.session.outbound.skip_id();
            }
            Stats::add(&self.broker.stats.publish_dropped, 1);
            return;
        }
        let origin = Origin { share, ..Origin::from(delivery) };
        let durable = self.session.is_persistent() && origin.position.is_some();
        let (id, next) = self.session.outbound.admit(origin.clone(), durable);
        match next {
            Next::Send => self.send_publish(Some(id), &origin, false),
            Next::Store(slot) => self.store_slot(id, slot, &origin),
        }
    }

    fn may_get(&mut self, delivery: &Delivery) -> bool {
        let topic = &delivery.message.publication.topic;
        if !self.rights.allow(Access::Read, topic) {
            return false;
        }
        let Some(kafka) = &mut self.rights.kafka else { return true };
        let hub = &self.broker.hub;
        match delivery.message.position {
            None => kafka.may_watch(),
            Some(_) if delivery.from_retained => {
                kafka.may_read(&hub.routes.target(delivery.message.topic()).topic)
            }
            Some(at) => hub.partitions.by_id(at.partition).is_some_and(|p| kafka.may_read(&p.name.topic)),
        }
    }

    /// Writes a QoS 2 delivery's packet identifier; PUBLISH follows.
    fn store_slot(&mut self, id: PacketId, slot: u16, origin: &Origin) {
        let part = self.broker.store.slot(&mut self.session, slot, id, origin, SlotState::Publish);
        let Some(part) = part else {
            self.session.outbound.give_up(id);
            return;
        };
        let written = self.broker.store.write(&self.session.client_id, vec![part]);
        self.later(async move { Step::SlotStored { id, result: written.await } });
    }

    fn is_too_large(&self, d: &Delivery) -> bool {
        let p = &d.message.publication;
        let least = p.topic.len() + p.payload.len() + p.properties.properties().as_bytes().len();
        // The exact length is looked at only where it can matter.
        least + 32 + 5 * d.subscription_ids.len() > self.packet_size_max
            && self.head_len(d).is_none_or(|len| len > self.packet_size_max)
    }

    fn head_len(&self, d: &Delivery) -> Option<usize> {
        let p = &d.message.publication;
        let topic = self.unmounted(d.message.topic());
        let alias = self.outgoing_aliases.of(topic.as_bytes());
        let extra = extra_properties(&d.subscription_ids, p.expiry_s, alias);
        let head = PublishHead {
            dup: false,
            qos: d.qos,
            retain: d.retain,
            topic: if matches!(alias, Alias::Known(_)) { "" } else { topic },
            packet_id: (d.qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            properties: p.properties.properties(),
            extra: &extra,
        };
        head.packet_len(self.version, p.payload.len()).ok()
    }

    fn unmounted<'t>(&self, topic: &'t str) -> &'t str {
        unmounted(&self.listener, topic)
    }

    /// Writes PUBLISH. One that cannot be sent (expired, too large) is left out and counts as delivered.
    fn send_publish(&mut self, id: Option<PacketId>, origin: &Origin, dup: bool) {
        let Some(message) = &origin.message else { return };
        let p = &message.publication;
        let left = message.life_left(now_ms());
        // What was sent before is sent again even when it has expired since: the exchange has to end.
        let expiry = left.unwrap_or(dup.then_some(0));
        let mount = self.listener.clone();
        let topic = unmounted(&mount, message.topic());
        let alias = self.outgoing_aliases.of(topic.as_bytes());
        let fits = {
            let extra = extra_properties(&origin.subscription_ids, expiry, alias);
            let head = PublishHead {
                dup,
                qos: if id.is_some() { origin.qos } else { QoS::AtMostOnce },
                retain: origin.retain,
                topic: if matches!(alias, Alias::Known(_)) { "" } else { topic },
                packet_id: id,
                properties: p.properties.properties(),
                extra: &extra,
            };
            let too_large = self.packet_size_max < usize::MAX
                && head.packet_len(self.version, p.payload.len()).is_ok_and(|len| len > self.packet_size_max);
            (left.is_some() || dup)
                && !too_large
                && head.encode(self.version, p.payload.len(), self.output.encode_to()).is_ok()
        };
        if !fits {
            Stats::add(&self.broker.stats.publish_dropped, 1);
            if let Some(id) = id {
                self.session.outbound.give_up(id);
            }
            return;
        }
        self.outgoing_aliases.sent(topic.as_bytes(), alias);
        self.output.put_payload(&p.payload);
        Stats::add(&self.broker.stats.packets_sent, 1);
        Stats::add(&self.broker.stats.publish_sent, 1);
        Stats::add(&self.broker.stats.publish_bytes_sent, p.payload.len());
    }

    /// Writes PUBREL.
    pub(crate) fn send_pubrel(&mut self, id: PacketId, reason: ReasonCode) {
        self.send_ack(PacketType::PubRel, id, reason);
    }

    /// Writes one of the four acknowledgements.
    pub(crate) fn send_ack(&mut self, packet: PacketType, id: PacketId, reason: ReasonCode) {
        self.send_ack_with(packet, id, reason, AckProperties::default());
    }

    /// Writes one of the four acknowledgements, with properties as far as the client wants and can take them.
    pub(crate) fn send_ack_with(
        &mut self,
        packet: PacketType,
        id: PacketId,
        reason: ReasonCode,
        properties: AckProperties,
    ) {
        Stats::add(&self.broker.stats.packets_sent, 1);
        if self.version.is_v5() && !reason.allowed_in(packet) {
            // "Packet too large" is none of PUBACK's reasons, but what Mosquitto says, and clients understand it.
            let [high, low] = id.get().to_be_bytes();
            self.output.encode_to().extend_from_slice(&[(packet as u8) << 4, 3, high, low, reason.as_u8()]);
            return;
        }
        let mut ack = Ack::with_reason(id, reason);
        if self.tells.problems && ack_bytes_max(&properties) <= self.packet_size_max {
            ack.properties = properties;
        }
        if let Err(error) = ack.encode(packet, self.version, self.output.encode_to()) {
            tracing::error!(client = %self.name(), %packet, %error, "cannot write an acknowledgement");
        }
    }

    /// Writes any packet.
    pub(crate) fn send(&mut self, packet: &Packet) {
        Stats::add(&self.broker.stats.packets_sent, 1);
        if let Err(error) = packet.encode(self.version, self.output.encode_to()) {
            tracing::error!(client = %self.name(), packet = %packet.packet_type(), %error, "cannot write a packet");
        }
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

    fn send_disconnect(&mut self, reason: ReasonCode, why: String) {
        let mut packet = Disconnect::new(reason);
        if let (ReasonCode::ServerShuttingDown, Some(other)) = (reason, &self.broker.config.redirect) {
            packet.reason = ReasonCode::UseAnotherServer;
            packet.properties.server_reference = Some(other.reference.clone());
        }
        let fits = 12 + why.len() <= self.packet_size_max;
        packet.properties.reason_string = Some(why).filter(|_| self.tells.reasons && fits);
        self.send(&Packet::Disconnect(packet));
    }

    /// Says goodbye, closes the socket, waits for what is under way and puts the session back.
    async fn end(mut self, close: Close, seat: &Arc<Seat>) {
        self.flush();
        let how = match &close {
            Close::Disconnected => Ended::Cleanly,
            Close::Error(ReasonCode::SessionTakenOver, _) => Ended::TakenOver,
            _ => Ended::Badly,
        };
        match &close {
            Close::Disconnected => tracing::debug!(client = %self.name(), "client disconnected"),
            Close::Gone(why) => tracing::info!(client = %self.name(), peer = %self.peer, why, "client gone"),
            Close::Quiet(why) => {
                tracing::info!(client = %self.name(), peer = %self.peer, why, "client closed")
            }
            Close::Error(reason, why) => {
                tracing::info!(client = %self.name(), peer = %self.peer, %reason, why, "client closed");
            }
        }
        if let Close::Error(reason, why) = close {
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

/// Takes note of how everything under way ended.
async fn settle_steps(session: &mut Session, mut under_way: UnderWay) {
    while let Some(step) = under_way.next().await {
        match step {
            Step::Published { sent, result } => settle_published(session, sent, result.is_ok()),
            Step::AllPublished { publishes, results, .. } => {
                for (sent, result) in publishes.into_iter().zip(results) {
                    settle_published(session, sent, result.is_ok());
                }
            }
            Step::Refused { id: Some(id), qos: QoS::ExactlyOnce, .. } => session.inbound.stored(id, false),
            Step::Released { id, result: Ok(()) } => session.inbound.released(id),
            Step::Released { id, .. } => session.inbound.release_failed(id),
            _ => {}
        }
    }
    session.inbound.forget_unstored();
}

/// Where a record stands and what its ack means.
fn coordinates(partition: &Partition, offset: i64, level: AckLevel) -> AckProperties {
    let level = match level {
        AckLevel::Fsync => "fsync",
        AckLevel::Memory => "memory",
    };
    let user_properties = vec![
        UserProperty::new(connect::POSITION, format!("{}-{offset}", partition.name)),
        UserProperty::new("mqtt.ack", level),
    ];
    AckProperties { reason_string: None, user_properties }
}

/// At least what an acknowledgement with these properties takes.
fn ack_bytes_max(properties: &AckProperties) -> usize {
    let users = properties.user_properties.iter().map(|u| 5 + u.name.len() + u.value.len());
    let reason = properties.reason_string.as_ref().map_or(0, |s| 3 + s.len());
    12 + reason + users.sum::<usize>()
}

/// A topic as the clients of a listener know it.
fn unmounted<'t>(listener: &Listener, topic: &'t str) -> &'t str {
    let mount = listener.config.mount_point.as_deref();
    mount.and_then(|m| topic.strip_prefix(m)).filter(|t| !t.is_empty()).unwrap_or(topic)
}

fn extra_properties(subscription_ids: &[u32], expiry: Option<u32>, alias: Alias) -> Vec<Property<'static>> {
    let ids = subscription_ids.iter().map(|id| Property::SubscriptionIdentifier(*id));
    let alias = alias.number().map(Property::TopicAlias);
    ids.chain(expiry.map(Property::MessageExpiryInterval)).chain(alias).collect()
}
