//! The tables, version by version, and the way forward from each older version to the newest.

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction};

use super::{Result, StoreError, pragma};

/// `TIDE`: says that a database is ours.
pub(crate) const APPLICATION_ID: i64 = 0x5449_4445;
/// The version that this program writes; it reads all from 1 on.
pub(crate) const VERSION: i64 = 2;

/// The tables of every version.
const COMMON: &str = "
    CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL, run INTEGER NOT NULL,
        probe INTEGER NOT NULL);
    CREATE TABLE batch(id INTEGER PRIMARY KEY, consumers INTEGER NOT NULL, last_seq INTEGER NOT NULL,
        records INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE journal(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE snapshot(id INTEGER PRIMARY KEY CHECK (id = 0), data BLOB NOT NULL);
    CREATE TABLE quarantine(id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, consumers INTEGER NOT NULL,
        priority INTEGER NOT NULL, records INTEGER NOT NULL, cause TEXT NOT NULL, data BLOB NOT NULL);
";

/// What version 1 had besides.
const ONLY_1: &str = "
    CREATE TABLE consumer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE lane(id INTEGER PRIMARY KEY, cursor INTEGER NOT NULL, stored INTEGER NOT NULL,
        swept INTEGER NOT NULL);
";

/// What version 2 has besides. `settled` are the settled numbers above the cursor, `counters` the books of the lane;
/// empty ones are none and zero. `sum` is the checksum of the row. `boot` has the boots whose clock became trusted, `gap` the evictions not announced yet, `map` what the owner
/// keeps by key.
const ONLY_2: &str = "
    CREATE TABLE consumer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sum INTEGER);
    CREATE TABLE lane(id INTEGER PRIMARY KEY, cursor INTEGER NOT NULL, stored INTEGER NOT NULL,
        swept INTEGER NOT NULL, settled BLOB NOT NULL, counters BLOB NOT NULL, sum INTEGER);
    CREATE TABLE boot(seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, trusted_from_ms INTEGER NOT NULL,
        wall_at_boot_ms INTEGER NOT NULL);
    CREATE TABLE gap(id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, reason INTEGER NOT NULL,
        first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, records INTEGER NOT NULL,
        first_wall_ms INTEGER NOT NULL, last_wall_ms INTEGER NOT NULL);
    CREATE TABLE map(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
";

/// Columns of a table that are carried from one database into another, and their types: `i`nteger, `t`ext, `b`lob, and
/// `s`, a checksum that may be missing.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) table: &'static str,
    pub(super) columns: &'static str,
    /// The same, of a table of version 1; empty when that was no other.
    pub(super) columns_1: &'static str,
    pub(super) types: &'static str,
}

/// All but the batches.
pub(super) const COPIED: [Copied; 8] = [
    Copied { table: "consumer", columns: "id, name, sum", columns_1: "id, name, NULL", types: "its" },
    Copied {
        table: "lane",
        columns: "id, cursor, stored, swept, settled, counters, sum",
        columns_1: "id, cursor, stored, swept, x'', x'', NULL",
        types: "iiiibbs",
    },
    Copied { table: "journal", columns: "id, data", columns_1: "", types: "ib" },
    Copied { table: "snapshot", columns: "id, data", columns_1: "", types: "ib" },
    Copied {
        table: "quarantine",
        columns: "id, wall_ms, consumers, priority, records, cause, data",
        columns_1: "",
        types: "iiiiitb",
    },
    Copied {
        table: "boot",
        columns: "seq, id, trusted_from_ms, wall_at_boot_ms",
        columns_1: "",
        types: "ibii",
    },
    Copied { table: "map", columns: "key, value", columns_1: "", types: "bb" },
    Copied {
        table: "gap",
        columns: "id, lane, reason, first_seq, last_seq, records, first_wall_ms, last_wall_ms",
        columns_1: "",
        types: "iiiiiiii",
    },
];

impl Copied {
    /// Whether the values are of the types that the columns are made for. SQLite keeps any type in any column, so what
    /// damage made of a value would be carried over with it.
    pub(super) fn fits(&self, values: &[Value]) -> bool {
        let fits = |(value, kind): (&Value, char)| match value {
            Value::Integer(_) => kind == 'i' || kind == 's',
            Value::Text(_) => kind == 't',
            Value::Blob(_) => kind == 'b',
            Value::Null => kind == 's',
            Value::Real(_) => false,
        };
        values.len() == self.types.len() && values.iter().zip(self.types.chars()).all(fits)
    }
}

/// Makes the tables in an empty database, or brings those of an older version forward, in one transaction.
///
/// The definitions decide, not the version numbers: they are compared whole, so that a flipped byte in them, which
/// can be legal SQL, is found.
pub(crate) fn prepare(connection: &mut Connection) -> Result<()> {
    if pragma(connection, "schema_version")? == 0 {
        let transaction = connection.transaction()?;
        create(&transaction, ONLY_2)?;
        transaction.execute("INSERT INTO meta(id, version, run, probe) VALUES (0, ?1, 0, 0)", [VERSION])?;
        mark(&transaction)?;
        transaction.commit()?;
    }
    let found = definitions(connection)?;
    if found == definitions_of(ONLY_1)? {
        let transaction = connection.transaction()?;
        from_1_to_2(&transaction)?;
        mark(&transaction)?;
        transaction.commit()?;
    } else if found != definitions_of(ONLY_2)? {
        return Err(StoreError::Schema);
    }
    if pragma(connection, "application_id")? != APPLICATION_ID
        || pragma(connection, "user_version")? != VERSION
    {
        mark(connection)?;
    }
    Ok(())
}

fn create(connection: &Connection, only: &str) -> Result<()> {
    connection.execute_batch(COMMON)?;
    Ok(connection.execute_batch(only)?)
}

/// Says in the header of the file whose it is, and of which version.
fn mark(connection: &Connection) -> Result<()> {
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}");
    Ok(connection.execute_batch(&marks)?)
}

/// The old table is renamed, not the new one: SQLite keeps the text of a definition but for the name in a renaming, and
/// a migrated database has to have the very definitions of a new one.
fn from_1_to_2(transaction: &Transaction<'_>) -> Result<()> {
    transaction
        .execute_batch("ALTER TABLE lane RENAME TO lane_1; ALTER TABLE consumer RENAME TO consumer_1")?;
    transaction.execute_batch(ONLY_2)?;
    transaction.execute_batch(
        "INSERT INTO lane(id, cursor, stored, swept, settled, counters)
            SELECT id, cursor, stored, swept, x'', x'' FROM lane_1;
        INSERT INTO consumer(id, name) SELECT id, name FROM consumer_1;
        DROP TABLE lane_1;
        DROP TABLE consumer_1;
        UPDATE meta SET version = 2;",
    )?;
    Ok(())
}

type Definitions = Vec<(String, Option<String>)>;

fn definitions_of(only: &str) -> Result<Definitions> {
    let connection = Connection::open_in_memory()?;
    create(&connection, only)?;
    definitions(&connection)
}

fn definitions(connection: &Connection) -> Result<Definitions> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_master ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
pub(crate) mod tests;
