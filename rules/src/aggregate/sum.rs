//! Sums that are exact as long as all values are integers.

use crate::{
    number::{Number, widen},
    state::{Reader, StateError, put_count, put_value},
    value::Value,
};

/// Count and sum of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sum {
    count: u64,
    /// The sum of the integers, in two halves, so that it asks for no wider alignment.
    low: u64,
    high: i64,
    floats: f64,
    has_float: bool,
}

impl Sum {
    fn ints(&self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }

    fn set_ints(&mut self, ints: i128) {
        let [high, low] = halves(ints);
        (self.high, self.low) = (high.cast_signed(), low);
    }

    pub(super) fn add(&mut self, number: Number) {
        self.count = self.count.saturating_add(1);
        match number {
            // 2^64 integers of 64 bits fit.
            Number::Int(int) => {
                let (low, carry) = self.low.overflowing_add(int.cast_unsigned());
                self.low = low;
                self.high = self.high.wrapping_add(int >> 63).wrapping_add(i64::from(carry));
            }
            Number::Float(float) => {
                self.floats += float;
                self.has_float = true;
            }
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        self.count = self.count.saturating_add(newer.count);
        self.set_ints(self.ints().wrapping_add(newer.ints()));
        if newer.has_float {
            self.floats += newer.floats;
            self.has_float = true;
        }
    }

    pub(super) fn total(&self) -> Option<Number> {
        match (self.count, self.has_float) {
            (0, _) => None,
            (_, false) => Some(widen(self.ints())),
            (_, true) => Some(Number::Float(self.ints() as f64 + self.floats)),
        }
    }

    pub(super) fn mean(&self) -> Option<f64> {
        Some(self.total()?.to_float() / self.count as f64)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_count(self.count, out);
        put_count(self.low, out);
        put_value(&Value::Int(self.high), out);
        put_value(&if self.has_float { Value::Float(self.floats) } else { Value::Null }, out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (count, low) = (reader.count()?, reader.count()?);
        let Value::Int(high) = reader.value()? else { return Err(reader.damaged()) };
        let (floats, has_float) = match reader.value()? {
            Value::Null => (0.0, false),
            Value::Float(floats) => (floats, true),
            _ => return Err(reader.damaged()),
        };
        Ok(Self { count, low, high, floats, has_float })
    }
}

fn halves(wide: i128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = wide.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_wide_integers(values in prop::collection::vec(any::<i64>(), 1..20), split in 0_usize..20) {
            let (mut older, mut newer) = (Sum::default(), Sum::default());
            for (at, value) in values.iter().enumerate() {
                if at < split { &mut older } else { &mut newer }.add(Number::Int(*value));
            }
            older.merge(&newer);
            let expected: i128 = values.iter().map(|value| i128::from(*value)).sum();
            prop_assert_eq!(older.total(), Some(widen(expected)));
        }
    }
}
