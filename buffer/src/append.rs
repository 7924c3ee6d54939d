//! The builder of what one wake-up of the caller appends.

use bytes::Bytes;

use crate::policy::MapChange;
use crate::record::NewRecord;

/// How many bytes a key or a value of the map may have (16 MiB).
pub const MAP_BYTES_MAX: usize = 16 << 20;

/// Entries to append: each begun with [`Append::begin`], the other methods add to the entry begun last.
///
/// An entry is the effects of one event, and is committed as a whole. The builder is drained by
/// `Spool::append` and keeps its capacity, so one builder serves for good.
#[derive(Debug, Default)]
pub struct Append {
    pub(crate) entries: Vec<NewEntry>,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) journal: Vec<u8>,
}

/// An entry as ranges of the builder's vectors, which end where the next entry's begin.
#[derive(Debug, Default)]
pub(crate) struct NewEntry {
    pub(crate) tag: u64,
    pub(crate) records: usize,
    pub(crate) journal_bytes: usize,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) changes: Vec<MapChange>,
    pub(crate) hold: bool,
}

impl Append {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the next entry. Its receipt comes back as `tag`; 0 means that nobody waits for it.
    pub fn begin(&mut self, tag: u64) {
        self.entries.push(NewEntry { tag, ..NewEntry::default() });
    }

    /// Adds a record.
    pub fn record(&mut self, record: NewRecord) {
        self.with_entry(|entry| entry.records += 1);
        self.records.push(record);
    }

    /// Adds to the entry's journal: a state change that must become durable with it.
    pub fn journal(&mut self, bytes: &[u8]) {
        self.with_entry(|entry| entry.journal_bytes += bytes.len());
        self.journal.extend_from_slice(bytes);
    }

    /// The state as of this entry: replaces the stored snapshot and the journal of all earlier entries.
    /// The journal of this entry and of later ones is kept, and comes after the snapshot at the next open.
    pub fn snapshot(&mut self, bytes: Vec<u8>) {
        self.with_entry(|entry| entry.snapshot = Some(bytes));
    }

    /// Sets a key of the map: durable with the entry's records, and given back in `Opened::map` at the next open. Keys
    /// and values have at most [`MAP_BYTES_MAX`] bytes.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.change(MapChange { key: key.into(), value: Some(value.into()), is_new: false });
    }

    /// Like [`Append::put`], for a key that is not in the map, on disk neither: it never was, or the receipt of its
    /// deletion has resolved. When it is deleted before it was written, neither costs a write.
    pub fn insert(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.change(MapChange { key: key.into(), value: Some(value.into()), is_new: true });
    }

    /// Deletes a key of the map, durable with the entry.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.change(MapChange { key: key.into(), value: None, is_new: false });
    }

    fn change(&mut self, change: MapChange) {
        self.with_entry(|entry| entry.changes.push(change));
    }

    /// Keeps the entry's records from being read before they are durable.
    pub fn hold(&mut self) {
        self.with_entry(|entry| entry.hold = true);
    }

    /// Whether no entry was begun.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.records.clear();
        self.journal.clear();
    }

    /// Changes the entry begun last; one that nobody waits for when none was begun.
    fn with_entry(&mut self, change: impl FnOnce(&mut NewEntry)) {
        if self.entries.is_empty() {
            self.begin(0);
        }
        if let Some(entry) = self.entries.last_mut() {
            change(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Append;

    #[test]
    fn additions_go_to_the_entry_begun_last() {
        let mut append = Append::new();
        assert!(append.is_empty());
        append.journal(b"for nobody");
        append.begin(7);
        append.journal(b"a");
        append.journal(b"bc");
        append.hold();
        append.snapshot(vec![1]);
        let parts: Vec<_> = append.entries.iter().map(|e| (e.tag, e.journal_bytes, e.hold)).collect();
        assert_eq!(parts, [(0, 10, false), (7, 3, true)]);
        assert_eq!(append.entries[1].snapshot, Some(vec![1]));
        append.clear();
        assert!(append.is_empty() && append.journal.is_empty());
    }
}
