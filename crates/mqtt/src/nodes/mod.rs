//! Several nodes on one log: who has which session, who is alive, and what others retained.
//!
//! All of it is in the log: claims in `__mqtt_sessions` ([`claims`]), signs of life in `__mqtt_nodes` ([`members`]). What a
//! node writes of sessions it appends atomically, that is, under its name; taking a dead node's place makes sure that
//! nothing more comes under that name. See ADR 8.

mod claims;
mod follower;
mod groups;
mod handover;
mod members;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::door::{Ack, DoorError, NewTopic, Record, TopicPartition};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::deliver::Hub;
use crate::error::MqttError;
use crate::mapping;
use crate::message::Position;
use crate::retained::Retained;
use crate::session::record::{self, Key};
use crate::session::store::{NODES, RETAINED, SESSIONS, SessionStore};
use follower::Follower;
use members::{Members, Own};
use table::{Applied, Table};

/// Between two signs of life.
const BEAT: Duration = Duration::from_millis(500);
/// Every so many signs of life are one that proves the node's place: about once an hour.
const BEATS_BETWEEN_PROOFS: u64 = 7200;
/// How long the first sign of life may take to come back.
const FIRST_BEAT: Duration = Duration::from_secs(30);
/// How long a subscriber waits for what others retained.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two tries to append.
const RETRY: Duration = Duration::from_millis(200);

/// This node among the others.
pub(crate) struct Nodes {
    me: Arc<str>,
    life: u64,
    place: Arc<dyn client::door::Nodes>,
    hub: Arc<Hub>,
    store: SessionStore,
    table: Mutex<Table>,
    members: Mutex<Members>,
    /// Sessions that this node acts as the owner of.
    mine: Mutex<HashSet<Bytes>>,
    /// Where the last claim of this node to a session stands, unless it has taken it back.
    written: Mutex<HashMap<Bytes, i64>>,
    /// Sessions that it is about to claim.
    claiming: Mutex<HashSet<Bytes>>,
    claimed: Notify,
    /// Sessions on their way to another node.
    giving: Mutex<HashSet<Bytes>>,
    /// Who waits for news of a client's claims.
    waiting: Mutex<HashMap<Bytes, Arc<Notify>>>,
    /// Clients whose claims changed.
    news: mpsc::UnboundedSender<Bytes>,
    beats: watch::Sender<u64>,
    sessions: Vec<Arc<Follower>>,
    retained: Vec<Arc<Follower>>,
    alive: Arc<Follower>,
    leaving: AtomicBool,
    /// Whether this node still has its place has to be found out.
    doubt: AtomicBool,
    /// How often it was asked for what others retained, and up to which of these it is read.
    asked: AtomicU64,
    settled: tokio::sync::Mutex<u64>,
    groups: groups::Groups,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("me", &self.me).finish_non_exhaustive()
    }
}

/// A claim about to be made; nobody else of this node makes one for the same client.
pub(crate) struct Claiming<'a>(&'a Nodes, Bytes);

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.0.claiming.lock().remove(&self.1);
        self.0.claimed.notify_waiters();
    }
}

fn beat_of(node: &str, value: Option<Bytes>) -> (TopicPartition, Record) {
    let key = Some(Bytes::copy_from_slice(node.as_bytes()));
    (TopicPartition::new(NODES, 0), Record { key, value, ..Record::default() })
}

impl Nodes {
    /// Reads sessions and nodes from the log, and says that this one is there now. `session_partitions` and
    /// `retained_partitions` are those of the topics.
    ///
    /// # Errors
    /// When the log cannot be read, or a session in it cannot be understood.
    pub(crate) async fn start(
        place: Arc<dyn client::door::Nodes>,
        hub: Arc<Hub>,
        store: SessionStore,
        retained: Arc<Retained>,
        session_partitions: i32,
        retained_partitions: i32,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Bytes>), MqttError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|e| MqttError::Config(format!("no randomness: {e}")))?;
        let life = u64::from_be_bytes(random);
        ensure_topic(&hub).await?;
        let (news, touched) = mpsc::unbounded_channel();
        let me = place.name();
        let nodes = Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            let follow = |topic: &'static str, n: i32, apply: fn(&Self, i32, client::door::StoredRecord)| {
                let weak = weak.clone();
                Follower::new(hub.door.clone(), TopicPartition::new(topic, n), move |record| {
                    if let Some(nodes) = weak.upgrade() {
                        apply(&nodes, n, record);
                    }
                })
            };
            let sessions =
                (0..session_partitions).map(|n| follow(SESSIONS, n, Self::apply_session)).collect();
            let retained = (0..retained_partitions).map(|n| {
                let (hub, retained) = (hub.clone(), retained.clone());
                let name = TopicPartition::new(RETAINED, n);
                let id = hub.partitions.get(&name).id;
                Follower::new(hub.door.clone(), name, move |record| {
                    let at = Position { partition: id, offset: record.offset };
                    apply_retained(&hub, &retained, record, at);
                })
            });
            let retained = retained.collect();
            let alive = follow(NODES, 0, Self::apply_beat);
            Self {
                members: Mutex::new(Members::new(me.clone(), life)),
                me,
                life,
                place,
                hub: hub.clone(),
                store,
                table: Mutex::default(),
                mine: Mutex::default(),
                written: Mutex::default(),
                claiming: Mutex::default(),
                claimed: Notify::new(),
                giving: Mutex::default(),
                waiting: Mutex::default(),
                news,
                beats: watch::Sender::new(0),
                sessions,
                retained,
                alive,
                leaving: AtomicBool::new(false),
                doubt: AtomicBool::new(false),
                asked: AtomicU64::new(0),
                settled: tokio::sync::Mutex::new(0),
                groups: groups::Groups::default(),
            }
        });
        for follower in nodes.sessions.iter().chain(&nodes.retained).chain([&nodes.alive]) {
            follower.load().await?;
        }
        nodes.meet_claimants(true);
        for follower in nodes.sessions.iter().chain(&nodes.retained).chain([&nodes.alive]) {
            hub.spawn(follower.clone().run());
        }
        // Told at once what the log thinks of it, rather than never to be heard.
        nodes.say(&nodes.me, Some(record::encode_inbound(life))).await?;
        hub.spawn(nodes.clone().beat());
        let mut beats = nodes.beats.subscribe();
        let heard = tokio::time::timeout(FIRST_BEAT, beats.wait_for(|n| *n > 0)).await;
        if heard.is_err() {
            let why = format!("a record of this node in {NODES} did not come back");
            return Err(DoorError::Unavailable(why).into());
        }
        Ok((nodes, touched))
    }

    fn apply_session(&self, partition: i32, record: client::door::StoredRecord) {
        let offset = record.offset;
        let applied = self.table.lock().apply(&record);
        match applied {
            Applied::Part => {}
            Applied::Claim(client_id) => {
                let waiting = self.waiting.lock().get(&client_id).cloned();
                if let Some(waiting) = waiting {
                    waiting.notify_waiters();
                }
                let _ = self.news.send(client_id);
            }
            Applied::Unknown => {
                tracing::error!(partition, offset, "a record in {SESSIONS} cannot be understood");
            }
        }
    }

    fn apply_beat(&self, _partition: i32, record: client::door::StoredRecord) {
        let Some(node) = record.key.as_ref().and_then(|k| std::str::from_utf8(k).ok()) else { return };
        let life = record.value.as_ref().and_then(record::decode_generation);
        let own = self.members.lock().apply(&node.into(), life);
        match own {
            Own::Nothing => {}
            Own::Beat => self.beats.send_modify(|n| *n += 1),
            Own::Replaced if self.leaving.load(Ordering::SeqCst) => {}
            Own::Replaced => self.doubt.store(true, Ordering::SeqCst),
        }
    }

    /// Nodes that claim sessions and were not heard of; `gone`: they give no sign any more.
    fn meet_claimants(&self, gone: bool) {
        let claimants = self.table.lock().nodes();
        let mut members = self.members.lock();
        claimants.iter().for_each(|node| members.meet(node, gone));
    }

    /// Says that this node is alive, for ever.
    async fn beat(self: Arc<Self>) {
        let mut every = tokio::time::interval(BEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for n in 1u64.. {
            every.tick().await;
            if self.leaving.load(Ordering::SeqCst) {
                return;
            }
            let life = record::encode_inbound(self.life);
            // One that has lost its place is refused, and the door knows it from then on. Every now and then in any case:
            // the cluster forgets names that nobody uses.
            let doubts = self.doubt.swap(false, Ordering::SeqCst);
            let said = if doubts || n % BEATS_BETWEEN_PROOFS == 0 {
                let (to, record) = beat_of(&self.me, Some(life));
                self.hub.door.append_atomic(vec![(to, record)]).await.map(drop)
            } else {
                self.say(&self.me, Some(life)).await
            };
            if let Err(error) = said {
                tracing::warn!(%error, "cannot tell the other nodes that this one is alive");
                self.doubt.fetch_or(doubts, Ordering::SeqCst);
            }
        }
    }

    async fn say(&self, node: &str, value: Option<Bytes>) -> Result<(), DoorError> {
        let (to, record) = beat_of(node, value);
        // Not atomically: what a node leaves open when it dies must not keep others from hearing of each other.
        self.hub.door.append(&to, record, Ack::All).await.map(drop)
    }

    /// Says that this node ends; others look after its sessions at once.
    pub(crate) async fn leave(&self) -> Result<(), DoorError> {
        self.leaving.store(true, Ordering::SeqCst);
        self.say(&self.me, None).await
    }

    /// Becomes true when another has taken this node's place.
    pub(crate) fn lost(&self) -> watch::Receiver<bool> {
        self.place.lost()
    }

    /// Whether this node acts as the owner of a client's session.
    pub(crate) fn has(&self, client_id: &[u8]) -> bool {
        self.mine.lock().contains(client_id)
    }

    /// Waits for what was retained by now, whoever retained it.
    pub(crate) async fn settle_retained(&self) {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let read = async {
            // Whoever waits here meanwhile is served by the next one's reading.
            let mut settled = self.settled.lock().await;
            if *settled >= number {
                return;
            }
            let upto = self.asked.load(Ordering::SeqCst);
            for read in futures_util::future::join_all(self.retained.iter().map(|f| f.catch_up())).await {
                if let Err(error) = read {
                    tracing::warn!(%error, "what others retained cannot be read");
                }
            }
            *settled = upto;
        };
        if tokio::time::timeout(SETTLE, read).await.is_err() {
            tracing::warn!("what others retained is not known in time");
        }
    }

    /// Waits until nobody else of this node claims the client's session.
    async fn begin_claim(&self, client_id: &Bytes) -> Claiming<'_> {
        loop {
            let free = self.claimed.notified();
            tokio::pin!(free);
            free.as_mut().enable();
            if let Some(claiming) = self.try_begin_claim(client_id) {
                return claiming;
            }
            free.await;
        }
    }

    fn try_begin_claim(&self, client_id: &Bytes) -> Option<Claiming<'_>> {
        self.claiming.lock().insert(client_id.clone()).then(|| Claiming(self, client_id.clone()))
    }

    fn partition_of(&self, client_id: &Bytes) -> Option<&Arc<Follower>> {
        let n = client::door::partition_for_key(client_id, i32::try_from(self.sessions.len()).unwrap_or(1));
        usize::try_from(n).ok().and_then(|n| self.sessions.get(n))
    }

    fn claim_records(
        &self,
        client_id: &Bytes,
        node: &str,
        urgent: Option<bool>,
    ) -> Vec<(TopicPartition, Record)> {
        let key = Key::Claim(Bytes::copy_from_slice(node.as_bytes()));
        self.store.records(client_id, vec![(key, urgent.map(record::encode_claim))])
    }

    /// Appends until it is in the log, or this node is nobody any more.
    async fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<Vec<i64>, DoorError> {
        loop {
            match self.hub.door.append_atomic(records.clone()).await {
                Err(error @ DoorError::Unavailable(_)) => {
                    tracing::warn!(%error, "cannot write who has a session, trying again");
                    tokio::time::sleep(RETRY).await;
                }
                other => return other,
            }
        }
    }

    /// Whether this node's claim, the very one that it wrote last, is the first.
    fn owns(&self, client_id: &Bytes) -> bool {
        let written = self.written.lock().get(client_id).copied();
        let table = self.table.lock();
        let owner = table.claims(client_id).and_then(|c| c.owner());
        owner.is_some_and(|c| c.node == self.me && Some(c.offset) == written)
    }

    /// Waits until the claim at `offset` is the first; `false` when it was taken away.
    async fn first(&self, client_id: &Bytes, offset: i64) -> bool {
        let news = self.waiting.lock().entry(client_id.clone()).or_default().clone();
        let first = loop {
            let changed = news.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let read = self.partition_of(client_id).is_some_and(|f| f.next() > offset);
            let (own, first) = {
                let table = self.table.lock();
                let claims = table.claims(client_id);
                let own = claims.and_then(|c| c.of(&self.me)).is_some_and(|c| c.offset == offset);
                (own, claims.and_then(|c| c.owner()).is_some_and(|c| c.node == self.me))
            };
            if read && !own {
                break false;
            }
            if own && first {
                break true;
            }
            changed.await;
        };
        self.waiting.lock().remove(client_id);
        first
    }

    /// Takes this node's claim away: the session is over, or never came about.
    pub(crate) async fn release(&self, client_id: &Bytes) {
        if !self.mine.lock().remove(client_id) {
            return;
        }
        self.take_back(client_id).await;
    }

    async fn take_back(&self, client_id: &Bytes) {
        self.written.lock().remove(client_id);
        if let Err(error) = self.append(self.claim_records(client_id, &self.me, None)).await {
            tracing::warn!(client = %crate::will::show(client_id), %error, "cannot give a session up");
        }
    }
}

async fn ensure_topic(hub: &Hub) -> Result<(), MqttError> {
    let new = NewTopic {
        name: NODES.to_owned(),
        partitions: Some(1),
        configs: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
    };
    hub.door.create_topic(new).await?;
    let mut topics = hub.door.topics();
    let known = topics.wait_for(|image| image.get(NODES).is_some()).await;
    known.map_err(|_| DoorError::Unavailable("the log was closed".to_owned()))?;
    Ok(())
}

/// Takes over a record of `__mqtt_retained`.
pub(crate) fn apply_retained(
    hub: &Hub,
    retained: &Retained,
    mut record: client::door::StoredRecord,
    at: Position,
) {
    let Some(topic) = record.key.as_ref().map(|k| Bytes::copy_from_slice(k)) else { return };
    // Copies, so that a small message does not keep all that was read with it.
    record.value = record.value.map(|v| Bytes::copy_from_slice(&v));
    record.key = Some(topic.clone());
    if std::str::from_utf8(&topic).is_ok_and(|t| !t.starts_with('$') && hub.routes.target(t).retained) {
        // Left over from before the route: now the Kafka topic says it.
        return;
    }
    let message = mapping::retained_message_of(record, at).map(Arc::new);
    retained.apply(topic, message, at);
}
