//! State that survives: crashes at random places (about 800, or as many as TIDEGATE_CRASHES says), over every kind of
//! window and memory function, with event time and late events. A run with crashes sends, byte for byte, what the same
//! run without them sends, and an event that is acknowledged is counted once in each window it belongs to.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use tidegate_rules::{
    DestinationSource, Encoding, EventTime, Message, OnError, Options, Output, Payload, Query, Rule, RuleSet,
    Source,
};

/// Name, SQL, whether it goes by event time, and in how many windows an event is if none is late.
const RULES: &[(&str, &str, bool, Option<usize>)] = &[
    ("tumbling", "GROUP BY k, tumbling('10s')", false, Some(1)),
    ("tumbling-offset", "GROUP BY tumbling('7s', '2s')", false, Some(1)),
    ("tumbling-stamped", "GROUP BY k, tumbling('10s')", true, Some(1)),
    ("hopping", "GROUP BY k, hopping('10s', '4s')", false, None),
    ("hopping-even", "GROUP BY hopping('12s', '3s')", false, Some(4)),
    ("hopping-stamped", "GROUP BY k, hopping('12s', '4s')", true, None),
    ("sliding", "GROUP BY k, sliding('5s')", false, None),
    ("sliding-stamped", "GROUP BY sliding('5s')", true, None),
    ("session", "GROUP BY k, session('3s')", false, Some(1)),
    ("session-max", "GROUP BY k, session('3s', '8s')", false, Some(1)),
    ("session-stamped", "GROUP BY k, session('3s')", true, Some(1)),
    ("rows", "GROUP BY k, rows(4)", false, None),
    ("rows-step", "GROUP BY rows(6, 2)", false, None),
    ("rows-sliding", "GROUP BY k, rows(5, 1)", true, None),
];

const AGGREGATES: &str = "collect(id) AS ids, sum(x) AS s, avg(x) AS a, stddev(x) AS d, last(id) AS l, \
    percentile(x, 0.9) AS p, delta_sum(x) AS c, time_weighted_avg(x) AS w, count(*) FILTER (WHERE x > 2) AS n, \
    window_start() AS b, window_end() AS e";

/// Without `collect` and the like, results of overlapping windows come from the two stacks.
const SMALL: &str = "sum(x) AS s, stddev(x) AS d, min_by(id, x) AS m, window_end() AS e";

const MEMORY: &str = "SELECT id, lag(x, 2) AS l, delta(x) AS d, rate(x) AS r, changed(x, 1) AS c, ewma(x, 0.3) AS e, \
    zscore(x, 0.3) AS z, since_change(x) OVER (PARTITION BY k) AS t, hysteresis(x, 3, 1) AS h, \
    debounce(x > 1, '2s') AS b, count_true(x > 2) AS n, running_max(x) OVER (PARTITION BY 1) AS m \
    FROM 'a/{k}' WHERE x > 0 AND throttle('1s') AND dedup(x, '3s')";

fn rules() -> Vec<Rule> {
    let destinations = [DestinationSource { topic: Some("out"), payload: None, encoding: Encoding::Json }];
    let late = [DestinationSource { topic: Some("late"), payload: None, encoding: Encoding::Json }];
    let compile = |name: &str, sql: &str, stamped: bool, max_groups: usize| {
        let source = Source {
            name,
            query: Query::Sql(sql),
            max_groups,
            on_error: OnError::Null,
            destinations: &destinations,
        };
        let time = EventTime { lateness_ms: 2_000, idle_ms: 4_000, ..EventTime::new("ts") };
        let options = match stamped {
            true => Options { time: Some(time), late: &late, ..Options::default() },
            false => Options::default(),
        };
        Rule::compile_with(&source, &options).unwrap_or_else(|mistakes| panic!("{sql}: {mistakes:?}"))
    };
    let mut rules = Vec::new();
    for (name, group_by, stamped, _) in RULES {
        let sql = format!("SELECT {AGGREGATES} FROM 'a/{{k}}' {group_by}");
        rules.push(compile(name, &sql, *stamped, 100));
        let stamped = *stamped && !group_by.contains("rows");
        let sql = format!("SELECT {SMALL} FROM 'a/{{k}}' {group_by}");
        rules.push(compile(&format!("{name}-small"), &sql, stamped, 100));
        rules.push(compile(&format!("{name}-tight"), &sql, stamped, 2));
    }
    rules.push(compile("memory", MEMORY, false, 100));
    rules.push(compile("memory-tight", MEMORY, false, 2));
    rules
}

/// A generator of numbers that is the same in every run (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug)]
enum Step {
    Event { id: u64, key: u64, x: u64, now_ms: i64, stamp_ms: i64 },
    Time(i64),
}

fn steps(random: &mut Random, count: u64) -> Vec<Step> {
    let mut now_ms = 1_000_000;
    (0..count)
        .map(|id| {
            now_ms += match random.below(20) {
                0 => 9_000,
                // The clock is set back a little, and once in a while by a lot.
                1 => -1_500,
                2 if random.below(40) == 0 => -500_000,
                _ => i64::try_from(random.below(900)).unwrap(),
            };
            if random.below(8) == 0 {
                return Step::Time(now_ms);
            }
            let back_ms = i64::try_from(random.below(5_000)).unwrap();
            let (key, x) = (random.below(4), random.below(6));
            Step::Event { id, key, x, now_ms, stamp_ms: now_ms - back_ms }
        })
        .collect()
}

/// What a gateway keeps on disk and what it has sent. An entry reaches the disk as a whole or not at all.
#[derive(Default)]
struct Disk {
    snapshot: Option<Vec<u8>>,
    journal: Vec<Vec<u8>>,
    sent: Vec<(u32, String)>,
}

fn apply(set: &mut RuleSet, step: &Step) -> Output {
    let mut output = Output::new();
    match step {
        Step::Time(now_ms) => set.handle_time(*now_ms, &mut output),
        Step::Event { id, key, x, now_ms, stamp_ms } => {
            let payload = format!(r#"{{"id":{id},"x":{x}.5,"ts":{stamp_ms}}}"#);
            let topic = format!("a/{key}");
            let message = Message {
                topic: &topic,
                payload: payload.as_bytes(),
                client_id: "c",
                username: None,
                qos: 1,
                retained: false,
                content_type: None,
                user_properties: &[],
                received_at_ms: *now_ms,
                seq: *id,
            };
            set.handle_message(&message, &mut output);
        }
    }
    output
}

fn commit(disk: &mut Disk, output: Output) {
    for publish in output.publishes {
        let text = match publish.payload {
            Payload::Owned(bytes) => String::from_utf8(bytes).unwrap(),
            Payload::Input => "late".to_owned(),
        };
        disk.sent.push((publish.rule, text));
    }
    if !output.journal.is_empty() {
        disk.journal.push(output.journal);
    }
}

fn restart(disk: &Disk) -> RuleSet {
    let mut set = RuleSet::new("gw", rules());
    if let Some(snapshot) = &disk.snapshot {
        set.restore(snapshot).unwrap();
    }
    disk.journal.iter().for_each(|entry| set.replay(entry).unwrap());
    assert_eq!(set.state_ignored(), 0);
    set
}

/// Runs the steps with so many crashes, each before or after the commit of a step; a step that was not committed is not
/// acknowledged, and comes again.
fn run(steps: &[Step], random: &mut Random, crashes: u64) -> Disk {
    let mut disk = Disk::default();
    let mut set = RuleSet::new("gw", rules());
    for step in steps {
        let crash = random.below(steps.len() as u64) < crashes;
        let output = apply(&mut set, step);
        if crash && random.below(2) == 0 {
            drop(output);
            set = restart(&disk);
            let again = apply(&mut set, step);
            commit(&mut disk, again);
        } else {
            commit(&mut disk, output);
            if crash {
                set = restart(&disk);
            }
        }
        if crashes > 0 && random.below(30) == 0 {
            let mut snapshot = Vec::new();
            set.snapshot(&mut snapshot);
            disk.snapshot = Some(snapshot);
            disk.journal.clear();
        }
    }
    let output = apply(&mut set, &Step::Time(100_000_000));
    commit(&mut disk, output);
    disk
}

#[test]
fn a_run_with_crashes_sends_the_same() {
    let scale = std::env::var("TIDEGATE_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(800);
    let (per_run, mut done, mut seed) = (40, 0, 0);
    while done < scale {
        let steps = steps(&mut Random(seed), 300);
        let undisturbed = run(&steps, &mut Random(seed + 1), 0);
        let crashed = run(&steps, &mut Random(seed + 1), per_run);
        assert!(undisturbed.sent.len() > 1_000, "{}", undisturbed.sent.len());
        for (at, (left, right)) in undisturbed.sent.iter().zip(&crashed.sent).enumerate() {
            assert_eq!(left, right, "seed {seed}, publish {at}");
        }
        assert_eq!(undisturbed.sent.len(), crashed.sent.len(), "seed {seed}");
        done += per_run;
        seed += 1_000;
    }
}

#[test]
fn each_event_is_counted_once_in_each_window() {
    let mut late_seen = 0;
    for seed in 0..20 {
        // A clock that only goes forward: what it is set back by is another test.
        let mut latest_ms = 0;
        let mut steps = steps(&mut Random(seed * 7_919), 400);
        for step in &mut steps {
            let (Step::Event { now_ms, .. } | Step::Time(now_ms)) = step;
            latest_ms = latest_ms.max(*now_ms);
            *now_ms = latest_ms;
        }
        let disk = run(&steps, &mut Random(seed), 40);
        let names: Vec<String> = rules().iter().map(|rule| rule.name().to_owned()).collect();
        for (name, _, stamped, windows) in RULES {
            let Some(windows) = windows else { continue };
            let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
            let mut late = 0;
            for (rule, text) in &disk.sent {
                if names[*rule as usize] != *name {
                    continue;
                }
                match text.strip_prefix(r#"{"ids":["#).and_then(|rest| rest.split_once(']')) {
                    Some((ids, _)) => {
                        ids.split(',').for_each(|id| *counts.entry(id.parse().unwrap()).or_default() += 1);
                    }
                    None => late += 1,
                }
            }
            assert!(counts.values().all(|count| count == windows), "{name}: {counts:?}");
            let events = steps.iter().filter(|step| matches!(step, Step::Event { .. })).count();
            assert_eq!(counts.len() + late, events, "{name}");
            assert!(late == 0 || *stamped, "{name}");
            late_seen += late;
        }
    }
    assert!(late_seen > 0, "late events are there to be seen");
}
