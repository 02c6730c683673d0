//! Starting and stopping the broker.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use client::door::Door;
use futures_util::FutureExt;
use kafka_codec::Uuid;
use log::{
    CleanerConfig, LogDir, LogDirConfig, LogError, NewLog, RealStorage, RecoveryReport, Storage, SystemClock,
    TopicPartition,
};
use meta::acl::Authorizer;
use meta::config::{BrokerProperties, TopicConfig, split_list};
use meta::{MetaProperties, controller};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{BrokerConfig, Endpoint, ListenerConfig};
use crate::context::{Connection, ListenerInfo};
use crate::dispatch::Dispatcher;
use crate::error::BrokerError;
use crate::groups::Groups;
use crate::local::LocalDoor;
use crate::metadata::{METADATA_TOPIC, Metadata};
use crate::net::acceptor::{self, ConnectionCount, ConnectionsAllowed};
use crate::net::budget::MemoryBudget;
use crate::net::connection::{self, ConnectionEnd, ConnectionLimits};
use crate::net::stream::{Stream, TlsStream};
use crate::node::{Advertised, Node, random_uuid};
use crate::producer_ids::ProducerIds;
use crate::quota::QuotaManager;
use crate::replica::{Events, Partition, Replicas};
use crate::security::ListenerValues;
use crate::shares::Shares;
use crate::telemetry::Telemetry;
use crate::txns::Transactions;

/// What `queued.max.request.bytes=-1` means here: memory is never without limit.
const REQUEST_MEMORY_BYTES: u64 = 256 << 20;
/// How long a shutdown waits for answers under way.
const DRAIN: Duration = Duration::from_secs(2);

/// One listener that accepts connections.
#[derive(Clone, Debug)]
pub struct BoundListener {
    /// Listener name (`PLAINTEXT`, `INTERNAL` …).
    pub name: String,
    /// The address bound; the port is the real one when 0 was asked for.
    pub address: SocketAddr,
    /// What clients of this listener are told to connect to.
    pub advertised: Endpoint,
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Opens the data directory (recovering what a crash left), binds all listeners and begins to serve.
    ///
    /// # Errors
    /// [`BrokerError`] when a listener cannot be bound, or the data directory cannot be used. Nothing keeps
    /// running then.
    pub async fn start(config: BrokerConfig) -> Result<BrokerHandle, BrokerError> {
        Self::start_on(config, Arc::new(RealStorage)).await
    }

    /// As [`Broker::start`], with the logs and their journal on `storage`: another file system, or a disk that
    /// fails on purpose ([`log::testing::FaultStorage`]). Which node the directory belongs to
    /// (`meta.properties`) lies on the machine's file system all the same.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_on(
        config: BrokerConfig,
        storage: Arc<dyn Storage>,
    ) -> Result<BrokerHandle, BrokerError> {
        let properties = config.broker_properties();
        let mut sockets = Vec::new();
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let (socket, info) = bind(listener, &properties).await?;
            sockets.push(socket);
            bound.push(info);
        }
        let node = tokio::task::spawn_blocking(move || open(config, storage))
            .await
            .map_err(|error| BrokerError::Config(format!("start interrupted: {error}")))??;
        let advertised = bound
            .iter()
            .map(|listener| Advertised {
                listener: listener.name.clone(),
                endpoint: listener.advertised.clone(),
            })
            .collect();
        let _ = node.advertised.set(advertised);
        register(&node).await?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(maintain(Arc::clone(&node), stopped.clone()));
        tasks.spawn(Groups::run(Arc::clone(&node), stopped.clone()));
        tasks.spawn(Transactions::run(Arc::clone(&node), stopped.clone()));
        tasks.spawn(Shares::run(Arc::clone(&node), stopped.clone()));
        let serving = Serving::new(&node, stopped.clone());
        for (index, (socket, info)) in sockets.into_iter().zip(&bound).enumerate() {
            let security = node
                .config
                .listeners
                .get(index)
                .map(|listener| listener.security.clone())
                .unwrap_or_default();
            let listener = Arc::new(ListenerInfo { index, name: info.name.clone(), security });
            tasks.spawn(serving.clone().accept(socket, listener));
        }
        let door = LocalDoor::start(Arc::clone(&node));
        Ok(BrokerHandle { listeners: bound, door, node, stop, tasks })
    }
}

async fn bind(
    listener: &ListenerConfig,
    properties: &BrokerProperties,
) -> Result<(TcpListener, BoundListener), BrokerError> {
    let Endpoint { host, port } = &listener.bind;
    let failed =
        |source| BrokerError::Bind { name: listener.name.clone(), address: format!("{host}:{port}"), source };
    let backlog = properties.int("socket.listen.backlog.size").max(1);
    // Kafka's default would hold back what the system can do by itself: only what was asked for is set.
    let given = |key: &str| properties.fixed.get(key).and_then(|value| value.trim().parse().ok());
    let buffers = acceptor::SocketBuffers {
        receive: given("socket.receive.buffer.bytes"),
        send: given("socket.send.buffer.bytes"),
    };
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        // All interfaces, IPv6 too where the system has it.
        vec![SocketAddr::new([0u16; 8].into(), *port), SocketAddr::new([0u8; 4].into(), *port)]
    } else {
        tokio::net::lookup_host((host.as_str(), *port)).await.map_err(failed)?.collect()
    };
    let mut result = Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
    for address in addresses {
        result = acceptor::bind(address, backlog, buffers);
        if result.is_ok() {
            break;
        }
    }
    let socket = result.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let advertised = match &listener.advertised {
        Some(advertised) => {
            let port = if advertised.port == 0 { address.port() } else { advertised.port };
            Endpoint { host: advertised.host.clone(), port }
        }
        // A wildcard is no address: each client is told the one by which it came.
        None if address.ip().is_unspecified() => Endpoint { host: String::new(), port: address.port() },
        None => Endpoint { host: host.clone(), port: address.port() },
    };
    Ok((socket, BoundListener { name: listener.name.clone(), address, advertised }))
}

/// Opens the data directory and everything in it.
fn open(config: BrokerConfig, storage: Arc<dyn Storage>) -> Result<Arc<Node>, BrokerError> {
    let path = config.data_dir.clone();
    std::fs::create_dir_all(&path)
        .map_err(|source| BrokerError::DataDirectory { path: path.clone(), source })?;
    let properties = config.broker_properties();
    let events = Arc::new(Events::default());
    let (dir, report) = LogDir::open(
        &path,
        log_dir_config(&properties),
        storage,
        Arc::new(SystemClock),
        Arc::clone(&events) as Arc<_>,
    )?;
    tell(&report);
    let identity = identity(&config, &path)?;
    let refused: BTreeMap<TopicPartition, LogError> =
        report.refused.iter().map(|log| (log.partition.clone(), log.error.clone())).collect();
    let replicas = Arc::new(Replicas::new(dir, events));
    let metadata_log = open_metadata_log(&replicas, &refused)?;
    let metadata = Metadata::load(
        config.node_id,
        config.properties.clone(),
        metadata_log,
        Arc::clone(&replicas),
        refused,
    )?;
    Ok(Arc::new(Node {
        id: config.node_id,
        cluster_id: identity.cluster_id,
        directory_id: identity.directory_id,
        config,
        advertised: OnceLock::new(),
        replicas,
        metadata,
        groups: Groups::new(&properties),
        transactions: Transactions::new(&properties),
        shares: Shares::new(&properties),
        authorizer: Authorizer::from_properties(&properties),
        quotas: QuotaManager::new(&properties),
        producer_ids: ProducerIds::default(),
        telemetry: Telemetry::new(&properties),
        serves_mqtt: AtomicBool::new(false),
    }))
}

/// Reads whose directory it is, or makes it ours.
fn identity(config: &BrokerConfig, path: &Path) -> Result<MetaProperties, BrokerError> {
    if let Some(known) = MetaProperties::load(path)? {
        if known.node_id != config.node_id {
            return Err(BrokerError::Config(format!(
                "node.id: {} is configured, but {} belongs to node {}",
                config.node_id,
                path.display(),
                known.node_id
            )));
        }
        return Ok(known);
    }
    let fresh = MetaProperties {
        cluster_id: random_uuid().to_string(),
        node_id: config.node_id,
        directory_id: random_uuid(),
    };
    fresh.store(path)?;
    Ok(fresh)
}

fn open_metadata_log(
    replicas: &Replicas,
    refused: &BTreeMap<TopicPartition, LogError>,
) -> Result<Arc<Partition>, BrokerError> {
    let partition = TopicPartition::new(METADATA_TOPIC, 0);
    if let Some(error) = refused.get(&partition) {
        return Err(BrokerError::Log(error.clone()));
    }
    let log = replicas.dir.create_log(NewLog {
        partition,
        topic_id: Uuid::METADATA_TOPIC.0,
        config: metadata_log_config(),
    })?;
    Ok(replicas.adopt(log, TopicConfig::of(&BrokerProperties::default(), &BTreeMap::new())))
}

/// The metadata log loses nothing by age or size.
fn metadata_log_config() -> log::LogConfig {
    log::LogConfig {
        retention_ms: -1,
        retention_bytes: -1,
        cleanup_policy: log::CleanupPolicy { delete: false, compact: false },
        max_message_bytes: 64 << 20,
        ..log::LogConfig::default()
    }
}

fn log_dir_config(properties: &BrokerProperties) -> LogDirConfig {
    LogDirConfig {
        journal_bytes: u64::try_from(properties.long("journal.bytes")).unwrap_or(64 << 20),
        producer_id_expiration_ms: properties.long("producer.id.expiration.ms"),
        checkpoint_interval_ms: properties.long("log.flush.offset.checkpoint.interval.ms"),
        cleaner: cleaner_config(properties),
        ..LogDirConfig::default()
    }
}

/// The cleaner's settings. One thread cleans, however many are asked for; with none there is no compaction.
pub(crate) fn cleaner_config(properties: &BrokerProperties) -> CleanerConfig {
    let rate: Option<f64> =
        properties.text("log.cleaner.io.max.bytes.per.second").and_then(|rate| rate.parse().ok());
    // Kafka's default is the largest number there is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let io_bytes_per_second = rate.filter(|rate| *rate < 1e15).map_or(0, |rate| rate.max(1.0) as u64);
    CleanerConfig {
        enabled: properties.flag("log.cleaner.enable") && properties.int("log.cleaner.threads") > 0,
        dedupe_buffer_bytes: usize::try_from(properties.long("log.cleaner.dedupe.buffer.size")).unwrap_or(0),
        io_bytes_per_second,
        backoff_ms: u64::try_from(properties.long("log.cleaner.backoff.ms")).unwrap_or(0),
    }
}

fn tell(report: &RecoveryReport) {
    for log in &report.recovered {
        tracing::info!(
            partition = %log.partition,
            end_offset = log.end_offset,
            replayed_bytes = log.replayed_bytes,
            truncated_bytes = log.truncated_bytes,
            reason = log.reason,
            "log recovered"
        );
    }
    for log in &report.refused {
        tracing::error!(partition = %log.partition, error = %log.error, "log refused: the partition is offline");
    }
    for note in &report.notes {
        tracing::warn!("{note}");
    }
}

/// Writes this start of the broker into the cluster state.
async fn register(node: &Node) -> Result<(), BrokerError> {
    let rack = node.state().properties.text("broker.rack");
    let endpoints: Vec<_> = node
        .advertised
        .get()
        .into_iter()
        .flatten()
        .zip(&node.config.listeners)
        .map(|(a, listener)| controller::RegisteredEndpoint {
            listener: a.listener.clone(),
            host: a.endpoint.host.clone(),
            port: a.endpoint.port,
            protocol: listener.protocol.code(),
        })
        .collect();
    let incarnation = random_uuid();
    node.metadata
        .change(|state| {
            let image = &state.image;
            let records =
                controller::register_broker(image, node.id, incarnation, node.directory_id, rack, &endpoints);
            Ok((records, ()))
        })
        .await?;
    Ok(())
}

/// How often open files are counted.
const FILE_RELIEF_INTERVAL: Duration = Duration::from_secs(1);
/// When the first housekeeping happens after the start.
const FIRST_HOUSEKEEPING: Duration = Duration::from_secs(30);

/// Housekeeping of the logs (retention, removal of deleted files, expiry of producers) every
/// `log.retention.check.interval.ms`, and checkpoints in between; off the runtime's own threads.
async fn maintain(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let interval_ms = |node: &Node| {
        u64::try_from(node.state().properties.long("log.retention.check.interval.ms")).unwrap_or(1).max(1)
    };
    let checkpoint_ms = node.state().properties.long("log.flush.offset.checkpoint.interval.ms").max(1);
    let checkpoint_interval = Duration::from_millis(u64::try_from(checkpoint_ms).unwrap_or(60_000));
    let interval = Duration::from_millis(interval_ms(&node));
    let mut housekeeping =
        tokio::time::interval_at(Instant::now() + FIRST_HOUSEKEEPING.min(interval), interval);
    let mut checkpoints = tokio::time::interval_at(Instant::now() + checkpoint_interval, checkpoint_interval);
    let mut relief = tokio::time::interval(FILE_RELIEF_INTERVAL);
    for interval in [&mut housekeeping, &mut checkpoints, &mut relief] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        let work: fn(&LogDir) -> Vec<LogError> = tokio::select! {
            _ = housekeeping.tick() => LogDir::run_maintenance,
            _ = checkpoints.tick() => |dir| {
                dir.checkpoint();
                Vec::new()
            },
            _ = relief.tick() => {
                if !node.replicas.dir.files_run_short() {
                    continue;
                }
                |dir| {
                    tracing::info!("many files are open: closing idle ones");
                    dir.close_idle_files();
                    Vec::new()
                }
            }
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let node = Arc::clone(&node);
        match tokio::task::spawn_blocking(move || work(&node.replicas.dir)).await {
            Ok(failures) => {
                for error in failures {
                    tracing::error!(%error, "housekeeping of a log failed");
                }
            }
            Err(error) => tracing::error!(%error, "the logs' housekeeping was cut short"),
        }
    }
}

/// What all connections share.
#[derive(Clone)]
struct Serving {
    node: Arc<Node>,
    limits: ConnectionLimits,
    budget: Arc<MemoryBudget>,
    count: Arc<ConnectionCount>,
    stop: watch::Receiver<bool>,
}

impl Serving {
    fn new(node: &Arc<Node>, stop: watch::Receiver<bool>) -> Self {
        let state = node.state();
        let properties = &state.properties;
        let size = |key: &str| usize::try_from(properties.long(key)).unwrap_or(0);
        let limits = ConnectionLimits {
            frame_bytes_max: size("socket.request.max.bytes"),
            first_frame_bytes_max: connection::FIRST_FRAME_BYTES_MAX,
            pipelined_max: size("queued.max.requests.per.connection").max(1),
            idle: u64::try_from(properties.long("connections.max.idle.ms")).ok().map(Duration::from_millis),
        };
        let memory =
            u64::try_from(properties.long("queued.max.request.bytes")).ok().filter(|bytes| *bytes > 0);
        // One request of the largest allowed size must always fit.
        let memory = memory.unwrap_or(REQUEST_MEMORY_BYTES).max(limits.frame_bytes_max as u64 + 4);
        Self {
            node: Arc::clone(node),
            budget: MemoryBudget::new(memory),
            count: ConnectionCount::new(per_ip(
                &properties.text("max.connections.per.ip.overrides").unwrap_or_default(),
            )),
            limits,
            stop,
        }
    }

    async fn accept(self, socket: TcpListener, listener: Arc<ListenerInfo>) {
        let connections = parking_lot::Mutex::new(JoinSet::new());
        let admit = |ip| {
            let state = self.node.state();
            let size = |key: &str| usize::try_from(state.properties.long(key)).unwrap_or(0);
            let own = ListenerValues::of(&listener.name, &state.properties).own("max.connections");
            let allowed = ConnectionsAllowed {
                all: size("max.connections"),
                of_listener: own.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX),
                per_ip: size("max.connections.per.ip"),
            };
            self.count.admit(listener.index, ip, allowed)
        };
        let serve = |stream, peer, ticket| {
            let serving = self.clone();
            let listener = Arc::clone(&listener);
            let mut connections = connections.lock();
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                let _ticket = ticket;
                serving.serve(stream, peer, listener).await;
            });
        };
        acceptor::run(socket, listener.name.clone(), &self.count, admit, self.stop.clone(), serve).await;
        let mut connections = connections.into_inner();
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self, stream: tokio::net::TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>) {
        let Ok(local) = stream.local_addr() else { return };
        let name = listener.name.clone();
        let wait = self.node.quotas.connected(
            &self.node.state(),
            peer.ip().to_canonical(),
            &listener,
            crate::api::now_ms(),
        );
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let (stream, principal) = match secured(stream, &listener).await {
            Ok(secured) => secured,
            Err(reason) => {
                tracing::warn!(listener = name, %peer, reason, "connection refused");
                return;
            }
        };
        let mut limits = self.limits;
        if let Some(sasl) = &listener.security.sasl {
            limits.first_frame_bytes_max = sasl.receive_bytes_max;
        }
        let connection = Connection::new(local, peer, listener);
        let dispatcher = Dispatcher::new(self.node, connection, principal);
        let serving = connection::serve(stream, peer, limits, self.budget, dispatcher, self.stop);
        match AssertUnwindSafe(serving).catch_unwind().await {
            Ok(ConnectionEnd::Closed | ConnectionEnd::Idle) => {}
            Ok(ConnectionEnd::Misbehaved(reason)) => {
                tracing::warn!(listener = name, %peer, reason, "connection closed");
            }
            Ok(ConnectionEnd::Io(error)) => {
                tracing::debug!(listener = name, %peer, %error, "connection lost");
            }
            Err(_) => tracing::error!(listener = name, %peer, "connection closed: its handling panicked"),
        }
    }
}

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Puts TLS around a connection where the listener speaks it; answers also whom a certificate names.
async fn secured(
    socket: tokio::net::TcpStream,
    listener: &ListenerInfo,
) -> Result<(Stream, Option<String>), String> {
    let Some(tls) = &listener.security.tls else { return Ok((Stream::Plain(socket), None)) };
    let shaking = tokio::time::timeout(HANDSHAKE, TlsStream::accept(socket, tls.current()));
    let stream = shaking
        .await
        .map_err(|_| "the TLS handshake took too long".to_owned())?
        .map_err(|error| format!("TLS handshake: {error}"))?;
    let principal = tls.principal(stream.peer_certificates())?;
    Ok((Stream::Tls(Box::new(stream)), principal))
}

/// `max.connections.per.ip.overrides`: address and number, by commas. A name counts for its addresses at start.
fn per_ip(text: &str) -> HashMap<IpAddr, usize> {
    let mut limits = HashMap::new();
    for entry in split_list(text) {
        let Some((host, limit)) = entry.rsplit_once(':') else { continue };
        let Ok(limit) = limit.trim().parse::<usize>() else { continue };
        let host = host.trim().trim_start_matches('[').trim_end_matches(']');
        match std::net::ToSocketAddrs::to_socket_addrs(&(host, 0)) {
            Ok(addresses) => limits.extend(addresses.map(|address| (address.ip().to_canonical(), limit))),
            Err(error) => tracing::warn!(host, %error, "max.connections.per.ip.overrides: not known"),
        }
    }
    limits
}

/// A running broker.
pub struct BrokerHandle {
    listeners: Vec<BoundListener>,
    door: Arc<LocalDoor>,
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl BrokerHandle {
    /// The listeners in the order of the configuration.
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// The cluster's id: 22 characters of URL-safe base64.
    pub fn cluster_id(&self) -> &str {
        &self.node.cluster_id
    }

    /// The commit log for code in this process.
    pub fn door(&self) -> Arc<dyn Door> {
        Arc::clone(&self.door) as Arc<dyn Door>
    }

    /// Stops accepting, closes connections, flushes every log and marks the shutdown as clean.
    pub async fn shutdown(self) {
        let Self { door, node, stop, mut tasks, .. } = self;
        stop.send_replace(true);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tasks.shutdown().await;
        }
        door.stop().await;
        let closed = tokio::task::spawn_blocking(move || node.replicas.dir.close()).await;
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the logs could not be closed cleanly"),
            Err(error) => tracing::error!(%error, "closing the logs failed"),
        }
    }
}
