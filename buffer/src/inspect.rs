//! Looking into a buffer: beside a running gateway, or on what a stopped one left.
//!
//! Nothing is written and nothing is locked for long: each batch is read in a transaction of its own, so that the
//! writer's log can be cut between them. What is damaged is passed over and told. See [`Inspector`].

mod connection;
mod rows;
mod status;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{self, BatchError, Stored};
use crate::record::{Priority, Record, Stamp};
use connection::Source;

pub use rows::Batch;
pub use status::{Books, ConsumerStatus, GapStatus, LaneStatus, Log, SetAside, Status, Waiting};
pub use verify::{Phase, Problem, Progress, Verification};

/// Why a buffer cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no database.
    #[error("there is no buffer in {}: {source}", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A database of another program.
    #[error("{} is a database of another program (application id {application_id:#x})", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// Its application id.
        application_id: i64,
    },
    /// Written by a newer version of this program.
    #[error("{} has schema version {found}, this program knows versions up to {known}; use the newer version", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version known here.
        known: i64,
    },
    /// It cannot be read as a database, or not at this place.
    #[error("{} cannot be read: {message}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// The database has no consumer of this name.
    #[error("the buffer knows no consumer {0:?}")]
    NoSuchConsumer(String),
    /// There is nothing in quarantine under this number.
    #[error("nothing is in quarantine under number {0}")]
    NotInQuarantine(i64),
    /// What is in quarantine under this number are not records that can be decoded.
    #[error("what is in quarantine under number {id} cannot be decoded: {cause}")]
    Undecodable {
        /// Its number.
        id: i64,
        /// What is wrong with it.
        cause: String,
    },
}

pub(crate) type Result<T> = std::result::Result<T, InspectError>;

/// What is asked for; the default is everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only what waits for the consumer of this name.
    pub consumer: Option<String>,
    /// Only this priority.
    pub priority: Option<Priority>,
    /// Only record numbers from here on.
    pub first_seq: Option<u64>,
    /// Only record numbers up to here.
    pub last_seq: Option<u64>,
}

/// A record that waits on disk, or lies in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its number.
    pub seq: u64,
    /// Its lane at each of its consumers.
    pub priority: Priority,
    /// The consumers that have not acknowledged it, as far as the database knows.
    pub consumers: Arc<[String]>,
    /// When the event arrived.
    pub received: Stamp,
    /// How many milliseconds after `received` it is worth nothing any more.
    pub expires_after_ms: Option<u64>,
    /// Whether the wall time in `received` is right: taken or corrected with a clock that became trusted.
    pub stamp_trusted: bool,
    /// As appended.
    pub topic: Bytes,
    /// As appended.
    pub meta: Bytes,
    /// As appended.
    pub payload: Bytes,
}

/// What a stream of records came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Records handed out.
    pub records: u64,
    /// Batches they came from.
    pub batches: u64,
    /// Batches, or places in the table, that could not be read.
    pub damaged: u64,
}

/// Something set aside with its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number, for [`Inspector::quarantined_records`].
    pub id: i64,
    /// When it was set aside, in milliseconds since 1970 by the wall clock.
    pub wall_ms: i64,
    /// The consumers it was for; empty for a journal or snapshot.
    pub consumers: Arc<[String]>,
    /// Its priority.
    pub priority: Priority,
    /// How many records it is, as was counted when they were stored; 0 for a journal or snapshot.
    pub records: u64,
    /// Why.
    pub cause: String,
    /// Its bytes, compressed.
    pub bytes: u64,
}

/// A view of the buffer in one folder.
///
/// It has no lock and writes nothing, so it may be used beside a running gateway and on a copy of the files. Beside a
/// running one each answer is as of its own moment, and stays behind by what is in memory only. Of a stopped
/// gateway's log (`buffer.db-wal`) it needs the index (`buffer.db-shm`) that lies beside it.
#[derive(Debug)]
pub struct Inspector {
    dir: PathBuf,
    path: PathBuf,
    source: Source,
}

impl Inspector {
    /// Looks for the buffer in `dir`.
    ///
    /// # Errors
    /// See [`InspectError`]. A database that is damaged in part can be opened; it says so where it is.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        let path = dir.join(crate::store::DATABASE);
        let source = Source::open(&path).map_err(|error| error.or_missing(&dir))?;
        Ok(Self { dir, path, source })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What lies in quarantine after the number `after`, the oldest first, at most `limit` of it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn quarantined(&mut self, after: i64, limit: u32) -> Result<Vec<Quarantined>> {
        let names = self.source.names(&self.path)?;
        let sql = "SELECT id, wall_ms, consumers, priority, records, cause, length(data) FROM quarantine
            WHERE id > ?1 ORDER BY id LIMIT ?2";
        let list = |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map(rusqlite::params![after, limit], |row| {
                Ok(Quarantined {
                    id: row.get(0)?,
                    wall_ms: row.get(1)?,
                    consumers: names.of(row.get::<_, i64>(2)?.cast_unsigned()),
                    priority: priority(row.get(3)?),
                    records: unsigned(row.get(4)?),
                    cause: row.get(5)?,
                    bytes: unsigned(row.get(6)?),
                })
            })?;
            rows.collect()
        };
        self.source.ask(&self.path, list)
    }

    /// The records in quarantine under the number `id`.
    ///
    /// # Errors
    /// When there is nothing under this number, or no records that can be decoded.
    pub fn quarantined_records(&mut self, id: i64) -> Result<Vec<StoredRecord>> {
        use rusqlite::OptionalExtension as _;
        let names = self.source.names(&self.path)?;
        let sql = "SELECT priority, data FROM quarantine WHERE id = ?1";
        let row: Option<(i64, Vec<u8>)> = self.source.ask(&self.path, |connection| {
            connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        let (rank, data) = row.ok_or(InspectError::NotInQuarantine(id))?;
        let undecodable = |error: BatchError| InspectError::Undecodable { id, cause: error.to_string() };
        let records = batch::decode_with(&data, priority(rank), &self.boots()?).map_err(undecodable)?;
        Ok(records.into_iter().map(|stored| names.record(stored, u64::MAX)).collect())
    }
}

/// The names of consumers, and the sets of them seen last.
#[derive(Debug, Default)]
struct Names {
    by_id: Vec<(u8, String)>,
}

impl Names {
    fn id(&self, name: &str) -> Result<u8> {
        let found = self.by_id.iter().find(|(_, known)| known == name).map(|(id, _)| *id);
        found.ok_or_else(|| InspectError::NoSuchConsumer(name.to_owned()))
    }

    /// The names of a mask; a number without a name is shown as `#7`.
    fn of(&self, mask: u64) -> Arc<[String]> {
        let name = |id: u8| self.by_id.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
        crate::record::bits(mask).map(|id| name(id.0).unwrap_or_else(|| format!("#{}", id.0))).collect()
    }

    fn record(&self, Stored { record, consumers }: Stored, mask: u64) -> StoredRecord {
        stored_record(record, self.of(consumers & mask))
    }
}

fn stored_record(record: Record, consumers: Arc<[String]>) -> StoredRecord {
    let Record { seq, priority, received, topic, meta, payload, expires_after_ms, stamp_trusted, .. } =
        record;
    StoredRecord { seq, priority, consumers, received, expires_after_ms, stamp_trusted, topic, meta, payload }
}

fn priority(rank: i64) -> Priority {
    let at = usize::try_from(rank).ok().and_then(|rank| Priority::ALL.get(rank));
    at.copied().unwrap_or(Priority::Low)
}

/// A count or number as it is stored; what damage made negative is 0.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
