//! Aggregates: what they keep of the values of a group, and what they make of it. All but `count(*)` ignore NULL.

use crate::{
    expr::{Expr, number},
    number::{Number, widen},
    state::{Reader, StateError, put_count, put_value},
    value::{Fault, Kind, Value},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    /// `count(*)`
    CountAll,
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
}

/// Names of aggregates of one argument.
pub(crate) const AGGREGATES: &[(&str, AggregateKind)] = &[
    ("count", AggregateKind::Count),
    ("sum", AggregateKind::Sum),
    ("avg", AggregateKind::Avg),
    ("min", AggregateKind::Min),
    ("max", AggregateKind::Max),
    ("first", AggregateKind::First),
    ("last", AggregateKind::Last),
];

/// An aggregate of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) kind: AggregateKind,
    /// `None` for `count(*)`.
    pub(crate) argument: Option<Expr>,
}

impl AggregateKind {
    /// The kind of its argument.
    pub(crate) fn parameter(self) -> Kind {
        match self {
            Self::Sum | Self::Avg => Kind::Number,
            _ => Kind::Any,
        }
    }

    /// The kind of its result, given that of its argument.
    pub(crate) fn result(self, argument: Kind) -> Kind {
        match self {
            Self::CountAll | Self::Count => Kind::Integer,
            Self::Sum | Self::Avg => Kind::Number,
            Self::Min | Self::Max | Self::First | Self::Last => argument,
        }
    }

    /// Whether it can use a value. NULL is no use, but no fault either.
    pub(crate) fn check(self, value: &Value<'_>) -> Result<(), Fault> {
        match self {
            Self::Sum | Self::Avg => number(value).map(drop),
            _ => Ok(()),
        }
    }
}

/// What an aggregate keeps of the values of one group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accumulator {
    Count(u64),
    Sum(Sum),
    Value(Value<'static>),
}

/// A sum that is exact as long as all values are integers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sum {
    count: u64,
    ints: i128,
    /// There is one as soon as there was a float.
    floats: Option<f64>,
}

impl Sum {
    fn add(&mut self, number: Number) {
        self.count += 1;
        match number {
            // 2^64 integers of 64 bits fit.
            Number::Int(int) => self.ints = self.ints.wrapping_add(i128::from(int)),
            Number::Float(float) => self.floats = Some(self.floats.unwrap_or(0.0) + float),
        }
    }

    fn total(&self) -> Number {
        match self.floats {
            None => widen(self.ints),
            Some(floats) => Number::Float(self.ints as f64 + floats),
        }
    }
}

impl Accumulator {
    pub(crate) fn new(kind: AggregateKind) -> Self {
        match kind {
            AggregateKind::CountAll | AggregateKind::Count => Self::Count(0),
            AggregateKind::Sum | AggregateKind::Avg => Self::Sum(Sum::default()),
            _ => Self::Value(Value::Null),
        }
    }

    /// Takes a value in.
    pub(crate) fn add(&mut self, kind: AggregateKind, value: &Value<'_>) -> Result<(), Fault> {
        match self {
            Self::Count(count) if kind == AggregateKind::CountAll || !value.is_null() => *count += 1,
            Self::Sum(sum) if !value.is_null() => sum.add(number(value)?),
            Self::Value(kept) if replaces(kind, kept, value)? => *kept = value.clone().into_owned(),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn finish(&self, kind: AggregateKind) -> Value<'_> {
        match self {
            Self::Count(count) => Value::Int(i64::try_from(*count).unwrap_or(i64::MAX)),
            Self::Sum(sum) if sum.count == 0 => Value::Null,
            Self::Sum(sum) if kind == AggregateKind::Avg => {
                Value::Float(sum.total().to_float() / sum.count as f64)
            }
            Self::Sum(sum) => sum.total().into(),
            Self::Value(value) => value.reborrow(),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => put_count(*count, out),
            Self::Value(value) => put_value(value, out),
            Self::Sum(sum) => {
                put_count(sum.count, out);
                out.extend_from_slice(&sum.ints.to_le_bytes());
                put_value(&sum.floats.map_or(Value::Null, Value::Float), out);
            }
        }
    }

    pub(crate) fn read(kind: AggregateKind, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(match Self::new(kind) {
            Self::Count(_) => Self::Count(reader.count()?),
            Self::Value(_) => Self::Value(reader.value()?.into_owned()),
            Self::Sum(_) => {
                let (count, ints) = (reader.count()?, i128::from_le_bytes(reader.array()?));
                let floats = match reader.value()? {
                    Value::Null => None,
                    Value::Float(float) => Some(float),
                    _ => return Err(reader.damaged()),
                };
                Self::Sum(Sum { count, ints, floats })
            }
        })
    }
}

/// Whether a value takes the place of the one that is kept.
fn replaces(kind: AggregateKind, kept: &Value<'_>, value: &Value<'_>) -> Result<bool, Fault> {
    if value.is_null() {
        return Ok(false);
    }
    let order = match kind {
        AggregateKind::Last => return Ok(true),
        _ if kept.is_null() => return Ok(kind == AggregateKind::First || value.equals(value).is_some()),
        AggregateKind::Min | AggregateKind::Max => value.order(kept),
        _ => return Ok(false),
    };
    match order {
        Ok(order) => Ok(if kind == AggregateKind::Min { order.is_lt() } else { order.is_gt() }),
        // NaN is neither less nor greater.
        Err(Fault::Null) => Ok(false),
        Err(Fault::Error) => Err(Fault::Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Bool, Float, Int, Null};

    fn aggregate(kind: AggregateKind, values: &[Value<'static>]) -> (Value<'static>, usize) {
        let mut accumulator = Accumulator::new(kind);
        let errors = values.iter().filter(|value| accumulator.add(kind, value).is_err()).count();
        let mut bytes = Vec::new();
        accumulator.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Accumulator::read(kind, &mut reader).as_ref(), Ok(&accumulator), "{kind:?} {values:?}");
        assert!(reader.is_empty());
        (accumulator.finish(kind).into_owned(), errors)
    }

    #[test]
    fn table() {
        use AggregateKind::{Avg, Count, CountAll, First, Last, Max, Min, Sum};
        let text = |text: &'static str| Value::text(text);
        let max = Int(i64::MAX);
        for (kind, values, expected, errors) in [
            (CountAll, vec![Null, Int(1), text("")], Int(3), 0),
            (Count, vec![Null, Int(1), text("")], Int(2), 0),
            (Count, vec![], Int(0), 0),
            (Sum, vec![], Null, 0),
            (Sum, vec![Null], Null, 0),
            (Sum, vec![Int(1), Int(2), Null], Int(3), 0),
            (Sum, vec![Int(1), Float(0.5)], Float(1.5), 0),
            (Sum, vec![Float(1.0)], Float(1.0), 0),
            (Sum, vec![max.clone(), max.clone()], Float(18_446_744_073_709_551_614.0), 0),
            (Sum, vec![max.clone(), Int(1), Int(-1)], max.clone(), 0),
            (Sum, vec![Int(1), text("2"), Bool(true)], Int(1), 2),
            (Avg, vec![Int(20), Int(22), Int(24)], Float(22.0), 0),
            (Avg, vec![Int(1), Null, Int(2)], Float(1.5), 0),
            (Avg, vec![Null], Null, 0),
            (Avg, vec![max.clone(), max], Float(9_223_372_036_854_775_807.0), 0),
            (Min, vec![Null, Int(3), Float(2.5), Int(4)], Float(2.5), 0),
            (Min, vec![text("b"), text("a")], text("a"), 0),
            (Max, vec![Int(3), Float(2.5), Int(4), Null], Int(4), 0),
            (Max, vec![Int(3), text("z")], Int(3), 1),
            (Max, vec![Float(f64::NAN), Int(3), Float(f64::NAN)], Int(3), 0),
            (Min, vec![], Null, 0),
            (First, vec![Null, Int(1), Int(2)], Int(1), 0),
            (Last, vec![Int(1), Int(2), Null], Int(2), 0),
            (Last, vec![Value::Array([Int(1)].into())], Value::Array([Int(1)].into()), 0),
        ] {
            assert_eq!(aggregate(kind, &values), (expected, errors), "{kind:?} {values:?}");
        }
    }

    #[test]
    fn kinds() {
        for (name, kind) in AGGREGATES {
            let needs_number = matches!(*name, "sum" | "avg");
            assert_eq!(kind.check(&Value::text("x")), if needs_number { Err(Fault::Error) } else { Ok(()) });
            assert_eq!(kind.parameter() == Kind::Number, needs_number);
        }
        assert_eq!(AggregateKind::Max.result(Kind::Text), Kind::Text);
        assert_eq!(AggregateKind::Count.result(Kind::Text), Kind::Integer);
    }
}
