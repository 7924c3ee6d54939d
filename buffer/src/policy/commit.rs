//! What is due for the disk, and what changes when a commit has succeeded or failed.

use super::counters::Reason;
use super::lane::{LaneMark, Order};
use super::memory::Tier;
use super::plan::{Committed, Evicted, Keep, LanePlan, Plan, Repaired, RowPlan};
use super::{AGE_CHECK_MS, COUNTERS_FLUSH_MS, CURSOR_FLUSH_MS, EVICTED_REPORT_MS, Policy, Search};
use crate::batch::Stored;
use crate::incident::Incident;
use crate::options::WhenFull;
use crate::record::{Priority, bits};

/// Bounds of one row.
const ROW_RECORDS_MAX: usize = 1000;
const ROW_BYTES_MAX: usize = 1 << 20;
/// The first pause after a failed commit, and the longest.
const RETRY_MS: u64 = 100;
const RETRY_MS_MAX: u64 = 5000;

/// What a plan is for, besides what is in it.
#[derive(Debug, Clone, Copy)]
struct Due {
    counters: bool,
    ages: bool,
    probe: bool,
}

/// What a plan adds to a lane on disk.
#[derive(Debug, Default, Clone, Copy)]
struct Added {
    records: u64,
    bytes: u64,
    last_seq: u64,
}

/// Consumers whose earlier records of a priority must come along, by rank.
type Needs = [u64; 3];

impl Policy {
    /// When `poll_plan` may have something to do, in the same clock as its argument; 0 means now.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if self.committing {
            return None;
        }
        let now = |due: bool| due.then_some(0);
        let memory_due = now(self.urgent || self.is_over_memory() || self.flushing);
        let records = [memory_due, self.oldest_due_ms(), self.map_due_ms()];
        let records = records.into_iter().flatten().min().filter(|_| !self.is_blocked());
        let others = [
            records,
            now(!self.unswept.is_empty() || !self.quarantine.is_empty() || !self.damage.is_empty()),
            now(!self.drop_quarantined.is_empty() || !self.unnamed.is_empty() || self.search == Search::Due),
            now(self.flushing && self.are_marks_behind()),
            now(self.disk.failures > 0),
            self.cursor_moved_ms.map(|moved| moved.saturating_add(CURSOR_FLUSH_MS)),
            self.counters_moved_ms.map(|moved| moved.saturating_add(COUNTERS_FLUSH_MS)),
            self.age_due_ms.filter(|_| self.lanes.iter().any(|lane| lane.stored > 0)),
        ];
        let due = others.into_iter().flatten().min()?;
        Some(due.max(if self.disk.failures > 0 { self.disk.retry_at_ms } else { 0 }))
    }

    /// When the oldest fresh record is to be spilled.
    fn oldest_due_ms(&self) -> Option<u64> {
        let slot = self.memory.slot(self.fresh_from.max(self.memory.slot_ids().start))?;
        let entry = self.memory.entry(slot.entry)?;
        Some(entry.appended_ms.saturating_add(self.limits.spill_after_ms))
    }

    fn is_over_memory(&self) -> bool {
        self.memory.bytes() >= self.limits.memory_bytes_max && self.fresh_from < self.memory.slot_ids().end
    }

    /// With `Refuse`, a database over its bound by more than what was admitted takes no records until some go.
    fn is_blocked(&self) -> bool {
        let reserve = self.limits.memory_bytes_max as u64 + self.limits.reserve_bytes + (1 << 20);
        self.limits.when_full == WhenFull::Refuse
            && self.disk.bytes >= self.limits.max_bytes.saturating_add(reserve)
    }

    fn is_cursor_behind(&self) -> bool {
        self.lanes.iter().any(super::Lane::is_behind)
    }

    /// Whether a clean end has something to write besides records.
    fn are_marks_behind(&self) -> bool {
        self.counters_moved_ms.is_some() || self.gaps.is_changed() || self.is_cursor_behind()
    }

    /// Makes everything due now, until nothing is left undurable.
    pub(crate) fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// Whether nothing is left to write.
    pub(crate) fn is_flushed(&self) -> bool {
        let written = !self.committing && self.undurable() == 0 && self.quarantine.is_empty();
        let swept = self.unswept.is_empty() && self.drop_quarantined.is_empty();
        written && swept && self.unnamed.is_empty() && !self.are_marks_behind()
    }

    /// Records and journals that are in memory only.
    pub(crate) fn undurable(&self) -> u64 {
        let records = self.memory.slot_ids().filter_map(|id| self.memory.slot(id));
        let records = records.filter(|slot| slot.tier != Tier::Durable && slot.pending != 0).count();
        let entries = self.memory.entry_ids().filter_map(|id| self.memory.entry(id));
        let has_state = |entry: &&super::Entry| entry.has_state() || !entry.changes.is_empty();
        let journals = entries.filter(|entry| entry.tier != Tier::Durable).filter(has_state).count();
        (records + journals) as u64
    }

    /// The next transaction, when one is due; `handle_committed` or `handle_commit_failed` must follow.
    pub(crate) fn poll_plan(&mut self, now_ms: u64) -> Option<Plan> {
        if self.next_due_ms().is_none_or(|due| due > now_ms) {
            return None;
        }
        let entries = if self.is_blocked() { Vec::new() } else { self.due_entries(now_ms) };
        if !self.is_blocked() {
            self.urgent = false;
        }
        let entries = self.cut_to_plan(entries);
        self.skip_settled();
        let is_due = |moved_ms: Option<u64>, after_ms| moved_ms.is_some_and(|at| at + after_ms <= now_ms);
        let cursor_due = self.flushing || is_due(self.cursor_moved_ms, CURSOR_FLUSH_MS);
        let cursors = cursor_due && (self.is_cursor_behind() || self.gaps.is_changed());
        if cursor_due && !cursors {
            self.cursor_moved_ms = None;
        }
        let due = Due {
            counters: self.counters_moved_ms.is_some()
                && (self.flushing || is_due(self.counters_moved_ms, COUNTERS_FLUSH_MS)),
            ages: is_due(self.age_due_ms, 0),
            probe: self.disk.failures > 0,
        };
        let repairs =
            !self.quarantine.is_empty() || !self.damage.is_empty() || !self.drop_quarantined.is_empty();
        let records = !entries.is_empty() || !self.unswept.is_empty();
        let names = !self.unnamed.is_empty();
        if !(records || cursors || repairs || names || due.probe || due.counters || due.ages) {
            return None;
        }
        self.cursor_moved_ms = None;
        if due.counters {
            self.counters_moved_ms = None;
        }
        if due.ages {
            self.age_due_ms = Some(now_ms + AGE_CHECK_MS);
        }
        self.committing = true;
        Some(self.plan(entries, due))
    }

    /// The entries that are due, in order: old, urgent, or for a consumer that is away; and with them all
    /// earlier ones that share a lane, or that change the map too, so that what is on disk is always the older part.
    fn due_entries(&self, now_ms: u64) -> Vec<u64> {
        let all = self.flushing || self.is_over_memory();
        let away = self.away();
        let mut needs: Needs = [0; 3];
        let mut due = Vec::new();
        let mut needs_changes = false;
        for id in self.memory.entry_ids().rev() {
            let Some(entry) = self.memory.entry(id).filter(|entry| entry.tier == Tier::Fresh) else {
                continue;
            };
            let old = entry.appended_ms.saturating_add(self.limits.spill_after_ms) <= now_ms;
            let slots = entry.first_slot..entry.first_slot + entry.records;
            let changes = !entry.changes.is_empty();
            let needed = needs_changes && changes || self.is_any_needed(slots.clone(), away, &needs);
            if (all || old || entry.urgent || needed)
                && self.add_needs(slots, &mut needs) | entry.has_state() | changes
            {
                needs_changes |= changes;
                due.push(id);
            }
        }
        due.reverse();
        due
    }

    fn is_any_needed(&self, slots: std::ops::Range<u64>, away: u64, needs: &Needs) -> bool {
        slots.filter_map(|id| self.memory.slot(id)).any(|slot| {
            let needed = needs.get(slot.rank).copied().unwrap_or(0);
            slot.tier == Tier::Fresh && slot.pending & (away | needed) != 0
        })
    }

    /// Whether the entry has a record to write.
    fn add_needs(&self, slots: std::ops::Range<u64>, needs: &mut Needs) -> bool {
        let mut any = false;
        for slot in slots.filter_map(|id| self.memory.slot(id)) {
            if slot.tier == Tier::Fresh && slot.pending != 0 {
                any = true;
                if let Some(need) = needs.get_mut(slot.rank) {
                    *need |= slot.pending;
                }
            }
        }
        any
    }

    fn skip_settled(&mut self) {
        self.fresh_from = self.fresh_from.max(self.memory.slot_ids().start);
        while self.memory.slot(self.fresh_from).is_some_and(|s| s.tier != Tier::Fresh || s.pending == 0) {
            self.fresh_from += 1;
        }
    }

    fn plan(&mut self, entries: Vec<u64>, due: Due) -> Plan {
        let (gaps, announced) = self.gaps.begin_commit();
        let mut plan = Plan {
            rows: Vec::new(),
            journal: Vec::new(),
            snapshot: None,
            changes: Vec::new(),
            lanes: Vec::new(),
            quarantine: std::mem::take(&mut self.quarantine),
            damage: std::mem::take(&mut self.damage),
            drop_quarantined: std::mem::take(&mut self.drop_quarantined),
            unnamed: std::mem::take(&mut self.unnamed),
            gaps,
            announced,
            probe: due.probe,
            entries,
            slots: Vec::new(),
        };
        let mut rows: [RowsBuilder; 3] = Default::default();
        for id in plan.entries.clone() {
            self.plan_entry(id, &mut plan, &mut rows);
        }
        plan.rows =
            Priority::ALL.into_iter().zip(rows).flat_map(|(priority, rows)| rows.finish(priority)).collect();
        self.skip_settled();
        self.plan_lanes(&mut plan, due);
        plan
    }

    fn plan_entry(&mut self, id: u64, plan: &mut Plan, rows: &mut [RowsBuilder; 3]) {
        let Some(entry) = self.memory.entry_mut(id) else { return };
        entry.tier = Tier::Committing;
        if let Some(snapshot) = &entry.snapshot {
            plan.journal.clear();
            plan.snapshot = Some(snapshot.clone());
        }
        plan.changes.extend_from_slice(&entry.changes);
        self.map.handle_planned(id, &entry.changes);
        if !entry.journal.is_empty() {
            plan.journal.push(entry.journal.clone());
        }
        for slot_id in entry.first_slot..entry.first_slot + entry.records {
            let Some(slot) = self.memory.slot(slot_id).filter(|s| s.tier == Tier::Fresh && s.pending != 0)
            else {
                continue;
            };
            let Some(record) = slot.record.clone() else { continue };
            let (rank, consumers) = (slot.rank, slot.pending);
            let lanes = bits(consumers).filter_map(|c| self.lanes.get(Self::lane_at(c, rank)));
            let first_min = lanes.map(super::Lane::row_min).max().unwrap_or(0);
            if let Some(rows) = rows.get_mut(rank) {
                rows.push(Stored { record, consumers }, first_min);
            }
            plan.slots.push((slot_id, consumers));
            self.memory.set_tier(slot_id, Tier::Committing);
        }
    }

    fn plan_lanes(&mut self, plan: &mut Plan, due: Due) {
        let mut added = vec![Added::default(); self.lanes.len()];
        for (slot, consumers) in &plan.slots {
            let Some(slot) = self.memory.slot(*slot) else { continue };
            let bytes = slot.record.as_ref().map_or(0, |record| record.bytes() as u64);
            for consumer in bits(*consumers) {
                if let Some(added) = added.get_mut(Self::lane_at(consumer, slot.rank)) {
                    added.records += 1;
                    added.bytes += bytes;
                    added.last_seq = added.last_seq.max(slot.seq);
                }
            }
        }
        for (at, added) in added.into_iter().enumerate() {
            plan.lanes.extend(self.plan_lane(at, added, due));
        }
        for (_, id) in &plan.unnamed {
            let first = Self::lane_at(*id, 0);
            let lanes = plan.lanes.get_mut(first..first + 3).unwrap_or_default();
            lanes.iter_mut().for_each(|lane| lane.dirty = true);
        }
    }

    fn plan_lane(&mut self, at: usize, added: Added, due: Due) -> Option<LanePlan> {
        let (last_seq, keep) = (self.last_seq, self.keeps.get(at / 3).copied()?);
        let evicts = self.limits.when_full == WhenFull::EvictOldest;
        let lane = self.lanes.get_mut(at)?;
        debug_assert!(lane.is_balanced(), "the books of lane {at}: {lane:?}");
        lane.tidy(last_seq);
        let on_disk = lane.is_on_disk() || added.records > 0;
        let mut mark = lane.mark((added.records, added.bytes));
        let mut sweep_to = mark.settled.cursor();
        if mark.stored == 0 {
            sweep_to = sweep_to.max(lane.durable_hi);
            if lane.persisted.stored == 0 && !self.unswept.contains(&at) {
                // Nothing of this lane was or will be on disk: there is no row to look at.
                lane.swept = sweep_to + 1;
                mark.swept = lane.swept;
            }
        }
        let mut islands = std::mem::take(&mut lane.unswept);
        if on_disk {
            let added = mark.settled.since(&lane.persisted.settled);
            islands.extend(added.into_iter().filter(|span| span.from > sweep_to));
        }
        let dirty = (on_disk || due.counters) && mark != lane.persisted;
        let dirty = dirty || !islands.is_empty() || self.unswept.contains(&at);
        let max_age_ms = if due.ages && mark.stored > 0 { keep.max_age_ms } else { u64::MAX };
        let keep = Keep { max_age_ms, ..keep };
        let over = evicts && (mark.stored > keep.max_records || mark.stored_bytes > keep.max_bytes);
        let keep = Some(keep).filter(|_| over || max_age_ms != u64::MAX);
        let disk_end = lane.durable_hi.max(added.last_seq);
        Some(LanePlan { mark, sweep_to, disk_end, islands, dirty, keep })
    }

    /// The bug of [`Mutation::AckBeforeCommit`](crate::mutation::Mutation).
    #[cfg(feature = "mutations")]
    pub(crate) fn resolve_early(&mut self, plan: &Plan) {
        for id in &plan.entries {
            let tag = self.memory.entry_mut(*id).map_or(0, |entry| std::mem::take(&mut entry.tag));
            self.memory.resolved.extend(Some(tag).filter(|tag| *tag != 0));
        }
    }

    /// The plan is durable.
    pub(crate) fn handle_committed(&mut self, plan: Plan, done: Committed, now_ms: u64) {
        self.committing = false;
        for (slot, consumers) in &plan.slots {
            self.handle_slot_durable(*slot, *consumers);
        }
        self.handle_marks(&plan, done.marks);
        self.unswept.clear();
        for (at, islands) in done.unswept {
            self.unswept.push(at);
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.unswept = islands;
            }
        }
        for entry in &plan.entries {
            self.memory.commit_entry(*entry);
        }
        self.drop_durable();
        for evicted in &done.evicted {
            self.handle_evicted(evicted);
        }
        self.report_evicted(now_ms);
        self.events.gap |= done.gaps.iter().any(|gap| !gap.told);
        let stored = |gap| super::GapRow { changed: false, ..gap };
        self.gaps.end_commit(done.gaps.into_iter().map(stored).collect());
        for repaired in done.repaired {
            self.handle_repaired(repaired);
        }
        for quarantined in &plan.quarantine {
            let at = Self::lane_at(quarantined.consumer, quarantined.record.priority.rank());
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.settle(&mut self.memory, quarantined.record.seq, Reason::Quarantined);
                self.counters_moved_ms.get_or_insert(now_ms);
            }
        }
        if self.is_cursor_behind() {
            self.cursor_moved_ms.get_or_insert(now_ms);
        }
        self.note_disk(done.disk_bytes);
        self.tell_readable(self.hungry);
    }

    fn handle_marks(&mut self, plan: &Plan, marks: Vec<LaneMark>) {
        for ((lane, planned), mark) in self.lanes.iter_mut().zip(&plan.lanes).zip(marks) {
            lane.swept = mark.swept;
            if planned.dirty || mark != planned.mark {
                lane.persisted = mark;
            }
        }
    }

    fn handle_slot_durable(&mut self, id: u64, consumers: u64) {
        let Some(slot) = self.memory.slot(id) else { return };
        let (seq, rank) = (slot.seq, slot.rank);
        let bytes = slot.record.as_ref().map_or(0, |record| record.bytes() as u64);
        for consumer in bits(consumers) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.handle_durable(seq, bytes);
            }
        }
        self.memory.set_tier(id, Tier::Durable);
    }

    /// Leaves what is durable to the disk, except for lanes that will read it from memory soon. Where live goes first
    /// the oldest are left, and many at once: each time leaves a region behind to be read later.
    fn drop_durable(&mut self) {
        let most = self.limits.memory_bytes_max;
        let roomy = self.memory.bytes() <= most / 2;
        for lane in &mut self.lanes {
            let online = self.online & lane.bit != 0;
            let keep = roomy && online && lane.reads_memory();
            if !keep {
                let some = online && lane.order != Order::Oldest;
                let enough = if some { most / 4 } else { 0 };
                lane.drop_queued(&mut self.memory, |memory| memory.bytes() < enough);
            }
        }
    }

    /// Says at once that eviction has begun, and from then on once in a while how many went.
    fn report_evicted(&mut self, now_ms: u64) {
        let disk = &mut self.disk;
        let told_ms = disk.evicted_told_ms.map_or(0, |told_ms| told_ms.saturating_add(EVICTED_REPORT_MS));
        if disk.evicted > 0 && now_ms >= told_ms {
            disk.evicted_told_ms = Some(now_ms);
            let records = std::mem::take(&mut disk.evicted);
            self.events.incidents.push(Incident::Evicted { records });
        }
    }

    fn handle_evicted(&mut self, evicted: &Evicted) {
        let rank = evicted.priority.rank();
        let mut most = 0;
        for consumer in bits(evicted.consumers) {
            let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) else { continue };
            match &evicted.records {
                Ok(records) => {
                    let own = records.iter().filter(|record| record.consumers & lane.bit != 0);
                    let own: Vec<(u64, u64)> = own.map(|record| (record.seq, record.bytes)).collect();
                    let count =
                        lane.handle_evicted(&mut self.memory, (evicted.first_seq, &own), evicted.reason);
                    most = most.max(count);
                }
                Err((records, _)) => lane.handle_damaged(*records),
            }
        }
        if evicted.reason != Reason::EvictedAge {
            self.disk.evicted += most;
        }
    }

    fn handle_repaired(&mut self, repaired: Repaired) {
        for at in std::mem::take(&mut self.repairing) {
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.loading = false;
            }
        }
        let Some((consumers, records)) = repaired.row else { return };
        let damage = repaired.damage;
        for consumer in bits(consumers) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, damage.priority.rank())) {
                lane.handle_damaged(records);
            }
        }
        let (first_seq, cause) = (damage.first_seq, damage.cause);
        self.events.incidents.push(Incident::BatchDamaged { first_seq, records, cause });
    }

    fn note_disk(&mut self, bytes: u64) {
        self.disk.bytes = bytes;
        if std::mem::take(&mut self.disk.failures) > 0 {
            self.events.incidents.push(Incident::CommitRecovered);
        }
        let full = self.is_full(Priority::Normal);
        if full != std::mem::replace(&mut self.disk.full, full) {
            self.events.incidents.push(if full { Incident::Full { bytes } } else { Incident::NotFull });
        }
    }

    /// Nothing of the plan is durable: it is due again, after a pause.
    pub(crate) fn handle_commit_failed(&mut self, plan: Plan, message: String, now_ms: u64) {
        self.committing = false;
        for (slot, _) in &plan.slots {
            self.memory.set_tier(*slot, Tier::Fresh);
        }
        for entry in &plan.entries {
            self.memory.uncommit_entry(*entry);
        }
        self.map.handle_failed(plan.entries.iter().copied());
        self.fresh_from = 0;
        self.skip_settled();
        self.urgent = true;
        self.quarantine.splice(0..0, plan.quarantine);
        self.drop_quarantined.splice(0..0, plan.drop_quarantined);
        self.unnamed.splice(0..0, plan.unnamed);
        self.gaps.fail_commit(plan.gaps, plan.announced);
        for (lane, planned) in self.lanes.iter_mut().zip(plan.lanes) {
            lane.unswept = planned.islands;
        }
        self.damage.splice(0..0, plan.damage);
        self.cursor_moved_ms.get_or_insert(now_ms);
        self.counters_moved_ms.get_or_insert(now_ms);
        if self.disk.failures == 0 {
            self.events.incidents.push(Incident::CommitFailed { message });
        }
        let pause = RETRY_MS.saturating_mul(1 << self.disk.failures.min(8)).min(RETRY_MS_MAX);
        self.disk.failures = self.disk.failures.saturating_add(1);
        self.disk.retry_at_ms = now_ms.saturating_add(pause);
    }
}

/// Cuts records into rows: each bounded, and each beginning where its lanes expect new rows: above all that they have on
/// disk, so that the rows of a lane, in the order of their first numbers, have the lane's records in order; and not below
/// what they swept.
#[derive(Debug, Default)]
pub(super) struct RowsBuilder {
    rows: Vec<Vec<Stored>>,
    bytes: usize,
}

impl RowsBuilder {
    pub(super) fn push(&mut self, stored: Stored, first_min: u64) {
        let bytes = stored.record.memory_bytes();
        if let Some(row) = self.rows.last_mut() {
            let first = row.first().map_or(0, |first| first.record.seq);
            let fits = row.len() < ROW_RECORDS_MAX && self.bytes + bytes <= ROW_BYTES_MAX;
            if fits && first >= first_min {
                self.bytes += bytes;
                row.push(stored);
                return;
            }
        }
        self.bytes = bytes;
        self.rows.push(vec![stored]);
    }

    pub(super) fn finish(self, priority: Priority) -> impl Iterator<Item = RowPlan> {
        self.rows.into_iter().map(move |records| RowPlan { priority, records })
    }
}
