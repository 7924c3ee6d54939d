//! Taps: whoever asks for it sees events before the rules and what comes of them after.
//!
//! Nobody waits for a tap: what its reader has not taken is bounded in lines and bytes, and past that lines are left out
//! and counted. Without taps an event costs a look at an empty list.

use std::cell::Cell;
use std::rc::Rc;

use tidegate_rules::{Message, TopicFilter};
use tokio::sync::mpsc;

use crate::capture::Line;

/// Taps at a time.
const TAPS_MAX: usize = 4;
/// Lines that wait for one reader.
const LINES_MAX: usize = 4096;
/// Bytes that wait for one reader; one line is taken in any case.
const BYTES_MAX: usize = 4 << 20;

/// All taps.
#[derive(Debug, Default)]
pub(crate) struct Taps(Vec<Tap>);

#[derive(Debug)]
struct Tap {
    filter: TopicFilter,
    lines: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Rc<Cell<usize>>,
    lost: u64,
    /// The event at hand is shown, and so is what comes of it.
    follows: bool,
}

/// The reader's end of a tap. The tap ends with it.
#[derive(Debug)]
pub(crate) struct Tapped {
    lines: mpsc::Receiver<Vec<u8>>,
    waiting_bytes: Rc<Cell<usize>>,
}

impl Taps {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens a tap, for events and outputs whose topic matches, and for all outputs of such an event.
    pub(crate) fn open(&mut self, filter: TopicFilter) -> Result<Tapped, String> {
        self.0.retain(|tap| !tap.lines.is_closed());
        if self.0.len() >= TAPS_MAX {
            return Err(format!("there are {TAPS_MAX} taps already"));
        }
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let waiting_bytes = Rc::new(Cell::new(0));
        let tapped = Tapped { lines, waiting_bytes: Rc::clone(&waiting_bytes) };
        self.0.push(Tap { filter, lines: sender, waiting_bytes, lost: 0, follows: false });
        Ok(tapped)
    }

    /// An event comes in.
    pub(crate) fn handle_event(&mut self, gateway: &str, message: &Message<'_>) {
        self.0.retain(|tap| !tap.lines.is_closed());
        let mut line: Option<Vec<u8>> = None;
        for tap in &mut self.0 {
            tap.follows = tap.filter.matches(message.topic);
            if tap.follows {
                let line = line.get_or_insert_with(|| Line::event(gateway, message).bytes());
                tap.push(line);
            }
        }
    }

    /// The clock lets windows end: what comes of it stems from no event.
    pub(crate) fn handle_time(&mut self) {
        self.0.iter_mut().for_each(|tap| tap.follows = false);
    }

    /// An output of a rule, which `line` writes if somebody wants to see it.
    pub(crate) fn handle_output(&mut self, topic: &str, line: impl Fn() -> Vec<u8>) {
        let mut written: Option<Vec<u8>> = None;
        for tap in self.0.iter_mut().filter(|tap| tap.follows || tap.filter.matches(topic)) {
            tap.push(written.get_or_insert_with(&line));
        }
    }
}

impl Tap {
    fn push(&mut self, line: &[u8]) {
        let lost = match self.lost {
            0 => Vec::new(),
            lost => format!("{{\"stage\":\"lost\",\"lost\":{lost}}}\n").into_bytes(),
        };
        // What was lost is told together with the line after it.
        let bytes = self.waiting_bytes.get();
        let is_full = bytes > 0 && bytes + lost.len() + line.len() > BYTES_MAX;
        if is_full || self.lines.capacity() < 2 {
            self.lost += 1;
            return;
        }
        self.lost = 0;
        for line in [lost.as_slice(), line].into_iter().filter(|line| !line.is_empty()) {
            self.waiting_bytes.set(self.waiting_bytes.get() + line.len());
            // There is room, and a reader that has gone needs nothing.
            let _ = self.lines.try_send(line.to_vec());
        }
    }
}

impl Tapped {
    /// Waits for lines, and puts all there are into `out`. `false` when the gateway ends.
    pub(crate) async fn read(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(line) = self.lines.recv().await else { return false };
        self.take(&line, out);
        while out.len() < BYTES_MAX
            && let Ok(line) = self.lines.try_recv()
        {
            self.take(&line, out);
        }
        true
    }

    fn take(&self, line: &[u8], out: &mut Vec<u8>) {
        self.waiting_bytes.set(self.waiting_bytes.get().saturating_sub(line.len()));
        out.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_rules::{Message, TopicFilter};

    use super::{BYTES_MAX, LINES_MAX, TAPS_MAX, Tapped, Taps};

    fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message {
            topic,
            payload,
            client_id: "c",
            username: None,
            qos: 1,
            retained: false,
            content_type: None,
            user_properties: &[],
            received_at_ms: 0,
            seq: 1,
        }
    }

    fn tap(taps: &mut Taps, filter: &str) -> Tapped {
        taps.open(TopicFilter::parse(filter).unwrap()).unwrap()
    }

    /// What is there to read now.
    fn read(tapped: &mut Tapped) -> String {
        let mut out = Vec::new();
        while let Ok(line) = tapped.lines.try_recv() {
            tapped.take(&line, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_matches_is_shown_and_what_comes_of_it() {
        let mut taps = Taps::default();
        assert!(taps.is_empty());
        let (mut a, mut out) = (tap(&mut taps, "a/#"), tap(&mut taps, "out"));
        taps.handle_event("g", &message("a/1", b"x"));
        taps.handle_output("other", || b"of a\n".to_vec());
        taps.handle_event("g", &message("b/1", b"x"));
        taps.handle_output("out", || b"of b\n".to_vec());
        taps.handle_event("g", &message("a/2", b"x"));
        taps.handle_time();
        taps.handle_output("out", || b"of time\n".to_vec());
        taps.handle_output("other", || panic!("nobody wants to see it"));
        let shown = read(&mut a);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(lines[0].contains("\"topic\":\"a/1\"") && lines[2].contains("\"topic\":\"a/2\""), "{shown}");
        assert_eq!(lines[1], "of a");
        assert_eq!(read(&mut out), "of b\nof time\n");
    }

    #[test]
    fn a_slow_reader_loses_lines_and_is_told_how_many() {
        let mut taps = Taps::default();
        let mut slow = tap(&mut taps, "#");
        for _ in 0..LINES_MAX + 10 {
            taps.handle_event("g", &message("a", b""));
        }
        assert_eq!(read(&mut slow).lines().count(), LINES_MAX - 1);
        taps.handle_event("g", &message("last", b""));
        let text = read(&mut slow);
        let (lost, last) = text.split_once('\n').unwrap();
        assert_eq!(lost, r#"{"stage":"lost","lost":11}"#);
        assert!(last.contains("\"last\""), "{last}");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let mut taps = Taps::default();
        let mut slow = tap(&mut taps, "#");
        let large = vec![b'x'; BYTES_MAX / 2];
        for _ in 0..5 {
            taps.handle_event("g", &message("a", &large));
        }
        assert!(slow.waiting_bytes.get() <= BYTES_MAX, "{}", slow.waiting_bytes.get());
        assert_eq!(read(&mut slow).lines().count(), 1);
        assert_eq!(slow.waiting_bytes.get(), 0);
    }

    #[test]
    fn a_tap_ends_with_its_reader_and_there_are_few() {
        let mut taps = Taps::default();
        let tapped: Vec<_> = (0..TAPS_MAX).map(|_| tap(&mut taps, "#")).collect();
        assert!(taps.open(TopicFilter::parse("#").unwrap()).is_err());
        drop(tapped);
        let _again = tap(&mut taps, "#");
        taps.handle_event("g", &message("a", b""));
        assert_eq!(taps.0.len(), 1);
    }
}
