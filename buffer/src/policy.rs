//! The state machine of the spool: which record is where, who has still to read or acknowledge it, which
//! receipts have resolved, what is due for the disk. No I/O, no clock: `now_ms` is an argument, what must be
//! done on disk comes out of `poll_plan` and `poll_load`, and the results come back by `handle_…`.

mod commit;
mod configure;
mod counters;
mod cut;
mod drain;
mod gaps;
mod lane;
mod map;
mod memory;
mod plan;
mod read;
pub(crate) mod settled;

pub(crate) use counters::{Counters, Reason};
pub(crate) use gaps::{GapRow, note};
pub(crate) use lane::{LaneMark, Want};
pub(crate) use map::MapChange;
pub(crate) use plan::{
    Committed, Damage, Evicted, EvictedRecord, Keep, LanePlan, Load, Loaded, Plan, QuarantinePlan, Repaired,
    RowPlan,
};
pub(crate) use settled::{Settled, Span};

use bytes::Bytes;

use crate::append::{Append, MAP_BYTES_MAX, NewEntry};
use crate::error::AppendError;
use crate::gap::GapReason;
use crate::incident::Incident;
use crate::options::{ConsumerOptions, Options, WhenFull};
use crate::record::{ConsumerId, NewRecord, Priority, Record, bit, bits, millis};
use crate::spool::{Admission, Refusal};
use crate::store::Registered;
use crate::usage::LaneUsage;
use drain::Reading;
use gaps::Gaps;
use lane::{Lane, Waiting};
use memory::{Entry, Memory, Tier};

/// How long a cursor may move before it is persisted.
const CURSOR_FLUSH_MS: u64 = 1000;
/// How long the books of lanes without anything on disk may change before they are.
const COUNTERS_FLUSH_MS: u64 = 600_000;
/// How often the oldest records on disk are looked at for their age.
const AGE_CHECK_MS: u64 = 10_000;
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
    pub(crate) reserve_bytes: u64,
    pub(crate) max_age_ms: u64,
    pub(crate) when_full: WhenFull,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            memory_bytes_max: options.memory_bytes_max,
            spill_after_ms: millis(options.spill_after),
            max_bytes: options.max_bytes,
            reserve_bytes: options.reserve_bytes,
            max_age_ms: options.max_age.map_or(u64::MAX, millis),
            when_full: options.when_full,
        }
    }

    /// The bounds of a consumer's lanes.
    fn keep(&self, options: &ConsumerOptions) -> Keep {
        let retention = options.retention;
        Keep {
            max_records: retention.max_records.unwrap_or(u64::MAX),
            max_bytes: retention.max_bytes.unwrap_or(u64::MAX),
            max_age_ms: retention.max_age.map_or(u64::MAX, millis).min(self.max_age_ms),
        }
    }
}

/// What a policy begins with.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// The consumers that may be appended for; others of the database keep their lanes, and are away for good.
    pub(crate) consumers: Vec<(ConsumerId, ConsumerOptions)>,
    /// By consumer, then rank.
    pub(crate) marks: Vec<LaneMark>,
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) first_seq: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) journal_bytes: u64,
}

/// What the listener should be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) resolved: bool,
    /// A mask of consumers.
    pub(crate) readable: u64,
    pub(crate) gap: bool,
    pub(crate) incidents: Vec<Incident>,
}

/// How the disk is doing.
#[derive(Debug, Default)]
struct Disk {
    bytes: u64,
    full: bool,
    file_system_full: bool,
    /// Commits that failed in a row.
    failures: u32,
    retry_at_ms: u64,
    read_failing: bool,
    /// Evicted and not reported yet, and when the last report was.
    evicted: u64,
    evicted_told_ms: Option<u64>,
}

/// Looking for records that are counted and were not found, at most once as long as the policy lives.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Search {
    #[default]
    Idle,
    Due,
    Running,
    Done,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Policy {
    limits: Limits,
    /// By consumer, then rank.
    lanes: Vec<Lane>,
    /// By consumer.
    keeps: Vec<Keep>,
    readings: Vec<Reading>,
    memory: Memory,
    map: map::Map,
    gaps: Gaps,
    last_seq: u64,
    /// All consumers that may be appended for.
    registered: u64,
    online: u64,
    /// Consumers that read all there was and want to hear of more.
    hungry: u64,
    /// Something may be due that is not old.
    urgent: bool,
    /// No slot before this one is fresh.
    fresh_from: u64,
    committing: bool,
    flushing: bool,
    cursor_moved_ms: Option<u64>,
    counters_moved_ms: Option<u64>,
    /// When ages are looked at next; `None` when no lane has a bound on it.
    age_due_ms: Option<u64>,
    /// Lanes with rows left to sweep.
    unswept: Vec<usize>,
    quarantine: Vec<QuarantinePlan>,
    drop_quarantined: Vec<i64>,
    /// Consumers that the database does not know yet.
    unnamed: Vec<Registered>,
    damage: Vec<Damage>,
    /// Lanes whose damaged row is being set aside.
    repairing: Vec<usize>,
    search: Search,
    disk: Disk,
    journal_bytes: u64,
    resolved_told: usize,
    events: Events,
    loads_after: usize,
}

impl Policy {
    pub(crate) fn new(limits: Limits, setup: Setup) -> Self {
        let Setup { consumers, marks, gaps, first_seq, disk_bytes, journal_bytes } = setup;
        let unconfigured = ConsumerOptions::new(String::new());
        let options: Vec<&ConsumerOptions> = (0..marks.len() / 3)
            .map(|at| consumers.iter().find(|(id, _)| usize::from(id.0) == at))
            .map(|found| found.map_or(&unconfigured, |(_, options)| options))
            .collect();
        let readings: Vec<Reading> = options.iter().map(|options| Reading::new(options.drain)).collect();
        let keeps: Vec<Keep> = options.iter().map(|options| limits.keep(options)).collect();
        let lane = |(at, mark): (usize, LaneMark)| {
            let order = readings.get(at / 3).map(|reading| reading.order).unwrap_or_default();
            Lane::restore(1 << ((at / 3) & 63), order, mark, first_seq)
        };
        let lanes = marks.into_iter().enumerate().map(lane).collect();
        let ages = keeps.iter().any(|keep| keep.max_age_ms != u64::MAX);
        Self {
            limits,
            lanes,
            age_due_ms: ages.then_some(0),
            keeps,
            readings,
            memory: Memory::default(),
            map: map::Map::default(),
            gaps: Gaps::restore(gaps),
            last_seq: first_seq.saturating_sub(1),
            registered: consumers.iter().fold(0, |mask, (id, _)| mask | bit(*id)),
            online: 0,
            hungry: u64::MAX,
            urgent: false,
            fresh_from: 0,
            committing: false,
            flushing: false,
            cursor_moved_ms: None,
            counters_moved_ms: None,
            unswept: Vec::new(),
            quarantine: Vec::new(),
            drop_quarantined: Vec::new(),
            unnamed: Vec::new(),
            damage: Vec::new(),
            repairing: Vec::new(),
            disk: Disk { bytes: disk_bytes, ..Disk::default() },
            search: Search::default(),
            journal_bytes,
            resolved_told: 0,
            events: Events::default(),
            loads_after: 0,
        }
        .with_full_state()
    }

    fn with_full_state(mut self) -> Self {
        self.disk.full = self.is_full(Priority::Normal);
        self
    }

    /// The database may have so many bytes from now on: fewer than was chosen while the file system is full.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: u64, file_system_full: bool) {
        self.limits.max_bytes = bytes_max;
        self.disk.full = self.is_full(Priority::Normal);
        if std::mem::replace(&mut self.disk.file_system_full, file_system_full) != file_system_full {
            let incident = if file_system_full {
                Incident::FileSystemFull { bytes: bytes_max }
            } else {
                Incident::FileSystemRoom
            };
            self.events.incidents.push(incident);
        }
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

    /// Whether the database is at its bound for new records of this priority, and does not evict old ones for them.
    fn is_full(&self, priority: Priority) -> bool {
        let reserve = if priority == Priority::High { self.limits.reserve_bytes } else { 0 };
        let full = self.disk.bytes >= self.limits.max_bytes.saturating_add(reserve);
        full && self.limits.when_full != WhenFull::EvictOldest
    }

    /// Whether the lane is at its own bounds.
    fn is_lane_full(&self, at: usize) -> bool {
        let (Some(lane), Some(keep)) = (self.lanes.get(at), self.keeps.get(at / 3)) else { return false };
        lane.backlog >= keep.max_records || lane.backlog_bytes >= keep.max_bytes
    }

    /// Whether the next event may be appended, of whose effects none has a higher priority than this.
    pub(crate) fn admission(&self, highest: Priority) -> Admission {
        if self.away() != 0 && self.disk.failures > 0 {
            return Admission::Refuse(Refusal::DiskFailing);
        }
        if self.limits.when_full == WhenFull::Refuse && self.away() != 0 && self.is_refused(highest) {
            return Admission::Refuse(Refusal::DiskFull);
        }
        if self.memory.bytes() >= self.limits.memory_bytes_max { Admission::Wait } else { Admission::Open }
    }

    fn is_refused(&self, highest: Priority) -> bool {
        let ranks = if highest == Priority::High { 0..1 } else { highest.rank()..3 };
        let mut lanes =
            bits(self.away()).flat_map(|id| ranks.clone().map(move |rank| Self::lane_at(id, rank)));
        self.is_full(highest) || lanes.any(|at| self.is_lane_full(at))
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
        let mut changes = append.entries.iter().flat_map(|entry| &entry.changes);
        let is_large = |bytes: &Bytes| bytes.len() > MAP_BYTES_MAX;
        if changes.any(|change| is_large(&change.key) || change.value.as_ref().is_some_and(is_large)) {
            return Err(AppendError::MapTooLarge);
        }
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
        let changes = self.reduce_changes(entry.changes);
        self.memory.begin(Entry {
            tag: entry.tag,
            open: 0,
            first_slot: 0,
            records: 0,
            appended_ms: now_ms,
            urgent: held,
            tier: Tier::Fresh,
            has_gap: false,
            journal,
            snapshot: entry.snapshot,
            changes,
        });
        for record in records.by_ref().take(entry.records) {
            self.append_record(record, held, now_ms);
        }
        self.memory.end();
    }

    fn append_record(&mut self, new: NewRecord, held: bool, now_ms: u64) {
        let (seq, rank, mut consumers) = (new.seq, new.priority.rank(), new.consumers.0);
        self.last_seq = seq;
        if self.limits.when_full == WhenFull::EvictNewest {
            let dropped = self.drop_newest(&new, now_ms);
            consumers &= !dropped;
            if dropped != 0 {
                // Nobody may hear that the event is safe before it is on record that it is not.
                self.memory.await_gap();
                self.urgent = true;
            }
            if consumers == 0 {
                return;
            }
        }
        self.urgent |= consumers & self.away() != 0;
        let record = Record::from(new);
        let bytes = record.bytes() as u64;
        let slot = self.memory.push(record, consumers, held);
        for consumer in bits(consumers) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.push(Waiting { seq, slot }, bytes);
            }
        }
        if !held {
            self.events.readable |= consumers & self.hungry & self.online;
        }
    }

    /// Evicts the record at once for its consumers that are full, unless they read it from memory; returns their mask.
    fn drop_newest(&mut self, new: &NewRecord, now_ms: u64) -> u64 {
        let (full, rank) = (self.is_full(new.priority), new.priority.rank());
        let mut dropped = 0;
        for consumer in bits(new.consumers.0) {
            let at = Self::lane_at(consumer, rank);
            let drops = full || self.is_lane_full(at);
            let Some(lane) = self.lanes.get_mut(at).filter(|_| drops) else { continue };
            if self.online & lane.bit == 0 || lane.has_backlog() {
                lane.drop_newest();
                dropped |= lane.bit;
                self.gaps.note(GapRow::one(at, GapReason::Newest, new.seq, new.received.wall_ms));
                self.cursor_moved_ms.get_or_insert(now_ms);
                self.counters_moved_ms.get_or_insert(now_ms);
            }
        }
        dropped
    }

    /// Settles all that waits for the consumer, at one priority or all; returns how many records did.
    pub(crate) fn purge(&mut self, consumer: ConsumerId, priority: Option<Priority>, now_ms: u64) -> u64 {
        let mut purged = 0;
        for rank in (0..3).filter(|rank| priority.is_none_or(|priority| priority.rank() == *rank)) {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                purged += lane.purge(&mut self.memory, self.last_seq);
            }
        }
        self.cursor_moved_ms = Some(now_ms.saturating_sub(CURSOR_FLUSH_MS));
        self.counters_moved_ms.get_or_insert(now_ms);
        purged
    }

    /// Deletes quarantined items, in the next commit.
    pub(crate) fn drop_quarantined(&mut self, ids: &[i64]) {
        self.drop_quarantined.extend_from_slice(ids);
    }

    /// Hands out the gaps that were not handed out before, with an empty name.
    pub(crate) fn poll_gaps(&mut self) -> Vec<GapRow> {
        self.gaps.poll()
    }

    /// The caller has announced the gap.
    pub(crate) fn handle_announced(&mut self, id: u64, now_ms: u64) {
        self.gaps.handle_announced(id);
        self.cursor_moved_ms.get_or_insert(now_ms);
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

    /// The database was salvaged into a new one: all that was loaded is loaded again.
    pub(crate) fn handle_rebuilt(&mut self, incident: Incident) {
        self.events.incidents.push(incident);
        self.search = Search::Done;
        self.repairing.clear();
        for lane in &mut self.lanes {
            lane.handle_rebuilt();
        }
    }

    /// The database is damaged, and could not be salvaged for now.
    pub(crate) fn handle_rebuild_failed(&mut self, cause: &str, error: &str) {
        let message = format!("{cause}; it cannot be salvaged: {error}");
        self.events.incidents.push(Incident::ReadFailed { message });
        self.search = Search::Done;
    }

    /// The books of every lane, with an empty name.
    pub(crate) fn lane_usage(&self) -> impl Iterator<Item = LaneUsage> {
        self.lanes.iter().zip(Priority::ALL.iter().cycle()).map(|(lane, priority)| {
            let left = |reason| lane.counters.left(reason);
            LaneUsage {
                consumer: String::new(),
                priority: *priority,
                appended: lane.counters.appended,
                acked: left(Reason::Acked),
                expired: left(Reason::Expired),
                evicted_full: left(Reason::EvictedFull),
                evicted_age: left(Reason::EvictedAge),
                evicted_count: left(Reason::EvictedCount),
                evicted_newest: left(Reason::EvictedNewest),
                quarantined: left(Reason::Quarantined),
                lost: left(Reason::Lost),
                purged: left(Reason::Purged),
                backlog: lane.backlog,
                backlog_bytes: lane.backlog_bytes,
                stored: lane.stored,
            }
        })
    }
}

#[cfg(test)]
mod tests;
