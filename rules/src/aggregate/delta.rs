//! By how much a counter grew.

use crate::{
    number::{Arithmetic, Number, arithmetic},
    state::{Reader, StateError, put_value},
    value::Value,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Delta {
    first: Number,
    last: Number,
    /// When the last value was. What is older comes too late to be put in its place.
    last_ms: i64,
    sum: Number,
}

/// From one reading to the next. A counter that fell began again at 0.
fn step(from: Number, to: Number) -> Number {
    match to.compare(from) {
        Some(order) if order.is_ge() => arithmetic(Arithmetic::Subtract, to, from).unwrap_or(to),
        _ => to,
    }
}

fn plus(left: Number, right: Number) -> Number {
    arithmetic(Arithmetic::Add, left, right).unwrap_or(left)
}

impl Delta {
    pub(super) fn new(value: Number, time_ms: i64) -> Self {
        Self { first: value, last: value, last_ms: time_ms, sum: Number::Int(0) }
    }

    pub(super) fn add(&mut self, value: Number, time_ms: i64) {
        if time_ms >= self.last_ms {
            self.sum = plus(self.sum, step(self.last, value));
            (self.last, self.last_ms) = (value, time_ms);
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        self.sum = plus(plus(self.sum, step(self.last, newer.first)), newer.sum);
        (self.last, self.last_ms) = (newer.last, newer.last_ms);
    }

    pub(super) fn total(&self) -> Number {
        self.sum
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        [self.first, self.last, self.sum].into_iter().for_each(|each| put_value(&each.into(), out));
        put_value(&Value::Int(self.last_ms), out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut number = || reader.value()?.as_number().ok_or_else(|| reader.damaged());
        let (first, last, sum) = (number()?, number()?, number()?);
        let Value::Int(last_ms) = reader.value()? else { return Err(reader.damaged()) };
        Ok(Self { first, last, last_ms, sum })
    }
}
