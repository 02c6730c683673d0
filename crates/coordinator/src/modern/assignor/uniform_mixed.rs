//! Even and sticky, for members that subscribe to different topics: each topic's free partitions go to its least
//! loaded subscribers, then topics are gone through again and again, taking from the most loaded subscriber and giving
//! to the least loaded one, until nothing improves.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::Uuid;

use super::{Assignment, GroupSpec};

/// Rounds over all topics; Kafka's limit too.
const ROUNDS_MAX: usize = 16;

struct Builder<'a> {
    spec: &'a GroupSpec,
    /// Subscribers of a topic, as positions in `loads`.
    subscribers: BTreeMap<Uuid, Vec<usize>>,
    /// Partitions assigned to each member.
    loads: Vec<usize>,
    /// Owner of each partition of a topic.
    owners: BTreeMap<Uuid, Vec<Option<usize>>>,
}

pub(super) fn assign(spec: &GroupSpec) -> BTreeMap<String, Assignment> {
    let mut builder = Builder {
        spec,
        subscribers: BTreeMap::new(),
        loads: vec![0; spec.members.len()],
        owners: BTreeMap::new(),
    };
    for (at, member) in spec.members.values().enumerate() {
        for topic in &member.topics {
            builder.subscribers.entry(*topic).or_default().push(at);
            builder.owners.entry(*topic).or_insert_with(|| {
                vec![None; usize::try_from(spec.partitions_of(*topic)).unwrap_or_default()]
            });
        }
    }
    builder.keep();
    let topics = builder.sorted_topics();
    for topic in &topics {
        builder.assign_free(*topic);
    }
    builder.balance(&topics);
    builder.result()
}

impl Builder<'_> {
    /// Most partitions for each subscriber first, then fewest subscribers.
    fn sorted_topics(&self) -> Vec<Uuid> {
        let mut topics: Vec<(Uuid, usize, usize)> = self
            .subscribers
            .iter()
            .map(|(topic, subscribers)| {
                (*topic, self.owners.get(topic).map_or(0, Vec::len), subscribers.len())
            })
            .collect();
        topics.sort_by(|(a, a_partitions, a_subscribers), (b, b_partitions, b_subscribers)| {
            // a/as against b/bs, without fractions.
            let by_share = (b_partitions * a_subscribers).cmp(&(a_partitions * b_subscribers));
            by_share.then(a_subscribers.cmp(b_subscribers)).then(a.cmp(b))
        });
        topics.into_iter().map(|(topic, ..)| topic).collect()
    }

    fn keep(&mut self) {
        for (at, member) in self.spec.members.values().enumerate() {
            for (topic, partitions) in
                member.assigned.iter().filter(|(topic, _)| member.topics.contains(*topic))
            {
                for partition in partitions {
                    let slot = usize::try_from(*partition)
                        .ok()
                        .and_then(|index| self.owners.get_mut(topic)?.get_mut(index));
                    if let Some(slot @ None) = slot {
                        *slot = Some(at);
                        if let Some(load) = self.loads.get_mut(at) {
                            *load += 1;
                        }
                    }
                }
            }
        }
    }

    fn load(&self, member: usize) -> usize {
        self.loads.get(member).copied().unwrap_or_default()
    }

    fn give(&mut self, topic: Uuid, partition: usize, to: usize) {
        let Some(slot) = self.owners.get_mut(&topic).and_then(|owners| owners.get_mut(partition)) else {
            return;
        };
        if let Some(load) = slot.replace(to).and_then(|from| self.loads.get_mut(from)) {
            *load -= 1;
        }
        if let Some(load) = self.loads.get_mut(to) {
            *load += 1;
        }
    }

    fn assign_free(&mut self, topic: Uuid) {
        let free: Vec<usize> = self
            .owners
            .get(&topic)
            .into_iter()
            .flatten()
            .enumerate()
            .filter_map(|(index, owner)| owner.is_none().then_some(index))
            .collect();
        let mut by_load: BTreeSet<(usize, usize)> = self.by_load(topic);
        for partition in free {
            let Some((load, member)) = by_load.pop_first() else { return };
            self.give(topic, partition, member);
            by_load.insert((load + 1, member));
        }
    }

    fn by_load(&self, topic: Uuid) -> BTreeSet<(usize, usize)> {
        self.subscribers
            .get(&topic)
            .into_iter()
            .flatten()
            .map(|member| (self.load(*member), *member))
            .collect()
    }

    fn balance(&mut self, topics: &[Uuid]) {
        let shared: Vec<Uuid> = topics
            .iter()
            .copied()
            .filter(|topic| self.subscribers.get(topic).is_some_and(|subscribers| subscribers.len() > 1))
            .collect();
        for _ in 0..ROUNDS_MAX {
            let mut moved = 0;
            for topic in &shared {
                moved += self.balance_topic(*topic);
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// Moves partitions of one topic from its most to its least loaded subscribers; answers how many.
    fn balance_topic(&mut self, topic: Uuid) -> usize {
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, owner) in self.owners.get(&topic).into_iter().flatten().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(index);
            }
        }
        let mut by_load = self.by_load(topic);
        let mut moved = 0;
        // The most loaded subscriber that has something of this topic to give.
        while let Some((most, from)) = by_load
            .iter()
            .rev()
            .find(|(_, member)| owned.get(member).is_some_and(|partitions| !partitions.is_empty()))
            .copied()
        {
            let Some((least, to)) = by_load.first().copied() else { break };
            if most.cmp(&(least + 2)) == Ordering::Less {
                break;
            }
            let Some(partition) = owned.get_mut(&from).and_then(Vec::pop) else { break };
            self.give(topic, partition, to);
            owned.entry(to).or_default();
            by_load.remove(&(most, from));
            by_load.remove(&(least, to));
            by_load.insert((most - 1, from));
            by_load.insert((least + 1, to));
            moved += 1;
        }
        moved
    }

    fn result(&self) -> BTreeMap<String, Assignment> {
        let ids: Vec<&String> = self.spec.members.keys().collect();
        let mut result: BTreeMap<String, Assignment> =
            ids.iter().map(|id| ((*id).clone(), Assignment::new())).collect();
        for (topic, owners) in &self.owners {
            for (owner, index) in owners.iter().zip(0_i32..) {
                let member = owner.and_then(|at| ids.get(at)).and_then(|id| result.get_mut(*id));
                if let Some(assignment) = member {
                    assignment.entry(*topic).or_default().insert(index);
                }
            }
        }
        result
    }
}
