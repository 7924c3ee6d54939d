//! The reserve: a file of real bytes that gives its room to the database when the file system is full.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
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
        // In small parts: a buffer of a whole step would stay in the process's memory for good.
        let mut out = io::BufWriter::with_capacity(PART_BYTES, &file);
        io::copy(&mut Noise(self.made | 1).take(step), &mut out)?;
        out.flush()?;
        drop(out);
        file.sync_data()?;
        self.made += step;
        Ok(())
    }
}

/// Pseudo-random bytes without an end (Marsaglia, "Xorshift RNGs", 2003). It begins with anything but zero.
struct Noise(u64);

impl io::Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for part in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            part.iter_mut().zip(self.0.to_be_bytes()).for_each(|(byte, noise)| *byte = noise);
        }
        Ok(buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Noise, RESERVE, Reserve, STEP_BYTES};
    use std::io::Read as _;

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

    // Every byte as often as any other, and no pattern of pairs.
    #[test]
    fn noise_does_not_compress() {
        let mut bytes = vec![0; 1 << 20];
        Noise(1).read_exact(&mut bytes).unwrap();
        let (mut counts, mut pairs) = ([0; 256], vec![false; 1 << 16]);
        for pair in bytes.chunks(2) {
            pair.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])] = true;
        }
        assert!(counts.iter().all(|count| (3600..4600).contains(count)), "{counts:?}");
        assert!(pairs.iter().filter(|seen| **seen).count() > 65_400);
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
