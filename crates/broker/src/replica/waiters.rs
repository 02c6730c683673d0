//! Who waits for a partition to move on: producers for durability, readers for new records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// A place to be woken at. One reader may put the same one on many partitions.
#[derive(Debug, Default)]
pub(crate) struct WakeSlot {
    woken: AtomicBool,
    waker: AtomicWaker,
}

impl WakeSlot {
    /// Wakes whoever polls it.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready once, after each wake-up.
    pub(crate) fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        if self.woken.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.woken.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits for the next wake-up.
    pub(crate) async fn woken(&self) {
        std::future::poll_fn(|cx| self.poll_woken(cx)).await;
    }
}

/// The waiting list of one partition.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    /// Wants the durable end past its offset. Nearly sorted: appends register in order.
    durable: Vec<(i64, Arc<WakeSlot>)>,
    /// Wants anything new.
    readers: Vec<Arc<WakeSlot>>,
}

impl Waiters {
    /// Wakes `slot` once the durable end is past `offset`.
    pub(crate) fn wait_durable(&self, offset: i64, slot: Arc<WakeSlot>) {
        self.lists.lock().durable.push((offset, slot));
    }

    /// Wakes `slot` at the next change of what readers may see.
    pub(crate) fn wait_change(&self, slot: Arc<WakeSlot>) {
        self.lists.lock().readers.push(slot);
    }

    /// Takes a reader off the list again (its request was answered otherwise).
    pub(crate) fn forget(&self, slot: &Arc<WakeSlot>) {
        let mut lists = self.lists.lock();
        lists.readers.retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// The durable end is `end` now: wakes all whom that concerns.
    pub(crate) fn advanced(&self, end: i64) {
        let mut lists = self.lists.lock();
        let readers = std::mem::take(&mut lists.readers);
        let mut ready = Vec::new();
        lists.durable.retain(|(offset, slot)| {
            let waits = *offset >= end;
            if !waits {
                ready.push(Arc::clone(slot));
            }
            waits
        });
        drop(lists);
        for slot in ready.iter().chain(&readers) {
            slot.wake();
        }
    }

    /// Wakes everybody: the partition failed or goes away.
    pub(crate) fn wake_all(&self) {
        self.advanced(i64::MAX);
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let lists = self.lists.lock();
        lists.durable.len() + lists.readers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_those_reached_are_woken() {
        let waiters = Waiters::default();
        let slots: Vec<_> = (0..3).map(|_| Arc::new(WakeSlot::default())).collect();
        for (offset, slot) in slots.iter().enumerate() {
            waiters.wait_durable(offset as i64, Arc::clone(slot));
        }
        let reader = Arc::new(WakeSlot::default());
        waiters.wait_change(Arc::clone(&reader));
        waiters.advanced(2);
        slots[0].woken().await;
        slots[1].woken().await;
        reader.woken().await;
        assert!(futures_util::future::poll_immediate(std::pin::pin!(slots[2].woken())).await.is_none());
        assert_eq!(waiters.len(), 1);
        waiters.wake_all();
        slots[2].woken().await;
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn a_forgotten_reader_leaves_nothing_behind() {
        let waiters = Waiters::default();
        let reader = Arc::new(WakeSlot::default());
        waiters.wait_change(Arc::clone(&reader));
        waiters.forget(&reader);
        assert_eq!(waiters.len(), 0);
    }
}
