//! The gateway's clock. What is measured (deadlines, expiry, order) uses milliseconds since boot, which no one sets; the
//! wall clock only says when an event came, and to which window it belongs. It is read anew each time, since a board
//! without a battery learns the time of day long after it has started.

pub(crate) mod trust;

use std::time::Duration;

use tidegate_buffer::Stamp;
use tokio::time::Instant;

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads time. Copies agree with each other.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_mono_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now(), start_mono_ms: Stamp::now().mono_ms }
    }

    /// Milliseconds since the machine booted.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start_mono_ms + millis(self.start.elapsed())
    }

    /// Both times at once.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::now()
    }

    /// The instant at which the wall clock will show `wall_ms`, unless it is set meanwhile.
    pub(crate) fn instant_of_wall(&self, wall_ms: i64) -> Instant {
        let ahead_ms = u64::try_from(wall_ms.saturating_sub(Stamp::now().wall_ms)).unwrap_or(0);
        Instant::now() + far_at_most(ahead_ms)
    }

    /// The instant at which [`Clock::now_ms`] is `mono_ms`.
    pub(crate) fn instant(&self, mono_ms: u64) -> Instant {
        self.start + far_at_most(mono_ms.saturating_sub(self.start_mono_ms))
    }
}

/// Timers need not reach further than a year.
fn far_at_most(ahead_ms: u64) -> Duration {
    Duration::from_millis(ahead_ms).min(Duration::from_secs(365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn both_times_lead_to_the_same_instant() {
        let clock = Clock::start();
        let stamp = clock.stamp();
        let by_mono = clock.instant(stamp.mono_ms + 60_000);
        let by_wall = clock.instant_of_wall(stamp.wall_ms + 60_000);
        let apart = if by_mono > by_wall { by_mono - by_wall } else { by_wall - by_mono };
        assert!(apart.as_millis() < 1000, "{apart:?}");
        assert!(clock.now_ms() + 20 >= stamp.mono_ms);
    }

    #[test]
    fn a_time_that_has_passed_is_now_and_a_far_one_is_bounded() {
        let clock = Clock::start();
        assert!(clock.instant_of_wall(0) <= tokio::time::Instant::now());
        assert!(clock.instant_of_wall(i64::MAX) > tokio::time::Instant::now());
    }
}
