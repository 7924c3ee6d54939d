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
    /// The age since its append at which a record is evicted, in every lane. Default none.
    pub max_age: Option<Duration>,
    /// Bytes kept beside the database for a disk that is full: with them high priority and bookkeeping go on. They
    /// are also how far high priority may pass `max_bytes`. Default 8 MiB.
    pub reserve_bytes: u64,
    /// How many bytes of records may wait in memory before the spool asks the caller to stop. Default 4 MiB.
    pub memory_bytes_max: usize,
    /// How long a record may wait in memory for its acknowledgements before it is written. Default 50 ms.
    pub spill_after: Duration,
    /// What happens at `max_bytes`. Default [`WhenFull::EvictOldest`].
    pub when_full: WhenFull,
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
        }
    }
}

/// What the owner of a spool chooses for one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Unique among the consumers of a spool, and the same from run to run; not empty.
    pub name: String,
    /// The order in which a backlog is read.
    pub drain: Drain,
    /// The bounds of each of its lanes, beside those of the whole spool.
    pub retention: Retention,
}

impl ConsumerOptions {
    /// Oldest first, with no bounds of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), drain: Drain::OldestFirst, retention: Retention::default() }
    }
}

/// The order in which a consumer reads. *Live* is what still waits in memory, *backlog* what lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drain {
    /// In the order of appending.
    #[default]
    OldestFirst,
    /// Live records, then the backlog from its newest batch to its oldest; a batch is read in its own order.
    NewestFirst,
    /// Live records at once, and beside them the backlog, oldest first, within its share. The high lane has no share: it
    /// goes first as a whole.
    LiveFirst {
        /// What the backlog may take.
        backlog: BacklogShare,
    },
}

/// What a backlog may take while it drains beside live records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacklogShare {
    /// Records of the backlog that are unacknowledged at a time; at least 1.
    InFlight(u32),
    /// Records in a second; at least 1.
    EventsPerS(u32),
    /// Bytes of topics, metadata and payloads in a second; at least 1.
    BytesPerS(u64),
}

/// The bounds of one lane. What is over them is evicted, the oldest first, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Bytes of topics, metadata and payloads that wait on disk, before compression.
    pub max_bytes: Option<u64>,
    /// Records that wait on disk.
    pub max_records: Option<u64>,
    /// The age of a record since it was appended.
    pub max_age: Option<Duration>,
}

/// What happens when the database has reached `max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest batches of the lowest priority are deleted, and their records counted as evicted.
    EvictOldest,
    /// A new record of normal or low priority is not kept for a consumer that is away, and counts as evicted.
    EvictNewest,
    /// New events are refused while a consumer is away. What was admitted before is still written: the
    /// database may pass `max_bytes` by at most about `memory_bytes_max`.
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::{Options, WhenFull};

    #[test]
    fn defaults_are_the_documented_ones() {
        let options = Options::new("/var/lib/x");
        assert_eq!(options.max_bytes, 2_147_483_648);
        assert_eq!(options.max_age, None);
        assert_eq!(options.reserve_bytes, 8_388_608);
        assert_eq!(options.memory_bytes_max, 4_194_304);
        assert_eq!(options.spill_after.as_millis(), 50);
        assert_eq!(options.when_full, WhenFull::EvictOldest);
    }
}
