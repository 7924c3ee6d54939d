use super::{StoreError, ffi, first_seq, row_id};
use crate::record::Priority;

#[test]
fn rows_are_ordered_by_priority_and_then_by_number() {
    let ids: Vec<i64> = Priority::ALL
        .into_iter()
        .flat_map(|priority| [0, 1, 1 << 40, (1 << 61) - 1].map(|seq| row_id(priority, seq)))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b) && ids[0] >= 0, "{ids:?}");
    assert_eq!(first_seq(row_id(Priority::Low, 77)), 77);
}

/// The pages of a value are read directly, and where the file ends among them it was cut.
#[test]
fn a_file_that_ends_too_early_is_damaged_and_a_disk_that_fails_is_not() {
    let table = [
        (ffi::SQLITE_IOERR_SHORT_READ, true),
        (ffi::SQLITE_CORRUPT_INDEX, true),
        (ffi::SQLITE_IOERR_READ, false),
        (ffi::SQLITE_IOERR_FSYNC, false),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_BUSY, false),
    ];
    for (code, is_corrupt) in table {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(StoreError::from(error).is_corrupt(), is_corrupt, "{code}");
    }
}

/// The statements of a source, as far as they are not put together while running.
fn statements(source: &str) -> impl Iterator<Item = &str> {
    let verbs = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE "];
    let starts = verbs.into_iter().flat_map(|verb| source.match_indices(verb)).map(|(at, _)| at + 1);
    starts
        .filter_map(|at| source[at..].split('"').next())
        .filter(|sql| !sql.contains('{') && !sql.ends_with(" FROM"))
}

/// A backlog of any size costs opening and running nothing: no statement goes over all batches. Salvage and the
/// inspector do, and say so.
#[test]
fn no_statement_scans_the_batches() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let beside = std::fs::read_dir(folder.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let sources = beside.chain([folder.join("store.rs")]).filter(|path| path.is_file());
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    super::schema::prepare(&mut connection).unwrap();
    let mut checked = 0;
    // Salvage looks at everything, a migration once, and sums at consumers and lanes only.
    let exempt = ["salvage.rs", "schema.rs", "sums.rs", "tests.rs"];
    for path in sources.filter(|path| !exempt.iter().any(|name| path.ends_with(name))) {
        let source = std::fs::read_to_string(&path).unwrap();
        for sql in statements(&source) {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = explain.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let detail: String = row.get(3).unwrap();
                assert!(!detail.starts_with("SCAN batch"), "{}: {sql}: {detail}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}
