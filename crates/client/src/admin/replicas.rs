//! Leaders and replicas: elections, reassignments, moves between log directories.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_codec::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_codec::messages::elect_leaders_request::TopicPartitions;
use kafka_codec::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ElectLeadersRequest,
};

use super::{Admin, Each, controller_moves};
use crate::door::TopicPartition;
use crate::error::{Error, Result};

/// Who may become leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ElectionType {
    /// The preferred replica, the first of the list.
    Preferred = 0,
    /// A replica that is not in sync: records may be lost.
    Unclean = 1,
}

/// A replica's place: partition, broker, directory on that broker.
pub type ReplicaPlace = (TopicPartition, i32, String);

impl Admin {
    /// Elects leaders of partitions (`None` = of all); answers the partitions that the controller looked at.
    ///
    /// # Errors
    /// As [`Admin`] says. `ElectionNotNeeded` and the like are told per partition.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        of: Option<&[TopicPartition]>,
    ) -> Result<Each<TopicPartition, ()>> {
        let topics = |partitions: &[TopicPartition]| {
            let by_topic = super::offsets::by_topic(partitions).into_iter();
            by_topic
                .map(|(topic, partitions)| TopicPartitions {
                    topic,
                    partitions,
                    ..TopicPartitions::default()
                })
                .collect()
        };
        let request = &ElectLeadersRequest {
            election_type: election as i8,
            topic_partitions: of.map(topics),
            timeout_ms: self.timeout_ms(),
            ..ElectLeadersRequest::default()
        };
        let response = self
            .retrying("electLeaders", || async move {
                let response = self.controller().await?.call(request).await?;
                Error::check(response.error_code, None)?;
                Ok(response)
            })
            .await?;
        let mut each = Vec::new();
        for topic in response.replica_election_results {
            for p in topic.partition_result {
                let partition = TopicPartition::new(topic.topic.as_str(), p.partition_id);
                each.push((partition, Error::check(p.error_code, p.error_message.as_deref())));
            }
        }
        Ok(each)
    }

    /// Starts reassignments (`None` = cancels the one under way).
    ///
    /// # Errors
    /// As [`Admin`] says. `NoReassignmentInProgress` and the like are told per partition.
    pub async fn alter_reassignments(
        &self,
        targets: &[(TopicPartition, Option<Vec<i32>>)],
    ) -> Result<Each<TopicPartition, ()>> {
        let keys = targets.iter().map(|(partition, _)| partition.clone()).collect();
        self.retrying_each("alterPartitionReassignments", keys, controller_moves, |keys| async move {
            let mut topics: BTreeMap<String, Vec<ReassignablePartition>> = BTreeMap::new();
            for (partition, replicas) in targets.iter().filter(|(partition, _)| keys.contains(partition)) {
                topics.entry(partition.topic.to_string()).or_default().push(ReassignablePartition {
                    partition_index: partition.partition,
                    replicas: replicas.clone(),
                    ..ReassignablePartition::default()
                });
            }
            let topic = |(name, partitions)| ReassignableTopic { name, partitions, ..Default::default() };
            let request = AlterPartitionReassignmentsRequest {
                timeout_ms: self.timeout_ms(),
                topics: topics.into_iter().map(topic).collect(),
                ..AlterPartitionReassignmentsRequest::default()
            };
            let response = self.controller().await?.call(&request).await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            let mut each = Vec::new();
            for topic in response.responses {
                for p in topic.partitions {
                    let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                    each.push((partition, Error::check(p.error_code, p.error_message.as_deref())));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Moves replicas to other log directories of their brokers.
    ///
    /// # Errors
    /// As [`Admin`] says. `LogDirNotFound` and the like are told per replica.
    pub async fn alter_replica_log_dirs(&self, places: &[ReplicaPlace]) -> Result<Each<ReplicaPlace, ()>> {
        self.retrying_each("alterReplicaLogDirs", places.to_vec(), not_there_yet, |places| async move {
            let mut brokers: BTreeMap<i32, BTreeMap<&str, Vec<TopicPartition>>> = BTreeMap::new();
            for (partition, broker, path) in &places {
                brokers.entry(*broker).or_default().entry(path).or_default().push(partition.clone());
            }
            let mut each = Vec::new();
            for (broker, dirs) in brokers {
                let topic =
                    |(name, partitions)| AlterReplicaLogDirTopic { name, partitions, ..Default::default() };
                let dir = |(path, partitions): (&str, Vec<TopicPartition>)| AlterReplicaLogDir {
                    path: path.to_owned(),
                    topics: super::offsets::by_topic(&partitions).into_iter().map(topic).collect(),
                    ..AlterReplicaLogDir::default()
                };
                let request = AlterReplicaLogDirsRequest {
                    dirs: dirs.into_iter().map(dir).collect(),
                    ..AlterReplicaLogDirsRequest::default()
                };
                let response = self.cluster.broker(broker).await?.call(&request).await?;
                for topic in response.results {
                    for p in topic.partitions {
                        let partition = TopicPartition::new(topic.topic_name.as_str(), p.partition_index);
                        let place = places.iter().find(|(of, at, _)| *of == partition && *at == broker);
                        each.extend(place.map(|place| (place.clone(), Error::check(p.error_code, None))));
                    }
                }
            }
            Ok(each)
        })
        .await
    }
}

/// A replica that the broker will only get: the tool decides whether to wait.
fn not_there_yet(_: ErrorCode) -> bool {
    false
}
