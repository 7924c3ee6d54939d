//! What a group holds, by the shape of its windows.

use super::{Closed, Input, Shape, Touched, queue::Queue, sessions::Sessions};
use crate::{
    aggregate::{Accumulators, Aggregate},
    state::{Reader, StateError},
};

#[derive(Debug)]
pub(super) enum Content {
    /// The one tumbling window that the group stands for.
    Whole(Accumulators),
    Sessions(Sessions),
    /// Windows that overlap and so share parts.
    Queue(Box<Queue>),
}

/// What the windows of a group have in common with those of others.
pub(super) struct Place<'p> {
    pub(super) shape: &'p Shape,
    pub(super) aggregates: &'p [Aggregate],
    /// Windows that ended by this time are closed.
    pub(super) position_ms: i64,
    /// Whether events come in the order of their time, so that none has to wait for earlier ones.
    pub(super) immediate: bool,
}

impl Content {
    pub(super) fn new(shape: &Shape, aggregates: &[Aggregate]) -> Self {
        match shape {
            Shape::Tumbling(_) => Self::Whole(Accumulators::new(aggregates)),
            Shape::Session { .. } => Self::Sessions(Sessions::default()),
            _ => Self::Queue(Box::new(Queue::new(aggregates))),
        }
    }

    pub(super) fn add(
        &mut self,
        place: &Place<'_>,
        time_ms: i64,
        input: &Input<'_>,
        key: &[u8],
        touched: &mut Touched,
    ) {
        match self {
            Self::Whole(accumulators) => {
                touched.errors += accumulators.add(place.aggregates, time_ms, input.arguments);
            }
            Self::Sessions(sessions) => {
                touched.errors += sessions.add(place, time_ms, input.arguments);
            }
            Self::Queue(queue) => queue.add(place, time_ms, input.arguments, key, touched),
        }
    }

    /// When there is next something to do, if time alone can bring that about.
    pub(super) fn deadline_ms(&self, shape: &Shape, position_ms: i64) -> Option<i64> {
        match self {
            Self::Whole(_) => None,
            Self::Sessions(sessions) => sessions.first_end_ms(shape),
            Self::Queue(queue) => queue.deadline_ms(shape, position_ms),
        }
    }

    /// Takes out the windows that have ended by a time.
    pub(super) fn close(
        &mut self,
        place: &Place<'_>,
        until_ms: i64,
        start_ms: i64,
        key: &[u8],
        closed: &mut Vec<Closed>,
    ) {
        match self {
            Self::Whole(accumulators) => {
                let Shape::Tumbling(tumbling) = place.shape else { return };
                let accumulators = std::mem::replace(accumulators, Accumulators::new(place.aggregates));
                closed.push(Closed {
                    key: key.into(),
                    start_ms,
                    end_ms: tumbling.end_ms(start_ms),
                    accumulators,
                });
            }
            Self::Sessions(sessions) => sessions.close(place, until_ms, key, closed),
            Self::Queue(queue) => queue.close(place, until_ms, key, closed),
        }
    }

    /// Whether a session is open that an event of this time belongs to.
    pub(super) fn covers(&self, shape: &Shape, time_ms: i64) -> bool {
        matches!(self, Self::Sessions(sessions) if sessions.covers(shape, time_ms))
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Sessions(sessions) => sessions.is_empty(),
            Self::Queue(queue) => queue.is_empty(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Whole(accumulators) => accumulators.write(out),
            Self::Sessions(sessions) => sessions.write(out),
            Self::Queue(queue) => queue.write(out),
        }
    }

    pub(super) fn read(
        shape: &Shape,
        aggregates: &[Aggregate],
        reader: &mut Reader<'_>,
    ) -> Result<Self, StateError> {
        Ok(match shape {
            Shape::Tumbling(_) => Self::Whole(Accumulators::read(aggregates, reader)?),
            Shape::Session { .. } => Self::Sessions(Sessions::read(aggregates, reader)?),
            _ => Self::Queue(Box::new(Queue::read(shape, aggregates, reader)?)),
        })
    }
}
