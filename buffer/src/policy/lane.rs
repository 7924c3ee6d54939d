//! One lane: what one consumer has still to acknowledge at one priority, in order.
//!
//! Invariants, with `durable_hi` the highest number of the lane on disk:
//! - all unsettled records up to `durable_hi` are on disk, those above are in memory only;
//! - what is below `memory_from` is read from disk, what is at or above it from `queue`;
//! - `inflight`, then `ahead`, then the disk, then `queue` rise in this order.

use std::collections::{BTreeMap, VecDeque};

use super::memory::{Memory, NO_SLOT, Tier};
use crate::batch::Stored;
use crate::record::{Record, Stamp};

/// A lane loads its next row while it has less than this many bytes ahead.
const AHEAD_BYTES: usize = 512 << 10;

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) seq: u64,
    pub(super) slot: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The consumer has it.
    Out,
    /// It waits for the commit that sets it aside.
    Parked,
    /// Nothing more to do.
    Settled,
}

#[derive(Debug, Clone, Copy)]
struct Inflight {
    seq: u64,
    slot: u64,
    hold: Hold,
    /// Counted in `stored`.
    durable: bool,
}

/// Settled or parked before a rewind; not to be read again.
#[derive(Debug, Clone, Copy)]
struct Skip {
    settled: bool,
    durable: bool,
}

/// Why a record leaves the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Acked,
    Expired,
    Evicted,
    Quarantined,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) stored_at_open: u64,
    pub(super) appended: u64,
    pub(super) acked: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) quarantined: u64,
    pub(super) backlog: u64,
}

/// The part of a lane that the database keeps.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneMark {
    /// Everything up to here is settled.
    pub(crate) cursor: u64,
    /// How many records above the cursor are on disk.
    pub(crate) stored: u64,
    /// The lane's rows before this one are gone, or settled by this lane.
    pub(crate) swept: u64,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) bit: u64,
    /// Everything up to here is settled, and its part of `stored` given back.
    cursor: u64,
    pub(super) stored: u64,
    pub(super) durable_hi: u64,
    pub(super) memory_from: u64,
    queue: VecDeque<Waiting>,
    inflight: VecDeque<Inflight>,
    skips: BTreeMap<u64, Skip>,
    ahead: VecDeque<Record>,
    pub(super) ahead_bytes: usize,
    /// Rows are loaded for numbers above this one…
    pub(super) load_after: u64,
    /// … from this row on.
    pub(super) load_row: u64,
    pub(super) loading: bool,
    pub(super) generation: u64,
    pub(super) persisted: LaneMark,
    pub(super) counters: Counters,
}

impl Lane {
    pub(super) fn restore(bit: u64, mark: LaneMark, first_seq: u64) -> Self {
        let before = first_seq.saturating_sub(1);
        let load_after = if mark.stored > 0 { mark.cursor } else { before };
        Self {
            bit,
            cursor: mark.cursor,
            stored: mark.stored,
            durable_hi: before,
            memory_from: first_seq,
            load_after,
            load_row: mark.swept,
            persisted: mark,
            counters: Counters { stored_at_open: mark.stored, backlog: mark.stored, ..Counters::default() },
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.counters.appended += 1;
        self.counters.backlog += 1;
        self.queue.push_back(waiting);
    }

    /// Whether records between `ahead` and `queue` are still to be loaded.
    pub(super) fn has_disk(&self) -> bool {
        self.stored > 0 && self.load_after + 1 < self.memory_from
    }

    /// Whether the next row is to be loaded.
    pub(super) fn wants_load(&self) -> bool {
        !self.loading && self.ahead_bytes < AHEAD_BYTES && self.has_disk()
    }

    /// Whether the next record can be read now.
    pub(super) fn has_next(&self, memory: &Memory) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let front = self.queue.front().filter(|_| !self.has_disk());
        front.and_then(|waiting| memory.slot(waiting.slot)).is_some_and(|slot| !slot.held)
    }

    /// The size of the record that `take` would return, were it not expired or to be skipped.
    pub(super) fn next_bytes(&self, memory: &Memory) -> usize {
        let queued = || memory.slot(self.queue.front()?.slot)?.record.as_ref();
        self.ahead.front().or_else(queued).map_or(0, |r| r.topic.len() + r.meta.len() + r.payload.len())
    }

    /// Hands out the next record; `None` when it was expired or settled before, and was passed over.
    pub(super) fn take(&mut self, memory: &mut Memory, now: Stamp) -> Option<Record> {
        let (record, slot, durable) = self.pop_next(memory)?;
        if let Some(skip) = self.skips.remove(&record.seq) {
            let hold = if skip.settled { Hold::Settled } else { Hold::Parked };
            self.inflight.push_back(Inflight { seq: record.seq, slot, hold, durable });
            self.advance();
            return None;
        }
        self.inflight.push_back(Inflight { seq: record.seq, slot, hold: Hold::Out, durable });
        if record.expires_in_ms(now) == Some(0) {
            self.settle(memory, record.seq, Reason::Expired);
            return None;
        }
        Some(record)
    }

    fn pop_next(&mut self, memory: &mut Memory) -> Option<(Record, u64, bool)> {
        if let Some(record) = self.ahead.pop_front() {
            self.ahead_bytes = self.ahead_bytes.saturating_sub(record.memory_bytes());
            return Some((record, NO_SLOT, true));
        }
        let waiting = self.queue.pop_front()?;
        let slot = memory.slot(waiting.slot)?;
        let durable = slot.tier == Tier::Durable;
        let record = slot.record.clone()?;
        memory.mark_read(waiting.slot, self.bit);
        Some((record, waiting.slot, durable))
    }

    /// The position in flight; the oldest is the likeliest.
    fn find(&self, seq: u64) -> Option<usize> {
        if self.inflight.front().is_some_and(|front| front.seq == seq) {
            return Some(0);
        }
        self.inflight.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    /// Settles a record in flight; whether there was one.
    pub(super) fn settle(&mut self, memory: &mut Memory, seq: u64, reason: Reason) -> bool {
        let Some(entry) = self.find(seq).and_then(|at| self.inflight.get_mut(at)) else {
            return self.settle_parked_skip(memory, seq, reason);
        };
        if entry.hold == Hold::Settled || (entry.hold == Hold::Parked && reason == Reason::Acked) {
            return false;
        }
        entry.hold = Hold::Settled;
        let slot = entry.slot;
        memory.settle(slot, self.bit);
        self.count(reason);
        self.advance();
        true
    }

    /// A quarantine that was committed after its connection was lost.
    fn settle_parked_skip(&mut self, memory: &mut Memory, seq: u64, reason: Reason) -> bool {
        let Some(skip) = self.skips.get_mut(&seq).filter(|skip| !skip.settled && reason != Reason::Acked)
        else {
            return false;
        };
        skip.settled = true;
        let slot = self.queue.iter().find(|waiting| waiting.seq == seq).map(|waiting| waiting.slot);
        if let Some(slot) = slot {
            self.queue.retain(|waiting| waiting.seq != seq);
            memory.settle(slot, self.bit);
        }
        self.count(reason);
        true
    }

    /// Takes a record in flight out of the reach of `ack` and `rewind`; whether it was there.
    pub(super) fn park(&mut self, seq: u64) -> bool {
        let entry = self.find(seq).and_then(|at| self.inflight.get_mut(at));
        entry.filter(|entry| entry.hold == Hold::Out).map(|entry| entry.hold = Hold::Parked).is_some()
    }

    fn count(&mut self, reason: Reason) {
        self.counters.backlog = self.counters.backlog.saturating_sub(1);
        match reason {
            Reason::Acked => self.counters.acked += 1,
            Reason::Expired => self.counters.expired += 1,
            Reason::Evicted => self.counters.evicted += 1,
            Reason::Quarantined => self.counters.quarantined += 1,
        }
    }

    fn advance(&mut self) {
        while let Some(entry) = self.inflight.pop_front_if(|entry| entry.hold == Hold::Settled) {
            self.cursor = entry.seq;
            self.stored = self.stored.saturating_sub(u64::from(entry.durable));
        }
        self.forget_skips(self.cursor);
    }

    /// Skips below the cursor are history.
    fn forget_skips(&mut self, cursor: u64) {
        while let Some(first) =
            self.skips.first_entry().filter(|first| *first.key() <= cursor && first.get().settled)
        {
            self.stored = self.stored.saturating_sub(u64::from(first.remove().durable));
        }
    }

    /// Everything up to here is settled, as far as it can be known: where nothing is outstanding, `last_seq`.
    pub(super) fn cursor(&self, memory: &Memory, last_seq: u64) -> u64 {
        let before = |seq: u64| seq.saturating_sub(1);
        let parked =
            self.skips.iter().find(|(_, skip)| !skip.settled).map_or(u64::MAX, |(seq, _)| before(*seq));
        let known = if let Some(entry) = self.inflight.front() {
            before(entry.seq)
        } else if let Some(record) = self.ahead.front() {
            before(record.seq)
        } else if self.has_disk() {
            self.cursor.max(self.load_after)
        } else {
            let waiting = self.queue.iter().find(|waiting| memory.slot(waiting.slot).is_some());
            waiting.map_or(last_seq, |waiting| before(waiting.seq))
        };
        known.min(parked).max(self.cursor)
    }

    /// Moves the cursor as far as is known, for a commit that will keep it.
    pub(super) fn settle_cursor(&mut self, memory: &Memory, last_seq: u64) -> u64 {
        self.cursor = self.cursor(memory, last_seq);
        self.forget_skips(self.cursor);
        self.cursor
    }

    pub(super) fn rewind(&mut self, memory: &mut Memory, rank: usize) {
        for entry in std::mem::take(&mut self.inflight) {
            if entry.hold != Hold::Out {
                let skip = Skip { settled: entry.hold == Hold::Settled, durable: entry.durable };
                self.skips.insert(entry.seq, skip);
            }
        }
        self.queue.clear();
        for id in memory.slot_ids() {
            let Some(slot) = memory.slot(id) else { continue };
            if slot.rank != rank || slot.pending & self.bit == 0 {
                continue;
            }
            if slot.seq > self.durable_hi {
                self.queue.push_back(Waiting { seq: slot.seq, slot: id });
                memory.mark_unread(id, self.bit);
            } else {
                memory.mark_read(id, self.bit);
            }
        }
        self.memory_from = self.durable_hi + 1;
        self.reload(self.cursor);
    }

    /// Forgets what was loaded: the disk is read again for numbers above `after`.
    pub(super) fn reload(&mut self, after: u64) {
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.load_after = if self.stored > 0 { after } else { self.memory_from.saturating_sub(1) };
        self.load_row = self.persisted.swept;
        self.loading = false;
        self.generation += 1;
    }

    /// The consumer is away: what was loaded for it and not handed out is given back.
    pub(super) fn unload(&mut self) {
        if !self.ahead.is_empty() || self.loading {
            let handed = self.inflight.back().map_or(self.cursor, |entry| entry.seq);
            self.reload(handed.max(self.cursor));
        }
    }

    /// The rows are in a new database, with none of them swept.
    pub(super) fn handle_rebuilt(&mut self) {
        self.persisted.swept = 0;
        let handed = self.inflight.back().map_or(self.cursor, |entry| entry.seq);
        if !self.reads_memory() {
            self.reload(handed.max(self.cursor));
        }
    }

    /// A record of this lane was committed.
    pub(super) fn handle_durable(&mut self, seq: u64) {
        self.durable_hi = self.durable_hi.max(seq);
        if seq <= self.cursor {
            return;
        }
        self.stored += 1;
        if let Some(entry) = self.find(seq).and_then(|at| self.inflight.get_mut(at)) {
            entry.durable = true;
        } else if let Some(skip) = self.skips.get_mut(&seq) {
            skip.durable = true;
        }
    }

    /// Leaves durable records to the disk.
    pub(super) fn drop_queued(&mut self, memory: &mut Memory) {
        let mut drained = !self.has_disk();
        while let Some(waiting) = self.queue.pop_front_if(|waiting| waiting.seq <= self.durable_hi) {
            if std::mem::take(&mut drained) {
                self.load_after = waiting.seq.saturating_sub(1).max(self.cursor);
                self.load_row = self.load_row.max(self.persisted.swept);
            }
            self.memory_from = self.memory_from.max(waiting.seq + 1);
            memory.mark_read(waiting.slot, self.bit);
        }
    }

    /// Whether durable records can stay in memory for this lane: it reads from memory already.
    pub(super) fn reads_memory(&self) -> bool {
        self.ahead.is_empty() && !self.has_disk()
    }

    /// A row was loaded. One that goes on in memory stays the next row to load from, for when memory gives up
    /// its part; the last number of the row says nothing here, for it may be another lane's.
    pub(super) fn handle_loaded(&mut self, first_seq: u64, records: Vec<Stored>) {
        let (mut last, mut goes_on) = (first_seq, false);
        for Stored { record, consumers } in records {
            if consumers & self.bit == 0 {
                continue;
            }
            if record.seq >= self.memory_from {
                goes_on = true;
                break;
            }
            last = record.seq;
            if last > self.load_after {
                self.ahead_bytes += record.memory_bytes();
                self.ahead.push_back(record);
            }
        }
        self.load_after =
            self.load_after.max(if goes_on { self.memory_from.saturating_sub(1) } else { last });
        self.load_row = if goes_on { first_seq } else { first_seq + 1 };
    }

    /// There is nothing on disk up to `end`. When the lane is drained, `stored` must agree with what is known;
    /// a difference is what damage took, which is returned, and the books say so.
    pub(super) fn handle_end(&mut self, memory: &Memory, end: u64) -> u64 {
        self.load_after = self.load_after.max(end);
        self.load_row = self.load_row.max(end + 1);
        if self.has_disk() {
            return 0;
        }
        let inflight = self.inflight.iter().filter(|entry| entry.durable).count();
        let again = |seq: &u64| {
            self.ahead.binary_search_by_key(seq, |record| record.seq).is_ok()
                || self.queue.binary_search_by_key(seq, |waiting| waiting.seq).is_ok()
        };
        let skips = self.skips.iter().filter(|(seq, skip)| skip.durable && !again(seq)).count();
        let durable = |waiting: &&Waiting| memory.slot(waiting.slot).is_some_and(|s| s.tier == Tier::Durable);
        let queued = self.queue.iter().filter(durable).count();
        let known = (inflight + skips + queued + self.ahead.len()) as u64;
        self.correct_stored(known)
    }

    fn correct_stored(&mut self, known: u64) -> u64 {
        let missing = self.stored.saturating_sub(known);
        let surplus = known.saturating_sub(self.stored);
        self.counters.quarantined += missing;
        self.counters.backlog = self.counters.backlog.saturating_sub(missing) + surplus;
        self.counters.stored_at_open += surplus;
        self.stored = known;
        missing
    }

    /// Records of this lane were deleted with an unread batch of at most so many.
    pub(super) fn handle_damaged(&mut self, records: u64) {
        let records = records.min(self.stored).min(self.counters.backlog);
        self.stored -= records;
        self.counters.quarantined += records;
        self.counters.backlog -= records;
    }

    /// The lane's oldest batch was deleted; `seqs` are its records of this lane.
    pub(super) fn handle_evicted(&mut self, memory: &mut Memory, seqs: impl Iterator<Item = u64>) {
        let mut last = 0;
        for seq in seqs {
            last = seq;
            if seq <= self.cursor {
                continue;
            }
            self.stored = self.stored.saturating_sub(1);
            let settled = match self.find(seq).and_then(|at| self.inflight.get(at)) {
                Some(entry) => entry.hold == Hold::Settled,
                None => self.skips.get(&seq).is_some_and(|skip| skip.settled),
            };
            if !settled {
                self.count(Reason::Evicted);
            }
        }
        self.pass(memory, last);
    }

    /// Forgets everything up to `last`.
    fn pass(&mut self, memory: &mut Memory, last: u64) {
        while self.inflight.pop_front_if(|entry| entry.seq <= last).is_some() {}
        while self
            .skips
            .first_entry()
            .filter(|first| *first.key() <= last)
            .map(|first| first.remove())
            .is_some()
        {}
        while let Some(record) = self.ahead.pop_front_if(|record| record.seq <= last) {
            self.ahead_bytes = self.ahead_bytes.saturating_sub(record.memory_bytes());
        }
        while let Some(waiting) = self.queue.pop_front_if(|waiting| waiting.seq <= last) {
            memory.settle(waiting.slot, self.bit);
        }
        self.cursor = self.cursor.max(last);
        self.load_after = self.load_after.max(last);
        self.advance();
    }

    /// Whether the disk has, or may still believe it has, something of this lane.
    pub(super) fn is_on_disk(&self) -> bool {
        self.stored > 0 || self.persisted.stored > 0
    }

    /// Whether the database does not know how far the lane has come, and ought to.
    pub(super) fn is_behind(&self, cursor: u64) -> bool {
        self.is_on_disk() && (cursor > self.persisted.cursor || self.persisted.stored != self.stored)
    }
}
