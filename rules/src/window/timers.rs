//! When groups are to be looked at again.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::SlotId;

/// The slots of groups, by when their timers ring.
///
/// A group notes when its timer rings; a timer that says something else is of a group that is gone. A timer may ring too
/// early, and is then set anew: events that only postpone an end cost nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(i64, SlotId)>>);

impl Timers {
    /// Sets the timer of a group, unless it rings earlier. `timer_ms` is the group's note.
    pub(super) fn set(&mut self, slot: SlotId, deadline_ms: i64, timer_ms: &mut i64) {
        if deadline_ms < *timer_ms {
            *timer_ms = deadline_ms;
            self.0.push(Reverse((deadline_ms, slot)));
        }
    }

    /// The first timer and its group.
    pub(super) fn first(&self) -> Option<(i64, SlotId)> {
        self.0.peek().map(|Reverse(first)| *first)
    }

    pub(super) fn remove_first(&mut self) {
        self.0.pop();
    }
}
