//! IncrementalAlterConfigs (44): single settings of topics and of the broker.

use std::collections::BTreeSet;

use kafka_codec::ErrorCode;
use kafka_codec::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_codec::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use meta::config::{broker_config, topic_config};
use meta::controller::{self, ConfigChange, ConfigOp};
use meta::{ConfigResourceKind, MetaError, MetaRecord};

use crate::context::Context;
use crate::metadata::State;

/// A change as the client asks for it.
pub(super) struct Wanted {
    /// Resource type on the wire.
    pub(super) resource_type: i8,
    /// Resource name.
    pub(super) name: String,
    /// Key, operation on the wire, value.
    pub(super) entries: Vec<(String, i8, Option<String>)>,
    /// Keys not named lose their value.
    pub(super) replace: bool,
}

/// What became of it.
pub(super) struct Outcome {
    pub(super) resource_type: i8,
    pub(super) name: String,
    pub(super) code: ErrorCode,
    pub(super) message: Option<String>,
}

pub(crate) async fn handle(
    ctx: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let wanted = request
        .resources
        .into_iter()
        .map(|resource| Wanted {
            resource_type: resource.resource_type,
            name: resource.resource_name,
            entries: resource.configs.into_iter().map(|c| (c.name, c.config_operation, c.value)).collect(),
            replace: false,
        })
        .collect();
    let responses = alter(&ctx, wanted, request.validate_only)
        .await
        .into_iter()
        .map(|outcome| AlterConfigsResourceResponse {
            error_code: outcome.code.code(),
            error_message: outcome.message,
            resource_type: outcome.resource_type,
            resource_name: outcome.name,
            ..AlterConfigsResourceResponse::default()
        })
        .collect();
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
}

/// Carries changes out, each granted or refused on its own.
pub(super) async fn alter(ctx: &Context, wanted: Vec<Wanted>, validate_only: bool) -> Vec<Outcome> {
    let node = &ctx.node;
    let names: Vec<_> = wanted.iter().map(|w| (w.resource_type, w.name.clone())).collect();
    let decided = if validate_only {
        Ok(decide(&node.state(), node.id, wanted).1)
    } else {
        node.metadata.change(|state| Ok(decide(state, node.id, wanted))).await
    };
    decided.unwrap_or_else(|error| {
        let (code, message) = error.to_client();
        let refuse =
            |(resource_type, name)| Outcome { resource_type, name, code, message: Some(message.clone()) };
        names.into_iter().map(refuse).collect()
    })
}

fn decide(state: &State, node_id: i32, wanted: Vec<Wanted>) -> (Vec<MetaRecord>, Vec<Outcome>) {
    let mut seen = BTreeSet::new();
    let doubled: BTreeSet<(i8, String)> = wanted
        .iter()
        .map(|w| (w.resource_type, w.name.clone()))
        .filter(|resource| !seen.insert(resource.clone()))
        .collect();
    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    for wanted in wanted {
        let (resource_type, name) = (wanted.resource_type, wanted.name.clone());
        let changed = if doubled.contains(&(resource_type, name.clone())) {
            Err(MetaError::refused(ErrorCode::InvalidRequest, "Each resource must appear at most once."))
        } else {
            change(state, node_id, wanted)
        };
        let (code, message) = match changed {
            Ok(more) => {
                records.extend(more);
                (ErrorCode::None, None)
            }
            Err(error) => {
                let (code, message) = error.to_client();
                (code, Some(message))
            }
        };
        outcomes.push(Outcome { resource_type, name, code, message });
    }
    (records, outcomes)
}

fn change(state: &State, node_id: i32, wanted: Wanted) -> Result<Vec<MetaRecord>, MetaError> {
    let invalid = |message: String| MetaError::refused(ErrorCode::InvalidRequest, message);
    let kind = ConfigResourceKind::from_wire(wanted.resource_type)
        .ok_or_else(|| invalid(format!("Unsupported resource type: {}", wanted.resource_type)))?;
    let entries = wanted
        .entries
        .into_iter()
        .map(|(key, op, value)| {
            ConfigOp::from_wire(op)
                .map(|op| (key, op, value))
                .ok_or_else(|| invalid(format!("Unknown config operation: {op}")))
        })
        .collect::<Result<_, _>>()?;
    let change = ConfigChange { kind, name: wanted.name, entries, replace: wanted.replace };
    let records = controller::alter_configs(&state.image, &state.properties, node_id, &change)?;
    for (key, ..) in change.entries.iter().filter(|(_, op, _)| *op != ConfigOp::Delete) {
        note_unused(kind, &change.name, key);
    }
    Ok(records)
}

/// Says in the broker's log that a value is kept, but has no effect.
pub(super) fn note_unused(kind: ConfigResourceKind, name: &str, key: &str) {
    let def = match kind {
        ConfigResourceKind::Topic => topic_config(key),
        ConfigResourceKind::Broker => broker_config(key),
        _ => return,
    };
    match def {
        Some(def) if def.honoured => {}
        Some(def) => tracing::warn!(?kind, name, key, why = def.doc, "configuration has no effect here"),
        None => tracing::warn!(?kind, name, key, "unknown configuration, not used"),
    }
}
