//! What the transaction coordinator promises, without a log: a bench applies every change at once and can replay all
//! records into a fresh shard.

use kafka_codec::ErrorCode;

use super::state::LAST_USED_EPOCH;
use super::*;
use crate::output::{Now, Record};

struct Bench {
    shard: TxnShard,
    records: Vec<Record>,
    now: Now,
    next_id: i64,
}

fn part(topic: &str, partition: i32) -> TxnPartition {
    TxnPartition::new(topic, partition)
}

fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id, epoch }
}

impl Bench {
    fn new() -> Self {
        Self {
            shard: TxnShard::new(TxnConfig::default()),
            records: Vec::new(),
            now: Now { mono_ms: 1_000, wall_ms: 1_000_000 },
            next_id: 100,
        }
    }

    fn wait(&mut self, ms: i64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall_ms: self.now.wall_ms + ms };
    }

    fn apply(&mut self, change: Change) {
        self.records.extend(change.records().unwrap());
        self.shard.apply(change);
    }

    /// A crash: everything in memory is gone.
    fn restart(&mut self) {
        self.shard = TxnShard::new(TxnConfig::default());
        for record in &self.records {
            self.shard.replay(&record.key, record.value.as_deref(), self.now).unwrap();
        }
    }

    fn fresh(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// InitProducerId as the runtime does it; with the markers that came first, if any.
    fn init(
        &mut self,
        id: &str,
        expected: Option<Producer>,
    ) -> Result<(Producer, Option<Markers>), ErrorCode> {
        let mut asked = InitProducer {
            transactional_id: id.into(),
            timeout_ms: 60_000,
            expected,
            fresh_producer_id: None,
        };
        let mut markers = None;
        loop {
            match self.shard.init_producer(&asked, self.now) {
                Ok(Initialised::Producer(producer, change)) => {
                    self.apply(change);
                    return Ok((producer, markers));
                }
                Ok(Initialised::AfterAbort(change)) => {
                    markers.clone_from(&change.markers);
                    self.apply(change);
                }
                Err(Refusal::NeedsProducerId) => asked.fresh_producer_id = Some(self.fresh()),
                Err(Refusal::Error(error)) => return Err(error),
            }
        }
    }

    fn begin(&mut self, id: &str) -> Producer {
        self.init(id, None).unwrap().0
    }

    fn add(
        &mut self,
        id: &str,
        who: Producer,
        what: &[TxnPartition],
        version: i16,
    ) -> Result<bool, ErrorCode> {
        let change = self.shard.add_partitions(id, who, what, version, self.now)?;
        let written = change.is_some();
        if let Some(change) = change {
            self.apply(change);
        }
        Ok(written)
    }

    fn end(
        &mut self,
        id: &str,
        who: Producer,
        commit: bool,
        version: i16,
    ) -> Result<(Producer, Option<Markers>), ErrorCode> {
        let mut fresh = None;
        loop {
            match self.shard.end(id, who, commit, version, fresh, self.now) {
                Ok(Ended { producer, change: None }) => return Ok((producer, None)),
                Ok(Ended { producer, change: Some(change) }) => {
                    let markers = change.markers.clone();
                    self.apply(change);
                    return Ok((producer, markers));
                }
                Err(Refusal::NeedsProducerId) => fresh = Some(self.fresh()),
                Err(Refusal::Error(error)) => return Err(error),
            }
        }
    }

    fn state(&self, id: &str) -> TxnState {
        self.shard.get(id).unwrap().state
    }
}

#[test]
fn each_end_moves_the_epoch_on() {
    let mut bench = Bench::new();
    let first = bench.begin("t");
    assert_eq!(first, producer(101, 0));
    assert!(bench.add("t", first, &[part("a", 0), part("a", 1)], 2).unwrap());
    assert!(!bench.add("t", first, &[part("a", 1)], 2).unwrap(), "nothing to write twice");
    let (second, markers) = bench.end("t", first, true, 2).unwrap();
    let markers = markers.unwrap();
    assert_eq!(second, producer(101, 1));
    assert_eq!(markers.producer, second, "the marker fences what comes late");
    assert!(markers.commit);
    assert_eq!(markers.partitions, [part("a", 0), part("a", 1)]);
    assert_eq!(bench.state("t"), TxnState::CompleteCommit);
    // Late: neither a write nor an end of the old epoch is taken.
    assert_eq!(bench.add("t", first, &[part("a", 0)], 2), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.shard.verify("t", first, &part("a", 0)), Err(ErrorCode::ProducerFenced));
}

#[test]
fn an_end_repeated_is_answered_as_the_first_was() {
    for commit in [true, false] {
        let mut bench = Bench::new();
        let first = bench.begin("t");
        bench.add("t", first, &[part("a", 0)], 2).unwrap();
        let (second, _) = bench.end("t", first, commit, 2).unwrap();
        for restart in [false, true] {
            if restart {
                bench.restart();
            }
            assert_eq!(bench.end("t", first, commit, 2), Ok((second, None)));
            assert_eq!(bench.end("t", first, !commit, 2), Err(ErrorCode::InvalidTxnState));
        }
    }
}

#[test]
fn a_late_end_does_not_touch_the_next_transaction() {
    let mut bench = Bench::new();
    let first = bench.begin("t");
    bench.add("t", first, &[part("a", 0)], 2).unwrap();
    let (second, _) = bench.end("t", first, true, 2).unwrap();
    bench.add("t", second, &[part("a", 0)], 2).unwrap();
    assert_eq!(bench.end("t", first, true, 2), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.end("t", first, false, 2), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.state("t"), TxnState::Ongoing);
}

#[test]
fn an_abort_of_nothing_moves_the_epoch_on() {
    let mut bench = Bench::new();
    let first = bench.begin("t");
    let (second, markers) = bench.end("t", first, false, 2).unwrap();
    assert_eq!(second, producer(first.id, 1));
    assert_eq!(markers.unwrap().partitions, []);
    let (third, _) = bench.end("t", second, false, 2).unwrap();
    assert_eq!(third, producer(first.id, 2));
    assert_eq!(bench.end("t", third, true, 2), Err(ErrorCode::InvalidTxnState), "nothing to commit");
}

#[test]
fn older_clients_keep_their_epoch() {
    let mut bench = Bench::new();
    let who = bench.begin("t");
    for commit in [true, false] {
        bench.add("t", who, &[part("a", 0)], 0).unwrap();
        let (next, markers) = bench.end("t", who, commit, 0).unwrap();
        assert_eq!((next, markers.unwrap().producer), (who, who));
        assert_eq!(bench.end("t", who, commit, 0), Ok((who, None)), "repeated");
        assert_eq!(bench.end("t", who, !commit, 0), Err(ErrorCode::InvalidTxnState));
    }
    let mut idle = Bench::new();
    let who = idle.begin("t");
    assert_eq!(idle.end("t", who, false, 0), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn strangers_are_told_what_is_wrong() {
    let mut bench = Bench::new();
    let who = bench.begin("t");
    let added = |bench: &mut Bench, id: &str, who| bench.add(id, who, &[part("a", 0)], 2);
    assert_eq!(added(&mut bench, "", who), Err(ErrorCode::InvalidRequest));
    assert_eq!(added(&mut bench, "other", who), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(added(&mut bench, "t", producer(7, 0)), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(added(&mut bench, "t", producer(who.id, 9)), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.end("other", who, true, 2), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(bench.end("t", producer(7, 0), true, 2), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(bench.end("t", producer(who.id, 9), true, 2), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.end("", who, true, 2), Err(ErrorCode::InvalidRequest));
    assert_eq!(bench.shard.verify("t", who, &part("a", 0)), Err(ErrorCode::TransactionAbortable));
    let timeout = |timeout_ms| InitProducer {
        transactional_id: "t".into(),
        timeout_ms,
        expected: None,
        fresh_producer_id: Some(1),
    };
    for wrong in [0, -1, 900_001] {
        assert_eq!(
            bench.shard.init_producer(&timeout(wrong), bench.now),
            Err(Refusal::Error(ErrorCode::InvalidTransactionTimeout))
        );
    }
}

#[test]
fn a_new_producer_fences_the_old_one_and_aborts_its_transaction() {
    for version in [0, 2] {
        let mut bench = Bench::new();
        let old = bench.begin("t");
        bench.add("t", old, &[part("a", 3)], version).unwrap();
        let (new, markers) = bench.init("t", None).unwrap();
        let markers = markers.unwrap();
        assert!(!markers.commit && markers.producer.epoch > old.epoch && new.epoch > markers.producer.epoch);
        assert_eq!(markers.partitions, [part("a", 3)]);
        assert_eq!(bench.end("t", old, true, version), Err(ErrorCode::ProducerFenced));
        assert_eq!(bench.end("t", old, false, version), Err(ErrorCode::ProducerFenced));
        assert_eq!(bench.add("t", old, &[part("a", 3)], version), Err(ErrorCode::ProducerFenced));
        assert_eq!(bench.state("t"), TxnState::Empty);
    }
}

#[test]
fn init_repeated_with_the_known_epoch_is_answered_again() {
    let mut bench = Bench::new();
    let first = bench.begin("t");
    let (second, _) = bench.init("t", Some(first)).unwrap();
    assert_eq!(second, producer(first.id, 1));
    assert_eq!(bench.init("t", Some(first)).unwrap().0, second, "the answer was lost");
    assert_eq!(bench.begin("t"), producer(first.id, 2), "somebody else begins");
    assert_eq!(bench.init("t", Some(first)), Err(ErrorCode::ProducerFenced));
    assert_eq!(bench.init("t", Some(producer(5, 0))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn timeouts_fence_their_producer() {
    for version in [0, 2] {
        let mut bench = Bench::new();
        let who = bench.begin("t");
        bench.add("t", who, &[part("a", 0)], version).unwrap();
        bench.wait(59_999);
        assert_eq!(bench.shard.timed_out(bench.now), Vec::<String>::new());
        bench.restart();
        bench.wait(1);
        assert_eq!(bench.shard.timed_out(bench.now), ["t"]);
        let change = bench.shard.fence("t", bench.now).unwrap();
        assert!(change.markers.as_ref().unwrap().producer.epoch > who.epoch);
        bench.apply(change);
        assert_eq!(bench.state("t"), TxnState::CompleteAbort);
        assert_eq!(bench.end("t", who, true, version), Err(ErrorCode::ProducerFenced));
        assert_eq!(bench.end("t", who, false, version), Err(ErrorCode::ProducerFenced));
        assert_eq!(bench.shard.fence("t", bench.now), None);
    }
}

#[test]
fn a_wall_clock_that_jumps_ends_no_transaction() {
    let mut bench = Bench::new();
    let who = bench.begin("t");
    bench.add("t", who, &[part("a", 0)], 2).unwrap();
    bench.now.wall_ms += 1_000_000_000;
    assert_eq!(bench.shard.timed_out(bench.now), Vec::<String>::new());
    bench.now.wall_ms = 0;
    bench.restart();
    bench.wait(59_999);
    assert_eq!(bench.shard.timed_out(bench.now), Vec::<String>::new());
    bench.wait(1);
    assert_eq!(bench.shard.timed_out(bench.now), ["t"]);
}

#[test]
fn a_used_up_producer_id_is_replaced() {
    let mut bench = Bench::new();
    let who = bench.begin("t");
    let mut now = who;
    while now.epoch < LAST_USED_EPOCH {
        now = bench.end("t", now, false, 2).unwrap().0;
    }
    assert_eq!(now, producer(who.id, LAST_USED_EPOCH));
    bench.records.drain(..bench.records.len() - 1);
    bench.add("t", now, &[part("a", 0)], 2).unwrap();
    let (next, markers) = bench.end("t", now, true, 2).unwrap();
    assert_eq!(next, producer(102, 0));
    assert_eq!(markers.unwrap().producer, producer(who.id, i16::MAX));
    for restart in [false, true] {
        if restart {
            bench.restart();
        }
        assert_eq!(bench.end("t", now, true, 2), Ok((next, None)), "repeated over the change of ids");
    }
    bench.add("t", next, &[part("a", 0)], 2).unwrap();
    // InitProducerId changes the id as well.
    let mut old = Bench::new();
    let who = old.begin("t");
    for epoch in 1..=LAST_USED_EPOCH {
        assert_eq!(old.begin("t").epoch, epoch);
    }
    assert_eq!(old.begin("t"), producer(who.id + 1, 0));
}

#[test]
fn a_decision_survives_and_is_completed_later() {
    for (commit, version) in [(true, 2), (false, 2), (true, 0), (false, 0)] {
        let mut bench = Bench::new();
        let who = bench.begin("t");
        bench.add("t", who, &[part("a", 0), part("b", 1)], version).unwrap();
        let ended = bench.shard.end("t", who, commit, version, None, bench.now).unwrap();
        let change = ended.change.unwrap();
        bench.apply(change.decision_only().unwrap());
        bench.restart();
        assert_eq!(bench.shard.ending(), ["t"]);
        assert_eq!(bench.end("t", who, commit, version), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(bench.end("t", who, !commit, version), Err(ErrorCode::InvalidTxnState));
        assert_eq!(bench.init("t", None), Err(ErrorCode::ConcurrentTransactions));
        let next = ended.producer;
        assert_eq!(bench.add("t", next, &[part("a", 0)], version), Err(ErrorCode::ConcurrentTransactions));
        let rest = bench.shard.complete("t", bench.now).unwrap();
        assert_eq!(rest.markers, change.markers, "the same markers as in one step");
        let known = |change: &Change| change.result().map(|txn| (txn.producer, txn.state));
        assert_eq!(known(&rest), known(&change));
        bench.apply(rest);
        let state = if commit { TxnState::CompleteCommit } else { TxnState::CompleteAbort };
        assert_eq!(bench.state("t"), state);
        assert_eq!(bench.shard.complete("t", bench.now), None);
    }
}

#[test]
fn unused_ids_are_forgotten() {
    let mut bench = Bench::new();
    bench.begin("idle");
    let busy = bench.begin("busy");
    bench.add("busy", busy, &[part("a", 0)], 2).unwrap();
    bench.wait(TxnConfig::default().id_expiration_ms - 1);
    assert_eq!(bench.shard.expired(10, bench.now), []);
    bench.wait(1);
    for change in bench.shard.expired(10, bench.now) {
        bench.apply(change);
    }
    for restart in [false, true] {
        if restart {
            bench.restart();
        }
        assert!(bench.shard.get("idle").is_none());
        assert_eq!(bench.state("busy"), TxnState::Ongoing);
    }
}

#[test]
fn lists_pass_their_filters() {
    let mut bench = Bench::new();
    let a = bench.begin("a");
    let b = bench.begin("b");
    bench.add("b", b, &[part("x", 0)], 2).unwrap();
    bench.wait(500);
    let all = |filter: ListTransactions| -> Vec<String> {
        bench.shard.list(&filter, bench.now).into_iter().map(|(id, _)| id.to_owned()).collect()
    };
    let any = ListTransactions { open_longer_than_ms: -1, ..ListTransactions::default() };
    assert_eq!(all(any.clone()), ["a", "b"]);
    assert_eq!(all(ListTransactions { states: vec![TxnState::Ongoing], ..any.clone() }), ["b"]);
    assert_eq!(all(ListTransactions { producer_ids: vec![a.id], ..any.clone() }), ["a"]);
    assert_eq!(
        all(ListTransactions { states: vec![TxnState::Ongoing], open_longer_than_ms: 500, ..any }),
        Vec::<String>::new()
    );
}

#[test]
fn states_have_kafkas_names_and_numbers() {
    let names = [
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "Dead",
        "PrepareEpochFence",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let state = TxnState::from_name(name).unwrap();
        assert_eq!((state.id(), state.as_str()), (number as i8, name));
        assert_eq!(TxnState::from_id(state.id()), Some(state));
    }
    assert_eq!(TxnState::from_id(8), None);
}

mod random {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Init(usize),
        Add(usize, i32),
        End(usize, bool),
        Late(usize, bool),
        Timeout,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..2usize).prop_map(Step::Init),
            6 => (0..2usize, 0..4i32).prop_map(|(who, p)| Step::Add(who, p)),
            4 => (0..2usize, any::<bool>()).prop_map(|(who, commit)| Step::End(who, commit)),
            2 => (0..2usize, any::<bool>()).prop_map(|(who, commit)| Step::Late(who, commit)),
            1 => Just(Step::Timeout),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Two producers contend for one id. However their requests come: every partition that was added is told the
        /// end of its transaction exactly once, by a marker that fences it, and only its owner commits.
        #[test]
        fn every_transaction_has_one_end(steps in proptest::collection::vec(step(), 1..80)) {
            let mut bench = Bench::new();
            let mut known: [Option<Producer>; 2] = [None, None];
            let mut before: [Option<Producer>; 2] = [None, None];
            // What lies open in the logs: partition, and the epoch it was written with.
            let mut open: BTreeMap<i32, Producer> = BTreeMap::new();
            let told = |open: &mut BTreeMap<i32, Producer>, markers: Option<Markers>| {
                let Some(markers) = markers else { return };
                let named: Vec<i32> = markers.partitions.iter().map(|p| p.partition).collect();
                let lying: Vec<i32> = open.keys().copied().collect();
                assert_eq!(named, lying, "the end is told to what lies open and nothing else");
                for (_, writer) in std::mem::take(open) {
                    assert_eq!(writer.id, markers.producer.id);
                    assert!(markers.producer.epoch > writer.epoch);
                }
            };
            for step in steps {
                match step {
                    Step::Init(who) => {
                        let (producer, markers) = bench.init("t", None).unwrap();
                        told(&mut open, markers);
                        before[who] = known[who];
                        known[who] = Some(producer);
                    }
                    Step::Add(who, partition) => {
                        let Some(producer) = known[who] else { continue };
                        if bench.add("t", producer, &[part("a", partition)], 2).is_ok() {
                            bench.shard.verify("t", producer, &part("a", partition)).unwrap();
                            open.insert(partition, producer);
                        }
                    }
                    Step::End(who, commit) => {
                        let Some(producer) = known[who] else { continue };
                        let mine = open.values().all(|writer| *writer == producer);
                        if let Ok((next, markers)) = bench.end("t", producer, commit, 2) {
                            prop_assert!(mine || markers.is_none());
                            told(&mut open, markers);
                            before[who] = known[who];
                            known[who] = Some(next);
                        }
                    }
                    Step::Late(who, commit) => {
                        let Some(producer) = before[who] else { continue };
                        let state = bench.shard.get("t").cloned();
                        if let Ok((_, markers)) = bench.end("t", producer, commit, 2) {
                            prop_assert!(markers.is_none(), "a repetition changes nothing");
                            prop_assert_eq!(bench.shard.get("t").cloned(), state);
                        }
                    }
                    Step::Timeout => {
                        bench.wait(60_000);
                        for id in bench.shard.timed_out(bench.now) {
                            let change = bench.shard.fence(&id, bench.now).unwrap();
                            told(&mut open, change.markers.clone());
                            bench.apply(change);
                        }
                        prop_assert!(open.is_empty());
                    }
                    Step::Restart => {
                        let lying: Vec<_> = bench.shard.open_partitions().map(|(id, p)| (id, p.clone())).collect();
                        bench.restart();
                        let found: Vec<_> = bench.shard.open_partitions().map(|(id, p)| (id, p.clone())).collect();
                        prop_assert_eq!(lying, found);
                    }
                }
            }
        }
    }
}
