//! What the rules did with the latest events, and where the outputs went: a ring in memory, for `tidegate trace`.
//!
//! It is off unless `[trace]` says how many events are remembered; then an event costs the look at one number.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tidegate_rules::{Message, Output, Step, Trace};

use crate::capture::event_id;
use crate::labels::{Label, Labels};
use crate::text;

/// Steps and outputs that are kept of an event.
const STEPS_MAX: usize = 256;
/// Of a topic, and of a condition.
const CHARS_MAX: usize = 256;

/// The ring.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    events_max: usize,
    one_in: u64,
    /// Events until the next that is remembered.
    left: u64,
    ring: VecDeque<Story>,
    current: Option<Story>,
}

/// What became of an event, or of the windows that the clock ended.
#[derive(Debug, Default)]
struct Story {
    seq: u64,
    time_ms: i64,
    /// `None` for windows.
    event: Option<(String, String)>,
    steps: Vec<(String, String)>,
    outputs: Vec<Outcome>,
    left_out: u64,
}

#[derive(Debug)]
struct Outcome {
    rule: String,
    /// Only what goes to an uplink has a number.
    seq: Option<u64>,
    uplink: Option<(String, &'static str)>,
    topic: String,
}

impl Traces {
    pub(crate) fn new(settings: tidegate_config::Trace) -> Traces {
        let one_in = settings.one_in.max(1);
        Traces { events_max: settings.events_max, one_in, left: 1, ..Traces::default() }
    }

    /// What is remembered is chosen as in `settings` from now on; what is remembered already stays, as far as there is room.
    pub(crate) fn follow(&mut self, settings: Traces) {
        (self.events_max, self.one_in) = (settings.events_max, settings.one_in);
        self.left = self.left.min(self.one_in);
        let extra = self.ring.len().saturating_sub(self.events_max);
        self.ring.drain(..extra);
    }

    /// An event comes in: if it is one that is remembered, the rules are asked what they do with it.
    pub(crate) fn handle_event(&mut self, message: &Message<'_>, output: &mut Output) {
        if self.events_max == 0 {
            return;
        }
        self.current = None;
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.left = self.one_in;
            self.current = Some(Story {
                seq: message.seq,
                time_ms: message.received_at_ms,
                event: Some((cut(message.topic), cut(message.client_id))),
                ..Story::default()
            });
        }
        output.trace = self.current.is_some().then(Vec::new);
    }

    /// The clock goes on.
    pub(crate) fn handle_time(&mut self, seq: u64, time_ms: i64, output: &mut Output) {
        if self.events_max > 0 {
            self.current = Some(Story { seq, time_ms, ..Story::default() });
            output.trace = Some(Vec::new());
        }
    }

    /// Whether what happens is remembered.
    pub(crate) fn is_recording(&self) -> bool {
        self.current.is_some()
    }

    /// An output; `seq` is its number, if it goes to an uplink.
    pub(crate) fn handle_output(&mut self, label: &Label<'_>, seq: Option<u64>, topic: &str) {
        let Some(story) = &mut self.current else { return };
        if story.outputs.len() >= STEPS_MAX {
            story.left_out += 1;
            return;
        }
        let uplink = label.uplink().map(|name| (name.to_owned(), label.destination.priority.name()));
        let outcome = Outcome { rule: label.rule.to_owned(), seq, uplink, topic: cut(&label.topic(topic)) };
        story.outputs.push(outcome);
    }

    /// All outputs were told; these are the steps.
    pub(crate) fn finish(&mut self, steps: &[Trace], labels: &Labels) {
        let Some(mut story) = self.current.take() else { return };
        let described = |trace: &Trace| (labels.rule(trace.rule).to_owned(), cut(&describe(&trace.step)));
        story.steps = steps.iter().take(STEPS_MAX).map(described).collect();
        story.left_out += steps.len().saturating_sub(STEPS_MAX) as u64;
        if story.event.is_none() && story.steps.is_empty() && story.outputs.is_empty() {
            return;
        }
        while self.ring.len() >= self.events_max {
            self.ring.pop_front();
        }
        self.ring.push_back(story);
    }

    /// What is known of the event with this id, or of the event or window that an output with this id stems from.
    pub(crate) fn find(&self, gateway: &str, id: &str) -> Result<Value, String> {
        if self.events_max == 0 {
            return Err(
                "nothing is traced: write `[trace]` with `events_max = 1000` into the configuration, \
                        and reload the gateway"
                    .to_owned(),
            );
        }
        let seq = id
            .strip_prefix(gateway)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("`{id}` is no event id of this gateway, such as {gateway}-1a2b"))?;
        let is_it =
            |story: &&Story| story.seq == seq || story.outputs.iter().any(|output| output.seq == Some(seq));
        let found = self.ring.iter().rev().find(is_it);
        found.map(|story| story.json(gateway)).ok_or_else(|| {
            let one_in = if self.one_in > 1 { format!(", one in {}", self.one_in) } else { String::new() };
            format!(
                "the event `{id}` is not among the latest {} that are remembered{one_in}",
                self.ring.len()
            )
        })
    }
}

impl Story {
    fn json(&self, gateway: &str) -> Value {
        let steps: Vec<Value> =
            self.steps.iter().map(|(rule, step)| json!({ "rule": rule, "did": step })).collect();
        let outputs: Vec<Value> = self.outputs.iter().map(|output| output.json(gateway)).collect();
        json!({
            "id": event_id(gateway, self.seq),
            "time": text::time(self.time_ms),
            "topic": self.event.as_ref().map(|(topic, _)| topic),
            "client_id": self.event.as_ref().map(|(_, client_id)| client_id),
            "steps": steps,
            "outputs": outputs,
            "left_out": self.left_out,
        })
    }
}

impl Outcome {
    fn json(&self, gateway: &str) -> Value {
        match &self.uplink {
            Some((uplink, priority)) => json!({
                "rule": self.rule,
                "id": self.seq.map(|seq| event_id(gateway, seq)),
                "uplink": uplink,
                "priority": priority,
                "topic": self.topic,
            }),
            None => json!({ "rule": self.rule, "local": true, "topic": self.topic }),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

/// What a rule did, in words.
pub(crate) fn describe(step: &Step) -> String {
    let some = |count: &u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    match step {
        Step::Undecodable => "could not read the payload, which is neither JSON nor CBOR".to_owned(),
        Step::Errors(count) => {
            format!("{} gave NULL", some(count, "evaluation failed and", "evaluations failed and"))
        }
        Step::Rejected(condition) => format!("let it go: this is not TRUE: {condition}"),
        Step::HeldBack => "held it back: throttle or dedup did not let it pass".to_owned(),
        Step::Late => "counted it as late: its windows have closed, or it has no usable time".to_owned(),
        Step::Gathered => "put it into its windows".to_owned(),
        Step::Closed(count) => format!("closed {}", some(count, "window", "windows")),
        Step::Published(count) => format!("made {} of it", some(count, "output", "outputs")),
        Step::Dropped => "dropped its result, since an evaluation failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_rules::{Message, Output, Step, Trace};

    use super::{Traces, describe};
    use crate::labels::Labels;

    fn message(seq: u64) -> Message<'static> {
        Message {
            topic: "a",
            payload: b"",
            client_id: "c",
            username: None,
            qos: 1,
            retained: false,
            content_type: None,
            user_properties: &[],
            received_at_ms: 0,
            seq,
        }
    }

    fn traces(events_max: usize, one_in: u64) -> Traces {
        Traces::new(tidegate_config::Trace { events_max, one_in })
    }

    fn show(traces: &mut Traces, seq: u64) -> bool {
        let mut output = Output::new();
        traces.handle_event(&message(seq), &mut output);
        let asked = output.trace.is_some();
        assert_eq!(traces.is_recording(), asked);
        traces.finish(&[Trace { rule: 0, step: Step::Gathered }], &Labels::default());
        asked
    }

    #[test]
    fn off_unless_asked_for() {
        let mut traces = traces(0, 1);
        assert!(!show(&mut traces, 1));
        let mut output = Output::new();
        traces.handle_time(2, 0, &mut output);
        assert!(output.trace.is_none());
        assert!(traces.find("g", "g-1").unwrap_err().contains("events_max"));
    }

    #[test]
    fn the_latest_events_are_remembered() {
        let mut traces = traces(3, 1);
        for seq in 1..=5 {
            assert!(show(&mut traces, seq));
        }
        assert!(traces.find("g", "g-2").unwrap_err().contains("latest 3"));
        let found = traces.find("g", "g-5").unwrap();
        assert_eq!(
            (&found["topic"], &found["steps"][0]["did"]),
            (&"a".into(), &"put it into its windows".into())
        );
        for wrong in ["", "g", "g-", "h-5", "g-x", "5"] {
            assert!(traces.find("g", wrong).unwrap_err().contains("no event id"), "{wrong}");
        }
    }

    #[test]
    fn one_in_so_many() {
        let mut traces = traces(10, 3);
        let asked: Vec<bool> = (1..=7).map(|seq| show(&mut traces, seq)).collect();
        assert_eq!(asked, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn a_clock_that_ends_no_window_is_not_remembered() {
        let mut traces = traces(10, 1);
        traces.handle_time(7, 0, &mut Output::new());
        traces.finish(&[], &Labels::default());
        assert!(traces.find("g", "g-7").is_err());
        traces.handle_time(7, 0, &mut Output::new());
        traces.finish(&[Trace { rule: 0, step: Step::Closed(2) }], &Labels::default());
        assert_eq!(traces.find("g", "g-7").unwrap()["steps"][0]["did"], "closed 2 windows");
    }

    #[test]
    fn steps_have_words() {
        assert_eq!(describe(&Step::Errors(1)), "1 evaluation failed and gave NULL");
        assert_eq!(describe(&Step::Errors(2)), "2 evaluations failed and gave NULL");
        assert_eq!(describe(&Step::Rejected("a > 1".into())), "let it go: this is not TRUE: a > 1");
        assert_eq!(describe(&Step::Published(1)), "made 1 output of it");
    }
}
