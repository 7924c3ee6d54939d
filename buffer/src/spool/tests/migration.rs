//! Databases of older versions open with all that is in them.

use rusqlite::Connection;

use super::{PATIENCE, open, seqs};
use crate::Incident;
use crate::store::schema::tests::fill_version_1;

#[test]
fn a_database_of_version_1_opens_with_all_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("buffer.db");
    let waiting = fill_version_1(&Connection::open(&path).unwrap());
    for round in 0..2 {
        let bed = open(dir.path());
        assert_eq!(bed.opened_incidents, [], "round {round}");
        assert!(bed.next_seq >> 40 > 3, "numbers go on");
        assert_eq!(bed.snapshot.as_deref(), Some(&b"state"[..]));
        assert_eq!(bed.journal, [b"one", b"two"]);
        assert_eq!(bed.backlog(), 195);
    }
    let bed = open(dir.path());
    bed.spool.set_online(bed.consumer(), true);
    let records = bed.drain(195);
    assert_eq!(seqs(&records), waiting);
    assert!(records.iter().all(|record| record.payload == record.seq.to_string()));
    bed.spool.close(PATIENCE).unwrap();
    let cause = "SELECT cause FROM quarantine";
    let cause: String = Connection::open(&path).unwrap().query_row(cause, [], |row| row.get(0)).unwrap();
    assert_eq!(cause, "too large");
}

#[test]
fn a_damaged_database_of_version_1_is_salvaged_into_the_new_tables() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let waiting = fill_version_1(&connection);
    connection.execute_batch("CREATE TABLE stray(x)").unwrap();
    drop(connection);
    let bed = open(dir.path());
    let incidents = &bed.opened_incidents;
    assert!(
        matches!(&incidents[..], [Incident::DatabaseSetAside { batches_saved: 20, .. }]),
        "{incidents:?}"
    );
    assert_eq!(bed.journal, [b"one", b"two"]);
    bed.spool.set_online(bed.consumer(), true);
    assert_eq!(seqs(&bed.drain(195)), waiting);
}
