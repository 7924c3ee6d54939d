//! The bookkeeping of lanes and the gaps, as they are stored.

use rusqlite::{Transaction, params};

use super::{Result, count, sums};
use crate::gap::GapReason;
use crate::mutation::{self, Mutation};
use crate::policy::{Committed, Counters, GapRow, LaneMark, Plan, Settled};

/// Names the consumers that the database does not know; their lanes are among those to write.
pub(super) fn write_names(transaction: &Transaction<'_>, plan: &Plan) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO consumer(id, name, sum) VALUES (?1, ?2, ?3)";
    for (name, consumer) in &plan.unnamed {
        let id = i64::from(consumer.0);
        transaction.prepare_cached(sql)?.execute(params![id, name, sums::of_consumer(id, name)])?;
    }
    Ok(())
}

/// Writes what differs from what the database has.
pub(super) fn write(transaction: &Transaction<'_>, plan: &Plan, done: &Committed) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO lane(id, cursor, stored, swept, settled, counters, sum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut statement = transaction.prepare_cached(sql)?;
    for (at, (lane, mark)) in plan.lanes.iter().zip(&done.marks).enumerate() {
        if lane.dirty || *mark != lane.mark {
            let ahead = u64::from(mutation::is_planted(Mutation::CursorAhead));
            let cursor = (mark.settled.cursor() + ahead).cast_signed();
            let (id, stored, swept) = (count(at), mark.stored.cast_signed(), mark.swept.cast_signed());
            let (settled, counters) = (mark.settled.encode_above(), mark.counters.encode(mark.stored_bytes));
            let sum = sums::of_lane([id, cursor, stored, swept], &settled, &counters);
            statement.execute(params![id, cursor, stored, swept, settled, counters, sum])?;
        }
    }
    Ok(())
}

/// All marks, by consumer and rank; those of lanes that the database has not are of lanes that begin at `first_seq`.
pub(super) fn load(transaction: &Transaction<'_>, lanes: usize, first_seq: u64) -> Result<Vec<LaneMark>> {
    let before = first_seq - 1;
    let unused = LaneMark { settled: Settled::up_to(before), swept: before, ..LaneMark::default() };
    let mut marks = vec![unused; lanes];
    let sql = "SELECT id, cursor, stored, swept, settled, counters FROM lane";
    let mut statement = transaction.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let field = |at| row.get::<_, i64>(at).map(|value| u64::try_from(value).unwrap_or(0));
        let settled = Settled::decode(field(1)?.min(before), &row.get::<_, Vec<u8>>(4)?);
        let (counters, stored_bytes) = Counters::decode(&row.get::<_, Vec<u8>>(5)?);
        let mark =
            LaneMark { settled, stored: field(2)?, stored_bytes, swept: field(3)?.min(before), counters };
        if let Some(slot) = usize::try_from(field(0)?).ok().and_then(|at| marks.get_mut(at)) {
            *slot = mark;
        }
    }
    Ok(marks)
}

/// Stores the gaps that changed, gives new ones their ids, and deletes what was announced.
pub(super) fn write_gaps(transaction: &Transaction<'_>, plan: &Plan, gaps: &mut [GapRow]) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO
        gap(id, lane, reason, first_seq, last_seq, records, first_wall_ms, last_wall_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for gap in gaps.iter_mut().filter(|gap| gap.changed) {
        transaction.prepare_cached(sql)?.execute(params![
            (gap.id != 0).then_some(gap.id.cast_signed()),
            count(gap.lane),
            gap.reason.code(),
            gap.first_seq.cast_signed(),
            gap.last_seq.cast_signed(),
            gap.records.cast_signed(),
            gap.first_wall_ms,
            gap.last_wall_ms,
        ])?;
        gap.id = transaction.last_insert_rowid().cast_unsigned();
    }
    // Last, so that an id that goes now is not given again at once.
    for id in &plan.announced {
        transaction.prepare_cached("DELETE FROM gap WHERE id = ?1")?.execute([id.cast_signed()])?;
    }
    Ok(())
}

/// The gaps that were not announced.
pub(super) fn load_gaps(transaction: &Transaction<'_>) -> Result<Vec<GapRow>> {
    let sql = "SELECT id, lane, reason, first_seq, last_seq, records, first_wall_ms, last_wall_ms FROM gap
        ORDER BY id";
    let mut statement = transaction.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        let field = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let Some(reason) = GapReason::from_code(row.get(2)?) else { continue };
        gaps.push(GapRow {
            id: field(0)?,
            lane: usize::try_from(field(1)?).unwrap_or(usize::MAX),
            reason,
            first_seq: field(3)?,
            last_seq: field(4)?,
            records: field(5)?,
            first_wall_ms: row.get(6)?,
            last_wall_ms: row.get(7)?,
            told: false,
            changed: false,
        });
    }
    Ok(gaps)
}
