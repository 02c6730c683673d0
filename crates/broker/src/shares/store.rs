//! One partition of `__share_group_state`: what it stores, and the lock around it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coordinator::ErrorCode;
use coordinator::share::{ShareKey, ShareRefusal, ShareState, ShareStateShard, StateChange};
use kafka_codec::Uuid;
use kafka_codec::records::{BatchBuilder, Compression};
use log::{AppendBatches, LogError};

use crate::replica::Partition;
use crate::state_topic::{self, Gate, Written, to_client};

/// The state of the share partitions of one partition of the topic.
pub(crate) struct Store {
    partition: Arc<Partition>,
    gate: Gate<ShareStateShard>,
}

impl Store {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self { partition, gate: Gate::new() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    pub(super) async fn wait_loaded(&self, patience: Duration) -> bool {
        self.gate.wait_loaded(patience).await
    }

    pub(super) fn close(&self, error: ErrorCode) {
        self.gate.close(error);
    }

    /// Reads the partition.
    pub(super) fn load(&self, updates_per_snapshot: i32) {
        let mut stored = ShareStateShard::new(updates_per_snapshot);
        let replayed = self.partition.log().and_then(|log| {
            state_topic::replay(log, |batch, record, key| {
                if batch.is_control() { Ok(()) } else { stored.replay(record.offset, key, record.value) }
            })
        });
        match replayed {
            Ok(()) => self.gate.open(stored),
            Err(error) => {
                tracing::error!(
                    topic = %self.partition.topic, partition = self.partition.index, %error,
                    "share groups' state in this partition cannot be loaded and is offline"
                );
                self.gate.close(ErrorCode::NotCoordinator);
            }
        }
    }

    /// Looks at, or changes, what is stored.
    ///
    /// # Errors
    /// What `work` says, or why there is nothing to look at.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut ShareStateShard) -> Result<T, ShareRefusal>,
    ) -> Result<T, ShareRefusal> {
        self.gate.with(work)
    }

    /// Appends a change and applies it.
    ///
    /// # Errors
    /// The log does not take it; nothing is changed.
    pub(crate) fn append(
        &self,
        stored: &mut ShareStateShard,
        change: StateChange,
        now_ms: i64,
    ) -> Result<Written, ShareRefusal> {
        let mut batch = BatchBuilder::new(Compression::None);
        batch
            .push(now_ms, Some(&change.record.key), change.record.value.as_deref(), std::iter::empty())
            .map_err(|_| ErrorCode::UnknownServerError)?;
        let bytes = batch.build().map_err(|_| ErrorCode::UnknownServerError)?;
        let batches = AppendBatches::coordinator(bytes.into(), self.partition.leader_epoch());
        let refused = |error: LogError| {
            self.partition.report_refusal(&error);
            ShareRefusal::from(to_client(&error))
        };
        let appended = self.partition.log().and_then(|log| log.append(batches)).map_err(refused)?;
        stored.apply(change, appended.base_offset);
        Ok((Arc::clone(&self.partition), appended.last_offset))
    }

    /// Initializes a share partition.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn initialize(
        &self,
        key: &ShareKey,
        epoch: i32,
        start: i64,
        now_ms: i64,
    ) -> Result<(ShareState, Written), ShareRefusal> {
        self.with(|stored| {
            let change = stored.initialize(key, epoch, start, now_ms)?;
            let written = self.append(stored, change, now_ms)?;
            let state = stored.get(key).cloned().ok_or(ErrorCode::UnknownServerError)?;
            Ok((state, written))
        })
    }

    /// Forgets a share partition; `None` when nothing is known of it.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn delete(&self, key: &ShareKey) -> Result<Option<Written>, ShareRefusal> {
        self.with(|stored| {
            let change = stored.delete(key);
            change.map(|change| self.append(stored, change, crate::api::now_ms())).transpose()
        })
    }

    /// Forgets what belongs to deleted topics.
    pub(super) fn topics_deleted(&self, gone: &BTreeSet<Uuid>) {
        let forgotten = self.with(|stored| {
            for change in stored.of_topics(|topic| gone.contains(&topic)) {
                self.append(stored, change, crate::api::now_ms())?;
            }
            Ok(())
        });
        // State of topic ids that are no more is of no harm.
        let _ = forgotten;
    }

    /// Writes new snapshots of what is older than `age_ms`, and deletes the log before all that is needed.
    pub(super) fn prune(&self, age_ms: i64, at_most: usize, now_ms: i64) {
        let Ok(log) = self.partition.log() else { return };
        let needed = self.with(|stored| {
            // Only where there is something to gain: more records than states.
            if stored.needed_from(log.log_end()) > log.log_start() || stored.has_updates() {
                for change in stored.cold(age_ms, now_ms, at_most) {
                    self.append(stored, change, now_ms)?;
                }
            }
            Ok(stored.needed_from(log.log_end()))
        });
        let Ok(needed) = needed else { return };
        // A snapshot counts when it is durable.
        let needed = needed.min(log.high_watermark());
        if needed > log.log_start()
            && let Err(error) = log.delete_records_before(needed)
        {
            tracing::warn!(partition = %log.partition(), %error, "share groups' state is not pruned");
        }
    }
}
