//! One lane: what one consumer has still to acknowledge at one priority.
//!
//! A record of the lane is in one place only: in the `queue` of the memory tier (the live stream), on disk and not
//! looked at (the backlog), loaded `ahead` from there, in flight, or settled. Invariants, with `durable_hi` the highest
//! number of the lane on disk:
//! - all unsettled records up to `durable_hi` are on disk, those above are in memory only;
//! - every unsettled record from `memory_from` on is in `queue`, and none below;
//! - each record handed out carries its span: the numbers around it that are nobody else's in this lane. Settling adds
//!   the span to `settled`, so neighbours join, and the set is as small as the number of regions in work.

mod disk;

use std::collections::VecDeque;

pub(crate) use disk::Want;

use super::counters::{Counters, Reason};
use super::memory::{Memory, NO_SLOT, Tier};
use super::settled::{Settled, Span};
use crate::record::{Record, Stamp};

/// With more separate regions than this a lane reads oldest-first, until there are fewer.
const SPANS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) seq: u64,
    pub(super) slot: u64,
}

/// A record handed out.
#[derive(Debug, Clone, Copy)]
struct Inflight {
    seq: u64,
    span: Span,
    slot: u64,
    bytes: u64,
    /// Counted in `stored`.
    durable: bool,
    /// It waits for the commit that sets it aside, out of the reach of `settle` by an acknowledgement and of `rewind`.
    parked: bool,
}

/// A record loaded from disk and not handed out.
#[derive(Debug)]
struct Ahead {
    record: Record,
    span: Span,
}

/// The two heads of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// What waits on disk.
    Backlog,
    /// What waits in memory.
    Live,
}

/// The order in which a lane is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    /// Backlog before live.
    #[default]
    Oldest,
    /// Live before backlog; the backlog from its oldest record on.
    Live,
    /// Live before backlog; the backlog from its newest row on.
    Newest,
}

/// The part of a lane that the database keeps.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LaneMark {
    pub(crate) settled: Settled,
    /// How many records on disk are not settled, and their uncompressed bytes.
    pub(crate) stored: u64,
    pub(crate) stored_bytes: u64,
    /// The lane's rows before this one are gone, or settled by this lane.
    pub(crate) swept: u64,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) bit: u64,
    pub(super) order: Order,
    settled: Settled,
    /// What was loaded since the last rewind: not to be loaded again.
    loaded: Settled,
    pub(super) stored: u64,
    pub(super) stored_bytes: u64,
    /// How many of the stored records are in flight or in the queue.
    here: u64,
    pub(super) durable_hi: u64,
    memory_from: u64,
    queue: VecDeque<Waiting>,
    /// Rising.
    inflight: VecDeque<Inflight>,
    parked: usize,
    /// How many records in flight came from disk.
    pub(super) backlog_inflight: u64,
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    /// The row that may have the number, and those after it, when all before it was loaded.
    load_hint: Option<(u64, u64)>,
    pub(super) loading: bool,
    pub(super) generation: u64,
    /// Records in rows that were damaged: how many waited in this lane shows at the end of the disk.
    damaged: u64,
    pub(super) swept: u64,
    pub(super) unswept: Vec<Span>,
    pub(super) persisted: LaneMark,
    pub(super) counters: Counters,
    /// Records that wait, and their bytes.
    pub(super) backlog: u64,
    pub(super) backlog_bytes: u64,
}

impl Lane {
    pub(super) fn restore(bit: u64, order: Order, mark: LaneMark, first_seq: u64) -> Self {
        let before = first_seq.saturating_sub(1);
        let mut counters = mark.counters;
        counters.appended = counters.left_in_all() + mark.stored;
        Self {
            bit,
            order,
            settled: if mark.stored > 0 { mark.settled.clone() } else { Settled::up_to(before) },
            stored: mark.stored,
            stored_bytes: mark.stored_bytes,
            durable_hi: before,
            memory_from: first_seq,
            swept: mark.swept,
            counters,
            backlog: mark.stored,
            backlog_bytes: mark.stored_bytes,
            persisted: mark,
            ..Self::default()
        }
    }

    /// Whether `appended = left + backlog`.
    pub(super) fn is_balanced(&self) -> bool {
        self.counters.appended == self.counters.left_in_all() + self.backlog
    }

    pub(super) fn push(&mut self, waiting: Waiting, bytes: u64) {
        self.counters.appended += 1;
        self.backlog += 1;
        self.backlog_bytes += bytes;
        self.queue.push_back(waiting);
    }

    /// The order in effect.
    fn order(&self) -> Order {
        if self.settled.spans_above() >= SPANS_MAX { Order::Oldest } else { self.order }
    }

    /// Whether the next record of the stream can be read now.
    pub(super) fn has_next(&self, stream: Stream, memory: &Memory) -> bool {
        match stream {
            Stream::Backlog => !self.ahead.is_empty(),
            Stream::Live => {
                let Some(front) = self.queue.front() else { return false };
                if self.order() == Order::Oldest && self.has_backlog() {
                    return false;
                }
                memory.slot(front.slot).is_some_and(|slot| !slot.held)
            }
        }
    }

    /// The size of the record that `take` would return, were it not expired.
    pub(super) fn next_bytes(&self, stream: Stream, memory: &Memory) -> usize {
        let record = match stream {
            Stream::Backlog => self.ahead.front().map(|ahead| &ahead.record),
            Stream::Live => self.queue.front().and_then(|front| memory.slot(front.slot)?.record.as_ref()),
        };
        record.map_or(0, Record::bytes)
    }

    /// Hands out the next record; an error is one that was too old to be, and left the lane for that reason.
    pub(super) fn take(
        &mut self,
        stream: Stream,
        memory: &mut Memory,
        now: Stamp,
        max_age_ms: u64,
    ) -> Option<Result<Record, (Reason, Record)>> {
        let (record, entry) = match stream {
            Stream::Backlog => self.take_ahead()?,
            Stream::Live => self.take_live(memory)?,
        };
        let late = match record.expires_in_ms(now) {
            Some(0) => Some(Reason::Expired),
            _ if max_age_ms != u64::MAX && record.age_ms(now) > max_age_ms => Some(Reason::EvictedAge),
            _ => None,
        };
        if let Some(reason) = late {
            self.leave(memory, entry, reason);
            return Some(Err((reason, record)));
        }
        if self.inflight.back().is_none_or(|back| back.seq < entry.seq) {
            self.inflight.push_back(entry);
        } else {
            let at = self.inflight.partition_point(|other| other.seq < entry.seq);
            self.inflight.insert(at, entry);
        }
        Some(Ok(record))
    }

    fn take_ahead(&mut self) -> Option<(Record, Inflight)> {
        let Ahead { record, span } = self.ahead.pop_front()?;
        self.ahead_bytes = self.ahead_bytes.saturating_sub(record.memory_bytes());
        self.here += 1;
        self.backlog_inflight += 1;
        let bytes = record.bytes() as u64;
        let entry = Inflight { seq: record.seq, span, slot: NO_SLOT, bytes, durable: true, parked: false };
        Some((record, entry))
    }

    fn take_live(&mut self, memory: &mut Memory) -> Option<(Record, Inflight)> {
        let Waiting { seq, slot: id } = self.queue.pop_front()?;
        let span = Span::new(self.live_from(seq), seq);
        self.memory_from = seq + 1;
        let slot = memory.slot(id)?;
        let durable = slot.tier == Tier::Durable;
        let record = slot.record.clone()?;
        memory.mark_read(id, self.bit);
        let bytes = record.bytes() as u64;
        Some((record, Inflight { seq, span, slot: id, bytes, durable, parked: false }))
    }

    /// Where the span of a queued record begins: everything from `memory_from` on is in the queue, but for what is
    /// parked.
    fn live_from(&self, seq: u64) -> u64 {
        if self.parked == 0 {
            return self.memory_from;
        }
        let at = self.inflight.partition_point(|entry| entry.seq < seq);
        let before = at.checked_sub(1).and_then(|at| self.inflight.get(at));
        before.map_or(self.memory_from, |entry| self.memory_from.max(entry.seq + 1))
    }

    /// The position in flight; the oldest is the likeliest.
    fn find(&self, seq: u64) -> Option<usize> {
        let front = self.inflight.front()?;
        if front.seq == seq {
            return Some(0);
        }
        self.inflight.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    /// Settles a record in flight; whether there was one.
    pub(super) fn settle(&mut self, memory: &mut Memory, seq: u64, reason: Reason) -> bool {
        let Some(at) = self.find(seq) else { return false };
        let reachable = |entry: &&Inflight| !entry.parked || reason != Reason::Acked;
        if self.inflight.get(at).filter(reachable).is_none() {
            return false;
        }
        let entry = if at == 0 { self.inflight.pop_front() } else { self.inflight.remove(at) };
        entry.map(|entry| self.leave(memory, entry, reason)).is_some()
    }

    /// A record that was in flight leaves the lane.
    fn leave(&mut self, memory: &mut Memory, entry: Inflight, reason: Reason) {
        self.settled.insert(entry.span);
        if entry.slot == NO_SLOT {
            self.backlog_inflight = self.backlog_inflight.saturating_sub(1);
        } else {
            memory.settle(entry.slot, self.bit);
        }
        self.parked -= usize::from(entry.parked);
        if entry.durable {
            self.here = self.here.saturating_sub(1);
            self.unstore(entry.bytes);
        }
        self.count(reason, entry.bytes);
    }

    fn unstore(&mut self, bytes: u64) {
        self.stored = self.stored.saturating_sub(1);
        self.stored_bytes = if self.stored == 0 { 0 } else { self.stored_bytes.saturating_sub(bytes) };
    }

    fn count(&mut self, reason: Reason, bytes: u64) {
        self.counters.add(reason, 1);
        self.backlog = self.backlog.saturating_sub(1);
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
    }

    /// Takes a record in flight out of the reach of `ack` and `rewind`; whether it was there.
    pub(super) fn park(&mut self, seq: u64) -> bool {
        let entry = self.find(seq).and_then(|at| self.inflight.get_mut(at)).filter(|entry| !entry.parked);
        let parked = entry.map(|entry| entry.parked = true).is_some();
        self.parked += usize::from(parked);
        parked
    }

    /// No new row with a record of this lane may begin below.
    pub(super) fn row_min(&self) -> u64 {
        self.swept.max(self.durable_hi + 1)
    }

    /// Whether something of the lane waits that does not fit its memory, or did not.
    pub(super) fn has_backlog(&self) -> bool {
        self.has_disk() || !self.ahead.is_empty()
    }

    /// A record of a full lane is not taken: it never enters.
    pub(super) fn drop_newest(&mut self) {
        self.counters.appended += 1;
        self.counters.add(Reason::EvictedNewest, 1);
    }

    /// Puts everything unacknowledged back: what is on disk there, the rest in front of the queue.
    pub(super) fn rewind(&mut self, memory: &mut Memory) {
        self.backlog_inflight = 0;
        let inflight = std::mem::take(&mut self.inflight);
        for entry in inflight.into_iter().rev() {
            if entry.parked {
                self.backlog_inflight += u64::from(entry.slot == NO_SLOT);
                self.inflight.push_front(entry);
            } else if entry.durable {
                self.here = self.here.saturating_sub(1);
            } else {
                self.memory_from = self.memory_from.min(entry.span.from);
                memory.mark_unread(entry.slot, self.bit);
                self.queue.push_front(Waiting { seq: entry.seq, slot: entry.slot });
            }
        }
        self.reload();
    }

    /// Settles everything; returns how many records waited.
    pub(super) fn purge(&mut self, memory: &mut Memory, last_seq: u64) -> u64 {
        let purged = self.backlog;
        let inflight = self.inflight.drain(..).map(|entry| entry.slot);
        let queued = self.queue.drain(..).map(|waiting| waiting.slot);
        inflight.chain(queued).for_each(|slot| memory.settle(slot, self.bit));
        self.settled.insert(Span::new(0, last_seq));
        self.memory_from = last_seq + 1;
        self.counters.add(Reason::Purged, purged);
        (self.backlog, self.backlog_bytes, self.stored, self.stored_bytes) = (0, 0, 0, 0);
        (self.here, self.parked, self.backlog_inflight, self.damaged) = (0, 0, 0, 0);
        self.reload();
        purged
    }

    /// Closes the holes of numbers that are nobody's, where nothing is left on disk to tell of them.
    pub(super) fn tidy(&mut self, last_seq: u64) {
        if self.has_disk() || !self.ahead.is_empty() {
            return;
        }
        self.memory_from = self.queue.front().map_or(last_seq + 1, |front| front.seq).max(self.memory_from);
        if !self.inflight.is_empty() && !self.is_on_disk() {
            return;
        }
        // What is parked may lie among the records of the queue, which are not settled.
        let end = self.memory_from - 1;
        let mut from = 0;
        for entry in &self.inflight {
            self.settled.insert(Span::new(from, end.min(entry.seq - 1)));
            from = entry.seq + 1;
        }
        self.settled.insert(Span::new(from, end));
    }

    /// Whether the disk has, or may still believe it has, something of this lane.
    pub(super) fn is_on_disk(&self) -> bool {
        self.stored > 0 || self.persisted.stored > 0
    }

    /// Whether the database does not know how far the lane has come, and ought to.
    pub(super) fn is_behind(&self) -> bool {
        self.is_on_disk() && (self.persisted.stored != self.stored || self.persisted.settled != self.settled)
    }

    /// What a commit keeps of the lane that adds so many records, with so many bytes, to it. What is in memory only
    /// was never appended, as far as the database is concerned.
    pub(super) fn mark(&self, (added, added_bytes): (u64, u64)) -> LaneMark {
        let stored = self.stored + added;
        let mut counters = self.counters;
        counters.appended = counters.left_in_all() + stored;
        LaneMark {
            settled: self.settled.clone(),
            stored,
            stored_bytes: self.stored_bytes + added_bytes,
            swept: self.swept,
            counters,
        }
    }

    /// Whether a record in flight came from disk.
    #[cfg(test)]
    pub(super) fn came_from_disk(&self, seq: u64) -> Option<bool> {
        self.inflight.get(self.find(seq)?).map(|entry| entry.slot == NO_SLOT)
    }

    #[cfg(test)]
    pub(super) fn settled(&self) -> &Settled {
        &self.settled
    }
}
