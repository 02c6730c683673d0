//! Keeps a bridge connected: when to try, which address, and the session here that it moves messages from and to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::door::DoorError;
use mqtt_codec::{
    Connect, Packet, PacketId, PropertiesBuf, ProtocolVersion, Publish, QoS, ReasonCode, Subscribe,
    Subscription as Asked, Unsubscribe,
};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::{self, Opened};
use super::{BridgeConfig, BridgeStart, Link};
use crate::broker::Broker;
use crate::message::{Message, PartitionId, Position, Publication, now_ms};
use crate::net::{Arrival, Connection, Guest, Identity, Listener};
use crate::packet::connect::{self, Entered, Tells};
use crate::session::NEVER;
use crate::session::store::SessionStore;
use crate::subscriptions::Subscription;
use crate::will::Ended;

/// How often a bridge that is not on its first address looks whether that one is back.
const FIRST_AGAIN: Duration = Duration::from_secs(5);
/// How often a bridge that waits for messages counts them.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How a try ended.
enum Tried {
    /// There was no connection.
    Failed,
    /// There was one, and it is over.
    Over,
    /// The server stops.
    Stopping,
}

/// One bridge at work.
struct Bridge {
    broker: Arc<Broker>,
    config: Arc<BridgeConfig>,
    tls: Option<Arc<ClientConfig>>,
    all: Arc<AtomicUsize>,
    /// The address to try.
    at: usize,
}

/// Keeps a bridge connected until the server stops.
pub(crate) async fn run(
    broker: Arc<Broker>,
    config: Arc<BridgeConfig>,
    tls: Option<Arc<ClientConfig>>,
    all: Arc<AtomicUsize>,
    mut stop: watch::Receiver<bool>,
) {
    let mut bridge = Bridge { broker, config, tls, all, at: 0 };
    bridge.say_state(b"0").await;
    let (least, most) = bridge.config.restart;
    let mut pause = least;
    while !*stop.borrow() {
        match bridge.try_once().await {
            Tried::Stopping => return,
            Tried::Over => pause = least,
            Tried::Failed => {}
        }
        if bridge.config.start == BridgeStart::Once {
            return;
        }
        bridge.at = (bridge.at + 1) % bridge.config.addresses.len().max(1);
        if most > least {
            // As Mosquitto does, so that bridges which lost the same broker do not all come back at one moment.
            pause = between(least, pause * 3).min(most);
        }
        tokio::select! {
            _ = stop.wait_for(|stops| *stops) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Bridge {
    /// One connection, from the session here to its end.
    async fn try_once(&mut self) -> Tried {
        let (broker, config) = (self.broker.clone(), self.config.clone());
        self.all.fetch_add(1, Ordering::SeqCst);
        let guest = Guest {
            peer: ([0, 0, 0, 0], 0).into(),
            deadline: Instant::now() + dial::TIMEOUT,
            is_beyond: false,
            identity: Identity::NotAsked,
            listener: Listener::of_bridges(),
            all: self.all.clone(),
        };
        let listener = guest.listener.clone();
        let mut entered = match connect::enter(&broker, &listener, local_connect(&config), &guest).await {
            Ok(entered) => entered,
            Err(refused) => {
                tracing::error!(bridge = config.name, why = refused.why, "a bridge has no session here");
                return Tried::Failed;
            }
        };
        // The channel is taken out, so that the session can be worked on meanwhile.
        let (_, spare) = tokio::sync::oneshot::channel();
        let mut kick = std::mem::replace(&mut entered.kick, spare);
        let dialled = async {
            let subscriptions = subscribe_here(&broker, &config, &mut entered).await;
            let subscriptions = subscriptions.map_err(std::io::Error::other)?;
            self.wait_for_messages(&entered).await.map_err(std::io::Error::other)?;
            Ok((dial::open(&config, self.tls.as_ref(), self.at).await?, subscriptions))
        };
        let dialled: Result<_, Option<std::io::Error>> = {
            let dialled = std::pin::pin!(dialled);
            tokio::select! {
                _ = &mut kick => Err(None),
                dialled = dialled => dialled.map_err(Some),
            }
        };
        entered.kick = kick;
        let (opened, subscriptions) = match dialled {
            Ok(dialled) => dialled,
            Err(why) => {
                let address = config.addresses.get(self.at).map(|(host, port)| format!("{host}:{port}"));
                if let Some(error) = &why {
                    tracing::warn!(bridge = config.name, ?address, %error, "a bridge is not connected");
                }
                broker.leave(&entered.seat, entered.session, Ended::Cleanly).await;
                let _ = entered.ended.send(true);
                broker.registry.remove_if_empty(&entered.seat);
                return if why.is_none() { Tried::Stopping } else { Tried::Failed };
            }
        };
        self.attend(entered, guest, opened, subscriptions).await
    }

    async fn attend(
        &mut self,
        mut entered: Entered,
        guest: Guest,
        opened: Opened,
        subscriptions: Vec<Arc<Subscription>>,
    ) -> Tried {
        let (broker, config) = (self.broker.clone(), self.config.clone());
        let Opened { stream, decoder, input, connack } = opened;
        tracing::info!(bridge = config.name, "a bridge is connected");
        let p = &connack.properties;
        if !connack.session_present && !self.forget_received(&mut entered).await {
            broker.leave(&entered.seat, entered.session, Ended::Cleanly).await;
            let _ = entered.ended.send(true);
            return Tried::Failed;
        }
        self.say_state(b"1").await;
        entered.window = entered.window.min(usize::from(p.receive_maximum.unwrap_or(u16::MAX)));
        entered.packet_size_max = p.maximum_packet_size.map_or(usize::MAX, |n| n as usize);
        if config.max_packet_size > 0 {
            entered.packet_size_max = entered.packet_size_max.min(config.max_packet_size as usize);
        }
        entered.receive_maximum = u16::MAX;
        entered.keep_alive = Some(Duration::from_millis(u64::from(config.keep_alive) * 1500));
        let link = Link::new(config.clone(), &connack);
        let first_again =
            (self.at != 0 && !config.round_robin).then(|| (entered.seat.clone(), self.tls.clone()));
        let arrival = Arrival {
            broker: broker.clone(),
            listener: guest.listener.clone(),
            version: config.version,
            stream,
            decoder,
            input,
            tells: Tells {
                problems: true,
                reasons: false,
                position: false,
                aliases: 0,
                packet_size_max: entered.packet_size_max,
            },
            entered,
            reauthentication: None,
            is_bridge: false,
            link: Some(Box::new(link)),
            guest,
        };
        let attended = arrival.attend(|connection| greet(connection, &config, subscriptions));
        let reason = match first_again {
            None => attended.await,
            Some((seat, tls)) => {
                let mut attended = std::pin::pin!(attended);
                tokio::select! {
                    reason = &mut attended => reason,
                    () = first_is_back(&config, tls.as_ref()) => {
                        if let Some(live) = seat.state.lock().await.live.take() {
                            let _ = live.kick.send(ReasonCode::AdministrativeAction);
                        }
                        // The next address after the last one is the first.
                        self.at = self.config.addresses.len().saturating_sub(1);
                        attended.await
                    }
                }
            }
        };
        self.say_state(b"0").await;
        tracing::info!(bridge = config.name, "a bridge's connection has ended");
        if reason == Some(ReasonCode::ServerShuttingDown) { Tried::Stopping } else { Tried::Over }
    }

    /// A lazy bridge waits here until enough messages do.
    async fn wait_for_messages(&self, entered: &Entered) -> Result<(), DoorError> {
        if self.config.start != BridgeStart::Lazy {
            return Ok(());
        }
        let consumer = &entered.session.consumer;
        self.broker.hub.connect(consumer).await?;
        while consumer.queued() < self.config.threshold.max(1) {
            tokio::time::sleep(COUNT_EVERY).await;
        }
        Ok(())
    }

    /// The other broker has no session of ours: QoS 2 packet identifiers of the old one mean nothing any more.
    async fn forget_received(&self, entered: &mut Entered) -> bool {
        let session = &mut entered.session;
        let ids: Vec<PacketId> = session.inbound.sender_forgot();
        if ids.is_empty() || !session.is_persistent() {
            return true;
        }
        let written = self.broker.store.write(&session.client_id, SessionStore::inbound_forgotten(&ids));
        let written = written.await;
        if let Err(error) = &written {
            tracing::warn!(bridge = self.config.name, %error, "a bridge cannot begin a session");
            ids.into_iter().for_each(|id| session.inbound.restore(id));
        }
        written.is_ok()
    }

    /// Tells the subscribers here.
    async fn say_state(&self, state: &'static [u8]) {
        if !self.config.notifications {
            return;
        }
        let topic = self.config.notification_topic();
        let publication = Publication {
            topic: Bytes::from(topic.clone()),
            payload: Bytes::from_static(state),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: PropertiesBuf::new(),
            expiry_s: None,
            client: Some(Bytes::from(self.config.local_id())),
            source: None,
        };
        if !topic.starts_with('$') {
            self.broker.publish_until_stored(&publication, Vec::new).await;
            return;
        }
        let stored_ms = now_ms();
        let message = Arc::new(Message { publication, stored_ms, position: None });
        self.broker.hub.deliver_local(&message);
        let at = Position { partition: PartitionId::NONE, offset: stored_ms };
        self.broker.retained.apply(message.publication.topic.clone(), Some(message.clone()), at);
    }
}

/// What a bridge says first.
fn greet(connection: &mut Connection, config: &BridgeConfig, subscriptions: Vec<Arc<Subscription>>) {
    if config.notifications && !config.notifications_local_only {
        let id = connection.session.outbound.reserve_id();
        let mut publish = Publish { topic: config.notification_topic().into(), ..Publish::default() };
        publish.payload = Bytes::from_static(b"1");
        publish.qos = connection.link.as_ref().map_or(QoS::AtLeastOnce, |l| l.granted(QoS::AtLeastOnce));
        publish.packet_id = (publish.qos != QoS::AtMostOnce).then_some(id);
        publish.retain = config.outgoing_retain;
        connection.send(&Packet::Publish(publish));
    }
    for topic in &config.topics {
        if topic.comes_in() {
            let qos = connection.link.as_ref().map_or(topic.qos, |l| l.granted(topic.qos));
            let mut asked = Asked::new(topic.remote(), qos);
            if config.version.is_v5() {
                (asked.no_local, asked.retain_as_published) = (true, true);
            }
            let id = connection.session.outbound.reserve_id();
            connection.send(&Packet::Subscribe(Subscribe::new(id, vec![asked])));
        } else if config.attempt_unsubscribe {
            let id = connection.session.outbound.reserve_id();
            connection.send(&Packet::Unsubscribe(Unsubscribe::new(id, vec![topic.remote()])));
        }
    }
    for subscription in subscriptions {
        let messages = connection.broker.retained.matching(&subscription.filter);
        connection.session.consumer.push_retained(&subscription, messages);
    }
}

/// Waits until the first address can be reached again.
async fn first_is_back(config: &BridgeConfig, tls: Option<&Arc<ClientConfig>>) {
    loop {
        tokio::time::sleep(FIRST_AGAIN).await;
        if dial::reach(config, tls, 0).await.is_ok() {
            return;
        }
    }
}

/// A duration between two, picked at random.
fn between(least: Duration, most: Duration) -> Duration {
    let mut random = [128u8];
    // Without randomness all pauses are of middle length.
    let _ = getrandom::fill(&mut random);
    least + most.saturating_sub(least) * u32::from(random[0]) / 256
}

fn local_connect(config: &BridgeConfig) -> Connect {
    let mut connect = Connect::new(ProtocolVersion::V5, config.local_id());
    connect.clean_start = config.local_clean_session.unwrap_or(config.clean_session);
    connect.properties.session_expiry_interval = (!connect.clean_start).then_some(NEVER);
    connect.user_name = Some(config.local_user_name.clone().unwrap_or_else(|| config.local_id()));
    connect
}

/// Subscribes to what goes out, and to nothing else; answers the subscriptions.
async fn subscribe_here(
    broker: &Arc<Broker>,
    config: &BridgeConfig,
    entered: &mut Entered,
) -> Result<Vec<Arc<Subscription>>, DoorError> {
    let session = &mut entered.session;
    let consumer = session.consumer.clone();
    let wanted: Vec<_> = config.topics.iter().filter(|t| t.goes_out()).collect();
    for (filter, _) in consumer.subscriptions() {
        if !wanted.iter().any(|t| t.local() == *filter) {
            broker.hub.unsubscribe(&consumer, &filter);
        }
    }
    let mut made = Vec::new();
    for topic in wanted {
        let filter: Box<str> = topic.local().into();
        let starts = match consumer.subscription(&filter) {
            Some(old) => old.starts.clone(),
            None => broker.hub.starts(&filter, None).await?,
        };
        let subscription = Arc::new(Subscription {
            filter: filter.clone(),
            qos: topic.qos,
            no_local: true,
            retain_as_published: true,
            retain_handling: 0,
            id: None,
            shared: false,
            replays: false,
            starts,
        });
        broker.hub.subscribe(&consumer, &filter, subscription.clone(), session.is_persistent());
        made.push(subscription);
    }
    if session.is_persistent() {
        let parts = broker.store.whole(session);
        broker.store.write(&session.client_id, parts).await?;
    }
    Ok(made)
}
