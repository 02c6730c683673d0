//! Records of `__consumer_offsets` in Kafka's format: two bytes of type (or version) in front of each key and two
//! bytes of version in front of each value.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_codec::messages::group_metadata_value::MemberMetadata;
use kafka_codec::messages::{GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue};
use kafka_codec::wire::Reader;
use kafka_codec::{DecodeError, EncodeError, Message, Uuid};

use crate::classic::{ClassicGroup, Member};
use crate::error::CoordinatorError;
use crate::modern::{self, GroupChange, Kind, is_change};
use crate::offsets::CommittedOffset;
use crate::output::Record;

/// Record types: the first two bytes of a key. 3 and up belong to consumer and share groups.
const OFFSET_COMMIT_OLD: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// Highest version that brokers back to 2.1 can read; what Kafka 4 writes too.
const GROUP_METADATA_VALUE_VERSION: i16 = 3;
/// Carries the leader epoch but no topic id.
const OFFSET_COMMIT_VALUE_VERSION: i16 = 3;
/// The only version with an expiry time of its own.
const OFFSET_COMMIT_VALUE_VERSION_EXPIRING: i16 = 1;
/// Flexible: can carry the topic id as a tagged field.
const OFFSET_COMMIT_VALUE_VERSION_TOPIC_ID: i16 = 4;

/// A record read back.
#[derive(Debug)]
pub(crate) enum Parsed {
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<CommittedOffset>,
    },
    Group {
        group: String,
        value: Option<GroupMetadataValue>,
    },
    /// A change of a consumer or share group.
    Modern {
        kind: Kind,
        group: String,
        change: GroupChange,
    },
    /// A type this coordinator does not know.
    Other,
}

pub(crate) fn parse(
    record_offset: i64,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Parsed, CoordinatorError> {
    let malformed = |what| move |source| CoordinatorError::Malformed { what, source };
    let mut reader = Reader::new(key);
    let kind = reader.i16().map_err(malformed("record key"))?;
    match kind {
        OFFSET_COMMIT_OLD | OFFSET_COMMIT => {
            let key: OffsetCommitKey = decode_key(&mut reader).map_err(malformed("OffsetCommitKey"))?;
            let value: Option<OffsetCommitValue> =
                value.map(decode_value).transpose().map_err(malformed("OffsetCommitValue"))?;
            let value = value.map(|value| CommittedOffset {
                offset: value.offset,
                leader_epoch: Some(value.leader_epoch).filter(|epoch| *epoch >= 0),
                metadata: value.metadata,
                commit_ms: value.commit_timestamp,
                expire_ms: Some(value.expire_timestamp).filter(|at| *at >= 0),
                topic_id: Some(value.topic_id).filter(|id| *id != Uuid::ZERO),
                record_offset,
            });
            Ok(Parsed::Offset { group: key.group, topic: key.topic, partition: key.partition, value })
        }
        GROUP_METADATA => {
            let key: GroupMetadataKey = decode_key(&mut reader).map_err(malformed("GroupMetadataKey"))?;
            let value = value.map(decode_value).transpose().map_err(malformed("GroupMetadataValue"))?;
            Ok(Parsed::Group { group: key.group, value })
        }
        kind if is_change(kind) => {
            let (kind, group, change) = modern::parse(kind, &mut reader, value)?;
            Ok(Parsed::Modern { kind, group, change })
        }
        _ => Ok(Parsed::Other),
    }
}

/// Keys have one layout, whatever version number the schema gives it.
pub(crate) fn decode_key<K: Message>(reader: &mut Reader<'_>) -> Result<K, DecodeError> {
    K::decode(reader, *K::VERSIONS.end())
}

pub(crate) fn decode_value<V: Message>(bytes: &[u8]) -> Result<V, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    V::decode(&mut reader, version)
}

pub(crate) fn encode_key<K: Message>(kind: i16, key: &K) -> Result<Bytes, EncodeError> {
    let mut bytes = kind.to_be_bytes().to_vec();
    key.encode(&mut bytes, *K::VERSIONS.end())?;
    Ok(bytes.into())
}

pub(crate) fn encode_value<V: Message>(version: i16, value: &V) -> Result<Bytes, EncodeError> {
    let mut bytes = version.to_be_bytes().to_vec();
    value.encode(&mut bytes, version)?;
    Ok(bytes.into())
}

/// The record for one committed offset, or its tombstone.
pub(crate) fn offset_record(
    group: &str,
    topic: &str,
    partition: i32,
    value: Option<&CommittedOffset>,
) -> Result<Record, EncodeError> {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    let key = encode_key(OFFSET_COMMIT, &key)?;
    let value = value
        .map(|value| {
            let version = match (value.expire_ms, value.topic_id) {
                (Some(_), _) => OFFSET_COMMIT_VALUE_VERSION_EXPIRING,
                (None, Some(_)) => OFFSET_COMMIT_VALUE_VERSION_TOPIC_ID,
                (None, None) => OFFSET_COMMIT_VALUE_VERSION,
            };
            let message = OffsetCommitValue {
                offset: value.offset,
                leader_epoch: value.leader_epoch.unwrap_or(-1),
                metadata: value.metadata.clone(),
                commit_timestamp: value.commit_ms,
                expire_timestamp: value.expire_ms.unwrap_or(-1),
                topic_id: value.topic_id.unwrap_or(Uuid::ZERO),
                ..OffsetCommitValue::default()
            };
            encode_value(version, &message)
        })
        .transpose()?;
    Ok(Record { key, value })
}

/// The record for a group as it is, with `assignments` in place of the members' own if given.
pub(crate) fn group_record(
    group: &ClassicGroup,
    assignments: Option<&BTreeMap<String, Bytes>>,
) -> Result<Record, EncodeError> {
    let protocol = group.protocol_name.as_deref().unwrap_or("");
    let member = |member: &Member| MemberMetadata {
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.metadata(protocol).unwrap_or_default(),
        assignment: match assignments {
            Some(assignments) => assignments.get(&member.id).cloned().unwrap_or_default(),
            None => member.assignment.clone(),
        },
        ..MemberMetadata::default()
    };
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol_name.clone(),
        leader: group.leader.clone(),
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        members: group.members.values().map(member).collect(),
        ..GroupMetadataValue::default()
    };
    let value = Some(encode_value(GROUP_METADATA_VALUE_VERSION, &value)?);
    Ok(Record { key: group_key(&group.id)?, value })
}

/// The record of a group that has just come into being: no members yet, whoever is joining.
pub(crate) fn new_group_record(group: &str, state_since_ms: Option<i64>) -> Result<Record, EncodeError> {
    let value = GroupMetadataValue {
        protocol: None,
        leader: None,
        current_state_timestamp: state_since_ms.unwrap_or(-1),
        ..GroupMetadataValue::default()
    };
    let value = Some(encode_value(GROUP_METADATA_VALUE_VERSION, &value)?);
    Ok(Record { key: group_key(group)?, value })
}

/// Removes a group.
pub(crate) fn group_tombstone(group: &str) -> Result<Record, EncodeError> {
    Ok(Record { key: group_key(group)?, value: None })
}

fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    encode_key(GROUP_METADATA, &GroupMetadataKey { group: group.to_owned() })
}

/// Topics in a consumer's subscription (the part common to all versions of ConsumerProtocolSubscription);
/// `None` if it cannot be read.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata);
    reader.i16().ok()?;
    let count = reader.i32().ok()?;
    // Each name takes at least its two bytes of length.
    let count = usize::try_from(count).ok().filter(|count| *count <= metadata.len() / 2)?;
    (0..count).map(|_| reader.string(false).ok()).collect()
}
