//! Full file systems: by a bound on the pages of the database, and on a small one of our own.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Bed, NOISE, PATIENCE, noise, open_with, seqs};
use crate::{Admission, Append, Incident, Options, Refusal, WhenFull};

/// The default.
const RESERVE: u64 = 8 << 20;

fn options(dir: &Path, when_full: WhenFull, reserve_bytes: u64) -> Options {
    Options { when_full, reserve_bytes, ..Options::new(dir) }
}

fn count(bed: &Bed, wanted: impl Fn(&Incident) -> bool) -> usize {
    bed.ear.incidents().iter().filter(|incident| wanted(incident)).count()
}

fn is_full(incident: &Incident) -> bool {
    matches!(incident, Incident::FileSystemFull { .. })
}

fn is_room(incident: &Incident) -> bool {
    matches!(incident, Incident::FileSystemRoom)
}

fn is_failed(incident: &Incident) -> bool {
    matches!(incident, Incident::CommitFailed { .. })
}

#[test]
fn old_records_make_room_for_new_ones_within_the_size_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open_with(options(dir.path(), WhenFull::EvictOldest, 1000), &["cloud"]);
    let first = bed.append(3000, NOISE);
    bed.resolve(first.clone());
    bed.spool.shared.lock().page_limit = Some(1);
    let second = bed.append(3000, NOISE);
    bed.resolve(second.clone());
    bed.until(|bed| count(bed, is_full) == 1);
    // The first commit on the full disk may be larger than all there is; the next ones are cut to fit.
    assert!(count(&bed, is_failed) <= 1, "{:?}", bed.ear.incidents());
    bed.until(|bed| bed.spool.admission(crate::Priority::Normal) == Admission::Open);
    let left = bed.backlog();
    assert!((1000..6000).contains(&left) && bed.spool.usage().lanes[1].evicted_full == 6000 - left);

    bed.spool.shared.lock().page_limit = Some(0);
    bed.until(|bed| count(bed, is_room) == 1);
    let third = bed.append(6000, NOISE);
    bed.resolve(third.clone());
    assert_eq!(bed.backlog(), left + 6000, "it grows again");
    drop(bed);
    let bed = open_with(Options::new(dir.path()), &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    let read = seqs(&bed.drain(usize::try_from(left + 6000).unwrap()));
    assert!(read.into_iter().eq(third.end - 6000 - left..third.end), "the newest are there");
}

#[test]
fn bookkeeping_goes_on_and_the_log_is_bounded_on_a_disk_that_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = open_with(options(dir.path(), WhenFull::Refuse, 1000), &["cloud"]);
    let first = bed.append(2000, NOISE);
    bed.resolve(first.clone());
    bed.spool.shared.lock().page_limit = Some(1);
    bed.append(100, NOISE);
    bed.until(|bed| bed.spool.admission(crate::Priority::Normal) != Admission::Open);
    bed.spool.set_online(bed.consumer(), true);
    // Deleted batches make room, and what was waiting is written.
    let records = bed.drain(2100);
    assert!(seqs(&records).is_sorted());
    assert!(bed.spool.flush(PATIENCE));
    bed.until(|bed| bed.spool.admission(crate::Priority::Normal) == Admission::Open);
    assert_eq!(bed.backlog(), 0);
}

/// A file system of 48 MiB, while it lives.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(dir.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        eprintln!("skipped: only the superuser can mount a file system");
        None
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("buffer")
    }

    /// Leaves only so many KiB.
    fn fill_up(&self, left_kib: usize) {
        let room = rustix::fs::statvfs(self.dir.path()).map(|stat| stat.f_bavail * stat.f_frsize).unwrap();
        let bytes = usize::try_from(room).unwrap().saturating_sub(left_kib << 10);
        fs::write(self.dir.path().join("hog"), vec![1; bytes]).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.dir.path().join("hog")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.dir.path()).output());
    }
}

fn wait_for_reserve(bed: &Bed, small: &Small) {
    let reserve = small.path().join("buffer.reserve");
    bed.until(|_| fs::metadata(&reserve).is_ok_and(|metadata| metadata.len() == RESERVE));
}

fn log_bytes(small: &Small) -> u64 {
    fs::metadata(small.path().join("buffer.db-wal")).unwrap().len()
}

#[test]
fn a_small_file_system_fills_up_and_is_freed_again_with_eviction() {
    let Some(small) = Small::mount() else { return };
    let mut bed = open_with(options(&small.path(), WhenFull::EvictOldest, RESERVE), &["cloud"]);
    let mut all = bed.next_seq..bed.next_seq;
    for round in 1..=2 {
        wait_for_reserve(&bed, &small);
        small.fill_up(300);
        for _ in 0..30 {
            let appended = bed.append(1000, NOISE);
            bed.resolve(appended.clone());
            all.end = appended.end;
            assert!(log_bytes(&small) <= 8 << 20);
        }
        bed.until(|bed| count(bed, is_full) == round);
        assert_eq!(
            (count(&bed, is_failed), count(&bed, is_room)),
            (0, round - 1),
            "{:?}",
            bed.ear.incidents()
        );
        assert!(!small.path().join("buffer.reserve").exists());
        small.free();
        bed.until(|bed| count(bed, is_room) == round);
    }
    let left = bed.backlog();
    assert!(left > 3000, "{left}");
    bed.spool.set_online(bed.consumer(), true);
    let read = seqs(&bed.drain(usize::try_from(left).unwrap()));
    assert!(read.into_iter().eq(all.end - left..all.end), "nothing but the oldest went");
}

#[test]
fn a_small_file_system_fills_up_and_is_freed_again_with_refusal() {
    let Some(small) = Small::mount() else { return };
    let mut bed = open_with(options(&small.path(), WhenFull::Refuse, RESERVE), &["cloud"]);
    let first = bed.next_seq;
    for round in 1..=2 {
        wait_for_reserve(&bed, &small);
        small.fill_up(300);
        while bed.spool.admission(crate::Priority::Normal) == Admission::Open {
            let mut record = bed.record(crate::Priority::Normal, b"");
            record.payload = noise(record.seq, 200).into();
            let mut append = Append::new();
            append.begin(record.seq);
            append.record(record);
            bed.spool.append(&mut append).unwrap();
            if bed.next_seq.is_multiple_of(50) {
                assert!(bed.spool.flush(PATIENCE));
            }
        }
        bed.until(|bed| bed.spool.admission(crate::Priority::Normal) != Admission::Wait);
        assert_eq!(bed.spool.admission(crate::Priority::Normal), Admission::Refuse(Refusal::DiskFull));
        assert!(bed.spool.flush(PATIENCE), "what was admitted is kept");
        bed.until(|bed| count(bed, is_full) == round);
        assert_eq!(count(&bed, is_failed), 0);
        small.free();
        bed.until(|bed| bed.spool.admission(crate::Priority::Normal) == Admission::Open);
        bed.until(|bed| count(bed, is_room) == round);
    }
    let last = bed.next_seq;
    drop(bed);
    let bed = open_with(options(&small.path(), WhenFull::Refuse, RESERVE), &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    let read = seqs(&bed.drain(usize::try_from(last - first).unwrap()));
    assert!(read.into_iter().eq(first..last), "every one");
}

#[test]
fn a_spool_opens_on_a_full_file_system() {
    let Some(small) = Small::mount() else { return };
    let mut bed = open_with(options(&small.path(), WhenFull::EvictOldest, RESERVE), &["cloud"]);
    let appended = bed.append(1000, NOISE);
    wait_for_reserve(&bed, &small);
    bed.spool.close(PATIENCE).unwrap();
    small.fill_up(0);
    let bed = open_with(options(&small.path(), WhenFull::EvictOldest, RESERVE), &["cloud"]);
    bed.spool.set_online(bed.consumer(), true);
    assert!(seqs(&bed.drain(1000)).into_iter().eq(appended));
    bed.spool.close(PATIENCE).unwrap();
}
