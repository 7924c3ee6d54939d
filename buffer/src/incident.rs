//! Things an operator should hear about, each reported once when it begins or happens.

use std::fmt;
use std::path::PathBuf;

/// Something that went wrong, or well again, in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incident {
    /// Commits fail; what is undurable stays in memory and is tried again.
    CommitFailed {
        /// What SQLite said.
        message: String,
    },
    /// Commits succeed again.
    CommitRecovered,
    /// The database has reached `max_bytes`.
    Full {
        /// Bytes of live pages.
        bytes: u64,
    },
    /// The database is below `max_bytes` again.
    NotFull,
    /// The file system is full: the reserve was given up, and until there is room again the database keeps within the
    /// size that it has.
    FileSystemFull {
        /// That size in bytes.
        bytes: u64,
    },
    /// The file system has room again.
    FileSystemRoom,
    /// The database has reached `max_bytes`, and the oldest records were deleted to make room. Reported when it
    /// begins, then at most once a minute.
    Evicted {
        /// How many since the last report.
        records: u64,
    },
    /// The database file could not be opened; it was renamed, and a new one begun.
    DatabaseSetAside {
        /// Where it is now.
        path: PathBuf,
        /// What was wrong with it.
        cause: String,
        /// How many batches could be carried over into the new one.
        batches_saved: u64,
    },
    /// A damaged batch was moved into quarantine.
    BatchDamaged {
        /// The number of its first record.
        first_seq: u64,
        /// How many records it had.
        records: u64,
        /// What was wrong with it.
        cause: String,
    },
    /// A lane has fewer stored records than were counted: damage took them. They count as quarantined.
    RecordsMissing {
        /// How many.
        records: u64,
    },
    /// The snapshot or the journal is damaged; what is whole before the damage was given to the caller.
    JournalDamaged {
        /// What was wrong with it.
        cause: String,
    },
    /// Values of the owner's map are damaged, and were given up.
    MapDamaged {
        /// How many.
        values: u64,
        /// What was wrong with the first.
        cause: String,
    },
    /// Records wait for a consumer that was not named when the spool was opened. They are kept.
    ConsumerUnconfigured {
        /// Its name.
        name: String,
        /// How many records were waiting for it.
        records: u64,
    },
    /// The disk cannot be read; tried again.
    ReadFailed {
        /// What SQLite said.
        message: String,
    },
}

impl fmt::Display for Incident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommitFailed { message } => {
                write!(
                    formatter,
                    "commits fail: {message}; no receipt resolves until the disk takes it, or all its consumers have it"
                )
            }
            Self::CommitRecovered => formatter.write_str("commits succeed again"),
            Self::Full { bytes } => {
                write!(
                    formatter,
                    "full at {bytes} bytes: new events are refused, or not kept, while a consumer is away"
                )
            }
            Self::NotFull => formatter.write_str("there is room again: events are taken"),
            Self::FileSystemFull { bytes } => {
                write!(
                    formatter,
                    "the file system is full: the reserve was given up, and the database keeps within its {bytes} bytes"
                )
            }
            Self::FileSystemRoom => formatter
                .write_str("the file system has room again: the reserve is made, and the database may grow"),
            Self::Evicted { records } => {
                write!(
                    formatter,
                    "full: {records} of the oldest records were evicted to make room for new ones"
                )
            }
            Self::DatabaseSetAside { path, cause, batches_saved } => {
                let path = path.display();
                write!(
                    formatter,
                    "the database was damaged ({cause}) and is now {path}; {batches_saved} batches were saved from it"
                )
            }
            Self::BatchDamaged { first_seq, records, cause } => {
                write!(
                    formatter,
                    "a batch of {records} records from {first_seq:x} on is damaged ({cause}) and was set aside"
                )
            }
            Self::RecordsMissing { records } => {
                write!(formatter, "{records} stored records are missing: the database was damaged")
            }
            Self::JournalDamaged { cause } => write!(formatter, "the journal is damaged: {cause}"),
            Self::MapDamaged { values, cause } => {
                write!(formatter, "{values} entries of sessions or retained messages are damaged: {cause}")
            }
            Self::ConsumerUnconfigured { name, records } => {
                write!(
                    formatter,
                    "{name} is not configured any more; {records} records that wait for it are kept until it is, or until they are purged"
                )
            }
            Self::ReadFailed { message } => write!(formatter, "the disk cannot be read: {message}"),
        }
    }
}
