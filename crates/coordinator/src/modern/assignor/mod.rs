//! The coordinator's own assignors, with the results of Kafka's: `uniform` and `range` for consumer groups, `simple`
//! for share groups. Where Kafka goes through members in the order of a hash table, these go by member id.

mod range;
mod simple;
#[cfg(test)]
mod tests;
mod uniform;
mod uniform_mixed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_codec::Uuid;

use super::member::Assignment;

/// Assigns each partition to one member: as even as can be, keeping what members have.
pub(crate) const UNIFORM: &str = "uniform";
/// Assigns runs of each topic's partitions, the same runs of all topics to the same member.
pub(crate) const RANGE: &str = "range";
/// Shares partitions among the members of a share group.
pub(crate) const SIMPLE: &str = "simple";

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberSpec {
    pub instance: Option<String>,
    /// Existing topics it subscribes to.
    pub topics: BTreeSet<Uuid>,
    /// Its part of the last target assignment.
    pub assigned: Arc<Assignment>,
}

/// What there is to assign.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupSpec {
    pub members: BTreeMap<String, MemberSpec>,
    /// Number of partitions of every topic anybody subscribes to.
    pub partitions: BTreeMap<Uuid, i32>,
}

impl GroupSpec {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut topics = self.members.values().map(|member| &member.topics);
        let Some(first) = topics.next() else { return true };
        topics.all(|others| others == first)
    }

    fn partitions_of(&self, topic: Uuid) -> i32 {
        self.partitions.get(&topic).copied().unwrap_or(0)
    }
}

/// Assigns with the assignor of this name; `None` if there is none.
pub(crate) fn assign(name: &str, spec: &GroupSpec) -> Option<BTreeMap<String, Assignment>> {
    match name {
        UNIFORM if spec.is_homogeneous() => Some(uniform::assign(spec)),
        UNIFORM => Some(uniform_mixed::assign(spec)),
        RANGE => Some(range::assign(spec)),
        SIMPLE => Some(simple::assign(spec)),
        _ => None,
    }
}
