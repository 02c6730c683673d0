//! Runs of partitions in the order of the members' names.

use std::collections::BTreeMap;

use kafka_codec::Uuid;

use super::{Assignment, GroupSpec, MemberSpec};

struct Topic {
    partitions: i32,
    subscribers: i32,
    /// First partition not yet given away.
    next: i32,
    /// Subscribers already served.
    served: i32,
}

pub(super) fn assign(spec: &GroupSpec) -> BTreeMap<String, Assignment> {
    let mut members: Vec<(&String, &MemberSpec)> = spec.members.iter().collect();
    // Static members first, by name: they keep their place when they come back under another id.
    members.sort_by_key(|(id, member)| match &member.instance {
        Some(instance) => (0, instance.as_str()),
        None => (1, id.as_str()),
    });
    let mut topics: BTreeMap<Uuid, Topic> = BTreeMap::new();
    for (_, member) in &members {
        for topic in &member.topics {
            let partitions = spec.partitions_of(*topic);
            let topic =
                topics.entry(*topic).or_insert(Topic { partitions, subscribers: 0, next: 0, served: 0 });
            topic.subscribers += 1;
        }
    }
    let mut result = BTreeMap::new();
    for (id, member) in members {
        let mut assignment = Assignment::new();
        for id in &member.topics {
            let Some(topic) = topics.get_mut(id) else { continue };
            let extra = i32::from(topic.served < topic.partitions % topic.subscribers);
            let end = (topic.next + topic.partitions / topic.subscribers + extra).min(topic.partitions);
            topic.served += 1;
            if topic.next < end {
                assignment.insert(*id, (topic.next..end).collect());
            }
            topic.next = end;
        }
        result.insert(id.clone(), assignment);
    }
    result
}
