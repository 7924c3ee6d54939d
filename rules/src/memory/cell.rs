//! What one memory function remembers of one partition.

use std::collections::VecDeque;

use crate::{
    expr::number,
    number::{Arithmetic, Number, arithmetic},
    state::{Reader, StateError, put_count, put_float, put_value},
    value::{Fault, Outcome, Value},
    window::put_key,
};

/// So many keys of `dedup` are remembered.
const KEYS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    Lag,
    Latest,
    Delta,
    Rate,
    Changed,
    ChangedAny,
    SinceChange,
    Hysteresis,
    Debounce,
    Throttle,
    Dedup,
    CountTrue,
    Ewma,
    Zscore,
    RunningMin,
    RunningMax,
}

impl MemoryKind {
    /// Whether it looks only at events that have passed all else.
    pub(crate) fn is_gate(self) -> bool {
        matches!(self, Self::Throttle | Self::Dedup)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Cell {
    /// The latest values, oldest first.
    Values(VecDeque<Value<'static>>),
    /// A value and since when.
    Timed(Option<(i64, Value<'static>)>),
    Flag(bool),
    Since(Option<i64>),
    Count(u64),
    /// Mean and variance, exponentially weighted.
    Weighted(Option<(f64, f64)>),
    /// Keys and when they passed, oldest first.
    Keys(VecDeque<(i64, Box<[u8]>)>),
}

impl Cell {
    pub(super) fn new(kind: MemoryKind) -> Self {
        use MemoryKind::{
            Changed, ChangedAny, CountTrue, Debounce, Dedup, Delta, Ewma, Hysteresis, Lag, Latest, Rate,
            RunningMax, RunningMin, SinceChange, Throttle, Zscore,
        };
        match kind {
            Lag | Latest | ChangedAny => Self::Values(VecDeque::new()),
            Delta | Rate | Changed | SinceChange | RunningMin | RunningMax => Self::Timed(None),
            Hysteresis => Self::Flag(false),
            Debounce | Throttle => Self::Since(None),
            CountTrue => Self::Count(0),
            Ewma | Zscore => Self::Weighted(None),
            Dedup => Self::Keys(VecDeque::new()),
        }
    }

    /// Shows it the arguments of an event. What is NULL, or of a wrong type, is not remembered.
    pub(super) fn update(
        &mut self,
        kind: MemoryKind,
        time_ms: i64,
        arguments: &[Value<'_>],
    ) -> Outcome<'static> {
        match self {
            Self::Values(values) if kind == MemoryKind::ChangedAny => Ok(changed_any(values, arguments)),
            Self::Values(values) if kind == MemoryKind::Latest => latest(values, arguments),
            Self::Keys(keys) => Ok(Value::Bool(pass_key(keys, time_ms, arguments))),
            Self::Since(since) if kind == MemoryKind::Throttle => {
                *since = Some(time_ms);
                Ok(Value::Bool(true))
            }
            _ => self.update_value(kind, time_ms, arguments),
        }
    }

    fn update_value(&mut self, kind: MemoryKind, time_ms: i64, arguments: &[Value<'_>]) -> Outcome<'static> {
        let value = arguments.first().filter(|value| !value.is_null()).ok_or(Fault::Null)?;
        let argument = |index: usize| arguments.get(index);
        match self {
            Self::Values(values) => {
                let count = count_of(argument(1));
                let result = values.len().checked_sub(count).and_then(|at| values.get(at).cloned());
                values.push_back(value.clone().into_owned());
                while values.len() > count {
                    values.pop_front();
                }
                result.ok_or(Fault::Null)
            }
            Self::Timed(known) => update_timed(kind, known, time_ms, value, argument(1)),
            Self::Flag(is_on) => {
                let (value, on) = (number(value)?, number(argument(1).unwrap_or(&Value::Null))?);
                let off = number(argument(2).unwrap_or(&Value::Null))?;
                let rises = on.compare(off).is_some_and(std::cmp::Ordering::is_ge);
                let reached = |bound: Number, up: bool| match value.compare(bound) {
                    Some(order) => {
                        if up {
                            order.is_ge()
                        } else {
                            order.is_le()
                        }
                    }
                    None => false,
                };
                *is_on = if *is_on { !reached(off, !rises) } else { reached(on, rises) };
                Ok(Value::Bool(*is_on))
            }
            Self::Since(since) => {
                let Value::Bool(holds) = value else { return Err(Fault::Error) };
                *since = holds.then(|| since.map_or(time_ms, |since| since.min(time_ms)));
                let duration_ms = duration_of(argument(1));
                Ok(Value::Bool(since.is_some_and(|since| time_ms.saturating_sub(since) >= duration_ms)))
            }
            Self::Count(count) => {
                let Value::Bool(holds) = value else { return Err(Fault::Error) };
                *count = if *holds { count.saturating_add(1) } else { 0 };
                Ok(Value::Int(i64::try_from(*count).unwrap_or(i64::MAX)))
            }
            Self::Weighted(known) => {
                let value = number(value)?.to_float();
                let alpha = number(argument(1).unwrap_or(&Value::Null))?.to_float();
                update_weighted(kind, known, value, alpha)
            }
            Self::Keys(_) => Ok(Value::Null),
        }
    }

    /// Whether a gate would let an event pass. A clock that was set back opens it.
    pub(super) fn is_open(&self, time_ms: i64, arguments: &[Value<'_>]) -> bool {
        match self {
            Self::Since(since) => {
                since.is_none_or(|since| is_over(since, time_ms, duration_of(arguments.first())))
            }
            Self::Keys(keys) => {
                let key = key_of(arguments);
                let known = keys.iter().rev().find(|(_, known)| **known == *key);
                known.is_none_or(|(since, _)| is_over(*since, time_ms, duration_of(arguments.get(1))))
            }
            _ => true,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Values(values) => {
                put_count(values.len() as u64, out);
                values.iter().for_each(|value| put_value(value, out));
            }
            Self::Timed(known) => {
                let (time_ms, value) = known.as_ref().map_or((0, &Value::Null), |known| (known.0, &known.1));
                put_value(&Value::Int(time_ms), out);
                put_value(value, out);
            }
            Self::Flag(flag) => put_value(&Value::Bool(*flag), out),
            Self::Since(since) => put_value(&since.map_or(Value::Null, Value::Int), out),
            Self::Count(count) => put_count(*count, out),
            Self::Weighted(known) => {
                out.push(u8::from(known.is_some()));
                let (mean, variance) = known.unwrap_or_default();
                put_float(mean, out);
                put_float(variance, out);
            }
            Self::Keys(keys) => {
                put_count(keys.len() as u64, out);
                for (time_ms, key) in keys {
                    put_value(&Value::Int(*time_ms), out);
                    crate::state::put_bytes(key, out);
                }
            }
        }
    }

    pub(super) fn read(kind: MemoryKind, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let int = |value| match value {
            Value::Int(int) => Some(int),
            _ => None,
        };
        Ok(match Self::new(kind) {
            Self::Values(_) => {
                let count = reader.count()?;
                let value = |_| reader.value().map(Value::into_owned);
                Self::Values((0..count).map(value).collect::<Result<_, _>>()?)
            }
            Self::Timed(_) => {
                let time_ms = int(reader.value()?).ok_or_else(|| reader.damaged())?;
                let value = reader.value()?.into_owned();
                Self::Timed(if value.is_null() { None } else { Some((time_ms, value)) })
            }
            Self::Flag(_) => Self::Flag(reader.value()? == Value::Bool(true)),
            Self::Since(_) => Self::Since(int(reader.value()?)),
            Self::Count(_) => Self::Count(reader.count()?),
            Self::Weighted(_) => {
                let known = reader.byte()? == 1;
                let pair = (reader.float()?, reader.float()?);
                Self::Weighted(known.then_some(pair))
            }
            Self::Keys(_) => {
                let mut keys = VecDeque::new();
                for _ in 0..reader.count()? {
                    let time_ms = int(reader.value()?).ok_or_else(|| reader.damaged())?;
                    keys.push_back((time_ms, reader.bytes()?.into()));
                }
                Self::Keys(keys)
            }
        })
    }
}

fn is_over(since_ms: i64, time_ms: i64, duration_ms: i64) -> bool {
    time_ms < since_ms || time_ms.saturating_sub(since_ms) >= duration_ms
}

fn count_of(argument: Option<&Value<'_>>) -> usize {
    match argument {
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(1),
        _ => 1,
    }
}

/// The compiler has made milliseconds of it.
fn duration_of(argument: Option<&Value<'_>>) -> i64 {
    match argument {
        Some(Value::Int(duration_ms)) => *duration_ms,
        _ => 0,
    }
}

fn key_of(arguments: &[Value<'_>]) -> Vec<u8> {
    let mut key = Vec::new();
    put_key(arguments.first().unwrap_or(&Value::Null), &mut key);
    key
}

fn pass_key(keys: &mut VecDeque<(i64, Box<[u8]>)>, time_ms: i64, arguments: &[Value<'_>]) -> bool {
    let (key, duration_ms) = (key_of(arguments), duration_of(arguments.get(1)));
    keys.retain(|(since, known)| **known != *key && !is_over(*since, time_ms, duration_ms));
    if keys.len() >= KEYS_MAX {
        keys.pop_front();
    }
    keys.push_back((time_ms, key.into()));
    true
}

/// The value, or in place of NULL the last one that was none, or the default.
fn latest(values: &mut VecDeque<Value<'static>>, arguments: &[Value<'_>]) -> Outcome<'static> {
    let given = arguments.first().filter(|value| !value.is_null());
    if let Some(value) = given {
        values.clear();
        values.push_back(value.clone().into_owned());
    }
    let known = values.front().or(arguments.get(1));
    known.cloned().map(Value::into_owned).ok_or(Fault::Null)
}

fn changed_any(values: &mut VecDeque<Value<'static>>, arguments: &[Value<'_>]) -> Value<'static> {
    let same = |(known, value): (&Value<'_>, &Value<'_>)| {
        known.equals(value).unwrap_or(known.is_null() && value.is_null())
    };
    let changed = values.len() != arguments.len() || !values.iter().zip(arguments).all(same);
    if changed {
        *values = arguments.iter().map(|value| value.clone().into_owned()).collect();
    }
    Value::Bool(changed)
}

fn update_timed(
    kind: MemoryKind,
    known: &mut Option<(i64, Value<'static>)>,
    time_ms: i64,
    value: &Value<'_>,
    deadband: Option<&Value<'_>>,
) -> Outcome<'static> {
    let numeric = matches!(kind, MemoryKind::Delta | MemoryKind::Rate);
    let latest = if numeric { Some(number(value)?) } else { None };
    let Some((since_ms, before)) = known else {
        *known = Some((time_ms, value.clone().into_owned()));
        return match kind {
            MemoryKind::Changed => Ok(Value::Bool(true)),
            MemoryKind::SinceChange => Ok(Value::Int(0)),
            MemoryKind::RunningMin | MemoryKind::RunningMax => Ok(value.clone().into_owned()),
            _ => Err(Fault::Null),
        };
    };
    let (replaces, result) = match kind {
        MemoryKind::Delta | MemoryKind::Rate => {
            let difference = arithmetic(Arithmetic::Subtract, latest.ok_or(Fault::Null)?, number(before)?)?;
            let passed_s = time_ms.saturating_sub(*since_ms) as f64 / 1000.0;
            let result = match kind {
                MemoryKind::Delta => Ok(difference.into()),
                _ if passed_s > 0.0 => Ok(Value::Float(difference.to_float() / passed_s)),
                _ => Err(Fault::Null),
            };
            (true, result)
        }
        MemoryKind::Changed => {
            let changed = is_changed(before, value, deadband)?;
            (changed, Ok(Value::Bool(changed)))
        }
        MemoryKind::SinceChange => match before.equals(value) == Some(true) {
            true => (false, Ok(Value::Int(time_ms.saturating_sub(*since_ms).max(0)))),
            false => (true, Ok(Value::Int(0))),
        },
        _ => {
            let order = value.order(before)?;
            let better = if kind == MemoryKind::RunningMin { order.is_lt() } else { order.is_gt() };
            (better, Ok(if better { value.clone().into_owned() } else { before.clone() }))
        }
    };
    if replaces {
        (*since_ms, *before) = (time_ms, value.clone().into_owned());
    }
    result
}

fn is_changed(before: &Value<'_>, value: &Value<'_>, deadband: Option<&Value<'_>>) -> Result<bool, Fault> {
    let (Some(deadband), Some(from), Some(to)) = (deadband, before.as_number(), value.as_number()) else {
        return Ok(before.equals(value) != Some(true));
    };
    let difference = arithmetic(Arithmetic::Subtract, to, from)?;
    let size =
        if difference.to_float() < 0.0 { arithmetic(Arithmetic::Subtract, from, to)? } else { difference };
    Ok(size.compare(number(deadband)?).is_some_and(std::cmp::Ordering::is_gt))
}

/// Mean and variance without cancellation (Finch 2009).
fn update_weighted(
    kind: MemoryKind,
    known: &mut Option<(f64, f64)>,
    value: f64,
    alpha: f64,
) -> Outcome<'static> {
    if !value.is_finite() {
        return Err(Fault::Error);
    }
    let Some((mean, variance)) = known else {
        *known = Some((value, 0.0));
        return if kind == MemoryKind::Ewma { Ok(Value::Float(value)) } else { Err(Fault::Null) };
    };
    let difference = value - *mean;
    let zscore = difference / variance.sqrt();
    let step = alpha * difference;
    *mean += step;
    *variance = (1.0 - alpha) * (*variance + difference * step);
    match kind {
        MemoryKind::Ewma => Ok(Value::Float(*mean)),
        _ if zscore.is_finite() => Ok(Value::Float(zscore)),
        _ => Err(Fault::Null),
    }
}
