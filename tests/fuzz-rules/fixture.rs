//! What the targets share: rules of every kind, and a limit on the CPU time of an input.

use rustix::time::{ClockId, clock_gettime};
use tidegate_rules::{
    DestinationSource, Encoding, EventTime, Message, OnError, Options, Output, Query, Rule, RuleSet, Source,
};

/// CPU time that an input may take, in ns: 10 ms of a release build, which these checks make five times as slow at least.
const CPU_NS_MAX: i64 = 50_000_000;

const FIXED: &[&str] = &[
    "SELECT *, a.b[0] AS x, upper(a) AS u, a[b] AS d FROM '#' WHERE a LIKE '%a%_%b' OR regexp_match(a, '(a*)*b') OR TRUE",
    "SELECT * EXCEPT (b) FROM '#' WHERE changed_any(a, b) OR a IN (b, 1, 'x') OR a BETWEEN b AND 9",
    "SELECT from_json(a) AS j, from_cbor(raw_payload()) AS c, split(a, 'a') AS s, to_json(payload) AS t, to_cbor(a) AS o FROM '#'",
    "SELECT format_time(a) AS f, parse_time(a) AS p, get_i32_be(raw_payload(), a) AS g, a * a * a AS m, a % b AS r FROM '#'",
    "SELECT substr(a, b) AS s, lpad(a, b) AS l, replace(a, 'a', b) AS r, CAST(a AS INTEGER) AS i, CAST(a AS TEXT) AS t,
        unhex(a) AS x, unbase64(a) AS y, merge(a, b) AS m, keys(a) AS k, element(a, b) AS e, latest(a, b) AS n FROM '#'",
    "SELECT collect(a) AS c, mode(a) AS m, percentile(a, 0.5) AS p, count_distinct(a) AS d FROM '#' GROUP BY b, tumbling('1s')",
    "SELECT avg(a) AS a, sum(a) AS s FROM '#' GROUP BY hopping('10s', '1s')",
    "SELECT max(a) AS a, delta_sum(a) AS d FROM '#' GROUP BY b, sliding('10s')",
    "SELECT stddev(a) AS a, time_weighted_avg(a) AS w FROM '#' GROUP BY session('1s', '5s')",
    "SELECT last(a) AS a, min_by(a, b) AS m FROM '#' GROUP BY b, rows(7, 2)",
    "SELECT lag(a, 3) AS l, rate(a) OVER (PARTITION BY b) AS r, zscore(a, 0.1) AS z FROM '#' WHERE dedup(a, '1s')",
];

/// Compiles a rule with one destination.
pub fn compile(
    query: Query<'_>,
    topic: Option<&str>,
    payload: Option<&str>,
    is_stamped: bool,
) -> Option<Rule> {
    let encoding = Encoding::Json;
    let destinations = [DestinationSource { topic, payload, encoding }];
    let source =
        Source { name: "r", query, max_groups: 5, on_error: OnError::Null, destinations: &destinations };
    let time = is_stamped.then(|| EventTime { lateness_ms: 500, ..EventTime::new("b") });
    let options = Options { time, ..Options::default() };
    Rule::compile_with(&source, &options).ok()
}

/// A set of the rules that payloads are shown to.
pub fn fixed() -> RuleSet {
    let mut rules = Vec::new();
    for sql in FIXED {
        rules.extend(compile(Query::Sql(sql), Some("out"), None, false));
        if sql.contains("GROUP BY") {
            rules.extend(compile(Query::Sql(sql), Some("out"), None, true));
        }
    }
    assert_eq!(rules.len(), 16, "each is a rule without mistakes");
    RuleSet::new("gw", rules)
}

/// Shows a payload to all rules twice, a while apart, and lets all windows end. State is written and read in between.
pub fn show(set: &mut RuleSet, payload: &[u8], content_type: Option<&str>) {
    set.forget();
    let mut output = Output::new();
    for received_at_ms in [1_000_000, 1_004_321] {
        let message = Message {
            topic: "a/b",
            payload,
            client_id: "c",
            username: None,
            qos: 1,
            retained: false,
            content_type,
            user_properties: &[],
            received_at_ms,
            seq: 1,
        };
        set.handle_message(&message, &mut output);
    }
    let mut snapshot = Vec::new();
    set.snapshot(&mut snapshot);
    set.restore(&snapshot).expect("a snapshot can be read");
    set.handle_time(1_100_000, &mut output);
}

/// Does it, and fails if it takes long three times over: whatever else the machine does is not the input's fault.
pub fn in_time(mut work: impl FnMut()) {
    let mut least_ns = i64::MAX;
    for _ in 0..3 {
        let start_ns = cpu_ns();
        work();
        least_ns = least_ns.min(cpu_ns() - start_ns);
        if least_ns <= CPU_NS_MAX {
            return;
        }
    }
    panic!("this takes {} µs of CPU", least_ns / 1_000);
}

fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
