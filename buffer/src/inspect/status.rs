//! The state of a buffer at a glance.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{Mark, Marks};
use super::{Inspector, Result, unsigned};
use crate::batch;
use crate::boot::Boots;
use crate::policy::{Counters, Reason};
use crate::record::Priority;
use crate::store::{RESERVE, SEQ_MASK, row_id};

/// What there is of the write-ahead log, where the latest commits are until they are moved into the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// None, or an empty one: the gateway was stopped cleanly.
    None,
    /// It is read along with the database.
    Read,
    /// There is one, but it cannot be read without writing, for its index is missing. Answers are without it.
    Unread,
}

impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Unread => {
                "not read, for its index buffer.db-shm is missing: copy that too, or make an empty one, or start the gateway"
            }
        })
    }
}

/// A buffer at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The version of its schema.
    pub schema: i64,
    /// The size of the database file in bytes.
    pub database_bytes: u64,
    /// The part of it that is free for new batches.
    pub free_bytes: u64,
    /// The size of the write-ahead log in bytes.
    pub log_bytes: u64,
    /// Whether the log is part of the answers.
    pub log: Log,
    /// The size of the file that is kept for a full disk; 0 when it was given up, or never was.
    pub reserve_bytes: u64,
    /// The number of the last run: the upper part of the ids of its events.
    pub run: u64,
    /// All consumers that it knows, whether they are configured or not.
    pub consumers: Vec<ConsumerStatus>,
    /// Entries in quarantine, and the records in them.
    pub quarantined: (u64, u64),
    /// Evictions that were not announced yet.
    pub gaps: Vec<GapStatus>,
    /// Databases that were damaged and set aside.
    pub set_aside: Vec<SetAside>,
}

/// A consumer's lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// High priority first.
    pub lanes: Vec<LaneStatus>,
}

/// A lane as of the last commit that wrote of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its priority.
    pub priority: Priority,
    /// Records on disk that the consumer has not acknowledged.
    pub stored: u64,
    /// Bytes of the batches that these records are in, compressed. Batches that several lanes share count in each.
    pub stored_bytes: u64,
    /// When the oldest and the newest of these records arrived, in milliseconds since 1970. `None` when there is none,
    /// or when it is damaged.
    pub oldest_wall_ms: Option<i64>,
    /// See `oldest_wall_ms`.
    pub newest_wall_ms: Option<i64>,
    /// What became of all records of the lane; zeros before they were first written.
    pub books: Books,
}

/// What [`Inspector::waiting`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Consumer, priority, and when the oldest record on disk arrived, in milliseconds since 1970; of lanes that have any.
    pub oldest: Vec<(String, Priority, i64)>,
    /// Entries of the quarantine, and the records in them.
    pub quarantined: (u64, u64),
}

/// The books of a lane since the database was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Records appended.
    pub appended: u64,
    /// Records acknowledged.
    pub acked: u64,
    /// Records that expired before they were read.
    pub expired: u64,
    /// Records evicted because the database was full.
    pub evicted_full: u64,
    /// Records evicted by age.
    pub evicted_age: u64,
    /// Records evicted by the lane's own bounds.
    pub evicted_count: u64,
    /// New records dropped instead of old ones.
    pub evicted_newest: u64,
    /// Records set aside, with their cause.
    pub quarantined: u64,
    /// Records that damage took.
    pub lost: u64,
    /// Records removed on demand.
    pub purged: u64,
}

impl From<Counters> for Books {
    fn from(counters: Counters) -> Self {
        let left = |reason| counters.left(reason);
        Self {
            appended: counters.appended,
            acked: left(Reason::Acked),
            expired: left(Reason::Expired),
            evicted_full: left(Reason::EvictedFull),
            evicted_age: left(Reason::EvictedAge),
            evicted_count: left(Reason::EvictedCount),
            evicted_newest: left(Reason::EvictedNewest),
            quarantined: left(Reason::Quarantined),
            lost: left(Reason::Lost),
            purged: left(Reason::Purged),
        }
    }
}

/// An eviction that was not announced yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapStatus {
    /// Its number.
    pub id: i64,
    /// The consumer's name; `#7` when the database has no name for it.
    pub consumer: String,
    /// The lane's priority.
    pub priority: Priority,
    /// The first and the last number that went.
    pub first_seq: u64,
    /// See `first_seq`.
    pub last_seq: u64,
    /// How many records went.
    pub records: u64,
    /// Their time span by the wall clock, in milliseconds since 1970.
    pub first_wall_ms: i64,
    /// See `first_wall_ms`.
    pub last_wall_ms: i64,
}

/// A damaged database that was renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Inspector {
    /// The buffer at a glance. Takes as long as the headers of all batches take to read.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn status(&mut self) -> Result<Status> {
        let (names, boots) = (self.source.names(&self.path)?, self.boots()?);
        let (marks, sizes) = self.marks_and_sizes()?;
        let mut consumers = Vec::new();
        for (id, name) in &names.by_id {
            let lanes = Priority::ALL.map(|priority| (priority, marks.lane(*id, priority)));
            let lanes = lanes.into_iter().map(|(priority, mark)| self.lane((*id, priority), mark, &boots));
            consumers.push(ConsumerStatus { name: name.clone(), lanes: lanes.collect::<Result<_>>()? });
        }
        Ok(Status {
            schema: self.source.version,
            database_bytes: file_bytes(&self.path),
            free_bytes: sizes.free_bytes,
            log_bytes: file_bytes(&crate::store::with_suffix(&self.path, "-wal")),
            log: self.source.log(),
            reserve_bytes: file_bytes(&self.dir.join(RESERVE)),
            run: sizes.run,
            consumers,
            quarantined: sizes.quarantined,
            gaps: self.gaps(&names)?,
            set_aside: self.set_aside(),
        })
    }

    /// Since when the oldest records wait, and how much is set aside. What waits behind them costs nothing.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn waiting(&mut self) -> Result<Waiting> {
        let (names, boots) = (self.source.names(&self.path)?, self.boots()?);
        let (marks, sizes) = self.marks_and_sizes()?;
        let mut oldest = Vec::new();
        for (id, name) in &names.by_id {
            for priority in Priority::ALL {
                let mark = marks.lane(*id, priority).filter(|mark| mark.stored > 0);
                let wall_ms = mark.and_then(|mark| self.end((*id, priority), mark, &boots, "ASC"));
                oldest.extend(wall_ms.map(|wall_ms| (name.clone(), priority, wall_ms)));
            }
        }
        Ok(Waiting { oldest, quarantined: sizes.quarantined })
    }

    /// Both as they were at one moment.
    fn marks_and_sizes(&mut self) -> Result<(Marks, Sizes)> {
        let version = self.source.version;
        self.source
            .ask(&self.path, |connection| Ok((Marks::load(connection, version)?, Sizes::load(connection)?)))
    }

    fn lane(
        &mut self,
        (consumer, priority): (u8, Priority),
        mark: Option<&Mark>,
        boots: &Boots,
    ) -> Result<LaneStatus> {
        let mut lane = LaneStatus {
            priority,
            stored: mark.map_or(0, |mark| mark.stored),
            stored_bytes: 0,
            oldest_wall_ms: None,
            newest_wall_ms: None,
            books: mark.map(|mark| Counters::decode(&mark.counters).0.into()).unwrap_or_default(),
        };
        let Some(mark) = mark.filter(|mark| mark.stored > 0) else { return Ok(lane) };
        let bit = 1_i64 << (consumer & 63);
        let ids = (row_id(priority, mark.swept), row_id(priority, SEQ_MASK));
        let cursor = mark.settled.cursor().cast_signed();
        let from = "FROM batch WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 AND last_seq > ?4";
        let sum = format!("SELECT COALESCE(SUM(length(data)), 0) {from}");
        let values = params![ids.0, ids.1, bit, cursor];
        let bytes =
            self.source.ask(&self.path, |connection| connection.query_row(&sum, values, |row| row.get(0)));
        lane.stored_bytes = bytes.map_or(0, unsigned);
        lane.oldest_wall_ms = self.end((consumer, priority), mark, boots, "ASC");
        lane.newest_wall_ms = self.end((consumer, priority), mark, boots, "DESC");
        Ok(lane)
    }

    /// When the record at this end of what waits in a lane arrived.
    fn end(
        &mut self,
        (consumer, priority): (u8, Priority),
        mark: &Mark,
        boots: &Boots,
        order: &str,
    ) -> Option<i64> {
        let bit = 1_i64 << (consumer & 63);
        let ids = (row_id(priority, mark.swept), row_id(priority, SEQ_MASK));
        let cursor = mark.settled.cursor().cast_signed();
        let sql = format!(
            "SELECT data FROM batch WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 AND last_seq > ?4
                ORDER BY id {order} LIMIT 1"
        );
        let data = self.source.ask(&self.path, |connection| {
            let values = params![ids.0, ids.1, bit, cursor];
            connection.query_row(&sql, values, |row| row.get::<_, Vec<u8>>(0)).optional()
        });
        let records = batch::decode_with(&data.ok()??, priority, boots).ok()?;
        let waits = |stored: &&batch::Stored| {
            stored.consumers & bit.cast_unsigned() != 0 && !mark.settled.contains(stored.record.seq)
        };
        let found = if order == "ASC" { records.iter().find(waits) } else { records.iter().rfind(waits) };
        found.map(|stored| stored.record.received.wall_ms)
    }

    fn gaps(&mut self, names: &super::Names) -> Result<Vec<GapStatus>> {
        if self.source.version == 1 {
            return Ok(Vec::new());
        }
        let sql =
            "SELECT id, lane, first_seq, last_seq, records, first_wall_ms, last_wall_ms FROM gap ORDER BY id";
        self.source.ask(&self.path, |connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let lane: i64 = row.get(1)?;
                let consumer = u32::try_from(lane / 3).unwrap_or(u32::MAX);
                Ok(GapStatus {
                    id: row.get(0)?,
                    consumer: names.of(1_u64.checked_shl(consumer).unwrap_or(0)).concat(),
                    priority: super::priority(lane % 3),
                    first_seq: unsigned(row.get(2)?),
                    last_seq: unsigned(row.get(3)?),
                    records: unsigned(row.get(4)?),
                    first_wall_ms: row.get(5)?,
                    last_wall_ms: row.get(6)?,
                })
            })?;
            rows.collect()
        })
    }

    fn set_aside(&self) -> Vec<SetAside> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let aside = entries.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("buffer.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        });
        let mut found: Vec<SetAside> =
            aside.map(|entry| SetAside { bytes: file_bytes(&entry.path()), path: entry.path() }).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

struct Sizes {
    free_bytes: u64,
    run: u64,
    quarantined: (u64, u64),
}

impl Sizes {
    fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(unsigned);
        Ok(Self {
            free_bytes: one("PRAGMA freelist_count")? * one("PRAGMA page_size")?,
            // Damage to these is no reason to hide the rest.
            run: one("SELECT run FROM meta").unwrap_or(0),
            quarantined: (
                one("SELECT COUNT(*) FROM quarantine").unwrap_or(0),
                one("SELECT COALESCE(SUM(records), 0) FROM quarantine").unwrap_or(0),
            ),
        })
    }
}

fn file_bytes(path: &std::path::Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
