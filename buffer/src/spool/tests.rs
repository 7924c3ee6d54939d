mod configure;
mod damage;
mod full;
mod migration;
mod sizes;
mod sweep;
mod time;
mod unconfigured;
mod whatever;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::Connection;

use super::{Admission, Listener, Opened, Refusal, Spool};
use crate::boot::BootId;
use crate::{
    Append, AppendError, CloseError, ConsumerId, ConsumerOptions, Consumers, Gap, GapReason, Incident,
    NewRecord, OpenError, Options, Priority, Record, Stamp, WhenFull,
};

/// Counts what it hears; `until` waits for a condition without guessing how long it takes.
#[derive(Default)]
pub(crate) struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default, Clone)]
struct Heard {
    resolved: u64,
    readable: u64,
    room: u64,
    gaps: u64,
    incidents: Vec<Incident>,
}

impl Ear {
    fn note(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap());
        self.changed.notify_all();
    }

    fn incidents(&self) -> Vec<Incident> {
        self.heard.lock().unwrap().incidents.clone()
    }
}

impl Listener for Ear {
    fn resolved(&self) {
        self.note(|heard| heard.resolved += 1);
    }
    fn readable(&self, _: ConsumerId) {
        self.note(|heard| heard.readable += 1);
    }
    fn room(&self) {
        self.note(|heard| heard.room += 1);
    }
    fn gap(&self) {
        self.note(|heard| heard.gaps += 1);
    }
    fn incident(&self, incident: Incident) {
        self.note(|heard| heard.incidents.push(incident));
    }
}

pub(crate) struct Bed {
    ear: Arc<Ear>,
    pub(crate) spool: Spool,
    pub(crate) next_seq: u64,
    opened_incidents: Vec<Incident>,
    snapshot: Option<Vec<u8>>,
    journal: Vec<Vec<u8>>,
    gaps: Vec<Gap>,
}

/// A payload that stands for 200 bytes that differ for each record, and do not compress.
pub(crate) const NOISE: &[u8] = b"noise";

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

fn open_with(options: Options, names: &[&str]) -> Bed {
    open_in_boot(options, names, crate::boot::boot_id())
}

fn open_in_boot(options: Options, names: &[&str], boot: BootId) -> Bed {
    let ear = Arc::new(Ear::default());
    let consumers: Vec<_> = names.iter().map(|name| ConsumerOptions::new(*name)).collect();
    let Opened { spool, first_seq, snapshot, journal, incidents, gaps, .. } =
        Spool::open_in_boot(options, &consumers, Arc::clone(&ear) as Arc<dyn Listener>, boot).unwrap();
    Bed { ear, spool, next_seq: first_seq, opened_incidents: incidents, snapshot, journal, gaps }
}

pub(crate) fn open(dir: &Path) -> Bed {
    open_with(Options::new(dir), &["cloud"])
}

impl Bed {
    pub(crate) fn consumer(&self) -> ConsumerId {
        self.spool.consumer("cloud").unwrap()
    }

    fn record(&mut self, priority: Priority, payload: &[u8]) -> NewRecord {
        let mut consumers = Consumers::EMPTY;
        consumers.insert(self.consumer());
        let seq = self.next_seq;
        self.next_seq += 1;
        NewRecord {
            seq,
            consumers,
            priority,
            received: Stamp::now(),
            expires_after_ms: None,
            topic: Bytes::from_static(b"plant/1/temp"),
            meta: Bytes::new(),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    /// Appends `count` records, one entry each, with their numbers as tags, waiting when asked to.
    pub(crate) fn append(&mut self, count: u64, payload: &[u8]) -> std::ops::Range<u64> {
        let first = self.next_seq;
        let mut append = Append::new();
        for n in 0..count {
            let mut record = self.record(Priority::Normal, payload);
            if payload == NOISE {
                record.payload = noise(record.seq, 200).into();
            }
            append.begin(record.seq);
            append.record(record);
            if n % 50 == 49 || n + 1 == count {
                self.until(|bed| bed.spool.admission(Priority::Normal) != Admission::Wait);
                self.spool.append(&mut append).unwrap();
            }
        }
        first..self.next_seq
    }

    pub(crate) fn until(&self, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "nothing happened; {:?}", self.spool.usage());
            let heard = self.ear.heard.lock().unwrap();
            drop(self.ear.changed.wait_timeout(heard, Duration::from_millis(5)).unwrap());
        }
    }

    /// Waits for the receipts of these tags, and no others.
    fn resolve(&self, expected: std::ops::Range<u64>) {
        let mut tags = Vec::new();
        self.until(|bed| {
            bed.spool.poll_resolved(&mut tags);
            tags.len() as u64 >= expected.end - expected.start
        });
        tags.sort_unstable();
        assert!(tags.iter().copied().eq(expected), "each receipt once");
    }

    /// Reads and acknowledges until so many came.
    fn drain(&self, count: usize) -> Vec<Record> {
        let consumer = self.consumer();
        let mut all = Vec::new();
        let mut batch = Vec::new();
        self.until(|bed| {
            while bed.spool.read(consumer, 100, usize::MAX, &mut batch).records > 0 {
                let acks: Vec<_> = batch.iter().map(|record| (record.priority, record.seq)).collect();
                bed.spool.ack(consumer, &acks);
                all.append(&mut batch);
            }
            all.len() >= count
        });
        assert_eq!(all.len(), count);
        all
    }

    fn backlog(&self) -> u64 {
        let usage = self.spool.usage();
        assert!(usage.lanes.iter().all(crate::LaneUsage::is_balanced), "{:?}", usage.lanes);
        usage.lanes.iter().map(|lane| lane.backlog).sum()
    }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

#[test]
fn a_backlog_survives_a_crash_and_is_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let appended = bed.append(20_000, &[b'x'; 200]);
    bed.resolve(appended.clone());
    assert!(bed.spool.usage().memory_bytes < 4096, "what is durable for one that is away is not in memory");
    drop(bed);

    let bed = open(dir.path());
    assert!(bed.next_seq > appended.end);
    assert_eq!(bed.backlog(), 20_000);
    bed.spool.set_online(bed.consumer(), true);
    assert!(seqs(&bed.drain(20_000)).into_iter().eq(appended));
    assert_eq!(bed.backlog(), 0);
    bed.spool.close(PATIENCE).unwrap();

    let bed = open(dir.path());
    assert_eq!(bed.backlog(), 0);
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let rows: i64 = connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0, "what was acknowledged is deleted");
}

#[test]
fn more_rows_than_one_sweep_looks_at_are_all_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    // Two of these do not fit one row.
    let appended = bed.append(700, &vec![0; 600_000]);
    bed.resolve(appended);
    assert!(bed.spool.usage().rows_written >= 700);
    bed.spool.set_online(bed.consumer(), true);
    bed.drain(700);
    bed.spool.close(PATIENCE).unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let rows: i64 = connection.query_row("SELECT COUNT(*) FROM batch", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn what_is_acknowledged_in_time_never_touches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { spill_after: Duration::from_secs(60), ..Options::new(dir.path()) };
    let mut bed = open_with(options, &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    for _ in 0..20 {
        let appended = bed.append(50, b"payload");
        assert!(seqs(&bed.drain(50)).into_iter().eq(appended.clone()));
        bed.resolve(appended);
    }
    let usage = bed.spool.usage();
    assert_eq!((usage.commits, usage.rows_written, usage.memory_bytes, bed.backlog()), (0, 0, 0, 0));
}

#[test]
fn a_slow_consumer_makes_records_durable_but_still_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open_with(Options { spill_after: Duration::ZERO, ..Options::new(dir.path()) }, &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    let appended = bed.append(500, b"payload");
    bed.resolve(appended.clone());
    assert!(bed.spool.usage().rows_written > 0);
    assert!(seqs(&bed.drain(500)).into_iter().eq(appended));
}

#[test]
fn memory_is_bounded_while_a_consumer_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_bytes_max: 64 << 10,
        spill_after: Duration::from_secs(60),
        ..Options::new(dir.path())
    };
    let mut bed = open_with(options, &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    let appended = bed.append(5000, &[7; 300]);
    assert!(bed.spool.usage().memory_bytes < 128 << 10);
    assert!(bed.ear.heard.lock().unwrap().room > 0, "the bound was reached, and left");
    assert!(seqs(&bed.drain(5000)).into_iter().eq(appended));
}

#[test]
fn live_traffic_follows_a_backlog_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let first = bed.append(3000, b"old");
    bed.resolve(first.clone());
    bed.spool.set_online(bed.consumer(), true);
    let second = bed.append(3000, b"new");
    assert!(seqs(&bed.drain(6000)).into_iter().eq(first.start..second.end));
    bed.resolve(second);
}

#[test]
fn rewinding_repeats_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed =
        open_with(Options { spill_after: Duration::from_secs(60), ..Options::new(dir.path()) }, &["cloud"]);
    let consumer = bed.consumer();
    bed.spool.set_online(consumer, true);
    let appended = bed.append(10, b"payload");
    let mut out = Vec::new();
    assert_eq!(bed.spool.read(consumer, 6, usize::MAX, &mut out).records, 6);
    let at = |n: u64| (Priority::Normal, appended.start + n);
    bed.spool.ack(consumer, &[at(3), at(0), at(99)]);
    bed.spool.rewind(consumer);
    let rest: Vec<u64> = [1, 2, 4, 5, 6, 7, 8, 9].iter().map(|n| appended.start + n).collect();
    assert_eq!(seqs(&bed.drain(8)), rest);
    assert_eq!(bed.backlog(), 0);
}

#[test]
fn a_crash_repeats_no_more_than_the_last_second() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let consumer = bed.consumer();
    let appended = bed.append(100, b"payload");
    bed.resolve(appended.clone());
    bed.spool.set_online(consumer, true);
    let mut out = Vec::new();
    bed.until(|bed| {
        bed.spool.read(consumer, 40 - out.len(), usize::MAX, &mut out).records > 0 && out.len() == 40
    });
    let acks: Vec<_> = out.iter().map(|record| (record.priority, record.seq)).collect();
    bed.spool.ack(consumer, &acks);
    assert!(bed.spool.flush(PATIENCE), "persists the cursor");
    drop(bed);
    let bed = open(dir.path());
    assert_eq!(bed.backlog(), 60);
    bed.spool.set_online(bed.consumer(), true);
    assert!(seqs(&bed.drain(60)).into_iter().eq(appended.start + 40..appended.end));
}

#[test]
fn the_cursor_is_persisted_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let appended = bed.append(10, b"payload");
    bed.resolve(appended);
    bed.spool.set_online(bed.consumer(), true);
    let commits = bed.spool.usage().commits;
    bed.drain(10);
    bed.until(|bed| bed.spool.usage().commits > commits);
    drop(bed);
    assert_eq!(open(dir.path()).backlog(), 0);
}

#[test]
fn journals_and_snapshots_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let bed = open(dir.path());
    let mut append = Append::new();
    for n in 1..=4_u8 {
        append.begin(u64::from(n));
        append.journal(&[n]);
        if n == 3 {
            append.snapshot(b"state after 3".to_vec());
        }
    }
    bed.spool.append(&mut append).unwrap();
    assert!(append.is_empty());
    bed.resolve(1..5);
    assert_eq!(bed.spool.journal_bytes(), 2);
    append.begin(5);
    append.journal(b"five");
    bed.spool.append(&mut append).unwrap();
    bed.resolve(5..6);
    drop(bed);
    let bed = open(dir.path());
    assert_eq!(bed.snapshot.as_deref(), Some(&b"state after 3"[..]));
    assert_eq!(bed.journal, [vec![3], vec![4], b"five".to_vec()]);
    assert_eq!(bed.spool.journal_bytes(), 6);
}

#[test]
fn held_records_are_read_once_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed =
        open_with(Options { spill_after: Duration::from_secs(60), ..Options::new(dir.path()) }, &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    let record = bed.record(Priority::High, b"alarm");
    let mut append = Append::new();
    append.begin(7);
    append.record(record);
    append.hold();
    bed.spool.append(&mut append).unwrap();
    assert_eq!(bed.drain(1)[0].payload, "alarm");
    assert!(bed.spool.usage().rows_written > 0);
    bed.resolve(7..8);
}

#[test]
fn a_quarantined_record_is_kept_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let consumer = bed.consumer();
    bed.spool.set_online(consumer, true);
    bed.append(2, b"payload");
    let mut out = Vec::new();
    bed.until(|bed| bed.spool.read(consumer, 2, usize::MAX, &mut out).records > 0);
    bed.spool.quarantine(consumer, (Priority::Normal, out[0].seq), &out[0], "too large for the server");
    bed.spool.ack(consumer, &[(Priority::Normal, out[0].seq)]);
    bed.until(|bed| bed.spool.usage().lanes[1].quarantined == 1);
    assert_eq!(bed.backlog(), 1);
    drop(bed);
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    let cause: String = connection.query_row("SELECT cause FROM quarantine", [], |row| row.get(0)).unwrap();
    assert_eq!(cause, "too large for the server");
}

#[test]
fn a_disk_that_takes_nothing_refuses_keeps_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { when_full: WhenFull::Refuse, ..Options::new(dir.path()) };
    let mut bed = open_with(options, &["cloud"]);
    let first = bed.append(100, b"payload");
    bed.resolve(first.clone());
    bed.spool.shared.lock().read_only = Some(true);
    let second = bed.append(2000, NOISE);
    bed.until(|bed| bed.spool.admission(Priority::Normal) == Admission::Refuse(Refusal::DiskFailing));
    let mut tags = Vec::new();
    bed.spool.poll_resolved(&mut tags);
    assert_eq!(tags, [0; 0], "no receipt resolves by a failed commit");
    bed.spool.shared.lock().read_only = Some(false);
    bed.resolve(second.clone());
    assert_eq!(bed.spool.admission(Priority::Normal), Admission::Open);
    bed.until(|bed| bed.ear.incidents().len() > 1);
    let incidents = bed.ear.incidents();
    assert!(
        matches!(&incidents[..], [Incident::CommitFailed { .. }, Incident::CommitRecovered]),
        "{incidents:?}"
    );
    drop(bed);
    let bed = open(dir.path());
    bed.spool.set_online(bed.consumer(), true);
    assert!(seqs(&bed.drain(2100)).into_iter().eq(first.start..second.end));
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed << 20);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(next).collect()
}

#[test]
fn a_full_database_evicts_the_oldest_of_the_lowest_priority() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 512 << 10, ..Options::new(dir.path()) };
    let mut bed = open_with(options.clone(), &["cloud"]);
    let mut append = Append::new();
    for n in 0..400_u64 {
        let priority = if n % 10 == 0 { Priority::High } else { Priority::Low };
        let mut record = bed.record(priority, &noise(n, 4096));
        record.topic = Bytes::from(n.to_string());
        append.begin(n + 1);
        append.record(record);
        bed.until(|bed| bed.spool.admission(Priority::Normal) == Admission::Open);
        bed.spool.append(&mut append).unwrap();
    }
    bed.resolve(1..401);
    let usage = bed.spool.usage();
    assert!(usage.disk_bytes <= options.max_bytes, "{}", usage.disk_bytes);
    assert_eq!(usage.lanes[0].evicted(), 0);
    assert!(usage.lanes[2].evicted_full > 100, "{:?}", usage.lanes);
    bed.until(|bed| !bed.ear.incidents().is_empty() && bed.ear.heard.lock().unwrap().gaps > 0);
    let told = bed.ear.incidents();
    let evicted = told.iter().filter(|incident| matches!(incident, Incident::Evicted { .. })).count();
    assert_eq!(evicted, 1, "said when it began, and not again within a minute: {told:?}");
    let left = bed.backlog();
    let mut gaps = Vec::new();
    bed.spool.gaps(&mut gaps);
    drop(bed);
    let mut bed = open_with(options, &["cloud"]);
    assert_eq!(bed.backlog(), left, "the counters move with the rows");
    assert_eq!(std::mem::take(&mut bed.gaps), gaps, "given again until they are announced");
    assert_eq!((gaps.len(), gaps[0].priority, gaps[0].reason), (1, Priority::Low, GapReason::Full));
    assert_eq!(gaps[0].records, 360 - (left - 40), "as many as are not there");
    bed.spool.announced(gaps[0].id);
    assert!(bed.spool.flush(PATIENCE));
    bed.spool.set_online(bed.consumer(), true);
    let records = bed.drain(usize::try_from(left).unwrap());
    let low: Vec<u64> = records.iter().filter(|r| r.priority == Priority::Low).map(|r| r.seq).collect();
    assert!(low.is_sorted());
    assert_eq!(records.iter().filter(|r| r.priority == Priority::High).count(), 40);
}

#[test]
fn a_full_database_can_refuse_and_opens_again_when_drained() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 256 << 10, when_full: WhenFull::Refuse, ..Options::new(dir.path()) };
    let mut bed = open_with(options, &["cloud"]);
    let mut admitted = 0..0;
    while bed.spool.admission(Priority::Normal) == Admission::Open {
        let next = bed.append(1, &noise(1, 8192));
        admitted = if admitted.is_empty() { next } else { admitted.start..next.end };
        assert!(bed.spool.flush(PATIENCE));
        assert!(admitted.end - admitted.start < 1000);
    }
    assert_eq!(bed.spool.admission(Priority::Normal), Admission::Refuse(Refusal::DiskFull));
    bed.resolve(admitted.clone());
    bed.spool.set_online(bed.consumer(), true);
    assert_eq!(bed.spool.admission(Priority::Normal), Admission::Open, "nobody is away");
    assert!(
        seqs(&bed.drain(usize::try_from(admitted.end - admitted.start).unwrap())).into_iter().eq(admitted)
    );
    assert!(bed.spool.flush(PATIENCE));
    bed.spool.set_online(bed.consumer(), false);
    assert_eq!(bed.spool.admission(Priority::Normal), Admission::Open);
}

#[test]
fn mistakes_of_the_caller_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let good = bed.record(Priority::Normal, b"a");
    let mut nobody = bed.record(Priority::Normal, b"b");
    nobody.consumers = Consumers::EMPTY;
    let mut stranger = bed.record(Priority::Normal, b"c");
    stranger.consumers.insert(ConsumerId(9));
    let seq = good.seq;
    let table = [
        (good.clone(), AppendError::SeqNotRising { seq, last: seq }),
        (nobody, AppendError::Consumers { seq: seq + 1 }),
        (stranger, AppendError::Consumers { seq: seq + 2 }),
    ];
    for (bad, error) in table {
        let mut append = Append::new();
        append.begin(1);
        append.record(good.clone());
        append.record(bad);
        assert_eq!(bed.spool.append(&mut append), Err(error));
        assert_eq!(bed.backlog(), 0);
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let bed = open(dir.path());
    let second = Spool::open(Options::new(dir.path()), &[], Arc::new(Ear::default()));
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(bed);
    drop(open(dir.path()));
}

#[test]
fn names_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for names in [&["a", "a"][..], &[""], &many] {
        let consumers: Vec<_> = names.iter().map(|name| ConsumerOptions::new(*name)).collect();
        let result = Spool::open(Options::new(dir.path()), &consumers, Arc::new(Ear::default()));
        assert!(matches!(result, Err(OpenError::Consumer { .. })), "{names:?}");
    }
    drop(open_with(Options::new(dir.path()), &many[..64]));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let result = Spool::open(Options::new(file.join("sub")), &[], Arc::new(Ear::default()));
    assert!(result.unwrap_err().to_string().contains("file/sub"));
}

#[test]
fn other_programs_databases_are_not_touched() {
    for (sql, newer) in
        [("PRAGMA application_id = 77; CREATE TABLE t(x)", false), ("CREATE TABLE t(x)", false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buffer.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        let result =
            Spool::open(Options::new(dir.path()), &[ConsumerOptions::new("cloud")], Arc::new(Ear::default()));
        assert!(matches!(result, Err(OpenError::Foreign { .. })), "{result:?} {newer}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).spool.close(PATIENCE).unwrap();
    let connection = Connection::open(dir.path().join("buffer.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 3; UPDATE meta SET version = 3").unwrap();
    connection.close().unwrap();
    let result =
        Spool::open(Options::new(dir.path()), &[ConsumerOptions::new("cloud")], Arc::new(Ear::default()));
    assert!(matches!(result, Err(OpenError::Newer { found: 3, known: 2, .. })), "{result:?}");
}

#[test]
fn closing_says_what_could_not_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    bed.spool.shared.lock().read_only = Some(true);
    bed.append(500, NOISE);
    bed.until(|bed| bed.spool.admission(Priority::Normal) != Admission::Open);
    let result = bed.spool.close(Duration::from_millis(50));
    assert!(matches!(result, Err(CloseError::NotFlushed(1..=500))), "{result:?}");
}

#[test]
fn the_writers_progress_rises_while_idle() {
    let dir = tempfile::tempdir().unwrap();
    let bed = open(dir.path());
    let before = bed.spool.progress();
    bed.until(|bed| bed.spool.progress() > before + 1);
}

#[test]
fn who_wakes_the_writer_for_nothing_does_not_keep_it_from_its_beat() {
    let dir = tempfile::tempdir().unwrap();
    let bed = open(dir.path());
    let before = bed.spool.progress();
    bed.until(|bed| {
        bed.spool.set_online(bed.consumer(), false);
        bed.spool.progress() > before + 1
    });
}

#[test]
fn expired_records_are_passed_over_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let mut append = Append::new();
    for n in 0..10_u64 {
        let mut record = bed.record(Priority::Normal, b"payload");
        record.expires_after_ms = (n % 2 == 0).then_some(0);
        append.begin(n + 1);
        append.record(record);
    }
    bed.spool.append(&mut append).unwrap();
    bed.resolve(1..11);
    bed.spool.set_online(bed.consumer(), true);
    bed.drain(5);
    assert_eq!(bed.spool.usage().lanes[1].expired, 5);
    assert_eq!(bed.backlog(), 0);
}
