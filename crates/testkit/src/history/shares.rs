//! What share groups handed out against what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Partition;

/// A record in a member's hands.
#[derive(Clone, Debug)]
pub struct HandOut {
    /// Where.
    pub partition: Partition,
    /// Which.
    pub offset: i64,
    /// How often it was delivered, as the broker counts.
    pub deliveries: i16,
    /// When the fetch began that brought it.
    pub asked_at: u64,
}

/// A record that was accepted, and the broker said so.
#[derive(Clone, Debug)]
pub struct Accept {
    /// Where.
    pub partition: Partition,
    /// Which.
    pub offset: i64,
    /// When the answer came.
    pub answered_at: u64,
}

/// Notes what the members of a share group do. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ShareRecorder {
    now: Arc<AtomicU64>,
    seen: Arc<Mutex<(Vec<HandOut>, Vec<Accept>)>>,
}

impl ShareRecorder {
    /// A moment: later than all before.
    pub fn moment(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    /// A record was handed out.
    pub fn handed_out(&self, hand_out: HandOut) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).0.push(hand_out);
    }

    /// A record was accepted.
    pub fn accepted(&self, accept: Accept) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).1.push(accept);
    }

    /// Everything so far.
    pub fn history(&self) -> (Vec<HandOut>, Vec<Accept>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A broken promise of a share group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareViolation {
    /// A record was handed out by a fetch that began after it had been accepted.
    Again(Partition, i64),
    /// A record was never handed out.
    Lost(Partition, i64),
    /// A record was handed out that nobody can have sent.
    Unknown(Partition, i64),
    /// The broker counts deliveries that cannot be.
    Deliveries(Partition, i64, i16),
}

impl fmt::Display for ShareViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Again(partition, offset) => write!(f, "again: {offset} of {partition} was accepted before"),
            Self::Lost(partition, offset) => write!(f, "lost: nobody got {offset} of {partition}"),
            Self::Unknown(partition, offset) => write!(f, "unknown: {offset} of {partition} is not there"),
            Self::Deliveries(partition, offset, count) => {
                write!(f, "deliveries: {count} of {offset} of {partition}")
            }
        }
    }
}

/// Compares what was handed out with what was accepted, over all of `logs`: partitions with the offsets of their records.
/// The group has worked them off; `deliveries_max` is its limit.
pub fn check_shares(
    (handed_out, accepted): &(Vec<HandOut>, Vec<Accept>),
    logs: &[(Partition, BTreeSet<i64>)],
    deliveries_max: i16,
) -> Vec<ShareViolation> {
    let mut violations = Vec::new();
    let mut done: BTreeMap<(&Partition, i64), u64> = BTreeMap::new();
    for accept in accepted {
        let at = done.entry((&accept.partition, accept.offset)).or_insert(accept.answered_at);
        *at = (*at).min(accept.answered_at);
    }
    let mut seen: BTreeSet<(&Partition, i64)> = BTreeSet::new();
    for hand_out in handed_out {
        let (partition, offset) = (&hand_out.partition, hand_out.offset);
        seen.insert((partition, offset));
        if done.get(&(partition, offset)).is_some_and(|at| *at < hand_out.asked_at) {
            violations.push(ShareViolation::Again(partition.clone(), offset));
        }
        if !(1..=deliveries_max).contains(&hand_out.deliveries) {
            violations.push(ShareViolation::Deliveries(partition.clone(), offset, hand_out.deliveries));
        }
    }
    let mut known = BTreeSet::new();
    for (partition, offsets) in logs {
        for offset in offsets {
            known.insert((partition, *offset));
            if !seen.contains(&(partition, *offset)) {
                violations.push(ShareViolation::Lost(partition.clone(), *offset));
            }
        }
    }
    let unknown = seen.difference(&known);
    violations
        .extend(unknown.map(|(partition, offset)| ShareViolation::Unknown((*partition).clone(), *offset)));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &str, records: &[i64]) -> Vec<String> {
        let recorder = ShareRecorder::default();
        let partition = Partition::new("t", 0);
        for event in events.split_whitespace() {
            let moment = recorder.moment();
            let (what, number) = event.split_at(1);
            let (offset, count) = number.split_once('x').unwrap_or((number, "1"));
            let (partition, offset) = (partition.clone(), offset.parse().expect("offset"));
            match what {
                "+" => recorder.handed_out(HandOut {
                    partition,
                    offset,
                    deliveries: count.parse().expect("count"),
                    asked_at: moment,
                }),
                _ => recorder.accepted(Accept { partition, offset, answered_at: moment }),
            }
        }
        let logs = [(partition, records.iter().copied().collect())];
        check_shares(&recorder.history(), &logs, 5).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_handed_out_may_come_again_until_it_is_accepted() {
        assert_eq!(run("+0 +1 -0 +1x2 -1", &[0, 1]), [""; 0]);
        assert_eq!(run("+0 -0 +0x2", &[0]), ["again: 0 of t-0 was accepted before"]);
        assert_eq!(run("+0", &[0, 1]), ["lost: nobody got 1 of t-0"]);
        assert_eq!(run("+0 +7", &[0]), ["unknown: 7 of t-0 is not there"]);
        assert_eq!(run("+0x6 +1x0", &[0, 1]), ["deliveries: 6 of 0 of t-0", "deliveries: 0 of 1 of t-0"]);
    }
}
