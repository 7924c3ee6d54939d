//! The format of a stored batch: one zstd frame (level 1, content checksum) around delta-coded records.
//!
//! ```text
//! version u8 = 2 | priority u8 | boot id [16] | count | first seq
//! masks: count, each varint                      the distinct consumer sets, referred to by index
//! per record: seq delta | mask index | mono delta (signed) | wall delta (signed) | expiry + 1, or 0
//!             | topic | meta | payload           each length-prefixed
//! ```
//! All integers are varints. Every length is checked on the way in: damaged bytes are an error value. Version 1 had no
//! priority: the row's id told it, and the id has no checksum.

use bytes::Bytes;

use crate::boot::{BootId, Boots};
use crate::record::{Priority, Record, Stamp};
use crate::varint::{self, Cursor};

const VERSION: u8 = 2;
const VERSION_WITHOUT_PRIORITY: u8 = 1;
/// No batch decodes to more; a frame that claims more is damaged.
const DECODED_BYTES_MAX: usize = 2 << 30;
/// A batch of up to this size is decoded at once: all but those of very large records.
const AT_ONCE_BYTES_MAX: usize = 4 << 20;
/// Each record takes at least so many bytes, which bounds the count a damaged header can claim.
const RECORD_BYTES_MIN: usize = 8;

/// A record as it is stored: with the consumers that had not acknowledged it when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) consumers: u64,
}

/// Why a batch cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("not a whole zstd frame: {0}")]
    Compression(String),
    #[error("batch format version {0} is not known")]
    Version(u8),
    #[error("{0} is damaged or cut off")]
    Field(&'static str),
    /// The data are whole, and of another lane than the row that they were found in.
    #[error("its records are of priority {0:?}, and its row is not")]
    Misplaced(Priority),
}

/// Encodes and compresses the records, which are in order of `seq`.
pub(crate) fn encode(records: &[Stored], boot: BootId) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(records.iter().map(|r| r.record.memory_bytes()).sum());
    raw.push(VERSION);
    raw.push(records.first().map_or(0, |first| first.record.priority as u8));
    raw.extend_from_slice(&boot);
    varint::put(&mut raw, records.len() as u64);
    let mut previous = records.first().map_or(0, |first| first.record.seq);
    varint::put(&mut raw, previous);
    let masks = distinct_masks(records);
    varint::put(&mut raw, masks.len() as u64);
    masks.iter().for_each(|mask| varint::put(&mut raw, *mask));
    let mut stamp = Stamp::default();
    for Stored { record, consumers } in records {
        varint::put(&mut raw, record.seq.wrapping_sub(previous));
        let mask = masks.iter().position(|mask| mask == consumers).unwrap_or_default();
        varint::put(&mut raw, mask as u64);
        let mono = record.received.mono_ms.wrapping_sub(stamp.mono_ms).cast_signed();
        varint::put_signed(&mut raw, mono);
        varint::put_signed(&mut raw, record.received.wall_ms.wrapping_sub(stamp.wall_ms));
        varint::put(&mut raw, record.expires_after_ms.map_or(0, |ms| ms.saturating_add(1)));
        varint::put_bytes(&mut raw, &record.topic);
        varint::put_bytes(&mut raw, &record.meta);
        varint::put_bytes(&mut raw, &record.payload);
        previous = record.seq;
        stamp = record.received;
    }
    compress(&raw)
}

fn distinct_masks(records: &[Stored]) -> Vec<u64> {
    let mut masks: Vec<u64> = Vec::new();
    for record in records {
        if !masks.contains(&record.consumers) {
            masks.push(record.consumers);
        }
    }
    masks
}

/// A batch as version 1 wrote it.
#[cfg(test)]
pub(crate) fn encode_version_1(records: &[Stored], boot: BootId) -> std::io::Result<Vec<u8>> {
    let mut raw = decompress(&encode(records, boot)?).map_err(std::io::Error::other)?;
    raw.splice(..2, [VERSION_WITHOUT_PRIORITY]);
    compress(&raw)
}

/// Decodes a batch when nothing is known of other boots.
#[cfg(test)]
pub(crate) fn decode(data: &[u8], priority: Priority, boot: BootId) -> Result<Vec<Stored>, BatchError> {
    decode_with(data, priority, &Boots::from(boot))
}

/// Decodes a batch; the records share one buffer. Stamps of earlier boots that are known are corrected; those of this
/// boot stay as they were taken.
pub(crate) fn decode_with(data: &[u8], priority: Priority, boots: &Boots) -> Result<Vec<Stored>, BatchError> {
    match decode_placed(data, priority, boots)? {
        (found, records) if found == priority => Ok(records),
        (found, _) => Err(BatchError::Misplaced(found)),
    }
}

/// Decodes a batch, with the priority that it says it has; `assumed` if it does not say.
pub(crate) fn decode_placed(
    data: &[u8],
    assumed: Priority,
    boots: &Boots,
) -> Result<(Priority, Vec<Stored>), BatchError> {
    let raw = Bytes::from(decompress(data)?);
    let mut cursor = Cursor::new(&raw);
    let mut take_byte = |what| {
        let byte = cursor.take_exact(1).and_then(|byte| byte.first().copied());
        byte.ok_or(BatchError::Field(what))
    };
    let priority = match take_byte("version")? {
        VERSION => Priority::ALL.get(usize::from(take_byte("priority")?)).copied(),
        VERSION_WITHOUT_PRIORITY => Some(assumed),
        version => return Err(BatchError::Version(version)),
    };
    let priority = priority.ok_or(BatchError::Field("priority"))?;
    let boot = cursor.take_exact(16).and_then(|id| BootId::try_from(id).ok());
    let boot = boot.ok_or(BatchError::Field("boot id"))?;
    let (same_boot, earlier) = (boots.is_current(boot), boots.earlier(boot));
    let count = bounded_count(&mut cursor, RECORD_BYTES_MIN).ok_or(BatchError::Field("record count"))?;
    let mut seq = cursor.take().ok_or(BatchError::Field("first seq"))?;
    let masks = bounded_count(&mut cursor, 1).ok_or(BatchError::Field("mask count"))?;
    let masks: Option<Vec<u64>> = (0..masks).map(|_| cursor.take()).collect();
    let masks = masks.ok_or(BatchError::Field("masks"))?;
    let mut stamp = Stamp::default();
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stored = take_record(&mut cursor, &raw, &masks, (&mut seq, &mut stamp))?;
        stored.record.priority = priority;
        stored.record.same_boot = same_boot;
        if let Some(boot) = earlier {
            stored.record.received = boot.correct(stored.record.received);
            stored.record.stamp_trusted = true;
        }
        records.push(stored);
    }
    if cursor.remaining() != 0 { Err(BatchError::Field("the end")) } else { Ok((priority, records)) }
}

fn take_record(
    cursor: &mut Cursor<'_>,
    raw: &Bytes,
    masks: &[u64],
    (seq, stamp): (&mut u64, &mut Stamp),
) -> Result<Stored, BatchError> {
    let delta = cursor.take().ok_or(BatchError::Field("seq"))?;
    *seq = seq.checked_add(delta).ok_or(BatchError::Field("seq"))?;
    let mask = cursor.take().and_then(|index| usize::try_from(index).ok());
    let consumers = *mask.and_then(|index| masks.get(index)).ok_or(BatchError::Field("mask"))?;
    let mono = cursor.take_signed().ok_or(BatchError::Field("monotonic time"))?;
    let wall = cursor.take_signed().ok_or(BatchError::Field("wall time"))?;
    stamp.mono_ms = stamp.mono_ms.wrapping_add(mono.cast_unsigned());
    stamp.wall_ms = stamp.wall_ms.wrapping_add(wall);
    let expiry = cursor.take().ok_or(BatchError::Field("expiry"))?;
    let mut slice = |what| cursor.take_range().map(|range| raw.slice(range)).ok_or(BatchError::Field(what));
    let record = Record {
        seq: *seq,
        priority: Priority::Normal,
        received: *stamp,
        topic: slice("topic")?,
        meta: slice("meta")?,
        payload: slice("payload")?,
        expires_after_ms: expiry.checked_sub(1),
        same_boot: false,
        stamp_trusted: false,
    };
    Ok(Stored { record, consumers })
}

fn bounded_count(cursor: &mut Cursor<'_>, bytes_each_min: usize) -> Option<usize> {
    let count = usize::try_from(cursor.take()?).ok()?;
    (count.checked_mul(bytes_each_min)? <= cursor.remaining()).then_some(count)
}

/// Compresses with a checksum of the content, so that any flipped bit is found.
pub(crate) fn compress(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    compressor.compress(raw)
}

/// Decompresses. What claims to be of an ordinary size goes straight into a buffer of that size; anything else goes step by
/// step, so that a header that lies costs nothing.
pub(crate) fn decompress(data: &[u8]) -> Result<Vec<u8>, BatchError> {
    let failed = |error: std::io::Error| BatchError::Compression(error.to_string());
    let claimed = zstd::zstd_safe::get_frame_content_size(data).ok().flatten();
    match claimed.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= AT_ONCE_BYTES_MAX) {
        Some(size) => zstd::bulk::decompress(data, size).map_err(failed),
        None => decompress_in_steps(data),
    }
}

fn decompress_in_steps(data: &[u8]) -> Result<Vec<u8>, BatchError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| BatchError::Compression(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(failed)?.single_frame();
    let mut raw = Vec::with_capacity(data.len().saturating_mul(4).min(DECODED_BYTES_MAX));
    let limit = DECODED_BYTES_MAX as u64;
    decoder.by_ref().take(limit).read_to_end(&mut raw).map_err(failed)?;
    if !decoder.finish().is_empty() {
        return Err(BatchError::Field("the end of the frame"));
    }
    Ok(raw)
}

/// Encodes the journals of one commit.
pub(crate) fn encode_journal(items: &[Vec<u8>]) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(items.iter().map(|item| item.len() + 4).sum());
    items.iter().for_each(|item| varint::put_bytes(&mut raw, item));
    compress(&raw)
}

/// Decodes the journals of one commit.
pub(crate) fn decode_journal(data: &[u8]) -> Result<Vec<Vec<u8>>, BatchError> {
    let raw = decompress(data)?;
    let mut cursor = Cursor::new(&raw);
    let mut items = Vec::new();
    while cursor.remaining() > 0 {
        items.push(cursor.take_bytes().ok_or(BatchError::Field("journal"))?.to_vec());
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
