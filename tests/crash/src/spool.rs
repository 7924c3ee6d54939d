//! A spool that is run by a test: opened, drained, and asked for its books.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_buffer::{
    ConsumerId, ConsumerOptions, Drain, Gap, Incident, LaneUsage, Listener, OpenError, Opened, Options,
    Record, Retention, Spool, WhenFull,
};
use tidegate_oracle::Order;

/// How many records one read takes.
const READ_RECORDS: usize = 256;
/// How long a drain may stand still before it is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A consumer, and how it reads.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Its name.
    pub name: &'static str,
    /// The order it reads in.
    pub drain: Drain,
    /// The bounds of its lanes.
    pub retention: Retention,
}

impl Reader {
    /// Oldest first, without bounds.
    pub fn new(name: &'static str) -> Self {
        Self { name, drain: Drain::OldestFirst, retention: Retention::default() }
    }

    /// What order it is promised.
    pub fn order(&self) -> Order {
        match self.drain {
            Drain::OldestFirst => Order::Streams(1),
            Drain::LiveFirst { .. } => Order::Streams(2),
            Drain::NewestFirst => Order::Free,
        }
    }

    fn options(&self) -> ConsumerOptions {
        let mut options = ConsumerOptions::new(self.name);
        options.drain = self.drain;
        options.retention = self.retention;
        options
    }
}

/// What is chosen for a spool.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its consumers.
    pub readers: Vec<Reader>,
    /// How long records wait in memory.
    pub spill_after: Duration,
    /// The bound of memory.
    pub memory_bytes_max: usize,
    /// The bound of the database.
    pub max_bytes: u64,
    /// What happens there.
    pub when_full: WhenFull,
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {} bytes", self.when_full, self.max_bytes)?;
        for Reader { name, drain, retention } in &self.readers {
            write!(f, ", {name} {drain:?}")?;
            retention.max_records.iter().try_for_each(|max| write!(f, " {max} records"))?;
            retention.max_bytes.iter().try_for_each(|max| write!(f, " {max} bytes"))?;
        }
        Ok(())
    }
}

impl Setup {
    /// The options of the spool in this folder.
    pub fn options(&self, dir: &Path) -> Options {
        let mut options = Options::new(dir);
        options.spill_after = self.spill_after;
        options.memory_bytes_max = self.memory_bytes_max;
        options.max_bytes = self.max_bytes;
        options.when_full = self.when_full;
        // Written at each start: a small one serves.
        options.reserve_bytes = 64 << 10;
        // A seed says all.
        options.random = Some(0);
        options
    }
}

/// Hears that something happened.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    calls: u64,
    incidents: Vec<Incident>,
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        self.lock().calls += 1;
        self.changed.notify_all();
    }
}

impl Listener for Ear {
    fn resolved(&self) {
        self.note();
    }

    fn readable(&self, _: ConsumerId) {
        self.note();
    }

    fn room(&self) {
        self.note();
    }

    fn gap(&self) {
        self.note();
    }

    fn incident(&self, incident: Incident) {
        self.lock().incidents.push(incident);
        self.note();
    }
}

/// The books of a lane.
#[derive(Debug)]
pub struct Book {
    /// Its consumer and priority.
    pub lane: String,
    /// What came in.
    pub appended: u64,
    /// The ways it went.
    pub ways: Vec<(&'static str, u64)>,
}

/// An open spool and what its opening gave.
#[derive(Debug)]
pub struct Running {
    /// The spool.
    pub spool: Spool,
    /// The number of the next record.
    pub next_seq: u64,
    /// As opened.
    pub snapshot: Option<Vec<u8>>,
    /// As opened.
    pub journal: Vec<Vec<u8>>,
    /// As opened.
    pub gaps: Vec<Gap>,
    /// The consumers, in the order of the setup.
    pub consumers: Vec<(&'static str, ConsumerId)>,
    ear: Arc<Ear>,
}

impl Running {
    /// Opens the spool in this folder.
    ///
    /// # Errors
    /// Those of the spool.
    pub fn open(dir: &Path, setup: &Setup) -> Result<Self, OpenError> {
        let ear = Arc::new(Ear::default());
        let consumers: Vec<_> = setup.readers.iter().map(Reader::options).collect();
        let listener = Arc::clone(&ear) as Arc<dyn Listener>;
        let Opened { spool, first_seq, snapshot, journal, incidents, gaps, .. } =
            Spool::open(setup.options(dir), &consumers, listener)?;
        ear.lock().incidents.extend(incidents);
        let readers = setup.readers.iter();
        let consumers = readers.filter_map(|reader| Some((reader.name, spool.consumer(reader.name)?)));
        let consumers = consumers.collect();
        Ok(Self { spool, next_seq: first_seq, snapshot, journal, gaps, consumers, ear })
    }

    /// What an operator would have heard.
    pub fn incidents(&self) -> Vec<Incident> {
        self.ear.lock().incidents.clone()
    }

    /// Waits until something happens, or a moment.
    pub fn pause(&self) {
        let heard = self.ear.lock();
        drop(self.ear.changed.wait_timeout(heard, Duration::from_millis(2)));
    }

    /// Reads and acknowledges everything that waits; `seen` is told each record before it is acknowledged.
    ///
    /// # Errors
    /// It stands still, though the books say that something waits.
    pub fn drain(&self, mut seen: impl FnMut(&'static str, &Record)) -> Result<(), String> {
        self.consumers.iter().for_each(|(_, id)| self.spool.set_online(*id, true));
        let mut records = Vec::new();
        let mut moved = Instant::now();
        loop {
            let mut any = false;
            for (name, id) in &self.consumers {
                self.spool.read(*id, READ_RECORDS, usize::MAX, &mut records);
                let acks: Vec<_> = records.iter().map(|record| (record.priority, record.seq)).collect();
                records.drain(..).for_each(|record| seen(name, &record));
                self.spool.ack(*id, &acks);
                any |= !acks.is_empty();
            }
            if any {
                moved = Instant::now();
                continue;
            }
            let backlog: u64 = self.lanes().iter().map(|lane| lane.backlog).sum();
            if backlog == 0 {
                return Ok(());
            }
            if moved.elapsed() > PATIENCE {
                return Err(format!("{backlog} records wait and are not read; {:?}", self.incidents()));
            }
            self.pause();
        }
    }

    /// The books.
    pub fn lanes(&self) -> Vec<LaneUsage> {
        self.spool.usage().lanes
    }

    /// Each lane's books.
    pub fn books(&self) -> Vec<Book> {
        let book = |lane: LaneUsage| {
            let ways = vec![
                ("acked", lane.acked),
                ("expired", lane.expired),
                ("evicted", lane.evicted()),
                ("quarantined", lane.quarantined),
                ("lost", lane.lost),
                ("purged", lane.purged),
                ("backlog", lane.backlog),
            ];
            Book { lane: format!("{} {:?}", lane.consumer, lane.priority), appended: lane.appended, ways }
        };
        self.lanes().into_iter().map(book).collect()
    }
}
