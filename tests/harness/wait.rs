//! Bounded waits on conditions. A test never sleeps to be right: it says what it waits for and how long that may take.

use std::thread;
use std::time::{Duration, Instant};

use crate::must::fail;

const POLL_EVERY: Duration = Duration::from_millis(2);

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
