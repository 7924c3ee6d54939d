//! What an event costs, beside floors written by hand, in one run:
//! `cargo bench -p tidegate-rules --bench rules`.
//!
//! Prints a table of the thread's CPU time. Each line is the least of several runs, so that what else the machine does counts little.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::{collections::HashMap, fmt::Write as _, hint::black_box};

use rustix::time::{ClockId, clock_gettime};
use tidegate_rules::{DestinationSource, Encoding, Message, OnError, Output, Query, Rule, RuleSet, Source};

const EVENTS: usize = 100_000;
const RUNS: usize = 7;

/// About 200 bytes of JSON.
fn payload(device: usize) -> String {
    format!(
        r#"{{"device":"dev-{device:06}","ts":1700000000123,"temp":{}.5,"humidity":45.25,"pressure":1013.2,"battery":87,"status":"ok","location":{{"lat":52.5200,"lon":13.4050}},"fw":"1.4.2","rssi":-67,"seq":123456}}"#,
        20 + device % 20
    )
}

fn message<'a>(topic: &'a str, payload: &'a str) -> Message<'a> {
    Message {
        topic,
        payload: payload.as_bytes(),
        client_id: "client",
        username: None,
        qos: 1,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms: 1_700_000_000_000,
        seq: 1,
    }
}

fn rule(name: &str, sql: &str) -> Rule {
    let destinations = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Json }];
    let source = Source {
        name,
        query: Query::Sql(sql),
        max_groups: 200_000,
        on_error: OnError::Null,
        destinations: &destinations,
    };
    Rule::compile(&source).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
}

fn set(sqls: &[String]) -> RuleSet {
    let rules = sqls.iter().enumerate().map(|(at, sql)| rule(&format!("r{at}"), sql)).collect();
    RuleSet::new("gw", rules)
}

/// CPU time of this thread.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of CPU for each event.
fn time(mut each: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let start = cpu_ns();
        (0..EVENTS).for_each(&mut each);
        best = best.min((cpu_ns() - start) / EVENTS as f64);
    }
    best
}

fn time_rules(sqls: &[String], topics: &[String], payloads: &[String]) -> f64 {
    let mut rules = set(sqls);
    let mut output = Output::new();
    time(|at| {
        output.clear();
        let message = message(&topics[at % topics.len()], &payloads[at % payloads.len()]);
        black_box(rules.handle_message(&message, &mut output));
    })
}

struct Table(String);

impl Table {
    fn line(&mut self, what: &str, ns: f64, target_ns: Option<f64>) {
        let (target, verdict) = match target_ns {
            Some(target) => (format!("{target:.0}"), if ns <= target { "met" } else { "not met" }),
            None => (String::new(), "floor"),
        };
        let _ = writeln!(self.0, "{what:<58} {ns:>9.0} {target:>9}  {verdict}");
    }
}

fn floors(table: &mut Table, payloads: &[String]) {
    table.line(
        "floor: serde_json reads over 200 bytes",
        time(|at| {
            let payload = &payloads[at % payloads.len()];
            black_box(serde_json::from_str::<serde::de::IgnoredAny>(payload).unwrap());
        }),
        None,
    );
    #[derive(serde::Deserialize)]
    struct Two {
        temp: f64,
        battery: i64,
    }
    table.line(
        "floor: serde_json into a struct, two fields compared",
        time(|at| {
            let two: Two = serde_json::from_str(&payloads[at % payloads.len()]).unwrap();
            black_box(two.temp > 30.0 && two.battery > 50);
        }),
        None,
    );
    let mut averages: HashMap<&str, (f64, u64)> = HashMap::new();
    #[derive(serde::Deserialize)]
    struct Keyed<'a> {
        device: &'a str,
        temp: f64,
    }
    table.line(
        "floor: serde_json and a hash map of averages",
        time(|at| {
            let keyed: Keyed<'_> = serde_json::from_str(&payloads[at % payloads.len()]).unwrap();
            let average = averages.entry(keyed.device).or_default();
            *average = (average.0 + keyed.temp, average.1 + 1);
        }),
        None,
    );
}

/// Bytes that a group of an average takes, by what the allocator says of the process.
fn bytes_per_group(groups: usize) -> f64 {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
    };
    let before = resident();
    let mut rules =
        set(&["SELECT device, avg(temp) AS a FROM 's/+' GROUP BY device, tumbling('1h')".to_owned()]);
    let mut output = Output::new();
    for group in 0..groups {
        output.clear();
        let payload = format!(r#"{{"device":"dev-{group:06}","temp":1.5}}"#);
        rules.handle_message(&message("s/a", &payload), &mut output);
    }
    let bytes = (resident() - before) / groups as f64;
    black_box(rules);
    bytes
}

fn snapshot_ms(groups: usize) -> f64 {
    let mut rules =
        set(&["SELECT device, avg(temp) AS a FROM 's/+' GROUP BY device, tumbling('1h')".to_owned()]);
    let mut output = Output::new();
    for group in 0..groups {
        output.clear();
        rules.handle_message(&message("s/a", &payload(group)), &mut output);
    }
    let mut snapshot = Vec::new();
    let start = cpu_ns();
    rules.snapshot(&mut snapshot);
    (cpu_ns() - start) / 1e6
}

fn main() {
    let group_bytes = bytes_per_group(100_000);
    let mut table =
        Table(format!("{:<58} {:>9} {:>9}\n", "CPU for each event of 200 bytes of JSON", "ns", "target"));
    let one = [payload(11)];
    let topic = ["s/a".to_owned()];
    floors(&mut table, &one);
    let filter = |at: usize| format!("SELECT temp FROM 's/+' WHERE temp > {} AND battery > 50", 100 + at);
    let sqls = |count: usize| (0..count).map(filter).collect::<Vec<_>>();
    let single = time_rules(&sqls(1), &topic, &one);
    table.line("filter on two fields", single, Some(500.0));
    let eleven = time_rules(&sqls(11), &topic, &one);
    table.line("each further rule on the same fields", (eleven - single) / 10.0, Some(100.0));
    let project = ["SELECT device, temp, battery FROM 's/+'".to_owned()];
    table.line("projection of three fields to JSON", time_rules(&project, &topic, &one), Some(1_000.0));
    let average = ["SELECT device, avg(temp) AS a FROM 's/+' GROUP BY device, tumbling('1h')".to_owned()];
    for (groups, target) in [(1_000, 500.0), (100_000, 1_000.0)] {
        let payloads: Vec<String> = (0..groups).map(payload).collect();
        let ns = time_rules(&average, &topic, &payloads);
        table.line(&format!("tumbling average, {groups} groups"), ns, Some(target));
    }
    let disjoint = |count: usize| {
        let sqls: Vec<String> = (0..count)
            .map(|at| format!("SELECT temp FROM 'site{at}/+' WHERE temp > 100 AND battery > 50"))
            .collect();
        let topics: Vec<String> = (0..count).map(|at| format!("site{at}/a")).collect();
        time_rules(&sqls, &topics, &one)
    };
    let alone = disjoint(1);
    table.line("1 rule on its own filter", alone, None);
    table.line("1,000 rules on disjoint filters", disjoint(1_000), Some(alone * 1.2));
    for window in ["hopping('1h', '1m')", "sliding('1m')", "session('1m')", "rows(100, 1)"] {
        let sql = [format!("SELECT device, avg(temp) AS a FROM 's/+' GROUP BY device, {window}")];
        let payloads: Vec<String> = (0..1_000).map(payload).collect();
        table.line(&format!("average, {window}, 1,000 groups"), time_rules(&sql, &topic, &payloads), None);
    }
    let memory = ["SELECT temp FROM 's/+' WHERE changed(temp, 0.5)".to_owned()];
    table.line("changed(temp, 0.5)", time_rules(&memory, &topic, &one), None);
    table.line("bytes for each group of an average, of 100,000", group_bytes, Some(200.0));
    let snapshot_ns = snapshot_ms(100_000) * 1e6 / 1e5;
    table.line("snapshot of 100,000 groups, for each group", snapshot_ns, None);
    std::io::Write::write_all(&mut std::io::stdout(), table.0.as_bytes()).ok();
}
