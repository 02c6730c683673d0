//! What the callers of a producer and its sender share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_codec::records::Compression;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::batch::{Batch, Delivery, Outcome};
use super::partitioner::{Choice, Partitioner, random_partition};
use super::queues::{Key, PartitionQueue, Queues};
use super::transactions::Transaction;
use crate::cluster::Cluster;
use crate::config::{self, ProducerConfig};
use crate::error::{Error, Result};
use crate::metadata::TopicState;
use crate::record::{ProducerRecord, RecordMetadata};

/// Behind the lock: never held while waiting or compressing.
#[derive(Default)]
pub(super) struct State {
    pub(super) queues: Queues,
    /// Where keyless records of a topic go until enough went there.
    sticky: HashMap<Arc<str>, Sticky>,
    /// What was sent in each unanswered request, and when it expires.
    pub(super) in_flight: HashMap<u64, Vec<InFlight>>,
    /// No more records are taken.
    pub(super) closing: bool,
    /// The sender has to stop, or has stopped.
    pub(super) closed: bool,
    /// An error after which nothing can be sent any more.
    pub(super) fatal: Option<Error>,
    /// Of a producer with a `transactional.id`.
    pub(super) transaction: Transaction,
}

/// One batch of an unanswered request.
pub(super) struct InFlight {
    pub(super) key: Key,
    pub(super) count: i32,
    pub(super) created: Instant,
    pub(super) outcome: Arc<Outcome>,
}

impl InFlight {
    pub(super) fn of((key, batch): &(Key, Batch)) -> Self {
        let outcome = Arc::clone(&batch.outcome);
        Self { key: key.clone(), count: batch.count, created: batch.created, outcome }
    }
}

#[derive(Debug)]
struct Sticky {
    partition: i32,
    bytes: usize,
}

pub(super) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) cluster: Arc<Cluster>,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) compression: Compression,
    pub(super) state: Mutex<State>,
    /// Wakes the sender.
    pub(super) wake: Notify,
    /// Callers in `flush` or `close`: nothing lingers while there are any.
    pub(super) flushing: AtomicUsize,
    memory: Arc<Semaphore>,
    /// Callers who wait for memory: nothing lingers while there are any.
    starving: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        config: ProducerConfig,
        cluster: Arc<Cluster>,
        partitioner: Arc<dyn Partitioner>,
    ) -> Self {
        let permits = config.buffer_memory.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let compression = match config.compression {
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::Lz4 => Compression::Lz4,
            config::Compression::Zstd => Compression::Zstd,
        };
        Self {
            cluster,
            partitioner,
            compression,
            state: Mutex::default(),
            wake: Notify::new(),
            flushing: AtomicUsize::new(0),
            memory: Arc::new(Semaphore::new(permits)),
            starving: AtomicUsize::new(0),
            config,
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        let state = self.state.lock();
        match &state.fatal {
            Some(error) => Err(error.clone()),
            None if state.closing => {
                Err(Error::Illegal("Cannot perform operation after producer has been closed".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Buffer memory for a record, waited for in turn.
    pub(super) async fn reserve(&self, size: usize, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        struct Starving<'a>(&'a AtomicUsize);
        impl Drop for Starving<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.memory).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        self.starving.fetch_add(1, Ordering::AcqRel);
        let _starving = Starving(&self.starving);
        self.wake.notify_one();
        match timeout_at(deadline, Arc::clone(&self.memory).acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed("producer")),
            Err(_) => Err(Error::Timeout(format!(
                "Failed to allocate {size} bytes within the configured max blocking time {} ms. \
                 Total memory: {} bytes. Available memory: {} bytes.",
                self.config.max_block.as_millis(),
                self.config.buffer_memory,
                self.memory.available_permits()
            ))),
        }
    }

    /// Adds a record to the open batch of its partition, or to a new one.
    pub(super) fn append(
        &self,
        record: &ProducerRecord,
        mut metadata: RecordMetadata,
        chosen: Option<i32>,
        topic: &TopicState,
        memory: OwnedSemaphorePermit,
    ) -> Result<Delivery> {
        let size = memory.num_permits();
        let mut state = self.state.lock();
        if let Some(error) = &state.fatal {
            return Err(error.clone());
        }
        if state.closed {
            return Err(Error::Closed("producer"));
        }
        let transactional = self.config.transactional_id.is_some();
        if transactional {
            state.transaction.check()?;
        }
        metadata.partition = chosen.unwrap_or_else(|| state.stick(topic, size, self.config.batch_size));
        let queue = state.queues.partition(&topic.name, metadata.partition);
        let fits = |batch: &Batch| {
            batch.is_open() && (batch.count == 0 || batch.size() + size <= self.config.batch_size)
        };
        if !queue.waiting.back().is_some_and(fits) {
            let batch =
                Batch::new(self.compression, self.config.compression_level, transactional, Instant::now());
            queue.waiting.push_back(batch);
        }
        let Some(batch) = queue.waiting.back_mut() else { return Err(Error::Closed("producer")) };
        let delivery =
            batch.push(record, metadata, memory).map_err(|error| Error::RecordTooLarge(error.to_string()))?;
        // The sender has to hear of new work, and of work that need not linger any longer.
        let tell = batch.count == 1 || self.is_full(batch);
        drop(state);
        if tell {
            self.wake.notify_one();
        }
        Ok(delivery)
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.size() >= self.config.batch_size
    }

    /// When the front batch of a queue is to be sent: `None` = at once.
    pub(super) fn ready_at(&self, queue: &PartitionQueue, hurry: bool, now: Instant) -> Option<Instant> {
        let front = queue.waiting.front()?;
        let linger = front.created + self.config.linger;
        let complete =
            hurry || !front.is_open() || queue.waiting.len() > 1 || self.is_full(front) || front.attempts > 0;
        let at = if complete { front.not_before } else { linger.max(front.not_before) };
        Some(at).filter(|at| *at > now)
    }

    /// Whether nothing may linger.
    pub(super) fn in_hurry(&self) -> bool {
        self.flushing.load(Ordering::Acquire) > 0 || self.starving.load(Ordering::Acquire) > 0
    }

    /// Everything that is not decided yet.
    pub(super) fn outcomes(&self) -> Vec<Arc<Outcome>> {
        let state = self.state.lock();
        let waiting =
            state.queues.partitions.values().flat_map(|q| &q.waiting).map(|b| Arc::clone(&b.outcome));
        let in_flight = state.in_flight.values().flatten().map(|b| Arc::clone(&b.outcome));
        waiting.chain(in_flight).collect()
    }

    /// The open transaction can only be aborted: what waits to be sent fails with `error`.
    pub(super) fn fail_transaction(&self, error: &Error) {
        let mut dropped = Vec::new();
        {
            let mut state = self.state.lock();
            state.transaction.failed.get_or_insert_with(|| error.clone());
            for queue in state.queues.partitions.values_mut() {
                dropped.extend(queue.waiting.drain(..).map(|batch| batch.outcome));
            }
        }
        for outcome in dropped {
            outcome.fail(error.clone().into());
        }
        self.wake.notify_one();
    }

    /// Fails everything and stops the sender.
    pub(super) fn abort(&self, reason: &str) {
        let open = self.outcomes();
        {
            let mut state = self.state.lock();
            state.closing = true;
            state.closed = true;
            state.queues.partitions.clear();
        }
        for outcome in open {
            outcome.fail(Error::Illegal(reason.to_owned()).into());
        }
        self.memory.close();
        self.wake.notify_one();
    }
}

impl State {
    /// The partition that keyless records go to now. After about a batch it changes, so that all get their share.
    fn stick(&mut self, topic: &TopicState, size: usize, batch_size: usize) -> i32 {
        let pick = || {
            let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let choice = Choice {
                topic: &topic.name,
                key: None,
                value: None,
                partitions,
                available: &topic.available,
            };
            random_partition(&choice)
        };
        let Some(sticky) = self.sticky.get_mut(&topic.name) else {
            let partition = pick();
            self.sticky.insert(Arc::clone(&topic.name), Sticky { partition, bytes: size });
            return partition;
        };
        let usable = topic.available.is_empty() || topic.available.binary_search(&sticky.partition).is_ok();
        if sticky.bytes >= batch_size || !usable {
            *sticky = Sticky { partition: pick(), bytes: 0 };
        }
        sticky.bytes += size;
        sticky.partition
    }
}
