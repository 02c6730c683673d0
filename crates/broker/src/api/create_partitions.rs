//! CreatePartitions (37): more partitions for existing topics.

use std::collections::BTreeSet;

use kafka_codec::ErrorCode;
use kafka_codec::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_codec::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_codec::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use meta::controller::{self, NewPartitions};
use meta::{MetaError, MetaRecord};

use crate::context::Context;
use crate::metadata::State;
use crate::node::Node;

pub(crate) async fn handle(ctx: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let node = &ctx.node;
    let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let decided = if request.validate_only {
        Ok(decide(node, &node.state(), request.topics).1)
    } else {
        node.metadata.change(|state| Ok(decide(node, state, request.topics))).await
    };
    let results =
        decided.unwrap_or_else(|error| names.into_iter().map(|name| result(name, Err(&error))).collect());
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

fn result(name: String, outcome: Result<(), &MetaError>) -> CreatePartitionsTopicResult {
    let (code, message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(error) => {
            let (code, message) = error.to_client();
            (code, Some(message))
        }
    };
    CreatePartitionsTopicResult {
        name,
        error_code: code.code(),
        error_message: message,
        ..CreatePartitionsTopicResult::default()
    }
}

fn decide(
    node: &Node,
    state: &State,
    topics: Vec<CreatePartitionsTopic>,
) -> (Vec<MetaRecord>, Vec<CreatePartitionsTopicResult>) {
    let mut seen = BTreeSet::new();
    let doubled: BTreeSet<String> =
        topics.iter().filter(|topic| !seen.insert(&topic.name)).map(|topic| topic.name.clone()).collect();
    let mut records = Vec::new();
    let mut results: Vec<_> = doubled
        .iter()
        .map(|name| {
            let error = MetaError::refused(ErrorCode::InvalidRequest, "Duplicate topic name.");
            result(name.clone(), Err(&error))
        })
        .collect();
    for topic in topics.into_iter().filter(|topic| !doubled.contains(&topic.name)) {
        let new = NewPartitions {
            name: topic.name,
            count: topic.count,
            assignments: topic
                .assignments
                .map(|assignments| assignments.into_iter().map(|a| a.broker_ids).collect()),
        };
        match controller::create_partitions(&state.image, &node.placement(&state.properties), &new) {
            Ok(more) => {
                records.extend(more);
                results.push(result(new.name, Ok(())));
            }
            Err(error) => results.push(result(new.name, Err(&error))),
        }
    }
    (records, results)
}
