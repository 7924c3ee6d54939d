//! Settings on trial: stored, in effect, heard of by the cloud, and kept; or given up, wherever that stops. A state machine
//! without I/O.
//!
//! What is done is done one step at a time: [`Trials::poll`] says what, and the caller tells what came of it before it asks
//! again. A trial is stored before it takes effect, and what follows from it is stored before it is said; a gateway that
//! finds a trial at its start has been ended in the midst of it, and goes on with what was accepted before.

use std::collections::VecDeque;

use super::desk::{Answer, Said, Standing, TRIAL};
use super::state::{Address, Outcome, Settings, State, Trial};

/// How long what failed waits before it is tried again.
const AGAIN_MS: u64 = 2_000;
/// How often is looked whether uplinks are back.
const LOOK_MS: u64 = 200;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Store the state; [`Trials::handle_stored`] is told.
    Store(State),
    /// Have these settings take effect; [`Trials::handle_switched`] is told.
    Switch(Settings),
    /// Answer; [`Trials::handle_told`] is told once the cloud has it, or refuses it.
    Answer(Answer),
}

/// Whether a command is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// It is the one that is on trial.
    Again,
    /// It has been answered, and was answered once more.
    Answered,
    /// Another is on trial, or its time is over.
    No(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// To be stored.
    Begun,
    /// To take effect.
    Stored,
    /// In effect until then.
    Trial {
        until_ms: u64,
        /// The cloud has acknowledged the answer.
        is_heard: bool,
        /// When storing that they are accepted may be tried.
        keep_ms: u64,
    },
    /// To be stored as accepted; a trial until then.
    Keeping {
        until_ms: u64,
    },
    /// The settings before are to take effect, from this time on.
    Returning {
        from_ms: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trials {
    state: State,
    phase: Phase,
    /// What is stored is older, and may be stored again from this time on.
    stale_ms: Option<u64>,
    answers: VecDeque<Answer>,
    confirm_within_ms: u64,
}

impl Trials {
    /// Goes on from what was stored when the gateway ended.
    pub(crate) fn new(state: State) -> Trials {
        let phase = Phase::Idle;
        let (stale_ms, answers) = (None, VecDeque::new());
        let mut trials = Trials { state, phase, stale_ms, answers, confirm_within_ms: 0 };
        if trials.state.trial.is_some() {
            trials.give_up("the gateway was started anew before they were confirmed");
            trials.stale_ms = Some(0);
        }
        trials.tell();
        trials
    }

    /// What counts now.
    pub(crate) fn accepted(&self) -> &Settings {
        &self.state.accepted
    }

    /// Whether settings are on trial.
    pub(crate) fn is_trying(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// For people who look; `None` if nothing was ever tried.
    pub(crate) fn standing(&self) -> Option<Standing> {
        if self.state.trial.is_some() {
            return Some(Standing { sequence: self.state.sequence, result: TRIAL, why: None });
        }
        let outcome = self.state.outcome.as_ref()?;
        let said = said(outcome);
        let (result, why) = said.words();
        Some(Standing { sequence: outcome.sequence, result, why: why.map(str::to_owned) })
    }

    /// Whether settings of this number can be tried; `to` is who asks.
    pub(crate) fn admit(&mut self, sequence: u64, to: &Address) -> Admission {
        if self.is_trying() {
            let is_same = self.state.trial.is_some() && sequence == self.state.sequence;
            return if is_same { Admission::Again } else { Admission::No(self.state.sequence) };
        }
        match &self.state.outcome {
            _ if sequence > self.state.sequence => Admission::Yes,
            Some(outcome) if outcome.sequence == sequence => {
                let answer = Answer::new(to.clone(), Some(sequence), said(outcome));
                self.answers.push_back(answer);
                Admission::Answered
            }
            _ => Admission::No(self.state.sequence),
        }
    }

    /// Tries settings that nothing is wrong with; to be called after [`Admission::Yes`].
    pub(crate) fn begin(&mut self, sequence: u64, settings: Settings, to: Address, confirm_within_ms: u64) {
        self.state.sequence = sequence;
        self.state.trial = Some(Trial { settings, to });
        self.confirm_within_ms = confirm_within_ms;
        self.phase = Phase::Begun;
    }

    /// What is to be done now.
    pub(crate) fn poll(&mut self, now_ms: u64) -> Option<Action> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(Action::Answer(answer));
        }
        if let Phase::Trial { until_ms, is_heard, .. } = self.phase
            && now_ms >= until_ms
        {
            let why = if is_heard {
                "not every uplink that was online came back in time"
            } else {
                "the cloud did not acknowledge the answer in time"
            };
            self.return_from_trial(why);
        }
        let stale = self.stale_ms.is_some_and(|from_ms| now_ms >= from_ms);
        match self.phase {
            Phase::Begun => Some(Action::Store(self.state.clone())),
            Phase::Keeping { .. } => Some(Action::Store(self.kept())),
            Phase::Stored => Some(Action::Switch(self.state.trial.as_ref()?.settings.clone())),
            Phase::Idle | Phase::Returning { .. } if stale => Some(Action::Store(self.state.clone())),
            Phase::Returning { from_ms } if now_ms >= from_ms => {
                Some(Action::Switch(self.state.accepted.clone()))
            }
            _ => None,
        }
    }

    /// When [`Trials::poll`] may have something to do although nothing has happened.
    pub(crate) fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        match self.phase {
            Phase::Idle => self.stale_ms,
            Phase::Returning { from_ms } => Some(self.stale_ms.unwrap_or(from_ms).min(from_ms)),
            Phase::Trial { until_ms, is_heard: false, .. } => Some(until_ms),
            // Uplinks do not say when they are back.
            Phase::Trial { until_ms, .. } => Some(until_ms.min(now_ms.saturating_add(LOOK_MS))),
            _ => Some(now_ms),
        }
    }

    /// The state was stored, or was not.
    pub(crate) fn handle_stored(&mut self, stored: Result<(), String>, now_ms: u64) {
        match (self.phase, stored) {
            (Phase::Begun, Ok(())) => (self.phase, self.stale_ms) = (Phase::Stored, None),
            (Phase::Begun, Err(why)) => {
                // Some of it may be on the disk.
                self.stale_ms = Some(now_ms.saturating_add(AGAIN_MS));
                self.give_up(&format!("they could not be stored: {why}"));
                self.phase = Phase::Idle;
                self.tell();
            }
            (Phase::Keeping { .. }, Ok(())) => {
                self.state = self.kept();
                (self.phase, self.stale_ms) = (Phase::Idle, None);
                self.tell();
            }
            (Phase::Keeping { until_ms }, Err(_)) => {
                let keep_ms = now_ms.saturating_add(AGAIN_MS);
                self.phase = Phase::Trial { until_ms, is_heard: true, keep_ms };
            }
            (_, Ok(())) => self.stale_ms = None,
            (_, Err(_)) => self.stale_ms = Some(now_ms.saturating_add(AGAIN_MS)),
        }
    }

    /// Settings took effect, with what they changed, or everything is as it was.
    pub(crate) fn handle_switched(&mut self, switched: Result<Vec<String>, String>, now_ms: u64) {
        match (self.phase, switched) {
            (Phase::Stored, Ok(changed)) => {
                let until_ms = now_ms.saturating_add(self.confirm_within_ms);
                self.phase = Phase::Trial { until_ms, is_heard: false, keep_ms: now_ms };
                if let Some(trial) = &self.state.trial {
                    let said = Said::Trial { changed, confirm_within_ms: self.confirm_within_ms };
                    let answer = Answer::new(trial.to.clone(), Some(self.state.sequence), said);
                    self.answers.push_back(answer);
                }
            }
            (Phase::Stored, Err(why)) => {
                self.stale_ms = Some(now_ms);
                self.give_up(&why);
                self.phase = Phase::Idle;
                self.tell();
            }
            (Phase::Returning { .. }, Ok(_)) => {
                self.phase = Phase::Idle;
                self.tell();
            }
            (Phase::Returning { .. }, Err(_)) => {
                self.phase = Phase::Returning { from_ms: now_ms.saturating_add(AGAIN_MS) };
            }
            _ => {}
        }
    }

    /// The cloud has an answer, or refuses it.
    pub(crate) fn handle_told(&mut self, answer: &Answer, is_taken: bool, now_ms: u64) {
        if answer.sequence != Some(self.state.sequence) {
            return;
        }
        match (&answer.said, self.phase) {
            (Said::Trial { .. }, Phase::Trial { until_ms, .. }) if is_taken => {
                self.phase = Phase::Trial { until_ms, is_heard: true, keep_ms: now_ms };
            }
            (Said::Trial { .. }, Phase::Trial { .. }) => {
                self.return_from_trial("the cloud refused the answer");
            }
            (Said::Accepted | Said::GivenUp { .. }, _) => {
                let outcome = self.state.outcome.as_mut();
                let told = outcome.and_then(|outcome| outcome.untold.take_if(|to| *to == answer.to));
                if told.is_some() {
                    self.stale_ms = Some(now_ms);
                }
            }
            _ => {}
        }
    }

    /// Says whether each uplink that was online before is online again.
    pub(crate) fn handle_uplinks(&mut self, are_back: bool, now_ms: u64) {
        if let Phase::Trial { until_ms, is_heard: true, keep_ms } = self.phase
            && are_back
            && now_ms >= keep_ms
        {
            self.phase = Phase::Keeping { until_ms };
        }
    }

    /// The state with what is on trial as accepted.
    fn kept(&self) -> State {
        let mut state = self.state.clone();
        if let Some(trial) = state.trial.take() {
            let sequence = state.sequence;
            state.outcome = Some(Outcome { sequence, why: None, untold: Some(trial.to) });
            state.accepted = trial.settings;
        }
        state
    }

    fn return_from_trial(&mut self, why: &str) {
        self.give_up(why);
        self.stale_ms = Some(0);
        self.phase = Phase::Returning { from_ms: 0 };
    }

    fn give_up(&mut self, why: &str) {
        if let Some(trial) = self.state.trial.take() {
            let (sequence, why) = (self.state.sequence, Some(why.to_owned()));
            self.state.outcome = Some(Outcome { sequence, why, untold: Some(trial.to) });
        }
    }

    /// Answers what came of the last settings, if that is still to be said.
    fn tell(&mut self) {
        if let Some(outcome) = &self.state.outcome
            && let Some(to) = &outcome.untold
        {
            self.answers.push_back(Answer::new(to.clone(), Some(outcome.sequence), said(outcome)));
        }
    }
}

fn said(outcome: &Outcome) -> Said {
    match &outcome.why {
        None => Said::Accepted,
        Some(why) => Said::GivenUp { why: why.clone() },
    }
}

#[cfg(test)]
mod tests;
