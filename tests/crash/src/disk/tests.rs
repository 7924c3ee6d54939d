use std::fs;

use super::{Change, Cut, Disk, Inode, Verdict};
use crate::crash::scratch;

/// A folder with a model, and real files beside it, as SQLite would use them.
struct Bed {
    folder: tempfile::TempDir,
    disk: Disk,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let folder = scratch().unwrap();
        fs::write(folder.path().join("a.db"), b"old").unwrap();
        let disk = Disk::new(folder.path(), seed).unwrap();
        Self { folder, disk }
    }

    fn open(&self, name: &str) -> Inode {
        let path = self.folder.path().join(name);
        fs::File::options().create(true).append(true).open(&path).unwrap();
        self.disk.opened(&path).unwrap()
    }

    fn write(&self, inode: Inode, data: &[u8]) -> Verdict {
        self.disk.apply(inode, &Change::Write { offset: 0, data })
    }

    fn left(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join(name)).ok()
    }
}

#[test]
fn a_process_crash_leaves_what_was_written_and_a_part_of_the_last_write() {
    for seed in 0..50 {
        let bed = Bed::new(seed);
        let inode = bed.open("a.db");
        assert_eq!(bed.write(inode, b"new"), Verdict::Pass);
        bed.disk.cut_after(1);
        assert_eq!(bed.write(inode, b"NEWER"), Verdict::Dead);
        assert!(bed.disk.is_cut());
        assert_eq!(bed.write(inode, b"late"), Verdict::Dead);
        bed.disk.reboot(Cut::Process).unwrap();
        let left = bed.left("a.db").unwrap();
        let possible: [&[u8]; 6] = [b"new", b"New", b"NEw", b"NEW", b"NEWE", b"NEWER"];
        assert!(possible.contains(&&left[..]), "{left:?}");
        assert_eq!(bed.write(bed.open("a.db"), b"again"), Verdict::Pass);
    }
}

#[test]
fn a_power_cut_leaves_what_was_synced() {
    let mut lost = 0;
    for seed in 0..50 {
        let bed = Bed::new(seed);
        let inode = bed.open("a.db");
        bed.write(inode, b"synced");
        bed.disk.apply(inode, &Change::Sync);
        bed.write(inode, b"SYNC");
        bed.disk.reboot(Cut::Power).unwrap();
        let left = bed.left("a.db").unwrap();
        assert!(left == b"synced" || left == b"SYNCed", "{left:?}");
        lost += u32::from(left == b"synced");
    }
    assert!((10..40).contains(&lost), "{lost} of 50 lost it");
}

#[test]
fn a_failing_operation_does_nothing_and_the_next_works() {
    let bed = Bed::new(1);
    let inode = bed.open("a.db");
    bed.disk.fail_after(2);
    assert_eq!(bed.write(inode, b"one"), Verdict::Pass);
    assert_eq!(bed.write(inode, b"two"), Verdict::Fail);
    assert_eq!(bed.disk.operations(), 2);
    bed.disk.reboot(Cut::Process).unwrap();
    assert_eq!(bed.left("a.db").unwrap(), b"one");
}

/// A new name is durable with a sync of its file; a file that only has new bytes commits no names.
#[test]
fn names_survive_in_order_from_the_last_sync_of_a_new_name_on() {
    let mut seen = [0; 4];
    for seed in 0..100 {
        let bed = Bed::new(seed);
        let made = bed.open("b.db");
        bed.disk.apply(made, &Change::Sync);
        // From here on no sync commits the names.
        fs::rename(bed.folder.path().join("b.db"), bed.folder.path().join("c.db")).unwrap();
        bed.disk.lock().observe(bed.folder.path());
        fs::remove_file(bed.folder.path().join("a.db")).unwrap();
        bed.disk.reboot(Cut::Power).unwrap();
        let (a, b, c) = (bed.left("a.db").is_some(), bed.left("b.db").is_some(), bed.left("c.db").is_some());
        match (a, b, c) {
            (true, true, false) => seen[0] += 1,
            (true, true, true) => seen[1] += 1,
            (true, false, true) => seen[2] += 1,
            (false, false, true) => seen[3] += 1,
            other => panic!("{other:?} cannot be"),
        }
    }
    assert!(seen.iter().all(|times| *times > 5), "{seen:?}");
}

#[test]
fn a_file_that_was_never_synced_may_be_gone() {
    let gone = |seed| {
        let bed = Bed::new(seed);
        bed.write(bed.open("b.db"), b"x");
        bed.disk.reboot(Cut::Power).unwrap();
        bed.left("b.db").is_none()
    };
    let gone = (0..50).filter(|seed| gone(*seed)).count();
    assert!((10..40).contains(&gone), "{gone} of 50 gone");
}

#[test]
fn files_of_others_stay_and_shared_memory_goes_with_the_power() {
    for (cut, shared) in [(Cut::Process, Some(b"index".to_vec())), (Cut::Power, None)] {
        let bed = Bed::new(7);
        fs::write(bed.folder.path().join("buffer.lock"), b"me").unwrap();
        fs::write(bed.folder.path().join("a.db-shm"), b"index").unwrap();
        bed.disk.apply(bed.open("a.db-wal"), &Change::Sync);
        bed.disk.reboot(cut).unwrap();
        assert_eq!(bed.left("buffer.lock").unwrap(), b"me");
        assert_eq!(bed.left("a.db-shm"), shared, "{cut:?}");
        assert_eq!(bed.left("a.db").unwrap(), b"old");
    }
}

#[test]
fn what_happens_after_the_cut_happens_to_nobody() {
    let bed = Bed::new(7);
    bed.disk.cut();
    fs::rename(bed.folder.path().join("a.db"), bed.folder.path().join("gone.db")).unwrap();
    bed.disk.reboot(Cut::Process).unwrap();
    assert_eq!(bed.left("a.db").unwrap(), b"old");
    assert_eq!(bed.left("gone.db"), None);
}
