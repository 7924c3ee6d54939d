//! Failed logins, by address and by user name: who has failed too often has to wait, and is not even checked meanwhile.
//!
//! The table is bounded. A full one forgets first who has the least to answer for, so that an attack from many
//! addresses costs neither memory nor anybody's login.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use super::rate::{Bucket, Rate};

/// How many subjects are remembered.
const SUBJECTS_MAX: usize = 4096;

/// Who failed. User names are kept as hashes with a secret key: a table of names that strangers invent would have no
/// bound in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Address(IpAddr),
    User(u64),
}

/// The failed logins of the last while.
pub(super) struct Attempts {
    rate: Rate,
    buckets: HashMap<Subject, Bucket>,
    names: RandomState,
}

impl Attempts {
    pub(super) fn new(rate: Rate) -> Self {
        Attempts { rate, buckets: HashMap::new(), names: RandomState::new() }
    }

    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Whether a login may be checked now.
    pub(super) fn may_try(&mut self, address: Option<IpAddr>, username: &str, now_ms: u64) -> bool {
        let rate = self.rate;
        self.subjects(address, username).into_iter().flatten().all(|subject| {
            self.buckets.get_mut(&subject).is_none_or(|bucket| bucket.wait_ms(rate, now_ms) == 0)
        })
    }

    /// A login failed.
    pub(super) fn failed(&mut self, address: Option<IpAddr>, username: &str, now_ms: u64) {
        for subject in self.subjects(address, username).into_iter().flatten() {
            if self.buckets.len() >= SUBJECTS_MAX && !self.buckets.contains_key(&subject) {
                self.forget(now_ms);
            }
            let bucket = self.buckets.entry(subject).or_insert_with(|| Bucket::full(self.rate, now_ms));
            bucket.take(self.rate, 1, now_ms);
        }
    }

    fn subjects(&self, address: Option<IpAddr>, username: &str) -> [Option<Subject>; 2] {
        [address.map(Subject::Address), Some(Subject::User(self.names.hash_one(username)))]
    }

    /// Makes room: forgets everybody who has waited long enough, or else who is nearest to that.
    fn forget(&mut self, now_ms: u64) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| bucket.full_in_ms(rate, now_ms) > 0);
        if self.buckets.len() >= SUBJECTS_MAX {
            let mut waits: Vec<u64> =
                self.buckets.values_mut().map(|bucket| bucket.full_in_ms(rate, now_ms)).collect();
            let (_, median, _) = waits.select_nth_unstable(SUBJECTS_MAX / 2);
            let median = *median;
            let mut to_go = SUBJECTS_MAX / 2;
            self.buckets.retain(|_, bucket| {
                let goes = to_go > 0 && bucket.full_in_ms(rate, now_ms) <= median;
                to_go -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempts, SUBJECTS_MAX};
    use crate::listener::rate::Rate;
    use std::net::{IpAddr, Ipv4Addr};

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn who_fails_too_often_waits_by_address_and_by_name() {
        let mut attempts = Attempts::new(Rate::per_minute(3));
        for _ in 0..3 {
            assert!(attempts.may_try(address(1), "a", 0));
            attempts.failed(address(1), "a", 0);
        }
        assert!(!attempts.may_try(None, "a", 0), "on a Unix socket the name alone counts");
        for (from, name, now_ms, may) in [
            (1, "a", 0, false),
            (1, "b", 0, false),
            (2, "a", 0, false),
            (2, "b", 0, true),
            (1, "a", 19_999, false),
            (1, "a", 20_000, true),
        ] {
            assert_eq!(attempts.may_try(address(from), name, now_ms), may, "{from} {name} at {now_ms}");
        }
    }

    #[test]
    fn a_full_table_forgets_the_least_guilty() {
        let mut attempts = Attempts::new(Rate::per_minute(3));
        for _ in 0..5 {
            attempts.failed(address(0), "guilty", 0);
        }
        for number in 1..=10_000 {
            attempts.failed(address(number), "guilty", 0);
            assert!(attempts.buckets.len() <= SUBJECTS_MAX);
        }
        assert!(!attempts.may_try(address(0), "x", 0));
        assert!(attempts.may_try(address(1), "x", 0));
        // After a while nobody has anything to answer for.
        attempts.forget(1_000_000_000);
        assert!(attempts.buckets.is_empty());
    }
}
