//! `tidegate rules replay`: captured events through the rules, with the times at which they came in. What comes of them is
//! what a gateway with these rules would have sent, byte for byte, if its windows were empty before the first of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use tidegate_buffer::Priority;
use tidegate_buffer::inspect::{Filter, Inspector, StoredRecord, Streamed};
use tidegate_config::Config;
use tidegate_rules::Message;

use super::bench::{Bench, Outcome};
use crate::capture::{Captured, Line};
use crate::cli::Replay;
use crate::exit::{Exit, Fatal};
use crate::text::{self, ProgressLine};
use crate::{buffer_command, complain, meta};

/// The longest line: a payload of the largest packet as base64, and what is around it.
const LINE_BYTES_MAX: u64 = 400 << 20;

pub(super) fn replay(config: Config, replay: &Replay) -> Result<ExitCode, Fatal> {
    let mut run = Run {
        bench: Bench::new(config, replay.rule.as_deref())?,
        sink: sink(replay.out.as_deref())?,
        written: Ok(()),
        last_ms: None,
        events: 0,
        outputs: 0,
    };
    match (&replay.buffer, &replay.file) {
        (Some(dir), _) => run.buffer(dir, replay.uplink.as_deref())?,
        (None, Some(file)) => run.file(file)?,
        (None, None) => return Err(Fatal::new(Exit::Usage, "name a file, or --buffer DIR")),
    }
    run.finish(i64::try_from(replay.advance.as_millis()).unwrap_or(i64::MAX))
}

type Sink = BufWriter<Box<dyn Write>>;

fn sink(out: Option<&Path>) -> Result<Sink, Fatal> {
    Ok(BufWriter::new(match out {
        Some(path) => Box::new(File::create_new(path).map_err(|error| io_fatal(path, &error))?),
        None => Box::new(io::stdout().lock()),
    }))
}

fn io_fatal(path: &Path, error: &io::Error) -> Fatal {
    Fatal::new(Exit::Io, format!("{}: {error}", path.display()))
}

struct Run {
    bench: Bench,
    sink: Sink,
    /// What became of the last write.
    written: io::Result<()>,
    last_ms: Option<i64>,
    events: u64,
    outputs: u64,
}

impl Run {
    /// Every event of a file of JSON lines.
    fn file(&mut self, path: &Path) -> Result<(), Fatal> {
        let is_stdin = path == Path::new("-");
        let (reader, total): (Box<dyn Read>, _) = if is_stdin {
            (Box::new(io::stdin().lock()), None)
        } else {
            let file = File::open(path)
                .map_err(|error| Fatal::new(Exit::NoInput, format!("{}: {error}", path.display())))?;
            let total = file.metadata().ok().map(|data| data.len());
            (Box::new(file), total)
        };
        let mut reader = BufReader::new(reader);
        let mut progress = ProgressLine::new("replayed bytes");
        let (mut line, mut number, mut done, mut lost) = (Vec::new(), 0u64, 0u64, 0u64);
        loop {
            line.clear();
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.map_err(|error| io_fatal(path, &error))? == 0 || self.written.is_err() {
                break;
            }
            number += 1;
            done += line.len() as u64;
            let wrong = |what: String| Fatal::new(Exit::Data, format!("{}:{number}: {what}", path.display()));
            if !line.iter().all(u8::is_ascii_whitespace) {
                let captured: Captured =
                    serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
                lost += captured.lost;
                self.captured(&captured).map_err(wrong)?;
            }
            progress.update(done, total);
        }
        drop(progress);
        if lost > 0 {
            complain(&format!(
                "{} lines are missing in the capture: its tap was too slow\n",
                text::count(lost)
            ));
        }
        Ok(())
    }

    fn captured(&mut self, event: &Captured) -> Result<(), String> {
        if !event.is_event() {
            return Ok(());
        }
        tidegate_rules::check_topic_name(&event.topic).map_err(|error| format!("`topic`: {error}"))?;
        let payload = event.bytes()?;
        self.event(&Message {
            topic: &event.topic,
            payload: &payload,
            client_id: &event.client_id,
            username: event.username.as_deref(),
            qos: event.qos,
            retained: event.retain,
            content_type: event.content_type.as_deref(),
            user_properties: &event.user_properties,
            received_at_ms: event.time_ms()?,
            seq: event.seq.unwrap_or(self.events),
        });
        Ok(())
    }

    /// Every event that waits in a buffer, in the order in which they came in.
    fn buffer(&mut self, dir: &Path, uplink: Option<&str>) -> Result<(), Fatal> {
        let mut progress = ProgressLine::new("replayed events");
        let damaged = in_order(dir, uplink, |record| {
            self.record(&record);
            progress.update(self.events, None);
            self.written.is_ok()
        })?;
        drop(progress);
        if damaged > 0 {
            complain(&format!("{damaged} damaged batches left out; see `tidegate buffer verify`\n"));
        }
        Ok(())
    }

    fn record(&mut self, record: &StoredRecord) {
        let topic = String::from_utf8_lossy(&record.topic);
        let meta = meta::read(&record.meta);
        let properties = meta.map(|meta| meta.properties).unwrap_or_default();
        let user_properties: Vec<(String, String)> =
            properties.user_properties().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.event(&Message {
            topic: &topic,
            payload: &record.payload,
            client_id: "",
            username: None,
            qos: meta.map_or(1, |meta| meta.qos),
            retained: meta.is_some_and(|meta| meta.retain),
            content_type: properties.content_type,
            user_properties: &user_properties,
            received_at_ms: record.received.wall_ms,
            seq: record.seq,
        });
    }

    fn event(&mut self, message: &Message<'_>) {
        self.events += 1;
        self.last_ms = self.last_ms.max(Some(message.received_at_ms));
        let (sink, written, outputs) = (&mut self.sink, &mut self.written, &mut self.outputs);
        self.bench.handle_message(message, |outcome| write(outcome, sink, written, outputs));
    }

    fn finish(mut self, advance_ms: i64) -> Result<ExitCode, Fatal> {
        let (sink, written, outputs) = (&mut self.sink, &mut self.written, &mut self.outputs);
        if let Some(last_ms) = self.last_ms {
            let until_ms = last_ms.saturating_add(advance_ms);
            self.bench
                .handle_time(until_ms, &mut |outcome: &Outcome<'_>| write(outcome, sink, written, outputs));
        }
        match self.written.and_then(|()| self.sink.flush()) {
            // Whoever read has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            result => result.map_err(|error| Fatal::new(Exit::Io, error.to_string()))?,
        }
        let open = if self.bench.has_open_windows() { "; windows are still open, see --advance" } else { "" };
        complain(&format!(
            "{} events, {} outputs{open}\n",
            text::count(self.events),
            text::count(self.outputs)
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Gives the stored records to `each` by their numbers, until it says that it has had enough, and says how many damaged
/// batches were left out. In a buffer the priorities lie one after the other, so each is read by a thread of its own, and
/// only the first of each is compared.
fn in_order(
    dir: &Path,
    uplink: Option<&str>,
    mut each: impl FnMut(StoredRecord) -> bool,
) -> Result<u64, Fatal> {
    const AHEAD: usize = 256;
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        let mut heads = Vec::new();
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            let (sender, records) = mpsc::sync_channel(AHEAD);
            let filter =
                Filter { consumer: uplink.map(str::to_owned), priority: Some(priority), ..Filter::default() };
            readers.push(scope.spawn(move || read(dir, &filter, &sender)));
            heads.push(records.into_iter().peekable());
        }
        let next = |heads: &mut Vec<Peekable<mpsc::IntoIter<StoredRecord>>>| {
            let peeked = heads.iter_mut().filter_map(|head| Some((head.peek()?.seq, head)));
            peeked.min_by_key(|(seq, _)| *seq).and_then(|(_, head)| head.next())
        };
        while next(&mut heads).is_some_and(&mut each) {}
        // Who still reads hears that nobody listens.
        drop(heads);
        let mut damaged = 0;
        for reader in readers {
            let read = reader.join().map_err(|_| Fatal::new(Exit::Software, "reading the buffer failed"))?;
            damaged += read?.damaged;
        }
        Ok(damaged)
    })
}

fn read(dir: &Path, filter: &Filter, records: &mpsc::SyncSender<StoredRecord>) -> Result<Streamed, Fatal> {
    let mut inspector = Inspector::open(dir).map_err(buffer_command::fatal)?;
    let each = |record| match records.send(record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    inspector.records(filter, each, |_| {}).map_err(buffer_command::fatal)
}

fn write(outcome: &Outcome<'_>, sink: &mut Sink, written: &mut io::Result<()>, outputs: &mut u64) {
    for (at, topic, payload) in outcome.outputs() {
        let Some(label) = outcome.labels.find(at.0, at.1) else { continue };
        *outputs += 1;
        let line = Line::output(&label, None, outcome.time_ms, topic, payload).bytes();
        if written.is_ok() {
            *written = sink.write_all(&line);
        }
    }
}
