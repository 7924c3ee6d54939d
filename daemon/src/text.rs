//! Text for people at a terminal: sizes, ages, counts, columns, and a line that shows how far long work is.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// A size in the largest binary unit that leaves at least one: `12.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        return format!("{bytes} {name}");
    }
    // Tenths, rounded down: what is shown is there.
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A span of time in its two largest units: `3 h 12 min`.
pub(crate) fn span(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let Some(first) = UNITS.iter().position(|(_, unit_ms)| ms >= *unit_ms) else {
        return format!("{ms} ms");
    };
    let mut text = String::new();
    let mut left_ms = ms;
    for (name, unit_ms) in UNITS.iter().skip(first).take(2) {
        let count = left_ms / unit_ms;
        left_ms %= unit_ms;
        if count > 0 {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{count} {name}");
        }
    }
    text
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment as RFC 3339 has it, in UTC.
pub(crate) fn time(wall_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(wall_ms)
        .map_or_else(|_| format!("{wall_ms} ms"), |time| time.to_string())
}

/// Text of others on a terminal: nothing in it moves the cursor, and it has at most `chars_max` characters.
pub(crate) fn plain(text: &str, chars_max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(chars_max));
    for c in text.chars().take(chars_max) {
        match c {
            // What stands in every payload of JSON is left as it is.
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(chars_max).is_some() { shown + "…" } else { shown }
}

/// Columns, as wide as what is in them. A column whose cells are numbers stands at the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column| self.rows.iter().filter_map(move |row| row.get(column));
        let layout: Vec<(usize, bool)> = (0..columns)
            .map(|column| {
                let width = cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
                let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
                (width, cells(column).skip(1).all(is_number))
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, right)) in row.iter().zip(&layout) {
                // Writing to a string cannot fail.
                let _ =
                    if *right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A line on stderr that shows how far long work is; only on a terminal, and only when the work takes a while.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    what: &'static str,
    shown: bool,
    next: Option<Instant>,
}

impl ProgressLine {
    const PERIOD: Duration = Duration::from_millis(200);

    pub(crate) fn new(what: &'static str) -> Self {
        let next = std::io::stderr().is_terminal().then(|| Instant::now() + Self::PERIOD);
        Self { what, shown: false, next }
    }

    /// So much is done, of so much if that is known.
    pub(crate) fn update(&mut self, done: u64, total: Option<u64>) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + Self::PERIOD);
        self.shown = true;
        let _ = write!(std::io::stderr(), "\r\x1b[K{} {}", self.what, bar(done, total));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: u64, total: Option<u64>) -> String {
    const WIDTH: u64 = 30;
    let Some(total) = total.filter(|total| *total > 0) else { return count(done) };
    let filled = usize::try_from(done.min(total).saturating_mul(WIDTH) / total).unwrap_or(0);
    let percent = done.min(total).saturating_mul(100) / total;
    format!("[{:<30}] {percent:3} %  {} of {}", "#".repeat(filled), count(done), count(total))
}

#[cfg(test)]
mod tests {
    use super::{Table, bar, count, plain, size, span, time};

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (13_002_343, "12.4 MiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn spans() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (11_520_000, "3 h 12 min"),
            (90_061_000, "1 d 1 h"),
            (86_400_000 * 400, "400 d"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn counts_and_times() {
        let counts = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_000_000_123), "2026-11-18T11:06:40.123Z");
        assert_eq!(time(i64::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\n", 20), "a\\u{1b}[2Jb\\n");
        assert_eq!(plain(r#"{"a":'\\'}"#, 20), r#"{"a":'\\'}"#);
        assert_eq!(plain("größer", 3), "grö…");
        assert_eq!(plain("größer", 6), "größer");
    }

    #[test]
    fn columns() {
        let mut table = Table::new(&["UPLINK", "WAITING", "OLDEST"]);
        table.row(["cloud".into(), "7".into(), "-".into()]);
        table.row(["a".into(), "12,345".into(), "3 h".into()]);
        let expected = "UPLINK  WAITING  OLDEST\ncloud         7       -\na        12,345     3 h\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn bars() {
        assert_eq!(bar(5, None), "5");
        assert_eq!(bar(500, Some(1000)), format!("[{:<30}]  50 %  500 of 1,000", "#".repeat(15)));
        assert_eq!(bar(9, Some(3)), format!("[{}] 100 %  9 of 3", "#".repeat(30)));
        assert_eq!(bar(0, Some(0)), "0");
    }
}
