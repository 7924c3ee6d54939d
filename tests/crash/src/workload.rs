//! What a gateway does with its spool: one step after the other, chosen by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_buffer::{
    Admission, Append, BacklogShare, ConsumerId, Consumers, Drain, Gap, NewRecord, Priority, Record,
    Retention, Stamp, WhenFull,
};
use tidegate_oracle::{Findings, Oracle};

use crate::item::{self, Body, Item};
use crate::rng::Rng;
use crate::spool::{Reader, Running, Setup};

const NAMES: [&str; 3] = ["cloud", "archive", "display"];
/// A step waits for the writer this long, this many times; after a cut it would wait in vain.
const FLUSH: Duration = Duration::from_millis(5);
const FLUSHES: u32 = 400;

/// The books of a run.
pub type Books = Oracle<Item, &'static str>;

/// What an entry of the spool had, to be acknowledged with its receipt.
#[derive(Debug, Default)]
struct Entry {
    items: Vec<Item>,
    /// The state after it, if it changed the state.
    state: Option<u64>,
}

/// The state that journals and snapshots keep: a number that rises by one with each change.
#[derive(Debug, Default)]
pub struct Journal {
    /// As of the last change.
    now: u64,
    /// This much must survive.
    owed: u64,
    /// The items of the entry of each change: they are durable with it.
    items: BTreeMap<u64, Vec<Item>>,
    /// The change that each of those items came with.
    changes: BTreeMap<Item, u64>,
    /// The items of changes that a crash took.
    undone: BTreeSet<Item>,
}

/// How much a run does, and of what kind.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What the spool is opened with.
    pub setup: Setup,
    /// Steps before the run ends by itself.
    pub steps: u64,
    /// The largest payload.
    pub payload_bytes_max: u64,
    /// Times in a hundred that an entry changes the state.
    pub journal_percent: u64,
}

impl Shape {
    /// The shape of a run with this seed.
    pub fn new(rng: &mut Rng) -> Self {
        let readers = NAMES.iter().take(1 + rng.index(NAMES.len()));
        // A few runs are heavy enough for the log to be moved into the database while they go on.
        let is_heavy = rng.percent(6);
        // A third is tight: the database, or some of its lanes, must evict.
        let is_tight = rng.percent(33);
        let setup = Setup {
            readers: readers.map(|name| reader(name, is_tight, rng)).collect(),
            spill_after: Duration::from_millis(*rng.choose(&[0, 1, 5, 1000]).unwrap_or(&0)),
            memory_bytes_max: *rng.choose(&[64 << 10, 1 << 20, 4 << 20]).unwrap_or(&0),
            max_bytes: if is_tight { rng.pick(100_000..400_000) } else { 1 << 30 },
            when_full: *rng
                .choose(&[WhenFull::EvictOldest, WhenFull::EvictNewest, WhenFull::Refuse])
                .unwrap_or(&WhenFull::Refuse),
        };
        Self {
            setup,
            steps: rng.pick(10..120),
            payload_bytes_max: if is_heavy { 60_000 } else { *rng.choose(&[40, 300, 6000]).unwrap_or(&40) },
            journal_percent: *rng.choose(&[0, 10, 60]).unwrap_or(&0),
        }
    }
}

fn reader(name: &'static str, is_tight: bool, rng: &mut Rng) -> Reader {
    let shares =
        [BacklogShare::InFlight(1), BacklogShare::EventsPerS(100_000), BacklogShare::BytesPerS(10_000_000)];
    let live_first = |share: &BacklogShare| Drain::LiveFirst { backlog: *share };
    let drain = match rng.pick(0..4) {
        0 => Drain::NewestFirst,
        1 => rng.choose(&shares).map_or(Drain::OldestFirst, live_first),
        _ => Drain::OldestFirst,
    };
    let retention = Retention {
        max_records: (is_tight && rng.percent(30)).then(|| rng.pick(1..60)),
        max_bytes: (is_tight && rng.percent(30)).then(|| rng.pick(1000..60_000)),
        max_age: None,
    };
    Reader { name, drain, retention }
}

/// A run: the books, and what is under way.
#[derive(Debug)]
pub struct Workload {
    shape: Shape,
    rng: Rng,
    /// The books.
    pub books: Books,
    /// What the books cannot say.
    pub problems: Vec<String>,
    entries: BTreeMap<u64, Entry>,
    next_tag: u64,
    journal: Journal,
    /// Gaps that were given, each as it was given last.
    gaps: Vec<Gap>,
    /// Per consumer: what was sent to it.
    sent: BTreeMap<&'static str, Vec<Item>>,
    /// Per consumer: what it has and did not acknowledge.
    held: BTreeMap<&'static str, Vec<Record>>,
    online: BTreeMap<&'static str, bool>,
}

impl Workload {
    /// A run that has not begun.
    pub fn new(shape: Shape, rng: Rng) -> Self {
        let mut books = Books::new();
        shape.setup.readers.iter().for_each(|reader| books.receiver(reader.name, reader.order()));
        Self {
            shape,
            rng,
            books,
            problems: Vec::new(),
            entries: BTreeMap::new(),
            next_tag: 1,
            journal: Journal::default(),
            gaps: Vec::new(),
            sent: BTreeMap::new(),
            held: BTreeMap::new(),
            online: BTreeMap::new(),
        }
    }

    /// What the spool is opened with.
    pub fn setup(&self) -> &Setup {
        &self.shape.setup
    }

    /// Everything that was under way is gone with the process.
    pub fn crashed(&mut self) {
        self.books.crashed();
        self.entries.clear();
        self.held.clear();
        self.online.clear();
    }

    /// A spool was opened: its state must hold all that is owed.
    pub fn opened(&mut self, running: &Running) {
        running.gaps.iter().for_each(|gap| self.note_gap(gap));
        match recovered(running) {
            Ok(state) if state < self.journal.owed => {
                self.problems.push(format!("the state is {state}, {} was acknowledged", self.journal.owed));
            }
            Ok(state) if state > self.journal.now => {
                self.problems.push(format!("the state is {state}, it never was beyond {}", self.journal.now));
            }
            Ok(state) => {
                // What was written in one transaction with this state is as durable as the state.
                for item in self.journal.items.range(..=state).flat_map(|(_, items)| items) {
                    self.books.acknowledged(item);
                }
                self.journal.items.clear();
                let changes = std::mem::take(&mut self.journal.changes).into_iter();
                self.journal
                    .undone
                    .extend(changes.filter(|(_, change)| *change > state).map(|(item, _)| item));
                (self.journal.now, self.journal.owed) = (state, state);
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Runs until the steps are done or `ended` says so.
    pub fn run(&mut self, running: &mut Running, ended: impl Fn() -> bool) {
        for _ in 0..self.shape.steps {
            if ended() {
                break;
            }
            self.step(running, &ended);
            self.collect(running);
            self.collect_gaps(running);
        }
    }

    fn step(&mut self, running: &mut Running, ended: impl Fn() -> bool) {
        let Some((name, id)) = self.rng.choose(&running.consumers).copied() else { return };
        match self.rng.pick(0..100) {
            0..40 => self.append(running),
            40..60 => self.read(running, name, id),
            60..78 => self.ack(running, name, id),
            78..82 => self.rewind(running, name, id),
            82..90 => self.toggle(running, name, id),
            90..92 => self.quarantine(running, name, id),
            92..96 => running.pause(),
            96 if self.rng.percent(20) => self.purge(running, (name, id), ended),
            _ => self.flush(running, ended),
        }
    }

    fn append(&mut self, running: &mut Running) {
        if running.spool.admission(Priority::High) != Admission::Open {
            return running.pause();
        }
        let mut append = Append::new();
        for _ in 0..self.rng.pick(1..9) {
            self.append_entry(running, &mut append);
        }
        if let Err(error) = running.spool.append(&mut append) {
            self.problems.push(format!("an append was refused: {error}"));
        }
    }

    fn append_entry(&mut self, running: &mut Running, append: &mut Append) {
        let tag = self.next_tag;
        self.next_tag += 1;
        append.begin(tag);
        let mut entry = Entry::default();
        for _ in 0..self.rng.pick(0..5) {
            let record = self.record(running);
            entry.items.push(Item { priority: record.priority, seq: record.seq });
            append.record(record);
        }
        if self.rng.percent(self.shape.journal_percent) {
            self.change_state(append, &mut entry);
        } else if self.rng.percent(5) {
            append.hold();
        }
        self.entries.insert(tag, entry);
    }

    /// The state rises by one; now and then a snapshot takes the place of the journal before it.
    fn change_state(&mut self, append: &mut Append, entry: &mut Entry) {
        if self.rng.percent(10) {
            append.snapshot(self.journal.now.to_le_bytes().to_vec());
        }
        self.journal.now += 1;
        append.journal(&self.journal.now.to_le_bytes());
        entry.state = Some(self.journal.now);
        self.journal.changes.extend(entry.items.iter().map(|item| (*item, self.journal.now)));
        self.journal.items.insert(self.journal.now, entry.items.clone());
    }

    fn record(&mut self, running: &mut Running) -> NewRecord {
        let seq = running.next_seq;
        running.next_seq += 1;
        let priority = *self
            .rng
            .choose(&[Priority::High, Priority::Normal, Priority::Normal, Priority::Low])
            .unwrap_or(&Priority::Low);
        let (mut consumers, mut names) = (Consumers::EMPTY, Vec::new());
        let first = self.rng.index(running.consumers.len());
        for (at, (name, id)) in running.consumers.iter().enumerate() {
            if at == first || self.rng.percent(50) {
                consumers.insert(*id);
                names.push(*name);
            }
        }
        let bytes = self.rng.pick(0..self.shape.payload_bytes_max);
        let body = Body::new(seq, usize::try_from(bytes).unwrap_or(0), &mut self.rng);
        let item = Item { priority, seq };
        self.books.sent(&item, names.iter().copied(), &body.content());
        names.iter().for_each(|name| self.sent.entry(name).or_default().push(item));
        let expires_after_ms =
            self.rng.percent(5).then(|| *self.rng.choose(&[0, 1, 3_600_000]).unwrap_or(&0));
        if expires_after_ms.is_some_and(|ms| ms < 1000) {
            names.iter().for_each(|name| self.books.written_off(name, &item));
        }
        let Body { topic, meta, payload } = body;
        NewRecord { seq, consumers, priority, received: Stamp::now(), expires_after_ms, topic, meta, payload }
    }

    fn read(&mut self, running: &Running, name: &'static str, id: ConsumerId) {
        let count = usize::try_from(self.rng.pick(1..60)).unwrap_or(1);
        let mut records = Vec::new();
        running.spool.read(id, count, usize::MAX, &mut records);
        for record in &records {
            self.seen(name, record);
        }
        self.held.entry(name).or_default().extend(records);
    }

    /// A record arrived. One that came with a change of the state proves that the change is durable.
    pub fn seen(&mut self, name: &'static str, record: &Record) {
        let (item, content) = item::read(record);
        self.books.arrived(&name, &item, &content);
        if let Some(change) = self.journal.changes.get(&item) {
            self.journal.owed = self.journal.owed.max(*change);
        }
        if self.journal.undone.contains(&item) {
            self.problems.push(format!("{item} came, and the change of state that it came with did not"));
        }
    }

    /// The consumer is done with it.
    pub fn settled(&mut self, name: &'static str, record: &Record) {
        self.books.settled(&name, &Item { priority: record.priority, seq: record.seq });
    }

    fn ack(&mut self, running: &Running, name: &'static str, id: ConsumerId) {
        let held = std::mem::take(self.held.entry(name).or_default());
        let share = *self.rng.choose(&[20, 60, 100]).unwrap_or(&100);
        let (acked, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|_| self.rng.percent(share));
        let mut acks: Vec<_> = acked.iter().map(|record| (record.priority, record.seq)).collect();
        if self.rng.percent(50) {
            acks.reverse();
        }
        acked.iter().for_each(|record| self.settled(name, record));
        running.spool.ack(id, &acks);
        self.held.insert(name, kept);
    }

    fn rewind(&mut self, running: &Running, name: &'static str, id: ConsumerId) {
        running.spool.rewind(id);
        self.books.broke(&name);
        self.held.remove(name);
    }

    fn toggle(&mut self, running: &Running, name: &'static str, id: ConsumerId) {
        let online = self.online.entry(name).or_default();
        *online = !*online;
        running.spool.set_online(id, *online);
        if !*online {
            self.rewind(running, name, id);
        }
    }

    /// Sets one record aside. It may come again if that was not durable before a crash.
    fn quarantine(&mut self, running: &Running, name: &'static str, id: ConsumerId) {
        let Some(record) = self.held.get_mut(name).and_then(Vec::pop) else { return };
        running.spool.quarantine(id, (record.priority, record.seq), &record, "a test");
        self.books.written_off(&name, &Item { priority: record.priority, seq: record.seq });
    }

    /// Nothing that waits is owed any more. What a crash undoes of it comes late, so it is made durable at once.
    fn purge(&mut self, running: &Running, (name, id): (&'static str, ConsumerId), ended: impl Fn() -> bool) {
        running.spool.purge(id, None);
        self.flush(running, ended);
        for item in self.sent.get(name).into_iter().flatten() {
            self.books.written_off(&name, item);
        }
    }

    fn flush(&mut self, running: &Running, ended: impl Fn() -> bool) {
        let flushed = |_: u32| running.spool.flush(FLUSH) || ended();
        if (0..FLUSHES).any(flushed) && !ended() {
            self.books.settled_durably();
        }
    }

    /// Receipts are acknowledgements.
    pub fn collect(&mut self, running: &Running) {
        let mut tags = Vec::new();
        running.spool.poll_resolved(&mut tags);
        for tag in tags {
            let Some(entry) = self.entries.remove(&tag) else {
                self.problems.push(format!("the receipt {tag} came, which nobody waits for"));
                continue;
            };
            entry.items.iter().for_each(|item| self.books.acknowledged(item));
            self.journal.owed = self.journal.owed.max(entry.state.unwrap_or(0));
        }
    }

    /// What was evicted is owed to nobody.
    pub fn collect_gaps(&mut self, running: &Running) {
        let mut gaps = Vec::new();
        running.spool.gaps(&mut gaps);
        for gap in &gaps {
            self.note_gap(gap);
            if self.rng.percent(50) {
                running.spool.announced(gap.id);
            }
        }
    }

    /// A gap that a crash made to be given again may have grown since.
    fn note_gap(&mut self, gap: &Gap) {
        let is_same = |known: &&mut Gap| {
            known.id == gap.id && known.consumer == gap.consumer && known.first_seq == gap.first_seq
        };
        match self.gaps.iter_mut().find(is_same) {
            Some(known) => known.clone_from(gap),
            None => self.gaps.push(gap.clone()),
        }
    }

    /// The judgement, when all has come that can come.
    pub fn judge(mut self) -> (Findings<Item>, Vec<String>) {
        for gap in &self.gaps {
            let item = |seq| Item { priority: gap.priority, seq };
            if let Some(name) = NAMES.iter().find(|name| **name == gap.consumer) {
                self.books.written_off_some(name, item(gap.first_seq)..=item(gap.last_seq), gap.records);
            }
        }
        (self.books.judge(), self.problems)
    }
}

/// The state as the opened spool gives it: a snapshot and all changes after it, none left out.
fn recovered(running: &Running) -> Result<u64, String> {
    let number =
        |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| format!("a state of {bytes:?}"));
    let mut state = running.snapshot.as_deref().map(number).transpose()?.unwrap_or(0);
    for change in &running.journal {
        let next = number(change)?;
        if next != state + 1 {
            return Err(format!("after the state {state} the journal has {next}"));
        }
        state = next;
    }
    Ok(state)
}
