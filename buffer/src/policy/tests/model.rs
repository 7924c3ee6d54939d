//! The policy and the store against a simple reference, in any order of steps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use rusqlite::Connection;

use super::super::{Limits, Loaded, Plan, Policy, Setup};
use super::{limits, new_record};
use crate::batch;
use crate::options::{BacklogShare, ConsumerOptions, Drain, Retention, WhenFull};
use crate::record::{ConsumerId, Priority, Record, Stamp, bit, bits};
use crate::store::{self, OpenedStore, ReadStore, Store};
use crate::usage::LaneUsage;
use crate::{Admission, Append};

const CONSUMERS: [&str; 3] = ["a", "b", "c"];

/// Records as (consumer mask, priority rank, payload bytes), whether with a journal, whether held.
type EntryOf = (Vec<(u64, usize, usize)>, bool, bool);

#[derive(Debug, Clone)]
enum Step {
    /// One builder of entries.
    Append(Vec<EntryOf>),
    /// Commit what is due, to the end of it, or with the commit failing.
    Commit {
        fails: bool,
    },
    /// Take the plan, and commit it only after the steps in between.
    BeginCommit,
    EndCommit,
    Load,
    Read {
        consumer: u8,
        count: usize,
    },
    /// Acknowledge records in flight, chosen by the bits of `which`.
    Ack {
        consumer: u8,
        which: u32,
    },
    Quarantine {
        consumer: u8,
    },
    Rewind {
        consumer: u8,
    },
    Online {
        consumer: u8,
        online: bool,
    },
    Purge {
        consumer: u8,
        rank: Option<usize>,
    },
    Clock {
        ms: u64,
        /// The wall clock goes to anywhere.
        wall_ms: i64,
    },
    /// Serve the consumers of the mask, perhaps each in another order than before.
    Configure {
        mask: u64,
        turn: bool,
    },
    Crash,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (1..8_u64, 0..3_usize, prop_oneof![4 => Just(20_usize), 1 => Just(3000)]);
    let entry = (prop::collection::vec(record, 0..4), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    let consumer = 0..3_u8;
    let step = prop_oneof![
        6 => prop::collection::vec(entry, 1..5).prop_map(Step::Append),
        5 => prop::bool::weighted(0.15).prop_map(|fails| Step::Commit { fails }),
        2 => Just(Step::BeginCommit),
        3 => Just(Step::EndCommit),
        6 => Just(Step::Load),
        8 => (consumer.clone(), 1..12_usize).prop_map(|(consumer, count)| Step::Read { consumer, count }),
        6 => (consumer.clone(), proptest::num::u32::ANY).prop_map(|(consumer, which)| Step::Ack { consumer, which }),
        1 => consumer.clone().prop_map(|consumer| Step::Quarantine { consumer }),
        2 => consumer.clone().prop_map(|consumer| Step::Rewind { consumer }),
        4 => (consumer, prop::bool::weighted(0.7)).prop_map(|(consumer, online)| Step::Online { consumer, online }),
        1 => (0..3_u8, prop::option::of(0..3_usize)).prop_map(|(consumer, rank)| Step::Purge { consumer, rank }),
        4 => (1..2000_u64, -2_000_000..2_000_000_i64).prop_map(|(ms, wall_ms)| Step::Clock { ms, wall_ms }),
        2 => (1..8_u64, proptest::bool::ANY).prop_map(|(mask, turn)| Step::Configure { mask, turn }),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..80)
}

fn drains() -> impl Strategy<Value = [Drain; 3]> {
    let live_first = |backlog| Drain::LiveFirst { backlog };
    let drain = prop_oneof![
        Just(Drain::OldestFirst),
        Just(Drain::NewestFirst),
        (1..6_u32).prop_map(move |n| live_first(BacklogShare::InFlight(n))),
        (1..50_u32).prop_map(move |n| live_first(BacklogShare::EventsPerS(n))),
        (20..5000_u64).prop_map(move |n| live_first(BacklogShare::BytesPerS(n))),
    ];
    [drain.clone(), drain.clone(), drain]
}

type LaneKey = (u8, usize);

/// What the reference knows of one lane.
#[derive(Debug, Default)]
struct Lane {
    /// Appended and not yet settled.
    owed: BTreeSet<u64>,
    /// Handed out since the last rewind, in order.
    out: BTreeSet<u64>,
    parked: BTreeSet<u64>,
    /// Settled in this run: comes again after a crash at most.
    left: BTreeSet<u64>,
    /// May come or not: settled or not resolved before a crash.
    settled: BTreeSet<u64>,
    /// Evicted in a commit: never to be seen again.
    evicted: BTreeSet<u64>,
    /// The last number read since the last rewind, of live and of each row on disk.
    last_read: BTreeMap<Option<u64>, u64>,
}

#[derive(Debug)]
struct Running {
    policy: Policy,
    store: Store,
    reader: ReadStore,
    planned: Option<Plan>,
    _lock: std::fs::File,
}

/// The bed: the real thing, and beside it the reference.
struct Model {
    dir: tempfile::TempDir,
    limits: Limits,
    consumers: Vec<ConsumerOptions>,
    /// How many of them were ever served; and which are, as a mask.
    known: usize,
    served: u64,
    now_ms: u64,
    wall_ms: i64,
    next_seq: u64,
    running: Option<Running>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// Payload sizes by number.
    sizes: BTreeMap<u64, usize>,
    /// The records and the journal of entries whose receipts did not resolve, by tag.
    unresolved: BTreeMap<u64, (Vec<u64>, Option<u64>)>,
    resolved: BTreeSet<u64>,
    journals_durable: BTreeSet<u64>,
    held: BTreeMap<u64, u64>,
    /// The row of each number that was ever written, by rank.
    rows: BTreeMap<(usize, u64), u64>,
}

impl Model {
    fn new(limits: Limits, drains: [Drain; 3], retention: Retention) -> Self {
        let consumer = |(drain, name): (Drain, &&str)| ConsumerOptions {
            drain,
            retention,
            ..ConsumerOptions::new(*name)
        };
        let mut model = Self {
            dir: tempfile::tempdir().unwrap(),
            limits,
            consumers: drains.into_iter().zip(&CONSUMERS).map(consumer).collect(),
            known: 2,
            served: 0b11,
            now_ms: 1000,
            wall_ms: 0,
            next_seq: 0,
            running: None,
            lanes: BTreeMap::new(),
            sizes: BTreeMap::new(),
            unresolved: BTreeMap::new(),
            resolved: BTreeSet::new(),
            journals_durable: BTreeSet::new(),
            held: BTreeMap::new(),
            rows: BTreeMap::new(),
        };
        model.open();
        model
    }

    fn run(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    fn lane(&mut self, consumer: u8, rank: usize) -> &mut Lane {
        self.lanes.entry((consumer, rank)).or_default()
    }

    fn open(&mut self) {
        let names = CONSUMERS.get(..self.known).unwrap();
        let opened = store::open(self.dir.path(), names, crate::boot::boot_id(), 0).unwrap();
        assert!(opened.incidents.is_empty(), "{:?}", opened.incidents);
        assert!(opened.first_seq > self.next_seq, "numbers never repeat");
        self.next_seq = opened.first_seq;
        let journals: BTreeSet<u64> =
            opened.journal.iter().map(|j| u64::from_le_bytes(j[..].try_into().unwrap())).collect();
        assert!(self.journals_durable.is_subset(&journals), "a resolved journal was lost");
        assert!(opened.journal.is_sorted_by_key(|j| u64::from_le_bytes(j[..].try_into().unwrap())));
        self.served = (1 << self.known) - 1;
        let consumers = self.consumers.iter().take(self.known).map(|options| {
            let (_, id) = opened.consumers.iter().find(|(name, _)| *name == options.name).unwrap();
            (*id, options.clone())
        });
        let setup = Setup {
            consumers: consumers.collect(),
            marks: opened.marks,
            gaps: opened.gaps,
            first_seq: opened.first_seq,
            disk_bytes: opened.disk_bytes,
            journal_bytes: 0,
        };
        let policy = Policy::new(self.limits, setup);
        let reader = ReadStore::open(&opened.path, opened.boots.clone()).unwrap();
        self.running =
            Some(Running { policy, store: opened.store, reader, planned: None, _lock: opened.lock });
        // The stored counters must tell exactly what will be read: no more than was owed or may be repeated.
        for (at, usage) in self.run().policy.lane_usage().enumerate().collect::<Vec<_>>() {
            let lane = self.lane(u8::try_from(at / 3).unwrap(), at % 3);
            let most = lane.owed.len() + lane.settled.len();
            assert!(usage.backlog <= most as u64, "lane {at}: {} of {most}", usage.backlog);
        }
        self.check_stored();
    }

    /// What is stored, by lane, is exactly what the rows have and the lane has not settled.
    fn check_stored(&mut self) {
        let path = self.dir.path().join("buffer.db");
        let connection = Connection::open(path).unwrap();
        let mut select = connection.prepare_cached("SELECT id >> 61, data FROM batch ORDER BY id").unwrap();
        let rank = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(|rank| usize::try_from(rank).unwrap());
        let rows = select.query_map([], |row| Ok((rank(row)?, row.get(1)?))).unwrap();
        let rows: Vec<(usize, Vec<u8>)> = rows.map(Result::unwrap).collect();
        let policy = &self.running.as_ref().unwrap().policy;
        let mut stored = vec![(0, 0); policy.lanes.len()];
        for (rank, data) in rows {
            for record in batch::decode(&data, Priority::ALL[rank], crate::boot::boot_id()).unwrap() {
                for consumer in bits(record.consumers) {
                    let at = usize::from(consumer.0) * 3 + rank;
                    if !policy.lanes[at].settled().contains(record.record.seq) {
                        stored[at].0 += 1;
                        stored[at].1 += record.record.bytes() as u64;
                    }
                }
            }
        }
        for (at, (lane, stored)) in policy.lanes.iter().zip(stored).enumerate() {
            assert_eq!((lane.stored, lane.stored_bytes), stored, "lane {at}: {lane:?}");
        }
    }

    fn append(&mut self, entries: &[EntryOf]) {
        if self.run().policy.admission(Priority::Normal) != Admission::Open {
            return;
        }
        let mut append = Append::new();
        for (records, journal, hold) in entries {
            self.next_seq += 1;
            let tag = self.next_seq;
            append.begin(tag);
            let mut seqs = Vec::new();
            for (mask, rank, size) in records {
                let mask = &(mask & self.served);
                if *mask == 0 {
                    continue;
                }
                self.next_seq += 1;
                seqs.push(self.next_seq);
                append.record(new_record(self.next_seq, *mask, *rank, *size, self.now_ms));
                self.sizes.insert(self.next_seq, *size);
                let seq = self.next_seq;
                for consumer in bits(*mask) {
                    self.lane(consumer.0, *rank).owed.insert(seq);
                }
                if *journal || *hold {
                    self.held.insert(self.next_seq, tag);
                }
            }
            if *journal {
                append.journal(&tag.to_le_bytes());
            }
            if *hold {
                append.hold();
            }
            self.unresolved.insert(tag, (seqs, journal.then_some(tag)));
        }
        let now_ms = self.now_ms;
        self.run().policy.append(&mut append, now_ms).unwrap();
        self.collect();
    }

    /// Checks each receipt that resolved: nobody may owe less than durability for it.
    fn collect(&mut self) {
        let mut tags = Vec::new();
        self.run().policy.poll_resolved(&mut tags);
        for tag in tags {
            let (_, journal) = self.unresolved.remove(&tag).expect("a receipt resolves once");
            self.journals_durable.extend(journal);
            self.resolved.insert(tag);
        }
        assert!(self.run().policy.lane_usage().all(|lane| lane.is_balanced()));
    }

    fn begin(&mut self) {
        let now_ms = self.now_ms;
        let run = self.run();
        if run.planned.is_none() {
            run.planned = run.policy.poll_plan(now_ms);
        }
    }

    fn end(&mut self, fails: bool) {
        let (limits, now_ms) = (self.limits, self.now_ms);
        let run = self.run();
        let Some(plan) = run.planned.take() else { return };
        if fails {
            run.policy.handle_commit_failed(plan, "planned".into(), now_ms);
        } else {
            let done = run.store.commit(&plan, &limits).unwrap();
            let quarantined: Vec<_> = plan
                .quarantine
                .iter()
                .map(|q| (q.consumer.0, q.record.priority.rank(), q.record.seq))
                .collect();
            let rows = plan.rows.iter().flat_map(|row| {
                let first = row.records.first().map_or(0, |stored| stored.record.seq);
                row.records.iter().map(move |stored| ((row.priority.rank(), stored.record.seq), first))
            });
            self.rows.extend(rows);
            let mut evicted = Vec::new();
            for row in &done.evicted {
                for record in row.records.as_ref().unwrap() {
                    let consumers = bits(record.consumers & row.consumers);
                    evicted.extend(consumers.map(|id| (id.0, row.priority.rank(), record.seq)));
                }
            }
            self.run().policy.handle_committed(plan, done, now_ms);
            for (consumer, rank, seq) in quarantined {
                let lane = self.lane(consumer, rank);
                lane.parked.remove(&seq);
                if lane.owed.remove(&seq) {
                    lane.left.insert(seq);
                }
                lane.out.remove(&seq);
            }
            for (consumer, rank, seq) in evicted {
                let lane = self.lane(consumer, rank);
                for set in
                    [&mut lane.owed, &mut lane.left, &mut lane.settled, &mut lane.out, &mut lane.parked]
                {
                    set.remove(&seq);
                }
                lane.evicted.insert(seq);
            }
            self.check_stored();
        }
        self.collect();
    }

    fn load(&mut self) {
        let run = self.run();
        while let Some(load) = run.policy.poll_load() {
            let loaded = match run.reader.load(&load).unwrap() {
                None => Loaded::End,
                Some((first_seq, data)) => Loaded::Row {
                    first_seq,
                    records: batch::decode_with(&data, load.priority, &run.reader.boots).unwrap(),
                },
            };
            run.policy.handle_loaded(&load, loaded);
        }
        let events = self.run().policy.poll_events();
        let missing = events.incidents.iter().any(|i| matches!(i, crate::Incident::RecordsMissing { .. }));
        let searches = self.run().policy.poll_search();
        assert!(!missing && !searches, "the stored counters drifted");
        assert!(self.run().policy.lane_usage().all(|lane| lane.is_balanced()));
    }

    fn read(&mut self, consumer: u8, count: usize) -> usize {
        let mut out: Vec<Record> = Vec::new();
        let now = Stamp { mono_ms: self.now_ms, wall_ms: self.wall_ms };
        let read = self.run().policy.read(ConsumerId(consumer), (count, usize::MAX), now, &mut out);
        assert_eq!(read.records, out.len());
        for record in out {
            self.check_record(consumer, &record);
        }
        read.records
    }

    fn check_record(&mut self, consumer: u8, record: &Record) {
        let (seq, rank) = (record.seq, record.priority.rank());
        assert_eq!(Some(&record.payload.len()), self.sizes.get(&seq), "nothing is invented");
        if let Some(tag) = self.held.get(&seq) {
            assert!(!self.unresolved.contains_key(tag), "held records wait for their commit");
        }
        let drain = self.consumers[usize::from(consumer)].drain;
        let from_disk =
            self.run().policy.lanes[usize::from(consumer) * 3 + rank].came_from_disk(seq).unwrap();
        let stream = match drain {
            Drain::OldestFirst => None,
            Drain::LiveFirst { .. } => from_disk.then_some(0),
            Drain::NewestFirst => from_disk.then(|| self.rows[&(rank, seq)]),
        };
        let lane = self.lane(consumer, rank);
        let last = lane.last_read.insert(stream, seq).unwrap_or(0);
        assert!(seq > last, "order within a stream of {drain:?}: {seq} after {last}");
        assert!(!lane.evicted.contains(&seq), "what is evicted does not come back");
        assert!(
            lane.owed.contains(&seq) || lane.settled.remove(&seq),
            "settled records come back after a crash only"
        );
        assert!(lane.out.insert(seq), "each once, until a rewind");
        lane.owed.insert(seq);
    }

    fn ack(&mut self, consumer: u8, which: u32) {
        let mut acks = Vec::new();
        for priority in Priority::ALL {
            let lane = self.lane(consumer, priority.rank());
            let chosen = lane.out.iter().enumerate().filter(|(at, _)| which >> (at % 32) & 1 == 1);
            let chosen: Vec<u64> =
                chosen.map(|(_, seq)| *seq).filter(|seq| !lane.parked.contains(seq)).collect();
            for seq in chosen {
                lane.out.remove(&seq);
                lane.owed.remove(&seq);
                lane.left.insert(seq);
                acks.push((priority, seq));
            }
        }
        acks.reverse();
        let now_ms = self.now_ms;
        self.run().policy.ack(ConsumerId(consumer), &acks, now_ms);
        self.collect();
    }

    fn quarantine(&mut self, consumer: u8) {
        for priority in Priority::ALL {
            let lane = self.lane(consumer, priority.rank());
            let Some(seq) = lane.out.iter().copied().find(|seq| !lane.parked.contains(seq)) else { continue };
            lane.parked.insert(seq);
            let record = Record::from(new_record(seq, 1, priority.rank(), 20, 0));
            self.run().policy.quarantine(ConsumerId(consumer), (priority, seq), &record, "cause");
        }
    }

    fn rewind(&mut self, consumer: u8) {
        self.run().policy.rewind(ConsumerId(consumer));
        for rank in 0..3 {
            let lane = self.lane(consumer, rank);
            lane.out.clear();
            lane.last_read.clear();
        }
    }

    fn purge(&mut self, consumer: u8, rank: Option<usize>) {
        let now_ms = self.now_ms;
        let priority = rank.map(|rank| Priority::ALL[rank]);
        let purged = self.run().policy.purge(ConsumerId(consumer), priority, now_ms);
        let mut waited = 0;
        for lane in (0..3).filter(|at| rank.is_none_or(|rank| rank == *at)) {
            let lane = self.lane(consumer, lane);
            waited += lane.owed.len() as u64;
            lane.left.append(&mut lane.owed);
            lane.out.clear();
            lane.parked.clear();
        }
        assert!(purged >= waited, "after a crash more may wait than is owed: {purged} {waited}");
        self.collect();
    }

    /// As a daemon does it: who is read in another order has no connection meanwhile.
    fn configure(&mut self, mask: u64, turn: bool) {
        // Numbers are given in order, and so that the reference need not know them, the first unknown comes first.
        self.served = mask & ((1 << (self.known + 1)) - 1);
        if self.served == 0 {
            return;
        }
        if turn {
            let drains: Vec<Drain> = self.consumers.iter().map(|options| options.drain).collect();
            for (options, drain) in self.consumers.iter_mut().zip(drains.into_iter().cycle().skip(1)) {
                options.drain = drain;
            }
            for consumer in 0..3 {
                self.run().policy.set_online(ConsumerId(consumer), false);
                self.rewind(consumer);
            }
        }
        let is_new = self.served >> self.known & 1 == 1;
        let new =
            is_new.then(|| (CONSUMERS[self.known].to_owned(), ConsumerId(u8::try_from(self.known).unwrap())));
        self.known += usize::from(is_new);
        let served = (0..).map(ConsumerId).zip(self.consumers.clone());
        let served: Vec<_> = served.filter(|(id, _)| self.served & bit(*id) != 0).collect();
        self.run().policy.configure(&served, new.into_iter().collect());
    }

    /// The process dies: what was not resolved may be gone, what was settled may come again.
    fn crash(&mut self) {
        self.running = None;
        self.lanes.values_mut().for_each(|lane| lane.settled.append(&mut lane.left));
        self.reopen();
        let balanced = |lane: LaneUsage| lane.is_balanced() && lane.backlog == lane.stored;
        assert!(self.run().policy.lane_usage().all(balanced));
    }

    /// The end after a flush: then nothing is lost, nothing settled comes again, and the books go on as they were.
    fn close(&mut self) {
        self.end(false);
        self.run().policy.set_flushing(true);
        for _ in 0..100 {
            self.now_ms += 5000;
            self.begin();
            self.end(false);
        }
        assert!(self.run().policy.is_flushed());
        self.unresolved.clear();
        let books: Vec<LaneUsage> = self.run().policy.lane_usage().collect();
        self.running = None;
        self.lanes.values_mut().for_each(|lane| lane.left.clear());
        self.reopen();
        assert_eq!(self.run().policy.lane_usage().collect::<Vec<_>>(), books);
    }

    fn reopen(&mut self) {
        let lost: BTreeSet<u64> =
            std::mem::take(&mut self.unresolved).into_values().flat_map(|(seqs, _)| seqs).collect();
        for lane in self.lanes.values_mut() {
            // Not resolved: may be there or not; `settled` means just that.
            let may_be_lost: Vec<u64> = lane.owed.intersection(&lost).copied().collect();
            for seq in may_be_lost {
                lane.owed.remove(&seq);
                lane.settled.insert(seq);
            }
            lane.out.clear();
            lane.parked.clear();
            lane.last_read.clear();
        }
        self.open();
    }

    /// Everything that is owed can be read in the end, and then books and disk are empty.
    fn finish(&mut self) {
        self.end(false);
        self.configure((1 << self.known) - 1, false);
        for consumer in 0..3 {
            self.run().policy.set_online(ConsumerId(consumer), true);
            self.rewind(consumer);
        }
        for _ in 0..2000 {
            self.now_ms += 5000;
            self.begin();
            self.end(false);
            self.load();
            for consumer in 0..3 {
                while self.read(consumer, 50) > 0 {
                    self.load();
                }
                self.ack(consumer, u32::MAX);
            }
            let backlog: u64 = self.run().policy.lane_usage().map(|lane| lane.backlog).sum();
            if backlog == 0 {
                break;
            }
        }
        self.close();
        let owed: usize = self.lanes.values().map(|lane| lane.owed.len()).sum();
        assert_eq!(owed, 0, "nothing that was resolved is lost: {:?}", self.lanes);
        for (at, usage) in self.run().policy.lane_usage().enumerate().collect::<Vec<_>>() {
            let lane = &self.run().policy.lanes[at];
            assert!(usage.backlog == 0 && usage.is_balanced(), "{at}: {usage:?} {lane:?}");
            assert_eq!(lane.settled().spans_above(), 0, "{at}: {lane:?}");
        }
        assert_eq!(self.run().policy.memory_bytes(), 0);
        assert!(self.unresolved.is_empty(), "{:?}", self.unresolved);
        let connection = Connection::open(self.dir.path().join("buffer.db")).unwrap();
        let rows: i64 = connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "what all are through with is deleted");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(entries) => self.append(entries),
            Step::Commit { fails } => {
                self.begin();
                self.end(*fails);
            }
            Step::BeginCommit => self.begin(),
            Step::EndCommit => self.end(false),
            Step::Load => self.load(),
            Step::Read { consumer, count } => drop(self.read(*consumer, *count)),
            Step::Ack { consumer, which } => self.ack(*consumer, *which),
            Step::Quarantine { consumer } => self.quarantine(*consumer),
            Step::Rewind { consumer } => self.rewind(*consumer),
            Step::Online { consumer, online } => {
                self.run().policy.set_online(ConsumerId(*consumer), *online);
                if !online {
                    self.rewind(*consumer);
                }
            }
            Step::Purge { consumer, rank } => self.purge(*consumer, *rank),
            Step::Clock { ms, wall_ms } => {
                self.now_ms += ms;
                self.wall_ms = *wall_ms;
            }
            Step::Configure { mask, turn } => self.configure(*mask, *turn),
            Step::Crash => self.crash(),
            Step::Close => self.close(),
        }
    }
}

pub(super) fn open_store(dir: &tempfile::TempDir) -> OpenedStore {
    store::open(dir.path(), &CONSUMERS, crate::boot::boot_id(), 0).unwrap()
}

proptest! {
    #[test]
    fn nothing_resolved_is_lost(steps in steps(), drains in drains()) {
        let mut model = Model::new(limits(WhenFull::Refuse, 1 << 30), drains, Retention::default());
        steps.iter().for_each(|step| model.step(step));
        model.finish();
        assert!(model.lanes.values().all(|lane| lane.evicted.is_empty()));
    }

    #[test]
    fn nothing_but_what_is_evicted_is_lost(steps in steps(), drains in drains()) {
        let mut model = Model::new(limits(WhenFull::EvictOldest, 80 << 10), drains, Retention::default());
        steps.iter().for_each(|step| model.step(step));
        model.finish();
    }

    #[test]
    fn lanes_keep_their_bounds(steps in steps(), drains in drains(), records in 5..40_u64) {
        let retention = Retention { max_records: Some(records), max_bytes: Some(20_000), max_age: None };
        let mut model = Model::new(limits(WhenFull::EvictOldest, 1 << 30), drains, retention);
        for step in &steps {
            model.step(step);
            if matches!(step, Step::EndCommit | Step::Commit { fails: false }) && model.run().planned.is_none() {
                let over = |lane: LaneUsage| lane.stored > records;
                assert!(!model.run().policy.lane_usage().any(over));
            }
        }
        model.finish();
    }
}
