//! Offsets committed in transactions that are still open (TxnOffsetCommit).

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;

use crate::error::CoordinatorError;
use crate::offsets::CommittedOffset;
use crate::output::RequestId;
use crate::records::{self, Parsed};
use crate::reply::{Committed, Response};
use crate::request::OffsetCommit;
use crate::shard::{Cx, Effect, GroupShard, Tables};
use crate::txn::Producer;

/// Group, topic, partition.
type Place = (String, String, i32);

/// Offsets that wait for the end of their producer's transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PendingOffsets {
    by_producer: BTreeMap<i64, BTreeMap<Place, CommittedOffset>>,
}

impl PendingOffsets {
    fn put(&mut self, producer_id: i64, place: Place, value: CommittedOffset) {
        self.by_producer.entry(producer_id).or_default().insert(place, value);
    }

    /// Whether a transaction is about to change this offset.
    pub fn waits(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.by_producer
            .values()
            .any(|places| places.keys().any(|(g, t, p)| *p == partition && t == topic && g == group))
    }

    /// Whether a transaction is about to change any offset of the group.
    pub fn waits_for_group(&self, group: &str) -> bool {
        self.by_producer.values().flat_map(BTreeMap::keys).any(|(g, ..)| g == group)
    }

    /// Partitions of the group with a pending offset.
    pub fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a str, i32)> {
        self.by_producer
            .values()
            .flat_map(BTreeMap::keys)
            .filter(move |(g, ..)| g == group)
            .map(|(_, topic, partition)| (topic.as_str(), *partition))
    }

    /// An offset was deleted: no transaction brings it back.
    pub fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        self.by_producer.retain(|_, places| {
            places.retain(|(g, t, p), _| !(*p == partition && t == topic && g == group));
            !places.is_empty()
        });
    }

    fn take(&mut self, producer_id: i64) -> BTreeMap<Place, CommittedOffset> {
        self.by_producer.remove(&producer_id).unwrap_or_default()
    }
}

impl Tables {
    pub fn commit_in_transaction(
        &mut self,
        request: RequestId,
        commit: OffsetCommit,
        producer: Producer,
        cx: &mut Cx<'_>,
    ) {
        if let Err(error) = self.validate_commit(&commit, true) {
            return cx.reply(request, Response::OffsetCommit(Committed::failed(&commit, error)));
        }
        cx.out.producer = Some(producer);
        self.write_offsets(request, &commit, cx, |effect| match effect {
            Effect::Offset { group, topic, partition, value: Some(value) } => {
                Effect::PendingOffset { producer_id: producer.id, group, topic, partition, value }
            }
            other => other,
        });
    }

    pub fn put_pending(
        &mut self,
        producer_id: i64,
        (group, topic, partition): (String, String, i32),
        value: CommittedOffset,
    ) {
        self.pending.put(producer_id, (group, topic, partition), value);
    }

    /// The end of a producer's transaction: a newer offset that was committed meanwhile stays.
    fn transaction_ended(&mut self, producer_id: i64, committed: bool) {
        for ((group, topic, partition), value) in self.pending.take(producer_id) {
            let newer = self
                .offsets
                .get(&group, &topic, partition)
                .is_some_and(|known| known.record_offset > value.record_offset);
            if committed && !newer {
                self.put_offset(&group, &topic, partition, value);
            }
        }
    }
}

impl GroupShard {
    /// Takes in one record of a transactional batch, in log order, before [`GroupShard::loaded`].
    ///
    /// # Errors
    /// As [`GroupShard::replay`].
    pub fn replay_in_transaction(
        &mut self,
        producer_id: i64,
        record_offset: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), CoordinatorError> {
        match records::parse(record_offset, key, value)? {
            Parsed::Offset { group, topic, partition, value: Some(value) } => {
                self.tables.put_pending(producer_id, (group, topic, partition), value);
                Ok(())
            }
            _ => self.replay(record_offset, key, value),
        }
    }

    /// The marker of a producer's transaction is durable (or, before [`GroupShard::loaded`], replayed): its offsets
    /// count from now on, or never.
    pub fn transaction_ended(&mut self, producer_id: i64, committed: bool) {
        self.tables.transaction_ended(producer_id, committed);
    }
}

/// The answer to TxnOffsetCommit when no shard can take it.
pub(crate) fn failed(commit: &OffsetCommit, error: ErrorCode) -> Response {
    Response::OffsetCommit(Committed::failed(commit, error))
}
