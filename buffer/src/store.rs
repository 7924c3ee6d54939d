//! The database: every SQL statement of the crate, the schema, the pragmas, and what to do with a damaged file.

pub(crate) mod boots;
mod evict;
mod folder;
mod map;
mod marks;
mod open;
mod reserve;
mod salvage;
pub(crate) mod schema;
mod sums;
mod sweep;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, ffi, params};

pub(crate) use folder::DATABASE;
use folder::Folder;
pub(crate) use open::{OpenedStore, check_names, open};
pub(crate) use reserve::{RESERVE, Reserve};
pub(crate) use salvage::with_suffix;

use crate::batch::{self, Stored};
use crate::boot::{BootId, Boots};
use crate::mutation::{self, Mutation};
use crate::options::WhenFull;
use crate::policy::{
    Committed, Damage, GapRow, Limits, Load, Plan, QuarantinePlan, Repaired, RowPlan, Span, Want,
};
use crate::record::{ConsumerId, Priority, Stamp};

/// Free pages given back in one idle step, and how many are kept for the next backlog.
const VACUUM_PAGES: i64 = 128;
const FREE_PAGES_KEPT: i64 = 256;

/// What SQLite, or the encoding before it, said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a batch cannot be compressed: {0}")]
    Encode(#[from] std::io::Error),
    #[error("the tables are not as they were made")]
    Schema,
    #[error("the checksum of a row is wrong")]
    Sum,
    #[error("the rows are not in their order")]
    Order,
}

impl StoreError {
    /// Whether the file is damaged, which is whatever SQLite says that is not about the disk, the permissions or the
    /// memory: the SQL is fixed, so a statement that does not fit the tables, a constraint that does not hold, or a value
    /// of another type means that the tables are not what they were.
    pub(crate) fn is_corrupt(&self) -> bool {
        let error = match self {
            Self::Schema | Self::Sum | Self::Order => return true,
            Self::Encode(_) => return false,
            Self::Sqlite(error) => error,
        };
        let ends_early = [ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS];
        match error.sqlite_error() {
            None => !matches!(error, rusqlite::Error::NulError(_) | rusqlite::Error::InvalidPath(_)),
            Some(error) if ends_early.contains(&error.extended_code) => true,
            Some(error) => !matches!(
                error.code,
                ErrorCode::SystemIoFailure
                    | ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::CannotOpen
                    | ErrorCode::PermissionDenied
                    | ErrorCode::AuthorizationForStatementDenied
                    | ErrorCode::OutOfMemory
                    | ErrorCode::OperationInterrupted
            ),
        }
    }
}

impl StoreError {
    /// Whether the file may not be written.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly))
    }

    /// Whether the file system has no room. The index of the log is the one file whose lack of room SQLite calls
    /// otherwise.
    pub(crate) fn is_full(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        let extended = error.sqlite_error().map(|error| error.extended_code);
        error.sqlite_error_code() == Some(ErrorCode::DiskFull) || extended == Some(ffi::SQLITE_IOERR_SHMSIZE)
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// The id of the row that begins with `seq`; rows of a priority are a range of ids.
pub(crate) fn row_id(priority: Priority, seq: u64) -> i64 {
    (((priority.rank() as u64) << 61) | (seq & SEQ_MASK)).cast_signed()
}

pub(crate) const SEQ_MASK: u64 = (1 << 61) - 1;

/// A count as SQLite has it.
fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn first_seq(id: i64) -> u64 {
    id.cast_unsigned() & SEQ_MASK
}

/// The writer's connection.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    path: PathBuf,
    boot: BootId,
    boots: Boots,
    /// The file system is.
    is_full: bool,
}

/// A row as bytes, made outside of any lock and transaction.
struct EncodedRow<'a> {
    plan: &'a RowPlan,
    data: Vec<u8>,
}

impl Store {
    /// Writes the plan in one transaction: all of it is durable, or nothing.
    pub(crate) fn commit(&mut self, plan: &Plan, limits: &Limits) -> Result<Committed> {
        let encode = |plan| Ok(EncodedRow { data: batch::encode(RowPlan::records(plan), self.boot)?, plan });
        let rows = plan.rows.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let marks = plan.lanes.iter().map(|lane| lane.mark.clone()).collect();
        let mut done = Committed { marks, gaps: plan.gaps.clone(), ..Committed::default() };
        let boot = self.boot;
        let mut transaction = self.connection.transaction()?;
        if self.is_full && limits.when_full == WhenFull::EvictOldest {
            // Before the new rows, so that they find room in the pages of the old ones.
            let room = room_for(&rows, plan).min(limits.max_bytes / 2);
            evict::make_room(&transaction, limits.max_bytes.saturating_sub(room), &self.boots, &mut done)?;
        }
        marks::write_names(&transaction, plan)?;
        for row in &rows {
            insert_row(&transaction, row)?;
            done.bytes_written += row.data.len() as u64;
        }
        if mutation::is_planted(Mutation::SplitCommit) {
            transaction.commit()?;
            transaction = self.connection.transaction()?;
        }
        done.bytes_written += write_state(&transaction, plan)?;
        done.bytes_written += map::write(&transaction, &plan.changes)?;
        write_quarantine(&transaction, &plan.quarantine, boot)?;
        for damage in &plan.damage {
            let repaired = repair(&transaction, damage, &mut done.gaps)?;
            done.repaired.push(repaired);
        }
        for id in &plan.drop_quarantined {
            transaction.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([id])?;
        }
        sweep::sweep(&transaction, &plan.lanes, &mut done)?;
        evict::trim_lanes(&transaction, &plan.lanes, &self.boots, &mut done)?;
        if limits.when_full == WhenFull::EvictOldest {
            evict::make_room(&transaction, limits.max_bytes, &self.boots, &mut done)?;
        }
        sweep::sweep_emptied(&transaction, &plan.lanes, &mut done)?;
        marks::write(&transaction, plan, &done)?;
        if !mutation::is_planted(Mutation::GapForgotten) {
            marks::write_gaps(&transaction, plan, &mut done.gaps)?;
        }
        if plan.probe {
            transaction.prepare_cached("UPDATE meta SET probe = probe + 1")?.execute([])?;
        }
        done.disk_bytes = used_bytes(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Gives some free pages back to the file system; whether there are more to give.
    pub(crate) fn vacuum_step(&self) -> Result<bool> {
        let free = pragma(&self.connection, "freelist_count")?;
        let pages = pragma(&self.connection, "page_count")?;
        if free <= FREE_PAGES_KEPT || free < pages / 4 {
            return Ok(false);
        }
        let step = VACUUM_PAGES.min(free - FREE_PAGES_KEPT);
        let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

    /// Moves the write-ahead log into the database and cuts it.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// On a full file system the log is moved into the database almost at once: what it takes, the database lacks. The log
    /// keeps its size, and is written from its beginning again.
    pub(crate) fn set_room(&mut self, room: bool) -> Result<()> {
        self.is_full = !room;
        const LOG_PAGES_FULL: i64 = 64;
        let pages = if room { open::LOG_PAGES } else { LOG_PAGES_FULL };
        self.connection.query_row(&format!("PRAGMA wal_autocheckpoint = {pages}"), [], |_| Ok(()))?;
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Bytes of all pages, the free ones too.
    pub(crate) fn file_bytes(&self) -> Result<u64> {
        let bytes = pragma(&self.connection, "page_count")? * pragma(&self.connection, "page_size")?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Lets nothing be written, as a file system that was mounted anew.
    #[cfg(test)]
    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.connection.pragma_update(None, "query_only", read_only).unwrap();
    }

    /// Limits the file, so that the next commits fail as on a full disk; 0 takes the limit away.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u64) {
        let pages = if pages == 0 { 4_294_967_294 } else { pages };
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }
}

impl RowPlan {
    fn records(&self) -> &[Stored] {
        &self.records
    }

    fn mask(&self) -> u64 {
        self.records.iter().fold(0, |mask, stored| mask | stored.consumers)
    }
}

/// How many bytes a commit may take at most: what it writes, each value in pages of its own, and a few more.
fn room_for(rows: &[EncodedRow<'_>], plan: &Plan) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let values = rows.iter().map(|row| row.data.len() as u64 + 2 * PAGE_BYTES).sum::<u64>();
    let state = plan.snapshot.iter().chain(&plan.journal).map(|state| state.len() as u64).sum::<u64>();
    if values + state == 0 { 0 } else { values + state + 8 * PAGE_BYTES }
}

/// A row that is there already is of a commit that failed in name only, and has no record that this one, made
/// of what is still undurable, lacks.
fn insert_row(transaction: &Transaction<'_>, row: &EncodedRow<'_>) -> Result<()> {
    let records = row.plan.records();
    let seq = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.record.seq);
    let id = row_id(row.plan.priority, seq(records.first()));
    let last_seq = seq(records.last()).cast_signed();
    let (mask, count) = (row.plan.mask().cast_signed(), count(records.len()));
    transaction
        .prepare_cached("INSERT OR REPLACE INTO batch(id, consumers, last_seq, records, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id, mask, last_seq, count, row.data])?;
    Ok(())
}

/// Writes the snapshot and the journal; returns their bytes.
fn write_state(transaction: &Transaction<'_>, plan: &Plan) -> Result<u64> {
    let mut bytes = 0;
    if let Some(snapshot) = &plan.snapshot {
        let data = batch::compress(snapshot)?;
        bytes += data.len() as u64;
        transaction.execute("DELETE FROM journal", [])?;
        transaction.execute("INSERT OR REPLACE INTO snapshot(id, data) VALUES (0, ?1)", params![data])?;
    }
    if !plan.journal.is_empty() {
        let data = batch::encode_journal(&plan.journal)?;
        bytes += data.len() as u64;
        transaction.prepare_cached("INSERT INTO journal(data) VALUES (?1)")?.execute(params![data])?;
    }
    Ok(bytes)
}

fn write_quarantine(transaction: &Transaction<'_>, plans: &[QuarantinePlan], boot: BootId) -> Result<()> {
    for plan in plans {
        let consumers = 1_u64 << (plan.consumer.0 & 63);
        // The boot of a record from another one is not known any more.
        let boot = if plan.record.same_boot { boot } else { BootId::default() };
        let data = batch::encode(&[Stored { record: plan.record.clone(), consumers }], boot)?;
        insert_quarantine(
            transaction,
            (consumers.cast_signed(), plan.record.priority, 1),
            &plan.cause,
            &data,
        )?;
    }
    Ok(())
}

fn insert_quarantine(
    transaction: &Transaction<'_>,
    (consumers, priority, records): (i64, Priority, i64),
    cause: &str,
    data: &[u8],
) -> Result<()> {
    let sql = "INSERT INTO quarantine(wall_ms, consumers, priority, records, cause, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let wall_ms = Stamp::now().wall_ms;
    transaction.prepare_cached(sql)?.execute(params![
        wall_ms,
        consumers,
        count(priority.rank()),
        records,
        cause,
        data
    ])?;
    Ok(())
}

/// Moves a damaged row into quarantine.
fn repair(transaction: &Transaction<'_>, damage: &Damage, gaps: &mut Vec<GapRow>) -> Result<Repaired> {
    let id = row_id(damage.priority, damage.first_seq);
    let sql = "SELECT consumers, records, data, last_seq FROM batch WHERE id = ?1";
    let fields = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let row: Option<(i64, i64, Vec<u8>, i64)> = transaction.query_row(sql, [id], fields).optional()?;
    let Some((consumers, records, data, last_seq)) = row else {
        return Ok(Repaired { damage: damage.clone(), row: None });
    };
    insert_quarantine(transaction, (consumers, damage.priority, records), &damage.cause, &data)?;
    transaction.execute("DELETE FROM batch WHERE id = ?1", [id])?;
    let (consumers, records) = (consumers.cast_unsigned(), u64::try_from(records).unwrap_or(0));
    let span = Span::new(damage.first_seq, last_seq.cast_unsigned());
    evict::note_damage(gaps, (consumers, damage.priority), span, records);
    Ok(Repaired { damage: damage.clone(), row: Some((consumers, records)) })
}

fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    Ok(connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
}

/// Bytes of live pages; needs no scan.
fn used_bytes(connection: &Connection) -> Result<u64> {
    let mut pages = 0;
    for (name, sign) in [("PRAGMA page_count", 1), ("PRAGMA freelist_count", -1)] {
        pages += sign * connection.prepare_cached(name)?.query_row([], |row| row.get::<_, i64>(0))?;
    }
    let size: i64 = connection.prepare_cached("PRAGMA page_size")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(pages * size).unwrap_or(0))
}

/// The reader's connection.
#[derive(Debug)]
pub(crate) struct ReadStore {
    connection: Connection,
    pub(crate) boots: Boots,
    /// Off where salvage did not help: what the tree leads to is better than nothing.
    pub(crate) checks_order: bool,
}

impl ReadStore {
    pub(crate) fn open(path: &Path, boots: Boots) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        open::configure(&connection)?;
        // Rows are read once, and what leads to them is small.
        connection.pragma_update(None, "cache_size", -256)?;
        Ok(Self { connection, boots, checks_order: true })
    }

    /// The first number and the data of the row asked for; `None` when there is none.
    ///
    /// What is loaded claims all numbers up to it, so each step is checked from the other side as well: a tree whose
    /// pages changed places would lead past rows in one direction, and not in the other.
    pub(crate) fn load(&self, load: &Load) -> Result<Option<(u64, Vec<u8>)>> {
        let id = |seq| row_id(load.priority, seq);
        let bit = load.consumer_bit.cast_signed();
        let (found, passed) = match load.want {
            Want::Downward { end, row } => {
                let sql = "SELECT id, data FROM batch
                    WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 ORDER BY id DESC LIMIT 1";
                let found = self.row(sql, params![id(row), id(end), bit])?;
                let from = found.as_ref().map_or(id(row), |(seq, _)| id(*seq) + 1);
                let sql = "SELECT ?4 <= last_seq FROM batch
                    WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 ORDER BY id LIMIT 1";
                (found, self.is_passed(sql, params![from, id(end), bit, 0])?)
            }
            Want::Upward { start, end, row, overlap } => {
                let from = if overlap { self.row_at(load, row, start)? } else { id(row) };
                let sql = "SELECT id, data FROM batch
                    WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 AND last_seq >= ?4
                    ORDER BY id LIMIT 1";
                let found = self.row(sql, params![from, id(end), bit, start.cast_signed()])?;
                let to = found.as_ref().map_or(id(end), |(seq, _)| id(*seq) - 1);
                let sql = "SELECT ?4 <= last_seq FROM batch
                    WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 ORDER BY id DESC LIMIT 1";
                (found, self.is_passed(sql, params![from, to, bit, start.cast_signed()])?)
            }
        };
        if passed && self.checks_order { Err(StoreError::Order) } else { Ok(found) }
    }

    /// Whether the nearest row on the way has what was looked for.
    fn is_passed(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(values, |row| row.get(0)).optional()?.unwrap_or(false))
    }

    fn row(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Option<(u64, Vec<u8>)>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let fields = |row: &rusqlite::Row<'_>| Ok((first_seq(row.get(0)?), row.get(1)?));
        Ok(statement.query_row(values, fields).optional()?)
    }

    /// The lane's last row that begins at `start` or before; `row` when there is none.
    fn row_at(&self, load: &Load, row: u64, start: u64) -> Result<i64> {
        let sql = "SELECT id FROM batch WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0
            ORDER BY id DESC LIMIT 1";
        let ids = (row_id(load.priority, row), row_id(load.priority, start));
        let mut statement = self.connection.prepare_cached(sql)?;
        let found =
            statement.query_row(params![ids.0, ids.1, load.consumer_bit.cast_signed()], |row| row.get(0));
        Ok(found.optional()?.unwrap_or(ids.0))
    }
}

/// A registered consumer.
pub(crate) type Registered = (String, ConsumerId);

#[cfg(test)]
mod tests;
