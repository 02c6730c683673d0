//! The history checker: what clients asked and were told, what the log and the subscribers hold in the end, and
//! every way in which the two contradict each other.
//!
//! Drivers note each operation in a [`Recorder`] when they begin it and when they know its outcome. `Ok` means
//! acknowledged, `Fail` certainly not done, and an operation without either may or may not have happened (the
//! connection broke, the node was killed). [`check_log`] compares that with a complete final read of each
//! partition, [`check_transactions`] with what `read_committed` readers see of transactions, [`check_registers`] with
//! what was found under names that are set and removed, [`check_mqtt`] with what persistent subscribers got, and
//! [`check_shares`] what share groups handed out with what they were told. All are pure, so their own tests can show each
//! violation.
//!
//! Values are unique numbers that the driver puts into payloads.
//!
//! ```
//! use testkit::history::{Delivery, FinalRead, Partition, Recorder, Send, check_log};
//! let recorder = Recorder::default();
//! let partition = Partition::new("t", 0);
//! let send = Send { partition: partition.clone(), value: 1, delivery: Delivery::ExactlyOnce, ordered: true };
//! let op = recorder.send(7, send); // publisher 7
//! recorder.sent(op, Some(0)); // acknowledged at offset 0
//! let report = check_log(&recorder.history(), &[FinalRead::of(partition, 0, &[])]);
//! assert_eq!(report.violations[0].to_string(), "lost: 1 was acknowledged for t-0 and is not there");
//! ```

mod log;
mod mqtt;
mod registers;
mod shares;
mod transactions;
mod violation;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use log::check_log;
pub use mqtt::{MqttEnd, SubscriberEnd, check_mqtt};
pub use registers::check_registers;
pub use shares::{Accept, HandOut, ShareRecorder, ShareViolation, check_shares};
pub use transactions::check_transactions;
pub use violation::{Report, Violation};

/// A unique payload.
pub type Value = u64;

/// Who acts: one publisher, consumer or administrator. A client that crashed and came back is the same one only if
/// it promises the same order.
pub type Process = u32;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Index.
    pub index: i32,
}

impl Partition {
    /// Names partition `index` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, index: i32) -> Self {
        Self { topic: topic.into(), index }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// How often an acknowledged message may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `acks=0`, QoS 0: at most once.
    AtMostOnce,
    /// `acks=1`, `acks=all` without idempotence, QoS 1: at least once.
    AtLeastOnce,
    /// Idempotent producer, QoS 2: once.
    ExactlyOnce,
}

/// A record on its way to a partition.
#[derive(Clone, Debug)]
pub struct Send {
    /// Where to.
    pub partition: Partition,
    /// What.
    pub value: Value,
    /// What its acknowledgement promises.
    pub delivery: Delivery,
    /// Whether the process's sends to this partition are promised to stay in the order they were begun.
    pub ordered: bool,
}

/// An MQTT publish on its way to subscribers.
#[derive(Clone, Debug)]
pub struct Publish {
    /// MQTT topic.
    pub topic: Arc<str>,
    /// What.
    pub value: Value,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Sets the topic's retained message.
    pub retain: bool,
    /// With `retain`: clears it instead (empty payload).
    pub clear: bool,
}

/// A question about the end of a partition (ListOffsets, latest).
#[derive(Clone, Debug)]
pub struct EndOffset {
    /// Of which partition.
    pub partition: Partition,
}

/// One read: consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct Read {
    /// Of which partition.
    pub partition: Partition,
    /// Offset asked for.
    pub from: i64,
}

/// A group's offset, committed (`offset` given) or asked for.
#[derive(Clone, Debug)]
pub struct GroupOffset {
    /// Group id.
    pub group: Arc<str>,
    /// Of which partition.
    pub partition: Partition,
    /// The offset committed. Commits of one group and partition must never decrease.
    pub offset: Option<i64>,
}

/// What a process asks for.
#[derive(Clone, Debug)]
pub enum Op {
    /// Append a record.
    Send(Send),
    /// Publish a message.
    Publish(Publish),
    /// Ask for the end of a partition.
    EndOffset(EndOffset),
    /// Read records.
    Read(Read),
    /// Commit or fetch a group's offset.
    GroupOffset(GroupOffset),
    /// Append records in one transaction. `Ok`: committed; `Fail`: aborted.
    Transaction(Vec<(Partition, Value)>),
    /// Set the value of a name, or remove it.
    Set {
        /// The name.
        name: Arc<str>,
        /// Its value from now on; unique among the values of the name. `None`: there is nothing of this name.
        value: Option<Value>,
    },
    /// Look up the values of names.
    Look,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged. Send: the offset, if told. End offset, group offset: the answer (`None`: no offset).
    Ok(Option<i64>),
    /// Records read.
    Records(Vec<(i64, Value)>),
    /// Names looked up, with their values.
    Found(Vec<(Arc<str>, Option<Value>)>),
    /// Certainly not done.
    Fail,
}

/// One operation and its moments: places in the one order of everything that was recorded.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who.
    pub process: Process,
    /// What.
    pub op: Op,
    /// When it was begun.
    pub invoked_at: u64,
    /// When and how it ended; `None` while unknown.
    pub ended: Option<(u64, Outcome)>,
}

impl Operation {
    /// When it was acknowledged.
    pub fn ok_at(&self) -> Option<u64> {
        match &self.ended {
            Some((at, Outcome::Ok(_) | Outcome::Records(_) | Outcome::Found(_))) => Some(*at),
            _ => None,
        }
    }

    /// The number it was acknowledged with.
    pub fn answer(&self) -> Option<i64> {
        match &self.ended {
            Some((_, Outcome::Ok(answer))) => *answer,
            _ => None,
        }
    }

    /// Whether it certainly did not happen.
    pub fn failed(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Fail)))
    }
}

/// Everything recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order they were begun.
    pub operations: Vec<Operation>,
}

/// Names an operation between its beginning and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(usize);

/// Takes notes from many tasks; clones share the notes. Note the beginning before the request is sent and the end
/// after the answer was read, or the order of events is not the real one.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    clock: u64,
    operations: Vec<Operation>,
}

impl Recorder {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `process` begins `op`.
    pub fn begin(&self, process: Process, op: Op) -> OpId {
        let mut notes = self.notes();
        notes.clock += 1;
        let invoked_at = notes.clock;
        notes.operations.push(Operation { process, op, invoked_at, ended: None });
        OpId(notes.operations.len() - 1)
    }

    /// Notes how an operation ended. Only the first end counts.
    pub fn end(&self, id: OpId, outcome: Outcome) {
        let mut notes = self.notes();
        notes.clock += 1;
        let at = notes.clock;
        if let Some(operation) = notes.operations.get_mut(id.0) {
            operation.ended.get_or_insert((at, outcome));
        }
    }

    /// Notes the beginning of a send.
    pub fn send(&self, process: Process, send: Send) -> OpId {
        self.begin(process, Op::Send(send))
    }

    /// Notes the beginning of a publish.
    pub fn publish(&self, process: Process, publish: Publish) -> OpId {
        self.begin(process, Op::Publish(publish))
    }

    /// Notes an acknowledgement, with the offset or answer if there is one.
    pub fn sent(&self, id: OpId, answer: Option<i64>) {
        self.end(id, Outcome::Ok(answer));
    }

    /// Notes that an operation certainly did not happen.
    pub fn failed(&self, id: OpId) {
        self.end(id, Outcome::Fail);
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        History { operations: self.notes().operations.clone() }
    }
}

/// A complete read of one partition, at the end, when nobody writes any more.
#[derive(Clone, Debug)]
pub struct FinalRead {
    /// Which.
    pub partition: Partition,
    /// First offset still stored.
    pub log_start: i64,
    /// End of the log.
    pub log_end: i64,
    /// Offset and value in the order read; `None` for control records and records that are not the driver's.
    pub records: Vec<(i64, Option<Value>)>,
}

impl FinalRead {
    /// A read whose log ends with its last record.
    pub fn of(partition: Partition, log_start: i64, records: &[(i64, Value)]) -> Self {
        let log_end = records.last().map_or(log_start, |(offset, _)| offset + 1);
        let records = records.iter().map(|(offset, value)| (*offset, Some(*value))).collect();
        Self { partition, log_start, log_end, records }
    }
}
