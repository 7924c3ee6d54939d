//! How often each value comes.

use hashbrown::HashMap;

use crate::{
    state::{Reader, StateError, put_bytes, put_count},
    value::Value,
    window::{put_key, read_key},
};

/// So many different values are counted; further ones are not.
const VALUES_MAX: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Frequency {
    /// By the bytes of the value: how often, and which came first.
    counts: HashMap<Box<[u8]>, (u64, usize), foldhash::fast::RandomState>,
}

impl PartialEq for Frequency {
    fn eq(&self, other: &Self) -> bool {
        self.in_order() == other.in_order()
    }
}

impl Frequency {
    pub(super) fn add(&mut self, value: &Value<'_>) {
        let mut key = Vec::new();
        put_key(value, &mut key);
        self.add_times(&key, 1);
    }

    fn add_times(&mut self, key: &[u8], times: u64) {
        let next = self.counts.len();
        match self.counts.get_mut(key) {
            Some((count, _)) => *count = count.saturating_add(times),
            None if next < VALUES_MAX => {
                self.counts.insert(key.into(), (times, next));
            }
            None => {}
        }
    }

    fn in_order(&self) -> Vec<(&[u8], u64)> {
        let mut all: Vec<_> =
            self.counts.iter().map(|(key, (count, order))| (*order, &**key, *count)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key, count)| (key, count)).collect()
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        newer.in_order().into_iter().for_each(|(key, count)| self.add_times(key, count));
    }

    /// The most frequent value; of several the one that came first.
    pub(super) fn mode(&self) -> Value<'_> {
        let best = self.counts.iter().min_by_key(|(_, (count, order))| (std::cmp::Reverse(*count), *order));
        let value = best.and_then(|(key, _)| read_key(key, 1).ok()?.pop());
        value.unwrap_or(Value::Null)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_count(self.counts.len() as u64, out);
        for (key, count) in self.in_order() {
            put_bytes(key, out);
            put_count(count, out);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut frequency = Self::default();
        for _ in 0..reader.count()? {
            let key = reader.bytes()?;
            read_key(key, 1).map_err(|_| reader.damaged())?;
            let count = reader.count()?;
            frequency.add_times(key, count);
        }
        Ok(frequency)
    }
}
