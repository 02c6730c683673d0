//! Who gets what: all subscriptions of all sessions, found by topic.

mod trie;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::QoS;
use parking_lot::RwLock;

use crate::deliver::Consumer;
use crate::message::PartitionId;
pub(crate) use trie::Trie;

/// Trees for filters whose first level is literal; one more holds the others.
const SHARDS: usize = 16;

/// One subscription of one consumer.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The filter that topics are matched with (without `$share/group/`).
    pub(crate) filter: Box<str>,
    /// Highest QoS granted.
    pub(crate) qos: QoS,
    /// Own publications are left out.
    pub(crate) no_local: bool,
    /// RETAIN is passed on as published.
    pub(crate) retain_as_published: bool,
    /// Retain handling, 0 to 2.
    pub(crate) retain_handling: u8,
    /// Subscription identifier.
    pub(crate) id: Option<u32>,
    /// Part of a share group: messages come through the group, not to this consumer alone.
    pub(crate) shared: bool,
    /// A replay: a share group with this consumer as its only member.
    pub(crate) replays: bool,
    /// First offset that belongs to the subscription, for partitions that held records when it was made. A
    /// partition that is not listed belongs to it from its first record on.
    pub(crate) starts: Box<[(PartitionId, i64)]>,
}

impl Subscription {
    /// First offset of a partition that belongs to the subscription.
    pub(crate) fn start(&self, partition: PartitionId) -> i64 {
        self.starts.iter().find(|(p, _)| *p == partition).map_or(0, |(_, start)| *start)
    }
}

/// A consumer with those of its subscriptions that match a topic.
#[derive(Clone, Debug)]
pub(crate) struct Recipient {
    /// Who gets it.
    pub(crate) consumer: Arc<Consumer>,
    /// Because of these; at least one.
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
}

type Entry = (Arc<Consumer>, Arc<Subscription>);

/// All subscriptions. Readers of different first levels never meet; nobody waits for a publisher.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    literal: [RwLock<Trie<u64, Entry>>; SHARDS],
    wild: RwLock<Trie<u64, Entry>>,
    hasher: rapidhash::fast::RandomState,
    /// Counts changes; whoever keeps results compares it.
    version: AtomicU64,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            literal: std::array::from_fn(|_| RwLock::default()),
            wild: RwLock::default(),
            hasher: rapidhash::fast::RandomState::default(),
            version: AtomicU64::new(0),
        }
    }
}

impl Subscriptions {
    fn shard(&self, filter: &str) -> &RwLock<Trie<u64, Entry>> {
        let first = filter.split('/').next().unwrap_or_default();
        if first == "+" || first == "#" {
            return &self.wild;
        }
        let at = (self.hasher.hash_one(first) as usize) % SHARDS;
        self.literal.get(at).unwrap_or(&self.wild)
    }

    /// Changes whenever a result of [`Subscriptions::matching`] might.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Number of subscriptions.
    pub(crate) fn len(&self) -> usize {
        self.literal.iter().map(|s| s.read().len()).sum::<usize>() + self.wild.read().len()
    }

    /// Adds a subscription, or replaces the consumer's one with the same filter.
    pub(crate) fn insert(&self, consumer: &Arc<Consumer>, subscription: Arc<Subscription>) {
        let mut trie = self.shard(&subscription.filter).write();
        let filter = subscription.filter.clone();
        trie.insert(&filter, consumer.id, (consumer.clone(), subscription));
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes a subscription.
    pub(crate) fn remove(&self, consumer: &Consumer, filter: &str) {
        let mut trie = self.shard(filter).write();
        if trie.remove(filter, &consumer.id).is_some() {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether anybody subscribes to the topic.
    pub(crate) fn any_match(&self, topic: &str) -> bool {
        self.shard(topic).read().any_match(topic) || self.wild.read().any_match(topic)
    }

    /// Everybody who subscribes to the topic, each once.
    pub(crate) fn matching(&self, topic: &str) -> Vec<Recipient> {
        let mut out: Vec<Recipient> = Vec::new();
        let mut several = false;
        let mut add = |_: &u64, (consumer, subscription): &Entry| {
            several |= !out.is_empty();
            out.push(Recipient { consumer: consumer.clone(), subscriptions: vec![subscription.clone()] });
        };
        self.shard(topic).read().matches(topic, &mut add);
        if !topic.starts_with('$') {
            self.wild.read().matches(topic, &mut add);
        }
        if several {
            out.sort_by_key(|r| r.consumer.id);
            out.dedup_by(|later, first| {
                let same = later.consumer.id == first.consumer.id;
                if same {
                    first.subscriptions.append(&mut later.subscriptions);
                }
                same
            });
        }
        out
    }
}
