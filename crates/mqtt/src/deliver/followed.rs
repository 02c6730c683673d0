//! Where a consumer stands in one partition.

use std::sync::Arc;

use super::partition::Partition;

/// Where a consumer stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The tail feeds it with records from this offset on.
    Live { from: i64 },
    /// It reads on its own; this offset is next.
    Behind { next: i64 },
}

/// Next offset of a partition of which only the QoS 2 floor is known.
pub(super) const NO_CURSOR: i64 = -1;

#[derive(Debug)]
pub(super) struct Followed {
    pub(super) partition: Arc<Partition>,
    pub(super) mode: Mode,
    /// Last offset the tail put into the queue.
    pub(super) last_pushed: i64,
    /// QoS 0 messages before this are history and not delivered.
    pub(super) qos0_from: i64,
    /// QoS 2 messages before this were delivered already or are in flight.
    pub(super) qos2_from: i64,
    /// Whether it counts among the partition's followers.
    pub(super) follows: bool,
}

impl Followed {
    /// The next offset the consumer needs.
    pub(super) fn next(&self) -> i64 {
        match self.mode {
            // The record the tail works on may not have reached this consumer yet.
            Mode::Live { from } => from.max(self.partition.position()).max(self.last_pushed + 1),
            Mode::Behind { next } => next,
        }
    }

    pub(super) fn behind(partition: Arc<Partition>, next: i64, qos0_from: i64) -> Self {
        Self {
            partition,
            mode: Mode::Behind { next },
            last_pushed: -1,
            qos0_from,
            qos2_from: 0,
            follows: false,
        }
    }

    /// Lets the tail take over if it has not begun any record from the cursor on. The tail writes its position
    /// before it looks for consumers, and we hold the consumer's lock: a record it begins later finds us live.
    pub(super) fn join(&mut self) {
        if let Mode::Behind { next } = self.mode
            && self.partition.position() < next
        {
            self.mode = Mode::Live { from: next };
        }
    }
}
