//! The log of what was refused, and why connections were closed: a line for each, as far as nobody can flood the log
//! with them.

use std::cell::{Cell, RefCell};
use std::fmt;

use tracing::info;

use super::rate::{Bucket, Rate};
use super::socket::Peer;

/// Lines in a second; what is over is counted, and said with the next line.
const LINES: Rate = Rate { count_max: 10, period_ms: 1000 };

/// Writes that log (target `audit`).
pub(super) struct Audit {
    lines: RefCell<Bucket>,
    left_out: Cell<u64>,
}

impl Audit {
    pub(super) fn new() -> Self {
        Audit { lines: RefCell::new(Bucket::full(LINES, 0)), left_out: Cell::new(0) }
    }

    /// Notes what was refused to `peer`, or why its connection was closed.
    pub(super) fn note(&self, peer: Peer, now_ms: u64, what: fmt::Arguments<'_>) {
        let Some(left_out) = self.turn(now_ms) else { return };
        if left_out > 0 {
            info!(target: "audit", "audit: {peer}: {what} ({left_out} lines before this were left out)");
        } else {
            info!(target: "audit", "audit: {peer}: {what}");
        }
    }

    /// How many were left out before this one; `None` if it is left out too.
    fn turn(&self, now_ms: u64) -> Option<u64> {
        let mut lines = self.lines.borrow_mut();
        if lines.wait_ms(LINES, now_ms) > 0 {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        lines.take(LINES, 1, now_ms);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::Audit;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let audit = Audit::new();
        let turns: Vec<_> = (0..100).map(|_| audit.turn(5000)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == Some(0)).count(), 10);
        assert_eq!(audit.turn(5099), None);
        assert_eq!(audit.turn(5100), Some(91));
        assert_eq!(audit.turn(5200), Some(0));
    }
}
