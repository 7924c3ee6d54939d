//! How long to wait before the next attempt: capped exponential back-off with full jitter, so that many gateways that
//! lost the same cloud do not come back in step ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// The delay before the next attempt, as a value.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Backoff { min, max: max.max(min), failures: 0 }
    }

    /// An attempt failed. `random` decides where between 0 and the present ceiling the delay lies; the ceiling starts
    /// at `min`, doubles with each failure and stops at `max`.
    pub(crate) fn handle_failure(&mut self, random: u32) -> Duration {
        let ceiling = self.min.saturating_mul(2u32.saturating_pow(self.failures)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(share(random))
    }

    /// A delay up to `min`, where there is something better to do than to wait ever longer.
    pub(crate) fn soon(&self, random: u32) -> Duration {
        self.min.mul_f64(share(random))
    }

    /// A delay of half of `max` to all of it, where it is of no use to come again soon.
    pub(crate) fn long(&self, random: u32) -> Duration {
        self.max.mul_f64(f64::midpoint(1.0, share(random)))
    }

    /// The attempt succeeded.
    pub(crate) fn handle_success(&mut self) {
        self.failures = 0;
    }
}

fn share(random: u32) -> f64 {
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use proptest::prelude::{any, proptest};
    use std::time::Duration;

    const MIN: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_anew_after_success() {
        let mut backoff = Backoff::new(MIN, MAX);
        let delays: Vec<u128> = (0..10).map(|_| backoff.handle_failure(u32::MAX).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        backoff.handle_success();
        assert_eq!(backoff.handle_failure(u32::MAX), MIN);
    }

    #[test]
    fn soon_and_long_lie_at_the_ends() {
        let backoff = Backoff::new(MIN, MAX);
        assert_eq!([0, u32::MAX].map(|random| backoff.soon(random)), [Duration::ZERO, MIN]);
        assert_eq!([0, u32::MAX].map(|random| backoff.long(random)), [MAX / 2, MAX]);
    }

    proptest! {
        #[test]
        fn a_delay_never_leaves_its_bounds(randoms in proptest::collection::vec(any::<u32>(), 1..200)) {
            let mut backoff = Backoff::new(MIN, MAX);
            for random in randoms {
                assert!(backoff.handle_failure(random) <= MAX);
            }
        }
    }
}
