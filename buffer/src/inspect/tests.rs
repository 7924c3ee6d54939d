use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Connection;

use super::{Filter, InspectError, Inspector, Log, Problem, StoredRecord, Streamed};
use crate::spool::tests::{Bed, NOISE, PATIENCE, noise, open};
use crate::store::schema::tests::fill_version_1;
use crate::{Priority, Stamp};

fn all(inspector: &mut Inspector, filter: &Filter) -> (Vec<StoredRecord>, Streamed) {
    let (mut records, mut steps) = (Vec::new(), 0);
    let each = |record| {
        records.push(record);
        ControlFlow::Continue(())
    };
    let streamed = inspector.records(filter, each, |progress| steps = progress.done).unwrap();
    assert_eq!((streamed.records, streamed.batches), (records.len() as u64, steps));
    (records, streamed)
}

fn seqs(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// Ten batches of 100 records, of the numbers returned.
fn fill(bed: &mut Bed) -> std::ops::Range<u64> {
    let first = bed.next_seq;
    for _ in 0..10 {
        bed.append(100, NOISE);
        assert!(bed.spool.flush(PATIENCE));
    }
    first..bed.next_seq
}

/// Every file of a folder, with its bytes; the index of the log without those that readers note themselves in.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn verify(inspector: &mut Inspector) -> super::Verification {
    inspector.verify(|_| {}).unwrap()
}

#[test]
fn a_stopped_buffer_is_shown_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let before_ms = Stamp::now().wall_ms;
    let appended = fill(&mut bed);
    bed.spool.close(PATIENCE).unwrap();
    let before = files(dir.path());

    let mut inspector = Inspector::open(dir.path()).unwrap();
    let status = inspector.status().unwrap();
    assert_eq!((status.schema, status.run, status.log), (2, appended.start >> 40, Log::None));
    assert_eq!(status.database_bytes, before["buffer.db"].len() as u64);
    assert_eq!((status.quarantined, status.gaps.len(), status.set_aside.len()), ((0, 0), 0, 0));
    assert_eq!(status.consumers.len(), 1);
    let lane = &status.consumers[0].lanes[1];
    assert_eq!(
        (status.consumers[0].name.as_str(), lane.priority, lane.stored),
        ("cloud", Priority::Normal, 1000)
    );
    assert!(lane.stored_bytes > 200_000 && lane.stored_bytes < status.database_bytes, "{lane:?}");
    let (oldest, newest) = (lane.oldest_wall_ms.unwrap(), lane.newest_wall_ms.unwrap());
    assert!((before_ms..=newest).contains(&oldest) && newest <= Stamp::now().wall_ms);
    assert_eq!(status.consumers[0].lanes[0].oldest_wall_ms, None);

    let (records, streamed) = all(&mut inspector, &Filter::default());
    assert!(seqs(&records).into_iter().eq(appended));
    assert_eq!(streamed.damaged, 0);
    assert!(
        records
            .iter()
            .all(|record| record.payload == noise(record.seq, 200) && *record.consumers == ["cloud"])
    );
    let verification = verify(&mut inspector);
    assert_eq!((verification.records, verification.problems_in_all), (1000, 0), "{verification:?}");
    assert!(verification.marks_compared);
    drop(inspector);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn filters_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let appended = fill(&mut bed);
    bed.spool.close(PATIENCE).unwrap();
    let mut inspector = Inspector::open(dir.path()).unwrap();

    let range = Filter {
        first_seq: Some(appended.start + 150),
        last_seq: Some(appended.start + 250),
        consumer: Some("cloud".into()),
        priority: Some(Priority::Normal),
    };
    let (records, streamed) = all(&mut inspector, &range);
    assert!(seqs(&records).into_iter().eq(appended.start + 150..=appended.start + 250));
    assert!(streamed.batches < 5, "only the batches of the range are read: {streamed:?}");
    let other = Filter { priority: Some(Priority::High), ..Filter::default() };
    assert_eq!(all(&mut inspector, &other).0, []);
    let stranger = Filter { consumer: Some("nobody".into()), ..Filter::default() };
    let error = inspector.batches(&stranger, None, 1).unwrap_err();
    assert_eq!(error.to_string(), "the buffer knows no consumer \"nobody\"");

    let whole = inspector.batches(&Filter::default(), None, 1000).unwrap();
    assert!(whole.iter().all(|batch| batch.bytes > 0 && batch.records > 0 && *batch.consumers == ["cloud"]));
    assert_eq!(whole.iter().map(|batch| batch.records).sum::<u64>(), 1000);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = inspector.batches(&Filter::default(), after, 3).unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.priority, last.first_seq));
        paged.extend(page);
    }
    assert_eq!(paged, whole);

    let mut taken = 0;
    let each = |_| {
        taken += 1;
        if taken == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let streamed = inspector.records(&Filter::default(), each, |_| {}).unwrap();
    assert_eq!((streamed.records, taken), (7, 7));
}

#[test]
fn what_is_acknowledged_is_not_shown_and_a_running_buffer_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let mut inspector = Inspector::open(dir.path()).unwrap();
    assert_eq!(all(&mut inspector, &Filter::default()).0, []);
    let appended = fill(&mut bed);
    let status = inspector.status().unwrap();
    assert_eq!((status.log, status.consumers[0].lanes[1].stored), (Log::Read, 1000));
    assert!(status.log_bytes > 0);
    assert_eq!(verify(&mut inspector).problems, []);

    let consumer = bed.consumer();
    bed.spool.set_online(consumer, true);
    let mut out = Vec::new();
    bed.until(|bed| {
        bed.spool.read(consumer, 450 - out.len(), usize::MAX, &mut out).records == 0 && out.len() == 450
    });
    let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
    bed.spool.ack(consumer, &acks);
    assert!(bed.spool.flush(PATIENCE));
    let cloud = Filter { consumer: Some("cloud".into()), ..Filter::default() };
    let (records, _) = all(&mut inspector, &cloud);
    assert!(seqs(&records).into_iter().eq(appended.start + 450..appended.end));
    let batches = inspector.batches(&cloud, None, 100).unwrap();
    assert!(batches.iter().all(|batch| batch.last_seq >= appended.start + 450));
    assert_eq!(verify(&mut inspector).problems, []);

    bed.spool.close(PATIENCE).unwrap();
    assert_eq!(inspector.status().unwrap().log, Log::None);
    assert_eq!(all(&mut inspector, &cloud).0, records);
    let mut bed = open(dir.path());
    bed.append(10, b"more");
    assert!(bed.spool.flush(PATIENCE));
    assert_eq!(all(&mut inspector, &cloud).0.len(), 560, "the same inspector, in the next run");
}

/// A reader must not keep the log from being cut.
#[test]
fn an_idle_inspector_holds_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    fill(&mut bed);
    let mut inspector = Inspector::open(dir.path()).unwrap();
    let each = |_| {
        let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
        let busy: i64 =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
        ControlFlow::Break(())
    };
    inspector.records(&Filter::default(), each, |_| {}).unwrap();
    drop(bed);
}

/// The files of a killed gateway, of which most rows are in the log.
fn killed(names: &[&str]) -> (tempfile::TempDir, std::ops::Range<u64>) {
    let source = tempfile::tempdir().unwrap();
    let mut bed = open(source.path());
    let appended = fill(&mut bed);
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(source.path().join(name), dir.path().join(name)).unwrap();
    }
    (dir, appended)
}

#[test]
fn the_log_of_a_killed_gateway_is_read_with_its_index_and_without_writing() {
    let table: [(&[&str], Log, bool); 3] = [
        (&["buffer.db", "buffer.db-wal", "buffer.db-shm"], Log::Read, true),
        (&["buffer.db", "buffer.db-wal"], Log::Unread, false),
        (&["buffer.db"], Log::None, false),
    ];
    for (names, log, whole) in table {
        let (dir, appended) = killed(names);
        let before = files(dir.path());
        let opened = Inspector::open(dir.path());
        let Ok(mut inspector) = opened else {
            // All of it may be in the log; then there is nothing to see without.
            assert!(!whole, "{opened:?}");
            assert_eq!(files(dir.path()), before, "{names:?}");
            continue;
        };
        let (records, _) = all(&mut inspector, &Filter::default());
        assert_eq!(inspector.status().unwrap().log, log);
        assert_eq!(records.len() as u64 == appended.end - appended.start, whole, "{names:?}");
        drop(inspector);
        assert_eq!(files(dir.path()), before, "{names:?}");
        if log == Log::Unread {
            std::fs::write(dir.path().join("buffer.db-shm"), b"").unwrap();
            let mut inspector = Inspector::open(dir.path()).unwrap();
            assert_eq!(all(&mut inspector, &Filter::default()).0.len(), 1000, "an empty index will do");
        }
    }
}

#[test]
fn damage_is_told_and_passed_over() {
    let source = tempfile::tempdir().unwrap();
    let mut bed = open(source.path());
    let appended = fill(&mut bed);
    bed.spool.close(PATIENCE).unwrap();
    let original = std::fs::read(source.path().join("buffer.db")).unwrap();
    let flips = (0..150).map(|n| {
        let mut bytes = original.clone();
        bytes[n * original.len() / 150 + n % 11] ^= 0x55;
        (format!("flip {n}"), bytes)
    });
    let cuts = [0, 99, 4096, original.len() / 3, original.len() - 5];
    let cuts = cuts.map(|at| (format!("cut {at}"), original[..at].to_vec()));
    let (mut seen, mut told) = (Vec::new(), 0);
    for (name, bytes) in flips.chain(cuts) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("buffer.db"), &bytes).unwrap();
        let Ok(mut inspector) = Inspector::open(dir.path()) else {
            told += 1;
            continue;
        };
        let mut records = Vec::new();
        let each = |record: StoredRecord| {
            records.push(record);
            ControlFlow::Continue(())
        };
        let streamed = inspector.records(&Filter::default(), each, |_| {});
        assert!(records.iter().all(|record| appended.contains(&record.seq)), "{name}");
        assert!(records.iter().all(|record| record.payload == noise(record.seq, 200)), "{name}");
        let verification = verify(&mut inspector);
        if records.len() < 1000 {
            let counted = streamed.is_err() || verification.problems_in_all > 0;
            assert!(counted, "{name}: {} and {verification:?}", records.len());
            told += 1;
        }
        drop((inspector.status(), inspector.batches(&Filter::default(), None, 100)));
        seen.push(records.len());
        assert_eq!(std::fs::read(dir.path().join("buffer.db")).unwrap(), bytes);
    }
    assert!(told > 100, "most bytes are of batches: {told}");
    assert!(seen.iter().filter(|count| **count >= 800).count() > 130, "{seen:?}");
}

#[test]
fn what_is_no_buffer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Inspector::open(dir.path()).unwrap_err();
    assert!(matches!(error, InspectError::Missing { .. }), "{error}");
    let error = Inspector::open(dir.path().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(files(dir.path()).is_empty(), "nothing is made");

    let path = dir.path().join("buffer.db");
    std::fs::create_dir(&path).unwrap();
    let error = Inspector::open(dir.path()).unwrap_err();
    assert!(matches!(error, InspectError::Missing { .. }), "{error}");
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "no database at all").unwrap();
    let error = Inspector::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
    std::fs::write(&path, "").unwrap();
    let error = Inspector::open(dir.path()).unwrap_err();
    assert!(matches!(error, InspectError::Foreign { .. }), "{error}");
}

#[test]
fn foreign_and_newer_databases_are_refused() {
    let table = [
        ("PRAGMA application_id = 77; CREATE TABLE t(x)", "another program (application id 0x4d)"),
        ("CREATE TABLE t(x)", "another program"),
    ];
    for (sql, expected) in table {
        let dir = tempfile::tempdir().unwrap();
        Connection::open(dir.path().join("buffer.db")).unwrap().execute_batch(sql).unwrap();
        let error = Inspector::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).spool.close(PATIENCE).unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 9; UPDATE meta SET version = 9").unwrap();
    connection.close().unwrap();
    let error = Inspector::open(dir.path()).unwrap_err();
    assert!(matches!(error, InspectError::Newer { found: 9, known: 2, .. }), "{error}");
}

#[test]
fn a_database_of_version_1_is_shown_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = fill_version_1(&Connection::open(dir.path().join("buffer.db")).unwrap());
    let mut inspector = Inspector::open(dir.path()).unwrap();
    let status = inspector.status().unwrap();
    assert_eq!((status.schema, status.run, status.quarantined), (1, 3, (1, 1)));
    assert_eq!(seqs(&all(&mut inspector, &Filter::default()).0), waiting);
    assert_eq!(verify(&mut inspector).problems, []);
    assert_eq!(inspector.status().unwrap().schema, 1, "nothing was brought forward");
}

#[test]
fn the_quarantine_is_listed_and_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    fill_version_1(&connection);
    let sql = "INSERT INTO quarantine VALUES (2, 6, 0, 0, 0, 'journal: cut', x'0102')";
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let mut inspector = Inspector::open(dir.path()).unwrap();
    let listed = inspector.quarantined(0, 10).unwrap();
    let causes: Vec<_> = listed.iter().map(|entry| (entry.id, entry.records, entry.cause.as_str())).collect();
    assert_eq!(causes, [(1, 1, "too large"), (2, 0, "journal: cut")]);
    assert_eq!((&*listed[0].consumers, &*listed[1].consumers), (&["cloud".to_owned()][..], &[][..]));
    assert_eq!(inspector.quarantined(1, 10).unwrap(), listed[1..]);
    assert_eq!(inspector.quarantined(0, 1).unwrap(), listed[..1]);
    let records = inspector.quarantined_records(1).unwrap();
    assert_eq!((records[0].seq, &records[0].payload[..]), (9, &b"9"[..]));
    let error = inspector.quarantined_records(2).unwrap_err();
    assert!(matches!(error, InspectError::Undecodable { id: 2, .. }), "{error}");
    assert!(matches!(inspector.quarantined_records(3), Err(InspectError::NotInQuarantine(3))));
}

#[test]
fn verification_names_each_kind_of_problem() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let appended = fill(&mut bed);
    bed.spool.close(PATIENCE).unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE batch SET records = 5 WHERE id = (SELECT MIN(id) FROM batch);
            UPDATE batch SET data = x'00' WHERE id = (SELECT MAX(id) FROM batch);
            UPDATE lane SET stored = 77 WHERE id = 0",
        )
        .unwrap();
    drop(connection);
    let mut inspector = Inspector::open(dir.path()).unwrap();
    let told: Vec<String> = verify(&mut inspector).problems.iter().map(Problem::to_string).collect();
    let expected = [
        format!("the normal batch from {:x} on: its row counts other records", appended.start),
        "not a whole zstd frame".to_owned(),
        "cloud, high: 77 records were counted, 0 are there".to_owned(),
        "cloud, normal: 1000 records were counted, ".to_owned(),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    assert!(told.iter().zip(&expected).all(|(told, expected)| told.contains(expected)), "{told:?}");
}

#[test]
fn unknown_paths_are_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a b?c#d%e");
    std::fs::create_dir(&odd).unwrap();
    let mut bed = open(&odd);
    fill(&mut bed);
    let mut inspector = Inspector::open(&odd).unwrap();
    assert_eq!(all(&mut inspector, &Filter::default()).0.len(), 1000);
}
