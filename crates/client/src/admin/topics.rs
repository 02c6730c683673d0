//! Topics: create, delete, list, describe, grow.

use std::collections::BTreeMap;

use kafka_codec::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_codec::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_codec::messages::delete_topics_request::DeleteTopicState;
use kafka_codec::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_codec::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition;
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest,
    MetadataRequest, MetadataResponse,
};
use kafka_codec::{ApiKey, ErrorCode};

use super::{
    Admin, CreateTopicsOptions, CreatedTopic, Each, NewPartitions, NewTopic, Node, PartitionInfo,
    TopicDescription, TopicListing, controller_moves,
};
use crate::error::{Error, Result};
use crate::metadata::nodes;

/// Partitions asked for in one DescribeTopicPartitions; the rest comes with the cursor.
const DESCRIBE_PARTITIONS_MAX: i32 = 2_000;

impl Admin {
    /// Creates topics.
    ///
    /// # Errors
    /// As [`Admin`] says. `TopicAlreadyExists` and the like are told per topic.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        options: CreateTopicsOptions,
    ) -> Result<Each<String, CreatedTopic>> {
        let names = topics.iter().map(|t| t.name.clone()).collect();
        self.retrying_each("createTopics", names, controller_moves, |names| {
            let chosen = topics.iter().filter(|t| names.contains(&t.name)).cloned().collect();
            self.create_topics_once(chosen, options)
        })
        .await
    }

    async fn create_topics_once(
        &self,
        topics: Vec<NewTopic>,
        options: CreateTopicsOptions,
    ) -> Result<Each<String, CreatedTopic>> {
        let request = CreateTopicsRequest {
            topics: topics.into_iter().map(creatable).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: options.validate_only,
            ..CreateTopicsRequest::default()
        };
        let response = self.controller().await?.call(&request).await?;
        let answer = response.topics.into_iter().map(|t| {
            let outcome = Error::check(t.error_code, t.error_message.as_deref()).map(|()| CreatedTopic {
                id: t.topic_id,
                partitions: t.num_partitions,
                replication_factor: t.replication_factor,
            });
            (t.name, outcome)
        });
        Ok(answer.collect())
    }

    /// Deletes topics by name.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownTopicOrPartition` and the like are told per topic.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Each<String, ()>> {
        self.retrying_each("deleteTopics", names.to_vec(), controller_moves, |names| {
            self.delete_topics_once(names)
        })
        .await
    }

    async fn delete_topics_once(&self, names: Vec<String>) -> Result<Each<String, ()>> {
        let connection = self.controller().await?;
        let version = connection.newest::<DeleteTopicsRequest>()?;
        let mut request =
            DeleteTopicsRequest { timeout_ms: self.timeout_ms(), ..DeleteTopicsRequest::default() };
        if version >= 6 {
            let state = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
            request.topics = names.into_iter().map(state).collect();
        } else {
            request.topic_names = names;
        }
        let response = connection.call_version(&request, version, self.api_timeout()).await?;
        let answer = response
            .responses
            .into_iter()
            .filter_map(|t| Some((t.name?, Error::check(t.error_code, t.error_message.as_deref()))));
        Ok(answer.collect())
    }

    /// Lists all topics, sorted by name; Kafka's own only when asked for.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<TopicListing>> {
        let response = self.retrying("listTopics", || self.cluster.fetch_metadata(None, false)).await?;
        let mut topics: Vec<_> = response
            .topics
            .into_iter()
            .filter(|t| internal || !t.is_internal)
            .filter_map(|t| Some(TopicListing { name: t.name?, id: t.topic_id, internal: t.is_internal }))
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Describes topics by name; partitions sorted by index.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownTopicOrPartition` and the like are told per topic.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Each<String, TopicDescription>> {
        let passing = |code| matches!(code, ErrorCode::LeaderNotAvailable);
        self.retrying_each("describeTopics", names.to_vec(), passing, |names| {
            self.describe_topics_once(names)
        })
        .await
    }

    async fn describe_topics_once(&self, names: Vec<String>) -> Result<Each<String, TopicDescription>> {
        let connection = self.cluster.any().await?;
        if connection.version(ApiKey::DescribeTopicPartitions, 0..=0).is_err() {
            let response = self.cluster.fetch_metadata(Some(&names), false).await?;
            return Ok(from_metadata(&response));
        }
        let metadata = self.cluster.metadata_from(&connection, MetadataRequest::default()).await?;
        let brokers = nodes(&metadata);
        let mut sorted = names;
        sorted.sort();
        let mut cursor: Option<Cursor> = None;
        let mut found: Each<String, TopicDescription> = Vec::new();
        loop {
            let from = cursor.as_ref().map_or("", |c| c.topic_name.as_str());
            let rest = sorted.iter().filter(|name| name.as_str() >= from);
            let request = DescribeTopicPartitionsRequest {
                topics: rest
                    .map(|name| TopicRequest { name: name.clone(), ..TopicRequest::default() })
                    .collect(),
                response_partition_limit: DESCRIBE_PARTITIONS_MAX,
                cursor: cursor.clone(),
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = connection.call(&request).await?;
            for topic in response.topics {
                let Some(name) = topic.name else { continue };
                if let Err(error) = Error::check(topic.error_code, None) {
                    found.push((name, Err(error)));
                    continue;
                }
                let partitions = topic.partitions.into_iter().map(|p| partition_info(p, &brokers));
                match found.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, Ok(description))) => description.partitions.extend(partitions),
                    Some(_) => {}
                    None => {
                        let description = TopicDescription {
                            name: name.clone(),
                            id: topic.topic_id,
                            internal: topic.is_internal,
                            partitions: partitions.collect(),
                            authorized_operations: operations(topic.topic_authorized_operations),
                        };
                        found.push((name, Ok(description)));
                    }
                }
            }
            let next = response.next_cursor.map(|c| Cursor {
                topic_name: c.topic_name,
                partition_index: c.partition_index,
                ..Cursor::default()
            });
            let place = |c: &Cursor| (c.topic_name.clone(), c.partition_index);
            let moved = next.as_ref().map(place) > cursor.as_ref().map(place);
            if !moved {
                break;
            }
            cursor = next;
        }
        for (_, description) in &mut found {
            if let Ok(description) = description {
                description.partitions.sort_by_key(|p| p.partition);
            }
        }
        Ok(found)
    }

    /// Describes all topics, sorted by name, in one request; Kafka's own only when asked for. Without the
    /// eligible leader replicas, which only [`Admin::describe_topics`] asks for.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn describe_all_topics(&self, internal: bool) -> Result<Vec<TopicDescription>> {
        let response = self.retrying("describeTopics", || self.cluster.fetch_metadata(None, false)).await?;
        let all = from_metadata(&response).into_iter().filter_map(|(_, topic)| topic.ok());
        let mut all: Vec<_> = all.filter(|topic| internal || !topic.internal).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Grows topics.
    ///
    /// # Errors
    /// As [`Admin`] says. `InvalidPartitions` and the like are told per topic.
    pub async fn create_partitions(
        &self,
        topics: &[(String, NewPartitions)],
        validate_only: bool,
    ) -> Result<Each<String, ()>> {
        let names = topics.iter().map(|(name, _)| name.clone()).collect();
        self.retrying_each("createPartitions", names, controller_moves, |names| async move {
            let chosen = topics.iter().filter(|(name, _)| names.contains(name));
            let request = CreatePartitionsRequest {
                topics: chosen.map(|(name, new)| growth(name, new)).collect(),
                timeout_ms: self.timeout_ms(),
                validate_only,
                ..CreatePartitionsRequest::default()
            };
            let response = self.controller().await?.call(&request).await?;
            let answer = response.results.into_iter();
            Ok(answer.map(|t| (t.name, Error::check(t.error_code, t.error_message.as_deref()))).collect())
        })
        .await
    }
}

fn creatable(topic: NewTopic) -> CreatableTopic {
    let assigned = !topic.assignments.is_empty();
    let assignment = |(partition_index, broker_ids)| CreatableReplicaAssignment {
        partition_index,
        broker_ids,
        ..CreatableReplicaAssignment::default()
    };
    let config =
        |(name, value)| CreatableTopicConfig { name, value: Some(value), ..CreatableTopicConfig::default() };
    CreatableTopic {
        name: topic.name,
        num_partitions: topic.partitions.filter(|_| !assigned).unwrap_or(-1),
        replication_factor: topic.replication_factor.filter(|_| !assigned).unwrap_or(-1),
        assignments: topic.assignments.into_iter().map(assignment).collect(),
        configs: topic.configs.into_iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

fn growth(name: &str, new: &NewPartitions) -> CreatePartitionsTopic {
    let assignment = |ids: &Vec<i32>| CreatePartitionsAssignment {
        broker_ids: ids.clone(),
        ..CreatePartitionsAssignment::default()
    };
    CreatePartitionsTopic {
        name: name.to_owned(),
        count: new.total_count,
        assignments: new.assignments.as_ref().map(|all| all.iter().map(assignment).collect()),
        ..CreatePartitionsTopic::default()
    }
}

/// A broker by id; of one that is down only the id is known.
pub(super) fn node(id: i32, brokers: &BTreeMap<i32, Node>) -> Node {
    let unknown = || Node { id, host: String::new(), port: 0, rack: None };
    brokers.get(&id).cloned().unwrap_or_else(unknown)
}

/// −2³¹ says "not asked for".
pub(super) fn operations(bits: i32) -> Option<i32> {
    (bits != i32::MIN).then_some(bits)
}

fn partition_info(
    p: DescribeTopicPartitionsResponsePartition,
    brokers: &BTreeMap<i32, Node>,
) -> PartitionInfo {
    let all = |ids: &[i32]| ids.iter().map(|id| node(*id, brokers)).collect::<Vec<_>>();
    PartitionInfo {
        partition: p.partition_index,
        leader: (p.leader_id >= 0).then(|| node(p.leader_id, brokers)),
        leader_epoch: p.leader_epoch,
        replicas: all(&p.replica_nodes),
        isr: all(&p.isr_nodes),
        offline: all(&p.offline_replicas),
        elr: p.eligible_leader_replicas.as_deref().map(all),
        last_known_elr: p.last_known_elr.as_deref().map(all),
    }
}

fn from_metadata(response: &MetadataResponse) -> Each<String, TopicDescription> {
    let brokers = nodes(response);
    let all = |ids: &[i32]| ids.iter().map(|id| node(*id, &brokers)).collect::<Vec<_>>();
    let describe = |t: &kafka_codec::messages::metadata_response::MetadataResponseTopic| {
        let name = t.name.clone()?;
        if let Err(error) = Error::check(t.error_code, None) {
            return Some((name, Err(error)));
        }
        let partition =
            |p: &kafka_codec::messages::metadata_response::MetadataResponsePartition| PartitionInfo {
                partition: p.partition_index,
                leader: (p.leader_id >= 0).then(|| node(p.leader_id, &brokers)),
                leader_epoch: p.leader_epoch,
                replicas: all(&p.replica_nodes),
                isr: all(&p.isr_nodes),
                offline: all(&p.offline_replicas),
                elr: None,
                last_known_elr: None,
            };
        let mut partitions: Vec<_> = t.partitions.iter().map(partition).collect();
        partitions.sort_by_key(|p| p.partition);
        let description = TopicDescription {
            name: name.clone(),
            id: t.topic_id,
            internal: t.is_internal,
            partitions,
            authorized_operations: operations(t.topic_authorized_operations),
        };
        Some((name, Ok(description)))
    };
    response.topics.iter().filter_map(describe).collect()
}

/// Names for a Metadata request.
pub(super) fn metadata_topics(names: &[String]) -> Vec<MetadataRequestTopic> {
    let topic = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
    names.iter().map(topic).collect()
}
