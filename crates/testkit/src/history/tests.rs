//! Each violation is found, and histories without one are valid.

use std::sync::Arc;

use super::*;

fn partition() -> Partition {
    Partition::new("t", 0)
}

/// Builds histories; every call is one moment after the other.
#[derive(Default)]
struct Story {
    recorder: Recorder,
}

impl Story {
    fn begin(&self, process: Process, value: Value, delivery: Delivery) -> OpId {
        self.recorder.send(process, Send { partition: partition(), value, delivery, ordered: true })
    }

    fn acked(&self, process: Process, value: Value, delivery: Delivery, offset: Option<i64>) {
        let id = self.begin(process, value, delivery);
        self.recorder.sent(id, offset);
    }

    fn once(&self, value: Value) {
        self.acked(1, value, Delivery::ExactlyOnce, None);
    }

    fn check(&self, records: &[(i64, Value)]) -> Vec<String> {
        self.check_read(FinalRead::of(partition(), 0, records))
    }

    fn check_read(&self, read: FinalRead) -> Vec<String> {
        check_log(&self.recorder.history(), &[read]).violations.iter().map(ToString::to_string).collect()
    }

    fn end_offset(&self, told: i64) {
        let id = self.recorder.begin(9, Op::EndOffset(EndOffset { partition: partition() }));
        self.recorder.sent(id, Some(told));
    }

    fn read(&self, from: i64, records: &[(i64, Value)]) {
        let id = self.recorder.begin(9, Op::Read(Read { partition: partition(), from }));
        self.recorder.end(id, Outcome::Records(records.to_vec()));
    }

    fn group_offset(&self, committed: Option<i64>, told: Option<i64>) {
        let group = GroupOffset { group: "g".into(), partition: partition(), offset: committed };
        let id = self.recorder.begin(9, Op::GroupOffset(group));
        self.recorder.sent(id, told);
    }
}

#[test]
fn kept_promises_are_valid() {
    let story = Story::default();
    story.acked(1, 10, Delivery::ExactlyOnce, Some(0));
    story.acked(2, 20, Delivery::AtLeastOnce, Some(1));
    story.begin(2, 21, Delivery::AtLeastOnce); // killed in flight, written
    story.begin(2, 22, Delivery::AtLeastOnce); // killed in flight, not written
    story.acked(3, 30, Delivery::AtMostOnce, None); // gone, as it may
    let failed = story.begin(1, 11, Delivery::ExactlyOnce);
    story.recorder.failed(failed);
    story.end_offset(3);
    story.read(0, &[(0, 10), (1, 20)]);
    story.group_offset(Some(1), None);
    story.group_offset(None, Some(1));
    let read = FinalRead::of(partition(), 0, &[(0, 10), (1, 20), (2, 21), (3, 20)]);
    let report = check_log(&story.recorder.history(), &[read]);
    assert_eq!(report.violations, []);
    assert_eq!(
        (report.acknowledged, report.unknown, report.unknown_seen, report.repeats),
        (3, 2, 1, 1),
        "{report}"
    );
    assert!(report.to_string().starts_with("VALID"));
}

#[test]
fn lost_records_are_found() {
    let story = Story::default();
    story.once(1);
    story.acked(1, 2, Delivery::AtLeastOnce, Some(1));
    assert_eq!(
        story.check(&[]),
        [
            "lost: 1 was acknowledged for t-0 and is not there",
            "lost: 2 was acknowledged for t-0 and is not there"
        ]
    );
    // A partition that nobody read is empty.
    let report = check_log(&story.recorder.history(), &[]);
    assert_eq!(report.violations.len(), 2);
}

#[test]
fn what_retention_removed_is_not_lost() {
    let story = Story::default();
    story.acked(1, 1, Delivery::ExactlyOnce, Some(0));
    story.acked(1, 2, Delivery::ExactlyOnce, Some(1));
    assert_eq!(story.check_read(FinalRead::of(partition(), 1, &[(1, 2)])), Vec::<String>::new());
}

#[test]
fn duplicates_are_found_where_they_are_forbidden() {
    let story = Story::default();
    story.once(1);
    story.acked(2, 2, Delivery::AtMostOnce, None);
    story.acked(3, 3, Delivery::AtLeastOnce, None);
    let records = [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)];
    assert_eq!(
        story.check(&records),
        ["duplicate: 1 is at offsets [0, 3] of t-0", "duplicate: 2 is at offsets [1, 4] of t-0"]
    );
}

#[test]
fn unacknowledged_duplicates_count_too() {
    let story = Story::default();
    story.begin(1, 1, Delivery::ExactlyOnce);
    assert_eq!(story.check(&[(0, 1), (1, 1)]), ["duplicate: 1 is at offsets [0, 1] of t-0"]);
}

#[test]
fn refused_and_unknown_records_are_found() {
    let story = Story::default();
    let id = story.begin(1, 1, Delivery::ExactlyOnce);
    story.recorder.failed(id);
    assert_eq!(
        story.check(&[(0, 1), (1, 99)]),
        ["refused record: 1 was refused by t-0 and is there", "unknown record: nobody sent 99 to t-0"]
    );
}

#[test]
fn record_in_another_partition_is_lost_and_unknown() {
    let story = Story::default();
    story.once(1);
    let other = Partition::new("t", 1);
    let finals = [FinalRead::of(partition(), 0, &[]), FinalRead::of(other, 0, &[(0, 1)])];
    let report = check_log(&story.recorder.history(), &finals);
    let shown: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["lost: 1 was acknowledged for t-0 and is not there", "unknown record: nobody sent 1 to t-1"]
    );
}

#[test]
fn wrong_offsets_are_found() {
    let story = Story::default();
    story.acked(1, 1, Delivery::ExactlyOnce, Some(0));
    story.acked(2, 2, Delivery::ExactlyOnce, Some(0));
    story.acked(3, 3, Delivery::ExactlyOnce, Some(7));
    assert_eq!(
        story.check(&[(0, 1), (1, 2), (2, 3)]),
        [
            "wrong offset: 2 was acknowledged at 0 of t-0, where there is 1",
            "wrong offset: 3 was acknowledged at 7 of t-0, where there is nothing",
            "two values at offset 0 of t-0: 1 and 2",
        ]
    );
}

#[test]
fn gaps_are_found() {
    let story = Story::default();
    story.once(1);
    story.once(2);
    assert_eq!(story.check(&[(0, 1), (2, 2)]), ["offsets not dense: 2 instead of 1 in t-0"]);
    let mut read = FinalRead::of(partition(), 0, &[(0, 1), (1, 2)]);
    read.log_end = 3;
    assert_eq!(story.check_read(read), ["offsets not dense: 3 instead of 2 in t-0"]);
    let mut twice = FinalRead::of(partition(), 0, &[(0, 1), (1, 2)]);
    twice.records.push((1, None));
    assert_eq!(story.check_read(twice), ["offsets not dense: 1 instead of 2 in t-0"]);
}

#[test]
fn broken_order_of_one_publisher_is_found() {
    // Both under way at once: real time says nothing, the publisher's order does.
    let story = Story::default();
    let first = story.begin(1, 1, Delivery::ExactlyOnce);
    let second = story.begin(1, 2, Delivery::ExactlyOnce);
    story.recorder.sent(first, None);
    story.recorder.sent(second, None);
    let expected = "order: publisher 1 sent 1 before 2; t-0 has them the other way round";
    assert_eq!(story.check(&[(0, 2), (1, 1)]), [expected]);
    assert_eq!(story.check(&[(0, 1), (1, 2)]), Vec::<String>::new());
}

#[test]
fn unordered_sends_may_overtake_each_other() {
    let story = Story::default();
    let send =
        |value| Send { partition: partition(), value, delivery: Delivery::AtLeastOnce, ordered: false };
    let first = story.recorder.send(1, send(1));
    let second = story.recorder.send(1, send(2));
    story.recorder.sent(first, None);
    story.recorder.sent(second, None);
    assert_eq!(story.check(&[(0, 2), (1, 1)]), Vec::<String>::new());
}

#[test]
fn broken_real_time_order_is_found() {
    let story = Story::default();
    story.acked(1, 1, Delivery::ExactlyOnce, None);
    story.acked(2, 2, Delivery::ExactlyOnce, None);
    let expected = "order: 1 was acknowledged before 2 was sent; t-0 has them the other way round";
    assert_eq!(story.check(&[(0, 2), (1, 1)]), [expected]);
    // An unacknowledged one is bound by it as well.
    let story = Story::default();
    story.acked(1, 1, Delivery::ExactlyOnce, None);
    story.begin(2, 2, Delivery::ExactlyOnce);
    assert_eq!(story.check(&[(0, 2), (1, 1)]), [expected]);
}

#[test]
fn stale_and_impossible_ends_are_found() {
    let story = Story::default();
    story.end_offset(0);
    story.acked(1, 1, Delivery::ExactlyOnce, Some(0));
    story.end_offset(0);
    story.end_offset(1);
    story.end_offset(5);
    story.end_offset(1);
    assert_eq!(
        story.check(&[(0, 1)]),
        [
            "stale end: t-0 was said to end at 0, known to end at 1 or later",
            "stale end: t-0 was said to end at 1, known to end at 5 or later",
            "beyond the end: t-0 was said to reach 5 and ends at 1",
        ]
    );
}

#[test]
fn end_asked_before_the_acknowledgement_may_be_low() {
    let story = Story::default();
    let asked = story.recorder.begin(9, Op::EndOffset(EndOffset { partition: partition() }));
    story.acked(1, 1, Delivery::ExactlyOnce, Some(0));
    story.recorder.sent(asked, Some(0));
    assert_eq!(story.check(&[(0, 1)]), Vec::<String>::new());
}

#[test]
fn vanished_changed_and_skipped_reads_are_found() {
    let story = Story::default();
    for value in 1..=3 {
        story.once(value);
    }
    story.read(0, &[(0, 1), (2, 3)]);
    story.read(1, &[(1, 7)]);
    story.read(3, &[(3, 4)]);
    assert_eq!(
        story.check(&[(0, 1), (1, 2), (2, 3)]),
        [
            "two values at offset 1 of t-0: 2 and 7",
            "vanished: 4 was read at offset 3 of t-0 and is not there",
            "skipped: a read of t-0 left offset 1 out",
        ]
    );
}

#[test]
fn control_records_are_no_gap_and_no_skip() {
    let story = Story::default();
    story.once(1);
    story.once(2);
    story.read(0, &[(0, 1), (2, 2)]);
    let read = FinalRead {
        partition: partition(),
        log_start: 0,
        log_end: 3,
        records: vec![(0, Some(1)), (1, None), (2, Some(2))],
    };
    assert_eq!(story.check_read(read), Vec::<String>::new());
}

#[test]
fn lost_group_offsets_are_found() {
    let story = Story::default();
    story.group_offset(None, None);
    story.group_offset(Some(5), None);
    story.group_offset(None, None);
    story.group_offset(None, Some(3));
    story.group_offset(None, Some(9));
    assert_eq!(
        story.check(&[]),
        [
            "group offset lost: g had 5 for t-0 acknowledged and was told nothing",
            "group offset lost: g had 5 for t-0 acknowledged and was told 3",
        ]
    );
}

/// A log that keeps its promises, under random load from several processes with several sends under way; then the
/// same with one fault.
#[test]
fn random_logs_are_valid_until_they_are_broken() {
    let mut random = Random(1);
    for _ in 0..200 {
        let recorder = Recorder::default();
        let mut log: Vec<(i64, Value)> = Vec::new();
        let mut waiting: Vec<(OpId, Value)> = Vec::new();
        for value in 0..60 {
            let send = Send { partition: partition(), value, delivery: Delivery::ExactlyOnce, ordered: true };
            waiting.push((recorder.send(random.below(3) as Process, send), value));
            // The oldest sends are appended; some answers are lost with the connection.
            while waiting.len() > 4 || (!waiting.is_empty() && random.below(2) == 0) {
                let (id, value) = waiting.remove(0);
                let offset = log.len() as i64;
                match random.below(10) {
                    0 => {}
                    1 => log.push((offset, value)),
                    2 => recorder.failed(id),
                    _ => {
                        log.push((offset, value));
                        recorder.sent(id, (random.below(2) == 0).then_some(offset));
                    }
                }
            }
        }
        let history = recorder.history();
        let verdict =
            |records: &[(i64, Value)]| check_log(&history, &[FinalRead::of(partition(), 0, records)]);
        let report = verdict(&log);
        assert!(report.is_valid(), "{report}");
        let acknowledged: Vec<Value> = history
            .operations
            .iter()
            .filter(|operation| operation.ok_at().is_some())
            .filter_map(|operation| match &operation.op {
                Op::Send(send) => Some(send.value),
                _ => None,
            })
            .collect();
        let victim = acknowledged[random.below(acknowledged.len() as u64) as usize];
        let renumbered = |values: Vec<Value>| -> Vec<(i64, Value)> { (0..).zip(values).collect() };
        let values: Vec<Value> = log.iter().map(|(_, value)| *value).collect();
        let without = renumbered(values.iter().copied().filter(|value| *value != victim).collect());
        assert!(
            verdict(&without).violations.contains(&Violation::Lost { partition: partition(), value: victim })
        );
        let mut twice = values.clone();
        twice.push(victim);
        let found = |violation: &Violation| matches!(violation, Violation::Duplicate { value, .. } if *value == victim);
        assert!(verdict(&renumbered(twice)).violations.iter().any(found));
        let mut reversed = values.clone();
        reversed.reverse();
        assert!(!verdict(&renumbered(reversed)).is_valid());
        let report = verdict(&log[..log.len() - 1]);
        let last = log[log.len() - 1].1;
        assert_eq!(!report.is_valid(), acknowledged.contains(&last), "{report}");
    }
}

/// A small linear congruential generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

// ---- MQTT ----

fn publish(recorder: &Recorder, process: Process, value: Value, qos: u8) -> OpId {
    recorder.publish(process, Publish { topic: "a/b".into(), value, qos, retain: false, clear: false })
}

fn published(recorder: &Recorder, process: Process, value: Value, qos: u8) {
    let id = publish(recorder, process, value, qos);
    recorder.sent(id, None);
}

fn subscriber(granted_qos: u8, received: &[Value]) -> SubscriberEnd {
    SubscriberEnd {
        name: "s".into(),
        granted_qos,
        topics: vec!["a/b".into()],
        since: 0,
        received: received.iter().map(|value| (Arc::from("a/b"), *value)).collect(),
    }
}

fn check_subscriber(recorder: &Recorder, subscriber: SubscriberEnd) -> Vec<String> {
    let end = MqttEnd { subscribers: vec![subscriber], retained: Vec::new() };
    check_mqtt(&recorder.history(), &end).violations.iter().map(ToString::to_string).collect()
}

#[test]
fn kept_deliveries_are_valid() {
    let recorder = Recorder::default();
    published(&recorder, 1, 10, 1);
    published(&recorder, 1, 11, 2);
    published(&recorder, 1, 12, 0);
    publish(&recorder, 1, 13, 1);
    publish(&recorder, 1, 14, 2);
    published(&recorder, 2, 20, 1);
    let end = MqttEnd { subscribers: vec![subscriber(2, &[20, 10, 10, 11, 13])], retained: Vec::new() };
    let report = check_mqtt(&recorder.history(), &end);
    assert!(report.is_valid(), "{report}");
    assert_eq!((report.acknowledged, report.unknown, report.unknown_seen, report.repeats), (4, 2, 1, 1));
}

#[test]
fn undelivered_messages_are_found() {
    let recorder = Recorder::default();
    published(&recorder, 1, 1, 1);
    published(&recorder, 1, 2, 2);
    published(&recorder, 1, 3, 0);
    assert_eq!(
        check_subscriber(&recorder, subscriber(2, &[])),
        ["not delivered: s never got 1 of a/b at QoS 1", "not delivered: s never got 2 of a/b at QoS 2"]
    );
    assert_eq!(check_subscriber(&recorder, subscriber(0, &[])), Vec::<String>::new());
}

#[test]
fn nothing_is_owed_before_the_subscription_or_of_other_topics() {
    let recorder = Recorder::default();
    published(&recorder, 1, 1, 1);
    let late = SubscriberEnd { since: 3, ..subscriber(1, &[]) };
    assert_eq!(check_subscriber(&recorder, late), Vec::<String>::new());
    let elsewhere = SubscriberEnd { topics: vec!["c".into()], ..subscriber(1, &[]) };
    assert_eq!(check_subscriber(&recorder, elsewhere), Vec::<String>::new());
}

#[test]
fn qos_2_delivered_twice_is_found() {
    let recorder = Recorder::default();
    published(&recorder, 1, 1, 2);
    publish(&recorder, 1, 2, 2);
    assert_eq!(
        check_subscriber(&recorder, subscriber(2, &[1, 1, 2, 2, 2])),
        ["delivered 2 times: s got 1 of a/b at QoS 2", "delivered 3 times: s got 2 of a/b at QoS 2"]
    );
    // Granted QoS 1, it may be repeated.
    assert_eq!(check_subscriber(&recorder, subscriber(1, &[1, 1, 2])), Vec::<String>::new());
}

#[test]
fn unpublished_and_refused_messages_are_found() {
    let recorder = Recorder::default();
    let id = publish(&recorder, 1, 1, 1);
    recorder.failed(id);
    assert_eq!(
        check_subscriber(&recorder, subscriber(1, &[1, 9])),
        ["not published: s got 1 of a/b", "not published: s got 9 of a/b"]
    );
}

#[test]
fn broken_delivery_order_is_found() {
    let recorder = Recorder::default();
    published(&recorder, 1, 1, 1);
    published(&recorder, 1, 2, 1);
    published(&recorder, 1, 3, 2);
    published(&recorder, 2, 4, 1);
    assert_eq!(
        check_subscriber(&recorder, subscriber(2, &[3, 4, 2, 1])),
        ["delivery order: s got 2 of a/b before 1"]
    );
}

#[test]
fn retained_must_be_the_last_acknowledged() {
    let retain = |recorder: &Recorder, value, clear| {
        recorder.publish(1, Publish { topic: "r".into(), value, qos: 1, retain: true, clear })
    };
    let verdict = |recorder: &Recorder, found: Option<Value>| {
        let end = MqttEnd { subscribers: Vec::new(), retained: vec![("r".into(), found)] };
        check_mqtt(&recorder.history(), &end).violations.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let recorder = Recorder::default();
    assert_eq!(verdict(&recorder, None), Vec::<String>::new());
    assert_eq!(verdict(&recorder, Some(1)), ["retained: r has 1, allowed are nothing"]);
    let id = retain(&recorder, 1, false);
    recorder.sent(id, None);
    let id = retain(&recorder, 2, false);
    recorder.sent(id, None);
    assert_eq!(verdict(&recorder, Some(2)), Vec::<String>::new());
    assert_eq!(verdict(&recorder, Some(1)), ["retained: r has 1, allowed are 2"]);
    assert_eq!(verdict(&recorder, None), ["retained: r has nothing, allowed are 2"]);
    // Two at once: either may win. One of unknown outcome may win too.
    let (third, fourth) = (retain(&recorder, 3, false), retain(&recorder, 4, false));
    recorder.sent(third, None);
    recorder.sent(fourth, None);
    assert_eq!(verdict(&recorder, Some(3)), Vec::<String>::new());
    assert_eq!(verdict(&recorder, Some(4)), Vec::<String>::new());
    assert_eq!(verdict(&recorder, Some(2)), ["retained: r has 2, allowed are 3 4"]);
    retain(&recorder, 5, true);
    assert_eq!(verdict(&recorder, None), Vec::<String>::new());
    assert_eq!(verdict(&recorder, Some(4)), Vec::<String>::new());
}

mod transactions {
    use super::*;

    fn check(outcome: Option<Outcome>, seen: &[(i32, i64, Value)], end: i64) -> Vec<String> {
        let recorder = Recorder::default();
        let partitions = [Partition::new("t", 0), Partition::new("t", 1)];
        let records = vec![(partitions[0].clone(), 1), (partitions[1].clone(), 2)];
        let id = recorder.begin(5, Op::Transaction(records));
        if let Some(outcome) = outcome {
            recorder.end(id, outcome);
        }
        let read = |index: i32| FinalRead {
            partition: Partition::new("t", index),
            log_start: 0,
            log_end: 2,
            records: seen.iter().filter(|(i, ..)| *i == index).map(|(_, o, v)| (*o, Some(*v))).collect(),
        };
        let ends = [(Partition::new("t", 0), end)];
        let report = check_transactions(&recorder.history(), &[read(0), read(1)], &ends);
        report.violations.iter().map(ToString::to_string).collect()
    }

    const BOTH: &[(i32, i64, Value)] = &[(0, 0, 1), (1, 0, 2)];

    #[test]
    fn whole_ones_are_valid() {
        assert_eq!(check(Some(Outcome::Ok(None)), BOTH, 2), [""; 0]);
        assert_eq!(check(Some(Outcome::Fail), &[], 2), [""; 0]);
        assert_eq!(check(None, BOTH, 2), [""; 0]);
        assert_eq!(check(None, &[], 2), [""; 0]);
    }

    #[test]
    fn each_violation_is_found() {
        assert_eq!(
            check(Some(Outcome::Ok(None)), &BOTH[..1], 2),
            ["lost: 2 was acknowledged for t-1 and is not there"]
        );
        assert_eq!(
            check(Some(Outcome::Fail), &BOTH[..1], 2),
            ["aborted read: the transaction of 1 was aborted, and t-0 shows it"]
        );
        assert_eq!(check(None, &BOTH[..1], 2), ["torn: 1 is seen, 2 of the same transaction is not in t-1"]);
        assert_eq!(
            check(None, &[(0, 0, 1), (0, 1, 1), (1, 0, 2)], 2),
            ["duplicate: 1 is at offsets [0, 1] of t-0"]
        );
        assert_eq!(check(None, &[(0, 0, 7)], 2), ["unknown record: nobody sent 7 to t-0"]);
        assert_eq!(check(None, &[], 3), ["hanging: t-0 ends at 3, readers of what is committed see 2"]);
    }
}

mod registers {
    use super::*;

    fn set(recorder: &Recorder, value: Option<Value>) -> OpId {
        recorder.begin(1, Op::Set { name: "r".into(), value })
    }

    fn look(recorder: &Recorder, found: Option<Value>) -> Vec<String> {
        let id = recorder.begin(2, Op::Look);
        recorder.end(id, Outcome::Found(vec![("r".into(), found)]));
        check_registers(&recorder.history()).violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_acknowledged_or_a_later_one_is_valid() {
        let recorder = Recorder::default();
        assert_eq!(look(&recorder, None), [""; 0]);
        let first = set(&recorder, Some(1));
        assert_eq!(look(&recorder, None), [""; 0]);
        assert_eq!(look(&recorder, Some(1)), [""; 0]);
        recorder.sent(first, None);
        set(&recorder, None);
        set(&recorder, Some(3));
        for found in [None, Some(1), Some(3)] {
            assert_eq!(look(&recorder, found), [""; 0]);
        }
    }

    #[test]
    fn a_lost_write_is_found() {
        let recorder = Recorder::default();
        let first = set(&recorder, Some(1));
        recorder.sent(first, None);
        assert_eq!(look(&recorder, None), ["wrong value: r was found to be nothing, allowed are 1"]);
    }

    #[test]
    fn a_value_that_comes_back_is_found() {
        let recorder = Recorder::default();
        for value in [Some(1), Some(2)] {
            let id = set(&recorder, value);
            recorder.sent(id, None);
        }
        assert_eq!(look(&recorder, Some(1)), ["come back: r was found to be 1, allowed are 2"]);
        let recorder = Recorder::default();
        for value in [Some(1), None] {
            let id = set(&recorder, value);
            recorder.sent(id, None);
        }
        assert_eq!(look(&recorder, Some(1)), ["come back: r was found to be 1, allowed are nothing"]);
    }

    #[test]
    fn a_look_that_began_before_the_acknowledgement_may_miss_it() {
        let recorder = Recorder::default();
        let early = recorder.begin(2, Op::Look);
        let first = set(&recorder, Some(1));
        recorder.sent(first, None);
        recorder.end(early, Outcome::Found(vec![("r".into(), None)]));
        assert!(check_registers(&recorder.history()).is_valid());
    }

    #[test]
    fn what_was_never_set_is_found() {
        let recorder = Recorder::default();
        assert_eq!(look(&recorder, Some(9)), ["wrong value: r was found to be 9, allowed are nothing"]);
    }
}
