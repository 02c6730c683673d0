//! Share groups: every member works, every partition is worked on, and one partition may have several members.
//!
//! Members are dealt partitions in turn, `ceil(partitions / members)` each at most when there are more partitions
//! than members, otherwise each member one partition and each partition `floor` or `ceil` of members per partition.
//! What a member had is kept while that stays even.

use std::collections::BTreeMap;

use kafka_codec::Uuid;

use super::{Assignment, GroupSpec};

pub(super) fn assign(spec: &GroupSpec) -> BTreeMap<String, Assignment> {
    let mut result: BTreeMap<String, Assignment> =
        spec.members.keys().map(|id| (id.clone(), Assignment::new())).collect();
    // Members that subscribe to a topic share its partitions; with equal subscriptions all topics are one pool.
    if spec.is_homogeneous() {
        let members: Vec<&String> = spec.members.keys().collect();
        let topics = spec.members.values().next().map(|member| member.topics.clone()).unwrap_or_default();
        let pool: Vec<(Uuid, i32)> = topics
            .iter()
            .flat_map(|topic| (0..spec.partitions_of(*topic)).map(|index| (*topic, index)))
            .collect();
        deal(spec, &members, &pool, &mut result);
        return result;
    }
    let topics: std::collections::BTreeSet<Uuid> =
        spec.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    for topic in topics {
        let members: Vec<&String> = spec
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(&topic))
            .map(|(id, _)| id)
            .collect();
        let pool: Vec<(Uuid, i32)> = (0..spec.partitions_of(topic)).map(|index| (topic, index)).collect();
        deal(spec, &members, &pool, &mut result);
    }
    result
}

/// Deals `pool` to `members`.
fn deal(
    spec: &GroupSpec,
    members: &[&String],
    pool: &[(Uuid, i32)],
    result: &mut BTreeMap<String, Assignment>,
) {
    if members.is_empty() || pool.is_empty() {
        return;
    }
    let sharers_of_each = members.len().div_ceil(pool.len()).max(1);
    let mut sharers: BTreeMap<(Uuid, i32), usize> = pool.iter().map(|place| (*place, 0)).collect();
    let mut quota: Vec<usize> = Vec::with_capacity(members.len());
    // How many places each member gets: everybody at least one, and all places covered.
    let places = pool.len().max(members.len());
    for at in 0..members.len() {
        quota.push(places / members.len() + usize::from(at < places % members.len()));
    }
    let mut chosen: Vec<Vec<(Uuid, i32)>> = vec![Vec::new(); members.len()];
    for ((member, quota), chosen) in members.iter().zip(&quota).zip(&mut chosen) {
        let Some(member) = spec.members.get(*member) else { continue };
        for (topic, partitions) in member.assigned.iter() {
            for index in partitions {
                let place = (*topic, *index);
                if chosen.len() < *quota
                    && let Some(count) = sharers.get_mut(&place).filter(|count| **count < sharers_of_each)
                {
                    *count += 1;
                    chosen.push(place);
                }
            }
        }
    }
    // The least shared places first, so that none is left out.
    let mut by_sharers: std::collections::BTreeSet<(usize, usize)> = pool
        .iter()
        .enumerate()
        .map(|(at, place)| (sharers.get(place).copied().unwrap_or_default(), at))
        .collect();
    for (quota, chosen) in quota.iter().zip(&mut chosen) {
        while chosen.len() < *quota {
            let next = by_sharers
                .iter()
                .find(|(_, at)| pool.get(*at).is_some_and(|place| !chosen.contains(place)))
                .copied();
            let Some((count, at)) = next else { break };
            let Some(place) = pool.get(at) else { break };
            by_sharers.remove(&(count, at));
            by_sharers.insert((count + 1, at));
            chosen.push(*place);
        }
    }
    // Places that members' earlier choices left out are added to whoever has least.
    for (_, at) in by_sharers.iter().filter(|(count, _)| *count == 0).copied().collect::<Vec<_>>() {
        let least = chosen.iter_mut().min_by_key(|places| places.len());
        if let (Some(least), Some(place)) = (least, pool.get(at)) {
            least.push(*place);
        }
    }
    for (member, places) in members.iter().zip(chosen) {
        let Some(assignment) = result.get_mut(*member) else { continue };
        for (topic, index) in places {
            assignment.entry(topic).or_default().insert(index);
        }
    }
}
