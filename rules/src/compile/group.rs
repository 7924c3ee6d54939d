//! GROUP BY: the window and the keys.

use super::{
    Compiler,
    call::WINDOWS,
    expression::{Scope, span},
};
use crate::{
    ast::{Call, Node, NodeKind, Select},
    mistake::Mistake,
    rule::WindowPlan,
    value::Value,
    window::Tumbling,
};

/// The largest window: a leap year.
const WINDOW_MS_MAX: i64 = 366 * 86_400_000;

/// Units of a duration in ms.
const UNITS: &[(&str, i64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Units as `TUMBLINGWINDOW(ss, 10)` has them.
const UNIT_WORDS: &[(&str, i64)] =
    &[("ms", 1), ("ss", 1_000), ("mi", 60_000), ("hh", 3_600_000), ("dd", 86_400_000)];

impl Compiler {
    /// Finds the window and resolves the keys.
    pub(super) fn group_by(&mut self, select: &Select) -> Option<WindowPlan> {
        let mut window: Option<(&Node, Option<Tumbling>)> = None;
        for node in &select.group_by {
            let call = match &node.kind {
                NodeKind::Call(call) if WINDOWS.contains(&call.name.as_str()) => call,
                _ => {
                    let key = self.expression(node, Scope::GroupBy);
                    self.keys.push(key);
                    continue;
                }
            };
            if let Some((first, _)) = window {
                let mistake = Mistake::new(span(node), "a rule has one window");
                self.mistakes.push(mistake.also(span(first), "the first"));
                continue;
            }
            self.has_window = true;
            window = Some((node, self.window(node, call)));
        }
        if let (None, Some(first), Some(last)) = (window, select.group_by.first(), select.group_by.last()) {
            let mistake = Mistake::new(first.span.start..last.span.end, "GROUP BY needs a window");
            self.mistakes.push(mistake.help("add one, as in `GROUP BY device, tumbling('1m')`"));
            // So that aggregates are not reported for the same reason.
            self.has_window = true;
        }
        let tumbling = window?.1.unwrap_or(Tumbling { size_ms: 1, offset_ms: 0 });
        let keys = self.keys.iter().map(|key| key.expr.clone()).collect();
        Some(WindowPlan { tumbling, keys, aggregates: Vec::new(), having: None })
    }

    fn window(&mut self, node: &Node, call: &Call) -> Option<Tumbling> {
        let sizes = match (call.name.as_str(), call.arguments.as_slice()) {
            ("tumbling", [size]) => self.duration(size).map(|size| (size, 0)),
            ("tumbling", [size, offset]) => self.duration(size).zip(self.duration(offset)),
            ("tumblingwindow", [unit, count]) => self.unit_and_count(unit, count).map(|size| (size, 0)),
            ("tumbling", _) => {
                let mistake = Mistake::new(span(node), "a tumbling window takes its size and an offset");
                self.mistakes.push(mistake.help("write tumbling('1m') or tumbling('1d', '6h')"));
                None
            }
            ("tumblingwindow", _) => {
                let mistake = Mistake::new(span(node), "this takes a unit and a number");
                self.mistakes.push(mistake.help("write TUMBLINGWINDOW(ss, 10) or tumbling('10s')"));
                None
            }
            (name, _) => {
                let mistake = Mistake::new(span(node), format!("the window `{name}` is not built yet"));
                self.mistakes.push(mistake.help("tumbling('1m') is"));
                None
            }
        };
        let (size_ms, offset_ms) = sizes?;
        if !(1..=WINDOW_MS_MAX).contains(&size_ms) {
            self.mistakes.push(Mistake::new(span(node), "a window lasts from 1 millisecond to 366 days"));
            return None;
        }
        Some(Tumbling { size_ms, offset_ms: offset_ms.rem_euclid(size_ms) })
    }

    /// A duration in ms.
    fn duration(&mut self, node: &Node) -> Option<i64> {
        let duration = match &node.kind {
            NodeKind::Literal(Value::Text(text)) => parse_duration(text),
            _ => None,
        };
        if duration.is_none() {
            let mistake = Mistake::new(span(node), "a duration is expected here");
            self.mistakes.push(mistake.help("write '500ms', '10s', '1m', '1h30m', '1d' or '1w'"));
        }
        duration
    }

    fn unit_and_count(&mut self, unit: &Node, count: &Node) -> Option<i64> {
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

/// Numbers with units in a row: `1h30m`.
fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total_ms = 0_i64;
    loop {
        let (number, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let (_, unit_ms) = UNITS.iter().find(|(each, _)| *each == unit)?;
        let part_ms = number.parse::<i64>().ok()?.checked_mul(*unit_ms)?;
        total_ms = total_ms.checked_add(part_ms)?;
        if after.is_empty() {
            return Some(total_ms);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            (" 1m ", Some(60_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("2w", Some(1_209_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1M", None),
            ("1 m", None),
            ("99999999999999999999s", None),
            ("9223372036854775807w", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
