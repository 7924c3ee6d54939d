//! Windows of GROUP BY: their shapes, and the durations in them.

use super::{Compiler, expression::span};
use crate::{
    ast::{Call, Node, NodeKind},
    duration::parse_duration,
    mistake::Mistake,
    value::Value,
    window::{PANES_MAX, ROWS_MAX, Shape, Tumbling, greatest_common_divisor},
};

/// A window as rules call it, for the manual.
#[derive(Debug)]
pub(crate) struct Catalogued {
    pub(crate) signature: &'static str,
    pub(crate) doc: &'static str,
}

const fn entry(signature: &'static str, doc: &'static str) -> Catalogued {
    Catalogued { signature, doc }
}

pub(crate) const CATALOGUE: &[Catalogued] = &[
    entry(
        "tumbling('size'[, 'offset'])",
        "Windows one after the other, aligned to 1970-01-01 00:00 UTC plus the offset.",
    ),
    entry(
        "hopping('size', 'hop')",
        "Windows that overlap: one begins at each hop, which is at most the size.",
    ),
    entry("sliding('size')", "For each event, what came in that time up to it."),
    entry("session('gap'[, 'max'])", "Events with no such gap between them; none is longer than max."),
    entry("rows(n[, step])", "The last n events, each time that step have come; without step, n by n."),
    entry("window_start()", "When the window began, in ms; of rows, when the first of them came."),
    entry("window_end()", "When the window ended, in ms; of rows and sliding, when the last event came."),
];

/// The names of windows, with the spellings of other rule languages.
pub(super) const WINDOWS: &[&str] = &[
    "tumbling",
    "tumblingwindow",
    "hopping",
    "hoppingwindow",
    "sliding",
    "slidingwindow",
    "session",
    "sessionwindow",
    "rows",
    "countwindow",
];

/// How each is written, for messages.
const USAGE: &[(&str, &str)] = &[
    ("tumbling", "tumbling('1m') or tumbling('1d', '6h')"),
    ("tumblingwindow", "TUMBLINGWINDOW(ss, 10) or tumbling('10s')"),
    ("hopping", "hopping('10m', '1m')"),
    ("hoppingwindow", "HOPPINGWINDOW(ss, 10, 5) or hopping('10s', '5s')"),
    ("sliding", "sliding('1m')"),
    ("slidingwindow", "SLIDINGWINDOW(ss, 10) or sliding('10s')"),
    ("session", "session('30s') or session('30s', '1h')"),
    ("sessionwindow", "SESSIONWINDOW(ss, 60, 5) or session('5s', '60s')"),
    ("rows", "rows(10) or rows(10, 1)"),
    ("countwindow", "COUNTWINDOW(10) or rows(10)"),
];

/// The largest window: a leap year.
const WINDOW_MS_MAX: i64 = 366 * 86_400_000;

/// Units as `TUMBLINGWINDOW(ss, 10)` has them.
const UNIT_WORDS: &[(&str, i64)] =
    &[("ms", 1), ("ss", 1_000), ("mi", 60_000), ("hh", 3_600_000), ("dd", 86_400_000)];

impl Compiler {
    /// The shape that a call stands for; `None` if there is a mistake in it.
    pub(super) fn window(&mut self, node: &Node, call: &Call) -> Option<Shape> {
        let shape = match (call.name.as_str(), call.arguments.as_slice()) {
            ("tumbling", [size]) => {
                let size_ms = self.duration(size)?;
                self.tumbling(node, size_ms, 0)
            }
            ("tumbling", [size, offset]) => {
                let (size_ms, offset_ms) = (self.duration(size), self.duration(offset));
                self.tumbling(node, size_ms?, offset_ms?)
            }
            ("tumblingwindow", [unit, size]) => {
                let size_ms = self.units(unit, size)?;
                self.tumbling(node, size_ms, 0)
            }
            ("hopping", [size, hop]) => {
                let (size_ms, hop_ms) = (self.duration(size), self.duration(hop));
                self.hopping(node, size_ms?, hop_ms?)
            }
            ("hoppingwindow", [unit, size, hop]) => {
                let (size_ms, hop_ms) = (self.units(unit, size), self.units(unit, hop));
                self.hopping(node, size_ms?, hop_ms?)
            }
            ("sliding", [size]) => self.duration(size).map(|size_ms| Shape::Sliding { size_ms }),
            ("slidingwindow", [unit, size]) => {
                self.units(unit, size).map(|size_ms| Shape::Sliding { size_ms })
            }
            ("session", [gap]) => {
                self.duration(gap).map(|gap_ms| Shape::Session { gap_ms, max_ms: WINDOW_MS_MAX })
            }
            ("session", [gap, max]) => {
                let (gap_ms, max_ms) = (self.duration(gap), self.duration(max));
                Some(Shape::Session { gap_ms: gap_ms?, max_ms: max_ms? })
            }
            ("sessionwindow", [unit, max, gap]) => {
                let (gap_ms, max_ms) = (self.units(unit, gap), self.units(unit, max));
                Some(Shape::Session { gap_ms: gap_ms?, max_ms: max_ms? })
            }
            ("rows" | "countwindow", [count]) => {
                let count = self.row_count(count)?;
                Some(Shape::Rows { count, step: count })
            }
            ("rows" | "countwindow", [count, step]) => {
                let (count, step) = (self.row_count(count), self.row_count(step));
                Some(Shape::Rows { count: count?, step: step? })
            }
            (name, _) => {
                let usage = USAGE.iter().find(|(each, _)| *each == name).map_or("", |(_, usage)| usage);
                let mistake = Mistake::new(span(node), format!("`{name}` does not take these arguments"));
                self.mistakes.push(mistake.help(format!("write {usage}")));
                None
            }
        }?;
        self.in_bounds(node, shape).then_some(shape)
    }

    fn tumbling(&mut self, node: &Node, size_ms: i64, offset_ms: i64) -> Option<Shape> {
        let tumbling = Tumbling { size_ms, offset_ms: offset_ms.checked_rem_euclid(size_ms).unwrap_or(0) };
        let shape = Shape::Tumbling(tumbling);
        self.in_bounds(node, shape).then_some(shape)
    }

    fn hopping(&mut self, node: &Node, size_ms: i64, hop_ms: i64) -> Option<Shape> {
        let problem = if hop_ms < 1 || size_ms < 1 {
            "a window lasts from 1 millisecond to 366 days"
        } else if hop_ms > size_ms {
            "the hop is longer than the window, so that events between windows would be in none"
        } else if size_ms / greatest_common_divisor(size_ms, hop_ms) > PANES_MAX {
            "this window overlaps with too many others: it has more than 1000 parts"
        } else {
            return Some(Shape::Hopping { size_ms, hop_ms });
        };
        self.mistakes.push(Mistake::new(span(node), problem));
        None
    }

    fn in_bounds(&mut self, node: &Node, shape: Shape) -> bool {
        let (least_ms, most_ms) = match shape {
            Shape::Tumbling(Tumbling { size_ms, .. }) | Shape::Sliding { size_ms } => (size_ms, size_ms),
            Shape::Hopping { size_ms, hop_ms } => (hop_ms, size_ms),
            Shape::Session { gap_ms, max_ms } => (gap_ms.min(max_ms), gap_ms.max(max_ms)),
            Shape::Rows { .. } => (1, 1),
        };
        let good = least_ms >= 1 && most_ms <= WINDOW_MS_MAX;
        if !good {
            let mistake = Mistake::new(span(node), "a window lasts from 1 millisecond to 366 days");
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
        good
    }

    fn row_count(&mut self, node: &Node) -> Option<usize> {
        let count = match &node.kind {
            NodeKind::Literal(Value::Int(count)) => usize::try_from(*count).ok(),
            _ => None,
        };
        let count = count.filter(|count| (1..=ROWS_MAX).contains(count));
        if count.is_none() {
            let message = format!("a whole number from 1 to {ROWS_MAX} is expected here");
            self.mistakes.push(Mistake::new(span(node), message));
        }
        count
    }

    /// A duration in ms.
    pub(super) fn duration(&mut self, node: &Node) -> Option<i64> {
        let duration = match &node.kind {
            NodeKind::Wrong => return None,
            NodeKind::Literal(Value::Text(text)) => parse_duration(text),
            _ => None,
        };
        if duration.is_none() {
            let mistake = Mistake::new(span(node), "a duration is expected here");
            self.mistakes.push(mistake.help("write '500ms', '10s', '1m', '1h30m', '1d' or '1w'"));
        }
        duration
    }

    fn units(&mut self, unit: &Node, count: &Node) -> Option<i64> {
        let unit_ms = match &unit.kind {
            NodeKind::Name(word) => UNIT_WORDS.iter().find(|(each, _)| word.eq_ignore_ascii_case(each)),
            _ => None,
        };
        let Some((_, unit_ms)) = unit_ms else {
            let mistake = Mistake::new(span(unit), "a unit is expected here");
            self.mistakes.push(mistake.help("the units are ms, ss, mi, hh and dd"));
            return None;
        };
        match &count.kind {
            NodeKind::Literal(Value::Int(count)) => Some(count.saturating_mul(*unit_ms)),
            _ => {
                self.mistakes.push(Mistake::new(span(count), "a whole number is expected here"));
                None
            }
        }
    }
}
