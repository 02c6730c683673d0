//! The metadata quorum, features and membership of the cluster.

use std::collections::BTreeMap;

use kafka_codec::Uuid;
use kafka_codec::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_codec::messages::describe_quorum_response;
use kafka_codec::messages::update_features_request::FeatureUpdateKey;
use kafka_codec::messages::{
    AddRaftVoterRequest, ApiVersionsResponse, DescribeQuorumRequest, RemoveRaftVoterRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest, add_raft_voter_request,
};

use super::{Admin, Each, Target};
use crate::error::{Error, Result};

const METADATA_TOPIC: &str = "__cluster_metadata";

/// One replica of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// Node id.
    pub id: i32,
    /// Id of its log directory; zero when not told.
    pub directory_id: Uuid,
    /// End of its log.
    pub log_end_offset: i64,
    /// Its last fetch, milliseconds since the epoch, if told.
    pub last_fetch_ms: Option<i64>,
    /// When it had last caught up, if told.
    pub last_caught_up_ms: Option<i64>,
}

/// A listener of a node of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// Listener name.
    pub listener: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// State of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The leader's node id.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// Offset up to which the log is committed.
    pub high_watermark: i64,
    /// Voting replicas.
    pub voters: Vec<QuorumReplica>,
    /// Replicas that only read.
    pub observers: Vec<QuorumReplica>,
    /// Listeners by node id.
    pub endpoints: BTreeMap<i32, Vec<VoterEndpoint>>,
}

/// Direction of a feature update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum FeatureUpgradeType {
    /// To a higher level.
    Upgrade = 1,
    /// To a lower level if nothing is lost.
    SafeDowngrade = 2,
    /// To a lower level even if something is lost.
    UnsafeDowngrade = 3,
}

impl Admin {
    /// Describes the metadata quorum.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription> {
        let partitions = vec![PartitionData::default()];
        let topic = TopicData { topic_name: METADATA_TOPIC.to_owned(), partitions, ..TopicData::default() };
        let request = &DescribeQuorumRequest { topics: vec![topic], ..DescribeQuorumRequest::default() };
        let response = self
            .retrying("describeMetadataQuorum", || async move {
                let response = self.cluster.any().await?.call(request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                    Error::check(partition.error_code, partition.error_message.as_deref())?;
                }
                Ok(response)
            })
            .await?;
        let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.ok_or_else(|| Error::broker(kafka_codec::ErrorCode::UnknownServerError))?;
        let known = |ms: i64| (ms >= 0).then_some(ms);
        let replica = |r: describe_quorum_response::ReplicaState| QuorumReplica {
            id: r.replica_id,
            directory_id: r.replica_directory_id,
            log_end_offset: r.log_end_offset,
            last_fetch_ms: known(r.last_fetch_timestamp),
            last_caught_up_ms: known(r.last_caught_up_timestamp),
        };
        let endpoint = |l: describe_quorum_response::Listener| VoterEndpoint {
            listener: l.name,
            host: l.host,
            port: l.port,
        };
        let nodes = response.nodes.into_iter();
        Ok(QuorumDescription {
            leader_id: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: partition.current_voters.into_iter().map(replica).collect(),
            observers: partition.observers.into_iter().map(replica).collect(),
            endpoints: nodes.map(|n| (n.node_id, n.listeners.into_iter().map(endpoint).collect())).collect(),
        })
    }

    /// Adds a voter to the metadata quorum.
    ///
    /// # Errors
    /// As [`Admin`] says, and the quorum's own.
    pub async fn add_raft_voter(
        &self,
        id: i32,
        directory_id: Uuid,
        endpoints: &[VoterEndpoint],
    ) -> Result<()> {
        let listener = |endpoint: &VoterEndpoint| add_raft_voter_request::Listener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        };
        let request = AddRaftVoterRequest {
            timeout_ms: self.timeout_ms(),
            voter_id: id,
            voter_directory_id: directory_id,
            listeners: endpoints.iter().map(listener).collect(),
            ..AddRaftVoterRequest::default()
        };
        let response = self.send_to(Target::Any, request).await?;
        Error::check(response.error_code, response.error_message.as_deref())
    }

    /// Takes a voter out of the metadata quorum.
    ///
    /// # Errors
    /// As [`Admin`] says, and the quorum's own.
    pub async fn remove_raft_voter(&self, id: i32, directory_id: Uuid) -> Result<()> {
        let request = RemoveRaftVoterRequest {
            voter_id: id,
            voter_directory_id: directory_id,
            ..RemoveRaftVoterRequest::default()
        };
        let response = self.send_to(Target::Any, request).await?;
        Error::check(response.error_code, response.error_message.as_deref())
    }

    /// Forgets a broker that is gone for good.
    ///
    /// # Errors
    /// As [`Admin`] says; `BrokerIdNotRegistered` for one that nobody knows.
    pub async fn unregister_broker(&self, id: i32) -> Result<()> {
        let request = &UnregisterBrokerRequest { broker_id: id, ..UnregisterBrokerRequest::default() };
        self.retrying("unregisterBroker", || async move {
            let response = self.cluster.any().await?.call(request).await?;
            Error::check(response.error_code, response.error_message.as_deref())
        })
        .await
    }

    /// What a broker (`None` = any) says of features: it is part of its answer to ApiVersions.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn describe_features(&self, broker: Option<i32>) -> Result<ApiVersionsResponse> {
        self.retrying("describeFeatures", || async move {
            let connection = match broker {
                Some(id) => self.cluster.broker(id).await?,
                None => self.cluster.any().await?,
            };
            Ok(connection.offered().clone())
        })
        .await
    }

    /// Sets finalized levels of features (0 takes a feature away).
    ///
    /// # Errors
    /// As [`Admin`] says; the controller's refusals are told per feature.
    pub async fn update_features(
        &self,
        updates: &[(String, i16, FeatureUpgradeType)],
        validate_only: bool,
    ) -> Result<Each<String, ()>> {
        let update = |(feature, level, direction): &(String, i16, FeatureUpgradeType)| FeatureUpdateKey {
            feature: feature.clone(),
            max_version_level: *level,
            upgrade_type: *direction as i8,
            ..FeatureUpdateKey::default()
        };
        let request = &UpdateFeaturesRequest {
            timeout_ms: self.timeout_ms(),
            feature_updates: updates.iter().map(update).collect(),
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        let response = self
            .retrying("updateFeatures", || async move {
                let response = self.controller().await?.call(request).await?;
                match Error::check(response.error_code, response.error_message.as_deref()) {
                    Err(error) if error.is_retriable() => Err(error),
                    _ => Ok(response),
                }
            })
            .await?;
        let top = Error::check(response.error_code, response.error_message.as_deref());
        let outcome = |name: &String| {
            // Since version 2 there is one answer for all.
            let own = response.results.iter().find(|result| result.feature == *name);
            let own = own.map_or(Ok(()), |r| Error::check(r.error_code, r.error_message.as_deref()));
            (name.clone(), top.clone().and(own))
        };
        Ok(updates.iter().map(|(name, ..)| outcome(name)).collect())
    }
}
