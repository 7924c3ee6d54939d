//! What the owner of a spool chooses.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of a spool.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the database; made when it is missing. One process at a time may use it.
    pub dir: PathBuf,
    /// How many bytes of live pages the database may have. Default 2 GiB.
    pub max_bytes: u64,
    /// How old a record may become before it is evicted, in every lane. Default: no bound.
    pub max_age: Option<Duration>,
    /// How far records of high priority may go beyond `max_bytes` when others are refused or dropped. Default 8 MiB.
    pub reserve_bytes: u64,
    /// How many bytes of records may wait in memory before the spool asks the caller to stop. Default 4 MiB.
    pub memory_bytes_max: usize,
    /// How long a record may wait in memory for its acknowledgements before it is written. Default 50 ms.
    pub spill_after: Duration,
    /// What happens at `max_bytes`, and at the bounds of a lane. Default [`WhenFull::EvictOldest`].
    pub when_full: WhenFull,
    /// Where the numbers of a new buffer begin, and how many are left out in one that was brought from elsewhere. Default:
    /// drawn when it is opened, so that no other buffer has given them.
    pub random: Option<u64>,
}

impl Options {
    /// The defaults, in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 2 << 30,
            max_age: None,
            reserve_bytes: 8 << 20,
            memory_bytes_max: 4 << 20,
            spill_after: Duration::from_millis(50),
            when_full: WhenFull::EvictOldest,
            random: None,
        }
    }
}

/// What happens when the database has reached `max_bytes`, or a lane the bounds of its [`Retention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest batches of the lowest priority are deleted, and their records counted as evicted.
    EvictOldest,
    /// A new record is not taken for a consumer that is away or has a backlog, and counted as evicted; the receipt of
    /// its entry does not wait for it. High priority goes on for `reserve_bytes` more.
    EvictNewest,
    /// New events are refused while a consumer is away; those of high priority `reserve_bytes` later. What was admitted
    /// before is still written: the database may pass its bound by at most about `memory_bytes_max`.
    Refuse,
}

/// A consumer to register, and how it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Its name: what it finds its lanes by when the database is opened again.
    pub name: String,
    /// The order in which it is served. Default [`Drain::OldestFirst`].
    pub drain: Drain,
    /// The bounds of each of its lanes. Default: none.
    pub retention: Retention,
}

impl ConsumerOptions {
    /// The defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), drain: Drain::OldestFirst, retention: Retention::default() }
    }
}

/// In which order a consumer is served. Higher priorities go first in each, but no lane that waits is passed over more
/// than 15 times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drain {
    /// In the order of appending: what waits on disk, then what is new.
    #[default]
    OldestFirst,
    /// What is new, then what waits on disk from the newest batch back to the oldest, in order inside each batch.
    NewestFirst,
    /// What is new, and beside it what waits on disk, in order, within its share.
    LiveFirst {
        /// The share; records of high priority are not subject to it.
        backlog: BacklogShare,
    },
}

/// What the backlog of a consumer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacklogShare {
    /// So many of its records in flight at a time; at least 1.
    InFlight(u32),
    /// So many records a second; at least 1.
    EventsPerS(u32),
    /// So many bytes of topics, metadata and payloads a second; at least 1.
    BytesPerS(u64),
}

/// How much one lane keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Bytes of topics, metadata and payloads, before compression.
    pub max_bytes: Option<u64>,
    /// Records. Eviction makes room for one sixteenth at a time.
    pub max_records: Option<u64>,
    /// How old a record may become; the smaller of this and [`Options::max_age`] counts. Looked at when the record is
    /// read, and every ten seconds at the oldest records of the lane.
    pub max_age: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::{ConsumerOptions, Drain, Options, Retention, WhenFull};

    #[test]
    fn defaults_are_the_documented_ones() {
        let options = Options::new("/var/lib/x");
        assert_eq!(options.max_bytes, 2_147_483_648);
        assert_eq!(options.max_age, None);
        assert_eq!(options.reserve_bytes, 8_388_608);
        assert_eq!(options.memory_bytes_max, 4_194_304);
        assert_eq!(options.spill_after.as_millis(), 50);
        assert_eq!(options.when_full, WhenFull::EvictOldest);
        let consumer = ConsumerOptions::new("cloud");
        assert_eq!((consumer.drain, consumer.retention), (Drain::OldestFirst, Retention::default()));
    }
}
