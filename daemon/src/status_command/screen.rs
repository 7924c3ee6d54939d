//! What `tidegate status` and `tidegate top` show of a gateway's counters.

use std::time::Duration;

use serde_json::Value;

use crate::clock::millis;
use crate::text::{self, Table};

/// Warnings that are shown.
const WARNINGS_MAX: usize = 5;
/// Of a warning, and of a name.
const CHARS_MAX: usize = 110;
/// Devices that are shown.
const DEVICES_MAX: usize = 5;
/// The widest picture of the last hour.
const BARS_MAX: usize = 60;

/// What happened in a second, between two looks.
pub(super) struct Rates {
    pub(super) received: u64,
    pub(super) acked: u64,
    /// By uplink: appended and acknowledged.
    uplinks: Vec<(String, u64, u64)>,
    /// By rule: matched.
    rules: Vec<(String, u64)>,
}

impl Rates {
    pub(super) fn between(before: &Value, now: &Value, interval: Duration) -> Rates {
        let per_s = |before: u64, now: u64| {
            let ms = millis(interval).max(1);
            now.saturating_sub(before).saturating_mul(1000) / ms
        };
        let uplinks = list(now, "uplinks").iter().map(|uplink| {
            let old = named(before, "uplinks", name(uplink));
            let of = |path: &str| per_s(old.map_or(0, |old| of_lanes(old, path)), of_lanes(uplink, path));
            (name(uplink).to_owned(), of("/appended"), of("/left/acked"))
        });
        let rules = list(now, "rules").iter().map(|rule| {
            let old = named(before, "rules", name(rule)).map_or(0, |old| number(old, "/matched"));
            (name(rule).to_owned(), per_s(old, number(rule, "/matched")))
        });
        let acked = |value| list(value, "uplinks").iter().map(|uplink| of_lanes(uplink, "/left/acked")).sum();
        Rates {
            received: per_s(number(before, "/events/received"), number(now, "/events/received")),
            acked: per_s(acked(before), acked(now)),
            uplinks: uplinks.collect(),
            rules: rules.collect(),
        }
    }
}

/// Once, in a few lines.
pub(super) fn summary(status: &Value) -> String {
    let mut out = head(status);
    let events = |field: &str| text::count(number(status, &format!("/events/{field}")));
    out += &format!(
        "events of this run: {} received, {} that nothing asked for, {} refused\n",
        events("received"),
        events("unrouted"),
        events("refused"),
    );
    out += &buffer(status);
    out.push('\n');
    out += &uplinks(status, None);
    out += &sources(status);
    out.push('\n');
    out += &rules(status, None);
    out += &devices(status);
    out + &warnings(status)
}

/// One look of `tidegate top`.
pub(super) fn frame(status: &Value, rates: &Rates) -> String {
    let mut out = head(status);
    let line = |what: &str, now: String, field: &str| {
        format!("{what:<13}{now:>12}  {}\n", bars(list(status, "history"), field))
    };
    out += &line("comes in", format!("{}/s", text::count(rates.received)), "received");
    out += &line("acknowledged", format!("{}/s", text::count(rates.acked)), "acked");
    let backlog: u64 = list(status, "uplinks").iter().map(|uplink| of_lanes(uplink, "/backlog")).sum();
    out += &line("waits", text::count(backlog), "backlog");
    out += &buffer(status);
    out.push('\n');
    out += &uplinks(status, Some(rates));
    out += &sources(status);
    out.push('\n');
    out += &rules(status, Some(rates));
    out += &devices(status);
    out + &warnings(status)
}

fn head(status: &Value) -> String {
    let health = match (status["live"].as_str(), status["ready"].as_str()) {
        (Some(why), _) => format!("HANGS: {why}"),
        (None, Some(why)) => format!("CANNOT STORE: {why}"),
        (None, None) => "lives and can store".to_owned(),
    };
    let settings = status.get("remote_config").map(remote_config).unwrap_or_default();
    format!(
        "{} · tidegate {} · up {} · {} connections · {health}\n{settings}",
        word(status, "gateway"),
        word(status, "version"),
        text::span(number(status, "/uptime_s") * 1000),
        text::count(number(status, "/connections")),
    )
}

/// How it stands with settings from the cloud.
fn remote_config(standing: &Value) -> String {
    let why =
        standing["why"].as_str().map(|why| format!(": {}", text::plain(why, CHARS_MAX))).unwrap_or_default();
    format!("settings {} from the cloud: {}{why}\n", number(standing, "/sequence"), word(standing, "result"))
}

fn buffer(status: &Value) -> String {
    let size = |field: &str| text::size(number(status, &format!("/buffer/{field}")));
    format!(
        "buffer: {} on disk, {} in memory, {} written in {} commits\n",
        size("disk_bytes"),
        size("memory_bytes"),
        size("written_bytes"),
        text::count(number(status, "/buffer/commits")),
    )
}

fn uplinks(status: &Value, rates: Option<&Rates>) -> String {
    let mut headings = vec!["UPLINK", "STATE", "BROKER", "WAITING", "SIZE", "OLDEST", "DELIVERED", "DROPPED"];
    if rates.is_some() {
        headings.extend(["IN/S", "OUT/S"]);
    }
    let mut table = Table::new(&headings);
    for uplink in list(status, "uplinks") {
        let oldest = list(uplink, "lanes").iter().filter_map(|lane| lane["oldest_ms"].as_u64()).max();
        let lost = of_lanes(uplink, "/left/lost")
            + ["full", "age", "count", "newest"]
                .iter()
                .map(|why| of_lanes(uplink, &format!("/left/evicted_{why}")))
                .sum::<u64>();
        let mut row = vec![
            text::plain(name(uplink), CHARS_MAX),
            state(uplink),
            text::plain(word(uplink, "address"), CHARS_MAX),
            text::count(of_lanes(uplink, "/backlog")),
            text::size(of_lanes(uplink, "/backlog_bytes")),
            oldest.map_or_else(|| "-".to_owned(), text::span),
            text::count(of_lanes(uplink, "/left/acked")),
            text::count(lost),
        ];
        let of_uplink =
            rates.and_then(|rates| rates.uplinks.iter().find(|(found, ..)| found == name(uplink)));
        row.extend(
            of_uplink.into_iter().flat_map(|(_, taken, sent)| [text::count(*taken), text::count(*sent)]),
        );
        table.row(row);
    }
    table.render()
}

/// Whether it is there, and if its broker takes less at a time than it is to get, how much.
fn state(of: &Value) -> String {
    let (window, wanted) = (number(of, "/window_in_effect"), number(of, "/window"));
    match of["online"] == true {
        true if window < wanted => format!("online, window {window} of {wanted}"),
        true => "online".to_owned(),
        false => "AWAY".to_owned(),
    }
}

/// Nothing if there is none.
fn sources(status: &Value) -> String {
    let mut table = Table::new(&["SOURCE", "STATE", "BROKER", "EVENTS", "SIZE"]);
    for source in list(status, "sources") {
        table.row([
            text::plain(name(source), CHARS_MAX),
            state(source),
            text::plain(word(source, "address"), CHARS_MAX),
            text::count(number(source, "/events")),
            text::size(number(source, "/payload_bytes")),
        ]);
    }
    if list(status, "sources").is_empty() { String::new() } else { format!("\n{}", table.render()) }
}

/// The devices that were heard last; nothing if there is none.
fn devices(status: &Value) -> String {
    let (all, known) = (list(status, "devices"), number(status, "/devices_known"));
    let mut table = Table::new(&["DEVICE", "STATE", "ADDRESS", "LAST HEARD"]);
    for device in all.iter().take(DEVICES_MAX) {
        let state = if device["connected"] == true { "connected" } else { "away" };
        table.row([
            text::plain(word(device, "client_id"), CHARS_MAX),
            state.to_owned(),
            text::plain(word(device, "address"), CHARS_MAX),
            format!("{} ago", text::span(number(device, "/heard_ms"))),
        ]);
    }
    let more = known.saturating_sub(DEVICES_MAX as u64);
    match (all.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("\n{}", table.render()),
        (false, more) => format!("\n{}and {} more\n", table.render(), text::count(more)),
    }
}

fn rules(status: &Value, rates: Option<&Rates>) -> String {
    let mut headings = vec!["RULE", "MATCHED", "PASSED", "RESULTS", "ERRORS", "LATE"];
    if rates.is_some() {
        headings.push("MATCHED/S");
    }
    let mut table = Table::new(&headings);
    for rule in list(status, "rules") {
        let counts = ["matched", "passed", "results", "errors", "late"];
        let counts = counts.iter().map(|field| text::count(number(rule, &format!("/{field}"))));
        let rate = rates.and_then(|rates| rates.rules.iter().find(|(found, _)| found == name(rule)));
        let rate = rate.map(|(_, rate)| text::count(*rate));
        table.row(std::iter::once(text::plain(name(rule), CHARS_MAX)).chain(counts).chain(rate));
    }
    table.render()
}

fn warnings(status: &Value) -> String {
    let all = list(status, "warnings");
    let last = all.iter().skip(all.len().saturating_sub(WARNINGS_MAX));
    let lines = last.map(|line| {
        let text = text::plain(word(line, "text"), CHARS_MAX);
        format!("{} {} {text}\n", word(line, "at"), word(line, "level"))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\nlast warnings\n{lines}") }
}

/// The last hour as bars, each the most of the time it stands for; as tall as the tallest.
fn bars(history: &[Value], field: &str) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let chunk = history.len().div_ceil(BARS_MAX).max(1);
    let most =
        |samples: &[Value]| samples.iter().filter_map(|sample| sample[field].as_u64()).max().unwrap_or(0);
    let tallest = most(history).max(1);
    let bar = |samples: &[Value]| {
        let height = usize::try_from(most(samples).saturating_mul(8).div_ceil(tallest)).unwrap_or(8);
        BARS.get(height).copied().unwrap_or('█')
    };
    history.chunks(chunk).map(bar).collect()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn named<'v>(value: &'v Value, field: &str, wanted: &str) -> Option<&'v Value> {
    list(value, field).iter().find(|found| name(found) == wanted)
}

fn word<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn name(value: &Value) -> &str {
    word(value, "name")
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn of_lanes(uplink: &Value, path: &str) -> u64 {
    list(uplink, "lanes").iter().map(|lane| number(lane, path)).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{Rates, bars, frame, summary};

    fn status(received: u64, acked: u64) -> Value {
        json!({
            "gateway": "plant-7", "version": "0.1.0", "uptime_s": 11_520, "connections": 12,
            "live": null, "ready": null,
            "events": { "received": received, "unrouted": 1, "refused": 2 },
            "buffer": { "disk_bytes": 4096, "memory_bytes": 0, "written_bytes": 2048, "commits": 3 },
            "uplinks": [{ "name": "cloud", "address": "broker:1883", "online": false, "lanes": [
                { "appended": received, "left": { "acked": acked, "lost": 1, "evicted_full": 4 }, "backlog": 1500,
                  "backlog_bytes": 3_000_000, "oldest_ms": 180_000 },
                { "backlog": 1, "left": {}, "oldest_ms": null },
            ]}],
            "rules": [{ "name": "hot", "matched": received, "passed": 5, "results": 4, "errors": 0, "late": 0 }],
            "sources": [{ "name": "hall", "address": "plant:1883", "online": true, "events": 8, "payload_bytes": 2048 }],
            "devices": (0..7).map(|n| json!({ "client_id": format!("d{n}"), "address": "192.0.2.1:5",
                "connected": n == 0, "heard_ms": n * 1000 })).collect::<Vec<_>>(),
            "devices_known": 1007,
            "history": [{ "received": 0, "backlog": 3 }, { "received": 4, "backlog": 6 }, { "received": 8 }],
            "warnings": [{ "at": "2026-11-21T12:00:00Z", "level": "WARN", "text": "cloud is \x1b[away" }],
        })
    }

    #[test]
    fn a_summary_has_what_an_operator_asks_first() {
        let text = summary(&status(1_234_567, 9));
        for said in [
            "plant-7 · tidegate 0.1.0 · up 3 h 12 min · 12 connections · lives and can store\n",
            "1,234,567 received, 1 that nothing asked for, 2 refused",
            "4.0 KiB on disk",
            "cloud   AWAY   broker:1883    1,501  2.8 MiB   3 min          9        5\n",
            "hot   1,234,567",
            "hall    online  plant:1883       8  2.0 KiB\n",
            "d0      connected  192.0.2.1:5    0 ms ago\n",
            "d4      away       192.0.2.1:5     4 s ago\nand 1,002 more\n",
            "WARN cloud is \\u{1b}[away\n",
        ] {
            assert!(text.contains(said), "no {said:?} in\n{text}");
        }
        for (standing, said) in [
            (json!({ "sequence": 7, "result": "trial" }), "settings 7 from the cloud: trial\n"),
            (
                json!({ "sequence": 8, "result": "rolled-back", "why": "no\nack" }),
                "settings 8 from the cloud: rolled-back: no\\nack\n",
            ),
        ] {
            let text = summary(&json!({ "remote_config": standing }));
            assert!(text.contains(said), "no {said:?} in\n{text}");
        }
        let hangs = json!({ "live": "an uplink hangs", "ready": "x" });
        assert!(summary(&hangs).contains("HANGS: an uplink hangs"));
        let slow = json!({ "uplinks": [{ "online": true, "window": 100, "window_in_effect": 20 }] });
        assert!(summary(&slow).contains("online, window 20 of 100"));
        assert!(
            summary(&json!({ "ready": "the buffer is full" })).contains("CANNOT STORE: the buffer is full")
        );
    }

    #[test]
    fn rates_are_of_a_second() {
        let (before, now) = (status(1000, 100), status(1500, 300));
        let rates = Rates::between(&before, &now, Duration::from_millis(500));
        assert_eq!((rates.received, rates.acked), (1000, 400));
        let text = frame(&now, &rates);
        assert!(text.contains("comes in          1,000/s   ▄█\n"), "{text}");
        assert!(text.contains("waits               1,501  ▄█ \n"), "{text}");
        assert!(
            text.lines().any(|line| line.starts_with("cloud") && line.ends_with("5  1,000    400")),
            "{text}"
        );
        let first = Rates::between(&json!({}), &now, Duration::from_secs(1));
        assert_eq!(first.received, 1500);
    }

    #[test]
    fn an_hour_fits_a_line() {
        let hour: Vec<Value> = (0..360).map(|n| json!({ "received": n })).collect();
        let line = bars(&hour, "received");
        assert_eq!((line.chars().count(), line.chars().last()), (60, Some('█')));
        assert_eq!(bars(&[], "received"), "");
    }
}
