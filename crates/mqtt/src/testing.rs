//! A door into memory, for tests and examples: atomic appends, tails, restarts by keeping the store, and
//! switches for faults and latency.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use client::door::{
    Access, Ack, AclOperation, Chunk, Door, DoorError, InPlace, NewTopic, Nodes, Record, ResourceType,
    StartAt, StoredRecord, Tail, TopicImage, TopicInfo, TopicPartition,
};
use client::security::scram::{ScramMechanism, ScramSecret};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Debug, Default)]
struct Partition {
    records: Vec<StoredRecord>,
    start: i64,
}

impl Partition {
    fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }

    fn index_of(&self, offset: i64) -> usize {
        usize::try_from(offset - self.start).unwrap_or(0).min(self.records.len())
    }

    fn chunk(&self, offset: i64, max_bytes: usize) -> Chunk {
        let mut records = Vec::new();
        let mut bytes = 0;
        for r in self.records.iter().skip(self.index_of(offset)) {
            bytes += r.value.as_ref().map_or(0, |v| v.len()) + 64;
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(r.clone());
        }
        let next_offset = records.last().map_or(offset.max(self.start), |r: &StoredRecord| r.offset + 1);
        Chunk { records, next_offset, log_start_offset: self.start, end_offset: self.end() }
    }
}

/// What outlives a [`MemoryDoor`]: the "disk".
#[derive(Debug)]
pub struct Store {
    topics: Mutex<BTreeMap<String, Vec<Partition>>>,
    image: watch::Sender<Arc<TopicImage>>,
    grown: watch::Sender<u64>,
    /// Nodes by name: how often somebody began under it.
    names: Mutex<HashMap<Arc<str>, u64>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            image: watch::channel(Arc::default()).0,
            grown: watch::channel(0).0,
            names: Mutex::default(),
        }
    }
}

impl Store {
    /// All records of one partition.
    pub fn records(&self, topic: &str, partition: usize) -> Vec<StoredRecord> {
        self.topics
            .lock()
            .get(topic)
            .and_then(|p| p.get(partition))
            .map(|p| p.records.clone())
            .unwrap_or_default()
    }

    /// All records of a topic, partition after partition.
    pub fn all_records(&self, topic: &str) -> Vec<StoredRecord> {
        self.topics
            .lock()
            .get(topic)
            .map(|ps| ps.iter().flat_map(|p| p.records.clone()).collect())
            .unwrap_or_default()
    }

    /// Names of all topics.
    pub fn topic_names(&self) -> Vec<String> {
        self.topics.lock().keys().cloned().collect()
    }

    /// Drops records before `offset`, as retention does.
    pub fn truncate_before(&self, topic: &str, partition: usize, offset: i64) {
        if let Some(p) = self.topics.lock().get_mut(topic).and_then(|p| p.get_mut(partition)) {
            let cut = p.index_of(offset);
            p.records.drain(..cut);
            p.start = offset.max(p.start);
        }
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        let mut topics = self.topics.lock();
        topics.remove(topic);
        self.announce(&topics);
        self.grown.send_modify(|n| *n += 1);
    }

    fn create(&self, topic: &NewTopic) {
        let mut topics = self.topics.lock();
        let count = usize::try_from(topic.partitions.unwrap_or(1)).unwrap_or(1).max(1);
        topics
            .entry(topic.name.clone())
            .or_insert_with(|| std::iter::repeat_with(Partition::default).take(count).collect());
        self.announce(&topics);
    }

    fn announce(&self, topics: &BTreeMap<String, Vec<Partition>>) {
        let image = TopicImage {
            topics: topics
                .iter()
                .map(|(name, parts)| TopicInfo {
                    name: name.as_str().into(),
                    partitions: parts.len() as i32,
                    internal: name.starts_with("__"),
                    caching: false,
                })
                .collect(),
        };
        self.image.send_replace(Arc::new(image));
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>, now_ms: i64) -> Result<Vec<i64>, DoorError> {
        let mut topics = self.topics.lock();
        for (to, _) in &records {
            let known = topics.get(&*to.topic).is_some_and(|p| (to.partition as usize) < p.len());
            if !known {
                return Err(DoorError::UnknownTopic(to.to_string()));
            }
        }
        let mut offsets = Vec::with_capacity(records.len());
        for (to, record) in records {
            let Some(p) = topics.get_mut(&*to.topic).and_then(|p| p.get_mut(to.partition as usize)) else {
                continue;
            };
            let offset = p.end();
            p.records.push(StoredRecord {
                offset,
                timestamp_ms: record.timestamp_ms.unwrap_or(now_ms),
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
            offsets.push(offset);
        }
        drop(topics);
        self.grown.send_modify(|n| *n += 1);
        Ok(offsets)
    }
}

/// A node's place at a [`Store`]: its atomic appends are refused as soon as another has taken it.
#[derive(Clone, Debug)]
struct MemoryNode {
    store: Arc<Store>,
    name: Arc<str>,
    epoch: u64,
    lost: watch::Sender<bool>,
}

impl MemoryNode {
    fn new(store: Arc<Store>, name: &str) -> Self {
        let name: Arc<str> = name.into();
        let mut names = store.names.lock();
        let epoch = names.entry(name.clone()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        drop(names);
        Self { store, name, epoch, lost: watch::channel(false).0 }
    }

    fn append(&self, records: Vec<(TopicPartition, Record)>) -> Result<Vec<i64>, DoorError> {
        let names = self.store.names.lock();
        if names.get(&self.name) != Some(&self.epoch) {
            self.lost.send_replace(true);
            return Err(DoorError::Fenced(self.name.to_string()));
        }
        self.store.append(records, now_ms())
    }
}

impl Nodes for MemoryNode {
    fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    fn lost(&self) -> watch::Receiver<bool> {
        self.lost.subscribe()
    }

    fn replace(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn InPlace>, DoorError>> {
        let place = Arc::new(Self::new(self.store.clone(), name)) as Arc<dyn InPlace>;
        std::future::ready(Ok(place)).boxed()
    }
}

impl InPlace for MemoryNode {
    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        std::future::ready(self.append(records)).boxed()
    }
}

/// Switches that make a [`MemoryDoor`] misbehave.
#[derive(Debug, Default)]
pub struct Faults {
    /// Appends answer [`DoorError::Unavailable`].
    pub unavailable: AtomicBool,
    /// Appends of values larger than this answer [`DoorError::TooLarge`]; 0 = no limit.
    pub max_value_bytes: AtomicU64,
    /// Appends are done and answered this many milliseconds late.
    pub append_delay_ms: AtomicU64,
    /// After this many more appends the door is "killed": nothing is written or answered any more.
    /// Negative = never.
    pub appends_until_kill: AtomicI64,
    /// As above, but the record that kills is itself written, only not answered.
    pub write_the_killing_append: AtomicBool,
    /// Topics that cannot be created.
    pub refuse_topics: Mutex<HashMap<String, DoorError>>,
    /// How many appends were asked for.
    pub appends: AtomicU64,
}

/// Rights and users that a test gives and takes, as `kafka-acls` and `kafka-configs` do.
#[derive(Debug)]
pub struct MemoryAccess {
    rights: Mutex<HashSet<(String, AclOperation, String)>>,
    users: Mutex<HashMap<(String, i8), ScramSecret>>,
    changes: watch::Sender<u64>,
}

impl Default for MemoryAccess {
    fn default() -> Self {
        Self { rights: Mutex::default(), users: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl MemoryAccess {
    /// Gives a user (or `ANONYMOUS`) a right.
    pub fn give(&self, user: &str, operation: AclOperation, name: &str) {
        self.rights.lock().insert((format!("User:{user}"), operation, name.to_owned()));
        self.changes.send_modify(|n| *n += 1);
    }

    /// Takes it away.
    pub fn take(&self, user: &str, operation: AclOperation, name: &str) {
        self.rights.lock().remove(&(format!("User:{user}"), operation, name.to_owned()));
        self.changes.send_modify(|n| *n += 1);
    }

    /// Makes a user, or changes the password.
    pub fn set_user(&self, user: &str, secret: ScramSecret) {
        self.users.lock().insert((user.to_owned(), secret.mechanism.code()), secret);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Removes a user.
    pub fn remove_user(&self, user: &str) {
        self.users.lock().retain(|(name, _), _| name != user);
        self.changes.send_modify(|n| *n += 1);
    }
}

impl Access for MemoryAccess {
    fn allows(
        &self,
        principal: &str,
        _host: IpAddr,
        operation: AclOperation,
        _resource: ResourceType,
        name: &str,
    ) -> bool {
        self.rights.lock().contains(&(principal.to_owned(), operation, name.to_owned()))
    }

    fn is_enforced(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn scram_secret(&self, user: &str, mechanism: ScramMechanism) -> Option<ScramSecret> {
        self.users.lock().get(&(user.to_owned(), mechanism.code())).cloned()
    }
}

/// Offsets of a group.
type Offsets = Vec<(TopicPartition, i64)>;

/// A [`Door`] onto a [`Store`]. Dropping it and opening another one on the same store is a restart.
#[derive(Clone, Debug)]
pub struct MemoryDoor {
    store: Arc<Store>,
    /// The switches.
    pub faults: Arc<Faults>,
    killed: watch::Sender<bool>,
    access: Option<Arc<MemoryAccess>>,
    groups: Arc<Mutex<BTreeMap<String, Offsets>>>,
    node: Option<MemoryNode>,
}

impl MemoryDoor {
    /// Opens a store that other nodes have open, too.
    pub fn open_node(store: Arc<Store>, name: &str) -> Self {
        let node = MemoryNode::new(store.clone(), name);
        Self { node: Some(node), ..Self::open(store) }
    }

    /// Opens a store.
    pub fn open(store: Arc<Store>) -> Self {
        let faults = Faults { appends_until_kill: AtomicI64::new(-1), ..Faults::default() };
        Self {
            store,
            faults: Arc::new(faults),
            killed: watch::channel(false).0,
            access: None,
            groups: Arc::default(),
            node: None,
        }
    }

    /// What was committed for a group.
    pub fn committed(&self, group: &str) -> Option<Vec<(TopicPartition, i64)>> {
        self.groups.lock().get(group).cloned()
    }

    /// The door with an authorizer behind it.
    #[must_use]
    pub fn with_access(self, access: Arc<MemoryAccess>) -> Self {
        Self { access: Some(access), ..self }
    }

    /// What lies behind the door.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// From now on nothing is written or answered: what a SIGKILL looks like from behind the door.
    pub fn kill(&self) {
        self.killed.send_replace(true);
    }

    /// Resolves when the door was killed, by [`MemoryDoor::kill`] or by a fault switch.
    pub async fn killed(&self) {
        let _ = self.killed.subscribe().wait_for(|k| *k).await;
    }

    fn write(
        &self,
        records: Vec<(TopicPartition, Record)>,
        atomic: bool,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        let node = self.node.as_ref().filter(|_| atomic);
        let append = |records| match node {
            Some(node) => node.append(records),
            None => self.store.append(records, now_ms()),
        };
        let f = &self.faults;
        f.appends.fetch_add(1, Ordering::SeqCst);
        if *self.killed.borrow() {
            return futures_util::future::pending().boxed();
        }
        if f.unavailable.load(Ordering::SeqCst) {
            let err = DoorError::Unavailable("switched off".to_owned());
            return std::future::ready(Err(err)).boxed();
        }
        let max = f.max_value_bytes.load(Ordering::SeqCst) as usize;
        if max > 0 {
            for (to, r) in &records {
                let size = r.value.as_ref().map_or(0, |v| v.len());
                if size > max {
                    let err = DoorError::TooLarge { topic: to.topic.to_string(), size, max };
                    return std::future::ready(Err(err)).boxed();
                }
            }
        }
        if f.appends_until_kill.load(Ordering::SeqCst) >= 0
            && f.appends_until_kill.fetch_sub(1, Ordering::SeqCst) == 0
        {
            if f.write_the_killing_append.load(Ordering::SeqCst) {
                let _ = append(records);
            }
            self.kill();
            return futures_util::future::pending().boxed();
        }
        let delay = f.append_delay_ms.load(Ordering::SeqCst);
        // Written at once, answered late: what a slow disk looks like to the caller.
        let result = append(records);
        let mut killed = self.killed.subscribe();
        async move {
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                if *killed.borrow_and_update() {
                    std::future::pending::<()>().await;
                }
            }
            result
        }
        .boxed()
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

impl Door for MemoryDoor {
    fn access(&self) -> Option<Arc<dyn Access>> {
        self.access.clone().map(|access| access as Arc<dyn Access>)
    }

    fn nodes(&self) -> Option<Arc<dyn Nodes>> {
        self.node.clone().map(|node| Arc::new(node) as Arc<dyn Nodes>)
    }

    fn topics(&self) -> watch::Receiver<Arc<TopicImage>> {
        self.store.image.subscribe()
    }

    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'static, Result<(), DoorError>> {
        if let Some(e) = self.faults.refuse_topics.lock().get(&topic.name) {
            return std::future::ready(Err(e.clone())).boxed();
        }
        self.store.create(&topic);
        std::future::ready(Ok(())).boxed()
    }

    fn append(
        &self,
        to: &TopicPartition,
        record: Record,
        _ack: Ack,
    ) -> BoxFuture<'static, Result<i64, DoorError>> {
        let done = self.write(vec![(to.clone(), record)], false);
        async move { done.await.map(|o| o.first().copied().unwrap_or(-1)) }.boxed()
    }

    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        self.write(records, true)
    }

    fn read(
        &self,
        from: &TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Chunk, DoorError>> {
        let topics = self.store.topics.lock();
        let result = match topics.get(&*from.topic).and_then(|p| p.get(from.partition as usize)) {
            Some(p) => Ok(p.chunk(offset, max_bytes)),
            None => Err(DoorError::UnknownTopic(from.to_string())),
        };
        std::future::ready(result).boxed()
    }

    fn offset_at(&self, of: &TopicPartition, at: StartAt) -> BoxFuture<'static, Result<i64, DoorError>> {
        let topics = self.store.topics.lock();
        let result = match topics.get(&*of.topic).and_then(|p| p.get(of.partition as usize)) {
            None => Err(DoorError::UnknownTopic(of.to_string())),
            Some(p) => Ok(match at {
                StartAt::Earliest => p.start,
                StartAt::Latest => p.end(),
                StartAt::Timestamp(t) => {
                    p.records.iter().find(|r| r.timestamp_ms >= t).map_or(p.end(), |r| r.offset)
                }
                StartAt::Offset(o) => o,
            }),
        };
        std::future::ready(result).boxed()
    }

    fn commit_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, i64)>,
    ) -> BoxFuture<'static, Result<(), DoorError>> {
        self.groups.lock().insert(group.to_owned(), offsets);
        std::future::ready(Ok(())).boxed()
    }

    fn forget_group(&self, group: &str) -> BoxFuture<'static, Result<(), DoorError>> {
        self.groups.lock().remove(group);
        std::future::ready(Ok(())).boxed()
    }

    fn tail(&self, of: &TopicPartition, at: StartAt) -> Box<dyn Tail> {
        Box::new(MemoryTail {
            door: self.clone(),
            of: of.clone(),
            at,
            position: None,
            grown: self.store.grown.subscribe(),
        })
    }
}

struct MemoryTail {
    door: MemoryDoor,
    of: TopicPartition,
    at: StartAt,
    position: Option<i64>,
    grown: watch::Receiver<u64>,
}

impl Tail for MemoryTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Chunk, DoorError>> {
        async move {
            loop {
                self.grown.borrow_and_update();
                if *self.door.killed.borrow() {
                    std::future::pending::<()>().await;
                }
                let position = match self.position {
                    Some(p) => p,
                    None => self.door.offset_at(&self.of, self.at).await?,
                };
                let chunk = self.door.read(&self.of, position, 1 << 20).await?;
                self.position = Some(chunk.next_offset);
                if !chunk.records.is_empty() {
                    return Ok(chunk);
                }
                if self.grown.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
        .boxed()
    }
}
