//! CONNECT: who may come in, which session they get, and what CONNACK says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_codec::{
    ConnAck, ConnAckProperties, Connect, Packet, PropertiesBuf, Property, ProtocolVersion, QoS, ReasonCode,
    UserProperty, Will as AskedWill,
};
use tokio::sync::{oneshot, watch};

use crate::auth::{Login, Outcome, Proof, Rights, Source};
use crate::broker::Broker;
use crate::deliver::Consumer;
use crate::message::Publication;
use crate::net::{Guest, Identity, Listener, OutBuf, Security};
use crate::session::store;
use crate::session::{Live, NEVER, Seat, Session, Will};

/// How long a new connection waits for the old one to let go of the session.
pub(crate) const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that may come in.
pub(crate) struct Entered {
    pub(crate) session: Box<Session>,
    pub(crate) seat: Arc<Seat>,
    /// Tells the connection to end.
    pub(crate) kick: oneshot::Receiver<ReasonCode>,
    /// To say that it has.
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) connack: ConnAck,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) receive_maximum: u16,
    /// QoS 1 and 2 publishes the client takes at once.
    pub(crate) window: usize,
    pub(crate) packet_size_max: usize,
    pub(crate) login: Arc<Login>,
}

/// User property of CONNECT that asks for the place of each publish in the log, and of PUBACK and PUBREC that tells it.
pub(crate) const POSITION: &str = "mqtt.position";

/// A CONNACK takes no more than this beside a client id that it assigns and words that people configured.
const CONNACK_BYTES_MAX: usize = 100;

/// What a client wants to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tells {
    /// Reason strings and user properties in acknowledgements.
    pub(crate) problems: bool,
    /// Reason strings: asked for in so many words.
    pub(crate) reasons: bool,
    /// Where a publish stands in the log.
    pub(crate) position: bool,
    /// Topics as numbers up to this.
    pub(crate) aliases: u16,
    /// Packets up to this size, bytes.
    pub(crate) packet_size_max: usize,
}

impl Tells {
    pub(crate) fn of(packet: &Connect) -> Self {
        let p = &packet.properties;
        let asks = p.user_properties.iter().any(|u| u.name == POSITION && u.value == "1");
        Self {
            problems: p.request_problem_information != Some(false),
            reasons: p.request_problem_information == Some(true),
            position: asks,
            aliases: p.topic_alias_maximum.unwrap_or(0),
            packet_size_max: p.maximum_packet_size.map_or(usize::MAX, |n| n as usize),
        }
    }
}

/// A client that may not.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: ReasonCode,
    pub(crate) why: &'static str,
}

impl Refused {
    pub(crate) fn new(reason: ReasonCode, why: &'static str) -> Self {
        Self { reason, why }
    }

    /// The packet that says so.
    pub(crate) fn connack(&self, broker: &Broker, tells: Tells) -> ConnAck {
        let mut connack = ConnAck::new(self.reason);
        if matches!(self.reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved) {
            let redirect = broker.config.redirect.as_ref();
            connack.properties.server_reference = redirect.map(|r| r.reference.clone());
        }
        let reference = connack.properties.server_reference.as_ref().map_or(0, |r| 3 + r.len());
        let fits = 16 + reference + self.why.len() <= tells.packet_size_max;
        connack.properties.reason_string = (tells.reasons && fits).then(|| self.why.to_owned());
        connack
    }
}

/// Answers a CONNECT of a protocol version that is none of ours. Other bytes that are no CONNECT get no answer, as
/// with Mosquitto: whoever sent them does not speak MQTT.
pub(crate) fn refuse_early(out: &mut OutBuf, input: &[u8], reason: ReasonCode) {
    let version = match (reason, connect_level(input)) {
        (ReasonCode::UnsupportedProtocolVersion, Some(level)) if level > 5 => ProtocolVersion::V5,
        (ReasonCode::UnsupportedProtocolVersion, Some(_)) => ProtocolVersion::V311,
        _ => return,
    };
    let connack = Packet::ConnAck(Box::new(ConnAck::new(reason)));
    if let Err(error) = connack.encode(version, out.encode_to()) {
        tracing::error!(%error, "cannot write a CONNACK");
    }
}

/// The protocol level of something that begins as a CONNECT of MQTT.
fn connect_level(input: &[u8]) -> Option<u8> {
    let after_type = input.strip_prefix(&[0x10])?;
    let length = after_type.iter().take(4).position(|b| b & 0x80 == 0)? + 1;
    let rest = after_type.get(length..)?;
    let rest = rest.strip_prefix(b"\0\x04MQTT").or_else(|| rest.strip_prefix(b"\0\x06MQIsdp"))?;
    rest.first().copied()
}

/// Decides about a CONNECT and takes the session it gets.
pub(crate) async fn enter(
    broker: &Arc<Broker>,
    listener: &Arc<Listener>,
    packet: Connect,
    guest: &Guest,
) -> Result<Entered, Refused> {
    let peer = guest.peer;
    let rules = &listener.config;
    let limits = &broker.config.limits;
    let version = packet.version;
    if broker.config.redirect.as_ref().is_some_and(|r| r.moved) {
        return Err(Refused::new(ReasonCode::ServerMoved, "the server has moved"));
    }
    let (client_id, assigned) = client_id(listener, &packet)?;
    let security = listener.security.load_full();
    if security.client_id_prefixes.as_ref().is_some_and(|p| !client_id.starts_with(p.as_str())) {
        return Err(Refused::new(
            ReasonCode::NotAuthorized,
            "the client id has not the prefix that is asked for",
        ));
    }
    let login = authenticate(listener, &security, &packet, &client_id, guest).await?;
    let tells = Tells::of(&packet);
    let mut will = will(broker, listener, packet.will, version)?;
    if let Some(will) = will.as_mut().filter(|w| w.publication.retain && broker.config.check_retain_source) {
        will.publication.source = Source::of(&login);
    }
    if will.as_ref().is_some_and(|w| !broker.may_publish(&mut Rights::new(login.clone()), &w.publication)) {
        return Err(Refused::new(ReasonCode::NotAuthorized, "the will's topic is not allowed"));
    }

    let asked_expiry = match version {
        ProtocolVersion::V5 => packet.properties.session_expiry_interval.unwrap_or(0),
        _ if packet.clean_start => 0,
        _ => NEVER,
    };
    let may_stay = limits.anonymous_sessions || login.user_name.is_some();
    let asked_expiry_granted = if may_stay { asked_expiry } else { 0 };

    let seat = broker.registry.seat(&Bytes::copy_from_slice(client_id.as_bytes()));
    let mut state = tokio::time::timeout(TAKEOVER_TIMEOUT, seat.state.lock())
        .await
        .map_err(|_| Refused::new(ReasonCode::ServerBusy, "another connection is taking this session"))?;
    if let Some(live) = state.live.take() {
        let Live { kick, mut ended, login } = live;
        let _ = kick.send(ReasonCode::SessionTakenOver);
        if tokio::time::timeout(TAKEOVER_TIMEOUT, ended.wait_for(|e| *e)).await.is_err() {
            // The log has not answered for what the old connection put under way.
            let (kick, _) = oneshot::channel();
            state.live = Some(Live { kick, ended, login });
            return Err(Refused::new(
                ReasonCode::ServerBusy,
                "the old connection has not let go of the session",
            ));
        }
    }
    broker.timers.set(&seat.client_id, None);
    let mut old = seat.session.lock().take();
    if let Some(nodes) = broker.nodes.as_ref().filter(|nodes| !nodes.has(&seat.client_id)) {
        match broker.acquire(nodes, &seat).await {
            Ok(found) => old = found,
            Err(refused) => {
                drop(state);
                broker.registry.remove_if_empty(&seat);
                return Err(refused);
            }
        }
    }
    let result = take_session(broker, &seat, old, packet.clean_start, asked_expiry_granted, will).await;
    let (mut session, session_present) = match result {
        Ok(taken) => taken,
        Err(refused) => {
            let is_empty = seat.session.lock().is_none();
            if let Some(nodes) = broker.nodes.as_ref().filter(|_| is_empty) {
                nodes.release(&seat.client_id).await;
            }
            drop(state);
            broker.registry.remove_if_empty(&seat);
            return Err(refused);
        }
    };
    session.taken_over = false;
    session.login = Some(login.clone());
    let (kick, kicked) = oneshot::channel();
    let (ended, has_ended) = watch::channel(false);
    state.live = Some(Live { kick, ended: has_ended, login: login.clone() });
    drop(state);
    if let Some(nodes) = &broker.nodes {
        // Somebody else may have begun to wait for it since.
        broker.look_at(nodes, &seat.client_id);
    }

    let keep_alive = match limits.max_keepalive {
        0 => packet.keep_alive,
        max if version.is_v5() && (packet.keep_alive == 0 || packet.keep_alive > max) => max,
        _ => packet.keep_alive,
    };
    let receive_maximum = limits.max_inflight_messages;
    let fits = tells.packet_size_max >= CONNACK_BYTES_MAX + client_id.len();
    let position = (tells.position && fits).then(|| UserProperty::new(POSITION, "1"));
    let connack = ConnAck {
        session_present: session_present && version != ProtocolVersion::V31,
        reason: ReasonCode::Success,
        properties: ConnAckProperties {
            topic_alias_maximum: (rules.max_topic_alias > 0).then_some(rules.max_topic_alias),
            server_keep_alive: (keep_alive != packet.keep_alive).then_some(keep_alive),
            assigned_client_identifier: assigned.then(|| client_id.clone()),
            retain_available: (!limits.retain_available).then_some(false),
            maximum_packet_size: (limits.max_packet_size < mqtt_codec::PACKET_SIZE_MAX - 4)
                .then_some(limits.max_packet_size),
            receive_maximum: (receive_maximum < u16::MAX).then_some(receive_maximum),
            maximum_qos: QoS::from_u8(rules.max_qos).filter(|q| *q != QoS::ExactlyOnce),
            session_expiry_interval: (session.expiry_s != asked_expiry).then_some(session.expiry_s),
            user_properties: position.into_iter().collect(),
            response_information: broker
                .config
                .response_information
                .as_ref()
                .filter(|_| packet.properties.request_response_information == Some(true))
                .map(|text| text.replace("%c", &client_id)),
            ..ConnAckProperties::default()
        },
    };
    let client_window = packet.properties.receive_maximum.unwrap_or(u16::MAX);
    tracing::info!(client = %crate::will::show(client_id.as_bytes()), %peer, %version,
        clean_start = packet.clean_start, keep_alive, session_present, "client connected");
    Ok(Entered {
        session,
        seat: seat.clone(),
        kick: kicked,
        ended,
        connack,
        // One and a half times what was agreed.
        keep_alive: (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500)),
        receive_maximum,
        window: usize::from(client_window.min(limits.max_inflight_messages)),
        packet_size_max: tells.packet_size_max,
        login,
    })
}

/// The client id used from here on, and whether the server made it up.
fn client_id(listener: &Listener, packet: &Connect) -> Result<(String, bool), Refused> {
    let rules = &listener.config;
    if rules.use_username_as_clientid {
        return match &packet.user_name {
            Some(name) if !name.is_empty() => Ok((name.clone(), false)),
            _ => Err(Refused::new(ReasonCode::NotAuthorized, "a user name is needed as client id")),
        };
    }
    if !packet.client_id.is_empty() {
        return Ok((packet.client_id.clone(), false));
    }
    let may_be_empty = match packet.version {
        ProtocolVersion::V31 => false,
        ProtocolVersion::V311 => packet.clean_start && rules.allow_zero_length_clientid,
        ProtocolVersion::V5 => rules.allow_zero_length_clientid,
    };
    if !may_be_empty && packet.version.is_v5() {
        // Mosquitto's choice; 0x85 is kept for ids that are wrong in themselves.
        return Err(Refused::new(ReasonCode::UnspecifiedError, "the client id is empty"));
    }
    if !may_be_empty {
        return Err(Refused::new(ReasonCode::ClientIdentifierNotValid, "the client id is empty"));
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|_| Refused::new(ReasonCode::ServerUnavailable, "no randomness"))?;
    let hex: String = random.iter().map(|b| format!("{b:02X}")).collect();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    let parts: Vec<&str> = parts.iter().filter_map(|(from, to)| hex.get(*from..*to)).collect();
    Ok((format!("{}{}", rules.auto_id_prefix, parts.join("-")), packet.version.is_v5()))
}

async fn authenticate(
    listener: &Arc<Listener>,
    security: &Arc<Security>,
    packet: &Connect,
    client_id: &str,
    guest: &Guest,
) -> Result<Arc<Login>, Refused> {
    // Kept for a reload, which will ask again.
    let asks_again = security.authenticator.is_some() || listener.access.is_some();
    let (user_name, proof) = match &guest.identity {
        Identity::Name(name) => (Some(name.clone()), Proof::Certificate),
        Identity::Scram(name, mechanism, key) => (Some(name.clone()), Proof::Scram(*mechanism, key.clone())),
        // Mosquitto's answer to a certificate without a name.
        Identity::Missing => {
            return Err(Refused::new(
                ReasonCode::BadUserNameOrPassword,
                "no name in the client's certificate",
            ));
        }
        Identity::NotAsked => {
            let password = packet.password.as_ref().filter(|_| asks_again);
            let password = password.map(|p| Bytes::copy_from_slice(&p.0));
            (packet.user_name.clone(), Proof::Password(password))
        }
    };
    let takes_time = matches!(proof, Proof::Password(Some(_)));
    let mut login = Login {
        listener: listener.clone(),
        client_id: Bytes::copy_from_slice(client_id.as_bytes()),
        user_name,
        proof,
        peer: guest.peer,
        is_proven: false,
        stored_key: None,
    };
    let refused = || Refused::new(ReasonCode::NotAuthorized, "not authorized");
    let outcome = if takes_time {
        // Hashing a password takes its time, and must not stop others' packets.
        let security = security.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            let outcome = login.check(&security);
            (login, outcome)
        });
        let outcome;
        (login, outcome) = hashing.await.map_err(|_| refused())?;
        outcome
    } else {
        login.check(security)
    };
    match outcome {
        Outcome::Refused => return Err(refused()),
        Outcome::Unproven => {}
        Outcome::Proven(stored_key) => (login.is_proven, login.stored_key) = (true, stored_key),
    }
    Ok(Arc::new(login))
}

/// The will as it will be published.
fn will(
    broker: &Broker,
    listener: &Listener,
    asked: Option<AskedWill>,
    version: ProtocolVersion,
) -> Result<Option<Will>, Refused> {
    let Some(asked) = asked else { return Ok(None) };
    if asked.qos.as_u8() > listener.config.max_qos {
        return Err(Refused::new(ReasonCode::QosNotSupported, "will with a QoS that is switched off"));
    }
    if asked.retain && !broker.config.limits.retain_available {
        return Err(Refused::new(ReasonCode::RetainNotSupported, "retained messages are switched off"));
    }
    if asked.topic.split('/').count() > broker.config.limits.max_topic_levels {
        return Err(Refused::new(ReasonCode::TopicNameInvalid, "will topic with too many levels"));
    }
    if broker.config.message_size_limit.is_some_and(|max| asked.payload.len() > max) {
        let reason = if version.is_v5() { ReasonCode::PacketTooLarge } else { ReasonCode::NotAuthorized };
        return Err(Refused::new(reason, "will over message_size_limit"));
    }
    let p = &asked.properties;
    let mut properties = Vec::new();
    properties.extend(p.payload_format_indicator.map(Property::PayloadFormatIndicator));
    properties.extend(p.content_type.as_deref().map(Property::ContentType));
    properties.extend(p.response_topic.as_deref().map(Property::ResponseTopic));
    properties.extend(p.correlation_data.as_deref().map(Property::CorrelationData));
    properties.extend(p.user_properties.iter().map(|u| Property::UserProperty(&u.name, &u.value)));
    let properties = PropertiesBuf::from_properties(properties)
        .map_err(|_| Refused::new(ReasonCode::ProtocolError, "will properties"))?;
    let topic = match &listener.config.mount_point {
        Some(mount) => format!("{mount}{}", asked.topic),
        None => asked.topic.clone(),
    };
    Ok(Some(Will {
        delay_s: p.delay_interval.unwrap_or(0),
        publication: Publication {
            topic: Bytes::from(topic),
            payload: Bytes::copy_from_slice(&asked.payload),
            qos: asked.qos,
            retain: asked.retain,
            properties,
            expiry_s: p.message_expiry_interval,
            client: None,
            source: None,
        },
    }))
}

/// Goes on with the old session or begins a new one; both are in the log when this returns.
async fn take_session(
    broker: &Arc<Broker>,
    seat: &Arc<Seat>,
    old: Option<Box<Session>>,
    clean_start: bool,
    expiry_s: u32,
    will: Option<Will>,
) -> Result<(Box<Session>, bool), Refused> {
    let unavailable = |error: &client::door::DoorError| {
        tracing::warn!(client = %crate::will::show(&seat.client_id), %error, "cannot save a session");
        Refused::new(ReasonCode::ServerUnavailable, "the session cannot be saved")
    };
    let mut replaced = None;
    if let Some(mut old) = old {
        let expired = old.ends.is_some_and(|at| at <= Instant::now());
        let over = clean_start || !old.is_persistent() || expired;
        if over {
            // As with Mosquitto: a will without a delay is due when its session ends by a takeover, one with a
            // delay never comes once the client is back.
            let waits = old.will_due.is_some() || old.will.as_ref().is_some_and(|w| w.delay_s > 0);
            if !waits {
                broker.publish_will_now(&mut old).await;
            }
            replaced = Some(old);
        } else {
            old.will_due = None;
            old.ends = None;
            let kept = (old.will.clone(), old.expiry_s, old.disconnected_ms);
            old.will = will;
            old.expiry_s = expiry_s;
            old.disconnected_ms = None;
            old.connections += 1;
            let read = store::read_messages(&broker.hub, &mut old).await;
            let written = match read {
                Ok(()) => {
                    let parts = broker.store.whole(&mut old);
                    broker.store.write(&old.client_id, parts).await
                }
                Err(e) => Err(e),
            };
            if let Err(error) = written {
                (old.will, old.expiry_s, old.disconnected_ms) = kept;
                seat.session.lock().replace(old);
                return Err(unavailable(&error));
            }
            old.stored = true;
            return Ok((old, true));
        }
    }
    if expiry_s > 0 && replaced.is_none() && broker.registry.len() > broker.config.limits.max_sessions {
        return Err(Refused::new(ReasonCode::QuotaExceeded, "too many sessions"));
    }
    let consumer = Consumer::new(seat.client_id.clone(), broker.queue_limits);
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|_| Refused::new(ReasonCode::ServerUnavailable, "no randomness"))?;
    let mut session = Session::new(seat.client_id.clone(), u64::from_be_bytes(random), consumer);
    session.expiry_s = expiry_s;
    session.will = will;
    // A session that ends with its connection is in the log only for its will's sake.
    session.stored = session.is_persistent() || session.will.is_some();
    let base = session.stored.then(|| broker.store.base(&session));
    match replaced {
        Some(old) => broker.end(old, base).await,
        None => {
            if let Some(base) = base {
                broker.store.write(&seat.client_id, vec![base]).await.map_err(|e| unavailable(&e))?;
            }
        }
    }
    Ok((session, false))
}
