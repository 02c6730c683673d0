use std::fmt;

use super::{Partition, Process, Value};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Violation {
    /// An acknowledged record is not in the log.
    Lost {
        /// Where it was sent.
        partition: Partition,
        /// What.
        value: Value,
    },
    /// A record that must be there once is there several times.
    Duplicate {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
        /// Its offsets.
        offsets: Vec<i64>,
    },
    /// A record that was refused is in the log.
    Refused {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
    },
    /// A record nobody sent there.
    Unknown {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
    },
    /// The acknowledgement named another offset than the one the record has.
    WrongOffset {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
        /// Offset told.
        told: i64,
        /// What is there instead.
        found: Option<Value>,
    },
    /// Two values were told for one offset.
    TwoValues {
        /// Where.
        partition: Partition,
        /// The offset.
        offset: i64,
        /// The values.
        values: (Value, Value),
    },
    /// Offsets of the final read do not go up by one.
    Gap {
        /// Where.
        partition: Partition,
        /// Offset that should have come.
        expected: i64,
        /// Offset that came.
        found: i64,
    },
    /// Two sends of one process are in the log in the wrong order.
    Order {
        /// Where.
        partition: Partition,
        /// Who sent both.
        process: Process,
        /// Begun first.
        first: Value,
        /// Begun later, and before it in the log.
        second: Value,
    },
    /// A record stands before one that was acknowledged before it was begun.
    RealTimeOrder {
        /// Where.
        partition: Partition,
        /// Acknowledged first.
        first: Value,
        /// Begun afterwards, and before it in the log.
        second: Value,
    },
    /// A partition's end was told lower than an offset acknowledged before.
    StaleEnd {
        /// Where.
        partition: Partition,
        /// What was told.
        told: i64,
        /// What it had to be at least.
        at_least: i64,
    },
    /// A partition's end was told, or an offset read, beyond the end there is.
    BeyondEnd {
        /// Where.
        partition: Partition,
        /// What was told.
        told: i64,
        /// The final end.
        end: i64,
    },
    /// A reader saw a record that is not in the log.
    VanishedRead {
        /// Where.
        partition: Partition,
        /// Its offset.
        offset: i64,
        /// What the reader saw.
        value: Value,
    },
    /// One read left records out.
    SkippedRead {
        /// Where.
        partition: Partition,
        /// Offset left out.
        offset: i64,
    },
    /// A group's offset was told lower than one acknowledged before.
    GroupOffsetLost {
        /// Group id.
        group: String,
        /// Partition.
        partition: Partition,
        /// What was told (`None`: nothing committed).
        told: Option<i64>,
        /// What it had to be at least.
        at_least: i64,
    },
    /// A `read_committed` reader saw a record of an aborted transaction.
    AbortedRead {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
    },
    /// Of one transaction one record is seen and another is not.
    Torn {
        /// Where a record is missing.
        partition: Partition,
        /// What is seen.
        seen: Value,
        /// What is not.
        missing: Value,
    },
    /// A transaction that nobody ended holds readers back.
    Hanging {
        /// Where.
        partition: Partition,
        /// How far `read_committed` readers see.
        stable: i64,
        /// How far others do.
        end: i64,
    },
    /// What was found under a name is not what may be there.
    Stale {
        /// The name.
        name: String,
        /// What was found (`None`: nothing).
        found: Option<Value>,
        /// What could have been there; `None` stands for nothing.
        allowed: Vec<Option<Value>>,
        /// Whether what was found had been there before.
        old: bool,
    },
    /// A subscriber never got an acknowledged message.
    NotDelivered {
        /// Subscriber.
        subscriber: String,
        /// MQTT topic.
        topic: String,
        /// What.
        value: Value,
        /// Quality of service it should have come with.
        qos: u8,
    },
    /// A subscriber got a QoS 2 message several times.
    DeliveredTwice {
        /// Subscriber.
        subscriber: String,
        /// MQTT topic.
        topic: String,
        /// What.
        value: Value,
        /// How often.
        times: usize,
    },
    /// A subscriber got what nobody published there, or what was refused.
    NotPublished {
        /// Subscriber.
        subscriber: String,
        /// MQTT topic.
        topic: String,
        /// What.
        value: Value,
    },
    /// A subscriber got two messages of one publisher, topic and quality of service in the wrong order.
    DeliveryOrder {
        /// Subscriber.
        subscriber: String,
        /// MQTT topic.
        topic: String,
        /// Published first.
        first: Value,
        /// Published later, delivered before it.
        second: Value,
    },
    /// A topic's retained message is not one that may be the last.
    Retained {
        /// MQTT topic.
        topic: String,
        /// What a new subscriber got.
        found: Option<Value>,
        /// What it could have been; `None` stands for no message.
        allowed: Vec<Option<Value>>,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { partition, value } => {
                write!(f, "lost: {value} was acknowledged for {partition} and is not there")
            }
            Self::Duplicate { partition, value, offsets } => {
                write!(f, "duplicate: {value} is at offsets {offsets:?} of {partition}")
            }
            Self::Refused { partition, value } => {
                write!(f, "refused record: {value} was refused by {partition} and is there")
            }
            Self::Unknown { partition, value } => {
                write!(f, "unknown record: nobody sent {value} to {partition}")
            }
            Self::WrongOffset { partition, value, told, found } => write!(
                f,
                "wrong offset: {value} was acknowledged at {told} of {partition}, where there is {}",
                Shown(found)
            ),
            Self::TwoValues { partition, offset, values: (one, other) } => {
                write!(f, "two values at offset {offset} of {partition}: {one} and {other}")
            }
            Self::Gap { partition, expected, found } => {
                write!(f, "offsets not dense: {found} instead of {expected} in {partition}")
            }
            Self::Order { partition, process, first, second } => write!(
                f,
                "order: publisher {process} sent {first} before {second}; {partition} has them the other way round"
            ),
            Self::RealTimeOrder { partition, first, second } => write!(
                f,
                "order: {first} was acknowledged before {second} was sent; {partition} has them the other way round"
            ),
            Self::StaleEnd { partition, told, at_least } => {
                write!(
                    f,
                    "stale end: {partition} was said to end at {told}, known to end at {at_least} or later"
                )
            }
            Self::BeyondEnd { partition, told, end } => {
                write!(f, "beyond the end: {partition} was said to reach {told} and ends at {end}")
            }
            Self::VanishedRead { partition, offset, value } => {
                write!(f, "vanished: {value} was read at offset {offset} of {partition} and is not there")
            }
            Self::SkippedRead { partition, offset } => {
                write!(f, "skipped: a read of {partition} left offset {offset} out")
            }
            Self::GroupOffsetLost { group, partition, told, at_least } => write!(
                f,
                "group offset lost: {group} had {at_least} for {partition} acknowledged and was told {}",
                Shown(told)
            ),
            Self::AbortedRead { partition, value } => {
                write!(f, "aborted read: the transaction of {value} was aborted, and {partition} shows it")
            }
            Self::Torn { partition, seen, missing } => {
                write!(f, "torn: {seen} is seen, {missing} of the same transaction is not in {partition}")
            }
            Self::Hanging { partition, stable, end } => {
                write!(f, "hanging: {partition} ends at {end}, readers of what is committed see {stable}")
            }
            Self::Stale { name, found, allowed, old } => {
                let what = if *old { "come back" } else { "wrong value" };
                write!(f, "{what}: {name} was found to be {}, allowed are", Shown(found))?;
                allowed.iter().try_for_each(|value| write!(f, " {}", Shown(value)))
            }
            Self::NotDelivered { subscriber, topic, value, qos } => {
                write!(f, "not delivered: {subscriber} never got {value} of {topic} at QoS {qos}")
            }
            Self::DeliveredTwice { subscriber, topic, value, times } => {
                write!(f, "delivered {times} times: {subscriber} got {value} of {topic} at QoS 2")
            }
            Self::NotPublished { subscriber, topic, value } => {
                write!(f, "not published: {subscriber} got {value} of {topic}")
            }
            Self::DeliveryOrder { subscriber, topic, first, second } => {
                write!(f, "delivery order: {subscriber} got {second} of {topic} before {first}")
            }
            Self::Retained { topic, found, allowed } => {
                write!(f, "retained: {topic} has {}, allowed are", Shown(found))?;
                allowed.iter().try_for_each(|value| write!(f, " {}", Shown(value)))
            }
        }
    }
}

struct Shown<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// The verdict on a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was broken, sorted; empty = valid.
    pub violations: Vec<Violation>,
    /// Acknowledged sends and publishes.
    pub acknowledged: usize,
    /// Sends and publishes with unknown outcome.
    pub unknown: usize,
    /// Of those, how many happened.
    pub unknown_seen: usize,
    /// Further copies of at-least-once messages: allowed, and worth knowing.
    pub repeats: usize,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_valid(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_valid() { "VALID" } else { "INVALID" };
        let Self { acknowledged, unknown, unknown_seen, repeats, .. } = self;
        write!(
            f,
            "{verdict}: {acknowledged} acknowledged, {unknown} unknown ({unknown_seen} of them happened), \
             {repeats} allowed repeats"
        )?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {violation}")?;
        }
        match self.violations.len().checked_sub(SHOWN_MAX) {
            Some(more @ 1..) => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}

const SHOWN_MAX: usize = 30;
