//! DescribeClientQuotas (48): the quotas whose entities a filter means (KIP-546). Memory: the quotas found.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_codec::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use meta::quota::{QuotaEntity, QuotaEntityType};

use crate::context::Context;

/// Match types of a filter.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

enum Wanted {
    Name(String),
    Default,
    Any,
}

type Filter = BTreeMap<QuotaEntityType, Wanted>;

pub(crate) async fn handle(
    ctx: Context,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let filter = match filter(&request) {
        Ok(filter) => filter,
        Err((code, message)) => {
            return DescribeClientQuotasResponse {
                error_code: code.code(),
                error_message: Some(message),
                entries: None,
                ..DescribeClientQuotasResponse::default()
            };
        }
    };
    let state = ctx.node.state();
    let entries = state
        .image
        .quotas
        .iter()
        .filter(|(entity, _)| matches(&filter, request.strict, entity))
        .map(|(entity, quotas)| EntryData {
            entity: entity
                .iter()
                .map(|(kind, name)| EntityData {
                    entity_type: kind.name().to_owned(),
                    entity_name: name.clone(),
                    ..EntityData::default()
                })
                .collect(),
            values: quotas
                .iter()
                .map(|(key, value)| ValueData { key: key.clone(), value: *value, ..ValueData::default() })
                .collect(),
            ..EntryData::default()
        })
        .collect();
    DescribeClientQuotasResponse { entries: Some(entries), ..DescribeClientQuotasResponse::default() }
}

fn filter(request: &DescribeClientQuotasRequest) -> Result<Filter, (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut filter = Filter::new();
    for part in &request.components {
        if part.entity_type.is_empty() {
            return invalid("Unexpected empty entity type".into());
        }
        let Some(kind) = QuotaEntityType::from_name(&part.entity_type) else {
            let message = format!("Custom entity type '{}' not supported", part.entity_type);
            return Err((ErrorCode::UnsupportedVersion, message));
        };
        let wanted = match (part.match_type, &part.r#match) {
            (EXACT, Some(name)) => Wanted::Name(name.clone()),
            (EXACT, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.".into());
            }
            (DEFAULT, None) => Wanted::Default,
            (DEFAULT, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.".into(),
                );
            }
            (ANY, None) => Wanted::Any,
            (ANY, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.".into(),
                );
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        if filter.insert(kind, wanted).is_some() {
            return invalid(format!(
                "Entity type {} cannot appear more than once in the filter.",
                kind.name()
            ));
        }
    }
    if filter.contains_key(&QuotaEntityType::Ip) && filter.len() > 1 {
        return invalid("Invalid entity filter component combination, IP filter component should not be used with user or clientId filter component.".into());
    }
    Ok(filter)
}

fn matches(filter: &Filter, strict: bool, entity: &QuotaEntity) -> bool {
    if strict && entity.len() != filter.len() {
        return false;
    }
    filter.iter().all(|(kind, wanted)| match (wanted, entity.get(kind)) {
        (_, None) => false,
        (Wanted::Name(wanted), Some(name)) => name.as_ref() == Some(wanted),
        (Wanted::Default, Some(name)) => name.is_none(),
        (Wanted::Any, Some(_)) => true,
    })
}
