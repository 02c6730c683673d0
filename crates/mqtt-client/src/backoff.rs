//! Pauses between attempts: doubled each time, with a random part, so that many clients do not come back at once.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause. `random` is uniform in 0..=255.
    pub(crate) fn next(&mut self, random: u8) -> Duration {
        let doubled = self.min.saturating_mul(1u32 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.max);
        // Between half and all of it.
        whole / 2 + (whole / 2).mul_f64(f64::from(random) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let longest: Vec<_> = (0..6).map(|_| backoff.next(255)).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000].map(ms));
        assert_eq!(backoff.next(0), ms(500));
        for _ in 0..100 {
            assert!(backoff.next(255) <= ms(1000));
        }
        backoff.reset();
        assert_eq!(backoff.next(0), ms(50));
    }
}
