//! What a reload changes, and what it cannot.

use serde::{Deserialize, Serialize};
use tidegate_config::{Destination, Difference, EffectiveTable, Target, Uplink};

/// What came of a reload, a line for each thing.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What is another than before.
    pub(crate) changed: Vec<String>,
    /// What is written, and takes effect at the next start.
    pub(crate) restart: Vec<String>,
    /// What the configuration warns of; empty if there is nothing.
    pub(crate) warnings: String,
}

/// A rule, as far as one can be told from another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleSeen {
    name: String,
    /// The same for rules with the same state.
    fingerprint: u64,
    /// The same for rules that do the same.
    digest: u64,
    /// With the names of uplinks, whose numbers say nothing.
    destinations: Vec<(Option<String>, Destination)>,
}

impl RuleSeen {
    pub(super) fn of(rule: &tidegate_config::Rule, uplinks: &[Uplink]) -> RuleSeen {
        let named = |destination: &Destination| {
            let uplink = match destination.target {
                Target::Uplink(index) => uplinks.get(index).map(|uplink| uplink.name.clone()),
                Target::Local => None,
            };
            (uplink, Destination { target: Target::Local, ..*destination })
        };
        RuleSeen {
            name: rule.rule.name().to_owned(),
            fingerprint: rule.rule.fingerprint(),
            digest: rule.rule.digest(),
            destinations: rule.destinations.iter().map(named).collect(),
        }
    }
}

/// What is said of rules; `lost` are those whose state is gone.
pub(super) fn compare_rules(before: &[RuleSeen], after: &[RuleSeen], lost: &[String]) -> Vec<String> {
    let gone =
        |name: &str| if lost.iter().any(|lost| lost == name) { "; what it remembered is gone" } else { "" };
    let find = |rules: &[RuleSeen], name: &str| rules.iter().find(|rule| rule.name == name).cloned();
    let removed = before.iter().filter(|old| find(after, &old.name).is_none());
    let mut lines: Vec<String> =
        removed.map(|old| format!("rule {}: removed{}", old.name, gone(&old.name))).collect();
    lines.extend(after.iter().filter_map(|new| {
        let name = &new.name;
        match find(before, name) {
            None => Some(format!("rule {name}: added")),
            Some(old) if old == *new => None,
            Some(old) if old.fingerprint == new.fingerprint => {
                Some(format!("rule {name}: changed; it keeps what it remembers"))
            }
            Some(_) => Some(format!("rule {name}: changed{}", gone(name))),
        }
    }));
    lines
}

/// What is in effect now, and what will be after a restart.
pub(super) fn sort(found: &[Difference]) -> (Vec<String>, Vec<String>) {
    let (restart, changed): (Vec<&Difference>, Vec<&Difference>) =
        found.iter().partition(|found| needs_restart(found));
    let lines = |found: Vec<&Difference>| found.into_iter().map(ToString::to_string).collect();
    (lines(changed), lines(restart))
}

/// What the gateway is built around.
fn needs_restart(found: &Difference) -> bool {
    let kind = found.table.split(' ').next().unwrap_or_default();
    match (kind, found.key) {
        ("listener", Some(key)) => key == "mode",
        ("log", Some(key)) => key == "format",
        ("gateway" | "status" | "buffer" | "listener" | "alerts" | "sys", _) => true,
        _ => false,
    }
}

/// The settings in effect: those of `after`, except where a restart is needed.
pub(super) fn take_effect(
    before: &[EffectiveTable],
    after: Vec<EffectiveTable>,
    found: &[Difference],
) -> Vec<EffectiveTable> {
    let mut running = after;
    for Difference { table: name, key, before: old, .. } in found.iter().filter(|found| needs_restart(found))
    {
        match key {
            None if old.is_some() => running.extend(before.iter().find(|table| table.name == *name).cloned()),
            None => running.retain(|table| table.name != *name),
            Some(key) => {
                let Some(table) = running.iter_mut().find(|table| table.name == *name) else { continue };
                table.settings.retain(|(known, _)| known != key);
                table.settings.extend(old.clone().map(|old| (*key, old)));
            }
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use tidegate_buffer::Priority;
    use tidegate_config::{Destination, EffectiveTable, Target, differences};

    use super::{RuleSeen, compare_rules, sort, take_effect};

    fn table(name: &str, settings: &[(&'static str, &str)]) -> EffectiveTable {
        let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        EffectiveTable { header: "[x]", name: name.to_owned(), settings }
    }

    #[test]
    fn what_the_gateway_is_built_around_waits_for_a_restart_and_is_said_again_until_then() {
        let before = [
            table("log", &[("level", "info"), ("format", "text")]),
            table("buffer", &[("dir", "a")]),
            table("listener 1", &[("websocket", "false")]),
            table("uplink a", &[("window", "1")]),
        ];
        let after = vec![
            table("log", &[("level", "warn"), ("format", "json")]),
            table("buffer", &[("dir", "b"), ("max_age", "1d")]),
            table("listener 2", &[("websocket", "false")]),
            table("uplink a", &[("window", "2")]),
        ];
        let found = differences(&before, &after);
        let (changed, restart) = sort(&found);
        assert_eq!(changed, ["log: level was info, is warn", "uplink a: window was 1, is 2"]);
        let expected = [
            "log: format was text, is json",
            "buffer: dir was a, is b",
            "buffer: max_age is 1d",
            "listener 1: removed",
            "listener 2: added",
        ];
        assert_eq!(restart, expected);
        let running = take_effect(&before, after.clone(), &found);
        let (changed, again) = sort(&differences(&running, &after));
        assert_eq!((changed.as_slice(), again.len()), (&[][..], restart.len()));
        // Written back, nothing is left to say.
        let back = take_effect(&running, before.to_vec(), &differences(&running, &before));
        let (changed, restart) = sort(&differences(&back, &before));
        assert_eq!((changed, restart), (vec![], vec![]));
    }

    fn seen(name: &str, fingerprint: u64, digest: u64, uplink: &str) -> RuleSeen {
        let destination = Destination {
            target: Target::Local,
            qos: 1,
            retain: false,
            priority: Priority::Normal,
            ttl: None,
        };
        RuleSeen {
            name: name.to_owned(),
            fingerprint,
            digest,
            destinations: vec![(Some(uplink.to_owned()), destination)],
        }
    }

    #[test]
    fn rules_say_what_becomes_of_their_state() {
        let before = [
            seen("same", 1, 1, "a"),
            seen("moved", 2, 2, "a"),
            seen("other", 3, 3, "a"),
            seen("gone", 4, 4, "a"),
        ];
        let after = [
            seen("new", 5, 5, "a"),
            seen("same", 1, 1, "a"),
            seen("moved", 2, 2, "b"),
            seen("other", 6, 6, "a"),
        ];
        let lines = compare_rules(&before, &after, &["other".to_owned(), "gone".to_owned()]);
        let expected = [
            "rule gone: removed; what it remembered is gone",
            "rule new: added",
            "rule moved: changed; it keeps what it remembers",
            "rule other: changed; what it remembered is gone",
        ];
        assert_eq!(lines, expected);
    }
}
