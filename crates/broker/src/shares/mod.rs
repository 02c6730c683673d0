//! Share groups' records (KIP-932): the runtime around `coordinator::share`'s state machines.
//!
//! Every partition of `__share_group_state` has a [`store::Store`]: a lock around what it stores. A partition that a
//! group works on is [`live::Live`] while anybody fetches from it: a lock around its state machine. What an
//! acknowledgement changes is appended under both locks, so the store's records have the order of the changes; the
//! member is answered when its record is durable.
//!
//! Lock order: a live share partition, then a store, then a log.

mod live;
mod read;
mod reset;
pub(crate) mod settings;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use coordinator::ErrorCode;
use coordinator::share::{ShareKey, ShareRefusal, ShareSessions, TopicPartitionId, UNINITIALIZED};
use kafka_codec::Uuid;
use meta::MetaError;
use meta::config::BrokerProperties;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::groups::partition_for;
use crate::node::Node;
use crate::replica::Partition;
use crate::state_topic::{self, durable};
pub(crate) use live::Live;
pub(crate) use read::{Ask, Taken, readable, take};
pub(crate) use store::Store;

/// Where the state of share partitions is kept.
pub(crate) const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// How long a request waits for a store that is still being read before it is told so.
const LOAD_PATIENCE: Duration = Duration::from_millis(500);
/// New snapshots written to one partition in one go; the rest follows with the next.
const SNAPSHOTS_MAX: usize = 1_000;

/// All share partitions.
pub(crate) struct Shares {
    stores: RwLock<Arc<Stores>>,
    /// Held while the stores are replaced.
    opening: Mutex<()>,
    live: Mutex<HashMap<ShareKey, Arc<Live>>>,
    /// Held while a share partition comes to life.
    awakening: tokio::sync::Mutex<()>,
    /// What members fetch from.
    pub(crate) sessions: Mutex<ShareSessions>,
    /// When locks run out: time and number.
    deadlines: Mutex<BTreeMap<(i64, u64), Weak<Live>>>,
    next_deadline: AtomicU64,
    /// Wakes the task: a deadline came nearer.
    nearer: Notify,
    updates_per_snapshot: i32,
}

#[derive(Default)]
struct Stores {
    topic: Uuid,
    by_partition: Vec<Arc<Store>>,
}

impl Stores {
    fn of(&self, key: &ShareKey) -> Option<&Arc<Store>> {
        self.by_partition.get(partition_for(&key.coordinator_key(), self.by_partition.len())?)
    }
}

impl Shares {
    /// Nothing yet.
    pub(crate) fn new(properties: &BrokerProperties) -> Self {
        let sessions_max = usize::try_from(properties.int("group.share.max.share.sessions")).unwrap_or(0);
        Self {
            stores: RwLock::default(),
            opening: Mutex::new(()),
            live: Mutex::default(),
            awakening: tokio::sync::Mutex::new(()),
            sessions: Mutex::new(ShareSessions::new(sessions_max)),
            deadlines: Mutex::default(),
            next_deadline: AtomicU64::new(0),
            nearer: Notify::new(),
            updates_per_snapshot: properties.int("share.coordinator.snapshot.update.records.per.snapshot"),
        }
    }

    fn stores(&self) -> Arc<Stores> {
        Arc::clone(&self.stores.read())
    }

    /// Makes sure that the state topic exists and its stores are open.
    ///
    /// # Errors
    /// Why the topic cannot be created.
    pub(crate) async fn ensure_topic(&self, node: &Arc<Node>) -> Result<(), MetaError> {
        state_topic::ensure(node, SHARE_STATE_TOPIC, settings::state_topic).await?;
        self.open(node);
        Ok(())
    }

    /// Whether this broker can answer for a share partition.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE: there is no state topic, or its partition is offline.
    pub(crate) fn check(&self, key: &ShareKey) -> Result<(), ErrorCode> {
        match self.stores().of(key) {
            Some(store) if !store.is_closed() => Ok(()),
            _ => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// The store of a share partition, once it has been read.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) async fn store(&self, key: &ShareKey) -> Result<Arc<Store>, ErrorCode> {
        let stores = self.stores();
        let store = stores.of(key).ok_or(ErrorCode::NotCoordinator)?;
        if store.wait_loaded(LOAD_PATIENCE).await {
            Ok(Arc::clone(store))
        } else {
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
    }

    /// Brings the stores in line with the topic: opens new ones, gives those of a deleted topic up.
    fn open(&self, node: &Arc<Node>) {
        let _opening = self.opening.lock();
        let current = self.stores();
        let topic = node.replicas.topic(SHARE_STATE_TOPIC);
        if topic.as_ref().map_or(Uuid::ZERO, |topic| topic.id) == current.topic {
            return;
        }
        let fresh = topic
            .map(|topic| Stores {
                topic: topic.id,
                by_partition: topic.partitions.iter().map(|p| Arc::new(Store::new(Arc::clone(p)))).collect(),
            })
            .unwrap_or_default();
        let fresh = Arc::new(fresh);
        *self.stores.write() = Arc::clone(&fresh);
        for store in &current.by_partition {
            store.close(ErrorCode::NotCoordinator);
        }
        self.put_to_rest(|_| true);
        let updates = self.updates_per_snapshot;
        tokio::task::spawn_blocking(move || {
            for store in &fresh.by_partition {
                store.load(updates);
            }
        });
    }

    /// The share partition that is at work, if it is.
    pub(crate) fn at_work(&self, key: &ShareKey) -> Option<Arc<Live>> {
        self.live.lock().get(key).cloned()
    }

    /// The share partition, brought to life if need be: its state is read, and begun where the group's settings say if
    /// there is none.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) async fn awake(
        &self,
        node: &Arc<Node>,
        key: &ShareKey,
        partition: &Arc<Partition>,
    ) -> Result<Arc<Live>, ShareRefusal> {
        if let Some(live) = self.at_work(key) {
            return Ok(live);
        }
        self.ensure_topic(node).await.map_err(|error| {
            tracing::warn!(%error, "cannot create the topic of share groups' state");
            ShareRefusal::from(ErrorCode::CoordinatorNotAvailable)
        })?;
        let store = self.store(key).await?;
        let _awakening = self.awakening.lock().await;
        if let Some(live) = self.at_work(key) {
            return Ok(live);
        }
        let now_ms = crate::api::now_ms();
        let known = store.with(|stored| Ok(stored.get(key).cloned()))?;
        let begun = known.as_ref().filter(|known| known.start_offset != UNINITIALIZED);
        let (live, written) = match begun {
            Some(known) => (Live::new(key.clone(), Arc::clone(partition), Arc::clone(&store), known), None),
            None => {
                let reset = settings::of(&node.state(), &key.group).reset;
                let start = reset::offset(partition, reset, now_ms).await?;
                // Stored before anything is handed out, so that a restart does not skip what came in between.
                let epoch = known.map_or(0, |known| known.state_epoch);
                let (state, written) = store.initialize(key, epoch, start, now_ms)?;
                (Live::new(key.clone(), Arc::clone(partition), Arc::clone(&store), &state), Some(written))
            }
        };
        if let Some(written) = written {
            durable(&written).await?;
        }
        let live = Arc::new(live);
        self.live.lock().insert(key.clone(), Arc::clone(&live));
        if partition.is_deleted() {
            // Deleted while it awoke: whoever deletes has looked already.
            self.put_to_rest(|other| other == key);
        }
        Ok(live)
    }

    /// Share partitions that nobody shall work on any more in their present state: deleted, or set anew.
    pub(crate) fn put_to_rest(&self, is_gone: impl Fn(&ShareKey) -> bool) {
        let gone: Vec<Arc<Live>> =
            self.live.lock().extract_if(|key, _| is_gone(key)).map(|(_, live)| live).collect();
        for live in gone {
            live.close();
        }
    }

    /// Sets the start of a share partition, or with [`UNINITIALIZED`] leaves it to the first fetch.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) async fn set_start(&self, key: &ShareKey, epoch: i32, start: i64) -> Result<(), ShareRefusal> {
        let store = self.store(key).await?;
        let written = {
            let _awakening = self.awakening.lock().await;
            self.put_to_rest(|other| other == key);
            store.initialize(key, epoch, start, crate::api::now_ms())?.1
        };
        Ok(durable(&written).await?)
    }

    /// Forgets share partitions of a group, durably.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) async fn forget(
        &self,
        group: &str,
        partitions: impl Iterator<Item = TopicPartitionId>,
    ) -> Result<(), ShareRefusal> {
        let mut done = Vec::new();
        {
            let _awakening = self.awakening.lock().await;
            for (topic, partition) in partitions {
                let key = ShareKey { group: group.to_owned(), topic, partition };
                // Without a state topic there is nothing to forget.
                let Some(store) = self.stores().of(&key).cloned() else { continue };
                if !store.wait_loaded(LOAD_PATIENCE).await {
                    return Err(ErrorCode::CoordinatorLoadInProgress.into());
                }
                self.put_to_rest(|other| *other == key);
                done.extend(store.delete(&key)?);
            }
        }
        for written in done {
            durable(&written).await?;
        }
        Ok(())
    }

    /// A member's session is over: what it holds is available again.
    pub(crate) fn release(&self, node: &Node, group: &str, member: &str, partitions: &[TopicPartitionId]) {
        for (topic, partition) in partitions {
            let key = ShareKey { group: group.to_owned(), topic: *topic, partition: *partition };
            if let Some(live) = self.at_work(&key) {
                live.release(member, &settings::of(&node.state(), group).limits);
            }
        }
        // When nobody is left, what is known lies in the store.
        if !self.sessions.lock().has_group(group) {
            self.put_to_rest(|key| key.group == group);
        }
    }

    /// A connection is gone, and the sessions begun on it with it.
    pub(crate) fn disconnected(&self, node: &Node, connection: u64) {
        let gone = self.sessions.lock().disconnected(connection);
        for (group, member, partitions) in gone {
            self.release(node, &group, &member, &partitions);
        }
    }

    /// Wakes the task when a lock runs out before all others known.
    pub(crate) fn arm(&self, live: &Arc<Live>) {
        let Some(at_ms) = live.arm() else { return };
        let number = self.next_deadline.fetch_add(1, Ordering::Relaxed);
        let mut deadlines = self.deadlines.lock();
        let nearest = deadlines.first_key_value().map(|((at, _), _)| *at);
        deadlines.insert((at_ms, number), Arc::downgrade(live));
        drop(deadlines);
        if nearest.is_none_or(|nearest| at_ms < nearest) {
            self.nearer.notify_one();
        }
    }

    /// Gives back what locks that ran out hold.
    fn expire(&self, node: &Node) {
        let now_ms = node.groups.now().mono_ms;
        loop {
            let due = {
                let mut deadlines = self.deadlines.lock();
                match deadlines.first_entry() {
                    Some(first) if first.key().0 <= now_ms => first.remove(),
                    _ => return,
                }
            };
            if let Some(live) = due.upgrade() {
                live.expire(now_ms, &settings::of(&node.state(), &live.key.group).limits);
                self.arm(&live);
            }
        }
    }

    /// Writes new snapshots of what was not written for long, and deletes what no state needs any more.
    fn prune(&self, properties: &BrokerProperties) {
        let age_ms = properties.long("share.coordinator.cold.partition.snapshot.interval.ms");
        for store in &self.stores().by_partition {
            store.prune(age_ms, SNAPSHOTS_MAX, crate::api::now_ms());
        }
    }

    /// Follows the topics, and the locks, until the broker stops.
    pub(crate) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
        let mut topics = node.metadata.topics();
        let pause_ms = node.state().properties.long("share.coordinator.state.topic.prune.interval.ms");
        let pause = Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0).max(1));
        let mut prune = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
        prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shares = &node.shares;
        shares.open(&node);
        let mut known = topic_ids(&node);
        loop {
            let nearest = shares.deadlines.lock().first_key_value().map(|((at, _), _)| *at);
            let sleep = async {
                match nearest {
                    Some(at) => {
                        let left = u64::try_from(at - node.groups.now().mono_ms).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(left)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = topics.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    shares.open(&node);
                    let now = topic_ids(&node);
                    let gone: BTreeSet<Uuid> = known.difference(&now).copied().collect();
                    known = now;
                    if !gone.is_empty() {
                        shares.topics_deleted(&gone).await;
                    }
                }
                () = sleep => shares.expire(&node),
                () = shares.nearer.notified() => {}
                _ = prune.tick() => {
                    let pruned = Arc::clone(&node);
                    let _ = tokio::task::spawn_blocking(move || pruned.shares.prune(&pruned.state().properties)).await;
                }
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => break,
            }
        }
        for store in &shares.stores().by_partition {
            store.close(ErrorCode::CoordinatorNotAvailable);
        }
        shares.put_to_rest(|_| true);
    }

    async fn topics_deleted(&self, gone: &BTreeSet<Uuid>) {
        let _awakening = self.awakening.lock().await;
        self.put_to_rest(|key| gone.contains(&key.topic));
        for store in &self.stores().by_partition {
            // One that is still loading keeps them: their topic ids never come again.
            store.topics_deleted(gone);
        }
    }
}

fn topic_ids(node: &Node) -> BTreeSet<Uuid> {
    node.state().image.topics().map(|topic| topic.id).collect()
}
