//! How long to try, and how long to wait in between.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::ClientConfig;
use crate::error::Error;

/// Exponential back-off with 20 % jitter: `first · 2ⁿ`, at most `most`.
pub(crate) fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    let factor = 2f64.powi(i32::try_from(failures.min(30)).unwrap_or(30));
    let millis = (first.as_secs_f64() * factor).min(most.max(first).as_secs_f64());
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    Duration::from_secs_f64(millis * (0.8 + 0.4 * random))
}

/// One call's attempts.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Retry {
    /// Attempts of one call within `limit`.
    pub(crate) fn new(config: &ClientConfig, limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            first: config.retry_backoff,
            most: config.retry_backoff_max,
            failures: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The error given, when it is not retriable or the time is up.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_retriable() {
            return Err(error);
        }
        let wait = backoff(self.first, self.most, self.failures);
        self.failures += 1;
        if Instant::now() + wait >= self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, "retrying");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
