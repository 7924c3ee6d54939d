//! How much goes into one transaction: as much as the write-ahead log takes within its bound.

use super::Policy;

/// The log is moved into the database once it has 4 MiB, and has to stay within 8 MiB with what comes on top. Records
/// that do not compress, in pages of their own, take a little more than their bytes.
const PLAN_BYTES_MAX: usize = 3 << 20;
/// A bound of the database so small that this is too much is below any that can be set.
const PLAN_BYTES_MIN: usize = 64 << 10;

impl Policy {
    /// The first of the due entries, as many as one transaction takes but at least one; the others are due at once
    /// again. The first ones are all that come before any of them in its lanes.
    pub(super) fn cut_to_plan(&mut self, mut due: Vec<u64>) -> Vec<u64> {
        let bytes_max = self.plan_bytes_max();
        let mut bytes = 0;
        let mut fits = |id: &u64| {
            bytes += self.entry_bytes(*id);
            bytes <= bytes_max
        };
        let count = due.iter().take_while(|id| fits(id)).count().max(1);
        if count < due.len() {
            due.truncate(count);
            self.urgent = true;
        }
        due
    }

    /// On a full disk what is new takes the room of what is old, so it must not be a large part of all there is.
    fn plan_bytes_max(&self) -> usize {
        let part = usize::try_from(self.limits.max_bytes / 8).unwrap_or(usize::MAX);
        PLAN_BYTES_MAX.min(part.max(PLAN_BYTES_MIN))
    }

    fn entry_bytes(&self, id: u64) -> usize {
        let Some(entry) = self.memory.entry(id) else { return 0 };
        let slots =
            (entry.first_slot..entry.first_slot + entry.records).filter_map(|id| self.memory.slot(id));
        let records =
            slots.filter_map(|slot| slot.record.as_ref()).map(crate::Record::memory_bytes).sum::<usize>();
        records + entry.journal.len() + entry.snapshot.as_ref().map_or(0, Vec::len)
    }
}
