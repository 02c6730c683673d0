//! Committed offsets at a group's coordinator, for admin clients and consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_codec::ApiKey;
use kafka_codec::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_codec::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_codec::messages::{OffsetCommitRequest, OffsetFetchRequest};

use crate::admin::GroupOffsets;
use crate::connection::Connection;
use crate::consumer::GroupMetadata;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::OffsetAndMetadata;

/// Versions beyond these name topics by id only, which an offset of a deleted topic has not.
const COMMIT_NEWEST: i16 = 9;
const FETCH_NEWEST: i16 = 9;

/// Commits offsets as a member (or, with generation −1, as nobody); answers per partition.
pub(crate) async fn commit(
    connection: &Connection,
    group: &GroupMetadata,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    limit: Duration,
) -> Result<Vec<(TopicPartition, Result<()>)>> {
    let version = connection.version(ApiKey::OffsetCommit, 2..=COMMIT_NEWEST)?;
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset) in offsets {
        topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.filter(|_| version >= 6).unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
            ..OffsetCommitRequestPartition::default()
        });
    }
    let topic = |(name, partitions): (&str, _)| OffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions,
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.group_id.clone(),
        generation_id_or_member_epoch: group.generation,
        member_id: group.member_id.clone(),
        group_instance_id: group.group_instance_id.clone().filter(|_| version >= 7),
        topics: topics.into_iter().map(topic).collect(),
        ..OffsetCommitRequest::default()
    };
    let response = connection.call_version(&request, version, limit).await?;
    let mut each = Vec::new();
    for topic in response.topics {
        for p in topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
            each.push((partition, Error::check(p.error_code, None)));
        }
    }
    Ok(each)
}

/// Reads committed offsets; `None` = of all partitions that have one.
pub(crate) async fn fetch(
    connection: &Connection,
    group_id: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
    limit: Duration,
) -> Result<GroupOffsets> {
    let version = connection.version(ApiKey::OffsetFetch, 2..=FETCH_NEWEST)?;
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic.to_string()).or_default().push(partition.partition);
        }
        topics
    });
    let mut request = OffsetFetchRequest {
        require_stable: require_stable && version >= 7,
        ..OffsetFetchRequest::default()
    };
    if version >= 8 {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
            name,
            partition_indexes,
            ..OffsetFetchRequestTopics::default()
        };
        request.groups.push(OffsetFetchRequestGroup {
            group_id: group_id.to_owned(),
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
            ..OffsetFetchRequestGroup::default()
        });
    } else {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopic {
            name,
            partition_indexes,
            ..OffsetFetchRequestTopic::default()
        };
        request.group_id = group_id.to_owned();
        request.topics = topics.map(|topics| topics.into_iter().map(topic).collect());
    }
    let response = connection.call_version(&request, version, limit).await?;
    let mut offsets = GroupOffsets::new();
    let mut put = |topic: &str, index, code, offset: i64, epoch: i32, metadata: Option<String>| {
        let committed = Error::check(code, None).map(|()| {
            (offset >= 0).then(|| OffsetAndMetadata {
                offset,
                leader_epoch: (epoch >= 0).then_some(epoch),
                metadata: metadata.unwrap_or_default(),
            })
        });
        offsets.insert(TopicPartition::new(topic, index), committed);
    };
    if version >= 8 {
        for group in response.groups.into_iter().filter(|g| g.group_id == group_id) {
            Error::check(group.error_code, None)?;
            for topic in group.topics {
                for p in topic.partitions {
                    let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                    put(&topic.name, p.partition_index, p.error_code, offset, epoch, p.metadata);
                }
            }
        }
    } else {
        Error::check(response.error_code, None)?;
        for topic in response.topics {
            for p in topic.partitions {
                let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                put(&topic.name, p.partition_index, p.error_code, offset, epoch, p.metadata);
            }
        }
    }
    Ok(offsets)
}
