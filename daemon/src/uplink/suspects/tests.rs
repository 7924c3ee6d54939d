use std::collections::BTreeSet;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use super::Suspects;

/// A cloud that ends the connection on some events, and everything that became of a run.
struct Run {
    window: usize,
    poison: BTreeSet<u32>,
    /// For so many connections the cloud ends each on its first event.
    sick_for: usize,
    /// The cloud ends each connection once it has taken so many events.
    takes: usize,
    /// Of each event that a connection ends on, so many acknowledgements before it are lost.
    acks_lost: usize,
    /// Decides by a number whether the line breaks now.
    breaks: fn(u64) -> bool,
    random: u64,
    /// What waits, in order.
    waiting: BTreeSet<u32>,
    set_aside: BTreeSet<u32>,
    delivered: Vec<u32>,
    sent: usize,
    connections: usize,
}

impl Run {
    fn new(events: u32, window: usize, poison: impl IntoIterator<Item = u32>) -> Run {
        Run {
            window,
            poison: poison.into_iter().collect(),
            sick_for: 0,
            takes: usize::MAX,
            acks_lost: 0,
            breaks: |_| false,
            random: 1,
            waiting: (0..events).collect(),
            set_aside: BTreeSet::new(),
            delivered: Vec::new(),
            sent: 0,
            connections: 0,
        }
    }

    fn finish(mut self) -> Run {
        let mut suspects = Suspects::new(5);
        while !self.waiting.is_empty() {
            self.connections += 1;
            assert!(
                self.connections < 20_000,
                "no end: {} wait, from {:?} on",
                self.waiting.len(),
                self.waiting.first()
            );
            suspects.handle_connected();
            let in_flight = self.connection(&mut suspects);
            if let Some(guilty) = suspects.handle_ended(&in_flight) {
                assert!(self.waiting.remove(&guilty));
                self.set_aside.insert(guilty);
            }
        }
        self
    }

    fn line_breaks(&mut self) -> bool {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.breaks)(self.random >> 33)
    }

    /// What was in flight when the connection ended.
    fn connection(&mut self, suspects: &mut Suspects<u32>) -> Vec<u32> {
        let mut unread = self.waiting.clone();
        let (mut aside, mut in_flight, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
        let delivered_before = self.delivered.len();
        loop {
            self.fill(suspects, &mut unread, &mut aside, &mut in_flight, unanswered.len());
            let Some(event) = in_flight.first().copied() else { return in_flight };
            let is_bad = self.poison.contains(&event)
                || self.connections <= self.sick_for
                || self.delivered.len() - delivered_before >= self.takes;
            if is_bad || self.line_breaks() {
                let lost = unanswered.split_off(unanswered.len().saturating_sub(self.acks_lost));
                self.answer(suspects, &unanswered);
                return lost.into_iter().chain(in_flight).collect();
            }
            in_flight.remove(0);
            self.delivered.push(event);
            unanswered.push(event);
            if unanswered.len() > self.acks_lost || in_flight.is_empty() {
                self.answer(suspects, &std::mem::take(&mut unanswered));
            }
        }
    }

    fn answer(&mut self, suspects: &mut Suspects<u32>, events: &[u32]) {
        for event in events {
            suspects.handle_acknowledged(*event);
            self.waiting.remove(event);
        }
    }

    /// As the connection of an uplink does it.
    fn fill(
        &mut self,
        suspects: &mut Suspects<u32>,
        unread: &mut BTreeSet<u32>,
        aside: &mut Vec<u32>,
        in_flight: &mut Vec<u32>,
        unanswered: usize,
    ) {
        while in_flight.len() + unanswered < suspects.limit(self.window) {
            let next = if suspects.tries_held() && !aside.is_empty() {
                Some(aside.remove(0))
            } else {
                unread.pop_first().or_else(|| {
                    let nothing_else = in_flight.is_empty() && !aside.is_empty();
                    nothing_else.then(|| aside.remove(0))
                })
            };
            let Some(event) = next else { return };
            if suspects.is_held(event) && !suspects.tries_held() && !unread.is_empty() {
                aside.push(event);
                continue;
            }
            in_flight.push(event);
            self.sent += 1;
        }
    }
}

#[test]
fn nothing_is_suspected_while_nothing_breaks() {
    let run = Run::new(1000, 100, []).finish();
    assert_eq!((run.sent, run.connections), (1000, 1));
    assert_eq!(run.delivered, (0..1000).collect::<Vec<_>>());
}

#[test]
fn the_event_that_ends_connections_is_set_aside_and_little_is_sent_again() {
    // It takes two others, on two connections, to convict one.
    for at in [0, 1, 50, 99, 500, 900, 997] {
        let run = Run::new(1000, 100, [at]).finish();
        assert_eq!(run.set_aside, [at].into(), "poison at {at}");
        assert_eq!(run.delivered.len(), 999);
        assert!(run.sent - 999 <= 3 * 100, "poison at {at}: {} sent again", run.sent - 999);
        assert!(run.connections <= 8, "poison at {at}: {} connections", run.connections);
    }
}

#[test]
fn one_in_a_thousand_costs_less_than_three_windows_each() {
    let run = Run { acks_lost: 10, ..Run::new(20_000, 100, (0..20).map(|at| at * 1000 + 77)) }.finish();
    assert_eq!(run.set_aside, run.poison);
    let again = run.sent - (20_000 - 20);
    assert!(again <= 20 * 3 * 100, "{again} sent again");
    assert!(run.connections <= 20 * 16, "{} connections", run.connections);
}

#[test]
fn poison_beside_poison_is_found() {
    let run = Run::new(200, 50, 20..30).finish();
    assert_eq!(run.set_aside, run.poison);
    assert_eq!(run.delivered.iter().collect::<BTreeSet<_>>().len(), 190);
}

#[test]
fn a_cloud_that_takes_nothing_convicts_nobody() {
    for sick_for in [1, 5, 6, 20, 100] {
        let run = Run { sick_for, ..Run::new(300, 20, []) }.finish();
        assert!(run.set_aside.is_empty(), "sick for {sick_for}: {:?}", run.set_aside);
        let delivered: BTreeSet<u32> = run.delivered.iter().copied().collect();
        assert_eq!(delivered.len(), 300);
    }
}

#[test]
fn a_cloud_that_takes_so_many_events_a_connection_convicts_nobody() {
    for takes in 1..8 {
        let run = Run { takes, ..Run::new(300, 20, []) }.finish();
        assert!(run.set_aside.is_empty(), "{takes} a connection: {:?}", run.set_aside);
    }
}

#[test]
fn with_no_strikes_allowed_nothing_is_set_aside_and_the_window_stays() {
    let mut suspects = Suspects::new(0);
    for _ in 0..100 {
        assert_eq!(suspects.handle_ended(&[1, 2, 3]), None);
        assert_eq!(suspects.handle_ended(&[1]), None);
        assert_eq!(suspects.handle_refused(1), None);
    }
    assert_eq!(suspects.limit(100), 100);
}

#[test]
fn a_refused_event_is_guilty_once_others_are_taken() {
    let mut suspects = Suspects::new(3);
    for _ in 0..10 {
        suspects.handle_connected();
        assert_eq!(suspects.handle_refused(7), None, "the cloud takes nothing");
    }
    for guilty in [None, Some(7)] {
        suspects.handle_connected();
        assert!(suspects.is_held(7) && !suspects.tries_held());
        suspects.handle_acknowledged(8);
        assert!(suspects.tries_held());
        assert_eq!(suspects.handle_refused(7), guilty);
    }
    assert!(!suspects.is_held(7));
    assert_eq!(suspects.limit(100), 100);
}

#[test]
fn suspects_that_never_come_again_are_not_waited_for_for_ever() {
    let mut suspects = Suspects::new(5);
    suspects.handle_ended(&[1, 2, 3]);
    let limits: Vec<usize> = (10..300)
        .map(|event| {
            suspects.handle_acknowledged(event);
            suspects.limit(100)
        })
        .collect();
    assert_eq!((limits.first(), limits.last()), (Some(&1), Some(&100)));
}

proptest! {
    #![proptest_config(Config { cases: 500, ..Config::default() })]

    /// Whatever is poison, whichever acknowledgements are lost, and while lines break or after a cloud was sick: all that is
    /// whole arrives, and only poison is set aside.
    #[test]
    fn the_guilty_are_found_and_the_others_arrive(
        events in 1u32..400,
        window in 1usize..120,
        poison in proptest::collection::btree_set(0u32..400, 0..8),
        acks_lost in 0usize..30,
        sick_for in 0usize..12,
        breaks in any::<bool>(),
        random in any::<u64>(),
    ) {
        let poison: BTreeSet<u32> = poison.into_iter().filter(|at| *at < events).collect();
        // With too few others there is nothing to compare with, and poison stays where it is.
        let enough = u32::try_from(2 * poison.len() + 2).unwrap();
        let poison: BTreeSet<u32> = poison.into_iter().filter(|at| at + enough < events).collect();
        let broken: fn(u64) -> bool = |random| random % 40 == 0;
        let whole: fn(u64) -> bool = |_| false;
        let mut run = Run::new(events, window, poison.clone());
        run.acks_lost = acks_lost;
        run.sick_for = if breaks { 0 } else { sick_for };
        run.breaks = if breaks { broken } else { whole };
        run.random = random;
        let run = run.finish();
        prop_assert!(run.set_aside.is_subset(&poison));
        let delivered: BTreeSet<u32> = run.delivered.iter().copied().collect();
        prop_assert!(delivered.is_disjoint(&run.set_aside));
        prop_assert_eq!(delivered.len() + run.set_aside.len(), events as usize);
    }
}
