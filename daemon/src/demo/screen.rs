//! What a person sees: on a terminal a picture that is drawn over itself, otherwise plain lines.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};

use super::books::Sums;
use super::device;

/// The state that is shown.
pub(super) struct Picture {
    pub(super) seconds: u64,
    pub(super) phase: &'static str,
    pub(super) cloud_is_up: bool,
    pub(super) sums: Sums,
    pub(super) arrived_per_s: usize,
    pub(super) acknowledged_per_s: usize,
    pub(super) alarms: usize,
    pub(super) averages: usize,
    pub(super) fan_commands: usize,
    /// Acknowledged and waiting, per device.
    pub(super) devices: Vec<(usize, usize)>,
}

/// Shows pictures and remembers the last lines that were said.
pub(super) struct Screen {
    terminal: bool,
    drawn_lines: usize,
    said: VecDeque<String>,
}

const SAID_LINES: usize = 6;
const BAR: usize = 40;

impl Screen {
    pub(super) fn new() -> Screen {
        Screen { terminal: std::io::stdout().is_terminal(), drawn_lines: 0, said: VecDeque::new() }
    }

    /// Something happened that is worth a line.
    pub(super) fn say(&mut self, line: String) {
        if !self.terminal {
            write(&format!("{line}\n"));
            return;
        }
        self.said.push_back(line);
        if self.said.len() > SAID_LINES {
            self.said.pop_front();
        }
    }

    pub(super) fn show(&mut self, picture: &Picture) {
        if self.terminal {
            let text = self.draw(picture);
            let up = if self.drawn_lines > 0 { format!("\x1b[{}A", self.drawn_lines) } else { String::new() };
            self.drawn_lines = text.lines().count();
            write(&format!("{up}{}", text.replace('\n', "\x1b[K\n")));
        } else if picture.seconds.is_multiple_of(2) {
            write(&format!("{}\n", line(picture)));
        }
    }

    fn draw(&self, picture: &Picture) -> String {
        let mut text = format!("{}\n\n", line(picture));
        let most = picture.devices.iter().map(|(_, waiting)| *waiting).max().unwrap_or(0).max(BAR);
        for (number, (acknowledged, waiting)) in picture.devices.iter().enumerate() {
            let filled = waiting * BAR / most;
            let bar = "#".repeat(filled) + &".".repeat(BAR - filled);
            let name = device::name(number);
            text.push_str(&format!(
                "  {name:<4} acknowledged {acknowledged:>5}   waiting {waiting:>5} {bar}\n"
            ));
        }
        text.push('\n');
        for index in 0..SAID_LINES {
            text.push_str(self.said.get(index).map_or("", String::as_str));
            text.push('\n');
        }
        text
    }
}

fn line(picture: &Picture) -> String {
    let Picture { seconds, phase, sums, .. } = picture;
    let cloud = if picture.cloud_is_up { "up " } else { "CUT" };
    format!(
        "{seconds:>3} s  cloud {cloud}  {phase:<26}  acknowledged {:>5} ({:>4}/s)  at the cloud {:>5} ({:>4}/s)  \
         waiting {:>5}  alarms {:>3}  averages {:>3}  fan {:>3}",
        sums.acknowledged,
        picture.acknowledged_per_s,
        sums.arrived,
        picture.arrived_per_s,
        sums.missing,
        picture.alarms,
        picture.averages,
        picture.fan_commands,
    )
}

/// Writes to stdout; a closed pipe is the reader's business.
pub(super) fn write(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}
