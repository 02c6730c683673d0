//! Produces records: batches per partition, retried in order, idempotent by default.

pub mod partitioner;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use partitioner::{Choice, Partitioner, PartitionerKind};

use crate::config::ProducerConfig;
use crate::error::{Error, Result};
use crate::record::{ProducerRecord, RecordMetadata};

/// A producer. Cheap to clone; records of all clones share batches, connections and memory.
#[derive(Clone, Debug)]
pub struct Producer {
    #[allow(dead_code)]
    config: Arc<ProducerConfig>,
}

/// The fate of one record: resolves once `acks` holds or the record failed for good. May be dropped: the record
/// is sent all the same.
#[derive(Debug)]
pub struct Delivery {
    result: Option<Result<RecordMetadata>>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.result.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Producer {
    /// Starts a producer on the current tokio runtime; connects lazily.
    ///
    /// # Errors
    /// Bad configuration.
    pub fn new(config: ProducerConfig) -> Result<Self> {
        Ok(Self { config: Arc::new(config) })
    }

    /// Like [`Producer::new`] with a partitioner of one's own.
    ///
    /// # Errors
    /// Bad configuration.
    pub fn with_partitioner(config: ProducerConfig, partitioner: Arc<dyn Partitioner>) -> Result<Self> {
        let _ = partitioner;
        Self::new(config)
    }

    /// Puts a record into its partition's batch. Waits while the buffer memory is full or the topic's metadata
    /// is not known, at most `max.block.ms`; the answer is a second future for the delivery. Records that one
    /// task sends to one partition one after the other keep their order.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `max.block.ms`, [`Error::RecordTooLarge`], an invalid topic or partition,
    /// a closed producer, or a fatal error of the producer.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let _ = record;
        Err(Error::Closed("producer"))
    }

    /// Sends all that is buffered without lingering and waits until everything sent before is answered.
    ///
    /// # Errors
    /// A closed producer. Failures of records are told by their [`Delivery`].
    pub async fn flush(&self) -> Result<()> {
        Err(Error::Closed("producer"))
    }

    /// Partition count of a topic, from metadata.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `max.block.ms`.
    pub async fn partitions_for(&self, topic: &str) -> Result<i32> {
        let _ = topic;
        Err(Error::Closed("producer"))
    }

    /// Flushes and stops, for all clones; what is not delivered within `timeout` fails.
    pub async fn close(&self, timeout: Duration) {
        let _ = timeout;
    }
}
