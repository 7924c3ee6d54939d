//! How long something took, counted by bounds.

use std::time::Duration;

/// Counts of durations, by upper bounds of milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The last is of what took longer than any bound.
    counts: [u64; Histogram::BOUNDS_MS.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// The bounds, which are part of what they bound.
    pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = Self::BOUNDS_MS.iter().position(|bound_ms| us <= bound_ms * 1000);
        if let Some(count) = self.counts.get_mut(at.unwrap_or(Self::BOUNDS_MS.len())) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many took so long at most, and longer than the bound before; without a bound, longer than all.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        Self::BOUNDS_MS.into_iter().map(Some).chain([None]).zip(self.counts)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Histogram;

    #[test]
    fn a_bound_is_part_of_what_it_bounds() {
        let mut histogram = Histogram::default();
        for us in [0, 1000, 1001, 5_000_000, 5_000_001, u64::MAX] {
            histogram.observe(Duration::from_micros(us));
        }
        let counted: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Some(1), 2), (Some(2), 1), (Some(5000), 1), (None, 2)]);
        assert_eq!((histogram.count(), histogram.sum()), (6, Duration::from_micros(u64::MAX)));
    }
}
