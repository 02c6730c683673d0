//! Sticky: as balanced as the subscriptions allow, moving as little as possible.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Assignment, Subscription};
use crate::door::TopicPartition;

/// Balances all partitions; what a member held stays with it as far as balance allows.
pub(super) fn assign(partitions: &BTreeMap<String, i32>, members: &[Subscription]) -> Assignment {
    let owned = valid_owned(partitions, members);
    let same = members.windows(2).all(|pair| match pair {
        [a, b] => a.topics == b.topics,
        _ => true,
    });
    if same { equal_subscriptions(partitions, members, owned) } else { general(partitions, members, owned) }
}

/// Takes out of an assignment what another member still holds: that one must give it up first, which starts the
/// next rebalance (KIP-429).
pub(super) fn without_transfers(mut assignment: Assignment, members: &[Subscription]) -> Assignment {
    let mut holders: HashMap<&TopicPartition, HashSet<&str>> = HashMap::new();
    for member in members {
        for partition in &member.owned {
            holders.entry(partition).or_default().insert(&member.member_id);
        }
    }
    for (member, assigned) in &mut assignment {
        assigned.retain(|p| match holders.get(p) {
            Some(holders) => holders.contains(member.as_str()),
            None => true,
        });
    }
    assignment
}

/// What each member may claim: subscribed, existing partitions of its newest generation that nobody of the
/// same or a newer generation claims too.
fn valid_owned(partitions: &BTreeMap<String, i32>, members: &[Subscription]) -> Assignment {
    let mut newest: HashMap<&TopicPartition, (i32, Option<&str>)> = HashMap::new();
    for member in members {
        for partition in &member.owned {
            let exists =
                partitions.get(&*partition.topic).is_some_and(|&n| (0..n).contains(&partition.partition));
            if !exists || !member.topics.contains(&*partition.topic) {
                continue;
            }
            let claim = (member.generation, Some(member.member_id.as_str()));
            newest
                .entry(partition)
                .and_modify(|best| {
                    if best.0 < member.generation {
                        *best = claim;
                    } else if best.0 == member.generation && best.1 != claim.1 {
                        // Two members of one generation cannot both hold it: neither is believed.
                        best.1 = None;
                    }
                })
                .or_insert(claim);
        }
    }
    let mut owned: Assignment = members.iter().map(|m| (m.member_id.clone(), Vec::new())).collect();
    for (partition, (_, member)) in newest {
        if let Some(list) = member.and_then(|m| owned.get_mut(m)) {
            list.push(partition.clone());
        }
    }
    for list in owned.values_mut() {
        list.sort();
    }
    owned
}

/// Partitions in order of topic and index, without those in `taken`.
fn unassigned(
    partitions: &BTreeMap<String, i32>,
    wanted: &BTreeSet<&String>,
    taken: &HashSet<TopicPartition>,
) -> Vec<TopicPartition> {
    let mut list = Vec::new();
    for (topic, &count) in partitions.iter().filter(|(topic, _)| wanted.contains(topic)) {
        let name: Arc<str> = topic.as_str().into();
        let all = (0..count).map(|p| TopicPartition::new(Arc::clone(&name), p));
        list.extend(all.filter(|p| !taken.contains(p)));
    }
    list
}

/// Everybody wants the same topics: each member ends with the quota or one more.
fn equal_subscriptions(
    partitions: &BTreeMap<String, i32>,
    members: &[Subscription],
    owned: Assignment,
) -> Assignment {
    let wanted: BTreeSet<&String> = members.iter().flat_map(|m| &m.topics).collect();
    let total: usize = partitions
        .iter()
        .filter(|(topic, _)| wanted.contains(topic))
        .map(|(_, &n)| usize::try_from(n).unwrap_or_default())
        .sum();
    let count = members.len().max(1);
    let (quota, mut extra) = (total / count, total % count);

    let mut assignment = Assignment::new();
    for (member, mut held) in owned {
        let keep = if held.len() > quota && extra > 0 {
            extra -= 1;
            quota + 1
        } else {
            quota
        };
        held.truncate(keep);
        assignment.insert(member, held);
    }
    let taken: HashSet<TopicPartition> = assignment.values().flatten().cloned().collect();
    let mut free = unassigned(partitions, &wanted, &taken).into_iter();

    // Deal one at a time, as Java does, so that every member gets some of each topic.
    let names: Vec<String> = assignment.keys().cloned().collect();
    for limit in [quota, quota + 1] {
        loop {
            let mut dealt = false;
            for name in &names {
                let Some(held) = assignment.get_mut(name) else { continue };
                if held.len() >= limit {
                    continue;
                }
                let Some(partition) = free.next() else { break };
                held.push(partition);
                dealt = true;
            }
            if !dealt {
                break;
            }
        }
    }
    assignment
}

/// Subscriptions differ: give each free partition to the least loaded member that wants it, then move
/// partitions while a move makes two members more equal.
fn general(partitions: &BTreeMap<String, i32>, members: &[Subscription], owned: Assignment) -> Assignment {
    let mut takers: HashMap<&str, Vec<&str>> = HashMap::new();
    for member in members {
        for topic in &member.topics {
            takers.entry(topic).or_default().push(&member.member_id);
        }
    }
    for list in takers.values_mut() {
        list.sort_unstable();
    }
    let wanted: BTreeSet<&String> = members.iter().flat_map(|m| &m.topics).collect();
    let mut assignment = owned;
    let taken: HashSet<TopicPartition> = assignment.values().flatten().cloned().collect();
    let mut free = unassigned(partitions, &wanted, &taken);
    // The pickiest topics first: they have the fewest members to go to.
    free.sort_by_key(|p| takers.get(&*p.topic).map_or(0, Vec::len));
    for partition in free {
        let least = takers
            .get(&*partition.topic)
            .and_then(|list| list.iter().min_by_key(|m| assignment.get(**m).map_or(0, Vec::len)));
        if let Some(held) = least.and_then(|m| assignment.get_mut(*m)) {
            held.push(partition);
        }
    }
    balance(&mut assignment, &takers);
    assignment
}

/// Each move lessens the sum of squared loads, so this ends.
fn balance(assignment: &mut Assignment, takers: &HashMap<&str, Vec<&str>>) {
    let mut order: Vec<TopicPartition> = assignment.values().flatten().cloned().collect();
    order.sort();
    let mut holder: HashMap<TopicPartition, String> = HashMap::new();
    for (member, held) in assignment.iter() {
        for partition in held {
            holder.insert(partition.clone(), member.clone());
        }
    }
    loop {
        let mut moved = false;
        for partition in &order {
            let Some(from) = holder.get(partition).cloned() else { continue };
            let Some(candidates) = takers.get(&*partition.topic) else { continue };
            let load = |member: &str| assignment.get(member).map_or(0, Vec::len);
            let Some(to) = candidates.iter().min_by_key(|m| load(m)).map(|m| (*m).to_owned()) else {
                continue;
            };
            if load(&from) <= load(&to) + 1 {
                continue;
            }
            if let Some(held) = assignment.get_mut(&from) {
                held.retain(|p| p != partition);
            }
            if let Some(held) = assignment.get_mut(&to) {
                held.push(partition.clone());
            }
            holder.insert(partition.clone(), to);
            moved = true;
        }
        if !moved {
            return;
        }
    }
}
