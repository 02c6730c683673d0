//! Share partitions against a plain model, one entry for each offset; their store against a replay; sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_codec::{ErrorCode, Uuid};
use proptest::prelude::*;

use super::runs::Runs;
use super::*;

const LIMITS: ShareLimits =
    ShareLimits { in_flight_max: 40, deliveries_max: 5, lock_ms: 1_000, may_renew: true };
/// No batch is split for being delivered often.
const PATIENT: ShareLimits = ShareLimits { deliveries_max: 25, ..LIMITS };

fn order(fetch_offset: i64, records_max: i64) -> AcquireOrder {
    AcquireOrder { fetch_offset, records_max, batch_size: 1_000, strict: false }
}

fn member(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn ack(first: i64, last: i64, types: &[AckType]) -> AckBatch {
    AckBatch { first, last, types: types.to_vec() }
}

fn given(acquired: &[Acquired]) -> Vec<(i64, i64, i16)> {
    acquired.iter().map(|a| (a.first, a.last, a.deliveries)).collect()
}

fn stored(batches: &[StateBatch]) -> Vec<(i64, i64, i8, i16)> {
    batches.iter().map(|b| (b.first, b.last, b.state.wire(), b.deliveries)).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, ShareRefusal>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn what_is_accepted_is_done_with_and_what_is_released_comes_again() {
    let (a, b) = (member("a"), member("b"));
    let mut p = SharePartition::new(10);
    assert_eq!(p.next_fetch_offset(&LIMITS), Some(10));
    assert_eq!(given(&p.acquire(&a, &[(10, 14), (15, 19)], &order(10, 3), 0, &LIMITS)), [(10, 14, 1)]);
    assert_eq!(given(&p.acquire(&b, &[(15, 19)], &order(15, 3), 0, &LIMITS)), [(15, 19, 1)]);
    assert_eq!(
        code(p.acknowledge(&b, &[ack(10, 11, &[AckType::Accept])], 0, &LIMITS)),
        ErrorCode::InvalidRecordState
    );
    assert_eq!(
        code(p.acknowledge(&b, &[ack(19, 20, &[AckType::Accept])], 0, &LIMITS)),
        ErrorCode::InvalidRequest
    );
    let types = [AckType::Accept, AckType::Release, AckType::Reject, AckType::Gap, AckType::Accept];
    let out = p.acknowledge(&a, &[ack(10, 14, &types)], 0, &LIMITS).unwrap();
    assert_eq!(stored(&out.changed), [(11, 11, 0, 1), (12, 13, 4, 1), (14, 14, 2, 1)]);
    assert_eq!((out.start, out.completed, p.start()), (11, 3, 11));
    assert_eq!(p.next_fetch_offset(&LIMITS), Some(11));
    assert_eq!(given(&p.acquire(&b, &[(10, 14), (15, 19)], &order(11, 3), 0, &LIMITS)), [(11, 11, 2)]);
    let out =
        p.acknowledge(&b, &[ack(11, 11, &[AckType::Accept]), ack(15, 19, &[AckType::Accept])], 0, &LIMITS);
    assert_eq!((out.unwrap().start, p.start(), p.end()), (20, 20, 20));
    // Said twice, it is no error: it lies before the start.
    assert!(!p.acknowledge(&b, &[ack(15, 19, &[AckType::Accept])], 0, &LIMITS).unwrap().dirty);
}

#[test]
fn a_lock_that_runs_out_frees_its_records_until_they_were_out_too_often() {
    let a = member("a");
    let mut p = SharePartition::new(0);
    let mut now = 0;
    for deliveries in 1..=5 {
        assert_eq!(given(&p.acquire(&a, &[(0, 0)], &order(0, 10), now, &LIMITS)), [(0, 0, deliveries)]);
        assert_eq!(p.next_expiry_ms(), Some(now + 1_000));
        assert!(!p.expire(now + 999, &LIMITS).dirty);
        let out = p.expire(now + 1_000, &LIMITS);
        assert_eq!(stored(&out.changed), if deliveries < 5 { vec![(0, 0, 0, deliveries)] } else { vec![] });
        now += 1_000;
    }
    assert_eq!((p.start(), p.end(), p.next_expiry_ms()), (1, 1, None));
}

#[test]
fn a_renewed_lock_lasts_longer_and_stores_nothing() {
    let a = member("a");
    let mut p = SharePartition::new(0);
    let _ = p.acquire(&a, &[(0, 9)], &order(0, 10), 0, &LIMITS);
    let out = p.acknowledge(&a, &[ack(3, 5, &[AckType::Renew])], 900, &LIMITS).unwrap();
    assert!(!out.dirty);
    let out = p.expire(1_000, &LIMITS);
    assert_eq!(stored(&out.changed), [(0, 2, 0, 1), (6, 9, 0, 1)]);
    assert_eq!(p.next_expiry_ms(), Some(1_900));
    let stubborn = ShareLimits { may_renew: false, ..LIMITS };
    let refused = p.acknowledge(&a, &[ack(3, 5, &[AckType::Renew])], 1_000, &stubborn);
    assert_eq!(code(refused), ErrorCode::InvalidRecordState);
}

#[test]
fn no_more_than_the_limit_is_out_but_what_comes_back_is() {
    let (a, b) = (member("a"), member("b"));
    let mut p = SharePartition::new(0);
    assert_eq!(given(&p.acquire(&a, &[(0, 29), (30, 59)], &order(0, 500), 0, &LIMITS)), [(0, 59, 1)]);
    assert_eq!(p.next_fetch_offset(&LIMITS), None);
    assert_eq!(given(&p.acquire(&b, &[(60, 79)], &order(60, 500), 0, &LIMITS)), []);
    let _ = p.acknowledge(&a, &[ack(50, 59, &[AckType::Release])], 0, &LIMITS).unwrap();
    assert_eq!(p.next_fetch_offset(&LIMITS), Some(50));
    assert_eq!(given(&p.acquire(&b, &[(30, 59), (60, 79)], &order(50, 500), 0, &LIMITS)), [(50, 59, 2)]);
    let strict = AcquireOrder { strict: true, ..order(0, 7) };
    let mut p = SharePartition::new(0);
    assert_eq!(given(&p.acquire(&a, &[(0, 29)], &strict, 0, &LIMITS)), [(0, 6, 1)]);
    assert_eq!(p.next_fetch_offset(&LIMITS), Some(7));
}

#[test]
fn new_records_are_told_in_parts_of_the_size_asked_for() {
    let a = member("a");
    let mut p = SharePartition::new(2);
    let parts = AcquireOrder { batch_size: 5, ..order(2, 500) };
    let batches = [(0, 3), (4, 5), (6, 8), (9, 9), (10, 19)];
    assert_eq!(given(&p.acquire(&a, &batches, &parts, 0, &LIMITS)), [(2, 8, 1), (9, 19, 1)]);
}

#[test]
fn what_was_out_often_comes_in_smaller_and_smaller_parts() {
    let a = member("a");
    let mut p = SharePartition::new(0);
    for deliveries in 1..=3 {
        assert_eq!(given(&p.acquire(&a, &[(0, 15)], &order(0, 100), 0, &LIMITS)), [(0, 15, deliveries)]);
        let _ = p.release(&a, &LIMITS);
    }
    assert_eq!(given(&p.acquire(&a, &[(0, 15), (16, 30)], &order(0, 100), 0, &LIMITS)), [(0, 7, 4)]);
    let _ = p.release(&a, &LIMITS);
    assert_eq!(given(&p.acquire(&a, &[(0, 15), (16, 30)], &order(0, 100), 0, &LIMITS)), [(0, 0, 5)]);
}

#[test]
fn offsets_that_the_log_has_no_more_hold_up_nothing() {
    let (a, b) = (member("a"), member("b"));
    let mut p = SharePartition::new(0);
    let _ = p.acquire(&a, &[(0, 9)], &order(0, 100), 0, &LIMITS);
    let _ = p.release(&a, &LIMITS);
    // 0 to 4 were compacted away, and so was all between 10 and 99.
    assert_eq!(
        given(&p.acquire(&b, &[(5, 9), (100, 101)], &order(0, 100), 0, &LIMITS)),
        [(5, 9, 2), (100, 101, 1)]
    );
    assert_eq!((p.start(), p.end()), (5, 102));
    let out = p.acknowledge(&b, &[ack(5, 9, &[AckType::Accept])], 0, &LIMITS).unwrap();
    assert_eq!(out.start, 100);
    assert!(p.log_starts_at(101));
    assert!(!p.log_starts_at(101));
    assert_eq!((p.start(), p.end()), (101, 102));
    assert!(p.acknowledge(&b, &[ack(100, 101, &[AckType::Accept])], 0, &LIMITS).unwrap().dirty);
    assert!(p.log_starts_at(500));
    assert_eq!((p.start(), p.end()), (500, 500));
}

#[derive(Clone, Debug)]
enum Step {
    Fetch {
        who: usize,
        records: i64,
        strict: bool,
    },
    Ack {
        who: usize,
        at: i64,
        length: i64,
        said: Vec<AckType>,
    },
    Release {
        who: usize,
    },
    Wait {
        ms: i64,
    },
    Trim {
        by: i64,
    },
    /// The next change is not stored, and taken back.
    Refuse,
    /// The broker is killed.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..3_usize;
    let said = prop_oneof![
        4 => Just(AckType::Accept), 2 => Just(AckType::Release), 1 => Just(AckType::Reject), 1 => Just(AckType::Gap),
        1 => Just(AckType::Renew)
    ];
    let step = prop_oneof![
        6 => (who.clone(), 1..20_i64, any::<bool>()).prop_map(|(who, records, strict)| Step::Fetch { who, records, strict }),
        8 => (who.clone(), -3..30_i64, 1..9_i64, prop::collection::vec(said, 9))
            .prop_map(|(who, at, length, said)| Step::Ack { who, at, length, said }),
        1 => who.prop_map(|who| Step::Release { who }),
        2 => (1..900_i64).prop_map(|ms| Step::Wait { ms }),
        1 => (1..5_i64).prop_map(|by| Step::Trim { by }),
        1 => Just(Step::Refuse),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Free,
    Held(usize, i64),
    Done,
}

/// What the model knows of an offset: state, deliveries.
type Model = BTreeMap<i64, (Plain, i16)>;

struct Bench {
    machine: SharePartition,
    store: ShareStateShard,
    records: Vec<crate::Record>,
    model: Model,
    now: i64,
    refuse: bool,
}

fn key() -> ShareKey {
    ShareKey { group: "g".into(), topic: Uuid([7; 16]), partition: 3 }
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            machine: SharePartition::new(0),
            store: ShareStateShard::new(3),
            records: Vec::new(),
            model: Model::new(),
            now: 0,
            refuse: false,
        };
        let change = bench.store.initialize(&key(), 0, 0, 0).unwrap();
        bench.apply(change);
        bench
    }

    fn apply(&mut self, change: StateChange) {
        let offset = self.records.len() as i64;
        self.records.push(change.record.clone());
        self.store.apply(change, offset);
    }

    /// Stores what changed, or takes it back; answers whether it was stored.
    fn settle(&mut self, out: Outcome) -> bool {
        if !out.dirty {
            return true;
        }
        if std::mem::take(&mut self.refuse) {
            self.machine.revert(out.undo);
            return false;
        }
        let write = StateWrite {
            state_epoch: 0,
            leader_epoch: 0,
            start_offset: out.start,
            completed: i32::try_from(out.completed).unwrap(),
            batches: out.changed,
        };
        let change = self.store.write(&key(), &write, self.now).unwrap();
        self.apply(change);
        true
    }

    /// What the machine would store is what the model says.
    fn agree(&self) {
        let start = self.machine.start();
        assert!(
            self.model.range(..start).all(|(_, (state, _))| *state == Plain::Done),
            "the start passed an open one"
        );
        if let Some((state, _)) = self.model.get(&start) {
            assert_ne!(*state, Plain::Done, "the start stays behind");
        }
        assert_eq!(
            self.machine.end(),
            self.model.keys().next_back().map_or(start, |last| last + 1).max(start)
        );
        for batch in self.machine.batches() {
            for offset in batch.first..=batch.last {
                let (state, deliveries) = &self.model[&offset];
                assert_eq!(*state == Plain::Done, batch.state != DeliveryState::Available, "at {offset}");
                assert!(*state == Plain::Done || *deliveries == batch.deliveries, "deliveries at {offset}");
            }
        }
        let open =
            |from: i64| self.model.range(from..).filter(|(_, (state, _))| *state == Plain::Done).count();
        assert_eq!(self.machine.completed(), open(start) as i64);
    }
}

/// Batches of five offsets each, from the one that holds `from`.
fn batches(from: i64) -> Vec<(i64, i64)> {
    let base = from.div_euclid(5) * 5;
    (0..4).map(|n| (base + 5 * n, base + 5 * n + 4)).collect()
}

proptest! {
    #[test]
    fn a_share_partition_does_what_a_plain_list_says(steps in steps()) {
        let members = [member("a"), member("b"), member("c")];
        let limits = PATIENT;
        let mut bench = Bench::new();
        for step in steps {
            match step {
                Step::Fetch { who, records, strict } => {
                    let Some(from) = bench.machine.next_fetch_offset(&limits) else { continue };
                    let wish = AcquireOrder { fetch_offset: from, records_max: records, batch_size: 7, strict };
                    let got = bench.machine.acquire(&members[who], &batches(from), &wish, bench.now, &limits);
                    let mut count = 0;
                    for part in &got {
                        for offset in part.first..=part.last {
                            count += 1;
                            let entry = bench.model.entry(offset).or_insert((Plain::Free, 0));
                            prop_assert_eq!(&entry.0, &Plain::Free, "{} was given away twice", offset);
                            *entry = (Plain::Held(who, bench.now + limits.lock_ms), entry.1 + 1);
                            prop_assert_eq!(entry.1, part.deliveries);
                        }
                    }
                    prop_assert!(count > 0, "something was to be had");
                    let most = if strict { records } else { records + 4 };
                    prop_assert!(count <= most);
                    // Below the first offset read nothing was left out.
                    let end = bench.machine.end();
                    prop_assert!((bench.machine.start()..end).all(|o| bench.model.contains_key(&o)));
                }
                Step::Ack { who, at, length, said } => {
                    let first = bench.machine.start() + at;
                    let last = first + length - 1;
                    let types: Vec<_> = said.into_iter().take(length as usize).collect();
                    let (start, end) = (bench.machine.start(), bench.machine.end());
                    let held = |o: i64| matches!(bench.model.get(&o), Some((Plain::Held(w, _), _)) if *w == who);
                    let right = last < start || (first < end && last < end && (first.max(start)..=last).all(held));
                    let answer = bench.machine.acknowledge(&members[who], &[ack(first, last, &types)], bench.now, &limits);
                    prop_assert_eq!(answer.is_ok(), right);
                    let Ok(out) = answer else { continue };
                    if bench.settle(out) {
                        for (offset, said) in (first..=last).zip(types).filter(|(o, _)| *o >= start) {
                            let entry = bench.model.get_mut(&offset).unwrap();
                            entry.0 = match said {
                                AckType::Accept | AckType::Gap | AckType::Reject => Plain::Done,
                                AckType::Release => if entry.1 >= limits.deliveries_max { Plain::Done } else { Plain::Free },
                                AckType::Renew => Plain::Held(who, bench.now + limits.lock_ms),
                            };
                        }
                    }
                }
                Step::Release { who } => {
                    let out = bench.machine.release(&members[who], &limits);
                    if bench.settle(out) {
                        for (state, deliveries) in bench.model.values_mut() {
                            if matches!(state, Plain::Held(w, _) if *w == who) {
                                *state = if *deliveries >= limits.deliveries_max { Plain::Done } else { Plain::Free };
                            }
                        }
                    }
                }
                Step::Wait { ms } => {
                    bench.now += ms;
                    bench.refuse = false;
                    let now = bench.now;
                    let due = bench.model.values().filter_map(|(state, _)| match state {
                        Plain::Held(_, until) => Some(*until),
                        _ => None,
                    }).min();
                    if let Some(due) = due {
                        prop_assert!(bench.machine.next_expiry_ms().is_some_and(|at| at <= due), "a lock is forgotten");
                    }
                    let out = bench.machine.expire(now, &limits);
                    prop_assert!(bench.settle(out));
                    for (state, deliveries) in bench.model.values_mut() {
                        if matches!(state, Plain::Held(_, until) if *until <= now) {
                            *state = if *deliveries >= limits.deliveries_max { Plain::Done } else { Plain::Free };
                        }
                    }
                }
                Step::Trim { by } => {
                    let to = bench.machine.start() + by;
                    bench.machine.log_starts_at(to);
                    for (_, (state, _)) in bench.model.range_mut(..to) {
                        *state = Plain::Done;
                    }
                    for offset in bench.machine.end().min(to)..to {
                        bench.model.entry(offset).or_insert((Plain::Done, 0));
                    }
                }
                Step::Refuse => bench.refuse = true,
                Step::Restart => {
                    // What the log dropped is found out again when it is read.
                    let start = bench.machine.start();
                    bench.refuse = false;
                    let (read, _) = bench.store.read(&key(), -1, 0).unwrap();
                    let mut machine = SharePartition::restore(read.start_offset, &read.batches);
                    machine.log_starts_at(start);
                    bench.machine = machine.clone();
                    bench.model.retain(|offset, _| *offset < machine.end());
                    for offset in machine.end().min(start)..start {
                        bench.model.insert(offset, (Plain::Done, 0));
                    }
                    for (offset, (state, deliveries)) in &mut bench.model {
                        if matches!(state, Plain::Held(..)) {
                            *state = Plain::Free;
                        }
                        if *state != Plain::Done {
                            let known = machine.batches().iter().find(|b| b.first <= *offset && *offset <= b.last).map_or(0, |b| b.deliveries);
                            prop_assert!(known <= *deliveries, "never more deliveries than there were");
                            *deliveries = known;
                        }
                    }
                    let mut store = ShareStateShard::new(3);
                    let from = usize::try_from(bench.store.needed_from(bench.records.len() as i64)).unwrap();
                    for (offset, record) in bench.records.iter().enumerate().skip(from) {
                        store.replay(offset as i64, &record.key, record.value.as_deref()).unwrap();
                    }
                    prop_assert_eq!(store.get(&key()), bench.store.get(&key()), "a replay tells what memory knew");
                    bench.store = store;
                }
            }
            bench.agree();
        }
    }

    #[test]
    fn runs_are_a_map(sets in prop::collection::vec((0..40_i64, 0..12_i64, 0..4_u8), 1..60)) {
        let mut runs = Runs::default();
        let mut plain: BTreeMap<i64, u8> = BTreeMap::new();
        for (first, length, value) in sets {
            if value == 0 {
                runs.remove(first, first + length);
                plain.retain(|offset, _| *offset < first || *offset > first + length);
            } else {
                runs.set(first, first + length, value);
                plain.extend((first..=first + length).map(|offset| (offset, value)));
            }
            let flat: BTreeMap<i64, u8> =
                runs.iter().flat_map(|(first, last, value)| (first..=last).map(|o| (o, *value))).collect();
            prop_assert_eq!(&flat, &plain);
            let all: Vec<_> = runs.iter().map(|(first, last, value)| (first, last, *value)).collect();
            prop_assert!(all.windows(2).all(|w| w[0].1 + 1 < w[1].0 || w[0].2 != w[1].2), "neighbours differ");
            let some: BTreeMap<i64, u8> =
                runs.within(7, 21).flat_map(|(first, last, value)| (first..=last).map(|o| (o, *value))).collect();
            let expected: BTreeMap<i64, u8> = plain.range(7..=21).map(|(o, v)| (*o, *v)).collect();
            prop_assert_eq!(some, expected);
        }
    }
}

#[test]
fn a_store_refuses_what_was_never_initialized_and_older_epochs() {
    let mut store = ShareStateShard::new(500);
    let write =
        StateWrite { state_epoch: 1, leader_epoch: 0, start_offset: 5, completed: 0, batches: Vec::new() };
    assert_eq!(code(store.write(&key(), &write, 0)), ErrorCode::InvalidRequest);
    assert_eq!(code(store.read(&key(), 0, 0)), ErrorCode::InvalidRequest);
    assert_eq!(store.delete(&key()), None);
    assert_eq!(store.summary(&key()), None);
    let change = store.initialize(&key(), 2, UNINITIALIZED, 0).unwrap();
    store.apply(change, 0);
    assert_eq!(store.summary(&key()).unwrap().start_offset, UNINITIALIZED);
    assert_eq!(code(store.write(&key(), &write, 0)), ErrorCode::FencedStateEpoch);
    assert_eq!(code(store.initialize(&key(), 1, 7, 0)), ErrorCode::FencedStateEpoch);
    let (_, change) = store.read(&key(), 4, 0).unwrap();
    store.apply(change.unwrap(), 1);
    assert_eq!(store.summary(&key()).unwrap().leader_epoch, 4);
    let late = StateWrite { state_epoch: 2, leader_epoch: 3, ..write };
    assert_eq!(code(store.write(&key(), &late, 0)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(store.needed_from(9), 0);
    for change in store.cold(10, 100, 10) {
        store.apply(change, 8);
    }
    assert_eq!(store.needed_from(9), 8);
    let change = store.delete(&key()).unwrap();
    assert_eq!(change.record.value, None);
    store.apply(change, 9);
    assert_eq!((store.needed_from(10), store.get(&key())), (10, None));
}

#[test]
fn coordinator_keys_are_kafkas() {
    let text = key().coordinator_key();
    assert_eq!(ShareKey::parse(&text), Some(key()));
    let odd = ShareKey { group: "a:b:c".into(), ..key() };
    assert_eq!(ShareKey::parse(&odd.coordinator_key()), Some(odd));
    for wrong in ["", "g", "g:1", "g:nonsense:1", ":AAAAAAAAAAAAAAAAAAAAAA:1", "g:AAAAAAAAAAAAAAAAAAAAAA:-1"]
    {
        assert_eq!(ShareKey::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn sessions_have_epochs_and_an_end() {
    let (t, u) = ((Uuid([1; 16]), 0), (Uuid([2; 16]), 0));
    let mut sessions = ShareSessions::new(2);
    let who = ("g", "a");
    let open =
        |sessions: &mut ShareSessions, epoch, added: &[TopicPartitionId], gone: &[TopicPartitionId]| {
            sessions.fetch(who, epoch, 1, (added, gone), false).map(|opened| opened.partitions)
        };
    assert_eq!(open(&mut sessions, 1, &[t], &[]), Err(ErrorCode::ShareSessionNotFound));
    assert_eq!(sessions.fetch(who, 0, 1, (&[t], &[]), true), Err(ErrorCode::InvalidRequest));
    assert_eq!(open(&mut sessions, 0, &[t], &[]), Ok(vec![t]));
    assert_eq!(open(&mut sessions, 1, &[u], &[]), Ok(vec![t, u]));
    assert_eq!(open(&mut sessions, 1, &[], &[]), Err(ErrorCode::InvalidShareSessionEpoch));
    assert_eq!(sessions.acknowledge(who, 2), Ok(false));
    assert_eq!(sessions.acknowledge(who, 0), Err(ErrorCode::InvalidShareSessionEpoch));
    assert_eq!(open(&mut sessions, 3, &[], &[t]), Ok(vec![u]));
    assert!(sessions.fetch(("g", "b"), 0, 2, (&[t], &[]), false).is_ok());
    assert_eq!(
        sessions.fetch(("g", "c"), 0, 2, (&[t], &[]), false),
        Err(ErrorCode::ShareSessionLimitReached)
    );
    assert!(sessions.fetch(who, -1, 1, (&[], &[]), true).is_ok_and(|opened| opened.is_last));
    assert_eq!(sessions.acknowledge(who, -1), Ok(true));
    assert_eq!(sessions.close("g", "a"), Some(vec![u]));
    assert_eq!(sessions.close("g", "a"), None);
    assert!(sessions.has_group("g") && !sessions.has_group("h"));
    assert_eq!(sessions.disconnected(2), [("g".to_owned(), "b".to_owned(), vec![t])]);
    assert!(sessions.is_empty());
}
