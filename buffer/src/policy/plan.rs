//! What the policy asks of the disk, and what comes back.

use super::counters::Reason;
use super::gaps::GapRow;
use super::lane::{LaneMark, Want};
use super::map::MapChange;
use super::settled::Span;
use crate::batch::{BatchError, Stored};
use crate::record::{ConsumerId, Priority, Record};
use crate::store::Registered;

/// A row to be: records of one priority, in order.
#[derive(Debug)]
pub(crate) struct RowPlan {
    pub(crate) priority: Priority,
    pub(crate) records: Vec<Stored>,
}

/// A lane's bookkeeping as of a commit.
#[derive(Debug, Clone)]
pub(crate) struct LanePlan {
    pub(crate) mark: LaneMark,
    /// The lane's part in rows that begin up to here may be settled: at least the cursor.
    pub(crate) sweep_to: u64,
    /// The lane has nothing on disk in rows that begin beyond.
    pub(crate) disk_end: u64,
    /// Where else rows may have become settled.
    pub(crate) islands: Vec<Span>,
    /// Whether the mark differs from what the database has.
    pub(crate) dirty: bool,
    /// The bounds to hold, when the lane may be beyond them.
    pub(crate) keep: Option<Keep>,
}

/// The bounds of a lane; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) max_records: u64,
    pub(crate) max_bytes: u64,
    pub(crate) max_age_ms: u64,
}

/// A record to set aside.
#[derive(Debug, Clone)]
pub(crate) struct QuarantinePlan {
    pub(crate) consumer: ConsumerId,
    pub(crate) record: Record,
    pub(crate) cause: String,
}

/// A row that the reader found damaged.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub(crate) priority: Priority,
    pub(crate) first_seq: u64,
    pub(crate) cause: String,
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<RowPlan>,
    /// Journals of entries after the snapshot, or of all.
    pub(crate) journal: Vec<Vec<u8>>,
    pub(crate) snapshot: Option<Vec<u8>>,
    /// Consumers to name: their lanes are written with them.
    pub(crate) unnamed: Vec<Registered>,
    /// Changes of the map, in order.
    pub(crate) changes: Vec<MapChange>,
    /// All lanes, by consumer and priority.
    pub(crate) lanes: Vec<LanePlan>,
    pub(crate) quarantine: Vec<QuarantinePlan>,
    pub(crate) damage: Vec<Damage>,
    /// Ids of quarantined items to delete.
    pub(crate) drop_quarantined: Vec<i64>,
    /// Gaps to store, those that evictions of this commit may add to among them.
    pub(crate) gaps: Vec<GapRow>,
    /// Gaps to delete.
    pub(crate) announced: Vec<u64>,
    /// Write something, to learn whether the disk takes it.
    pub(crate) probe: bool,
    pub(super) entries: Vec<u64>,
    pub(super) slots: Vec<(u64, u64)>,
}

/// A row of which records were evicted.
#[derive(Debug)]
pub(crate) struct Evicted {
    pub(crate) priority: Priority,
    pub(crate) first_seq: u64,
    /// Who they were evicted for.
    pub(crate) consumers: u64,
    pub(crate) reason: Reason,
    /// Those evicted, or how many the row had and why it could not be read.
    pub(crate) records: Result<Vec<EvictedRecord>, (u64, BatchError)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct EvictedRecord {
    pub(crate) seq: u64,
    pub(crate) consumers: u64,
    pub(crate) bytes: u64,
    pub(crate) wall_ms: i64,
}

/// A damaged row that was set aside.
#[derive(Debug)]
pub(crate) struct Repaired {
    pub(crate) damage: Damage,
    /// The consumers and count of the row; `None` when it was gone already.
    pub(crate) row: Option<(u64, u64)>,
}

/// What a successful commit did beyond its plan.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The marks that the database has now.
    pub(crate) marks: Vec<LaneMark>,
    /// The gaps of the plan and of this commit, all stored.
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) evicted: Vec<Evicted>,
    pub(crate) repaired: Vec<Repaired>,
    /// Bytes of live pages.
    pub(crate) disk_bytes: u64,
    pub(crate) bytes_written: u64,
    /// Lanes with more rows to look at than one transaction should, and where besides the prefix.
    pub(crate) unswept: Vec<(usize, Vec<Span>)>,
}

/// A request to the reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(super) lane: usize,
    pub(super) generation: u64,
    pub(crate) consumer_bit: u64,
    pub(crate) priority: Priority,
    pub(crate) want: Want,
}

/// What the reader found.
#[derive(Debug)]
pub(crate) enum Loaded {
    Row {
        first_seq: u64,
        records: Vec<Stored>,
    },
    End,
    Damaged {
        first_seq: u64,
        cause: String,
    },
    /// The disk could not be read; ask again later.
    Failed {
        message: String,
    },
}
