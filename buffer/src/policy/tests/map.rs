//! The durable map: what is there after a crash, and what never costs a write.

use std::collections::BTreeMap;
use std::fs::File;

use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

use super::{Setup, limits, new_record};
use crate::Append;
use crate::options::WhenFull;
use crate::policy::{Limits, Policy};
use crate::record::{ConsumerId, Priority, Stamp};
use crate::store::{self, Store};

const CONSUMER: ConsumerId = ConsumerId(0);

/// A policy and its store; nothing runs by itself.
struct Bed {
    dir: tempfile::TempDir,
    limits: Limits,
    policy: Policy,
    store: Store,
    lock: File,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    next_seq: u64,
    commits: usize,
}

impl Bed {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let opened = store::open(dir.path(), &["it"], crate::boot::boot_id(), 0).unwrap();
        assert!(opened.incidents.is_empty(), "{:?}", opened.incidents);
        let limits = limits(WhenFull::Refuse, 1 << 30);
        let setup = Setup {
            consumers: vec![(CONSUMER, crate::ConsumerOptions::new("it"))],
            marks: opened.marks,
            first_seq: opened.first_seq,
            ..Setup::default()
        };
        let mut policy = Policy::new(limits, setup);
        policy.set_online(CONSUMER, true);
        let (next_seq, map) = (opened.first_seq, opened.map.into_iter().collect());
        Self { dir, limits, policy, store: opened.store, lock: opened.lock, map, next_seq, commits: 0 }
    }

    /// Drops what is in memory, as a crash would.
    fn reopen(self) -> Self {
        drop((self.store, self.lock, self.policy));
        Self::open(self.dir)
    }

    fn append(&mut self, tag: u64, fill: impl FnOnce(&mut Append), now_ms: u64) {
        let mut append = Append::new();
        append.begin(tag);
        fill(&mut append);
        self.policy.append(&mut append, now_ms).unwrap();
    }

    fn commit(&mut self, fails: bool, now_ms: u64) {
        let Some(plan) = self.policy.poll_plan(now_ms) else { return };
        if fails {
            return self.policy.handle_commit_failed(plan, "planned".into(), now_ms);
        }
        self.commits += 1;
        let done = self.store.commit(&plan, &self.limits).unwrap();
        self.policy.handle_committed(plan, done, now_ms);
    }

    fn resolved(&mut self) -> Vec<u64> {
        let mut tags = Vec::new();
        self.policy.poll_resolved(&mut tags);
        tags.sort_unstable();
        tags
    }
}

#[test]
fn changes_wait_for_their_commit_and_are_there_after_a_crash() {
    let mut bed = Bed::new();
    bed.append(1, |append| append.put("a", "1"), 0);
    bed.append(2, |append| append.put("b", "2"), 10);
    assert_eq!((bed.resolved(), bed.policy.next_due_ms()), (vec![], Some(50)));
    bed.commit(false, 49);
    assert_eq!(bed.resolved(), []);
    bed.commit(false, 60);
    assert_eq!(bed.resolved(), [1, 2]);
    assert_eq!(bed.policy.memory_bytes(), 0);
    bed.append(3, |append| append.delete("a"), 100);
    bed.append(4, |append| append.put("b", "3"), 100);
    let mut bed = bed.reopen();
    let pairs = |bed: &Bed| bed.map.clone().into_iter().collect::<Vec<_>>();
    assert_eq!(pairs(&bed), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    bed.append(5, |append| append.delete("a"), 0);
    bed.append(6, |append| append.put("b", "3"), 0);
    bed.commit(false, 50);
    assert_eq!(pairs(&bed.reopen()), [(b"b".to_vec(), b"3".to_vec())]);
}

#[test]
fn what_is_inserted_and_deleted_in_time_costs_no_write() {
    let mut bed = Bed::new();
    for round in 0..1000_u64 {
        let now_ms = round * 10;
        let key = round.to_be_bytes().to_vec();
        bed.append(2 * round + 1, |append| append.insert(key.clone(), "event"), now_ms);
        bed.append(2 * round + 2, |append| append.delete(key), now_ms + 5);
        assert_eq!(bed.resolved(), [2 * round + 1, 2 * round + 2]);
        bed.commit(false, now_ms + 6);
    }
    assert_eq!((bed.commits, bed.policy.memory_bytes(), bed.policy.undurable()), (0, 0, 0));
    assert_eq!(bed.policy.next_due_ms(), None);
    bed.append(
        9001,
        |append| {
            append.insert("x", "1");
            append.delete("x");
        },
        20_000,
    );
    assert_eq!(bed.resolved(), [9001], "within one entry too");
}

#[test]
fn a_deletion_follows_an_insertion_that_a_commit_has() {
    let mut bed = Bed::new();
    bed.append(1, |append| append.insert("a", "1"), 0);
    let plan = bed.policy.poll_plan(50).unwrap();
    bed.append(2, |append| append.delete("a"), 51);
    let done = bed.store.commit(&plan, &bed.limits).unwrap();
    bed.policy.handle_committed(plan, done, 52);
    assert_eq!(bed.resolved(), [1], "the deletion is not durable");
    bed.commit(false, 101);
    assert_eq!(bed.resolved(), [2]);
    assert!(bed.reopen().map.is_empty());
}

#[test]
fn changes_and_records_of_an_entry_are_one() {
    let mut bed = Bed::new();
    let seq = bed.next_seq;
    bed.append(
        7,
        |append| {
            append.record(new_record(seq, 1, 1, 20, 0));
            append.insert("q", "");
        },
        0,
    );
    let mut out = Vec::new();
    bed.policy.read(CONSUMER, (1, usize::MAX), Stamp::default(), &mut out);
    bed.policy.ack(CONSUMER, &[(Priority::Normal, seq)], 1);
    assert_eq!(bed.resolved(), [], "the cloud has the record, but the change is not durable");
    bed.commit(false, 50);
    assert_eq!(bed.resolved(), [7]);
    assert_eq!(bed.reopen().map.len(), 1);
}

#[test]
fn too_large_a_value_is_refused() {
    let mut bed = Bed::new();
    let mut append = Append::new();
    append.put("k", vec![0; crate::MAP_BYTES_MAX + 1]);
    assert_eq!(bed.policy.append(&mut append, 0), Err(crate::AppendError::MapTooLarge));
}

#[derive(Debug, Clone)]
enum Step {
    /// Changes of one entry: a key, and whether it is put, inserted or deleted; with a record, or held.
    Append(Vec<(u8, u8)>, bool, bool),
    Commit {
        fails: bool,
    },
    Read,
    Clock(u64),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let changes = prop::collection::vec((0..6_u8, 0..3_u8), 0..4);
    let entry = (changes, prop::bool::weighted(0.4), prop::bool::weighted(0.1));
    let step = prop_oneof![
        8 => entry.prop_map(|(changes, record, hold)| Step::Append(changes, record, hold)),
        4 => prop::bool::weighted(0.2).prop_map(|fails| Step::Commit { fails }),
        2 => Just(Step::Read),
        4 => (1..80_u64).prop_map(Step::Clock),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// What became of a key: its values in the order of the entries that gave them.
type History = Vec<(u64, Option<Vec<u8>>)>;

struct Model {
    bed: Bed,
    now_ms: u64,
    tag: u64,
    keys: BTreeMap<u8, History>,
    resolved: std::collections::BTreeSet<u64>,
}

impl Model {
    fn append(&mut self, changes: &[(u8, u8)], with_record: bool, hold: bool) {
        self.tag += 1;
        let (tag, now_ms, seq) = (self.tag, self.now_ms, self.bed.next_seq);
        let mut append = Append::new();
        append.begin(tag);
        for (at, (key, kind)) in changes.iter().enumerate() {
            let history = self.keys.entry(*key).or_default();
            let is_gone =
                |(by, value): &(u64, Option<Vec<u8>>)| value.is_none() && self.resolved.contains(by);
            let may_insert = history.last().is_none_or(is_gone);
            let value = format!("{tag}-{at}").into_bytes();
            match kind {
                0 => append.delete(vec![*key]),
                1 if may_insert => append.insert(vec![*key], value.clone()),
                _ => append.put(vec![*key], value.clone()),
            }
            history.push((tag, (*kind != 0).then_some(value)));
        }
        if with_record {
            append.record(new_record(seq, 1, 1, 20, now_ms));
            self.bed.next_seq += 1;
        }
        if hold {
            append.hold();
        }
        self.bed.policy.append(&mut append, now_ms).unwrap();
    }

    fn read(&mut self) {
        let mut out = Vec::new();
        self.bed.policy.read(CONSUMER, (5, usize::MAX), Stamp::default(), &mut out);
        let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
        self.bed.policy.ack(CONSUMER, &acks, self.now_ms);
    }

    /// Each key has a value that it had when the last entry that changed it resolved, or one it was given later.
    fn crash(mut self) -> Self {
        self.resolved.extend(self.bed.resolved());
        self.bed = self.bed.reopen();
        for (key, history) in &mut self.keys {
            let found = self.bed.map.get(&vec![*key]).cloned();
            let last = history.iter().rposition(|(tag, _)| self.resolved.contains(tag));
            let possible = history.get(last.unwrap_or(0)..).unwrap_or_default();
            let possible = possible.iter().map(|(_, value)| value.clone());
            let before = last.is_none().then_some(None);
            assert!(
                possible.chain(before).any(|value| value == found),
                "key {key}: {found:?} of {history:?}, resolved {:?}",
                self.resolved
            );
            // What was found is the whole history now, and durable.
            *history = vec![(0, found)];
        }
        self.resolved = [0].into();
        self
    }
}

proptest! {
    #[test]
    fn what_resolved_is_there_after_any_crash(steps in steps()) {
        let mut model = Model {
            bed: Bed::new(),
            now_ms: 1000,
            tag: 0,
            keys: BTreeMap::new(),
            resolved: [0].into(),
        };
        for step in steps {
            match step {
                Step::Append(changes, record, hold) => model.append(&changes, record, hold),
                Step::Commit { fails } => model.bed.commit(fails, model.now_ms),
                Step::Read => model.read(),
                Step::Clock(ms) => model.now_ms += ms,
                Step::Crash => model = model.crash(),
            }
            model.resolved.extend(model.bed.resolved());
        }
        model.crash();
    }
}
