//! Range and round-robin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Assignment, Subscription};
use crate::door::TopicPartition;

/// Members in Java's order, and an empty assignment for each.
fn prepare(members: &[Subscription]) -> (Vec<&Subscription>, Assignment) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|a, b| a.order(b));
    (sorted, members.iter().map(|m| (m.member_id.clone(), Vec::new())).collect())
}

/// Consecutive partitions of each topic; the first members get one more where it does not divide evenly.
pub(super) fn range(partitions: &BTreeMap<String, i32>, members: &[Subscription]) -> Assignment {
    let (sorted, mut assignment) = prepare(members);
    for (topic, &count) in partitions {
        let takers: Vec<_> = sorted.iter().filter(|m| m.topics.contains(topic)).collect();
        let Ok(among) = i32::try_from(takers.len()) else { continue };
        if among == 0 {
            continue;
        }
        let name: Arc<str> = topic.as_str().into();
        let (each, extra) = (count / among, count % among);
        let mut start = 0;
        for (index, member) in (0..).zip(takers) {
            let end = start + each + i32::from(index < extra);
            if let Some(assigned) = assignment.get_mut(&member.member_id) {
                assigned.extend((start..end).map(|p| TopicPartition::new(Arc::clone(&name), p)));
            }
            start = end;
        }
    }
    assignment
}

/// All partitions of all topics in order, dealt to the members in order; who did not subscribe is passed over.
pub(super) fn round_robin(partitions: &BTreeMap<String, i32>, members: &[Subscription]) -> Assignment {
    let (sorted, mut assignment) = prepare(members);
    let wanted: BTreeSet<&String> = members.iter().flat_map(|m| &m.topics).collect();
    let mut turn = sorted.iter().cycle();
    for (topic, &count) in partitions.iter().filter(|(topic, _)| wanted.contains(topic)) {
        let name: Arc<str> = topic.as_str().into();
        for partition in 0..count {
            // Somebody subscribed, so this ends within one round.
            let Some(member) = turn.by_ref().find(|m| m.topics.contains(topic)) else { break };
            if let Some(assigned) = assignment.get_mut(&member.member_id) {
                assigned.push(TopicPartition::new(Arc::clone(&name), partition));
            }
        }
    }
    assignment
}
