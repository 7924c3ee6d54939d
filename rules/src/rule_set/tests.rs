use super::*;
use crate::{
    output::{Payload, Topic},
    rule::{DestinationSource, Encoding, OnError, Query, Source},
};

mod inherit;
mod recovery;
mod windows;

/// A rule that publishes JSON to `out`.
pub(crate) fn source<'a>(sql: &'a str, destinations: &'a [DestinationSource<'a>]) -> Source<'a> {
    let query = Query::Sql(sql);
    Source { name: "test", query, max_groups: 100, on_error: OnError::Null, destinations }
}

pub(crate) fn to<'a>(topic: &'a str) -> DestinationSource<'a> {
    DestinationSource { topic: Some(topic), payload: None, encoding: Encoding::Json }
}

fn rule(sql: &str) -> Rule {
    Rule::compile(&source(sql, &[to("out")])).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
}

fn message<'a>(topic: &'a str, payload: &'a str, received_at_ms: i64) -> Message<'a> {
    Message {
        topic,
        payload: payload.as_bytes(),
        client_id: "client",
        username: None,
        qos: 1,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms,
        seq: 255,
    }
}

/// `topic payload` of each publish; `=` is what the event had.
fn shown(output: &Output) -> Vec<String> {
    let publishes = output.publishes.iter();
    publishes
        .map(|publish| {
            let topic = match &publish.topic {
                Topic::Input => "=",
                Topic::Owned(topic) => topic,
            };
            match &publish.payload {
                Payload::Input => format!("{topic} ="),
                Payload::Owned(payload) => format!("{topic} {}", String::from_utf8_lossy(payload)),
            }
        })
        .collect()
}

/// What one event makes of a rule, and the errors counted.
fn run(sql: &str, topic: &str, payload: &str) -> (Vec<String>, u64) {
    let mut set = RuleSet::new("gw", vec![rule(sql)]);
    let mut output = Output::new();
    set.handle_message(&message(topic, payload, 1_000), &mut output);
    let errors = set.counters().next().unwrap().1.errors;
    (shown(&output), errors)
}

fn row(sql: &str, payload: &str) -> String {
    let (rows, errors) = run(sql, "s/d1/climate", payload);
    assert_eq!(errors, 0, "{sql} {payload}");
    rows.into_iter().next().unwrap_or_else(|| "nothing".to_owned())
}

#[test]
fn the_overheat_example() {
    let sql = r#"SELECT device, temp, timestamp() AS at FROM "s/{device}/climate" WHERE temp > 30"#;
    assert_eq!(row(sql, r#"{"temp": 31}"#), r#"out {"device":"d1","temp":31,"at":1000}"#);
    assert_eq!(row(sql, r#"{"temp": 31.5}"#), r#"out {"device":"d1","temp":31.5,"at":1000}"#);
    for cold in [r#"{"temp": 30}"#, r#"{"temp": null}"#, "{}", "[]", "1"] {
        assert_eq!(row(sql, cold), "nothing", "{cold}");
    }
}

#[test]
fn rows() {
    for (items, payload, expected) in [
        ("*", r#" {"a" : 1} "#, "="),
        ("*, 1 AS x", r#"{"a":1,"x":0,"b":[2.0,{}]}"#, r#"{"a":1,"b":[2.0,{}],"x":1}"#),
        ("1 AS x, *", r#"{"a":1}"#, r#"{"x":1,"a":1}"#),
        ("* EXCEPT (a, c)", r#"{"a":1,"b":22.0}"#, r#"{"b":22.0}"#),
        ("* EXCEPT (b), b + 1 AS b", r#"{"b":1}"#, r#"{"b":2}"#),
        ("payload.a.b[0], a['odd name'] AS o", r#"{"a":{"b":[5],"odd name":6}}"#, r#"{"b":5,"o":6}"#),
        ("a.b[-1] AS last, a[k] AS dyn", r#"{"a":{"b":[1,2]},"k":"b"}"#, r#"{"last":2,"dyn":[1,2]}"#),
        ("payload AS whole", r#"{"a":1}"#, r#"{"whole":{"a":1}}"#),
        ("payload", "7", r#"{"payload":7}"#),
        ("missing, a.b", r#"{"a":1}"#, r#"{"missing":null,"b":null}"#),
        ("qos, payload.qos AS q, username AS u", r#"{"qos":7}"#, r#"{"qos":1,"q":7,"u":null}"#),
        ("topic(2) AS t, clientid, qos()", "{}", r#"{"t":"d1","clientid":"client","qos":1}"#),
        ("payload.device AS p", r#"{"device":"x"}"#, r#"{"p":"x"}"#),
        ("split(topic(), '/')[1] AS t", "{}", r#"{"t":"d1"}"#),
        ("x'00ff' AS x", "{}", r#"{"x":"AP8="}"#),
        (
            "a.end, \"select\", payload.`group`",
            r#"{"a":{"end":1},"select":2,"group":3}"#,
            r#"{"end":1,"select":2,"group":3}"#,
        ),
    ] {
        let sql = format!("SELECT {items} FROM 's/{{device}}/climate'");
        let expected = if expected == "=" { "out =".to_owned() } else { format!("out {expected}") };
        assert_eq!(row(&sql, payload), expected, "{items}");
    }
}

#[test]
fn conditions_are_three_valued() {
    for (condition, expected) in [
        ("TRUE", true),
        ("NULL", false),
        ("NOT NULL", false),
        ("n IS NULL", true),
        ("n IS NOT NULL", false),
        ("n = NULL", false),
        ("n OR TRUE", true),
        ("TRUE OR n", true),
        ("n AND FALSE", false),
        ("NOT (n AND FALSE)", true),
        ("NOT (n OR FALSE)", false),
        ("i = 1 AND i == 1.0 AND i <> 2 AND i != 2", true),
        ("i = t", false),
        ("i <> t", true),
        ("i IN (3, 2, 1)", true),
        ("i IN (3, NULL)", false),
        ("i NOT IN (3, NULL)", false),
        ("i NOT IN (3, 4)", true),
        ("n IN (1)", false),
        ("i BETWEEN 1 AND 2", true),
        ("i NOT BETWEEN 1 AND 2", false),
        ("i BETWEEN 2 AND NULL", false),
        ("i NOT BETWEEN 2 AND NULL", true),
        ("i BETWEEN NULL AND 2", false),
        ("t LIKE 'te%' AND t NOT LIKE '_x%'", true),
        ("n LIKE '%'", false),
        ("1 + 2 * 3 = 7 AND (1 + 2) * 3 = 9 AND 7 - 2 - 1 = 4", true),
        ("-i = -1 AND - -i = 1 AND +i = 1", true),
        ("t || '-' || i = 'text-1'", true),
        ("NOT i = 2", true),
        ("i = 2 OR i = 1 AND t = 'text'", true),
        ("CASE i WHEN 1 THEN TRUE ELSE FALSE END", true),
        ("CASE WHEN n THEN FALSE WHEN i = 1 THEN TRUE END", true),
        ("CASE WHEN n THEN TRUE END", false),
        ("CAST(t AS TEXT) = 'text' AND CAST(i AS REAL) = 1 AND CAST('7.9' AS INTEGER) = 7", true),
        ("o = payload.o AND o <> l", true),
    ] {
        let sql = format!("SELECT i FROM 's/#' WHERE {condition}");
        let payload = r#"{"n":null,"i":1,"t":"text","o":{"a":1},"l":[1]}"#;
        assert_eq!(row(&sql, payload) != "nothing", expected, "{condition}");
    }
}

#[test]
fn errors_give_null_and_are_counted() {
    let payload = r#"{"i":1,"z":0,"t":"text","max":9223372036854775807}"#;
    for (expression, expected, errors) in [
        ("i / z", "null", 1),
        ("i % z", "null", 1),
        ("i / z + i % z", "null", 2),
        ("t + 1", "null", 1),
        ("t < 1", "null", 1),
        ("n + t", "null", 0),
        ("-t", "null", 1),
        ("NOT i", "null", 1),
        ("i AND TRUE", "null", 1),
        ("CAST(t AS INTEGER)", "null", 1),
        ("l[t]", "null", 0),
        ("sqrt(-i)", "null", 1),
        ("coalesce(i / z, 5)", "5", 1),
        ("max + 1", "9.223372036854775807e+18", 0),
        ("i / 2", "0.5", 0),
        ("4 / 2", "2.0", 0),
        ("CASE WHEN t THEN 1 ELSE 2 END", "2", 1),
        ("t LIKE z", "null", 1),
        ("t LIKE rpad('', 1025 * i, '%')", "null", 1),
        ("t LIKE rpad('', 1024 * i, '%')", "true", 0),
        ("CASE i / z WHEN 1 THEN 2 WHEN 3 THEN 4 ELSE 5 END", "5", 1),
        ("t BETWEEN 1 AND 2", "null", 1),
    ] {
        let (rows, counted) = run(&format!("SELECT {expression} AS x FROM 's/#'"), "s/a", payload);
        let expected = expected.replace("9.223372036854775807e+18", "9.223372036854776e+18");
        assert_eq!(
            (rows[0].as_str(), counted),
            (&*format!("out {{\"x\":{expected}}}"), errors),
            "{expression}"
        );
    }
}

#[test]
fn on_error_drop_drops_the_result() {
    let destinations = [to("out")];
    for (sql, results) in [
        ("SELECT 1 / x AS y FROM '#'", 1),
        ("SELECT x FROM '#' WHERE 1 / x > 0 OR TRUE", 1),
        ("SELECT * FROM '#' WHERE 1 / x > 0 OR TRUE", 1),
    ] {
        let drop = Source { on_error: OnError::Drop, ..source(sql, &destinations) };
        let mut set = RuleSet::new("gw", vec![Rule::compile(&drop).unwrap()]);
        let mut output = Output::new();
        for payload in [r#"{"x":0}"#, r#"{"x":1}"#] {
            set.handle_message(&message("a", payload, 0), &mut output);
        }
        assert_eq!(output.publishes.len(), results, "{sql}");
        assert_eq!(set.counters().next().unwrap().1.errors, 1);
    }
}

#[test]
fn what_is_no_payload_is_an_error_only_where_fields_are_needed() {
    for (sql, expected, errors) in [
        ("SELECT * FROM '#'", vec!["out ="], 0),
        ("SELECT topic() FROM '#'", vec![r#"out {"topic":"a"}"#], 0),
        ("SELECT a FROM '#'", vec![r#"out {"a":null}"#], 1),
        ("SELECT *, 1 AS b FROM '#'", vec![r#"out {"b":1}"#], 1),
        ("SELECT * FROM '#' WHERE a > 1", vec![], 1),
    ] {
        assert_eq!(
            run(sql, "a", "{broken"),
            (expected.into_iter().map(str::to_owned).collect(), errors),
            "{sql}"
        );
    }
    assert_eq!(run("SELECT *, 1 AS b FROM '#'", "a", "[]"), (vec![r#"out {"b":1}"#.to_owned()], 1));
}

#[test]
fn captures_follow_the_filter_that_matches() {
    let sql = "SELECT x, rest FROM 'a/{x}', 'b/{x}/{rest#}', 'a/+'";
    for (topic, expected) in [
        ("a/1", r#"out {"x":"1","rest":null}"#),
        ("b/2/c/d", r#"out {"x":"2","rest":"c/d"}"#),
        ("b/2", r#"out {"x":"2","rest":null}"#),
    ] {
        assert_eq!(run(sql, topic, "{}"), (vec![expected.to_owned()], 0));
    }
}

#[test]
fn topics_and_payloads_from_templates() {
    let destination = |topic, payload, encoding| DestinationSource { topic: Some(topic), payload, encoding };
    let destinations = [
        destination("o/{device}/{n}", None, Encoding::Json),
        destination("{gateway}/{topic}", Some(r#"{"d":"${name}","n":${n}}"#), Encoding::Json),
        destination("{rest}", Some("${name}!${none}"), Encoding::Raw),
        destination("t/{name}", None, Encoding::Cbor),
        DestinationSource { topic: None, payload: None, encoding: Encoding::Json },
    ];
    let sql = r#"SELECT name, n, none FROM "s/{device}/{rest#}""#;
    let mut set = RuleSet::new("gw", vec![Rule::compile(&source(sql, &destinations)).unwrap()]);
    let mut output = Output::new();
    set.handle_message(&message("s/d/x/y", r#"{"name":"a\"b","n":1}"#, 0), &mut output);
    let row = r#"{"name":"a\"b","n":1,"none":null}"#;
    assert_eq!(
        shown(&output),
        [
            &format!("o/d/1 {row}"),
            r#"gw/s/d/x/y {"d":"a\"b","n":1}"#,
            r#"x/y a"b!"#,
            "t/a\"b \u{fffd}dnameca\"ban\u{1}dnone\u{fffd}",
            &format!("= {row}"),
        ]
    );
    let places: Vec<_> =
        output.publishes.iter().map(|each| (each.rule, each.destination, each.from_window)).collect();
    assert_eq!(places, [(0, 0, false), (0, 1, false), (0, 2, false), (0, 3, false), (0, 4, false)]);
    output.clear();
    // No name, a name with levels, no rest: those destinations get nothing.
    for (topic, payload, count) in [
        ("s/d/x", r#"{"n":1}"#, 4),
        ("s/d/x", r#"{"name":"a/b","n":1}"#, 4),
        ("s/d", r#"{"name":"a","n":"/"}"#, 3),
    ] {
        set.handle_message(&message(topic, payload, 0), &mut output);
        assert_eq!(output.publishes.len(), count, "{topic} {payload}");
        output.clear();
    }
    assert_eq!(set.counters().next().unwrap().1.errors, 4);
    assert_eq!(set.counters().next().unwrap().1.results, 16);
}

#[test]
fn raw_is_the_column_as_it_is() {
    let destinations = [DestinationSource { topic: Some("o"), payload: None, encoding: Encoding::Raw }];
    let mut set =
        RuleSet::new("gw", vec![Rule::compile(&source("SELECT v FROM '#'", &destinations)).unwrap()]);
    for (payload, expected) in [
        (r#"{"v":"te\"xt"}"#, Some("te\"xt")),
        (r#"{"v":22.0}"#, Some("22.0")),
        (r#"{"v":true}"#, Some("true")),
        (r#"{"v":[1,"a"]}"#, Some("[1,\"a\"]")),
        (r#"{"v":null}"#, None),
        ("\u{1}", None),
    ] {
        let mut output = Output::new();
        set.handle_message(&message("t", payload, 0), &mut output);
        assert_eq!(shown(&output), Vec::from_iter(expected.map(|text| format!("o {text}"))), "{payload}");
    }
    let mut output = Output::new();
    let cbor = Message { payload: b"\xa1\x61v\x42\x00\xff", ..message("t", "", 0) };
    set.handle_message(&cbor, &mut output);
    assert_eq!(output.publishes[0].payload, Payload::Owned(vec![0, 255]));
}

#[test]
fn routes_pass_events_through() {
    let destinations = [
        DestinationSource { topic: None, payload: None, encoding: Encoding::Json },
        DestinationSource { topic: Some("x/{rest}"), payload: None, encoding: Encoding::Json },
    ];
    let query = Query::Route("events/{rest#}");
    let rule = Rule::compile(&Source { query, ..source("", &destinations) }).unwrap();
    assert!(!rule.has_state());
    let mut set = RuleSet::new("gw", vec![rule]);
    let mut output = Output::new();
    let matched = set.handle_message(&message("events/a/b", "\u{0} not json", 0), &mut output);
    assert_eq!((matched.rules, shown(&output)), (1, vec!["= =".to_owned(), "x/a/b =".to_owned()]));
    assert_eq!(set.handle_message(&message("other", "", 0), &mut output), Matched { rules: 0 });
    assert!(output.journal.is_empty());
}

#[test]
fn every_matching_rule_sees_the_event_once() {
    let rules = [
        "SELECT a FROM 's/+', 's/#'",
        "SELECT b FROM 's/x'",
        "SELECT a, b FROM 't/#'",
        "SELECT a.c AS c FROM '#' WHERE b = 2",
    ];
    let mut set = RuleSet::new("gw", rules.iter().map(|sql| rule(sql)).collect());
    let mut output = Output::new();
    for _ in 0..2 {
        output.clear();
        let matched = set.handle_message(&message("s/x", r#"{"b":2,"a":{"c":1}}"#, 0), &mut output);
        assert_eq!(matched.rules, 3);
        assert_eq!(shown(&output), [r#"out {"a":{"c":1}}"#, r#"out {"b":2}"#, r#"out {"c":1}"#]);
    }
    let rules: Vec<u32> = output.publishes.iter().map(|each| each.rule).collect();
    assert_eq!(rules, [0, 1, 3]);
    let counters: Vec<_> =
        set.counters().map(|(_, each)| (each.matched, each.passed, each.results)).collect();
    assert_eq!(counters, [(2, 2, 2), (2, 2, 2), (0, 0, 0), (2, 2, 2)]);
}

const MINUTE_AVERAGE: &str = r#"
    SELECT device, avg(temp) AS avg, max(temp) AS max, count(*) AS n, window_end() AS at
    FROM "sensors/{device}/climate"
    GROUP BY device, tumbling('1m')
    HAVING count(*) >= 3
"#;

#[test]
fn the_minute_average_example() {
    let destinations = [to("stats/{device}")];
    let mut set = RuleSet::new("gw", vec![Rule::compile(&source(MINUTE_AVERAGE, &destinations)).unwrap()]);
    let mut output = Output::new();
    assert_eq!(set.poll_deadline_ms(), None);
    for (seconds, temp) in [(0, 20), (1, 22), (2, 24)] {
        let payload = format!(r#"{{"temp":{temp}}}"#);
        set.handle_message(&message("sensors/a/climate", &payload, seconds * 1_000), &mut output);
        set.handle_message(&message("sensors/b/climate", "{}", 500), &mut output);
    }
    set.handle_message(&message("sensors/c/climate", "{}", 3_000), &mut output);
    assert!(output.publishes.is_empty() && !output.journal.is_empty());
    assert_eq!(set.poll_deadline_ms(), Some(60_000));
    set.handle_time(59_999, &mut output);
    assert!(output.publishes.is_empty());
    set.handle_time(120_000, &mut output);
    assert_eq!(
        shown(&output),
        [
            r#"stats/a {"device":"a","avg":22.0,"max":24,"n":3,"at":60000}"#,
            r#"stats/b {"device":"b","avg":null,"max":null,"n":3,"at":60000}"#,
        ]
    );
    assert!(output.publishes.iter().all(|publish| publish.from_window));
    assert_eq!(set.poll_deadline_ms(), None);
}

#[test]
fn an_event_closes_what_ended_before_it() {
    let windowed = "SELECT count(*) AS n FROM 'a' GROUP BY tumbling('10s')";
    let mut set = RuleSet::new("gw", vec![rule(windowed), rule("SELECT x FROM 'b'")]);
    let mut output = Output::new();
    set.handle_message(&message("a", "", 9_999), &mut output);
    // Of another topic, and even of none that a rule looks at.
    set.handle_message(&message("b", "{}", 10_000), &mut output);
    assert_eq!(shown(&output), [r#"out {"n":1}"#, r#"out {"x":null}"#]);
    output.clear();
    set.handle_message(&message("a", "", 11_000), &mut output);
    set.handle_message(&message("a", "", 10_500), &mut output);
    set.handle_message(&message("unrouted", "", 25_000), &mut output);
    assert_eq!(shown(&output), [r#"out {"n":2}"#]);
}

#[test]
fn windows_with_other_spellings_and_offsets() {
    for (window, start, end) in [
        ("tumbling('10s')", 60_000, 70_000),
        ("TUMBLING('10s', '3s')", 53_000, 63_000),
        ("tumbling('10s', '23s')", 53_000, 63_000),
        ("TUMBLINGWINDOW(ss, 10)", 60_000, 70_000),
        ("tumblingwindow(MI, 1)", 60_000, 120_000),
        ("TumblingWindow(hh, 1)", 0, 3_600_000),
    ] {
        let sql = format!("SELECT window_start() AS s, window_end() AS e FROM '#' GROUP BY {window}");
        let mut set = RuleSet::new("gw", vec![rule(&sql)]);
        let mut output = Output::new();
        set.handle_message(&message("a", "", 62_500), &mut output);
        set.handle_time(i64::MAX / 2, &mut output);
        assert_eq!(shown(&output), [format!(r#"out {{"s":{start},"e":{end}}}"#)], "{window}");
    }
}

#[test]
fn keys_and_aggregates_in_expressions() {
    let sql =
        "SELECT topic(1) || '!' AS k, a.b % 2 AS parity, max(x) - min(x) AS spread, first(x), last(x) AS l,
            round(avg(x * 2), 1) AS m, gateway() AS g, if(count(x) > 1, 'many', 'few') AS c
        FROM '#' WHERE x > 0
        GROUP BY topic(1), a.b % 2, tumbling('1s') HAVING spread > 0 AND parity IS NOT NULL AND g = 'gw'";
    let mut set = RuleSet::new("gw", vec![rule(sql)]);
    let mut output = Output::new();
    for (topic, b, x) in [("u/1", 1, 5), ("u/2", 3, 2), ("u", 2, 9), ("v", 1, 1), ("v", 5, 4), ("u", 1, -7)] {
        let payload = format!(r#"{{"a":{{"b":{b}}},"x":{x}}}"#);
        set.handle_message(&message(topic, &payload, 0), &mut output);
    }
    set.handle_time(1_000, &mut output);
    assert_eq!(
        shown(&output),
        [
            r#"out {"k":"u!","parity":1,"spread":3,"first":5,"l":2,"m":7.0,"g":"gw","c":"many"}"#,
            r#"out {"k":"v!","parity":1,"spread":3,"first":1,"l":4,"m":5.0,"g":"gw","c":"many"}"#,
        ]
    );
}

#[test]
fn aggregates_count_what_they_cannot_use() {
    let sql = "SELECT sum(x) AS s, count(*) AS n FROM '#' GROUP BY tumbling('1s')";
    for (on_error, expected) in
        [(OnError::Null, r#"out {"s":3,"n":3}"#), (OnError::Drop, r#"out {"s":3,"n":2}"#)]
    {
        let destinations = [to("out")];
        let rule = Rule::compile(&Source { on_error, ..source(sql, &destinations) }).unwrap();
        let mut set = RuleSet::new("gw", vec![rule]);
        let mut output = Output::new();
        for payload in [r#"{"x":1}"#, r#"{"x":"text"}"#, r#"{"x":2}"#] {
            set.handle_message(&message("a", payload, 0), &mut output);
        }
        set.handle_time(1_000, &mut output);
        assert_eq!(shown(&output), [expected]);
        assert_eq!(set.counters().next().unwrap().1.errors, 1);
    }
}

#[test]
fn too_many_groups_close_early() {
    let destinations = [to("out/{k}")];
    let sql = "SELECT k, count(*) AS n FROM '#' GROUP BY k, tumbling('1s')";
    let rule = Rule::compile(&Source { max_groups: 2, ..source(sql, &destinations) }).unwrap();
    let mut set = RuleSet::new("gw", vec![rule]);
    let mut output = Output::new();
    for k in ["a", "b", "a", "c", "b"] {
        set.handle_message(&message("t", &format!(r#"{{"k":"{k}"}}"#), 0), &mut output);
    }
    assert_eq!(shown(&output), [r#"out/b {"k":"b","n":1}"#, r#"out/a {"k":"a","n":2}"#]);
    set.handle_time(1_000, &mut output);
    assert_eq!(shown(&output)[2..], [r#"out/b {"k":"b","n":1}"#, r#"out/c {"k":"c","n":1}"#]);
    let counters = set.counters().next().unwrap().1;
    assert_eq!((counters.groups_closed_early, counters.results, counters.passed), (2, 4, 5));
}

#[test]
fn event_functions() {
    let properties = [("k".to_owned(), "v".to_owned()), ("k".to_owned(), "w".to_owned())];
    let event = Message {
        username: Some("user"),
        qos: 2,
        retained: true,
        content_type: Some("application/json"),
        user_properties: &properties,
        ..message("a/b/c", "{}", 77)
    };
    for (expression, expected) in [
        ("topic()", "\"a/b/c\""),
        ("topic(1)", "\"a\""),
        ("topic(-1)", "\"c\""),
        ("topic(0)", "null"),
        ("topic(4)", "null"),
        ("topic(-4)", "null"),
        ("topic(NULL)", "null"),
        ("clientid()", "\"client\""),
        ("username()", "\"user\""),
        ("username", "\"user\""),
        ("qos()", "2"),
        ("retained()", "true"),
        ("timestamp()", "77"),
        ("now()", "77"),
        ("user_property('k')", "\"v\""),
        ("user_property('x')", "null"),
        ("content_type()", "\"application/json\""),
        ("gateway()", "\"gw\""),
        ("event_id()", "\"gw-ff\""),
    ] {
        let mut set = RuleSet::new("gw", vec![rule(&format!("SELECT {expression} AS x FROM '#'"))]);
        let mut output = Output::new();
        set.handle_message(&event, &mut output);
        assert_eq!(shown(&output), [format!(r#"out {{"x":{expected}}}"#)], "{expression}");
        assert_eq!(set.counters().next().unwrap().1.errors, 0);
    }
}

#[test]
fn cbor_goes_in_and_out() {
    let destinations = [DestinationSource { encoding: Encoding::Cbor, ..to("out") }];
    let mut set = RuleSet::new(
        "gw",
        vec![Rule::compile(&source("SELECT *, a + 1 AS b FROM '#'", &destinations)).unwrap()],
    );
    let mut output = Output::new();
    set.handle_message(&Message { payload: b"\xa1\x61a\xf9\x4d\x80", ..message("t", "", 0) }, &mut output);
    assert_eq!(
        output.publishes[0].payload,
        Payload::Owned(b"\xa2\x61a\xf9\x4d\x80\x61b\xf9\x4d\xc0".to_vec())
    );
}

#[test]
fn a_set_may_move_to_another_thread() {
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&RuleSet::new("gw", Vec::new()));
}

#[test]
fn deep_cases_stay_small() {
    // Copying the operand into each arm would double it 30 times.
    let sql = format!(
        "SELECT {}i{} AS x FROM '#'",
        "CASE ".repeat(30),
        " WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 0 END".repeat(30)
    );
    assert_eq!(row(&sql, r#"{"i":1}"#), r#"out {"x":1}"#);
}

#[test]
fn memory_is_used_again() {
    let mut values = Vec::with_capacity(100);
    values.push(Value::text("x"));
    let recycled: Vec<Value<'static>> = recycle(values);
    assert!(recycled.is_empty() && recycled.capacity() >= 100);
    let mut output = Output::new();
    output.journal.reserve(100);
    output.clear();
    assert!(output.journal.capacity() >= 100);
}
