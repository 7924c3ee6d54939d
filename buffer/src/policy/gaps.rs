//! Evictions that the caller has not announced yet: what went, of which lane, and why.

use crate::gap::GapReason;

/// More than this many handed out and not announced, and no further are handed out.
const TOLD_MAX: usize = 256;

/// A run of evicted records of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GapRow {
    /// 0 until it is stored.
    pub(crate) id: u64,
    pub(crate) lane: usize,
    pub(crate) reason: GapReason,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) records: u64,
    pub(crate) first_wall_ms: i64,
    pub(crate) last_wall_ms: i64,
    /// Handed out: what it says stays as it is.
    pub(crate) told: bool,
    /// Differs from what is stored.
    pub(crate) changed: bool,
}

impl GapRow {
    /// A gap of one record, not stored yet.
    pub(crate) fn one(lane: usize, reason: GapReason, seq: u64, wall_ms: i64) -> Self {
        Self {
            id: 0,
            lane,
            reason,
            first_seq: seq,
            last_seq: seq,
            records: 1,
            first_wall_ms: wall_ms,
            last_wall_ms: wall_ms,
            told: false,
            changed: true,
        }
    }

    fn join(&mut self, other: &Self) {
        self.first_seq = self.first_seq.min(other.first_seq);
        self.last_seq = self.last_seq.max(other.last_seq);
        self.records += other.records;
        self.first_wall_ms = self.first_wall_ms.min(other.first_wall_ms);
        self.last_wall_ms = self.last_wall_ms.max(other.last_wall_ms);
        self.changed = true;
    }
}

/// Adds a gap to those of the list: to the one of the same lane and reason, if that was not handed out.
pub(crate) fn note(list: &mut Vec<GapRow>, gap: GapRow) {
    let same = |other: &&mut GapRow| other.lane == gap.lane && other.reason == gap.reason && !other.told;
    match list.iter_mut().find(same) {
        Some(other) => other.join(&gap),
        None => list.push(gap),
    }
}

/// All gaps that are not announced.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    list: Vec<GapRow>,
    /// Announced, and still stored.
    announced: Vec<u64>,
}

impl Gaps {
    pub(super) fn restore(list: Vec<GapRow>) -> Self {
        Self { list, announced: Vec::new() }
    }

    pub(super) fn note(&mut self, gap: GapRow) {
        note(&mut self.list, gap);
    }

    /// Whether the database has not all of it.
    pub(super) fn is_changed(&self) -> bool {
        !self.announced.is_empty() || self.list.iter().any(|gap| gap.changed)
    }

    /// Hands out those that are stored and were not handed out.
    pub(super) fn poll(&mut self) -> Vec<GapRow> {
        let told = self.list.iter().filter(|gap| gap.told).count();
        let ready = self.list.iter_mut().filter(|gap| !gap.told && gap.id != 0 && !gap.changed);
        let tell = |gap: &mut GapRow| {
            gap.told = true;
            gap.clone()
        };
        ready.take(TOLD_MAX.saturating_sub(told)).map(tell).collect()
    }

    pub(super) fn handle_announced(&mut self, id: u64) {
        let before = self.list.len();
        self.list.retain(|gap| gap.id != id || id == 0);
        if self.list.len() < before {
            self.announced.push(id);
        }
    }

    /// What a commit may add to and stores, and what it deletes.
    pub(super) fn begin_commit(&mut self) -> (Vec<GapRow>, Vec<u64>) {
        let (stay, go) = std::mem::take(&mut self.list).into_iter().partition(|gap| gap.told && !gap.changed);
        self.list = stay;
        (go, std::mem::take(&mut self.announced))
    }

    /// They are back from a commit; what was evicted meanwhile is still to come.
    pub(super) fn end_commit(&mut self, stored: Vec<GapRow>) {
        let meanwhile = std::mem::replace(&mut self.list, stored);
        for gap in meanwhile {
            if gap.told { self.list.push(gap) } else { note(&mut self.list, gap) }
        }
    }

    /// The commit failed.
    pub(super) fn fail_commit(&mut self, gaps: Vec<GapRow>, announced: Vec<u64>) {
        self.end_commit(gaps);
        self.announced.splice(0..0, announced);
    }
}
