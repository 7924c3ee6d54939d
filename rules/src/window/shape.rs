//! The shapes of windows.

/// So many parts a hopping window may consist of.
pub(crate) const PANES_MAX: i64 = 1_000;

/// So many rows a window may have, and so many events of one group a sliding window keeps.
pub(crate) const ROWS_MAX: usize = 10_000;

/// How events are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Tumbling(Tumbling),
    /// Windows of one size that overlap, one beginning at each hop.
    Hopping {
        size_ms: i64,
        hop_ms: i64,
    },
    /// For each event, what came in a time before it.
    Sliding {
        size_ms: i64,
    },
    /// Events with no gap between them; none is longer than `max_ms`.
    Session {
        gap_ms: i64,
        max_ms: i64,
    },
    /// The last `count` events, each time that `step` have come.
    Rows {
        count: usize,
        step: usize,
    },
}

/// Windows of one size, one after the other, aligned to the Unix epoch in UTC plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tumbling {
    /// At least 1.
    pub(crate) size_ms: i64,
    /// At least 0 and less than the size.
    pub(crate) offset_ms: i64,
}

impl Tumbling {
    /// The start of the window that a time lies in.
    pub(crate) fn start_ms(self, time_ms: i64) -> i64 {
        let since_offset = time_ms.saturating_sub(self.offset_ms);
        time_ms.saturating_sub(since_offset.rem_euclid(self.size_ms.max(1)))
    }

    pub(crate) fn end_ms(self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms)
    }
}

impl Shape {
    /// What tells the groups of one key apart: the start of a tumbling window; other shapes have one group for each key.
    pub(crate) fn group_start_ms(&self, time_ms: i64) -> i64 {
        match self {
            Self::Tumbling(tumbling) => tumbling.start_ms(time_ms),
            _ => 0,
        }
    }

    /// Whether all windows that an event of this time belongs to are closed.
    pub(crate) fn is_closed(&self, time_ms: i64, position_ms: i64) -> bool {
        match *self {
            Self::Tumbling(tumbling) => tumbling.end_ms(tumbling.start_ms(time_ms)) <= position_ms,
            Self::Hopping { size_ms, hop_ms } => {
                let last = Tumbling { size_ms: hop_ms, offset_ms: 0 }.start_ms(time_ms);
                last.saturating_add(size_ms) <= position_ms
            }
            Self::Sliding { .. } => time_ms < position_ms,
            Self::Session { gap_ms, .. } => time_ms.saturating_add(gap_ms) <= position_ms,
            Self::Rows { .. } => false,
        }
    }

    pub(crate) fn ends_by_time(&self) -> bool {
        !matches!(self, Self::Rows { .. })
    }

    /// The parts that hopping windows share.
    pub(crate) fn pane(&self) -> Tumbling {
        let size_ms = match *self {
            Self::Hopping { size_ms, hop_ms } => greatest_common_divisor(size_ms, hop_ms),
            _ => 1,
        };
        Tumbling { size_ms, offset_ms: 0 }
    }
}

pub(crate) fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
