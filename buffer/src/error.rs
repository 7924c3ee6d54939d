//! What can go wrong at the edges of the spool.

use std::io;
use std::path::PathBuf;

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made or written.
    #[error("the buffer directory {} cannot be used: {source}; check that it exists, is writable and has room", dir.display())]
    Directory {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("the buffer directory {} is in use by another process; stop that one or choose another directory", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// Written by a newer version of this program; left untouched.
    #[error("{} has schema version {found}, this program knows versions up to {known}; install the newer version again", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version known here.
        known: i64,
    },
    /// A healthy database of another program; left untouched.
    #[error("{} is a database of another program (application id {application_id:#x}); move it away or choose another directory", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// Its application id.
        application_id: i64,
    },
    /// Too many consumers, or a name that is empty or given twice.
    #[error("the consumer {name:?} cannot be registered: {reason}")]
    Consumer {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The database cannot be read or written.
    #[error("{}: {message}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// A thread could not be started.
    #[error("a thread of the buffer could not be started: {0}")]
    Thread(io::Error),
}

/// A mistake of the caller of `append`; nothing of the builder was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A record's number is not above all numbers before it.
    #[error("record number {seq} does not rise above {last}")]
    SeqNotRising {
        /// The number given.
        seq: u64,
        /// The highest number before it.
        last: u64,
    },
    /// A record is addressed to nobody, or to a consumer that is not registered.
    #[error("record number {seq} is addressed to nobody or to an unknown consumer")]
    Consumers {
        /// The record.
        seq: u64,
    },
    /// A key or a value of the map exceeds [`crate::MAP_BYTES_MAX`].
    #[error("a key or a value of the map is larger than {} bytes", crate::MAP_BYTES_MAX)]
    MapTooLarge,
    /// A record's bytes exceed what a batch can hold (1 GiB).
    #[error("record number {seq} is larger than a batch can hold")]
    TooLarge {
        /// The record.
        seq: u64,
    },
}

/// Why the end of a spool was not clean. What was durable before stays so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Not everything could be written before the deadline.
    #[error("{0} records could not be written before the deadline")]
    NotFlushed(u64),
    /// A thread did not stop before the deadline (the disk hangs); it is left behind.
    #[error("a thread of the buffer did not stop before the deadline")]
    ThreadHangs,
}
