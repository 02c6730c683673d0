//! ApiVersions (18): which APIs and versions this broker offers. Memory: one small answer.

use futures_util::FutureExt;
use kafka_codec::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_codec::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_codec::{ApiKey, ErrorCode, frame};

use crate::context::Context;
use crate::dispatch::framed;
use crate::net::connection::Handling;

/// Features: name, lowest and highest level this broker can run at, level it runs at. What Kafka has but this
/// broker does not yet (streams groups) is at level 0, "not there".
pub(super) const FEATURES: &[(&str, i16, i16, i16)] = &[
    ("group.version", 0, 1, 1),
    ("kraft.version", 0, 1, 1),
    ("metadata.version", 7, 30, 30),
    ("share.version", 0, 1, 1),
    ("transaction.version", 0, 2, 2),
];

/// First version that can carry a feature whose lowest level is 0 (older clients refuse to read it).
const LEVEL_0_FROM: i16 = 4;

pub(crate) async fn handle(ctx: Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if ctx.version >= 3
        && !(valid_software(&request.client_software_name)
            && valid_software(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    if ctx.version >= 3 {
        let software = (request.client_software_name.clone(), request.client_software_version.clone());
        let _ = ctx.connection.software.set(software);
    }
    tracing::debug!(
        peer = %ctx.connection.peer,
        client_id = ctx.client_id.as_deref(),
        software = request.client_software_name,
        version = request.client_software_version,
        "client"
    );
    let supported = FEATURES.iter().filter(|(_, min, ..)| *min > 0 || ctx.version >= LEVEL_0_FROM);
    ApiVersionsResponse {
        api_keys: super::offered().map(api_version).collect(),
        supported_features: supported
            .map(|(name, min, max, _)| SupportedFeatureKey {
                name: (*name).into(),
                min_version: *min,
                max_version: *max,
                ..SupportedFeatureKey::default()
            })
            .collect(),
        finalized_features_epoch: ctx.node.state().image.end_offset,
        finalized_features: FEATURES
            .iter()
            .filter(|(.., level)| *level > 0)
            .map(|(name, _, _, level)| FinalizedFeatureKey {
                name: (*name).into(),
                max_version_level: *level,
                min_version_level: *level,
                ..FinalizedFeatureKey::default()
            })
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

/// Kafka accepts names and versions of letters, digits, `-` and `.` that begin and end with a letter or digit.
fn valid_software(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

fn api_version((api, first, last): (ApiKey, i16, i16)) -> ApiVersion {
    // As in Kafka: old librdkafka clients look at the minimum of Produce, although v0 to 2 are refused.
    let first = if api == ApiKey::Produce { 0 } else { first };
    ApiVersion { api_key: api.as_i16(), min_version: first, max_version: last, ..ApiVersion::default() }
}

/// The answer to a version this broker does not know: in the form of version 0, with the range it does know.
pub(crate) fn unsupported(correlation_id: i32) -> Handling {
    let own = super::versions(ApiKey::ApiVersions).unwrap_or(0..=0);
    let frame = frame::refuse_api_versions(correlation_id, *own.start(), *own.end());
    let reply = framed(ApiKey::ApiVersions, 0, frame);
    Handling { reply: std::future::ready(reply).boxed(), pipelined: true }
}
