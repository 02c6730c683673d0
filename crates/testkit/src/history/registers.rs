//! Named values that one writer each sets and removes again: the latest record of a key in a compacted topic, a
//! configuration, an access control entry, a credential, a quota. What a reader finds is the last acknowledged one,
//! or one of those begun after it.

use std::collections::HashMap;

use super::{History, Op, Operation, Outcome, Report, Value, Violation};

/// Compares what was found under each name with what was acknowledged before somebody looked. The writes of one
/// name must come from one process, one after the other.
pub fn check_registers(history: &History) -> Report {
    let mut report = Report::default();
    let mut writes: HashMap<&str, Vec<(&Operation, Option<Value>)>> = HashMap::new();
    for operation in &history.operations {
        let Op::Set { name, value } = &operation.op else { continue };
        writes.entry(name).or_default().push((operation, *value));
        if operation.ok_at().is_some() {
            report.acknowledged += 1;
        } else if operation.ended.is_none() {
            report.unknown += 1;
        }
    }
    for looked in &history.operations {
        let (Op::Look, Some((until, Outcome::Found(found)))) = (&looked.op, &looked.ended) else { continue };
        for (name, found) in found {
            let of_name = writes.get(&**name).map_or(&[][..], Vec::as_slice);
            let begun = of_name.iter().filter(|(write, _)| write.invoked_at < *until && !write.failed());
            let begun: Vec<(&Operation, Option<Value>)> = begun.copied().collect();
            let before = |write: &Operation| write.ok_at().is_some_and(|at| at < looked.invoked_at);
            let newest = begun.iter().rposition(|(write, _)| before(write));
            let mut allowed: Vec<Option<Value>> =
                begun.iter().skip(newest.unwrap_or(0)).map(|(_, value)| *value).collect();
            if newest.is_none() {
                allowed.push(None);
            }
            if !allowed.contains(found) {
                report.violations.push(Violation::Stale {
                    name: name.to_string(),
                    found: *found,
                    allowed,
                    old: found.is_some() && begun.iter().any(|(_, value)| value == found),
                });
            }
        }
    }
    report.violations.sort();
    report.violations.dedup();
    report
}
