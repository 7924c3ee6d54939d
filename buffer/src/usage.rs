//! The books of a spool, as counters.

use crate::record::Priority;

/// A snapshot of all counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// One per consumer and priority.
    pub lanes: Vec<LaneUsage>,
    /// Transactions committed in this run.
    pub commits: u64,
    /// Batches written in this run.
    pub rows_written: u64,
    /// Bytes of batches, journals and snapshots written in this run, compressed.
    pub bytes_written: u64,
    /// Bytes of live pages of the database.
    pub disk_bytes: u64,
    /// Bytes of records in memory, with their bookkeeping.
    pub memory_bytes: u64,
    /// Age in milliseconds of the oldest record that was appended in this run and is neither durable nor
    /// acknowledged, or is known to wait in memory.
    pub oldest_ms: Option<u64>,
    /// Receipts that have not resolved.
    pub receipts_open: u64,
}

/// The books of one lane in this run:
/// `stored_at_open + appended = acked + expired + evicted + quarantined + backlog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneUsage {
    /// The consumer's name.
    pub consumer: String,
    /// The lane's priority.
    pub priority: Priority,
    /// Records waiting when the spool was opened.
    pub stored_at_open: u64,
    /// Records appended.
    pub appended: u64,
    /// Records acknowledged.
    pub acked: u64,
    /// Records that expired before they were read.
    pub expired: u64,
    /// Records deleted because the database was full.
    pub evicted: u64,
    /// Records set aside, with their cause.
    pub quarantined: u64,
    /// Records that wait: unread or not acknowledged.
    pub backlog: u64,
}

impl LaneUsage {
    /// Whether the books balance.
    pub fn is_balanced(&self) -> bool {
        self.stored_at_open + self.appended
            == self.acked + self.expired + self.evicted + self.quarantined + self.backlog
    }
}
