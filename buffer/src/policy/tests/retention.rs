//! What is evicted or refused, when, and what is said of it.

use super::super::{GapRow, Policy, Setup};
use super::{append_one, limits, new_record, policy_of};
use crate::gap::GapReason;
use crate::options::{ConsumerOptions, Retention, WhenFull};
use crate::policy::{Committed, LaneMark};
use crate::record::{ConsumerId, NewRecord, Priority, Stamp};
use crate::spool::{Admission, Refusal};

const IT: ConsumerId = ConsumerId(0);

fn policy(when_full: WhenFull, retention: Retention) -> Policy {
    let consumer = ConsumerOptions { retention, ..ConsumerOptions::new("it") };
    policy_of(limits(when_full, 1 << 20), vec![consumer])
}

/// Commits all that is due, on a disk that then has so many bytes.
pub(super) fn commit(policy: &mut Policy, now_ms: u64, disk_bytes: u64) {
    let mut id = now_ms;
    while let Some(plan) = policy.poll_plan(now_ms) {
        let marks: Vec<LaneMark> = plan.lanes.iter().map(|lane| lane.mark.clone()).collect();
        let stored = |gap: &GapRow| {
            id += 1;
            GapRow { id: if gap.id == 0 { id } else { gap.id }, ..gap.clone() }
        };
        let gaps = plan.gaps.iter().map(stored).collect();
        policy.handle_committed(plan, Committed { marks, gaps, disk_bytes, ..Committed::default() }, now_ms);
    }
}

#[test]
fn the_newest_are_dropped_for_those_away_and_receipts_wait_for_the_gap() {
    let mut policy = policy(WhenFull::EvictNewest, Retention::default());
    append_one(&mut policy, 1, 1, 1, 0);
    commit(&mut policy, 100, 1 << 20);
    let mut tags = Vec::new();
    for (seq, rank) in [(2, 1), (3, 2), (4, 1), (5, 0)] {
        append_one(&mut policy, seq, 1, rank, 200);
    }
    policy.poll_resolved(&mut tags);
    assert_eq!(tags, [1], "were it to crash now, nobody would know of the others");
    assert_eq!(policy.admission(Priority::Low), Admission::Open);
    let usage: Vec<_> = policy.lane_usage().collect();
    assert_eq!(usage.iter().map(|lane| lane.evicted_newest).collect::<Vec<_>>(), [0, 2, 1]);
    assert!(usage.iter().all(crate::LaneUsage::is_balanced));
    assert_eq!(policy.poll_gaps(), [], "not before they are stored");
    commit(&mut policy, 200, 1 << 20);
    policy.poll_resolved(&mut tags);
    tags.sort_unstable();
    assert_eq!(tags, [1, 2, 3, 4, 5], "the last is on disk: high priority goes on inside the reserve");
    assert!(policy.poll_events().gap);
    let gaps = policy.poll_gaps();
    let found: Vec<_> = gaps.iter().map(|gap| (gap.lane, gap.first_seq, gap.last_seq, gap.records)).collect();
    assert_eq!(found, [(1, 2, 4, 2), (2, 3, 3, 1)]);
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Newest));
    assert_eq!(policy.poll_gaps(), [], "each once");
}

#[test]
fn gaps_are_forgotten_when_announced_and_a_told_one_does_not_grow() {
    let mut policy =
        policy(WhenFull::EvictNewest, Retention { max_records: Some(1), ..Retention::default() });
    (1..=3).for_each(|seq| append_one(&mut policy, seq, 1, 1, 0));
    commit(&mut policy, 2000, 0);
    let told = policy.poll_gaps();
    assert_eq!((told.len(), told[0].records), (1, 2));
    append_one(&mut policy, 4, 1, 1, 2000);
    commit(&mut policy, 4000, 0);
    policy.handle_announced(told[0].id, 4000);
    let plan = policy.poll_plan(6000).unwrap();
    assert_eq!(plan.announced, [told[0].id]);
    let untold: Vec<_> = plan.gaps.iter().map(|gap| (gap.first_seq, gap.records)).collect();
    assert_eq!(untold, [(4, 1)]);
    policy.handle_commit_failed(plan, "EIO".into(), 6000);
    assert_eq!(policy.poll_plan(7000).unwrap().announced, [told[0].id], "again after a failure");
}

#[test]
fn high_priority_is_admitted_inside_the_reserve() {
    let mut policy = policy(WhenFull::Refuse, Retention::default());
    let refuse = Admission::Refuse(Refusal::DiskFull);
    let reserve = 64 << 10;
    let table = [
        ((1 << 20) - 1, [Admission::Open; 3]),
        (1 << 20, [Admission::Open, refuse, refuse]),
        ((1 << 20) + reserve - 1, [Admission::Open, refuse, refuse]),
        ((1 << 20) + reserve, [refuse; 3]),
    ];
    for (seq, (disk_bytes, expected)) in (1..).zip(table) {
        append_one(&mut policy, seq, 1, 1, 0);
        commit(&mut policy, 100, disk_bytes);
        assert_eq!(Priority::ALL.map(|priority| policy.admission(priority)), expected, "{disk_bytes}");
    }
    policy.set_online(IT, true);
    assert_eq!(policy.admission(Priority::Low), Admission::Open, "nobody is away");
}

#[test]
fn a_full_lane_refuses_for_its_consumer() {
    let mut policy = policy(WhenFull::Refuse, Retention { max_records: Some(3), ..Retention::default() });
    (1..=3).for_each(|seq| append_one(&mut policy, seq, 1, 1, 0));
    let refuse = Admission::Refuse(Refusal::DiskFull);
    let found = Priority::ALL.map(|priority| policy.admission(priority));
    assert_eq!(found, [Admission::Open, refuse, Admission::Open]);
}

#[test]
fn what_is_too_old_is_evicted_when_it_is_read() {
    let max_age = Some(std::time::Duration::from_millis(500));
    let mut policy = policy(WhenFull::EvictOldest, Retention { max_age, ..Retention::default() });
    policy.set_online(IT, true);
    for (seq, now_ms) in [(1, 0), (2, 400), (3, 600)] {
        append_one(&mut policy, seq, 1, 1, now_ms);
    }
    let mut out = Vec::new();
    policy.read(IT, (10, usize::MAX), Stamp { mono_ms: 901, wall_ms: 0 }, &mut out);
    assert_eq!(out.iter().map(|record| record.seq).collect::<Vec<_>>(), [3]);
    assert_eq!(policy.lane_usage().nth(1).unwrap().evicted_age, 2);
    commit(&mut policy, 2000, 0);
    let gaps = policy.poll_gaps();
    assert_eq!((gaps.len(), gaps[0].reason, gaps[0].records), (1, GapReason::Age, 2));
}

#[test]
fn a_purge_settles_all_and_nothing_comes_back() {
    let mut policy = policy(WhenFull::EvictOldest, Retention::default());
    (1..=6).for_each(|seq| append_one(&mut policy, seq, 1, usize::try_from(seq % 2).unwrap(), 0));
    commit(&mut policy, 100, 0);
    append_one(&mut policy, 7, 1, 1, 100);
    assert_eq!(policy.purge(IT, Some(Priority::Normal), 100), 4);
    assert_eq!(policy.purge(IT, Some(Priority::Normal), 100), 0);
    assert_eq!(policy.purge(IT, None, 100), 3);
    let usage: Vec<_> = policy.lane_usage().collect();
    assert!(usage.iter().all(|lane| lane.is_balanced() && lane.backlog == 0 && lane.stored == 0));
    assert_eq!(policy.memory_bytes(), 0);
    commit(&mut policy, 200, 0);
    let mut tags = Vec::new();
    policy.poll_resolved(&mut tags);
    assert_eq!(tags.len(), 7);
}

#[test]
fn what_is_too_old_on_disk_is_evicted_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = crate::store::open(dir.path(), &["it"], crate::boot::boot_id(), 0).unwrap();
    let max_age = Some(std::time::Duration::from_secs(1));
    let retention = Retention { max_age, ..Retention::default() };
    let setup = Setup {
        consumers: vec![(IT, ConsumerOptions { retention, ..ConsumerOptions::new("it") })],
        marks: std::mem::take(&mut opened.marks),
        first_seq: opened.first_seq,
        ..Setup::default()
    };
    let limits = limits(WhenFull::EvictOldest, 1 << 30);
    let mut policy = Policy::new(limits, setup);
    let mut commit = |policy: &mut Policy, now_ms| {
        while let Some(plan) = policy.poll_plan(now_ms) {
            let done = opened.store.commit(&plan, &limits).unwrap();
            policy.handle_committed(plan, done, now_ms);
        }
    };
    // Stamps of the machine's boot, and of an hour to come. Of the second row only the first half is too old.
    let (old, young) =
        (Stamp { mono_ms: 0, wall_ms: 5 }, Stamp { mono_ms: Stamp::now().mono_ms + 3_600_000, wall_ms: 7 });
    for (n, received) in (0..).zip([old, old, old, old, young, young]) {
        let mut append = crate::Append::new();
        append.begin(1);
        append.record(NewRecord { received, ..new_record(opened.first_seq + n, 1, 1, 20, 0) });
        policy.append(&mut append, 0).unwrap();
        if n == 1 || n == 5 {
            commit(&mut policy, 100);
        }
    }
    let evicted =
        |policy: &Policy| policy.lane_usage().nth(1).map(|lane| (lane.evicted_age, lane.stored)).unwrap();
    assert_eq!(evicted(&policy), (2, 4), "looked at with the first commit, and not yet again");
    commit(&mut policy, 100 + 10_000);
    assert_eq!(evicted(&policy), (4, 2));
    let gaps = policy.poll_gaps();
    let first = opened.first_seq;
    let found: Vec<_> =
        gaps.iter().map(|gap| (gap.reason, gap.first_seq, gap.last_seq, gap.first_wall_ms)).collect();
    assert_eq!(found, [(GapReason::Age, first, first + 3, 5)]);
    let connection = rusqlite::Connection::open(dir.path().join("buffer.db")).unwrap();
    let rows: i64 = connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1, "a row goes with its last record");
}

/// A row of which a consumer has acknowledged its part, and not the numbers behind it that are nobody's, while older
/// records of that consumer wait. Its bound evicts all that waits: then nothing of it is in the row, and the row goes.
#[test]
fn a_row_goes_when_evictions_leave_nothing_for_its_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = super::model::open_store(&dir);
    let connection = rusqlite::Connection::open(&opened.path).unwrap();
    let rows =
        || -> i64 { connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap() };
    let limits = limits(WhenFull::EvictOldest, 1 << 30);
    let retention = Retention { max_bytes: Some(60), ..Retention::default() };
    let bounded = ConsumerOptions { retention, ..ConsumerOptions::new("bounded") };
    let mut policy = policy_of(limits, vec![bounded, ConsumerOptions::new("other")]);
    let mut commit = |policy: &mut Policy, now_ms| {
        while let Some(plan) = policy.poll_plan(now_ms) {
            let done = opened.store.commit(&plan, &limits).unwrap();
            policy.handle_committed(plan, done, now_ms);
        }
    };
    let other = ConsumerId(1);
    policy.set_online(IT, true);
    policy.set_online(other, true);
    append_one(&mut policy, 1, 1, 1, 0);
    commit(&mut policy, 50);
    append_one(&mut policy, 2, 1, 1, 50);
    append_one(&mut policy, 3, 2, 1, 50);
    commit(&mut policy, 100);
    policy.read(IT, (2, usize::MAX), Stamp::default(), &mut Vec::new());
    policy.read(other, (1, usize::MAX), Stamp::default(), &mut Vec::new());
    policy.ack(IT, &[(Priority::Normal, 2)], 100);
    policy.ack(other, &[(Priority::Normal, 3)], 100);
    policy.rewind(IT);
    commit(&mut policy, 2000);
    assert_eq!(rows(), 2, "the numbers behind what was acknowledged may be records that wait");
    let mut append = crate::Append::new();
    append.begin(4);
    append.record(new_record(4, 1, 1, 300, 2000));
    policy.append(&mut append, 2000).unwrap();
    commit(&mut policy, 3000);
    assert_eq!((policy.lane_usage().map(|lane| lane.backlog).sum::<u64>(), rows()), (0, 0));
}
