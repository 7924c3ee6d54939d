//! The reserve: a file of real bytes that gives its room to the database when the file system is full.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file's name.
pub(crate) const RESERVE: &str = "buffer.reserve";
/// How many bytes one step writes, so that what is due is not held up for long.
const STEP_BYTES: u64 = 4 << 20;
/// How many of them are in memory at a time.
const PART_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    /// How big it is to be.
    bytes: u64,
    /// How big it is.
    made: u64,
}

impl Reserve {
    /// The reserve as it lies in `dir`; it is made by `step`.
    pub(crate) fn new(dir: &Path, bytes: u64) -> Self {
        let path = dir.join(RESERVE);
        let made = fs::metadata(&path).map_or(0, |metadata| metadata.len()).min(bytes);
        Self { path, bytes, made }
    }

    /// How big it is to be.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.made >= self.bytes
    }

    /// Gives its room to the file system; whether there was any.
    pub(crate) fn give_up(&mut self) -> bool {
        let had = std::mem::take(&mut self.made) > 0;
        fs::remove_file(&self.path).is_ok() && had
    }

    /// Makes a part of it; whether it is whole then. It is begun only where the file system has room for it twice, so
    /// that it does not fill what it is to save.
    pub(crate) fn step(&mut self) -> bool {
        if self.is_whole() && (self.bytes > 0 || self.has_room()) {
            return true;
        }
        if self.bytes > 0 && (self.made > 0 || self.has_room()) && self.grow().is_err() {
            self.give_up();
        }
        self.bytes > 0 && self.is_whole()
    }

    fn has_room(&self) -> bool {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let room = rustix::fs::statvfs(dir).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        room.is_ok_and(|room| room >= 2 * self.bytes.max(STEP_BYTES))
    }

    /// Bytes that no file system compresses or leaves out.
    fn grow(&mut self) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(&self.path)?;
        file.set_len(self.made)?;
        let step = STEP_BYTES.min(self.bytes - self.made);
        let mut state = self.made | 1;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        // In small parts: a buffer of a whole step would stay in the process's memory for good.
        let mut out = io::BufWriter::with_capacity(PART_BYTES, &file);
        for byte in noise.take(usize::try_from(step).unwrap_or(0)) {
            out.write_all(&[byte])?;
        }
        out.flush()?;
        drop(out);
        file.sync_data()?;
        self.made += step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{RESERVE, Reserve, STEP_BYTES};

    #[test]
    fn it_is_made_in_steps_of_real_bytes_and_given_up_at_once() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let bytes = 2 * STEP_BYTES + 5;
        let mut reserve = Reserve::new(dir.path(), bytes);
        assert_eq!(
            [reserve.step(), reserve.step(), reserve.step(), reserve.step()],
            [false, false, true, true]
        );
        let metadata = std::fs::metadata(dir.path().join(RESERVE)).unwrap();
        assert_eq!(metadata.len(), bytes);
        assert!(metadata.blocks() * 512 >= bytes, "not sparse");
        assert!(Reserve::new(dir.path(), bytes).is_whole(), "it lasts");
        assert!(reserve.give_up() && !reserve.give_up());
        assert!(!dir.path().join(RESERVE).exists() && !reserve.is_whole());
    }

    #[test]
    fn a_part_is_finished_in_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = 2 * STEP_BYTES;
        assert!(!Reserve::new(dir.path(), bytes).step());
        assert!(Reserve::new(dir.path(), bytes).step());
        assert_eq!(std::fs::metadata(dir.path().join(RESERVE)).unwrap().len(), bytes);
    }

    #[test]
    fn without_room_it_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::new(dir.path(), u64::MAX / 4);
        assert!(!reserve.step());
        assert!(!dir.path().join(RESERVE).exists());
    }

    #[test]
    fn one_of_no_bytes_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::new(dir.path(), 0);
        assert!(reserve.step() && !reserve.give_up());
        assert!(!dir.path().join(RESERVE).exists());
    }
}
