//! One member's way from what it has to what it should have: first give up, then take (KIP-848).

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::Uuid;

use super::member::{Assignment, CurrentAssignment, EpochAssignment, MemberState};

/// What the next step depends on.
pub(crate) struct Surroundings<'a> {
    /// Epoch of the target assignment.
    pub target_epoch: i32,
    /// The member's part of it.
    pub target: &'a Assignment,
    /// Ids of the topics the member subscribes to.
    pub subscribed: &'a BTreeSet<Uuid>,
    /// The subscription has just changed: what it no longer covers is taken away at once.
    pub subscription_changed: bool,
    /// Partitions the member says it has; `None` = it did not say.
    pub owned: Option<&'a Assignment>,
    /// Whether any member holds a partition.
    pub is_held: &'a dyn Fn(Uuid, i32) -> bool,
}

/// The member's next state, or its present one if it cannot move.
pub(crate) fn next(current: &CurrentAssignment, around: &Surroundings<'_>) -> CurrentAssignment {
    match current.state {
        MemberState::Stable => {
            if current.epoch != around.target_epoch {
                advance(current, current.epoch, around)
            } else if around.subscription_changed {
                shed_unsubscribed(current, around)
            } else {
                current.clone()
            }
        }
        MemberState::UnrevokedPartitions => {
            if !owns_any(&current.pending_revocation, around.owned) {
                advance(current, current.epoch, around)
            } else if around.subscription_changed {
                shed_unsubscribed(current, around)
            } else {
                current.clone()
            }
        }
        MemberState::UnreleasedPartitions => advance(current, current.epoch, around),
        // The caller has made sure that it owns nothing.
        MemberState::Unknown => advance(current, around.target_epoch, around),
    }
}

/// Whether the member says, or may, still have one of `partitions`.
fn owns_any(partitions: &EpochAssignment, owned: Option<&Assignment>) -> bool {
    let Some(owned) = owned else { return true };
    owned.iter().any(|(topic, indexes)| {
        partitions.get(topic).is_some_and(|pending| indexes.iter().any(|index| pending.contains_key(index)))
    })
}

fn shed_unsubscribed(current: &CurrentAssignment, around: &Surroundings<'_>) -> CurrentAssignment {
    let (kept, lost): (EpochAssignment, EpochAssignment) =
        current.assigned.clone().into_iter().partition(|(topic, _)| around.subscribed.contains(topic));
    if lost.is_empty() {
        return current.clone();
    }
    let mut pending = current.pending_revocation.clone();
    for (topic, partitions) in lost {
        pending.entry(topic).or_default().extend(partitions);
    }
    if owns_any(&pending, around.owned) {
        CurrentAssignment {
            epoch: current.epoch,
            previous_epoch: current.epoch,
            state: MemberState::UnrevokedPartitions,
            assigned: kept,
            pending_revocation: pending,
        }
    } else {
        CurrentAssignment { previous_epoch: current.epoch, assigned: kept, ..current.clone() }
    }
}

fn advance(current: &CurrentAssignment, epoch: i32, around: &Surroundings<'_>) -> CurrentAssignment {
    let nothing = BTreeSet::new();
    let none_assigned = BTreeMap::new();
    let mut kept = EpochAssignment::new();
    let mut to_revoke = EpochAssignment::new();
    let mut to_assign: Vec<(Uuid, i32)> = Vec::new();
    let mut waits = false;
    let topics: BTreeSet<Uuid> = around.target.keys().chain(current.assigned.keys()).copied().collect();
    for topic in topics {
        let target = match around.target.get(&topic) {
            Some(target) if around.subscribed.contains(&topic) => target,
            _ => &nothing,
        };
        let assigned = current.assigned.get(&topic).unwrap_or(&none_assigned);
        for (partition, since) in assigned {
            let place = if target.contains(partition) { &mut kept } else { &mut to_revoke };
            place.entry(topic).or_default().insert(*partition, *since);
        }
        for partition in target.iter().filter(|partition| !assigned.contains_key(partition)) {
            // What the member itself has just given up is free again.
            let was_own =
                current.pending_revocation.get(&topic).is_some_and(|own| own.contains_key(partition));
            if (around.is_held)(topic, *partition) && !was_own {
                waits = true;
            } else {
                to_assign.push((topic, *partition));
            }
        }
    }
    if !to_revoke.is_empty() && owns_any(&to_revoke, around.owned) {
        let previous_epoch = current.epoch;
        return CurrentAssignment {
            epoch,
            previous_epoch,
            state: MemberState::UnrevokedPartitions,
            assigned: kept,
            pending_revocation: to_revoke,
        };
    }
    for (topic, partition) in to_assign {
        kept.entry(topic).or_default().insert(partition, around.target_epoch);
    }
    let previous_epoch = current.epoch;
    CurrentAssignment {
        epoch: around.target_epoch,
        previous_epoch,
        state: if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable },
        assigned: kept,
        pending_revocation: EpochAssignment::new(),
    }
}
