//! Classic consumer groups (KIP-62, 134, 345, 394, 814): the coordinator keeps the membership and the leader
//! among the members assigns.

mod group;
mod join;
mod leave;
mod member;
mod rebalance;
mod state;
mod sync;

pub use state::ClassicState;

pub(crate) use group::{CONSUMER_PROTOCOL, ClassicGroup};
pub(crate) use join::StaticReplacement;
pub(crate) use member::Member;
