//! What is due for the disk, and what changes when a commit has succeeded or failed.

use super::lane::{LaneMark, Reason};
use super::memory::Tier;
use super::plan::{Committed, Evicted, LanePlan, Plan, Repaired, RowPlan};
use super::{CURSOR_FLUSH_MS, EVICTED_REPORT_MS, Policy};
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

/// Consumers whose earlier records of a priority must come along, by rank.
type Needs = [u64; 3];

impl Policy {
    /// When `poll_plan` may have something to do, in the same clock as its argument; 0 means now.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if self.committing {
            return None;
        }
        let now = |due: bool| due.then_some(0);
        let records = [now(self.urgent || self.is_over_memory() || self.flushing), self.oldest_due_ms()];
        let records = records.into_iter().flatten().min().filter(|_| !self.is_blocked());
        let others = [
            records,
            now(!self.unswept.is_empty() || !self.quarantine.is_empty() || !self.damage.is_empty()),
            now(self.flushing && self.is_cursor_behind()),
            now(self.disk.failures > 0),
            self.cursor_moved_ms.map(|moved| moved.saturating_add(CURSOR_FLUSH_MS)),
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
        let reserve = self.limits.memory_bytes_max as u64 + (1 << 20);
        self.limits.when_full == WhenFull::Refuse
            && self.disk.bytes >= self.limits.max_bytes.saturating_add(reserve)
    }

    fn is_cursor_behind(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_behind(lane.cursor(&self.memory, self.last_seq)))
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
        written && self.unswept.is_empty() && !self.is_cursor_behind()
    }

    /// Records and journals that are in memory only.
    pub(crate) fn undurable(&self) -> u64 {
        let records = self.memory.slot_ids().filter_map(|id| self.memory.slot(id));
        let records = records.filter(|slot| slot.tier != Tier::Durable && slot.pending != 0).count();
        let entries = self.memory.entry_ids().filter_map(|id| self.memory.entry(id));
        let journals = entries.filter(|entry| entry.tier != Tier::Durable && entry.has_state()).count();
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
        self.skip_settled();
        let cursor_due =
            self.flushing || self.cursor_moved_ms.is_some_and(|at| at + CURSOR_FLUSH_MS <= now_ms);
        let cursors = cursor_due && self.is_cursor_behind();
        if cursor_due && !cursors {
            self.cursor_moved_ms = None;
        }
        let probe = self.disk.failures > 0;
        let repairs = !self.quarantine.is_empty() || !self.damage.is_empty();
        if entries.is_empty() && !cursors && self.unswept.is_empty() && !probe && !repairs {
            return None;
        }
        self.cursor_moved_ms = None;
        self.committing = true;
        Some(self.plan(entries, probe))
    }

    /// The entries that are due, in order: old, urgent, or for a consumer that is away; and with them all
    /// earlier ones that share a lane, so that what a lane has on disk is always the older part.
    fn due_entries(&self, now_ms: u64) -> Vec<u64> {
        let all = self.flushing || self.is_over_memory();
        let away = self.away();
        let mut needs: Needs = [0; 3];
        let mut due = Vec::new();
        for id in self.memory.entry_ids().rev() {
            let Some(entry) = self.memory.entry(id).filter(|entry| entry.tier == Tier::Fresh) else {
                continue;
            };
            let old = entry.appended_ms.saturating_add(self.limits.spill_after_ms) <= now_ms;
            let slots = entry.first_slot..entry.first_slot + entry.records;
            let wanted = all || old || entry.urgent || self.is_any_needed(slots.clone(), away, &needs);
            if wanted && self.add_needs(slots, &mut needs) | entry.has_state() {
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

    fn plan(&mut self, entries: Vec<u64>, probe: bool) -> Plan {
        let mut plan = Plan {
            rows: Vec::new(),
            journal: Vec::new(),
            snapshot: None,
            lanes: Vec::new(),
            quarantine: std::mem::take(&mut self.quarantine),
            damage: std::mem::take(&mut self.damage),
            probe,
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
        self.plan_lanes(&mut plan);
        plan
    }

    fn plan_entry(&mut self, id: u64, plan: &mut Plan, rows: &mut [RowsBuilder; 3]) {
        let Some(entry) = self.memory.entry_mut(id) else { return };
        entry.tier = Tier::Committing;
        if let Some(snapshot) = &entry.snapshot {
            plan.journal.clear();
            plan.snapshot = Some(snapshot.clone());
        }
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
            let durable_hi = bits(consumers).filter_map(|c| self.lanes.get(Self::lane_at(c, rank)));
            let durable_hi = durable_hi.map(|lane| lane.durable_hi).max().unwrap_or(0);
            if let Some(rows) = rows.get_mut(rank) {
                rows.push(Stored { record, consumers }, durable_hi);
            }
            plan.slots.push((slot_id, consumers));
            self.memory.set_tier(slot_id, Tier::Committing);
        }
    }

    fn plan_lanes(&mut self, plan: &mut Plan) {
        let mut added = vec![0_u64; self.lanes.len()];
        for (slot, consumers) in &plan.slots {
            let rank = self.memory.slot(*slot).map_or(0, |slot| slot.rank);
            for consumer in bits(*consumers) {
                if let Some(added) = added.get_mut(Self::lane_at(consumer, rank)) {
                    *added += 1;
                }
            }
        }
        let last_seq = self.last_seq;
        for (at, (lane, added)) in self.lanes.iter_mut().zip(added).enumerate() {
            let cursor = lane.settle_cursor(&self.memory, last_seq);
            let stored = lane.stored + added;
            let mark = LaneMark { cursor, stored, swept: lane.persisted.swept };
            let moved = (lane.is_on_disk() || added > 0) && mark != lane.persisted;
            let dirty = moved || self.unswept.contains(&at);
            plan.lanes.push(LanePlan { mark, sweep_to: if stored == 0 { last_seq } else { cursor }, dirty });
        }
    }

    /// The plan is durable.
    pub(crate) fn handle_committed(&mut self, plan: Plan, done: Committed, now_ms: u64) {
        self.committing = false;
        self.unswept.clone_from(&done.unswept);
        for (slot, consumers) in &plan.slots {
            self.handle_slot_durable(*slot, *consumers);
        }
        for (lane, mark) in self.lanes.iter_mut().zip(&done.marks) {
            lane.persisted = *mark;
        }
        for entry in &plan.entries {
            self.memory.commit_entry(*entry);
        }
        self.drop_durable();
        for evicted in &done.evicted {
            self.handle_evicted(evicted);
        }
        self.report_evicted(now_ms);
        for repaired in done.repaired {
            self.handle_repaired(repaired);
        }
        for quarantined in &plan.quarantine {
            let at = Self::lane_at(quarantined.consumer, quarantined.record.priority.rank());
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.settle(&mut self.memory, quarantined.record.seq, Reason::Quarantined);
                self.cursor_moved_ms.get_or_insert(now_ms);
            }
        }
        self.note_disk(done.disk_bytes);
        self.tell_readable(self.hungry);
    }

    fn handle_slot_durable(&mut self, id: u64, consumers: u64) {
        let Some(slot) = self.memory.slot(id) else { return };
        let (seq, rank) = (slot.seq, slot.rank);
        for consumer in bits(consumers) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.handle_durable(seq);
            }
        }
        self.memory.set_tier(id, Tier::Durable);
    }

    /// Leaves what is durable to the disk, except for lanes that will read it from memory soon.
    fn drop_durable(&mut self) {
        let roomy = self.memory.bytes() <= self.limits.memory_bytes_max / 2;
        for lane in &mut self.lanes {
            let keep = roomy && self.online & lane.bit != 0 && lane.reads_memory();
            if !keep {
                lane.drop_queued(&mut self.memory);
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
        self.disk.evicted += evicted.records;
        let rank = evicted.priority.rank();
        for consumer in bits(evicted.consumers & self.registered) {
            let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) else { continue };
            match &evicted.seqs {
                Ok(seqs) => {
                    let bit = lane.bit;
                    let own = seqs.iter().filter(|(_, consumers)| consumers & bit != 0);
                    lane.handle_evicted(&mut self.memory, own.map(|(seq, _)| *seq));
                }
                Err(_) => lane.handle_damaged(evicted.records),
            }
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
        for consumer in bits(consumers & self.registered) {
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
        let full = bytes >= self.limits.max_bytes && self.limits.when_full == WhenFull::Refuse;
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
        self.fresh_from = 0;
        self.skip_settled();
        self.urgent = true;
        self.quarantine.splice(0..0, plan.quarantine);
        self.damage.splice(0..0, plan.damage);
        self.cursor_moved_ms.get_or_insert(now_ms);
        if self.disk.failures == 0 {
            self.events.incidents.push(Incident::CommitFailed { message });
        }
        let pause = RETRY_MS.saturating_mul(1 << self.disk.failures.min(8)).min(RETRY_MS_MAX);
        self.disk.failures = self.disk.failures.saturating_add(1);
        self.disk.retry_at_ms = now_ms.saturating_add(pause);
    }
}

/// Cuts records into rows: each bounded, and each beginning above all that its lanes have on disk, so that the
/// rows of a lane, in the order of their first numbers, have the lane's records in order.
#[derive(Debug, Default)]
pub(super) struct RowsBuilder {
    rows: Vec<Vec<Stored>>,
    bytes: usize,
}

impl RowsBuilder {
    pub(super) fn push(&mut self, stored: Stored, durable_hi: u64) {
        let bytes = stored.record.memory_bytes();
        if let Some(row) = self.rows.last_mut() {
            let first = row.first().map_or(0, |first| first.record.seq);
            let fits = row.len() < ROW_RECORDS_MAX && self.bytes + bytes <= ROW_BYTES_MAX;
            if fits && first > durable_hi {
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
