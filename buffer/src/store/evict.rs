//! Eviction: deleting what was not read, by the bounds of the database and of each lane, oldest first.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Result, SEQ_MASK, first_seq, row_id, sweep, used_bytes};
use crate::batch::{self, BatchError, Stored};
use crate::boot::Boots;
use crate::gap::GapReason;
use crate::policy::{
    Committed, Evicted, EvictedRecord, GapRow, Keep, LaneMark, LanePlan, Reason, Span, note,
};
use crate::record::{Priority, Stamp, bits};

/// How many rows one commit evicts at most, for the database and for each lane.
const ROWS_MAX: usize = 4096;

struct Row {
    id: i64,
    consumers: u64,
    last_seq: u64,
    count: u64,
    records: std::result::Result<Vec<Stored>, BatchError>,
}

impl Row {
    fn span(&self) -> Span {
        Span::new(first_seq(self.id), self.last_seq)
    }
}

/// The first row from `id` on, up to the end of its priority, that has something of the consumers of `mask`.
fn next_row(
    transaction: &Transaction<'_>,
    id: i64,
    priority: Priority,
    mask: u64,
    boots: &Boots,
) -> Result<Option<Row>> {
    let sql = "SELECT id, consumers, last_seq, records, data FROM batch
        WHERE id BETWEEN ?1 AND ?2 AND consumers & ?3 != 0 ORDER BY id LIMIT 1";
    let values = params![id, row_id(priority, SEQ_MASK), mask.cast_signed()];
    let fields = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            id: row.get(0)?,
            consumers: row.get::<_, i64>(1)?.cast_unsigned(),
            last_seq: row.get::<_, i64>(2)?.cast_unsigned(),
            count: row.get::<_, i64>(3)?.cast_unsigned(),
            records: batch::decode_with(&row.get::<_, Vec<u8>>(4)?, priority, boots),
        })
    };
    Ok(transaction.prepare_cached(sql)?.query_row(values, fields).optional()?)
}

fn delete(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    transaction.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Deletes the oldest rows, lowest priority first, until the database is within its bound.
pub(super) fn make_room(
    transaction: &Transaction<'_>,
    max_bytes: u64,
    boots: &Boots,
    done: &mut Committed,
) -> Result<()> {
    for priority in Priority::ALL.into_iter().rev() {
        while used_bytes(transaction)? > max_bytes {
            if done.evicted.len() >= ROWS_MAX {
                return Ok(());
            }
            let id = row_id(priority, 0);
            let Some(row) = next_row(transaction, id, priority, u64::MAX, boots)? else { break };
            delete(transaction, row.id)?;
            let (first_seq, consumers, span) = (first_seq(row.id), row.consumers, row.span());
            let records = match row.records {
                Ok(records) => Ok(records.iter().map(evicted_record).collect()),
                Err(error) => {
                    note_damage(&mut done.gaps, (consumers, priority), span, row.count);
                    Err((row.count, error))
                }
            };
            let reason = Reason::EvictedFull;
            settle(done, Evicted { priority, first_seq, consumers, reason, records });
        }
    }
    Ok(())
}

fn evicted_record(stored: &Stored) -> EvictedRecord {
    let Stored { record, consumers } = stored;
    let (bytes, wall_ms) = (record.bytes() as u64, record.received.wall_ms);
    EvictedRecord { seq: record.seq, consumers: *consumers, bytes, wall_ms }
}

/// Takes evicted records out of the marks of their lanes, and notes the gaps.
fn settle(done: &mut Committed, evicted: Evicted) {
    for consumer in bits(evicted.consumers) {
        let at = usize::from(consumer.0) * 3 + evicted.priority.rank();
        let (Some(mark), Ok(records)) = (done.marks.get_mut(at), &evicted.records) else { continue };
        let own = records.iter().filter(|record| record.consumers >> (consumer.0 & 63) & 1 == 1);
        let mut last_seq = None;
        for record in own {
            last_seq = Some(record.seq);
            if mark.settled.contains(record.seq) {
                continue;
            }
            mark.stored = mark.stored.saturating_sub(1);
            mark.stored_bytes = mark.stored_bytes.saturating_sub(record.bytes);
            mark.counters.add(evicted.reason, 1);
            if let Some(reason) = gap_reason(evicted.reason) {
                note(&mut done.gaps, GapRow::one(at, reason, record.seq, record.wall_ms));
            }
        }
        mark.settled.insert(Span::new(evicted.first_seq, last_seq.unwrap_or(0)));
    }
    done.evicted.push(evicted);
}

fn gap_reason(reason: Reason) -> Option<GapReason> {
    match reason {
        Reason::EvictedFull => Some(GapReason::Full),
        Reason::EvictedAge => Some(GapReason::Age),
        Reason::EvictedCount => Some(GapReason::Count),
        _ => None,
    }
}

/// Notes a row that cannot be read for each of its lanes.
pub(super) fn note_damage(
    gaps: &mut Vec<GapRow>,
    (consumers, priority): (u64, Priority),
    span: Span,
    records: u64,
) {
    for consumer in bits(consumers) {
        let lane = usize::from(consumer.0) * 3 + priority.rank();
        let one = GapRow::one(lane, GapReason::Damage, span.from, 0);
        note(gaps, GapRow { last_seq: span.to, records, ..one });
    }
}

/// Holds the bounds of each lane that may be beyond them.
pub(super) fn trim_lanes(
    transaction: &Transaction<'_>,
    lanes: &[LanePlan],
    boots: &Boots,
    done: &mut Committed,
) -> Result<()> {
    let now = Stamp::now();
    for (at, lane) in lanes.iter().enumerate() {
        if let Some(keep) = lane.keep {
            trim_lane(transaction, at, Room::new(keep, &lane.mark, now), boots, done)?;
        }
    }
    Ok(())
}

/// What a lane may keep. When it has too much, room is made for a sixteenth, so that a row is not decoded for each
/// record that is too many.
struct Room {
    keep: Keep,
    max_records: u64,
    max_bytes: u64,
    now: Stamp,
}

impl Room {
    fn new(keep: Keep, mark: &LaneMark, now: Stamp) -> Self {
        let bound = |max: u64, is: u64| if is > max { max - max / 16 } else { u64::MAX };
        let (max_records, max_bytes) =
            (bound(keep.max_records, mark.stored), bound(keep.max_bytes, mark.stored_bytes));
        Self { keep, max_records, max_bytes, now }
    }

    /// Why the record goes, if it does.
    fn reason(&self, mark: &LaneMark, stored: &Stored) -> Option<Reason> {
        if mark.stored > self.max_records {
            Some(Reason::EvictedCount)
        } else if mark.stored_bytes > self.max_bytes {
            Some(Reason::EvictedFull)
        } else if self.keep.max_age_ms != u64::MAX && stored.record.age_ms(self.now) > self.keep.max_age_ms {
            Some(Reason::EvictedAge)
        } else {
            None
        }
    }
}

fn trim_lane(
    transaction: &Transaction<'_>,
    at: usize,
    room: Room,
    boots: &Boots,
    done: &mut Committed,
) -> Result<()> {
    let Some(priority) = Priority::ALL.get(at % 3).copied() else { return Ok(()) };
    let bit = 1_u64 << ((at / 3) & 63);
    let mut id = row_id(priority, done.marks.get(at).map_or(0, |mark| mark.swept));
    for _ in 0..ROWS_MAX {
        let Some(row) = next_row(transaction, id, priority, bit, boots)? else { break };
        id = row.id + 1;
        let span = row.span();
        // A damaged row is found, and set aside, when it is read.
        let Ok(records) = row.records else { continue };
        let own: Vec<Stored> = records.into_iter().filter(|stored| stored.consumers & bit != 0).collect();
        let whole = evict_oldest(&own, (at, bit, priority), span.from, &room, done);
        if sweep::are_through(&done.marks, row.consumers, priority, span) {
            delete(transaction, row.id)?;
        }
        if !whole {
            break;
        }
    }
    Ok(())
}

/// Evicts the lane's oldest records of a row, as far as they have to go; whether all did, or had before.
fn evict_oldest(
    own: &[Stored],
    (at, bit, priority): (usize, u64, Priority),
    first_seq: u64,
    room: &Room,
    done: &mut Committed,
) -> bool {
    let mut rest = own;
    while let Some(first) = rest.first() {
        let Some(mark) = done.marks.get(at) else { return false };
        let Some(reason) = room.reason(mark, first) else { return false };
        // One record at a time, but all of one reason together.
        let mut ahead = mark.clone();
        let mut records = Vec::new();
        while let Some((next, others)) = rest.split_first() {
            if room.reason(&ahead, next) != Some(reason) {
                break;
            }
            rest = others;
            if !ahead.settled.contains(next.record.seq) {
                ahead.stored = ahead.stored.saturating_sub(1);
                ahead.stored_bytes = ahead.stored_bytes.saturating_sub(next.record.bytes() as u64);
            }
            records.push(EvictedRecord { consumers: bit, ..evicted_record(next) });
        }
        settle(done, Evicted { priority, first_seq, consumers: bit, reason, records: Ok(records) });
    }
    true
}
