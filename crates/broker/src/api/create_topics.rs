//! CreateTopics (19): several topics in one change, each granted or refused on its own.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::create_topics_request::CreatableTopic;
use kafka_codec::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_codec::messages::{CreateTopicsRequest, CreateTopicsResponse};
use meta::config::topic_configs;
use meta::controller::{self, NewTopic};
use meta::{ConfigResourceKind, MetaError, MetaRecord};

use super::incremental_alter_configs::note_unused;
use crate::context::Context;
use crate::metadata::State;
use crate::node::{Node, random_uuid};

pub(crate) async fn handle(ctx: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let node = &ctx.node;
    let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let validate_only = request.validate_only;
    let decided = if validate_only {
        let (_, results) = decide(node, &node.state(), request.topics, true);
        Ok(results)
    } else {
        node.metadata.change(|state| Ok(decide(node, state, request.topics, false))).await
    };
    let topics =
        decided.unwrap_or_else(|error| names.into_iter().map(|name| refused(name, &error)).collect());
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

fn refused(name: String, error: &MetaError) -> CreatableTopicResult {
    let (code, message) = error.to_client();
    CreatableTopicResult {
        name,
        error_code: code.code(),
        error_message: Some(message),
        num_partitions: -1,
        replication_factor: -1,
        configs: None,
        ..CreatableTopicResult::default()
    }
}

fn decide(
    node: &Node,
    state: &State,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> (Vec<MetaRecord>, Vec<CreatableTopicResult>) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    // Each topic is decided on the state with those before it.
    let mut image = state.image.clone();
    let mut records = Vec::new();
    let mut results = Vec::new();
    for topic in topics {
        if times.get(&topic.name).is_some_and(|times| *times > 1) {
            if times.remove(&topic.name).is_some() {
                let error = MetaError::refused(ErrorCode::InvalidRequest, "Duplicate topic name.");
                times.insert(topic.name.clone(), 0);
                results.push(refused(topic.name, &error));
            }
            continue;
        }
        if times.get(&topic.name) == Some(&0) {
            continue;
        }
        let new = NewTopic {
            name: topic.name,
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic.assignments.into_iter().map(|a| (a.partition_index, a.broker_ids)).collect(),
            configs: topic.configs.into_iter().map(|config| (config.name, config.value)).collect(),
        };
        let plan = controller::create_topic(&image, &node.placement(&state.properties), &new, random_uuid());
        match plan {
            Ok(plan) => {
                let offset = image.end_offset;
                let applied = plan.records.iter().try_for_each(|record| image.apply(offset, record));
                if let Err(reason) = applied {
                    let error = MetaError::refused(ErrorCode::UnknownServerError, reason);
                    results.push(refused(new.name, &error));
                    continue;
                }
                for (key, _) in &new.configs {
                    note_unused(ConfigResourceKind::Topic, &new.name, key);
                }
                results.push(CreatableTopicResult {
                    configs: Some(configs(state, &new)),
                    name: new.name,
                    topic_id: if validate_only { kafka_codec::Uuid::ZERO } else { plan.id },
                    num_partitions: plan.partitions,
                    replication_factor: plan.replication_factor,
                    ..CreatableTopicResult::default()
                });
                records.extend(plan.records);
            }
            Err(error) => results.push(refused(new.name, &error)),
        }
    }
    (records, results)
}

fn configs(state: &State, new: &NewTopic) -> Vec<CreatableTopicConfigs> {
    let overrides: BTreeMap<String, String> = new
        .configs
        .iter()
        .filter_map(|(key, value)| value.as_ref().map(|value| (key.clone(), value.clone())))
        .collect();
    topic_configs()
        .iter()
        .map(|def| {
            let effective = state.properties.effective_topic(def, &overrides);
            CreatableTopicConfigs {
                name: def.name.into(),
                value: effective.value,
                config_source: effective.source.wire(),
                is_sensitive: def.sensitive(),
                ..CreatableTopicConfigs::default()
            }
        })
        .collect()
}
