//! A share partition at work.

use std::sync::Arc;

use coordinator::ErrorCode;
use coordinator::share::{
    AckBatch, AcquireOrder, Acquired, Outcome, ShareKey, ShareLimits, SharePartition, ShareRefusal,
    ShareState, StateWrite,
};
use parking_lot::Mutex;

use super::store::Store;
use crate::replica::Partition;
use crate::replica::waiters::Waiters;
use crate::state_topic::Written;

/// A partition as one group works on it.
pub(crate) struct Live {
    /// Group, topic, partition.
    pub(crate) key: ShareKey,
    /// The partition whose records are handed out.
    pub(crate) partition: Arc<Partition>,
    store: Arc<Store>,
    state_epoch: i32,
    work: Mutex<Work>,
    /// Fetches that wait for something to be had.
    pub(crate) waiters: Waiters,
}

struct Work {
    share: SharePartition,
    /// Its state is not this any more.
    closed: bool,
    /// The deadline the task knows of.
    armed_ms: Option<i64>,
}

/// Nobody works on this share partition any more: its topic or group is gone, or it was set anew.
const CLOSED: ErrorCode = ErrorCode::UnknownTopicOrPartition;

impl Live {
    pub(super) fn new(
        key: ShareKey,
        partition: Arc<Partition>,
        store: Arc<Store>,
        state: &ShareState,
    ) -> Self {
        let share = SharePartition::restore(state.start_offset, &state.batches);
        Self {
            key,
            partition,
            store,
            state_epoch: state.state_epoch,
            work: Mutex::new(Work { share, closed: false, armed_ms: None }),
            waiters: Waiters::default(),
        }
    }

    pub(super) fn close(&self) {
        self.work.lock().closed = true;
        self.waiters.wake_all();
    }

    /// The deadline that is to be told to the task: the next one, unless the task knows of it.
    pub(super) fn arm(&self) -> Option<i64> {
        let mut work = self.work.lock();
        let next = work.share.next_expiry_ms().filter(|_| !work.closed)?;
        if work.armed_ms.is_some_and(|armed| armed <= next) {
            return None;
        }
        work.armed_ms = Some(next);
        Some(next)
    }

    /// Where to read next; `None` while nothing is to be had. `log_start` is where the log begins.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION: nobody works on this any more.
    pub(super) fn next_fetch_offset(
        &self,
        log_start: i64,
        limits: &ShareLimits,
    ) -> Result<Option<i64>, ErrorCode> {
        let mut work = self.work.lock();
        if work.closed {
            return Err(CLOSED);
        }
        work.share.log_starts_at(log_start);
        Ok(work.share.next_fetch_offset(limits))
    }

    /// Gives a member what was read.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION: nobody works on this any more.
    pub(super) fn acquire(
        &self,
        member: &Arc<str>,
        batches: &[(i64, i64)],
        order: &AcquireOrder,
        now_ms: i64,
        limits: &ShareLimits,
    ) -> Result<Vec<Acquired>, ErrorCode> {
        let mut work = self.work.lock();
        if work.closed {
            return Err(CLOSED);
        }
        Ok(work.share.acquire(member, batches, order, now_ms, limits))
    }

    /// Takes what was just given to a member out of circulation.
    pub(super) fn archive(&self, member: &str, first: i64, last: i64) {
        self.work.lock().share.archive(member, first, last);
    }

    /// Takes a member's word; answers what must be durable before the member is told so.
    ///
    /// # Errors
    /// What the member is told.
    pub(crate) fn acknowledge(
        &self,
        member: &Arc<str>,
        batches: &[AckBatch],
        now_ms: i64,
        limits: &ShareLimits,
    ) -> Result<Option<Written>, ShareRefusal> {
        let mut work = self.work.lock();
        if work.closed {
            return Err(CLOSED.into());
        }
        let outcome = work.share.acknowledge(member, batches, now_ms, limits)?;
        let written = self.settle(&mut work, outcome)?;
        drop(work);
        self.waiters.wake_all();
        Ok(written)
    }

    /// A member's session is over.
    pub(super) fn release(&self, member: &str, limits: &ShareLimits) {
        self.give_back(|share| share.release(member, limits));
    }

    /// Locks have run out.
    pub(super) fn expire(&self, now_ms: i64, limits: &ShareLimits) {
        self.work.lock().armed_ms = None;
        self.give_back(|share| share.expire(now_ms, limits));
    }

    fn give_back(&self, free: impl FnOnce(&mut SharePartition) -> Outcome) {
        let mut work = self.work.lock();
        if work.closed {
            return;
        }
        let outcome = free(&mut work.share);
        if !outcome.dirty {
            return;
        }
        // What cannot be stored is given back all the same: after a restart it is available, too.
        if let Err(refusal) = self.store(&work, &outcome) {
            tracing::warn!(
                group = self.key.group, topic = %self.partition.topic, partition = self.partition.index,
                code = ?refusal.code, "records given back are not stored as such"
            );
        }
        drop(work);
        self.waiters.wake_all();
    }

    fn settle(&self, work: &mut Work, outcome: Outcome) -> Result<Option<Written>, ShareRefusal> {
        if !outcome.dirty {
            return Ok(None);
        }
        match self.store(work, &outcome) {
            Ok(written) => Ok(Some(written)),
            Err(refusal) => {
                work.share.revert(outcome.undo);
                Err(refusal)
            }
        }
    }

    /// Appends what changed.
    fn store(&self, _under_lock: &Work, outcome: &Outcome) -> Result<Written, ShareRefusal> {
        let write = StateWrite {
            state_epoch: self.state_epoch,
            leader_epoch: self.partition.leader_epoch(),
            start_offset: outcome.start,
            completed: i32::try_from(outcome.completed).unwrap_or(i32::MAX),
            batches: outcome.changed.clone(),
        };
        let now_ms = crate::api::now_ms();
        self.store.with(|stored| {
            let change = stored.write(&self.key, &write, now_ms)?;
            self.store.append(stored, change, now_ms)
        })
    }
}
