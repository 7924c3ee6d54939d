//! The facade: the policy under a short lock, the writer and reader threads beside it.

use std::sync::Arc;
use std::time::Duration;

use crate::append::Append;
use crate::error::{AppendError, CloseError, OpenError};
use crate::incident::Incident;
use crate::options::Options;
use crate::record::{ConsumerId, Priority, Record};
use crate::usage::Usage;

/// What the spool calls when something happened. The calls come from any thread, without the spool's lock
/// held, at most one per batch; they must return at once.
pub trait Listener: Send + Sync {
    /// Receipts wait in `poll_resolved`.
    fn resolved(&self);
    /// The consumer has something to read.
    fn readable(&self, consumer: ConsumerId);
    /// Admission said `Wait`, and there is room again.
    fn room(&self);
    /// Something an operator should hear about.
    fn incident(&self, incident: Incident);
}

/// Whether the next event may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may; the append will not fail for lack of capacity.
    Open,
    /// Not now: memory is at its bound. `Listener::room` follows.
    Wait,
    /// It cannot be kept: a consumer is away and the disk takes nothing.
    Refuse(Refusal),
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The database is at `max_bytes`.
    DiskFull,
    /// The last commit failed.
    DiskFailing,
}

/// A freshly opened spool and what was found in it.
#[derive(Debug)]
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// The number for the first record the caller appends.
    pub first_seq: u64,
    /// The last durable snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The durable journal since the snapshot, one item per entry, in order.
    pub journal: Vec<Vec<u8>>,
    /// What was repaired, set aside or dropped while opening.
    pub incidents: Vec<Incident>,
}

/// The durable buffer.
#[derive(Debug)]
pub struct Spool {}

impl Spool {
    /// Opens or makes the database in `options.dir` and starts the threads. At most 64 consumers; all are away
    /// until `set_online`.
    pub fn open(options: Options, consumers: &[&str], listener: Arc<dyn Listener>) -> Result<Opened, OpenError> {
        unimplemented!()
    }
    /// The consumer registered under this name.
    pub fn consumer(&self, name: &str) -> Option<ConsumerId> {
        unimplemented!()
    }
    /// Whether the next event may be appended; lock-free.
    pub fn admission(&self) -> Admission {
        unimplemented!()
    }
    /// Appends all entries of the builder and drains it. On an error nothing was appended.
    pub fn append(&self, append: &mut Append) -> Result<(), AppendError> {
        unimplemented!()
    }
    /// Moves the tags of resolved receipts to `tags`, in any order.
    pub fn poll_resolved(&self, tags: &mut Vec<u64>) {
        unimplemented!()
    }
    /// Appends the consumer's next records to `out` and returns their count; nothing while it is away.
    pub fn read(&self, consumer: ConsumerId, max_records: usize, max_bytes: usize, out: &mut Vec<Record>) -> usize {
        unimplemented!()
    }
    /// The consumer has these records, in any order; others than those in flight are ignored.
    pub fn ack(&self, consumer: ConsumerId, acks: &[(Priority, u64)]) {
        unimplemented!()
    }
    /// The connection was lost: unacknowledged records are read again, in order.
    pub fn rewind(&self, consumer: ConsumerId) {
        unimplemented!()
    }
    /// Whether the consumer is there to read.
    pub fn set_online(&self, consumer: ConsumerId, online: bool) {
        unimplemented!()
    }
    /// Sets a record in flight aside: durably written with its cause, and only then acknowledged.
    pub fn quarantine(&self, consumer: ConsumerId, at: (Priority, u64), record: &Record, cause: &str) {
        unimplemented!()
    }
    /// All counters.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }
    /// Journal bytes since the last snapshot: the caller's measure of when the next one is worth it.
    pub fn journal_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Rises while the writer works or is idle and healthy; stands still while it hangs.
    pub fn progress(&self) -> u64 {
        unimplemented!()
    }
    /// Commits all that is undurable now; whether that was done before the deadline.
    pub fn flush(&self, deadline: Duration) -> bool {
        unimplemented!()
    }
    /// Flushes, persists cursors, checkpoints and stops the threads.
    pub fn close(self, deadline: Duration) -> Result<(), CloseError> {
        unimplemented!()
    }
}
