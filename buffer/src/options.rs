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
            memory_bytes_max: 4 << 20,
            spill_after: Duration::from_millis(50),
            when_full: WhenFull::EvictOldest,
        }
    }
}

/// What happens when the database has reached `max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest batches of the lowest priority are deleted, and their records counted as evicted.
    EvictOldest,
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
        assert_eq!(options.memory_bytes_max, 4_194_304);
        assert_eq!(options.spill_after.as_millis(), 50);
        assert_eq!(options.when_full, WhenFull::EvictOldest);
    }
}
