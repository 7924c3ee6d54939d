//! One file: its bytes as of the last sync, and what was done since.

use super::Cut;
use crate::rng::Rng;

/// What a disk writes at once.
pub(super) const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Clone)]
enum Operation {
    Write { offset: u64, data: Vec<u8> },
    Truncate(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    bytes: Vec<u8>,
    pending: Vec<Operation>,
    /// Its name or its size is new since the last sync, so that the next one commits the journal.
    grown: bool,
    size: u64,
}

/// Which of the operations since the last sync survive a power cut.
#[derive(Debug, Clone, Copy)]
enum Survivors {
    None,
    All,
    First(usize),
    /// Each sector of each, so many times in a hundred.
    Part(u64),
}

impl Image {
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Self { size: bytes.len() as u64, bytes, ..Self::default() }
    }

    pub(super) fn created() -> Self {
        Self { grown: true, ..Self::default() }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        self.grown |= end > self.size;
        self.size = self.size.max(end);
        self.pending.push(Operation::Write { offset, data: data.to_vec() });
    }

    pub(super) fn truncate(&mut self, size: u64) {
        self.grown |= size != self.size;
        self.size = size;
        self.pending.push(Operation::Truncate(size));
    }

    /// Whether the sync also commits the journal.
    pub(super) fn sync(&mut self) -> bool {
        for operation in std::mem::take(&mut self.pending) {
            perform(&mut self.bytes, &operation);
        }
        std::mem::take(&mut self.grown)
    }

    /// The bytes that a cut leaves.
    pub(super) fn after(&self, cut: Cut, rng: &mut Rng) -> Vec<u8> {
        let survivors = match (cut, rng.pick(0..6)) {
            (Cut::Process, _) | (Cut::Power, 0) => Survivors::All,
            (Cut::Power, 1) => Survivors::None,
            (Cut::Power, 2) => Survivors::First(rng.index(self.pending.len() + 1)),
            (Cut::Power, _) => Survivors::Part(rng.pick(5..96)),
        };
        let mut bytes = self.bytes.clone();
        for (at, operation) in self.pending.iter().enumerate() {
            match (survivors, operation) {
                (Survivors::None, _) => {}
                (Survivors::First(count), _) if at >= count => {}
                (Survivors::Part(percent), Operation::Write { offset, data }) => {
                    tear(&mut bytes, *offset, data, |rng| rng.percent(percent), rng);
                }
                (Survivors::Part(percent), Operation::Truncate(_)) if !rng.percent(percent) => {}
                _ => perform(&mut bytes, operation),
            }
        }
        bytes
    }
}

fn perform(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, data } => put(bytes, *offset, data),
        Operation::Truncate(size) => bytes.resize(index(*size), 0),
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (index(offset), index(offset) + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(data);
    }
}

/// Writes those sectors of `data` that `keep` keeps; the borders are those of the disk, not of the write.
fn tear(bytes: &mut Vec<u8>, offset: u64, data: &[u8], keep: impl Fn(&mut Rng) -> bool, rng: &mut Rng) {
    let mut rest = data;
    let mut at = offset;
    while !rest.is_empty() {
        let len = index(SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (sector, tail) = rest.split_at(len);
        if keep(rng) {
            put(bytes, at, sector);
        }
        at += len as u64;
        rest = tail;
    }
}

/// Files here are far smaller than memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Cut, Image, Rng, tear};

    fn image() -> Image {
        let mut image = Image::synced(vec![b'a'; 2048]);
        image.write(512, &[b'b'; 1024]);
        image.truncate(1024);
        image.write(1024, &[b'c'; 100]);
        image
    }

    #[test]
    fn a_process_crash_leaves_every_write() {
        let left = image().after(Cut::Process, &mut Rng::new(1));
        assert_eq!(left, [vec![b'a'; 512], vec![b'b'; 512], vec![b'c'; 100]].concat());
    }

    #[test]
    fn what_was_synced_survives_every_power_cut() {
        let mut synced = image();
        assert!(synced.sync(), "its size changed");
        assert!(!synced.sync());
        let expected = synced.after(Cut::Process, &mut Rng::new(0));
        synced.write(0, b"x");
        for seed in 0..200 {
            let left = synced.after(Cut::Power, &mut Rng::new(seed));
            assert_eq!((left.len(), left.get(1..)), (expected.len(), expected.get(1..)), "seed {seed}");
        }
    }

    /// All that can become of three unsynced operations does, over some hundred seeds.
    #[test]
    fn unsynced_operations_are_dropped_torn_and_reordered() {
        let image = image();
        let results: Vec<Vec<u8>> =
            (0..400).map(|seed| image.after(Cut::Power, &mut Rng::new(seed))).collect();
        let any = |what: &str, is: &dyn Fn(&[u8]) -> bool| {
            assert!(results.iter().any(|left| is(left)), "never: {what}");
        };
        any("nothing survived", &|left| left == [b'a'; 2048]);
        any("all survived", &|left| left.len() == 1124 && left[1024] == b'c' && left[512] == b'b');
        any("the first write was torn", &|left| left[512] == b'b' && left.get(1024) == Some(&b'a'));
        any("the last survived, the truncation did not", &|left| left.len() == 2048 && left[1024] == b'c');
        any("the truncation survived, the write before it did not", &|left| {
            left.len() == 1024 && left[512] == b'a'
        });
        let sectors = |left: &[u8]| left.chunks(512).all(|s| s.len() < 512 || s.iter().all(|b| *b == s[0]));
        let whole = results.iter().filter(|left| left.len() == 1024).all(|left| sectors(left));
        assert!(whole, "a sector is whole");
    }

    #[test]
    fn sectors_begin_where_the_disk_has_them() {
        let mut bytes = vec![0; 1024];
        let kept = std::cell::Cell::new(0);
        let count = |_: &mut Rng| {
            kept.set(kept.get() + 1);
            kept.get() % 2 == 1
        };
        tear(&mut bytes, 500, &[1; 600], count, &mut Rng::new(0));
        assert_eq!(kept.get(), 3, "12, 512 and 76 bytes");
        assert_eq!(bytes.len(), 1100);
        assert_eq!((bytes[499], bytes[500], bytes[511], bytes[512], bytes[1024]), (0, 1, 1, 0, 1));
    }

    #[test]
    fn a_gap_reads_as_zeros() {
        let mut image = Image::created();
        image.write(4, b"x");
        assert!(image.sync());
        assert_eq!(image.after(Cut::Power, &mut Rng::new(0)), b"\0\0\0\0x");
    }
}
