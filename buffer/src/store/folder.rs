//! The folder: the lock, what stands in the way of a file, the second copy of the run's number, and whether they belong
//! together.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::salvage::{PAGE_BYTES, aside_path};
use super::{RESERVE, with_suffix};
use crate::error::OpenError;
use crate::incident::Incident;

/// The database's file name; others of ours in the folder begin with `buffer.` too.
pub(crate) const DATABASE: &str = "buffer.db";
const LOCK: &str = "buffer.lock";

/// The folder of a spool, in use by this process alone for as long as the lock is held.
///
/// The lock file also has the number of the run, twice, so that numbers go on above all that were ever given when the
/// database is damaged beyond reading, or was removed; and when the file itself was made, which a copy of it was not.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Held as long as the spool lives.
    pub(super) lock: File,
}

impl Folder {
    /// Makes the folder when it is missing, moves out of the way what is no file where files must be, and locks it.
    pub(crate) fn claim(dir: &Path, incidents: &mut Vec<Incident>) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { dir: dir.to_owned(), source };
        // What devices say is for nobody else on this machine.
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        clear(&dir.join(LOCK), incidents).map_err(failed)?;
        let open = File::options().create(true).truncate(false).read(true).write(true).open(dir.join(LOCK));
        let lock = open.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        for name in ["", "-wal", "-shm"] {
            clear(&with_suffix(&dir.join(DATABASE), name), incidents).map_err(failed)?;
        }
        clear(&dir.join(RESERVE), incidents).map_err(failed)?;
        Ok(Self { lock })
    }

    /// Gives up the reserve, for a database that cannot even be opened without room.
    pub(crate) fn give_up_reserve(dir: &Path) -> bool {
        fs::remove_file(dir.join(RESERVE)).is_ok()
    }

    /// What the file says of the last run, when both copies of its number agree.
    pub(crate) fn last_run(&mut self) -> LastRun {
        let mut text = String::new();
        let read = self.lock.rewind().and_then(|()| (&self.lock).take(64).read_to_string(&mut text));
        let mut words = text.split_ascii_whitespace().map(|word| word.parse::<u64>().ok());
        match (read, words.next(), words.next()) {
            (Ok(_), Some(Some(run)), Some(Some(again))) if run == again => {
                LastRun { run, was_here: words.next() == Some(Some(self.made())) }
            }
            _ => LastRun::default(),
        }
    }

    /// Keeps the number of this run. When that fails the database still has it.
    pub(crate) fn keep_run(&mut self, run: u64) {
        let line = format!("{run:010} {run:010} {:020}\n", self.made());
        let written = self.lock.rewind().and_then(|()| self.lock.write_all(line.as_bytes()));
        drop(written.and_then(|()| self.lock.sync_data()));
    }

    /// When the lock file was made, in ns since the Unix epoch; 0 where the file system does not know.
    fn made(&self) -> u64 {
        let made = self.lock.metadata().and_then(|metadata| metadata.created()).ok();
        let since = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
    }
}

/// What is known of the run before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LastRun {
    /// Its number, or 0.
    pub(crate) run: u64,
    /// It was in this folder, so no other buffer can have gone on from where it was.
    pub(crate) was_here: bool,
}

/// A log beside a database that is missing or empty has all that there is, and SQLite would delete it. Beside a page of
/// zeros it reads it.
pub(super) fn keep_log(database: &Path) -> io::Result<()> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes(database) == 0 && bytes(&with_suffix(database, "-wal")) > 0 {
        let file = File::options().create(true).truncate(false).write(true).open(database)?;
        file.set_len(PAGE_BYTES as u64)?;
    }
    Ok(())
}

/// Renames what is neither a file nor missing.
fn clear(path: &Path, incidents: &mut Vec<Incident>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let aside: PathBuf = aside_path(path);
        fs::rename(path, &aside)?;
        let cause = "it is not a file".to_owned();
        incidents.push(Incident::DatabaseSetAside { path: aside, cause, batches_saved: 0 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Folder, LastRun};

    fn claim(dir: &std::path::Path) -> Folder {
        Folder::claim(dir, &mut Vec::new()).unwrap()
    }

    #[test]
    fn the_run_is_kept_and_believed_only_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(claim(dir.path()).last_run(), LastRun::default());
        for run in [1234, 7] {
            claim(dir.path()).keep_run(run);
            assert_eq!(claim(dir.path()).last_run(), LastRun { run, was_here: true });
        }
        let table: [(&[u8], u64); 6] = [
            (b"5 5", 5),
            (b"0000000005 0000000004\n", 0),
            (b"0000000005", 0),
            (b"\xff\xff\xff", 0),
            (b"-1 -1", 0),
            (b"", 0),
        ];
        for (text, run) in table {
            fs::write(dir.path().join("buffer.lock"), text).unwrap();
            assert_eq!(claim(dir.path()).last_run(), LastRun { run, was_here: false }, "{text:?}");
        }
    }

    #[test]
    fn a_copy_of_the_folder_is_another_one() {
        let [dir, copy] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        claim(dir.path()).keep_run(5);
        fs::copy(dir.path().join("buffer.lock"), copy.path().join("buffer.lock")).unwrap();
        assert_eq!(claim(copy.path()).last_run(), LastRun { run: 5, was_here: false });
        assert_eq!(claim(dir.path()).last_run(), LastRun { run: 5, was_here: true });
    }

    #[test]
    fn what_is_no_file_is_moved_out_of_the_way() {
        for name in ["buffer.lock", "buffer.db", "buffer.db-wal", "buffer.db-shm", "buffer.reserve"] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join(name).join("something")).unwrap();
            let mut incidents = Vec::new();
            Folder::claim(dir.path(), &mut incidents).unwrap();
            assert_eq!(incidents.len(), 1, "{name}");
            let aside = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
            let kept = aside.filter(|entry| entry.path().join("something").is_dir()).count();
            assert_eq!(kept, 1, "{name}");
        }
    }
}
