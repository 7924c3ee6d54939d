//! What the files grow to, and shrink to.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{Bed, PATIENCE, noise, open, open_with};
use crate::{Append, Options, Priority};

/// Appends so many records of 4 KiB that do not compress, all at once.
fn append(bed: &mut Bed, count: u64) -> std::ops::Range<u64> {
    let first = bed.next_seq;
    let mut append = Append::new();
    for n in 0..count {
        let record = bed.record(Priority::Normal, &noise(n, 4096));
        append.begin(record.seq);
        append.record(record);
    }
    bed.spool.append(&mut append).unwrap();
    first..bed.next_seq
}

fn pages(dir: &Path) -> (i64, i64) {
    let connection = Connection::open(dir.join("buffer.db")).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0)).unwrap();
    (pragma("page_count"), pragma("freelist_count"))
}

fn log_bytes(dir: &Path) -> u64 {
    fs::metadata(dir.join("buffer.db-wal")).unwrap().len()
}

#[test]
fn the_log_stays_within_8_mib_however_much_is_due_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes_max: 1 << 30, ..Options::new(dir.path()) };
    let mut bed = open_with(options, &["cloud"]);
    for _ in 0..2 {
        let appended = append(&mut bed, 8000);
        let mut highest = 0;
        let mut tags = Vec::new();
        bed.until(|bed| {
            bed.spool.poll_resolved(&mut tags);
            highest = highest.max(log_bytes(dir.path()));
            tags.len() == 8000
        });
        tags.sort_unstable();
        assert!(tags.into_iter().eq(appended));
        assert!(highest > 1 << 20 && highest <= 8 << 20, "{highest}");
    }
    bed.spool.set_online(bed.consumer(), true);
    bed.drain(16_000);
    assert!(bed.spool.flush(PATIENCE));
    assert!(log_bytes(dir.path()) <= 8 << 20, "deleting takes little");
}

#[test]
fn free_pages_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for round in 0..5 {
        let mut bed = open(dir.path());
        let appended = append(&mut bed, 800);
        bed.resolve(appended);
        bed.spool.set_online(bed.consumer(), true);
        bed.drain(800);
        bed.spool.close(PATIENCE).unwrap();
        let (count, free) = pages(dir.path());
        assert!(free > count / 2, "nothing waits");
        if round == 0 {
            highest = count;
        }
        assert!(count <= highest + highest / 10, "round {round}: {count} pages, {highest} at first");
    }
}

#[test]
fn free_pages_are_given_back_in_small_steps_and_some_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open(dir.path());
    let appended = append(&mut bed, 800);
    bed.resolve(appended);
    bed.spool.set_online(bed.consumer(), true);
    bed.drain(800);
    bed.spool.close(Duration::from_secs(30)).unwrap();
    let opened = crate::store::open(dir.path(), &["cloud"], [1; 16], 0).unwrap();
    let mut last = pages(dir.path());
    let mut steps = 0;
    while opened.store.vacuum_step().unwrap() {
        let now = pages(dir.path());
        assert!((1..=130).contains(&(last.0 - now.0)), "{last:?} {now:?}");
        (last, steps) = (now, steps + 1);
    }
    assert!(steps >= 3, "{steps}");
    assert!((200..=256).contains(&last.1), "{last:?}");
}
