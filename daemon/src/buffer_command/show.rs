//! The commands that only look.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate_buffer::inspect::{
    Batch, Books, Filter, LaneStatus, Phase, Quarantined, Status, StoredRecord, Verification,
};
use tidegate_buffer::{Priority, Stamp};

use super::event::Event;
use super::{Place, event_id, fatal, is_running, print_json, say};
use crate::exit::Fatal;
use crate::text::{self, ProgressLine, Table};

/// How much of a payload a terminal is shown.
const PAYLOAD_CHARS_MAX: usize = 80;
/// Entries of the quarantine that are listed.
const QUARANTINE_MAX: u32 = 10_000;

pub(super) fn status(place: &Place, json: bool) -> Result<ExitCode, Fatal> {
    let status = place.inspector()?.status().map_err(fatal)?;
    let running = is_running(&place.dir);
    if json {
        print_json(&status_json(place, &status, running));
    } else {
        say(&status_text(&place.dir, &status, running, Stamp::now().wall_ms));
    }
    Ok(ExitCode::SUCCESS)
}

fn status_json(place: &Place, status: &Status, running: bool) -> Value {
    let lanes = status.consumers.iter().flat_map(|consumer| {
        consumer.lanes.iter().map(|lane| {
            json!({
                "uplink": consumer.name,
                "priority": lane.priority.name(),
                "stored": lane.stored,
                "stored_bytes": lane.stored_bytes,
                "oldest": lane.oldest_wall_ms.map(text::time),
                "newest": lane.newest_wall_ms.map(text::time),
                "books": books_json(&lane.books),
            })
        })
    });
    json!({
        "dir": place.dir,
        "running": running,
        "schema": status.schema,
        "run": status.run,
        "database_bytes": status.database_bytes,
        "free_bytes": status.free_bytes,
        "log_bytes": status.log_bytes,
        "log": status.log.to_string(),
        "reserve_bytes": status.reserve_bytes,
        "lanes": lanes.collect::<Vec<_>>(),
        "quarantine": { "entries": status.quarantined.0, "events": status.quarantined.1 },
        "gaps": status.gaps.iter().map(|gap| json!({
            "uplink": gap.consumer,
            "priority": gap.priority.name(),
            "events": gap.records,
            "first": event_id(place, gap.first_seq),
            "last": event_id(place, gap.last_seq),
            "from": text::time(gap.first_wall_ms),
            "to": text::time(gap.last_wall_ms),
        })).collect::<Vec<_>>(),
        "set_aside": status.set_aside.iter().map(|file| json!({ "path": file.path, "bytes": file.bytes }))
            .collect::<Vec<_>>(),
    })
}

fn books_json(books: &Books) -> Value {
    json!({
        "appended": books.appended,
        "acked": books.acked,
        "expired": books.expired,
        "evicted_full": books.evicted_full,
        "evicted_age": books.evicted_age,
        "evicted_count": books.evicted_count,
        "evicted_newest": books.evicted_newest,
        "quarantined": books.quarantined,
        "lost": books.lost,
        "purged": books.purged,
    })
}

pub(super) fn status_text(dir: &Path, status: &Status, running: bool, now_ms: i64) -> String {
    let state = if running { "a gateway is running" } else { "no gateway is running" };
    let mut out = format!("{}: {state}\n", dir.display());
    out += &format!(
        "database {} ({} of it free), log {} ({}), reserve {}\n\n",
        text::size(status.database_bytes),
        text::size(status.free_bytes),
        text::size(status.log_bytes),
        status.log,
        text::size(status.reserve_bytes),
    );
    out += &lanes_text(status, now_ms);
    let (entries, events) = status.quarantined;
    if entries > 0 {
        out += &format!(
            "\nquarantine: {} entries with {} events; see `tidegate buffer quarantine list`\n",
            text::count(entries),
            text::count(events)
        );
    }
    for gap in &status.gaps {
        out += &format!(
            "\nto be announced: {} events of {}/{} were evicted, {} to {}\n",
            text::count(gap.records),
            gap.consumer,
            gap.priority.name(),
            text::time(gap.first_wall_ms),
            text::time(gap.last_wall_ms),
        );
    }
    for file in &status.set_aside {
        out += &format!("\nset aside, damaged: {} ({})\n", file.path.display(), text::size(file.bytes));
    }
    out
}

fn lanes_text(status: &Status, now_ms: i64) -> String {
    let headings = ["UPLINK", "PRIORITY", "WAITING", "SIZE", "OLDEST", "DELIVERED", "DROPPED", "SET ASIDE"];
    let mut table = Table::new(&headings);
    let mut any = false;
    for consumer in &status.consumers {
        for lane in consumer.lanes.iter().filter(|lane| lane.stored > 0 || lane.books.appended > 0) {
            any = true;
            table.row(lane_row(&consumer.name, lane, now_ms));
        }
    }
    if any { table.render() } else { "nothing waits\n".to_owned() }
}

fn lane_row(uplink: &str, lane: &LaneStatus, now_ms: i64) -> [String; 8] {
    let books = &lane.books;
    let evicted = books.evicted_full + books.evicted_age + books.evicted_count + books.evicted_newest;
    let age = |oldest_ms| text::span(u64::try_from(now_ms.saturating_sub(oldest_ms)).unwrap_or(0));
    [
        text::plain(uplink, 64),
        lane.priority.name().to_owned(),
        text::count(lane.stored),
        text::size(lane.stored_bytes),
        lane.oldest_wall_ms.map_or_else(|| "-".to_owned(), age),
        text::count(books.acked),
        text::count(books.expired + evicted + books.lost + books.purged),
        text::count(books.quarantined),
    ]
}

pub(super) fn list(place: &Place, filter: &Filter, limit: u32, json: bool) -> Result<ExitCode, Fatal> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let batches = place.inspector()?.batches(filter, None, limit).map_err(fatal)?;
    if json {
        print_json(&batches.iter().map(|batch| batch_json(place, batch)).collect());
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["FIRST", "LAST", "PRIORITY", "UPLINKS", "EVENTS", "SIZE"]);
    for batch in &batches {
        table.row([
            event_id(place, batch.first_seq),
            event_id(place, batch.last_seq),
            batch.priority.name().to_owned(),
            text::plain(&batch.consumers.join(","), 64),
            text::count(batch.records),
            text::size(batch.bytes),
        ]);
    }
    say(&table.render());
    Ok(ExitCode::SUCCESS)
}

fn batch_json(place: &Place, batch: &Batch) -> Value {
    json!({
        "first": event_id(place, batch.first_seq),
        "last": event_id(place, batch.last_seq),
        "priority": batch.priority.name(),
        "uplinks": *batch.consumers,
        "events": batch.records,
        "bytes": batch.bytes,
    })
}

pub(super) fn peek(place: &Place, filter: &Filter, limit: u64, json: bool) -> Result<ExitCode, Fatal> {
    let mut records: Vec<StoredRecord> = Vec::new();
    if limit > 0 {
        let each = |record| {
            records.push(record);
            if records.len() as u64 >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        place.inspector()?.records(filter, each, |_| {}).map_err(fatal)?;
    }
    if json {
        let events = records.iter().map(|record| serde_json::to_value(Event::new(place, record, false)));
        print_json(&events.filter_map(Result::ok).collect());
        return Ok(ExitCode::SUCCESS);
    }
    for record in &records {
        let payload = match str::from_utf8(&record.payload) {
            Ok(payload) => text::plain(payload, PAYLOAD_CHARS_MAX),
            Err(_) => format!("{} of binary data", text::size(record.payload.len() as u64)),
        };
        say(&format!(
            "{}  {}  {}/{}  {}\n  {payload}\n",
            text::time(record.received.wall_ms),
            event_id(place, record.seq),
            text::plain(&record.consumers.join(","), 64),
            record.priority.name(),
            text::plain(&String::from_utf8_lossy(&record.topic), 200),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify(place: &Place, json: bool) -> Result<ExitCode, Fatal> {
    let mut progress = ProgressLine::new("checked batches");
    let each = |at: tidegate_buffer::inspect::Progress| {
        if at.phase == Phase::Batches {
            progress.update(at.done, Some(at.total));
        }
    };
    let found = place.inspector()?.verify(each).map_err(fatal)?;
    drop(progress);
    if json {
        print_json(&json!({
            "batches": found.batches,
            "events": found.records,
            "problems": found.problems_in_all,
            "marks_compared": found.marks_compared,
            "described": found.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    } else {
        say(&verified(&found));
    }
    Ok(if found.problems_in_all == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verified(found: &Verification) -> String {
    let mut out: String = found.problems.iter().map(|problem| format!("{problem}\n")).collect();
    out += &format!(
        "{} batches with {} events are whole; {} problems\n",
        text::count(found.batches),
        text::count(found.records),
        text::count(found.problems_in_all)
    );
    if !found.marks_compared {
        out += "the counters were not compared, since a gateway moved them meanwhile\n";
    }
    out
}

pub(super) fn quarantine(place: &Place, json: bool) -> Result<ExitCode, Fatal> {
    let entries = place.inspector()?.quarantined(i64::MIN, QUARANTINE_MAX).map_err(fatal)?;
    if json {
        print_json(&entries.iter().map(entry_json).collect());
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["ID", "SET ASIDE", "UPLINKS", "PRIORITY", "EVENTS", "CAUSE"]);
    for entry in &entries {
        table.row([
            entry.id.to_string(),
            text::time(entry.wall_ms),
            text::plain(&entry.consumers.join(","), 64),
            entry.priority.name().to_owned(),
            text::count(entry.records),
            text::plain(&entry.cause, 120),
        ]);
    }
    say(&if entries.is_empty() { "nothing is set aside\n".to_owned() } else { table.render() });
    Ok(ExitCode::SUCCESS)
}

fn entry_json(entry: &Quarantined) -> Value {
    json!({
        "id": entry.id,
        "time": text::time(entry.wall_ms),
        "uplinks": *entry.consumers,
        "priority": entry.priority.name(),
        "events": entry.records,
        "bytes": entry.bytes,
        "cause": entry.cause,
    })
}

impl crate::cli::Lane {
    pub(crate) fn priority(self) -> Priority {
        match self {
            Self::High => Priority::High,
            Self::Normal => Priority::Normal,
            Self::Low => Priority::Low,
        }
    }
}
