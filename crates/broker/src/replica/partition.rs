//! One partition as this broker serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use log::{Log, LogError};
use meta::config::TopicConfig;

use super::waiters::{Waiters, WakeSlot};
use crate::local::batcher::Batcher;

/// One partition: its log, its leader epoch and those who wait for it.
pub(crate) struct Partition {
    /// Topic name.
    pub(crate) topic: Arc<str>,
    /// Partition index.
    pub(crate) index: i32,
    log: Result<Arc<Log>, LogError>,
    leader_epoch: AtomicI32,
    config: ArcSwap<TopicConfig>,
    /// Why it takes no appends any more.
    failure: parking_lot::Mutex<Option<LogError>>,
    pub(crate) waiters: Waiters,
    /// Records of the local door on their way in.
    pub(crate) batcher: Batcher,
    /// Second of the last report of a refused append.
    reported_s: AtomicI64,
}

impl Partition {
    pub(crate) fn new(
        topic: Arc<str>,
        index: i32,
        log: Result<Arc<Log>, LogError>,
        leader_epoch: i32,
        config: TopicConfig,
    ) -> Self {
        Self {
            topic,
            index,
            log,
            leader_epoch: AtomicI32::new(leader_epoch),
            config: ArcSwap::from_pointee(config),
            failure: parking_lot::Mutex::new(None),
            waiters: Waiters::default(),
            batcher: Batcher::default(),
            reported_s: AtomicI64::new(0),
        }
    }

    /// The log.
    ///
    /// # Errors
    /// Why it could not be opened (its files are damaged).
    pub(crate) fn log(&self) -> Result<&Arc<Log>, LogError> {
        self.log.as_ref().map_err(Clone::clone)
    }

    /// Leader epoch of this broker's leadership.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// The topic's settings.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// Replaces the topic's settings.
    pub(crate) fn set_config(&self, config: TopicConfig) {
        if let Ok(log) = &self.log {
            log.set_config(super::log_config(&config));
        }
        self.config.store(Arc::new(config));
    }

    /// Notes that the log failed for good and tells all who wait.
    pub(crate) fn fail(&self, error: LogError) {
        self.failure.lock().get_or_insert(error);
        self.waiters.wake_all();
    }

    /// Why it takes no appends any more, if so.
    pub(crate) fn failure(&self) -> Option<LogError> {
        self.failure.lock().clone()
    }

    /// Whether it takes no appends until the broker is started anew. (What it holds may still be read.)
    pub(crate) fn is_offline(&self) -> bool {
        self.log.is_err() || self.failure.lock().is_some()
    }

    /// Whether its topic was deleted. (A partition whose log failed can still be read.)
    pub(crate) fn is_deleted(&self) -> bool {
        matches!(*self.failure.lock(), Some(LogError::Closed(_)))
    }

    /// Tells the operator that appends are refused, at most once a second.
    pub(crate) fn report_refusal(&self, error: &LogError) {
        let now_s = crate::api::now_ms() / 1000;
        if self.reported_s.swap(now_s, Ordering::Relaxed) != now_s {
            tracing::error!(partition = %format_args!("{}-{}", self.topic, self.index), %error, "append refused");
        }
    }

    /// Waits until everything up to and including `offset` is on stable storage.
    ///
    /// # Errors
    /// The log failed before.
    pub(crate) async fn durable(&self, offset: i64) -> Result<(), LogError> {
        let log = self.log()?;
        if log.durable_end() > offset {
            return Ok(());
        }
        let slot = Arc::new(WakeSlot::default());
        self.waiters.wait_durable(offset, Arc::clone(&slot));
        std::future::poll_fn(|cx| {
            loop {
                if log.durable_end() > offset {
                    return Poll::Ready(Ok(()));
                }
                if let Some(failure) = self.failure() {
                    return Poll::Ready(Err(failure));
                }
                if slot.poll_woken(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}
