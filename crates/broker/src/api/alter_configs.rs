//! AlterConfigs (33): all settings of a resource at once, the old way: what is not named goes back to default.

use kafka_codec::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_codec::messages::{AlterConfigsRequest, AlterConfigsResponse};
use meta::controller::ConfigOp;

use super::incremental_alter_configs::{Wanted, alter};
use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let wanted = request
        .resources
        .into_iter()
        .map(|resource| Wanted {
            resource_type: resource.resource_type,
            name: resource.resource_name,
            entries: resource.configs.into_iter().map(|c| (c.name, ConfigOp::Set.wire(), c.value)).collect(),
            replace: true,
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
    AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
}
