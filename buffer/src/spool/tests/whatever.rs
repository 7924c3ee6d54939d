//! Whatever lies in the folder: what exactly comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::{Ear, NOISE, PATIENCE, open, seqs};
use crate::{Incident, OpenError, Options, Spool};

const FILES: [&str; 3] = ["buffer.db", "buffer.db-wal", "buffer.db-shm"];

/// The files as a kill leaves them: 100 records moved into the database, and 100 more that are in the log alone.
fn killed() -> (BTreeMap<String, Vec<u8>>, std::ops::Range<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let first = bed.append(100, NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let mut bed = open(dir.path());
    let second = bed.append(100, NOISE);
    bed.resolve(second.clone());
    let files = FILES.map(|name| (name.to_owned(), fs::read(dir.path().join(name)).unwrap()));
    assert_eq!(first.end - first.start, 100);
    (files.into(), first.start..second.end)
}

fn lay(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Opens and reads all: how many records came, and what was told.
fn outcome(dir: &Path) -> (u64, Vec<Incident>) {
    let bed = open(dir);
    let waiting = bed.backlog();
    bed.spool.set_online(bed.consumer(), true);
    let records = bed.drain(usize::try_from(waiting).unwrap());
    assert!(seqs(&records).is_sorted_by(|a, b| a < b));
    let told = bed.opened_incidents.clone();
    bed.spool.close(PATIENCE).unwrap();
    (waiting, told)
}

#[test]
fn missing_and_stale_files() {
    let (whole, _) = killed();
    type Change = fn(&mut BTreeMap<String, Vec<u8>>);
    let table: [(&str, Change, u64); 8] = [
        ("nothing", |_| {}, 200),
        ("no index", |files| drop(files.remove("buffer.db-shm")), 200),
        ("an empty index", |files| drop(files.insert("buffer.db-shm".into(), Vec::new())), 200),
        ("an index of zeros", |files| drop(files.insert("buffer.db-shm".into(), vec![0; 32_768])), 200),
        ("no log", |files| drop(files.remove("buffer.db-wal")), 100),
        ("an empty log", |files| drop(files.insert("buffer.db-wal".into(), Vec::new())), 100),
        ("no log and no index", |files| files.retain(|name, _| name == "buffer.db"), 100),
        ("a log of something else", |files| drop(files.insert("buffer.db-wal".into(), vec![7; 9000])), 100),
    ];
    for (name, change, records) in table {
        let dir = tempfile::tempdir().unwrap();
        let mut files = whole.clone();
        change(&mut files);
        lay(dir.path(), &files);
        assert_eq!(outcome(dir.path()), (records, vec![]), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = whole.clone();
    files.remove("buffer.db");
    lay(dir.path(), &files);
    let (records, _) = outcome(dir.path());
    assert_eq!(records, 100, "no database: what is in the log alone");
}

/// A log that was brought back from an older copy: SQLite cannot tell, and plays it over the newer database. What comes
/// of it is a database as of then, or a damaged one; nothing that is read is invented.
#[test]
fn a_stale_log_is_survived() {
    let (old, all) = killed();
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path(), &old);
    let mut bed = open(dir.path());
    bed.append(300, NOISE);
    bed.spool.close(PATIENCE).unwrap();
    fs::write(dir.path().join("buffer.db-wal"), &old["buffer.db-wal"]).unwrap();
    drop(fs::remove_file(dir.path().join("buffer.db-shm")));
    let bed = open(dir.path());
    bed.spool.set_online(bed.consumer(), true);
    let mut records = Vec::new();
    bed.until(|bed| {
        let mut out = Vec::new();
        while bed.spool.read(bed.consumer(), 100, usize::MAX, &mut out).records > 0 {
            let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
            bed.spool.ack(bed.consumer(), &acks);
            records.append(&mut out);
            assert!(records.len() < 1000, "{:?}", bed.spool.usage());
        }
        bed.backlog() == 0
    });
    let seqs = seqs(&records);
    assert!(seqs.is_sorted_by(|a, b| a < b));
    assert!(
        seqs.iter().filter(|seq| all.contains(seq)).count() >= 200,
        "what was in both is there: {}",
        seqs.len()
    );
    assert!(records.iter().all(|record| record.payload == super::noise(record.seq, 200)));
}

#[test]
fn a_folder_where_a_file_should_be_is_moved_out_of_the_way() {
    for name in ["buffer.db", "buffer.db-wal", "buffer.db-shm", "buffer.lock", "buffer.reserve"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
        let (records, told) = outcome(dir.path());
        assert_eq!(records, 0);
        let [Incident::DatabaseSetAside { path, .. }] = &told[..] else { panic!("{name}: {told:?}") };
        assert!(path.is_dir() && path.to_string_lossy().contains(&format!("{name}.damaged-")), "{path:?}");
    }
}

/// What has no permission cannot be used, and is named. The superuser has every permission: nothing to see then.
#[test]
fn what_may_not_be_read_or_written_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&secret).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    for (name, mode) in [("buffer.db", 0), ("buffer.db", 0o444), ("buffer.lock", 0), (".", 0o555)] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).spool.close(PATIENCE).unwrap();
        let path = dir.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Spool::open(
            Options::new(dir.path()),
            &[crate::ConsumerOptions::new("cloud")],
            Arc::new(Ear::default()),
        )
        .unwrap_err();
        let named = matches!(error, OpenError::Directory { .. } | OpenError::Database { .. });
        assert!(named, "{name} {mode:o}: {error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        drop(open(dir.path()));
    }
}

fn run_of(dir: &Path) -> u64 {
    let bed = open(dir);
    let first = bed.next_seq;
    bed.spool.close(PATIENCE).unwrap();
    first >> 40
}

#[test]
fn numbers_never_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("buffer.db");
    let mut last = run_of(dir.path());
    let sql = |text: &str| Connection::open(&path).unwrap().execute_batch(text).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn());
    let lock = dir.path().join("buffer.lock");
    let table: [Change<'_>; 9] = [
        ("nothing", &|| {}),
        ("the count is gone back", &|| sql("UPDATE meta SET run = 0")),
        ("the count is far off", &|| sql("UPDATE meta SET run = 1 << 40")),
        ("the count is below zero", &|| sql("UPDATE meta SET run = -5")),
        ("the count is no number", &|| sql("UPDATE meta SET run = 'x'")),
        ("the database is gone", &|| fs::remove_file(&path).unwrap()),
        ("the database is garbage", &|| fs::write(&path, [9; 5000]).unwrap()),
        ("the second copy is garbage", &|| fs::write(&lock, "9999999999 1").unwrap()),
        ("the second copy is gone", &|| fs::remove_file(&lock).unwrap()),
    ];
    for (name, change) in table {
        change();
        let run = run_of(dir.path());
        assert!(run > last && run < last + 5000, "{name}: {run} after {last}");
        last = run;
    }
}

#[test]
fn no_two_buffers_give_the_same_numbers() {
    let [kept, removed, restored] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = run_of(kept.path());
    assert_eq!(run_of(kept.path()), first + 1, "a buffer that stays where it is goes on");
    let others: Vec<u64> = (0..3).map(|_| run_of(tempfile::tempdir().unwrap().path())).collect();
    assert!(others.iter().any(|run| run.abs_diff(first) > 1), "{others:?} beside {first}");
    // An old copy, beside one that went on.
    for name in ["buffer.db", "buffer.lock"] {
        fs::copy(kept.path().join(name), restored.path().join(name)).unwrap();
    }
    let went_on = (0..9).map(|_| run_of(kept.path())).max().unwrap();
    let again = run_of(restored.path());
    assert!(again > went_on + 1000 && again < went_on + 5000, "{again} after {went_on}");
    assert_eq!(run_of(restored.path()), again + 1);
    // The database alone is lost, or alone is kept.
    run_of(removed.path());
    let last = run_of(removed.path());
    fs::remove_file(removed.path().join("buffer.db")).unwrap();
    assert_eq!(run_of(removed.path()), last + 1);
    fs::remove_file(removed.path().join("buffer.lock")).unwrap();
    assert!(run_of(removed.path()) > last + 1000);
}

/// A row's last number is no part of the checksum of its batch: one flipped bit must not use up all runs.
#[test]
fn a_row_with_an_impossible_number_does_not_keep_the_spool_from_opening() {
    for last_seq in [i64::MAX, i64::MAX >> 2, -1, 0] {
        let dir = tempfile::tempdir().unwrap();
        let mut bed = open(dir.path());
        let first = bed.next_seq >> 40;
        bed.append(10, NOISE);
        bed.spool.close(PATIENCE).unwrap();
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        connection.execute("UPDATE batch SET last_seq = ?1", [last_seq]).unwrap();
        connection.close().unwrap();
        assert_eq!(run_of(dir.path()), first + 1, "{last_seq}");
    }
}

/// Values of another type than the columns are made for are not carried over; so the second database can be used.
#[test]
fn values_of_another_type_are_left_behind() {
    let table = [
        "UPDATE lane SET cursor = 'x' WHERE id = 1",
        "UPDATE lane SET settled = 5",
        "UPDATE consumer SET name = x'ff'",
        "UPDATE consumer SET id = 700",
        "UPDATE quarantine SET records = 1.5",
        "UPDATE journal SET data = 'x'",
        "UPDATE snapshot SET data = 3",
        "INSERT INTO boot VALUES (1, 'x', 'y', 'z')",
        "INSERT INTO boot VALUES (1, x'01', 1, 1)",
        "UPDATE batch SET consumers = 'x' WHERE id = (SELECT MAX(id) FROM batch)",
        "UPDATE batch SET data = 7 WHERE id = (SELECT MAX(id) FROM batch)",
        "UPDATE meta SET id = 0, version = 'x'",
        "DELETE FROM meta",
    ];
    for sql in table {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        crate::store::schema::tests::fill_version_1(&connection);
        crate::store::schema::prepare(&mut Connection::open(dir.path().join("buffer.db")).unwrap()).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        for _ in 0..2 {
            let bed = open(dir.path());
            bed.spool.set_online(bed.consumer(), true);
            let mut out = Vec::new();
            bed.until(|bed| {
                bed.spool.read(bed.consumer(), 1000, usize::MAX, &mut out);
                bed.backlog() <= out.len() as u64
            });
            // Without a consumer of this name there is nobody to whom the records belong.
            assert!(out.len() >= 185 || sql.contains("consumer SET"), "{sql}: {}", out.len());
        }
    }
}
