use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{AGAIN_MS, Action, Admission, Trials};
use crate::remote::desk::{Answer, Said, Standing};
use crate::remote::state::{Address, Settings, State};

const WITHIN_MS: u64 = 60_000;

fn to(uplink: &str) -> Address {
    Address { uplink: uplink.into(), topic: "t".into(), correlation: None }
}

fn settings(number: u64) -> Settings {
    Settings { config: format!("n = {number}"), rules: String::new() }
}

fn answer(sequence: u64, said: Said) -> Answer {
    Answer::new(to("cloud"), Some(sequence), said)
}

fn on_trial(sequence: u64) -> Answer {
    answer(sequence, Said::Trial { changed: vec![], confirm_within_ms: WITHIN_MS })
}

fn given_up(sequence: u64, why: &str) -> Answer {
    answer(sequence, Said::GivenUp { why: why.into() })
}

/// Does what is to be done, as it should be, up to where the trial is in effect.
fn trying(trials: &mut Trials, sequence: u64, now_ms: u64) {
    assert_eq!(trials.admit(sequence, &to("cloud")), Admission::Yes);
    trials.begin(sequence, settings(sequence), to("cloud"), WITHIN_MS);
    let Some(Action::Store(state)) = trials.poll(now_ms) else { panic!("stored before it takes effect") };
    assert_eq!(state.trial.map(|trial| trial.settings), Some(settings(sequence)));
    trials.handle_stored(Ok(()), now_ms);
    assert_eq!(trials.poll(now_ms), Some(Action::Switch(settings(sequence))));
    trials.handle_switched(Ok(vec![]), now_ms);
    assert_eq!(trials.poll(now_ms), Some(Action::Answer(on_trial(sequence))));
    assert_eq!(trials.poll(now_ms), None);
}

#[test]
fn what_the_cloud_acknowledges_is_kept_and_said() {
    let mut trials = Trials::new(State::default());
    assert_eq!(trials.standing(), None);
    trying(&mut trials, 7, 1000);
    assert_eq!(trials.standing(), Some(Standing { sequence: 7, result: "trial", why: None }));
    trials.handle_uplinks(true, 2000);
    assert_eq!(trials.poll(2000), None, "nothing is acknowledged");
    trials.handle_told(&on_trial(7), true, 3000);
    trials.handle_uplinks(false, 3000);
    assert_eq!(trials.poll(3000), None, "an uplink is not back");
    trials.handle_uplinks(true, 3200);
    let Some(Action::Store(state)) = trials.poll(3200) else { panic!("to be stored") };
    assert_eq!((state.sequence, &state.accepted, &state.trial), (7, &settings(7), &None));
    assert_eq!(trials.accepted(), &Settings::default(), "not before it is stored");
    trials.handle_stored(Ok(()), 3200);
    assert_eq!(trials.poll(3200), Some(Action::Answer(answer(7, Said::Accepted))));
    assert_eq!((trials.poll(3200), trials.is_trying()), (None, false));
    trials.handle_told(&answer(7, Said::Accepted), true, 4000);
    let Some(Action::Store(told)) = trials.poll(4000) else { panic!("it need not be said again") };
    assert_eq!(told.outcome.and_then(|outcome| outcome.untold), None);
    trials.handle_stored(Ok(()), 4000);
    assert_eq!((trials.poll(4000), trials.deadline_ms(4000)), (None, None));
    assert_eq!(trials.standing(), Some(Standing { sequence: 7, result: "accepted", why: None }));
}

#[test]
fn what_is_not_acknowledged_in_time_goes_and_that_is_said_once_it_has() {
    let late = "the cloud did not acknowledge the answer in time";
    let missing = "not every uplink that was online came back in time";
    for (is_heard, why) in [(false, late), (true, missing)] {
        let mut trials = Trials::new(State::default());
        trying(&mut trials, 7, 1000);
        if is_heard {
            trials.handle_told(&on_trial(7), true, 2000);
        }
        let end_ms = 1000 + WITHIN_MS;
        assert_eq!(trials.poll(end_ms - 1), None);
        let Some(Action::Store(state)) = trials.poll(end_ms) else { panic!("to be stored") };
        assert_eq!((state.sequence, &state.trial), (7, &None));
        // Nothing keeps it from going back.
        trials.handle_stored(Err("disk".into()), end_ms);
        assert_eq!(trials.poll(end_ms), Some(Action::Switch(Settings::default())));
        trials.handle_switched(Err("files".into()), end_ms);
        assert_eq!(trials.poll(end_ms), None);
        let again_ms = end_ms + AGAIN_MS;
        assert_eq!(trials.deadline_ms(end_ms), Some(again_ms));
        assert!(matches!(trials.poll(again_ms), Some(Action::Store(_))));
        trials.handle_stored(Ok(()), again_ms);
        assert_eq!(trials.poll(again_ms), Some(Action::Switch(Settings::default())));
        trials.handle_switched(Ok(vec![]), again_ms);
        assert_eq!(trials.poll(again_ms), Some(Action::Answer(given_up(7, why))));
        assert_eq!((trials.poll(again_ms), trials.deadline_ms(again_ms)), (None, None));
        let standing = Standing { sequence: 7, result: "rolled-back", why: Some(why.to_owned()) };
        assert_eq!(trials.standing(), Some(standing));
    }
}

#[test]
fn each_step_may_fail() {
    let mut trials = Trials::new(State::default());
    trials.begin(1, settings(1), to("cloud"), WITHIN_MS);
    assert!(matches!(trials.poll(0), Some(Action::Store(_))));
    trials.handle_stored(Err("full".into()), 0);
    assert_eq!(trials.poll(0), Some(Action::Answer(given_up(1, "they could not be stored: full"))));
    assert_eq!(trials.poll(0), None);
    assert!(matches!(trials.poll(AGAIN_MS), Some(Action::Store(state)) if state.trial.is_none()));
    trials.handle_stored(Ok(()), AGAIN_MS);

    trials.begin(2, settings(2), to("cloud"), WITHIN_MS);
    assert!(matches!(trials.poll(0), Some(Action::Store(_))));
    trials.handle_stored(Ok(()), 0);
    assert_eq!(trials.poll(0), Some(Action::Switch(settings(2))));
    trials.handle_switched(Err("no certificate".into()), 0);
    assert_eq!(trials.poll(0), Some(Action::Answer(given_up(2, "no certificate"))));
    assert!(matches!(trials.poll(0), Some(Action::Store(state)) if state.trial.is_none()));
    trials.handle_stored(Ok(()), 0);

    trying(&mut trials, 3, 0);
    trials.handle_told(&on_trial(3), false, 0);
    assert!(matches!(trials.poll(0), Some(Action::Store(_))));
    trials.handle_stored(Ok(()), 0);
    assert_eq!(trials.poll(0), Some(Action::Switch(Settings::default())));
    trials.handle_switched(Ok(vec![]), 0);
    assert_eq!(trials.poll(0), Some(Action::Answer(given_up(3, "the cloud refused the answer"))));

    trying(&mut trials, 4, 0);
    trials.handle_told(&on_trial(4), true, 0);
    trials.handle_uplinks(true, 0);
    assert!(matches!(trials.poll(0), Some(Action::Store(_))));
    trials.handle_stored(Err("full".into()), 0);
    trials.handle_uplinks(true, 0);
    assert_eq!(trials.poll(0), None, "a trial still, and tried again later");
    trials.handle_uplinks(true, AGAIN_MS);
    assert!(matches!(trials.poll(AGAIN_MS), Some(Action::Store(state)) if state.accepted == settings(4)));
    trials.handle_stored(Ok(()), AGAIN_MS);
    assert_eq!(trials.accepted(), &settings(4));
}

#[test]
fn numbers_grow_and_a_number_is_answered_as_before() {
    let mut trials = Trials::new(State::default());
    trying(&mut trials, 7, 0);
    assert_eq!(trials.admit(7, &to("cloud")), Admission::Again);
    assert_eq!(trials.admit(8, &to("cloud")), Admission::No(7), "one at a time");
    trials.handle_told(&on_trial(7), true, 0);
    trials.handle_uplinks(true, 0);
    trials.poll(0);
    trials.handle_stored(Ok(()), 0);
    assert_eq!(trials.poll(0), Some(Action::Answer(answer(7, Said::Accepted))));
    assert_eq!(trials.admit(6, &to("cloud")), Admission::No(7));
    assert_eq!(trials.admit(7, &to("other")), Admission::Answered);
    let again = Answer { to: to("other"), ..answer(7, Said::Accepted) };
    assert_eq!(trials.poll(0), Some(Action::Answer(again.clone())));
    trials.handle_told(&again, true, 0);
    assert_eq!(trials.poll(0), None, "who asked first is still to be told");
    assert_eq!(trials.admit(8, &to("cloud")), Admission::Yes);
}

/// A gateway with its disk, as far as settings go.
struct World {
    trials: Trials,
    stored: State,
    in_effect: Settings,
    said: Vec<Answer>,
    /// What was stored as accepted, in order.
    accepted: Vec<Settings>,
}

impl World {
    fn crash(&mut self) {
        self.trials = Trials::new(self.stored.clone());
        self.in_effect = self.stored.accepted.clone();
    }

    /// Does the next thing, if there is one. With luck: 0 fails before it is done, 1 crashes before, 2 crashes after.
    fn step(&mut self, now_ms: u64, luck: u8) -> bool {
        let Some(action) = self.trials.poll(now_ms) else { return false };
        let (fails, done) = (luck == 0, luck > 1);
        match action {
            Action::Store(state) if fails => {
                // It may be on the disk all the same.
                if now_ms.is_multiple_of(2) {
                    self.keep(state);
                }
                self.trials.handle_stored(Err("fails".into()), now_ms);
            }
            Action::Store(state) if done => {
                self.keep(state);
                self.trials.handle_stored(Ok(()), now_ms);
            }
            Action::Switch(_) if fails => self.trials.handle_switched(Err("fails".into()), now_ms),
            Action::Switch(settings) if done => {
                self.in_effect = settings;
                self.trials.handle_switched(Ok(vec![]), now_ms);
            }
            Action::Answer(answer) => self.said.push(answer),
            Action::Store(_) | Action::Switch(_) => {}
        }
        if luck == 1 || luck == 2 {
            self.crash();
        }
        true
    }

    fn keep(&mut self, state: State) {
        if state.accepted != self.stored.accepted {
            self.accepted.push(state.accepted.clone());
        }
        self.stored = state;
    }
}

proptest! {
    /// Wherever it fails or is ended: what is in effect in the end is what is stored as accepted, which the cloud has
    /// acknowledged; every number comes to an answer; and no number is tried twice.
    #[test]
    fn nothing_strands_it(steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..200)) {
        let state = State::default();
        let (in_effect, said, accepted) = (Settings::default(), vec![], vec![]);
        let mut world = World { trials: Trials::new(state.clone()), stored: state, in_effect, said, accepted };
        let (mut now_ms, mut heard) = (0, vec![]);
        for (what, luck) in steps {
            now_ms += u64::from(what) * 37;
            let sequence = u64::from(luck / 16);
            match what % 8 {
                0 | 1 => if world.trials.admit(sequence, &to("cloud")) == Admission::Yes {
                    prop_assert!(world.stored.sequence < sequence, "a number that was stored is tried once");
                    world.trials.begin(sequence, settings(sequence), to("cloud"), WITHIN_MS);
                },
                2 => for answer in std::mem::take(&mut world.said) {
                    heard.push(answer.clone());
                    world.trials.handle_told(&answer, luck > 20, now_ms);
                },
                3 => world.trials.handle_uplinks(luck > 100, now_ms),
                4 => now_ms += WITHIN_MS / 2,
                _ => {
                    world.step(now_ms, luck % 32);
                }
            }
        }
        // The faults stop.
        for _ in 0..20 {
            now_ms += WITHIN_MS;
            while world.step(now_ms, 255) {}
        }
        prop_assert!(!world.trials.is_trying());
        prop_assert_eq!(&world.in_effect, &world.stored.accepted);
        prop_assert_eq!(world.trials.accepted(), &world.stored.accepted);
        prop_assert!(world.stored.trial.is_none());
        heard.append(&mut world.said);
        for kept in world.accepted.iter().filter(|kept| **kept != Settings::default()) {
            let was_heard = heard.iter().any(|answer| {
                matches!(answer.said, Said::Trial { .. }) && Some(kept) == answer.sequence.map(settings).as_ref()
            });
            prop_assert!(was_heard, "{kept:?} was kept and the cloud never heard of its trial");
        }
        if let Some(outcome) = &world.stored.outcome {
            let said = |answer: &Answer| answer.sequence == Some(outcome.sequence) && !matches!(answer.said, Said::Trial { .. });
            prop_assert!(outcome.untold.is_none() || heard.iter().any(said), "{outcome:?}");
        }
    }
}
