//! Connections to the brokers of one cluster and the metadata that tells which is which.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Weak};

use kafka_codec::messages::FindCoordinatorRequest;
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::{MetadataRequest, MetadataResponse};
use kafka_codec::{ApiKey, ErrorCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::admin::Node;
use crate::config::{ClientConfig, split_address};
use crate::connection::Connection;
use crate::error::{ConfigError, Error, Result};
use crate::metadata::{Metadata, nodes};
use crate::retry::backoff;

/// Which topics the metadata is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    All,
    Topics(BTreeSet<Arc<str>>),
}

/// Metadata, or why there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) metadata: Arc<Metadata>,
    /// The last refresh's failure, until one succeeds.
    pub(crate) error: Option<Error>,
}

/// One address and the connection to it.
#[derive(Debug)]
struct Slot {
    host: String,
    port: u16,
    max_in_flight: usize,
    connection: Mutex<Option<Arc<Connection>>>,
    connecting: tokio::sync::Mutex<Backoff>,
}

#[derive(Debug)]
struct Backoff {
    failures: u32,
    not_before: Instant,
}

impl Slot {
    fn new(host: &str, port: u16, max_in_flight: usize) -> Arc<Self> {
        let backoff = Backoff { failures: 0, not_before: Instant::now() };
        Arc::new(Self {
            host: host.to_owned(),
            port,
            max_in_flight,
            connection: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(backoff),
        })
    }

    fn open(&self) -> Option<Arc<Connection>> {
        self.connection.lock().as_ref().filter(|c| c.is_open()).map(Arc::clone)
    }

    /// The open connection, or a new one; waits out the back-off after failures.
    async fn connect(&self, config: &ClientConfig) -> Result<Arc<Connection>> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let mut state = self.connecting.lock().await;
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        tokio::time::sleep_until(state.not_before).await;
        match Connection::open(&self.host, self.port, config, self.max_in_flight).await {
            Ok(connection) => {
                state.failures = 0;
                let connection = Arc::new(connection);
                *self.connection.lock() = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let wait = backoff(config.reconnect_backoff, config.reconnect_backoff_max, state.failures);
                state.failures = state.failures.saturating_add(1);
                state.not_before = Instant::now() + wait;
                tracing::debug!(host = self.host, port = self.port, %error, "cannot connect");
                Err(error)
            }
        }
    }

    /// Whether a connection attempt would have to wait.
    fn backing_off(&self) -> bool {
        self.connecting.try_lock().map_or(true, |state| state.not_before > Instant::now())
    }

    fn close(&self) {
        if let Some(connection) = self.connection.lock().take() {
            connection.close();
        }
    }
}

/// Kind of coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum CoordinatorKind {
    Group = 0,
    Transaction = 1,
}

/// What a connection of its own is for. A broker answers the requests of one connection in turn, so a JoinGroup
/// that waits for slow members would hold up everything behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Membership,
    Offsets,
    /// Long polls of that number; requests behind one would wait for it.
    Tail(u8),
}

/// A cluster as one client sees it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: ClientConfig,
    slots: Mutex<BTreeMap<i32, Arc<Slot>>>,
    /// Connections of their own for groups.
    coordinators: Mutex<BTreeMap<(i32, Purpose), Arc<Slot>>>,
    bootstrap: Vec<Arc<Slot>>,
    view: watch::Sender<View>,
    interest: Mutex<Interest>,
    auto_create: bool,
    wanted: Arc<Notify>,
    closed: watch::Sender<bool>,
}

impl Cluster {
    /// Knows the bootstrap servers only; connects when first used.
    pub(crate) fn new(config: ClientConfig, auto_create: bool) -> Arc<Self> {
        let bootstrap = config
            .bootstrap_servers
            .iter()
            .filter_map(|url| split_address(url))
            .filter_map(|(host, port)| Some(Slot::new(host, port.parse().ok()?, config.max_in_flight)))
            .collect();
        Arc::new(Self {
            config,
            slots: Mutex::default(),
            coordinators: Mutex::default(),
            bootstrap,
            view: watch::Sender::new(View::default()),
            interest: Mutex::new(Interest::Topics(BTreeSet::new())),
            auto_create,
            wanted: Arc::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// Keeps the metadata of the topics of interest fresh in the background, as long as the cluster is in use.
    pub(crate) fn keep_fresh(self: &Arc<Self>) {
        let mut closed = self.closed.subscribe();
        let work = refresh_for_ever(Arc::downgrade(self), Arc::clone(&self.wanted), self.config.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }

    /// Closes all connections and fails what waits on them.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
        for slot in self.slots.lock().values().chain(self.coordinators.lock().values()).chain(&self.bootstrap)
        {
            slot.close();
        }
    }

    fn check_open(&self) -> Result<()> {
        if *self.closed.borrow() { Err(Error::Closed("client")) } else { Ok(()) }
    }

    /// The metadata as last heard.
    pub(crate) fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(&self.view.borrow().metadata)
    }

    /// Sees every change of the metadata.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Changes the topics of interest; asks for a refresh when there are new ones.
    pub(crate) fn set_interest(&self, interest: Interest) {
        let mut current = self.interest.lock();
        if *current == interest {
            return;
        }
        *current = interest;
        self.wanted.notify_one();
    }

    /// Adds a topic of interest; asks for a refresh when it is new.
    pub(crate) fn add_interest(&self, topic: &Arc<str>) {
        if let Interest::Topics(topics) = &mut *self.interest.lock()
            && topics.insert(Arc::clone(topic))
        {
            self.wanted.notify_one();
        }
    }

    /// Asks for a refresh soon.
    pub(crate) fn want_refresh(&self) {
        self.wanted.notify_one();
    }

    async fn refresh(&self) {
        let topics = match &*self.interest.lock() {
            Interest::All => None,
            Interest::Topics(topics) => Some(topics.iter().map(|t| t.to_string()).collect::<Vec<_>>()),
        };
        let outcome = self.fetch_metadata(topics.as_deref(), self.auto_create).await;
        self.view.send_modify(|view| match outcome {
            Ok(response) => {
                view.metadata = Arc::new(view.metadata.next(&response));
                view.error = None;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot refresh metadata");
                view.error = Some(error);
            }
        });
    }

    /// Asks any broker for metadata (`None` = of all topics), and learns the brokers from it.
    pub(crate) async fn fetch_metadata(
        &self,
        topics: Option<&[String]>,
        create: bool,
    ) -> Result<MetadataResponse> {
        let connection = self.any().await?;
        let topic = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        self.metadata_from(&connection, request).await
    }

    /// Asks one broker for metadata, and learns the brokers from it.
    pub(crate) async fn metadata_from(
        &self,
        connection: &Connection,
        mut request: MetadataRequest,
    ) -> Result<MetadataResponse> {
        // Version 0 has no way to ask for no topic at all; no broker since 0.10 needs it.
        let newest = ApiKey::Metadata.versions().map_or(1, |versions| *versions.end());
        let version = connection.version(ApiKey::Metadata, 1..=newest)?;
        if version < 4 {
            // These always create.
            request.allow_auto_topic_creation = true;
        }
        let response = connection.call_version(&request, version, self.config.request_timeout).await?;
        Error::check(response.error_code, None)?;
        self.learn(&nodes(&response));
        Ok(response)
    }

    /// Keeps connections of brokers that are where they were, forgets the others.
    fn learn(&self, brokers: &BTreeMap<i32, Node>) {
        if brokers.is_empty() {
            return;
        }
        let mut slots = self.slots.lock();
        slots.retain(|id, slot| {
            let same = brokers.get(id).is_some_and(|node| {
                node.host == slot.host && u16::try_from(node.port).is_ok_and(|port| port == slot.port)
            });
            if !same {
                slot.close();
            }
            same
        });
        for (id, node) in brokers {
            if let Ok(port) = u16::try_from(node.port) {
                slots.entry(*id).or_insert_with(|| Slot::new(&node.host, port, self.config.max_in_flight));
            }
        }
    }

    /// A connection to any broker: an open one with little to do, else a new one to a known broker, else to a
    /// bootstrap server.
    pub(crate) async fn any(&self) -> Result<Arc<Connection>> {
        self.check_open()?;
        let known: Vec<_> = self.slots.lock().values().map(Arc::clone).collect();
        let open = known.iter().filter_map(|slot| slot.open());
        if let Some(connection) = open.min_by_key(|c| c.load()) {
            return Ok(connection);
        }
        let mut last = None;
        for slot in shuffled(known).iter().filter(|slot| !slot.backing_off()) {
            match slot.connect(&self.config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        if !self.config.rebootstrap && !self.slots.lock().is_empty() {
            return Err(last.unwrap_or_else(no_broker));
        }
        let mut unresolved = true;
        for slot in shuffled(self.bootstrap.clone()) {
            match slot.connect(&self.config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    unresolved &= is_unresolved(&error);
                    last = Some(error);
                }
            }
        }
        if unresolved && self.slots.lock().is_empty() {
            return Err(Error::Config(ConfigError::Message(
                "No resolvable bootstrap urls given in bootstrap.servers".to_owned(),
            )));
        }
        Err(last.unwrap_or_else(no_broker))
    }

    /// A connection to a certain broker.
    pub(crate) async fn broker(&self, id: i32) -> Result<Arc<Connection>> {
        self.check_open()?;
        let known = |id| self.slots.lock().get(&id).map(Arc::clone);
        let slot = match known(id) {
            Some(slot) => slot,
            None => {
                self.fetch_metadata(Some(&[]), false).await?;
                known(id).ok_or_else(|| Error::broker(ErrorCode::BrokerNotAvailable))?
            }
        };
        slot.connect(&self.config).await
    }

    /// A connection for one purpose, apart from the one to the same broker as a leader.
    pub(crate) async fn coordinator(&self, node: &Node, purpose: Purpose) -> Result<Arc<Connection>> {
        self.check_open()?;
        let port = u16::try_from(node.port).map_err(|_| Error::broker(ErrorCode::CoordinatorNotAvailable))?;
        let slot = {
            let mut slots = self.coordinators.lock();
            // The broker may have moved, and former coordinators are of no use once their connection is closed.
            slots.retain(|(id, _), slot| match *id == node.id {
                true => slot.host == node.host && slot.port == port,
                false => slot.open().is_some(),
            });
            let slot = slots
                .entry((node.id, purpose))
                .or_insert_with(|| Slot::new(&node.host, port, self.config.max_in_flight));
            Arc::clone(slot)
        };
        slot.connect(&self.config).await
    }

    /// The broker's connection if it is open now.
    pub(crate) fn open_broker(&self, id: i32) -> Option<Arc<Connection>> {
        self.slots.lock().get(&id).and_then(|slot| slot.open())
    }

    /// Asks who coordinates a group or transactional id.
    pub(crate) async fn find_coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Node> {
        let connection = self.any().await?;
        let version = connection.newest::<FindCoordinatorRequest>()?;
        let mut request = FindCoordinatorRequest::default();
        if version >= 1 {
            request.key_type = kind as i8;
        }
        if version >= 4 {
            request.coordinator_keys.push(key.to_owned());
        } else {
            request.key = key.to_owned();
        }
        let response = connection.call_version(&request, version, self.config.request_timeout).await?;
        let node = if version >= 4 {
            let found = response.coordinators.into_iter().find(|c| c.key == key);
            let found = found.ok_or_else(|| Error::broker(ErrorCode::CoordinatorNotAvailable))?;
            Error::check(found.error_code, found.error_message.as_deref())?;
            Node { id: found.node_id, host: found.host, port: found.port, rack: None }
        } else {
            Error::check(response.error_code, response.error_message.as_deref())?;
            Node { id: response.node_id, host: response.host, port: response.port, rack: None }
        };
        // Brokers that metadata has not told of yet.
        if let Ok(port) = u16::try_from(node.port) {
            let mut slots = self.slots.lock();
            slots.entry(node.id).or_insert_with(|| Slot::new(&node.host, port, self.config.max_in_flight));
        }
        Ok(node)
    }
}

/// Refreshes when wished and when the metadata is old. Holds the cluster only while it refreshes.
async fn refresh_for_ever(cluster: Weak<Cluster>, wanted: Arc<Notify>, config: ClientConfig) {
    let mut failures = 0;
    loop {
        // Either outcome is a reason to refresh.
        let _ = tokio::time::timeout(config.metadata_max_age, wanted.notified()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.refresh().await;
        failures = if cluster.view.borrow().error.is_some() { failures + 1 } else { 0 };
        drop(cluster);
        // Wishes that come in a burst are answered by one refresh.
        tokio::time::sleep(backoff(config.retry_backoff, config.retry_backoff_max, failures)).await;
    }
}

fn no_broker() -> Error {
    Error::broker(ErrorCode::BrokerNotAvailable)
}

fn is_unresolved(error: &Error) -> bool {
    // The resolver's failures carry no kind of their own; those of sockets do.
    matches!(error, Error::Connection { source, .. }
        if source.raw_os_error().is_none()
            && matches!(source.kind(), io::ErrorKind::Other | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
            || source.to_string().contains("failed to lookup address"))
}

fn shuffled<T>(mut list: Vec<T>) -> Vec<T> {
    for i in (1..list.len()).rev() {
        let random = usize::try_from(getrandom::u32().unwrap_or_default()).unwrap_or_default();
        list.swap(i, random % (i + 1));
    }
    list
}
