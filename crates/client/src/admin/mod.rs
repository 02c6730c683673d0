//! Administration of a Kafka cluster: topics, configurations, groups, offsets.

mod types;

use std::collections::BTreeMap;

use kafka_codec::Request;

pub use types::*;

use crate::config::AdminConfig;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::OffsetAndMetadata;

/// Answers per item, in the order asked: the item's name and its result.
pub type Each<K, T> = Vec<(K, Result<T>)>;

/// Where a raw request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The controller.
    Controller,
    /// The broker with this id.
    Broker(i32),
    /// The coordinator of this group.
    GroupCoordinator(String),
    /// The coordinator of this transactional id.
    TransactionCoordinator(String),
}

/// A client for administration. Cheap to clone; all methods may be called at once from many tasks.
///
/// Calls that concern several items answer per item ([`Each`]); the outer error is for failures of the whole
/// call. Retriable errors are retried until `default.api.timeout.ms`, then the last one is told
/// ([`Error::Timeout`] when no broker answered at all).
#[derive(Clone, Debug)]
pub struct Admin {
    #[allow(dead_code)]
    config: std::sync::Arc<AdminConfig>,
}

impl Admin {
    /// Makes a client; connects lazily, so this fails only for bad configuration.
    pub fn new(config: AdminConfig) -> Result<Self> {
        Ok(Self { config: std::sync::Arc::new(config) })
    }

    /// Creates topics.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        options: CreateTopicsOptions,
    ) -> Result<Each<String, CreatedTopic>> {
        Err(Error::Closed("admin"))
    }

    /// Deletes topics by name.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Each<String, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Lists all topics, sorted by name; Kafka's own only when asked for.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<TopicListing>> {
        Err(Error::Closed("admin"))
    }

    /// Describes topics by name.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Each<String, TopicDescription>> {
        Err(Error::Closed("admin"))
    }

    /// Grows topics.
    pub async fn create_partitions(
        &self,
        topics: &[(String, NewPartitions)],
        validate_only: bool,
    ) -> Result<Each<String, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Reads configurations; each answer sorted by name as the broker sent it.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        documentation: bool,
    ) -> Result<Each<ConfigResource, Vec<ConfigEntry>>> {
        Err(Error::Closed("admin"))
    }

    /// Changes single configuration values (Kafka 2.3 and later; older brokers get the whole set through AlterConfigs).
    pub async fn incremental_alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<AlterConfigOp>)],
        validate_only: bool,
    ) -> Result<Each<ConfigResource, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Replaces the whole configuration of each resource (AlterConfigs).
    pub async fn alter_configs(
        &self,
        configs: &[(ConfigResource, Vec<(String, String)>)],
        validate_only: bool,
    ) -> Result<Each<ConfigResource, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Looks offsets up, at the leaders.
    pub async fn list_offsets(
        &self,
        of: &[(TopicPartition, OffsetSpec)],
        isolation: IsolationLevel,
    ) -> Result<Each<TopicPartition, ListedOffset>> {
        Err(Error::Closed("admin"))
    }

    /// Deletes the records before each offset (−1 = all up to the high watermark); answers the new first offsets.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<Each<TopicPartition, i64>> {
        Err(Error::Closed("admin"))
    }

    /// Describes the cluster.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        Err(Error::Closed("admin"))
    }

    /// Lists the groups of all brokers, sorted by id.
    pub async fn list_groups(&self, options: &ListGroupsOptions) -> Result<Vec<GroupListing>> {
        Err(Error::Closed("admin"))
    }

    /// Describes consumer groups, classic and KIP-848 ones.
    pub async fn describe_groups(&self, group_ids: &[String]) -> Result<Each<String, GroupDescription>> {
        Err(Error::Closed("admin"))
    }

    /// Deletes empty groups.
    pub async fn delete_groups(&self, group_ids: &[String]) -> Result<Each<String, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Reads the committed offsets of a group; `None` = of all partitions that have one.
    pub async fn list_group_offsets(
        &self,
        group_id: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<GroupOffsets> {
        Err(Error::Closed("admin"))
    }

    /// Sets the committed offsets of a group without members.
    pub async fn alter_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<Each<TopicPartition, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Deletes committed offsets of a group.
    pub async fn delete_group_offsets(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<TopicPartition, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Makes members (by `group.instance.id`, or all when `None`) leave a group.
    pub async fn remove_members(
        &self,
        group_id: &str,
        instance_ids: Option<&[String]>,
        reason: &str,
    ) -> Result<Each<String, ()>> {
        Err(Error::Closed("admin"))
    }

    /// Lists the partition reassignments under way, of all partitions or of the given ones.
    pub async fn list_reassignments(&self, of: Option<&[TopicPartition]>) -> Result<Vec<Reassignment>> {
        Err(Error::Closed("admin"))
    }

    /// Describes the log directories of brokers.
    pub async fn describe_log_dirs(&self, brokers: &[i32]) -> Result<Each<i32, Vec<LogDir>>> {
        Err(Error::Closed("admin"))
    }

    /// Sends any request at the highest version that both sides know and answers the response as it came:
    /// error codes inside are the caller's business.
    pub async fn send_to<R: Request>(&self, target: Target, request: R) -> Result<R::Response> {
        Err(Error::Closed("admin"))
    }

    /// Closes all connections.
    pub async fn close(&self) {}
}
