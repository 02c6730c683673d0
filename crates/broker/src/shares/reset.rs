//! Where a share group begins with a partition that it has not worked on.

use std::sync::Arc;

use coordinator::ErrorCode;
use coordinator::share::ShareRefusal;
use log::ReadLimit;
use meta::config::duration_ms;

use crate::api::error_code::of_log;
use crate::replica::Partition;

/// `share.auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// With the first record.
    Earliest,
    /// With what comes.
    Latest,
    /// With what is no older than so many milliseconds.
    ByDuration(i64),
}

impl Reset {
    /// Reads the configuration's value.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            _ => text.strip_prefix("by_duration:").and_then(duration_ms).map(Self::ByDuration),
        }
    }
}

/// The offset to begin with.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn offset(
    partition: &Arc<Partition>,
    reset: Reset,
    now_ms: i64,
) -> Result<i64, ShareRefusal> {
    let log = Arc::clone(partition.log().map_err(|error| of_log(&error))?);
    match reset {
        Reset::Earliest => Ok(log.log_start()),
        Reset::Latest => Ok(log.high_watermark()),
        Reset::ByDuration(ago_ms) => {
            // Looks into segment files: off the runtime's own threads.
            let end = log.high_watermark();
            let search = move || log.offset_for_timestamp(now_ms - ago_ms, ReadLimit::HighWatermark);
            let found = tokio::task::spawn_blocking(search)
                .await
                .map_err(|_| ErrorCode::UnknownServerError)?
                .map_err(|error| of_log(&error))?;
            Ok(found.map_or(end, |found| found.offset))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reset;

    #[test]
    fn values_of_the_configuration() {
        assert_eq!(Reset::parse("earliest"), Some(Reset::Earliest));
        assert_eq!(Reset::parse("by_duration:PT1H"), Some(Reset::ByDuration(3_600_000)));
        assert_eq!(Reset::parse("by_duration:-PT1H"), None);
        assert_eq!(Reset::parse("none"), None);
    }
}
