//! `tidegate buffer`: looking into a buffer, and changing what is in it by hand. Reading needs no gateway and disturbs
//! none; changes are asked of the gateway that runs, or made at once where none does.

mod change;
mod event;
mod export;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_buffer::inspect::{Filter, InspectError, Inspector};

use crate::cli::{Buffer, BufferCommand, BufferPlace, QuarantineCommand, Selection};
use crate::exit::{Exit, Fatal};
use crate::{complain, load, say};

/// The buffer that a command is about.
struct Place {
    dir: PathBuf,
    /// The gateway's id, for event ids; unknown when only a folder was named.
    gateway: Option<String>,
}

impl Place {
    fn find(place: &BufferPlace) -> Result<Place, Fatal> {
        if let Some(dir) = &place.dir {
            return Ok(Place { dir: dir.clone(), gateway: None });
        }
        let config = load(&place.config)?;
        Ok(Place { dir: config.buffer.dir, gateway: Some(config.gateway.id) })
    }

    fn inspector(&self) -> Result<Inspector, Fatal> {
        Inspector::open(&self.dir).map_err(fatal)
    }
}

/// The folder of a buffer, where the running gateway listens to its operator.
pub(crate) fn dir(place: &BufferPlace) -> Result<PathBuf, Fatal> {
    Place::find(place).map(|place| place.dir)
}

/// Runs the command and gives its exit code.
pub(crate) fn run(buffer: &Buffer) -> Result<ExitCode, Fatal> {
    let place = Place::find(&buffer.place)?;
    let json = buffer.json;
    match &buffer.command {
        BufferCommand::Status => show::status(&place, json),
        BufferCommand::List { what, limit } => show::list(&place, &filter(what), *limit, json),
        BufferCommand::Peek { what, limit } => show::peek(&place, &filter(what), *limit, json),
        BufferCommand::Export { what, format, out } => {
            export::export(&place, &filter(what), *format, out.as_deref())
        }
        BufferCommand::Verify => show::verify(&place, json),
        BufferCommand::Quarantine { command } => match command {
            QuarantineCommand::List => show::quarantine(&place, json),
            QuarantineCommand::Replay(entries) => change::replay(&place, entries, json),
            QuarantineCommand::Drop(entries) => change::forget(&place, entries, json),
        },
        BufferCommand::Purge { uplink, priority, yes } => {
            change::purge(&place, uplink, *priority, *yes, json)
        }
    }
}

fn filter(what: &Selection) -> Filter {
    let priority = what.priority.map(crate::cli::Lane::priority);
    Filter { consumer: what.uplink.clone(), priority, ..Filter::default() }
}

pub(crate) fn fatal(error: InspectError) -> Fatal {
    let exit = match error {
        InspectError::NoSuchConsumer(_) | InspectError::NotInQuarantine(_) => Exit::Usage,
        InspectError::Missing { .. } => Exit::NoInput,
        _ => Exit::Io,
    };
    Fatal::new(exit, error.to_string())
}

/// Prints one JSON document.
fn print_json(value: &serde_json::Value) {
    say(&format!("{value:#}\n"));
}

/// An event's id, or its bare number where the gateway is not known.
fn event_id(place: &Place, seq: u64) -> String {
    let mut text = String::new();
    match &place.gateway {
        Some(gateway) => tidegate_rules::write_event_id(gateway, seq, &mut text),
        None => text = format!("{seq:x}"),
    }
    text
}

/// The status of a buffer, for people.
pub(crate) fn status_text(dir: &Path, status: &tidegate_buffer::inspect::Status) -> String {
    show::status_text(dir, status, is_running(dir), tidegate_buffer::Stamp::now().wall_ms)
}

/// Whether a gateway uses this buffer now. Trying the lock would tell too, and could keep one from starting.
fn is_running(dir: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(dir.join(crate::control::SOCKET)).is_ok()
}
