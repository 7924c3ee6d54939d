//! The books of a run: what devices hold an acknowledgement for against what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use crate::event::Event;

/// What one device did.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// The device.
    pub device: String,
    /// The numbers it may have sent.
    pub planned: Range<u64>,
    /// The numbers that were acknowledged to it.
    pub acked: BTreeSet<u64>,
    /// The numbers it sent again because a connection ended before the acknowledgement.
    pub resent: BTreeSet<u64>,
}

/// What the audit found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Different events that arrived whole.
    pub arrived: usize,
    /// Acknowledged, never arrived.
    pub lost: Vec<Event>,
    /// Arrived, never sent.
    pub invented: Vec<String>,
    /// Arrived with other bytes or on another topic than sent.
    pub damaged: Vec<String>,
    /// First arrivals that came after a later event of their device.
    pub misordered: Vec<Event>,
    /// Further arrivals of an event that its device sent once.
    pub repeated: Vec<Event>,
    /// Further arrivals of an event that its device sent again itself.
    pub resent: Vec<Event>,
}

/// Compares accounts with arrivals, each a topic and a payload in the order they came.
pub fn audit<'a>(accounts: &[Account], arrivals: impl IntoIterator<Item = (&'a str, &'a str)>) -> Findings {
    let by_device: BTreeMap<&str, &Account> = accounts.iter().map(|a| (a.device.as_str(), a)).collect();
    let mut findings = Findings::default();
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for (topic, payload) in arrivals {
        let Some(event) = Event::read(payload) else {
            findings.damaged.push(format!("{topic} {payload}"));
            continue;
        };
        if topic != Event::topic(&event.device) {
            findings.damaged.push(format!("{event} on {topic}"));
            continue;
        }
        let Some(account) = by_device.get(event.device.as_str()).filter(|a| a.planned.contains(&event.seq))
        else {
            findings.invented.push(event.to_string());
            continue;
        };
        let seen = seen.entry(event.device.clone()).or_default();
        let newest = seen.last().copied();
        if !seen.insert(event.seq) {
            let excused = account.resent.contains(&event.seq);
            if excused { &mut findings.resent } else { &mut findings.repeated }.push(event);
        } else if newest.is_some_and(|newest| event.seq < newest) {
            findings.misordered.push(event);
        }
    }
    findings.arrived = seen.values().map(BTreeSet::len).sum();
    for account in accounts {
        let missing =
            account.acked.iter().filter(|seq| !seen.get(&account.device).is_some_and(|s| s.contains(seq)));
        findings.lost.extend(missing.map(|&seq| Event::new(&account.device, seq)));
    }
    findings
}

impl Findings {
    /// Holds if nothing was lost, invented, damaged or out of order.
    #[track_caller]
    pub fn assert_whole(&self) {
        let faultless = self.lost.is_empty()
            && self.invented.is_empty()
            && self.damaged.is_empty()
            && self.misordered.is_empty();
        assert!(faultless, "the books do not balance: {self}");
    }

    /// Holds if, in addition, each event came once.
    #[track_caller]
    pub fn assert_exactly_once(&self) {
        self.assert_whole();
        assert!(self.repeated.is_empty() && self.resent.is_empty(), "some came twice: {self}");
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} arrived", self.arrived)?;
        show(f, "lost", &self.lost)?;
        show(f, "invented", &self.invented)?;
        show(f, "damaged", &self.damaged)?;
        show(f, "misordered", &self.misordered)?;
        show(f, "repeated", &self.repeated)?;
        show(f, "resent", &self.resent)
    }
}

fn show<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, items: &[T]) -> fmt::Result {
    write!(f, ", {} {what}", items.len())?;
    items.iter().take(5).try_for_each(|item| write!(f, " [{item}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(device: &str, acked: Range<u64>) -> Account {
        Account { device: device.to_owned(), planned: 0..10, acked: acked.collect(), resent: BTreeSet::new() }
    }

    fn run(accounts: &[Account], events: &[(&str, u64)]) -> Findings {
        let lines: Vec<_> =
            events.iter().map(|(d, s)| (Event::topic(d), Event::new(d, *s).payload())).collect();
        audit(accounts, lines.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())))
    }

    #[test]
    fn a_faultless_run_has_no_findings() {
        let accounts = [account("a", 0..3), account("b", 0..2)];
        let findings = run(&accounts, &[("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 3)]);
        assert_eq!(findings, Findings { arrived: 6, ..Findings::default() });
        findings.assert_exactly_once();
    }

    #[test]
    fn a_lost_event_is_found() {
        let findings = run(&[account("a", 0..3)], &[("a", 0), ("a", 2)]);
        assert_eq!(findings.lost, [Event::new("a", 1)]);
        let silent = run(&[account("a", 0..1)], &[]);
        assert_eq!(silent.lost, [Event::new("a", 0)]);
    }

    #[test]
    fn an_invented_event_is_found() {
        let accounts = [account("a", 0..1)];
        assert_eq!(run(&accounts, &[("a", 0), ("a", 10)]).invented, ["a#10"]);
        assert_eq!(run(&accounts, &[("a", 0), ("ghost", 0)]).invented, ["ghost#0"]);
    }

    #[test]
    fn damage_is_found() {
        let accounts = [account("a", 0..1)];
        let payload = Event::new("a", 0).payload();
        let bent = payload.replace("aaa", "aba");
        assert_eq!(audit(&accounts, [("events/a", bent.as_str())]).damaged.len(), 1);
        assert_eq!(audit(&accounts, [("events/b", payload.as_str())]).damaged.len(), 1);
        assert_eq!(audit(&accounts, [("events/a", "")]).damaged.len(), 1);
    }

    #[test]
    fn a_swapped_pair_is_found_and_a_repeated_run_is_not_misordered() {
        let accounts = [account("a", 0..4)];
        assert_eq!(
            run(&accounts, &[("a", 0), ("a", 2), ("a", 1), ("a", 3)]).misordered,
            [Event::new("a", 1)]
        );
        let repeated = run(&accounts, &[("a", 0), ("a", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(repeated.misordered, []);
        assert_eq!(repeated.repeated, [Event::new("a", 1), Event::new("a", 2)]);
    }

    #[test]
    fn a_duplicate_is_the_devices_own_only_if_it_sent_twice() {
        let mut own = account("a", 0..2);
        own.resent.insert(1);
        let findings = run(&[own], &[("a", 0), ("a", 0), ("a", 1), ("a", 1)]);
        assert_eq!(findings.repeated, [Event::new("a", 0)]);
        assert_eq!(findings.resent, [Event::new("a", 1)]);
    }

    #[test]
    #[should_panic(expected = "1 lost [a#1]")]
    fn findings_fail_the_test_with_names() {
        run(&[account("a", 0..2)], &[("a", 0)]).assert_whole();
    }
}
