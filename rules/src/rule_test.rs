//! Tests that users write beside their rules: events with times, and what is to come of them. No broker, no clock, no disk.

use std::fmt;

use crate::{
    field::{Format, Projection},
    message::Message,
    output::{Output, Payload, Topic},
    rule_set::RuleSet,
    value::Value,
};

/// More outputs than this are not set against each other one by one.
const COMPARED_MAX: usize = 1_000;

/// An event that a test gives to the rules.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// When it comes in, in ms from the start of the test, which is 1970-01-01 00:00 UTC to the rules.
    pub at_ms: i64,
    /// The topic it is published to.
    pub topic: &'a str,
    /// The payload as it comes.
    pub payload: &'a [u8],
}

/// An output that a test expects.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The topic; `None` for any.
    pub topic: Option<&'a str>,
    /// The payload, as JSON; `None` for any.
    pub payload: Option<&'a [u8]>,
}

/// A test of rules.
#[derive(Debug, Clone, Copy)]
pub struct RuleTest<'a> {
    /// The events, in the order in which they come.
    pub given: &'a [Given<'a>],
    /// How long time goes on after the last event, in ms.
    pub advance_ms: u64,
    /// What is to be published, in order.
    pub expect: &'a [Expected<'a>],
}

/// How what was published differs from what was expected. Its text has a line for each output: `-` is missing, `+` is too
/// much, and below an output with another payload than expected stand the places that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    lines: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// An output, or what is expected of one.
struct Row {
    topic: Option<String>,
    payload: Option<Result<Value<'static>, String>>,
}

impl Row {
    fn expected(expected: &Expected<'_>) -> Self {
        Self {
            topic: expected.topic.map(str::to_owned),
            payload: expected.payload.map(|payload| decoded(Format::Json, payload)),
        }
    }

    fn matches(&self, expected: &Self) -> bool {
        let topics = expected.topic.is_none() || expected.topic == self.topic;
        let payloads = match (&self.payload, &expected.payload) {
            (_, None) => true,
            (Some(Ok(found)), Some(Ok(expected))) => is_near(found, expected),
            (Some(Err(found)), Some(Ok(Value::Text(expected)))) => found == expected,
            _ => false,
        };
        topics && payloads
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.topic.as_deref().unwrap_or("any topic"))?;
        match &self.payload {
            None => f.write_str(" any payload"),
            Some(Err(text)) => write!(f, " {text}"),
            Some(Ok(value)) => write!(f, " {}", json(value)),
        }
    }
}

fn json(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    match crate::encode::json(value, &mut out) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => "what cannot be written".to_owned(),
    }
}

/// A payload as a value, or as text if it is none.
fn decoded(format: Format, payload: &[u8]) -> Result<Value<'static>, String> {
    let mut projection = Projection::default();
    projection.add(&[]);
    let mut slots = Vec::new();
    match projection.extract(format, payload, &mut slots) {
        Ok(()) => Ok(slots.pop().unwrap_or_default().into_owned()),
        Err(_) => Err(String::from_utf8_lossy(payload).into_owned()),
    }
}

impl RuleTest<'_> {
    /// Gives the events to the rules, which forget what they knew before, and compares what they publish.
    ///
    /// Payloads are compared as values: the order of members does not matter, 22 is 22.0, and floats may differ by one
    /// part in 10^9.
    ///
    /// # Errors
    /// What differs.
    pub fn run(&self, rules: &mut RuleSet) -> Result<(), Difference> {
        let found = self.found(rules);
        let expected: Vec<Row> = self.expect.iter().map(Row::expected).collect();
        let lines = differences(&expected, &found);
        if lines.iter().any(|line| !line.starts_with("  ")) { Err(Difference { lines }) } else { Ok(()) }
    }

    fn found(&self, rules: &mut RuleSet) -> Vec<Row> {
        rules.forget();
        let mut output = Output::new();
        let mut rows = Vec::new();
        let mut now_ms = 0;
        for (seq, given) in (0..).zip(self.given) {
            advance(rules, given.at_ms, &mut output, &mut rows);
            now_ms = given.at_ms.max(now_ms);
            let message = Message {
                topic: given.topic,
                payload: given.payload,
                client_id: "test",
                username: None,
                qos: 1,
                retained: false,
                content_type: None,
                user_properties: &[],
                received_at_ms: given.at_ms,
                seq,
            };
            rules.handle_message(&message, &mut output);
            take(&mut output, Some(given), &mut rows);
        }
        let advance_ms = i64::try_from(self.advance_ms).unwrap_or(i64::MAX);
        advance(rules, now_ms.saturating_add(advance_ms), &mut output, &mut rows);
        rows
    }
}

/// Lets time pass as it does in a gateway: from one deadline to the next.
fn advance(rules: &mut RuleSet, until_ms: i64, output: &mut Output, rows: &mut Vec<Row>) {
    while let Some(deadline_ms) = rules.poll_deadline_ms().filter(|deadline_ms| *deadline_ms <= until_ms) {
        rules.handle_time(deadline_ms, output);
        take(output, None, rows);
        if rules.poll_deadline_ms() == Some(deadline_ms) {
            break;
        }
    }
    rules.handle_time(until_ms, output);
    take(output, None, rows);
}

fn take(output: &mut Output, given: Option<&Given<'_>>, rows: &mut Vec<Row>) {
    for publish in output.publishes.drain(..) {
        let topic = match publish.topic {
            Topic::Input => given.map(|given| given.topic.to_owned()),
            Topic::Owned(topic) => Some(topic),
        };
        let payload = match &publish.payload {
            Payload::Input => given.map_or(&[][..], |given| given.payload),
            Payload::Owned(payload) => payload,
        };
        rows.push(Row { topic, payload: Some(decoded(Format::guess(None, payload), payload)) });
    }
    output.clear();
}

/// A line for each output, the longest common row of outputs being what agrees.
fn differences(expected: &[Row], found: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut expected, mut found) = (expected, found);
    let lengths = common_lengths(expected, found);
    let length = |expected: &[Row], found: &[Row]| {
        lengths.get(expected.len()).and_then(|row| row.get(found.len())).copied().unwrap_or(0)
    };
    loop {
        match (expected.split_first(), found.split_first()) {
            (Some((first, others)), Some((one, rest))) if one.matches(first) => {
                lines.push(format!("  {one}"));
                (expected, found) = (others, rest);
            }
            (Some((first, others)), rest)
                if rest.is_none_or(|(_, rest)| length(others, found) >= length(expected, rest)) =>
            {
                lines.push(format!("- {first}"));
                expected = others;
                // One in its place says more if it is clear what differs.
                if let Some((one, rest)) = rest.filter(|(one, rest)| {
                    one.topic == first.topic && length(others, rest) >= length(others, found)
                }) {
                    lines.push(format!("+ {one}"));
                    places(first, one, &mut lines);
                    found = rest;
                }
            }
            (_, Some((one, rest))) => {
                lines.push(format!("+ {one}"));
                found = rest;
            }
            (_, None) => return lines,
        }
    }
}

/// For so many outputs left of each, how many of them agree in order.
fn common_lengths(expected: &[Row], found: &[Row]) -> Vec<Vec<u32>> {
    if expected.len() > COMPARED_MAX || found.len() > COMPARED_MAX {
        return Vec::new();
    }
    let mut lengths: Vec<Vec<u32>> = vec![vec![0; found.len() + 1]];
    for first in expected.iter().rev() {
        let above = lengths.last().map_or(&[][..], Vec::as_slice);
        let mut row = vec![0];
        for (at, one) in found.iter().rev().enumerate() {
            let of = |row: &[u32], at: usize| row.get(at).copied().unwrap_or(0);
            let agree = if one.matches(first) { of(above, at) + 1 } else { 0 };
            row.push(agree.max(of(above, at + 1)).max(of(&row, at)));
        }
        lengths.push(row);
    }
    lengths
}

/// The members in which two objects differ.
fn places(expected: &Row, found: &Row, lines: &mut Vec<String>) {
    let (Some(Ok(Value::Object(expected))), Some(Ok(Value::Object(found)))) =
        (&expected.payload, &found.payload)
    else {
        return;
    };
    for (name, value) in expected.iter() {
        match found.iter().find(|(each, _)| each == name) {
            None => lines.push(format!("!   {name}: missing")),
            Some((_, other)) if !is_near(other, value) => {
                lines.push(format!("!   {name}: {} expected, {} found", json(value), json(other)));
            }
            Some(_) => {}
        }
    }
    for (name, _) in found.iter().filter(|(name, _)| !expected.iter().any(|(each, _)| each == name)) {
        lines.push(format!("!   {name}: not expected"));
    }
}

fn is_near(found: &Value<'_>, expected: &Value<'_>) -> bool {
    match (found, expected) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| is_near(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, value): &(Box<str>, Value<'static>)| {
                right.iter().any(|(each, other)| each == name && is_near(value, other))
            };
            left.len() == right.len() && left.iter().all(same)
        }
        (Value::Float(left), right) | (right, Value::Float(left)) => match right.as_number() {
            Some(right) => {
                let right = right.to_float();
                (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
            }
            None => false,
        },
        (Value::Null, Value::Null) => true,
        (left, right) => left.equals(right) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{DestinationSource, Encoding, EventTime, OnError, Options, Query, Rule, Source};

    fn rules(encoding: Encoding) -> RuleSet {
        let destinations = [DestinationSource { topic: Some("stats/{device}"), payload: None, encoding }];
        let source = Source {
            name: "minute-average",
            query: Query::Sql(
                "SELECT device, avg(temp) AS avg, max(temp) AS max, count(*) AS n, window_end() AS at
                 FROM 'sensors/{device}/climate' GROUP BY device, tumbling('1m') HAVING count(*) >= 3",
            ),
            max_groups: 100,
            on_error: OnError::Null,
            destinations: &destinations,
        };
        let time = EventTime { lateness_ms: 10_000, ..EventTime::new("ts") };
        let options = Options { time: Some(time), ..Options::default() };
        RuleSet::new("gw", vec![Rule::compile_with(&source, &options).unwrap()])
    }

    fn given<'a>() -> [Given<'a>; 3] {
        let given = |at_ms, payload: &'a str| Given {
            at_ms,
            topic: "sensors/a/climate",
            payload: payload.as_bytes(),
        };
        [
            given(0, r#"{"temp":20,"ts":1000}"#),
            given(1_000, r#"{"temp":22,"ts":2000}"#),
            given(2_000, r#"{"temp":24,"ts":3000}"#),
        ]
    }

    fn run(expect: &[Expected<'_>], encoding: Encoding) -> Result<(), String> {
        let mut rules = rules(encoding);
        let test = RuleTest { given: &given(), advance_ms: 120_000, expect };
        let first = test.run(&mut rules).map_err(|difference| difference.to_string());
        assert_eq!(
            test.run(&mut rules).map_err(|difference| difference.to_string()),
            first,
            "nothing is left over"
        );
        first
    }

    #[test]
    fn the_example_of_the_manual() {
        let payload = br#"{"avg": 22, "device": "a", "max": 24, "n": 3, "at": 60000}"#;
        for encoding in [Encoding::Json, Encoding::Cbor] {
            assert_eq!(run(&[Expected { topic: Some("stats/a"), payload: Some(payload) }], encoding), Ok(()));
        }
        assert_eq!(run(&[Expected { topic: None, payload: None }], Encoding::Json), Ok(()));
    }

    #[test]
    fn differences_can_be_read() {
        let found = r#"stats/a {"device":"a","avg":22.0,"max":24,"n":3,"at":60000}"#;
        let payload = br#"{"device":"a","avg":21.5,"max":24,"n":3,"x":1}"#;
        let expected = run(&[Expected { topic: Some("stats/a"), payload: Some(payload) }], Encoding::Json);
        let lines = [
            r#"- stats/a {"device":"a","avg":21.5,"max":24,"n":3,"x":1}"#,
            &format!("+ {found}"),
            "!   avg: 21.5 expected, 22.0 found",
            "!   x: missing",
            "!   at: not expected",
        ];
        assert_eq!(expected, Err(lines.join("\n")));
        assert_eq!(run(&[], Encoding::Json), Err(format!("+ {found}")));
        let other = Expected { topic: Some("stats/b"), payload: None };
        let any = Expected { topic: None, payload: None };
        assert_eq!(run(&[other, any], Encoding::Json), Err(format!("- stats/b any payload\n  {found}")));
    }
}
