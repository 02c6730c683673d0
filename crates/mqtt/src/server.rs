//! Start and stop of the whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::door::{Door, TopicPartition};
use mqtt_codec::ReasonCode;
use tokio::sync::watch;

use crate::auth::{Login, Outcome};
use crate::bridge;
use crate::broker::Broker;
use crate::deliver::{Hub, QueueLimits};
use crate::exposed::Exposed;
use crate::message::Position;
use crate::net::{Listener, Security};
use crate::nodes::{Nodes, apply_retained};
use crate::retained::Retained;
use crate::route::Routes;
use crate::session::store::{self, RETAINED, SessionStore};
use crate::session::{Live, Registry};
use crate::stats::Stats;
use crate::timers::Timers;
use crate::{ListenAddress, ListenerConfig, MqttConfig, MqttError, Transport};

/// The MQTT server.
#[derive(Debug)]
pub struct Server;

/// A running server. Dropping it stops the server without waiting; [`MqttHandle::shutdown`] is the clean way.
#[derive(Debug)]
pub struct MqttHandle {
    addresses: Vec<SocketAddr>,
    listeners: Vec<(Arc<Listener>, ListenAddress)>,
    broker: Arc<Broker>,
    open: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Loads sessions and retained messages from the log, then opens the listeners. Must be called in a tokio
    /// runtime. When it returns, clients can connect.
    ///
    /// # Errors
    /// [`MqttError::Config`], [`MqttError::Listen`], [`MqttError::Door`] when the log cannot be read, or
    /// [`MqttError::Corrupt`] when a session in it cannot be understood.
    pub async fn start(config: MqttConfig, door: Arc<dyn Door>) -> Result<MqttHandle, MqttError> {
        let started = Instant::now();
        check(&config)?;
        let bridges: Vec<_> = config
            .bridges
            .iter()
            .map(|b| Ok((Arc::new(b.clone()), bridge::tls_of(b)?)))
            .collect::<Result<_, MqttError>>()?;
        let routes = Routes::new(&config.routes, &config.auto_create)?;
        let access = door.access();
        let bind = |listener: &ListenerConfig| Listener::bind(listener.clone(), access.clone());
        let bound: Vec<_> = config.listeners.iter().map(bind).collect::<Result<_, MqttError>>()?;

        let (session_partitions, retained_partitions) =
            store::ensure_topics(&*door, config.internal_partitions).await?;
        let stats = Arc::new(Stats::default());
        let limits = QueueLimits {
            messages: config.limits.max_queued_messages,
            bytes: config.limits.max_queued_bytes,
            qos0_lag: i64::from(config.limits.max_qos0_lag),
            upgrade_qos: config.upgrade_outgoing_qos,
        };
        let hub = Hub::new(door, routes, stats.clone(), limits);
        let place = hub.door.nodes();
        let retained = match &place {
            None => load_retained(&hub, retained_partitions).await?,
            Some(_) => Arc::new(Retained::default()),
        };
        let exposed = Exposed::new(hub.clone(), retained.clone(), config.limits.max_retained);
        exposed.load().await?;
        let store = SessionStore::new(hub.clone(), session_partitions);
        let (nodes, news) = match place {
            None => (None, None),
            Some(place) => {
                let (hub, store, retained) = (hub.clone(), store.clone(), retained.clone());
                let started =
                    Nodes::start(place, hub, store, retained, session_partitions, retained_partitions)
                        .await?;
                (Some(started.0), Some(started.1))
            }
        };
        let broker = Arc::new(Broker {
            store,
            nodes: nodes.clone(),
            hub: hub.clone(),
            retained,
            exposed: exposed.clone(),
            retained_partitions,
            registry: Registry::default(),
            stats,
            queue_limits: limits,
            timers: Timers::default(),
            started,
            listeners: bound.iter().map(|(listener, _)| listener.clone()).collect(),
            config,
        });
        if let (Some(nodes), Some(news)) = (nodes, news) {
            let (group_news, of_groups) = tokio::sync::mpsc::unbounded_channel();
            hub.leave_groups_to(group_news);
            hub.spawn(broker.clone().follow_groups(nodes.clone(), of_groups));
            broker.resume_own(&nodes).await;
            hub.spawn(broker.clone().follow_claims(nodes.clone(), news));
            hub.spawn(broker.clone().look_after_the_dead(nodes));
        } else {
            broker.adopt(store::load(&hub, session_partitions, limits).await?);
        }
        tracing::info!(
            sessions = broker.registry.len(),
            retained = broker.retained.len(),
            milliseconds = started.elapsed().as_millis(),
            "MQTT state read from the log"
        );

        hub.spawn(hub.clone().watch_topics());
        hub.spawn(broker.clone().run_timers());
        hub.spawn(exposed.watch());
        hub.spawn(broker.clone().checkpoint_shares());
        if let Some(access) = access {
            hub.spawn(watch_users(broker.clone(), access.changes()));
        }
        if let Some(interval) = broker.config.sys_interval {
            hub.spawn(crate::sys::run(broker.clone(), interval));
        }
        let (stop, _) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let mut listeners = Vec::new();
        for (listener, socket) in bound {
            listeners.push((listener.clone(), socket.address()));
            tokio::spawn(listener.run(socket, broker.clone(), open.clone(), stop.subscribe()));
        }
        for (bridge, tls) in bridges {
            hub.spawn(bridge::run(broker.clone(), bridge, tls, open.clone(), stop.subscribe()));
        }
        let addresses = listeners.iter().filter_map(|(_, address)| address.tcp()).collect();
        Ok(MqttHandle { addresses, listeners, broker, open, stop })
    }
}

impl MqttHandle {
    /// The bound TCP addresses, in the order of the configured listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What listens where, in the order of the configured listeners.
    pub fn listening(&self) -> impl Iterator<Item = Listening<'_>> {
        self.listeners.iter().map(|(l, address)| Listening {
            address,
            protocol: match (l.config.transport, l.config.tls.is_some()) {
                (Transport::Mqtt, false) => "mqtt",
                (Transport::Mqtt, true) => "mqtt-tls",
                (Transport::WebSocket, false) => "mqtt-ws",
                (Transport::WebSocket, true) => "mqtt-wss",
            },
        })
    }

    /// Gives the listeners the users, rights and certificates of `configs` (one for each listener, in the order of
    /// [`MqttConfig::listeners`]; what else they say is left alone) and ends the connections of clients that may not
    /// come in any more. All or nothing: when a certificate cannot be read everything stays as it was.
    ///
    /// # Errors
    /// [`MqttError::Tls`]; [`MqttError::Config`] when there are more or fewer listeners than now.
    pub async fn reload(&self, configs: &[ListenerConfig]) -> Result<(), MqttError> {
        if configs.len() != self.listeners.len() {
            return Err(MqttError::Config("listeners are added and removed by a restart only".to_owned()));
        }
        let fresh = configs.iter().map(Security::of).collect::<Result<Vec<_>, _>>()?;
        for ((listener, _), security) in self.listeners.iter().zip(fresh) {
            listener.security.store(security);
        }
        let broker = self.broker.clone();
        // Every password is hashed once more.
        let _ = tokio::task::spawn_blocking(move || disconnect_unaccepted(&broker, |_| true)).await;
        Ok(())
    }

    /// Publishes lines of the log.
    pub fn log(&self) -> LogTopic {
        LogTopic(Arc::downgrade(&self.broker))
    }

    /// Network connections open now.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Stops accepting, tells v5 clients "server shutting down", publishes wills, writes cursors and waits for
    /// all of it, at most [`MqttConfig::shutdown_grace`].
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + self.broker.config.shutdown_grace;
        while self.connections() > 0 && Instant::now() < deadline {
            // Again and again: a client may have been about to connect.
            self.kick_all();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.connections() > 0 {
            tracing::warn!(connections = self.connections(), "stopping before all connections have ended");
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        if tokio::time::timeout(left, self.broker.save_shares()).await.is_err() {
            tracing::warn!("stopping before the cursors of share groups are saved");
        }
        if let Some(nodes) = &self.broker.nodes
            && !matches!(tokio::time::timeout(left, nodes.leave()).await, Ok(Ok(())))
        {
            tracing::warn!("stopping before the other nodes know of it");
        }
    }

    /// Waits until another node has taken this one's place: it has nothing to serve any more, and has to be dropped. For
    /// ever, where the log is not shared.
    pub async fn lost(&self) {
        match &self.broker.nodes {
            Some(nodes) if nodes.lost().wait_for(|lost| *lost).await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    fn kick_all(&self) {
        for seat in self.broker.registry.all() {
            let Ok(mut state) = seat.state.try_lock() else { continue };
            if state.live.as_ref().is_some_and(|l| *l.ended.borrow()) {
                state.live = None;
            }
            if let Some(live) = &mut state.live {
                kick(live, ReasonCode::ServerShuttingDown);
            }
        }
    }
}

/// Publishes lines of the log under `$SYS/broker/log`, as long as the server runs.
#[derive(Clone, Debug)]
pub struct LogTopic(std::sync::Weak<Broker>);

impl LogTopic {
    /// A line; `severity` is Mosquitto's letter for it: `E`, `W`, `N`, `I` or `D`.
    pub fn publish(&self, severity: char, line: String) {
        if let Some(broker) = self.0.upgrade() {
            broker.tell(&format!("$SYS/broker/log/{severity}"), line.into_bytes());
        }
    }
}

/// One listener of [`MqttHandle::listening`].
#[derive(Clone, Copy, Debug)]
pub struct Listening<'a> {
    /// Where, with the port that was picked.
    pub address: &'a ListenAddress,
    /// `mqtt`, `mqtt-tls`, `mqtt-ws` or `mqtt-wss`.
    pub protocol: &'static str,
}

/// Ends a connection, once.
pub(crate) fn kick(live: &mut Live, reason: ReasonCode) {
    // The receiving end of a closed channel stands in for the one that is used up.
    let (spent, _) = tokio::sync::oneshot::channel();
    let kick = std::mem::replace(&mut live.kick, spent);
    let _ = kick.send(reason);
}

/// Ends, at each change of the log's users, the connections of those it has no more.
async fn watch_users(broker: Arc<Broker>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let broker = broker.clone();
        let of_the_log = |login: &Login| login.is_of_the_log(&login.listener.security.load());
        let ended = tokio::task::spawn_blocking(move || disconnect_unaccepted(&broker, of_the_log));
        let _ = ended.await;
    }
}

/// Ends the connections of clients that would not be accepted now, as far as `concerned` says.
fn disconnect_unaccepted(broker: &Broker, concerned: impl Fn(&Login) -> bool) {
    for seat in broker.registry.all() {
        // One that is connecting at this moment may have been asked by the old rules.
        let mut state = seat.state.blocking_lock();
        if let Some(live) = &mut state.live
            && concerned(&live.login)
            && live.login.check(&live.login.listener.security.load()) == Outcome::Refused
        {
            kick(live, ReasonCode::AdministrativeAction);
        }
    }
}

impl Drop for MqttHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.kick_all();
        self.broker.hub.stop();
    }
}

fn check(config: &MqttConfig) -> Result<(), MqttError> {
    let bad = |what: &str| Err(MqttError::Config(what.to_owned()));
    if config.limits.max_inflight_messages == 0 {
        return bad("max_inflight_messages must be at least 1");
    }
    if config.limits.max_queued_messages == 0 {
        return bad("max_queued_messages must be at least 1");
    }
    if config.limits.max_packet_size < 20 {
        return bad("max_packet_size must be at least 20");
    }
    if config.internal_partitions < 1 {
        return bad("internal topics need at least one partition");
    }
    for l in &config.listeners {
        if l.max_qos > 2 {
            return bad("max_qos must be 0, 1 or 2");
        }
        if let Some(mount) = &l.mount_point
            && (mqtt_codec::topic::validate_name(mount).is_err() || mount.starts_with('$'))
        {
            return Err(MqttError::Config(format!("mount_point {mount:?} cannot begin a topic")));
        }
    }
    Ok(())
}

async fn load_retained(hub: &Arc<Hub>, partitions: i32) -> Result<Arc<Retained>, MqttError> {
    let retained = Arc::new(Retained::default());
    for n in 0..partitions {
        let name = TopicPartition::new(RETAINED, n);
        let partition = hub.partitions.get(&name);
        store::read_all(&*hub.door, &name, |record| {
            let at = Position { partition: partition.id, offset: record.offset };
            apply_retained(hub, &retained, record, at);
        })
        .await?;
    }
    Ok(retained)
}
