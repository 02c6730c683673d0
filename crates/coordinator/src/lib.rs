//! Group, transaction and share coordinators as pure state machines: events in; records to append, replies and deadlines
//! out. (Transactions: [`txn`]; records of share groups: [`share`].)
//!
//! Duty: decide what Kafka's group coordinator decides. One [`GroupShard`] owns the groups of one partition of
//! `__consumer_offsets`; its records are in Kafka's own format, so that Kafka's tools read them, and
//! [`GroupShard::replay`] of them is the only way state comes back.
//!
//! Main types: [`GroupShard`], [`Request`] → [`Output`] with [`Reply`]s, [`GroupCoordinatorConfig`], [`Now`].
//!
//! Not its duty: files, sockets, clocks, randomness (all passed in), wire formats of requests (the broker
//! maps them), which partition a group belongs to.
//!
//! The rules between a shard and its runtime:
//! 1. One call at a time. After a call whose [`Output::records`] is not empty the runtime appends them as one
//!    atomic batch and says [`GroupShard::accepted`] or [`GroupShard::refused`] before any other call.
//! 2. [`Output::replies`] go out at once; [`Output::deferred`] when everything accepted so far is durable (at
//!    once, if all is). Then the runtime says [`GroupShard::durable`].
//! 3. The runtime calls [`GroupShard::tick`] at [`GroupShard::next_deadline_ms`].
//!
//! ```
//! use coordinator::{GroupCoordinatorConfig, GroupShard, Heartbeat, Now, Request, RequestId};
//! let mut shard = GroupShard::new(GroupCoordinatorConfig::default());
//! let beat = Heartbeat { group: "g".into(), member: "m".into(), instance: None, generation: 1 };
//! let out = shard.handle(RequestId(7), Request::Heartbeat(beat), Now { mono_ms: 0, wall_ms: 0 });
//! assert_eq!(out.replies[0].to, RequestId(7)); // and says UNKNOWN_MEMBER_ID
//! ```

mod admin;
mod classic;
mod commit;
mod config;
mod error;
mod modern;
mod offsets;
mod output;
mod pending;
mod records;
mod reply;
mod request;
mod shard;
pub mod share;
mod timers;
pub mod txn;

#[cfg(test)]
mod tests;

pub use classic::ClassicState;
pub use config::{GroupCoordinatorConfig, MigrationPolicy};
pub use error::CoordinatorError;
pub use kafka_codec::{ErrorCode, Uuid};
pub use modern::{Assignment, Topic, TopicCatalog};
pub use offsets::CommittedOffset;
pub use output::{Now, Output, Record, RequestId, Ticket};
pub use reply::*;
pub use request::*;
pub use shard::GroupShard;
