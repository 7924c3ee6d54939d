//! The memory tier: records that are not durable, or durable and about to be read, and their entries' receipts.

use std::collections::VecDeque;

use super::map::MapChange;
use crate::record::Record;

/// No slot: the record came from disk.
pub(super) const NO_SLOT: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// In memory only.
    Fresh,
    /// In memory, and in the commit under way.
    Committing,
    /// On disk; the copy in memory saves the reader a load.
    Durable,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seq: u64,
    pub(super) entry: u64,
    /// Consumers that have not acknowledged it.
    pub(super) pending: u64,
    /// Consumers that will read it from here.
    pub(super) unread: u64,
    pub(super) tier: Tier,
    /// Not to be read before it is durable.
    pub(super) held: bool,
    /// Still counts in its entry's `open`.
    counted: bool,
    pub(super) rank: usize,
    /// `None` once the memory is not needed any more.
    pub(super) record: Option<Record>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tag: u64,
    /// Records neither durable nor acknowledged, plus one for a journal, snapshot or gap that is not durable.
    pub(super) open: usize,
    pub(super) first_slot: u64,
    pub(super) records: u64,
    pub(super) appended_ms: u64,
    /// Due at once: it has a journal, a snapshot or a gap, or is held.
    pub(super) urgent: bool,
    pub(super) tier: Tier,
    /// One of its records was not taken, and the gap that says so is not durable.
    pub(super) has_gap: bool,
    pub(super) journal: Vec<u8>,
    pub(super) snapshot: Option<Vec<u8>>,
    /// Of the map; those that cancel each other out are left out.
    pub(super) changes: Vec<MapChange>,
}

impl Entry {
    pub(super) fn has_state(&self) -> bool {
        !self.journal.is_empty() || self.snapshot.is_some() || self.has_gap
    }

    /// What it costs in memory beside its records.
    fn state_bytes(&self) -> usize {
        let changes: usize = self.changes.iter().map(MapChange::bytes).sum();
        self.journal.len() + self.snapshot.as_ref().map_or(0, Vec::len) + changes
    }
}

/// Slots and entries are queues; both are named by numbers that never come again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    slots: VecDeque<Slot>,
    slot_base: u64,
    entries: VecDeque<Entry>,
    entry_base: u64,
    bytes: usize,
    /// Receipts that resolved and were not collected.
    pub(super) resolved: Vec<u64>,
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn slot(&self, id: u64) -> Option<&Slot> {
        self.slots.get(index(id, self.slot_base)?)
    }

    fn slot_mut(&mut self, id: u64) -> Option<&mut Slot> {
        self.slots.get_mut(index(id, self.slot_base)?)
    }

    pub(super) fn entry(&self, id: u64) -> Option<&Entry> {
        self.entries.get(index(id, self.entry_base)?)
    }

    pub(super) fn entry_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(index(id, self.entry_base)?)
    }

    pub(super) fn slot_ids(&self) -> std::ops::Range<u64> {
        self.slot_base..self.slot_base + self.slots.len() as u64
    }

    pub(super) fn entry_ids(&self) -> std::ops::Range<u64> {
        self.entry_base..self.entry_base + self.entries.len() as u64
    }

    /// The receipts that did not resolve.
    pub(super) fn receipts_open(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.open > 0).count() as u64
    }

    pub(super) fn begin(&mut self, entry: Entry) {
        let open = usize::from(entry.has_state()) + usize::from(!entry.changes.is_empty());
        self.bytes += entry.state_bytes();
        self.entries.push_back(Entry { open, first_slot: self.slot_ids().end, ..entry });
    }

    /// Adds a record to the entry begun last and returns its slot.
    pub(super) fn push(&mut self, record: Record, consumers: u64, held: bool) -> u64 {
        let id = self.slot_ids().end;
        self.bytes += record.memory_bytes();
        if let Some(entry) = self.entries.back_mut() {
            entry.open += 1;
            entry.records += 1;
        }
        self.slots.push_back(Slot {
            seq: record.seq,
            entry: self.entry_ids().end.saturating_sub(1),
            pending: consumers,
            unread: consumers,
            tier: Tier::Fresh,
            held,
            counted: true,
            rank: record.priority.rank(),
            record: Some(record),
        });
        id
    }

    /// A record of the entry begun last was not taken: its receipt waits for the gap.
    pub(super) fn await_gap(&mut self) {
        if let Some(entry) = self.entries.back_mut() {
            entry.open += usize::from(!entry.has_state());
            entry.has_gap = true;
            entry.urgent = true;
        }
    }

    /// Ends the entry begun last: one without any effect resolves at once.
    pub(super) fn end(&mut self) {
        if let Some(entry) = self.entries.back().filter(|entry| entry.open == 0) {
            self.resolved.extend(Some(entry.tag).filter(|tag| *tag != 0));
            self.trim_entries();
        }
    }

    /// The consumer has acknowledged the record, or will never need it.
    pub(super) fn settle(&mut self, id: u64, consumer_bit: u64) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.pending &= !consumer_bit;
        slot.unread &= !consumer_bit;
        self.release(id);
    }

    /// The consumer holds the record, or will load it from disk.
    pub(super) fn mark_read(&mut self, id: u64, consumer_bit: u64) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.unread &= !consumer_bit;
        if slot.tier == Tier::Durable {
            self.release(id);
        }
    }

    /// The consumer will read the record once more.
    pub(super) fn mark_unread(&mut self, id: u64, consumer_bit: u64) {
        if let Some(slot) = self.slot_mut(id) {
            slot.unread |= consumer_bit;
        }
    }

    pub(super) fn set_tier(&mut self, id: u64, tier: Tier) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.tier = tier;
        if tier == Tier::Durable {
            slot.held = false;
            self.release(id);
        }
        self.trim_slots();
    }

    /// The entry was committed: its journal and snapshot are durable.
    pub(super) fn commit_entry(&mut self, id: u64) {
        let Some(entry) = self.entry_mut(id) else { return };
        entry.tier = Tier::Durable;
        let parts = usize::from(entry.has_state()) + usize::from(!entry.changes.is_empty());
        let freed = entry.state_bytes();
        (entry.journal, entry.snapshot, entry.changes) = (Vec::new(), None, Vec::new());
        entry.has_gap = false;
        self.bytes = self.bytes.saturating_sub(freed);
        (0..parts).for_each(|_| self.close_one(id));
        self.trim_entries();
    }

    /// The key was inserted by this entry, and is deleted again before any commit.
    pub(super) fn cancel_changes(&mut self, id: u64, key: &[u8]) {
        let Some(entry) = self.entry_mut(id) else { return };
        let before = entry.state_bytes();
        entry.changes.retain(|change| change.key != key);
        let (freed, done) = (before.saturating_sub(entry.state_bytes()), entry.changes.is_empty());
        self.bytes = self.bytes.saturating_sub(freed);
        if done {
            self.close_one(id);
        }
    }

    /// The entry's commit failed, or nothing of it was left to commit.
    pub(super) fn uncommit_entry(&mut self, id: u64) {
        if let Some(entry) = self.entry_mut(id) {
            entry.tier = Tier::Fresh;
        }
        self.trim_entries();
    }

    /// Frees what is not needed any more, and counts the record's part of the receipt once.
    fn release(&mut self, id: u64) {
        let Some(slot) = self.slot_mut(id) else { return };
        let durable = slot.tier == Tier::Durable;
        let counts = slot.counted && (durable || slot.pending == 0);
        let entry = slot.entry;
        if counts {
            slot.counted = false;
        }
        let free = slot.pending == 0 || (durable && slot.unread == 0);
        if let Some(record) = slot.record.take_if(|_| free) {
            self.bytes = self.bytes.saturating_sub(record.memory_bytes());
            self.trim_slots();
        }
        if counts {
            self.close_one(entry);
        }
    }

    fn close_one(&mut self, entry_id: u64) {
        let Some(entry) = self.entry_mut(entry_id) else { return };
        entry.open = entry.open.saturating_sub(1);
        if entry.open == 0 {
            let tag = entry.tag;
            self.resolved.extend(Some(tag).filter(|tag| *tag != 0));
            self.trim_entries();
        }
    }

    fn trim_slots(&mut self) {
        while self.slots.front().is_some_and(|s| s.record.is_none() && s.tier != Tier::Committing) {
            self.slots.pop_front();
            self.slot_base += 1;
        }
    }

    fn trim_entries(&mut self) {
        while self.entries.front().is_some_and(|e| e.open == 0 && e.tier != Tier::Committing) {
            self.entries.pop_front();
            self.entry_base += 1;
        }
    }
}

fn index(id: u64, base: u64) -> Option<usize> {
    usize::try_from(id.checked_sub(base)?).ok()
}
