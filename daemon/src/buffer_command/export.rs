//! `tidegate buffer export`: every stored event, one after the other.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use tidegate_buffer::inspect::{Filter, StoredRecord};

use super::event::Event;
use super::{Place, complain, fatal};
use crate::cli::Format;
use crate::exit::{Exit, Fatal};
use crate::text::{self, ProgressLine};

pub(super) fn export(
    place: &Place,
    filter: &Filter,
    format: Format,
    out: Option<&Path>,
) -> Result<ExitCode, Fatal> {
    let failed = |what: &str, error: io::Error| Fatal::new(Exit::Io, format!("{what}: {error}"));
    let name = out.map_or("stdout".into(), |path| path.display().to_string());
    let sink: Box<dyn Write> = match out {
        Some(path) => Box::new(File::create_new(path).map_err(|error| failed(&name, error))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut sink = BufWriter::new(sink);
    let mut progress = ProgressLine::new("exported batches");
    let mut result = Ok(());
    let streamed = place.inspector()?.records(
        filter,
        |record| match write(&mut sink, place, &record, format) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        },
        |at| progress.update(at.done, Some(at.total)),
    );
    drop(progress);
    let streamed = streamed.map_err(fatal)?;
    match result.and_then(|()| sink.flush()) {
        // Whoever read has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        result => result.map_err(|error| failed(&name, error))?,
    }
    let events = if streamed.records == 1 { "event" } else { "events" };
    complain(&format!("{} {events} exported\n", text::count(streamed.records)));
    if streamed.damaged > 0 {
        complain(&format!("{} damaged batches left out; see `tidegate buffer verify`\n", streamed.damaged));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn write(sink: &mut impl Write, place: &Place, record: &StoredRecord, format: Format) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer(&mut *sink, &Event::new(place, record, false))?;
            sink.write_all(b"\n")
        }
        Format::Cbor => {
            serde_cbor::to_writer(&mut *sink, &Event::new(place, record, true)).map_err(io::Error::other)
        }
    }
}
