//! The lane and the disk: what is loaded next, what became durable, and what went without being read.

use super::super::counters::Reason;
use super::super::memory::Memory;
use super::{Ahead, Inflight, Lane, NO_SLOT, Order, Settled, Span};
use crate::batch::Stored;

/// A lane loads its next row while it has less than this many bytes ahead.
const AHEAD_BYTES: usize = 256 << 10;

/// Which row of the lane is wanted. In the order of their first numbers, the rows of a lane have its records in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The first one with a number from `start` on, that begins at `end` or before.
    Upward {
        start: u64,
        end: u64,
        /// No row before this one has such a number.
        row: u64,
        /// A row of the lane before `start` may reach beyond it.
        overlap: bool,
    },
    /// The last one that begins at `end` or before, and not before `row`.
    Downward { end: u64, row: u64 },
}

impl Lane {
    /// How many records are on disk only.
    fn unloaded(&self) -> u64 {
        self.stored.saturating_sub(self.here + self.ahead.len() as u64)
    }

    /// Whether records are still to be loaded.
    pub(in super::super) fn has_disk(&self) -> bool {
        self.unloaded() > 0
    }

    /// Whether the next row is to be loaded.
    pub(in super::super) fn wants_load(&self) -> bool {
        !self.loading && self.ahead_bytes < AHEAD_BYTES && self.has_disk()
    }

    /// Whether durable records can stay in memory for a lane that is read in order.
    pub(in super::super) fn reads_memory(&self) -> bool {
        self.order() != Order::Oldest || (self.ahead.is_empty() && !self.has_disk())
    }

    /// The last number that can have to be loaded.
    fn disk_end(&self) -> u64 {
        self.durable_hi.min(self.memory_from.saturating_sub(1))
    }

    /// The row to load; `None` when all were.
    pub(in super::super) fn want(&self) -> Option<Want> {
        if self.order() == Order::Newest {
            return Some(Want::Downward { end: self.last_unknown()?, row: self.swept });
        }
        let start = self.first_unknown()?;
        let hint = self.load_hint.filter(|(seq, _)| *seq == start);
        let row = hint.map_or(self.swept, |(_, row)| row);
        Some(Want::Upward { start, end: self.disk_end(), row, overlap: hint.is_none() })
    }

    fn first_unknown(&self) -> Option<u64> {
        let mut seq = 0;
        loop {
            let next = self.loaded.next_missing(self.settled.next_missing(seq));
            if next == seq {
                return Some(seq).filter(|seq| *seq <= self.disk_end());
            }
            seq = next;
        }
    }

    fn last_unknown(&self) -> Option<u64> {
        let mut seq = self.disk_end();
        loop {
            let last = self.loaded.last_missing(self.settled.last_missing(seq)?)?;
            if last == seq {
                return Some(seq);
            }
            seq = last;
        }
    }

    fn is_known(&self, seq: u64) -> bool {
        self.settled.contains(seq) || self.loaded.contains(seq) || self.find(seq).is_some()
    }

    /// A row was loaded.
    pub(in super::super) fn handle_loaded(&mut self, want: Want, first_seq: u64, records: Vec<Stored>) {
        let bit = self.bit;
        let own = records.into_iter().filter(|stored| stored.consumers & bit != 0);
        match want {
            Want::Upward { start, end, .. } => self.load_upward((start, end), first_seq, own),
            Want::Downward { end, .. } => self.load_downward(end, first_seq, own),
        }
    }

    /// A record's span begins after the one before it, for no row between can have anything of this lane.
    fn load_upward(&mut self, (start, end): (u64, u64), row: u64, own: impl Iterator<Item = Stored>) {
        let (mut from, mut goes_on) = (start, false);
        for Stored { record, .. } in own.filter(|stored| stored.record.seq >= start) {
            let seq = record.seq;
            if seq > end {
                goes_on = true;
                break;
            }
            self.push_ahead(Ahead { record, span: Span::new(from, seq) });
            from = seq + 1;
        }
        self.loaded.insert(Span::new(start, from.saturating_sub(1)));
        // A row that goes on in memory is loaded from again, when memory gives up its part.
        self.load_hint = Some((from, if goes_on { row } else { row + 1 }));
    }

    /// The first record's span begins with the row, and the last one's ends where the next row began.
    fn load_downward(&mut self, end: u64, row: u64, own: impl Iterator<Item = Stored>) {
        let mut from = row;
        let mut own = own.filter(|stored| stored.record.seq <= end).peekable();
        while let Some(Stored { record, .. }) = own.next() {
            let seq = record.seq;
            let to = if own.peek().is_some() { seq } else { end };
            self.push_ahead(Ahead { record, span: Span::new(from, to) });
            from = seq + 1;
        }
        self.loaded.insert(Span::new(row, end));
    }

    fn push_ahead(&mut self, ahead: Ahead) {
        if self.is_known(ahead.record.seq) {
            return;
        }
        if !self.has_disk() {
            // More than was counted: damage had taken the count.
            let bytes = ahead.record.bytes() as u64;
            self.stored += 1;
            self.stored_bytes += bytes;
            self.backlog += 1;
            self.backlog_bytes += bytes;
            self.counters.appended += 1;
        }
        self.ahead_bytes += ahead.record.memory_bytes();
        self.ahead.push_back(ahead);
    }

    /// There is no such row.
    pub(in super::super) fn handle_end(&mut self, want: Want) {
        self.loaded.insert(match want {
            Want::Upward { start, end, .. } => Span::new(start, end),
            Want::Downward { end, .. } => Span::new(0, end),
        });
    }

    /// How many records are counted that no row had, and that were in no damaged row either, when all of the disk was
    /// looked at.
    pub(in super::super) fn missing(&self) -> u64 {
        if self.has_disk() && self.want().is_none() {
            self.unloaded().saturating_sub(self.damaged)
        } else {
            0
        }
    }

    /// When everything was looked at, what is still counted is what damage took; the books say so.
    pub(in super::super) fn write_off_missing(&mut self) {
        if !self.has_disk() || self.want().is_some() {
            return;
        }
        let missing = self.unloaded();
        let quarantined = missing.min(std::mem::take(&mut self.damaged));
        self.take_uncounted(quarantined, Reason::Quarantined);
        self.take_uncounted(missing - quarantined, Reason::Lost);
    }

    /// So many records that are on disk only leave, nobody knows which.
    fn take_uncounted(&mut self, records: u64, reason: Reason) {
        let bytes = self.stored_bytes.checked_div(self.stored).unwrap_or(0).saturating_mul(records);
        self.stored -= records;
        self.stored_bytes = if self.stored == 0 { 0 } else { self.stored_bytes.saturating_sub(bytes) };
        self.counters.add(reason, records);
        self.backlog = self.backlog.saturating_sub(records);
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
    }

    /// A row with so many records was deleted unread. How many of them this lane still had waiting nobody knows before
    /// all of the disk was looked at.
    pub(in super::super) fn handle_damaged(&mut self, records: u64) {
        self.damaged += records;
    }

    /// Forgets what was loaded and not handed out: it is on disk.
    pub(in super::super) fn reload(&mut self) {
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.loaded = Settled::default();
        self.load_hint = None;
        self.loading = false;
        self.generation += 1;
    }

    /// The lane is read in this order from now on.
    pub(in super::super) fn set_order(&mut self, order: Order) {
        if self.order != order {
            self.order = order;
            self.reload();
        }
    }

    /// The consumer is away: what was loaded for it and not handed out is given back.
    pub(in super::super) fn unload(&mut self) {
        if !self.ahead.is_empty() || self.loading {
            self.reload();
        }
    }

    /// The rows are in a new database, with none of them swept.
    pub(in super::super) fn handle_rebuilt(&mut self) {
        self.swept = 0;
        self.reload();
    }

    /// A record of this lane was committed: it is in flight, in the queue, or was settled meanwhile.
    pub(in super::super) fn handle_durable(&mut self, seq: u64, bytes: u64) {
        self.durable_hi = self.durable_hi.max(seq);
        if self.settled.contains(seq) {
            return;
        }
        self.stored += 1;
        self.stored_bytes += bytes;
        self.here += 1;
        if let Some(entry) = self.find(seq).and_then(|at| self.inflight.get_mut(at)) {
            entry.durable = true;
        }
    }

    /// Leaves durable records of the queue to the disk, the oldest first, until `enough`.
    pub(in super::super) fn drop_queued(&mut self, memory: &mut Memory, enough: impl Fn(&Memory) -> bool) {
        while let Some(waiting) =
            self.queue.pop_front_if(|waiting| waiting.seq <= self.durable_hi && !enough(memory))
        {
            self.memory_from = waiting.seq + 1;
            self.here = self.here.saturating_sub(1);
            memory.mark_read(waiting.slot, self.bit);
        }
    }

    /// Records of one row, given by number and bytes, were evicted for this lane; all of its numbers from `first_seq` to
    /// the last of them go. Returns how many had not left before.
    pub(in super::super) fn handle_evicted(
        &mut self,
        memory: &mut Memory,
        (first_seq, records): (u64, &[(u64, u64)]),
        reason: Reason,
    ) -> u64 {
        let Some((last_seq, _)) = records.last() else { return 0 };
        let before = self.ahead.len();
        self.ahead.retain(|ahead| records.binary_search_by_key(&ahead.record.seq, |(seq, _)| *seq).is_err());
        if self.ahead.len() < before {
            self.ahead_bytes = self.ahead.iter().map(|ahead| ahead.record.memory_bytes()).sum();
        }
        let mut evicted = 0;
        for (seq, bytes) in
            records.iter().filter(|(seq, _)| !self.settled.contains(*seq)).copied().collect::<Vec<_>>()
        {
            evicted += 1;
            let span = Span::new(seq, seq);
            if let Some(entry) = self.find(seq).and_then(|at| self.inflight.remove(at)) {
                self.leave(memory, Inflight { span, ..entry }, reason);
            } else if let Ok(at) = self.queue.binary_search_by_key(&seq, |waiting| waiting.seq) {
                let slot = self.queue.remove(at).map_or(NO_SLOT, |waiting| waiting.slot);
                memory.settle(slot, self.bit);
                self.here = self.here.saturating_sub(1);
                self.unstore(bytes);
                self.count(reason, bytes);
            } else {
                self.unstore(bytes);
                self.count(reason, bytes);
            }
        }
        self.settled.insert(Span::new(first_seq, *last_seq));
        evicted
    }
}
