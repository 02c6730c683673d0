//! The protocol side: packets in, bytes and events out; no I/O.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_codec::{
    Ack, ConnAck, Decoder, Disconnect, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe,
};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::inbound::{Inbound, Received, Token};
use crate::outbound::{Outbound, Send};

/// A message that came.
#[derive(Clone, Debug)]
pub struct Message {
    /// As it came.
    pub publish: Publish,
    /// To acknowledge it by.
    pub token: Token,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// CONNACK came. Without a session at the broker all that was open is void: tokens, and what was to be released.
    Connected {
        /// Whether the broker had a session of ours.
        session_present: bool,
    },
    /// SUBACK: each filter with the broker's answer.
    Subscribed(Vec<(String, ReasonCode)>),
    /// A message, to be acknowledged with [`crate::Client::acknowledge`] when QoS is above 0.
    Message(Message),
    /// PUBREL of a QoS 2 message: answer with [`crate::Client::complete`] when it is forgotten.
    Release(PacketId),
    /// A message of ours is through.
    Published {
        /// The tag it was published with.
        tag: u64,
        /// What the broker says.
        reason: ReasonCode,
    },
    /// There is no connection (any more); another attempt follows.
    Lost(Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection.
    Idle,
    /// CONNECT is sent.
    Connecting,
    /// CONNACK came.
    Active,
    /// DISCONNECT was sent.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Session {
    config: Config,
    state: State,
    pub(crate) out: BytesMut,
    pub(crate) events: VecDeque<Event>,
    decoder: Decoder,
    pub(crate) inbound: Inbound,
    outbound: Outbound,
    /// Whether the broker knows our subscriptions.
    subscribed: bool,
    subscribing: Option<PacketId>,
    keep_alive: Duration,
    /// CONNACK or a packet must come until then.
    answer_by: Option<Instant>,
    /// Something must be sent until then.
    send_by: Option<Instant>,
    qos_max: QoS,
    retain_available: bool,
    packet_size_max: usize,
}

impl Session {
    pub(crate) fn new(config: Config) -> Self {
        let mut config = config;
        config.connect.properties.receive_maximum = Some(config.in_flight_max.max(1));
        Self {
            state: State::Idle,
            out: BytesMut::new(),
            events: VecDeque::new(),
            decoder: Decoder::for_client(config.connect.version, config.packet_size_max),
            inbound: Inbound::new(config.received.clone()),
            outbound: Outbound::default(),
            subscribed: false,
            subscribing: None,
            keep_alive: Duration::ZERO,
            answer_by: None,
            send_by: None,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            packet_size_max: usize::MAX,
            config,
        }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.config.connect.version
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outbound.len()
    }

    fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        Ok(packet.encode(self.config.connect.version, &mut self.out)?)
    }

    /// A connection is open: CONNECT.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Error> {
        self.state = State::Connecting;
        self.out.clear();
        self.decoder = Decoder::for_client(self.version(), self.config.packet_size_max);
        self.subscribing = None;
        self.keep_alive = Duration::from_secs(self.config.connect.keep_alive.into());
        self.answer_by = Some(now + self.config.connect_timeout);
        self.send_by = None;
        let connect = Packet::Connect(Box::new(self.config.connect.clone()));
        self.send(&connect)
    }

    /// The connection has ended.
    pub(crate) fn lost(&mut self, error: Error) {
        // A broker that does not know MQTT 5 says so, or just hangs up.
        let refused = matches!(&error, Error::Refused { reason: ReasonCode::UnsupportedProtocolVersion, .. });
        if refused && self.config.fall_back && self.version().is_v5() {
            tracing::info!("the broker knows no MQTT 5: going on with 3.1.1");
            self.config.connect.version = ProtocolVersion::V311;
        }
        self.state = State::Idle;
        self.out.clear();
        self.inbound.connection_lost();
        self.outbound.connection_lost();
        self.events.push_back(Event::Lost(error));
    }

    /// Takes whole packets out of `input`.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), Error> {
        let mut any = false;
        while let Some(packet) = self.decoder.decode(input)? {
            any = true;
            self.packet(packet, now)?;
        }
        if any && self.state == State::Active {
            self.answer_by = None;
        }
        Ok(())
    }

    fn packet(&mut self, packet: Packet, now: Instant) -> Result<(), Error> {
        match (self.state, packet) {
            (State::Connecting, Packet::ConnAck(connack)) => self.connack(*connack, now),
            (State::Connecting, Packet::Auth(_)) => {
                Err(Error::Protocol("AUTH, though no method was named".to_owned()))
            }
            (State::Connecting, other) => {
                Err(Error::Protocol(format!("{:?} before CONNACK", other.packet_type())))
            }
            (_, Packet::Publish(publish)) => self.message(publish),
            (_, Packet::PubAck(ack)) => self.finished(ack, QoS::AtLeastOnce),
            (_, Packet::PubComp(ack)) => self.finished(ack, QoS::ExactlyOnce),
            (_, Packet::PubRec(ack)) if ack.reason.is_error() => self.finished(ack, QoS::ExactlyOnce),
            (_, Packet::PubRec(ack)) => {
                let id = ack.packet_id;
                let known = self.outbound.release(id);
                let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                self.send(&Packet::PubRel(Ack::with_reason(id, reason)))
            }
            (_, Packet::PubRel(ack)) => {
                let id = ack.packet_id;
                if self.inbound.is_recorded(id.get()) {
                    self.events.push_back(Event::Release(id));
                    return Ok(());
                }
                self.send(&Packet::PubComp(Ack::with_reason(id, ReasonCode::PacketIdentifierNotFound)))
            }
            (_, Packet::SubAck(suback)) => {
                if self.subscribing.take_if(|id| *id == suback.packet_id).is_some() {
                    self.subscribed = true;
                    let filters = self.config.subscriptions.iter().map(|s| s.filter.clone());
                    self.events.push_back(Event::Subscribed(filters.zip(suback.reasons).collect()));
                }
                Ok(())
            }
            (_, Packet::PingResp) => Ok(()),
            (_, Packet::Disconnect(d)) => {
                Err(Error::Disconnected { reason: d.reason, text: d.properties.reason_string })
            }
            (_, other) => Err(Error::Protocol(format!("unexpected {:?}", other.packet_type()))),
        }
    }

    fn connack(&mut self, connack: ConnAck, now: Instant) -> Result<(), Error> {
        let ConnAck { session_present, reason, properties } = connack;
        if reason != ReasonCode::Success {
            return Err(Error::Refused { reason, text: properties.reason_string });
        }
        if let Some(id) = properties.assigned_client_identifier {
            self.config.connect.client_id = id;
        }
        if let Some(seconds) = properties.server_keep_alive {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        self.qos_max = properties.maximum_qos.unwrap_or(QoS::ExactlyOnce);
        self.retain_available = properties.retain_available.unwrap_or(true);
        let max = properties.maximum_packet_size.and_then(|n| usize::try_from(n).ok());
        self.packet_size_max = max.unwrap_or(usize::MAX);
        let quota = properties.receive_maximum.unwrap_or(u16::MAX).min(self.config.in_flight_max);
        self.state = State::Active;
        self.answer_by = None;
        self.sent(now);
        if !session_present {
            self.inbound.session_lost();
            self.subscribed = false;
        }
        self.events.push_back(Event::Connected { session_present });
        let through = self.outbound.begin(quota.max(1), session_present);
        let done = |tag| Event::Published { tag, reason: ReasonCode::Success };
        self.events.extend(through.into_iter().map(done));
        if self.config.subscribe_at_once {
            self.subscribe()?;
        }
        self.send_waiting()
    }

    /// Subscribes when that is needed and possible.
    pub(crate) fn subscribe(&mut self) -> Result<(), Error> {
        let needed = !self.subscribed && self.subscribing.is_none() && !self.config.subscriptions.is_empty();
        if !needed || self.state != State::Active {
            return Ok(());
        }
        // From the top of the range, away from those of messages.
        let id = PacketId::new(u16::MAX).unwrap_or(PacketId::MIN);
        self.subscribing = Some(id);
        self.send(&Packet::Subscribe(Subscribe::new(id, self.config.subscriptions.clone())))
    }

    fn message(&mut self, publish: Publish) -> Result<(), Error> {
        if publish.topic.is_empty() {
            return Err(Error::Protocol("a topic alias, though none was allowed".to_owned()));
        }
        match self.inbound.receive(&publish) {
            Received::New(token) => self.events.push_back(Event::Message(Message { publish, token })),
            Received::Pending => {}
            Received::Recorded => {
                let id = publish.packet_id.unwrap_or(PacketId::MIN);
                self.send(&Packet::PubRec(Ack::new(id)))?;
            }
        }
        if self.version().is_v5() && self.inbound.unacknowledged() > usize::from(self.config.in_flight_max) {
            return Err(Error::Protocol("more messages in flight than the receive maximum".to_owned()));
        }
        self.flush_acknowledgements()
    }

    /// The caller has done with a message.
    pub(crate) fn acknowledge(&mut self, token: Token) -> Result<(), Error> {
        self.inbound.done(token);
        self.flush_acknowledgements()
    }

    fn flush_acknowledgements(&mut self) -> Result<(), Error> {
        if self.state != State::Active {
            return Ok(());
        }
        while let Some(id) = self.inbound.pop_puback() {
            self.send(&Packet::PubAck(Ack::new(PacketId::new(id).unwrap_or(PacketId::MIN))))?;
        }
        while let Some(id) = self.inbound.pop_pubrec() {
            self.send(&Packet::PubRec(Ack::new(PacketId::new(id).unwrap_or(PacketId::MIN))))?;
        }
        Ok(())
    }

    /// The caller has forgotten a QoS 2 message: PUBCOMP.
    pub(crate) fn complete(&mut self, id: PacketId) -> Result<(), Error> {
        self.inbound.complete(id.get());
        if self.state != State::Active {
            // PUBREL comes again on the next connection, and is answered at once.
            return Ok(());
        }
        self.send(&Packet::PubComp(Ack::new(id)))
    }

    /// Publishes; `tag` comes back in [`Event::Published`], for QoS 0 at once.
    pub(crate) fn publish(&mut self, tag: u64, mut message: Publish) -> Result<(), Error> {
        message.qos = message.qos.min(self.qos_max);
        message.retain &= self.retain_available;
        message.packet_id = (message.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        let size = message.head().packet_len(self.version(), message.payload.len())?;
        if size > self.packet_size_max {
            return Err(Error::Invalid(format!(
                "the message takes {size} bytes, the broker accepts {}",
                self.packet_size_max
            )));
        }
        if message.qos == QoS::AtMostOnce {
            if self.state == State::Active {
                message.encode(self.version(), &mut self.out)?;
            }
            self.events.push_back(Event::Published { tag, reason: ReasonCode::Success });
            return Ok(());
        }
        if !self.outbound.push(tag, message) {
            return Err(Error::Invalid("all packet identifiers are in use".to_owned()));
        }
        self.send_waiting()
    }

    fn send_waiting(&mut self) -> Result<(), Error> {
        if self.state != State::Active {
            return Ok(());
        }
        while let Some(next) = self.outbound.next() {
            match next {
                Send::Publish(message) => message.encode(self.version(), &mut self.out)?,
                Send::PubRel(id) => self.send(&Packet::PubRel(Ack::new(id)))?,
            }
        }
        Ok(())
    }

    fn finished(&mut self, ack: Ack, qos: QoS) -> Result<(), Error> {
        let wrong = |()| Error::Protocol("an acknowledgement of another QoS than the message's".to_owned());
        if let Some(tag) = self.outbound.finish(ack.packet_id, qos).map_err(wrong)? {
            self.events.push_back(Event::Published { tag, reason: ack.reason });
        }
        self.send_waiting()
    }

    /// Ends the connection in order.
    pub(crate) fn disconnect(&mut self) -> Result<(), Error> {
        if self.state == State::Active {
            self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)))?;
        }
        self.state = State::Closing;
        Ok(())
    }

    /// Something was written.
    pub(crate) fn sent(&mut self, now: Instant) {
        if self.state == State::Active && !self.keep_alive.is_zero() {
            self.send_by = Some(now + self.keep_alive);
        }
    }

    /// When [`Session::due`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.answer_by, self.send_by].into_iter().flatten().min()
    }

    /// A deadline has come; `reading` when what the broker sends is being read at all.
    pub(crate) fn due(&mut self, now: Instant, reading: bool) -> Result<(), Error> {
        if self.answer_by.is_some_and(|at| at <= now) {
            if reading {
                return Err(Error::Silent);
            }
            // The answer may lie in what is not read.
            self.answer_by = Some(now + self.keep_alive.max(Duration::from_secs(1)));
        }
        if self.send_by.is_some_and(|at| at <= now) {
            self.send(&Packet::PingReq)?;
            self.sent(now);
            self.answer_by.get_or_insert(now + self.keep_alive);
        }
        Ok(())
    }
}
