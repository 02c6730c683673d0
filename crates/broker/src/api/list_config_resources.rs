//! ListConfigResources (74): which resources can have a configuration of their own.

use kafka_codec::ErrorCode;
use kafka_codec::messages::list_config_resources_response::ConfigResource;
use kafka_codec::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use meta::ConfigResourceKind;

use crate::context::Context;

/// Resource type of the brokers' loggers.
const BROKER_LOGGER: i8 = 8;

pub(crate) async fn handle(ctx: Context, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let state = ctx.node.state();
    let metrics = ConfigResourceKind::ClientMetrics.wire();
    let all = [
        ConfigResourceKind::Topic.wire(),
        ConfigResourceKind::Broker.wire(),
        BROKER_LOGGER,
        metrics,
        ConfigResourceKind::Group.wire(),
    ];
    // Version 0 was about client metrics only; later an empty list means all types.
    let wanted = match (ctx.version, request.resource_types) {
        (0, _) => vec![metrics],
        (_, types) if types.is_empty() => all.to_vec(),
        (_, types) => types,
    };
    if wanted.iter().any(|wanted| !all.contains(wanted)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let mut config_resources = Vec::new();
    let mut add = |resource_type: i8, resource_name: String| {
        if wanted.contains(&resource_type) {
            config_resources.push(ConfigResource {
                resource_name,
                resource_type,
                ..ConfigResource::default()
            });
        }
    };
    for topic in state.image.topics() {
        add(ConfigResourceKind::Topic.wire(), topic.name.to_string());
    }
    add(ConfigResourceKind::Broker.wire(), ctx.node.id.to_string());
    add(BROKER_LOGGER, ctx.node.id.to_string());
    for kind in [ConfigResourceKind::ClientMetrics, ConfigResourceKind::Group] {
        for name in state.image.configured(kind) {
            add(kind.wire(), name.to_owned());
        }
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}
