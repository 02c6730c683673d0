//! What partitions hold against what was acknowledged.

use std::collections::{BTreeMap, HashMap};

use super::{
    Delivery, FinalRead, GroupOffset, History, Op, Operation, Outcome, Partition, Process, Read, Report,
    Send, Value, Violation,
};

/// Compares a history with the final reads of all partitions that it touches. A partition without a final read is
/// taken to be empty.
pub fn check_log(history: &History, finals: &[FinalRead]) -> Report {
    let mut report = Report::default();
    let mut logs: BTreeMap<&Partition, Log<'_>> = BTreeMap::new();
    for read in finals {
        check_dense(read, &mut report);
        logs.insert(&read.partition, Log::of(read));
    }
    let sends = Sends::of(history);
    sends.count(&logs, &mut report);
    sends.check_presence(&logs, &mut report);
    sends.check_offsets(&logs, &mut report);
    sends.check_process_order(&logs, &mut report);
    sends.check_real_time_order(&logs, &mut report);
    check_unknown_records(&sends, &logs, &mut report);
    check_reads(history, &logs, &mut report);
    check_ends(history, &logs, &mut report);
    check_group_offsets(history, &mut report);
    report.violations.sort();
    report.violations.dedup();
    report
}

/// A final read, indexed.
struct Log<'a> {
    read: &'a FinalRead,
    at: HashMap<i64, Option<Value>>,
    /// Offsets of each value, ascending.
    places: HashMap<Value, Vec<i64>>,
}

impl<'a> Log<'a> {
    fn of(read: &'a FinalRead) -> Self {
        let mut places: HashMap<Value, Vec<i64>> = HashMap::new();
        for (offset, value) in &read.records {
            if let Some(value) = value {
                places.entry(*value).or_default().push(*offset);
            }
        }
        Self { read, at: read.records.iter().copied().collect(), places }
    }
}

type Logs<'a> = BTreeMap<&'a Partition, Log<'a>>;

fn places<'l>(logs: &'l Logs<'_>, send: &Send) -> &'l [i64] {
    logs.get(&send.partition).and_then(|log| log.places.get(&send.value)).map_or(&[], Vec::as_slice)
}

/// Whether `offset` may have been removed by retention.
fn is_expired(logs: &Logs<'_>, partition: &Partition, offset: Option<i64>) -> bool {
    let start = logs.get(partition).map_or(0, |log| log.read.log_start);
    offset.is_some_and(|offset| offset < start)
}

fn check_dense(read: &FinalRead, report: &mut Report) {
    let mut expected = read.log_start;
    let mut gap = |expected, found| {
        report.violations.push(Violation::Gap { partition: read.partition.clone(), expected, found });
    };
    for (offset, _) in &read.records {
        if *offset != expected {
            gap(expected, *offset);
        }
        expected = offset + 1;
    }
    if expected != read.log_end {
        gap(expected, read.log_end);
    }
}

struct Sends<'a> {
    all: Vec<(&'a Operation, &'a Send)>,
}

impl<'a> Sends<'a> {
    fn of(history: &'a History) -> Self {
        let send = |operation: &'a Operation| match &operation.op {
            Op::Send(send) => Some((operation, send)),
            _ => None,
        };
        Self { all: history.operations.iter().filter_map(send).collect() }
    }

    fn acknowledged(&self) -> impl Iterator<Item = (&'a Operation, &'a Send)> {
        self.all.iter().copied().filter(|(operation, _)| operation.ok_at().is_some())
    }

    fn count(&self, logs: &Logs<'_>, report: &mut Report) {
        for (operation, send) in &self.all {
            if operation.ok_at().is_some() {
                report.acknowledged += 1;
            } else if operation.ended.is_none() {
                report.unknown += 1;
                report.unknown_seen += usize::from(!places(logs, send).is_empty());
            }
        }
    }

    fn check_presence(&self, logs: &Logs<'_>, report: &mut Report) {
        for (operation, send) in &self.all {
            let places = places(logs, send);
            let (partition, value) = (send.partition.clone(), send.value);
            if places.is_empty() {
                let promised = operation.ok_at().is_some() && send.delivery != Delivery::AtMostOnce;
                if promised && !is_expired(logs, &send.partition, operation.answer()) {
                    report.violations.push(Violation::Lost { partition, value });
                }
                continue;
            }
            if operation.failed() {
                report.violations.push(Violation::Refused { partition, value });
            } else if places.len() > 1 && send.delivery == Delivery::AtLeastOnce {
                report.repeats += places.len() - 1;
            } else if places.len() > 1 {
                report.violations.push(Violation::Duplicate { partition, value, offsets: places.to_vec() });
            }
        }
    }

    fn check_offsets(&self, logs: &Logs<'_>, report: &mut Report) {
        let mut told: HashMap<(&Partition, i64), Value> = HashMap::new();
        for (operation, send) in self.acknowledged() {
            let Some(offset) = operation.answer() else { continue };
            if is_expired(logs, &send.partition, Some(offset)) {
                continue;
            }
            if let Some(other) = told.insert((&send.partition, offset), send.value) {
                report.violations.push(Violation::TwoValues {
                    partition: send.partition.clone(),
                    offset,
                    values: (other.min(send.value), other.max(send.value)),
                });
            }
            let found = logs.get(&send.partition).and_then(|log| log.at.get(&offset).copied()).flatten();
            // A record that is nowhere is reported as lost.
            if found != Some(send.value) && !places(logs, send).is_empty() {
                report.violations.push(Violation::WrongOffset {
                    partition: send.partition.clone(),
                    value: send.value,
                    told: offset,
                    found,
                });
            }
        }
    }

    /// One publisher's acknowledged sends to one partition stand in the order they were begun (a repeat may follow
    /// later).
    fn check_process_order(&self, logs: &Logs<'_>, report: &mut Report) {
        let mut last: HashMap<(Process, &Partition), (i64, Value)> = HashMap::new();
        for (operation, send) in self.acknowledged().filter(|(_, send)| send.ordered) {
            let Some(place) = places(logs, send).first().copied() else { continue };
            let newest = last.entry((operation.process, &send.partition)).or_insert((place, send.value));
            if place < newest.0 {
                report.violations.push(Violation::Order {
                    partition: send.partition.clone(),
                    process: operation.process,
                    first: newest.1,
                    second: send.value,
                });
            } else {
                *newest = (place, send.value);
            }
        }
    }

    /// Whatever was begun after an acknowledgement stands behind what was acknowledged.
    fn check_real_time_order(&self, logs: &Logs<'_>, report: &mut Report) {
        enum Moment {
            Begun,
            Acknowledged,
        }
        let mut moments: Vec<(u64, Moment, &Send, i64)> = Vec::new();
        for (operation, send) in &self.all {
            let Some(place) = places(logs, send).first().copied() else { continue };
            moments.push((operation.invoked_at, Moment::Begun, send, place));
            if let Some(at) = operation.ok_at() {
                moments.push((at, Moment::Acknowledged, send, place));
            }
        }
        moments.sort_by_key(|(at, ..)| *at);
        let mut furthest: HashMap<&Partition, (i64, Value)> = HashMap::new();
        for (_, moment, send, place) in moments {
            let known = furthest.get(&send.partition).copied();
            match (moment, known) {
                (Moment::Begun, Some((before, value))) if place < before => {
                    report.violations.push(Violation::RealTimeOrder {
                        partition: send.partition.clone(),
                        first: value,
                        second: send.value,
                    });
                }
                (Moment::Acknowledged, known) if known.is_none_or(|(before, _)| place > before) => {
                    furthest.insert(&send.partition, (place, send.value));
                }
                _ => {}
            }
        }
    }
}

fn check_unknown_records(sends: &Sends<'_>, logs: &Logs<'_>, report: &mut Report) {
    let mut sent: HashMap<(&Partition, Value), ()> = HashMap::new();
    for (_, send) in &sends.all {
        sent.insert((&send.partition, send.value), ());
    }
    for (partition, log) in logs {
        for value in log.places.keys().filter(|value| !sent.contains_key(&(*partition, **value))) {
            report.violations.push(Violation::Unknown { partition: (*partition).clone(), value: *value });
        }
    }
}

fn check_reads(history: &History, logs: &Logs<'_>, report: &mut Report) {
    for operation in &history.operations {
        let (Op::Read(read), Some((_, Outcome::Records(records)))) = (&operation.op, &operation.ended) else {
            continue;
        };
        check_read(read, records, logs, report);
    }
}

fn check_read(read: &Read, records: &[(i64, Value)], logs: &Logs<'_>, report: &mut Report) {
    let partition = &read.partition;
    let log = logs.get(partition);
    let start = log.map_or(0, |log| log.read.log_start);
    let mut next = read.from.max(start);
    for (offset, value) in records.iter().filter(|(offset, _)| *offset >= start) {
        match log.and_then(|log| log.at.get(offset).copied()) {
            Some(Some(found)) if found == *value => {}
            Some(Some(found)) => report.violations.push(Violation::TwoValues {
                partition: partition.clone(),
                offset: *offset,
                values: (found.min(*value), found.max(*value)),
            }),
            _ => report.violations.push(Violation::VanishedRead {
                partition: partition.clone(),
                offset: *offset,
                value: *value,
            }),
        }
        // Control records are not told to readers.
        let left_out =
            (next..*offset).find(|o| log.is_some_and(|log| matches!(log.at.get(o), Some(Some(_)))));
        if let Some(offset) = left_out {
            report.violations.push(Violation::SkippedRead { partition: partition.clone(), offset });
        }
        next = offset + 1;
    }
}

/// Told ends: never below an acknowledged offset or an end told before, never beyond the final end.
fn check_ends(history: &History, logs: &Logs<'_>, report: &mut Report) {
    enum Moment<'a> {
        Asked { id: usize },
        Known { partition: &'a Partition, at_least: i64 },
    }
    let mut moments: Vec<(u64, Moment<'_>)> = Vec::new();
    for (id, operation) in history.operations.iter().enumerate() {
        let (Some(at), Some(answer)) = (operation.ok_at(), operation.answer()) else { continue };
        match &operation.op {
            Op::Send(send) => {
                moments.push((at, Moment::Known { partition: &send.partition, at_least: answer + 1 }));
            }
            Op::EndOffset(end) => {
                moments.push((operation.invoked_at, Moment::Asked { id }));
                moments.push((at, Moment::Known { partition: &end.partition, at_least: answer }));
                let log_end = logs.get(&end.partition).map_or(0, |log| log.read.log_end);
                if answer > log_end {
                    let partition = end.partition.clone();
                    report.violations.push(Violation::BeyondEnd { partition, told: answer, end: log_end });
                }
            }
            _ => {}
        }
    }
    moments.sort_by_key(|(at, _)| *at);
    let mut known: HashMap<&Partition, i64> = HashMap::new();
    for (_, moment) in moments {
        match moment {
            Moment::Known { partition, at_least } => {
                let end = known.entry(partition).or_insert(at_least);
                *end = at_least.max(*end);
            }
            Moment::Asked { id } => {
                let Some(operation) = history.operations.get(id) else { continue };
                let (Op::EndOffset(asked), Some(told)) = (&operation.op, operation.answer()) else {
                    continue;
                };
                let partition = asked.partition.clone();
                if let Some(at_least) = known.get(&partition).copied().filter(|at_least| told < *at_least) {
                    report.violations.push(Violation::StaleEnd { partition, told, at_least });
                }
            }
        }
    }
}

/// A group is never told less than what was acknowledged to it before it asked.
fn check_group_offsets(history: &History, report: &mut Report) {
    enum Moment {
        Asked(Option<i64>),
        Acknowledged(i64),
    }
    let mut moments: Vec<(u64, Moment, &GroupOffset)> = Vec::new();
    for operation in &history.operations {
        let (Op::GroupOffset(group), Some(at)) = (&operation.op, operation.ok_at()) else { continue };
        match group.offset {
            Some(committed) => moments.push((at, Moment::Acknowledged(committed), group)),
            None => moments.push((operation.invoked_at, Moment::Asked(operation.answer()), group)),
        }
    }
    moments.sort_by_key(|(at, ..)| *at);
    let mut acknowledged: HashMap<(&str, &Partition), i64> = HashMap::new();
    for (_, moment, group) in moments {
        let known = acknowledged.get(&(&*group.group, &group.partition)).copied();
        match (moment, known) {
            (Moment::Acknowledged(offset), known) => {
                let newest = known.map_or(offset, |known| known.max(offset));
                acknowledged.insert((&group.group, &group.partition), newest);
            }
            (Moment::Asked(told), Some(at_least)) if told.is_none_or(|told| told < at_least) => {
                report.violations.push(Violation::GroupOffsetLost {
                    group: group.group.to_string(),
                    partition: group.partition.clone(),
                    told,
                    at_least,
                });
            }
            _ => {}
        }
    }
}
