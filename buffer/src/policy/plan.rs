//! What the policy asks of the disk, and what comes back.

use super::lane::LaneMark;
use crate::batch::{BatchError, Stored};
use crate::record::{ConsumerId, Priority, Record};

/// A row to be: records of one priority, in order.
#[derive(Debug)]
pub(crate) struct RowPlan {
    pub(crate) priority: Priority,
    pub(crate) records: Vec<Stored>,
}

/// A lane's bookkeeping as of a commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LanePlan {
    pub(crate) mark: LaneMark,
    /// The lane's part in rows that end up to here is settled; at least the cursor.
    pub(crate) sweep_to: u64,
    /// Whether the mark differs from what the database has.
    pub(crate) dirty: bool,
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
    /// All lanes, by consumer and priority.
    pub(crate) lanes: Vec<LanePlan>,
    pub(crate) quarantine: Vec<QuarantinePlan>,
    pub(crate) damage: Vec<Damage>,
    /// Write something, to learn whether the disk takes it.
    pub(crate) probe: bool,
    pub(super) entries: Vec<u64>,
    pub(super) slots: Vec<(u64, u64)>,
}

/// A row that was deleted to make room.
#[derive(Debug)]
pub(crate) struct Evicted {
    pub(crate) priority: Priority,
    /// The consumers and count it was stored with.
    pub(crate) consumers: u64,
    pub(crate) records: u64,
    /// Its numbers and their consumers.
    pub(crate) seqs: Result<Vec<(u64, u64)>, BatchError>,
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
    pub(crate) evicted: Vec<Evicted>,
    pub(crate) repaired: Vec<Repaired>,
    /// Bytes of live pages.
    pub(crate) disk_bytes: u64,
    pub(crate) bytes_written: u64,
    /// Lanes with more rows to look at than one transaction should.
    pub(crate) unswept: Vec<usize>,
}

/// A request to the reader: the first row of the lane from `from_row` on that ends after `after` and begins at
/// or before `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(super) lane: usize,
    pub(super) generation: u64,
    pub(crate) consumer_bit: u64,
    pub(crate) priority: Priority,
    pub(crate) from_row: u64,
    pub(crate) after: u64,
    pub(crate) end: u64,
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
