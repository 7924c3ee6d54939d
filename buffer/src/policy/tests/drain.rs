//! The order in which records are handed out.

use super::super::{Loaded, Policy};
use super::{append_one, limits, policy_of};
use crate::options::{BacklogShare, ConsumerOptions, Drain, WhenFull};
use crate::policy::{Committed, LaneMark};
use crate::record::{ConsumerId, Priority, Stamp};

const IT: ConsumerId = ConsumerId(0);

fn policy(drain: Drain) -> Policy {
    let consumer = ConsumerOptions { drain, ..ConsumerOptions::new("it") };
    policy_of(limits(WhenFull::EvictOldest, 1 << 30), vec![consumer])
}

/// A disk that holds rows as they were planned.
#[derive(Default)]
struct Disk {
    rows: Vec<(Priority, Vec<crate::batch::Stored>)>,
}

impl Disk {
    fn commit(&mut self, policy: &mut Policy, now_ms: u64) {
        while let Some(mut plan) = policy.poll_plan(now_ms) {
            self.rows.extend(plan.rows.drain(..).map(|row| (row.priority, row.records)));
            let marks: Vec<LaneMark> = plan.lanes.iter().map(|lane| lane.mark.clone()).collect();
            policy.handle_committed(plan, Committed { marks, ..Committed::default() }, now_ms);
        }
    }

    fn load(&self, policy: &mut Policy) {
        while let Some(load) = policy.poll_load() {
            let first = |row: &[crate::batch::Stored]| row[0].record.seq;
            let last = |row: &[crate::batch::Stored]| row.last().unwrap().record.seq;
            let rows =
                self.rows.iter().filter(|(priority, _)| *priority == load.priority).map(|(_, row)| row);
            let found = match load.want {
                super::super::Want::Upward { start, end, .. } => {
                    rows.filter(|row| first(row) <= end && last(row) >= start).min_by_key(|row| first(row))
                }
                super::super::Want::Downward { end, .. } => {
                    rows.filter(|row| first(row) <= end).max_by_key(|row| first(row))
                }
            };
            let loaded =
                found.map_or(Loaded::End, |row| Loaded::Row { first_seq: first(row), records: row.clone() });
            policy.handle_loaded(&load, loaded);
        }
    }
}

fn read(policy: &mut Policy, most: usize, now_ms: u64) -> Vec<u64> {
    let mut out = Vec::new();
    let now = Stamp { mono_ms: now_ms, wall_ms: 0 };
    policy.read(IT, (most, usize::MAX), now, &mut out);
    out.iter().map(|record| record.seq).collect()
}

/// Three rows on disk, of the numbers 1 to 4, 5 to 8 and 9 to 12, and then 13 and 14 in memory.
fn with_backlog(drain: Drain) -> (Policy, Disk) {
    let (mut policy, mut disk) = (policy(drain), Disk::default());
    for row in 0..3 {
        (row * 4 + 1..=row * 4 + 4).for_each(|seq| append_one(&mut policy, seq, 1, 1, 0));
        disk.commit(&mut policy, 100);
    }
    policy.set_online(IT, true);
    disk.commit(&mut policy, 100);
    (13..=14).for_each(|seq| append_one(&mut policy, seq, 1, 1, 100));
    disk.load(&mut policy);
    (policy, disk)
}

#[test]
fn each_drain_has_its_order() {
    let table: [(Drain, &[u64]); 3] = [
        (Drain::OldestFirst, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
        (Drain::NewestFirst, &[13, 14, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4]),
        (
            Drain::LiveFirst { backlog: BacklogShare::InFlight(100) },
            &[13, 14, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        ),
    ];
    for (drain, expected) in table {
        let (mut policy, _) = with_backlog(drain);
        assert_eq!(read(&mut policy, 100, 100), expected, "{drain:?}");
    }
}

#[test]
fn a_share_of_the_window_goes_on_with_acknowledgements() {
    let (mut policy, _) = with_backlog(Drain::LiveFirst { backlog: BacklogShare::InFlight(3) });
    policy.poll_events();
    assert_eq!(read(&mut policy, 100, 100), [13, 14, 1, 2, 3]);
    policy.ack(IT, &[(Priority::Normal, 14)], 100);
    assert_eq!(policy.poll_events().readable, 0, "live ones make no room for it");
    policy.ack(IT, &[(Priority::Normal, 2), (Priority::Normal, 1)], 100);
    assert_eq!(policy.poll_events().readable, 1);
    assert_eq!(read(&mut policy, 100, 100), [4, 5]);
}

#[test]
fn a_rate_holds_the_backlog_back_and_says_until_when() {
    let (mut policy, _) = with_backlog(Drain::LiveFirst { backlog: BacklogShare::EventsPerS(20) });
    policy.poll_events();
    assert_eq!(read(&mut policy, 100, 1000), [13, 14, 1, 2]);
    let now = Stamp { mono_ms: 1000, wall_ms: 0 };
    let outcome = policy.read(IT, (100, usize::MAX), now, &mut Vec::new());
    assert_eq!((outcome.records, outcome.again_in_ms), (0, Some(50)));
    append_one(&mut policy, 15, 1, 1, 1000);
    assert_eq!(policy.poll_events().readable, 1, "live traffic is told meanwhile");
    assert_eq!(read(&mut policy, 100, 1050), [15, 3]);
}

#[test]
fn the_high_lane_is_not_subject_to_the_share() {
    let mut policy = policy(Drain::LiveFirst { backlog: BacklogShare::InFlight(1) });
    let mut disk = Disk::default();
    for seq in 1..=10 {
        append_one(&mut policy, seq, 1, usize::from(seq % 2 == 0), 0);
    }
    disk.commit(&mut policy, 100);
    policy.set_online(IT, true);
    disk.commit(&mut policy, 100);
    disk.load(&mut policy);
    assert_eq!(read(&mut policy, 100, 100), [1, 3, 5, 7, 9, 2]);
}

#[test]
fn the_backlog_gets_each_sixteenth_pick_beside_live() {
    let (mut policy, _) = with_backlog(Drain::LiveFirst { backlog: BacklogShare::InFlight(100) });
    (15..=60).for_each(|seq| append_one(&mut policy, seq, 1, 1, 100));
    let order = read(&mut policy, 48, 100);
    let backlog: Vec<usize> =
        order.iter().enumerate().filter(|(_, seq)| **seq <= 12).map(|(at, _)| at).collect();
    assert_eq!(backlog, [15, 31, 47]);
}

#[test]
fn new_rows_go_before_old_ones_newest_first() {
    let (mut policy, mut disk) = with_backlog(Drain::NewestFirst);
    assert_eq!(read(&mut policy, 8, 100), [13, 14, 9, 10, 11, 12, 5, 6]);
    policy.set_online(IT, false);
    (15..=18).for_each(|seq| append_one(&mut policy, seq, 1, 1, 200));
    disk.commit(&mut policy, 300);
    policy.rewind(IT);
    policy.set_online(IT, true);
    disk.load(&mut policy);
    let order = read(&mut policy, 100, 300);
    assert_eq!(order[..6], [13, 14, 15, 16, 17, 18]);
    assert_eq!(order.len(), 18, "each once, with what was in flight: {order:?}");
}

/// Live records that fall to the disk leave regions behind; there are never more than a thousand or so.
#[test]
fn the_settled_set_is_bounded() {
    let mut policy = policy(Drain::LiveFirst { backlog: BacklogShare::InFlight(1) });
    let mut disk = Disk::default();
    policy.set_online(IT, true);
    let (mut most, mut seq) = (0, 0);
    for round in 0..1500 {
        let now_ms = round * 100;
        // More than the memory may keep: the oldest fall to the disk, the newest are read and acknowledged.
        for _ in 0..80 {
            seq += 1;
            append_one(&mut policy, seq, 1, 1, now_ms);
        }
        disk.commit(&mut policy, now_ms + 100);
        disk.load(&mut policy);
        let acks: Vec<_> =
            read(&mut policy, 20, now_ms).into_iter().map(|seq| (Priority::Normal, seq)).collect();
        policy.ack(IT, &acks, now_ms);
        most = most.max(policy.lanes[1].settled().spans_above());
    }
    assert!((1000..1100).contains(&most), "{most}");
}
