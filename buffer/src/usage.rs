//! The books of a spool, as counters.

use crate::histogram::Histogram;
use crate::record::Priority;

/// A snapshot of all counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// One per consumer and priority.
    pub lanes: Vec<LaneUsage>,
    /// Transactions committed in this run.
    pub commits: u64,
    /// How long they took, on disk.
    pub commit_times: Histogram,
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

/// The books of one lane since its database was made, and what waits in it now:
/// `appended = acked + expired + evicted + quarantined + lost + purged + backlog`.
///
/// They survive restarts, as of the last commit: what a crash takes from memory, never acknowledged to anyone, was never
/// appended either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneUsage {
    /// The consumer's name.
    pub consumer: String,
    /// The lane's priority.
    pub priority: Priority,
    /// Records appended.
    pub appended: u64,
    /// Records acknowledged.
    pub acked: u64,
    /// Records that expired before they were read.
    pub expired: u64,
    /// Records evicted because the database, or the lane's part of it, had reached its bytes.
    pub evicted_full: u64,
    /// Records evicted because of their age.
    pub evicted_age: u64,
    /// Records evicted because the lane had too many.
    pub evicted_count: u64,
    /// Records not taken because the database or the lane was full.
    pub evicted_newest: u64,
    /// Records set aside, with their cause.
    pub quarantined: u64,
    /// Records that were stored and are not there any more: damage took them.
    pub lost: u64,
    /// Records deleted by `purge`.
    pub purged: u64,
    /// Records that wait: unread or not acknowledged.
    pub backlog: u64,
    /// Their bytes: topics, metadata and payloads.
    pub backlog_bytes: u64,
    /// Those of the backlog that are on disk.
    pub stored: u64,
}

impl LaneUsage {
    /// Records evicted, for any reason.
    pub fn evicted(&self) -> u64 {
        self.evicted_full + self.evicted_age + self.evicted_count + self.evicted_newest
    }

    /// Whether the books balance.
    pub fn is_balanced(&self) -> bool {
        let left = self.acked + self.expired + self.evicted() + self.quarantined + self.lost + self.purged;
        self.appended == left + self.backlog
    }
}
