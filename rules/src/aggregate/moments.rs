//! Mean and variance in one pass without cancellation (Welford 1962; put together as Chan, Golub and LeVeque 1979).

use crate::state::{Reader, StateError, put_count, put_float};

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Moments {
    count: u64,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
}

impl Moments {
    pub(super) fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        if newer.count == 0 {
            return;
        }
        let count = self.count.saturating_add(newer.count);
        let (ours, theirs) = (self.count as f64, newer.count as f64);
        let distance = newer.mean - self.mean;
        self.mean += distance * theirs / count as f64;
        self.squares += newer.squares + distance * distance * ours * theirs / count as f64;
        self.count = count;
    }

    /// The variance of all values, or of a sample; `None` if there are too few.
    pub(super) fn variance(&self, sample: bool) -> Option<f64> {
        let divisor = self.count.checked_sub(u64::from(sample)).filter(|divisor| *divisor > 0)?;
        // Rounding may leave less than nothing; NaN stays.
        let squares = if self.squares < 0.0 { 0.0 } else { self.squares };
        Some(squares / divisor as f64)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_count(self.count, out);
        put_float(self.mean, out);
        put_float(self.squares, out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { count: reader.count()?, mean: reader.float()?, squares: reader.float()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_from_zero_nothing_cancels() {
        let mut moments = Moments::default();
        [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0].into_iter().for_each(|value| moments.add(value));
        assert_eq!(moments.variance(true), Some(30.0));
        assert_eq!(moments.variance(false), Some(22.5));
    }

    #[test]
    fn parts_put_together() {
        let (mut older, mut newer) = (Moments::default(), Moments::default());
        [1.0, 2.0].into_iter().for_each(|value| older.add(value));
        [3.0, 4.0].into_iter().for_each(|value| newer.add(value));
        older.merge(&newer);
        older.merge(&Moments::default());
        assert_eq!(older.variance(false), Some(1.25));
        let mut empty = Moments::default();
        assert_eq!((empty.variance(false), empty.variance(true)), (None, None));
        empty.merge(&older);
        assert_eq!(empty.variance(false), Some(1.25));
    }
}
