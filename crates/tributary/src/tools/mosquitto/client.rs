//! An MQTT client as the three tools need it: one connection, QoS flows, keep alive, connecting again.
//!
//! [`Client`] itself does no I/O: it takes packets, changes its state, and leaves bytes to send and [`Event`]s.
//! [`run`] moves the bytes and hands the events to the tool.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{
    Ack, Connect, Decoder, Disconnect, PACKET_SIZE_MAX, Packet, PacketId, PropertiesBuf, ProtocolVersion,
    Publish, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::{self, Stream};
use super::failure::Failure;
use super::options::Options;
use super::property::Command;

/// Time between two attempts to connect again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Bytes read at once.
const READ_CHUNK: usize = 64 * 1024;

/// What happened, for the tool to react to.
#[derive(Debug)]
pub enum Event {
    /// CONNACK: 0, or the code of the refusal (return code in MQTT 3, reason code in MQTT 5).
    Connected(u8),
    /// A message, once.
    Message(Publish),
    /// A message of ours is done: QoS 0 written, QoS 1 and 2 acknowledged.
    Published {
        /// Its packet identifier.
        id: u16,
        /// What the server says.
        reason: ReasonCode,
        /// And why.
        reason_string: Option<String>,
    },
    /// SUBACK, with a code for each filter.
    Subscribed {
        /// Packet identifier of the SUBSCRIBE.
        id: u16,
        /// Codes as on the wire.
        codes: Vec<u8>,
    },
    /// The connection ended as we asked.
    Closed,
    /// The connection broke; another will be tried.
    Lost,
}

/// What a tool does with events, and with what it waits for itself (input, time, signals).
pub trait Application {
    /// What it waits for.
    type Input;

    /// Waits for the next input; must lose nothing when dropped while waiting.
    fn wait(&mut self) -> impl Future<Output = Self::Input>;

    /// Reacts to its input.
    ///
    /// # Errors
    /// A [`Failure`] ends the tool.
    fn input(&mut self, client: &mut Client, input: Self::Input) -> Result<(), Failure>;

    /// Reacts to an event.
    ///
    /// # Errors
    /// A [`Failure`] ends the tool.
    fn event(&mut self, client: &mut Client, event: Event) -> Result<(), Failure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// CONNECT is sent, or there is no connection.
    Connecting,
    /// CONNACK came.
    Active,
    /// DISCONNECT was sent or came: no new connection.
    Finished,
}

/// How far an outgoing QoS 1 or 2 message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not sent on this connection, for lack of send quota.
    Waiting,
    /// Sent; PUBACK or PUBREC is awaited.
    Sent,
    /// PUBREL is sent; PUBCOMP is awaited.
    Released,
}

#[derive(Debug)]
struct Outgoing {
    message: Publish,
    progress: Progress,
    /// Sent on an earlier connection.
    sent_before: bool,
}

/// The protocol side of the client.
#[derive(Debug)]
pub struct Client {
    connect: Connect,
    /// Client identifier, if we have one.
    id: Option<String>,
    version: ProtocolVersion,
    debug: bool,
    connect_has_properties: bool,
    disconnect: Disconnect,
    disconnect_has_properties: bool,

    state: State,
    /// Bytes to send.
    out: BytesMut,
    events: VecDeque<Event>,
    /// Identifiers of QoS 0 messages that stand in `out`.
    unwritten: Vec<u16>,
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 messages whose PUBREL has not come.
    incoming: Vec<Publish>,
    receive_maximum: u16,
    send_quota_max: u32,
    last_id: u16,
    retain_available: bool,
    qos_max: QoS,
    packet_size_max: Option<u32>,
    keep_alive: u16,
    last_in: Instant,
    next_out: Instant,
    ping_sent: bool,
}

impl Client {
    /// A client for what the options say, and no connection.
    ///
    /// # Errors
    /// The text for standard error.
    pub fn new(options: &Options) -> Result<Self, String> {
        let v5 = options.version.is_v5();
        if options.id.as_deref() == Some("") || (options.id.is_none() && !options.clean) {
            return Err("Error: Invalid id.\n".into());
        }
        let will_properties = &options.will_properties;
        if options.will_topic.as_deref() == Some("") || (!v5 && !will_properties.is_empty()) {
            return Err("Error: Problem setting will.\n".into());
        }
        if options.password.is_some() && options.user_name.is_none() && !v5 {
            return Err("Error: Problem setting username and/or password.\n".into());
        }
        let id = match (&options.id, options.version) {
            // MQTT 3.1 knows no empty client identifier.
            (None, ProtocolVersion::V31) => Some(random_id()),
            (id, _) => id.clone(),
        };
        let mut connect = Connect::new(options.version, id.clone().unwrap_or_default());
        connect.clean_start = options.clean;
        connect.keep_alive = options.keep_alive;
        connect.user_name = options.user_name.clone();
        connect.password = options.password.as_deref().map(Into::into);
        connect.will = options.will_topic.as_ref().map(|topic| mqtt_codec::Will {
            topic: topic.clone(),
            payload: options.will_payload.clone().unwrap_or_default().into(),
            qos: options.will_qos,
            retain: options.will_retain,
            properties: will_properties.will(),
        });
        connect.properties = options.connect_properties.connect();
        // Not more at once than will be shown.
        let receive_maximum = connect.properties.receive_maximum.unwrap_or_else(|| {
            options.message_count.and_then(|n| u16::try_from(n).ok()).filter(|n| *n < 20).unwrap_or(20)
        });
        connect.properties.receive_maximum = Some(receive_maximum);
        let now = Instant::now();
        Ok(Self {
            connect,
            id,
            version: options.version,
            debug: options.debug,
            connect_has_properties: !options.connect_properties.is_empty(),
            disconnect: Disconnect {
                reason: ReasonCode::Success,
                properties: options.disconnect_properties.disconnect(),
            },
            disconnect_has_properties: !options.disconnect_properties.is_empty(),
            state: State::Connecting,
            out: BytesMut::new(),
            events: VecDeque::new(),
            unwritten: Vec::new(),
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            receive_maximum,
            send_quota_max: options.inflight_max,
            last_id: 0,
            retain_available: true,
            qos_max: QoS::ExactlyOnce,
            packet_size_max: None,
            keep_alive: options.keep_alive,
            last_in: now,
            next_out: now + Duration::from_secs(options.keep_alive.into()),
            ping_sent: false,
        })
    }

    /// Whether CONNACK came and the connection goes on.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// QoS 1 and 2 messages not yet acknowledged.
    pub fn outstanding(&self) -> usize {
        self.outgoing.len()
    }

    fn log(&self, text: std::fmt::Arguments<'_>) {
        if self.debug {
            super::print_line(&text.to_string());
        }
    }

    fn name(&self) -> &str {
        self.id.as_deref().unwrap_or("(null)")
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).unwrap_or(PacketId::MIN)
    }

    fn send(&mut self, packet: &Packet) -> Result<(), Failure> {
        packet.encode(self.version, &mut self.out).map_err(|_| Failure::Invalid)
    }

    /// Begins a new connection: writes CONNECT.
    fn begin(&mut self) -> Result<(), Failure> {
        if self.connect_has_properties && !self.version.is_v5() {
            return Err(Failure::NotSupported);
        }
        self.state = State::Connecting;
        self.out.clear();
        self.unwritten.clear();
        self.ping_sent = false;
        self.last_in = Instant::now();
        self.next_out = self.last_in + Duration::from_secs(self.keep_alive.into());
        for message in &mut self.outgoing {
            message.sent_before |= message.progress == Progress::Sent;
        }
        self.log(format_args!("Client {} sending CONNECT", self.name()));
        let connect = Packet::Connect(Box::new(self.connect.clone()));
        self.send(&connect)
    }

    /// Publishes; the message is done when [`Event::Published`] with the identifier returned comes.
    ///
    /// # Errors
    /// [`Failure`]; nothing is sent then.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        properties: &PropertiesBuf,
    ) -> Result<u16, Failure> {
        if !properties.is_empty() && !self.version.is_v5() {
            return Err(Failure::NotSupported);
        }
        if qos > self.qos_max {
            return Err(Failure::QosNotSupported);
        }
        let mut message = Publish {
            dup: false,
            qos,
            retain: retain && self.retain_available,
            topic: topic.into(),
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            properties: properties.clone(),
            payload,
        };
        let size = message.head().packet_len(self.version, message.payload.len()).map_err(|e| match e {
            mqtt_codec::EncodeError::PacketTooLong(_) => Failure::PayloadSize,
            _ => Failure::Invalid,
        })?;
        if self.packet_size_max.is_some_and(|max| size > max as usize) {
            return Err(Failure::PacketTooLarge);
        }
        let id = self.next_id();
        if qos == QoS::AtMostOnce {
            if self.state != State::Active {
                return Err(Failure::NoConnection);
            }
            self.send_publish(&message, id)?;
            self.unwritten.push(id.get());
        } else {
            message.packet_id = Some(id);
            self.outgoing.push_back(Outgoing { message, progress: Progress::Waiting, sent_before: false });
            if self.state == State::Active {
                self.send_waiting()?;
            }
        }
        Ok(id.get())
    }

    fn send_publish(&mut self, message: &Publish, id: PacketId) -> Result<(), Failure> {
        self.log(format_args!(
            "Client {} sending PUBLISH (d{}, q{}, r{}, m{id}, '{}', ... ({} bytes))",
            self.name(),
            u8::from(message.dup),
            message.qos,
            u8::from(message.retain),
            // The original shows a null pointer where a topic alias stands for the topic.
            if message.topic.is_empty() { "(null)" } else { &message.topic },
            message.payload.len()
        ));
        message.encode(self.version, &mut self.out).map_err(|_| Failure::Invalid)
    }

    /// Sends what the quota allows, in order.
    fn send_waiting(&mut self) -> Result<(), Failure> {
        let in_flight = self.outgoing.iter().filter(|m| m.progress != Progress::Waiting).count();
        let mut quota = (self.send_quota_max as usize).saturating_sub(in_flight);
        for i in 0..self.outgoing.len() {
            let Some(next) = self.outgoing.get_mut(i).filter(|m| m.progress == Progress::Waiting) else {
                continue;
            };
            if quota == 0 {
                break;
            }
            quota -= 1;
            next.progress = Progress::Sent;
            next.message.dup = next.sent_before;
            let message = next.message.clone();
            self.send_publish(&message, message.packet_id.unwrap_or(PacketId::MIN))?;
        }
        Ok(())
    }

    /// Sends again what an earlier connection left unfinished.
    fn resume(&mut self) -> Result<(), Failure> {
        for i in 0..self.outgoing.len() {
            let Some(next) = self.outgoing.get_mut(i) else { continue };
            let (id, progress) = (next.message.packet_id.unwrap_or(PacketId::MIN), next.progress);
            match progress {
                Progress::Sent => next.progress = Progress::Waiting,
                Progress::Released => self.send_pubrel(id)?,
                Progress::Waiting => {}
            }
        }
        self.send_waiting()
    }

    fn send_pubrel(&mut self, id: PacketId) -> Result<(), Failure> {
        self.log(format_args!("Client {} sending PUBREL (m{id})", self.name()));
        self.send(&Packet::PubRel(Ack::new(id)))
    }

    /// Subscribes to all topics of the options, or to `filters`, with one packet.
    ///
    /// # Errors
    /// [`Failure`] when a filter cannot be sent.
    pub fn subscribe(&mut self, filters: &[String], options: &Options) -> Result<u16, Failure> {
        if !options.subscribe_properties.is_empty() && !self.version.is_v5() {
            return Err(Failure::NotSupported);
        }
        let id = self.next_id();
        let retain_handling =
            if options.no_retain { RetainHandling::DoNotSend } else { RetainHandling::Send };
        let subscription = |filter: &String| Subscription {
            filter: filter.clone(),
            qos: options.qos,
            no_local: false,
            retain_as_published: options.retain_as_published,
            retain_handling,
        };
        let subscriptions: Vec<_> = filters.iter().map(subscription).collect();
        let bits = u8::from(options.retain_as_published) << 3 | (retain_handling as u8) << 4;
        for s in &subscriptions {
            self.log(format_args!(
                "Client {} sending SUBSCRIBE (Mid: {id}, Topic: {}, QoS: {}, Options: 0x{bits:02x})",
                self.name(),
                s.filter,
                s.qos
            ));
        }
        let properties = options.subscribe_properties.subscribe();
        self.send(&Packet::Subscribe(Subscribe { packet_id: id, properties, subscriptions }))?;
        Ok(id.get())
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// [`Failure`] when the filter cannot be sent.
    pub fn unsubscribe(&mut self, filter: &str, options: &Options) -> Result<(), Failure> {
        let id = self.next_id();
        self.log(format_args!("Client {} sending UNSUBSCRIBE (Mid: {id}, Topic: {filter})", self.name()));
        let properties = options.unsubscribe_properties.unsubscribe();
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: id,
            properties,
            filters: vec![filter.to_owned()],
        }))
    }

    /// Ends the connection; no other is made.
    ///
    /// # Errors
    /// [`Failure`] when properties are given and the version has none.
    pub fn disconnect(&mut self, reason: ReasonCode) -> Result<(), Failure> {
        if self.disconnect_has_properties && !self.version.is_v5() {
            return Err(Failure::NotSupported);
        }
        if self.state == State::Finished {
            return Ok(());
        }
        self.state = State::Finished;
        self.log(format_args!("Client {} sending DISCONNECT", self.name()));
        let packet = Disconnect { reason, ..self.disconnect.clone() };
        self.send(&Packet::Disconnect(packet))
    }

    /// Takes a packet of the server.
    fn receive(&mut self, packet: Packet) -> Result<(), Failure> {
        self.last_in = Instant::now();
        match packet {
            Packet::ConnAck(connack) => return self.connack(&connack),
            Packet::Disconnect(d) => {
                self.log(format_args!("Received DISCONNECT ({})", d.reason.as_u8()));
                self.state = State::Finished;
                return Err(Failure::NoConnection);
            }
            Packet::PingResp => {
                self.log(format_args!("Client {} received PINGRESP", self.name()));
                self.ping_sent = false;
                return Ok(());
            }
            _ => {}
        }
        if self.state == State::Connecting {
            return Err(Failure::Protocol);
        }
        match packet {
            Packet::Publish(message) => self.message(message),
            Packet::PubRel(ack) => self.pubrel(&ack),
            Packet::PubAck(ack) => self.acknowledged("PUBACK", ack, QoS::AtLeastOnce),
            Packet::PubComp(ack) => self.acknowledged("PUBCOMP", ack, QoS::ExactlyOnce),
            Packet::PubRec(ack) => self.pubrec(ack),
            Packet::SubAck(suback) => {
                self.log(format_args!("Client {} received SUBACK", self.name()));
                let codes = suback.reasons.iter().map(|r| r.as_u8()).collect();
                self.events.push_back(Event::Subscribed { id: suback.packet_id.get(), codes });
                Ok(())
            }
            Packet::UnsubAck(_) => {
                self.log(format_args!("Client {} received UNSUBACK", self.name()));
                Ok(())
            }
            _ => Err(Failure::Protocol),
        }
    }

    fn connack(&mut self, connack: &mqtt_codec::ConnAck) -> Result<(), Failure> {
        let v5 = self.version.is_v5();
        let code = if v5 { connack.reason.as_u8() } else { connack.reason.to_v3_connack() };
        let properties = &connack.properties;
        if let Some(id) = &properties.assigned_client_identifier {
            if !self.connect.client_id.is_empty() {
                return Err(Failure::Protocol);
            }
            // The same client on the next connection too.
            self.connect.client_id.clone_from(id);
            self.id = Some(id.clone());
        }
        self.retain_available = properties.retain_available.unwrap_or(true);
        self.qos_max = properties.maximum_qos.unwrap_or(QoS::ExactlyOnce);
        self.packet_size_max = properties.maximum_packet_size;
        if let Some(n) = properties.receive_maximum {
            self.send_quota_max = n.into();
        }
        if let Some(seconds) = properties.server_keep_alive {
            self.keep_alive = seconds;
        }
        self.log(format_args!("Client {} received CONNACK ({code})", self.name()));
        self.events.push_back(Event::Connected(code));
        if code == 0 {
            self.state = State::Active;
            return Ok(());
        }
        Err(if v5 { Failure::Protocol } else { Failure::ConnectionRefused })
    }

    fn message(&mut self, message: Publish) -> Result<(), Failure> {
        if message.topic.is_empty() {
            // We never allow topic aliases.
            return Err(Failure::Protocol);
        }
        self.log(format_args!(
            "Client {} received PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            self.name(),
            u8::from(message.dup),
            message.qos,
            u8::from(message.retain),
            message.packet_id.map_or(0, PacketId::get),
            message.topic,
            message.payload.len()
        ));
        match (message.qos, message.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.log(format_args!("Client {} sending PUBACK (m{id}, rc0)", self.name()));
                self.send(&Packet::PubAck(Ack::new(id)))?;
                self.events.push_back(Event::Message(message));
            }
            (QoS::ExactlyOnce, Some(id)) => {
                let known = self.incoming.iter().any(|m| m.packet_id == message.packet_id);
                if !known && self.version.is_v5() && self.incoming.len() >= usize::from(self.receive_maximum)
                {
                    return Err(Failure::Protocol);
                }
                self.log(format_args!("Client {} sending PUBREC (m{id}, rc0)", self.name()));
                self.send(&Packet::PubRec(Ack::new(id)))?;
                if !known {
                    self.incoming.push(message);
                }
            }
            _ => self.events.push_back(Event::Message(message)),
        }
        Ok(())
    }

    fn pubrel(&mut self, ack: &Ack) -> Result<(), Failure> {
        let id = ack.packet_id;
        self.log(format_args!("Client {} received PUBREL (Mid: {id})", self.name()));
        self.log(format_args!("Client {} sending PUBCOMP (m{id})", self.name()));
        self.send(&Packet::PubComp(Ack::new(id)))?;
        if let Some(at) = self.incoming.iter().position(|m| m.packet_id == Some(id)) {
            let message = self.incoming.remove(at);
            self.events.push_back(Event::Message(message));
        }
        Ok(())
    }

    fn acknowledged(&mut self, name: &str, ack: Ack, qos: QoS) -> Result<(), Failure> {
        let (id, reason) = (ack.packet_id, ack.reason);
        self.log(format_args!("Client {} received {name} (Mid: {id}, RC:{})", self.name(), reason.as_u8()));
        if self.take_outgoing(id, qos)? {
            self.events.push_back(Event::Published {
                id: id.get(),
                reason,
                reason_string: ack.properties.reason_string,
            });
        }
        self.send_waiting()
    }

    /// Removes a finished message; whether there was one.
    fn take_outgoing(&mut self, id: PacketId, qos: QoS) -> Result<bool, Failure> {
        let Some(at) = self.outgoing.iter().position(|m| m.message.packet_id == Some(id)) else {
            return Ok(false);
        };
        if self.outgoing.get(at).is_some_and(|m| m.message.qos != qos) {
            return Err(Failure::Protocol);
        }
        self.outgoing.remove(at);
        Ok(true)
    }

    fn pubrec(&mut self, ack: Ack) -> Result<(), Failure> {
        let id = ack.packet_id;
        self.log(format_args!("Client {} received PUBREC (Mid: {id})", self.name()));
        if ack.reason.is_error() {
            if self.take_outgoing(id, QoS::ExactlyOnce)? {
                let reason_string = ack.properties.reason_string;
                self.events.push_back(Event::Published { id: id.get(), reason: ack.reason, reason_string });
            }
            return self.send_waiting();
        }
        match self.outgoing.iter_mut().find(|m| m.message.packet_id == Some(id)) {
            Some(known) if known.message.qos != QoS::ExactlyOnce => return Err(Failure::Protocol),
            Some(known) => known.progress = Progress::Released,
            None => self.log(format_args!(
                "Warning: Received PUBREC from {} for an unknown packet identifier {id}.",
                self.name()
            )),
        }
        self.send_pubrel(id)
    }

    /// Everything in `out` is written.
    fn all_written(&mut self) {
        self.next_out = Instant::now() + Duration::from_secs(self.keep_alive.into());
        for id in self.unwritten.drain(..) {
            self.events.push_back(Event::Published { id, reason: ReasonCode::Success, reason_string: None });
        }
        if self.state == State::Finished {
            self.events.push_back(Event::Closed);
        }
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let interval = Duration::from_secs(self.keep_alive.into());
        (self.keep_alive > 0).then(|| self.next_out.min(self.last_in + interval))
    }

    /// The keep-alive time is over: asks for a sign of life, or gives up.
    fn keep_alive_due(&mut self) -> Result<(), Failure> {
        if self.state != State::Active || self.ping_sent {
            return Err(Failure::KeepAlive);
        }
        self.log(format_args!("Client {} sending PINGREQ", self.name()));
        self.ping_sent = true;
        self.last_in = Instant::now();
        self.next_out = self.last_in + Duration::from_secs(self.keep_alive.into());
        self.send(&Packet::PingReq)
    }
}

/// `mosq-` and 18 random letters and digits.
fn random_id() -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut random = [0u8; 18];
    // Without randomness the process number must do.
    if getrandom::fill(&mut random).is_err() {
        return format!("mosq-{}", std::process::id());
    }
    let letter = |b: &u8| LETTERS.get(usize::from(*b & 0x7F) % LETTERS.len()).map_or('a', |c| char::from(*c));
    std::iter::once("mosq-".to_owned()).chain(random.iter().map(|b| letter(b).to_string())).collect()
}

/// Connects for the first time.
///
/// # Errors
/// The text for standard error.
pub async fn connect(client: &mut Client, options: &Options) -> Result<Stream, String> {
    let dialled = match client.begin() {
        Ok(()) => connection::dial(options).await,
        Err(failure) => Err(failure),
    };
    dialled.map_err(|failure| match failure {
        Failure::System(_) => format!("Error: {}\n", failure.text()),
        _ => format!("Unable to connect ({}).\n", failure.text()),
    })
}

/// Runs until the connection ends as asked, or a failure that `reconnect` does not forgive.
///
/// # Errors
/// [`Failure`]
pub async fn run<A: Application>(
    client: &mut Client,
    app: &mut A,
    options: &Options,
    mut stream: Stream,
    reconnect: bool,
) -> Result<(), Failure> {
    loop {
        let failure = match drive(client, app, &mut stream).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if !reconnect {
            return Err(failure);
        }
        if client.state == State::Finished {
            return Ok(());
        }
        if failure.is_final() {
            return Err(failure);
        }
        app.event(client, Event::Lost)?;
        stream = match connect_again(client, app, options).await? {
            Some(stream) => stream,
            None => return Ok(()),
        };
    }
}

/// Tries once a second; `None` when the tool has had enough meanwhile.
async fn connect_again<A: Application>(
    client: &mut Client,
    app: &mut A,
    options: &Options,
) -> Result<Option<Stream>, Failure> {
    client.state = State::Connecting;
    client.out.clear();
    loop {
        let pause = tokio::time::sleep(RECONNECT_DELAY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                input = app.wait() => app.input(client, input)?,
            }
            if client.state == State::Finished {
                return Ok(None);
            }
        }
        match connection::dial(options).await {
            Ok(stream) => {
                client.begin()?;
                return Ok(Some(stream));
            }
            Err(failure) if failure.is_final() && !matches!(failure, Failure::Lookup) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Moves bytes and events on one connection until it ends.
async fn drive<A: Application>(client: &mut Client, app: &mut A, stream: &mut Stream) -> Result<(), Failure> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut decoder = Decoder::for_client(client.version, PACKET_SIZE_MAX);
    let mut input = BytesMut::new();
    let mut closed = false;
    loop {
        closed |= take_packets(client, app, &mut decoder, &mut input)?;
        if closed {
            // Tells the peer that nothing more comes; what it still sends is not waited for.
            let _ = writer.shutdown().await;
            return Ok(());
        }
        let keep_alive = client.keep_alive_at();
        let something_to_write = !client.out.is_empty();
        tokio::select! {
            written = write_some(&mut writer, &mut client.out), if something_to_write => {
                written?;
                if client.out.is_empty() {
                    client.all_written();
                }
            }
            read = read_some(&mut reader, &mut input) => read?,
            () = sleep_until(keep_alive) => client.keep_alive_due()?,
            own = app.wait() => app.input(client, own)?,
        }
    }
}

/// Handles what has come, packet by packet: once the tool has finished, nothing more is acknowledged, so that a
/// persistent session keeps what was not shown. Tells whether the connection is closed.
fn take_packets<A: Application>(
    client: &mut Client,
    app: &mut A,
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<bool, Failure> {
    let mut closed = dispatch(client, app)?;
    while client.state != State::Finished {
        match decoder.decode(input) {
            Ok(Some(packet)) => {
                let was_active = client.is_active();
                let received = client.receive(packet);
                if !was_active && client.is_active() {
                    client.resume()?;
                }
                // What came before a failure is still told.
                closed |= dispatch(client, app)?;
                received?;
            }
            Ok(None) => break,
            Err(error) => {
                client.log(format_args!("Error: {error}"));
                return Err(Failure::Protocol);
            }
        }
    }
    Ok(closed)
}

/// Hands all events to the tool; tells whether one of them was the last.
fn dispatch<A: Application>(client: &mut Client, app: &mut A) -> Result<bool, Failure> {
    let mut closed = false;
    while let Some(event) = client.events.pop_front() {
        closed |= matches!(event, Event::Closed);
        app.event(client, event)?;
    }
    Ok(closed)
}

async fn write_some(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> Result<(), Failure> {
    match writer.write_buf(out).await {
        Ok(0) => Err(Failure::ConnectionLost),
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => Err(Failure::ConnectionLost),
        Err(error) => Err(Failure::System(error)),
    }
}

async fn read_some(reader: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> Result<(), Failure> {
    input.reserve(READ_CHUNK);
    match reader.read_buf(input).await {
        Ok(0) => Err(Failure::ConnectionLost),
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => Err(Failure::ConnectionLost),
        Err(error) => Err(Failure::System(error)),
    }
}

fn is_lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof)
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Checks the properties of one more PUBLISH; here so that the tools need not know identifiers.
pub fn publish_properties(options: &Options) -> Result<PropertiesBuf, Failure> {
    options.publish_properties.check(Command::Publish)?;
    options.publish_properties.publish()
}
