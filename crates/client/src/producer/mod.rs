//! Produces records: batches per partition, retried in order, idempotent by default, in transactions if wished.

mod batch;
pub mod partitioner;
mod queues;
mod sender;
mod shared;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use kafka_codec::ErrorCode;
use tokio::time::{Instant, timeout_at};

pub use batch::Delivery;
pub use partitioner::{Choice, Partitioner, PartitionerKind};

use crate::cluster::Cluster;
use crate::config::ProducerConfig;
use crate::error::{BrokerError, Error, Result};
use crate::metadata::TopicState;
use crate::record::{ProducerRecord, RecordMetadata};
use sender::Sender;
use shared::Shared;

/// A producer. Cheap to clone; records of all clones share batches, connections and memory.
///
/// When the last clone is dropped, what is buffered is still sent in the background as long as the runtime lives;
/// [`Producer::close`] waits for it.
#[derive(Clone, Debug)]
pub struct Producer(Arc<Handle>);

/// Tells the sender when nobody can send any more.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().closing = true;
        self.0.wake.notify_one();
    }
}

impl Producer {
    /// Starts a producer on the current tokio runtime; connects lazily.
    ///
    /// # Errors
    /// None today: bad configuration is refused when it is read.
    pub fn new(config: ProducerConfig) -> Result<Self> {
        let partitioner = config.partitioner.build();
        Self::with_partitioner(config, partitioner)
    }

    /// Like [`Producer::new`] with a partitioner of one's own.
    ///
    /// # Errors
    /// None today.
    pub fn with_partitioner(config: ProducerConfig, partitioner: Arc<dyn Partitioner>) -> Result<Self> {
        let cluster = Cluster::new(config.client.clone(), true);
        cluster.keep_fresh();
        let shared = Arc::new(Shared::new(config, cluster, partitioner));
        tokio::spawn(Sender::new(Arc::clone(&shared)).run());
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Puts a record into its partition's batch. Waits while the buffer memory is full or the topic's metadata
    /// is not known, at most `max.block.ms`; the answer is a second future for the delivery. Records that one
    /// task sends to one partition one after the other keep their order.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `max.block.ms`, [`Error::RecordTooLarge`], an invalid topic or partition,
    /// a closed producer, or a fatal error of the producer.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let shared = &self.0.0;
        shared.check_open()?;
        let config = &shared.config;
        let deadline = Instant::now() + config.max_block;
        let mut topic = self.topic(&record.topic, deadline).await?;
        if let Some(partition) = record.partition {
            if partition < 0 {
                return Err(Error::Illegal(format!(
                    "Invalid partition: {partition}. Partition number should always be non-negative or null."
                )));
            }
            topic = self.with_partition(topic, partition, deadline).await?;
        }
        let size = size_upper_bound(&record);
        check_size(size, config)?;
        let chosen = self.choose(&record, &topic)?;
        let memory = shared.reserve(size, deadline).await?;
        let now_ms =
            || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0));
        let length = |bytes: &Option<bytes::Bytes>| {
            bytes.as_ref().map_or(-1, |b| i32::try_from(b.len()).unwrap_or(-1))
        };
        let metadata = RecordMetadata {
            topic: Arc::clone(&topic.name),
            partition: chosen.unwrap_or_default(),
            offset: -1,
            timestamp_ms: record.timestamp_ms.unwrap_or_else(now_ms),
            serialized_key_size: length(&record.key),
            serialized_value_size: length(&record.value),
        };
        shared.append(&record, metadata, chosen, &topic, memory)
    }

    fn choose(&self, record: &ProducerRecord, topic: &TopicState) -> Result<Option<i32>> {
        if record.partition.is_some() {
            return Ok(record.partition);
        }
        let shared = &self.0.0;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let key = record.key.as_deref().filter(|_| !shared.config.partitioner_ignore_keys);
        let (value, available) = (record.value.as_deref(), topic.available.as_slice());
        let choice = Choice { topic: &record.topic, key, value, partitions, available };
        match shared.partitioner.partition(&choice) {
            Some(chosen) if !(0..partitions).contains(&chosen) => Err(Error::Illegal(format!(
                "The partitioner generated an invalid partition number: {chosen}. \
                 Partition number should always be non-negative and less than the partition count {partitions}."
            ))),
            chosen => Ok(chosen),
        }
    }

    /// The topic's metadata, waited for.
    async fn topic(&self, name: &Arc<str>, deadline: Instant) -> Result<Arc<TopicState>> {
        let shared = &self.0.0;
        if let Some(topic) = shared.cluster.metadata().topic(name) {
            return Ok(Arc::clone(topic));
        }
        let mut view = shared.cluster.watch();
        shared.cluster.add_interest(name);
        loop {
            {
                let view = view.borrow_and_update();
                if let Some(topic) = view.metadata.topic(name) {
                    return Ok(Arc::clone(topic));
                }
                topic_error(name, view.metadata.errors.get(name).copied())?;
                if let Some(error @ Error::Config(_)) = &view.error {
                    return Err(error.clone());
                }
            }
            shared.check_open()?;
            shared.cluster.want_refresh();
            if timeout_at(deadline, view.changed()).await.is_err() {
                let ms = shared.config.max_block.as_millis();
                return Err(Error::Timeout(format!("Topic {name} not present in metadata after {ms} ms.")));
            }
        }
    }

    /// The topic's metadata once it has a partition of this index.
    async fn with_partition(
        &self,
        mut topic: Arc<TopicState>,
        partition: i32,
        deadline: Instant,
    ) -> Result<Arc<TopicState>> {
        let shared = &self.0.0;
        let mut view = shared.cluster.watch();
        let has = |topic: &TopicState| usize::try_from(partition).is_ok_and(|p| p < topic.partitions.len());
        while !has(&topic) {
            view.mark_unchanged();
            shared.cluster.want_refresh();
            if timeout_at(deadline, view.changed()).await.is_err() {
                return Err(Error::Timeout(format!(
                    "Partition {partition} of topic {} with partition count {} is not present in metadata after {} ms.",
                    topic.name,
                    topic.partitions.len(),
                    shared.config.max_block.as_millis()
                )));
            }
            shared.check_open()?;
            if let Some(newer) = view.borrow().metadata.topic(&topic.name) {
                topic = Arc::clone(newer);
            }
        }
        Ok(topic)
    }

    /// Sends all that is buffered without lingering and waits until everything sent before is answered.
    ///
    /// # Errors
    /// A closed producer. Failures of records are told by their [`Delivery`].
    pub async fn flush(&self) -> Result<()> {
        let shared = &self.0.0;
        shared.check_open()?;
        self.settle().await;
        Ok(())
    }

    async fn settle(&self) {
        /// Ends the flush also when its caller goes away.
        struct Flush<'a>(&'a Shared);
        impl Drop for Flush<'_> {
            fn drop(&mut self) {
                self.0.flushing.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let shared = &self.0.0;
        shared.flushing.fetch_add(1, Ordering::AcqRel);
        let _flush = Flush(shared);
        let open = shared.outcomes();
        shared.wake.notify_one();
        for outcome in open {
            outcome.settled().await;
        }
    }

    /// Partition count of a topic, from metadata.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `max.block.ms`.
    pub async fn partitions_for(&self, topic: &str) -> Result<i32> {
        let topic = self.topic(&topic.into(), Instant::now() + self.0.0.config.max_block).await?;
        Ok(i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
    }

    /// Flushes and stops, for all clones; what is not delivered within `timeout` fails.
    pub async fn close(&self, timeout: Duration) {
        let shared = &self.0.0;
        shared.state.lock().closing = true;
        let _ = tokio::time::timeout(timeout, self.settle()).await;
        shared.abort("Producer is closed forcefully.");
    }
}

/// Errors of a topic that waiting will not mend.
fn topic_error(name: &str, code: Option<ErrorCode>) -> Result<()> {
    let message = match code {
        Some(ErrorCode::InvalidTopicException) => format!("Invalid topics: [{name}]"),
        Some(ErrorCode::TopicAuthorizationFailed) => format!("Not authorized to access topics: [{name}]"),
        _ => return Ok(()),
    };
    let code = code.unwrap_or(ErrorCode::UnknownServerError);
    Err(Error::Broker(BrokerError { code, message: Some(message) }))
}

/// What a batch of this record alone may take at most, without compression, as Java estimates it.
fn size_upper_bound(record: &ProducerRecord) -> usize {
    /// Header of a batch, and what stands around key, value and headers of a record.
    const OVERHEAD: usize = 61 + 21;
    let varint = |n: usize| match n {
        0..=63 => 1,
        64..=8_191 => 2,
        8_192..=1_048_575 => 3,
        1_048_576..=134_217_727 => 4,
        _ => 5,
    };
    let sized = |bytes: Option<&[u8]>| bytes.map_or(1, |b| varint(b.len()) + b.len());
    let headers = record.headers.iter().map(|h| sized(Some(&h.key)) + sized(h.value.as_deref()));
    OVERHEAD
        + sized(record.key.as_deref())
        + sized(record.value.as_deref())
        + varint(record.headers.len())
        + headers.sum::<usize>()
}

fn check_size(size: usize, config: &ProducerConfig) -> Result<()> {
    if size > config.max_request_size {
        return Err(Error::RecordTooLarge(format!(
            "The message is {size} bytes when serialized which is larger than {}, \
             which is the value of the max.request.size configuration.",
            config.max_request_size
        )));
    }
    if size > config.buffer_memory {
        return Err(Error::RecordTooLarge(format!(
            "The message is {size} bytes when serialized which is larger than the total memory buffer \
             you have configured with the buffer.memory configuration."
        )));
    }
    Ok(())
}
