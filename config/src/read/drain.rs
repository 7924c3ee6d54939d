//! How an uplink's backlog is drained and bounded: `drain`, `backlog_share`, `max_bytes`, `max_events`, `max_age`.

use std::time::Duration;

use tidegate_buffer::{BacklogShare, Drain, Retention};

use crate::Rate;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::units::parse_bytes;

const SHARE_HELP: &str =
    "write a part of the window (\"25%\"), events per second (\"500/s\") or bytes per second (\"64 KiB/s\")";

/// The part of the window that a backlog has when nothing is said.
const SHARE_PERCENT: u64 = 25;

/// The settings of age; a day is the least that is of use, but tests want less.
const AGES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3650 * 24 * 3600);

#[derive(Debug, Clone, Copy)]
enum Order {
    Oldest,
    Newest,
    Live,
}

/// Reads the order, and the share that goes with one of them. `window` bounds what is unacknowledged.
pub(super) fn drain(section: &mut Section<'_, '_>, window: u16) -> Drain {
    let words = [
        ("oldest-first", Some(Order::Oldest)),
        ("newest-first", Some(Order::Newest)),
        ("live-first", Some(Order::Live)),
    ];
    let order = section.word("drain", &words);
    let share = section.text("backlog_share");
    // An order that is wrong is reported already, and may have been meant to have a share.
    let shareless = order.is_some() || section.key("drain").is_none();
    let order = order.unwrap_or(Order::Oldest);
    if let (Some(share), Order::Oldest | Order::Newest, true) = (share, order, shareless) {
        let mistake = Mistake::error(share.place, "`backlog_share` goes with `drain = \"live-first\"` only");
        section.mistakes.push(mistake.help("without it, a backlog has the whole window"));
    }
    match order {
        Order::Oldest => Drain::OldestFirst,
        Order::Newest => Drain::NewestFirst,
        Order::Live => {
            let share = share.and_then(|share| backlog_share(section, share, window));
            Drain::LiveFirst { backlog: share.unwrap_or_else(|| of_window(SHARE_PERCENT, window)) }
        }
    }
}

fn backlog_share(section: &mut Section<'_, '_>, text: Text<'_>, window: u16) -> Option<BacklogShare> {
    let share = parse_share(text.value, window);
    if let Err(message) = &share {
        section.mistakes.push(Mistake::error(text.place, message.as_str()).help(SHARE_HELP));
    }
    share.ok()
}

fn parse_share(text: &str, window: u16) -> Result<BacklogShare, String> {
    let no_share = || format!("`backlog_share` cannot be \"{text}\"");
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.trim_end().parse().ok().filter(|percent| (1..=100).contains(percent));
        return percent.map(|percent| of_window(percent, window)).ok_or_else(no_share);
    }
    let rate = text.strip_suffix("/s").ok_or_else(no_share)?.trim_end();
    if let Ok(events) = rate.parse::<u32>() {
        return Some(events).filter(|events| *events > 0).map(BacklogShare::EventsPerS).ok_or_else(no_share);
    }
    let bytes = parse_bytes(rate).map_err(|_| no_share())?;
    Some(bytes).filter(|bytes| *bytes > 0).map(BacklogShare::BytesPerS).ok_or_else(no_share)
}

/// At least one: a backlog that has no place in the window would stay for ever.
fn of_window(percent: u64, window: u16) -> BacklogShare {
    let records = u64::from(window) * percent / 100;
    BacklogShare::InFlight(u32::try_from(records).unwrap_or(u32::MAX).max(1))
}

/// Reads what is sent at most in a second, and after a pause at once.
pub(super) fn rate(section: &mut Section<'_, '_>) -> Option<Rate> {
    let text = section.text("rate");
    let burst = section.bytes("burst", 1 << 10..=1 << 30);
    let Some(text) = text else {
        if let Some(place) = section.key("burst").filter(|_| section.key("rate").is_none()) {
            section.mistakes.push(Mistake::error(place, "`burst` goes with `rate` only"));
        }
        return None;
    };
    let bytes_per_s = text.value.strip_suffix("/s").and_then(|rate| parse_bytes(rate.trim_end()).ok());
    let Some(bytes_per_s) = bytes_per_s.filter(|bytes| (1..=1 << 40).contains(bytes)) else {
        let mistake = Mistake::error(text.place, format!("`rate` cannot be \"{}\"", text.value));
        section.mistakes.push(mistake.help("write bytes per second: \"64 KiB/s\""));
        return None;
    };
    Some(Rate { bytes_per_s, burst_bytes: burst.unwrap_or(bytes_per_s) })
}

/// Reads the bounds of an uplink's own lanes.
pub(super) fn retention(section: &mut Section<'_, '_>) -> Retention {
    Retention {
        max_bytes: section.bytes("max_bytes", 64 << 10..=16 << 40),
        max_records: section.number("max_events", 1..=1_000_000_000_000),
        max_age: section.duration("max_age", AGES),
    }
}

/// Reads the age at which anything is given up.
pub(super) fn max_age(section: &mut Section<'_, '_>) -> Option<Duration> {
    section.duration("max_age", AGES)
}

#[cfg(test)]
mod tests {
    use super::{BacklogShare, parse_share};

    #[test]
    fn shares() {
        for (text, share) in [
            ("25%", BacklogShare::InFlight(50)),
            ("100%", BacklogShare::InFlight(200)),
            ("1 %", BacklogShare::InFlight(2)),
            ("500/s", BacklogShare::EventsPerS(500)),
            ("1 /s", BacklogShare::EventsPerS(1)),
            ("64 KiB/s", BacklogShare::BytesPerS(65_536)),
            ("1MB/s", BacklogShare::BytesPerS(1_000_000)),
            ("8 B/s", BacklogShare::BytesPerS(8)),
        ] {
            assert_eq!(parse_share(text, 200), Ok(share), "{text}");
        }
        assert_eq!(parse_share("1%", 10), Ok(BacklogShare::InFlight(1)), "never nothing");
    }

    #[test]
    fn what_is_no_share() {
        for text in [
            "", "%", "0%", "101%", "-5%", "2.5%", "500", "0/s", "-1/s", "0 B/s", "x/s", "/s", "64 KiB", "5/m",
        ] {
            let message = parse_share(text, 100).unwrap_err();
            assert!(message.contains(&format!("\"{text}\"")), "{message}");
        }
    }
}
