//! Windows that overlap: hopping, sliding and rows. Their events, or the parts that several events make together, stand
//! in a queue; a result is what the queue comes to.
//!
//! What the front of the queue comes to is kept for each of its parts, and what the back comes to as a whole (two stacks,
//! Tangwongsan et al. 2017). So a result costs the same however many parts there are. Aggregates that keep many values
//! would need too much memory that way; with them, a result goes through all parts.

use std::collections::VecDeque;

use super::{
    Closed, Shape, Touched, Tumbling, content::Place, shape::ROWS_MAX, shape::greatest_common_divisor,
};
use crate::{
    aggregate::{Accumulators, Aggregate},
    state::{Reader, StateError, put_count, put_value},
    value::Value,
};

/// An event, or what some of them come to.
#[derive(Debug)]
struct Part {
    time_ms: i64,
    accumulators: Accumulators,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// What is not in a window that can end yet, in the order of time.
    pending: VecDeque<Part>,
    parts: VecDeque<Part>,
    /// What the first parts come to: the last element all of the front, the one before all but the first part.
    front: Vec<Accumulators>,
    /// What the parts after the front come to.
    back: Accumulators,
    /// How many rows there have been.
    rows: u64,
    /// When the last row came.
    last_ms: i64,
}

impl Queue {
    pub(super) fn new(aggregates: &[Aggregate]) -> Self {
        Self {
            pending: VecDeque::new(),
            parts: VecDeque::new(),
            front: Vec::new(),
            back: Accumulators::new(aggregates),
            rows: 0,
            last_ms: i64::MIN,
        }
    }

    pub(super) fn add(
        &mut self,
        place: &Place<'_>,
        time_ms: i64,
        arguments: &[Value<'_>],
        key: &[u8],
        touched: &mut Touched,
    ) {
        match *place.shape {
            Shape::Rows { count, step } => {
                touched.errors += self.add_row(place, time_ms, arguments, count, step);
                self.close_rows(place, key, count, step, touched);
            }
            Shape::Hopping { .. } => {
                let start_ms = place.shape.pane().start_ms(time_ms);
                touched.errors += self.add_pending(place, start_ms, true, time_ms, arguments);
            }
            _ => {
                touched.errors += self.add_pending(place, time_ms, false, time_ms, arguments);
                if place.immediate {
                    self.close(place, time_ms.saturating_add(1), key, &mut touched.closed);
                }
                while self.pending.len() + self.parts.len() > ROWS_MAX {
                    touched.left_out += 1;
                    if !self.parts.is_empty() {
                        self.pop(place.aggregates);
                    } else {
                        self.pending.pop_front();
                    }
                }
            }
        }
    }

    /// Puts an event into the part of its time, or behind those of the same time.
    fn add_pending(
        &mut self,
        place: &Place<'_>,
        part_ms: i64,
        shared: bool,
        time_ms: i64,
        arguments: &[Value<'_>],
    ) -> u64 {
        let at = self.pending.partition_point(|part| part.time_ms <= part_ms);
        let known = at.checked_sub(1).filter(|_| shared).and_then(|at| self.pending.get_mut(at));
        if let Some(part) = known.filter(|part| part.time_ms == part_ms) {
            return part.accumulators.add(place.aggregates, time_ms, arguments);
        }
        let mut accumulators = Accumulators::new(place.aggregates);
        let errors = accumulators.add(place.aggregates, time_ms, arguments);
        self.pending.insert(at, Part { time_ms: part_ms, accumulators });
        errors
    }

    fn add_row(
        &mut self,
        place: &Place<'_>,
        time_ms: i64,
        arguments: &[Value<'_>],
        count: usize,
        step: usize,
    ) -> u64 {
        // Rows that leave together are one part.
        let shared = rows_of_part(count, step);
        self.last_ms = self.last_ms.max(time_ms);
        if self.rows.is_multiple_of(shared) {
            let accumulators = Accumulators::new(place.aggregates);
            self.pending.push_back(Part { time_ms, accumulators });
        }
        self.rows += 1;
        let errors = match self.pending.back_mut() {
            Some(part) => part.accumulators.add(place.aggregates, time_ms, arguments),
            None => 0,
        };
        if self.rows.is_multiple_of(shared)
            && let Some(part) = self.pending.pop_front()
        {
            self.push(place.aggregates, part);
        }
        errors
    }

    fn close_rows(
        &mut self,
        place: &Place<'_>,
        key: &[u8],
        count: usize,
        step: usize,
        touched: &mut Touched,
    ) {
        let parts = (count as u64).div_euclid(rows_of_part(count, step));
        while self.parts.len() as u64 > parts {
            self.pop(place.aggregates);
        }
        if self.rows >= count as u64 && self.rows.is_multiple_of(step as u64) {
            let start_ms = self.parts.front().map_or(self.last_ms, |part| part.time_ms);
            touched.closed.push(self.result(place.aggregates, key, start_ms, self.last_ms));
        }
    }

    fn push(&mut self, aggregates: &[Aggregate], part: Part) {
        if self.parts.back().is_none_or(|last| last.time_ms <= part.time_ms) {
            if is_small(aggregates) {
                self.back.merge(aggregates, &part.accumulators);
            }
            self.parts.push_back(part);
            return;
        }
        // It came late, but its later windows are still open. That is rare: the stacks are made anew.
        let at = self.parts.partition_point(|each| each.time_ms <= part.time_ms);
        self.parts.insert(at, part);
        self.restack(aggregates, 0);
    }

    /// Makes the stacks anew, with so many parts in the front.
    fn restack(&mut self, aggregates: &[Aggregate], front: usize) {
        self.front.clear();
        self.back = Accumulators::new(aggregates);
        if is_small(aggregates) {
            self.front = fronts(aggregates, self.parts.iter().take(front).rev());
            for part in self.parts.iter().skip(front) {
                self.back.merge(aggregates, &part.accumulators);
            }
        }
    }

    /// Takes the oldest part out.
    fn pop(&mut self, aggregates: &[Aggregate]) {
        if is_small(aggregates) && self.front.is_empty() {
            self.restack(aggregates, self.parts.len());
        }
        self.front.pop();
        self.parts.pop_front();
    }

    fn result(&self, aggregates: &[Aggregate], key: &[u8], start_ms: i64, end_ms: i64) -> Closed {
        let mut accumulators = match self.front.last() {
            Some(front) => front.clone(),
            None => Accumulators::new(aggregates),
        };
        if is_small(aggregates) {
            accumulators.merge(aggregates, &self.back);
        } else {
            self.parts.iter().for_each(|part| accumulators.merge(aggregates, &part.accumulators));
        }
        Closed { key: key.into(), start_ms, end_ms, accumulators }
    }

    pub(super) fn deadline_ms(&self, shape: &Shape, position_ms: i64) -> Option<i64> {
        match *shape {
            Shape::Hopping { size_ms, hop_ms } => self.next_end_ms(size_ms, hop_ms, position_ms),
            Shape::Sliding { size_ms } => {
                let waiting = self.pending.front().map(|part| part.time_ms.saturating_add(1));
                let expiring =
                    self.parts.back().map(|part| part.time_ms.saturating_add(size_ms).saturating_add(1));
                waiting.or(expiring)
            }
            _ => None,
        }
    }

    /// The end of the first window with something in it that is not closed yet.
    fn next_end_ms(&self, size_ms: i64, hop_ms: i64, position_ms: i64) -> Option<i64> {
        let hops = Tumbling { size_ms: hop_ms, offset_ms: size_ms % hop_ms };
        // The first end after a time.
        let after = |time_ms: i64| hops.end_ms(hops.start_ms(time_ms));
        let first_ms = self.parts.front().or(self.pending.front())?.time_ms;
        Some(after(first_ms.max(position_ms)))
    }

    pub(super) fn close(&mut self, place: &Place<'_>, until_ms: i64, key: &[u8], closed: &mut Vec<Closed>) {
        match *place.shape {
            Shape::Hopping { size_ms, hop_ms } => {
                let mut position_ms = place.position_ms;
                while let Some(end_ms) = self.next_end_ms(size_ms, hop_ms, position_ms)
                    && end_ms <= until_ms
                    && end_ms > position_ms
                {
                    position_ms = end_ms;
                    self.close_hop(place.aggregates, key, end_ms.saturating_sub(size_ms), end_ms, closed);
                }
            }
            Shape::Sliding { size_ms } => {
                while let Some(part) = self.pending.pop_front_if(|part| part.time_ms < until_ms) {
                    let end_ms = part.time_ms;
                    self.expire(place.aggregates, end_ms.saturating_sub(size_ms).saturating_add(1));
                    self.push(place.aggregates, part);
                    closed.push(self.result(place.aggregates, key, end_ms.saturating_sub(size_ms), end_ms));
                }
                // Another event may come in the same millisecond.
                self.expire(place.aggregates, until_ms.saturating_sub(size_ms));
            }
            _ => {
                // Only when the group has to make room.
                self.close_last_rows(place, key, closed);
            }
        }
    }

    /// What is in no result yet gets one.
    fn close_last_rows(&mut self, place: &Place<'_>, key: &[u8], closed: &mut Vec<Closed>) {
        let Shape::Rows { count, step } = *place.shape else { return };
        if self.rows >= count as u64 && self.rows.is_multiple_of(step as u64) {
            return;
        }
        while let Some(part) = self.pending.pop_front() {
            self.push(place.aggregates, part);
        }
        let start_ms = self.parts.front().map_or(self.last_ms, |part| part.time_ms);
        closed.push(self.result(place.aggregates, key, start_ms, self.last_ms));
    }

    fn close_hop(
        &mut self,
        aggregates: &[Aggregate],
        key: &[u8],
        start_ms: i64,
        end_ms: i64,
        closed: &mut Vec<Closed>,
    ) {
        self.expire(aggregates, start_ms);
        while let Some(part) = self.pending.pop_front_if(|part| part.time_ms < end_ms) {
            // What came so late that only later windows are open for it is in those.
            if part.time_ms >= start_ms {
                self.push(aggregates, part);
            }
        }
        if !self.parts.is_empty() {
            closed.push(self.result(aggregates, key, start_ms, end_ms));
        }
    }

    /// Takes out the parts from before a time.
    fn expire(&mut self, aggregates: &[Aggregate], from_ms: i64) {
        while self.parts.front().is_some_and(|part| part.time_ms < from_ms) {
            self.pop(aggregates);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.parts.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_count(self.rows, out);
        put_value(&Value::Int(self.last_ms), out);
        put_count(self.front.len() as u64, out);
        for parts in [&self.pending, &self.parts] {
            put_count(parts.len() as u64, out);
            for part in parts {
                put_value(&Value::Int(part.time_ms), out);
                part.accumulators.write(out);
            }
        }
    }

    pub(super) fn read(
        shape: &Shape,
        aggregates: &[Aggregate],
        reader: &mut Reader<'_>,
    ) -> Result<Self, StateError> {
        let mut queue = Self::new(aggregates);
        queue.rows = Some(reader.count()?).filter(|rows| *rows < 1 << 56).ok_or_else(|| reader.damaged())?;
        let Value::Int(last_ms) = reader.value()? else { return Err(reader.damaged()) };
        queue.last_ms = last_ms;
        let front = reader.count()?;
        queue.pending = read_parts(aggregates, reader)?;
        queue.parts = read_parts(aggregates, reader)?;
        let front = usize::try_from(front).ok().filter(|front| *front <= queue.parts.len());
        let Some(front) = front else { return Err(reader.damaged()) };
        if matches!(shape, Shape::Rows { .. }) && queue.pending.len() > 1 {
            return Err(reader.damaged());
        }
        // The same stacks as before, so that floating-point sums come out the same.
        queue.restack(aggregates, front);
        Ok(queue)
    }
}

fn read_parts(aggregates: &[Aggregate], reader: &mut Reader<'_>) -> Result<VecDeque<Part>, StateError> {
    let mut parts: VecDeque<Part> = VecDeque::new();
    for _ in 0..reader.count()? {
        let Value::Int(time_ms) = reader.value()? else { return Err(reader.damaged()) };
        if parts.back().is_some_and(|last| last.time_ms > time_ms) {
            return Err(reader.damaged());
        }
        parts.push_back(Part { time_ms, accumulators: Accumulators::read(aggregates, reader)? });
    }
    Ok(parts)
}

fn is_small(aggregates: &[Aggregate]) -> bool {
    aggregates.iter().all(Aggregate::is_small)
}

fn rows_of_part(count: usize, step: usize) -> u64 {
    let [count, step] = [count, step].map(|rows| i64::try_from(rows).unwrap_or(1));
    greatest_common_divisor(count, step).max(1).unsigned_abs()
}

/// What the parts come to from each of them on, newest part first.
fn fronts<'a>(aggregates: &[Aggregate], newest_first: impl Iterator<Item = &'a Part>) -> Vec<Accumulators> {
    let mut fronts: Vec<Accumulators> = Vec::new();
    for part in newest_first {
        let mut front = part.accumulators.clone();
        if let Some(newer) = fronts.last() {
            front.merge(aggregates, newer);
        }
        fronts.push(front);
    }
    fronts
}
