//! A set that takes the place of another: what has not changed goes on.

use super::*;

const COUNT: &str = "SELECT count(*) AS n FROM 's/#' GROUP BY tumbling('1m')";
const SEEN: &str = "SELECT v, lag(v) AS before FROM 's/#'";

fn named(name: &str, sql: &str) -> Rule {
    Rule::compile(&Source { name, ..source(sql, &[to(name)]) }).unwrap()
}

fn send(set: &mut RuleSet, value: i64, at_ms: i64) -> Vec<String> {
    let mut output = Output::new();
    set.handle_message(&message("s/1", &format!("{{\"v\":{value}}}"), at_ms), &mut output);
    shown(&output)
}

/// What a set that takes over is given, in which order, and what it says is lost.
#[test]
fn unchanged_rules_go_on_wherever_they_stand() {
    let mut set = RuleSet::new("gw", vec![named("count", COUNT), named("seen", SEEN)]);
    assert_eq!(send(&mut set, 1, 1_000), [r#"seen {"v":1,"before":null}"#]);
    let new = vec![named("more", "SELECT v FROM 's/#'"), named("seen", SEEN), named("count", COUNT)];
    let mut reloaded = RuleSet::new("gw", new);
    assert_eq!(reloaded.inherit(set), [""; 0]);
    assert_eq!(reloaded.poll_deadline_ms(), Some(60_000), "the window that is open ends when it would have");
    assert_eq!(send(&mut reloaded, 2, 2_000), [r#"more {"v":2}"#, r#"seen {"v":2,"before":1}"#]);
    let mut output = Output::new();
    reloaded.handle_time(60_000, &mut output);
    assert_eq!(shown(&output), [r#"count {"n":2}"#]);
    let passed: Vec<_> = reloaded.counters().map(|(name, counters)| (name, counters.passed)).collect();
    assert_eq!(passed, [("more", 1), ("seen", 2), ("count", 2)]);
}

#[test]
fn changed_and_removed_rules_lose_what_they_had_and_are_named() {
    let stateless = "SELECT v FROM 's/#'";
    let rules = vec![named("count", COUNT), named("seen", SEEN), named("plain", stateless)];
    let mut set = RuleSet::new("gw", rules);
    send(&mut set, 1, 1_000);
    let changed = "SELECT count(*) AS n FROM 's/#' GROUP BY tumbling('2m')";
    let mut reloaded = RuleSet::new("gw", vec![named("count", changed)]);
    assert_eq!(reloaded.inherit(set), ["count", "seen"]);
    assert_eq!(reloaded.poll_deadline_ms(), None);
    send(&mut reloaded, 2, 2_000);
    let mut output = Output::new();
    reloaded.handle_time(120_000, &mut output);
    assert_eq!(shown(&output), [r#"count {"n":1}"#]);
}

#[test]
fn a_snapshot_after_it_has_no_state_of_rules_that_went_and_came_back() {
    let mut set = RuleSet::new("gw", vec![named("count", COUNT)]);
    send(&mut set, 1, 1_000);
    let mut without = RuleSet::new("gw", vec![named("seen", SEEN)]);
    without.inherit(set);
    let mut again = RuleSet::new("gw", vec![named("count", COUNT)]);
    again.inherit(without);
    let mut snapshot = Vec::new();
    again.snapshot(&mut snapshot);
    let mut restored = RuleSet::new("gw", vec![named("count", COUNT)]);
    restored.restore(&snapshot).unwrap();
    assert_eq!(restored.poll_deadline_ms(), None);
}
