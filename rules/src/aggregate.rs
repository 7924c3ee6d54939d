//! Aggregates: what they keep of the values of a group, and what they make of it. All but `count(*)` ignore NULL.
//!
//! What two groups keep can be put together, the older one first. That is how windows that overlap share their parts.

mod accumulator;
mod delta;
mod distinct;
mod frequency;
mod moments;
mod quantiles;
mod sum;
mod weighted;

pub(crate) use accumulator::Accumulators;

use crate::{
    expr::{Expr, number},
    function::name_of,
    value::{Fault, Kind, Value},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    /// `count(*)`
    CountAll,
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    AnyValue,
    MinBy,
    MaxBy,
    Stddev,
    StddevPop,
    Variance,
    Median,
    Percentile,
    Mode,
    Collect,
    BoolAnd,
    BoolOr,
    DeltaSum,
    TimeWeightedAvg,
}

/// An aggregate as rules call it.
#[derive(Debug)]
pub(crate) struct Catalogued {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) kind: AggregateKind,
    /// The kinds of its arguments.
    pub(crate) parameters: &'static [Kind],
}

const fn entry(
    kind: AggregateKind,
    signature: &'static str,
    parameters: &'static [Kind],
    doc: &'static str,
) -> Catalogued {
    Catalogued { name: name_of(signature), signature, doc, kind, parameters }
}

const ANY: &[Kind] = &[Kind::Any];
const NUMBER: &[Kind] = &[Kind::Number];
const BOOLEAN: &[Kind] = &[Kind::Boolean];
const TWO: &[Kind] = &[Kind::Any, Kind::Any];

pub(crate) const AGGREGATES: &[Catalogued] = &[
    entry(AggregateKind::CountAll, "count(*)", &[], "How many events."),
    entry(AggregateKind::Count, "count(x)", ANY, "How many events have the value."),
    entry(
        AggregateKind::CountDistinct,
        "count_distinct(x)",
        ANY,
        "How many different values: exact up to 1,000, then HyperLogLog with a standard error of 2.3 %.",
    ),
    entry(AggregateKind::Sum, "sum(x)", NUMBER, "The sum; exact as long as all values are integers."),
    entry(AggregateKind::Avg, "avg(x)", NUMBER, "The arithmetic mean."),
    entry(AggregateKind::Min, "min(x)", ANY, "The least value."),
    entry(AggregateKind::Max, "max(x)", ANY, "The greatest value."),
    entry(AggregateKind::First, "first(x)", ANY, "The value of the earliest event that has it."),
    entry(AggregateKind::Last, "last(x)", ANY, "The value of the latest event that has it."),
    entry(AggregateKind::AnyValue, "any_value(x)", ANY, "One of the values; the same as `first`."),
    entry(AggregateKind::MinBy, "min_by(x, y)", TWO, "x of the event with the least y."),
    entry(AggregateKind::MaxBy, "max_by(x, y)", TWO, "x of the event with the greatest y."),
    entry(
        AggregateKind::Stddev,
        "stddev(x)",
        NUMBER,
        "The standard deviation of a sample; NULL for one value.",
    ),
    entry(AggregateKind::StddevPop, "stddev_pop(x)", NUMBER, "The standard deviation of all values."),
    entry(AggregateKind::Variance, "variance(x)", NUMBER, "The variance of a sample; NULL for one value."),
    entry(AggregateKind::Median, "median(x)", NUMBER, "The same as `percentile(x, 0.5)`."),
    entry(
        AggregateKind::Percentile,
        "percentile(x, p)",
        NUMBER,
        "The value below which the part p (0 to 1) of the values lies, interpolated: exact up to 1,000 values, then \
         within 1 % of the value.",
    ),
    entry(
        AggregateKind::Mode,
        "mode(x)",
        ANY,
        "The most frequent value; of several the one that came first. Up to 1,000 different values are counted.",
    ),
    entry(
        AggregateKind::Collect,
        "collect(x)",
        ANY,
        "An array of the values in order of time, 1,000 at most.",
    ),
    entry(AggregateKind::BoolAnd, "bool_and(x)", BOOLEAN, "Whether all are TRUE."),
    entry(AggregateKind::BoolOr, "bool_or(x)", BOOLEAN, "Whether one is TRUE."),
    entry(
        AggregateKind::DeltaSum,
        "delta_sum(counter)",
        NUMBER,
        "By how much a counter grew; a counter that falls began again at 0.",
    ),
    entry(
        AggregateKind::TimeWeightedAvg,
        "time_weighted_avg(x)",
        NUMBER,
        "The mean over time: each value counts until the next one or the end of the window.",
    ),
];

/// The aggregate of a name in lower case. `count(*)` is found by its kind.
pub(crate) fn find(name: &str) -> Option<&'static Catalogued> {
    AGGREGATES.iter().find(|each| each.name == name && each.kind != AggregateKind::CountAll)
}

/// An aggregate of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) kind: AggregateKind,
    /// None for `count(*)`. With FILTER, they are NULL where its condition does not hold.
    pub(crate) arguments: Box<[Expr]>,
    /// The p of `percentile`.
    pub(crate) parameter: f64,
}

impl Aggregate {
    pub(crate) fn new(kind: AggregateKind, arguments: Box<[Expr]>) -> Self {
        Self { kind, arguments, parameter: 0.5 }
    }

    /// Whether what it keeps stays small, however many values there are.
    pub(crate) fn is_small(&self) -> bool {
        use AggregateKind::{Collect, CountDistinct, Median, Mode, Percentile};
        !matches!(self.kind, Collect | CountDistinct | Median | Mode | Percentile)
    }
}

impl AggregateKind {
    /// The kind of its result, given that of its first argument.
    pub(crate) fn result(self, argument: Kind) -> Kind {
        match self {
            Self::CountAll | Self::Count | Self::CountDistinct => Kind::Integer,
            Self::Collect => Kind::Array,
            Self::BoolAnd | Self::BoolOr => Kind::Boolean,
            Self::Min | Self::Max | Self::First | Self::Last | Self::AnyValue | Self::Mode => argument,
            Self::MinBy | Self::MaxBy => argument,
            _ => Kind::Number,
        }
    }

    /// Whether it can use a value. NULL is no use, but no fault either.
    pub(crate) fn check(self, value: &Value<'_>) -> Result<(), Fault> {
        use AggregateKind::{
            Avg, BoolAnd, BoolOr, DeltaSum, Median, Percentile, Stddev, StddevPop, Sum, TimeWeightedAvg,
            Variance,
        };
        match self {
            Sum | Avg | Stddev | StddevPop | Variance | Median | Percentile | DeltaSum | TimeWeightedAvg => {
                number(value).map(drop)
            }
            BoolAnd | BoolOr => match value {
                Value::Bool(_) => Ok(()),
                other => Err(crate::expr::fault(other)),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
