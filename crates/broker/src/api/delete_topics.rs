//! DeleteTopics (20): by name, or by id from version 6 on.

use std::collections::BTreeSet;

use kafka_codec::messages::delete_topics_response::DeletableTopicResult;
use kafka_codec::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use kafka_codec::{ErrorCode, Uuid};
use meta::{MetaError, MetaRecord, controller};

use crate::context::Context;
use crate::metadata::State;

struct Wanted {
    name: Option<String>,
    id: Uuid,
}

pub(crate) async fn handle(ctx: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let version = ctx.version;
    let by_name = request.topic_names.into_iter().map(|name| Wanted { name: Some(name), id: Uuid::ZERO });
    let by_either = request.topics.into_iter().map(|t| Wanted { name: t.name, id: t.topic_id });
    let wanted: Vec<Wanted> = by_name.chain(by_either).collect();
    let names: Vec<_> = wanted.iter().map(|wanted| (wanted.name.clone(), wanted.id)).collect();
    let decided = ctx.node.metadata.change(|state| Ok(decide(state, version, wanted))).await;
    let responses = decided.unwrap_or_else(|error| {
        let (code, message) = error.to_client();
        names.into_iter().map(|(name, id)| result(name, id, code, Some(message.clone()))).collect()
    });
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

fn result(name: Option<String>, id: Uuid, code: ErrorCode, message: Option<String>) -> DeletableTopicResult {
    DeletableTopicResult {
        name,
        topic_id: id,
        error_code: code.code(),
        error_message: message,
        ..DeletableTopicResult::default()
    }
}

fn decide(state: &State, version: i16, wanted: Vec<Wanted>) -> (Vec<MetaRecord>, Vec<DeletableTopicResult>) {
    let enabled = state.properties.flag("delete.topic.enable");
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    let mut results = Vec::new();
    for Wanted { name, id } in wanted {
        let found = match (&name, id.is_zero()) {
            _ if !enabled => {
                let code =
                    if version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
                Err(MetaError::refused(code, code.message()))
            }
            (Some(_), false) => Err(MetaError::refused(
                ErrorCode::InvalidRequest,
                "You may not specify both topic name and topic id.",
            )),
            (None, true) => Err(MetaError::refused(
                ErrorCode::InvalidRequest,
                "Neither topic name nor id were specified.",
            )),
            (Some(name), true) => {
                state.image.topic(name).ok_or_else(|| unknown(ErrorCode::UnknownTopicOrPartition))
            }
            (None, false) => state.image.topic_by_id(id).ok_or_else(|| unknown(ErrorCode::UnknownTopicId)),
        };
        match found {
            Ok(topic) if seen.insert(topic.id) => {
                records.extend(controller::delete_topic(topic));
                results.push(result(Some(topic.name.to_string()), topic.id, ErrorCode::None, None));
            }
            Ok(_) => {
                let message = Some("Duplicate topic name.".to_owned());
                results.push(result(name, id, ErrorCode::InvalidRequest, message));
            }
            Err(error) => {
                let (code, message) = error.to_client();
                results.push(result(name, id, code, Some(message)));
            }
        }
    }
    (records, results)
}

fn unknown(code: ErrorCode) -> MetaError {
    MetaError::refused(code, code.message())
}
