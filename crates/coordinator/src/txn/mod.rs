//! The transaction coordinator as a pure state machine.
//!
//! One [`TxnShard`] owns the transactional ids of one partition of `__transaction_state`. It never changes by being
//! asked: a question answers a [`Change`] (records for the partition, markers for the transaction's partitions), the
//! runtime appends all of it as one atomic step and only then says [`TxnShard::apply`]. So memory is never ahead of the
//! log's order, and a refused append leaves nothing to undo.
//!
//! Epochs follow KIP-890: with transaction version 2 every end of a transaction moves the producer's epoch on, so that
//! whatever arrives late is fenced; clients of older protocols keep their epoch.

mod change;
mod end;
mod record;
mod shard;
mod state;

#[cfg(test)]
mod tests;

pub use change::{Change, Markers};
pub use end::Ended;
pub use shard::{InitProducer, Initialised, ListTransactions, Refusal, TxnConfig, TxnShard};
pub use state::{Producer, Txn, TxnPartition, TxnState};
