//! Even and sticky, for members that all subscribe to the same topics.

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::Uuid;

use super::{Assignment, GroupSpec};

pub(super) fn assign(spec: &GroupSpec) -> BTreeMap<String, Assignment> {
    let Some(first) = spec.members.values().next() else { return BTreeMap::new() };
    let topics = &first.topics;
    let taken: BTreeSet<(Uuid, i32)> = spec
        .members
        .values()
        .flat_map(|member| member.assigned.iter())
        .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (*topic, *partition)))
        .collect();
    let all = topics.iter().flat_map(|topic| (0..spec.partitions_of(*topic)).map(|index| (*topic, index)));
    let mut free: Vec<(Uuid, i32)> = all.clone().filter(|place| !taken.contains(place)).collect();
    let total = all.count();
    let quota_min = total / spec.members.len();
    let mut extras = total % spec.members.len();

    let mut result = BTreeMap::new();
    let mut unfilled = Vec::new();
    for (id, member) in &spec.members {
        let mut quota = quota_min + usize::from(extras > 0);
        extras = extras.saturating_sub(1);
        let mut kept = Assignment::new();
        for (topic, partitions) in member.assigned.iter().filter(|(topic, _)| topics.contains(*topic)) {
            let exists = |index: &&i32| **index < spec.partitions_of(*topic);
            for index in partitions.iter().filter(exists) {
                if quota > 0 {
                    quota -= 1;
                    kept.entry(*topic).or_default().insert(*index);
                } else {
                    free.push((*topic, *index));
                }
            }
        }
        if quota > 0 {
            unfilled.push((id.clone(), quota));
        }
        result.insert(id.clone(), kept);
    }
    let mut free = free.into_iter();
    for (id, quota) in unfilled {
        let Some(assignment) = result.get_mut(&id) else { continue };
        for (topic, index) in free.by_ref().take(quota) {
            assignment.entry(topic).or_default().insert(index);
        }
    }
    result
}
