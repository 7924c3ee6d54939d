//! Consumers that come and go while the spool is open.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Bed, Ear, PATIENCE, open, open_with};
use crate::{
    Append, AppendError, ConsumerId, ConsumerOptions, Consumers, Drain, Incident, NewRecord, OpenError,
    Options, Priority, Spool,
};

fn configure(bed: &Bed, names: &[&str]) -> Vec<ConsumerId> {
    let options: Vec<_> = names.iter().map(|name| ConsumerOptions::new(*name)).collect();
    bed.spool.configure(&options).unwrap()
}

/// Appends so many records for a consumer, and waits for their receipts.
fn append_for(bed: &mut Bed, consumer: ConsumerId, count: u64) -> Vec<u64> {
    let mut append = Append::new();
    let mut seqs = Vec::new();
    for _ in 0..count {
        let mut consumers = Consumers::EMPTY;
        consumers.insert(consumer);
        let record = NewRecord { consumers, ..bed.record(Priority::Normal, b"x") };
        append.begin(record.seq);
        seqs.push(record.seq);
        append.record(record);
    }
    bed.spool.append(&mut append).unwrap();
    bed.resolve(seqs[0]..seqs[seqs.len() - 1] + 1);
    seqs
}

fn read_all(bed: &Bed, consumer: ConsumerId, count: usize) -> Vec<u64> {
    bed.spool.set_online(consumer, true);
    let mut out = Vec::new();
    bed.until(|bed| {
        bed.spool.read(consumer, 1000, usize::MAX, &mut out);
        out.len() >= count
    });
    super::seqs(&out)
}

#[test]
fn what_a_new_consumer_is_owed_is_as_safe_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let before = bed.append(5, b"before it was there");
    bed.resolve(before);
    let ids = configure(&bed, &["cloud", "new"]);
    assert_eq!(ids, [bed.consumer(), bed.spool.consumer("new").unwrap()]);
    let seqs = append_for(&mut bed, ids[1], 20);
    // No flush: a crash.
    drop(bed);
    let bed = open_with(Options::new(dir.path()), &["cloud", "new"]);
    assert_eq!(bed.opened_incidents, []);
    assert_eq!(read_all(&bed, bed.spool.consumer("new").unwrap(), 20), seqs);
}

#[test]
fn one_that_goes_keeps_what_waits_and_comes_back_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open_with(Options::new(dir.path()), &["cloud", "gone"]);
    let gone = bed.spool.consumer("gone").unwrap();
    let seqs = append_for(&mut bed, gone, 20);
    bed.spool.set_online(gone, true);
    configure(&bed, &["cloud"]);
    assert_eq!(bed.spool.read(gone, 10, usize::MAX, &mut Vec::new()).records, 0, "it is away");
    let mut stranger = bed.record(Priority::Normal, b"x");
    stranger.consumers.insert(gone);
    let (mut append, seq) = (Append::new(), stranger.seq);
    append.begin(1);
    append.record(stranger);
    assert_eq!(bed.spool.append(&mut append), Err(AppendError::Consumers { seq }));
    assert_eq!(configure(&bed, &["gone"]), [gone], "by the number that it had");
    assert_eq!(read_all(&bed, gone, 20), seqs);
    bed.spool.close(PATIENCE).unwrap();
    let bed = open(dir.path());
    let told = [Incident::ConsumerUnconfigured { name: "gone".into(), records: 20 }];
    assert_eq!(bed.opened_incidents, told);
}

#[test]
fn a_name_that_cannot_be_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bed = open(dir.path());
    let names: Vec<String> = (0..64).map(|n| format!("c{n}")).collect();
    let options: Vec<_> = names.iter().map(ConsumerOptions::new).collect();
    let refused = bed.spool.configure(&options).unwrap_err();
    assert!(matches!(&refused, OpenError::Consumer { name, .. } if name == "c63"), "{refused}");
    assert_eq!(bed.spool.consumer("c0"), None);
    for wrong in [&["a", "a"][..], &[""]] {
        let options: Vec<_> = wrong.iter().map(|name| ConsumerOptions::new(*name)).collect();
        assert!(bed.spool.configure(&options).is_err(), "{wrong:?}");
    }
    bed.spool.close(PATIENCE).unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let known: i64 = connection.query_row("SELECT COUNT(*) FROM consumer", [], |row| row.get(0)).unwrap();
    assert_eq!(known, 1);
}

#[test]
fn the_order_in_which_one_is_served_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let cloud = bed.consumer();
    let [seqs, later] = [(); 2].map(|()| append_for(&mut bed, cloud, 5));
    let newest = ConsumerOptions { drain: Drain::NewestFirst, ..ConsumerOptions::new("cloud") };
    bed.spool.configure(&[newest]).unwrap();
    let read = read_all(&bed, bed.consumer(), 10);
    assert_eq!(read, [later, seqs].concat(), "the newest row first, each in order");
}

#[test]
fn a_full_house_is_told_how_it_gets_room() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..64).map(|n| format!("c{n}")).collect();
    let options: Vec<_> = names.iter().map(ConsumerOptions::new).collect();
    let opened = Spool::open(Options::new(dir.path()), &options, Arc::new(Ear::default())).unwrap();
    let error = opened.spool.configure(&[ConsumerOptions::new("one-more")]).unwrap_err();
    assert!(error.to_string().contains("next open"), "{error}");
}
