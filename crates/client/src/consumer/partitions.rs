//! What the consumer knows of each assigned partition: pure bookkeeping.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::fetched::Fetched;
use crate::door::TopicPartition;
use crate::record::OffsetAndMetadata;

/// Kafka's timestamp for the first offset stored.
pub(super) const EARLIEST: i64 = -2;
/// Kafka's timestamp for the end.
pub(super) const LATEST: i64 = -1;

/// Where a partition's position stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The group's committed offset has to be looked up.
    Committed,
    /// To be looked up by this timestamp (or Kafka's −2 earliest, −1 latest).
    Lookup(i64),
    /// Known.
    At { offset: i64, leader_epoch: Option<i32> },
}

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) position: Position,
    pub(super) paused: bool,
    /// What is fetched and not handed out yet.
    pub(super) fetched: Option<Fetched>,
    /// A fetch or look-up is under way.
    pub(super) busy: bool,
    /// Counts changes of the position by others than fetching: answers to older questions are void.
    pub(super) term: u64,
    /// No fetch or look-up before.
    pub(super) not_before: Option<Instant>,
    /// End of what can be read, as last heard.
    pub(super) end: Option<i64>,
    /// A follower to read from, as the leader said.
    pub(super) preferred: Option<i32>,
}

impl Assigned {
    fn new(position: Position, term: u64) -> Self {
        Self {
            position,
            paused: false,
            fetched: None,
            busy: false,
            term,
            not_before: None,
            end: None,
            preferred: None,
        }
    }

    /// Moves the position; what is fetched or being fetched is void.
    pub(super) fn set(&mut self, position: Position, term: u64) {
        self.position = position;
        self.fetched = None;
        self.busy = false;
        self.term = term;
        self.not_before = None;
        self.end = None;
    }
}

/// All assigned partitions.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    assigned: BTreeMap<TopicPartition, Assigned>,
    /// Partitions with fetched records, in the order in which they came.
    pub(super) ready: VecDeque<TopicPartition>,
    next_term: u64,
}

impl Partitions {
    /// Takes exactly these partitions; those kept keep their position.
    pub(super) fn replace(&mut self, partitions: &[TopicPartition], start: Position) {
        self.assigned.retain(|p, _| partitions.contains(p));
        self.ready.retain(|p| partitions.contains(p));
        for partition in partitions {
            if !self.assigned.contains_key(partition) {
                let term = self.term();
                self.assigned.insert(partition.clone(), Assigned::new(start, term));
            }
        }
    }

    fn term(&mut self) -> u64 {
        self.next_term += 1;
        self.next_term
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&Assigned> {
        self.assigned.get(partition)
    }

    /// The partition if no change of position came between.
    pub(super) fn of_term(&mut self, partition: &TopicPartition, term: u64) -> Option<&mut Assigned> {
        self.assigned.get_mut(partition).filter(|assigned| assigned.term == term)
    }

    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Assigned> {
        self.assigned.get_mut(partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Assigned)> {
        self.assigned.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Assigned)> {
        self.assigned.iter_mut()
    }

    pub(super) fn names(&self) -> Vec<TopicPartition> {
        self.assigned.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.assigned.is_empty()
    }

    /// Moves a position; `false` when the partition is not assigned.
    pub(super) fn set(&mut self, partition: &TopicPartition, position: Position) -> bool {
        let term = self.term();
        self.ready.retain(|p| p != partition);
        match self.assigned.get_mut(partition) {
            Some(assigned) => {
                assigned.set(position, term);
                true
            }
            None => false,
        }
    }

    /// Known positions, as they would be committed.
    pub(super) fn positions(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let known = |(partition, assigned): (&TopicPartition, &Assigned)| match assigned.position {
            Position::At { offset, leader_epoch } => {
                Some((partition.clone(), OffsetAndMetadata { offset, leader_epoch, metadata: String::new() }))
            }
            _ => None,
        };
        self.assigned.iter().filter_map(known).collect()
    }
}
