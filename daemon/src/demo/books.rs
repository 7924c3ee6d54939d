//! The demo's books: what devices sent, what the gateway acknowledged, what the cloud got.

use std::collections::{HashMap, HashSet};

/// A reading, by device and number.
pub(super) type Reading = (usize, u64);

/// Who has what.
#[derive(Default)]
pub(super) struct Books {
    sent: HashSet<Reading>,
    acknowledged: HashSet<Reading>,
    arrived: HashMap<Reading, u32>,
    last_arrived: HashMap<usize, u64>,
    /// Readings that arrived behind a later one of the same device.
    disordered: u64,
}

/// The books at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sent: usize,
    pub(super) acknowledged: usize,
    pub(super) arrived: usize,
    pub(super) duplicates: usize,
    /// Acknowledged and not arrived: what waits while the run goes on, what is lost at its end.
    pub(super) missing: usize,
    pub(super) disordered: u64,
}

impl Books {
    pub(super) fn sent(&mut self, reading: Reading) {
        self.sent.insert(reading);
    }

    pub(super) fn acknowledged(&mut self, reading: Reading) {
        self.acknowledged.insert(reading);
    }

    pub(super) fn arrived(&mut self, reading: Reading) {
        let count = self.arrived.entry(reading).or_default();
        *count += 1;
        let (device, n) = reading;
        let last = self.last_arrived.entry(device).or_default();
        if *count == 1 {
            self.disordered += u64::from(n < *last);
            *last = n.max(*last);
        }
    }

    pub(super) fn sums(&self) -> Sums {
        Sums {
            sent: self.sent.len(),
            acknowledged: self.acknowledged.len(),
            arrived: self.arrived.len(),
            duplicates: self.arrived.values().map(|count| *count as usize - 1).sum(),
            missing: self.acknowledged.iter().filter(|reading| !self.arrived.contains_key(reading)).count(),
            disordered: self.disordered,
        }
    }

    /// Acknowledged readings of one device, and how many of them have not arrived.
    pub(super) fn device(&self, device: usize) -> (usize, usize) {
        let acknowledged = self.acknowledged.iter().filter(|reading| reading.0 == device);
        acknowledged.fold((0, 0), |(all, missing), reading| {
            (all + 1, missing + usize::from(!self.arrived.contains_key(reading)))
        })
    }
}

impl Sums {
    /// Nothing that was acknowledged is missing, nothing came out of order, and nothing came that nobody sent.
    pub(super) fn balance(&self) -> bool {
        self.missing == 0 && self.disordered == 0 && self.arrived <= self.sent && self.sent > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Books;

    #[test]
    fn loss_duplicates_and_disorder_are_seen() {
        let mut books = Books::default();
        for n in 1..=4 {
            books.sent((0, n));
            books.acknowledged((0, n));
        }
        for n in [1, 3, 2, 3] {
            books.arrived((0, n));
        }
        let sums = books.sums();
        assert_eq!((sums.arrived, sums.duplicates, sums.missing, sums.disordered), (3, 1, 1, 1));
        assert!(!sums.balance());
        assert_eq!(books.device(0), (4, 1));
    }

    #[test]
    fn a_run_with_duplicates_only_balances() {
        let mut books = Books::default();
        assert!(!books.sums().balance(), "a run in which nothing happened proves nothing");
        for n in 1..=3 {
            books.sent((7, n));
            books.acknowledged((7, n));
            books.arrived((7, n));
        }
        books.arrived((7, 2));
        assert!(books.sums().balance());
    }
}
