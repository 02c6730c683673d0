//! The cluster itself: brokers, versions, log directories, reassignments.

use kafka_codec::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_codec::messages::{
    ApiVersionsResponse, DescribeClusterRequest, DescribeLogDirsRequest, ListPartitionReassignmentsRequest,
    MetadataRequest, MetadataResponse,
};
use kafka_codec::{ApiKey, ErrorCode};

use super::topics::{metadata_topics, operations};
use super::{Admin, ClusterDescription, Each, LogDir, Node, Reassignment, ReplicaInfo};
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::metadata::nodes;

impl Admin {
    /// Describes the cluster.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.retrying("describeCluster", || self.describe_cluster_once()).await
    }

    async fn describe_cluster_once(&self) -> Result<ClusterDescription> {
        let connection = self.cluster.any().await?;
        if connection.version(ApiKey::DescribeCluster, 0..=2).is_err() {
            let metadata = self.cluster.fetch_metadata(Some(&[]), false).await?;
            let brokers = nodes(&metadata);
            return Ok(ClusterDescription {
                cluster_id: metadata.cluster_id,
                controller: brokers.get(&metadata.controller_id).cloned(),
                nodes: brokers.into_values().collect(),
                authorized_operations: operations(metadata.cluster_authorized_operations),
            });
        }
        let response = connection.call(&DescribeClusterRequest::default()).await?;
        Error::check(response.error_code, response.error_message.as_deref())?;
        let broker = |b: kafka_codec::messages::describe_cluster_response::DescribeClusterBroker| Node {
            id: b.broker_id,
            host: b.host,
            port: b.port,
            rack: b.rack,
        };
        let mut brokers: Vec<Node> = response.brokers.into_iter().map(broker).collect();
        brokers.sort();
        Ok(ClusterDescription {
            cluster_id: Some(response.cluster_id),
            controller: brokers.iter().find(|b| b.id == response.controller_id).cloned(),
            nodes: brokers,
            authorized_operations: operations(response.cluster_authorized_operations),
        })
    }

    /// All brokers by id, from metadata.
    pub(super) async fn brokers(&self, call: &str) -> Result<Vec<Node>> {
        let response = self.retrying(call, || self.cluster.fetch_metadata(Some(&[]), false)).await?;
        Ok(nodes(&response).into_values().collect())
    }

    /// The API versions that each broker offers.
    ///
    /// # Errors
    /// As [`Admin`] says; brokers that cannot be reached are told per broker.
    pub async fn api_versions(&self) -> Result<Each<Node, ApiVersionsResponse>> {
        let mut each = Vec::new();
        for broker in self.brokers("apiVersions").await? {
            let id = broker.id;
            let offered = self.retrying("apiVersions", || async move {
                Ok(self.cluster.broker(id).await?.offered().clone())
            });
            each.push((broker, offered.await));
        }
        Ok(each)
    }

    /// Raw metadata of topics (`None` = all). Creates nothing.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn metadata(&self, topics: Option<&[String]>) -> Result<MetadataResponse> {
        self.retrying("metadata", || async move {
            let connection = self.cluster.any().await?;
            let request = MetadataRequest {
                topics: topics.map(metadata_topics),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            };
            self.cluster.metadata_from(&connection, request).await
        })
        .await
    }

    /// Lists the partition reassignments under way, of all partitions or of the given ones.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn list_reassignments(&self, of: Option<&[TopicPartition]>) -> Result<Vec<Reassignment>> {
        let topics = of.map(|partitions| {
            let mut topics: Vec<ListPartitionReassignmentsTopics> = Vec::new();
            for (name, partition_indexes) in super::offsets::by_topic(partitions) {
                topics.push(ListPartitionReassignmentsTopics {
                    name,
                    partition_indexes,
                    ..ListPartitionReassignmentsTopics::default()
                });
            }
            topics
        });
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics,
            ..ListPartitionReassignmentsRequest::default()
        };
        let request = &request;
        let response = self
            .retrying("listPartitionReassignments", || async move {
                let response = self.controller().await?.call(request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            })
            .await?;
        let mut all = Vec::new();
        for topic in response.topics {
            for p in topic.partitions {
                all.push(Reassignment {
                    partition: TopicPartition::new(topic.name.as_str(), p.partition_index),
                    replicas: p.replicas,
                    adding: p.adding_replicas,
                    removing: p.removing_replicas,
                });
            }
        }
        all.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(all)
    }

    /// Describes the log directories of brokers.
    ///
    /// # Errors
    /// As [`Admin`] says; brokers that cannot be reached are told per broker.
    pub async fn describe_log_dirs(&self, brokers: &[i32]) -> Result<Each<i32, Vec<LogDir>>> {
        let mut each = Vec::with_capacity(brokers.len());
        for &id in brokers {
            each.push((id, self.retrying("describeLogDirs", || self.log_dirs_of(id)).await));
        }
        Ok(each)
    }

    async fn log_dirs_of(&self, broker: i32) -> Result<Vec<LogDir>> {
        let request = DescribeLogDirsRequest { topics: None, ..DescribeLogDirsRequest::default() };
        let response = self.cluster.broker(broker).await?.call(&request).await?;
        Error::check(response.error_code, None)?;
        if response.results.is_empty() && response.error_code == 0 {
            // Before version 3 this was how a broker said no.
            return Err(Error::broker(ErrorCode::ClusterAuthorizationFailed));
        }
        let bytes = |n: i64| (n >= 0).then_some(n);
        let dir = |d: kafka_codec::messages::describe_log_dirs_response::DescribeLogDirsResult| {
            let mut replicas = Vec::new();
            for topic in &d.topics {
                for p in &topic.partitions {
                    replicas.push(ReplicaInfo {
                        partition: TopicPartition::new(topic.name.as_str(), p.partition_index),
                        size: p.partition_size,
                        offset_lag: p.offset_lag,
                        is_future: p.is_future_key,
                    });
                }
            }
            LogDir {
                path: d.log_dir,
                error: Error::check(d.error_code, None).err(),
                total_bytes: bytes(d.total_bytes),
                usable_bytes: bytes(d.usable_bytes),
                replicas,
            }
        };
        Ok(response.results.into_iter().map(dir).collect())
    }
}
