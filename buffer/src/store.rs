//! The database: every SQL statement of the crate, the schema, the pragmas, and what to do with a damaged file.

pub(crate) mod boots;
mod open;
mod salvage;
pub(crate) mod schema;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, params};

pub(crate) use open::{DATABASE, OpenedStore, open};
pub(crate) use salvage::with_suffix;

use crate::batch::{self, Stored};
use crate::boot::{BootId, Boots};
use crate::options::WhenFull;
use crate::policy::{
    Committed, Damage, Evicted, LaneMark, LanePlan, Limits, Load, Plan, QuarantinePlan, Repaired, RowPlan,
};
use crate::record::{ConsumerId, Priority, Stamp, bits};

/// The file that gives its room to a full disk.
pub(crate) const RESERVE: &str = "buffer.reserve";
/// How many rows one lane looks at in one sweep, and how many one commit evicts, at most.
const SWEEP_ROWS_MAX: usize = 512;
const EVICT_ROWS_MAX: usize = 4096;
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
}

impl StoreError {
    /// Whether the file is damaged. The SQL is fixed, so a statement that does not fit the tables, or a value of
    /// another type, means that the tables are not what they were.
    pub(crate) fn is_corrupt(&self) -> bool {
        use rusqlite::Error;
        match self {
            Self::Schema => true,
            Self::Encode(_) => false,
            Self::Sqlite(error) => match error {
                Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::FromSqlConversionFailure(..)
                | Error::Utf8Error(..)
                | Error::QueryReturnedNoRows => true,
                other => matches!(
                    other.sqlite_error_code(),
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
                ),
            },
        }
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
        let mut done =
            Committed { marks: plan.lanes.iter().map(|lane| lane.mark).collect(), ..Committed::default() };
        let boot = self.boot;
        let transaction = self.connection.transaction()?;
        for row in &rows {
            insert_row(&transaction, row)?;
            done.bytes_written += row.data.len() as u64;
        }
        done.bytes_written += write_state(&transaction, plan)?;
        write_quarantine(&transaction, &plan.quarantine, boot)?;
        for damage in &plan.damage {
            done.repaired.push(repair(&transaction, damage)?);
        }
        sweep(&transaction, &plan.lanes, &mut done)?;
        if limits.when_full == WhenFull::EvictOldest {
            evict(&transaction, limits.max_bytes, boot, &mut done)?;
        }
        write_marks(&transaction, plan, &done)?;
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
fn repair(transaction: &Transaction<'_>, damage: &Damage) -> Result<Repaired> {
    let id = row_id(damage.priority, damage.first_seq);
    let sql = "SELECT consumers, records, data FROM batch WHERE id = ?1";
    let row: Option<(i64, i64, Vec<u8>)> =
        transaction.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((consumers, records, data)) = row else {
        return Ok(Repaired { damage: damage.clone(), row: None });
    };
    insert_quarantine(transaction, (consumers, damage.priority, records), &damage.cause, &data)?;
    transaction.execute("DELETE FROM batch WHERE id = ?1", [id])?;
    let row = Some((consumers.cast_unsigned(), u64::try_from(records).unwrap_or(0)));
    Ok(Repaired { damage: damage.clone(), row })
}

/// Deletes the rows that all their lanes have passed, looking only at what lies between the old cursors and the
/// new ones.
fn sweep(transaction: &Transaction<'_>, lanes: &[LanePlan], done: &mut Committed) -> Result<()> {
    let sql = "SELECT id, consumers, last_seq FROM batch WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
    let mut select = transaction.prepare_cached(sql)?;
    let mut delete = transaction.prepare_cached("DELETE FROM batch WHERE id = ?1")?;
    for (at, lane) in lanes.iter().enumerate().filter(|(_, lane)| lane.dirty) {
        let (Some(priority), Some(mark)) = (Priority::ALL.get(at % 3).copied(), done.marks.get_mut(at))
        else {
            continue;
        };
        let ids = (row_id(priority, lane.mark.swept), row_id(priority, lane.sweep_to));
        let header =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let rows = select.query_map(params![ids.0, ids.1, count(SWEEP_ROWS_MAX)], header)?;
        let rows: Vec<(i64, i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
        let mut more = rows.len() == SWEEP_ROWS_MAX;
        for (id, consumers, last_seq) in rows {
            let (mask, last_seq) = (consumers.cast_unsigned(), last_seq.cast_unsigned());
            if (mask >> ((at / 3) & 63)) & 1 == 1 && last_seq > lane.sweep_to {
                mark.swept = first_seq(id);
                more = false;
                break;
            }
            mark.swept = first_seq(id) + 1;
            if is_passed(lanes, mask, priority, last_seq) {
                delete.execute([id])?;
            }
        }
        done.unswept.extend(Some(at).filter(|_| more));
    }
    Ok(())
}

/// Whether all lanes of the mask are through with a row; a lane that exists no more is.
fn is_passed(lanes: &[LanePlan], mask: u64, priority: Priority, last_seq: u64) -> bool {
    bits(mask).all(|consumer| {
        let lane = lanes.get(usize::from(consumer.0) * 3 + priority.rank());
        lane.is_none_or(|lane| lane.sweep_to >= last_seq)
    })
}

/// Deletes the oldest rows, lowest priority first, until the database is within its bound.
fn evict(transaction: &Transaction<'_>, max_bytes: u64, boot: BootId, done: &mut Committed) -> Result<()> {
    let sql = "SELECT id, consumers, records, data FROM batch WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1";
    let mut oldest = transaction.prepare_cached(sql)?;
    let mut delete = transaction.prepare_cached("DELETE FROM batch WHERE id = ?1")?;
    for priority in Priority::ALL.into_iter().rev() {
        let ids = [row_id(priority, 0), row_id(priority, SEQ_MASK)];
        while used_bytes(transaction)? > max_bytes {
            if done.evicted.len() >= EVICT_ROWS_MAX {
                return Ok(());
            }
            let fields = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            let row: Option<(i64, i64, i64, Vec<u8>)> = oldest.query_row(ids, fields).optional()?;
            let Some((id, consumers, records, data)) = row else { break };
            delete.execute([id])?;
            let seqs = batch::decode(&data, priority, boot);
            let seqs =
                seqs.map(|all| all.iter().map(|stored| (stored.record.seq, stored.consumers)).collect());
            let records = u64::try_from(records).unwrap_or(0);
            let evicted = Evicted { priority, consumers: consumers.cast_unsigned(), records, seqs };
            uncount(&evicted, &mut done.marks);
            done.evicted.push(evicted);
        }
    }
    Ok(())
}

/// Takes an evicted row out of the counters of its lanes.
fn uncount(evicted: &Evicted, marks: &mut [LaneMark]) {
    for consumer in bits(evicted.consumers) {
        let Some(mark) = marks.get_mut(usize::from(consumer.0) * 3 + evicted.priority.rank()) else {
            continue;
        };
        let own = |(seq, consumers): &&(u64, u64)| consumers >> consumer.0 & 1 == 1 && *seq > mark.cursor;
        let count = match &evicted.seqs {
            Ok(seqs) => seqs.iter().filter(own).count() as u64,
            Err(_) => evicted.records,
        };
        mark.stored = mark.stored.saturating_sub(count);
    }
}

fn write_marks(transaction: &Transaction<'_>, plan: &Plan, done: &Committed) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO lane(id, cursor, stored, swept, settled, counters)
        VALUES (?1, ?2, ?3, ?4, x'', x'')";
    let mut statement = transaction.prepare_cached(sql)?;
    for (at, (lane, mark)) in plan.lanes.iter().zip(&done.marks).enumerate() {
        if lane.dirty || *mark != lane.mark {
            let LaneMark { cursor, stored, swept } = *mark;
            statement.execute(params![
                count(at),
                cursor.cast_signed(),
                stored.cast_signed(),
                swept.cast_signed()
            ])?;
        }
    }
    Ok(())
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
}

impl ReadStore {
    pub(crate) fn open(path: &Path, boots: Boots) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        open::configure(&connection)?;
        Ok(Self { connection, boots })
    }

    /// The first number and the data of the row asked for; `None` when there is none.
    pub(crate) fn load(&self, load: &Load) -> Result<Option<(u64, Vec<u8>)>> {
        let sql = "SELECT id, data FROM batch
            WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 AND last_seq > ?4 ORDER BY id LIMIT 1";
        let ids = (row_id(load.priority, load.from_row), row_id(load.priority, load.end));
        let after = load.after.cast_signed();
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement.query_row(params![ids.0, ids.1, load.consumer_bit.cast_signed(), after], |row| {
            Ok((first_seq(row.get(0)?), row.get(1)?))
        });
        Ok(row.optional()?)
    }
}

/// A registered consumer.
pub(crate) type Registered = (String, ConsumerId);

#[cfg(test)]
mod tests;
