//! What an aggregate keeps of the values of one group.

use super::{
    Aggregate, AggregateKind, delta::Delta, distinct::Distinct, frequency::Frequency, moments::Moments,
    quantiles::Quantiles, sum::Sum, weighted::Weighted,
};
use crate::{
    expr::number,
    state::{Reader, StateError, put_count, put_value},
    value::{Fault, Value},
};

/// `collect` keeps so many values.
const COLLECTED_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accumulator {
    Count(u64),
    Sum(Sum),
    Value(Value<'static>),
    /// A value and when it was; the time is of no use while the value is NULL.
    Timed(i64, Value<'static>),
    /// The value that it goes by, and the value that is wanted.
    By(Option<Box<(Value<'static>, Value<'static>)>>),
    Moments(Moments),
    Quantiles(Box<Quantiles>),
    Distinct(Box<Distinct>),
    Frequency(Box<Frequency>),
    Collected(Vec<(i64, Value<'static>)>),
    Delta(Option<Box<Delta>>),
    Weighted(Option<Box<Weighted>>),
}

impl Accumulator {
    pub(crate) fn new(kind: AggregateKind) -> Self {
        use AggregateKind::{
            AnyValue, Avg, BoolAnd, BoolOr, Collect, Count, CountAll, CountDistinct, DeltaSum, First, Last,
            Max, MaxBy, Median, Min, MinBy, Mode, Percentile, Stddev, StddevPop, Sum, TimeWeightedAvg,
            Variance,
        };
        match kind {
            CountAll | Count => Self::Count(0),
            CountDistinct => Self::Distinct(Box::default()),
            Sum | Avg => Self::Sum(super::sum::Sum::default()),
            Min | Max | BoolAnd | BoolOr => Self::Value(Value::Null),
            First | Last | AnyValue => Self::Timed(0, Value::Null),
            MinBy | MaxBy => Self::By(None),
            Stddev | StddevPop | Variance => Self::Moments(Moments::default()),
            Median | Percentile => Self::Quantiles(Box::default()),
            Mode => Self::Frequency(Box::default()),
            Collect => Self::Collected(Vec::new()),
            DeltaSum => Self::Delta(None),
            TimeWeightedAvg => Self::Weighted(None),
        }
    }

    /// Takes the arguments of one event in.
    pub(crate) fn add(
        &mut self,
        kind: AggregateKind,
        time_ms: i64,
        arguments: &[Value<'_>],
    ) -> Result<(), Fault> {
        let Some(value) = arguments.first() else {
            if let Self::Count(count) = self {
                *count = count.saturating_add(1);
            }
            return Ok(());
        };
        if value.is_null() && kind != AggregateKind::MinBy && kind != AggregateKind::MaxBy {
            return Ok(());
        }
        match self {
            Self::Count(count) => *count = count.saturating_add(1),
            Self::Sum(sum) => sum.add(number(value)?),
            Self::Value(kept) if replaces(kind, kept, value)? => *kept = value.clone().into_owned(),
            Self::Value(_) => {}
            Self::Timed(known_ms, kept) => {
                if is_wanted(kind, *known_ms, kept, time_ms) {
                    (*known_ms, *kept) = (time_ms, value.clone().into_owned());
                }
            }
            Self::By(kept) => add_by(kind, kept, arguments)?,
            Self::Moments(moments) => moments.add(number(value)?.to_float()),
            Self::Quantiles(quantiles) => quantiles.add(number(value)?.to_float()),
            Self::Distinct(distinct) => distinct.add(value),
            Self::Frequency(frequency) => frequency.add(value),
            Self::Collected(values) if values.len() < COLLECTED_MAX => {
                values.push((time_ms, value.clone().into_owned()));
            }
            Self::Collected(_) => {}
            Self::Delta(Some(delta)) => delta.add(number(value)?, time_ms),
            Self::Delta(empty) => *empty = Some(Box::new(Delta::new(number(value)?, time_ms))),
            Self::Weighted(Some(weighted)) => weighted.add(number(value)?.to_float(), time_ms),
            Self::Weighted(empty) => {
                *empty = Some(Box::new(Weighted::new(number(value)?.to_float(), time_ms)));
            }
        }
        Ok(())
    }

    /// Adds what another one of the same kind keeps, of later events.
    pub(crate) fn merge(&mut self, kind: AggregateKind, newer: &Self) {
        match (self, newer) {
            (Self::Count(ours), Self::Count(theirs)) => *ours = ours.saturating_add(*theirs),
            (Self::Sum(ours), Self::Sum(theirs)) => ours.merge(theirs),
            // What cannot be compared was counted as an error in neither part; the older one stays.
            (Self::Value(kept), Self::Value(value)) if replaces(kind, kept, value).unwrap_or(false) => {
                *kept = value.clone();
            }
            (Self::Timed(known_ms, kept), Self::Timed(time_ms, value))
                if !value.is_null() && is_wanted(kind, *known_ms, kept, *time_ms) =>
            {
                (*known_ms, *kept) = (*time_ms, value.clone());
            }
            (Self::By(kept), Self::By(Some(theirs))) => {
                let pair = [theirs.1.reborrow(), theirs.0.reborrow()];
                let _ = add_by(kind, kept, &pair);
            }
            (Self::Moments(ours), Self::Moments(theirs)) => ours.merge(theirs),
            (Self::Quantiles(ours), Self::Quantiles(theirs)) => ours.merge(theirs),
            (Self::Distinct(ours), Self::Distinct(theirs)) => ours.merge(theirs),
            (Self::Frequency(ours), Self::Frequency(theirs)) => ours.merge(theirs),
            (Self::Collected(ours), Self::Collected(theirs)) => {
                let room = COLLECTED_MAX.saturating_sub(ours.len());
                ours.extend(theirs.iter().take(room).cloned());
            }
            (Self::Delta(Some(ours)), Self::Delta(Some(theirs))) => ours.merge(theirs),
            (Self::Delta(ours @ None), Self::Delta(theirs)) => ours.clone_from(theirs),
            (Self::Weighted(Some(ours)), Self::Weighted(Some(theirs))) => ours.merge(theirs),
            (Self::Weighted(ours @ None), Self::Weighted(theirs)) => ours.clone_from(theirs),
            _ => {}
        }
    }

    /// What comes of it, in a window that ends at `end_ms`.
    pub(crate) fn finish(&self, aggregate: &Aggregate, end_ms: i64) -> Value<'_> {
        let float = |float: Option<f64>| match float {
            Some(float) if float.is_finite() => Value::Float(float),
            _ => Value::Null,
        };
        match self {
            Self::Count(count) => Value::Int(i64::try_from(*count).unwrap_or(i64::MAX)),
            Self::Sum(sum) if aggregate.kind == AggregateKind::Avg => {
                sum.mean().map_or(Value::Null, Value::Float)
            }
            Self::Sum(sum) => sum.total().map_or(Value::Null, Value::from),
            Self::Value(value) | Self::Timed(_, value) => value.reborrow(),
            Self::By(pair) => pair.as_ref().map_or(Value::Null, |pair| pair.1.reborrow()),
            Self::Moments(moments) => float(match aggregate.kind {
                AggregateKind::Variance => moments.variance(true),
                AggregateKind::Stddev => moments.variance(true).map(f64::sqrt),
                _ => moments.variance(false).map(f64::sqrt),
            }),
            Self::Quantiles(quantiles) => float(quantiles.at(aggregate.parameter)),
            Self::Distinct(distinct) => Value::Int(distinct.count()),
            Self::Frequency(frequency) => frequency.mode(),
            Self::Collected(values) => {
                let mut sorted: Vec<&(i64, Value<'static>)> = values.iter().collect();
                sorted.sort_by_key(|(time_ms, _)| *time_ms);
                match sorted.is_empty() {
                    true => Value::Null,
                    false => Value::Array(sorted.into_iter().map(|(_, value)| value.clone()).collect()),
                }
            }
            Self::Delta(delta) => delta.as_ref().map_or(Value::Null, |delta| delta.total().into()),
            Self::Weighted(weighted) => float(weighted.as_ref().map(|weighted| weighted.mean(end_ms))),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => put_count(*count, out),
            Self::Sum(sum) => sum.write(out),
            Self::Value(value) => put_value(value, out),
            Self::Timed(time_ms, value) => {
                put_value(&Value::Int(*time_ms), out);
                put_value(value, out);
            }
            Self::By(pair) => put_optional(pair.as_deref(), out, |pair, out| {
                put_value(&pair.0, out);
                put_value(&pair.1, out);
            }),
            Self::Moments(moments) => moments.write(out),
            Self::Quantiles(quantiles) => quantiles.write(out),
            Self::Distinct(distinct) => distinct.write(out),
            Self::Frequency(frequency) => frequency.write(out),
            Self::Collected(values) => {
                put_count(values.len() as u64, out);
                for (time_ms, value) in values {
                    put_value(&Value::Int(*time_ms), out);
                    put_value(value, out);
                }
            }
            Self::Delta(delta) => put_optional(delta.as_deref(), out, Delta::write),
            Self::Weighted(weighted) => put_optional(weighted.as_deref(), out, Weighted::write),
        }
    }

    pub(crate) fn read(kind: AggregateKind, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(match Self::new(kind) {
            Self::Count(_) => Self::Count(reader.count()?),
            Self::Sum(_) => Self::Sum(Sum::read(reader)?),
            Self::Value(_) => Self::Value(reader.value()?.into_owned()),
            Self::Timed(..) => {
                let (time_ms, value) = read_timed(reader)?;
                Self::Timed(time_ms, value)
            }
            Self::By(_) => Self::By(read_optional(reader, |reader| {
                Ok((reader.value()?.into_owned(), reader.value()?.into_owned()))
            })?),
            Self::Moments(_) => Self::Moments(Moments::read(reader)?),
            Self::Quantiles(_) => Self::Quantiles(Box::new(Quantiles::read(reader)?)),
            Self::Distinct(_) => Self::Distinct(Box::new(Distinct::read(reader)?)),
            Self::Frequency(_) => Self::Frequency(Box::new(Frequency::read(reader)?)),
            Self::Collected(_) => {
                let count = reader.count()?;
                Self::Collected((0..count).map(|_| read_timed(reader)).collect::<Result<_, _>>()?)
            }
            Self::Delta(_) => Self::Delta(read_optional(reader, Delta::read)?),
            Self::Weighted(_) => Self::Weighted(read_optional(reader, Weighted::read)?),
        })
    }
}

fn read_timed(reader: &mut Reader<'_>) -> Result<(i64, Value<'static>), StateError> {
    let Value::Int(time_ms) = reader.value()? else { return Err(reader.damaged()) };
    Ok((time_ms, reader.value()?.into_owned()))
}

fn put_optional<T>(value: Option<&T>, out: &mut Vec<u8>, put: impl FnOnce(&T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

fn read_optional<T>(
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, StateError>,
) -> Result<Option<Box<T>>, StateError> {
    match reader.byte()? {
        0 => Ok(None),
        1 => read(reader).map(|value| Some(Box::new(value))),
        _ => Err(reader.damaged()),
    }
}

/// Whether the value of a time takes the place of the one that is kept.
fn is_wanted(kind: AggregateKind, known_ms: i64, kept: &Value<'_>, time_ms: i64) -> bool {
    kept.is_null() || if kind == AggregateKind::Last { time_ms >= known_ms } else { time_ms < known_ms }
}

fn add_by(
    kind: AggregateKind,
    kept: &mut Option<Box<(Value<'static>, Value<'static>)>>,
    arguments: &[Value<'_>],
) -> Result<(), Fault> {
    let [wanted, by] = arguments else { return Ok(()) };
    let kind = if kind == AggregateKind::MinBy { AggregateKind::Min } else { AggregateKind::Max };
    let known = kept.as_ref().map_or(&Value::Null, |kept| &kept.0);
    if replaces(kind, known, by)? {
        *kept = Some(Box::new((by.clone().into_owned(), wanted.clone().into_owned())));
    }
    Ok(())
}

/// Whether a value takes the place of the one that is kept.
fn replaces(kind: AggregateKind, kept: &Value<'_>, value: &Value<'_>) -> Result<bool, Fault> {
    if value.is_null() {
        return Ok(false);
    }
    let order = match kind {
        AggregateKind::BoolAnd | AggregateKind::BoolOr => {
            let Value::Bool(value) = value else { return Err(Fault::Error) };
            return Ok(kept.is_null() || *value == (kind == AggregateKind::BoolOr));
        }
        _ if kept.is_null() => return Ok(value.equals(value).is_some()),
        _ => value.order(kept),
    };
    match order {
        Ok(order) => Ok(if kind == AggregateKind::Min { order.is_lt() } else { order.is_gt() }),
        // NaN is neither less nor greater.
        Err(Fault::Null) => Ok(false),
        Err(Fault::Error) => Err(Fault::Error),
    }
}

/// What all aggregates of a rule keep of one group, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accumulators(Box<[Accumulator]>);

impl Accumulators {
    pub(crate) fn new(aggregates: &[Aggregate]) -> Self {
        Self(aggregates.iter().map(|each| Accumulator::new(each.kind)).collect())
    }

    /// Takes in the arguments of all aggregates in a row; says how many could not be used.
    pub(crate) fn add(&mut self, aggregates: &[Aggregate], time_ms: i64, arguments: &[Value<'_>]) -> u64 {
        let mut errors = 0;
        let mut rest = arguments;
        for (accumulator, aggregate) in self.0.iter_mut().zip(aggregates) {
            let (own, others) = rest.split_at_checked(aggregate.arguments.len()).unwrap_or((rest, &[]));
            rest = others;
            errors += u64::from(accumulator.add(aggregate.kind, time_ms, own).is_err());
        }
        errors
    }

    pub(crate) fn merge(&mut self, aggregates: &[Aggregate], newer: &Self) {
        for ((ours, theirs), aggregate) in self.0.iter_mut().zip(&newer.0).zip(aggregates) {
            ours.merge(aggregate.kind, theirs);
        }
    }

    pub(crate) fn finish(&self, aggregates: &[Aggregate], end_ms: i64) -> Vec<Value<'_>> {
        let pairs = self.0.iter().zip(aggregates);
        pairs.map(|(accumulator, aggregate)| accumulator.finish(aggregate, end_ms)).collect()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|accumulator| accumulator.write(out));
    }

    pub(crate) fn read(aggregates: &[Aggregate], reader: &mut Reader<'_>) -> Result<Self, StateError> {
        aggregates.iter().map(|each| Accumulator::read(each.kind, reader)).collect::<Result<_, _>>().map(Self)
    }
}
