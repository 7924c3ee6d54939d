//! Windows in time: which one an event belongs to, what each of its groups has gathered, and when it ends.

mod groups;

use std::collections::BTreeMap;

pub(crate) use groups::Group;
use groups::Groups;

use crate::{
    aggregate::{Accumulator, Aggregate},
    state::{Reader, StateError, put_bytes, put_count, put_value},
    value::Value,
};

/// Windows of one size, one after the other, aligned to the Unix epoch in UTC plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tumbling {
    /// At least 1.
    pub(crate) size_ms: i64,
    /// At least 0 and less than the size.
    pub(crate) offset_ms: i64,
}

impl Tumbling {
    /// The start of the window that a time lies in.
    pub(crate) fn start_ms(self, time_ms: i64) -> i64 {
        let since_offset = time_ms.saturating_sub(self.offset_ms);
        time_ms.saturating_sub(since_offset.rem_euclid(self.size_ms.max(1)))
    }

    pub(crate) fn end_ms(self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms)
    }
}

/// The open windows of one rule.
///
/// Its time is its own: the latest of the events it has taken and of the ends it has closed. It never goes back, and it
/// depends on nothing but what the journal of the rule says, so that a replay ends where the original did.
#[derive(Debug)]
pub(crate) struct Windows {
    tumbling: Tumbling,
    groups_max: usize,
    time_ms: i64,
    groups: Groups,
    /// How many groups each open window has, by its start.
    open: BTreeMap<i64, usize>,
}

/// What came of an event.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// The group that had to make room.
    pub(crate) evicted: Option<Group>,
    /// Values that an aggregate could not use.
    pub(crate) errors: u64,
}

impl Windows {
    pub(crate) fn new(tumbling: Tumbling, groups_max: usize) -> Self {
        Self {
            tumbling,
            groups_max: groups_max.max(1),
            time_ms: i64::MIN,
            groups: Groups::default(),
            open: BTreeMap::new(),
        }
    }

    /// The window that a group belongs to, start and end in ms.
    pub(crate) fn bounds_ms(&self, group: &Group) -> (i64, i64) {
        (group.start_ms, self.tumbling.end_ms(group.start_ms))
    }

    /// When the first open window ends.
    pub(crate) fn deadline_ms(&self) -> Option<i64> {
        self.open.first_key_value().map(|(start, _)| self.tumbling.end_ms(*start))
    }

    /// The end of the last window that has ended by a time.
    pub(crate) fn ended_ms(&self, now_ms: i64) -> i64 {
        self.tumbling.start_ms(now_ms)
    }

    /// Puts an event into its window. `arguments` are those of the aggregates, in their order.
    pub(crate) fn touch(
        &mut self,
        time_ms: i64,
        key: &[u8],
        aggregates: &[Aggregate],
        arguments: &[Value<'_>],
    ) -> Touched {
        self.time_ms = self.time_ms.max(time_ms);
        let start_ms = self.tumbling.start_ms(self.time_ms);
        let mut touched = Touched::default();
        let found = self.groups.find(start_ms, key);
        let slot = found.unwrap_or_else(|| {
            if self.groups.len() >= self.groups_max {
                touched.evicted = self.groups.pop_oldest();
                touched.evicted.iter().for_each(|group| leave(&mut self.open, group.start_ms));
            }
            *self.open.entry(start_ms).or_default() += 1;
            let accumulators = aggregates.iter().map(|each| Accumulator::new(each.kind)).collect();
            self.groups.insert(Group { start_ms, key: key.into(), accumulators })
        });
        if let Some(group) = self.groups.touch(slot) {
            for ((accumulator, aggregate), argument) in
                group.accumulators.iter_mut().zip(aggregates).zip(arguments)
            {
                touched.errors += u64::from(accumulator.add(aggregate.kind, argument).is_err());
            }
        }
        touched
    }

    /// Closes the windows that have ended by a time and gives their groups, in the order of windows and keys.
    pub(crate) fn close(&mut self, until_ms: i64) -> Vec<Group> {
        self.time_ms = self.time_ms.max(until_ms);
        let tumbling = self.tumbling;
        let mut closed = self.groups.remove_where(|group| tumbling.end_ms(group.start_ms) <= until_ms);
        self.open.retain(|start, _| tumbling.end_ms(*start) > until_ms);
        closed.sort_unstable_by(|left, right| (left.start_ms, &left.key).cmp(&(right.start_ms, &right.key)));
        closed
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        put_count(self.groups.len() as u64, out);
        for group in self.groups.oldest_first() {
            out.extend_from_slice(&group.start_ms.to_le_bytes());
            put_bytes(&group.key, out);
            group.accumulators.iter().for_each(|accumulator| accumulator.write(out));
        }
    }

    /// Reads what [`Self::write`] wrote, for the same rule.
    pub(crate) fn read(
        mut self,
        keys: usize,
        aggregates: &[Aggregate],
        reader: &mut Reader<'_>,
    ) -> Result<Self, StateError> {
        self.time_ms = reader.time_ms()?;
        for _ in 0..reader.count()? {
            let start_ms = reader.time_ms()?;
            let key = reader.bytes()?;
            read_key(key, keys).map_err(|_| reader.damaged())?;
            let accumulators: Result<Box<[_]>, _> =
                aggregates.iter().map(|each| Accumulator::read(each.kind, reader)).collect();
            if self.tumbling.start_ms(start_ms) != start_ms || self.groups.find(start_ms, key).is_some() {
                return Err(reader.damaged());
            }
            *self.open.entry(start_ms).or_default() += 1;
            self.groups.insert(Group { start_ms, key: key.into(), accumulators: accumulators? });
        }
        Ok(self)
    }
}

/// Takes one group off the window with this start.
fn leave(open: &mut BTreeMap<i64, usize>, start_ms: i64) {
    if let Some(count) = open.get_mut(&start_ms) {
        *count -= 1;
        if *count == 0 {
            open.remove(&start_ms);
        }
    }
}

/// Appends one value of a group's key. Values that are equal have equal bytes: 1.0 becomes 1.
pub(crate) fn put_key(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Float(float) if float.is_nan() => put_value(&Value::Float(f64::NAN), out),
        Value::Float(float) if float.fract() == 0.0 => {
            let int = crate::number::truncate(*float);
            put_value(&int.map_or(Value::Float(*float), Value::Int), out);
        }
        other => put_value(other, out),
    }
}

/// The values of a group's key.
pub(crate) fn read_key(key: &[u8], keys: usize) -> Result<Vec<Value<'_>>, StateError> {
    let mut reader = Reader::new(key);
    let values: Result<Vec<_>, _> = (0..keys).map(|_| reader.value()).collect();
    reader.finish()?;
    values
}

#[cfg(test)]
mod tests;
