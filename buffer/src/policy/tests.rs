//! The policy and the store, driven by hand without threads, against a simple reference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

use super::{Limits, Loaded, Plan, Policy};
use crate::batch;
use crate::options::WhenFull;
use crate::record::{ConsumerId, Consumers, NewRecord, Priority, Record, Stamp, bit, bits};
use crate::store::{self, OpenedStore, ReadStore, Store};
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
    Clock {
        ms: u64,
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
        4 => (1..2000_u64).prop_map(|ms| Step::Clock { ms }),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..80)
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
    /// Acknowledged, but perhaps forgotten by a crash.
    settled: BTreeSet<u64>,
    last_read: u64,
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
    now_ms: u64,
    next_seq: u64,
    running: Option<Running>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// Payload sizes by number.
    sizes: BTreeMap<u64, usize>,
    /// The records and the journal of entries whose receipts did not resolve, by tag.
    unresolved: BTreeMap<u64, (Vec<u64>, Option<u64>)>,
    resolved: BTreeSet<u64>,
    journals_durable: BTreeSet<u64>,
    evicted: u64,
    held: BTreeMap<u64, u64>,
}

impl Model {
    fn new(limits: Limits) -> Self {
        let mut model = Self {
            dir: tempfile::tempdir().unwrap(),
            limits,
            now_ms: 1000,
            next_seq: 0,
            running: None,
            lanes: BTreeMap::new(),
            sizes: BTreeMap::new(),
            unresolved: BTreeMap::new(),
            resolved: BTreeSet::new(),
            journals_durable: BTreeSet::new(),
            evicted: 0,
            held: BTreeMap::new(),
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
        let opened = open_store(self.dir.path());
        assert!(opened.incidents.is_empty(), "{:?}", opened.incidents);
        assert!(opened.first_seq > self.next_seq, "numbers never repeat");
        self.next_seq = opened.first_seq;
        let journals: BTreeSet<u64> =
            opened.journal.iter().map(|j| u64::from_le_bytes(j[..].try_into().unwrap())).collect();
        assert!(self.journals_durable.is_subset(&journals), "a resolved journal was lost");
        assert!(opened.journal.is_sorted_by_key(|j| u64::from_le_bytes(j[..].try_into().unwrap())));
        let policy =
            Policy::new(self.limits, opened.registered(), &opened.marks, opened.first_seq, opened.disk_bytes);
        let reader = ReadStore::open(&opened.path, opened.boots.clone()).unwrap();
        self.running =
            Some(Running { policy, store: opened.store, reader, planned: None, _lock: opened.lock });
        // The stored counters must tell exactly what will be read: no more than was owed or may be repeated.
        for (at, usage) in self.run().policy.lane_usage().enumerate().collect::<Vec<_>>() {
            let lane = self.lane(u8::try_from(at / 3).unwrap(), at % 3);
            let most = lane.owed.len() + lane.settled.len();
            assert!(usage.backlog <= most as u64, "lane {at}: {} of {most}", usage.backlog);
        }
    }

    fn append(&mut self, entries: &[EntryOf]) {
        if self.run().policy.admission() != Admission::Open {
            return;
        }
        let mut append = Append::new();
        for (records, journal, hold) in entries {
            self.next_seq += 1;
            let tag = self.next_seq;
            append.begin(tag);
            let mut seqs = Vec::new();
            for (mask, rank, size) in records {
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
            run.policy.handle_committed(plan, done, now_ms);
            for (consumer, rank, seq) in quarantined {
                let lane = self.lane(consumer, rank);
                lane.parked.remove(&seq);
                lane.owed.remove(&seq);
                lane.out.remove(&seq);
                lane.settled.insert(seq);
            }
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
        assert!(!missing, "the stored counters drifted");
        assert!(self.run().policy.lane_usage().all(|lane| lane.is_balanced()));
    }

    fn read(&mut self, consumer: u8, count: usize) -> usize {
        let mut out: Vec<Record> = Vec::new();
        let now = Stamp { mono_ms: self.now_ms, wall_ms: 0 };
        let read = self.run().policy.read(ConsumerId(consumer), (count, usize::MAX), now, &mut out);
        assert_eq!(read, out.len());
        for record in out {
            let seq = record.seq;
            assert_eq!(Some(&record.payload.len()), self.sizes.get(&seq), "nothing is invented");
            if let Some(tag) = self.held.get(&seq) {
                assert!(!self.unresolved.contains_key(tag), "held records wait for their commit");
            }
            let lane = self.lane(consumer, record.priority.rank());
            assert!(seq > lane.last_read, "order within a lane: {seq} after {}", lane.last_read);
            assert!(
                lane.owed.contains(&seq) || lane.settled.remove(&seq),
                "settled records come back after a crash only"
            );
            lane.owed.insert(seq);
            lane.last_read = seq;
            lane.out.insert(seq);
        }
        read
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
                lane.settled.insert(seq);
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
            lane.last_read = 0;
        }
    }

    /// The process dies: what was not resolved may be gone, what was settled may come again.
    fn crash(&mut self) {
        self.count_evicted();
        self.running = None;
        self.reopen();
    }

    /// The end after a flush: then nothing is lost, and nothing settled comes again.
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
        let expected: u64 = self.run().policy.lane_usage().map(|lane| lane.backlog).sum();
        let out_of_order: usize = self.lanes.values().map(|lane| lane.settled.len()).sum();
        self.count_evicted();
        self.running = None;
        self.reopen();
        let found: u64 = self.run().policy.lane_usage().map(|lane| lane.backlog).sum();
        assert!(found >= expected && found <= expected + out_of_order as u64, "{found} of {expected}");
    }

    fn count_evicted(&mut self) {
        let evicted: u64 = self.run().policy.lane_usage().map(|lane| lane.evicted).sum();
        self.evicted += evicted;
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
            lane.last_read = 0;
        }
        self.open();
    }

    /// Everything that is owed can be read in the end, and then the books show an empty spool.
    fn finish(&mut self) {
        self.end(false);
        for consumer in 0..3 {
            self.run().policy.set_online(ConsumerId(consumer), true);
            self.rewind(consumer);
        }
        for _ in 0..400 {
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
            if backlog == 0 && self.run().policy.next_due_ms().is_none() {
                break;
            }
        }
        let owed: u64 = self.lanes.values().map(|lane| lane.owed.len() as u64).sum();
        self.count_evicted();
        assert!(owed <= self.evicted, "nothing that was resolved is lost: {:?}", self.lanes);
        for (at, usage) in self.run().policy.lane_usage().enumerate().collect::<Vec<_>>() {
            assert!(
                usage.backlog == 0 && usage.is_balanced(),
                "{at}: {usage:?} {:?}",
                self.run().policy.lanes[at]
            );
        }
        assert_eq!(self.run().policy.memory_bytes(), 0);
        assert!(self.unresolved.is_empty(), "{:?}", self.unresolved);
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
            Step::Clock { ms } => self.now_ms += ms,
            Step::Crash => self.crash(),
            Step::Close => self.close(),
        }
    }
}

fn open_store(dir: &Path) -> OpenedStore {
    store::open(dir, &CONSUMERS, crate::boot::boot_id()).unwrap()
}

fn new_record(seq: u64, mask: u64, rank: usize, size: usize, now_ms: u64) -> NewRecord {
    NewRecord {
        seq,
        consumers: Consumers(mask),
        priority: Priority::ALL[rank],
        received: Stamp { mono_ms: now_ms, wall_ms: 0 },
        expires_after_ms: None,
        topic: Bytes::from_static(b"t"),
        meta: Bytes::new(),
        payload: Bytes::from(vec![u8::try_from(seq % 251).unwrap(); size]),
    }
}

fn limits(when_full: WhenFull, max_bytes: u64) -> Limits {
    Limits { memory_bytes_max: 16 << 10, spill_after_ms: 50, max_bytes, when_full }
}

proptest! {
    #[test]
    fn nothing_resolved_is_lost(steps in steps()) {
        let mut model = Model::new(limits(WhenFull::Refuse, 1 << 30));
        steps.iter().for_each(|step| model.step(step));
        model.finish();
        assert_eq!(model.evicted, 0);
    }

    #[test]
    fn what_is_evicted_is_counted(steps in steps()) {
        let mut model = Model::new(limits(WhenFull::EvictOldest, 64 << 10));
        steps.iter().for_each(|step| model.step(step));
        model.finish();
    }
}

fn policy(consumers: usize) -> Policy {
    let marks = vec![super::LaneMark { cursor: 0, stored: 0, swept: 0 }; consumers * 3];
    Policy::new(limits(WhenFull::Refuse, 1 << 30), (1 << consumers) - 1, &marks, 1, 0)
}

fn append_one(policy: &mut Policy, seq: u64, mask: u64, rank: usize, now_ms: u64) {
    let mut append = Append::new();
    append.begin(seq);
    append.record(new_record(seq, mask, rank, 20, now_ms));
    policy.append(&mut append, now_ms).unwrap();
}

fn planned(policy: &mut Policy, now_ms: u64) -> Vec<Vec<u64>> {
    let plan = policy.poll_plan(now_ms).map(|plan| plan.rows).unwrap_or_default();
    plan.iter().map(|row| row.records.iter().map(|stored| stored.record.seq).collect()).collect()
}

#[test]
fn only_what_is_due_is_written_with_what_must_precede_it() {
    let online = |policy: &mut Policy| {
        policy.set_online(ConsumerId(0), true);
        policy.set_online(ConsumerId(1), true);
    };
    // Consumer 2 is away: its records are due at once, those of the others after 50 ms.
    let table: [(&[u64], u64, &[u64]); 5] = [
        (&[1, 2, 1], 10, &[]),
        (&[1, 2, 4, 1], 10, &[3]),
        (&[1, 2, 5, 1], 10, &[1, 3]),
        (&[1, 3, 6, 2], 10, &[1, 2, 3]),
        (&[1, 2], 50, &[1, 2]),
    ];
    for (masks, now_ms, expected) in table {
        let mut policy = policy(3);
        online(&mut policy);
        for (seq, mask) in (1..).zip(masks) {
            append_one(&mut policy, seq, *mask, 1, 0);
        }
        assert_eq!(planned(&mut policy, now_ms).concat(), expected, "{masks:?} at {now_ms}");
    }
}

#[test]
fn a_row_begins_above_all_that_its_lanes_have_on_disk() {
    let mut rows = super::commit::RowsBuilder::default();
    for (seq, durable_hi) in [(1, 0), (6, 5), (7, 0), (8, 7)] {
        let record = Record::from(new_record(seq, 1, 1, 20, 0));
        rows.push(batch::Stored { record, consumers: 1 }, durable_hi);
    }
    let rows: Vec<Vec<u64>> =
        rows.finish(Priority::Normal).map(|row| row.records.iter().map(|s| s.record.seq).collect()).collect();
    assert_eq!(rows, [vec![1], vec![6, 7], vec![8]]);
}

#[test]
fn high_goes_first_and_low_is_not_starved() {
    let mut policy = policy(1);
    policy.set_online(ConsumerId(0), true);
    for seq in 1..=2000 {
        append_one(&mut policy, seq, 1, usize::try_from(seq % 3).unwrap(), 0);
    }
    let mut out = Vec::new();
    policy.read(ConsumerId(0), (600, usize::MAX), Stamp::default(), &mut out);
    let count = |priority| out.iter().filter(|record| record.priority == priority).count();
    assert_eq!((count(Priority::High), count(Priority::Normal), count(Priority::Low)), (563, 35, 2));
}

#[test]
fn reads_are_bounded_by_bytes_but_never_stuck() {
    let mut policy = policy(1);
    policy.set_online(ConsumerId(0), true);
    for seq in 1..=10 {
        append_one(&mut policy, seq, 1, 1, 0);
    }
    for (max_bytes, expected) in [(0, 1), (21, 1), (42, 2), (62, 2), (1000, 4)] {
        assert_eq!(policy.read(ConsumerId(0), (20, max_bytes), Stamp::default(), &mut Vec::new()), expected);
    }
}

#[test]
fn failing_commits_are_retried_with_growing_pauses() {
    let mut policy = policy(1);
    append_one(&mut policy, 1, 1, 1, 0);
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let plan = policy.poll_plan(now_ms).unwrap();
        policy.handle_commit_failed(plan, "EIO".into(), now_ms);
        let due = policy.next_due_ms().unwrap();
        assert!(policy.poll_plan(due - 1).is_none());
        pauses.push(due - now_ms);
        now_ms = due;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    let incidents = policy.poll_events().incidents;
    assert_eq!(incidents, [crate::Incident::CommitFailed { message: "EIO".into() }]);
}

#[test]
fn the_hungry_are_told_once() {
    let mut policy = policy(2);
    policy.set_online(ConsumerId(0), true);
    append_one(&mut policy, 1, 3, 1, 0);
    append_one(&mut policy, 2, 3, 1, 0);
    assert_eq!(policy.poll_events().readable, bit(ConsumerId(0)), "the other one is away");
    append_one(&mut policy, 3, 3, 1, 0);
    assert_eq!(policy.poll_events().readable, 0, "it has not read yet");
    policy.read(ConsumerId(0), (10, usize::MAX), Stamp::default(), &mut Vec::new());
    append_one(&mut policy, 4, 3, 1, 0);
    assert_eq!(policy.poll_events().readable, bit(ConsumerId(0)));
}

#[test]
fn one_acknowledgement_of_each_consumer_resolves_a_receipt() {
    let mut policy = policy(2);
    policy.set_online(ConsumerId(0), true);
    policy.set_online(ConsumerId(1), true);
    append_one(&mut policy, 5, 3, 1, 0);
    let mut tags = Vec::new();
    for (consumer, resolved) in [(0, 0), (1, 1)] {
        policy.read(ConsumerId(consumer), (10, usize::MAX), Stamp::default(), &mut Vec::new());
        policy.ack(ConsumerId(consumer), &[(Priority::Normal, 5)], 0);
        policy.poll_resolved(&mut tags);
        assert_eq!(tags.len(), resolved);
    }
    assert_eq!(policy.memory_bytes(), 0);
    assert_eq!(policy.next_due_ms(), None, "nothing is left to do");
}
