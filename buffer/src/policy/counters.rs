//! The books of a lane: what came in, and by which door each record left.

use crate::varint::{self, Cursor};

/// Why a record leaves its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Acked,
    Expired,
    EvictedFull,
    EvictedAge,
    EvictedCount,
    EvictedNewest,
    Quarantined,
    Lost,
    Purged,
}

const REASONS: usize = 9;

/// Since the database was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) appended: u64,
    /// By reason.
    left: [u64; REASONS],
}

impl Counters {
    pub(crate) fn add(&mut self, reason: Reason, records: u64) {
        if let Some(count) = self.left.get_mut(reason as usize) {
            *count += records;
        }
    }

    /// How many left for this reason.
    pub(crate) fn left(&self, reason: Reason) -> u64 {
        self.left.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many left.
    pub(crate) fn left_in_all(&self) -> u64 {
        self.left.iter().sum()
    }

    /// As varints in the order of the fields, and then the bytes of the stored records, which are no counter but live
    /// and die with them.
    pub(crate) fn encode(&self, stored_bytes: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 * (REASONS + 2));
        varint::put(&mut out, self.appended);
        self.left.iter().for_each(|count| varint::put(&mut out, *count));
        varint::put(&mut out, stored_bytes);
        out
    }

    /// What `encode` made; what is missing is 0, so that fields can be added at the end.
    pub(crate) fn decode(bytes: &[u8]) -> (Self, u64) {
        // No count comes near this; a damaged one must not overflow a sum.
        const COUNT_MAX: u64 = 1 << 56;
        let mut cursor = Cursor::new(bytes);
        let mut take = || cursor.take().unwrap_or(0).min(COUNT_MAX);
        let mut counters = Self { appended: take(), left: [0; REASONS] };
        counters.left.iter_mut().for_each(|count| *count = take());
        (counters, take())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Reason};

    #[test]
    fn books_come_back_and_short_ones_are_zero_at_the_end() {
        let mut counters = Counters { appended: 700, ..Counters::default() };
        counters.add(Reason::Acked, 300);
        counters.add(Reason::Purged, 2);
        let bytes = counters.encode(12_345);
        assert_eq!(Counters::decode(&bytes), (counters, 12_345));
        assert_eq!(Counters::decode(&[]), (Counters::default(), 0));
        let (short, stored_bytes) = Counters::decode(&bytes[..4]);
        assert_eq!((short.appended, short.left(Reason::Acked), stored_bytes), (700, 300, 0));
        assert_eq!(counters.left_in_all(), 302);
        let (damaged, _) = Counters::decode(&[0xff; 60]);
        assert_eq!(damaged, Counters::default(), "no number is longer than ten bytes");
    }
}
