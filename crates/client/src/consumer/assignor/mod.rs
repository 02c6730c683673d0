//! Dividing partitions among the members of a group, as Kafka's Java assignors do.
//!
//! Pure: the leader of a group calls [`assign`] with what the members sent. Racks are not considered (KIP-881).

mod simple;
mod sticky;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::door::TopicPartition;

/// What a member of the group told the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Member id.
    pub(crate) member_id: String,
    /// `group.instance.id`, if static.
    pub(crate) group_instance_id: Option<String>,
    /// Topics it wants.
    pub(crate) topics: BTreeSet<String>,
    /// Partitions it holds (cooperative) or held before it joined (sticky).
    pub(crate) owned: Vec<TopicPartition>,
    /// Generation in which it got them, −1 when unknown.
    pub(crate) generation: i32,
}

impl Subscription {
    /// Java's order of members: static ones first, by instance id, then the others by member id.
    fn order(&self, other: &Self) -> Ordering {
        match (&self.group_instance_id, &other.group_instance_id) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.member_id.cmp(&other.member_id),
        }
    }
}

/// Partitions by member id; every member is in it.
pub(crate) type Assignment = BTreeMap<String, Vec<TopicPartition>>;

/// Divides the partitions of the topics (name → partition count) that anybody subscribed to.
pub(crate) fn assign(
    kind: AssignorKind,
    partitions: &BTreeMap<String, i32>,
    members: &[Subscription],
) -> Assignment {
    match kind {
        AssignorKind::Range => simple::range(partitions, members),
        AssignorKind::RoundRobin => simple::round_robin(partitions, members),
        AssignorKind::Sticky => sticky::assign(partitions, members),
        AssignorKind::CooperativeSticky => {
            sticky::without_transfers(sticky::assign(partitions, members), members)
        }
    }
}

/// User data of the sticky assignor: what the member held, and since when (Java's
/// `StickyAssignor.STICKY_ASSIGNOR_USER_DATA_V1`).
pub(crate) fn sticky_user_data(held: &[TopicPartition], generation: i32) -> Bytes {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in held {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let mut out = Vec::new();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes();
    out.extend(count(topics.len()));
    for (topic, partitions) in topics {
        out.extend(u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(topic.as_bytes());
        out.extend(count(partitions.len()));
        out.extend(partitions.iter().flat_map(|p| p.to_be_bytes()));
    }
    out.extend(generation.to_be_bytes());
    Bytes::from(out)
}

/// Reads what [`sticky_user_data`] or Java wrote; version 0 has no generation. `None` for anything else.
pub(crate) fn read_sticky_user_data(data: &[u8]) -> Option<(Vec<TopicPartition>, i32)> {
    let mut rest = data;
    let mut held = Vec::new();
    for _ in 0..take_i32(&mut rest)?.max(0) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        let topic: std::sync::Arc<str> = std::str::from_utf8(name).ok()?.into();
        for _ in 0..take_i32(&mut rest)?.max(0) {
            held.push(TopicPartition::new(std::sync::Arc::clone(&topic), take_i32(&mut rest)?));
        }
    }
    let generation = if rest.is_empty() { -1 } else { take_i32(&mut rest)? };
    Some((held, generation))
}

/// User data of the cooperative sticky assignor: the generation alone.
pub(crate) fn cooperative_user_data(generation: i32) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// Reads what [`cooperative_user_data`] or Java wrote.
pub(crate) fn read_cooperative_user_data(mut data: &[u8]) -> Option<i32> {
    take_i32(&mut data)
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

/// The assignors, by `partition.assignment.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignorKind {
    /// `range`: consecutive partitions of each topic.
    Range,
    /// `roundrobin`: all partitions dealt in turn.
    RoundRobin,
    /// `sticky`: balanced, moving as little as possible.
    Sticky,
    /// `cooperative-sticky`: the same, handing partitions over in two steps without stopping the rest.
    CooperativeSticky,
}

impl AssignorKind {
    /// Reads a class name of Kafka or the protocol's name.
    pub fn from_name(name: &str) -> Option<Self> {
        let short = name.trim_start_matches("class ").rsplit('.').next().unwrap_or(name);
        Some(match short {
            "range" | "RangeAssignor" => Self::Range,
            "roundrobin" | "RoundRobinAssignor" => Self::RoundRobin,
            "sticky" | "StickyAssignor" => Self::Sticky,
            "cooperative-sticky" | "CooperativeStickyAssignor" => Self::CooperativeSticky,
            _ => return None,
        })
    }

    /// The name in the group protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }
}
