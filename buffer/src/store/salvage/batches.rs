//! Carrying the batches over: by the tree as far as it leads, and from every page besides.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params};

use super::image::Image;
use super::pages::{self, Cell};
use super::{copy, schema::Copied};
use crate::batch;
use crate::boot::{BootId, Boots};
use crate::policy::{LaneMark, Span};
use crate::record::{Priority, bits};
use crate::store::open::{RUN_MAX, RUN_SHIFT};
use crate::store::{Result, count, first_seq, row_id};

const BATCH: Copied = Copied {
    table: "batch",
    columns: "id, consumers, last_seq, records, data",
    columns_1: "",
    types: "iiiib",
};
/// No row has more records: what a damaged one claims must not overflow a sum.
const RECORDS_MAX: i64 = 1 << 32;

/// The rows of a salvaged database.
pub(super) struct Batches<'a> {
    new: &'a Transaction<'a>,
    /// Rows whose data are damaged; a whole copy of one takes its place.
    damaged: BTreeSet<i64>,
}

/// A row, as its data say. They have a checksum, and the columns beside them have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    id: i64,
    consumers: u64,
    span: Span,
    records: usize,
}

impl Row {
    /// `None` when the data are damaged, or are no batch. The id tells the priority of data that do not.
    fn new(id: i64, data: &[u8]) -> Option<Self> {
        let assumed = *Priority::ALL.get(usize::try_from(id >> 61).ok()?)?;
        let boots = Boots::from(BootId::default());
        let (priority, records) = batch::decode_placed(data, assumed, &boots).ok()?;
        let span = Span::new(records.first()?.record.seq, records.last()?.record.seq);
        let consumers = records.iter().fold(0, |mask, stored| mask | stored.consumers);
        let id = row_id(priority, span.from);
        is_plausible(span.to).then_some(Self { id, consumers, span, records: records.len() })
    }
}

/// Whether a run can have given this number.
fn is_plausible(seq: u64) -> bool {
    (1..RUN_MAX).contains(&(seq >> RUN_SHIFT))
}

impl<'a> Batches<'a> {
    pub(super) fn new(new: &'a Transaction<'a>) -> Self {
        Self { new, damaged: BTreeSet::new() }
    }

    /// Copies every row that can be read, past those that cannot: behind damage it looks further on, in growing steps,
    /// and it comes from the far end too, so that a damaged page costs little more than what is on it.
    pub(super) fn copy(&mut self, old: &Connection) -> Result<()> {
        let (mut after, mut step) = (-1_i64, 1_i64);
        let mut put = |values: Vec<Value>| self.put(values);
        while let Some(last) = copy(old, &BATCH, &format!("WHERE id > {after} ORDER BY id"), &mut put)? {
            if last > after {
                (after, step) = (last, 1);
            }
            let Some(next) = after.checked_add(step) else { break };
            (after, step) = (next, step.saturating_mul(2));
        }
        copy(old, &BATCH, "ORDER BY id DESC", &mut put)?;
        Ok(())
    }

    /// Puts a row that the tree led to; whether it is new. One with damaged data is kept as it is, to be set aside when it
    /// is read.
    fn put(&mut self, values: Vec<Value>) -> Result<bool> {
        let Ok(
            [
                Value::Integer(id),
                Value::Integer(mask),
                Value::Integer(last),
                Value::Integer(records),
                Value::Blob(data),
            ],
        ) = <[Value; 5]>::try_from(values)
        else {
            return Ok(true);
        };
        if let Some(row) = Row::new(id, &data) {
            return self.insert("IGNORE", row, &data);
        }
        let seqs = first_seq(id)..=last.cast_unsigned();
        let fits = id >> 61 < 3 && !seqs.is_empty() && is_plausible(*seqs.end());
        if id < 0 || !fits || !(0..RECORDS_MAX).contains(&records) {
            return Ok(true);
        }
        let sql =
            "INSERT OR IGNORE INTO batch(id, consumers, last_seq, records, data) VALUES (?1, ?2, ?3, ?4, ?5)";
        let is_new = self.new.prepare_cached(sql)?.execute(params![id, mask, last, records, data])? == 1;
        if is_new {
            self.damaged.insert(id);
        }
        Ok(is_new)
    }

    fn insert(&self, otherwise: &str, row: Row, data: &[u8]) -> Result<bool> {
        let sql = format!(
            "INSERT OR {otherwise} INTO batch(id, consumers, last_seq, records, data) VALUES (?1, ?2, ?3, ?4, ?5)"
        );
        let (consumers, last) = (row.consumers.cast_signed(), row.span.to.cast_signed());
        let values = params![row.id, consumers, last, count(row.records), data];
        Ok(self.new.prepare_cached(&sql)?.execute(values)? == 1)
    }

    /// Takes from the pages the rows that are not there yet, and that some lane of `marks` has not settled: a page may be
    /// one that was given up long ago.
    pub(super) fn carve(&mut self, image: &Image, marks: &[LaneMark]) -> Result<()> {
        // Every page of overflow belongs to one row, so more than this is read only when damage makes circles.
        let mut left = image.bytes().saturating_mul(4);
        for page in image.all() {
            for cell in pages::cells(&page) {
                if self.has(cell.id)? {
                    continue;
                }
                let Some((row, data)) = whole(&cell, image, &mut left) else { continue };
                if is_owed(&row, marks) {
                    let otherwise = if self.damaged.remove(&row.id) { "REPLACE" } else { "IGNORE" };
                    self.insert(otherwise, row, &data)?;
                }
            }
        }
        Ok(())
    }

    fn has(&self, id: i64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM batch WHERE id = ?1)";
        let exists: bool = self.new.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
        Ok(exists && !self.damaged.contains(&id))
    }
}

/// The row of a cell, with the pages of overflow as the log has them, or else as the database has.
fn whole(cell: &Cell<'_>, image: &Image, left: &mut u64) -> Option<(Row, Vec<u8>)> {
    let row = |data: Vec<u8>| Some((Row::new(cell.id, &data)?, data));
    let newest = cell.data(left, |number| image.newest(number)).and_then(row);
    newest.or_else(|| cell.data(left, |number| image.stored(number)).and_then(row))
}

/// Whether a consumer that is known has not settled all of the row.
fn is_owed(row: &Row, marks: &[LaneMark]) -> bool {
    let rank = usize::try_from(row.id >> 61).unwrap_or(0);
    bits(row.consumers).any(|consumer| {
        let mark = marks.get(usize::from(consumer.0) * 3 + rank);
        mark.is_some_and(|mark| !mark.settled.covers(row.span))
    })
}
