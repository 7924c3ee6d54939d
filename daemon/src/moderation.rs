//! Rests the thread under load: while events come fast, it waits a moment before it looks at its sockets again, and then finds
//! many events at each. To be woken for a few of them costs more than the events do, here and at the peers. Network cards do the
//! same with their interrupts (`ethtool --coalesce rx-usecs`).
//!
//! A device that waits for an acknowledgement before it sends more would be slowed by rests. So one is an eighth, at most, of the
//! time that events take anyway: whoever gets his answers at once gets them at once under any load.
//!
//! It knows neither the runtime nor the sockets: who parks the thread asks it whether to rest first. Time is an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest rest. A shorter one saves less; one of twice as much saves no more (measured flat out, `tests/bench`).
const REST_US_MAX: u64 = 500;

/// The shortest rest that is worth one more system call.
const REST_US_MIN: u64 = 100;

/// The part of the time to an acknowledgement that a rest may add to it.
const PART: u64 = 8;

/// So many events in a millisecond are a load: five fall into a rest then, and with fewer there is little to save.
const EVENTS_PER_MS: u128 = 10;

/// How long events are counted at least, to know how fast they come.
const PERIOD: Duration = Duration::from_millis(5);

/// What tells a load: noted by the thread that serves, read where it is parked.
#[derive(Debug, Default)]
pub(crate) struct Load {
    received: AtomicU64,
    wait_us: AtomicU64,
}

impl Load {
    /// An event was received.
    pub(crate) fn note_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were received.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// A device has waited so long for an acknowledgement.
    pub(crate) fn note_wait(&self, wait_ms: u64) {
        let mean = self.wait_us.load(Ordering::Relaxed);
        let sum = (mean * 7).saturating_add(wait_ms.saturating_mul(1000));
        // Of the last few; one thread writes.
        self.wait_us.store(sum / 8, Ordering::Relaxed);
    }
}

/// Decides about rests.
#[derive(Debug)]
pub(crate) struct Moderation {
    load: Arc<Load>,
    since: Instant,
    received_before: u64,
    rest: Option<Duration>,
}

impl Moderation {
    pub(crate) fn new(load: Arc<Load>, now: Instant) -> Self {
        Moderation { received_before: load.received(), load, since: now, rest: None }
    }

    /// How long to rest before waiting for more, if at all.
    pub(crate) fn rest(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= PERIOD {
            let received = self.load.received();
            let events = u128::from(received.saturating_sub(self.received_before));
            let rest_us = (self.load.wait_us.load(Ordering::Relaxed) / PART).min(REST_US_MAX);
            let is_loaded = events * 1000 >= EVENTS_PER_MS * elapsed.as_micros();
            self.rest = (is_loaded && rest_us >= REST_US_MIN).then(|| Duration::from_micros(rest_us));
            (self.since, self.received_before) = (now, received);
        }
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, Moderation};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    struct Scene {
        load: Arc<Load>,
        moderation: Moderation,
        start: Instant,
        now_us: u64,
    }

    impl Scene {
        fn new() -> Self {
            let (load, start) = (Arc::<Load>::default(), Instant::now());
            Scene { moderation: Moderation::new(Arc::clone(&load), start), load, start, now_us: 0 }
        }

        // The thread is about to wait, `us` after it was the last time, with so many events more; it rests so many microseconds.
        fn parks(&mut self, us: u64, events: u64) -> u64 {
            self.now_us += us;
            (0..events).for_each(|_| self.load.note_received());
            let rest = self.moderation.rest(self.start + Duration::from_micros(self.now_us));
            rest.map_or(0, |rest| u64::try_from(rest.as_micros()).unwrap())
        }
    }

    #[test]
    fn a_load_is_ten_events_in_a_millisecond() {
        for (us, events, rest) in [
            (5000, 0, 0),
            (5000, 49, 0),
            (5000, 50, 500),
            (10_000, 99, 0),
            (10_000, 100, 500),
            (60_000_000, 100_000, 0),
            // A burst is told from a load once its period is over.
            (100, 1000, 0),
            (4999, 1000, 0),
        ] {
            let mut scene = Scene::new();
            (0..100).for_each(|_| scene.load.note_wait(10));
            assert_eq!(scene.parks(us, events), rest, "{events} events in {us} µs");
        }
    }

    #[test]
    fn a_rest_is_an_eighth_of_the_wait_and_has_bounds() {
        for (wait_ms, rest) in
            [(0, 0..=0), (1, 110..=125), (2, 240..=250), (3, 360..=375), (4, 490..=500), (40, 500..=500)]
        {
            let mut scene = Scene::new();
            (0..100).for_each(|_| scene.load.note_wait(wait_ms));
            let got = scene.parks(5000, 1000);
            assert!(rest.contains(&got), "a wait of {wait_ms} ms: {got} µs, not {rest:?}");
        }
    }

    #[test]
    fn a_load_ends_with_a_period_of_less() {
        let mut scene = Scene::new();
        (0..100).for_each(|_| scene.load.note_wait(10));
        let steps =
            [(2500, 40, 0), (2500, 40, 500), (3000, 0, 500), (1500, 0, 500), (500, 49, 0), (4500, 500, 0)];
        for (step, (us, events, rest)) in steps.into_iter().enumerate() {
            assert_eq!(scene.parks(us, events), rest, "step {step}");
        }
    }

    // Devices that wait for acknowledgements: as many publishes on their way as all their windows let through, and each turn takes
    // what a wake-up and the events cost, and the rest.
    fn events_in_a_second(in_flight: u64, rests: bool) -> u64 {
        let (mut scene, mut rest_us, mut events) = (Scene::new(), 0, 0);
        while scene.now_us < 1_000_000 {
            let turn_us = 100 + 16 * in_flight + rest_us;
            let wait_ms = (scene.now_us + turn_us) / 1000 - scene.now_us / 1000;
            scene.load.note_wait(wait_ms);
            rest_us = scene.parks(turn_us, in_flight) * u64::from(rests);
            events += in_flight;
        }
        events
    }

    #[test]
    fn no_loop_is_slowed_by_more_than_an_eighth() {
        let mut rested = 0;
        for in_flight in 1..=1000 {
            let [with, without] = [true, false].map(|rests| events_in_a_second(in_flight, rests));
            assert!(with * 100 >= without * 86, "{in_flight} in flight: {with} events beside {without}");
            rested += u64::from(with < without);
        }
        assert!(rested > 500, "{rested}");
    }
}
