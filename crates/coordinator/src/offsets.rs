//! Committed offsets of all groups of a shard.

use std::collections::BTreeMap;

use kafka_codec::Uuid;

/// An offset as a group committed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset to continue at.
    pub offset: i64,
    /// Leader epoch of the last record consumed.
    pub leader_epoch: Option<i32>,
    /// Text stored with it; empty if none.
    pub metadata: String,
    /// Wall time of the commit, milliseconds since the epoch.
    pub commit_ms: i64,
    /// Wall time when it expires, if the client asked for one (OffsetCommit 2–4).
    pub expire_ms: Option<i64>,
    /// Topic it was committed for, if known.
    pub topic_id: Option<Uuid>,
    /// Offset of its record in `__consumer_offsets`.
    pub record_offset: i64,
}

type TopicOffsets = BTreeMap<i32, CommittedOffset>;
type GroupOffsets = BTreeMap<String, TopicOffsets>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OffsetStore {
    groups: BTreeMap<String, GroupOffsets>,
}

impl OffsetStore {
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    pub fn put(&mut self, group: &str, topic: &str, partition: i32, value: CommittedOffset) {
        let topics = match self.groups.get_mut(group) {
            Some(topics) => topics,
            None => self.groups.entry(group.to_owned()).or_default(),
        };
        match topics.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, value),
            None => topics.entry(topic.to_owned()).or_default().insert(partition, value),
        };
    }

    pub fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    /// All offsets of a group: topic, partition, offset, in order.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        self.groups.get(group).into_iter().flatten().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, value)| (topic.as_str(), *partition, value))
        })
    }

    /// Every group and partition that holds an offset of `topic`.
    pub fn of_topic<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a str, i32)> {
        self.groups.iter().flat_map(move |(group, topics)| {
            topics.get(topic).into_iter().flatten().map(move |(partition, _)| (group.as_str(), *partition))
        })
    }
}
