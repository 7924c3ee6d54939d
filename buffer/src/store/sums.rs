//! Checksums of the rows that say who is owed what: a flipped bit in one of them is a legal row, and would settle what nobody has,
//! or keep it for nobody. Batches, state and the owner's map have the checksum of their compression.
//!
//! A row has none while SQL has made it or changed it and it was not written from here since; that does not outlast the
//! transaction.

use rusqlite::{Connection, Row, params};

use super::{Result, StoreError};

const CONSUMERS: &str = "SELECT id, sum, name FROM consumer";
const LANES: &str = "SELECT id, sum, cursor, stored, swept, settled, counters FROM lane";

/// The checksum of a consumer's row.
pub(super) fn of_consumer(id: i64, name: &str) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&id.to_be_bytes());
    sum.update(name.as_bytes());
    sum.finalize().into()
}

/// The checksum of a lane's row, its integers in the order of the columns.
pub(super) fn of_lane(integers: [i64; 4], settled: &[u8], counters: &[u8]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    integers.iter().for_each(|integer| sum.update(&integer.to_be_bytes()));
    // Where one ends and the other begins counts.
    sum.update(&(settled.len() as u64).to_be_bytes());
    sum.update(settled);
    sum.update(counters);
    sum.finalize().into()
}

/// A row of either table, as far as the checksum is concerned.
struct Summed {
    id: i64,
    found: Option<i64>,
    right: i64,
}

impl Summed {
    fn is_wrong(&self) -> bool {
        self.found.is_some_and(|found| found != self.right)
    }
}

fn consumer(row: &Row<'_>) -> rusqlite::Result<Summed> {
    let (id, name): (i64, String) = (row.get(0)?, row.get(2)?);
    Ok(Summed { id, found: row.get(1)?, right: of_consumer(id, &name) })
}

fn lane(row: &Row<'_>) -> rusqlite::Result<Summed> {
    let id = row.get(0)?;
    let (settled, counters): (Vec<u8>, Vec<u8>) = (row.get(5)?, row.get(6)?);
    let right = of_lane([id, row.get(2)?, row.get(3)?, row.get(4)?], &settled, &counters);
    Ok(Summed { id, found: row.get(1)?, right })
}

type Read = fn(&Row<'_>) -> rusqlite::Result<Summed>;

/// Both tables, and how their rows are read.
const TABLES: [(&str, &str, Read); 2] = [("consumer", CONSUMERS, consumer), ("lane", LANES, lane)];

fn rows(connection: &Connection, sql: &str, read: Read) -> Result<Vec<Summed>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// An error unless the checksum of every row that has one is right.
pub(super) fn check(connection: &Connection) -> Result<()> {
    for (_, sql, read) in TABLES {
        if rows(connection, sql, read)?.iter().any(Summed::is_wrong) {
            return Err(StoreError::Sum);
        }
    }
    Ok(())
}

/// Deletes the rows whose checksum is wrong.
pub(super) fn discard(connection: &Connection) -> Result<()> {
    for (table, sql, read) in TABLES {
        for row in rows(connection, sql, read)?.iter().filter(|row| row.is_wrong()) {
            connection.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [row.id])?;
        }
    }
    Ok(())
}

/// Gives the rows that have none their checksum.
pub(super) fn fill(connection: &Connection) -> Result<()> {
    for (table, sql, read) in TABLES {
        for row in rows(connection, sql, read)?.iter().filter(|row| row.found.is_none()) {
            let sql = format!("UPDATE {table} SET sum = ?2 WHERE id = ?1");
            connection.execute(&sql, params![row.id, row.right])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema;
    use super::{check, discard, fill};

    fn tables() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO consumer(id, name) VALUES (0, 'cloud'), (1, 'archive');
                INSERT INTO lane VALUES (0, 7, 2, 7, x'0102', x'03', NULL), (1, 8, 0, 8, x'', x'', NULL);",
            )
            .unwrap();
        connection
    }

    fn count(connection: &Connection, table: &str) -> i64 {
        connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn each_changed_value_is_found_and_only_its_row_is_discarded() {
        for (table, change) in [
            ("consumer", "name = 'archite' WHERE id = 1"),
            ("consumer", "id = 3 WHERE id = 1"),
            ("lane", "id = 4 WHERE id = 0"),
            ("lane", "cursor = cursor + 1 WHERE id = 0"),
            ("lane", "stored = 3 WHERE id = 0"),
            ("lane", "swept = 0 WHERE id = 0"),
            ("lane", "settled = x'0103' WHERE id = 0"),
            ("lane", "settled = x'01', counters = x'0203' WHERE id = 0"),
            ("lane", "sum = 1 WHERE id = 0"),
        ] {
            let connection = tables();
            fill(&connection).unwrap();
            check(&connection).unwrap();
            connection.execute_batch(&format!("UPDATE {table} SET {change}")).unwrap();
            assert!(check(&connection).unwrap_err().is_corrupt(), "{table} {change}");
            discard(&connection).unwrap();
            check(&connection).unwrap();
            for name in ["consumer", "lane"] {
                assert_eq!(count(&connection, name), if name == table { 1 } else { 2 }, "{table} {change}");
            }
        }
    }

    #[test]
    fn a_row_that_has_no_sum_yet_is_believed_and_gets_one() {
        let connection = tables();
        check(&connection).unwrap();
        discard(&connection).unwrap();
        assert_eq!((count(&connection, "consumer"), count(&connection, "lane")), (2, 2));
        fill(&connection).unwrap();
        let open = "(SELECT sum FROM consumer UNION ALL SELECT sum FROM lane) WHERE sum IS NULL";
        assert_eq!(count(&connection, open), 0);
    }
}
