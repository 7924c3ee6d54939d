//! Windows: which of them an event belongs to, what each of their groups has gathered, and when they end.

mod clock;
mod content;
mod groups;
mod queue;
mod sessions;
mod shape;
mod timers;

use std::collections::BTreeMap;

use clock::Clock;
pub(crate) use clock::{CLOCK_BACK_MS_MAX, CLOCK_SET_MS, EventClock};
use content::Content;
pub(crate) use groups::{GROUPS_MAX, Group, Groups, SlotId};
pub(crate) use shape::{PANES_MAX, ROWS_MAX, Shape, Tumbling, greatest_common_divisor};
use timers::Timers;

use crate::{
    aggregate::{Accumulators, Aggregate},
    state::{Reader, StateError, put_bytes, put_count, put_value},
    value::Value,
};

/// The open windows of one rule.
///
/// Its time is its own, and depends on nothing but what the journal of the rule says, so that a replay ends where the
/// original did.
#[derive(Debug)]
pub(crate) struct Windows {
    shape: Shape,
    groups_max: usize,
    clock: Clock,
    groups: Groups<Content>,
    /// How many groups each open tumbling window has, by its start. Other shapes have a timer for each group.
    open: BTreeMap<i64, usize>,
    timers: Timers,
}

/// An event for the windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// When it was: by its own stamp, or by its arrival.
    pub(crate) time_ms: i64,
    /// When it came in.
    pub(crate) arrived_ms: i64,
    pub(crate) key: &'a [u8],
    /// The arguments of the aggregates, in their order.
    pub(crate) arguments: &'a [Value<'a>],
}

/// What came of an event.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Results that are complete with it.
    pub(crate) closed: Vec<Closed>,
    /// Groups that had to make room.
    pub(crate) evicted: u64,
    /// Values that an aggregate could not use.
    pub(crate) errors: u64,
    /// Older events of the group that had to make room.
    pub(crate) left_out: u64,
}

/// What the events of one window with the same key have come to.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) key: Box<[u8]>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) accumulators: Accumulators,
}

impl Windows {
    pub(crate) fn new(shape: Shape, event_clock: Option<EventClock>, groups_max: usize) -> Self {
        Self {
            shape,
            groups_max: groups_max.max(1),
            clock: Clock::new(event_clock),
            groups: Groups::default(),
            open: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// The time that an event counts for, or `None` if it is too late, or so far ahead that nobody knows when its window
    /// would end. `stamp_ms` is its own time.
    pub(crate) fn admit(&self, stamp_ms: i64, arrived_ms: i64, key: &[u8]) -> Option<i64> {
        let time_ms = self.clock.admit(stamp_ms, arrived_ms)?;
        let late = self.clock.has_stamps() && self.shape.is_closed(time_ms, self.clock.watermark_ms());
        let open = || {
            let group = self.groups.find(0, key).and_then(|slot| self.groups.group(slot));
            group.is_some_and(|group| group.content.covers(&self.shape, time_ms))
        };
        (!late || open()).then_some(time_ms)
    }

    /// When the gateway's clock will say that a window has ended.
    pub(crate) fn deadline_ms(&mut self) -> Option<i64> {
        let end_ms = self.first_end_ms()?;
        Some(self.clock.deadline_ms(end_ms))
    }

    fn first_end_ms(&mut self) -> Option<i64> {
        if let Shape::Tumbling(tumbling) = self.shape {
            return self.open.first_key_value().map(|(start, _)| tumbling.end_ms(*start));
        }
        let position_ms = self.clock.position_ms();
        loop {
            let (set_ms, slot) = self.timers.first()?;
            let group = self.groups.group_mut(slot).filter(|group| group.timer_ms == set_ms);
            let Some(group) = group else {
                self.timers.remove_first();
                continue;
            };
            let deadline_ms = group.content.deadline_ms(&self.shape, position_ms);
            if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= set_ms) {
                return Some(set_ms);
            }
            self.timers.remove_first();
            group.timer_ms = i64::MAX;
            if let Some(deadline_ms) = deadline_ms {
                self.timers.set(slot, deadline_ms, &mut group.timer_ms);
            }
        }
    }

    /// Up to when windows have ended, if there are any that have, now that the gateway's clock says `now_ms`.
    pub(crate) fn ended_ms(&mut self, now_ms: i64) -> Option<i64> {
        let until_ms = self.clock.reached_ms(now_ms);
        self.first_end_ms().filter(|end_ms| *end_ms <= until_ms)?;
        Some(match self.shape {
            // The last end, and not the present: results stay the same whenever this is asked.
            Shape::Tumbling(tumbling) => tumbling.start_ms(until_ms),
            _ => until_ms,
        })
    }

    /// Whether the windows lie in a future that the gateway's clock has come back from.
    pub(crate) fn is_ahead(&self, now_ms: i64) -> bool {
        self.clock.is_ahead(now_ms)
    }

    /// The latest time by the gateway's clock that it has heard of.
    pub(crate) fn heard_ms(&self) -> i64 {
        self.clock.heard_ms()
    }

    /// Puts an event into its windows.
    pub(crate) fn touch(&mut self, input: &Input<'_>, aggregates: &[Aggregate]) -> Touched {
        let time_ms = self.clock.hear(input.time_ms, input.arrived_ms);
        let start_ms = self.shape.group_start_ms(time_ms);
        let mut touched = Touched::default();
        let slot = match self.groups.find(start_ms, input.key) {
            Some(slot) => slot,
            None => self.insert(start_ms, input.key, aggregates, &mut touched),
        };
        let position_ms = self.clock.position_ms();
        let immediate = !self.clock.has_stamps();
        if let Some(group) = self.groups.touch(slot) {
            let place = content::Place { shape: &self.shape, aggregates, position_ms, immediate };
            group.content.add(&place, time_ms, input, &group.key, &mut touched);
            if !matches!(self.shape, Shape::Tumbling(_))
                && let Some(deadline_ms) = group.content.deadline_ms(&self.shape, position_ms)
            {
                self.timers.set(slot, deadline_ms, &mut group.timer_ms);
            }
        }
        touched
    }

    fn insert(
        &mut self,
        start_ms: i64,
        key: &[u8],
        aggregates: &[Aggregate],
        touched: &mut Touched,
    ) -> SlotId {
        if self.groups.len() >= self.groups_max
            && let Some(mut group) = self.groups.pop_oldest()
        {
            touched.evicted += 1;
            leave(&mut self.open, group.start_ms);
            let place = self.place(aggregates);
            group.content.close(&place, i64::MAX, group.start_ms, &group.key, &mut touched.closed);
        }
        if matches!(self.shape, Shape::Tumbling(_)) {
            *self.open.entry(start_ms).or_default() += 1;
        }
        self.groups.insert(Group::new(start_ms, key.into(), Content::new(&self.shape, aggregates)))
    }

    fn place<'p>(&'p self, aggregates: &'p [Aggregate]) -> content::Place<'p> {
        let (position_ms, immediate) = (self.clock.position_ms(), !self.clock.has_stamps());
        content::Place { shape: &self.shape, aggregates, position_ms, immediate }
    }

    /// Closes the windows that have ended by a time and gives their groups, in the order of ends, starts and keys.
    pub(crate) fn close(&mut self, until_ms: i64, aggregates: &[Aggregate]) -> Vec<Closed> {
        let mut closed = Vec::new();
        if let Shape::Tumbling(tumbling) = self.shape {
            for group in self.groups.remove_where(|group| tumbling.end_ms(group.start_ms) <= until_ms) {
                let Content::Whole(accumulators) = group.content else { continue };
                let (start_ms, key) = (group.start_ms, group.key);
                closed.push(Closed { key, start_ms, end_ms: tumbling.end_ms(start_ms), accumulators });
            }
            self.open.retain(|start, _| tumbling.end_ms(*start) > until_ms);
        } else {
            self.close_groups(until_ms, aggregates, &mut closed);
        }
        self.clock.close(until_ms);
        // Stable: a sliding window has a result for each event, even of the same moment.
        closed.sort_by(|left, right| {
            (left.end_ms, left.start_ms, &left.key).cmp(&(right.end_ms, right.start_ms, &right.key))
        });
        closed
    }

    fn close_groups(&mut self, until_ms: i64, aggregates: &[Aggregate], closed: &mut Vec<Closed>) {
        let (position_ms, immediate) = (self.clock.position_ms(), !self.clock.has_stamps());
        let place = content::Place { shape: &self.shape, aggregates, position_ms, immediate };
        while let Some((set_ms, slot)) = self.timers.first().filter(|(set_ms, _)| *set_ms <= until_ms) {
            self.timers.remove_first();
            let group = self.groups.group_mut(slot).filter(|group| group.timer_ms == set_ms);
            let Some(group) = group else { continue };
            group.timer_ms = i64::MAX;
            group.content.close(&place, until_ms, group.start_ms, &group.key, closed);
            if group.content.is_empty() {
                self.groups.remove(slot);
            } else if let Some(deadline_ms) = group.content.deadline_ms(&self.shape, until_ms) {
                // What has been looked at is not looked at again at the same time.
                let deadline_ms = deadline_ms.max(until_ms.saturating_add(1));
                self.timers.set(slot, deadline_ms, &mut group.timer_ms);
            }
        }
    }

    /// Closes all windows as they stand and goes on at a time of a clock that was set back.
    pub(crate) fn rewind(&mut self, now_ms: i64, aggregates: &[Aggregate]) -> Vec<Closed> {
        let ends = self.shape.ends_by_time() && self.clock.is_lost(now_ms);
        let before_ms = self.clock.position_ms();
        let closed = if ends { self.close(i64::MAX, aggregates) } else { Vec::new() };
        self.clock.reopen(before_ms);
        self.clock.rewind(now_ms);
        closed
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.clock.write(out);
        put_count(self.groups.len() as u64, out);
        for group in self.groups.oldest_first() {
            put_value(&Value::Int(group.start_ms), out);
            put_bytes(&group.key, out);
            group.content.write(out);
        }
    }

    /// Reads what [`Self::write`] wrote, for the same rule.
    pub(crate) fn read(
        mut self,
        keys: usize,
        aggregates: &[Aggregate],
        reader: &mut Reader<'_>,
    ) -> Result<Self, StateError> {
        self.clock.read(reader)?;
        for _ in 0..reader.count()? {
            let Value::Int(start_ms) = reader.value()? else { return Err(reader.damaged()) };
            let key = reader.bytes()?;
            read_key(key, keys).map_err(|_| reader.damaged())?;
            let content = Content::read(&self.shape, aggregates, reader)?;
            if self.shape.group_start_ms(start_ms) != start_ms || self.groups.find(start_ms, key).is_some() {
                return Err(reader.damaged());
            }
            let slot = self.groups.insert(Group::new(start_ms, key.into(), content));
            self.put_timer(slot, start_ms);
        }
        Ok(self)
    }

    fn put_timer(&mut self, slot: SlotId, start_ms: i64) {
        if matches!(self.shape, Shape::Tumbling(_)) {
            *self.open.entry(start_ms).or_default() += 1;
        } else if let Some(group) = self.groups.group_mut(slot)
            && let Some(deadline_ms) = group.content.deadline_ms(&self.shape, self.clock.position_ms())
        {
            self.timers.set(slot, deadline_ms, &mut group.timer_ms);
        }
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
