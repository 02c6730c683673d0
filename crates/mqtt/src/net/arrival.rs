//! From a stream to a connection: CONNECT, who may come in, and the connection's life to its end.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use futures_util::FutureExt;
use hashbrown::HashMap;
use mqtt_codec::{Decoder, Packet, ProtocolVersion, ReasonCode};

use super::alarm::Alarm;
use super::aliases::Aliases;
use super::close::Close;
use super::connection::Connection;
use super::establish::{Guest, Identity};
use super::handshake::{ReadStep, farewell, read_connect};
use super::listener::Listener;
use super::outbuf::OutBuf;
use super::stream::Stream;
use super::under_way::UnderWay;
use crate::auth::Rights;
use crate::bridge::Link;
use crate::broker::Broker;
use crate::message::now_ms;
use crate::packet::{auth, connect};
use crate::stats::Stats;

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
    decoder.set_packet_size_max(broker.config.limits.max_packet_size);
    let connack = Packet::ConnAck(Box::new(entered.connack.clone()));
    let arrival = Arrival {
        broker,
        listener,
        version,
        stream,
        decoder,
        input,
        entered,
        tells,
        reauthentication,
        is_bridge,
        link: None,
        guest,
    };
    arrival.attend(|connection| connection.send(&connack)).await;
}

/// A connection whose handshake is done, and its session.
pub(crate) struct Arrival {
    pub(crate) broker: Arc<Broker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) version: ProtocolVersion,
    pub(crate) stream: Stream,
    pub(crate) decoder: Decoder,
    pub(crate) input: BytesMut,
    pub(crate) entered: connect::Entered,
    pub(crate) tells: connect::Tells,
    pub(crate) reauthentication: Option<auth::Reauthentication>,
    /// See [`Connection::is_bridge`].
    pub(crate) is_bridge: bool,
    /// Where this broker has opened the connection.
    pub(crate) link: Option<Box<Link>>,
    pub(crate) guest: Guest,
}

impl Arrival {
    /// Serves the connection to its end, beginning with what `first` sends; answers why it ended, where that was our doing.
    pub(crate) async fn attend(self, first: impl FnOnce(&mut Connection)) -> Option<ReasonCode> {
        let Self {
            broker,
            listener,
            version,
            stream,
            decoder,
            input,
            entered,
            tells,
            reauthentication,
            is_bridge,
            link,
            guest,
        } = self;
        let peer = guest.peer;
        broker.stats.client_connected();
        let connect::Entered {
            session,
            seat,
            kick,
            ended,
            connack: _,
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
            link,
            reauthentication,
            rights: Rights::new(login),
            packet_size_max,
            tells,
            decoder,
            input,
            stream,
            peer,
            output: OutBuf::default(),
            kick,
            leaving: None,
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
        first(&mut connection);
        let first_fits = connection.link.is_some() || connection.output.len() <= packet_size_max;
        if !first_fits {
            connection.output = OutBuf::default();
        }
        // A panic must cost this connection only, and not its session.
        let run = std::panic::AssertUnwindSafe(async {
            if first_fits {
                connection.run().await
            } else {
                Close::Quiet("CONNACK is larger than the client's maximum packet size".to_owned())
            }
        });
        let close = run.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%peer, "a connection panicked; it is closed, the session stays");
            Close::error(ReasonCode::UnspecifiedError, "internal error")
        });
        let reason = match &close {
            Close::Error(reason, _) => Some(*reason),
            _ => None,
        };
        connection.end(close, &seat).await;
        broker.stats.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        let _ = ended.send(true);
        broker.registry.remove_if_empty(&seat);
        drop(guest);
        reason
    }
}
