//! Share groups' records (KIP-932): which records of a partition are out with which member, how often they were, which
//! are done with; what of it is stored; and who fetches. (Membership: `crate::modern`.)
//!
//! [`SharePartition`] is one partition as one group works on it, in memory. What an acknowledgement changes comes out as
//! an [`Outcome`]; the runtime has [`ShareStateShard`] turn it into a record of `__share_group_state`, appends that and
//! answers the member when it is durable. Acquisitions are not stored: after a restart their records are available
//! again. [`ShareSessions`] remembers what each member fetches from (KIP-932's share sessions).
//!
//! All three are pure: no log, no clock, no socket.

mod partition;
mod runs;
mod sessions;
mod state;
#[cfg(test)]
mod tests;

pub use partition::{AckBatch, AckType, AcquireOrder, Acquired, Outcome, SharePartition, Undo};
pub use sessions::{FetchOpened, ShareSessions, TopicPartitionId};
pub use state::{
    ReadState, ShareKey, ShareState, ShareStateShard, StateChange, StateSummary, StateWrite, UNINITIALIZED,
};

use kafka_codec::ErrorCode;

/// Why something is refused: a code, and words where Kafka has some of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareRefusal {
    /// Code for the client.
    pub code: ErrorCode,
    /// Words for the client.
    pub message: &'static str,
}

impl ShareRefusal {
    pub(crate) fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message }
    }
}

impl From<ErrorCode> for ShareRefusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: code.message() }
    }
}

/// Limits of a share group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareLimits {
    /// `group.share.partition.max.record.locks`: offsets between the first that is not done with and the last that was
    /// out. Whole batches may exceed it.
    pub in_flight_max: i64,
    /// `group.share.delivery.count.limit`.
    pub deliveries_max: i16,
    /// `group.share.record.lock.duration.ms`.
    pub lock_ms: i64,
    /// `share.renew.acknowledge.enable`.
    pub may_renew: bool,
}

/// A run of offsets in one state, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBatch {
    /// First offset.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// State.
    pub state: DeliveryState,
    /// Deliveries.
    pub deliveries: i16,
}

/// What became of a record, as it is stored; what is out with a member is stored as available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be delivered.
    Available,
    /// Accepted.
    Acknowledged,
    /// Given up: rejected, delivered too often, or not there.
    Archived,
}

impl DeliveryState {
    /// The state of a number in a record or request. 1 (acquired) is never stored, and reads as available.
    pub fn from_wire(number: i8) -> Self {
        match number {
            2 => Self::Acknowledged,
            4 => Self::Archived,
            _ => Self::Available,
        }
    }

    /// Its number.
    pub fn wire(self) -> i8 {
        match self {
            Self::Available => 0,
            Self::Acknowledged => 2,
            Self::Archived => 4,
        }
    }
}
