//! The durable buffer: records wait here until each of their consumers has acknowledged them.
//!
//! An appended record can be read at once from memory. If all its consumers acknowledge it soon enough it
//! never touches the disk; otherwise it is written, with all that is due at that moment, in one SQLite
//! transaction. Each appended entry has a receipt, which resolves when the entry's effects are on disk or
//! acknowledged. Nothing whose receipt resolved is lost by a crash.
//!
//! The crate knows SQLite and the disk. Topics, metadata, payloads, journals and snapshots are opaque bytes.

mod append;
mod batch;
mod boot;
mod error;
mod gap;
mod incident;
pub mod inspect;
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
pub use incident::Incident;
pub use options::{BacklogShare, ConsumerOptions, Drain, Options, Retention, WhenFull};
pub use record::{ConsumerId, Consumers, NewRecord, Priority, Record, Stamp};
pub use spool::{Admission, Listener, Opened, ReadOutcome, Refusal, Spool};
pub use usage::{LaneUsage, Usage};
