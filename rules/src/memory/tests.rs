//! Memory functions through whole rules: what each says of one event after the other.

use crate::{
    message::Message,
    output::{Output, Payload},
    rule::{DestinationSource, Encoding, OnError, Query, Rule, Source},
    rule_set::RuleSet,
};

fn set(sql: &str, max_groups: usize) -> RuleSet {
    let destinations = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Json }];
    let source = Source {
        name: "test",
        query: Query::Sql(sql),
        max_groups,
        on_error: OnError::Null,
        destinations: &destinations,
    };
    let rule = Rule::compile(&source).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"));
    RuleSet::new("gw", vec![rule])
}

/// The rows for events of some topics, times in ms and payloads.
fn rows(set: &mut RuleSet, events: &[(&str, i64, &str)]) -> Vec<String> {
    let mut output = Output::new();
    for (topic, received_at_ms, payload) in events {
        let message = Message {
            topic,
            payload: payload.as_bytes(),
            client_id: "c",
            username: None,
            qos: 0,
            retained: false,
            content_type: None,
            user_properties: &[],
            received_at_ms: *received_at_ms,
            seq: 0,
        };
        set.handle_message(&message, &mut output);
    }
    let payloads = output.publishes.iter().map(|publish| match &publish.payload {
        Payload::Owned(payload) => String::from_utf8_lossy(payload).into_owned(),
        Payload::Input => "input".to_owned(),
    });
    payloads.collect()
}

/// What an expression of `x` says for some values of x, a second apart, and how many errors were counted.
fn of(expression: &str, values: &str) -> (String, u64) {
    let mut set = set(&format!("SELECT {expression} AS r FROM '#'"), 10);
    let payloads: Vec<String> = values.split(' ').map(|value| format!("{{\"x\":{value}}}")).collect();
    let events: Vec<_> =
        (0..).zip(&payloads).map(|(at, payload)| ("a", at * 1_000, payload.as_str())).collect();
    let rows = rows(&mut set, &events);
    let errors = set.counters().next().unwrap().1.errors;
    let values: Vec<&str> = rows.iter().map(|row| &row[5..row.len() - 1]).collect();
    (values.join(" "), errors)
}

#[test]
fn table() {
    for (expression, values, expected, errors) in [
        ("lag(x)", "1 \"a\" null [2] 3", "null 1 null \"a\" [2]", 0),
        ("lag(x, 2)", "1 2 3 4", "null null 1 2", 0),
        ("latest(x)", "null 1 null \"a\" null", "null 1 1 \"a\" \"a\"", 0),
        ("latest(x, 7)", "null 1 null", "7 1 1", 0),
        ("latest(x, 7) + 1", "null 1 \"a\"", "8 2 null", 1),
        ("delta(x)", "1 3.5 null 2", "null 2.5 null -1.5", 0),
        ("delta(x)", "1 \"a\" 4", "null null 3", 1),
        ("delta(x)", "-9223372036854775808 9223372036854775807", "null 1.8446744073709552e+19", 0),
        ("rate(x)", "1 3 2.5", "null 2.0 -0.5", 0),
        ("changed(x)", "1 1 1.0 2 \"2\" null \"2\"", "true false false true true null false", 0),
        ("changed(x, 0.5)", "1 1.5 1.6 1.2 1.0", "true false true false true", 0),
        (
            "changed(x, 1)",
            "-9223372036854775808 9223372036854775807 9223372036854775807",
            "true true false",
            0,
        ),
        (
            "changed_any(x.a, x.b)",
            "{} {\"a\":1} {\"a\":1} {\"a\":1,\"b\":\"é\"} 5",
            "true true false true true",
            0,
        ),
        ("since_change(x)", "1 1 1 2 null 2", "0 1000 2000 0 null 2000", 0),
        ("hysteresis(x, 30, 25)", "20 30 26 25 29 31", "false true true false false true", 0),
        ("hysteresis(x, 5, 10)", "7 5 9 10 6 4", "false true true false false true", 0),
        ("debounce(x > 1, '2s')", "2 2 2 1 2 2 2", "false false true false false false true", 0),
        ("count_true(x > 1)", "2 3 1 null 2", "1 2 0 null 1", 0),
        ("ewma(x, 0.5)", "10 20 null 20", "10.0 15.0 null 17.5", 0),
        ("ewma(x, 1)", "\"a\" 3", "null 3.0", 1),
        ("zscore(x, 0.5)", "10 10 12 11", "null null null 0.0", 0),
        ("running_min(x)", "3 5 \"a\" 2.5 null 4", "3 3 null 2.5 null 2.5", 1),
        ("running_max(x)", "\"a\" \"é\" \"b\"", "\"a\" \"é\" \"é\"", 0),
        ("lag(delta(x))", "1 3 6 10", "null null 2 3", 0),
        ("delta(x) + delta(x)", "1 3", "null 4", 0),
    ] {
        assert_eq!(of(expression, values), (expected.to_owned(), errors), "{expression} {values}");
    }
}

#[test]
fn a_zscore_far_from_zero_is_stable() {
    let values: Vec<String> =
        (0..500).map(|at| (1_000_000_000 + at % 2).to_string()).chain(["1000000010".to_owned()]).collect();
    let (scores, _) = of("round(zscore(x, 0.01), 1)", &values.join(" "));
    assert_eq!(
        scores.split(' ').next_back(),
        Some("19.0"),
        "half a unit is the deviation, the mean lies between"
    );
}

#[test]
fn state_is_kept_by_topic_or_partition() {
    let events = [
        ("a/1", 0, r#"{"x":1,"k":"p"}"#),
        ("a/2", 1, r#"{"x":2,"k":"q"}"#),
        ("a/1", 2, r#"{"x":3,"k":"q"}"#),
        ("a/2", 3, r#"{"x":4,"k":"p"}"#),
    ];
    let by_topic = rows(&mut set("SELECT lag(x) AS r FROM '#'", 10), &events);
    assert_eq!(by_topic, [r#"{"r":null}"#, r#"{"r":null}"#, r#"{"r":1}"#, r#"{"r":2}"#]);
    let sql = "SELECT lag(x) OVER (PARTITION BY k) AS r FROM '#'";
    assert_eq!(
        rows(&mut set(sql, 10), &events),
        [r#"{"r":null}"#, r#"{"r":null}"#, r#"{"r":2}"#, r#"{"r":1}"#]
    );
    let mut small = set(sql, 1);
    let forgotten = rows(&mut small, &events);
    assert_eq!(forgotten, [r#"{"r":null}"#, r#"{"r":null}"#, r#"{"r":2}"#, r#"{"r":null}"#]);
    assert_eq!(small.counters().next().unwrap().1.groups_closed_early, 2);
}

#[test]
fn where_does_not_hide_events_from_memory_but_from_gates() {
    let events = [
        ("a", 0, r#"{"x":1}"#),
        ("a", 1_000, r#"{"x":5}"#),
        ("a", 2_000, r#"{"x":6}"#),
        ("a", 12_000, r#"{"x":2}"#),
        ("a", 13_000, r#"{"x":7}"#),
    ];
    let sql = "SELECT x, lag(x) AS l FROM '#' WHERE x > 4";
    assert_eq!(rows(&mut set(sql, 9), &events), [r#"{"x":5,"l":1}"#, r#"{"x":6,"l":5}"#, r#"{"x":7,"l":2}"#]);
    let throttled = "SELECT x FROM '#' WHERE throttle('10s') AND x > 4";
    assert_eq!(rows(&mut set(throttled, 9), &events), [r#"{"x":5}"#, r#"{"x":7}"#]);
    let deduplicated = "SELECT x FROM '#' WHERE dedup(x % 2, '10s')";
    assert_eq!(
        rows(&mut set(deduplicated, 9), &events),
        [r#"{"x":1}"#, r#"{"x":6}"#, r#"{"x":2}"#, r#"{"x":7}"#]
    );
}

#[test]
fn a_clock_that_is_set_back_opens_gates() {
    let sql = "SELECT x FROM '#' WHERE throttle('10s')";
    let events = [("a", 100_000, r#"{"x":1}"#), ("a", 5_000, r#"{"x":2}"#), ("a", 6_000, r#"{"x":3}"#)];
    assert_eq!(rows(&mut set(sql, 9), &events), [r#"{"x":1}"#, r#"{"x":2}"#]);
}

#[test]
fn memory_can_be_gathered() {
    let sql = "SELECT sum(delta(x)) AS s, count_distinct(lag(x)) AS n FROM '#' GROUP BY tumbling('10s')";
    let events = [
        ("a", 0, r#"{"x":1}"#),
        ("b", 1, r#"{"x":100}"#),
        ("a", 2, r#"{"x":5}"#),
        ("b", 3, r#"{"x":110}"#),
        ("a", 10_000, r#"{"x":7}"#),
    ];
    assert_eq!(rows(&mut set(sql, 9), &events), [r#"{"s":14,"n":2}"#]);
}
