//! The builder of what one wake-up of the caller appends.

use crate::record::NewRecord;

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
        self.entry().records += 1;
        self.records.push(record);
    }

    /// Adds to the entry's journal: a state change that must become durable with it.
    pub fn journal(&mut self, bytes: &[u8]) {
        self.entry().journal_bytes += bytes.len();
        self.journal.extend_from_slice(bytes);
    }

    /// The state as of this entry: replaces the stored snapshot and the journal of all earlier entries.
    /// The journal of this entry and of later ones is kept, and comes after the snapshot at the next open.
    pub fn snapshot(&mut self, bytes: Vec<u8>) {
        self.entry().snapshot = Some(bytes);
    }

    /// Keeps the entry's records from being read before they are durable.
    pub fn hold(&mut self) {
        self.entry().hold = true;
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

    /// The entry begun last; one that nobody waits for when none was begun.
    fn entry(&mut self) -> &mut NewEntry {
        if self.entries.is_empty() {
            self.begin(0);
        }
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }
}
