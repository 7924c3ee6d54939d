//! Numbers: exact comparison across integer and float, and arithmetic that never wraps.

use std::cmp::Ordering;

use crate::value::{Fault, Value};

/// 2 to the 63rd: the first float above every integer.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// An operator on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A number out of a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(crate) fn to_float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// Compares exactly: no rounding of the integer to a float. `None` if one is NaN.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            (Self::Int(left), Self::Float(right)) => compare_mixed(left, right),
            (Self::Float(left), Self::Int(right)) => compare_mixed(right, left).map(Ordering::reverse),
        }
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(int) => Self::Int(int),
            Number::Float(float) => Self::Float(float),
        }
    }
}

fn compare_mixed(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    match truncate(float) {
        Some(whole) => int.cmp(&whole).then(0.0.partial_cmp(&float.fract())?).into(),
        None if float > 0.0 => Some(Ordering::Less),
        None => Some(Ordering::Greater),
    }
}

/// The integer part of a float, if it is a 64-bit integer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked, and cutting the fraction is the purpose"
)]
pub(crate) fn truncate(float: f64) -> Option<i64> {
    (-INT_END..INT_END).contains(&float).then_some(float as i64)
}

/// An integer of any width, as an integer if it fits and as the nearest float else.
pub(crate) fn widen(int: i128) -> Number {
    i64::try_from(int).map_or(Number::Float(int as f64), Number::Int)
}

/// Adds, subtracts, multiplies or divides. An integer result that does not fit becomes a float; `/` is real division.
pub(crate) fn arithmetic(operator: Arithmetic, left: Number, right: Number) -> Result<Number, Fault> {
    if matches!(operator, Arithmetic::Divide | Arithmetic::Remainder) && right.to_float() == 0.0 {
        return Err(Fault::Error);
    }
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        let (wide_left, wide_right) = (i128::from(left), i128::from(right));
        return Ok(match operator {
            Arithmetic::Add => widen(wide_left + wide_right),
            Arithmetic::Subtract => widen(wide_left - wide_right),
            Arithmetic::Multiply => widen(wide_left * wide_right),
            Arithmetic::Divide => Number::Float(left as f64 / right as f64),
            Arithmetic::Remainder => Number::Int(left.wrapping_rem(right)),
        });
    }
    let (left, right) = (left.to_float(), right.to_float());
    Ok(Number::Float(match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder => left % right,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Number::{Float, Int};

    #[test]
    fn arithmetic_table() {
        use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
        for (operator, left, right, expected) in [
            (Add, Int(1), Int(2), Ok(Int(3))),
            (Add, Int(i64::MAX), Int(1), Ok(Float(INT_END))),
            (Add, Int(1), Float(0.5), Ok(Float(1.5))),
            (Subtract, Int(i64::MIN), Int(1), Ok(Float(-INT_END))),
            (Multiply, Int(1 << 62), Int(4), Ok(Float(INT_END * 2.0))),
            (Multiply, Int(-3), Int(4), Ok(Int(-12))),
            (Divide, Int(6), Int(4), Ok(Float(1.5))),
            (Divide, Int(6), Int(3), Ok(Float(2.0))),
            (Divide, Int(6), Int(0), Err(Fault::Error)),
            (Divide, Float(6.0), Float(-0.0), Err(Fault::Error)),
            (Remainder, Int(-7), Int(3), Ok(Int(-1))),
            (Remainder, Int(i64::MIN), Int(-1), Ok(Int(0))),
            (Remainder, Int(7), Int(0), Err(Fault::Error)),
            (Remainder, Float(7.5), Int(2), Ok(Float(1.5))),
        ] {
            assert_eq!(arithmetic(operator, left, right), expected, "{operator:?} {left:?} {right:?}");
        }
    }

    #[test]
    fn comparison_does_not_round() {
        let big = (1_i64 << 53) + 1;
        for (left, right, expected) in [
            (Int(1), Float(1.0), Some(Ordering::Equal)),
            (Int(big), Float(9_007_199_254_740_992.0), Some(Ordering::Greater)),
            (Int(i64::MAX), Float(INT_END), Some(Ordering::Less)),
            (Int(i64::MIN), Float(-INT_END), Some(Ordering::Equal)),
            (Int(i64::MIN), Float(f64::NEG_INFINITY), Some(Ordering::Greater)),
            (Int(0), Float(-0.5), Some(Ordering::Greater)),
            (Int(-1), Float(-0.5), Some(Ordering::Less)),
            (Int(0), Float(f64::NAN), None),
            (Float(0.0), Float(-0.0), Some(Ordering::Equal)),
        ] {
            assert_eq!(left.compare(right), expected, "{left:?} {right:?}");
            assert_eq!(right.compare(left), expected.map(Ordering::reverse));
        }
    }

    #[test]
    fn truncation_keeps_to_the_range() {
        assert_eq!(truncate(-1.9), Some(-1));
        assert_eq!(truncate(-INT_END), Some(i64::MIN));
        for outside in [INT_END, f64::INFINITY, f64::NAN, -1e300] {
            assert_eq!(truncate(outside), None);
        }
    }

    proptest! {
        #[test]
        fn small_integers_compare_like_floats(int in -1000_i64..1000, float in -1000.0_f64..1000.0) {
            prop_assert_eq!(Int(int).compare(Float(float)), (int as f64).partial_cmp(&float));
        }
    }
}
