//! DescribeConfigs (32): settings of topics and of the broker, with where they come from.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_configs_request::DescribeConfigsResource;
use kafka_codec::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_codec::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use meta::config::{
    BrokerProperties, ConfigDef, ConfigSource, Effective, Synonym, Update, broker_configs,
    client_metrics_configs, group_configs, topic_configs,
};
use meta::{ConfigResourceKind, controller};

use crate::context::Context;
use crate::metadata::State;

/// Resource type of the brokers' loggers, whose levels this broker does not change while running.
const BROKER_LOGGER: i8 = 8;

struct Wishes {
    synonyms: bool,
    documentation: bool,
}

pub(crate) async fn handle(ctx: Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let state = ctx.node.state();
    let wishes = Wishes { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let results = request
        .resources
        .into_iter()
        .map(|resource| match describe(&state, ctx.node.id, &resource, &wishes) {
            Ok(configs) => DescribeConfigsResult {
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs,
                ..DescribeConfigsResult::default()
            },
            Err((code, message)) => DescribeConfigsResult {
                error_code: code.code(),
                error_message: Some(message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..DescribeConfigsResult::default()
            },
        })
        .collect();
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

fn describe(
    state: &State,
    node_id: i32,
    resource: &DescribeConfigsResource,
    wishes: &Wishes,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
    let wanted = |key: &str| keys.is_none_or(|keys| keys.iter().any(|wanted| wanted == key));
    match ConfigResourceKind::from_wire(resource.resource_type) {
        Some(ConfigResourceKind::Topic) => {
            controller::check_topic_name(name).map_err(|error| error.to_client())?;
            if state.image.topic(name).is_none() {
                let code = ErrorCode::UnknownTopicOrPartition;
                return Err((code, code.message().to_owned()));
            }
            let overrides = state.image.configs(ConfigResourceKind::Topic, name);
            let entries = topic_configs().iter().filter(|def| wanted(def.name));
            Ok(entries
                .map(|def| entry(def, state.properties.effective_topic(def, &overrides), false, wishes))
                .collect())
        }
        Some(ConfigResourceKind::Broker) if name.is_empty() => {
            let defaults = broker_configs()
                .iter()
                .filter(|def| wanted(def.name) && state.properties.dynamic_default.contains_key(def.name));
            Ok(defaults
                .map(|def| {
                    let value = state.properties.dynamic_default.get(def.name).cloned();
                    let source = ConfigSource::DynamicDefaultBroker;
                    let synonyms = vec![Synonym { name: def.name.into(), value: value.clone(), source }];
                    entry(def, Effective { value, source, synonyms }, false, wishes)
                })
                .collect())
        }
        Some(ConfigResourceKind::Broker) if name == node_id.to_string() => {
            let entries = broker_configs().iter().filter(|def| wanted(def.name));
            Ok(entries
                .map(|def| {
                    entry(def, state.properties.effective(def), def.update == Update::ReadOnly, wishes)
                })
                .collect())
        }
        Some(ConfigResourceKind::Broker) => Err((
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node_id} or empty string, but received {name}"),
        )),
        Some(ConfigResourceKind::Group) => {
            if name.is_empty() {
                return Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()));
            }
            let own = state.image.configs(ConfigResourceKind::Group, name);
            let entries = group_configs().iter().filter(|def| wanted(def.name));
            Ok(entries
                .map(|def| entry(def, state.properties.effective_group(def, &own), false, wishes))
                .collect())
        }
        Some(ConfigResourceKind::ClientMetrics) => {
            if name.is_empty() {
                let message = "Client metrics subscription name must not be empty";
                return Err((ErrorCode::InvalidRequest, message.to_owned()));
            }
            let own = state.image.configs(ConfigResourceKind::ClientMetrics, name);
            let entries = client_metrics_configs().iter().filter(|def| wanted(def.name));
            Ok(entries
                .map(|def| entry(def, BrokerProperties::effective_client_metrics(def, &own), false, wishes))
                .collect())
        }
        None if resource.resource_type == BROKER_LOGGER => Ok(Vec::new()),
        None => {
            Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {}", resource.resource_type)))
        }
    }
}

fn entry(
    def: &ConfigDef,
    effective: Effective,
    read_only: bool,
    wishes: &Wishes,
) -> DescribeConfigsResourceResult {
    let shown = |value: Option<String>| if def.sensitive() { None } else { value };
    let synonyms = if wishes.synonyms { effective.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: def.name.into(),
        value: shown(effective.value),
        read_only,
        config_source: effective.source.wire(),
        is_sensitive: def.sensitive(),
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name,
                value: shown(synonym.value),
                source: synonym.source.wire(),
                ..DescribeConfigsSynonym::default()
            })
            .collect(),
        config_type: def.kind.wire(),
        documentation: wishes.documentation.then(|| def.doc.to_owned()),
        ..DescribeConfigsResourceResult::default()
    }
}
