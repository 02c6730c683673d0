//! Offsets of partitions: look-ups and deletion of records.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_codec::messages::{DeleteRecordsRequest, MetadataResponse};

use super::{Admin, Each, IsolationLevel, ListedOffset, OffsetSpec, leader_moves};
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::list_offsets;
use crate::metadata::Metadata;

impl Admin {
    /// Looks offsets up, at the leaders.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownTopicOrPartition` and the like are told per partition.
    pub async fn list_offsets(
        &self,
        of: &[(TopicPartition, OffsetSpec)],
        isolation: IsolationLevel,
    ) -> Result<Each<TopicPartition, ListedOffset>> {
        let keys = of.iter().map(|(partition, _)| partition.clone()).collect();
        self.retrying_each("listOffsets", keys, leader_moves, |keys| async move {
            let (leaders, mut each) = self.leaders(keys).await?;
            for (leader, partitions) in leaders {
                let connection = self.cluster.broker(leader).await?;
                let time =
                    |p: &TopicPartition| of.iter().find(|(q, _)| q == p).map(|(_, spec)| spec.timestamp());
                let asked: Vec<_> = partitions
                    .into_iter()
                    .filter_map(|(p, epoch)| {
                        let timestamp = time(&p)?;
                        Some(list_offsets::Question { partition: p, timestamp, leader_epoch: epoch })
                    })
                    .collect();
                each.extend(list_offsets::ask(&connection, &asked, isolation, self.api_timeout()).await?);
            }
            Ok(each)
        })
        .await
    }

    /// Deletes the records before each offset (−1 = all up to the high watermark); answers the new first offsets.
    ///
    /// # Errors
    /// As [`Admin`] says. `OffsetOutOfRange` and the like are told per partition.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<Each<TopicPartition, i64>> {
        let keys = before.iter().map(|(partition, _)| partition.clone()).collect();
        self.retrying_each("deleteRecords", keys, leader_moves, |keys| async move {
            let (leaders, mut each) = self.leaders(keys).await?;
            for (leader, partitions) in leaders {
                let mut topics: BTreeMap<String, Vec<DeleteRecordsPartition>> = BTreeMap::new();
                for (partition, _) in &partitions {
                    let Some((_, offset)) = before.iter().find(|(p, _)| p == partition) else { continue };
                    topics.entry(partition.topic.to_string()).or_default().push(DeleteRecordsPartition {
                        partition_index: partition.partition,
                        offset: *offset,
                        ..DeleteRecordsPartition::default()
                    });
                }
                let topic =
                    |(name, partitions)| DeleteRecordsTopic { name, partitions, ..Default::default() };
                let request = DeleteRecordsRequest {
                    topics: topics.into_iter().map(topic).collect(),
                    timeout_ms: self.timeout_ms(),
                    ..DeleteRecordsRequest::default()
                };
                let response = self.cluster.broker(leader).await?.call(&request).await?;
                for topic in response.topics {
                    for p in topic.partitions {
                        let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                        let outcome = Error::check(p.error_code, None).map(|()| p.low_watermark);
                        each.push((partition, outcome));
                    }
                }
            }
            Ok(each)
        })
        .await
    }

    /// Partitions with their leader epochs by leader, and the errors of those without a leader.
    pub(super) async fn leaders<T>(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<(BTreeMap<i32, Vec<(TopicPartition, i32)>>, Each<TopicPartition, T>)> {
        let mut names: Vec<String> = partitions.iter().map(|p| p.topic.to_string()).collect();
        names.sort();
        names.dedup();
        let response: MetadataResponse = self.cluster.fetch_metadata(Some(&names), false).await?;
        let metadata = Metadata::default().next(&response);
        let mut leaders: BTreeMap<i32, Vec<(TopicPartition, i32)>> = BTreeMap::new();
        let mut errors = Vec::new();
        for partition in partitions {
            match metadata.leader(&partition) {
                Some((leader, epoch)) => leaders.entry(leader).or_default().push((partition, epoch)),
                None => {
                    let code = match metadata.errors.get(&partition.topic) {
                        Some(code) => *code,
                        None if metadata.partition(&partition).is_some() => ErrorCode::LeaderNotAvailable,
                        None => ErrorCode::UnknownTopicOrPartition,
                    };
                    errors.push((partition, Err(Error::broker(code))));
                }
            }
        }
        Ok((leaders, errors))
    }
}

/// Partition indexes by topic name.
pub(super) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.to_string()).or_default().push(partition.partition);
    }
    topics
}
