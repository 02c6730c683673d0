//! EndTxn, timeouts, fencing: how a transaction comes to its end.

use kafka_codec::ErrorCode;

use super::change::Change;
use super::shard::{Refusal, TxnShard};
use super::state::{LAST_USED_EPOCH, NO_EPOCH, NO_PRODUCER_ID, Producer, Txn, TxnState};
use crate::output::Now;

/// What EndTxn comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Id and epoch that the producer goes on with.
    pub producer: Producer,
    /// What is to be written first; `None`: a repetition, it was done before.
    pub change: Option<Change>,
}

/// How a request's epoch stands to what is known.
struct Standing {
    /// The producer ends again what is ended: it has not seen the answer with its new epoch.
    repeats: bool,
    valid: bool,
}

impl TxnShard {
    /// EndTxn. `version` is the client's transaction version: 2 for EndTxn 5 and up, else 0. `fresh_producer_id` is
    /// used if the present one is used up.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn end(
        &self,
        transactional_id: &str,
        asked: Producer,
        commit: bool,
        version: i16,
        fresh_producer_id: Option<i64>,
        now: Now,
    ) -> Result<Ended, Refusal> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest.into());
        }
        let txn = self.get(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let standing = if version >= 2 { standing_v2(txn, asked)? } else { standing_v0(txn, asked)? };
        if !standing.valid {
            return Err(ErrorCode::ProducerFenced.into());
        }
        let done = Ok(Ended { producer: txn.producer, change: None });
        let begin = |nothing_in_it: bool| {
            let next_producer_id = if version >= 2 && txn.is_exhausted() {
                fresh_producer_id.ok_or(Refusal::NeedsProducerId)?
            } else {
                NO_PRODUCER_ID
            };
            let prepared = prepared(txn, commit, version, next_producer_id, nothing_in_it, now);
            let producer = if next_producer_id == NO_PRODUCER_ID {
                prepared.producer
            } else {
                Producer { id: next_producer_id, epoch: 0 }
            };
            Ok(Ended { producer, change: Some(Change::ending(transactional_id, prepared, now)) })
        };
        let invalid = Err(ErrorCode::InvalidTxnState.into());
        match txn.state {
            TxnState::Ongoing => begin(false),
            TxnState::PrepareCommit if commit => Err(ErrorCode::ConcurrentTransactions.into()),
            TxnState::PrepareAbort if !commit => Err(ErrorCode::ConcurrentTransactions.into()),
            // Repetitions: of an older client any with the same outcome, for its epoch does not tell.
            TxnState::CompleteCommit if commit && (standing.repeats || version < 2) => done,
            TxnState::CompleteAbort if !commit && (standing.repeats || version < 2) => done,
            // An abort of nothing: the client may not know whether its first partition was added (KIP-890).
            TxnState::Empty | TxnState::CompleteCommit | TxnState::CompleteAbort
                if !commit && version >= 2 && !standing.repeats =>
            {
                begin(true)
            }
            _ => invalid,
        }
    }

    /// Ends an open transaction without its producer, which is fenced: by a newer one, or because of its timeout.
    /// `None` if none is open.
    pub fn fence(&self, transactional_id: &str, now: Now) -> Option<Change> {
        let txn = self.get(transactional_id).filter(|txn| txn.state == TxnState::Ongoing)?;
        let fenced = Txn {
            producer: Producer { epoch: txn.producer.epoch.saturating_add(1), ..txn.producer },
            last_epoch: NO_EPOCH,
            ..txn.clone()
        };
        // With version 2 the end moves the epoch once more, so that the fenced producer's own EndTxn cannot pass for
        // a repetition.
        let version = txn.client_version;
        let prepared = prepared(&fenced, false, version, NO_PRODUCER_ID, false, now);
        Some(Change::ending(transactional_id, prepared, now))
    }

    /// The rest of an end that was decided before; `None` if there is none.
    pub fn complete(&self, transactional_id: &str, now: Now) -> Option<Change> {
        let txn = self.get(transactional_id).filter(|txn| txn.state.is_ending())?;
        Some(Change::completing(transactional_id, txn, now))
    }

    /// Transactional ids whose end was decided and not completed (a crash, or a partition that could not be told).
    pub fn ending(&self) -> Vec<String> {
        self.ids(|txn| txn.state.is_ending())
    }

    /// Transactional ids whose transaction has been open for longer than its timeout.
    pub fn timed_out(&self, now: Now) -> Vec<String> {
        self.ids(|txn| {
            txn.state == TxnState::Ongoing
                && now.mono_ms.saturating_sub(txn.started_mono_ms) >= i64::from(txn.timeout_ms)
        })
    }
}

fn standing_v2(txn: &Txn, asked: Producer) -> Result<Standing, Refusal> {
    let same = asked.epoch == txn.producer.epoch;
    let repeats_over_rotation = txn.previous_producer_id == asked.id
        && asked.epoch == LAST_USED_EPOCH
        && txn.producer.epoch == 0
        && txn.producer.id != asked.id;
    let repeats_over_bump = asked.epoch.checked_add(1) == Some(txn.producer.epoch);
    if txn.producer.id != asked.id && !repeats_over_rotation {
        return Err(ErrorCode::InvalidProducerIdMapping.into());
    }
    // The same epoch is the next transaction's end, never a repetition of the last one's.
    let valid = match txn.state {
        TxnState::PrepareCommit | TxnState::PrepareAbort => repeats_over_bump,
        TxnState::CompleteCommit | TxnState::CompleteAbort => {
            same || repeats_over_bump || repeats_over_rotation
        }
        _ => same,
    };
    Ok(Standing { repeats: repeats_over_bump || repeats_over_rotation, valid })
}

fn standing_v0(txn: &Txn, asked: Producer) -> Result<Standing, Refusal> {
    if txn.producer.id != asked.id {
        return Err(ErrorCode::InvalidProducerIdMapping.into());
    }
    Ok(Standing { repeats: false, valid: asked.epoch == txn.producer.epoch })
}

fn prepared(
    txn: &Txn,
    commit: bool,
    version: i16,
    next_producer_id: i64,
    nothing_in_it: bool,
    now: Now,
) -> Txn {
    let (epoch, last_epoch) = if version >= 2 {
        (txn.producer.epoch.saturating_add(1), txn.producer.epoch)
    } else {
        (txn.producer.epoch, txn.last_epoch)
    };
    Txn {
        producer: Producer { epoch, ..txn.producer },
        last_epoch,
        next_producer_id,
        state: if commit { TxnState::PrepareCommit } else { TxnState::PrepareAbort },
        start_ms: if nothing_in_it { now.wall_ms } else { txn.start_ms },
        update_ms: now.wall_ms,
        client_version: version,
        ..txn.clone()
    }
}
