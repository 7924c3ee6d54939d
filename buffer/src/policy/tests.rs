//! The policy and the store, driven by hand without threads.

mod drain;
mod map;
mod model;
mod retention;

use bytes::Bytes;

use super::{LaneMark, Limits, Policy, Setup};
use crate::Append;
use crate::batch;
use crate::options::{ConsumerOptions, WhenFull};
use crate::record::{ConsumerId, Consumers, NewRecord, Priority, Record, Stamp, bit};

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
    Limits {
        memory_bytes_max: 16 << 10,
        spill_after_ms: 50,
        max_bytes,
        reserve_bytes: 64 << 10,
        max_age_ms: u64::MAX,
        when_full,
    }
}

fn policy_of(limits: Limits, consumers: Vec<ConsumerOptions>) -> Policy {
    let marks = vec![LaneMark::default(); consumers.len() * 3];
    let consumers = (0..).map(ConsumerId).zip(consumers).collect();
    Policy::new(limits, Setup { consumers, marks, first_seq: 1, ..Setup::default() })
}

fn policy(consumers: usize) -> Policy {
    policy_of(limits(WhenFull::Refuse, 1 << 30), vec![ConsumerOptions::new("it"); consumers])
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
fn a_row_begins_where_its_lanes_expect_new_rows() {
    let mut rows = super::commit::RowsBuilder::default();
    for (seq, first_min) in [(1, 0), (6, 6), (7, 0), (8, 8)] {
        let record = Record::from(new_record(seq, 1, 1, 20, 0));
        rows.push(batch::Stored { record, consumers: 1 }, first_min);
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
    assert_eq!((count(Priority::High), count(Priority::Normal), count(Priority::Low)), (526, 37, 37));
}

#[test]
fn reads_are_bounded_by_bytes_but_never_stuck() {
    let mut policy = policy(1);
    policy.set_online(ConsumerId(0), true);
    for seq in 1..=10 {
        append_one(&mut policy, seq, 1, 1, 0);
    }
    for (max_bytes, expected) in [(0, 1), (21, 1), (42, 2), (62, 2), (1000, 4)] {
        let read = policy.read(ConsumerId(0), (20, max_bytes), Stamp::default(), &mut Vec::new());
        assert_eq!(read.records, expected);
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
    assert_eq!(policy.next_due_ms(), Some(600_000), "nothing is left to do but to note the books, some time");
}

/// What waits to be set aside stays in flight when the consumer starts over, with records before and behind it that only
/// memory has: these are not settled with the numbers that are nobody's.
#[test]
fn what_lies_around_a_parked_record_stays() {
    let mut policy = policy(1);
    let it = ConsumerId(0);
    policy.set_online(it, true);
    append_one(&mut policy, 1, 1, 1, 0);
    retention::commit(&mut policy, 50, 0);
    (2..=5).for_each(|seq| append_one(&mut policy, seq, 1, 1, 50));
    let mut records = Vec::new();
    policy.read(it, (4, usize::MAX), Stamp::default(), &mut records);
    policy.ack(it, &[(Priority::Normal, 1)], 50);
    policy.quarantine(it, (Priority::Normal, 3), &records[2], "cause");
    policy.rewind(it);
    let plan = policy.poll_plan(100).unwrap();
    let mark = &plan.lanes[1].mark;
    let settled: Vec<u64> = (1..=5).filter(|seq| mark.settled.contains(*seq)).collect();
    assert_eq!((settled, mark.stored), (vec![1], 4), "the third is settled once it is set aside");
    let marks = plan.lanes.iter().map(|lane| lane.mark.clone()).collect();
    policy.handle_committed(plan, super::Committed { marks, ..Default::default() }, 100);
    assert_eq!(policy.lane_usage().map(|lane| lane.stored).collect::<Vec<_>>(), [0, 3, 0]);
    records.clear();
    policy.read(it, (10, usize::MAX), Stamp::default(), &mut records);
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [2, 4, 5]);
}

/// A lane whose books say that so many records wait on disk, where there is none.
fn policy_without_its_rows(stored: u64) -> Policy {
    let mut marks = vec![LaneMark::default(); 3];
    marks[1].stored = stored;
    let consumers = vec![(ConsumerId(0), ConsumerOptions::new("it"))];
    let setup = Setup { consumers, marks, first_seq: 100, ..Setup::default() };
    let mut policy = Policy::new(limits(WhenFull::Refuse, 1 << 30), setup);
    policy.set_online(ConsumerId(0), true);
    policy
}

fn find_nothing(policy: &mut Policy) -> Vec<crate::Incident> {
    while let Some(load) = policy.poll_load() {
        policy.handle_loaded(&load, super::Loaded::End);
    }
    policy.poll_events().incidents
}

#[test]
fn records_that_are_not_found_are_looked_for_everywhere_before_they_are_lost() {
    let mut policy = policy_without_its_rows(10);
    assert_eq!(find_nothing(&mut policy), []);
    assert_eq!(policy.next_due_ms(), Some(0), "the writer is to look for them");
    assert!(policy.poll_search() && !policy.poll_search());
    assert_eq!(find_nothing(&mut policy), [], "while it looks nothing is lost");
    let found =
        crate::Incident::DatabaseSetAside { path: "x".into(), cause: String::new(), batches_saved: 0 };
    policy.handle_rebuilt(found.clone());
    assert_eq!(find_nothing(&mut policy), [found, crate::Incident::RecordsMissing { records: 10 }]);
    assert!(!policy.poll_search(), "once is enough");
    assert!(policy.lane_usage().all(|lane| lane.is_balanced() && lane.backlog == 0));
}

#[test]
fn a_search_that_fails_leaves_nothing_waiting() {
    let mut policy = policy_without_its_rows(3);
    find_nothing(&mut policy);
    assert!(policy.poll_search());
    policy.handle_rebuild_failed("damage", "no room");
    let incidents = find_nothing(&mut policy);
    assert!(matches!(
        incidents[..],
        [crate::Incident::ReadFailed { .. }, crate::Incident::RecordsMissing { records: 3 }]
    ));
}
