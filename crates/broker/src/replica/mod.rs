//! The partitions this broker holds, and the road from a topic's name or id to its log.

pub(crate) mod partition;
pub(crate) mod waiters;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use kafka_codec::Uuid;
use kafka_codec::records::Compression;
use log::{
    CleanupPolicy, Log, LogConfig, LogDir, LogError, LogEvents, NewLog, TimestampType, TopicPartition,
};
use meta::config::TopicConfig;
use parking_lot::{Mutex, RwLock};
use rapidhash::fast::RandomState;
use tokio::sync::Notify;

pub(crate) use partition::Partition;

type Map<K, V> = HashMap<K, V, RandomState>;

/// One topic's partitions.
pub(crate) struct TopicReplicas {
    /// Name.
    pub(crate) name: Arc<str>,
    /// Id.
    pub(crate) id: Uuid,
    /// Partitions by index.
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl TopicReplicas {
    /// Looks a partition up; `None` for negative and too large indexes.
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }
}

#[derive(Default)]
struct Topics {
    by_name: Map<Arc<str>, Arc<TopicReplicas>>,
    by_id: Map<Uuid, Arc<TopicReplicas>>,
}

/// Routes the log directory's news to the partitions concerned.
#[derive(Default)]
pub(crate) struct Events {
    /// Partitions by their log's tag, which is the index plus one.
    by_tag: RwLock<Tags>,
    progress: Arc<Progress>,
}

/// Partitions whose durable end moved and where records of the local door wait to be appended.
#[derive(Default)]
pub(crate) struct Progress {
    moved: Mutex<Vec<Arc<Partition>>>,
    round: Notify,
}

impl Progress {
    /// Waits for the next round of syncs after which the local door has something to append.
    pub(crate) async fn next(&self) -> Vec<Arc<Partition>> {
        loop {
            let moved = std::mem::take(&mut *self.moved.lock());
            if !moved.is_empty() {
                return moved;
            }
            self.round.notified().await;
        }
    }

    fn note(&self, partition: Arc<Partition>) {
        self.moved.lock().push(partition);
    }

    fn round_over(&self) {
        if !self.moved.lock().is_empty() {
            self.round.notify_one();
        }
    }
}

#[derive(Default)]
struct Tags {
    partitions: Vec<Weak<Partition>>,
    free: Vec<usize>,
}

impl Events {
    fn partition(&self, log: &Log) -> Option<Arc<Partition>> {
        let index = usize::try_from(log.tag()).ok()?.checked_sub(1)?;
        self.by_tag.read().partitions.get(index)?.upgrade()
    }

    fn register(&self, partition: &Arc<Partition>) {
        let Ok(log) = partition.log() else { return };
        let mut tags = self.by_tag.write();
        let index = match tags.free.pop() {
            Some(index) => index,
            None => {
                tags.partitions.push(Weak::new());
                tags.partitions.len() - 1
            }
        };
        if let Some(place) = tags.partitions.get_mut(index) {
            *place = Arc::downgrade(partition);
        }
        log.set_tag(index as u64 + 1);
    }

    fn forget(&self, partition: &Partition) {
        let Ok(log) = partition.log() else { return };
        let Some(index) = usize::try_from(log.tag()).ok().and_then(|tag| tag.checked_sub(1)) else { return };
        log.set_tag(0);
        let mut tags = self.by_tag.write();
        if let Some(place) = tags.partitions.get_mut(index) {
            *place = Weak::new();
            tags.free.push(index);
        }
    }
}

impl LogEvents for Events {
    fn advanced(&self, log: &Arc<Log>, durable_end: i64) {
        if let Some(partition) = self.partition(log) {
            partition.waiters.advanced(durable_end);
            if partition.batcher.advanced_now(&partition) {
                self.progress.note(partition);
            }
        }
    }

    fn round_over(&self) {
        self.progress.round_over();
    }

    fn failed(&self, log: &Arc<Log>, error: &LogError) {
        tracing::error!(
            partition = %log.partition(),
            %error,
            "partition offline until the broker is started anew: its log failed"
        );
        if let Some(partition) = self.partition(log) {
            partition.fail(error.clone());
            self.progress.note(partition);
            self.progress.round_over();
        }
    }
}

/// All partitions.
pub(crate) struct Replicas {
    /// The data directory.
    pub(crate) dir: LogDir,
    events: Arc<Events>,
    topics: RwLock<Topics>,
}

/// A topic as it should be.
pub(crate) struct WantedTopic {
    /// Name.
    pub(crate) name: Arc<str>,
    /// Id.
    pub(crate) id: Uuid,
    /// Leader epoch of each partition.
    pub(crate) leader_epochs: Vec<i32>,
    /// Settings.
    pub(crate) config: TopicConfig,
}

impl Replicas {
    pub(crate) fn new(dir: LogDir, events: Arc<Events>) -> Self {
        Self { dir, events, topics: RwLock::default() }
    }

    /// News for the local door.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.events.progress)
    }

    /// Looks a topic up by name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<TopicReplicas>> {
        self.topics.read().by_name.get(name).cloned()
    }

    /// Looks a topic up by id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<TopicReplicas>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    /// Looks a partition up.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.topics.read().by_name.get(topic)?.partition(index).cloned()
    }

    /// All topics, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<TopicReplicas>> {
        let mut all: Vec<_> = self.topics.read().by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Takes over a log that lies outside the topics (`__cluster_metadata-0`).
    pub(crate) fn adopt(&self, log: Arc<Log>, config: TopicConfig) -> Arc<Partition> {
        let name = Arc::clone(&log.partition().topic);
        let index = log.partition().partition;
        let partition = Arc::new(Partition::new(name, index, Ok(log), 1, config));
        self.events.register(&partition);
        partition
    }

    /// Creates the logs of a topic's partitions that this broker does not hold yet; durable when this returns.
    ///
    /// # Errors
    /// A log could not be created; those made before stay and are found again by the next call.
    pub(crate) fn create_logs(
        &self,
        wanted: &WantedTopic,
        refused: &BTreeMap<TopicPartition, LogError>,
    ) -> Result<Vec<Arc<Log>>, LogError> {
        let first = self.held(wanted).len();
        let fresh: Vec<NewLog> = (first..wanted.leader_epochs.len())
            .map(|index| TopicPartition::new(Arc::clone(&wanted.name), partition_index(index)))
            .filter(|partition| !refused.contains_key(partition))
            .map(|partition| NewLog { partition, topic_id: wanted.id.0, config: log_config(&wanted.config) })
            .collect();
        if fresh.is_empty() { Ok(Vec::new()) } else { self.dir.create_logs(&fresh) }
    }

    fn held(&self, wanted: &WantedTopic) -> Vec<Arc<Partition>> {
        let held = self.topic(&wanted.name).filter(|topic| topic.id == wanted.id);
        held.map(|topic| topic.partitions.clone()).unwrap_or_default()
    }

    /// Begins to serve a topic's partitions. One whose log was refused at start (damaged) or cannot be opened
    /// is there, but offline.
    pub(crate) fn open(&self, wanted: &WantedTopic, refused: &BTreeMap<TopicPartition, LogError>) {
        let mut partitions = self.held(wanted);
        let opened = self.create_logs(wanted, refused);
        if let Err(error) = &opened {
            tracing::error!(topic = %wanted.name, %error, "cannot open the logs of a topic: it is offline");
        }
        for (index, epoch) in wanted.leader_epochs.iter().enumerate().skip(partitions.len()) {
            let index = partition_index(index);
            let name = TopicPartition::new(Arc::clone(&wanted.name), index);
            let log = match (refused.get(&name), &opened) {
                (Some(error), _) | (None, Err(error)) => Err(error.clone()),
                (None, Ok(_)) => self.dir.log(&name).ok_or(LogError::UnknownLog(name)),
            };
            let partition =
                Partition::new(Arc::clone(&wanted.name), index, log, *epoch, wanted.config.clone());
            if let Ok(log) = partition.log() {
                log.set_config(log_config(&wanted.config));
            }
            let partition = Arc::new(partition);
            self.events.register(&partition);
            partitions.push(partition);
        }
        let topic = Arc::new(TopicReplicas { name: Arc::clone(&wanted.name), id: wanted.id, partitions });
        let mut topics = self.topics.write();
        topics.by_name.insert(Arc::clone(&wanted.name), Arc::clone(&topic));
        topics.by_id.insert(wanted.id, topic);
    }

    /// Gives a topic up: gone for clients at once, its files soon.
    pub(crate) fn delete(&self, name: &str) {
        let Some(topic) = ({
            let mut topics = self.topics.write();
            let topic = topics.by_name.remove(name);
            if let Some(topic) = &topic {
                topics.by_id.remove(&topic.id);
            }
            topic
        }) else {
            return;
        };
        let mut names = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            self.events.forget(partition);
            let name = TopicPartition::new(Arc::clone(&topic.name), partition.index);
            partition.fail(LogError::Closed(name.clone()));
            self.events.progress.note(Arc::clone(partition));
            if partition.log().is_ok() {
                names.push(name);
            }
        }
        self.events.progress.round_over();
        if let Err(error) = self.dir.delete_logs(&names) {
            tracing::error!(topic = %topic.name, %error, "cannot delete the logs of a deleted topic");
        }
    }
}

fn partition_index(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// What `compression.type` asks for; `None` = the producer's choice.
fn compression(config: &TopicConfig) -> Option<(Compression, Option<i32>)> {
    match config.compression_type.as_str() {
        "uncompressed" => Some((Compression::None, None)),
        "gzip" => Some((Compression::Gzip, Some(config.compression_gzip_level).filter(|level| *level >= 0))),
        "snappy" => Some((Compression::Snappy, None)),
        "lz4" => Some((Compression::Lz4, None)),
        "zstd" => Some((Compression::Zstd, Some(config.compression_zstd_level))),
        _ => None,
    }
}

/// A topic's settings as the log wants them.
pub(crate) fn log_config(config: &TopicConfig) -> LogConfig {
    let unsigned = |value: i32| u32::try_from(value).unwrap_or(0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ratio = (config.min_cleanable_dirty_ratio.clamp(0.0, 1.0) * 1000.0) as u32;
    LogConfig {
        segment_bytes: unsigned(config.segment_bytes),
        segment_ms: config.segment_ms,
        segment_jitter_ms: config.segment_jitter_ms,
        segment_index_bytes: unsigned(config.segment_index_bytes),
        index_interval_bytes: unsigned(config.index_interval_bytes),
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        file_delete_delay_ms: config.file_delete_delay_ms,
        cleanup_policy: CleanupPolicy { delete: config.delete, compact: config.compact },
        delete_retention_ms: config.delete_retention_ms,
        min_compaction_lag_ms: config.min_compaction_lag_ms,
        max_compaction_lag_ms: config.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: ratio,
        preallocate: config.preallocate,
        compression: compression(config),
        max_message_bytes: unsigned(config.max_message_bytes),
        timestamp_type: if config.log_append_time {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        write_caching: config.write_caching,
    }
}
