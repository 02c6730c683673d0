//! Wakes the one reader of a queue.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// A wake-up that is kept until somebody waits for it; several are one.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    told: AtomicBool,
    waker: AtomicWaker,
}

impl Ready {
    /// Wakes whoever waits, or the next who does.
    pub(crate) fn notify_one(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Waits for the next wake-up. Only the last to wait is woken: a queue has one reader at a time.
    pub(crate) async fn notified(&self) {
        poll_fn(|cx| {
            if self.told.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            self.waker.register(cx.waker());
            if self.told.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
