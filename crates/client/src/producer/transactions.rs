//! Transactions: what a producer sends between a beginning and a commit is seen whole or not at all (KIP-98, in the
//! form of KIP-890: every end moves the producer's epoch on, so that nothing that comes late can touch the next one).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_codec::messages::{
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_codec::{ErrorCode, Request};
use tokio::time::Instant;

use super::Producer;
use super::shared::Shared;
use crate::cluster::{CoordinatorKind, Purpose};
use crate::connection::Connection;
use crate::consumer::GroupMetadata;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::OffsetAndMetadata;
use crate::retry::backoff;

/// The feature that brings [`END_TXN`] and what goes with it, and the level that does.
const FEATURE: (&str, i16) = ("transaction.version", 2);
/// First version of EndTxn that answers the next epoch.
const END_TXN: i16 = 5;
/// First and last version of TxnOffsetCommit that add the group to the transaction and name topics.
const TXN_OFFSET_COMMIT: std::ops::RangeInclusive<i16> = 5..=5;
/// First version of InitProducerId in which a producer that goes on is recognised.
const INIT_PRODUCER_ID: std::ops::RangeInclusive<i16> = 4..=5;

/// Where a transactional producer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// [`Producer::init_transactions`] was not called yet.
    #[default]
    New,
    /// No transaction is open.
    Ready,
    /// A transaction is open.
    Open,
    /// Its end was asked for (`true`: a commit), and the outcome is not known yet.
    Ending(bool),
}

/// A transactional producer's state.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) phase: Phase,
    /// Producer id and epoch.
    pub(super) producer: Option<(i64, i16)>,
    /// Something was sent in the open transaction.
    pub(super) dirty: bool,
    /// Why the open transaction can only be aborted.
    pub(super) failed: Option<Error>,
}

impl Transaction {
    /// Whether a record may be sent now.
    pub(super) fn check(&self) -> Result<()> {
        if self.phase != Phase::Open {
            return Err(Error::Illegal(format!(
                "Cannot send a record while the transactional producer is in state {:?}: begin a transaction first.",
                self.phase
            )));
        }
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Producer {
    /// Fences all producers that had this `transactional.id` before, aborts what they left open, and makes this one
    /// ready. To be called once, before the first transaction.
    ///
    /// # Errors
    /// No `transactional.id`; [`Error::UnsupportedVersion`] for brokers without transaction version 2 (Apache Kafka
    /// before 4.0); [`Error::Timeout`] after `max.block.ms` (may be called again).
    pub async fn init_transactions(&self) -> Result<()> {
        let shared = &self.0.0;
        let id = transactional_id(shared)?.to_owned();
        if shared.state.lock().transaction.phase != Phase::New {
            return Err(Error::Illegal("init_transactions was called before".to_owned()));
        }
        let request = InitProducerIdRequest {
            transactional_id: Some(id),
            transaction_timeout_ms: millis(shared.config.transaction_timeout),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let code = |answer: &InitProducerIdResponse| answer.error_code;
        let answer = ask_coordinator(shared, &request, INIT_PRODUCER_ID, code, "InitProducerId").await?;
        let mut state = shared.state.lock();
        state.transaction = Transaction {
            phase: Phase::Ready,
            producer: Some((answer.producer_id, answer.producer_epoch)),
            ..Transaction::default()
        };
        Ok(())
    }

    /// Begins a transaction: everything sent from now on belongs to it.
    ///
    /// # Errors
    /// [`Error::Illegal`] when one is open already or [`Producer::init_transactions`] is missing.
    pub fn begin_transaction(&self) -> Result<()> {
        let shared = &self.0.0;
        transactional_id(shared)?;
        shared.check_open()?;
        let mut state = shared.state.lock();
        if state.transaction.phase != Phase::Ready {
            return Err(Error::Illegal(format!(
                "A transaction cannot begin in state {:?}",
                state.transaction.phase
            )));
        }
        let producer = state.transaction.producer;
        state.transaction = Transaction { phase: Phase::Open, producer, ..Transaction::default() };
        Ok(())
    }

    /// Commits a consumer's offsets with the transaction: they count when it is committed. `offsets` are those of the
    /// next records to read, `group` is [`crate::Consumer::group_metadata`].
    ///
    /// # Errors
    /// Without an open transaction; the coordinator's refusal, after which the transaction can only be aborted.
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
    ) -> Result<()> {
        let shared = &self.0.0;
        let id = transactional_id(shared)?.to_owned();
        let (producer_id, producer_epoch) = {
            let mut state = shared.state.lock();
            state.transaction.check()?;
            if offsets.is_empty() {
                return Ok(());
            }
            state.transaction.dirty = true;
            state.transaction.producer.ok_or(Error::Closed("producer"))?
        };
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, offset) in offsets {
            topics.entry(&partition.topic).or_default().push(TxnOffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: offset.offset,
                committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(offset.metadata.clone()),
                ..TxnOffsetCommitRequestPartition::default()
            });
        }
        let topic = |(name, partitions): (&str, _)| TxnOffsetCommitRequestTopic {
            name: name.to_owned(),
            partitions,
            ..TxnOffsetCommitRequestTopic::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: id,
            group_id: group.group_id.clone(),
            producer_id,
            producer_epoch,
            generation_id_or_member_epoch: group.generation,
            member_id: group.member_id.clone(),
            group_instance_id: group.group_instance_id.clone(),
            topics: topics.into_iter().map(topic).collect(),
            ..TxnOffsetCommitRequest::default()
        };
        let code = |answer: &TxnOffsetCommitResponse| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0)
        };
        let whom = Whom::Group(&group.group_id);
        let sent = ask(shared, whom, &request, TXN_OFFSET_COMMIT, code, "TxnOffsetCommit").await;
        if let Err(error) = &sent {
            shared.fail_transaction(error);
        }
        sent.map(|_| ())
    }

    /// Waits for all records of the transaction, then commits it. When the outcome stays unknown ([`Error::Timeout`]),
    /// call it again: a repeated commit is answered as the first one was.
    ///
    /// # Errors
    /// A record failed, or the coordinator refuses: the transaction can then only be aborted.
    pub async fn commit_transaction(&self) -> Result<()> {
        let shared = &self.0.0;
        transactional_id(shared)?;
        let repeats = match shared.state.lock().transaction.phase {
            Phase::Ending(true) => true,
            Phase::Open => false,
            other => return Err(Error::Illegal(format!("There is nothing to commit in state {other:?}"))),
        };
        if !repeats {
            self.settle().await;
            let mut state = shared.state.lock();
            if let Some(error) = &state.transaction.failed {
                return Err(error.clone());
            }
            state.transaction.phase = Phase::Ending(true);
        }
        self.end(true).await
    }

    /// Gives the transaction up: nothing of it will ever be seen by `read_committed` consumers.
    ///
    /// # Errors
    /// The coordinator refuses (a newer producer took over), or [`Error::Timeout`] (may be called again).
    pub async fn abort_transaction(&self) -> Result<()> {
        let shared = &self.0.0;
        transactional_id(shared)?;
        {
            let mut state = shared.state.lock();
            match state.transaction.phase {
                Phase::Open | Phase::Ending(false) => state.transaction.phase = Phase::Ending(false),
                other => return Err(Error::Illegal(format!("There is nothing to abort in state {other:?}"))),
            }
        }
        // What was not sent yet is dropped; what is under way may be written before the abort.
        shared.fail_transaction(&Error::Illegal("The transaction was aborted".to_owned()));
        self.settle().await;
        self.end(false).await
    }

    async fn end(&self, commit: bool) -> Result<()> {
        let shared = &self.0.0;
        let id = transactional_id(shared)?.to_owned();
        let (dirty, producer) = {
            let state = shared.state.lock();
            (state.transaction.dirty, state.transaction.producer)
        };
        let (producer_id, producer_epoch) = producer.ok_or(Error::Closed("producer"))?;
        let mut next = (producer_id, producer_epoch);
        if dirty {
            let request = EndTxnRequest {
                transactional_id: id,
                producer_id,
                producer_epoch,
                committed: commit,
                ..EndTxnRequest::default()
            };
            let code = |answer: &EndTxnResponse| answer.error_code;
            match ask_coordinator(shared, &request, END_TXN..=END_TXN, code, "EndTxn").await {
                Ok(answer) => next = (answer.producer_id, answer.producer_epoch),
                Err(error) => {
                    if matches!(error, Error::Broker(_)) && !error.is_retriable() {
                        let mut state = shared.state.lock();
                        if is_final(error.code()) {
                            state.fatal = Some(error.clone());
                        } else if commit {
                            // Not committed, and it will not be: what is left is to abort.
                            state.transaction.phase = Phase::Open;
                            state.transaction.failed = Some(error.clone());
                        }
                    }
                    return Err(error);
                }
            }
        }
        let mut state = shared.state.lock();
        // The next transaction numbers its batches from 0, with the next epoch.
        if dirty {
            state.queues.partitions.clear();
        }
        state.transaction =
            Transaction { phase: Phase::Ready, producer: Some(next), ..Transaction::default() };
        Ok(())
    }
}

/// Errors after which the producer cannot go on.
fn is_final(code: Option<ErrorCode>) -> bool {
    matches!(
        code,
        Some(
            ErrorCode::ProducerFenced
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::InvalidProducerIdMapping
                | ErrorCode::TransactionalIdAuthorizationFailed
        )
    )
}

fn transactional_id(shared: &Shared) -> Result<&str> {
    shared.config.transactional_id.as_deref().ok_or_else(|| {
        Error::Illegal(
            "Cannot use transactional methods without enabling transactions by setting the transactional.id \
             configuration property"
                .to_owned(),
        )
    })
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[derive(Clone, Copy)]
enum Whom<'a> {
    Transaction(&'a str),
    Group(&'a str),
}

async fn ask_coordinator<R: Request>(
    shared: &Arc<Shared>,
    request: &R,
    versions: std::ops::RangeInclusive<i16>,
    code: impl Fn(&R::Response) -> i16,
    what: &str,
) -> Result<R::Response> {
    let whom = Whom::Transaction(transactional_id(shared)?);
    ask(shared, whom, request, versions, code, what).await
}

/// Asks a coordinator until it answers something final, at most `max.block.ms`.
async fn ask<R: Request>(
    shared: &Arc<Shared>,
    whom: Whom<'_>,
    request: &R,
    versions: std::ops::RangeInclusive<i16>,
    code: impl Fn(&R::Response) -> i16,
    what: &str,
) -> Result<R::Response> {
    shared.check_open()?;
    let config = &shared.cluster.config;
    let deadline = Instant::now() + shared.config.max_block;
    let mut failures = 0;
    loop {
        let attempt = async {
            let connection = coordinator(shared, whom).await?;
            let version = connection.version(R::KEY, versions.clone())?;
            let answer = connection.call_version(request, version, config.request_timeout).await?;
            Error::check(code(&answer), None)?;
            Ok(answer)
        };
        let error = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout("no answer".to_owned()),
        };
        if !error.is_retriable() {
            return Err(error);
        }
        let wait = backoff(config.retry_backoff, config.retry_backoff_max, failures);
        failures += 1;
        if Instant::now() + wait >= deadline {
            return Err(Error::Timeout(format!(
                "Timeout expired after {} ms while awaiting {what}: {error}",
                shared.config.max_block.as_millis()
            )));
        }
        tokio::time::sleep(wait).await;
    }
}

async fn coordinator(shared: &Shared, whom: Whom<'_>) -> Result<Arc<Connection>> {
    let (kind, key) = match whom {
        Whom::Transaction(id) => (CoordinatorKind::Transaction, id),
        Whom::Group(id) => (CoordinatorKind::Group, id),
    };
    let node = shared.cluster.find_coordinator(kind, key).await?;
    let connection = shared.cluster.coordinator(&node, Purpose::Offsets).await?;
    let (feature, level) = FEATURE;
    let finalized = &connection.offered().finalized_features;
    if !finalized.iter().any(|found| found.name == feature && found.max_version_level >= level) {
        return Err(Error::UnsupportedVersion(format!(
            "Transactions need a broker with {feature} {level} (Apache Kafka 4.0 or newer)"
        )));
    }
    Ok(connection)
}

/// Versions of Produce that add partitions to the transaction on the way.
pub(super) const PRODUCE_FROM: i16 = 12;
