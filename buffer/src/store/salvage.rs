//! A database whose structure is damaged: it is renamed, a new one begun, and what can be read carried over.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, params, params_from_iter};

use super::open::{RUN_MAX, RUN_SHIFT, connect};
use super::schema::Copied;
use super::{Registered, Result, SEQ_MASK, Store, first_seq, row_id, schema};
use crate::incident::Incident;
use crate::record::{Priority, Stamp};

/// The run number rises by this much when the old one cannot be read, beyond any run that could have been.
const RUNS_SKIPPED: i64 = 1000;
const BATCH: Copied =
    Copied { table: "batch", columns: "id, consumers, last_seq, records, data", types: "iiiib" };

/// What goes into the new database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carry {
    All,
    Nothing,
}

/// Sets the database at `path` aside and fills a new one from it. `consumers` are the names and numbers to
/// assume when the old database cannot tell.
pub(super) fn salvage(path: &Path, cause: &str, consumers: &[Registered], carry: Carry) -> Result<Incident> {
    let aside = aside_path(path);
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(path, suffix);
        if from.exists() {
            std::fs::rename(&from, with_suffix(&aside, suffix))?;
        }
    }
    let mut new = connect(path)?;
    let batches_saved = match (open_damaged(&aside), carry) {
        (Ok(old), Carry::All) => carry_over(&old, &mut new, consumers)?,
        _ => 0,
    };
    Ok(Incident::DatabaseSetAside { path: aside, cause: cause.to_owned(), batches_saved })
}

/// Opens for reading what is left. SQLite refuses a file that is shorter than its header says, unless it is told that the
/// schema may be mended (lockBtree in its btree.c).
fn open_damaged(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "writable_schema", "ON")?;
    Ok(connection)
}

/// A name that is free, with the time in it.
pub(super) fn aside_path(path: &Path) -> PathBuf {
    let seconds = Stamp::now().wall_ms / 1000;
    let candidates = (0_i64..).map(|n| with_suffix(path, &format!(".damaged-{}", seconds + n)));
    candidates.into_iter().find(|candidate| !candidate.exists()).unwrap_or_else(|| path.to_owned())
}

/// The path with the suffix at its end, as SQLite names the files beside a database.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn carry_over(old: &Connection, new: &mut Connection, consumers: &[Registered]) -> Result<u64> {
    let transaction = new.transaction()?;
    for copied in &schema::COPIED {
        copy(old, &transaction, copied, "ORDER BY 1")?;
    }
    if count(&transaction, "consumer")? == 0 {
        for (name, id) in consumers {
            transaction.execute("INSERT INTO consumer(id, name) VALUES (?1, ?2)", params![id.0, name])?;
        }
    }
    copy_batches(old, &transaction)?;
    recount(&transaction)?;
    restore_run(old, &transaction)?;
    let saved = count(&transaction, "batch")?;
    transaction.commit()?;
    Ok(saved)
}

fn count(transaction: &Transaction<'_>, table: &str) -> Result<u64> {
    let count: i64 = transaction.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Copies every row that can be read, past those that cannot: behind damage it looks further on, in growing steps, and
/// it comes from the far end too, so that a damaged page costs little more than what is on it.
fn copy_batches(old: &Connection, new: &Transaction<'_>) -> Result<()> {
    let (mut after, mut step) = (-1_i64, 1_i64);
    while let Some(last) = copy(old, new, &BATCH, &format!("WHERE id > {after} ORDER BY id"))? {
        if last > after {
            (after, step) = (last, 1);
        }
        let Some(next) = after.checked_add(step) else { break };
        (after, step) = (next, step.saturating_mul(2));
    }
    copy(old, new, &BATCH, "ORDER BY id DESC")?;
    Ok(())
}

/// Copies rows until one that cannot be read, and gives the id of the last before it (`i64::MIN` if it was the first);
/// `None` if there was none such. Only failing to write is an error.
fn copy(old: &Connection, new: &Transaction<'_>, copied: &Copied, clause: &str) -> Result<Option<i64>> {
    let Copied { table, columns, types } = copied;
    let Ok(mut select) = old.prepare(&format!("SELECT {columns} FROM {table} {clause}")) else {
        return Ok(None);
    };
    let places = vec!["?"; types.len()].join(", ");
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))?;
    let mut last = i64::MIN;
    let Ok(mut rows) = select.query([]) else { return Ok(Some(last)) };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(last)),
        };
        let values: rusqlite::Result<Vec<Value>> = (0..types.len()).map(|at| row.get(at)).collect();
        let Ok(values) = values else { continue };
        if !copied.fits(&values) {
            continue;
        }
        if let Some(Value::Integer(id)) = values.first() {
            last = *id;
        }
        // The second pass, from the other end, stops where the first one has been.
        if insert.execute(params_from_iter(values))? == 0 && clause.ends_with("DESC") {
            return Ok(None);
        }
    }
}

/// Gives each consumer its lanes, and counts what is stored in them.
fn recount(new: &Transaction<'_>) -> Result<()> {
    let mut statement = new.prepare("SELECT id FROM consumer")?;
    let ids: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sum = "(SELECT COALESCE(SUM(records), 0) FROM batch
        WHERE id BETWEEN ?2 AND ?3 AND consumers & ?4 != 0 AND last_seq > lane.cursor)";
    for (id, priority) in ids.into_iter().flat_map(|id| Priority::ALL.map(|priority| (id, priority))) {
        let lane = id * 3 + i64::try_from(priority.rank()).unwrap_or(0);
        new.execute(
            "INSERT OR IGNORE INTO lane(id, cursor, stored, swept, settled, counters)
                VALUES (?1, 0, 0, 0, x'', x'')",
            [lane],
        )?;
        let range = (row_id(priority, 0), row_id(priority, SEQ_MASK));
        let sql = format!("UPDATE lane SET swept = 0, stored = {sum} WHERE id = ?1");
        new.execute(&sql, params![lane, range.0, range.1, 1_i64 << (id & 63)])?;
    }
    Ok(())
}

/// Numbers never repeat: the run goes on where the old database, or the highest number found in it, was.
fn restore_run(old: &Connection, new: &Transaction<'_>) -> Result<()> {
    let known = old.query_row("SELECT run FROM meta", [], |row| row.get::<_, i64>(0)).ok();
    let cursors = "SELECT MAX(m) FROM (SELECT COALESCE(MAX(last_seq), 0) AS m FROM batch
        UNION SELECT COALESCE(MAX(cursor), 0) FROM lane)";
    let highest: i64 = new.query_row(cursors, [], |row| row.get(0))?;
    let found = first_seq(highest) >> RUN_SHIFT;
    let found = i64::try_from(found).ok().filter(|_| found < RUN_MAX).unwrap_or(0);
    let run = known.filter(|run| (found..1 << 20).contains(run)).unwrap_or(found + RUNS_SKIPPED);
    new.execute("UPDATE meta SET run = ?1", [run])?;
    Ok(())
}

impl Store {
    /// Salvages while running: the run and the consumers' numbers stay.
    pub(crate) fn rebuild(&mut self, cause: &str, consumers: &[Registered]) -> Result<Incident> {
        self.connection = Connection::open_in_memory()?;
        let incident = salvage(&self.path, cause, consumers, Carry::All)?;
        self.connection = connect(&self.path)?;
        Ok(incident)
    }
}
