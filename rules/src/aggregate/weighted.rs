//! A mean over time: each value counts as long as it holds.

use crate::{
    state::{Reader, StateError, put_float, put_value},
    value::Value,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weighted {
    first_ms: i64,
    last_ms: i64,
    last: f64,
    /// Value times milliseconds, up to the last value.
    area: f64,
}

impl Weighted {
    pub(super) fn new(value: f64, time_ms: i64) -> Self {
        Self { first_ms: time_ms, last_ms: time_ms, last: value, area: 0.0 }
    }

    fn area_until(&self, time_ms: i64) -> f64 {
        self.area + self.last * time_ms.saturating_sub(self.last_ms) as f64
    }

    /// What is older than the last value comes too late to be put in its place.
    pub(super) fn add(&mut self, value: f64, time_ms: i64) {
        if time_ms >= self.last_ms {
            self.area = self.area_until(time_ms);
            (self.last, self.last_ms) = (value, time_ms);
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        self.area = self.area_until(newer.first_ms) + newer.area;
        (self.last, self.last_ms) = (newer.last, newer.last_ms);
    }

    /// The mean up to the end of the window; of one moment it is the last value.
    pub(super) fn mean(&self, end_ms: i64) -> f64 {
        let end_ms = end_ms.max(self.last_ms);
        match end_ms.saturating_sub(self.first_ms) {
            0 => self.last,
            duration_ms => self.area_until(end_ms) / duration_ms as f64,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_value(&Value::Int(self.first_ms), out);
        put_value(&Value::Int(self.last_ms), out);
        put_float(self.last, out);
        put_float(self.area, out);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (Value::Int(first_ms), Value::Int(last_ms)) = (reader.value()?, reader.value()?) else {
            return Err(reader.damaged());
        };
        Ok(Self { first_ms, last_ms, last: reader.float()?, area: reader.float()? })
    }
}
