//! Consumer groups: the runtime around `coordinator`'s state machines.
//!
//! Every partition of `__consumer_offsets` has a [`Shard`]: a lock around its state machine, and a task that waits
//! for durability and deadlines. A shard answers nothing but "loading" until it has read its partition.

mod catalog;
mod load;
pub(crate) mod settings;
mod shard;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coordinator::{
    ErrorCode, GroupCoordinatorConfig, Listed, MigrationPolicy, Now, Request, Response, TopicCatalog,
};
use futures_util::future::join_all;
use meta::MetaError;
use meta::config::{BrokerProperties, split_list};
use meta::controller::NewTopic;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::node::Node;
use crate::replica::TopicReplicas;
use crate::state_topic;
use catalog::Catalog;
use shard::Shard;

/// Where groups and offsets are kept.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long a request waits for a shard that is still reading before it is told so.
const LOAD_PATIENCE: Duration = Duration::from_millis(200);

/// All groups this broker coordinates.
pub(crate) struct Groups {
    config: GroupCoordinatorConfig,
    started: Instant,
    /// By partition; empty until there is a topic.
    shards: RwLock<Arc<Shards>>,
    /// Held while the shards are replaced.
    opening: Mutex<()>,
    /// Set when the broker stops.
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shards {
    topic: kafka_codec::Uuid,
    by_partition: Vec<Arc<Shard>>,
}

impl Groups {
    /// No groups yet.
    pub(crate) fn new(properties: &BrokerProperties) -> Self {
        Self {
            config: coordinator_config(properties),
            started: Instant::now(),
            shards: RwLock::default(),
            opening: Mutex::new(()),
            stop: watch::Sender::new(false),
        }
    }

    /// The time as the state machines want it.
    pub(crate) fn now(&self) -> Now {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: millis(self.started.elapsed()), wall_ms: millis(since_epoch) }
    }

    /// Asks the shard of `group`; `None` when the broker stops in the middle.
    pub(crate) async fn ask(&self, group: &str, request: Request) -> Option<Response> {
        let shards = Arc::clone(&self.shards.read());
        let Some(shard) = shards.of(group) else {
            return Some(request.failed(ErrorCode::NotCoordinator));
        };
        if !shard.wait_loaded(LOAD_PATIENCE).await {
            return Some(request.failed(ErrorCode::CoordinatorLoadInProgress));
        }
        shard.ask(request, self.now()).await
    }

    /// Asks the shard of `group` at once; what it answers comes later.
    ///
    /// # Errors
    /// NOT_COORDINATOR: there is no offsets topic.
    pub(crate) fn begin_ask(
        &self,
        group: &str,
        request: Request,
    ) -> Result<oneshot::Receiver<Response>, ErrorCode> {
        let shards = Arc::clone(&self.shards.read());
        let shard = shards.of(group).ok_or(ErrorCode::NotCoordinator)?;
        Ok(shard.begin_ask(request, self.now()))
    }

    /// The partition of the offsets topic that holds `group`; `None` without the topic.
    pub(crate) fn partition_of(&self, group: &str) -> Option<i32> {
        let count = self.shards.read().by_partition.len();
        i32::try_from(partition_for(group, count)?).ok()
    }

    /// A producer's transaction ended; its marker in this partition of the offsets topic is durable.
    pub(crate) fn transaction_ended(&self, partition: i32, producer_id: i64, committed: bool) {
        let shards = Arc::clone(&self.shards.read());
        let shard = usize::try_from(partition).ok().and_then(|index| shards.by_partition.get(index));
        if let Some(shard) = shard {
            shard.transaction_ended(producer_id, committed);
        }
    }

    /// Lists the groups of all shards, sorted.
    pub(crate) async fn list(&self, filter: coordinator::ListGroups) -> Listed {
        let shards = Arc::clone(&self.shards.read());
        let answers = shards.by_partition.iter().map(|shard| {
            let request = Request::List(filter.clone());
            async move {
                if !shard.wait_loaded(LOAD_PATIENCE).await {
                    return Some(request.failed(ErrorCode::CoordinatorLoadInProgress));
                }
                shard.ask(request, self.now()).await
            }
        });
        let mut all = Listed { error: ErrorCode::None, groups: Vec::new() };
        for answer in join_all(answers).await {
            match answer {
                Some(Response::List(listed)) if listed.error == ErrorCode::None => {
                    all.groups.extend(listed.groups)
                }
                // A partition that is offline hides its own groups only.
                Some(Response::List(listed)) if listed.error == ErrorCode::NotCoordinator => {}
                Some(Response::List(listed)) => return Listed { groups: Vec::new(), ..listed },
                _ => return Listed { error: ErrorCode::CoordinatorNotAvailable, groups: Vec::new() },
            }
        }
        all.groups.sort_by(|a, b| a.group.cmp(&b.group));
        all
    }

    /// Whether this broker can answer for `group`.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE: there is no offsets topic, or its partition is offline.
    pub(crate) fn check(&self, group: &str) -> Result<(), ErrorCode> {
        let shards = self.shards.read();
        match shards.of(group) {
            Some(shard) if !shard.is_closed() => Ok(()),
            _ => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Makes sure that the offsets topic exists and its shards are open.
    ///
    /// # Errors
    /// Why the topic cannot be created.
    pub(crate) async fn ensure_topic(&self, node: &Arc<Node>) -> Result<(), MetaError> {
        state_topic::ensure(node, OFFSETS_TOPIC, offsets_topic).await?;
        self.open(node);
        Ok(())
    }

    /// Brings the shards in line with the topic: opens new ones, gives those of a deleted topic up.
    fn open(&self, node: &Arc<Node>) {
        let _opening = self.opening.lock();
        let current = Arc::clone(&self.shards.read());
        let topic = node.replicas.topic(OFFSETS_TOPIC);
        if topic.as_ref().map_or(kafka_codec::Uuid::ZERO, |topic| topic.id) == current.topic {
            // Partitions added later are not used: groups would move to other shards.
            return;
        }
        let fresh = topic.map(|topic| self.open_shards(node, &topic)).unwrap_or_default();
        *self.shards.write() = Arc::new(fresh);
        for shard in &current.by_partition {
            shard.close(ErrorCode::NotCoordinator, self.now());
        }
    }

    fn open_shards(&self, node: &Arc<Node>, topic: &TopicReplicas) -> Shards {
        let by_partition = topic
            .partitions
            .iter()
            .map(|partition| {
                let shard = Arc::new(Shard::new(Arc::clone(partition), self.config.clone()));
                let run = Arc::clone(&shard).run(Arc::clone(node), self.stop.subscribe());
                tokio::spawn(run);
                shard
            })
            .collect();
        Shards { topic: topic.id, by_partition }
    }

    /// Follows the topics until the broker stops: the offsets topic's own fate, and offsets of deleted topics.
    pub(crate) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
        let mut topics = node.metadata.topics();
        let mut known = BTreeSet::new();
        loop {
            let now: BTreeSet<Arc<str>> =
                topics.borrow_and_update().topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
            let deleted: Vec<String> =
                known.difference(&now).map(|name: &Arc<str>| name.to_string()).collect();
            known = now;
            let groups = &node.groups;
            groups.open(&node);
            let catalog: Arc<dyn TopicCatalog> = Arc::new(Catalog(node.state()));
            for shard in &groups.shards.read().by_partition {
                shard.topics_changed(&catalog);
            }
            if !deleted.is_empty() {
                let shards = Arc::clone(&groups.shards.read());
                for shard in &shards.by_partition {
                    shard.topics_deleted(&deleted, groups.now());
                }
            }
            tokio::select! {
                changed = topics.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        node.groups.stop.send_replace(true);
        let shards = Arc::clone(&node.groups.shards.read());
        for shard in &shards.by_partition {
            shard.close(ErrorCode::CoordinatorNotAvailable, node.groups.now());
        }
    }
}

impl Shards {
    fn of(&self, group: &str) -> Option<&Arc<Shard>> {
        let count = self.by_partition.len();
        self.by_partition.get(partition_for(group, count)?)
    }
}

/// The partition of the offsets topic that holds `group`, or of the transactions' that holds an id: `abs(String.hashCode()) % partitions`, as in Kafka.
pub(crate) fn partition_for(group: &str, partitions: usize) -> Option<usize> {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's Utils.abs: the one number without a positive twin becomes 0.
    let positive = hash.checked_abs().unwrap_or(0);
    usize::try_from(positive).ok()?.checked_rem(partitions)
}

fn coordinator_config(properties: &BrokerProperties) -> GroupCoordinatorConfig {
    let size = |key: &str| usize::try_from(properties.int(key)).unwrap_or(0);
    GroupCoordinatorConfig {
        group_max_size: size("group.max.size"),
        initial_rebalance_delay_ms: i64::from(properties.int("group.initial.rebalance.delay.ms").max(0)),
        session_timeout_min_ms: properties.int("group.min.session.timeout.ms"),
        session_timeout_max_ms: properties.int("group.max.session.timeout.ms"),
        offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
        offsets_retention_ms: i64::from(properties.int("offsets.retention.minutes")) * 60_000,
        offsets_retention_check_interval_ms: properties.long("offsets.retention.check.interval.ms").max(1),
        consumer_assignors: assignors(properties),
        consumer_max_size: size("group.consumer.max.size"),
        consumer_session_timeout_ms: properties.int("group.consumer.session.timeout.ms"),
        consumer_assignment_interval_ms: properties.int("group.consumer.assignment.interval.ms"),
        migration: match properties.text("group.consumer.migration.policy").as_deref() {
            Some(policy) if policy.eq_ignore_ascii_case("disabled") => MigrationPolicy::Disabled,
            Some(policy) if policy.eq_ignore_ascii_case("upgrade") => MigrationPolicy::Upgrade,
            Some(policy) if policy.eq_ignore_ascii_case("downgrade") => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Bidirectional,
        },
        share_max_size: size("group.share.max.size"),
        share_session_timeout_ms: properties.int("group.share.session.timeout.ms"),
        ..GroupCoordinatorConfig::default()
    }
}

/// Assignors of consumer groups that are offered: those named that there are, by their names here or in Kafka.
fn assignors(properties: &BrokerProperties) -> Vec<String> {
    let named = properties.text("group.consumer.assignors").unwrap_or_default();
    let known = split_list(&named).filter_map(|name| match name.rsplit('.').next() {
        Some("uniform" | "UniformAssignor") => Some("uniform".to_owned()),
        Some("range" | "RangeAssignor") => Some("range".to_owned()),
        _ => {
            tracing::warn!(assignor = name, "there is no such assignor of consumer groups");
            None
        }
    });
    let mut assignors: Vec<String> = Vec::new();
    for name in known {
        if !assignors.contains(&name) {
            assignors.push(name);
        }
    }
    if assignors.is_empty() { GroupCoordinatorConfig::default().consumer_assignors } else { assignors }
}

fn offsets_topic(properties: &BrokerProperties) -> NewTopic {
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: properties.int("offsets.topic.num.partitions").max(1),
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", properties.int("offsets.topic.segment.bytes").to_string()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    /// Values of Java's `Utils.abs("…".hashCode()) % 50`.
    #[test]
    fn groups_lie_where_kafka_puts_them() {
        let java_hash =
            |text: &str| text.encode_utf16().fold(0_i32, |h, u| h.wrapping_mul(31).wrapping_add(u.into()));
        assert_eq!(java_hash("console-consumer-12345"), 158_455_506);
        assert_eq!(partition_for("", 50), Some(0));
        assert_eq!(partition_for("a", 50), Some(97 % 50));
        assert_eq!(partition_for("hello", 50), Some(99_162_322 % 50));
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(partition_for("polygenelubricants", 50), Some(0));
        assert_eq!(partition_for("größe", 7), partition_for("gr\u{f6}\u{df}e", 7));
        assert_eq!(partition_for("a", 0), None);
    }
}
