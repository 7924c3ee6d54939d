//! How many bytes are sent in a while: a token bucket, with time as an argument.

use std::time::Duration;

use tidegate_config::Rate;

use crate::clock::millis;

/// What is left of an uplink's rate. May be in debt, after a packet that was larger than what was left.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Without it there is no bound.
    rate: Option<Rate>,
    /// In thousandths of a byte, so that no time is lost to rounding.
    level: i64,
    refilled_ms: u64,
}

impl Pace {
    /// A full bucket.
    pub(crate) fn new(rate: Option<Rate>, now_ms: u64) -> Self {
        Pace { rate, level: rate.map_or(0, capacity), refilled_ms: now_ms }
    }

    /// How many bytes may be sent now: at least one, or `None` for none.
    pub(crate) fn room(&mut self, now_ms: u64) -> Option<usize> {
        let Some(rate) = self.rate else { return Some(usize::MAX) };
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms;
        // Bytes in a second are their thousandths in a millisecond.
        let refill = i64::try_from(rate.bytes_per_s.saturating_mul(elapsed_ms)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(refill).min(capacity(rate));
        usize::try_from(self.level / 1000).ok().filter(|bytes| *bytes > 0)
    }

    /// So many bytes were sent.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.level = self.level.saturating_sub(thousandths(u64::try_from(bytes).unwrap_or(u64::MAX)));
        }
    }

    /// When there is room again; `None` if there is.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let rate = self.rate.filter(|_| self.level < 1000)?;
        let missing = u64::try_from(1000 - self.level).unwrap_or(0);
        Some(self.refilled_ms.saturating_add(missing.div_ceil(rate.bytes_per_s.max(1))))
    }
}

/// After an outage that was longer than `spread`, the part of it that `random` says: so long nothing is sent.
pub(crate) fn hold_ms(spread: Duration, away_ms: u64, random: u32) -> u64 {
    let spread_ms = millis(spread);
    if away_ms <= spread_ms {
        return 0;
    }
    u64::try_from((u128::from(spread_ms) * u128::from(random)) >> 32).unwrap_or(0)
}

fn capacity(rate: Rate) -> i64 {
    thousandths(rate.burst_bytes.max(1))
}

fn thousandths(bytes: u64) -> i64 {
    i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use proptest::prelude::{prop_assert, proptest};
    use tidegate_config::Rate;

    #[test]
    fn without_a_rate_there_is_no_bound() {
        let mut pace = Pace::new(None, 0);
        pace.spend(usize::MAX);
        assert_eq!((pace.room(0), pace.deadline_ms()), (Some(usize::MAX), None));
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::new(Some(Rate { bytes_per_s: 1000, burst_bytes: 5000 }), 0);
        assert_eq!(pace.room(0), Some(5000));
        pace.spend(5000);
        assert_eq!((pace.room(0), pace.deadline_ms()), (None, Some(1)));
        assert_eq!(pace.room(500), Some(500));
        assert_eq!(pace.room(60_000), Some(5000), "no more is saved than a burst");
    }

    #[test]
    fn what_was_too_large_is_paid_back() {
        let mut pace = Pace::new(Some(Rate { bytes_per_s: 100, burst_bytes: 10 }), 0);
        pace.spend(1010);
        assert_eq!((pace.room(0), pace.deadline_ms()), (None, Some(10_010)));
        assert_eq!((pace.room(10_009), pace.room(10_010)), (None, Some(1)));
    }

    proptest! {
        /// However often it is asked, no more goes than the burst and the rate allow, but for one packet.
        #[test]
        fn the_rate_is_kept(
            bytes_per_s in 1u64..1_000_000,
            burst_bytes in 1u64..100_000,
            steps in proptest::collection::vec((0u64..500, 1usize..5000), 1..200),
        ) {
            let mut pace = Pace::new(Some(Rate { bytes_per_s, burst_bytes }), 0);
            let (mut now_ms, mut sent) = (0, 0);
            for (pause_ms, packet) in steps {
                now_ms += pause_ms;
                if pace.room(now_ms).is_some() {
                    pace.spend(packet);
                    sent += packet as u64;
                } else {
                    let deadline_ms = pace.deadline_ms().unwrap();
                    prop_assert!(deadline_ms > now_ms);
                }
                prop_assert!(sent <= burst_bytes + bytes_per_s * now_ms / 1000 + 5000);
            }
        }
    }
}
