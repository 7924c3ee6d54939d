//! Damage to the files of a filled buffer: it starts all the same, and gives what is whole.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_buffer::{Append, Consumers, NewRecord, Priority, Stamp, WhenFull};

use crate::crash::scratch;
use crate::disk::{Cut, Disk};
use crate::item::{self, Body, Item};
use crate::locate::{DATABASE, Files, Image, logged, read_files};
use crate::rng::Rng;
use crate::spool::{Book, Reader, Running, Setup};
use crate::vfs::Mounted;
use crate::workload::Books;

const NAMES: [&str; 2] = ["cloud", "archive"];
const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
const FLUSH: Duration = Duration::from_secs(10);
/// How long a damaged buffer may take to open.
const START: Duration = Duration::from_secs(1);

/// A filled buffer, as bytes.
#[derive(Debug)]
pub struct Template {
    setup: Setup,
    files: Files,
    /// A log that was there before: of the same database, and out of date.
    stale_log: Vec<u8>,
    books: Books,
    items: Vec<Item>,
}

/// How much of the log was moved into the database when the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// All of it, and the log is gone.
    Closed,
    /// Nothing yet.
    Whole,
    /// What was written first.
    Half,
}

/// What became of one damaged buffer.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Copies of records, at each consumer, that the damage did not touch.
    pub undamaged: u64,
    /// How many of those did not come.
    pub missing: u64,
    /// How long it took to open.
    pub start: Duration,
    /// What was wrong.
    pub problems: Vec<String>,
    /// What was done to the files.
    pub damage: String,
}

impl Template {
    /// Fills a buffer, chosen by the seed.
    ///
    /// # Errors
    /// It cannot be filled.
    pub fn new(seed: u64) -> io::Result<Self> {
        let mut rng = Rng::new(seed);
        let log = *rng.choose(&[Log::Closed, Log::Whole, Log::Half]).unwrap_or(&Log::Whole);
        let setup = Setup {
            readers: NAMES.map(Reader::new).to_vec(),
            spill_after: Duration::ZERO,
            memory_bytes_max: 4 << 20,
            max_bytes: 1 << 30,
            when_full: WhenFull::EvictOldest,
        };
        let folder = scratch()?;
        let mounted =
            Mounted::new(Arc::new(Disk::new(folder.path(), rng.number())?)).map_err(io::Error::other)?;
        let mut filler = Filler { books: Books::new(), items: Vec::new(), rng };
        let mut stale_log = Vec::new();
        if log != Log::Whole {
            let mut running = Running::open(folder.path(), &setup).map_err(io::Error::other)?;
            filler.fill(&mut running)?;
            stale_log = std::fs::read(folder.path().join(format!("{DATABASE}-wal")))?;
            running.spool.close(FLUSH).map_err(io::Error::other)?;
        }
        if log != Log::Closed {
            let mut running = Running::open(folder.path(), &setup).map_err(io::Error::other)?;
            filler.fill(&mut running)?;
            mounted.disk().cut();
            drop(running);
            mounted.disk().reboot(Cut::Process)?;
        }
        let Filler { mut books, items, .. } = filler;
        books.crashed();
        Ok(Self { setup, files: read_files(&folder.path().join(DATABASE))?, stale_log, books, items })
    }

    /// Damages a copy by this seed, opens it, and drains it.
    ///
    /// # Errors
    /// The test itself cannot go on.
    pub fn damage(&self, seed: u64) -> io::Result<Outcome> {
        let mut rng = Rng::new(seed);
        let mut files = self.files.clone();
        let damage = self.spoil(&mut files, &mut rng);
        self.check(&files, damage)
    }

    /// The files as they were written.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Opens what these files are, drains it, and judges.
    fn check(&self, files: &Files, damage: String) -> io::Result<Outcome> {
        let folder = scratch()?;
        for (suffix, bytes) in files {
            std::fs::write(folder.path().join(format!("{DATABASE}{suffix}")), bytes)?;
        }
        let mut outcome = Outcome { damage, ..Outcome::default() };
        let mut books = self.books.clone();
        let lost = self.write_off_damaged(files, &mut books);
        outcome.undamaged = (self.items.len() * NAMES.len()) as u64 - lost;
        let begun = Instant::now();
        let opened = Running::open(folder.path(), &self.setup);
        outcome.start = begun.elapsed();
        if outcome.start > START {
            outcome.problems.push(format!("it took {:?} to open", outcome.start));
        }
        match opened {
            Ok(running) => drain(&running, books, &mut outcome),
            Err(error) => outcome.problems.push(format!("it does not open: {error}")),
        }
        Ok(outcome)
    }

    /// Nobody is owed what lay on damaged pages; how many copies those are.
    fn write_off_damaged(&self, files: &Files, books: &mut Books) -> u64 {
        let Some(image) = Image::new(&self.files) else { return 0 };
        // A log that is not the database's own is taken for it, and hides the pages that it has.
        let salts = |log: &Vec<u8>| log.get(16..24).map(<[u8]>::to_vec);
        let is_stale = |log: &&Vec<u8>| salts(log).is_some() && salts(log) == salts(&self.stale_log);
        let stale = files.get("-wal").filter(is_stale);
        let hidden = stale.map(|log| logged(log, 4096)).unwrap_or_default();
        let batches = image.batches().into_iter();
        let damaged =
            batches.filter(|batch| Image::lies_on(batch, &hidden) || !image.is_undamaged(batch, files));
        let mut lost = 0;
        for batch in damaged {
            let priority = usize::try_from(batch.rank).ok().and_then(|rank| PRIORITIES.get(rank));
            let items = self.items.iter().filter(|item| {
                Some(&item.priority) == priority && (batch.first_seq..=batch.last_seq).contains(&item.seq)
            });
            for item in items {
                NAMES.iter().for_each(|name| books.written_off(name, item));
                lost += NAMES.len() as u64;
            }
        }
        lost
    }

    /// Does one thing, or a few, to the files, and says what.
    fn spoil(&self, files: &mut Files, rng: &mut Rng) -> String {
        let count = *rng.choose(&[1, 1, 1, 2, 5]).unwrap_or(&1);
        let done: Vec<String> = (0..count).map(|_| self.spoil_once(files, rng)).collect();
        done.join(", ")
    }

    fn spoil_once(&self, files: &mut Files, rng: &mut Rng) -> String {
        let names: Vec<String> = files.keys().filter(|name| *name != "-shm").cloned().collect();
        let Some(name) = rng.choose(&names).cloned() else { return "nothing is left".to_owned() };
        let other = files.get("").cloned().unwrap_or_default();
        let Some(bytes) = files.get_mut(&name) else { return String::new() };
        let len = bytes.len();
        let at = rng.index(len);
        // Half of the damage hits whole pages, as a disk would.
        let (at, count) = if rng.percent(50) { (at - at % 4096, 4096) } else { (at, 1 + rng.index(9000)) };
        let place = at..(at + count).min(len);
        let what = match rng.pick(0..100) {
            0..35 => flip(bytes, rng),
            35..50 => {
                fill(bytes, place, |_| 0);
                format!("{count} zeros at {at}")
            }
            50..60 => {
                let noise = rng.bytes(count);
                fill(bytes, place, |at| noise.get(at).copied().unwrap_or(0));
                format!("{count} of noise at {at}")
            }
            60..72 => {
                bytes.truncate(at);
                format!("cut at {at}")
            }
            72..84 => swap(bytes, at, rng.index(len), count),
            84..88 => {
                bytes.extend(rng.bytes(count));
                format!("{count} appended")
            }
            88..92 => {
                fill(bytes, place, |from| other.get(from).copied().unwrap_or(0));
                format!("{count} of the database's head at {at}")
            }
            92..96 => return self.put_stale_log(files),
            _ => {
                files.remove(&name);
                "removed".to_owned()
            }
        };
        format!("'{name}' of {len}: {what}")
    }

    fn put_stale_log(&self, files: &mut Files) -> String {
        if self.stale_log.is_empty() {
            files.remove("-wal");
            return "the log removed".to_owned();
        }
        files.insert("-wal".to_owned(), self.stale_log.clone());
        "a stale log".to_owned()
    }
}

fn flip(bytes: &mut [u8], rng: &mut Rng) -> String {
    let mut flipped = Vec::new();
    for _ in 0..*rng.choose(&[1, 1, 3, 20]).unwrap_or(&1) {
        let at = rng.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << rng.pick(0..8);
            flipped.push(at);
        }
    }
    format!("a bit flipped at {flipped:?}")
}

fn fill(bytes: &mut [u8], place: std::ops::Range<usize>, with: impl Fn(usize) -> u8) {
    let place = bytes.get_mut(place).unwrap_or_default();
    place.iter_mut().enumerate().for_each(|(at, byte)| *byte = with(at));
}

/// Exchanges two blocks that do not overlap; two that do stay.
fn swap(bytes: &mut [u8], one: usize, other: usize, count: usize) -> String {
    let other = if count == 4096 { other - other % 4096 } else { other };
    let (low, high) = (one.min(other), one.max(other));
    if low + count <= high && high + count <= bytes.len() {
        let (left, right) = bytes.split_at_mut(high);
        if let (Some(left), Some(right)) = (left.get_mut(low..low + count), right.get_mut(..count)) {
            left.swap_with_slice(right);
        }
    }
    format!("{count} exchanged at {low} and {high}")
}

fn drain(running: &Running, mut books: Books, outcome: &mut Outcome) {
    let drained = running.drain(|name, record| {
        let (item, content) = item::read(record);
        books.arrived(&name, &item, &content);
        books.settled(&name, &item);
    });
    outcome.problems.extend(drained.err());
    for Book { lane, appended, ways } in running.books() {
        books.balance(lane, appended, &ways);
    }
    let findings = books.judge();
    outcome.missing = findings.lost.len() as u64;
    if outcome.missing > 0 {
        outcome.damage.push_str(&format!("; it said {:?}", running.incidents()));
    }
    if !(findings.invented.is_empty() && findings.damaged.is_empty() && findings.unbalanced.is_empty()) {
        outcome.problems.push(findings.to_string());
    }
}

/// Fills a spool with batches of several sizes; nobody has read any.
struct Filler {
    books: Books,
    items: Vec<Item>,
    rng: Rng,
}

impl Filler {
    fn fill(&mut self, running: &mut Running) -> io::Result<()> {
        for _ in 0..self.rng.pick(10..30) {
            let mut append = Append::new();
            let bytes = *self.rng.choose(&[30, 200, 1500]).unwrap_or(&30);
            for _ in 0..self.rng.pick(1..20) {
                append.begin(0);
                append.record(self.record(running, bytes));
            }
            running.spool.append(&mut append).map_err(io::Error::other)?;
            if !running.spool.flush(FLUSH) {
                return Err(io::Error::other("the template cannot be written"));
            }
        }
        Ok(())
    }

    fn record(&mut self, running: &mut Running, bytes: usize) -> NewRecord {
        let seq = running.next_seq;
        running.next_seq += 1;
        let priority = *self.rng.choose(&PRIORITIES).unwrap_or(&Priority::Normal);
        let body = Body::new(seq, bytes, &mut self.rng);
        let item = Item { priority, seq };
        self.books.sent(&item, NAMES, &body.content());
        self.books.acknowledged(&item);
        self.items.push(item);
        let mut consumers = Consumers::EMPTY;
        running.consumers.iter().for_each(|(_, id)| consumers.insert(*id));
        let Body { topic, meta, payload } = body;
        NewRecord {
            seq,
            consumers,
            priority,
            received: Stamp::now(),
            expires_after_ms: None,
            topic,
            meta,
            payload,
        }
    }
}

#[cfg(test)]
mod tests;
