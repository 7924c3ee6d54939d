//! Rows of the table `batch` as they lie in the pages of a file, whatever became of the tree above them.
//!
//! A page is looked at as a leaf of a table (<https://sqlite.org/fileformat2.html>, sections 1.5, 1.6 and 2.1), and a
//! cell as a row when its columns are those of `batch`. What the row says is not judged here; and nothing is known here
//! of files.

/// The size of every page of a database that this program made.
pub(in crate::store) const PAGE_BYTES: usize = 4096;
/// The type of a page that is a leaf of a table.
const TABLE_LEAF: u8 = 0x0d;
/// Behind the header of a leaf are the places of its cells.
const LEAF_HEADER_BYTES: usize = 8;
/// How much of a row lies in the leaf: all of it up to `LOCAL_BYTES_MAX`, else `LOCAL_BYTES_MIN` and what is more than
/// whole pages, if that fits.
const LOCAL_BYTES_MAX: usize = PAGE_BYTES - 35;
const LOCAL_BYTES_MIN: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
/// What one page of overflow holds, behind the number of the next.
const OVERFLOW_BYTES: usize = PAGE_BYTES - 4;

pub(super) type Page = [u8; PAGE_BYTES];

/// A row of `batch`, as far as it lies in the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    pub(super) id: i64,
    local: &'a [u8],
    data_bytes: usize,
    overflow: u32,
}

/// The rows of `batch` on a page; none when it is something else.
pub(super) fn cells(page: &Page) -> impl Iterator<Item = Cell<'_>> {
    let is_leaf = page.first() == Some(&TABLE_LEAF);
    let count = number(page, 3).filter(|_| is_leaf).unwrap_or(0);
    let places = (0..count).map_while(|n| number(page, LEAF_HEADER_BYTES + 2 * n));
    places.filter_map(|at| cell(page.get(at..)?))
}

fn number(page: &Page, at: usize) -> Option<usize> {
    let bytes = page.get(at..at + 2)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(bytes)))
}

fn cell(bytes: &[u8]) -> Option<Cell<'_>> {
    let (payload_bytes, bytes) = varint(bytes)?;
    let (id, bytes) = varint(bytes)?;
    let payload_bytes = usize::try_from(payload_bytes).ok()?;
    let (local_bytes, overflow) = match local_bytes(payload_bytes) {
        local if local == payload_bytes => (local, 0),
        local => (local, u32::from_be_bytes(bytes.get(local..local + 4)?.try_into().ok()?)),
    };
    let local = bytes.get(..local_bytes)?;
    let (head_bytes, data_bytes) = columns(local)?;
    (head_bytes.checked_add(data_bytes)? == payload_bytes).then_some(Cell {
        id: id.cast_signed(),
        local: local.get(head_bytes..)?,
        data_bytes,
        overflow,
    })
}

fn local_bytes(payload_bytes: usize) -> usize {
    if payload_bytes <= LOCAL_BYTES_MAX {
        return payload_bytes;
    }
    let uneven = LOCAL_BYTES_MIN + (payload_bytes - LOCAL_BYTES_MIN) % OVERFLOW_BYTES;
    if uneven <= LOCAL_BYTES_MAX { uneven } else { LOCAL_BYTES_MIN }
}

/// How many bytes come before the data of a row of `batch`, and how many the data are: the id, which is the row's own,
/// three integers, and a blob.
fn columns(record: &[u8]) -> Option<(usize, usize)> {
    let (header_bytes, rest) = varint(record)?;
    let header_bytes = usize::try_from(header_bytes).ok()?;
    let mut header = record.get(record.len() - rest.len()..header_bytes)?;
    let mut take = || {
        let (kind, rest) = varint(header)?;
        header = rest;
        Some(kind)
    };
    if take()? != 0 {
        return None;
    }
    let mut before = header_bytes;
    for _ in 0..3 {
        before += integer_bytes(take()?)?;
    }
    let data = take()?.checked_sub(12).filter(|twice| twice % 2 == 0)?;
    header.is_empty().then_some((before, usize::try_from(data / 2).ok()?))
}

/// The size of an integer of this serial type.
fn integer_bytes(kind: u64) -> Option<usize> {
    match kind {
        1..=4 => usize::try_from(kind).ok(),
        5 => Some(6),
        6 => Some(8),
        8 | 9 => Some(0),
        _ => None,
    }
}

/// A big-endian variable-length integer, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(8) {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(8)?), bytes.get(9..)?))
}

impl Cell<'_> {
    /// The data, with what lies on pages of overflow; `read` gives those. `None` when they do not lead to its end.
    /// At most as many bytes as `left` are read, which is lowered by them.
    pub(super) fn data(&self, left: &mut u64, read: impl Fn(u32) -> Option<Page>) -> Option<Vec<u8>> {
        let missing = (self.data_bytes as u64).checked_sub(self.local.len() as u64)?;
        *left = left.checked_sub(missing)?;
        let mut data = Vec::with_capacity(self.data_bytes);
        data.extend_from_slice(self.local);
        let mut next = self.overflow;
        while data.len() < self.data_bytes {
            let page = read(next)?;
            let (link, content) = page.split_first_chunk()?;
            next = u32::from_be_bytes(*link);
            let here = OVERFLOW_BYTES.min(self.data_bytes - data.len());
            data.extend_from_slice(content.get(..here)?);
        }
        Some(data)
    }
}

#[cfg(test)]
mod tests;
