//! One partition as a share group works on it.

use std::sync::Arc;

use kafka_codec::ErrorCode;

use super::runs::Runs;
use super::{DeliveryState, ShareLimits, ShareRefusal, StateBatch};

/// What a member says about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckType {
    /// There is no such record: compacted away, or a control record.
    Gap,
    /// Done.
    Accept,
    /// To be delivered again.
    Release,
    /// Never to be delivered again.
    Reject,
    /// Still being worked on: the lock begins anew.
    Renew,
}

impl AckType {
    /// The type of a number on the wire.
    pub fn from_wire(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Gap),
            1 => Some(Self::Accept),
            2 => Some(Self::Release),
            3 => Some(Self::Reject),
            4 => Some(Self::Renew),
            _ => None,
        }
    }
}

/// A member's word on a range of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckBatch {
    /// First offset.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// One for all, or one for each.
    pub types: Vec<AckType>,
}

impl AckBatch {
    fn type_at(&self, offset: i64) -> AckType {
        let at = if self.types.len() == 1 {
            0
        } else {
            usize::try_from(offset - self.first).unwrap_or(usize::MAX)
        };
        self.types.get(at).copied().unwrap_or(AckType::Release)
    }
}

/// What a fetch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireOrder {
    /// Where the records were read from.
    pub fetch_offset: i64,
    /// Most records.
    pub records_max: i64,
    /// Records that are to be acknowledged together, about.
    pub batch_size: i64,
    /// `records_max` is strict; else the batch that crosses it is taken whole.
    pub strict: bool,
}

/// Records given to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// First offset.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// How often they have been delivered, this time included.
    pub deliveries: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Available,
    Acquired { member: Arc<str>, until_ms: i64 },
    Acknowledged,
    Archived,
}

impl State {
    fn is_done(&self) -> bool {
        matches!(self, Self::Acknowledged | Self::Archived)
    }

    fn is_held_by(&self, member: &str) -> bool {
        matches!(self, Self::Acquired { member: holder, .. } if **holder == *member)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    state: State,
    deliveries: i16,
}

impl Slot {
    fn archived() -> Self {
        Self { state: State::Archived, deliveries: 0 }
    }

    fn stored(&self, first: i64, last: i64) -> StateBatch {
        let state = match self.state {
            State::Available | State::Acquired { .. } => DeliveryState::Available,
            State::Acknowledged => DeliveryState::Acknowledged,
            State::Archived => DeliveryState::Archived,
        };
        StateBatch { first, last, state, deliveries: self.deliveries }
    }
}

/// What an event changed, for the store.
#[derive(Debug, Default)]
#[must_use]
pub struct Outcome {
    /// Whether there is anything to store.
    pub dirty: bool,
    /// Ranges from the start on whose stored state is another now.
    pub changed: Vec<StateBatch>,
    /// The first offset that is not done with.
    pub start: i64,
    /// Offsets at or past the start that are done with.
    pub completed: i64,
    /// Takes it back if it cannot be stored.
    pub undo: Undo,
}

/// How things were before an event.
#[derive(Debug, Default)]
pub struct Undo {
    start: i64,
    /// Done with at the front, and forgotten since.
    forgotten: Vec<(i64, i64, Slot)>,
    replaced: Vec<(i64, i64, Slot)>,
}

/// One partition as a share group works on it. Offsets below [`SharePartition::start`] are done with, those from
/// [`SharePartition::end`] on have never been out; the state of each between is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharePartition {
    start: i64,
    end: i64,
    runs: Runs<Slot>,
    /// No lock ends before; `None`: there is none.
    locked_until_ms: Option<i64>,
}

/// From half of the deliveries allowed on, and not before the second, a batch is delivered in ever smaller parts: a
/// record that nobody can work on shall not take its neighbours with it.
fn throttled_from(deliveries_max: i16) -> i16 {
    (deliveries_max / 2 + deliveries_max % 2).max(2)
}

impl SharePartition {
    /// Nothing has been out; work begins at `start`.
    pub fn new(start: i64) -> Self {
        Self { start, end: start, runs: Runs::default(), locked_until_ms: None }
    }

    /// As it was stored. What was out then, and never acknowledged, is available again.
    pub fn restore(start: i64, batches: &[StateBatch]) -> Self {
        let mut partition = Self::new(start);
        let Some(last) = batches.iter().map(|batch| batch.last).max().filter(|last| *last >= start) else {
            return partition;
        };
        partition.end = last.saturating_add(1);
        partition.runs.set(start, last, Slot { state: State::Available, deliveries: 0 });
        for batch in batches {
            let state = match batch.state {
                DeliveryState::Available => State::Available,
                DeliveryState::Acknowledged => State::Acknowledged,
                DeliveryState::Archived => State::Archived,
            };
            let slot = Slot { state, deliveries: batch.deliveries };
            partition.runs.set(batch.first.max(start), batch.last, slot);
        }
        partition.advance(&mut Undo::default());
        partition
    }

    /// Everything below is done with.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Nothing from here on has been out.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Offsets at or past the start that are done with.
    pub fn completed(&self) -> i64 {
        self.runs
            .iter()
            .filter(|(.., slot)| slot.state.is_done())
            .map(|(first, last, _)| last - first + 1)
            .sum()
    }

    /// Where the next fetch should read; `None` while nothing is available and no more may be out.
    pub fn next_fetch_offset(&self, limits: &ShareLimits) -> Option<i64> {
        let available = self.runs.iter().find(|(.., slot)| slot.state == State::Available);
        match available {
            Some((first, ..)) => Some(first),
            None if self.end - self.start < limits.in_flight_max => Some(self.end),
            None => None,
        }
    }

    /// The log begins at `log_start` now: what lies before is gone.
    pub fn log_starts_at(&mut self, log_start: i64) -> bool {
        if log_start <= self.start {
            return false;
        }
        self.runs.remove(i64::MIN, log_start - 1);
        self.start = log_start;
        self.end = self.end.max(log_start);
        self.advance(&mut Undo::default());
        true
    }

    /// Gives a member records that have been read: `batches` are first and last offsets of record batches, in order.
    pub fn acquire(
        &mut self,
        member: &Arc<str>,
        batches: &[(i64, i64)],
        order: &AcquireOrder,
        now_ms: i64,
        limits: &ShareLimits,
    ) -> Vec<Acquired> {
        let mut given = Vec::new();
        let (Some((read_from, _)), Some((_, read_to))) = (batches.first(), batches.last()) else {
            return given;
        };
        // What should have been read and is not there was compacted away.
        self.archive_available(order.fetch_offset.max(self.start), read_from - 1);
        let until_ms = now_ms.saturating_add(limits.lock_ms);
        let held = State::Acquired { member: Arc::clone(member), until_ms };
        let mut left = order.records_max;
        let from = (*read_from).max(self.start);
        let again = self.take_again(from, *read_to, &mut left, limits);
        for (first, last, deliveries) in again {
            self.runs.set(first, last, Slot { state: held.clone(), deliveries });
            given.push(Acquired { first, last, deliveries });
        }
        let room = limits.in_flight_max - (self.end - self.start);
        let first = from.max(self.end);
        // Offsets before the first batch are no records.
        let first =
            batches.iter().find(|(_, last)| *last >= first).map_or(first, |(base, _)| first.max(*base));
        if left > 0 && room > 0 && first <= *read_to {
            let wanted = first.saturating_add(left.min(room) - 1).min(*read_to);
            let last = if order.strict {
                wanted
            } else {
                // The batch that crosses the limit is taken whole.
                batches.iter().find(|(_, last)| *last >= wanted).map_or(wanted, |(_, last)| *last)
            };
            if self.end < first {
                self.runs.set(self.end, first - 1, Slot::archived());
            }
            self.runs.set(first, last, Slot { state: held, deliveries: 1 });
            self.end = last + 1;
            give_new(&mut given, batches, (first, last), order);
        }
        if !given.is_empty() {
            self.locked_until_ms = Some(self.locked_until_ms.map_or(until_ms, |known| known.min(until_ms)));
        }
        self.advance(&mut Undo::default());
        given
    }

    /// Chooses among what was out before: ranges and their new delivery counts.
    fn take_again(&self, from: i64, to: i64, left: &mut i64, limits: &ShareLimits) -> Vec<(i64, i64, i16)> {
        let mut taken: Vec<(i64, i64, i16)> = Vec::new();
        if from >= self.end {
            return taken;
        }
        let throttled_from = throttled_from(limits.deliveries_max);
        for (first, last, slot) in self.runs.within(from, to.min(self.end - 1)) {
            if *left <= 0 {
                break;
            }
            if slot.state != State::Available {
                continue;
            }
            let mut count = (last - first + 1).min(*left);
            let deliveries = slot.deliveries.saturating_add(1);
            if slot.deliveries >= throttled_from {
                if taken.is_empty() {
                    let shift = u32::try_from(slot.deliveries - throttled_from + 1).unwrap_or(62).min(62);
                    let is_last_try = limits.deliveries_max > 2 && deliveries >= limits.deliveries_max;
                    count = if is_last_try { 1 } else { count.min(((last - first + 1) >> shift).max(1)) };
                    taken.push((first, first + count - 1, deliveries));
                }
                *left = 0;
                break;
            }
            taken.push((first, first + count - 1, deliveries));
            *left -= count;
        }
        taken
    }

    fn archive_available(&mut self, first: i64, last: i64) {
        let gone: Vec<(i64, i64, i16)> = self
            .runs
            .within(first, last)
            .filter(|(.., slot)| slot.state == State::Available)
            .map(|(first, last, slot)| (first, last, slot.deliveries))
            .collect();
        for (first, last, deliveries) in gone {
            self.runs.set(first, last, Slot { state: State::Archived, deliveries });
        }
    }

    /// Takes records that were just given to a member out of circulation: they are part of an aborted transaction.
    pub fn archive(&mut self, member: &str, first: i64, last: i64) {
        let held: Vec<(i64, i64, i16)> = self
            .runs
            .within(first, last)
            .filter(|(.., slot)| slot.state.is_held_by(member))
            .map(|(first, last, slot)| (first, last, slot.deliveries))
            .collect();
        for (first, last, deliveries) in held {
            self.runs.set(first, last, Slot { state: State::Archived, deliveries });
        }
        self.advance(&mut Undo::default());
    }

    /// Takes a member's word.
    ///
    /// # Errors
    /// INVALID_REQUEST for offsets that were never out; INVALID_RECORD_STATE when the member does not hold one of the
    /// records. Nothing is changed then.
    pub fn acknowledge(
        &mut self,
        member: &Arc<str>,
        batches: &[AckBatch],
        now_ms: i64,
        limits: &ShareLimits,
    ) -> Result<Outcome, ShareRefusal> {
        let mut before = i64::MIN;
        for batch in batches.iter().filter(|batch| batch.last >= self.start) {
            self.check(member, batch, before, limits)?;
            before = batch.last;
        }
        let until_ms = now_ms.saturating_add(limits.lock_ms);
        let mut fresh: Vec<(i64, i64, Slot)> = Vec::new();
        for batch in batches.iter().filter(|batch| batch.last >= self.start) {
            for (first, last, slot) in self.runs.within(batch.first.max(self.start), batch.last) {
                for (first, last, said) in pieces(batch, first, last) {
                    let state = match said {
                        AckType::Accept => State::Acknowledged,
                        AckType::Gap | AckType::Reject => State::Archived,
                        AckType::Release if slot.deliveries >= limits.deliveries_max => State::Archived,
                        AckType::Release => State::Available,
                        AckType::Renew => State::Acquired { member: Arc::clone(member), until_ms },
                    };
                    fresh.push((first, last, Slot { state, deliveries: slot.deliveries }));
                }
            }
        }
        Ok(self.change(fresh))
    }

    fn check(
        &self,
        member: &str,
        batch: &AckBatch,
        before: i64,
        limits: &ShareLimits,
    ) -> Result<(), ShareRefusal> {
        let invalid = |message| Err(ShareRefusal::new(ErrorCode::InvalidRequest, message));
        let not_held = |message| Err(ShareRefusal::new(ErrorCode::InvalidRecordState, message));
        let length = batch.last.checked_sub(batch.first).and_then(|length| usize::try_from(length).ok());
        let fits = length
            .is_some_and(|length| batch.types.len() == 1 || batch.types.len() == length.saturating_add(1));
        if !fits {
            return invalid("The acknowledgement types do not match the offsets.");
        }
        if self.start == self.end {
            return not_held("Batch record not found. The request batch offsets are not found in the cache.");
        }
        if batch.first >= self.end {
            return invalid("Batch record not found. The first offset in request is past acquired records.");
        }
        if batch.last >= self.end {
            return invalid("Batch record not found. The last offset in request is past acquired records.");
        }
        if batch.first <= before {
            return not_held(
                "The record state is invalid. The acknowledgement of delivery could not be completed.",
            );
        }
        if !limits.may_renew && batch.types.contains(&AckType::Renew) {
            return not_held("Renewing acquisition locks is not enabled for the group.");
        }
        for (.., slot) in self.runs.within(batch.first.max(self.start), batch.last) {
            match &slot.state {
                State::Acquired { member: holder, .. } if **holder == *member => {}
                State::Acquired { .. } => return not_held("Member is not the owner of batch record"),
                _ => {
                    return not_held(
                        "The batch cannot be acknowledged. The batch is not in the acquired state.",
                    );
                }
            }
        }
        Ok(())
    }

    /// The member's session is over: what it holds is available again.
    pub fn release(&mut self, member: &str, limits: &ShareLimits) -> Outcome {
        self.give_back(limits, |state| state.is_held_by(member))
    }

    /// Locks that have run out.
    pub fn expire(&mut self, now_ms: i64, limits: &ShareLimits) -> Outcome {
        let outcome = self.give_back(
            limits,
            |state| matches!(state, State::Acquired { until_ms, .. } if *until_ms <= now_ms),
        );
        let until = |slot: &Slot| match slot.state {
            State::Acquired { until_ms, .. } => Some(until_ms),
            _ => None,
        };
        self.locked_until_ms = self.runs.iter().filter_map(|(.., slot)| until(slot)).min();
        outcome
    }

    /// When to call [`SharePartition::expire`] next.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.locked_until_ms
    }

    fn give_back(&mut self, limits: &ShareLimits, is_free: impl Fn(&State) -> bool) -> Outcome {
        let fresh = self
            .runs
            .iter()
            .filter(|(.., slot)| is_free(&slot.state))
            .map(|(first, last, slot)| {
                let too_often = slot.deliveries >= limits.deliveries_max;
                let state = if too_often { State::Archived } else { State::Available };
                (first, last, Slot { state, deliveries: slot.deliveries })
            })
            .collect();
        self.change(fresh)
    }

    fn change(&mut self, fresh: Vec<(i64, i64, Slot)>) -> Outcome {
        let mut undo = Undo { start: self.start, ..Undo::default() };
        let mut changed = Vec::new();
        for (first, last, slot) in fresh {
            let replaced =
                self.runs.within(first, last).map(|(first, last, slot)| (first, last, slot.clone()));
            undo.replaced.extend(replaced);
            // A lock that was renewed is nothing to store.
            if !matches!(slot.state, State::Acquired { .. }) {
                push(&mut changed, slot.stored(first, last));
            }
            self.runs.set(first, last, slot);
        }
        self.advance(&mut undo);
        let dirty = !changed.is_empty();
        // What lies before the start needs no more words than the start.
        changed.retain(|batch| batch.last >= self.start);
        for batch in &mut changed {
            batch.first = batch.first.max(self.start);
        }
        Outcome { dirty, changed, start: self.start, completed: self.completed(), undo }
    }

    /// Takes back the last event: it could not be stored.
    pub fn revert(&mut self, undo: Undo) {
        self.start = undo.start;
        for (first, last, slot) in undo.forgotten.into_iter().chain(undo.replaced) {
            if let State::Acquired { until_ms, .. } = slot.state {
                self.locked_until_ms =
                    Some(self.locked_until_ms.map_or(until_ms, |known| known.min(until_ms)));
            }
            self.runs.set(first, last, slot);
        }
    }

    /// The state as it would be stored whole.
    pub fn batches(&self) -> Vec<StateBatch> {
        let mut batches = Vec::new();
        for (first, last, slot) in self.runs.iter() {
            push(&mut batches, slot.stored(first, last));
        }
        batches
    }

    /// Forgets what is done with at the front.
    fn advance(&mut self, undo: &mut Undo) {
        while let Some((first, last, slot)) = self.runs.first() {
            if !slot.state.is_done() {
                return;
            }
            undo.forgotten.push((first, last, slot.clone()));
            self.start = last + 1;
            self.runs.remove(first, last);
        }
        self.start = self.start.max(self.end);
    }
}

/// Tells new records in parts of about `batch_size` that end with a record batch.
fn give_new(
    given: &mut Vec<Acquired>,
    batches: &[(i64, i64)],
    (first, last): (i64, i64),
    order: &AcquireOrder,
) {
    let mut begin = first;
    if !order.strict && last - first + 1 > order.batch_size {
        for (base, _) in batches.iter().filter(|(base, _)| *base > first && *base <= last) {
            if base - begin >= order.batch_size {
                given.push(Acquired { first: begin, last: base - 1, deliveries: 1 });
                begin = *base;
            }
        }
    }
    given.push(Acquired { first: begin, last, deliveries: 1 });
}

/// What a member says about `first..=last`, in runs of one word.
fn pieces(batch: &AckBatch, first: i64, last: i64) -> Vec<(i64, i64, AckType)> {
    if batch.types.len() == 1 {
        return vec![(first, last, batch.type_at(first))];
    }
    let mut pieces: Vec<(i64, i64, AckType)> = Vec::new();
    for offset in first..=last {
        let said = batch.type_at(offset);
        match pieces.last_mut() {
            Some((_, end, before)) if *before == said => *end = offset,
            _ => pieces.push((offset, offset, said)),
        }
    }
    pieces
}

/// Adds a run, to the one before if it goes on in the same state.
pub(super) fn push(batches: &mut Vec<StateBatch>, batch: StateBatch) {
    match batches.last_mut() {
        Some(run)
            if run.last + 1 == batch.first
                && run.state == batch.state
                && run.deliveries == batch.deliveries =>
        {
            run.last = batch.last;
        }
        _ => batches.push(batch),
    }
}
