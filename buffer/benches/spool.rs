//! What the spool costs: `cargo bench -p tidegate-buffer`, and with a large backlog
//! `cargo bench -p tidegate-buffer -- --backlog 10000000` (about 300 MB of disk; 0 leaves it out). Prints one line per path; the raw file
//! beside the spool does nothing but write as many bytes with as many syncs.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_buffer::{
    Admission, Append, BacklogShare, ConsumerId, ConsumerOptions, Consumers, Drain, Incident, Listener,
    NewRecord, Opened, Options, Priority, Spool, Stamp,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EVENTS: u64 = 200_000;
const BATCH: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

struct Deaf;

impl Listener for Deaf {
    fn resolved(&self) {}
    fn readable(&self, _: ConsumerId) {}
    fn room(&self) {}
    fn gap(&self) {}
    fn incident(&self, _: Incident) {}
}

/// CPU seconds of the threads of this process that live, and bytes it caused to be written.
fn process_use() -> (f64, u64) {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let cpu_ns = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    (cpu_ns.sum::<f64>() / 1e9, written.unwrap_or(0))
}

/// A field of this process's status, in KiB.
fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A 200-byte JSON object of ten fields, some of it random.
fn event(n: u64) -> Bytes {
    let a = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let b = a.rotate_left(29) ^ n;
    let text = format!(
        "{{\"id\":\"{a:016x}\",\"seq\":{n},\"temp\":{}.{},\"hum\":{},\"device\":\"press-{}\",\"line\":3,\"state\":\"running\",\"unit\":\"C\",\"trace\":\"{b:016x}\",\"ok\":true}}",
        a % 40,
        a % 10,
        b % 100,
        n % 20
    );
    Bytes::from(format!("{text:<200}"))
}

struct Bed {
    spool: Spool,
    consumer: ConsumerId,
    first_seq: u64,
    seq: u64,
    append: Append,
}

impl Bed {
    fn open(options: Options) -> Result<Self> {
        Self::open_for(options, ConsumerOptions::new("cloud"))
    }

    fn open_for(options: Options, consumer: ConsumerOptions) -> Result<Self> {
        let Opened { spool, first_seq, .. } = Spool::open(options, &[consumer], Arc::new(Deaf))?;
        let consumer = spool.consumer("cloud").ok_or("the consumer is registered")?;
        Ok(Self { spool, consumer, first_seq, seq: first_seq, append: Append::new() })
    }

    fn append(&mut self, events: &[Bytes]) -> Result<()> {
        while self.spool.admission(Priority::Normal) == Admission::Wait {
            sleep(Duration::from_micros(200));
        }
        let mut consumers = Consumers::EMPTY;
        consumers.insert(self.consumer);
        let received = Stamp::now();
        for payload in events {
            self.append.begin(self.seq);
            self.append.record(NewRecord {
                seq: self.seq,
                consumers,
                priority: Priority::Normal,
                received,
                expires_after_ms: None,
                topic: Bytes::from_static(b"plant/line/3/press/temp"),
                meta: Bytes::new(),
                payload: payload.clone(),
            });
            self.seq += 1;
        }
        Ok(self.spool.append(&mut self.append)?)
    }
}

/// Reads what there is, up to 50 records, and acknowledges it.
fn take(bed: &Bed, records: &mut Vec<tidegate_buffer::Record>, acks: &mut Vec<(Priority, u64)>) -> u64 {
    bed.spool.read(bed.consumer, 50, usize::MAX, records);
    acks.extend(records.iter().map(|record| (record.priority, record.seq)));
    bed.spool.ack(bed.consumer, acks);
    acks.clear();
    let count = records.len() as u64;
    records.clear();
    count
}

fn online(events: &[Bytes]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bed = Bed::open(Options::new(dir.path()))?;
    bed.spool.set_online(bed.consumer, true);
    let (mut records, mut acks, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    let before = process_use();
    let mut count = 0_u64;
    for _ in 0..5 {
        for batch in events.chunks(50) {
            bed.append(batch)?;
            count += take(&bed, &mut records, &mut acks);
            bed.spool.poll_resolved(&mut tags);
            tags.clear();
        }
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), process_use());
    println!(
        "online: batches of {BATCH}   {:7.2} us CPU/event {:6.0} B written/event {:50.0} events/s",
        (after.0 - before.0) * 1e6 / count as f64,
        (after.1 - before.1) as f64 / count as f64,
        count as f64 / seconds,
    );
    Ok(())
}

/// Appends groups of so many events, and waits for the receipts of each before the next; 0 waits for none.
fn offline(events: &[Bytes], group: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bed = Bed::open(Options::new(dir.path()))?;
    let (start, before) = (Instant::now(), process_use());
    let mut tags = Vec::new();
    for batch in events.chunks(if group == 0 { 50 } else { group }) {
        bed.append(batch)?;
        while group > 0 && tags.len() < batch.len() {
            bed.spool.poll_resolved(&mut tags);
            sleep(Duration::from_micros(20));
        }
        tags.clear();
    }
    bed.spool.flush(PATIENCE);
    let (seconds, after, usage) = (start.elapsed().as_secs_f64(), process_use(), bed.spool.usage());
    let each = |value: f64| value / events.len() as f64;
    let groups = if group == 0 { "no waiting".to_owned() } else { format!("groups of {group}") };
    println!(
        "offline: {groups:<14} {:7.2} us CPU/event {:6.0} B written/event {:6.1} B/event in rows {:7.4} commits/event {:8.0} events/s",
        each((after.0 - before.0) * 1e6),
        each((after.1 - before.1) as f64),
        each(usage.bytes_written as f64),
        each(usage.commits as f64),
        events.len() as f64 / seconds,
    );
    raw_file(dir.path(), usage.bytes_written, usage.commits, events.len() as f64)?;
    drop(bed);
    if group == 0 { drain(dir.path(), events.len()) } else { Ok(()) }
}

/// The floor: as many bytes, in as many parts, each synced.
fn raw_file(dir: &Path, bytes: u64, parts: u64, events: f64) -> Result<()> {
    let mut file = File::create(dir.join("raw"))?;
    let part = vec![0x55; usize::try_from(bytes / parts.max(1))?];
    let (start, before) = (Instant::now(), process_use());
    for _ in 0..parts {
        file.write_all(&part)?;
        file.sync_data()?;
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), process_use());
    println!(
        "         raw file       {:7.2} us CPU/event {:6.0} B written/event {:50.0} events/s",
        (after.0 - before.0) * 1e6 / events,
        (after.1 - before.1) as f64 / events,
        events / seconds,
    );
    Ok(())
}

fn drain(dir: &Path, count: usize) -> Result<()> {
    let start = Instant::now();
    let bed = Bed::open(Options::new(dir))?;
    bed.spool.set_online(bed.consumer, true);
    let (mut records, mut acks) = (Vec::new(), Vec::new());
    let before = process_use();
    let (mut first, mut read) = (None, 0);
    while read < count {
        if bed.spool.read(bed.consumer, 200, usize::MAX, &mut records).records == 0 {
            sleep(Duration::from_micros(50));
            continue;
        }
        first.get_or_insert_with(|| start.elapsed());
        acks.extend(records.iter().map(|record| (record.priority, record.seq)));
        bed.spool.ack(bed.consumer, &acks);
        read += records.len();
        records.clear();
        acks.clear();
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), process_use());
    println!(
        "drain                   {:7.2} us CPU/event {:8.0} events/s; first record {:.1} ms after open began",
        (after.0 - before.0) * 1e6 / count as f64,
        count as f64 / seconds,
        first.unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(bed.spool.close(PATIENCE)?)
}

/// Bytes of a backlog of so many events, and what it costs to have one.
fn backlog(count: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let empty = tempfile::tempdir()?;
    let mut bed = Bed::open(Options { max_bytes: 1 << 40, ..Options::new(dir.path()) })?;
    let start = Instant::now();
    let mut events = Vec::with_capacity(50);
    for n in 0..count / 50 {
        events.extend((n * 50..n * 50 + 50).map(event));
        bed.append(&events)?;
        events.clear();
    }
    bed.spool.close(PATIENCE)?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = fs::metadata(dir.path().join("buffer.db"))?.len();
    println!(
        "backlog of {count}: {:.1} B/event of database, filled in {seconds:.0} s",
        bytes as f64 / count as f64
    );
    for (name, folder) in [("no backlog", empty.path()), ("the backlog", dir.path())] {
        let load = Command::new(std::env::current_exe()?).arg("--load").arg(folder).output()?;
        print!("  under load with {name:<12} {}", String::from_utf8_lossy(&load.stdout));
    }
    drain(dir.path(), usize::try_from(count)?.saturating_sub(LOAD_BACKLOG))
}

/// What one process under load reads of a backlog.
const LOAD_BACKLOG: usize = 100_000;

/// Live traffic beside the backlog, in a process of its own, so that its memory is nobody else's.
fn load(dir: &Path) -> Result<()> {
    let start = Instant::now();
    let drain = Drain::LiveFirst { backlog: BacklogShare::InFlight(50) };
    let consumer = ConsumerOptions { drain, ..ConsumerOptions::new("cloud") };
    let options = Options { max_bytes: 1 << 40, ..Options::new(dir) };
    let mut bed = Bed::open_for(options, consumer)?;
    bed.spool.set_online(bed.consumer, true);
    let (mut records, mut acks, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    let waiting: u64 = bed.spool.usage().lanes.iter().map(|lane| lane.backlog).sum();
    let from_disk = waiting.min(LOAD_BACKLOG as u64);
    let mut first = None;
    let events: Vec<Bytes> = (0..500).map(event).collect();
    let (mut read, mut live) = (0, 0);
    while live < 200_000 || read < live + from_disk {
        if live < 200_000 {
            let at = usize::try_from(live % 500)?;
            bed.append(events.get(at..at + 50).unwrap_or_default())?;
            live += 50;
        }
        let left = live + from_disk - read;
        bed.spool.read(bed.consumer, usize::try_from(left.min(60))?, usize::MAX, &mut records);
        if records.iter().any(|record| record.seq < bed.first_seq) {
            first.get_or_insert_with(|| start.elapsed());
        }
        acks.extend(records.drain(..).map(|record| (record.priority, record.seq)));
        read += acks.len() as u64;
        bed.spool.ack(bed.consumer, &acks);
        acks.clear();
        bed.spool.poll_resolved(&mut tags);
        tags.clear();
    }
    let first = first.map_or(String::new(), |first| {
        format!("; first record of the backlog {:.1} ms after open began", first.as_secs_f64() * 1e3)
    });
    println!("RSS {} KiB, at most {} KiB{first}", status_kib("VmRSS"), status_kib("VmHWM"));
    Ok(bed.spool.close(PATIENCE)?)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
    if let Some(dir) = value("--load") {
        return load(Path::new(dir));
    }
    let events: Vec<Bytes> = (0..EVENTS).map(event).collect();
    online(&events)?;
    for (group, events_in_all) in [(0, events.len()), (1000, events.len()), (50, 50_000), (1, 2000)] {
        offline(events.get(..events_in_all).unwrap_or_default(), group)?;
    }
    match value("--backlog").map_or(Ok(1_000_000), |count| count.parse())? {
        0 => Ok(()),
        count => backlog(count),
    }
}
