//! The state machine of the spool: which record is where, who has still to read or acknowledge it, which
//! receipts have resolved, what is due for the disk. No I/O, no clock: `now_ms` is an argument, what must be
//! done on disk comes out of `poll_plan` and `poll_load`, and the results come back by `handle_…`.

mod commit;
mod lane;
mod memory;
mod plan;
#[expect(dead_code, reason = "so far only the inspector uses it")]
pub(crate) mod settled;

pub(crate) use lane::LaneMark;
pub(crate) use plan::{
    Committed, Damage, Evicted, LanePlan, Load, Loaded, Plan, QuarantinePlan, Repaired, RowPlan,
};

use crate::append::{Append, NewEntry};
use crate::error::AppendError;
use crate::incident::Incident;
use crate::options::WhenFull;
use crate::record::{ConsumerId, NewRecord, Priority, Record, Stamp, bit, bits};
use crate::spool::{Admission, Refusal};
use crate::usage::LaneUsage;
use lane::{Lane, Reason, Waiting};
use memory::{Entry, Memory, Tier};

/// How long a cursor may move before it is persisted.
const CURSOR_FLUSH_MS: u64 = 1000;
/// A lower lane that waits gets each so-manieth pick.
const FLOOR_PICKS: u32 = 16;
/// How long evictions are summed up before the next report.
const EVICTED_REPORT_MS: u64 = 60_000;
/// More than this in one record cannot be stored (SQLite's limit for one value is about 1 GB).
const RECORD_BYTES_MAX: usize = 512 << 20;

/// The bounds of the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory_bytes_max: usize,
    pub(crate) spill_after_ms: u64,
    pub(crate) max_bytes: u64,
    pub(crate) when_full: WhenFull,
}

/// What the listener should be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) resolved: bool,
    /// A mask of consumers.
    pub(crate) readable: u64,
    pub(crate) incidents: Vec<Incident>,
}

/// How the disk is doing.
#[derive(Debug, Default)]
struct Disk {
    bytes: u64,
    full: bool,
    /// Commits that failed in a row.
    failures: u32,
    retry_at_ms: u64,
    read_failing: bool,
    /// Evicted and not reported yet, and when the last report was.
    evicted: u64,
    evicted_told_ms: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Policy {
    limits: Limits,
    /// By consumer, then rank.
    lanes: Vec<Lane>,
    memory: Memory,
    last_seq: u64,
    /// All consumers of this spool.
    registered: u64,
    online: u64,
    /// Consumers that read all there was and want to hear of more.
    hungry: u64,
    /// Per consumer: picks counted for the floor, of all lanes and of the two lower ones.
    picks: Vec<[u32; 2]>,
    /// Something may be due that is not old.
    urgent: bool,
    /// No slot before this one is fresh.
    fresh_from: u64,
    committing: bool,
    flushing: bool,
    cursor_moved_ms: Option<u64>,
    /// Lanes with rows left to sweep.
    unswept: Vec<usize>,
    quarantine: Vec<QuarantinePlan>,
    damage: Vec<Damage>,
    /// Lanes whose damaged row is being set aside.
    repairing: Vec<usize>,
    disk: Disk,
    journal_bytes: u64,
    resolved_told: usize,
    events: Events,
    loads_after: usize,
}

impl Policy {
    /// `marks` are by consumer, then rank; consumers that are not in the mask have unused ones.
    pub(crate) fn new(
        limits: Limits,
        registered: u64,
        marks: &[LaneMark],
        first_seq: u64,
        disk_bytes: u64,
    ) -> Self {
        let lane = |(at, mark): (usize, &LaneMark)| Lane::restore(1 << ((at / 3) & 63), *mark, first_seq);
        let consumers = marks.len() / 3;
        Self {
            limits,
            lanes: marks.iter().enumerate().map(lane).collect(),
            memory: Memory::default(),
            last_seq: first_seq.saturating_sub(1),
            registered,
            online: 0,
            hungry: u64::MAX,
            picks: vec![[0; 2]; consumers],
            urgent: false,
            fresh_from: 0,
            committing: false,
            flushing: false,
            cursor_moved_ms: None,
            unswept: Vec::new(),
            quarantine: Vec::new(),
            damage: Vec::new(),
            repairing: Vec::new(),
            disk: Disk { bytes: disk_bytes, ..Disk::default() },
            journal_bytes: 0,
            resolved_told: 0,
            events: Events::default(),
            loads_after: 0,
        }
        .with_full_state()
    }

    fn with_full_state(mut self) -> Self {
        self.disk.full =
            self.disk.bytes >= self.limits.max_bytes && self.limits.when_full == WhenFull::Refuse;
        self
    }

    pub(crate) fn restore_journal_bytes(&mut self, bytes: u64) {
        self.journal_bytes = bytes;
    }

    pub(crate) fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.bytes()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.bytes
    }

    pub(crate) fn receipts_open(&self) -> u64 {
        self.memory.receipts_open()
    }

    /// When the oldest entry in memory was appended.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.memory.entry(self.memory.entry_ids().start).map(|entry| entry.appended_ms)
    }

    fn away(&self) -> u64 {
        self.registered & !self.online
    }

    fn lane_at(consumer: ConsumerId, rank: usize) -> usize {
        usize::from(consumer.0) * 3 + rank
    }

    /// Whether the next event may be appended.
    pub(crate) fn admission(&self) -> Admission {
        if self.away() != 0 && self.disk.failures > 0 {
            return Admission::Refuse(Refusal::DiskFailing);
        }
        if self.away() != 0 && self.disk.full {
            return Admission::Refuse(Refusal::DiskFull);
        }
        if self.memory.bytes() >= self.limits.memory_bytes_max { Admission::Wait } else { Admission::Open }
    }

    /// Appends all entries of the builder and drains it, or changes nothing.
    pub(crate) fn append(&mut self, append: &mut Append, now_ms: u64) -> Result<(), AppendError> {
        self.check(append)?;
        let mut records = append.records.drain(..);
        let mut journal = append.journal.drain(..);
        for entry in append.entries.drain(..) {
            let bytes: Vec<u8> = journal.by_ref().take(entry.journal_bytes).collect();
            self.append_entry(entry, bytes, &mut records, now_ms);
        }
        drop((records, journal));
        append.clear();
        Ok(())
    }

    fn check(&self, append: &Append) -> Result<(), AppendError> {
        let mut last = self.last_seq;
        for record in &append.records {
            let seq = record.seq;
            if seq <= last || seq >> 61 != 0 {
                return Err(AppendError::SeqNotRising { seq, last });
            }
            if record.consumers.is_empty() || record.consumers.0 & !self.registered != 0 {
                return Err(AppendError::Consumers { seq });
            }
            if record.topic.len() + record.meta.len() + record.payload.len() > RECORD_BYTES_MAX {
                return Err(AppendError::TooLarge { seq });
            }
            last = seq;
        }
        Ok(())
    }

    fn append_entry(
        &mut self,
        entry: NewEntry,
        journal: Vec<u8>,
        records: &mut impl Iterator<Item = NewRecord>,
        now_ms: u64,
    ) {
        let has_state = !journal.is_empty() || entry.snapshot.is_some();
        let held = has_state || entry.hold;
        self.urgent |= held;
        self.journal_bytes =
            if entry.snapshot.is_some() { 0 } else { self.journal_bytes } + journal.len() as u64;
        self.memory.begin(Entry {
            tag: entry.tag,
            open: 0,
            first_slot: 0,
            records: 0,
            appended_ms: now_ms,
            urgent: held,
            tier: Tier::Fresh,
            journal,
            snapshot: entry.snapshot,
        });
        for record in records.by_ref().take(entry.records) {
            self.append_record(record, held);
        }
        self.memory.end();
    }

    fn append_record(&mut self, new: NewRecord, held: bool) {
        let (seq, rank, consumers) = (new.seq, new.priority.rank(), new.consumers.0);
        self.last_seq = seq;
        self.urgent |= consumers & self.away() != 0;
        let slot = self.memory.push(Record::from(new), consumers, held);
        for consumer in bits(consumers) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.push(Waiting { seq, slot });
            }
        }
        if !held {
            self.events.readable |= consumers & self.hungry & self.online;
        }
    }

    /// Hands out the consumer's next records.
    pub(crate) fn read(
        &mut self,
        consumer: ConsumerId,
        (max_records, max_bytes): (usize, usize),
        now: Stamp,
        out: &mut Vec<Record>,
    ) -> usize {
        if self.online & bit(consumer) == 0 {
            return 0;
        }
        let (before, mut bytes) = (out.len(), 0);
        while out.len() - before < max_records {
            let Some(at) = self.pick(consumer) else {
                self.hungry |= bit(consumer);
                break;
            };
            let Some(lane) = self.lanes.get_mut(at) else { break };
            let next_bytes = lane.next_bytes(&self.memory);
            if out.len() > before && bytes + next_bytes > max_bytes {
                break;
            }
            if let Some(record) = lane.take(&mut self.memory, now) {
                bytes += next_bytes;
                out.push(record);
            } else {
                self.cursor_moved_ms.get_or_insert(now.mono_ms);
            }
        }
        out.len() - before
    }

    /// The lane to read next: the highest that has something, but each 16th time a lower one that waits.
    fn pick(&mut self, consumer: ConsumerId) -> Option<usize> {
        let first = Self::lane_at(consumer, 0);
        let memory = &self.memory;
        let lanes = self.lanes.get(first..first + 3)?;
        let mut waiting = (first..).zip(lanes).filter(|(_, lane)| lane.has_next(memory)).map(|(at, _)| at);
        let (top, second, third) = (waiting.next()?, waiting.next(), waiting.next());
        let picks = self.picks.get_mut(usize::from(consumer.0))?;
        let mut is_floor = |level: usize| {
            let Some(count) = picks.get_mut(level) else { return false };
            *count = (*count + 1) % FLOOR_PICKS;
            *count == 0
        };
        match (second, third) {
            (None, _) => Some(top),
            (Some(_), _) if !is_floor(0) => Some(top),
            (Some(_), Some(third)) if is_floor(1) => Some(third),
            (second, _) => second,
        }
    }

    /// The consumer has these records.
    pub(crate) fn ack(&mut self, consumer: ConsumerId, acks: &[(Priority, u64)], now_ms: u64) {
        for (priority, seq) in acks {
            let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, priority.rank())) else { continue };
            lane.settle(&mut self.memory, *seq, Reason::Acked);
            if lane.is_on_disk() {
                self.cursor_moved_ms.get_or_insert(now_ms);
            }
        }
    }

    /// The consumer's connection was lost.
    pub(crate) fn rewind(&mut self, consumer: ConsumerId) {
        for rank in 0..3 {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.rewind(&mut self.memory, rank);
            }
        }
        self.tell_readable(bit(consumer));
    }

    /// Whether the consumer is there to read.
    pub(crate) fn set_online(&mut self, consumer: ConsumerId, online: bool) {
        let mask = bit(consumer) & self.registered;
        if online {
            self.online |= mask;
            self.tell_readable(mask);
            return;
        }
        self.online &= !mask;
        self.urgent = true;
        for rank in 0..3 {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.unload();
            }
        }
    }

    /// Tells the consumers of the mask that have something to read, and wait for it.
    fn tell_readable(&mut self, mask: u64) {
        for consumer in bits(mask & self.online) {
            let first = Self::lane_at(consumer, 0);
            let lanes = self.lanes.get(first..first + 3).unwrap_or_default();
            if lanes.iter().any(|lane| lane.has_next(&self.memory)) {
                self.events.readable |= bit(consumer);
            }
        }
    }

    /// Sets a record in flight aside; it leaves its lane once that is durable.
    pub(crate) fn quarantine(
        &mut self,
        consumer: ConsumerId,
        (priority, seq): (Priority, u64),
        record: &Record,
        cause: &str,
    ) {
        let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, priority.rank())) else { return };
        if lane.park(seq) {
            let record = Record { seq, priority, ..record.clone() };
            self.quarantine.push(QuarantinePlan { consumer, record, cause: cause.to_owned() });
        }
    }

    /// Moves the tags of resolved receipts out.
    pub(crate) fn poll_resolved(&mut self, tags: &mut Vec<u64>) {
        tags.append(&mut self.memory.resolved);
        self.resolved_told = 0;
    }

    /// What the listener should hear now.
    pub(crate) fn poll_events(&mut self) -> Events {
        self.events.resolved = self.memory.resolved.len() > self.resolved_told;
        self.resolved_told = self.memory.resolved.len();
        self.hungry &= !self.events.readable;
        std::mem::take(&mut self.events)
    }

    /// The next row that a lane needs; lanes take turns, high priority first.
    pub(crate) fn poll_load(&mut self) -> Option<Load> {
        let count = self.lanes.len();
        for rank in 0..3 {
            for step in 0..count / 3 {
                let consumer = (self.loads_after + 1 + step) % (count / 3).max(1);
                let at = consumer * 3 + rank;
                if let Some(load) = self.load(at, rank) {
                    self.loads_after = consumer;
                    return Some(load);
                }
            }
        }
        None
    }

    /// Whether `poll_load` would give something.
    pub(crate) fn wants_load(&self) -> bool {
        self.lanes.iter().any(|lane| lane.wants_load() && self.online & lane.bit != 0)
    }

    fn load(&mut self, at: usize, rank: usize) -> Option<Load> {
        let priority = Priority::ALL.get(rank).copied()?;
        let lane = self.lanes.get_mut(at)?;
        if !lane.wants_load() || self.online & lane.bit == 0 {
            return None;
        }
        lane.loading = true;
        Some(Load {
            lane: at,
            generation: lane.generation,
            consumer_bit: lane.bit,
            priority,
            from_row: lane.load_row,
            after: lane.load_after,
            end: lane.memory_from.saturating_sub(1),
        })
    }

    /// The reader's answer.
    pub(crate) fn handle_loaded(&mut self, load: &Load, loaded: Loaded) {
        let Some(lane) = self.lanes.get_mut(load.lane).filter(|lane| lane.generation == load.generation)
        else {
            return;
        };
        self.disk.read_failing &= matches!(loaded, Loaded::Failed { .. });
        lane.loading = false;
        match loaded {
            Loaded::Row { first_seq, records } => lane.handle_loaded(first_seq, records),
            Loaded::End => {
                let records = lane.handle_end(&self.memory, load.end);
                if records > 0 {
                    self.events.incidents.push(Incident::RecordsMissing { records });
                }
            }
            Loaded::Damaged { first_seq, cause } => {
                lane.loading = true;
                self.repairing.push(load.lane);
                self.damage.push(Damage { priority: load.priority, first_seq, cause });
            }
            Loaded::Failed { message } => {
                if !std::mem::replace(&mut self.disk.read_failing, true) {
                    self.events.incidents.push(Incident::ReadFailed { message });
                }
            }
        }
        let hungry = load.consumer_bit & self.hungry;
        self.tell_readable(hungry);
    }

    /// The database was salvaged into a new one: all that was loaded is loaded again.
    pub(crate) fn handle_rebuilt(&mut self, incident: Incident) {
        self.events.incidents.push(incident);
        self.repairing.clear();
        for lane in &mut self.lanes {
            lane.handle_rebuilt();
        }
    }

    /// The database is damaged, and could not be salvaged for now.
    pub(crate) fn handle_rebuild_failed(&mut self, cause: &str, error: &str) {
        let message = format!("{cause}; it cannot be salvaged: {error}");
        self.events.incidents.push(Incident::ReadFailed { message });
    }

    /// The books of every lane, with an empty name.
    pub(crate) fn lane_usage(&self) -> impl Iterator<Item = LaneUsage> {
        self.lanes.iter().zip(Priority::ALL.iter().cycle()).map(|(lane, priority)| LaneUsage {
            consumer: String::new(),
            priority: *priority,
            stored_at_open: lane.counters.stored_at_open,
            appended: lane.counters.appended,
            acked: lane.counters.acked,
            expired: lane.counters.expired,
            evicted: lane.counters.evicted,
            quarantined: lane.counters.quarantined,
            backlog: lane.counters.backlog,
        })
    }
}

#[cfg(test)]
mod tests;
