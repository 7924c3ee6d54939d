//! The durable buffer: records wait here until each of their consumers has acknowledged them.
//!
//! An appended record can be read at once from memory. If all its consumers acknowledge it soon enough it
//! never touches the disk; otherwise it is written, with all that is due at that moment, in one SQLite
//! transaction. Each appended entry has a receipt, which resolves when the entry's effects are on disk or
//! acknowledged. Nothing whose receipt resolved is lost by a crash.
//!
//! # Order
//!
//! A consumer has one lane per [`Priority`], and a lane has two streams: live, what is still in memory, and the backlog,
//! what waits on disk. [`Drain`] says which goes first. Oldest-first keeps the order of appending in the whole lane.
//! Live-first keeps it inside live and inside the backlog, newest-first inside live and inside each batch on disk.
//! Live records that memory has no room for join the backlog.
//!
//! Every stream that waits gets at least each sixteenth record that the consumer reads, except a backlog beyond its
//! [`BacklogShare`]; otherwise, read live-first, the order is high, live before backlog; then normal live, low live,
//! normal backlog, low backlog. Acknowledgements may come in any order. After [`Spool::rewind`] what was not
//! acknowledged is read again, in the same order inside each stream; what is on disk by then belongs to the backlog.
//! A crash repeats that, and what was acknowledged in the second before it.
//!
//! # Books
//!
//! Each lane counts what was appended, by which door each record left, and what waits; the sum is right at every moment
//! and after every restart ([`LaneUsage`]). What is evicted is told as a [`Gap`] too, until the caller says that it was
//! announced.
//!
//! # Bounds
//!
//! Memory, the database, and each lane have theirs ([`Options`], [`Retention`]). At a bound the oldest go, or the newest
//! are not taken, or the caller is told to refuse ([`WhenFull`], [`Admission`]). How much waits costs disk, but neither
//! memory nor time at the start.
//!
//! The crate knows SQLite and the disk. Topics, metadata, payloads, journals and snapshots are opaque bytes.

mod append;
mod batch;
mod boot;
mod error;
mod gap;
mod histogram;
mod incident;
pub mod inspect;
#[doc(hidden)]
pub mod mutation;
mod options;
mod policy;
mod reader;
mod record;
mod spool;
mod store;
mod usage;
mod varint;
mod writer;

pub use append::{Append, MAP_BYTES_MAX};
pub use error::{AppendError, CloseError, OpenError};
pub use gap::{Gap, GapReason};
pub use histogram::Histogram;
pub use incident::Incident;
pub use options::{BacklogShare, ConsumerOptions, Drain, Options, Retention, WhenFull};
pub use record::{ConsumerId, Consumers, NewRecord, Priority, Record, Stamp};
pub use spool::{Admission, Listener, Opened, ReadOutcome, Refusal, Spool};
pub use usage::{LaneUsage, Usage};
