//! The time of a rule's windows: that of the gateway's clock, or the watermark of event time.

use crate::state::{Reader, StateError, put_value};
use crate::value::Value;

/// A clock that was set back by no more than this is waited for; past it, windows go on in the new time.
pub(crate) const CLOCK_BACK_MS_MAX: i64 = 60_000;

/// 2024-01-01: a clock that says less has not been set, and stamps of events are not held against it.
pub(crate) const CLOCK_SET_MS: i64 = 1_704_067_200_000;

/// How event time is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventClock {
    /// How much later than others an event may come.
    pub(crate) lateness_ms: i64,
    /// After so long without events, time goes on with the gateway's clock.
    pub(crate) idle_ms: i64,
    /// How far ahead of the gateway's clock a stamp may be.
    pub(crate) ahead_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Clock {
    event: Option<EventClock>,
    /// Windows that ended by this time are closed. Never goes back but by [`Self::rewind`].
    position_ms: i64,
    /// When the last event came in, by the gateway's clock.
    heard_ms: i64,
    /// The latest stamp less the lateness.
    stamped_ms: i64,
}

impl Clock {
    pub(crate) fn new(event: Option<EventClock>) -> Self {
        Self { event, position_ms: i64::MIN, heard_ms: i64::MIN, stamped_ms: i64::MIN }
    }

    pub(crate) fn has_stamps(&self) -> bool {
        self.event.is_some()
    }

    /// Windows that ended by this time are closed. For arrival it is the latest time heard of.
    pub(crate) fn position_ms(&self) -> i64 {
        self.position_ms
    }

    /// The time from which on events are not late.
    pub(crate) fn watermark_ms(&self) -> i64 {
        self.position_ms.max(self.stamped_ms)
    }

    pub(crate) fn heard_ms(&self) -> i64 {
        self.heard_ms
    }

    /// The time that an event counts for; `None` if its stamp cannot be right.
    pub(crate) fn admit(&self, stamp_ms: i64, arrived_ms: i64) -> Option<i64> {
        match self.event {
            None => Some(arrived_ms.max(self.position_ms)),
            Some(event) => {
                let is_set = arrived_ms >= CLOCK_SET_MS;
                (!is_set || stamp_ms <= arrived_ms.saturating_add(event.ahead_ms)).then_some(stamp_ms)
            }
        }
    }

    /// Takes note of an event and gives the time that it counts for.
    pub(crate) fn hear(&mut self, time_ms: i64, arrived_ms: i64) -> i64 {
        self.heard_ms = self.heard_ms.max(arrived_ms);
        match self.event {
            None => {
                self.position_ms = self.position_ms.max(time_ms);
                self.position_ms
            }
            Some(event) => {
                // What had ended by the last watermark is closed by now.
                self.position_ms = self.position_ms.max(self.stamped_ms);
                self.stamped_ms = self.stamped_ms.max(time_ms.saturating_sub(event.lateness_ms));
                time_ms
            }
        }
    }

    /// Up to when windows end, now that the gateway's clock says `now_ms`.
    pub(crate) fn reached_ms(&self, now_ms: i64) -> i64 {
        let Some(event) = self.event else { return now_ms };
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        let idle = self.heard_ms > i64::MIN && silent_ms >= event.idle_ms;
        let reached_ms = if idle { self.stamped_ms.saturating_add(silent_ms) } else { self.stamped_ms };
        reached_ms.max(self.position_ms)
    }

    /// When the gateway's clock will have reached the end of a window.
    pub(crate) fn deadline_ms(&self, end_ms: i64) -> i64 {
        match self.event {
            None => end_ms,
            Some(_) if end_ms <= self.stamped_ms.max(self.position_ms) => self.heard_ms,
            Some(event) => {
                let missing_ms = end_ms.saturating_sub(self.stamped_ms);
                self.heard_ms.saturating_add(missing_ms.max(event.idle_ms))
            }
        }
    }

    /// Takes note that windows that ended by a time are closed.
    pub(crate) fn close(&mut self, until_ms: i64) {
        self.position_ms = self.position_ms.max(until_ms);
    }

    /// Undoes [`Self::close`], before [`Self::rewind`].
    pub(crate) fn reopen(&mut self, position_ms: i64) {
        self.position_ms = position_ms;
    }

    pub(crate) fn is_ahead(&self, now_ms: i64) -> bool {
        match self.event {
            None => self.position_ms > now_ms.saturating_add(CLOCK_BACK_MS_MAX),
            Some(_) => self.heard_ms > now_ms.saturating_add(CLOCK_BACK_MS_MAX) || self.is_lost(now_ms),
        }
    }

    /// Whether windows would have to wait for a time that comes nobody knows when.
    pub(crate) fn is_lost(&self, now_ms: i64) -> bool {
        match self.event {
            None => self.is_ahead(now_ms),
            Some(event) => {
                now_ms >= CLOCK_SET_MS && self.watermark_ms() > now_ms.saturating_add(event.ahead_ms)
            }
        }
    }

    /// Goes on at a time of a clock that was set back. A watermark that is not in its future stays.
    pub(crate) fn rewind(&mut self, now_ms: i64) {
        match self.event {
            None => self.position_ms = now_ms,
            Some(_) if self.is_lost(now_ms) => (self.position_ms, self.stamped_ms) = (i64::MIN, i64::MIN),
            Some(_) => {}
        }
        self.heard_ms = now_ms;
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for time_ms in [self.position_ms, self.heard_ms, self.stamped_ms] {
            put_value(&Value::Int(time_ms), out);
        }
    }

    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), StateError> {
        for time_ms in [&mut self.position_ms, &mut self.heard_ms, &mut self.stamped_ms] {
            let Value::Int(read) = reader.value()? else { return Err(reader.damaged()) };
            *time_ms = read;
        }
        Ok(())
    }
}
