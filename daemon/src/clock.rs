//! The gateway's clock: monotonic milliseconds since boot for everything that is measured, and a wall time that moves
//! with them, so that a step of the system's clock neither reorders nor reopens anything.

use std::time::Duration;

use tidegate_buffer::Stamp;
use tokio::time::Instant;

/// Reads time. Copies agree with each other.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_mono_ms: u64,
    start_wall_ms: i64,
}

impl Clock {
    /// Sets the wall time by the system's clock, once.
    pub(crate) fn start() -> Clock {
        let now = Stamp::now();
        Clock { start: Instant::now(), start_mono_ms: now.mono_ms, start_wall_ms: now.wall_ms }
    }

    /// Milliseconds since the machine booted.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start_mono_ms + self.elapsed_ms()
    }

    /// Both times at once.
    pub(crate) fn stamp(&self) -> Stamp {
        let elapsed_ms = self.elapsed_ms();
        Stamp {
            mono_ms: self.start_mono_ms + elapsed_ms,
            wall_ms: self.start_wall_ms.saturating_add_unsigned(elapsed_ms),
        }
    }

    /// The instant at which the wall time is `wall_ms`.
    pub(crate) fn instant_of_wall(&self, wall_ms: i64) -> Instant {
        let ahead_ms = u64::try_from(wall_ms.saturating_sub(self.start_wall_ms)).unwrap_or(0);
        self.instant_after(ahead_ms)
    }

    /// The instant at which [`Clock::now_ms`] is `mono_ms`.
    pub(crate) fn instant(&self, mono_ms: u64) -> Instant {
        self.instant_after(mono_ms.saturating_sub(self.start_mono_ms))
    }

    fn instant_after(&self, ahead_ms: u64) -> Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.start + Duration::from_millis(ahead_ms).min(FAR)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn wall_and_monotonic_time_move_together() {
        let clock = Clock::start();
        let stamp = clock.stamp();
        let instant = clock.instant(stamp.mono_ms + 1000);
        assert_eq!(clock.instant_of_wall(stamp.wall_ms + 1000), instant);
        assert!(clock.now_ms() >= stamp.mono_ms);
    }
}
