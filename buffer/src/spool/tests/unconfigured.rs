//! Consumers that the database knows and the caller did not name.

use std::path::Path;

use rusqlite::Connection;

use super::{Bed, PATIENCE, noise, open, open_with, seqs};
use crate::{
    Admission, Append, AppendError, Consumers, Incident, NewRecord, OpenError, Options, Priority, Spool,
    WhenFull,
};

/// 300 records for `gone`, every second of them for `cloud` too.
fn fill(dir: &Path) -> Vec<u64> {
    let mut bed = open_with(Options::new(dir), &["gone", "cloud"]);
    let (cloud, gone) = (bed.consumer(), bed.spool.consumer("gone").unwrap());
    let mut append = Append::new();
    let mut all = Vec::new();
    for n in 0..300_u64 {
        let mut consumers = Consumers::EMPTY;
        consumers.insert(gone);
        if n % 2 == 0 {
            consumers.insert(cloud);
        }
        let record = NewRecord { consumers, ..bed.record(Priority::Normal, &noise(n, 300)) };
        all.push(record.seq);
        append.begin(n + 1);
        append.record(record);
    }
    bed.spool.append(&mut append).unwrap();
    bed.resolve(1..301);
    all
}

fn rows(dir: &Path) -> i64 {
    let connection = Connection::open(dir.join("buffer.db")).unwrap();
    connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap()
}

fn backlog(bed: &Bed, name: &str) -> u64 {
    let lanes = bed.spool.usage().lanes;
    lanes.iter().filter(|lane| lane.consumer == name).map(|lane| lane.backlog).sum()
}

#[test]
fn it_keeps_what_waits_for_it_until_it_is_named_again() {
    let dir = tempfile::tempdir().unwrap();
    let all = fill(dir.path());
    for _ in 0..2 {
        let mut bed = open(dir.path());
        let told = [Incident::ConsumerUnconfigured { name: "gone".into(), records: 300 }];
        assert_eq!(bed.opened_incidents, told);
        assert_eq!(backlog(&bed, "gone"), 300);
        bed.spool.set_online(bed.consumer(), true);
        let appended = bed.append(20, b"new");
        let waiting = bed.drain(usize::try_from(bed.backlog()).unwrap() - 300);
        assert_eq!(waiting.last().unwrap().seq, appended.end - 1);
        bed.spool.close(PATIENCE).unwrap();
    }
    assert!(rows(dir.path()) > 0);

    let bed = open_with(Options::new(dir.path()), &["gone"]);
    assert_eq!(bed.opened_incidents, [], "nothing waits for cloud");
    let gone = bed.spool.consumer("gone").unwrap();
    bed.spool.set_online(gone, true);
    let mut out = Vec::new();
    bed.until(|bed| bed.spool.read(gone, 1000, usize::MAX, &mut out).records == 0 && out.len() == 300);
    assert_eq!(seqs(&out), all);
    let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
    bed.spool.ack(gone, &acks);
    bed.spool.close(PATIENCE).unwrap();
    assert_eq!(rows(dir.path()), 0);
}

#[test]
fn nothing_is_appended_or_read_for_it_and_it_refuses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let options = Options { max_bytes: 1, when_full: WhenFull::Refuse, ..Options::new(dir.path()) };
    let mut bed = open_with(options, &["cloud"]);
    let gone = bed.spool.consumer("gone").unwrap();
    bed.spool.set_online(bed.consumer(), true);
    assert_eq!(
        bed.spool.admission(Priority::Normal),
        Admission::Open,
        "only cloud could refuse, and it is there"
    );
    bed.spool.set_online(gone, true);
    assert_eq!(bed.spool.read(gone, 10, usize::MAX, &mut Vec::new()).records, 0);
    let mut record = bed.record(Priority::Normal, b"x");
    record.consumers.insert(gone);
    let (mut append, seq) = (Append::new(), record.seq);
    append.begin(1);
    append.record(record);
    assert_eq!(bed.spool.append(&mut append), Err(AppendError::Consumers { seq }));
}

#[test]
fn the_bound_of_the_database_evicts_it_too_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let options = Options { max_bytes: 200 << 10, ..Options::new(dir.path()) };
    let mut bed = open_with(options.clone(), &["cloud"]);
    for _ in 0..10 {
        bed.append(100, super::NOISE);
        assert!(bed.spool.flush(PATIENCE));
    }
    assert!(backlog(&bed, "gone") < 300);
    let left = (backlog(&bed, "gone"), bed.backlog());
    drop(bed);
    let bed = open_with(options, &["gone", "cloud"]);
    assert_eq!((backlog(&bed, "gone"), bed.backlog()), left);
}

#[test]
fn numbers_are_given_anew_only_when_nothing_waits() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..64).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bed = open_with(Options::new(dir.path()), &names);
    let mut append = Append::new();
    let mut record = bed.spool.consumer("c0").map(|consumer| {
        let mut consumers = Consumers::EMPTY;
        consumers.insert(consumer);
        NewRecord {
            seq: bed.next_seq,
            consumers,
            priority: Priority::Low,
            received: crate::Stamp::now(),
            expires_after_ms: None,
            topic: bytes::Bytes::new(),
            meta: bytes::Bytes::new(),
            payload: bytes::Bytes::new(),
        }
    });
    append.begin(1);
    append.record(record.take().unwrap());
    bed.spool.append(&mut append).unwrap();
    bed.next_seq += 1;
    bed.resolve(1..2);
    drop(bed);
    let new: Vec<String> = (0..64).map(|n| format!("d{n}")).collect();
    let mut new: Vec<&str> = new.iter().map(String::as_str).collect();
    let listener = std::sync::Arc::new(super::Ear::default());
    let options: Vec<_> = new.iter().map(|name| crate::ConsumerOptions::new(*name)).collect();
    let error = Spool::open(Options::new(dir.path()), &options, listener).unwrap_err();
    assert!(matches!(&error, OpenError::Consumer { name, .. } if name == "d63"), "{error}");
    new.pop();
    let bed = open_with(Options::new(dir.path()), &new);
    assert_eq!(bed.opened_incidents, [Incident::ConsumerUnconfigured { name: "c0".into(), records: 1 }]);
    assert_eq!(bed.spool.usage().lanes.len(), 64 * 3);
}
