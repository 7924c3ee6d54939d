//! Rows are not given up before their time.

use std::time::Duration;

use super::{Bed, PATIENCE, open_with};
use crate::{Append, Consumers, NewRecord, Options, Priority};

/// Reads one record of the cloud's, and does not acknowledge it.
fn read_one(bed: &Bed) -> u64 {
    let mut records = Vec::new();
    bed.until(|bed| {
        bed.spool.read(bed.consumer(), 1, usize::MAX, &mut records);
        !records.is_empty()
    });
    records[0].seq
}

/// A record that stays in memory while later ones of another consumer are written, and becomes a row only then: it is found
/// after a restart, though a sweep has been beyond its number before it was a row.
#[test]
fn a_row_that_is_written_behind_a_sweep_is_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { spill_after: Duration::from_secs(3600), ..Options::new(dir.path()) };
    let mut bed = open_with(options(), &["cloud", "archive"]);
    let (cloud, archive) = (bed.consumer(), bed.spool.consumer("archive").unwrap());
    bed.spool.set_online(cloud, true);
    let append = |bed: &mut Bed, to, is_held: bool| {
        let mut consumers = Consumers::EMPTY;
        consumers.insert(to);
        let mut append = Append::new();
        let record = bed.record(Priority::Normal, b"x");
        let seq = record.seq;
        append.begin(0);
        append.record(NewRecord { consumers, ..record });
        if is_held {
            append.hold();
        }
        bed.spool.append(&mut append).unwrap();
        seq
    };
    let written = append(&mut bed, cloud, true);
    assert_eq!(read_one(&bed), written);
    let waits = append(&mut bed, cloud, false);
    assert_eq!(read_one(&bed), waits);
    bed.spool.ack(cloud, &[(Priority::Normal, written)]);
    append(&mut bed, archive, false);
    bed.until(|bed| bed.spool.usage().commits >= 2);
    assert!(bed.spool.flush(PATIENCE));
    drop(bed);

    let bed = open_with(options(), &["cloud", "archive"]);
    bed.spool.set_online(cloud, true);
    assert_eq!(read_one(&bed), waits);
}
