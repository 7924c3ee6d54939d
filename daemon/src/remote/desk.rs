//! What goes between uplinks and the one who decides on settings: commands, answers, and whether the cloud has them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

use super::state::Address;

/// Commands that wait; more are dropped, and a sender without an answer asks again.
const COMMANDS_MAX: usize = 4;
/// Answers that wait for an uplink; of more, the oldest refusal is dropped.
const ANSWERS_MAX: usize = 16;
/// Of what is said in words.
const WHY_BYTES_MAX: usize = 16 << 10;
const CHANGED_MAX: usize = 100;

/// A publish on the topic of an uplink's `remote_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) to: Address,
    pub(crate) payload: Bytes,
}

/// What the gateway says of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Refused {
        why: String,
    },
    /// They are in effect, and kept if the cloud acknowledges this.
    Trial {
        changed: Vec<String>,
        confirm_within_ms: u64,
    },
    Accepted,
    GivenUp {
        why: String,
    },
}

pub(super) const TRIAL: &str = "trial";

impl Said {
    /// The word for it, and why.
    pub(super) fn words(&self) -> (&'static str, Option<&str>) {
        match self {
            Said::Refused { why } => ("refused", Some(why)),
            Said::Trial { .. } => (TRIAL, None),
            Said::Accepted => ("accepted", None),
            Said::GivenUp { why } => ("rolled-back", Some(why)),
        }
    }
}

/// An answer, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) to: Address,
    /// Of the command; `None` if it could not be read.
    pub(crate) sequence: Option<u64>,
    pub(crate) said: Said,
}

/// The answer as it is written.
#[derive(Serialize)]
struct Body<'a> {
    gateway: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_within_s: Option<u64>,
}

impl Answer {
    pub(crate) fn new(to: Address, sequence: Option<u64>, said: Said) -> Answer {
        Answer { to, sequence, said }
    }

    /// The payload.
    pub(crate) fn payload(&self, gateway: &str) -> Vec<u8> {
        let (result, why) = self.said.words();
        let (changed, confirm_within_s) = match &self.said {
            Said::Trial { changed, confirm_within_ms } => {
                (changed.get(..changed.len().min(CHANGED_MAX)), Some(confirm_within_ms / 1000))
            }
            _ => (None, None),
        };
        let why = why.map(|why| why.get(..why.floor_char_boundary(WHY_BYTES_MAX)).unwrap_or(why));
        let body = Body { gateway, sequence: self.sequence, result, why, changed, confirm_within_s };
        // A struct of strings and numbers can always be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// How it stands with the last settings that were tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    pub(crate) sequence: u64,
    /// In the words of an answer.
    pub(crate) result: &'static str,
    /// Why they were given up.
    pub(crate) why: Option<String>,
}

/// Where commands come in.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    standing: RefCell<Option<Standing>>,
    commands: RefCell<VecDeque<Incoming>>,
    /// Answers that the cloud has, or refuses.
    told: RefCell<Vec<(Answer, bool)>>,
    lines: RefCell<Vec<(String, Rc<Line>)>>,
    /// Rises with each of them.
    pub(crate) arrived: Notify,
}

impl Desk {
    /// For people who look; `None` if nothing was ever tried.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing.borrow().clone()
    }

    pub(crate) fn set_standing(&self, standing: Option<Standing>) {
        *self.standing.borrow_mut() = standing;
    }

    /// The line of an uplink, which outlives its connections and reloads.
    pub(crate) fn line(self: &Rc<Self>, uplink: &str) -> Rc<Line> {
        let mut lines = self.lines.borrow_mut();
        if let Some((_, line)) = lines.iter().find(|(name, _)| name == uplink) {
            return Rc::clone(line);
        }
        let line = Rc::new(Line { desk: Rc::clone(self), ..Line::default() });
        lines.push((uplink.to_owned(), Rc::clone(&line)));
        line
    }

    /// Has an uplink publish an answer, when it can.
    pub(crate) fn answer(self: &Rc<Self>, answer: Answer) {
        self.line(&answer.to.uplink).push(answer);
    }

    pub(crate) fn poll_command(&self) -> Option<Incoming> {
        self.commands.borrow_mut().pop_front()
    }

    /// Answers that the cloud has, or refuses (then the second value is false).
    pub(crate) fn take_told(&self) -> Vec<(Answer, bool)> {
        self.told.take()
    }
}

/// What one uplink has to do with settings.
#[derive(Debug, Default)]
pub(crate) struct Line {
    desk: Rc<Desk>,
    /// Not acknowledged, by their numbers, in order.
    answers: RefCell<VecDeque<(u64, Answer)>>,
    last_number: Cell<u64>,
    /// Rises when there is another answer.
    pub(crate) waiting: Notify,
}

impl Line {
    /// A command has come; false if it is dropped, since too many wait.
    pub(crate) fn handle_command(&self, command: Incoming) -> bool {
        let mut commands = self.desk.commands.borrow_mut();
        if commands.len() >= COMMANDS_MAX {
            return false;
        }
        commands.push_back(command);
        self.desk.arrived.notify_one();
        true
    }

    fn push(&self, answer: Answer) {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= ANSWERS_MAX {
            let refusal = answers.iter().position(|(_, answer)| matches!(answer.said, Said::Refused { .. }));
            answers.remove(refusal.unwrap_or(0));
        }
        answers.push_back((number, answer));
        self.waiting.notify_one();
    }

    /// The first answer with a higher number than `after`.
    pub(crate) fn next(&self, after: u64) -> Option<(u64, Answer)> {
        self.answers.borrow().iter().find(|(number, _)| *number > after).cloned()
    }

    /// The cloud has the answer of a number, or refuses it; it is not published again.
    pub(crate) fn handle_told(&self, number: u64, is_taken: bool) {
        let mut answers = self.answers.borrow_mut();
        let Some(at) = answers.iter().position(|(known, _)| *known == number) else { return };
        if let Some((_, answer)) = answers.remove(at) {
            self.desk.told.borrow_mut().push((answer, is_taken));
            self.desk.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;

    use super::{ANSWERS_MAX, Answer, COMMANDS_MAX, Desk, Incoming, Said, WHY_BYTES_MAX};
    use crate::remote::state::Address;

    fn to(uplink: &str) -> Address {
        Address { uplink: uplink.into(), topic: "t".into(), correlation: None }
    }

    fn refused(sequence: u64) -> Answer {
        Answer::new(to("cloud"), Some(sequence), Said::Refused { why: "no".into() })
    }

    #[test]
    fn an_answer_is_there_until_the_cloud_has_it() {
        let desk = Rc::<Desk>::default();
        desk.answer(refused(1));
        desk.answer(refused(2));
        let line = desk.line("cloud");
        assert!(Rc::ptr_eq(&line, &desk.line("cloud")) && desk.line("other").next(0).is_none());
        assert_eq!(line.next(0), Some((1, refused(1))));
        assert_eq!(line.next(1), Some((2, refused(2))), "sent on this connection already");
        assert_eq!(line.next(2), None);
        line.handle_told(1, true);
        line.handle_told(1, true);
        assert_eq!(line.next(0), Some((2, refused(2))), "on the next connection");
        line.handle_told(2, false);
        assert_eq!(desk.take_told(), [(refused(1), true), (refused(2), false)]);
        assert_eq!((line.next(0), desk.take_told()), (None, vec![]));
    }

    #[test]
    fn everything_is_bounded_and_what_is_no_refusal_stays_longest() {
        let desk = Rc::<Desk>::default();
        let line = desk.line("cloud");
        desk.answer(Answer { said: Said::Accepted, ..refused(7) });
        (0..40).for_each(|sequence| desk.answer(refused(sequence)));
        assert_eq!(line.answers.borrow().len(), ANSWERS_MAX);
        assert_eq!(line.next(0).map(|(_, answer)| answer.said), Some(Said::Accepted));
        let command = || Incoming { to: to("cloud"), payload: Bytes::new() };
        let taken = (0..10).filter(|_| line.handle_command(command())).count();
        assert_eq!(taken, COMMANDS_MAX);
        assert_eq!(std::iter::from_fn(|| desk.poll_command()).count(), COMMANDS_MAX);
    }

    #[test]
    fn answers_as_they_are_written() {
        let trial = Said::Trial { changed: vec!["a".into()], confirm_within_ms: 60_000 };
        for (said, expected) in [
            (
                Said::Refused { why: "x".into() },
                r#"{"gateway":"g","sequence":7,"result":"refused","why":"x"}"#,
            ),
            (trial, r#"{"gateway":"g","sequence":7,"result":"trial","changed":["a"],"confirm_within_s":60}"#),
            (Said::Accepted, r#"{"gateway":"g","sequence":7,"result":"accepted"}"#),
            (
                Said::GivenUp { why: "x".into() },
                r#"{"gateway":"g","sequence":7,"result":"rolled-back","why":"x"}"#,
            ),
        ] {
            let answer = Answer { said, ..refused(7) };
            assert_eq!(String::from_utf8(answer.payload("g")).unwrap(), expected);
        }
        let long = Answer { said: Said::Refused { why: "é".repeat(WHY_BYTES_MAX) }, ..refused(7) };
        assert!(long.payload("g").len() < WHY_BYTES_MAX + 100);
    }
}
