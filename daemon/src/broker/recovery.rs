//! What follows the end of a connection: which broker is next, and after which pause. A state machine without I/O.

use std::time::Duration;

use super::backoff::Backoff;
use super::endpoints::Endpoints;

/// How an attempt, or a connection, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The first broker is to be used again.
    Return,
    /// There was no connection, or it was of no use.
    Failure,
    /// The cloud acknowledged something before.
    Lost,
    /// The cloud ended it, perhaps for an event that is being searched for.
    Search,
}

/// The way back to the cloud.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) endpoints: Endpoints,
    backoff: Backoff,
    /// Since when the cloud is away; before the first connection, since the start.
    away_since_ms: Option<u64>,
}

impl Recovery {
    pub(crate) fn new(endpoints: Endpoints, backoff: Backoff, now_ms: u64) -> Self {
        Recovery { endpoints, backoff, away_since_ms: Some(now_ms) }
    }

    /// A broker has the connection; returns how long none had.
    pub(crate) fn handle_connected(&mut self, now_ms: u64, random: u32) -> u64 {
        self.endpoints.handle_connected(now_ms, random);
        self.away_since_ms.map_or(0, |since| now_ms.saturating_sub(since))
    }

    /// The broker acknowledges what it is sent: the outage is over.
    pub(crate) fn handle_useful(&mut self) {
        self.away_since_ms = None;
        self.backoff.handle_success();
        self.endpoints.handle_useful();
    }

    /// There is no connection any more, or it could not be made; the result is the pause before the next attempt.
    /// `patient`: it is of no use to come again soon.
    pub(crate) fn handle_end(&mut self, end: End, patient: bool, now_ms: u64, random: u32) -> Duration {
        if end == End::Return {
            self.endpoints.handle_return();
            return Duration::ZERO;
        }
        self.away_since_ms.get_or_insert(now_ms);
        let others_left = match end {
            End::Search => return self.backoff.soon(random),
            End::Lost => {
                self.endpoints.handle_lost();
                false
            }
            _ => !self.endpoints.handle_failure(),
        };
        match (others_left, patient) {
            (true, _) => self.backoff.soon(random),
            (false, false) => self.backoff.handle_failure(random),
            (false, true) => self.backoff.long(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, End, Endpoints, Recovery};
    use std::time::Duration;

    fn recovery(brokers: usize) -> Recovery {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        Recovery::new(Endpoints::new(brokers, 1000), backoff, 0)
    }

    fn pauses(recovery: &mut Recovery, ends: &[(End, bool)]) -> Vec<u128> {
        ends.iter()
            .map(|(end, patient)| recovery.handle_end(*end, *patient, 0, u32::MAX).as_millis())
            .collect()
    }

    #[test]
    fn pauses_grow_with_each_round_and_not_within_one() {
        let failures = [(End::Failure, false); 6];
        assert_eq!(pauses(&mut recovery(1), &failures), [100, 200, 400, 800, 1600, 3200]);
        assert_eq!(pauses(&mut recovery(3), &failures), [100, 100, 100, 100, 100, 200]);
    }

    #[test]
    fn what_calls_for_patience_gets_it_when_there_is_no_other_broker_left() {
        assert_eq!(pauses(&mut recovery(2), &[(End::Failure, true), (End::Failure, true)]), [100, 10_000]);
        assert_eq!(pauses(&mut recovery(2), &[(End::Lost, true)]), [10_000]);
    }

    #[test]
    fn a_search_stays_with_its_broker_and_is_quick() {
        let mut recovery = recovery(2);
        pauses(&mut recovery, &[(End::Failure, false)]);
        assert_eq!(pauses(&mut recovery, &[(End::Search, false); 3]), [100, 100, 100]);
        assert_eq!(recovery.endpoints.current(), 1);
    }

    #[test]
    fn success_starts_the_pauses_anew_and_ends_the_outage() {
        let mut recovery = recovery(1);
        assert_eq!(recovery.handle_connected(700, 0), 700, "away since the start");
        pauses(&mut recovery, &[(End::Failure, false); 5]);
        assert_eq!(recovery.handle_connected(9000, 0), 9000, "it was of no use");
        recovery.handle_useful();
        assert_eq!(recovery.handle_end(End::Lost, false, 10_000, u32::MAX).as_millis(), 100);
        assert_eq!(recovery.handle_connected(10_500, 0), 500);
    }

    #[test]
    fn returning_needs_no_pause() {
        let mut recovery = recovery(2);
        pauses(&mut recovery, &[(End::Failure, false)]);
        recovery.handle_useful();
        assert_eq!(pauses(&mut recovery, &[(End::Return, false)]), [0]);
        assert_eq!((recovery.endpoints.current(), recovery.handle_connected(5, 0)), (0, 0));
    }
}
