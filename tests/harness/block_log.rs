//! A disk that writes down each write and each flush, and can be put back to any moment of its life, as a power cut at that
//! moment might have left it: with only a part of what was written since the last flush.
//!
//! qemu-storage-daemon exports an image through its `blklogwrites` driver as a file (FUSE), a loop device makes a disk of
//! that file, and an ext4 lives on it. The log has the format of Linux's dm-log-writes. Needs root and /dev/fuse.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::loop_disk::{self, LoopDisk};
use crate::must::Must;
use crate::process::Process;
use crate::random::Random;
use crate::wait::wait_for;

const START_LIMIT: Duration = Duration::from_secs(10);
// Of drivers/md/dm-log-writes.c.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// A disk under record.
pub struct BlockLog {
    dir: TempDir,
    daemon: Process,
    base: Vec<u8>,
}

impl BlockLog {
    /// Makes an ext4 of `size_bytes` in a folder below `parent`, mounts it, and records from its first mount on.
    pub fn record(parent: &Path, size_bytes: u64) -> Self {
        fs::create_dir_all(parent).must("make the folder of temporary folders");
        let dir = TempDir::with_prefix_in("log-", parent).must("make a temporary folder");
        let [image, log, export, mount] =
            ["image", "log", "export", "mount"].map(|name| dir.path().join(name));
        loop_disk::make_ext4(&image, size_bytes);
        let base = fs::read(&image).must("read the image");
        for file in [&log, &export] {
            File::create(file).must("make a file");
        }
        fs::create_dir(&mount).must("make a folder");
        let daemon = Process::start("qemu-storage-daemon", "qemu-utils", &mut daemon(&image, &log, &export));
        let recorder = Self { dir, daemon, base };
        wait_for("the export (needs root and /dev/fuse)", START_LIMIT, || size(&export) > 0);
        loop_disk::mount(&export, &mount);
        recorder
    }

    /// The mounted folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// How far the log has come, in bytes: what was synced before this call is below it.
    pub fn bytes(&self) -> u64 {
        size(&self.dir.path().join("log"))
    }

    /// Ends the recording; nothing may have a file open any more.
    pub fn finish(mut self) -> Recording {
        let end = self.bytes();
        loop_disk::unmount(&self.path());
        self.daemon.signal("TERM");
        self.daemon.wait_exit(START_LIMIT);
        let log = fs::read(self.dir.path().join("log")).must("read the log");
        let entries = entries(&log).must("read the log of writes");
        let entries = entries.into_iter().filter(|entry| entry.end <= end).collect();
        let parent = self.dir.path().parent().must("the parent of a folder").to_owned();
        Recording { parent, base: std::mem::take(&mut self.base), log, entries }
    }
}

impl Drop for BlockLog {
    fn drop(&mut self) {
        // Already done after a whole recording; nothing can be done here if it fails.
        let _ = Command::new("umount").arg("-lq").arg(self.path()).output();
        let _ = Command::new("umount").arg("-lq").arg(self.dir.path().join("export")).output();
    }
}

fn daemon(image: &Path, log: &Path, export: &Path) -> Command {
    let mut command = Command::new("qemu-storage-daemon");
    for (name, file) in [("image", image), ("log", log)] {
        command.arg("--blockdev").arg(format!("driver=file,filename={},node-name={name}", file.display()));
    }
    command.args([
        "--blockdev",
        "driver=blklogwrites,file=image,log=log,log-append=off,log-super-update-interval=1,node-name=disk",
    ]);
    let export = export.display();
    command
        .arg("--export")
        .arg(format!("type=fuse,id=export,node-name=disk,mountpoint={export},writable=on"));
    command
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).must("look at a file").len()
}

/// One write, flush or discard of the log.
struct Entry {
    at: u64,
    flags: u64,
    data: std::ops::Range<usize>,
    // Where the log stands behind it.
    end: u64,
}

fn entries(log: &[u8]) -> Option<Vec<Entry>> {
    if number(log, 0)? != MAGIC {
        return None;
    }
    let (count, sector) = (number(log, 16)?, number(log, 24)? & 0xFFFF_FFFF);
    let (mut at, mut found) = (usize::try_from(sector).ok()?, Vec::new());
    for _ in 0..count {
        let Some([place, sectors, flags]) = heading(log, at) else { break };
        let start = at + usize::try_from(sector).ok()?;
        let bytes = if flags & DISCARD == 0 { usize::try_from(sectors * sector).ok()? } else { 0 };
        at = start + bytes;
        let end = u64::try_from(at).ok()?;
        found.push(Entry { at: place * sector, flags, data: start..at, end });
    }
    Some(found)
}

fn heading(log: &[u8], at: usize) -> Option<[u64; 3]> {
    Some([number(log, at)?, number(log, at + 8)?, number(log, at + 16)?])
}

fn number(log: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(log.get(at..at + 8)?.try_into().ok()?))
}

/// A disk's life, to be put back to any moment of it.
pub struct Recording {
    parent: PathBuf,
    base: Vec<u8>,
    log: Vec<u8>,
    entries: Vec<Entry>,
}

impl Recording {
    /// Writes, flushes and discards on record.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Flushes on record.
    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count()
    }

    /// Where the log stood behind an entry: what [`BlockLog::bytes`] gave until then was before it.
    pub fn bytes_at(&self, entry: usize) -> u64 {
        self.entries.get(entry).map_or(0, |entry| entry.end)
    }

    /// The disk after a power cut behind `last`: all that was flushed by then, and a random half of what was written since.
    /// Gives the number of writes that are missing as well.
    pub fn cut_behind(&self, last: usize, random: &mut Random) -> (LoopDisk, usize) {
        let lived = self.entries.get(..=last).must("an entry of the log");
        let flushed = lived.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        let mut dropped = 0;
        let disk = LoopDisk::of_image(&self.parent, |image| {
            let file = File::create(image).must("make an image");
            self.write_base(&file);
            for (place, entry) in lived.iter().enumerate() {
                if place > flushed && entry.flags & FUA == 0 && !entry.data.is_empty() && random.once_in(2) {
                    dropped += 1;
                } else {
                    let data = self.log.get(entry.data.clone()).must("the data of an entry");
                    file.write_all_at(data, entry.at).must("write an image");
                }
            }
        });
        (disk, dropped)
    }

    // Sparse: most of a fresh file system is zeros.
    fn write_base(&self, file: &File) {
        file.set_len(u64::try_from(self.base.len()).must("size an image")).must("size an image");
        for (block, at) in self.base.chunks(4096).zip((0..).step_by(4096)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at).must("write an image");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64, u64)]) -> Vec<u8> {
        let sector = |numbers: &[u64]| {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            bytes.resize(512, 0);
            bytes
        };
        let mut log = sector(&[MAGIC, 1, entries.len() as u64, 512]);
        for (place, sectors, flags) in entries {
            log.extend(sector(&[*place, *sectors, *flags, 0]));
            if flags & DISCARD == 0 {
                (0..*sectors).for_each(|n| log.extend([u8::try_from(n).unwrap(); 512]));
            }
        }
        log
    }

    #[test]
    fn a_log_is_read_entry_by_entry() {
        let log = log(&[(8, 2, 0), (0, 0, FLUSH), (100, 50, DISCARD), (3, 1, FUA)]);
        let found = entries(&log).unwrap();
        let read: Vec<_> = found.iter().map(|e| (e.at / 512, e.data.len() / 512, e.flags)).collect();
        assert_eq!(read, [(8, 2, 0), (0, 0, FLUSH), (100, 0, DISCARD), (3, 1, FUA)]);
        assert_eq!(found.last().map(|e| e.end), Some(log.len() as u64));
        assert_eq!(log[found[0].data.clone()][511..514], [0, 1, 1]);
    }

    #[test]
    fn another_file_is_no_log() {
        assert!(entries(&[0; 4096]).is_none());
        assert!(entries(b"short").is_none());
    }
}
