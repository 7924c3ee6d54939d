//! Percentiles: exact for few values, then a sketch with a bound on the relative error (DDSketch, Masson et al. 2019).

use std::collections::BTreeMap;

use crate::state::{Reader, StateError, put_count, put_float, put_value};
use crate::value::Value;

/// So many values are kept as they are.
const EXACT_MAX: usize = 1_000;

/// A bucket reaches from `γ^(i-1)` to `γ^i`: with γ = 1.01 / 0.99, any value in it is within 1 % of its middle.
const GAMMA: f64 = 1.01 / 0.99;

/// So many buckets are kept, enough for 17 decades; past that the least ones become one.
const BUCKETS_MAX: usize = 2_048;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Quantiles {
    Exact(Vec<f64>),
    /// Counts by the number of the bucket; see [`bucket_of`].
    Sketch(BTreeMap<i64, u64>),
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

/// Far enough from all bucket numbers of one sign, that those of both signs and 0 are in the order of their values.
const SIGN_OFFSET: i64 = 1 << 32;

fn bucket_of(value: f64) -> i64 {
    if value == 0.0 {
        return 0;
    }
    let size = crate::number::truncate((value.abs().ln() / GAMMA.ln()).ceil()).unwrap_or(0);
    if value > 0.0 { SIGN_OFFSET + size } else { -SIGN_OFFSET - size }
}

fn middle_of(bucket: i64) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let size = bucket.saturating_abs().saturating_sub(SIGN_OFFSET);
    let middle = 2.0 * ((size as f64) * GAMMA.ln()).exp() / (GAMMA + 1.0);
    if bucket > 0 { middle.min(f64::MAX) } else { (-middle).max(f64::MIN) }
}

impl Quantiles {
    /// Takes a value in. NaN and the infinities have no place among the others.
    pub(super) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if let Self::Exact(values) = self {
            if values.len() < EXACT_MAX {
                values.push(value);
                return;
            }
            *self = Self::Sketch(sketch(values));
        }
        if let Self::Sketch(buckets) = self {
            increase(buckets, bucket_of(value), 1);
            bound(buckets);
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        match newer {
            Self::Exact(values) => values.iter().for_each(|value| self.add(*value)),
            Self::Sketch(theirs) => {
                let mut buckets = match self {
                    Self::Exact(values) => sketch(values),
                    Self::Sketch(buckets) => std::mem::take(buckets),
                };
                for (bucket, count) in theirs {
                    increase(&mut buckets, *bucket, *count);
                }
                bound(&mut buckets);
                *self = Self::Sketch(buckets);
            }
        }
    }

    /// The value below which a part of them lies; `None` if there are none.
    pub(super) fn at(&self, part: f64) -> Option<f64> {
        match self {
            Self::Exact(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                let place = part * sorted.len().checked_sub(1)? as f64;
                let at = |place: f64| {
                    let index =
                        crate::number::truncate(place).and_then(|place| usize::try_from(place).ok())?;
                    sorted.get(index).copied()
                };
                let (below, above) = (at(place.floor())?, at(place.ceil())?);
                let share = place.fract();
                Some(if share == 0.0 { below } else { below * (1.0 - share) + above * share })
            }
            Self::Sketch(buckets) => {
                let total = buckets.values().fold(0_u64, |total, count| total.saturating_add(*count));
                let place = part * total.checked_sub(1)? as f64;
                let mut passed = 0_u64;
                let mut found = buckets.iter().find(|(_, count)| {
                    passed = passed.saturating_add(**count);
                    passed as f64 > place
                });
                found.get_or_insert(buckets.last_key_value()?);
                found.map(|(bucket, _)| middle_of(*bucket))
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exact(values) => {
                out.push(0);
                put_count(values.len() as u64, out);
                values.iter().for_each(|value| put_float(*value, out));
            }
            Self::Sketch(buckets) => {
                out.push(1);
                put_count(buckets.len() as u64, out);
                for (bucket, count) in buckets {
                    put_value(&Value::Int(*bucket), out);
                    put_count(*count, out);
                }
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let tag = reader.byte()?;
        let count = reader.count()?;
        match tag {
            0 => (0..count).map(|_| reader.float()).collect::<Result<_, _>>().map(Self::Exact),
            1 => {
                let mut buckets = BTreeMap::new();
                for _ in 0..count {
                    let Value::Int(bucket) = reader.value()? else { return Err(reader.damaged()) };
                    // Sums of counts must not overflow, whatever is read.
                    let count = Some(reader.count()?).filter(|count| *count < 1 << 48);
                    buckets.insert(bucket, count.ok_or_else(|| reader.damaged())?);
                }
                Ok(Self::Sketch(buckets))
            }
            _ => Err(reader.damaged()),
        }
    }
}

fn increase(buckets: &mut BTreeMap<i64, u64>, bucket: i64, count: u64) {
    let known = buckets.entry(bucket).or_default();
    *known = known.saturating_add(count);
}

fn sketch(values: &[f64]) -> BTreeMap<i64, u64> {
    let mut buckets = BTreeMap::new();
    values.iter().for_each(|value| increase(&mut buckets, bucket_of(*value), 1));
    buckets
}

/// The least buckets become one if there are too many.
fn bound(buckets: &mut BTreeMap<i64, u64>) {
    while buckets.len() > BUCKETS_MAX
        && let Some((_, count)) = buckets.pop_first()
        && let Some(mut least) = buckets.first_entry()
    {
        *least.get_mut() = least.get().saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    #[test]
    fn few_values_are_exact() {
        assert_eq!(of(&[]).at(0.5), None);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]).at(0.5), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]).at(0.5), Some(2.0));
        assert_eq!(of(&[4.0, 1.0]).at(0.5), Some(2.5));
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0]).at(0.9), Some(4.6));
        assert_eq!((of(&[1.0, 7.0]).at(0.0), of(&[1.0, 7.0]).at(1.0)), (Some(1.0), Some(7.0)));
    }

    #[test]
    fn buckets_are_bounded() {
        let mut many = Quantiles::Sketch(BTreeMap::new());
        for exponent in -300..300 {
            for step in 1..10 {
                many.add(f64::from(step) * 10_f64.powi(exponent));
                many.add(f64::from(-step) * 10_f64.powi(exponent));
            }
        }
        let Quantiles::Sketch(buckets) = &many else { panic!("exact") };
        assert_eq!(buckets.len(), BUCKETS_MAX);
        assert!((many.at(1.0).unwrap() / 9e299 - 1.0).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn a_sketch_is_within_one_percent(
            mut values in prop::collection::vec(-1e6_f64..1e6, 1_001..2_000), part in 0.0_f64..=1.0,
        ) {
            let (left, right) = values.split_at(values.len() / 3);
            let mut sketch = of(left);
            sketch.merge(&of(right));
            values.sort_unstable_by(f64::total_cmp);
            let place = crate::number::truncate(part * (values.len() - 1) as f64).unwrap();
            let exact = values[usize::try_from(place).unwrap()];
            let found = sketch.at(part).unwrap();
            prop_assert!((found - exact).abs() <= exact.abs() * 0.0101, "{found} {exact}");
        }
    }
}
