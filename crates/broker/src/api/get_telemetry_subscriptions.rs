//! GetTelemetrySubscriptions (71): which metrics a client is to push, and how often.

use kafka_codec::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use kafka_codec::records::Compression;

use crate::context::Context;

/// Codecs that clients may choose from, the best first.
const ACCEPTED: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

pub(crate) async fn handle(
    ctx: Context,
    request: GetTelemetrySubscriptionsRequest,
) -> GetTelemetrySubscriptionsResponse {
    let telemetry = &ctx.node.telemetry;
    match telemetry.ask(&ctx, request.client_instance_id, super::now_ms()) {
        Ok((client_instance_id, asked)) => GetTelemetrySubscriptionsResponse {
            client_instance_id,
            subscription_id: asked.subscription_id,
            accepted_compression_types: ACCEPTED.iter().map(|codec| codec.id().cast_signed()).collect(),
            push_interval_ms: asked.interval_ms,
            telemetry_max_bytes: telemetry.bytes_max,
            delta_temporality: true,
            requested_metrics: asked.metrics,
            ..GetTelemetrySubscriptionsResponse::default()
        },
        Err(code) => GetTelemetrySubscriptionsResponse {
            error_code: code.code(),
            ..GetTelemetrySubscriptionsResponse::default()
        },
    }
}
