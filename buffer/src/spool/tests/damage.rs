//! Whatever happened to the files: the spool opens, gives what is whole, in order, and its books balance.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::{Bed, NOISE, PATIENCE, noise, open, seqs};
use crate::{Incident, Record};

/// Opens what is damaged and reads what it gives: whole records, in order, and balanced books.
fn read_damaged(dir: &Path, appended: &std::ops::Range<u64>) -> (usize, Vec<Incident>) {
    let bed = open(dir);
    bed.spool.set_online(bed.consumer(), true);
    let consumer = bed.consumer();
    let mut all = Vec::new();
    bed.until(|bed| {
        let mut out = Vec::new();
        while bed.spool.read(consumer, 1000, usize::MAX, &mut out).records > 0 {
            let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
            bed.spool.ack(consumer, &acks);
            all.append(&mut out);
        }
        bed.backlog() == 0
    });
    let seqs = seqs(&all);
    assert!(seqs.is_sorted_by(|a, b| a < b), "in order, each once");
    assert!(seqs.iter().all(|seq| appended.contains(seq)));
    let known = |record: &Record| record.payload == noise(record.seq, 200) || record.payload == noise(1, 100);
    assert!(all.iter().all(known), "nothing invented");
    bed.spool.close(PATIENCE).unwrap();
    (all.len(), [bed.opened_incidents, bed.ear.incidents()].concat())
}

/// A closed database of 40 rows with 100 records each.
fn forty_rows(dir: &Path) -> std::ops::Range<u64> {
    let (bed, all) = open_with_forty_rows(dir, &noise(1, 100));
    bed.spool.close(PATIENCE).unwrap();
    all
}

fn open_with_forty_rows(dir: &Path, payload: &[u8]) -> (Bed, std::ops::Range<u64>) {
    let mut bed = open(dir);
    let first = bed.next_seq;
    for _ in 0..40 {
        bed.append(100, payload);
        assert!(bed.spool.flush(PATIENCE));
    }
    let all = first..bed.next_seq;
    (bed, all)
}

#[test]
fn a_damaged_batch_is_set_aside_and_the_rest_flows() {
    let dir = tempfile::tempdir().unwrap();
    let appended = forty_rows(dir.path());
    let path = dir.path().join("buffer.db");
    let connection = Connection::open(&path).unwrap();
    let sql = "SELECT id, records FROM batch ORDER BY id LIMIT 1 OFFSET 20";
    let (id, records): (i64, usize) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap())))
        .unwrap();
    connection.execute("UPDATE batch SET data = substr(data, 1, 40) WHERE id = ?1", [id]).unwrap();
    connection.close().unwrap();
    let (read, incidents) = read_damaged(dir.path(), &appended);
    assert_eq!(read, 4000 - records);
    assert!(matches!(&incidents[..], [Incident::BatchDamaged { .. }]), "{incidents:?}");
    let kept: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT SUM(records) FROM quarantine", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), records);
}

#[test]
fn any_damage_to_the_file_leaves_a_spool_that_works() {
    let source = tempfile::tempdir().unwrap();
    let appended = forty_rows(source.path());
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    let mut delivered = BTreeMap::new();
    let cuts = [0, 1, 50, 99, 100, 4096, original.len() / 2, original.len() - 1];
    let flips = (0..60).map(|n| n * original.len() / 60 + n % 7);
    let cut = cuts.map(|at| (format!("cut at {at}"), original[..at].to_vec()));
    let flip = flips.map(|at| {
        let mut bytes = original.clone();
        bytes[at] ^= 0x55;
        (format!("flip at {at}"), bytes)
    });
    let mut zeroed = original.clone();
    zeroed[4096..8192].fill(0);
    let garbage = [("garbage".to_owned(), noise(1, 20_000)), ("zeroed page".to_owned(), zeroed)];
    for (name, bytes) in cut.into_iter().chain(flip).chain(garbage) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("buffer.db"), &bytes).unwrap();
        let (read, incidents) = read_damaged(dir.path(), &appended);
        let clean = incidents.is_empty() && read == 4000;
        assert!(clean || read < 4000 || !incidents.is_empty(), "{name}");
        delivered.insert(name, read);
    }
    let flips: Vec<_> =
        delivered.iter().filter(|(name, _)| name.starts_with("flip")).map(|(_, read)| *read).collect();
    let mean = flips.iter().sum::<usize>() / flips.len();
    assert!(mean > 3800, "one flipped byte costs a batch or so: {delivered:?}");
}

/// The files of a spool as a kill leaves them: most of the rows are in the write-ahead log.
fn files_at_a_kill() -> (BTreeMap<&'static str, Vec<u8>>, std::ops::Range<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let (_bed, appended) = open_with_forty_rows(dir.path(), NOISE);
    let names = ["buffer.db", "buffer.db-wal", "buffer.db-shm"];
    (names.map(|name| (name, std::fs::read(dir.path().join(name)).unwrap())).into(), appended)
}

/// One kind of damage by a seed: a flipped byte, a cut, a zeroed or repeated sector, or a file that is gone.
fn damage(files: &mut BTreeMap<&'static str, Vec<u8>>, seed: u64) -> String {
    let dice: Vec<usize> =
        noise(seed, 8).chunks(2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1])).collect();
    let name = ["buffer.db", "buffer.db-wal", "buffer.db-shm"][dice[0] % 3];
    let bytes = files.get_mut(name).unwrap();
    let at = dice[1] * bytes.len() / 65_536;
    let sector = at / 512 * 512;
    let what = ["flip", "cut", "zeroed", "repeated", "gone"][dice[2] % 5];
    match what {
        "flip" => bytes[at] ^= 1 << (dice[3] % 8),
        "cut" => bytes.truncate(at),
        "zeroed" => bytes[sector..].iter_mut().take(512).for_each(|byte| *byte = 0),
        "repeated" => {
            let from = dice[3] * bytes.len() / 65_536 / 512 * 512;
            let copy: Vec<u8> = bytes[from..].iter().copied().take(512).collect();
            bytes[sector..].iter_mut().zip(copy).for_each(|(byte, other)| *byte = other);
        }
        _ => drop(files.remove(name)),
    }
    format!("seed {seed}: {name} {what} at {at}")
}

#[test]
fn damage_to_any_file_after_a_kill_leaves_a_spool_that_works() {
    let (whole, appended) = files_at_a_kill();
    let mut untouched = 0;
    for seed in 0..150 {
        let mut files = whole.clone();
        let what = damage(&mut files, seed);
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let (read, _) = read_damaged(dir.path(), &appended);
        // The shared-memory file is an index that SQLite makes anew: damage to it may cost nothing.
        assert!(!what.contains("-shm") || read == 4000, "{what}: {read}");
        untouched += usize::from(read == 4000);
    }
    assert!(
        (30..150).contains(&untouched),
        "{untouched} of 150 cost nothing: the damage is none, or too much"
    );
}

/// A file system that was not whole may give back a shorter file.
#[test]
fn what_stands_before_a_cut_is_salvaged() {
    let source = tempfile::tempdir().unwrap();
    let (bed, appended) = open_with_forty_rows(source.path(), NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    let mut delivered = Vec::new();
    for tenths in [3, 5, 7, 9] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("buffer.db"), &original[..original.len() * tenths / 10]).unwrap();
        delivered.push(read_damaged(dir.path(), &appended).0);
    }
    assert!(delivered.is_sorted() && delivered[0] > 500 && delivered[3] > 3000, "{delivered:?}");
}

#[test]
fn a_damaged_page_of_the_table_costs_what_is_on_it() {
    let source = tempfile::tempdir().unwrap();
    let (bed, appended) = open_with_forty_rows(source.path(), NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    // The leaves of b-trees (https://sqlite.org/fileformat2.html, section 1.6), behind those of the small tables.
    let leaves: Vec<usize> =
        (20..original.len() / 4096).map(|page| page * 4096).filter(|at| original[*at] == 13).collect();
    assert!(leaves.len() > 5, "{leaves:?}");
    for at in leaves {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = original.clone();
        bytes[at + 3] ^= 0x55;
        std::fs::write(dir.path().join("buffer.db"), &bytes).unwrap();
        let (read, incidents) = read_damaged(dir.path(), &appended);
        assert!(read >= 3500, "leaf at {at}: {read}; {incidents:?}");
    }
}

/// Lays the bytes into a folder, opens it, and reads: how many of the records came, and whether anything was told.
fn read_bytes(bytes: &[u8], appended: &std::ops::Range<u64>) -> (usize, bool) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("buffer.db"), bytes).unwrap();
    let (read, incidents) = read_damaged(dir.path(), appended);
    (read, !incidents.is_empty())
}

/// The roots of the tables are among the first pages: one table is then taken for another, or for an empty one.
#[test]
fn tables_in_each_others_place_lose_nothing() {
    let source = tempfile::tempdir().unwrap();
    let (bed, appended) = open_with_forty_rows(source.path(), NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    let mut cost = BTreeMap::new();
    for (one, other) in (0..13).flat_map(|one| (one + 1..13).map(move |other| (one, other))) {
        let mut bytes = original.clone();
        let (left, right) = bytes.split_at_mut(other * 4096);
        left[one * 4096..][..4096].swap_with_slice(&mut right[..4096]);
        let (read, told) = read_bytes(&bytes, &appended);
        assert!(told || read == 4000, "{one} and {other}: {read} without a word");
        if read < 4000 {
            cost.insert((one, other), read);
        }
    }
    assert!(cost.is_empty(), "{cost:?}");
}

/// Nothing in the file is damaged, and SQLite reads most of these without complaint, past rows that are there.
#[test]
fn leaves_that_have_changed_places_are_noticed_and_cost_nothing() {
    let source = tempfile::tempdir().unwrap();
    let (bed, appended) = open_with_forty_rows(source.path(), NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    // Type 13 is a leaf of a table; the first pages are those of other tables.
    let leaves: Vec<usize> =
        (13..original.len() / 4096).map(|page| page * 4096).filter(|at| original[*at] == 13).collect();
    assert!(leaves.len() > 4, "{leaves:?}");
    for (one, other) in [(0, 1), (0, leaves.len() - 1), (1, leaves.len() - 2), (2, 4)] {
        let (one, other) = (leaves[one], leaves[other]);
        let mut bytes = original.clone();
        let (left, right) = bytes.split_at_mut(other);
        left[one..one + 4096].swap_with_slice(&mut right[..4096]);
        assert_eq!(read_bytes(&bytes, &appended), (4000, true), "leaves at {one} and {other}");
    }
}

/// The upper bits of a row's number are the priority. The tree is still in order when the last row claims a lower one.
#[test]
fn a_row_that_slipped_into_another_lane_returns_to_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let appended = forty_rows(dir.path());
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let slip = "UPDATE batch SET id = id + (1 << 61) WHERE id = (SELECT MAX(id) FROM batch)";
    assert_eq!(connection.execute(slip, []).unwrap(), 1);
    connection.close().unwrap();
    let (read, incidents) = read_damaged(dir.path(), &appended);
    assert_eq!(read, 4000);
    assert!(matches!(&incidents[..], [Incident::DatabaseSetAside { .. }]), "{incidents:?}");
}

#[test]
fn a_damaged_page_above_the_leaves_costs_nothing() {
    let source = tempfile::tempdir().unwrap();
    let (bed, appended) = open_with_forty_rows(source.path(), NOISE);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    // Type 5 is the inside of a table (https://sqlite.org/fileformat2.html, section 1.6).
    let inner: Vec<usize> =
        (2..original.len() / 4096).map(|page| page * 4096).filter(|at| original[*at] == 5).collect();
    assert!(!inner.is_empty());
    for at in inner {
        let mut bytes = original.clone();
        bytes[at..at + 4096].fill(0);
        assert_eq!(read_bytes(&bytes, &appended), (4000, true), "page at {at}");
    }
}

/// What says who is owed what has a checksum: a changed bit in it costs a second delivery, never a record.
#[test]
fn a_changed_name_or_mark_loses_nothing() {
    for sql in [
        "UPDATE consumer SET name = 'cloue'",
        "UPDATE lane SET cursor = cursor + 1000 WHERE id = 1",
        "UPDATE lane SET stored = 0 WHERE id = 1",
        "UPDATE lane SET settled = x'0140' WHERE id = 1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let appended = forty_rows(dir.path());
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        let (read, incidents) = read_damaged(dir.path(), &appended);
        assert_eq!(read, 4000, "{sql}");
        assert!(matches!(&incidents[..], [Incident::DatabaseSetAside { .. }]), "{sql}: {incidents:?}");
    }
}

/// SQLite opens a file of a format that it does not know for reading only, which is not the disk's fault.
#[test]
fn a_format_that_nobody_wrote_is_damage() {
    for (write, read) in [(3, 2), (200, 1), (2, 9), (0, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let appended = forty_rows(dir.path());
        let path = dir.path().join("buffer.db");
        let mut bytes = std::fs::read(&path).unwrap();
        (bytes[18], bytes[19]) = (write, read);
        std::fs::write(&path, &bytes).unwrap();
        let (read_back, _) = read_damaged(dir.path(), &appended);
        assert_eq!(read_back, 4000, "{write} {read}");
    }
}

/// Each salvage leaves a file as large as the database behind: damage that comes back is not salvaged for ever.
#[test]
fn salvage_that_does_not_help_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let set_aside = |bed: &Bed| {
        let aside = |incident: &Incident| matches!(incident, Incident::DatabaseSetAside { .. });
        bed.ear.incidents().iter().filter(|incident| aside(incident)).count()
    };
    for salvaged in 1..=3 {
        Connection::open(dir.path().join("buffer.db")).unwrap().execute_batch("DROP TABLE batch").unwrap();
        let tags = bed.append(10, NOISE);
        bed.resolve(tags);
        assert_eq!(set_aside(&bed), salvaged, "the commit failed, and was repeated in a new database");
    }
    Connection::open(dir.path().join("buffer.db")).unwrap().execute_batch("DROP TABLE batch").unwrap();
    bed.append(10, NOISE);
    let gave_up = |incident: &Incident| incident.to_string().contains("did not help");
    bed.until(|bed| bed.ear.incidents().iter().any(gave_up));
    assert_eq!(set_aside(&bed), 3);
    assert_eq!(bed.spool.usage().receipts_open, 10, "what is not durable is not acknowledged");
}

/// The columns beside the data have no checksum; the data have, and tell the same.
#[test]
fn what_salvage_finds_is_what_the_data_say() {
    for sql in [
        "UPDATE batch SET consumers = 1 << 40 WHERE id % 2 = 0",
        "UPDATE batch SET records = (1 << 62) + 1",
        "UPDATE batch SET last_seq = -5",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let appended = forty_rows(dir.path());
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        connection.execute_batch(&format!("{sql}; DELETE FROM lane WHERE id = 1")).unwrap();
        connection.close().unwrap();
        let (read, incidents) = read_damaged(dir.path(), &appended);
        assert_eq!(read, 4000, "{sql}");
        assert!(matches!(incidents[..], [Incident::DatabaseSetAside { .. }]), "{incidents:?}");
    }
}

#[test]
fn consumers_with_impossible_numbers_are_left_behind() {
    for id in [i64::MAX, i64::MIN, -1, 64] {
        let dir = tempfile::tempdir().unwrap();
        let appended = forty_rows(dir.path());
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        connection.execute("UPDATE consumer SET id = ?1", [id]).unwrap();
        connection.close().unwrap();
        assert_eq!(read_damaged(dir.path(), &appended).0, 4000, "{id}");
    }
}
