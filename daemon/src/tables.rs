//! Lookup tables of a running gateway: read anew when their files change, and swapped as a whole.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Rule, Table};
use tidegate_rules::Tables;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::gateway::Gateway;

/// Between looks at the files.
const PERIOD: Duration = Duration::from_secs(1);

/// The tables as rules look them up.
pub(crate) fn together(tables: &[Table]) -> Arc<Tables> {
    let mut together = Tables::new();
    for table in tables {
        together.insert(&table.name, Arc::clone(&table.rows));
    }
    Arc::new(together)
}

/// The tables and columns that rules name.
pub(crate) fn lookups(rules: &[Rule]) -> Vec<(String, String)> {
    let named = rules.iter().flat_map(|rule| rule.rule.lookups());
    named.map(|(table, column)| (table.to_owned(), column.to_owned())).collect()
}

/// Looks at the files for ever. A file that cannot be used leaves the table as it was.
pub(crate) async fn watch(gateway: Rc<Gateway>, mut tables: Vec<Table>, lookups: Vec<(String, String)>) {
    if tables.is_empty() {
        return;
    }
    let mut files: Vec<Watched> = tables.iter().map(|_| Watched::default()).collect();
    loop {
        let mut changed = false;
        for (table, file) in tables.iter_mut().zip(&mut files) {
            let path = table.file.clone();
            // A disk that hangs must hold up nobody else.
            let Ok(stamp) = spawn_blocking(move || Stamp::of(&path)).await else { return };
            match file.handle_look(stamp) {
                Look::Nothing => {}
                Look::Gone => {
                    warn!(table = table.name, "{} is gone; the table stays as it was", table.file.display())
                }
                Look::Read => changed |= read(table, &lookups).await,
            }
        }
        if changed {
            gateway.pipeline.borrow_mut().set_tables(together(&tables));
        }
        sleep(PERIOD).await;
    }
}

/// Reads a table anew, and says whether it has changed.
async fn read(table: &mut Table, lookups: &[(String, String)]) -> bool {
    let file = table.clone();
    let Ok(result) = spawn_blocking(move || file.read()).await else { return false };
    let checked = result.and_then(|rows| match missing(&rows, &table.name, lookups) {
        Some(column) => Err(format!("it has no column `{column}` any more, which a rule looks up")),
        None => Ok(rows),
    });
    match checked {
        Ok(rows) if rows == *table.rows => false,
        Ok(rows) => {
            info!(table = table.name, rows = rows.len(), "table read anew");
            table.rows = Arc::new(rows);
            true
        }
        Err(error) => {
            warn!(table = table.name, "{}: {error}; the table stays as it was", table.file.display());
            false
        }
    }
}

/// A column that rules look up and the new rows have not. Without rows there are no columns in JSON lines.
fn missing<'l>(rows: &tidegate_rules::Table, name: &str, lookups: &'l [(String, String)]) -> Option<&'l str> {
    let mut columns = lookups.iter().filter(|(table, _)| table == name).map(|(_, column)| column.as_str());
    columns.find(|column| !rows.columns().is_empty() && !rows.columns().iter().any(|each| each == column))
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let data = std::fs::metadata(path).ok()?;
        Some(Stamp { inode: data.ino(), bytes: data.len(), modified: (data.mtime(), data.mtime_nsec()) })
    }
}

/// A file that is looked at again and again. Who writes it may take its time, so it is read once it has been the same
/// for two looks.
#[derive(Debug, Default)]
struct Watched {
    seen: Option<Stamp>,
    read: Option<Stamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum Look {
    Nothing,
    Gone,
    Read,
}

impl Watched {
    fn handle_look(&mut self, stamp: Option<Stamp>) -> Look {
        let before = std::mem::replace(&mut self.seen, stamp);
        if stamp.is_none() && self.read.is_some() {
            self.read = None;
            return Look::Gone;
        }
        if stamp.is_none() || stamp != before || stamp == self.read {
            return Look::Nothing;
        }
        self.read = stamp;
        Look::Read
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Stamp, Watched, missing};

    fn stamp(modified: i64) -> Option<Stamp> {
        Some(Stamp { inode: 1, bytes: 1, modified: (modified, 0) })
    }

    #[test]
    fn a_file_is_read_once_it_rests() {
        let mut file = Watched::default();
        let looks = [
            (stamp(1), Look::Nothing),
            (stamp(1), Look::Read),
            (stamp(1), Look::Nothing),
            (stamp(2), Look::Nothing),
            (stamp(3), Look::Nothing),
            (stamp(3), Look::Read),
            (None, Look::Gone),
            (None, Look::Nothing),
            (stamp(3), Look::Nothing),
            (stamp(3), Look::Read),
        ];
        for (number, (stamp, expected)) in looks.into_iter().enumerate() {
            assert_eq!(file.handle_look(stamp), expected, "look {number}");
        }
    }

    #[test]
    fn a_column_that_is_looked_up_has_to_be_there() {
        let table = |text: &str| tidegate_rules::Table::from_csv("id", text.as_bytes()).unwrap();
        let lookups = [("t".to_owned(), "room".to_owned()), ("other".to_owned(), "x".to_owned())];
        assert_eq!(missing(&table("id,room\n"), "t", &lookups), None);
        assert_eq!(missing(&table("id,floor\n"), "t", &lookups), Some("room"));
        assert_eq!(missing(&tidegate_rules::Table::default(), "t", &lookups), None);
    }
}
