//! Windows of every kind through whole rules.

use super::*;
use crate::rule::{EventTime, Options};

fn compiled(sql: &str, options: &Options<'_>) -> Rule {
    Rule::compile_with(&source(sql, &[to("out")]), options)
        .unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
}

/// The rows of events at some ms, each with its x (and, for event time, its ts), and of the time after them.
fn rows(rule: Rule, events: &[(i64, &str)], until_ms: i64) -> Vec<String> {
    let mut set = RuleSet::new("gw", vec![rule]);
    let mut output = Output::new();
    for (at_ms, payload) in events {
        set.handle_message(&message("a", payload, *at_ms), &mut output);
    }
    while let Some(deadline_ms) = set.poll_deadline_ms().filter(|deadline_ms| *deadline_ms <= until_ms) {
        set.handle_time(deadline_ms, &mut output);
    }
    let rows = shown(&output).into_iter();
    rows.map(|row| row.strip_prefix("out ").map_or(row.clone(), str::to_owned)).collect()
}

fn by_arrival(group_by: &str, xs: &[(i64, i64)]) -> Vec<String> {
    let sql = format!(
        "SELECT collect(x) AS x, window_start() AS s, window_end() AS e FROM '#' GROUP BY {group_by}"
    );
    let payloads: Vec<_> = xs.iter().map(|(at_ms, x)| (*at_ms, format!("{{\"x\":{x}}}"))).collect();
    let events: Vec<_> = payloads.iter().map(|(at_ms, payload)| (*at_ms, payload.as_str())).collect();
    let rows = rows(compiled(&sql, &Options::default()), &events, 1_000_000);
    rows.into_iter()
        .map(|row| row.replace("\"x\":", "").replace("\"s\":", "").replace("\"e\":", ""))
        .collect()
}

#[test]
fn each_shape() {
    let xs = [(0, 1), (400, 2), (1_000, 3), (2_900, 4)];
    for (group_by, expected) in [
        ("tumbling('1s')", vec!["{[1,2],0,1000}", "{[3],1000,2000}", "{[4],2000,3000}"]),
        (
            "hopping('2s', '1s')",
            vec!["{[1,2],-1000,1000}", "{[1,2,3],0,2000}", "{[3,4],1000,3000}", "{[4],2000,4000}"],
        ),
        ("hopping('3s', '2s')", vec!["{[1,2],-2000,1000}", "{[1,2,3,4],0,3000}", "{[4],2000,5000}"]),
        ("sliding('1s')", vec!["{[1],-1000,0}", "{[1,2],-600,400}", "{[2,3],0,1000}", "{[4],1900,2900}"]),
        ("session('1s')", vec!["{[1,2,3],0,2000}", "{[4],2900,3900}"]),
        ("session('1s', '500ms')", vec!["{[1,2],0,500}", "{[3],1000,1500}", "{[4],2900,3400}"]),
        ("rows(2)", vec!["{[1,2],0,400}", "{[3,4],1000,2900}"]),
        ("rows(3, 1)", vec!["{[1,2,3],0,1000}", "{[2,3,4],400,2900}"]),
        ("COUNTWINDOW(3, 2)", vec!["{[2,3,4],400,2900}"]),
        ("HOPPINGWINDOW(ss, 2, 2)", vec!["{[1,2,3],0,2000}", "{[4],2000,4000}"]),
        ("SESSIONWINDOW(ss, 60, 2)", vec!["{[1,2,3,4],0,4900}"]),
        ("SLIDINGWINDOW(ms, 400)", vec!["{[1],-400,0}", "{[2],0,400}", "{[3],600,1000}", "{[4],2500,2900}"]),
    ] {
        assert_eq!(by_arrival(group_by, &xs), expected, "{group_by}");
    }
}

fn stamped(group_by: &str, lateness_ms: u64, events: &[(i64, i64)], until_ms: i64) -> Vec<String> {
    let sql = format!("SELECT collect(ts) AS x, window_end() AS e FROM '#' GROUP BY {group_by}");
    let late = [DestinationSource { topic: Some("late"), payload: None, encoding: Encoding::Json }];
    let time = EventTime { lateness_ms, idle_ms: 5_000, ..EventTime::new("ts") };
    let options = Options { time: Some(time), late: &late, ..Options::default() };
    let payloads: Vec<_> = events.iter().map(|(at_ms, ts)| (*at_ms, format!("{{\"ts\":{ts}}}"))).collect();
    let events: Vec<_> = payloads.iter().map(|(at_ms, payload)| (*at_ms, payload.as_str())).collect();
    let rows = rows(compiled(&sql, &options), &events, until_ms);
    rows.into_iter().map(|row| row.replace("\"x\":", "").replace("\"e\":", "")).collect()
}

#[test]
fn event_time() {
    // Out of order, within the lateness and past it; the last window closes when the rule has been idle.
    let events = [(100, 500), (200, 1_200), (300, 900), (400, 2_600), (500, 1_400), (600, 950), (700, 2_100)];
    for (group_by, expected) in [
        ("tumbling('1s')", vec!["{[500,900],1000}", "late =", "{[1200,1400],2000}", "{[2100,2600],3000}"]),
        (
            "hopping('2s', '1s')",
            // 950 is late for the window that ended at 1000, and not for the next.
            vec![
                "{[500,900],1000}",
                "{[500,900,950,1200,1400],2000}",
                "{[1200,1400,2100,2600],3000}",
                "{[2100,2600],4000}",
            ],
        ),
        (
            "sliding('1s')",
            vec![
                "{[500],500}",
                "{[500,900],900}",
                "{[500,900,1200],1200}",
                "late =",
                "late =",
                "{[1200,2100],2100}",
                "{[2100,2600],2600}",
            ],
        ),
        ("session('600ms')", vec!["{[500,900,950,1200,1400],2000}", "{[2100,2600],3200}"]),
        ("rows(3)", vec!["{[500,900,1200],900}", "{[950,1400,2600],950}"]),
    ] {
        let found = stamped(group_by, 1_000, &events, 20_000);
        if group_by.starts_with("rows") {
            assert_eq!(found.len(), 2, "{found:?}");
        } else {
            assert_eq!(found, expected, "{group_by}");
        }
    }
}

#[test]
fn a_silent_rule_goes_on_with_the_clock() {
    let before = stamped("tumbling('1s')", 0, &[(100, 50_500)], 5_099);
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(stamped("tumbling('1s')", 0, &[(100, 50_500)], 5_100), ["{[50500],51000}"]);
}

#[test]
fn a_stamp_far_ahead_does_not_hold_the_others() {
    let now_ms = 1_800_000_000_000;
    let day_ms = 86_400_000;
    let events = [(now_ms, now_ms), (now_ms + 1, now_ms + 10 * day_ms), (now_ms + 2, now_ms + 5)];
    let found = stamped("tumbling('1s')", 0, &events, now_ms + 60_000);
    assert_eq!(found, ["late =", &format!("{{[{now_ms},{}],{}}}", now_ms + 5, now_ms + 1_000)]);
    // With a clock that has not been set, the stamps are what there is.
    let unset = [(5_000, now_ms), (6_000, now_ms + 2_000)];
    assert_eq!(stamped("tumbling('1s')", 0, &unset, 6_001)[0], format!("{{[{now_ms}],{}}}", now_ms + 1_000));
}

#[test]
fn an_event_without_a_time_is_late_and_an_error() {
    let late = [to("late")];
    let options = Options { time: Some(EventTime::new("ts")), late: &late, ..Options::default() };
    let rule = compiled("SELECT count(*) AS n FROM '#' GROUP BY tumbling('1s')", &options);
    let mut set = RuleSet::new("gw", vec![rule]);
    let mut output = Output::new();
    for payload in ["{}", r#"{"ts":"x"}"#, "{", r#"{"ts":1e300}"#] {
        set.handle_message(&message("a", payload, 0), &mut output);
    }
    let counters = set.counters().next().unwrap().1;
    // What cannot be read is counted on its own.
    assert_eq!((counters.late, counters.errors, output.publishes.len()), (4, 5, 4));
}

#[test]
fn a_clock_that_ran_ahead_by_mistake_holds_nothing() {
    let (now_ms, ahead_ms) = (1_800_000_000_000, 4_000_000_000_000_i64);
    let shown = |x: i64, start_ms: i64| format!("{{[{x}],{start_ms},{}}}", start_ms + 1_000);
    for group_by in ["tumbling('1s')", "session('1s')"] {
        let found =
            by_arrival(group_by, &[(now_ms, 1), (ahead_ms, 2), (now_ms + 2_000, 3), (now_ms + 4_000, 4)]);
        assert_eq!(found, [shown(1, now_ms), shown(2, ahead_ms), shown(3, now_ms + 2_000)], "{group_by}");
    }
    // A small step back is waited for.
    let small = by_arrival("tumbling('1s')", &[(60_500, 1), (59_900, 2), (60_600, 3)]);
    assert_eq!(small, ["{[1,2,3],60000,61000}"]);
}

#[test]
fn a_clock_that_has_lost_the_time_is_waited_for() {
    let now_ms = 1_800_000_000_000;
    let events = |after_ms: i64| {
        [(now_ms, 1), (5_000, 2), (5_000 + after_ms, 3), (now_ms + 9_000, 4), (now_ms + 11_000, 5)]
    };
    let waited = by_arrival("tumbling('10s')", &events(60_000));
    assert_eq!(waited, [format!("{{[1,2,3,4],{now_ms},{}}}", now_ms + 10_000)]);
    let given_up = by_arrival("tumbling('10s')", &events(3_600_000));
    let expected = [
        format!("{{[1,2],{now_ms},{}}}", now_ms + 10_000),
        "{[3],3600000,3610000}".to_owned(),
        format!("{{[4],{now_ms},{}}}", now_ms + 10_000),
    ];
    assert_eq!(given_up, expected);
}

#[test]
fn groups_are_ordered_and_limited() {
    let sql =
        "SELECT k, sum(x) AS s FROM 'a' GROUP BY k, tumbling('1s') HAVING s > 0 ORDER BY s DESC, k LIMIT 3";
    let events = [("p", 1), ("q", 5), ("r", 0), ("s", 5), ("t", 2)];
    let payloads: Vec<_> = events.iter().map(|(k, x)| (0, format!(r#"{{"k":"{k}","x":{x}}}"#))).collect();
    let events: Vec<_> = payloads.iter().map(|(at, payload)| (*at, payload.as_str())).collect();
    let found = rows(compiled(sql, &Options::default()), &events, 10_000);
    assert_eq!(found, [r#"{"k":"q","s":5}"#, r#"{"k":"s","s":5}"#, r#"{"k":"t","s":2}"#]);
}

#[test]
fn filters_of_aggregates() {
    let sql = "SELECT count(*) AS n, count(*) FILTER (WHERE x > 1) AS many, sum(x) FILTER (WHERE x < 3) AS few, \
        max(x) FILTER (WHERE FALSE) AS none, percentile(x, 0.5) AS p, median(x) AS m FROM 'a' GROUP BY tumbling('1s')";
    let events = [(0, r#"{"x":1}"#), (1, r#"{"x":2}"#), (2, r#"{"x":4}"#), (3, "{}")];
    let found = rows(compiled(sql, &Options::default()), &events, 10_000);
    assert_eq!(found, [r#"{"n":4,"many":2,"few":3,"none":null,"p":2.0,"m":2.0}"#]);
}

#[test]
fn dead_letters() {
    let dead = [DestinationSource { topic: Some("dead/{topic}"), payload: None, encoding: Encoding::Json }];
    let destinations = [to("out")];
    let source =
        Source { on_error: OnError::DeadLetter, ..source("SELECT a + 1 AS b FROM '#'", &destinations) };
    let options = Options { dead_letter: &dead, ..Options::default() };
    let mut set = RuleSet::new("gw", vec![Rule::compile_with(&source, &options).unwrap()]);
    let mut output = Output::new();
    for payload in [r#"{"a":1}"#, r#"{"a":"x"}"#, "{}"] {
        set.handle_message(&message("t", payload, 0), &mut output);
    }
    assert_eq!(shown(&output), [r#"out {"b":2}"#, "dead/t =", r#"out {"b":null}"#]);
    assert_eq!(output.publishes[1].destination, 1);
    let without = Source { on_error: OnError::DeadLetter, ..source };
    assert_eq!(Rule::compile(&without).unwrap_err().len(), 1);
}

#[test]
fn tables_are_swapped() {
    use crate::table::{Table, Tables};
    let table = |text: &str| {
        let mut tables = Tables::new();
        tables.insert("devices", Table::from_csv("id", text.as_bytes()).unwrap());
        tables
    };
    let first = table("id,room,floor\nd1,attic,3\n7,cellar,-1");
    let sql =
        "SELECT lookup('devices', id, 'room') AS room, lookup('devices', id, 'floor') + 1 AS above FROM '#'";
    let options = Options { tables: Some(&first), ..Options::default() };
    let mut set = RuleSet::new("gw", vec![compiled(sql, &options)]);
    let run = |set: &mut RuleSet, payload: &str| {
        let mut output = Output::new();
        set.handle_message(&message("a", payload, 0), &mut output);
        shown(&output).remove(0)
    };
    assert_eq!(run(&mut set, r#"{"id":"d1"}"#), r#"out {"room":null,"above":null}"#);
    set.set_tables(Arc::new(first.clone()));
    assert_eq!(run(&mut set, r#"{"id":"d1"}"#), r#"out {"room":"attic","above":4}"#);
    assert_eq!(run(&mut set, r#"{"id":7}"#), r#"out {"room":"cellar","above":0}"#);
    set.set_tables(Arc::new(table("id,room\nd1,roof")));
    assert_eq!(run(&mut set, r#"{"id":"d1"}"#), r#"out {"room":"roof","above":null}"#);
    for (sql, message) in [
        ("SELECT lookup('device', a, 'room') AS x FROM '#'", "there is no table `device`"),
        ("SELECT lookup('devices', a, 'rom') AS x FROM '#'", "the table `devices` has no column `rom`"),
    ] {
        let mistakes = Rule::compile_with(&source(sql, &[]), &options).unwrap_err();
        assert_eq!(mistakes[0].message, message);
        assert!(mistakes[0].help.as_ref().unwrap().starts_with("did you mean"));
    }
}

#[test]
fn a_trace_says_what_rules_did() {
    use crate::output::Step::{Errors, Gathered, HeldBack, Published, Rejected, Undecodable};
    let rules = [
        "SELECT x FROM '#' WHERE x > 1 AND throttle('1m')",
        "SELECT count(*) AS n FROM '#' GROUP BY tumbling('1s')",
    ];
    let mut set = RuleSet::new("gw", rules.map(rule).into());
    let mut output = Output { trace: Some(Vec::new()), ..Output::new() };
    let mut steps = |payload: &str| {
        output.clear();
        set.handle_message(&message("a", payload, 0), &mut output);
        let trace = output.trace.as_ref().unwrap();
        trace.iter().filter(|trace| trace.rule == 0).map(|trace| trace.step.clone()).collect::<Vec<_>>()
    };
    assert_eq!(steps(r#"{"x":1}"#), [Rejected("x > 1".to_owned())]);
    assert_eq!(steps(r#"{"x":2}"#), [Published(1)]);
    assert_eq!(steps(r#"{"x":2}"#), [HeldBack]);
    assert_eq!(steps("{"), [Undecodable, Rejected("x > 1".to_owned()), Errors(1)]);
    assert_eq!(output.trace.unwrap().last().unwrap().step, Gathered);
}
