//! Which of several brokers is used: the first, unless it is away. A state machine without I/O; time is an argument.
//!
//! What fails is followed by the next of the list, and the last by the first again. While another than the first is used,
//! the first is looked at from time to time, and once it has answered for a while it is returned to.

/// Between two looks at the first broker.
const LOOK_MS_MAX: u64 = 15_000;
/// How far the wait for the first broker grows when returning to it was a mistake.
const DOUBLINGS_MAX: u32 = 5;

/// The brokers of an uplink, by their place in the list.
#[derive(Debug)]
pub(crate) struct Endpoints {
    count: usize,
    current: usize,
    return_after_ms: u64,
    /// How often returning was a mistake since it last was not.
    mistakes: u32,
    returning: bool,
    watch: Option<Watch>,
}

/// How the first broker is watched while another is used.
#[derive(Debug)]
struct Watch {
    /// How long it has to answer.
    patience_ms: u64,
    answering_since_ms: Option<u64>,
    look_ms: u64,
}

/// What is to be done about the first broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing now.
    Stay,
    /// See whether it answers, and say so by [`Endpoints::handle_look`].
    Look,
    /// Use it again: end the connection, and say so by [`Endpoints::handle_return`].
    Return,
}

impl Endpoints {
    /// A list of `count` brokers; the first is returned to after `return_after_ms` to twice that.
    pub(crate) fn new(count: usize, return_after_ms: u64) -> Self {
        let count = count.max(1);
        Endpoints { count, current: 0, return_after_ms, mistakes: 0, returning: false, watch: None }
    }

    /// The one to connect to, or that is connected.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The broker could not be connected to, or took nothing. True if all of them have been tried now.
    pub(crate) fn handle_failure(&mut self) -> bool {
        if std::mem::take(&mut self.returning) {
            self.mistakes = (self.mistakes + 1).min(DOUBLINGS_MAX);
        }
        self.watch = None;
        self.current = (self.current + 1) % self.count;
        self.current == 0
    }

    /// A connection that was of use has ended: the first is tried first.
    pub(crate) fn handle_lost(&mut self) {
        self.watch = None;
        self.returning = false;
        self.current = 0;
    }

    /// The broker has the connection. `random` says where between once and twice its time the first one's return lies, so
    /// that a fleet does not come back at once.
    pub(crate) fn handle_connected(&mut self, now_ms: u64, random: u32) {
        self.watch = (self.current != 0).then(|| {
            let patience_ms = self.return_after_ms << self.mistakes;
            let more_ms = (u128::from(patience_ms) * u128::from(random)) >> 32;
            Watch {
                patience_ms: patience_ms + u64::try_from(more_ms).unwrap_or(0),
                answering_since_ms: None,
                look_ms: now_ms + self.interval_ms(),
            }
        });
    }

    /// The broker acknowledges what it is sent.
    pub(crate) fn handle_useful(&mut self) {
        if self.current == 0 {
            self.returning = false;
            self.mistakes = 0;
        }
    }

    /// Whether the first broker answered.
    pub(crate) fn handle_look(&mut self, answered: bool, now_ms: u64) {
        let interval_ms = self.interval_ms();
        let Some(watch) = &mut self.watch else { return };
        watch.look_ms = now_ms + interval_ms;
        if answered {
            watch.answering_since_ms.get_or_insert(now_ms);
        } else {
            watch.answering_since_ms = None;
        }
    }

    /// The connection was ended for the first broker.
    pub(crate) fn handle_return(&mut self) {
        self.watch = None;
        self.current = 0;
        self.returning = true;
    }

    /// What is due now.
    pub(crate) fn poll(&self, now_ms: u64) -> Step {
        let Some(watch) = &self.watch else { return Step::Stay };
        let healthy = watch.answering_since_ms.is_some_and(|since| now_ms >= since + watch.patience_ms);
        match now_ms >= watch.look_ms {
            _ if healthy => Step::Return,
            true => Step::Look,
            false => Step::Stay,
        }
    }

    /// When [`Endpoints::poll`] is next worth calling; `None` if the first broker is used.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let watch = self.watch.as_ref()?;
        let healthy_ms = watch.answering_since_ms.map_or(u64::MAX, |since| since + watch.patience_ms);
        Some(watch.look_ms.min(healthy_ms))
    }

    fn interval_ms(&self) -> u64 {
        (self.return_after_ms / 4).clamp(1, LOOK_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoints, Step};

    #[test]
    fn one_broker_is_all_there_is() {
        let mut endpoints = Endpoints::new(1, 1000);
        endpoints.handle_connected(0, 0);
        assert_eq!((endpoints.poll(u64::MAX), endpoints.deadline_ms()), (Step::Stay, None));
        assert!(endpoints.handle_failure(), "each failure is a round");
        assert_eq!(endpoints.current(), 0);
    }

    #[test]
    fn what_fails_is_followed_by_the_next_and_the_last_by_the_first() {
        let mut endpoints = Endpoints::new(3, 1000);
        let tried: Vec<_> = (0..6).map(|_| (endpoints.current(), endpoints.handle_failure())).collect();
        assert_eq!(tried, [(0, false), (1, false), (2, true), (0, false), (1, false), (2, true)]);
        endpoints.handle_failure();
        endpoints.handle_lost();
        assert_eq!(endpoints.current(), 0, "a connection that was of use is followed by the first");
    }

    fn on_the_second() -> Endpoints {
        let mut endpoints = Endpoints::new(2, 1000);
        endpoints.handle_failure();
        endpoints.handle_connected(0, 0);
        endpoints
    }

    #[test]
    fn the_first_is_returned_to_once_it_has_answered_for_a_while() {
        let mut endpoints = on_the_second();
        assert_eq!((endpoints.poll(249), endpoints.deadline_ms()), (Step::Stay, Some(250)));
        assert_eq!(endpoints.poll(250), Step::Look);
        endpoints.handle_look(false, 300);
        assert_eq!((endpoints.poll(549), endpoints.poll(550)), (Step::Stay, Step::Look));
        for now_ms in [600, 850, 1100, 1350] {
            endpoints.handle_look(true, now_ms);
        }
        assert_eq!((endpoints.poll(1599), endpoints.poll(1600)), (Step::Stay, Step::Return));
        endpoints.handle_return();
        assert_eq!((endpoints.current(), endpoints.deadline_ms()), (0, None));
    }

    #[test]
    fn a_first_broker_that_answers_now_and_then_is_not_returned_to() {
        let mut endpoints = on_the_second();
        for step in 1..40 {
            endpoints.handle_look(step % 4 != 0, step * 250);
            assert_ne!(endpoints.poll(step * 250 + 1), Step::Return, "after look {step}");
        }
    }

    #[test]
    fn a_mistaken_return_doubles_the_wait_until_one_was_right() {
        let wait = |endpoints: &mut Endpoints| {
            endpoints.handle_connected(0, 0);
            endpoints.handle_look(true, 0);
            (0..).find(|now_ms| endpoints.poll(*now_ms) == Step::Return).unwrap()
        };
        let mut endpoints = on_the_second();
        for expected in [1000, 2000, 4000, 8000, 16_000, 32_000, 32_000] {
            assert_eq!(wait(&mut endpoints), expected);
            endpoints.handle_return();
            endpoints.handle_failure();
        }
        endpoints.handle_return();
        endpoints.handle_connected(0, 0);
        endpoints.handle_useful();
        endpoints.handle_failure();
        assert_eq!(wait(&mut endpoints), 1000);
    }

    #[test]
    fn a_fleet_does_not_return_at_once() {
        let wait = |random| {
            let mut endpoints = on_the_second();
            endpoints.handle_connected(0, random);
            endpoints.handle_look(true, 0);
            (0..).find(|now_ms| endpoints.poll(*now_ms) == Step::Return).unwrap()
        };
        assert_eq!([0, 1 << 31, u32::MAX].map(wait), [1000, 1500, 1999]);
    }
}
