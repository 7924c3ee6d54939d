//! The durable map of the spool's owner: small values by key, which change in the same transaction as the records of
//! their entry.
//!
//! A change waits in its entry like a record, for at most `spill_after`. What is inserted and deleted again before it was
//! written never was there, as far as the disk is concerned. Changes become durable in the order in which they were
//! appended. The values themselves are the owner's to remember; the spool keeps only what is not durable.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::Policy;
use super::memory::Tier;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapChange {
    pub(crate) key: Bytes,
    /// `None` deletes.
    pub(crate) value: Option<Bytes>,
    /// The key is not in the map.
    pub(crate) is_new: bool,
}

impl MapChange {
    pub(super) fn bytes(&self) -> usize {
        const BOOKKEEPING_BYTES: usize = 128;
        BOOKKEEPING_BYTES + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What is known of changes that are not durable.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Entries with changes that no commit has, rising; and some whose changes have cancelled out.
    entries: VecDeque<u64>,
    /// The entries of keys that were inserted as new ones, and never given to a commit.
    inserted: HashMap<Bytes, u64>,
}

impl Map {
    /// The changes were given to a commit: a deletion has to follow them to the disk.
    pub(super) fn handle_planned(&mut self, entry: u64, changes: &[MapChange]) {
        for change in changes {
            self.inserted.remove(&change.key);
        }
        // Earlier ones are given to the same commit, or have nothing left.
        while self.entries.pop_front_if(|first| *first <= entry).is_some() {}
    }

    /// Nothing of these entries, which rise, is durable.
    pub(super) fn handle_failed(&mut self, entries: impl DoubleEndedIterator<Item = u64>) {
        entries.rev().for_each(|entry| self.entries.push_front(entry));
    }
}

impl Policy {
    /// Takes out of the changes of an entry, which is about to begin, what cancels itself out with what is not durable.
    pub(super) fn reduce_changes(&mut self, changes: Vec<MapChange>) -> Vec<MapChange> {
        let entry = self.memory.entry_ids().end;
        let mut reduced: Vec<MapChange> = Vec::with_capacity(changes.len());
        for change in changes {
            if change.value.is_some() {
                if change.is_new {
                    self.map.inserted.insert(change.key.clone(), entry);
                } else {
                    // It has two values now; a deletion has to follow them both.
                    self.map.inserted.remove(&change.key);
                }
                reduced.push(change);
                continue;
            }
            match self.map.inserted.remove(&change.key) {
                Some(inserted) if inserted == entry => reduced.retain(|other| other.key != change.key),
                Some(inserted) => self.memory.cancel_changes(inserted, &change.key),
                None => reduced.push(change),
            }
        }
        if !reduced.is_empty() {
            let memory = &self.memory;
            let is_done = |first: &mut u64| memory.entry(*first).is_none_or(|first| first.changes.is_empty());
            while self.map.entries.pop_front_if(is_done).is_some() {}
            self.map.entries.push_back(entry);
        }
        reduced
    }

    /// When the oldest change that is not given to a commit is to be written.
    pub(super) fn map_due_ms(&self) -> Option<u64> {
        let waits = |id: &&u64| {
            self.memory
                .entry(**id)
                .is_some_and(|entry| entry.tier == Tier::Fresh && !entry.changes.is_empty())
        };
        let entry = self.memory.entry(*self.map.entries.iter().find(waits)?)?;
        Some(entry.appended_ms.saturating_add(self.limits.spill_after_ms))
    }
}
