//! Deleting the rows that all their consumers are through with.

use rusqlite::{Transaction, params};

use super::{Result, count, first_seq, row_id};
use crate::mutation::{self, Mutation};
use crate::policy::{Committed, LaneMark, LanePlan, Span};
use crate::record::{Priority, bits};

/// How many rows one lane looks at in one sweep, at most.
const ROWS_MAX: usize = 512;
/// How many rows may begin before a number and reach beyond it; what lies deeper is found when the cursor passes.
const OVERLAP_ROWS: usize = 8;

/// Id, consumers and last number of a row.
type Header = (i64, u64, u64);

/// Looks only at rows that the plan's lanes have newly settled something of.
pub(super) fn sweep(transaction: &Transaction<'_>, lanes: &[LanePlan], done: &mut Committed) -> Result<()> {
    for (at, lane) in lanes.iter().enumerate().filter(|(_, lane)| lane.dirty) {
        let Some(priority) = Priority::ALL.get(at % 3).copied() else { continue };
        let mut sweep = Sweep { transaction, priority, left: ROWS_MAX };
        let whole = sweep.prefix(at, lane.sweep_to, &mut done.marks)?;
        let islands = sweep.islands(&lane.islands, &done.marks)?;
        if !whole || !islands.is_empty() {
            done.unswept.push((at, islands));
        }
    }
    Ok(())
}

/// Looks once more at the rows of lanes of which evictions took the last record: what is left of them holds nothing.
pub(super) fn sweep_emptied(
    transaction: &Transaction<'_>,
    lanes: &[LanePlan],
    done: &mut Committed,
) -> Result<()> {
    for (at, lane) in lanes.iter().enumerate().filter(|(_, lane)| lane.mark.stored > 0) {
        let Some(priority) = Priority::ALL.get(at % 3).copied() else { continue };
        if done.marks.get(at).is_none_or(|mark| mark.stored > 0) {
            continue;
        }
        let mut sweep = Sweep { transaction, priority, left: ROWS_MAX };
        let whole = sweep.prefix(at, lane.disk_end, &mut done.marks)?;
        if !whole && done.unswept.iter().all(|(unswept, _)| *unswept != at) {
            done.unswept.push((at, Vec::new()));
        }
    }
    Ok(())
}

struct Sweep<'a> {
    transaction: &'a Transaction<'a>,
    priority: Priority,
    left: usize,
}

impl Sweep<'_> {
    /// Goes from the lane's last stop on, up to the first row that it has not settled; whether it got that far.
    fn prefix(&mut self, at: usize, sweep_to: u64, marks: &mut [LaneMark]) -> Result<bool> {
        let swept = marks.get(at).map_or(0, |mark| mark.swept);
        let rows = self.rows("ORDER BY id", (swept, sweep_to), self.left)?;
        let whole = rows.len() < self.left;
        self.left -= rows.len();
        for (id, consumers, last_seq) in rows {
            let row = Span::new(first_seq(id), last_seq);
            let own = consumers >> ((at / 3) & 63) & 1 == 1;
            let Some(mark) = marks.get_mut(at) else { break };
            if own && !is_through(mark, row) {
                mark.swept = row.from;
                return Ok(true);
            }
            mark.swept = row.from + 1;
            self.delete_if_through((id, consumers, last_seq), marks)?;
        }
        Ok(whole)
    }

    /// Looks at the rows of spans beyond the cursor; returns what is left to be looked at.
    fn islands(&mut self, spans: &[Span], marks: &[LaneMark]) -> Result<Vec<Span>> {
        let mut left = Vec::new();
        for span in spans {
            if self.left == 0 {
                left.push(*span);
                continue;
            }
            let before = self.rows("ORDER BY id DESC", (0, span.from.saturating_sub(1)), OVERLAP_ROWS)?;
            let rows = self.rows("ORDER BY id", (span.from, span.to), self.left)?;
            if let Some((id, ..)) = rows.last().filter(|_| rows.len() == self.left) {
                left.push(Span::new(first_seq(*id) + 1, span.to));
            }
            self.left -= rows.len();
            for row in before.into_iter().chain(rows) {
                self.delete_if_through(row, marks)?;
            }
        }
        Ok(left)
    }

    fn rows(&self, order: &str, (from, to): (u64, u64), most: usize) -> Result<Vec<Header>> {
        let sql =
            format!("SELECT id, consumers, last_seq FROM batch WHERE id BETWEEN ?1 AND ?2 {order} LIMIT ?3");
        let mut select = self.transaction.prepare_cached(&sql)?;
        let values = params![row_id(self.priority, from), row_id(self.priority, to), count(most)];
        let unsigned = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let rows = select.query_map(values, |row| Ok((row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn delete_if_through(&self, (id, consumers, last_seq): Header, marks: &[LaneMark]) -> Result<()> {
        if are_through(marks, consumers, self.priority, Span::new(first_seq(id), last_seq)) {
            self.transaction.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }
}

/// Whether all lanes of the mask are through with a row; a lane that exists no more is.
pub(super) fn are_through(marks: &[LaneMark], mask: u64, priority: Priority, row: Span) -> bool {
    let mut marks = bits(mask).map(|consumer| marks.get(usize::from(consumer.0) * 3 + priority.rank()));
    let is_through = |mark: Option<&LaneMark>| mark.is_none_or(|mark| is_through(mark, row));
    if mutation::is_planted(Mutation::DeleteEarly) { marks.any(is_through) } else { marks.all(is_through) }
}

fn is_through(mark: &LaneMark, row: Span) -> bool {
    mark.stored == 0 || mark.settled.covers(row)
}
