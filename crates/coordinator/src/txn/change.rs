//! A decided change: what is to be written for it, and what is true afterwards.

use kafka_codec::EncodeError;

use super::record::txn_record;
use super::state::{NO_PRODUCER_ID, Producer, Txn, TxnPartition, TxnState};
use crate::output::{Now, Record};

/// The end of a transaction as its partitions are told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Markers {
    /// Producer id and the epoch that fences whatever comes late.
    pub producer: Producer,
    /// Commit, or abort.
    pub commit: bool,
    /// The partitions to tell.
    pub partitions: Vec<TxnPartition>,
}

/// A change of one transactional id. Append [`Change::records`] and [`Change::markers`] as one atomic step, then call
/// [`super::TxnShard::apply`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Change {
    /// Transactional id.
    pub transactional_id: String,
    /// What it goes through, in order; `None` = forgotten.
    steps: Vec<Option<Txn>>,
    /// What the transaction's partitions are told.
    pub markers: Option<Markers>,
}

impl Change {
    pub(crate) fn to(transactional_id: &str, txn: Option<Txn>) -> Self {
        Self { transactional_id: transactional_id.to_owned(), steps: vec![txn], markers: None }
    }

    /// The whole end of a transaction, from its decision (`prepared`) to its completion.
    pub(crate) fn ending(transactional_id: &str, prepared: Txn, now: Now) -> Self {
        let markers = markers_of(&prepared);
        let completed = completed(&prepared, now);
        Self {
            transactional_id: transactional_id.to_owned(),
            steps: vec![Some(prepared), Some(completed)],
            markers: Some(markers),
        }
    }

    /// The rest of an end that was decided before.
    pub(crate) fn completing(transactional_id: &str, prepared: &Txn, now: Now) -> Self {
        Self {
            transactional_id: transactional_id.to_owned(),
            steps: vec![Some(completed(prepared, now))],
            markers: Some(markers_of(prepared)),
        }
    }

    /// Only the decision, for when the partitions cannot all be told in the same step.
    pub fn decision_only(&self) -> Option<Self> {
        let prepared = self.steps.first()?.as_ref().filter(|txn| txn.state.is_ending())?;
        Some(Self::to(&self.transactional_id, Some(prepared.clone())))
    }

    /// Without markers: all partitions were told before.
    pub fn told(mut self) -> Self {
        self.markers = None;
        self
    }

    /// Records for the partition of `__transaction_state`, in order.
    ///
    /// # Errors
    /// A name is longer than the format allows.
    pub fn records(&self) -> Result<Vec<Record>, EncodeError> {
        self.steps.iter().map(|txn| txn_record(&self.transactional_id, txn.as_ref())).collect()
    }

    /// What is true afterwards.
    pub(crate) fn into_result(mut self) -> (String, Option<Txn>) {
        (self.transactional_id, self.steps.pop().flatten())
    }

    #[cfg(test)]
    pub(crate) fn result(&self) -> Option<&Txn> {
        self.steps.last()?.as_ref()
    }
}

fn markers_of(prepared: &Txn) -> Markers {
    Markers {
        producer: prepared.producer,
        commit: prepared.state == TxnState::PrepareCommit,
        partitions: prepared.partitions.iter().cloned().collect(),
    }
}

/// The transaction after its end: with a fresh producer id, if the old one's epochs are used up.
fn completed(prepared: &Txn, now: Now) -> Txn {
    let state = match prepared.state {
        TxnState::PrepareCommit => TxnState::CompleteCommit,
        _ => TxnState::CompleteAbort,
    };
    let rotates = prepared.bumps_epochs() && prepared.next_producer_id != NO_PRODUCER_ID;
    let (producer, previous_producer_id) = if rotates {
        (Producer { id: prepared.next_producer_id, epoch: 0 }, prepared.producer.id)
    } else {
        (prepared.producer, prepared.previous_producer_id)
    };
    Txn {
        producer,
        previous_producer_id,
        next_producer_id: NO_PRODUCER_ID,
        state,
        partitions: std::collections::BTreeSet::new(),
        update_ms: now.wall_ms,
        ..prepared.clone()
    }
}
