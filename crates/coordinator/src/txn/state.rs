//! What is known of one transactional id.

use std::collections::BTreeSet;
use std::sync::Arc;

/// No producer id.
pub(crate) const NO_PRODUCER_ID: i64 = -1;
/// No producer epoch.
pub(crate) const NO_EPOCH: i16 = -1;
/// From this epoch on an id is used up: the next change takes a fresh one. One epoch is left for fencing.
pub(crate) const LAST_USED_EPOCH: i16 = i16::MAX - 1;

/// States of a transactional id, by Kafka's names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TxnState {
    /// No transaction since the producer began.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// To be committed: decided, not yet told to all partitions.
    PrepareCommit,
    /// To be aborted: decided, not yet told to all partitions.
    PrepareAbort,
    /// The last transaction was committed.
    CompleteCommit,
    /// The last transaction was aborted.
    CompleteAbort,
    /// Forgotten.
    Dead,
    /// The producer is being fenced. Kafka passes through it in memory; here fencing is one step with the abort.
    PrepareEpochFence,
}

impl TxnState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// Its number in records.
    pub fn id(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
            Self::Dead => 6,
            Self::PrepareEpochFence => 7,
        }
    }

    /// The state with this number.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Its name in ListTransactions and DescribeTransactions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the end is decided and not yet told to all partitions.
    pub fn is_ending(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether no transaction is open or ending.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Epoch.
    pub epoch: i16,
}

/// A partition in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition index.
    pub partition: i32,
}

impl TxnPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// One transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    /// Producer id and epoch in use.
    pub producer: Producer,
    /// The producer id before this one, if the last change took a fresh one.
    pub previous_producer_id: i64,
    /// The producer id that follows when the transaction's end is complete, if this one is used up.
    pub next_producer_id: i64,
    /// The epoch before this one as its producer knows it; not in the log.
    pub last_epoch: i16,
    /// How long a transaction may stay open.
    pub timeout_ms: i32,
    /// State.
    pub state: TxnState,
    /// Partitions of the open (or ending) transaction.
    pub partitions: BTreeSet<TxnPartition>,
    /// Begin of the transaction, milliseconds since the epoch; -1 before the first.
    pub start_ms: i64,
    /// Last change, milliseconds since the epoch.
    pub update_ms: i64,
    /// Transaction version of the client (KIP-890): 2, or 0 for older protocols.
    pub client_version: i16,
    /// Begin of the transaction on the monotonic clock; not in the log.
    pub(crate) started_mono_ms: i64,
}

impl Txn {
    /// Whether the epochs of this producer id are used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.producer.epoch >= LAST_USED_EPOCH
    }

    /// Whether each end of a transaction moves the epoch on.
    pub(crate) fn bumps_epochs(&self) -> bool {
        self.client_version >= 2
    }
}
