//! Changes by hand: asked of the gateway that runs, or made at once where none does.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_buffer::{
    Append, ConsumerId, ConsumerOptions, Incident, Listener, NewRecord, OpenError, Opened, Options, Spool,
};

use super::{Place, complain, fatal, print_json, say};
use crate::cli::{Entries, Lane};
use crate::control::{Answer, ClientError, Request, ask};
use crate::exit::{Exit, Fatal};
use crate::maintenance;
use crate::text;

/// How long the disk may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn replay(place: &Place, entries: &Entries, json: bool) -> Result<ExitCode, Fatal> {
    let ids = ids(place, entries)?;
    let records =
        ask_or(place, &Request::Replay { ids: ids.clone() }, |offline| offline.replay(place, &ids))?;
    report("replayed", "events are to be sent once more", records, json);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn forget(place: &Place, entries: &Entries, json: bool) -> Result<ExitCode, Fatal> {
    let ids = ids(place, entries)?;
    let dropped = ask_or(place, &Request::Drop { ids: ids.clone() }, |offline| {
        maintenance::forget(&offline.spool, &ids)
    })?;
    report("dropped", "entries dropped", dropped, json);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn purge(
    place: &Place,
    uplink: &str,
    priority: Option<Lane>,
    yes: bool,
    json: bool,
) -> Result<ExitCode, Fatal> {
    let priority = priority.map(|lane| lane.priority().name().to_owned());
    if !yes && !confirmed(place, uplink, priority.as_deref())? {
        return Err(Fatal::new(Exit::Usage, "nothing was purged; say --yes to go on without being asked"));
    }
    let request = Request::Purge { uplink: uplink.to_owned(), priority: priority.clone() };
    let records =
        ask_or(place, &request, |offline| maintenance::purge(&offline.spool, uplink, priority.as_deref()))?;
    report("purged", "events given up", records, json);
    Ok(ExitCode::SUCCESS)
}

fn report(key: &str, what: &str, count: u64, json: bool) {
    if json {
        print_json(&json!({ key: count }));
    } else {
        say(&format!("{} {what}\n", text::count(count)));
    }
}

/// Asks the person at the terminal; nobody is there to say yes otherwise.
fn confirmed(place: &Place, uplink: &str, priority: Option<&str>) -> Result<bool, Fatal> {
    let status = place.inspector()?.status().map_err(fatal)?;
    let consumer = status.consumers.iter().find(|consumer| consumer.name == uplink);
    let consumer =
        consumer.ok_or_else(|| Fatal::new(Exit::Usage, format!("the buffer knows no uplink `{uplink}`")))?;
    let chosen = |lane: &&tidegate_buffer::inspect::LaneStatus| {
        priority.is_none_or(|priority| lane.priority.name() == priority)
    };
    let stored = consumer.lanes.iter().filter(chosen).map(|lane| lane.stored).sum();
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let what = priority.map(|priority| format!(" of priority {priority}")).unwrap_or_default();
    complain(&format!(
        "{} stored events{what} for {uplink} will never be sent. Go on? [y/N] ",
        text::count(stored)
    ));
    let mut line = String::new();
    // What cannot be read is no yes.
    let _ = std::io::stdin().lock().read_line(&mut line);
    Ok(["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}

fn ids(place: &Place, entries: &Entries) -> Result<Vec<i64>, Fatal> {
    if !entries.all {
        return Ok(entries.ids.clone());
    }
    let mut inspector = place.inspector()?;
    let mut ids = Vec::new();
    loop {
        let page = inspector.quarantined(ids.last().copied().unwrap_or(i64::MIN), 1000).map_err(fatal)?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|entry| entry.id));
    }
}

/// Asks the running gateway; without one, does the same on the closed buffer.
fn ask_or(
    place: &Place,
    request: &Request,
    offline: impl FnOnce(&mut Offline) -> Result<u64, String>,
) -> Result<u64, Fatal> {
    let failed = |message| Fatal::new(Exit::Io, message);
    match ask(&place.dir, request) {
        Ok(Answer::Done(count)) => Ok(count),
        Ok(Answer::Failed(message)) => Err(failed(message)),
        Ok(Answer::Found(_)) => Err(failed("the gateway answered another question".to_owned())),
        Err(ClientError::NotRunning) => {
            let mut opened = Offline::open(place)?;
            let result = offline(&mut opened);
            opened.spool.close(DEADLINE).map_err(|error| failed(error.to_string()))?;
            result.map_err(failed)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The buffer, with no gateway around it.
struct Offline {
    spool: Spool,
    next_seq: u64,
}

impl Offline {
    fn open(place: &Place) -> Result<Offline, Fatal> {
        let status = place.inspector()?.status().map_err(fatal)?;
        let consumers: Vec<_> =
            status.consumers.into_iter().map(|consumer| ConsumerOptions::new(consumer.name)).collect();
        // Nothing is evicted by a tool: the bounds are the gateway's business.
        let options = Options { max_bytes: u64::MAX, ..Options::new(&place.dir) };
        let opened = Spool::open(options, &consumers, Arc::new(Deaf)).map_err(|error| {
            let hint = match error {
                OpenError::Locked { .. } => "; a gateway runs, but its control socket does not answer",
                _ => "",
            };
            Fatal::new(Exit::CantCreate, format!("{error}{hint}"))
        })?;
        let Opened { spool, first_seq, incidents, .. } = opened;
        incidents.iter().for_each(|incident| complain(&format!("{incident}\n")));
        Ok(Offline { spool, next_seq: first_seq })
    }

    fn replay(&mut self, place: &Place, ids: &[i64]) -> Result<u64, String> {
        let mut replayed = 0;
        for id in ids.iter().copied() {
            let records = maintenance::read(&place.dir, id).map_err(|error| error.to_string())?;
            let records = maintenance::again(&self.spool, records);
            replayed += records.len() as u64;
            let mut append = Append::new();
            append.begin(0);
            for record in records {
                append.record(NewRecord { seq: self.next_seq, ..record });
                self.next_seq += 1;
            }
            self.spool.append(&mut append).map_err(|error| error.to_string())?;
            if !self.spool.flush(DEADLINE) {
                return Err(format!("entry {id}: the disk does not take it now; it stays in quarantine"));
            }
            self.spool.drop_quarantined(&[id]);
        }
        Ok(replayed)
    }
}

/// Nobody reads here, and what is appended is flushed at once.
struct Deaf;

impl Listener for Deaf {
    fn resolved(&self) {}
    fn readable(&self, _consumer: ConsumerId) {}
    fn room(&self) {}
    fn gap(&self) {}
    fn incident(&self, incident: Incident) {
        complain(&format!("{incident}\n"));
    }
}
