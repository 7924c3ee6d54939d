//! Where the batches lie in the files of a database, page by page: a reader of SQLite's file format of its own, so that what is
//! damaged is not asked of the one that is tested (<https://sqlite.org/fileformat2.html>).
//!
//! A page is the unit: a batch is undamaged when none of the pages it lies on has changed. For the log that means: nothing
//! before the end of the transaction that wrote the page has changed either, since the checksums of a log are a chain.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// The name of the buffer's database.
pub const DATABASE: &str = "buffer.db";

/// Files by the end of their name: "" is the database, "-wal" its log.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The largest share of a page that one row may have before it goes on elsewhere, and the least (section 1.6).
const LEAF_RESERVED: usize = 35;
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const TABLE_LEAF: u8 = 13;
/// Bits of a row's number below its priority.
const SEQ_MASK: u64 = (1 << 61) - 1;

/// A stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The rank of its priority.
    pub rank: u64,
    /// The number of its first record.
    pub first_seq: u64,
    /// Of its last.
    pub last_seq: u64,
    /// How many it has.
    pub records: u64,
    /// The numbers of the pages it lies on.
    pages: Vec<usize>,
}

/// A database as its files give it.
#[derive(Debug)]
pub struct Image<'a> {
    files: &'a Files,
    page_bytes: usize,
    /// Where the newest committed copy of each page is, the first page first.
    places: Vec<Place>,
}

#[derive(Debug, Clone)]
enum Place {
    /// In the database, from here on.
    Database(usize),
    /// In the log, from here on; and where the transaction ends.
    Log(usize, usize),
}

impl<'a> Image<'a> {
    /// Looks at whole files; `None` if they are no database.
    pub fn new(files: &'a Files) -> Option<Self> {
        let database = files.get("")?;
        let log = files.get("-wal").map(Vec::as_slice).unwrap_or_default();
        let page_bytes = number(database.get(16..18)?)?;
        let mut places: Vec<Place> =
            (0..database.len() / page_bytes).map(|page| Place::Database(page * page_bytes)).collect();
        let mut uncommitted = Vec::new();
        let mut at = WAL_HEADER_BYTES;
        while let Some(header) = log.get(at..at + FRAME_HEADER_BYTES) {
            // A frame of an older log that was begun again has other salts.
            if header.get(8..16) != log.get(16..24) {
                break;
            }
            let (page, pages) = (number(header.get(..4)?)?, number(header.get(4..8)?)?);
            uncommitted.push((page.checked_sub(1)?, at + FRAME_HEADER_BYTES));
            at += FRAME_HEADER_BYTES + page_bytes;
            if pages > 0 {
                places.resize(pages, Place::Database(usize::MAX));
                for (page, from) in uncommitted.drain(..) {
                    *places.get_mut(page)? = Place::Log(from, at);
                }
            }
        }
        Some(Self { files, page_bytes, places })
    }

    /// All batches.
    pub fn batches(&self) -> Vec<Batch> {
        let free = self.free_pages().unwrap_or_default();
        let used = (0..self.places.len()).filter(|page| !free.contains(page));
        used.flat_map(|page| self.batches_on(page).unwrap_or_default()).collect()
    }

    /// The pages in no use, which still have what was on them (section 1.5).
    fn free_pages(&self) -> Option<BTreeSet<usize>> {
        let mut free = BTreeSet::new();
        let mut trunk = number(self.page(0)?.get(32..36)?)?;
        while let Some(page) = trunk.checked_sub(1).filter(|page| free.insert(*page)) {
            let list = self.page(page)?;
            let leaves = number(list.get(4..8)?)?;
            for leaf in 0..leaves {
                free.insert(number(list.get(8 + leaf * 4..12 + leaf * 4)?)?.checked_sub(1)?);
            }
            trunk = number(list.get(..4)?)?;
        }
        Some(free)
    }

    /// Whether the batch's pages are the same in other files.
    pub fn is_undamaged(&self, batch: &Batch, others: &Files) -> bool {
        let same = |file: &str, range: std::ops::Range<usize>| {
            let ours = self.files.get(file).and_then(|bytes| bytes.get(range.clone()));
            ours.is_some() && ours == others.get(file).and_then(|bytes| bytes.get(range))
        };
        batch.pages.iter().all(|page| match self.places.get(*page) {
            Some(Place::Database(from)) => same("", *from..from + self.page_bytes),
            Some(Place::Log(_, end)) => same("-wal", 0..*end) && others.contains_key(""),
            None => false,
        })
    }

    /// Whether the batch lies on one of these pages.
    pub fn lies_on(batch: &Batch, pages: &[usize]) -> bool {
        batch.pages.iter().any(|page| pages.contains(page))
    }

    fn page(&self, page: usize) -> Option<&'a [u8]> {
        let (file, from) = match self.places.get(page)? {
            Place::Database(from) => ("", *from),
            Place::Log(from, _) => ("-wal", *from),
        };
        self.files.get(file)?.get(from..from.checked_add(self.page_bytes)?)
    }

    fn batches_on(&self, page: usize) -> Option<Vec<Batch>> {
        let bytes = self.page(page)?;
        let header = bytes.get(if page == 0 { 100 } else { 0 }..)?;
        if *header.first()? != TABLE_LEAF {
            return None;
        }
        let cells = number(header.get(3..5)?)?;
        let starts = (0..cells).filter_map(|cell| number(header.get(8 + cell * 2..10 + cell * 2)?));
        Some(starts.filter_map(|start| self.batch(page, bytes.get(start..)?)).collect())
    }

    /// The batch in this cell; `None` if it is a row of another table.
    fn batch(&self, page: usize, cell: &[u8]) -> Option<Batch> {
        let mut at = 0;
        let payload_bytes = usize::try_from(varint(cell, &mut at)?).ok()?;
        let id = varint(cell, &mut at)?;
        let local_bytes = self.local_bytes(payload_bytes);
        let mut pages = vec![page];
        if local_bytes < payload_bytes {
            let mut next = number(cell.get(at + local_bytes..at + local_bytes + 4)?)?;
            while let Some(page) = next.checked_sub(1) {
                pages.push(page);
                next = number(self.page(page)?.get(..4)?)?;
            }
        }
        let row = cell.get(at..)?;
        let (mut at, mut types) = (0, Vec::new());
        let header_bytes = usize::try_from(varint(row, &mut at)?).ok()?;
        while at < header_bytes {
            types.push(varint(row, &mut at)?);
        }
        // Number (as the row's), consumers, last number, count, data.
        let [0, consumers, last_seq, records, data] = types[..] else { return None };
        if data < 12 {
            return None;
        }
        let mut value = |kind| integer(row, &mut at, kind);
        let (_, last_seq, records) = (value(consumers)?, value(last_seq)?, value(records)?);
        Some(Batch { rank: id >> 61, first_seq: id & SEQ_MASK, last_seq, records, pages })
    }

    fn local_bytes(&self, payload_bytes: usize) -> usize {
        let usable = self.page_bytes;
        let least = (usable - 12) * 32 / 255 - 23;
        if payload_bytes <= usable - LEAF_RESERVED {
            return payload_bytes;
        }
        let local = least + (payload_bytes - least) % (usable - 4);
        if local <= usable - LEAF_RESERVED { local } else { least }
    }
}

/// The pages that a log has a copy of, whatever else in it is damaged.
pub fn logged(log: &[u8], page_bytes: usize) -> Vec<usize> {
    let frames = log.get(WAL_HEADER_BYTES..).unwrap_or_default().chunks(FRAME_HEADER_BYTES + page_bytes);
    let current = frames.filter(|frame| frame.get(8..16) == log.get(16..24));
    current.filter_map(|frame| number(frame.get(..4)?)?.checked_sub(1)).collect()
}

/// The files of the database at this path. Nobody must have it open.
///
/// # Errors
/// One that is there cannot be read.
pub fn read_files(database: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for suffix in ["", "-wal", "-shm"] {
        let mut name = OsString::from(database);
        name.push(suffix);
        match std::fs::read(name) {
            Ok(bytes) => drop(files.insert(suffix.to_owned(), bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// A big-endian number.
fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))).ok()
}

/// A varint of SQLite: seven bits a byte, but eight in the ninth.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for length in 1..=9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if length == 9 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

/// A stored integer of this serial type.
fn integer(bytes: &[u8], at: &mut usize, kind: u64) -> Option<u64> {
    let length = match kind {
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 => 8,
        8 | 9 => return Some(kind - 8),
        _ => return None,
    };
    let value = number(bytes.get(*at..*at + length)?)?;
    *at += length;
    u64::try_from(value).ok()
}

#[cfg(test)]
mod tests;
