//! The owner's map on disk: each value a zstd frame of its own, for its checksum.

use rusqlite::{Connection, Transaction, params};

use super::Result;
use crate::batch::{self, BatchError};
use crate::incident::Incident;
use crate::policy::MapChange;

/// Makes the changes, in order; returns the bytes written.
pub(super) fn write(transaction: &Transaction<'_>, changes: &[MapChange]) -> Result<u64> {
    let mut bytes = 0;
    for change in changes {
        let Some(value) = &change.value else {
            transaction.prepare_cached("DELETE FROM map WHERE key = ?1")?.execute([&change.key[..]])?;
            continue;
        };
        let data = batch::compress(value)?;
        bytes += (change.key.len() + data.len()) as u64;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO map(key, value) VALUES (?1, ?2)")?
            .execute(params![&change.key[..], data])?;
    }
    Ok(bytes)
}

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Everything, in the order of the keys; values that are damaged are deleted and told.
pub(super) fn load(connection: &Connection, incidents: &mut Vec<Incident>) -> Result<Vec<Pair>> {
    let mut statement = connection.prepare("SELECT key, value FROM map ORDER BY key")?;
    let mut rows = statement.query([])?;
    let (mut pairs, mut damaged) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let key: Vec<u8> = row.get(0)?;
        match batch::decompress(&row.get::<_, Vec<u8>>(1)?) {
            Ok(value) => pairs.push((key, value)),
            Err(error) => damaged.push((key, error)),
        }
    }
    forget(connection, &damaged)?;
    if let Some((_, error)) = damaged.first() {
        let (values, cause) = (damaged.len() as u64, error.to_string());
        incidents.push(Incident::MapDamaged { values, cause });
    }
    Ok(pairs)
}

fn forget(connection: &Connection, damaged: &[(Vec<u8>, BatchError)]) -> Result<()> {
    for (key, _) in damaged {
        connection.execute("DELETE FROM map WHERE key = ?1", [key])?;
    }
    Ok(())
}
