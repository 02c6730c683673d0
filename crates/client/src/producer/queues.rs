//! What waits to be sent, partition by partition, and in which order it may go.
//!
//! Pure: the sender asks what is ready and tells what became of it; no clocks, no sockets.
//!
//! **Order with idempotence.** Each partition has its own producer epoch and sequence. Up to five requests may be in
//! flight; when one is refused, it and all after it come back, and from then on one batch at a time is sent until the
//! last returned one is through. When the broker's sequence and ours cannot meet any more (a batch was lost for good,
//! or the broker lost its state), the partition waits until nothing of it is in flight, takes the next epoch and
//! numbers what is left from 0: a late copy of anything older is then fenced off by the broker.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::ErrorCode;
use tokio::time::Instant;

use super::batch::{Batch, Sequence, sequence_after};

/// Name and index of a partition.
pub(super) type Key = (Arc<str>, i32);

/// One partition's batches.
#[derive(Default)]
pub(super) struct PartitionQueue {
    pub(super) waiting: VecDeque<Batch>,
    /// Requests sent and not answered.
    pub(super) in_flight: usize,
    order: Option<Order>,
}

/// Where an idempotent producer stands in one partition.
#[derive(Clone, Copy, Debug)]
struct Order {
    producer_id: i64,
    epoch: i16,
    /// Of the next new batch.
    next: i32,
    /// Number after the last one that the broker acknowledged.
    acknowledged: i32,
    /// The broker's sequence cannot be met any more.
    broken: bool,
    /// The broker has acknowledged a batch of this order. Before that it takes any first number for the beginning,
    /// so a second batch in flight could overtake a refused first one.
    confirmed: bool,
}

/// How the producer keeps order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Discipline {
    pub(super) idempotent: bool,
    /// One request at a time for each partition.
    pub(super) one_at_a_time: bool,
    /// The producer's epoch is its coordinator's affair: a broken order ends with the transaction.
    pub(super) transactional: bool,
}

/// What became of a batch that the broker answered with an error or that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry,
    Fail,
}

impl PartitionQueue {
    /// Whether the front batch may be sent now.
    pub(super) fn may_send(&self, discipline: Discipline) -> bool {
        let Some(front) = self.waiting.front() else { return false };
        if self.in_flight == 0 {
            return true;
        }
        if discipline.one_at_a_time {
            return false;
        }
        // A batch that came back goes alone; a broken order first comes to rest, a new one begins with one batch.
        let flows = |order: &Order| order.confirmed && !order.broken;
        !discipline.idempotent || (front.sequence.is_none() && self.order.as_ref().is_some_and(flows))
    }

    /// Whether a producer id must be had before the front batch can be sent.
    pub(super) fn needs_producer_id(&self) -> bool {
        self.order.is_none_or(|o| o.broken && o.epoch == i16::MAX)
    }

    /// Takes the front batch out to be sent. `id` is the producer id to start with.
    pub(super) fn take(&mut self, discipline: Discipline, id: Option<(i64, i16)>) -> Option<Batch> {
        if discipline.idempotent {
            self.renumber(discipline, id);
        }
        let mut batch = self.waiting.pop_front()?;
        if discipline.idempotent && batch.sequence.is_none() {
            let Some(order) = &mut self.order else {
                self.waiting.push_front(batch);
                return None;
            };
            batch.set_sequence(Sequence {
                producer_id: order.producer_id,
                epoch: order.epoch,
                base: order.next,
            });
            order.next = sequence_after(order.next, batch.count);
        }
        self.in_flight += 1;
        batch.attempts += 1;
        Some(batch)
    }

    /// Starts an order, or a new one where the old is broken.
    fn renumber(&mut self, discipline: Discipline, id: Option<(i64, i16)>) {
        let fresh = |(producer_id, epoch)| Order {
            producer_id,
            epoch,
            next: 0,
            acknowledged: 0,
            broken: false,
            confirmed: false,
        };
        match &self.order {
            None => self.order = id.map(fresh),
            Some(order) if order.broken && self.in_flight == 0 && !discipline.transactional => {
                let next = match order.epoch.checked_add(1) {
                    Some(epoch) => Some((order.producer_id, epoch)),
                    None => id.filter(|(id, _)| *id != order.producer_id),
                };
                let Some(next) = next else { return };
                self.order = Some(fresh(next));
                for batch in &mut self.waiting {
                    batch.sequence = None;
                }
            }
            Some(_) => {}
        }
    }

    /// A batch was written.
    pub(super) fn acknowledge(&mut self, batch: &Batch) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let (Some(order), Some(sequence)) = (&mut self.order, batch.sequence)
            && order.epoch == sequence.epoch
        {
            order.acknowledged = sequence_after(sequence.base, batch.count);
            order.confirmed = true;
        }
    }

    /// Whether the broker's sequence cannot be met any more.
    pub(super) fn is_broken(&self) -> bool {
        self.order.is_some_and(|order| order.broken)
    }

    /// Judges an error; `retriable` is what the error says of itself.
    pub(super) fn judge(&mut self, batch: &Batch, code: Option<ErrorCode>, retriable: bool) -> Verdict {
        let (Some(order), Some(sequence)) = (&mut self.order, batch.sequence) else {
            return if retriable { Verdict::Retry } else { Verdict::Fail };
        };
        match code {
            // An earlier batch is missing: if it is still to come, this one only has to wait its turn.
            Some(ErrorCode::OutOfOrderSequenceNumber) => {
                order.broken |=
                    order.epoch == sequence.epoch && is_at_or_after(order.acknowledged, sequence.base);
                Verdict::Retry
            }
            // The broker forgot this producer, by retention or a lost replica.
            Some(ErrorCode::UnknownProducerId) => {
                order.broken |= order.epoch == sequence.epoch;
                Verdict::Retry
            }
            _ if retriable => Verdict::Retry,
            _ => Verdict::Fail,
        }
    }

    /// Puts a batch back that was in flight, in its place.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.insert(batch);
    }

    /// Puts in the parts of a batch that was in flight.
    pub(super) fn put_back_split(&mut self, parts: [Batch; 2]) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let [first, second] = parts;
        self.insert(second);
        self.insert(first);
    }

    fn insert(&mut self, batch: Batch) {
        let place = match batch.sequence {
            None => 0,
            Some(sequence) => self
                .waiting
                .iter()
                .take_while(|b| {
                    b.sequence.is_some_and(|s| (sequence.base.wrapping_sub(s.base) & i32::MAX) < 1 << 30)
                })
                .count(),
        };
        self.waiting.insert(place, batch);
    }

    /// A batch that was sent at least once is given up: whether it was written is not known, or it never will be.
    pub(super) fn give_up(&mut self, batch: &Batch, was_in_flight: bool) {
        if was_in_flight {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if let (Some(order), Some(sequence)) = (&mut self.order, batch.sequence) {
            order.broken |= order.epoch == sequence.epoch;
        }
    }

    /// Takes out the waiting batches that are older than `limit`.
    pub(super) fn expire(&mut self, now: Instant, limit: Duration) -> Vec<Batch> {
        let mut expired = Vec::new();
        while let Some(batch) = self.waiting.pop_front_if(|b| b.created + limit <= now) {
            self.give_up(&batch, false);
            expired.push(batch);
        }
        expired
    }
}

/// Whether sequence number `a` comes at or after `b`: by distance, because numbers go round.
fn is_at_or_after(a: i32, b: i32) -> bool {
    (a.wrapping_sub(b) & i32::MAX) < 1 << 30
}

/// All partitions that have something to send or in flight.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) partitions: HashMap<Key, PartitionQueue>,
}

impl Queues {
    /// The queue of a partition.
    pub(super) fn partition(&mut self, topic: &Arc<str>, partition: i32) -> &mut PartitionQueue {
        self.partitions.entry((Arc::clone(topic), partition)).or_default()
    }
}
