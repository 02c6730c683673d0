//! UpdateFeatures (57), versions 0–2: the levels that features run at. They are fixed by the program here, so an update
//! to the present level succeeds and any other is refused.

use kafka_codec::ErrorCode;
use kafka_codec::messages::update_features_response::UpdatableFeatureResult;
use kafka_codec::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::api_versions::FEATURES;
use crate::context::Context;

/// From this version on there is one answer for all.
const WHOLE_FROM: i16 = 2;

pub(crate) async fn handle(ctx: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let results: Vec<UpdatableFeatureResult> = request
        .feature_updates
        .into_iter()
        .map(|update| {
            let (error, message) = outcome(&update.feature, update.max_version_level);
            UpdatableFeatureResult {
                feature: update.feature,
                error_code: error.code(),
                error_message: message,
                ..UpdatableFeatureResult::default()
            }
        })
        .collect();
    if ctx.version < WHOLE_FROM {
        return UpdateFeaturesResponse { results, ..UpdateFeaturesResponse::default() };
    }
    let failed = results.into_iter().find(|result| result.error_code != 0);
    let (error_code, error_message) = failed.map_or((0, None), |failed| {
        let because = failed.error_message.unwrap_or_default();
        let message =
            format!("The update failed for all features since the following feature had an error: {because}");
        (failed.error_code, Some(message))
    });
    UpdateFeaturesResponse { error_code, error_message, ..UpdateFeaturesResponse::default() }
}

fn outcome(feature: &str, level: i16) -> (ErrorCode, Option<String>) {
    let refused = |message: String| (ErrorCode::InvalidUpdateVersion, Some(message));
    match FEATURES.iter().find(|(name, ..)| *name == feature) {
        None => refused(format!(
            "Invalid update version {level} for feature {feature}. Local controller does not support this feature."
        )),
        Some((_, _, _, current)) if level == *current => (ErrorCode::None, None),
        Some((_, min, max, _)) if !(*min..=*max).contains(&level) => refused(format!(
            "Invalid update version {level} for feature {feature}. Local controller only supports versions {min}-{max}"
        )),
        Some((_, _, _, current)) => refused(format!(
            "Invalid update version {level} for feature {feature}. This broker runs it at level {current} and no other."
        )),
    }
}
