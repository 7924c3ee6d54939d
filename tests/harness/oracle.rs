//! The books of a run: what devices hold an acknowledgement for against what arrived at the cloud.

use std::collections::BTreeSet;
use std::ops::Range;

use tidegate_oracle::Oracle;

use crate::event::Event;

/// What the judge found: of the events of devices, at the cloud.
pub type Findings = tidegate_oracle::Findings<Event>;

/// The one receiver of these runs.
const CLOUD: &str = "cloud";

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

/// Events of one device keep their order.
impl tidegate_oracle::Event for Event {
    type Line = String;

    fn line(&self) -> String {
        self.device.clone()
    }
}

/// Compares accounts with arrivals, each a topic and a payload in the order they came.
pub fn audit<'a>(accounts: &[Account], arrivals: impl IntoIterator<Item = (&'a str, &'a str)>) -> Findings {
    let mut oracle = Oracle::new();
    for account in accounts {
        let event = |seq| Event::new(&account.device, seq);
        for event in account.planned.clone().map(event) {
            oracle.sent(&event, [CLOUD], &content(&Event::topic(&event.device), &event.payload()));
        }
        account.acked.iter().for_each(|&seq| oracle.acknowledged(&event(seq)));
        account.resent.iter().for_each(|&seq| oracle.sent_again(&event(seq)));
    }
    for (topic, payload) in arrivals {
        match Event::read(payload) {
            Some(event) => {
                oracle.arrived(&CLOUD, &event, &content(topic, payload));
                oracle.settled(&CLOUD, &event);
            }
            None => oracle.arrived_unreadable(format_args!("{topic} {payload}")),
        }
    }
    oracle.judge()
}

/// What must arrive as it was sent.
fn content(topic: &str, payload: &str) -> Vec<u8> {
    [topic, payload].join("\n").into_bytes()
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
        assert_eq!(run(&accounts, &[("a", 0), ("a", 10)]).invented, ["a#10 at cloud"]);
        assert_eq!(run(&accounts, &[("a", 0), ("ghost", 0)]).invented, ["ghost#0 at cloud"]);
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
