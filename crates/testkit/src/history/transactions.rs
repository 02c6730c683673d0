//! What `read_committed` readers see of transactions against how those ended.

use std::collections::HashMap;

use super::{FinalRead, History, Op, Partition, Report, Value, Violation};

/// Compares transactions with final `read_committed` reads of all partitions they touch. Acknowledged ([`super::Outcome::Ok`])
/// means committed, failed means aborted. `ends` are the partitions' ends as `read_uncommitted` readers see them: an
/// end that lies further holds a transaction that nobody ended.
pub fn check_transactions(history: &History, finals: &[FinalRead], ends: &[(Partition, i64)]) -> Report {
    let mut report = Report::default();
    let mut places: HashMap<(&Partition, Value), Vec<i64>> = HashMap::new();
    for read in finals {
        for (offset, value) in &read.records {
            if let Some(value) = value {
                places.entry((&read.partition, *value)).or_default().push(*offset);
            }
        }
    }
    let mut sent = 0;
    for operation in &history.operations {
        let Op::Transaction(records) = &operation.op else { continue };
        let mut seen = Vec::new();
        let mut missing = Vec::new();
        for (partition, value) in records {
            match places.remove(&(partition, *value)) {
                Some(offsets) => {
                    if offsets.len() > 1 {
                        let (partition, value) = (partition.clone(), *value);
                        report.violations.push(Violation::Duplicate { partition, value, offsets });
                    }
                    seen.push((partition.clone(), *value));
                }
                None => missing.push((partition.clone(), *value)),
            }
        }
        sent += records.len();
        if operation.ok_at().is_some() {
            report.acknowledged += 1;
            let lost = missing.into_iter().map(|(partition, value)| Violation::Lost { partition, value });
            report.violations.extend(lost);
        } else if operation.failed() {
            let aborted =
                seen.into_iter().map(|(partition, value)| Violation::AbortedRead { partition, value });
            report.violations.extend(aborted);
        } else {
            report.unknown += 1;
            report.unknown_seen += usize::from(!seen.is_empty());
            if let (Some((_, seen)), Some((partition, missing))) = (seen.first(), missing.first()) {
                report.violations.push(Violation::Torn {
                    partition: partition.clone(),
                    seen: *seen,
                    missing: *missing,
                });
            }
        }
    }
    debug_assert!(sent > 0 || finals.is_empty(), "no transaction was recorded");
    for ((partition, value), _) in places {
        report.violations.push(Violation::Unknown { partition: partition.clone(), value });
    }
    for (partition, end) in ends {
        let read = finals.iter().find(|read| read.partition == *partition);
        if let Some(stable) = read.map(|read| read.log_end).filter(|stable| stable < end) {
            report.violations.push(Violation::Hanging { partition: partition.clone(), stable, end: *end });
        }
    }
    report.violations.sort();
    report
}
