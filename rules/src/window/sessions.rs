//! Sessions of one key: events with no gap between them. With event time there may be several at once, and an event may
//! join two of them.

use super::{Closed, Shape, content::Place};
use crate::{
    aggregate::{Accumulators, Aggregate},
    state::{Reader, StateError, put_count, put_value},
    value::Value,
};

/// In the order of time.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Session>);

#[derive(Debug)]
struct Session {
    start_ms: i64,
    last_ms: i64,
    accumulators: Accumulators,
}

fn gap_and_max(shape: &Shape) -> (i64, i64) {
    match *shape {
        Shape::Session { gap_ms, max_ms } => (gap_ms, max_ms),
        _ => (1, i64::MAX),
    }
}

impl Session {
    fn end_ms(&self, shape: &Shape) -> i64 {
        let (gap_ms, max_ms) = gap_and_max(shape);
        self.last_ms.saturating_add(gap_ms).min(self.start_ms.saturating_add(max_ms))
    }

    /// Whether an event of this time belongs to it.
    fn takes(&self, shape: &Shape, time_ms: i64) -> bool {
        let (gap_ms, max_ms) = gap_and_max(shape);
        let start_ms = self.start_ms.min(time_ms);
        let last_ms = self.last_ms.max(time_ms);
        time_ms < self.last_ms.saturating_add(gap_ms)
            && self.start_ms < time_ms.saturating_add(gap_ms)
            && last_ms < start_ms.saturating_add(max_ms)
    }
}

impl Sessions {
    pub(super) fn add(&mut self, place: &Place<'_>, time_ms: i64, arguments: &[Value<'_>]) -> u64 {
        let found = self.0.iter().position(|session| session.takes(place.shape, time_ms));
        let at = found.unwrap_or_else(|| {
            let at = self.0.partition_point(|session| session.start_ms <= time_ms);
            let accumulators = Accumulators::new(place.aggregates);
            self.0.insert(at, Session { start_ms: time_ms, last_ms: time_ms, accumulators });
            at
        });
        let Some(session) = self.0.get_mut(at) else { return 0 };
        session.start_ms = session.start_ms.min(time_ms);
        session.last_ms = session.last_ms.max(time_ms);
        let errors = session.accumulators.add(place.aggregates, time_ms, arguments);
        self.join(place, at);
        errors
    }

    /// Puts a session that has grown together with the next one if there is no gap between them any more.
    fn join(&mut self, place: &Place<'_>, at: usize) {
        let [first, second] = [at, at + 1].map(|at| self.0.get(at));
        let (Some(first), Some(second)) = (first, second) else { return };
        let max_ms = gap_and_max(place.shape).1;
        let near = second.start_ms < first.end_ms(place.shape);
        if near && second.last_ms < first.start_ms.saturating_add(max_ms) {
            let second = self.0.remove(at + 1);
            if let Some(first) = self.0.get_mut(at) {
                first.last_ms = first.last_ms.max(second.last_ms);
                first.accumulators.merge(place.aggregates, &second.accumulators);
            }
        }
    }

    pub(super) fn covers(&self, shape: &Shape, time_ms: i64) -> bool {
        self.0.iter().any(|session| session.takes(shape, time_ms))
    }

    pub(super) fn first_end_ms(&self, shape: &Shape) -> Option<i64> {
        self.0.iter().map(|session| session.end_ms(shape)).min()
    }

    pub(super) fn close(&mut self, place: &Place<'_>, until_ms: i64, key: &[u8], closed: &mut Vec<Closed>) {
        let ended = self.0.extract_if(.., |session| session.end_ms(place.shape) <= until_ms);
        closed.extend(ended.map(|session| Closed {
            key: key.into(),
            start_ms: session.start_ms,
            end_ms: session.end_ms(place.shape),
            accumulators: session.accumulators,
        }));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_count(self.0.len() as u64, out);
        for session in &self.0 {
            put_value(&Value::Int(session.start_ms), out);
            put_value(&Value::Int(session.last_ms), out);
            session.accumulators.write(out);
        }
    }

    pub(super) fn read(aggregates: &[Aggregate], reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut sessions = Vec::new();
        for _ in 0..reader.count()? {
            let (Value::Int(start_ms), Value::Int(last_ms)) = (reader.value()?, reader.value()?) else {
                return Err(reader.damaged());
            };
            sessions.push(Session {
                start_ms,
                last_ms,
                accumulators: Accumulators::read(aggregates, reader)?,
            });
        }
        Ok(Self(sessions))
    }
}
