//! The last hour, for the pictures of the page.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::{Snapshot, Status};

/// One sample each ten seconds, for an hour.
const EACH: Duration = Duration::from_secs(10);
const SAMPLES_MAX: usize = 360;

/// What happened in the ten seconds before a moment, and what waited then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    /// Events that devices published.
    received: u64,
    /// Records that their clouds acknowledged.
    acked: u64,
    /// Records that wait for a cloud.
    backlog: u64,
}

/// The sums that samples are the differences of.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    received: u64,
    acked: u64,
}

/// Samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    state: RefCell<(Option<Sums>, VecDeque<Sample>)>,
}

impl History {
    /// Adds what has happened since the last time; the first time only begins.
    fn add(&self, snapshot: &Snapshot) {
        let mut state = self.state.borrow_mut();
        let (last, samples) = &mut *state;
        let sums = Sums { received: snapshot.events.received, acked: snapshot.acked() };
        if let Some(before) = last.replace(sums) {
            if samples.len() == SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back(Sample {
                received: sums.received.saturating_sub(before.received),
                acked: sums.acked.saturating_sub(before.acked),
                backlog: snapshot.backlog(),
            });
        }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.state.borrow().1.iter().copied().collect()
    }
}

/// Samples for ever.
pub(super) async fn keep(status: Rc<Status>) {
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        status.history.add(&status.watched.snapshot());
    }
}

#[cfg(test)]
mod tests {
    use super::{History, SAMPLES_MAX, Sample};
    use crate::status::Snapshot;

    #[test]
    fn samples_are_differences_and_the_oldest_go() {
        let history = History::default();
        let mut snapshot = Snapshot::default();
        history.add(&snapshot);
        assert_eq!(history.samples(), []);
        snapshot.events.received = 70;
        history.add(&snapshot);
        assert_eq!(history.samples(), [Sample { received: 70, acked: 0, backlog: 0 }]);
        (0..SAMPLES_MAX).for_each(|_| history.add(&snapshot));
        assert_eq!(history.samples().len(), SAMPLES_MAX);
        assert!(history.samples().iter().all(|sample| sample.received == 0));
    }
}
