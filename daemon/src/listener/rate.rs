//! How much of something in a while: a token bucket, with time as an argument.

/// So many in a period; as many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) count_max: u32,
    pub(super) period_ms: u32,
}

impl Rate {
    pub(super) fn per_second(count_max: u32) -> Rate {
        Rate { count_max, period_ms: 1000 }
    }

    pub(super) fn per_minute(count_max: u32) -> Rate {
        Rate { count_max, period_ms: 60_000 }
    }
}

/// What is left of a rate. May be in debt, after something that could not be refused any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// In parts of which one token has `period_ms`, so that no time is lost to rounding.
    level: i64,
    updated_ms: u64,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn full(rate: Rate, now_ms: u64) -> Bucket {
        Bucket { level: capacity(rate), updated_ms: now_ms }
    }

    /// Takes `count`, if need be on credit.
    pub(super) fn take(&mut self, rate: Rate, count: u64, now_ms: u64) {
        self.refill(rate, now_ms);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.level = self.level.saturating_sub(count.saturating_mul(rate.period_ms.into()));
    }

    /// How long until there is one token; 0 if there is.
    pub(super) fn wait_ms(&mut self, rate: Rate, now_ms: u64) -> u64 {
        self.refill(rate, now_ms);
        time_for(rate, i64::from(rate.period_ms).saturating_sub(self.level))
    }

    /// How long until the bucket is full; 0 if it is.
    pub(super) fn full_in_ms(&mut self, rate: Rate, now_ms: u64) -> u64 {
        self.refill(rate, now_ms);
        time_for(rate, capacity(rate).saturating_sub(self.level))
    }

    fn refill(&mut self, rate: Rate, now_ms: u64) {
        let elapsed_ms = i64::try_from(now_ms.saturating_sub(self.updated_ms)).unwrap_or(i64::MAX);
        let refill = elapsed_ms.saturating_mul(rate.count_max.into());
        self.level = self.level.saturating_add(refill).min(capacity(rate));
        self.updated_ms = self.updated_ms.max(now_ms);
    }
}

fn time_for(rate: Rate, parts: i64) -> u64 {
    u64::try_from(parts).unwrap_or(0).div_ceil(rate.count_max.max(1).into())
}

fn capacity(rate: Rate) -> i64 {
    i64::from(rate.count_max) * i64::from(rate.period_ms)
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Rate};
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::per_second(10);
        let mut bucket = Bucket::full(rate, 1000);
        for _ in 0..10 {
            assert_eq!(bucket.wait_ms(rate, 1000), 0);
            bucket.take(rate, 1, 1000);
        }
        for (now_ms, wait_ms) in [(1000, 100), (1060, 40), (1100, 0)] {
            assert_eq!(bucket.wait_ms(rate, now_ms), wait_ms, "at {now_ms}");
        }
        bucket.take(rate, 1, 1100);
        assert_eq!(bucket.wait_ms(rate, 1100), 100);
        assert_eq!(bucket.full_in_ms(rate, 2099), 1);
        assert_eq!(bucket.full_in_ms(rate, 2100), 0);
    }

    #[test]
    fn debt_is_paid_off_and_nothing_overflows() {
        let rate = Rate::per_minute(30);
        let mut bucket = Bucket::full(rate, 0);
        bucket.take(rate, 60, 0);
        // 30 in debt, and one more to have one.
        assert_eq!(bucket.wait_ms(rate, 0), 62_000);
        assert_eq!(bucket.wait_ms(rate, 62_000), 0);
        bucket.take(rate, u64::MAX, u64::MAX);
        assert!(bucket.wait_ms(rate, u64::MAX) > 1_000_000);
        // Time that seems to go back gives nothing.
        let mut bucket = Bucket::full(rate, 1000);
        bucket.take(rate, 30, 1000);
        assert_eq!(bucket.wait_ms(rate, 0), 2000);
        assert_eq!(bucket.wait_ms(rate, 1000), 2000);
    }

    proptest! {
        // Whoever waits as told never gets more than a burst and the rate.
        #[test]
        fn the_rate_holds_over_any_time(count_max in 1_u32..2000, steps in prop::collection::vec((0_u64..500, 1_u64..5), 1..200)) {
            let rate = Rate::per_second(count_max);
            let mut bucket = Bucket::full(rate, 0);
            let (mut now_ms, mut taken, mut last) = (0, 0, 0);
            for (pause_ms, count) in steps {
                now_ms += pause_ms;
                now_ms += bucket.wait_ms(rate, now_ms);
                prop_assert_eq!(bucket.wait_ms(rate, now_ms), 0);
                bucket.take(rate, count, now_ms);
                taken += count;
                last = count;
            }
            prop_assert!((taken - last) * 1000 <= u64::from(count_max) * (1000 + now_ms));
        }
    }
}
