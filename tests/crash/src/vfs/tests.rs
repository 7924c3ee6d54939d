//! SQLite itself on the disk model: what it promises must hold there, and what it does not promise must not.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use libsqlite3_sys as ffi;

use super::Mounted;
use crate::crash::scratch;
use crate::disk::{Cut, Disk};

/// A connection, as plainly as it goes: these tests are of the file interface below it.
struct Connection(*mut ffi::sqlite3);

impl Connection {
    fn open(path: &Path) -> Self {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the name ends with a zero, and the handle is closed in `drop`, also that of a failed opening.
        unsafe { ffi::sqlite3_open(name.as_ptr(), &raw mut handle) };
        Self(handle)
    }

    fn execute(&self, sql: &str) -> Result<(), i32> {
        let sql = CString::new(sql).unwrap();
        let (none, null) = (None, std::ptr::null_mut());
        // SAFETY: the handle is open; no callback, no message.
        let code = unsafe { ffi::sqlite3_exec(self.0, sql.as_ptr(), none, null, std::ptr::null_mut()) };
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
    }

    /// The number that a query gives.
    fn number(&self, sql: &str) -> Option<i64> {
        let sql = CString::new(sql).unwrap();
        let mut statement = std::ptr::null_mut();
        // SAFETY: the handle is open, and the statement is finalized, which null allows too.
        unsafe {
            ffi::sqlite3_prepare_v2(self.0, sql.as_ptr(), -1, &raw mut statement, std::ptr::null_mut());
            let row = !statement.is_null() && ffi::sqlite3_step(statement) == ffi::SQLITE_ROW;
            let number = row.then(|| ffi::sqlite3_column_int64(statement, 0));
            ffi::sqlite3_finalize(statement);
            number
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the handle came from `sqlite3_open`, and is closed once.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

/// Commits one row after the other until the disk is cut; how many commits were promised, and how many are there after it.
fn commit_and_cut(synchronous: &str, cut: Cut, seed: u64) -> (i64, i64) {
    let folder = scratch().unwrap();
    let path = folder.path().join("t.db");
    let mounted = Mounted::new(Arc::new(Disk::new(folder.path(), seed).unwrap())).unwrap();
    let setup = format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};");
    let connection = Connection::open(&path);
    connection.execute(&format!("{setup} PRAGMA wal_autocheckpoint = 20; CREATE TABLE t(n)")).unwrap();
    mounted.disk().cut_after(5 + seed * 3);
    let mut promised = 0;
    while connection.execute(&format!("INSERT INTO t VALUES ({promised})")).is_ok() {
        promised += 1;
    }
    assert!(mounted.disk().is_cut());
    drop(connection);
    mounted.disk().reboot(cut).unwrap();
    let connection = Connection::open(&path);
    assert_eq!(
        connection.number("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check != 'ok'"),
        Some(0)
    );
    (promised, connection.number("SELECT COUNT(*) FROM t").unwrap_or(0))
}

#[test]
fn a_full_sync_keeps_its_promise() {
    for seed in 0..100 {
        let (promised, left) = commit_and_cut("FULL", Cut::Power, seed);
        assert!((promised..=promised + 1).contains(&left), "seed {seed}: {promised} promised, {left} left");
    }
}

#[test]
fn without_it_a_power_cut_takes_commits_and_a_process_crash_does_not() {
    let runs = |cut| (0..100).map(move |seed| commit_and_cut("NORMAL", cut, seed));
    assert!(runs(Cut::Power).filter(|(promised, left)| left < promised).count() > 20);
    assert!(runs(Cut::Process).all(|(promised, left)| left >= promised));
}

#[test]
fn two_connections_share_the_log_and_its_locks() {
    let folder = scratch().unwrap();
    let path = folder.path().join("t.db");
    let _mounted = Mounted::new(Arc::new(Disk::new(folder.path(), 0).unwrap())).unwrap();
    let (writer, reader) = (Connection::open(&path), Connection::open(&path));
    writer.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(n); INSERT INTO t VALUES (1)").unwrap();
    reader.execute("BEGIN").unwrap();
    assert_eq!(reader.number("SELECT COUNT(*) FROM t"), Some(1));
    writer.execute("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(reader.number("SELECT COUNT(*) FROM t"), Some(1), "it reads as of its beginning");
    assert_eq!(reader.execute("INSERT INTO t VALUES (3)"), Err(ffi::SQLITE_BUSY), "snapshot is old");
    reader.execute("COMMIT").unwrap();
    assert_eq!(reader.number("SELECT COUNT(*) FROM t"), Some(2));
}

#[test]
fn an_operation_can_fail_once() {
    let folder = scratch().unwrap();
    let mounted = Mounted::new(Arc::new(Disk::new(folder.path(), 0).unwrap())).unwrap();
    let connection = Connection::open(&folder.path().join("t.db"));
    connection.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(n)").unwrap();
    mounted.disk().fail_after(1);
    assert_eq!(connection.execute("INSERT INTO t VALUES (1)"), Err(ffi::SQLITE_IOERR));
    connection.execute("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(connection.number("SELECT n FROM t"), Some(2));
}

#[test]
fn folders_without_a_model_are_left_alone() {
    let folder = scratch().unwrap();
    let elsewhere = scratch().unwrap();
    let mounted = Mounted::new(Arc::new(Disk::new(folder.path(), 0).unwrap())).unwrap();
    mounted.disk().cut();
    let connection = Connection::open(&elsewhere.path().join("t.db"));
    connection.execute("CREATE TABLE t(n); INSERT INTO t VALUES (5)").unwrap();
    assert_eq!(connection.number("SELECT n FROM t"), Some(5));
    let dead = Connection::open(&folder.path().join("t.db"));
    assert_eq!(dead.execute("CREATE TABLE t(n)"), Err(ffi::SQLITE_MISUSE), "it did not open");
}
