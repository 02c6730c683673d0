//! Changes of consumer and share groups: each is one record, and applying it is the only way to change a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::consumer_group_current_member_assignment_value::TopicPartitions as ConsumerOwned;
use kafka_codec::messages::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use kafka_codec::messages::consumer_group_target_assignment_member_value::TopicPartition as ConsumerTarget;
use kafka_codec::messages::share_group_current_member_assignment_value::TopicPartitions as ShareOwned;
use kafka_codec::messages::share_group_state_partition_metadata_value::{TopicInfo, TopicPartitionsInfo};
use kafka_codec::messages::share_group_target_assignment_member_value::TopicPartition as ShareTarget;
use kafka_codec::messages::*;
use kafka_codec::wire::Reader;
use kafka_codec::{EncodeError, Message, Uuid};

use super::member::{
    Assignment, ClassicSide, CurrentAssignment, EpochAssignment, MemberMetadata, MemberState,
};
use crate::error::CoordinatorError;
use crate::output::Record;
use crate::records::{decode_key, decode_value, encode_key, encode_value};

/// Which of the two kinds of groups whose members are assigned by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Share,
}

/// A regular expression and the topics it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedRegex {
    pub topics: BTreeSet<String>,
    /// Version of the topics when it was resolved.
    pub version: i64,
    pub at_ms: i64,
}

/// Partitions of a topic whose state the share coordinator keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateTopic {
    pub name: String,
    pub partitions: BTreeSet<i32>,
}

/// Which share partitions of a group have state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareStateTopics {
    pub initializing: BTreeMap<Uuid, StateTopic>,
    pub initialized: BTreeMap<Uuid, StateTopic>,
    pub deleting: BTreeMap<Uuid, String>,
}

/// One change. `None` takes the thing away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupChange {
    /// Group epoch and hash of the topics subscribed to.
    Epoch(Option<(i32, i64)>),
    /// Topics subscribed to, as older Kafka kept them: only ever taken away.
    PartitionMetadata,
    Member(String, Option<Arc<MemberMetadata>>),
    /// Epoch and time of the target assignment.
    TargetEpoch(Option<(i32, i64)>),
    Target(String, Option<Arc<Assignment>>),
    Current(String, Option<Arc<CurrentAssignment>>),
    Regex(String, Option<Arc<ResolvedRegex>>),
    ShareState(Option<Arc<ShareStateTopics>>),
}

impl GroupChange {
    /// Whether the group must be there after it.
    pub fn creates(&self) -> bool {
        match self {
            Self::Epoch(value) | Self::TargetEpoch(value) => value.is_some(),
            Self::PartitionMetadata => false,
            Self::Member(_, value) => value.is_some(),
            // These follow a member's record, which made the group.
            Self::Target(..) | Self::Current(..) | Self::Regex(..) => false,
            Self::ShareState(value) => value.is_some(),
        }
    }
}

const CONSUMER_EPOCH: i16 = 3;
const CONSUMER_PARTITION_METADATA: i16 = 4;
const CONSUMER_MEMBER: i16 = 5;
const CONSUMER_TARGET_EPOCH: i16 = 6;
const CONSUMER_TARGET: i16 = 7;
const CONSUMER_CURRENT: i16 = 8;
const SHARE_MEMBER: i16 = 10;
const SHARE_EPOCH: i16 = 11;
const SHARE_TARGET_EPOCH: i16 = 12;
const SHARE_TARGET: i16 = 13;
const SHARE_CURRENT: i16 = 14;
const SHARE_STATE: i16 = 15;
const CONSUMER_REGEX: i16 = 16;

/// Whether records of this type are changes of groups of these kinds.
pub(crate) fn is_change(record_type: i16) -> bool {
    matches!(record_type, CONSUMER_EPOCH..=CONSUMER_CURRENT | SHARE_MEMBER..=CONSUMER_REGEX)
}

/// Reads a record back: kind, group and change.
pub(crate) fn parse(
    record_type: i16,
    key: &mut Reader<'_>,
    value: Option<&[u8]>,
) -> Result<(Kind, String, GroupChange), CoordinatorError> {
    macro_rules! read {
        ($key:ty, $value:ty) => {{
            let malformed = |what| move |source| CoordinatorError::Malformed { what, source };
            let key: $key = decode_key(key).map_err(malformed(<$key>::NAME))?;
            let value: Option<$value> =
                value.map(decode_value).transpose().map_err(malformed(<$value>::NAME))?;
            (key, value)
        }};
    }
    Ok(match record_type {
        CONSUMER_EPOCH => {
            let (key, value) = read!(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue);
            let change = GroupChange::Epoch(value.map(|value| (value.epoch, value.metadata_hash)));
            (Kind::Consumer, key.group_id, change)
        }
        CONSUMER_PARTITION_METADATA => {
            let (key, _) = read!(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue);
            (Kind::Consumer, key.group_id, GroupChange::PartitionMetadata)
        }
        CONSUMER_MEMBER => {
            let (key, value) = read!(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue);
            let value = value.map(|value| Arc::new(consumer_member(value)));
            (Kind::Consumer, key.group_id, GroupChange::Member(key.member_id, value))
        }
        CONSUMER_TARGET_EPOCH => {
            let (key, value) =
                read!(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue);
            let value = value.map(|value| (value.assignment_epoch, value.assignment_timestamp));
            (Kind::Consumer, key.group_id, GroupChange::TargetEpoch(value))
        }
        CONSUMER_TARGET => {
            let (key, value) =
                read!(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue);
            let value = value.map(|value| {
                let topics = value.topic_partitions.into_iter();
                Arc::new(assignment(topics.map(|topic| (topic.topic_id, topic.partitions))))
            });
            (Kind::Consumer, key.group_id, GroupChange::Target(key.member_id, value))
        }
        CONSUMER_CURRENT => {
            let (key, value) =
                read!(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue);
            let value = value.map(|value| {
                Arc::new(CurrentAssignment {
                    epoch: value.member_epoch,
                    previous_epoch: value.previous_member_epoch,
                    state: MemberState::from_wire(value.state),
                    assigned: owned(value.assigned_partitions, value.member_epoch),
                    pending_revocation: owned(value.partitions_pending_revocation, value.member_epoch),
                })
            });
            (Kind::Consumer, key.group_id, GroupChange::Current(key.member_id, value))
        }
        CONSUMER_REGEX => {
            let (key, value) = read!(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue);
            let value = value.map(|value| {
                Arc::new(ResolvedRegex {
                    topics: value.topics.into_iter().collect(),
                    version: value.version,
                    at_ms: value.timestamp,
                })
            });
            (Kind::Consumer, key.group_id, GroupChange::Regex(key.regular_expression, value))
        }
        SHARE_EPOCH => {
            let (key, value) = read!(ShareGroupMetadataKey, ShareGroupMetadataValue);
            let change = GroupChange::Epoch(value.map(|value| (value.epoch, value.metadata_hash)));
            (Kind::Share, key.group_id, change)
        }
        SHARE_MEMBER => {
            let (key, value) = read!(ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue);
            let value = value.map(|value| {
                Arc::new(MemberMetadata {
                    rack: value.rack_id,
                    client_id: value.client_id,
                    client_host: value.client_host,
                    topics: value.subscribed_topic_names.into_iter().collect(),
                    ..MemberMetadata::default()
                })
            });
            (Kind::Share, key.group_id, GroupChange::Member(key.member_id, value))
        }
        SHARE_TARGET_EPOCH => {
            let (key, value) =
                read!(ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue);
            let value = value.map(|value| (value.assignment_epoch, value.assignment_timestamp));
            (Kind::Share, key.group_id, GroupChange::TargetEpoch(value))
        }
        SHARE_TARGET => {
            let (key, value) =
                read!(ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue);
            let value = value.map(|value| {
                let topics = value.topic_partitions.into_iter();
                Arc::new(assignment(topics.map(|topic| (topic.topic_id, topic.partitions))))
            });
            (Kind::Share, key.group_id, GroupChange::Target(key.member_id, value))
        }
        SHARE_CURRENT => {
            let (key, value) =
                read!(ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue);
            let value = value.map(|value| {
                let epoch = value.member_epoch;
                let topics = value.assigned_partitions.into_iter();
                let assigned = topics.map(|topic| {
                    (topic.topic_id, topic.partitions.into_iter().map(|index| (index, epoch)).collect())
                });
                Arc::new(CurrentAssignment {
                    epoch,
                    previous_epoch: value.previous_member_epoch,
                    state: MemberState::from_wire(value.state),
                    assigned: assigned.collect(),
                    pending_revocation: EpochAssignment::new(),
                })
            });
            (Kind::Share, key.group_id, GroupChange::Current(key.member_id, value))
        }
        _ => {
            let (key, value) =
                read!(ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue);
            let value = value.map(|value| {
                Arc::new(ShareStateTopics {
                    initializing: state_topics(value.initializing_topics),
                    initialized: state_topics(value.initialized_topics),
                    deleting: value
                        .deleting_topics
                        .into_iter()
                        .map(|topic| (topic.topic_id, topic.topic_name))
                        .collect(),
                })
            });
            (Kind::Share, key.group_id, GroupChange::ShareState(value))
        }
    })
}

fn assignment(topics: impl Iterator<Item = (Uuid, Vec<i32>)>) -> Assignment {
    topics.map(|(topic, partitions)| (topic, partitions.into_iter().collect())).collect()
}

fn owned(topics: Vec<ConsumerOwned>, member_epoch: i32) -> EpochAssignment {
    topics
        .into_iter()
        .map(|topic| {
            let epochs = topic.assignment_epochs.unwrap_or_default();
            // Records of older Kafka have none: the member's epoch bounds it from above.
            let epoch = |at: usize| epochs.get(at).copied().unwrap_or(member_epoch);
            let partitions = topic.partitions.iter().enumerate().map(|(at, index)| (*index, epoch(at)));
            (topic.topic_id, partitions.collect())
        })
        .collect()
}

fn consumer_member(value: ConsumerGroupMemberMetadataValue) -> MemberMetadata {
    MemberMetadata {
        instance: value.instance_id,
        rack: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        topics: value.subscribed_topic_names.into_iter().collect(),
        regex: value.subscribed_topic_regex.filter(|regex| !regex.is_empty()),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor,
        classic: value.classic_member_metadata.map(|classic| ClassicSide {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .into_iter()
                .map(|protocol| (protocol.name, protocol.metadata))
                .collect(),
        }),
    }
}

fn state_topics(topics: Vec<TopicPartitionsInfo>) -> BTreeMap<Uuid, StateTopic> {
    topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.into_iter().collect();
            (topic.topic_id, StateTopic { name: topic.topic_name, partitions })
        })
        .collect()
}

/// The record of a change.
pub(crate) fn record(kind: Kind, group: &str, change: &GroupChange) -> Result<Record, EncodeError> {
    match kind {
        Kind::Consumer => consumer_record(group, change),
        Kind::Share => share_record(group, change),
    }
}

fn entry<K: Message, V: Message>(record_type: i16, key: &K, value: Option<V>) -> Result<Record, EncodeError> {
    let value: Option<Bytes> = value.map(|value| encode_value(0, &value)).transpose()?;
    Ok(Record { key: encode_key(record_type, key)?, value })
}

fn consumer_record(group: &str, change: &GroupChange) -> Result<Record, EncodeError> {
    let group_id = group.to_owned();
    match change {
        GroupChange::Epoch(epoch) => {
            let value = epoch.map(|(epoch, metadata_hash)| ConsumerGroupMetadataValue {
                epoch,
                metadata_hash,
                ..ConsumerGroupMetadataValue::default()
            });
            entry(CONSUMER_EPOCH, &ConsumerGroupMetadataKey { group_id }, value)
        }
        GroupChange::PartitionMetadata | GroupChange::ShareState(_) => {
            let none: Option<ConsumerGroupPartitionMetadataValue> = None;
            entry(CONSUMER_PARTITION_METADATA, &ConsumerGroupPartitionMetadataKey { group_id }, none)
        }
        GroupChange::Member(member, metadata) => {
            let key = ConsumerGroupMemberMetadataKey { group_id, member_id: member.clone() };
            let value = metadata.as_ref().map(|metadata| ConsumerGroupMemberMetadataValue {
                instance_id: metadata.instance.clone(),
                rack_id: metadata.rack.clone(),
                client_id: metadata.client_id.clone(),
                client_host: metadata.client_host.clone(),
                subscribed_topic_names: metadata.topics.iter().cloned().collect(),
                subscribed_topic_regex: metadata.regex.clone(),
                rebalance_timeout_ms: metadata.rebalance_timeout_ms,
                server_assignor: metadata.assignor.clone(),
                classic_member_metadata: metadata.classic.as_ref().map(|classic| ClassicMemberMetadata {
                    session_timeout_ms: classic.session_timeout_ms,
                    supported_protocols: classic
                        .protocols
                        .iter()
                        .map(|(name, metadata)| ClassicProtocol {
                            name: name.clone(),
                            metadata: metadata.clone(),
                            ..ClassicProtocol::default()
                        })
                        .collect(),
                    ..ClassicMemberMetadata::default()
                }),
                ..ConsumerGroupMemberMetadataValue::default()
            });
            entry(CONSUMER_MEMBER, &key, value)
        }
        GroupChange::TargetEpoch(epoch) => {
            let key = ConsumerGroupTargetAssignmentMetadataKey { group_id };
            let value = epoch.map(|(assignment_epoch, assignment_timestamp)| {
                ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch,
                    assignment_timestamp,
                    ..ConsumerGroupTargetAssignmentMetadataValue::default()
                }
            });
            entry(CONSUMER_TARGET_EPOCH, &key, value)
        }
        GroupChange::Target(member, target) => {
            let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: member.clone() };
            let topic = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| ConsumerTarget {
                topic_id: *topic_id,
                partitions: partitions.iter().copied().collect(),
                ..ConsumerTarget::default()
            };
            let value = target.as_ref().map(|target| ConsumerGroupTargetAssignmentMemberValue {
                topic_partitions: target.iter().map(topic).collect(),
                ..ConsumerGroupTargetAssignmentMemberValue::default()
            });
            entry(CONSUMER_TARGET, &key, value)
        }
        GroupChange::Current(member, current) => {
            let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: member.clone() };
            let topic = |(topic_id, partitions): (&Uuid, &BTreeMap<i32, i32>)| ConsumerOwned {
                topic_id: *topic_id,
                partitions: partitions.keys().copied().collect(),
                assignment_epochs: Some(partitions.values().copied().collect()),
                ..ConsumerOwned::default()
            };
            let value = current.as_ref().map(|current| ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: current.epoch,
                previous_member_epoch: current.previous_epoch,
                state: current.state.wire(),
                assigned_partitions: current.assigned.iter().map(topic).collect(),
                partitions_pending_revocation: current.pending_revocation.iter().map(topic).collect(),
                ..ConsumerGroupCurrentMemberAssignmentValue::default()
            });
            entry(CONSUMER_CURRENT, &key, value)
        }
        GroupChange::Regex(regex, resolved) => {
            let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: regex.clone() };
            let value = resolved.as_ref().map(|resolved| ConsumerGroupRegularExpressionValue {
                topics: resolved.topics.iter().cloned().collect(),
                version: resolved.version,
                timestamp: resolved.at_ms,
                ..ConsumerGroupRegularExpressionValue::default()
            });
            entry(CONSUMER_REGEX, &key, value)
        }
    }
}

fn share_record(group: &str, change: &GroupChange) -> Result<Record, EncodeError> {
    let group_id = group.to_owned();
    match change {
        GroupChange::Epoch(epoch) => {
            let value = epoch.map(|(epoch, metadata_hash)| ShareGroupMetadataValue {
                epoch,
                metadata_hash,
                ..ShareGroupMetadataValue::default()
            });
            entry(SHARE_EPOCH, &ShareGroupMetadataKey { group_id }, value)
        }
        GroupChange::Member(member, metadata) => {
            let key = ShareGroupMemberMetadataKey { group_id, member_id: member.clone() };
            let value = metadata.as_ref().map(|metadata| ShareGroupMemberMetadataValue {
                rack_id: metadata.rack.clone(),
                client_id: metadata.client_id.clone(),
                client_host: metadata.client_host.clone(),
                subscribed_topic_names: metadata.topics.iter().cloned().collect(),
                ..ShareGroupMemberMetadataValue::default()
            });
            entry(SHARE_MEMBER, &key, value)
        }
        GroupChange::TargetEpoch(epoch) => {
            let key = ShareGroupTargetAssignmentMetadataKey { group_id };
            let value = epoch.map(|(assignment_epoch, assignment_timestamp)| {
                ShareGroupTargetAssignmentMetadataValue {
                    assignment_epoch,
                    assignment_timestamp,
                    ..ShareGroupTargetAssignmentMetadataValue::default()
                }
            });
            entry(SHARE_TARGET_EPOCH, &key, value)
        }
        GroupChange::Target(member, target) => {
            let key = ShareGroupTargetAssignmentMemberKey { group_id, member_id: member.clone() };
            let topic = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| ShareTarget {
                topic_id: *topic_id,
                partitions: partitions.iter().copied().collect(),
                ..ShareTarget::default()
            };
            let value = target.as_ref().map(|target| ShareGroupTargetAssignmentMemberValue {
                topic_partitions: target.iter().map(topic).collect(),
                ..ShareGroupTargetAssignmentMemberValue::default()
            });
            entry(SHARE_TARGET, &key, value)
        }
        GroupChange::Current(member, current) => {
            let key = ShareGroupCurrentMemberAssignmentKey { group_id, member_id: member.clone() };
            let topic = |(topic_id, partitions): (&Uuid, &BTreeMap<i32, i32>)| ShareOwned {
                topic_id: *topic_id,
                partitions: partitions.keys().copied().collect(),
                ..ShareOwned::default()
            };
            let value = current.as_ref().map(|current| ShareGroupCurrentMemberAssignmentValue {
                member_epoch: current.epoch,
                previous_member_epoch: current.previous_epoch,
                state: current.state.wire(),
                assigned_partitions: current.assigned.iter().map(topic).collect(),
                ..ShareGroupCurrentMemberAssignmentValue::default()
            });
            entry(SHARE_CURRENT, &key, value)
        }
        // The other two belong to consumer groups and are never made for a share group.
        GroupChange::ShareState(_) | GroupChange::PartitionMetadata | GroupChange::Regex(..) => {
            let key = ShareGroupStatePartitionMetadataKey { group_id };
            let topics = |topics: &BTreeMap<Uuid, StateTopic>| {
                let topic = |(topic_id, topic): (&Uuid, &StateTopic)| TopicPartitionsInfo {
                    topic_id: *topic_id,
                    topic_name: topic.name.clone(),
                    partitions: topic.partitions.iter().copied().collect(),
                    ..TopicPartitionsInfo::default()
                };
                topics.iter().map(topic).collect()
            };
            let value = match change {
                GroupChange::ShareState(Some(state)) => Some(ShareGroupStatePartitionMetadataValue {
                    initializing_topics: topics(&state.initializing),
                    initialized_topics: topics(&state.initialized),
                    deleting_topics: state
                        .deleting
                        .iter()
                        .map(|(topic_id, name)| TopicInfo {
                            topic_id: *topic_id,
                            topic_name: name.clone(),
                            ..TopicInfo::default()
                        })
                        .collect(),
                    ..ShareGroupStatePartitionMetadataValue::default()
                }),
                _ => None,
            };
            entry(SHARE_STATE, &key, value)
        }
    }
}
