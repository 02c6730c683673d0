//! One partition of `__transaction_state`: its state machine and the lock around it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator::txn::{Change, Producer, TxnPartition, TxnShard};
use coordinator::{ErrorCode, Now};
use kafka_codec::records::{BatchBuilder, Compression};
use log::AppendBatches;
use tokio::sync::watch;

use crate::replica::Partition;
use crate::state_topic::{Gate, Written, to_client};

/// Transactional ids forgotten in one go; the rest follows with the next.
const EXPIRED_MAX: usize = 1_000;

/// The transactions of one partition.
pub(super) struct Shard {
    pub(super) partition: Arc<Partition>,
    gate: Gate<Open>,
    /// Counts ends of transactions that became durable.
    settled: watch::Sender<u64>,
}

/// A shard that answers.
pub(super) struct Open {
    pub(super) machine: TxnShard,
    /// Transactional ids whose end is in the log and not durable yet, or not told to the groups yet.
    settling: HashSet<String>,
    /// Of ends that cannot be told to all partitions at once: those that were told, durably.
    pub(super) told: BTreeMap<String, BTreeSet<TxnPartition>>,
}

impl Open {
    /// Whether the end of the last transaction is still on its way to stable storage.
    pub(super) fn is_settling(&self, transactional_id: &str) -> bool {
        self.settling.contains(transactional_id)
    }

    pub(super) fn settle(&mut self, transactional_id: &str) {
        self.settling.insert(transactional_id.to_owned());
    }
}

impl Shard {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self { partition, gate: Gate::new(), settled: watch::Sender::new(0) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Waits until the shard has left the loading phase; false if that takes too long.
    pub(super) async fn wait_loaded(&self, patience: Duration) -> bool {
        self.gate.wait_loaded(patience).await
    }

    /// Begins to answer.
    pub(super) fn begin(&self, machine: TxnShard) {
        self.gate.open(Open { machine, settling: HashSet::new(), told: BTreeMap::new() });
    }

    /// Gives the transactions up: whoever asks from now on is told `error`.
    pub(super) fn close(&self, error: ErrorCode) {
        self.gate.close(error);
        self.settled.send_modify(|count| *count += 1);
    }

    /// Runs `work` on the open state machine.
    pub(super) fn with_open<T>(
        &self,
        work: impl FnOnce(&mut Open) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.gate.with(work)
    }

    /// Waits until the end of the transaction before is durable; false if that takes too long.
    pub(super) async fn wait_settled(&self, transactional_id: &str, patience: Duration) -> bool {
        let mut settled = self.settled.subscribe();
        let waiting = async {
            loop {
                settled.borrow_and_update();
                let settling = self.with_open(|open| Ok(open.is_settling(transactional_id)));
                if !matches!(settling, Ok(true)) || settled.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// The end of a transaction is durable everywhere.
    pub(super) fn settled(&self, transactional_id: &str) {
        let _ = self.with_open(|open| {
            open.settling.remove(transactional_id);
            Ok(())
        });
        self.settled.send_modify(|count| *count += 1);
    }

    /// Everything written to this partition so far.
    pub(super) fn written(&self) -> Result<Written, ErrorCode> {
        let log = self.partition.log().map_err(|_| ErrorCode::NotCoordinator)?;
        Ok((Arc::clone(&self.partition), log.log_end() - 1))
    }

    /// Writes a change without markers.
    pub(super) fn write(&self, open: &mut Open, change: Change, now: Now) -> Result<Written, ErrorCode> {
        let batches = self.batch(&change, now)?;
        let log = self.partition.log().map_err(|error| to_client(&error))?;
        let appended = log.append(batches).map_err(|error| {
            self.partition.report_refusal(&error);
            to_client(&error)
        })?;
        open.machine.apply(change);
        Ok((Arc::clone(&self.partition), appended.last_offset))
    }

    /// The records of a change as a batch for this partition.
    pub(super) fn batch(&self, change: &Change, now: Now) -> Result<AppendBatches, ErrorCode> {
        let records = change.records().map_err(|_| ErrorCode::InvalidRequest)?;
        let mut batch = BatchBuilder::new(Compression::None);
        for record in &records {
            batch
                .push(now.wall_ms, Some(&record.key), record.value.as_deref(), std::iter::empty())
                .map_err(|_| ErrorCode::UnknownServerError)?;
        }
        let bytes = batch.build().map_err(|_| ErrorCode::UnknownServerError)?;
        Ok(AppendBatches::coordinator(bytes.into(), self.partition.leader_epoch()))
    }

    /// Adds partitions to the producer's transaction; answers what must be durable before they may be relied on.
    pub(super) fn add(
        &self,
        open: &mut Open,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TxnPartition],
        version: i16,
        now: Now,
    ) -> Result<Written, ErrorCode> {
        if open.is_settling(transactional_id) {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        match open.machine.add_partitions(transactional_id, producer, partitions, version, now)? {
            Some(change) => self.write(open, change, now),
            // Perhaps added a moment ago, and not durable yet.
            None => self.written(),
        }
    }

    /// Forgets transactional ids that nobody uses any more.
    pub(super) fn remove_expired(&self, now: Now) {
        let _ = self.with_open(|open| {
            for change in open.machine.expired(EXPIRED_MAX, now) {
                self.write(open, change, now)?;
            }
            Ok(())
        });
    }
}
