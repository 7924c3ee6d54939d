//! Opening: the checks that a database is ours, registration, and the number of this run.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use super::folder::LastRun;
use super::map::Pair;
use super::salvage::Carry;
use super::{
    DATABASE, Folder, Registered, Result, SEQ_MASK, Store, StoreError, boots, count, folder, map, marks,
    row_id, salvage, schema, sums, used_bytes,
};
use crate::batch::{self, BatchError};
use crate::boot::{BootId, Boots, Clock};
use crate::error::OpenError;
use crate::incident::Incident;
use crate::mutation::{self, Mutation};
use crate::policy::{GapRow, LaneMark};
use crate::record::{ConsumerId, Priority};

pub(super) const CONSUMERS_MAX: usize = 64;
/// Numbers of records: the run above, the count within the run below.
pub(super) const RUN_SHIFT: u32 = 40;
/// No run comes near this: numbers beyond would not fit the id of a row.
pub(super) const RUN_MAX: u64 = (1 << (61 - RUN_SHIFT)) - (1 << 12);
/// A new buffer begins at one of so many runs, so that two of one gateway hardly meet.
const RUNS_TO_BEGIN_AT: u64 = 1 << 20;
/// So many runs at least are left out, and twice as many at most, where others may have gone on from the same database.
const RUNS_LEFT_OUT: u64 = 2000;

/// An open database and what was in it.
#[derive(Debug)]
pub(crate) struct OpenedStore {
    pub(crate) store: Store,
    /// Held as long as the spool lives.
    pub(crate) lock: File,
    pub(crate) path: PathBuf,
    pub(crate) first_seq: u64,
    /// All that the database knows.
    pub(crate) consumers: Vec<Registered>,
    /// By consumer, then rank.
    pub(crate) marks: Vec<LaneMark>,
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) journal: Vec<Vec<u8>>,
    pub(crate) map: Vec<Pair>,
    pub(crate) disk_bytes: u64,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) boots: Boots,
    pub(crate) clock: Clock,
}

/// Opens or makes the database in `dir`.
///
/// A damaged one is salvaged into a new one; if that cannot be used either, an empty one is begun.
///
/// `random` is as in [`crate::Options::random`].
pub(crate) fn open(
    dir: &Path,
    names: &[&str],
    boot: BootId,
    random: u64,
) -> std::result::Result<OpenedStore, OpenError> {
    check_names(names)?;
    let mut incidents = Vec::new();
    let mut folder = Folder::claim(dir, &mut incidents)?;
    let path = dir.join(DATABASE);
    let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
    folder::keep_log(&path).map_err(failed)?;
    refuse_foreign(&path)?;
    let database = |error: StoreError| OpenError::Database { path: path.clone(), message: error.to_string() };
    let assumed = (0..).map(ConsumerId).zip(names).map(|(id, name)| ((*name).to_owned(), id));
    let assumed: Vec<Registered> = assumed.collect();
    let last_run = folder.last_run();
    let load = || load(&path, names, boot, last_run, random);
    let mut loaded = load();
    if loaded.as_ref().is_err_and(StoreError::is_full) && Folder::give_up_reserve(dir) {
        loaded = load();
    }
    for carry in [Carry::All, Carry::Nothing] {
        let Err(error) = loaded else { break };
        if !(error.is_corrupt() || error.is_read_only() && is_of_no_format(&path)) {
            return Err(database(error));
        }
        let salvaged = salvage::salvage(&path, &error.to_string(), &assumed, carry);
        loaded = salvaged.and_then(|incident| {
            incidents.push(incident);
            load()
        });
    }
    let loaded = loaded.map_err(database)?;
    if let Some(name) = names.iter().find(|name| loaded.consumers.iter().all(|(known, _)| known != *name)) {
        let reason =
            "64 consumers are known already, and records wait for each; name one of them again, or purge it";
        return Err(OpenError::Consumer { name: (*name).to_owned(), reason });
    }
    folder.keep_run(loaded.first_seq >> RUN_SHIFT);
    incidents.extend(loaded.incidents);
    Ok(OpenedStore {
        store: loaded.store,
        lock: folder.lock,
        path,
        first_seq: loaded.first_seq,
        consumers: loaded.consumers,
        marks: loaded.marks,
        gaps: loaded.gaps,
        snapshot: loaded.state.0,
        journal: loaded.state.1,
        map: loaded.map,
        disk_bytes: loaded.disk_bytes,
        incidents,
        boots: loaded.boots,
        clock: loaded.clock,
    })
}

/// Whether consumers can have these names.
pub(crate) fn check_names(names: &[&str]) -> std::result::Result<(), OpenError> {
    for (at, name) in names.iter().enumerate() {
        let reason = match () {
            () if name.is_empty() => "the name is empty",
            () if names.iter().take(at).any(|other| other == name) => "the name is given twice",
            () if at >= CONSUMERS_MAX => "there can be at most 64 consumers",
            () => continue,
        };
        return Err(OpenError::Consumer { name: (*name).to_owned(), reason });
    }
    Ok(())
}

/// Looks at the file without opening it as a database: one that is whole, and another program's or a newer
/// version's, must not be touched. What cannot be read as a database at all is no one's.
fn refuse_foreign(path: &Path) -> std::result::Result<(), OpenError> {
    let Some(header) = header(path) else { return Ok(()) };
    let field = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 4]);
        i64::from(u32::from_be_bytes(bytes))
    };
    let (version, application_id) = (field(60), field(68));
    let tables = if application_id == schema::APPLICATION_ID && version <= schema::VERSION {
        None
    } else {
        look(path)
    };
    match tables {
        None => Ok(()),
        // A flipped bit in the header does not make our tables another program's, nor an empty file.
        Some(Look { ours: false, tables }) if tables > 0 => {
            Err(OpenError::Foreign { path: path.to_owned(), application_id })
        }
        Some(Look { ours: true, .. }) if newest(path) > schema::VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found: newest(path), known: schema::VERSION })
        }
        Some(_) => Ok(()),
    }
}

fn header(path: &Path) -> Option<[u8; 100]> {
    let mut header = [0; 100];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    header.starts_with(b"SQLite format 3\0").then_some(header)
}

/// Whether the header asks for a format of SQLite's that there is none of: such a file may only be read
/// (https://sqlite.org/fileformat2.html, section 1.3.3).
fn is_of_no_format(path: &Path) -> bool {
    header(path).is_some_and(|header| {
        header.get(18..20).is_some_and(|versions| versions != [2, 2] && versions != [1, 1])
    })
}

struct Look {
    ours: bool,
    tables: i64,
}

fn read_only(path: &Path) -> Option<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
}

fn look(path: &Path) -> Option<Look> {
    let sql =
        "SELECT COUNT(*), COALESCE(SUM(name IN ('meta', 'batch', 'lane', 'consumer')), 0) FROM sqlite_master";
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let (tables, ours) = read_only(path)?.query_row(sql, [], counts).ok()?;
    Some(Look { ours: ours == 4, tables })
}

/// The schema version as the table says, which a flipped bit in the header does not change.
fn newest(path: &Path) -> i64 {
    let sql = "SELECT version FROM meta";
    read_only(path).and_then(|c| c.query_row(sql, [], |row| row.get(0)).ok()).unwrap_or(0)
}

/// After so many pages, which are 4 MiB, the log is moved into the database.
pub(super) const LOG_PAGES: i64 = 1000;

/// The settings of each connection.
pub(super) fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    let pragmas = [
        // Readers do not wait for the writer, and a commit is one sync.
        "journal_mode = WAL",
        // A commit is on the medium when it returns: receipts depend on it.
        "synchronous = FULL",
        // The log is cut to 8 MiB after a burst.
        "journal_size_limit = 8388608",
        // Batches are written once and read once: a large cache would hold nothing useful.
        "cache_size = -1024",
        // Damage in a page is an error at the page, not somewhere later.
        "cell_size_check = ON",
        // A database file is input: its schema must not call functions.
        "trusted_schema = OFF",
        "temp_store = MEMORY",
    ];
    let pragmas = pragmas.map(str::to_owned).into_iter();
    for pragma in pragmas.chain([format!("wal_autocheckpoint = {LOG_PAGES}")]) {
        let mut statement = connection.prepare(&format!("PRAGMA {pragma}"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    if mutation::is_planted(Mutation::SyncNormal) {
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    }
    Ok(())
}

/// Connects, makes the tables in an empty database, and brings those of an older version forward.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    // Only possible before the first table: free pages can be given back in small steps.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    configure(&connection)?;
    schema::prepare(&mut connection)?;
    Ok(connection)
}

/// The number of this run: above that of every run before, even when the count of runs is damaged. What no run could
/// have reached is damage, and not believed.
///
/// A receiver drops what has a number that it had, so no two buffers may give one: a new buffer, of a gateway that may
/// have had another, begins somewhere; one that was brought here, and may have gone on elsewhere, leaves numbers out.
fn next_run(transaction: &Transaction<'_>, last_run: LastRun, random: u64) -> Result<u64> {
    if mutation::is_planted(Mutation::RunRepeats) {
        return Ok(1);
    }
    let counted: i64 = transaction.query_row("SELECT run FROM meta", [], |row| row.get(0))?;
    let mut runs = vec![last_run.run, u64::try_from(counted).unwrap_or(0)];
    for priority in Priority::ALL {
        let sql = "SELECT last_seq FROM batch WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1";
        let ids = [row_id(priority, 0), row_id(priority, SEQ_MASK)];
        let last: Option<i64> = transaction.query_row(sql, ids, |row| row.get(0)).optional()?;
        runs.push(u64::try_from(last.unwrap_or(0)).unwrap_or(0) >> RUN_SHIFT);
    }
    let last = runs.into_iter().filter(|run| *run < RUN_MAX).max().unwrap_or(0);
    let next = match last {
        0 => 1 + random % RUNS_TO_BEGIN_AT,
        _ if last_run.was_here => last + 1,
        _ => last + RUNS_LEFT_OUT + random % RUNS_LEFT_OUT,
    };
    transaction.execute("UPDATE meta SET run = ?1", [next.cast_signed()])?;
    Ok(next)
}

/// What the database alone tells.
struct Loaded {
    store: Store,
    first_seq: u64,
    consumers: Vec<Registered>,
    marks: Vec<LaneMark>,
    gaps: Vec<GapRow>,
    state: State,
    disk_bytes: u64,
    incidents: Vec<Incident>,
    boots: Boots,
    clock: Clock,
    map: Vec<Pair>,
}

fn load(path: &Path, names: &[&str], boot: BootId, last_run: LastRun, random: u64) -> Result<Loaded> {
    let mut connection = connect(path)?;
    let mut incidents = Vec::new();
    let transaction = connection.transaction()?;
    sums::check(&transaction)?;
    check_lanes(&transaction)?;
    let first_seq = (next_run(&transaction, last_run, random)? << RUN_SHIFT) + 1;
    let consumers = register(&transaction, names, first_seq, &mut incidents)?;
    let lanes = consumers.iter().map(|(_, id)| usize::from(id.0) + 1).max().unwrap_or(0) * 3;
    let marks = marks::load(&transaction, lanes, first_seq)?;
    sums::fill(&transaction)?;
    let gaps = marks::load_gaps(&transaction)?;
    let state = load_state(&transaction, &mut incidents)?;
    let known = boots::load(&transaction)?;
    let clock = Clock::new(boot, known.iter().find(|known| known.id == boot).copied());
    let map = map::load(&transaction, &mut incidents)?;
    let disk_bytes = used_bytes(&transaction)?;
    transaction.commit()?;
    let boots = Boots::new(boot, known);
    let store = Store { connection, path: path.to_owned(), boot, boots: boots.clone(), is_full: false };
    Ok(Loaded { store, first_seq, consumers, marks, gaps, state, map, disk_bytes, incidents, boots, clock })
}

/// Whether the tables tell of each other: each consumer has its lanes, what waits in a lane waits for somebody, and rows
/// are there for it. A table whose pages are another's can look like an empty one, and what waits would be taken for
/// settled.
fn check_lanes(transaction: &Transaction<'_>) -> Result<()> {
    let lanes = "SELECT (SELECT COUNT(*) FROM consumer WHERE id BETWEEN 0 AND 63) * 3
        = (SELECT COUNT(*) FROM lane WHERE id >= 0 AND id / 3 IN (SELECT id FROM consumer WHERE id BETWEEN 0 AND 63))";
    let owned = "SELECT NOT EXISTS (SELECT 1 FROM lane
        WHERE stored > 0 AND id / 3 NOT IN (SELECT id FROM consumer))";
    let named = "SELECT EXISTS (SELECT 1 FROM consumer) OR NOT EXISTS (SELECT 1 FROM batch WHERE id >= 0)";
    let stored = "SELECT NOT EXISTS (SELECT 1 FROM lane WHERE stored > 0 AND NOT EXISTS
        (SELECT 1 FROM batch WHERE id BETWEEN (lane.id % 3) << 61 AND ((lane.id % 3 + 1) << 61) - 1))";
    for sql in [lanes, owned, named, stored] {
        if !transaction.query_row(sql, [], |row| row.get::<_, bool>(0))? {
            return Err(StoreError::Schema);
        }
    }
    Ok(())
}

/// Gives new consumers a number. One that the database knows and the caller did not name keeps its lanes and what waits
/// in them, for when it is named again; its number is given away only when all 64 are taken and nothing waits for it.
fn register(
    transaction: &Transaction<'_>,
    names: &[&str],
    first_seq: u64,
    incidents: &mut Vec<Incident>,
) -> Result<Vec<Registered>> {
    // Other numbers are damage, and would stand in the way of the name.
    transaction.execute("DELETE FROM consumer WHERE id NOT BETWEEN 0 AND ?1", [count(CONSUMERS_MAX) - 1])?;
    let mut statement = transaction.prepare("SELECT id, name FROM consumer ORDER BY id")?;
    let known = statement.query_map([], |row| Ok((row.get(1)?, ConsumerId(row.get(0)?))))?;
    let mut consumers: Vec<Registered> = known.collect::<rusqlite::Result<_>>()?;
    let mut unused = Vec::new();
    for (name, id) in consumers.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        match waiting(transaction, *id)? {
            0 => unused.push(*id),
            records => incidents.push(Incident::ConsumerUnconfigured { name: name.clone(), records }),
        }
    }
    for name in names {
        if consumers.iter().any(|(known, _)| known == name) {
            continue;
        }
        let free = (0..64).map(ConsumerId).find(|id| consumers.iter().all(|(_, used)| used != id));
        let Some(id) = free.or_else(|| unused.pop()) else { continue };
        consumers.retain(|(_, used)| *used != id);
        insert_consumer(transaction, (name, id), first_seq)?;
        consumers.push(((*name).to_owned(), id));
    }
    Ok(consumers)
}

fn insert_consumer(
    transaction: &Transaction<'_>,
    (name, id): (&str, ConsumerId),
    first_seq: u64,
) -> Result<()> {
    transaction.execute("INSERT OR REPLACE INTO consumer(id, name) VALUES (?1, ?2)", params![id.0, name])?;
    for rank in 0..3 {
        let lane = i64::from(id.0) * 3 + rank;
        transaction.execute(
            "INSERT OR REPLACE INTO lane(id, cursor, stored, swept, settled, counters)
                VALUES (?1, ?2, 0, ?2, x'', x'')",
            params![lane, first_seq.cast_signed() - 1],
        )?;
    }
    Ok(())
}

/// How many records the database has for the consumer.
fn waiting(transaction: &Transaction<'_>, id: ConsumerId) -> Result<u64> {
    let sql = "SELECT COALESCE(SUM(stored), 0) FROM lane WHERE id BETWEEN ?1 AND ?2";
    let lanes = params![i64::from(id.0) * 3, i64::from(id.0) * 3 + 2];
    let records: i64 = transaction.query_row(sql, lanes, |row| row.get(0))?;
    Ok(u64::try_from(records).unwrap_or(0))
}

type State = (Option<Vec<u8>>, Vec<Vec<u8>>);

/// The snapshot and the journal after it. A damaged snapshot is set aside with all the journal that builds on
/// it; a damaged part of the journal with all that follows it.
fn load_state(transaction: &Transaction<'_>, incidents: &mut Vec<Incident>) -> Result<State> {
    let mut statement = transaction.prepare("SELECT data FROM snapshot")?;
    let mut rows = statement.query([])?;
    let data: Option<Vec<u8>> = rows.next()?.map(|row| row.get(0)).transpose()?;
    let snapshot = match data.map(|data| batch::decompress(&data)).transpose() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            incidents.push(set_state_aside(transaction, &error, i64::MIN)?);
            return Ok((None, Vec::new()));
        }
    };
    let mut journal = Vec::new();
    let mut statement = transaction.prepare("SELECT id, data FROM journal ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match batch::decode_journal(&row.get::<_, Vec<u8>>(1)?) {
            Ok(items) => journal.extend(items),
            Err(error) => {
                incidents.push(set_state_aside(transaction, &error, row.get(0)?)?);
                break;
            }
        }
    }
    Ok((snapshot, journal))
}

/// Moves the journal from `id` on into quarantine, and the snapshot too when that is all of it.
fn set_state_aside(transaction: &Transaction<'_>, error: &BatchError, id: i64) -> Result<Incident> {
    let cause = format!("snapshot or journal: {error}");
    let keep = "INSERT INTO quarantine(wall_ms, consumers, priority, records, cause, data)
        SELECT 0, 0, 0, 0, ?1, data FROM";
    if id == i64::MIN {
        transaction.execute(&format!("{keep} snapshot"), [&cause])?;
        transaction.execute("DELETE FROM snapshot", [])?;
    }
    transaction.execute(&format!("{keep} journal WHERE id >= ?2"), params![cause, id])?;
    transaction.execute("DELETE FROM journal WHERE id >= ?1", [id])?;
    Ok(Incident::JournalDamaged { cause: error.to_string() })
}
