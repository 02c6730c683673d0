//! Groups whose members heartbeat and whose assignments the coordinator makes: consumer groups (KIP-848), with
//! classic members among them while clients are upgraded, and share groups (KIP-932).
//!
//! A [`ModernGroup`] changes only by [`GroupChange`]s, each of which is one record: a handler computes from the group
//! as it is and emits changes; when the log has taken them they are applied, as they are when the log is replayed.

pub(crate) mod assignor;
mod change;
mod classic_member;
mod convert;
mod describe;
mod group;
mod heartbeat;
mod leave;
mod member;
mod reconcile;
mod regex;
mod share_topics;
mod target;
mod topics;

pub use member::Assignment;
pub use topics::{Topic, TopicCatalog};

pub(crate) use change::{GroupChange, Kind, is_change, parse, record};
pub(crate) use group::ModernGroup;
pub(crate) use member::MemberState;
#[cfg(test)]
pub(crate) use member::plain;
pub(crate) use topics::NoTopics;

use kafka_codec::ErrorCode;

/// Why a request is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
