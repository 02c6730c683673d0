//! The transactional ids of one partition of `__transaction_state`.

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::ErrorCode;

use super::change::Change;
use super::record;
use super::state::{NO_EPOCH, NO_PRODUCER_ID, Producer, Txn, TxnPartition, TxnState};
use crate::error::CoordinatorError;
use crate::output::Now;

/// Settings of a transaction coordinator, by Kafka's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`.
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
}

impl Default for TxnConfig {
    fn default() -> Self {
        Self { timeout_max_ms: 900_000, id_expiration_ms: 7 * 24 * 3_600_000 }
    }
}

/// Why a question has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An error for the client.
    Error(ErrorCode),
    /// Ask again with a fresh producer id.
    NeedsProducerId,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error)
    }
}

/// InitProducerId.
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducer {
    /// Transactional id.
    pub transactional_id: String,
    /// How long the producer's transactions may stay open.
    pub timeout_ms: i32,
    /// What the producer believes to be (version 3 and up, after an error).
    pub expected: Option<Producer>,
    /// Used if a new id is needed.
    pub fresh_producer_id: Option<i64>,
}

/// What InitProducerId comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Initialised {
    /// The producer's id and epoch, once the change is written.
    Producer(Producer, Change),
    /// A transaction is open: write this end of it, then ask again.
    AfterAbort(Change),
}

/// Which transactions to list; empty filters let everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListTransactions {
    /// States.
    pub states: Vec<TxnState>,
    /// Producer ids.
    pub producer_ids: Vec<i64>,
    /// Only those that have been open for longer; negative = all.
    pub open_longer_than_ms: i64,
}

/// The transactional ids of one partition of `__transaction_state`.
#[derive(Debug, Default)]
pub struct TxnShard {
    config: TxnConfig,
    txns: BTreeMap<String, Txn>,
}

impl TxnShard {
    /// An empty shard.
    pub fn new(config: TxnConfig) -> Self {
        Self { config, txns: BTreeMap::new() }
    }

    /// Takes in one record of the partition, in log order.
    ///
    /// # Errors
    /// [`CoordinatorError`] for a record that cannot be read; the state is as before then.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>, now: Now) -> Result<(), CoordinatorError> {
        let Some((id, txn)) = record::parse(key, value)? else { return Ok(()) };
        match txn.filter(|txn| txn.state != TxnState::Dead) {
            Some(mut txn) => {
                // A wall clock that jumped neither ends a transaction at once nor keeps it open for ever.
                let open_ms = (now.wall_ms - txn.start_ms).clamp(0, i64::from(txn.timeout_ms.max(0)));
                txn.started_mono_ms = now.mono_ms - open_ms;
                self.txns.insert(id, txn);
            }
            None => {
                self.txns.remove(&id);
            }
        }
        Ok(())
    }

    /// Makes a change true: all of it is in the log.
    pub fn apply(&mut self, change: Change) {
        match change.into_result() {
            (id, Some(txn)) => self.txns.insert(id, txn),
            (id, None) => self.txns.remove(&id),
        };
    }

    /// What is known of a transactional id.
    pub fn get(&self, transactional_id: &str) -> Option<&Txn> {
        self.txns.get(transactional_id)
    }

    pub(crate) fn ids(&self, wanted: impl Fn(&Txn) -> bool) -> Vec<String> {
        self.txns.iter().filter(|(_, txn)| wanted(txn)).map(|(id, _)| id.clone()).collect()
    }

    /// InitProducerId with a transactional id.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn init_producer(&self, asked: &InitProducer, now: Now) -> Result<Initialised, Refusal> {
        if asked.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest.into());
        }
        if asked.timeout_ms <= 0 || asked.timeout_ms > self.config.timeout_max_ms {
            return Err(ErrorCode::InvalidTransactionTimeout.into());
        }
        let fresh = |producer, previous_producer_id, last_epoch| Txn {
            producer,
            previous_producer_id,
            next_producer_id: NO_PRODUCER_ID,
            last_epoch,
            timeout_ms: asked.timeout_ms,
            state: TxnState::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            update_ms: now.wall_ms,
            client_version: 0,
            started_mono_ms: now.mono_ms,
        };
        let id = asked.transactional_id.as_str();
        let done = |txn: Txn| Ok(Initialised::Producer(txn.producer, Change::to(id, Some(txn))));
        let Some(txn) = self.txns.get(id) else {
            let producer =
                Producer { id: asked.fresh_producer_id.ok_or(Refusal::NeedsProducerId)?, epoch: 0 };
            return done(fresh(producer, NO_PRODUCER_ID, NO_EPOCH));
        };
        let repeats_over_rotation = |expected: Producer| {
            expected.id == txn.previous_producer_id && expected.epoch >= super::state::LAST_USED_EPOCH
        };
        if asked.expected.is_some_and(|e| e.id != txn.producer.id && !repeats_over_rotation(e)) {
            return Err(ErrorCode::ProducerFenced.into());
        }
        match txn.state {
            TxnState::PrepareCommit | TxnState::PrepareAbort => {
                return Err(ErrorCode::ConcurrentTransactions.into());
            }
            TxnState::Ongoing => {
                let abort = self.fence(id, now).ok_or(ErrorCode::ConcurrentTransactions)?;
                return Ok(Initialised::AfterAbort(abort));
            }
            _ => {}
        }
        let expected_epoch = asked.expected.map(|expected| expected.epoch);
        if txn.is_exhausted() && expected_epoch.is_none_or(|epoch| epoch == txn.producer.epoch) {
            let producer =
                Producer { id: asked.fresh_producer_id.ok_or(Refusal::NeedsProducerId)?, epoch: 0 };
            let last_epoch = if expected_epoch.is_some() { txn.producer.epoch } else { NO_EPOCH };
            return done(fresh(producer, txn.producer.id, last_epoch));
        }
        let bumped = Producer { epoch: txn.producer.epoch.saturating_add(1), ..txn.producer };
        let (producer, last_epoch) = match expected_epoch {
            None => (bumped, NO_EPOCH),
            Some(epoch) if epoch == txn.producer.epoch && !txn.is_exhausted() => (bumped, txn.producer.epoch),
            // A repetition: nobody else has begun since, for that would have forgotten the last epoch.
            Some(epoch) if epoch == txn.last_epoch => (txn.producer, txn.last_epoch),
            Some(_) => return Err(ErrorCode::ProducerFenced.into()),
        };
        done(fresh(producer, txn.previous_producer_id, last_epoch))
    }

    /// AddPartitionsToTxn, AddOffsetsToTxn, and what Produce 12 and TxnOffsetCommit 5 do on the way: opens the
    /// transaction if need be. `None`: the partitions are in it already.
    ///
    /// # Errors
    /// The code for the client.
    pub fn add_partitions(
        &self,
        transactional_id: &str,
        asked: Producer,
        partitions: &[TxnPartition],
        version: i16,
        now: Now,
    ) -> Result<Option<Change>, ErrorCode> {
        let txn = self.of_producer(transactional_id, asked)?;
        let known = |partition: &TxnPartition| txn.partitions.contains(partition);
        if txn.state == TxnState::Ongoing && partitions.iter().all(known) {
            return Ok(None);
        }
        let mut next =
            Txn { state: TxnState::Ongoing, update_ms: now.wall_ms, client_version: version, ..txn.clone() };
        if txn.state != TxnState::Ongoing {
            next.start_ms = now.wall_ms;
            next.started_mono_ms = now.mono_ms;
        }
        next.partitions.extend(partitions.iter().cloned());
        Ok(Some(Change::to(transactional_id, Some(next))))
    }

    /// Whether a partition is in the producer's open transaction.
    ///
    /// # Errors
    /// The code for the client; TRANSACTION_ABORTABLE when it is not.
    pub fn verify(
        &self,
        transactional_id: &str,
        asked: Producer,
        partition: &TxnPartition,
    ) -> Result<(), ErrorCode> {
        let txn = self.of_producer(transactional_id, asked)?;
        let known = txn.state == TxnState::Ongoing && txn.partitions.contains(partition);
        if known { Ok(()) } else { Err(ErrorCode::TransactionAbortable) }
    }

    fn of_producer(&self, transactional_id: &str, asked: Producer) -> Result<&Txn, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let txn = self.txns.get(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if txn.producer.id != asked.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if txn.producer.epoch != asked.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if txn.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        Ok(txn)
    }

    /// Forgets transactional ids that nobody used for `transactional.id.expiration.ms`; at most `max` at a time.
    pub fn expired(&self, max: usize, now: Now) -> Vec<Change> {
        self.txns
            .iter()
            .filter(|(_, txn)| {
                txn.state.is_idle()
                    && now.wall_ms.saturating_sub(txn.update_ms) >= self.config.id_expiration_ms
            })
            .take(max)
            .map(|(id, _)| Change::to(id, None))
            .collect()
    }

    /// ListTransactions.
    pub fn list(&self, filter: &ListTransactions, now: Now) -> Vec<(&str, &Txn)> {
        let passes = |txn: &Txn| {
            (filter.states.is_empty() || filter.states.contains(&txn.state))
                && (filter.producer_ids.is_empty() || filter.producer_ids.contains(&txn.producer.id))
                && (filter.open_longer_than_ms < 0
                    || now.wall_ms.saturating_sub(txn.start_ms) > filter.open_longer_than_ms)
        };
        self.txns.iter().filter(|(_, txn)| passes(txn)).map(|(id, txn)| (id.as_str(), txn)).collect()
    }

    /// Partitions of all open and ending transactions, with their producer: what may lie open in a log.
    pub fn open_partitions(&self) -> impl Iterator<Item = (i64, &TxnPartition)> {
        self.txns
            .values()
            .flat_map(|txn| txn.partitions.iter().map(move |partition| (txn.producer.id, partition)))
    }
}
