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
/// The width of a device's bar, and how many waiting readings a mark of it stands for.
const BAR: usize = 38;
const READINGS_PER_MARK: usize = 10;

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

    /// No line is wider than the usual terminal, for a wrapped one would spoil the next picture.
    fn draw(&self, picture: &Picture) -> String {
        let Picture { seconds, phase, sums, .. } = picture;
        let cloud = if picture.cloud_is_up { "up" } else { "CUT" };
        let mut text = format!(
            "{seconds:>3} s   cloud {cloud:<4} {phase}\n\n  acknowledged {:>6} ({:>4}/s)    at the cloud {:>6} ({:>4}/s)    waiting {:>6}\n  \
             alarms {:>4}    averages {:>4}    fan commands on the site {:>4}\n\n",
            sums.acknowledged,
            picture.acknowledged_per_s,
            sums.arrived,
            picture.arrived_per_s,
            sums.missing,
            picture.alarms,
            picture.averages,
            picture.fan_commands,
        );
        for (number, (acknowledged, waiting)) in picture.devices.iter().enumerate() {
            let filled = (waiting / READINGS_PER_MARK).min(BAR);
            let bar = "#".repeat(filled) + &".".repeat(BAR - filled);
            let name = device::name(number);
            text.push_str(&format!(
                "  {name:<4} acknowledged {acknowledged:>5}  waiting {waiting:>5} {bar}\n"
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

#[cfg(test)]
mod tests {
    use super::{BAR, Picture, READINGS_PER_MARK, Screen, Sums};

    fn picture(waiting: usize) -> Picture {
        Picture {
            seconds: 123,
            phase: "killed, up again, storing",
            cloud_is_up: false,
            sums: Sums {
                sent: 99_999,
                acknowledged: 99_999,
                arrived: 99_999,
                missing: 99_999,
                ..Sums::default()
            },
            arrived_per_s: 9999,
            acknowledged_per_s: 9999,
            alarms: 9999,
            averages: 9999,
            fan_commands: 9999,
            devices: vec![(99_999, waiting); 10],
        }
    }

    #[test]
    fn a_picture_fits_the_usual_terminal() {
        let mut screen = Screen::new();
        screen.terminal = true;
        for waiting in [0, 55, 99_999] {
            screen.said.push_back("  8 s  the link to the cloud is cut; devices publish on".to_owned());
            let text = screen.draw(&picture(waiting));
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert!(text.lines().count() <= 24, "{text}");
            let marks = text.lines().find(|line| line.contains("d0")).unwrap().matches('#').count();
            assert_eq!(marks, (waiting / READINGS_PER_MARK).min(BAR));
        }
    }
}
