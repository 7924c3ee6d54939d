use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{definitions, prepare};
use crate::batch::{self, Stored};
use crate::record::{Priority, Record, Stamp};

/// The tables as version 1 wrote them: this text never changes.
const VERSION_1: &str = "
    CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL, run INTEGER NOT NULL,
        probe INTEGER NOT NULL);
    CREATE TABLE consumer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE lane(id INTEGER PRIMARY KEY, cursor INTEGER NOT NULL, stored INTEGER NOT NULL,
        swept INTEGER NOT NULL);
    CREATE TABLE batch(id INTEGER PRIMARY KEY, consumers INTEGER NOT NULL, last_seq INTEGER NOT NULL,
        records INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE journal(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE snapshot(id INTEGER PRIMARY KEY CHECK (id = 0), data BLOB NOT NULL);
    CREATE TABLE quarantine(id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, consumers INTEGER NOT NULL,
        priority INTEGER NOT NULL, records INTEGER NOT NULL, cause TEXT NOT NULL, data BLOB NOT NULL);
    INSERT INTO meta(id, version, run, probe) VALUES (0, 1, 3, 0);
    PRAGMA application_id = 1414087749;
    PRAGMA user_version = 1;
";

/// A database of version 1, of run 3, with 20 rows of 10 records for the consumer `cloud`, which has the first five
/// already; a snapshot, a journal, and one record in quarantine. Gives the numbers that wait.
pub(crate) fn fill_version_1(connection: &Connection) -> Vec<u64> {
    connection.execute_batch(&format!("PRAGMA auto_vacuum = INCREMENTAL; {VERSION_1}")).unwrap();
    connection.execute("INSERT INTO consumer(id, name) VALUES (0, 'cloud')", []).unwrap();
    let first = (3_u64 << 40) + 1;
    for lane in 0..3_i64 {
        let (cursor, stored) = if lane == 1 { (first + 4, 195) } else { (first - 1, 0) };
        let values = params![lane, cursor.cast_signed(), stored, first.cast_signed() - 1];
        connection.execute("INSERT INTO lane VALUES (?1, ?2, ?3, ?4)", values).unwrap();
    }
    for row in 0..20 {
        let records: Vec<Stored> = (0..10).map(|n| stored(first + row * 10 + n)).collect();
        let data = batch::encode_version_1(&records, [7; 16]).unwrap();
        let id = super::super::row_id(Priority::Normal, first + row * 10);
        let last = (first + row * 10 + 9).cast_signed();
        connection.execute("INSERT INTO batch VALUES (?1, 1, ?2, 10, ?3)", params![id, last, data]).unwrap();
    }
    let journal = batch::encode_journal(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
    connection.execute("INSERT INTO journal(data) VALUES (?1)", [journal]).unwrap();
    let snapshot = batch::compress(b"state").unwrap();
    connection.execute("INSERT INTO snapshot(id, data) VALUES (0, ?1)", [snapshot]).unwrap();
    let kept = batch::encode_version_1(&[stored(9)], [7; 16]).unwrap();
    connection.execute("INSERT INTO quarantine VALUES (1, 5, 1, 1, 1, 'too large', ?1)", [kept]).unwrap();
    (first + 5..first + 200).collect()
}

fn stored(seq: u64) -> Stored {
    let record = Record {
        seq,
        priority: Priority::Normal,
        received: Stamp { mono_ms: 1, wall_ms: 2 },
        topic: Bytes::from_static(b"plant/1"),
        meta: Bytes::new(),
        payload: Bytes::from(seq.to_string()),
        expires_after_ms: None,
        same_boot: false,
        stamp_trusted: false,
    };
    Stored { record, consumers: 1 }
}

#[test]
fn a_migrated_database_has_the_definitions_of_a_new_one() {
    let mut old = Connection::open_in_memory().unwrap();
    fill_version_1(&old);
    prepare(&mut old).unwrap();
    let mut new = Connection::open_in_memory().unwrap();
    prepare(&mut new).unwrap();
    assert_eq!(definitions(&old).unwrap(), definitions(&new).unwrap());
    for sql in ["SELECT version FROM meta", "PRAGMA user_version"] {
        assert_eq!(old.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 2, "{sql}");
    }
    let lane = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
    let lane = old.query_row("SELECT stored, settled FROM lane WHERE id = 1", [], lane).unwrap();
    assert_eq!(lane, (195, Vec::new()));
    prepare(&mut old).unwrap();
}

#[test]
fn a_migration_is_done_whole_or_not_at_all() {
    let mut old = Connection::open_in_memory().unwrap();
    fill_version_1(&old);
    let before = definitions(&old).unwrap();
    let pages: i64 = old.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        old.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(pages);
    assert!(prepare(&mut old).unwrap_err().to_string().contains("full"));
    assert_eq!(definitions(&old).unwrap(), before);
    assert_eq!(old.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn tables_that_are_of_no_version_are_refused() {
    for sql in ["DROP TABLE gap", "ALTER TABLE lane ADD COLUMN x", "CREATE INDEX i ON batch(records)"] {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection).unwrap();
        connection.execute_batch(sql).unwrap();
        assert!(prepare(&mut connection).unwrap_err().is_corrupt(), "{sql}");
    }
}
