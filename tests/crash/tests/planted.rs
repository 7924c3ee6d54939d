//! The instrument itself: each planted bug is found within some hundred cuts, and without it the same cuts find nothing.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_crash::campaign::{self, Kind, Tally};
use tidegate_crash::disk::Cut;
use tidegate_crash::mutation::{Mutation, plant};

const CUTS: u64 = 300;

/// A bug is planted in the whole process: one test at a time.
static PLANTING: Mutex<()> = Mutex::new(());

fn cuts(cut: Cut, seeds: std::ops::Range<u64>) -> io::Result<Tally> {
    campaign::run(Kind::Crash(cut), seeds, 2, |_| ())
}

/// The others wait until the guard is dropped, be it by a test that fails: its panic is not theirs.
fn alone() -> MutexGuard<'static, ()> {
    PLANTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts until the bug shows like this. Threads run as they like, so it may show in other ways before.
fn is_found(mutation: Mutation, cut: Cut, as_what: &str) -> io::Result<(bool, Vec<String>)> {
    plant(Some(mutation));
    let mut others = Vec::new();
    let mut is_found = false;
    for twenty in (0..CUTS).step_by(20) {
        let failed = cuts(cut, twenty..twenty + 20)?.failed;
        is_found = failed.iter().any(|(_, what)| what.contains(as_what));
        if is_found {
            break;
        }
        others.extend(failed.into_iter().map(|(_, what)| what));
    }
    plant(None);
    Ok((is_found, others))
}

#[track_caller]
fn assert_found(mutation: Mutation, cut: Cut, as_what: &str) {
    let _alone = alone();
    let found = is_found(mutation, cut, as_what);
    assert!(matches!(found, Ok((true, _))), "{mutation:?} within {CUTS} cuts: {found:?}");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    assert_found(Mutation::AckBeforeCommit, Cut::Process, "lost");
}

#[test]
fn a_log_that_is_not_synced_is_found_by_power_cuts_only() {
    assert_found(Mutation::SyncNormal, Cut::Power, "lost");
    let _alone = alone();
    assert_eq!(is_found(Mutation::SyncNormal, Cut::Process, "").unwrap(), (false, Vec::new()));
}

#[test]
fn a_cursor_ahead_of_what_is_settled_is_found() {
    assert_found(Mutation::CursorAhead, Cut::Process, "lost");
}

#[test]
fn a_batch_deleted_before_its_last_acknowledgement_is_found() {
    assert_found(Mutation::DeleteEarly, Cut::Process, "lost");
}

#[test]
fn state_that_is_committed_apart_from_its_records_is_found() {
    assert_found(
        Mutation::SplitCommit,
        Cut::Process,
        "came, and the change of state that it came with did not",
    );
}

#[test]
fn an_eviction_that_is_not_recorded_is_found() {
    // The spool's own debug assertions may be first.
    assert_found(Mutation::GapForgotten, Cut::Process, "");
}

#[test]
fn numbers_that_come_again_are_found() {
    assert_found(Mutation::RunRepeats, Cut::Process, "");
}

#[test]
fn without_a_planted_bug_the_same_cuts_find_nothing() {
    let _alone = alone();
    cuts(Cut::Power, 0..CUTS).unwrap().assert_faultless();
    cuts(Cut::Process, 0..CUTS).unwrap().assert_faultless();
}
