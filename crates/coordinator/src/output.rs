use bytes::Bytes;

use crate::reply::Reply;
use crate::txn::Producer;

/// Names a request until its reply; given by the runtime, unique among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names one batch of records from [`Output`] to [`crate::GroupShard::durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The time of an event. Sessions and rebalances run on the monotonic clock, so that a jump of the wall clock
/// expires nobody; what is stored in records is wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock, milliseconds from any origin.
    pub mono_ms: i64,
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
}

/// One record for `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Key in Kafka's format: two bytes of version, then the key message.
    pub key: Bytes,
    /// Value in Kafka's format, `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// What the runtime has to do after an event.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Output {
    /// Records to append as one atomic batch; when not empty, `ticket` is set.
    pub records: Vec<Record>,
    /// The producer whose transaction `records` belong to, if they do: they count when it is committed.
    pub producer: Option<Producer>,
    /// Name of that batch.
    pub ticket: Option<Ticket>,
    /// Replies to send at once.
    pub replies: Vec<Reply>,
    /// Replies to send when `records` and everything accepted before are durable.
    pub deferred: Vec<Reply>,
}

impl Output {
    /// Nothing to append and nothing to send.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty() && self.deferred.is_empty()
    }
}
