//! A database whose structure is damaged: it is renamed, a new one begun, and what can be read carried over.

mod batches;
mod image;
mod pages;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, params, params_from_iter};

use super::open::{CONSUMERS_MAX, RUN_MAX, RUN_SHIFT, connect};
use super::schema::Copied;
use super::{Registered, Result, SEQ_MASK, Store, first_seq, marks, row_id, schema, sums};
use crate::incident::Incident;
use crate::record::{Priority, Stamp};
use batches::Batches;
use image::Image;
pub(super) use pages::PAGE_BYTES;

/// The run number rises by this much when the old one cannot be read, beyond any run that could have been.
const RUNS_SKIPPED: i64 = 1000;
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
    let batches_saved = match carry {
        Carry::All => carry_over(&aside, &mut new, consumers)?,
        Carry::Nothing => 0,
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

fn carry_over(aside: &Path, new: &mut Connection, consumers: &[Registered]) -> Result<u64> {
    // Open before SQLite opens the files, and until it has closed them: closing gives up the locks of a process.
    let image = Image::open(aside);
    let old = open_damaged(aside);
    let transaction = new.transaction()?;
    let mut batches = Batches::new(&transaction);
    let mut run = None;
    if let Ok(old) = &old {
        for copied in &schema::COPIED {
            copy(old, copied, "ORDER BY 1", &mut put_into(&transaction, copied)?)?;
        }
        batches.copy(old)?;
        run = old.query_row("SELECT run FROM meta", [], |row| row.get::<_, i64>(0)).ok();
    }
    drop(old);
    sums::discard(&transaction)?;
    name_consumers(&transaction, consumers)?;
    if let Ok(image) = &image {
        batches.carve(image, &marks::load(&transaction, CONSUMERS_MAX * 3, SEQ_MASK)?)?;
    }
    recount(&transaction)?;
    restore_run(run, &transaction)?;
    let saved = count(&transaction, "batch")?;
    transaction.commit()?;
    Ok(saved)
}

/// Leaves the consumers and lanes that there can be, and gives each consumer its name and its lanes.
fn name_consumers(new: &Transaction<'_>, assumed: &[Registered]) -> Result<()> {
    new.execute("DELETE FROM consumer WHERE id NOT BETWEEN 0 AND ?1", [super::count(CONSUMERS_MAX) - 1])?;
    let unnamed = "SELECT DISTINCT id / 3 FROM lane
        WHERE id BETWEEN 0 AND 191 AND id / 3 NOT IN (SELECT id FROM consumer)";
    let mut statement = new.prepare(unnamed)?;
    let mut unnamed: BTreeSet<u8> =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for (name, id) in assumed {
        let named = "SELECT EXISTS (SELECT 1 FROM consumer WHERE name = ?1)";
        if new.query_row(named, [name], |row| row.get(0))? {
            continue;
        }
        // Whose name was damaged is one of those that have lanes and no name.
        let id = unnamed.take(&id.0).or_else(|| unnamed.pop_first()).unwrap_or(id.0);
        new.execute("INSERT OR IGNORE INTO consumer(id, name) VALUES (?1, ?2)", params![id, name])?;
    }
    new.execute("DELETE FROM lane WHERE id < 0 OR id / 3 NOT IN (SELECT id FROM consumer)", [])?;
    let lanes = "INSERT OR IGNORE INTO lane(id, cursor, stored, swept, settled, counters)
        SELECT consumer.id * 3 + rank.column1, 0, 0, 0, x'', x'' FROM consumer, (VALUES (0), (1), (2)) AS rank";
    new.execute(lanes, [])?;
    Ok(())
}

fn count(transaction: &Transaction<'_>, table: &str) -> Result<u64> {
    let count: i64 = transaction.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Copies rows until one that cannot be read, and gives the id of the last before it (`i64::MIN` if it was the first);
/// `None` if there was none such. `put` says whether a row was new. Only failing to write is an error.
fn copy(
    old: &Connection,
    copied: &Copied,
    clause: &str,
    put: &mut impl FnMut(Vec<Value>) -> Result<bool>,
) -> Result<Option<i64>> {
    let Copied { table, columns, columns_1, types } = copied;
    let select = |columns| old.prepare(&format!("SELECT {columns} FROM {table} {clause}"));
    let select =
        select(columns).or_else(|error| if columns_1.is_empty() { Err(error) } else { select(columns_1) });
    let Ok(mut select) = select else { return Ok(None) };
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
        if !put(values)? && clause.ends_with("DESC") {
            return Ok(None);
        }
    }
}

/// Puts rows into a table as they are; one that breaks a constraint is left behind.
fn put_into<'a>(
    new: &'a Transaction<'_>,
    copied: &Copied,
) -> Result<impl FnMut(Vec<Value>) -> Result<bool> + use<'a>> {
    let places = vec!["?"; copied.types.len()].join(", ");
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {} VALUES ({places})", copied.table))?;
    Ok(move |values| Ok(insert.execute(params_from_iter(values))? == 1))
}

/// Counts what is stored in the lanes.
fn recount(new: &Transaction<'_>) -> Result<()> {
    let mut statement = new.prepare("SELECT id FROM consumer")?;
    let ids: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sum = "(SELECT COALESCE(SUM(records), 0) FROM batch
        WHERE id BETWEEN ?2 AND ?3 AND consumers & ?4 != 0 AND last_seq > lane.cursor)";
    for (id, priority) in ids.into_iter().flat_map(|id| Priority::ALL.map(|priority| (id, priority))) {
        let lane = id * 3 + super::count(priority.rank());
        let range = (row_id(priority, 0), row_id(priority, SEQ_MASK));
        let sql = format!("UPDATE lane SET swept = 0, stored = {sum}, sum = NULL WHERE id = ?1");
        new.execute(&sql, params![lane, range.0, range.1, 1_i64 << (id & 63)])?;
    }
    Ok(())
}

/// Numbers never repeat: the run goes on where the old database, or the highest number found in it, was.
fn restore_run(known: Option<i64>, new: &Transaction<'_>) -> Result<()> {
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
