//! Appends in the order they were asked for: plain ones through an idempotent producer, atomic ones in transactions.
//!
//! A partition is either written to by plain appends or by the transaction that is under way, never by both: what
//! comes later for it waits, so that two producers cannot overtake each other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::{errors, knows};
use crate::cluster::Cluster;
use crate::config::ProducerConfig;
use crate::door::{DoorError, Record, TopicPartition};
use crate::error::{Error, Result};
use crate::producer::{Delivery, Producer};
use crate::record::ProducerRecord;

/// Records of one transaction at most, but for a larger atomic append.
const TRANSACTION_RECORDS_MAX: usize = 5_000;
/// What may wait or be under way, bytes; the producer's own memory bounds what it has of that.
const BYTES_MAX: usize = 256 << 20;
/// What a record takes beside its key, value and headers, about.
const RECORD_BYTES: usize = 100;
/// Between two tries to learn how a transaction ended.
const OUTCOME_BACKOFF: Duration = Duration::from_millis(200);

/// A topic is gone when so many looks in a row, with this pause between them, do not find it.
const GONE_LOOKS: u32 = 5;
const GONE_PAUSE: Duration = Duration::from_secs(2);

type Offsets = Vec<Result<i64, DoorError>>;

/// Bytes of everything that was asked for and is not answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered(Arc<AtomicUsize>);

/// The part of one command; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    of: Unanswered,
    bytes: usize,
}

impl Unanswered {
    /// Room for records, if there is any: one command always has it.
    pub(super) fn enter<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Result<Part, DoorError> {
        let bytes = records.map(size).sum();
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let part = Part { of: self.clone(), bytes };
        if before > 0 && before.saturating_add(bytes) > BYTES_MAX {
            return Err(DoorError::Unavailable("too much waits for the cluster already".to_owned()));
        }
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn size(record: &Record) -> usize {
    let len = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |b| b.len());
    let headers = record.headers.iter().map(|h| h.key.len() + len(&h.value));
    RECORD_BYTES + len(&record.key) + len(&record.value) + headers.sum::<usize>()
}

/// What a caller asked for.
pub(super) enum Command {
    Append { to: TopicPartition, records: Vec<Record>, reply: oneshot::Sender<Offsets>, part: Part },
    Atomic(Atomic),
}

pub(super) struct Atomic {
    records: Vec<(TopicPartition, Record)>,
    reply: oneshot::Sender<Result<Vec<i64>, DoorError>>,
    _part: Part,
}

impl Command {
    pub(super) fn append(
        to: TopicPartition,
        records: Vec<Record>,
        part: Part,
    ) -> (Self, oneshot::Receiver<Offsets>) {
        let (reply, answer) = oneshot::channel();
        (Self::Append { to, records, reply, part }, answer)
    }

    pub(super) fn atomic(
        records: Vec<(TopicPartition, Record)>,
        part: Part,
    ) -> (Self, oneshot::Receiver<Result<Vec<i64>, DoorError>>) {
        let (reply, answer) = oneshot::channel();
        (Self::Atomic(Atomic { records, reply, _part: part }), answer)
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        match self {
            Self::Append { to, .. } => vec![to.clone()],
            Self::Atomic(atomic) => atomic.records.iter().map(|(to, _)| to.clone()).collect(),
        }
    }
}

pub(super) fn stopped() -> DoorError {
    DoorError::Storage("the connection to the cluster was closed".to_owned())
}

fn produced(to: &TopicPartition, record: Record) -> ProducerRecord {
    ProducerRecord {
        topic: Arc::clone(&to.topic),
        partition: Some(to.partition),
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

/// The task that all appends of a door go through.
pub(super) struct Appending {
    producer: Producer,
    cluster: Arc<Cluster>,
    /// `None` while a transaction has it.
    transactions: Option<Transactions>,
    waiting: VecDeque<Command>,
    /// Partitions of what waits: nothing that comes later may overtake it there.
    held: HashSet<TopicPartition>,
    /// Plain appends under way for each partition.
    under_way: HashMap<TopicPartition, usize>,
    /// Partitions of the transaction under way.
    in_transaction: HashSet<TopicPartition>,
    answered: FuturesUnordered<BoxFuture<'static, TopicPartition>>,
    ending: OptionFuture<BoxFuture<'static, Transactions>>,
}

impl Appending {
    pub(super) fn new(producer: Producer, transactions: Transactions, cluster: Arc<Cluster>) -> Self {
        Self {
            producer,
            cluster,
            transactions: Some(transactions),
            waiting: VecDeque::new(),
            held: HashSet::new(),
            under_way: HashMap::new(),
            in_transaction: HashSet::new(),
            answered: FuturesUnordered::new(),
            ending: None.into(),
        }
    }

    /// Works until nobody holds the door and everything is answered.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut open = true;
        loop {
            tokio::select! {
                command = commands.recv(), if open => match command {
                    Some(command) => {
                        let mut news = VecDeque::from([command]);
                        while let Ok(more) = commands.try_recv() {
                            news.push_back(more);
                        }
                        self.begin_what_may(news).await;
                    }
                    None => open = false,
                },
                Some(partition) = self.answered.next() => {
                    // What waits, waits for a transaction to end or for a partition that the next one needs.
                    if self.leave(&partition) && self.transactions.is_some() && self.held.contains(&partition) {
                        self.look_again().await;
                    }
                }
                Some(transactions) = &mut self.ending => {
                    self.ending = None.into();
                    self.in_transaction.clear();
                    self.transactions = Some(transactions);
                    self.look_again().await;
                }
                else => return,
            }
        }
    }

    /// An append was answered; `true` when it was the partition's last one under way.
    fn leave(&mut self, partition: &TopicPartition) -> bool {
        let Some(count) = self.under_way.get_mut(partition) else { return true };
        *count -= 1;
        let idle = *count == 0;
        if idle {
            self.under_way.remove(partition);
        }
        idle
    }

    async fn look_again(&mut self) {
        self.held.clear();
        let waiting = std::mem::take(&mut self.waiting);
        self.begin_what_may(waiting).await;
    }

    /// Begins, in order, everything that need not wait for what is before it; the rest joins what waits.
    async fn begin_what_may(&mut self, commands: VecDeque<Command>) {
        // The next transaction's: other atomic appends may join it, plain ones wait.
        let mut joined: HashSet<TopicPartition> = HashSet::new();
        let mut batch: Vec<Atomic> = Vec::new();
        let mut batched = 0;
        for command in commands {
            let partitions = command.partitions();
            let behind = |p: &TopicPartition| self.held.contains(p) || self.in_transaction.contains(p);
            let may = !partitions.iter().any(behind)
                && match &command {
                    Command::Append { to, .. } => !joined.contains(to),
                    Command::Atomic(atomic) => {
                        self.transactions.is_some()
                            && (batched == 0 || batched + atomic.records.len() <= TRANSACTION_RECORDS_MAX)
                            && !partitions.iter().any(|p| self.under_way.contains_key(p))
                    }
                };
            match command {
                command if !may => {
                    self.held.extend(partitions);
                    self.waiting.push_back(command);
                }
                Command::Append { to, records, reply, part } => self.append(to, records, reply, part).await,
                Command::Atomic(atomic) => {
                    batched += atomic.records.len();
                    joined.extend(partitions);
                    batch.push(atomic);
                }
            }
        }
        if let Some(transactions) = self.transactions.take_if(|_| !batch.is_empty()) {
            self.in_transaction = joined;
            self.ending = Some(transactions.run(batch).boxed()).into();
        }
    }

    async fn append(
        &mut self,
        to: TopicPartition,
        records: Vec<Record>,
        reply: oneshot::Sender<Offsets>,
        part: Part,
    ) {
        // The topic may have gone since it was asked for; the producer would wait for it.
        if let Err(error) = knows(&self.cluster.metadata(), &to) {
            let _ = reply.send(records.iter().map(|_| Err(error.clone())).collect());
            return;
        }
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            // Waits while the producer's memory is full: so do those behind it.
            deliveries.push(self.producer.send(produced(&to, record)).await);
        }
        *self.under_way.entry(to.clone()).or_default() += 1;
        let cluster = Arc::clone(&self.cluster);
        self.answered.push(
            async move {
                let count = deliveries.len();
                let offsets = tokio::select! {
                    offsets = offsets_of(deliveries, &to) => offsets,
                    () = gone(&cluster, &to) => {
                        (0..count).map(|_| Err(DoorError::UnknownTopic(to.to_string()))).collect()
                    }
                };
                drop(part);
                let _ = reply.send(offsets);
                to
            }
            .boxed(),
        );
    }
}

async fn offsets_of(deliveries: Vec<Result<Delivery>>, to: &TopicPartition) -> Offsets {
    let mut offsets = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let written = match delivery {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        offsets.push(written.map(|m| m.offset).map_err(|error| errors::of_topic(&error, &to.topic)));
    }
    offsets
}

/// Ends when the topic is gone for good: the producer would wait for another of that name until `delivery.timeout.ms`. A
/// broker that has just started may know of no topics for a while.
async fn gone(cluster: &Cluster, to: &TopicPartition) {
    let mut missed = 0;
    while missed < GONE_LOOKS {
        tokio::time::sleep(GONE_PAUSE).await;
        missed = if knows(&cluster.metadata(), to).is_ok() { 0 } else { missed + 1 };
    }
}

/// The producer of atomic appends.
pub(super) struct Transactions {
    producer: Producer,
    /// Why it can go on no more: mostly, another node has taken this one's place. A new producer would take it back, and
    /// what was promised to the other would not hold.
    lost: Option<Error>,
    tell: watch::Sender<bool>,
}

impl Transactions {
    /// Fences whoever used the transactional id before, and ends what it left open. `tell` hears when the same is done
    /// to this one.
    pub(super) async fn begin(config: ProducerConfig, tell: watch::Sender<bool>) -> Result<Self> {
        let producer = Producer::new(config)?;
        producer.init_transactions().await?;
        Ok(Self { producer, lost: None, tell })
    }

    /// All of them in one transaction; when it fails, each in one of its own, so that what cannot be written does not
    /// hold up the rest.
    async fn run(mut self, atomics: Vec<Atomic>) -> Self {
        let all: Vec<_> = atomics.iter().flat_map(|atomic| atomic.records.iter().cloned()).collect();
        match self.commit(all).await {
            Ok(offsets) => {
                let mut offsets = offsets.into_iter();
                for atomic in atomics {
                    let own = offsets.by_ref().take(atomic.records.len()).collect();
                    let _ = atomic.reply.send(Ok(own));
                }
            }
            Err(error) if atomics.len() == 1 => {
                for atomic in atomics {
                    let _ = atomic.reply.send(Err(error.clone()));
                }
            }
            Err(_) => {
                for atomic in atomics {
                    let offsets = self.commit(atomic.records).await;
                    let _ = atomic.reply.send(offsets);
                }
            }
        }
        self
    }

    /// One transaction.
    pub(super) async fn commit(
        &mut self,
        records: Vec<(TopicPartition, Record)>,
    ) -> Result<Vec<i64>, DoorError> {
        if let Some(error) = &self.lost {
            return Err(DoorError::Fenced(error.to_string()));
        }
        let topic = records.first().map(|(to, _)| Arc::clone(&to.topic)).unwrap_or_default();
        match self.try_commit(records).await {
            Ok(offsets) => Ok(offsets),
            Err(error) => {
                tracing::warn!(%error, "a transaction failed");
                match &self.lost {
                    Some(lost) => Err(DoorError::Fenced(lost.to_string())),
                    None => Err(errors::of_topic(&error, &topic)),
                }
            }
        }
    }

    async fn try_commit(&mut self, records: Vec<(TopicPartition, Record)>) -> Result<Vec<i64>> {
        let begun = self.producer.begin_transaction();
        if let Err(error) = begun {
            self.lose(&error);
            return Err(error);
        }
        match write(&self.producer, records).await {
            Ok(deliveries) => self.end(deliveries).await,
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// Commits, and asks again until the outcome is known: an answer must not be a guess.
    async fn end(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<i64>> {
        loop {
            match self.producer.commit_transaction().await {
                Ok(()) => break,
                Err(error @ (Error::Timeout(_) | Error::Connection { .. })) => {
                    tracing::warn!(%error, "the outcome of a transaction is not known yet, asking again");
                    tokio::time::sleep(OUTCOME_BACKOFF).await;
                }
                Err(error) => {
                    self.give_up().await;
                    return Err(error);
                }
            }
        }
        let mut offsets = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            offsets.push(delivery.await?.offset);
        }
        Ok(offsets)
    }

    /// Aborts, and asks again until that is done. A producer that cannot is at its end.
    async fn give_up(&mut self) {
        loop {
            match self.producer.abort_transaction().await {
                Ok(()) => return,
                Err(error @ (Error::Timeout(_) | Error::Connection { .. })) => {
                    tracing::warn!(%error, "a transaction is not aborted yet, asking again");
                    tokio::time::sleep(OUTCOME_BACKOFF).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a transaction could not be aborted");
                    self.lose(&error);
                    return;
                }
            }
        }
    }

    fn lose(&mut self, error: &Error) {
        self.lost = Some(error.clone());
        self.tell.send_replace(true);
    }
}

async fn write(producer: &Producer, records: Vec<(TopicPartition, Record)>) -> Result<Vec<Delivery>> {
    let mut deliveries = Vec::with_capacity(records.len());
    for (to, record) in records {
        deliveries.push(producer.send(produced(&to, record)).await?);
    }
    Ok(deliveries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unanswered_is_bounded_and_one_always_fits() {
        let of = |bytes: usize| Record { value: Some(vec![0; bytes].into()), ..Record::default() };
        let all = Unanswered::default();
        let large = all.enter([of(BYTES_MAX)].iter()).unwrap();
        assert!(matches!(all.enter([of(1)].iter()), Err(DoorError::Unavailable(_))));
        drop(large);
        let small = all.enter([of(1)].iter()).unwrap();
        assert!(all.enter([of(BYTES_MAX)].iter()).is_err());
        assert!(all.enter([of(1), of(2)].iter()).is_ok());
        drop(small);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
