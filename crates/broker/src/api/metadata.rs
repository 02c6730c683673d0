//! Metadata (3): topics, partitions, leaders, brokers. Creates missing topics when both sides allow it.
//! Memory: proportional to the partitions asked for.

use std::sync::Arc;

use kafka_codec::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_codec::messages::{MetadataRequest, MetadataResponse};
use kafka_codec::{ErrorCode, Uuid};
use meta::{Topic, controller};

use super::{authorized_cluster_operations, authorized_topic_operations};
use crate::context::Context;
use crate::node::Node;

/// First version in which topics can be asked for by id alone.
const IDS_FROM: i16 = 12;

/// A client that gives one id asks by id only: names beside it (Java's clients leave them empty, not null) say nothing.
pub(crate) fn drop_names_beside_ids(request: &mut MetadataRequest, version: i16) {
    let Some(topics) = request.topics.as_mut().filter(|_| version >= IDS_FROM) else { return };
    if topics.iter().any(|topic| !topic.topic_id.is_zero()) {
        topics.retain(|topic| !topic.topic_id.is_zero());
        topics.iter_mut().for_each(|topic| topic.name = None);
    }
}

pub(crate) async fn handle(ctx: Context, mut request: MetadataRequest) -> MetadataResponse {
    drop_names_beside_ids(&mut request, ctx.version);
    let node = &ctx.node;
    let operations = request.include_topic_authorized_operations;
    // Version 0 has no null: there an empty list means all.
    let wanted = request.topics.filter(|topics| ctx.version >= 1 || !topics.is_empty());
    let topics = match wanted {
        None => {
            let state = node.state();
            state.image.topics().map(|topic| describe(node, topic, operations)).collect()
        }
        Some(wanted) => {
            let mut topics = Vec::with_capacity(wanted.len());
            let mut seen = std::collections::BTreeSet::new();
            for topic in wanted {
                if !seen.insert((topic.name.clone(), topic.topic_id)) {
                    continue;
                }
                topics.push(match topic.name {
                    Some(name) => by_name(node, name, request.allow_auto_topic_creation, operations).await,
                    // Names may be null only since topics can be asked for by id alone.
                    None if ctx.version < IDS_FROM => {
                        refused(Some(String::new()), topic.topic_id, ErrorCode::InvalidTopicException)
                    }
                    None => by_id(node, topic.topic_id, operations),
                });
            }
            topics
        }
    };
    let endpoint = node.endpoint_for(&ctx);
    let state = node.state();
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: node.id,
            host: endpoint.host,
            port: i32::from(endpoint.port),
            rack: state.properties.text("broker.rack"),
            ..MetadataResponseBroker::default()
        }],
        cluster_id: Some(node.cluster_id.clone()),
        controller_id: node.id,
        topics,
        cluster_authorized_operations: authorized_cluster_operations(
            request.include_cluster_authorized_operations,
        ),
        ..MetadataResponse::default()
    }
}

fn refused(name: Option<String>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: name.as_deref().is_some_and(controller::is_internal),
        name,
        topic_id: id,
        ..MetadataResponseTopic::default()
    }
}

async fn by_name(
    node: &Arc<Node>,
    name: String,
    client_allows_creation: bool,
    operations: bool,
) -> MetadataResponseTopic {
    let state = node.state();
    if let Some(topic) = state.image.topic(&name) {
        return describe(node, topic, operations);
    }
    let allowed = client_allows_creation && state.properties.flag("auto.create.topics.enable");
    if controller::check_topic_name(&name).is_err() {
        return refused(Some(name), Uuid::ZERO, ErrorCode::InvalidTopicException);
    }
    if !allowed {
        return refused(Some(name), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition);
    }
    match node.ensure_topic(&name).await {
        Ok(()) => match node.state().image.topic(&name) {
            Some(topic) => describe(node, topic, operations),
            None => refused(Some(name), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition),
        },
        Err(error) => {
            tracing::warn!(topic = name, %error, "automatic creation of a topic refused");
            refused(Some(name), Uuid::ZERO, error.to_client().0)
        }
    }
}

fn by_id(node: &Node, id: Uuid, operations: bool) -> MetadataResponseTopic {
    match node.state().image.topic_by_id(id) {
        Some(topic) => describe(node, topic, operations),
        None if id.is_zero() => refused(None, id, ErrorCode::InvalidTopicException),
        None => refused(None, id, ErrorCode::UnknownTopicId),
    }
}

fn describe(node: &Node, topic: &Topic, operations: bool) -> MetadataResponseTopic {
    let replicas = node.replicas.topic(&topic.name);
    let partitions = (0..)
        .zip(&topic.partitions)
        .map(|(index, state)| {
            let served = replicas
                .as_ref()
                .and_then(|topic| topic.partition(index))
                .is_some_and(|partition| !partition.is_offline());
            let error = if served { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
            MetadataResponsePartition {
                error_code: error.code(),
                partition_index: index,
                leader_id: if served { state.leader } else { -1 },
                leader_epoch: state.leader_epoch,
                replica_nodes: state.replicas.clone(),
                isr_nodes: state.isr.clone(),
                offline_replicas: if served { Vec::new() } else { state.replicas.clone() },
                ..MetadataResponsePartition::default()
            }
        })
        .collect();
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: controller::is_internal(&topic.name),
        partitions,
        topic_authorized_operations: authorized_topic_operations(operations),
        ..MetadataResponseTopic::default()
    }
}
