//! The rows of the batch table, one by one, past what is damaged.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::connection::failed;
use super::{Filter, Inspector, Names, Phase, Progress, Result, StoredRecord, Streamed, priority, unsigned};
use crate::batch;
use crate::boot::{Boot, Boots};
use crate::policy::settled::{Settled, Span};
use crate::record::{Priority, bits};
use crate::store::{SEQ_MASK, StoreError, boots, first_seq, row_id};

/// A batch as its row describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of its first record.
    pub first_seq: u64,
    /// The number of its last record.
    pub last_seq: u64,
    /// Its priority.
    pub priority: Priority,
    /// The consumers it was written for, and which may have to acknowledge something in it.
    pub consumers: Arc<[String]>,
    /// How many records it has.
    pub records: u64,
    /// Its bytes, compressed.
    pub bytes: u64,
}

/// A row with its data.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) consumers: u64,
    pub(super) last_seq: u64,
    pub(super) records: u64,
    /// The length of the data.
    bytes: u64,
    /// Empty when only the header was asked for.
    pub(super) data: Vec<u8>,
}

impl Row {
    pub(super) fn priority(&self) -> Priority {
        priority(self.id >> 61)
    }
}

/// What the database says of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) settled: Settled,
    pub(super) stored: u64,
    pub(super) swept: u64,
    pub(super) counters: Vec<u8>,
}

/// The marks of all lanes, by consumer, then rank; lanes that are not there have settled nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    lanes: Vec<Option<Mark>>,
}

impl Marks {
    pub(super) fn load(connection: &Connection, version: i64) -> rusqlite::Result<Self> {
        let columns = if version == 1 { "x'', x''" } else { "settled, counters" };
        let sql = format!("SELECT id, cursor, stored, swept, {columns} FROM lane WHERE id BETWEEN 0 AND 191");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut lanes = vec![None; 192];
        while let Some(row) = rows.next()? {
            let field = |at| row.get::<_, i64>(at).map(unsigned);
            let mark = Mark {
                settled: Settled::decode(field(1)?, &row.get::<_, Vec<u8>>(4)?),
                stored: field(2)?,
                swept: field(3)?,
                counters: row.get(5)?,
            };
            if let Some(lane) = usize::try_from(field(0)?).ok().and_then(|id| lanes.get_mut(id)) {
                *lane = Some(mark);
            }
        }
        Ok(Self { lanes })
    }

    pub(super) fn lane(&self, consumer: u8, priority: Priority) -> Option<&Mark> {
        self.lanes.get(usize::from(consumer) * 3 + priority.rank())?.as_ref()
    }

    /// Whether something in the row may wait for the consumer.
    fn is_open(&self, consumer: u8, row: &Row) -> bool {
        let span = Span::new(first_seq(row.id), row.last_seq);
        self.lane(consumer, row.priority()).is_some_and(|mark| !mark.settled.covers(span))
    }

    /// The consumers of the mask that wait for the record.
    pub(super) fn waiting(&self, mask: u64, priority: Priority, seq: u64) -> u64 {
        let waits = |consumer: u8| {
            let lane = self.lane(consumer, priority);
            lane.is_some_and(|mark| !mark.settled.contains(seq))
        };
        bits(mask).filter(|id| waits(id.0)).fold(0, |mask, id| mask | 1 << id.0)
    }
}

/// What a filter means in rows.
#[derive(Debug)]
pub(super) struct Query {
    /// The consumers looked for.
    pub(super) mask: u64,
    priorities: Vec<Priority>,
    first_seq: u64,
    last_seq: u64,
}

impl Query {
    fn new(filter: &Filter, names: &Names) -> Result<Self> {
        let id = filter.consumer.as_deref().map(|name| names.id(name)).transpose()?;
        Ok(Self {
            mask: id.map_or(u64::MAX, |id| 1 << (id & 63)),
            priorities: filter.priority.map_or(Priority::ALL.to_vec(), |priority| vec![priority]),
            first_seq: filter.first_seq.unwrap_or(0),
            last_seq: filter.last_seq.unwrap_or(SEQ_MASK).min(SEQ_MASK),
        })
    }

    /// All rows there are.
    pub(super) fn all() -> Self {
        Self { mask: u64::MAX, priorities: Priority::ALL.to_vec(), first_seq: 0, last_seq: SEQ_MASK }
    }

    fn ranges(&self) -> impl Iterator<Item = (i64, i64)> {
        self.priorities.iter().map(|priority| (row_id(*priority, 0), row_id(*priority, self.last_seq)))
    }
}

/// What came of going on to the next row.
pub(super) enum Next {
    Row(Row),
    /// The table cannot be read here.
    Damaged,
    End,
}

/// Walks the rows of a range of ids, each read for itself. Behind damage it looks further on, in growing steps, until
/// something can be read again.
#[derive(Debug)]
pub(super) struct Walk {
    after: i64,
    end: i64,
    step: i64,
    sql: &'static str,
}

/// With the data, and without.
const WHOLE: &str = "SELECT id, consumers, last_seq, records, length(data), data FROM batch
    WHERE id > ?1 AND id <= ?2 AND (consumers & ?3 != 0 OR ?3 = -1) AND last_seq >= ?4 ORDER BY id LIMIT 1";
const HEADER: &str = "SELECT id, consumers, last_seq, records, length(data), x'' FROM batch
    WHERE id > ?1 AND id <= ?2 AND (consumers & ?3 != 0 OR ?3 = -1) AND last_seq >= ?4 ORDER BY id LIMIT 1";

impl Walk {
    fn new((first, end): (i64, i64), sql: &'static str) -> Self {
        Self { after: first.saturating_sub(1), end, step: 0, sql }
    }

    fn next(&mut self, inspector: &mut Inspector, query: &Query) -> Result<Next> {
        while self.after < self.end {
            let values =
                params![self.after, self.end, query.mask.cast_signed(), query.first_seq.cast_signed()];
            let row = inspector.source.try_ask(&inspector.path, |connection| {
                connection.prepare_cached(self.sql)?.query_row(values, row).optional()
            });
            match row {
                Ok(Some(row)) if row.id > self.after && row.id <= self.end => {
                    (self.after, self.step) = (row.id, 0);
                    return Ok(Next::Row(row));
                }
                Ok(None) => self.after = self.end,
                Err(error) => {
                    let message = failed(&inspector.path, &error);
                    if !StoreError::from(error).is_corrupt() {
                        return Err(message);
                    }
                    if self.go_on() {
                        return Ok(Next::Damaged);
                    }
                }
                // A damaged tree may lead anywhere, also back to where the walk has been.
                Ok(Some(_)) => {
                    if self.go_on() {
                        return Ok(Next::Damaged);
                    }
                }
            }
        }
        Ok(Next::End)
    }

    /// Looks further on, in growing steps; whether this is the first step behind what could be read.
    fn go_on(&mut self) -> bool {
        let first = self.step == 0;
        self.step = self.step.saturating_mul(2).max(1);
        self.after = self.after.saturating_add(self.step);
        first
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        consumers: row.get::<_, i64>(1)?.cast_unsigned(),
        last_seq: row.get::<_, i64>(2)?.cast_unsigned(),
        records: unsigned(row.get(3)?),
        bytes: unsigned(row.get(4)?),
        data: row.get(5)?,
    })
}

impl Inspector {
    /// The batches of the filter after the one that begins with a record of this priority and number, high priority
    /// first and then by number, at most `limit`. When the filter names a consumer, those in which nothing waits for
    /// it are left out. So is what cannot be read; [`Inspector::verify`] tells of it.
    ///
    /// # Errors
    /// When the disk cannot be read, or the consumer is not known.
    pub fn batches(
        &mut self,
        filter: &Filter,
        after: Option<(Priority, u64)>,
        limit: usize,
    ) -> Result<Vec<Batch>> {
        let names = self.source.names(&self.path)?;
        let query = Query::new(filter, &names)?;
        let consumer = filter.consumer.as_deref().map(|name| names.id(name)).transpose()?;
        let marks = self.marks()?;
        let after = after.map_or(-1, |(priority, seq)| row_id(priority, seq));
        let mut batches = Vec::new();
        for (first, end) in query.ranges() {
            let mut walk = Walk::new((first.max(after.saturating_add(1)), end), HEADER);
            while batches.len() < limit {
                match walk.next(self, &query)? {
                    Next::Row(row) if consumer.is_none_or(|id| marks.is_open(id, &row)) => {
                        batches.push(describe(&row, &names));
                    }
                    Next::Row(_) | Next::Damaged => {}
                    Next::End => break,
                }
            }
        }
        Ok(batches)
    }

    /// Gives the records of the filter that wait for a consumer (for the one it names, if it does) to `each`, high
    /// priority first and then by number, until that breaks off. After each batch `progress` hears of it.
    ///
    /// Batches that are damaged are passed over and counted. Only one batch is in memory at a time.
    ///
    /// # Errors
    /// When the disk cannot be read, or the consumer is not known.
    pub fn records(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(StoredRecord) -> ControlFlow<()>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Streamed> {
        let names = self.source.names(&self.path)?;
        let query = Query::new(filter, &names)?;
        let boots = self.boots()?;
        let total = self.count(&query);
        let mut streamed = Streamed::default();
        for range in query.ranges() {
            let mut walk = Walk::new(range, WHOLE);
            loop {
                let row = match walk.next(self, &query)? {
                    Next::Row(row) => row,
                    Next::Damaged => {
                        streamed.damaged += 1;
                        continue;
                    }
                    Next::End => break,
                };
                if self.give(&row, (&query, &names, &boots), &mut streamed, &mut each)?.is_break() {
                    return Ok(streamed);
                }
                streamed.batches += 1;
                progress(Progress { phase: Phase::Batches, done: streamed.batches, total });
            }
        }
        Ok(streamed)
    }

    fn give(
        &mut self,
        row: &Row,
        (query, names, boots): (&Query, &Names, &Boots),
        streamed: &mut Streamed,
        each: &mut impl FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let marks = self.marks()?;
        let Ok(records) = batch::decode_with(&row.data, row.priority(), boots) else {
            streamed.damaged += 1;
            return Ok(ControlFlow::Continue(()));
        };
        let mut sets = Sets { names, last: (0, Arc::new([])) };
        for stored in records {
            let seq = stored.record.seq;
            let waiting = marks.waiting(stored.consumers, row.priority(), seq);
            if waiting & query.mask == 0 || !(query.first_seq..=query.last_seq).contains(&seq) {
                continue;
            }
            streamed.records += 1;
            if each(super::stored_record(stored.record, sets.of(waiting))).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn marks(&mut self) -> Result<Marks> {
        let version = self.source.version;
        self.source.ask(&self.path, |connection| Marks::load(connection, version))
    }

    /// All boots that are known, for none is the present one here.
    pub(super) fn boots(&mut self) -> Result<Boots> {
        if self.source.version == 1 {
            return Ok(Boots::default());
        }
        let known: Vec<Boot> =
            self.source.ask(&self.path, |connection| Ok(boots::load(connection).unwrap_or_default()))?;
        Ok(Boots::new(Default::default(), known))
    }

    /// How many rows there are; 0 when damage keeps them from being counted.
    pub(super) fn count(&mut self, query: &Query) -> u64 {
        let sql = "SELECT COUNT(*) FROM batch
            WHERE id BETWEEN ?1 AND ?2 AND (consumers & ?3 != 0 OR ?3 = -1) AND last_seq >= ?4";
        let mut count = 0;
        for (first, end) in query.ranges() {
            let values = params![first, end, query.mask.cast_signed(), query.first_seq.cast_signed()];
            let rows =
                self.source.ask(&self.path, |connection| connection.query_row(sql, values, |row| row.get(0)));
            count += rows.map_or(0, unsigned);
        }
        count
    }

    /// Walks all rows there are.
    pub(super) fn walk_all(&mut self, mut each: impl FnMut(&mut Self, Next) -> Result<()>) -> Result<()> {
        let query = Query::all();
        for range in query.ranges() {
            let mut walk = Walk::new(range, WHOLE);
            loop {
                match walk.next(self, &query)? {
                    Next::End => break,
                    next => each(self, next)?,
                }
            }
        }
        Ok(())
    }
}

/// The names of a set of consumers, made once for neighbours that have the same.
struct Sets<'a> {
    names: &'a Names,
    last: (u64, Arc<[String]>),
}

impl Sets<'_> {
    fn of(&mut self, mask: u64) -> Arc<[String]> {
        if self.last.0 != mask {
            self.last = (mask, self.names.of(mask));
        }
        Arc::clone(&self.last.1)
    }
}

fn describe(row: &Row, names: &Names) -> Batch {
    Batch {
        first_seq: first_seq(row.id),
        last_seq: row.last_seq,
        priority: row.priority(),
        consumers: names.of(row.consumers),
        records: row.records,
        bytes: row.bytes,
    }
}
