//! The door in process: the same log that Kafka clients reach over sockets, for code in this process.

pub(crate) mod batcher;
mod errors;
mod groups;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::door::{
    Ack, Chunk, Door, DoorError, NewTopic, Record, StartAt, Tail, TopicImage, TopicPartition,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kafka_codec::ErrorCode;
use log::AppendBatches;
use meta::MetaError;
use meta::config::TopicConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::replica::Partition;
use batcher::{AppendingAll, batch_bytes};
use client::door::Access;
pub(crate) use errors::of_meta;

use errors::of_log;
use reader::LocalTail;

/// The door of one broker.
pub(crate) struct LocalDoor {
    node: Arc<Node>,
    flusher: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl LocalDoor {
    /// Opens the door; a task begins the next batches.
    pub(crate) fn start(node: Arc<Node>) -> Arc<Self> {
        let progress = node.replicas.progress();
        let flusher = tokio::spawn(async move {
            loop {
                for partition in progress.next().await {
                    partition.batcher.advanced(&partition);
                }
            }
        });
        Arc::new(Self { node, flusher: parking_lot::Mutex::new(Some(flusher)) })
    }

    /// Ends the task. Appends under way are not answered any more.
    pub(crate) async fn stop(&self) {
        let flusher = self.flusher.lock().take();
        if let Some(flusher) = flusher {
            flusher.abort();
            let _ = flusher.await;
        }
    }

    fn partition(&self, of: &TopicPartition) -> Result<Arc<Partition>, DoorError> {
        partition(&self.node, of)
    }
}

fn partition(node: &Node, of: &TopicPartition) -> Result<Arc<Partition>, DoorError> {
    node.replicas.partition(&of.topic, of.partition).ok_or_else(|| DoorError::UnknownTopic(of.to_string()))
}

/// Checks that a record may stand in a partition.
fn check(partition: &Partition, record: &Record) -> Result<(), DoorError> {
    check_against(partition, &partition.config(), record)
}

fn check_against(partition: &Partition, config: &TopicConfig, record: &Record) -> Result<(), DoorError> {
    let (size, max) = (batch_bytes(record), usize::try_from(config.max_message_bytes).unwrap_or(0));
    if size > max {
        return Err(DoorError::TooLarge { topic: partition.topic.to_string(), size, max });
    }
    if config.compact && record.key.is_none() {
        return Err(DoorError::Invalid(format!("{} is compacted: its records need a key", partition.topic)));
    }
    if config.min_insync_replicas > 1 {
        return Err(DoorError::Unavailable(format!(
            "{} asks for {} in-sync replicas, and there is one",
            partition.topic, config.min_insync_replicas
        )));
    }
    Ok(())
}

fn refuse<T: Send + 'static>(error: DoorError) -> BoxFuture<'static, Result<T, DoorError>> {
    std::future::ready(Err(error)).boxed()
}

impl Door for LocalDoor {
    fn access(&self) -> Option<Arc<dyn Access>> {
        Some(Arc::clone(&self.node) as Arc<dyn Access>)
    }

    fn topics(&self) -> watch::Receiver<Arc<TopicImage>> {
        self.node.metadata.topics()
    }

    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'static, Result<(), DoorError>> {
        let node = Arc::clone(&self.node);
        if topic.name.starts_with(meta::controller::MQTT_PREFIX) {
            node.serves_mqtt.store(true, Ordering::Release);
        }
        async move {
            let new = meta::controller::NewTopic {
                name: topic.name,
                partitions: topic.partitions.unwrap_or(-1),
                replication_factor: -1,
                assignments: Vec::new(),
                configs: topic.configs.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            };
            match node.create_topic(new).await {
                Err(MetaError::Refused { code: ErrorCode::TopicAlreadyExists, .. }) | Ok(()) => Ok(()),
                Err(error) => Err(of_meta(&error)),
            }
        }
        .boxed()
    }

    fn append(
        &self,
        to: &TopicPartition,
        record: Record,
        ack: Ack,
    ) -> BoxFuture<'static, Result<i64, DoorError>> {
        let checked = self.partition(to).and_then(|partition| {
            check(&partition, &record)?;
            Ok(partition)
        });
        match checked {
            Err(error) => refuse(error),
            Ok(partition) => Box::pin(partition.batcher.push(&partition, record, ack)),
        }
    }

    fn append_all(
        &self,
        to: &TopicPartition,
        records: Vec<Record>,
        ack: Ack,
    ) -> BoxFuture<'static, Vec<Result<i64, DoorError>>> {
        let mut appending = AppendingAll::new(records.len());
        match self.partition(to) {
            Err(error) => records.iter().for_each(|_| appending.refuse(error.clone())),
            Ok(partition) => {
                let config = partition.config();
                let checked = records
                    .into_iter()
                    .map(|record| check_against(&partition, &config, &record).map(|()| record));
                partition.batcher.push_all(&partition, checked, ack, &mut appending);
            }
        }
        Box::pin(appending)
    }

    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        append_atomic(&self.node, records)
    }

    fn read(
        &self,
        from: &TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Chunk, DoorError>> {
        match self.partition(from) {
            Err(error) => refuse(error),
            Ok(partition) => async move {
                let log = partition.log().map_err(|error| of_log(&error))?;
                reader::read(log, offset, max_bytes).map_err(reader::LogOrRecordError::into_door)
            }
            .boxed(),
        }
    }

    fn offset_at(&self, of: &TopicPartition, at: StartAt) -> BoxFuture<'static, Result<i64, DoorError>> {
        match self.partition(of) {
            Err(error) => refuse(error),
            Ok(partition) => async move { reader::offset_at(&partition, at).await }.boxed(),
        }
    }

    fn commit_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, i64)>,
    ) -> BoxFuture<'static, Result<(), DoorError>> {
        groups::commit(Arc::clone(&self.node), group.to_owned(), offsets).boxed()
    }

    fn forget_group(&self, group: &str) -> BoxFuture<'static, Result<(), DoorError>> {
        groups::forget(Arc::clone(&self.node), group.to_owned()).boxed()
    }

    fn tail(&self, of: &TopicPartition, at: StartAt) -> Box<dyn Tail> {
        Box::new(LocalTail::new(Arc::clone(&self.node), Arc::clone(&of.topic), of.partition, at))
    }
}

/// Appends records as one; answers their offsets when they are durable.
pub(crate) fn append_atomic(
    node: &Node,
    records: Vec<(TopicPartition, Record)>,
) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
    match begin_atomic(node, records) {
        Err(error) => refuse(error),
        Ok(Atomic { offsets, partitions }) => async move {
            for (partition, last_offset) in partitions {
                partition.durable(last_offset).await.map_err(|error| of_log(&error))?;
            }
            Ok(offsets)
        }
        .boxed(),
    }
}

/// An atomic append that has its offsets and waits for stable storage.
struct Atomic {
    offsets: Vec<i64>,
    partitions: Vec<(Arc<Partition>, i64)>,
}

fn begin_atomic(node: &Node, records: Vec<(TopicPartition, Record)>) -> Result<Atomic, DoorError> {
    // Places of the records by partition, in the order given.
    let mut places: BTreeMap<TopicPartition, (Arc<Partition>, Vec<usize>)> = BTreeMap::new();
    for (place, (to, record)) in records.iter().enumerate() {
        let entry = match places.entry(to.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((partition(node, to)?, Vec::new()))
            }
        };
        check(&entry.0, record)?;
        entry.1.push(place);
    }
    let now_ms = crate::api::now_ms();
    let mut appends = Vec::with_capacity(places.len());
    for (partition, places) in places.values() {
        // What the same caller appended before comes first.
        partition.batcher.flush(partition);
        let log = partition.log().map_err(|error| of_log(&error))?;
        let chosen = places.iter().filter_map(|place| records.get(*place)).map(|(_, record)| record);
        let bytes = batcher::build(chosen, now_ms)?;
        let batches =
            AppendBatches { validated: true, ..AppendBatches::client(bytes, partition.leader_epoch()) };
        appends.push((Arc::clone(log), batches));
    }
    let appended = node.replicas.dir.append_atomic(appends).map_err(|error| {
        for (partition, _) in places.values() {
            partition.report_refusal(&error);
        }
        of_log(&error)
    })?;
    let mut offsets = vec![-1; records.len()];
    let mut partitions = Vec::with_capacity(places.len());
    for ((partition, places), appended) in places.into_values().zip(appended) {
        for (offset, place) in (appended.base_offset..).zip(places) {
            if let Some(known) = offsets.get_mut(place) {
                *known = offset;
            }
        }
        partitions.push((partition, appended.last_offset));
    }
    Ok(Atomic { offsets, partitions })
}
