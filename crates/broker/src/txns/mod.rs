//! Transactions: the runtime around `coordinator::txn`'s state machines.
//!
//! Every partition of `__transaction_state` has a [`Shard`]: a lock around its state machine. Whoever writes into a
//! transaction (Produce, TxnOffsetCommit) appends under that lock, after the state machine has said that the
//! partition is in the producer's open transaction. So nothing can be appended behind the transaction's end, and a
//! hanging transaction cannot come to be. The end itself is one atomic append: the decision, the markers in all
//! partitions and the completion are in the log together or not at all.
//!
//! Lock order: a transaction shard, then a group shard, then a log.

mod load;
mod settle;
mod shard;

use std::sync::Arc;
use std::time::Duration;

use coordinator::txn::{
    InitProducer, Initialised, ListTransactions, Producer, Refusal, Txn, TxnConfig, TxnPartition,
};
use coordinator::{ErrorCode, Now, Request, Response};
use kafka_codec::Uuid;
use meta::MetaError;
use meta::config::BrokerProperties;
use meta::controller::NewTopic;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::groups::{OFFSETS_TOPIC, partition_for};
use crate::node::Node;
use crate::state_topic::{self, Written, durable};
pub(crate) use settle::tell_groups;
use shard::Shard;

/// Where transactions are kept.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// How long a request waits for shards that are still reading before it is told so.
const LOAD_PATIENCE: Duration = Duration::from_millis(500);
/// How long InitProducerId waits for the end of the transaction before it.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How often InitProducerId asks again (each time something else has to be done first).
const INIT_ROUNDS: usize = 8;

/// All transactions this broker coordinates.
pub(crate) struct Transactions {
    config: TxnConfig,
    shards: RwLock<Arc<Shards>>,
    /// Held while the shards are replaced.
    opening: Mutex<()>,
}

#[derive(Default)]
struct Shards {
    topic: Uuid,
    by_partition: Vec<Arc<Shard>>,
}

impl Shards {
    fn of(&self, transactional_id: &str) -> Option<&Arc<Shard>> {
        self.by_partition.get(partition_for(transactional_id, self.by_partition.len())?)
    }
}

impl Transactions {
    /// No transactions yet.
    pub(crate) fn new(properties: &BrokerProperties) -> Self {
        Self {
            config: TxnConfig {
                timeout_max_ms: properties.int("transaction.max.timeout.ms"),
                id_expiration_ms: properties.long("transactional.id.expiration.ms"),
            },
            shards: RwLock::default(),
            opening: Mutex::new(()),
        }
    }

    fn shards(&self) -> Arc<Shards> {
        Arc::clone(&self.shards.read())
    }

    /// The shard of a transactional id, once it has read its partition.
    async fn shard(&self, transactional_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        let shards = self.shards();
        let shard = shards.of(transactional_id).ok_or(ErrorCode::NotCoordinator)?;
        if shard.wait_loaded(LOAD_PATIENCE).await {
            Ok(Arc::clone(shard))
        } else {
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
    }

    /// As [`Self::shard`], without waiting.
    fn shard_now(&self, transactional_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        self.shards().of(transactional_id).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// Whether this broker can answer for a transactional id.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE: there is no state topic, or its partition is offline.
    pub(crate) fn check(&self, transactional_id: &str) -> Result<(), ErrorCode> {
        match self.shards().of(transactional_id) {
            Some(shard) if !shard.is_closed() => Ok(()),
            _ => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Makes sure that the state topic exists and its shards are open.
    ///
    /// # Errors
    /// Why the topic cannot be created.
    pub(crate) async fn ensure_topic(&self, node: &Arc<Node>) -> Result<(), MetaError> {
        state_topic::ensure(node, TRANSACTIONS_TOPIC, state_topic_settings).await?;
        self.open(node);
        Ok(())
    }

    /// Brings the shards in line with the topic: opens new ones, gives those of a deleted topic up.
    fn open(&self, node: &Arc<Node>) {
        let _opening = self.opening.lock();
        let current = self.shards();
        let topic = node.replicas.topic(TRANSACTIONS_TOPIC);
        if topic.as_ref().map_or(Uuid::ZERO, |topic| topic.id) == current.topic {
            return;
        }
        let fresh = topic
            .map(|topic| Shards {
                topic: topic.id,
                by_partition: topic.partitions.iter().map(|p| Arc::new(Shard::new(Arc::clone(p)))).collect(),
            })
            .unwrap_or_default();
        let fresh = Arc::new(fresh);
        *self.shards.write() = Arc::clone(&fresh);
        for shard in &current.by_partition {
            shard.close(ErrorCode::NotCoordinator);
        }
        tokio::spawn(load::load_all(Arc::clone(node), fresh.by_partition.clone(), self.config.clone()));
    }

    /// Follows the state topic, and ends what nobody else ends: transactions past their timeout, ends that a crash or
    /// an offline partition left half done, transactional ids that nobody uses.
    pub(crate) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
        let interval = |key: &str| {
            let ms = u64::try_from(node.state().properties.int(key)).unwrap_or(1).max(1);
            let mut interval = tokio::time::interval(Duration::from_millis(ms));
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        };
        let mut timeouts = interval("transaction.abort.timed.out.transaction.cleanup.interval.ms");
        let mut expiry = interval("transaction.remove.expired.transaction.cleanup.interval.ms");
        let mut unfinished = tokio::time::interval(settle::RETRY_PAUSE);
        unfinished.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut topics = node.metadata.topics();
        node.transactions.open(&node);
        loop {
            tokio::select! {
                changed = topics.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    node.transactions.open(&node);
                }
                _ = timeouts.tick() => {
                    for shard in &node.transactions.shards().by_partition {
                        settle::abort_timed_out(&node, shard);
                    }
                }
                _ = unfinished.tick() => {
                    for shard in &node.transactions.shards().by_partition {
                        settle::complete_ending(&node, shard).await;
                    }
                }
                _ = expiry.tick() => {
                    for shard in &node.transactions.shards().by_partition {
                        shard.remove_expired(node.groups.now());
                    }
                }
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => break,
            }
        }
        for shard in &node.transactions.shards().by_partition {
            shard.close(ErrorCode::CoordinatorNotAvailable);
        }
    }

    /// InitProducerId with a transactional id.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) async fn init_producer(
        &self,
        node: &Arc<Node>,
        mut asked: InitProducer,
    ) -> Result<Producer, ErrorCode> {
        if asked.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let shard = self.shard(&asked.transactional_id).await?;
        for _ in 0..INIT_ROUNDS {
            if !shard.wait_settled(&asked.transactional_id, END_PATIENCE).await {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            let now = node.groups.now();
            let step = shard.with_open(|open| match open.machine.init_producer(&asked, now) {
                Ok(Initialised::Producer(producer, change)) => {
                    Ok(Init::Done(producer, shard.write(open, change, now)?))
                }
                Ok(Initialised::AfterAbort(end)) => {
                    settle::end(node, &shard, open, end, now)?;
                    Ok(Init::Again)
                }
                Err(Refusal::NeedsProducerId) => Ok(Init::NeedsProducerId),
                Err(Refusal::Error(error)) => Err(error),
            })?;
            match step {
                Init::Done(producer, written) => {
                    durable(&written).await?;
                    return Ok(producer);
                }
                Init::Again => {}
                Init::NeedsProducerId => asked.fresh_producer_id = Some(fresh_producer_id(node).await?),
            }
        }
        Err(ErrorCode::ConcurrentTransactions)
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) async fn add_partitions(
        &self,
        node: &Node,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TxnPartition],
    ) -> Result<(), ErrorCode> {
        let shard = self.shard(transactional_id).await?;
        let now = node.groups.now();
        let written =
            shard.with_open(|open| shard.add(open, transactional_id, producer, partitions, 0, now))?;
        durable(&written).await
    }

    /// What Produce 12 and up does for a transactional batch: the partitions join the producer's transaction. The
    /// batches may be appended at once, and be acknowledged when what is answered is durable.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) fn join(
        &self,
        node: &Node,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TxnPartition],
    ) -> Result<Written, ErrorCode> {
        let shard = self.shard_now(transactional_id)?;
        let now = node.groups.now();
        shard.with_open(|open| shard.add(open, transactional_id, producer, partitions, 2, now))
    }

    /// Whether partitions are in the producer's open transaction (AddPartitionsToTxn that only verifies).
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) fn verify(
        &self,
        transactional_id: &str,
        producer: Producer,
        partition: &TxnPartition,
    ) -> Result<(), ErrorCode> {
        self.within(transactional_id, producer, partition, || ())
    }

    /// Appends something to a partition that is in the producer's open transaction. Neither can end before `append`
    /// has returned.
    ///
    /// # Errors
    /// The code for the client; `append` was not called.
    pub(crate) fn within<T>(
        &self,
        transactional_id: &str,
        producer: Producer,
        partition: &TxnPartition,
        append: impl FnOnce() -> T,
    ) -> Result<T, ErrorCode> {
        let shard = self.shard_now(transactional_id)?;
        shard.with_open(|open| {
            if open.is_settling(transactional_id) {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            open.machine.verify(transactional_id, producer, partition)?;
            Ok(append())
        })
    }

    /// TxnOffsetCommit: hands offsets to the group's shard, in the producer's open transaction. With `joins` (version
    /// 5 and up) the group's partition joins the transaction on the way.
    ///
    /// # Errors
    /// The code for the client, or the group's answer.
    pub(crate) async fn commit_offsets(
        &self,
        node: &Node,
        transactional_id: &str,
        producer: Producer,
        (group, request): (&str, Request),
        joins: bool,
    ) -> Result<Response, ErrorCode> {
        let shard = self.shard(transactional_id).await?;
        let index = node.groups.partition_of(group).ok_or(ErrorCode::NotCoordinator)?;
        let partition = TxnPartition::new(OFFSETS_TOPIC, index);
        let now = node.groups.now();
        let (joined, answer) = shard.with_open(|open| {
            if open.is_settling(transactional_id) {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            let joined = if joins {
                shard.add(open, transactional_id, producer, std::slice::from_ref(&partition), 2, now)?
            } else {
                open.machine.verify(transactional_id, producer, &partition)?;
                shard.written()?
            };
            Ok((joined, node.groups.begin_ask(group, request)?))
        })?;
        let answer = answer.await.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        durable(&joined).await?;
        Ok(answer)
    }

    /// EndTxn. Answers the id and epoch that the producer goes on with.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) async fn end(
        &self,
        node: &Arc<Node>,
        transactional_id: &str,
        producer: Producer,
        commit: bool,
        version: i16,
    ) -> Result<Producer, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let shard = self.shard(transactional_id).await?;
        let mut fresh = None;
        loop {
            let now = node.groups.now();
            let step = shard.with_open(|open| {
                if open.is_settling(transactional_id) {
                    return Err(ErrorCode::ConcurrentTransactions);
                }
                match open.machine.end(transactional_id, producer, commit, version, fresh, now) {
                    Ok(ended) => {
                        let done = match ended.change {
                            Some(change) => Ending::Begun(settle::end(node, &shard, open, change, now)?),
                            None => Ending::Before(shard.written()?),
                        };
                        Ok(Some((ended.producer, done)))
                    }
                    Err(Refusal::NeedsProducerId) if fresh.is_none() => Ok(None),
                    Err(Refusal::NeedsProducerId) => Err(ErrorCode::CoordinatorNotAvailable),
                    Err(Refusal::Error(error)) => Err(error),
                }
            })?;
            match step {
                Some((producer, Ending::Begun(done))) => {
                    done.await.map_err(|_| ErrorCode::CoordinatorNotAvailable)??;
                    return Ok(producer);
                }
                Some((producer, Ending::Before(written))) => {
                    durable(&written).await?;
                    return Ok(producer);
                }
                None => fresh = Some(fresh_producer_id(node).await?),
            }
        }
    }

    /// What is known of a transactional id.
    ///
    /// # Errors
    /// The code for the client.
    pub(crate) async fn describe(&self, transactional_id: &str) -> Result<Txn, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let shard = self.shard(transactional_id).await?;
        shard.with_open(|open| {
            open.machine.get(transactional_id).cloned().ok_or(ErrorCode::TransactionalIdNotFound)
        })
    }

    /// Lists transactional ids, with producer id and state.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS.
    pub(crate) async fn list(
        &self,
        filter: &ListTransactions,
        now: Now,
    ) -> Result<Vec<(String, i64, &'static str)>, ErrorCode> {
        let mut all = Vec::new();
        for shard in &self.shards().by_partition {
            if !shard.wait_loaded(LOAD_PATIENCE).await {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            // A partition that is offline hides its own transactions only.
            let _ = shard.with_open(|open| {
                let listed = open.machine.list(filter, now);
                all.extend(
                    listed.into_iter().map(|(id, txn)| (id.to_owned(), txn.producer.id, txn.state.as_str())),
                );
                Ok(())
            });
        }
        all.sort();
        Ok(all)
    }
}

enum Init {
    Done(Producer, Written),
    Again,
    NeedsProducerId,
}

enum Ending {
    Begun(oneshot::Receiver<Result<(), ErrorCode>>),
    Before(Written),
}

async fn fresh_producer_id(node: &Node) -> Result<i64, ErrorCode> {
    node.producer_ids.next(&node.metadata, node.id).await.map_err(|error| {
        tracing::error!(%error, "no producer id to give");
        ErrorCode::CoordinatorNotAvailable
    })
}

fn state_topic_settings(properties: &BrokerProperties) -> NewTopic {
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name: TRANSACTIONS_TOPIC.to_owned(),
        partitions: properties.int("transaction.state.log.num.partitions").max(1),
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "uncompressed".to_owned()),
            config("segment.bytes", properties.int("transaction.state.log.segment.bytes").to_string()),
            config("unclean.leader.election.enable", "false".to_owned()),
        ],
    }
}
