//! AlterClientQuotas (49): sets and removes quotas, each entity's on its own, all granted ones in one change.

use kafka_codec::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_codec::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use meta::controller::{self, QuotaChange};
use meta::{MetaError, MetaRecord};

use crate::context::Context;
use crate::metadata::State;

pub(crate) async fn handle(ctx: Context, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let changes: Vec<QuotaChange> = request
        .entries
        .into_iter()
        .map(|entry| QuotaChange {
            entity: entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name)).collect(),
            ops: entry.ops.into_iter().map(|op| (op.key, (!op.remove).then_some(op.value))).collect(),
        })
        .collect();
    let decided = if request.validate_only {
        Ok(decide(&ctx.node.state(), &changes).1)
    } else {
        ctx.node.metadata.change(|state| Ok(decide(state, &changes))).await
    };
    let entries =
        decided.unwrap_or_else(|error| changes.iter().map(|change| told(change, Some(&error))).collect());
    AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() }
}

fn decide(state: &State, changes: &[QuotaChange]) -> (Vec<MetaRecord>, Vec<EntryData>) {
    let mut records = Vec::new();
    let mut entries = Vec::new();
    for change in changes {
        match controller::alter_quotas(&state.image, change) {
            Ok(more) => {
                records.extend(more);
                entries.push(told(change, None));
            }
            Err(error) => entries.push(told(change, Some(&error))),
        }
    }
    (records, entries)
}

fn told(change: &QuotaChange, error: Option<&MetaError>) -> EntryData {
    let (code, message) = match error.map(MetaError::to_client) {
        Some((code, message)) => (code.code(), Some(message)),
        None => (0, None),
    };
    EntryData {
        error_code: code,
        error_message: message,
        entity: change
            .entity
            .iter()
            .map(|(kind, name)| EntityData {
                entity_type: kind.clone(),
                entity_name: name.clone(),
                ..EntityData::default()
            })
            .collect(),
        ..EntryData::default()
    }
}
