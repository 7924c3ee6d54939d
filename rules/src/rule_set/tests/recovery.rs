//! State survives: a set that restores and replays is where the one that crashed was.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::StateError;

const RULES: [&str; 3] = [
    "SELECT k, sum(x) AS s, count(*) AS n, first(x) AS f, max(x) AS m, window_end() AS e
        FROM 'a/{k}' GROUP BY k, tumbling('10s')",
    "SELECT avg(x) AS v, last(k) AS l, window_start() AS b FROM 'a/{k}', 'b/{k}' WHERE x <> 3
        GROUP BY tumbling('7s', '2s') HAVING count(*) > 1",
    "SELECT x FROM '#' WHERE x = 1",
];

fn set(groups_max: usize) -> RuleSet {
    let destinations = [to("out")];
    let rules = RULES.iter().zip(["one", "two", "three"]).map(|(sql, name)| {
        Rule::compile(&Source { name, max_groups: groups_max, ..source(sql, &destinations) }).unwrap()
    });
    RuleSet::new("gw", rules.collect())
}

#[derive(Debug, Clone)]
enum Step {
    Event { topic: String, x: i64, time_ms: i64 },
    Time(i64),
    Snapshot,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let topic = prop::sample::select(vec!["a/1", "a/2", "a/3", "b/1", "c"]);
    prop_oneof![
        10 => (topic, 0_i64..5, 0_i64..60_000)
            .prop_map(|(topic, x, time_ms)| Step::Event { topic: topic.to_owned(), x, time_ms }),
        2 => (0_i64..60_000).prop_map(Step::Time),
        1 => Just(Step::Snapshot),
        2 => Just(Step::Crash),
    ]
}

fn apply(set: &mut RuleSet, step: &Step, output: &mut Output) {
    match step {
        Step::Event { topic, x, time_ms } => {
            let payload = format!(r#"{{"x":{x}}}"#);
            set.handle_message(&message(topic, &payload, *time_ms), output);
        }
        Step::Time(time_ms) => set.handle_time(*time_ms, output),
        Step::Snapshot | Step::Crash => {}
    }
}

/// Runs all steps with a disk that keeps snapshots and journals.
fn run_with_crashes(steps: &[Step], groups_max: usize) -> Vec<String> {
    let mut live = set(groups_max);
    let mut results = Vec::new();
    let (mut snapshot, mut journal): (Option<Vec<u8>>, Vec<u8>) = (None, Vec::new());
    for step in steps {
        match step {
            Step::Snapshot => {
                let mut bytes = Vec::new();
                live.snapshot(&mut bytes);
                (snapshot, journal) = (Some(bytes), Vec::new());
            }
            Step::Crash => {
                live = set(groups_max);
                if let Some(snapshot) = &snapshot {
                    live.restore(snapshot).unwrap();
                }
                live.replay(&journal).unwrap();
                assert_eq!(live.state_ignored(), 0);
            }
            step => {
                let mut output = Output::new();
                apply(&mut live, step, &mut output);
                journal.extend_from_slice(&output.journal);
                results.extend(shown(&output));
            }
        }
    }
    results
}

/// What the windows of the first two rules come to, by the plainest means: events with their window, in lists.
fn expected_windows(steps: &[Step]) -> Vec<String> {
    type Events = Vec<(String, i64)>;
    let mut rows = Vec::new();
    for (rule, size_ms, offset_ms) in [(0, 10_000, 0), (1, 7_000, 2_000)] {
        let (mut now_ms, mut groups): (i64, BTreeMap<(i64, String), Events>) = (i64::MIN, BTreeMap::new());
        let start_of = |time_ms: i64| (time_ms - offset_ms).div_euclid(size_ms) * size_ms + offset_ms;
        let close = |until_ms: i64, groups: &mut BTreeMap<(i64, String), Events>, rows: &mut Vec<String>| {
            let (ended, open) =
                std::mem::take(groups).into_iter().partition(|((start, _), _)| start + size_ms <= until_ms);
            *groups = open;
            let ended: BTreeMap<(i64, String), Events> = ended;
            let any = !ended.is_empty();
            for ((start, key), events) in ended {
                let xs: Vec<i64> = events.iter().map(|(_, x)| *x).collect();
                let (n, sum) = (xs.len(), xs.iter().sum::<i64>());
                if rule == 0 {
                    let (first, max, end) = (xs[0], xs.iter().max().unwrap(), start + size_ms);
                    rows.push(format!(
                        r#"out {{"k":"{key}","s":{sum},"n":{n},"f":{first},"m":{max},"e":{end}}}"#
                    ));
                } else if n > 1 {
                    let (last, avg) = (&events[n - 1].0, sum as f64 / n as f64);
                    let avg = Value::Float(avg);
                    rows.push(format!(r#"out {{"v":{},"l":"{last}","b":{start}}}"#, avg.to_text().unwrap()));
                }
            }
            any
        };
        for step in steps {
            let (Step::Event { time_ms, .. } | Step::Time(time_ms)) = step else { continue };
            if close(*time_ms, &mut groups, &mut rows) {
                now_ms = now_ms.max(start_of(*time_ms));
            }
            if let Step::Event { topic, x, time_ms } = step
                && let Some((first, key)) = topic.split_once('/')
                && (rule == 1 && *x != 3 || rule == 0 && first == "a")
            {
                now_ms = now_ms.max(*time_ms);
                let group = if rule == 0 { key } else { "" };
                groups.entry((start_of(now_ms), group.to_owned())).or_default().push((key.to_owned(), *x));
            }
        }
    }
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_changes_nothing(steps in prop::collection::vec(step(), 0..60), groups_max in 1_usize..5) {
        let undisturbed: Vec<Step> =
            steps.iter().filter(|step| !matches!(step, Step::Crash | Step::Snapshot)).cloned().collect();
        prop_assert_eq!(run_with_crashes(&steps, groups_max), run_with_crashes(&undisturbed, groups_max));
    }

    #[test]
    fn windows_are_what_a_plain_evaluator_says(steps in prop::collection::vec(step(), 0..60)) {
        let mut results = run_with_crashes(&steps, 100);
        results.retain(|row| !row.starts_with(r#"out {"x""#));
        results.sort();
        prop_assert_eq!(results, expected_windows(&steps));
    }

    #[test]
    fn damaged_state_does_no_harm(
        steps in prop::collection::vec(step(), 1..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut live = set(3);
        let mut output = Output::new();
        steps.iter().for_each(|step| apply(&mut live, step, &mut output));
        let mut snapshot = Vec::new();
        live.snapshot(&mut snapshot);
        for bytes in [&mut snapshot, &mut output.journal] {
            if bytes.is_empty() {
                continue;
            }
            for (place, byte) in &flips {
                let place = place.index(bytes.len());
                bytes[place] ^= byte;
            }
            bytes.truncate(end.index(bytes.len() + 1));
        }
        let mut other = set(3);
        let _ = other.restore(&snapshot);
        let _ = other.replay(&output.journal);
        other.handle_message(&message("a/1", r#"{"x":1}"#, 50_000), &mut output);
        other.handle_time(i64::MAX, &mut output);
    }
}

fn some_state() -> (RuleSet, Vec<u8>, Vec<u8>) {
    let mut live = set(10);
    let mut output = Output::new();
    for x in [1, 2, 4] {
        live.handle_message(&message("a/1", &format!(r#"{{"x":{x}}}"#), 1_000), &mut output);
    }
    let mut snapshot = Vec::new();
    live.snapshot(&mut snapshot);
    (live, snapshot, output.journal)
}

#[test]
fn truncated_state_is_refused() {
    let (_, snapshot, journal) = some_state();
    for end in 0..snapshot.len() {
        assert!(matches!(set(10).restore(&snapshot[..end]), Err(StateError::Truncated { .. })), "{end}");
    }
    let mut ends = 0;
    for end in 0..journal.len() {
        // A journal may end after any of its six entries.
        ends += usize::from(set(10).replay(&journal[..end]).is_ok());
    }
    assert_eq!(ends, 6);
    assert_eq!(set(10).restore(&[9]), Err(StateError::Version { found: 9 }));
    let mut longer = snapshot;
    longer.push(0);
    assert!(matches!(set(10).restore(&longer), Err(StateError::Damaged { .. })));
}

#[test]
fn a_failed_restore_leaves_the_state_alone() {
    let (mut live, snapshot, _) = some_state();
    let mut damaged = snapshot.clone();
    damaged.pop();
    live.restore(&damaged).unwrap_err();
    let mut again = Vec::new();
    live.snapshot(&mut again);
    assert_eq!(again, snapshot);
    assert_eq!(live.poll_deadline_ms(), Some(2_000));
}

#[test]
fn state_of_changed_rules_is_left_out() {
    let (_, snapshot, journal) = some_state();
    let mut other = set(11);
    other.restore(&snapshot).unwrap();
    other.replay(&journal).unwrap();
    assert_eq!((other.state_ignored(), other.poll_deadline_ms()), (2 + 6, None));
}

#[test]
fn restoring_forgets_what_was_there() {
    let mut empty = Vec::new();
    set(10).snapshot(&mut empty);
    let (mut live, ..) = some_state();
    live.restore(&empty).unwrap();
    assert_eq!(live.poll_deadline_ms(), None);
}

#[test]
fn fingerprints_tell_rules_apart() {
    let destinations = [to("out")];
    let base = source("SELECT count(*) AS n FROM '#' GROUP BY tumbling('1s')", &destinations);
    let fingerprint = |source: &Source<'_>| Rule::compile(source).unwrap().fingerprint();
    // It may not change while the state means the same, or state is lost on update.
    assert_eq!(fingerprint(&base), 17_448_405_818_361_394_462);
    let others = [
        Source { name: "other", ..base },
        Source { query: Query::Sql("SELECT count(*) AS n FROM '#' GROUP BY tumbling('2s')"), ..base },
        Source { max_groups: 1, ..base },
        Source { on_error: OnError::Drop, ..base },
    ];
    for other in others {
        assert_ne!(fingerprint(&other), fingerprint(&base));
    }
    assert_eq!(fingerprint(&Source { destinations: &[to("elsewhere")], ..base }), fingerprint(&base));
}
