//! The boots whose clock became trusted.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Result, Store};
use crate::boot::{Boot, BootId};

/// How many are kept: records of older ones keep the wall time they have.
const BOOTS_MAX: i64 = 64;

/// All that are known. What damage made unreadable is not.
pub(crate) fn load(connection: &Connection) -> Result<Vec<Boot>> {
    let sql = "SELECT id, trusted_from_ms, wall_at_boot_ms FROM boot ORDER BY seq DESC LIMIT ?1";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([BOOTS_MAX], |row| {
        let id = BootId::try_from(row.get::<_, Vec<u8>>(0)?).ok();
        let trusted_from_ms = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        let wall_at_boot_ms = row.get(2)?;
        Ok(id.map(|id| Boot { id, trusted_from_ms, wall_at_boot_ms }))
    })?;
    let rows: Vec<Option<Boot>> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(rows.into_iter().flatten().collect())
}

fn save(transaction: &Transaction<'_>, boot: &Boot) -> Result<()> {
    let trusted_from_ms = i64::try_from(boot.trusted_from_ms).unwrap_or(i64::MAX);
    transaction.execute(
        "INSERT INTO boot(id, trusted_from_ms, wall_at_boot_ms) VALUES (?1, ?2, ?3)
            ON CONFLICT(id) DO UPDATE SET trusted_from_ms = ?2, wall_at_boot_ms = ?3",
        params![boot.id, trusted_from_ms, boot.wall_at_boot_ms],
    )?;
    let newest =
        transaction.query_row("SELECT MAX(seq) FROM boot", [], |row| row.get::<_, i64>(0)).optional()?;
    transaction
        .execute("DELETE FROM boot WHERE seq <= ?1", [newest.unwrap_or(0).saturating_sub(BOOTS_MAX)])?;
    Ok(())
}

impl Store {
    /// Keeps what is known of this boot's clock.
    pub(crate) fn save_boot(&mut self, boot: &Boot) -> Result<()> {
        let transaction = self.connection.transaction()?;
        save(&transaction, boot)?;
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Boot, load, save};
    use crate::store::schema::prepare;

    #[test]
    fn the_newest_boots_are_kept_and_one_boot_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection).unwrap();
        let boot = |n: u8, wall_at_boot_ms| Boot { id: [n; 16], trusted_from_ms: 5, wall_at_boot_ms };
        let transaction = connection.transaction().unwrap();
        for n in 0..100 {
            save(&transaction, &boot(n, -7)).unwrap();
            save(&transaction, &boot(n, i64::from(n))).unwrap();
        }
        transaction.commit().unwrap();
        let known: Vec<Boot> = (36..100).rev().map(|n| boot(n, i64::from(n))).collect();
        assert_eq!(load(&connection).unwrap(), known);
        connection.execute("UPDATE boot SET id = x'00' WHERE id = ?1", [[99_u8; 16]]).unwrap();
        assert_eq!(load(&connection).unwrap(), known[1..]);
    }
}
