//! Bounded waits on conditions. A test never sleeps to be right: it says what it waits for and how long that may take.

use std::thread;
use std::time::{Duration, Instant};

use crate::must::fail;
use crate::oracle::Findings;

const POLL_EVERY: Duration = Duration::from_millis(2);
const STILL: Duration = Duration::from_millis(100);

/// Waits until `condition` holds, and fails the test with `what` was missing after `limit`.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_some(what, limit, || condition().then_some(()));
}

/// Waits until `find` finds something, and fails the test with `what` was missing after `limit`.
#[track_caller]
pub fn wait_some<T>(what: &str, limit: Duration, find: impl FnMut() -> Option<T>) -> T {
    match within(limit, find) {
        Some(found) => found,
        None => fail(format_args!("{what}: not within {limit:?}")),
    }
}

/// What `find` finds within `limit`, or nothing: for showing that something does *not* happen for a while.
pub fn within<T>(limit: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL_EVERY);
    }
}

/// Waits until nothing is lost or nothing has arrived for `quiet`, and gives the findings; `count` is of arrivals.
#[track_caller]
pub fn drained(
    count: impl Fn() -> usize,
    audit: impl Fn() -> Findings,
    quiet: Duration,
    limit: Duration,
) -> Findings {
    let deadline = Instant::now() + limit;
    loop {
        let (before, since) = (count(), Instant::now());
        let moved = || (count() > before).then_some(());
        assert!(Instant::now() < deadline, "still draining after {limit:?}: {}", audit());
        // An audit reads everything, so only once nothing moves.
        if within(STILL, moved).is_some() {
            continue;
        }
        let findings = audit();
        let left = quiet.saturating_sub(since.elapsed());
        if findings.lost.is_empty() || within(left, moved).is_none() {
            return findings;
        }
    }
}
