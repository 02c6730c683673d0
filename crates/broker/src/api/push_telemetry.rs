//! PushTelemetry (72): metrics of a client. Memory: the metrics, at most twice `telemetry.max.bytes`.

use kafka_codec::messages::{PushTelemetryRequest, PushTelemetryResponse};

use crate::context::Context;
use crate::telemetry::Push;

pub(crate) async fn handle(ctx: Context, request: PushTelemetryRequest) -> PushTelemetryResponse {
    let push = Push {
        id: request.client_instance_id,
        subscription_id: request.subscription_id,
        terminating: request.terminating,
        compression: request.compression_type,
        metrics: &request.metrics,
    };
    let telemetry = &ctx.node.telemetry;
    let outcome = match telemetry.check(&ctx, &push, super::now_ms()) {
        Ok(codec) if !push.metrics.is_empty() => telemetry.keep(&ctx, &push, codec).await,
        checked => checked.map(drop),
    };
    let error_code = outcome.err().map_or(0, |code| code.code());
    PushTelemetryResponse { error_code, ..PushTelemetryResponse::default() }
}
