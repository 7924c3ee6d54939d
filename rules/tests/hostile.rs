//! Whatever comes in, rules neither panic nor take long nor eat memory.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate_rules::{
    DestinationSource, Encoding, EventTime, Message, OnError, Options, Output, Query, Rule, RuleSet, Source,
    Table,
};

const RULES: &[&str] = &[
    "SELECT *, a.b[0] AS x, upper(a) AS u FROM '#' WHERE a LIKE '%a%a%a%b' OR regexp_match(a, '(a*)*b') OR TRUE",
    "SELECT from_json(a) AS j, from_cbor(raw_payload()) AS c, split(a, 'a') AS s, to_json(payload) AS t FROM '#'",
    "SELECT format_time(a) AS f, parse_time(a) AS p, get_i32_be(raw_payload(), a) AS g, a * a * a AS m FROM '#'",
    "SELECT collect(a) AS c, mode(a) AS m, percentile(a, 0.5) AS p, count_distinct(a) AS d FROM '#'
        GROUP BY b, tumbling('1s')",
    "SELECT avg(a) AS a FROM '#' GROUP BY hopping('10s', '1s')",
    "SELECT max(a) AS a, delta_sum(a) AS d FROM '#' GROUP BY b, sliding('10s')",
    "SELECT stddev(a) AS a, time_weighted_avg(a) AS w FROM '#' GROUP BY session('1s', '5s')",
    "SELECT last(a) AS a, min_by(a, b) AS m FROM '#' GROUP BY b, rows(7, 2)",
    "SELECT lag(a, 3) AS l, rate(a) OVER (PARTITION BY b) AS r, zscore(a, 0.1) AS z FROM '#' WHERE dedup(a, '1s')",
];

fn set() -> RuleSet {
    let destinations = [DestinationSource { topic: None, payload: None, encoding: Encoding::Json }];
    let to = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Cbor }];
    let rules = RULES.iter().enumerate().flat_map(|(at, sql)| {
        let windowed = sql.contains("GROUP BY");
        [false, true]
            .into_iter()
            .filter(move |stamped| windowed || !stamped)
            .map(move |stamped| (at, sql, stamped))
    });
    let compile = |(at, sql, stamped): (usize, &&str, bool)| {
        let name = format!("r{at}-{stamped}");
        let destinations = if sql.contains("GROUP BY") { &to } else { &destinations };
        let (query, max_groups) = (Query::Sql(sql), 5);
        let source = Source { name: &name, query, max_groups, on_error: OnError::Null, destinations };
        let time = stamped.then(|| EventTime { lateness_ms: 500, ..EventTime::new("b") });
        let options = Options { time, ..Options::default() };
        Rule::compile_with(&source, &options).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
    };
    RuleSet::new("gw", rules.map(compile).collect())
}

fn handle(set: &mut RuleSet, payload: &[u8], received_at_ms: i64, output: &mut Output) {
    let message = Message {
        topic: "a/b",
        payload,
        client_id: "",
        username: None,
        qos: 0,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms,
        seq: 0,
    };
    set.handle_message(&message, output);
}

fn state_after(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let mut set = set();
    let mut output = Output::new();
    for (at_ms, payload) in (0..).zip(payloads) {
        handle(&mut set, payload, at_ms * 300, &mut output);
    }
    let mut snapshot = Vec::new();
    set.snapshot(&mut snapshot);
    (snapshot, output.journal)
}

#[test]
fn large_and_deep_payloads_are_quick() {
    let megabyte = 1_000_000;
    let text = |inner: &str| format!("{{\"a\":{inner},\"b\":1}}").into_bytes();
    let payloads = [
        text(&format!("\"{}\"", "a".repeat(megabyte))),
        text(&format!("[{}1]", "1,".repeat(megabyte / 2))),
        text(&format!(
            "{{{}\"z\":1}}",
            (0..megabyte / 12).map(|at| format!("\"k{at}\":1,")).collect::<String>()
        )),
        text(&"9".repeat(megabyte)),
        text(&format!("1e{}", "9".repeat(1_000))),
        text(&format!("\"{}\"", "\\u0000".repeat(megabyte / 6))),
        text(&("[".repeat(megabyte / 2) + &"]".repeat(megabyte / 2))),
        "{\"a\":".repeat(megabyte / 5).into_bytes(),
        vec![0x81; megabyte],
        b"\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\xa1\x61a\x7b\x00\x00\xff\xff\xff\xff\xff\xff".to_vec(),
        vec![b' '; megabyte],
        vec![0xff; megabyte],
    ];
    let mut set = set();
    for (at_ms, payload) in (0..).zip(&payloads) {
        let mut output = Output::new();
        let start = Instant::now();
        handle(&mut set, payload, at_ms * 700, &mut output);
        // Far from tight, for slow machines and builds without optimization; quadratic cost would be minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "payload {at_ms}: {:?}", start.elapsed());
        let bytes = output.journal.len();
        assert!(bytes < 60 * megabyte, "payload {at_ms}: {bytes}");
    }
    let mut snapshot = Vec::new();
    set.snapshot(&mut snapshot);
    self::set().restore(&snapshot).unwrap();
}

#[test]
fn hostile_rules_are_refused_quickly() {
    let start = Instant::now();
    for sql in [
        format!("SELECT {}a{} AS x FROM '#'", "(".repeat(30_000), ")".repeat(30_000)),
        format!("SELECT a FROM '#' WHERE {}", "f(((,".repeat(12_000)),
        format!("SELECT {} FROM '#'", "a b,".repeat(16_000)),
        format!("SELECT {}", "?".repeat(60_000)),
        format!("SELECT {} AS x FROM '#'", "CASE WHEN ".repeat(6_000)),
        format!("SELECT {}1 AS x FROM '#'", "- ".repeat(30_000)),
        format!("SELECT regexp_match(a, '{}') AS x FROM '#'", "(a{1000}){1000}".repeat(3)),
        format!("SELECT a FROM '{}'", "{x}/".repeat(15_000)),
        format!("SELECT {}1 AS x FROM '#'", "nosuch(1) + ".repeat(5_000)),
    ] {
        let source = Source {
            name: "x",
            query: Query::Sql(&sql),
            max_groups: 1,
            on_error: OnError::Null,
            destinations: &[],
        };
        let mistakes = Rule::compile(&source).unwrap_err();
        assert!(!mistakes.is_empty());
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop::sample::select(vec![
        "1",
        "-2.5",
        "null",
        "true",
        "\"a\"",
        "1e308",
        "[1]",
        "{\"b\":[{}]}",
        "9223372036854775807",
        "\"\\ud83d\\ude00\"",
    ]);
    prop_oneof![
        4 => (scalar.clone(), scalar).prop_map(|(a, b)| format!("{{\"a\":{a},\"b\":{b}}}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "[\\[\\]{}\",:0-9a-b\\\\ ]{0,30}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_payload_does_harm(payloads in prop::collection::vec((payload(), 0_i64..100_000), 0..30)) {
        let mut set = set();
        let mut output = Output::new();
        for (payload, at_ms) in &payloads {
            handle(&mut set, payload, *at_ms, &mut output);
        }
        set.handle_time(i64::MAX, &mut output);
        set.handle_time(i64::MIN, &mut output);
    }

    #[test]
    fn no_stored_state_does_harm(
        payloads in prop::collection::vec(payload(), 1..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        end in any::<prop::sample::Index>(),
    ) {
        let (mut snapshot, mut journal) = state_after(&payloads);
        for bytes in [&mut snapshot, &mut journal] {
            for (place, byte) in &flips {
                if !bytes.is_empty() {
                    let place = place.index(bytes.len());
                    bytes[place] ^= byte;
                }
            }
            let length = bytes.len();
            bytes.truncate(length - end.index(length + 1) / 4);
        }
        let mut other = set();
        let mut output = Output::new();
        let _ = other.restore(&snapshot);
        let _ = other.replay(&journal);
        for payload in &payloads {
            handle(&mut other, payload, 5_000, &mut output);
        }
        other.handle_time(i64::MAX, &mut output);
    }

    #[test]
    fn no_table_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[id,\"\n\r1. ]{0,40}") {
        let _ = Table::from_csv("id", &bytes);
        let _ = Table::from_csv("id", format!("id,a\n{text}").as_bytes());
        let _ = Table::from_json_lines("id", &bytes);
    }
}
