//! What the spool costs: `cargo bench -p tidegate-buffer`. Prints one line per path.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_buffer::{
    Admission, Append, ConsumerId, ConsumerOptions, Consumers, Incident, Listener, NewRecord, Opened,
    Options, Priority, Spool, Stamp,
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

/// CPU seconds of this process, and bytes it caused to be written.
fn process_use() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    ((ticks(11) + ticks(12)) / 100.0, written.unwrap_or(0))
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
    seq: u64,
    append: Append,
}

impl Bed {
    fn open(options: Options) -> Result<Self> {
        let Opened { spool, first_seq, .. } =
            Spool::open(options, &[ConsumerOptions::new("cloud")], Arc::new(Deaf))?;
        let consumer = spool.consumer("cloud").ok_or("the consumer is registered")?;
        Ok(Self { spool, consumer, seq: first_seq, append: Append::new() })
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
            bed.spool.read(bed.consumer, 50, usize::MAX, &mut records);
            acks.extend(records.iter().map(|record| (record.priority, record.seq)));
            count += records.len() as u64;
            bed.spool.ack(bed.consumer, &acks);
            bed.spool.poll_resolved(&mut tags);
            records.clear();
            acks.clear();
            tags.clear();
        }
    }
    let ns = start.elapsed().as_nanos() as f64 / count as f64;
    let after = process_use();
    println!(
        "online: append+read+ack, batches of {BATCH}   {ns:8.0} ns/event   {} bytes written",
        after.1 - before.1
    );
    Ok(())
}

fn offline(events: &[Bytes]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bed = Bed::open(Options::new(dir.path()))?;
    let (start, before) = (Instant::now(), process_use());
    for batch in events.chunks(50) {
        bed.append(batch)?;
    }
    bed.spool.flush(PATIENCE);
    let (seconds, after, usage) = (start.elapsed().as_secs_f64(), process_use(), bed.spool.usage());
    let each = |value: f64| value / events.len() as f64;
    println!(
        "offline: append                        {:8.2} us CPU/event {:6.0} B written/event {:6.1} B/event in rows {:6.1} B/event on disk",
        each((after.0 - before.0) * 1e6),
        each((after.1 - before.1) as f64),
        each(usage.bytes_written as f64),
        each(usage.disk_bytes as f64),
    );
    println!(
        "                                       {:8.0} events/s {:6} commits {:6} rows ({:.2} commits per 1000 events)",
        events.len() as f64 / seconds,
        usage.commits,
        usage.rows_written,
        usage.commits as f64 * 1000.0 / events.len() as f64,
    );
    drop(bed);
    drain(dir.path(), events.len())
}

fn drain(dir: &std::path::Path, count: usize) -> Result<()> {
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
        "drain                                  {:8.2} us CPU/event {:8.0} events/s; first record {:.1} ms after open began",
        (after.0 - before.0) * 1e6 / count as f64,
        count as f64 / seconds,
        first.unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(bed.spool.close(PATIENCE)?)
}

fn main() -> Result<()> {
    let events: Vec<Bytes> = (0..EVENTS).map(event).collect();
    online(&events)?;
    offline(&events)
}
