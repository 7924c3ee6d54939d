//! Whether a buffer is whole: the structure of the file, each batch, and the marks against the rows.

use std::fmt;

use super::rows::{Marks, Next, Query, Row};
use super::{Inspector, Names, Result};
use crate::batch::{self, Stored};
use crate::boot::Boots;
use crate::record::{Priority, bits};
use crate::store::first_seq;

/// How many problems are kept word for word.
const PROBLEMS_MAX: usize = 1000;
/// How many SQLite looks for.
const STRUCTURE_PROBLEMS_MAX: usize = 100;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// SQLite checks the structure of the file; this takes no steps.
    Structure,
    /// The batches are read.
    Batches,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Steps done.
    pub done: u64,
    /// Steps there are, as counted at the beginning; 0 when that is not known.
    pub total: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The structure of the file.
    Structure {
        /// What SQLite said.
        message: String,
    },
    /// Rows of the batch table that cannot be read.
    Unreadable,
    /// A batch that cannot be decoded, or is not what its row says.
    Batch {
        /// Its priority.
        priority: Priority,
        /// The number of its first record.
        first_seq: u64,
        /// What is wrong.
        cause: String,
    },
    /// A lane has more or fewer records than its mark counts. The gateway corrects it when it gets there.
    Lane {
        /// The consumer's name.
        consumer: String,
        /// The lane's priority.
        priority: Priority,
        /// Records by the mark.
        counted: u64,
        /// Records in the rows.
        found: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Structure { message } => write!(formatter, "the structure of the file: {message}"),
            Self::Unreadable => formatter.write_str("a part of the batch table cannot be read"),
            Self::Batch { priority, first_seq, cause } => {
                write!(formatter, "the {} batch from {first_seq:x} on: {cause}", priority.name())
            }
            Self::Lane { consumer, priority, counted, found } => {
                write!(
                    formatter,
                    "{consumer}, {}: {counted} records were counted, {found} are there",
                    priority.name()
                )
            }
        }
    }
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Batches that were decoded.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// All problems found, of which `problems` has the first.
    pub problems_in_all: u64,
    /// What is not as it should be; at most 1,000.
    pub problems: Vec<Problem>,
    /// Whether the marks could be held against the rows; not when a gateway moved them meanwhile.
    pub marks_compared: bool,
}

impl Verification {
    fn note(&mut self, problem: Problem) {
        self.problems_in_all += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

impl Inspector {
    /// Looks at everything there is, and changes nothing. `progress` hears of each batch.
    ///
    /// While SQLite checks the structure, a running gateway cannot cut its log, which may grow beyond its usual bound
    /// for so long.
    ///
    /// # Errors
    /// When the disk cannot be read; damage is a finding, no error.
    pub fn verify(&mut self, mut progress: impl FnMut(Progress)) -> Result<Verification> {
        let mut found = Verification::default();
        progress(Progress { phase: Phase::Structure, done: 0, total: 0 });
        self.verify_structure(&mut found);
        // Without these two tables there is nothing to hold the rows against.
        let (Ok(names), Ok(before)) = (self.source.names(&self.path), self.marks()) else {
            found.note(Problem::Structure {
                message: "the consumers and their lanes cannot be read".to_owned(),
            });
            return Ok(found);
        };
        let mut lanes = vec![0_u64; 192];
        let (mut done, total) = (0, self.count(&Query::all()));
        self.walk_all(|_, next| {
            match next {
                Next::Row(row) => verify_row(&row, &before, &mut lanes, &mut found),
                _ => found.note(Problem::Unreadable),
            }
            done += 1;
            progress(Progress { phase: Phase::Batches, done, total });
            Ok(())
        })?;
        found.marks_compared = self.marks().is_ok_and(|after| after == before);
        if found.marks_compared {
            verify_marks(&names, &before, &lanes, &mut found);
        }
        Ok(found)
    }

    fn verify_structure(&mut self, found: &mut Verification) {
        let sql = format!("PRAGMA integrity_check({STRUCTURE_PROBLEMS_MAX})");
        let messages = self.source.ask(&self.path, |connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        match messages {
            Ok(messages) if messages == ["ok"] => {}
            Ok(messages) => {
                messages.into_iter().for_each(|message| found.note(Problem::Structure { message }));
            }
            Err(error) => found.note(Problem::Structure { message: error.to_string() }),
        }
    }
}

fn verify_row(row: &Row, marks: &Marks, lanes: &mut [u64], found: &mut Verification) {
    let (priority, first_seq) = (row.priority(), first_seq(row.id));
    let mut note = |cause: String| found.note(Problem::Batch { priority, first_seq, cause });
    let records = match batch::decode_with(&row.data, priority, &Boots::default()) {
        Ok(records) => records,
        Err(error) => return note(error.to_string()),
    };
    compare(row, &records).into_iter().for_each(|cause| note(cause.to_owned()));
    found.batches += 1;
    found.records += records.len() as u64;
    for stored in &records {
        for consumer in bits(marks.waiting(stored.consumers, priority, stored.record.seq)) {
            if let Some(count) = lanes.get_mut(usize::from(consumer.0) * 3 + priority.rank()) {
                *count += 1;
            }
        }
    }
}

/// Where the row says something else than the records do.
fn compare(row: &Row, records: &[Stored]) -> Vec<&'static str> {
    let seq = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.record.seq);
    let mask = records.iter().fold(0, |mask, stored| mask | stored.consumers);
    let table = [
        (seq(records.first()) == first_seq(row.id), "its first record is not the one that its row names"),
        (seq(records.last()) == row.last_seq, "its last record is not the one that its row names"),
        (records.len() as u64 == row.records, "its row counts other records than it has"),
        (mask == row.consumers, "its row names other consumers than it has"),
        (records.is_sorted_by(|a, b| a.record.seq < b.record.seq), "its records are not in order"),
    ];
    table.into_iter().filter(|(agrees, _)| !agrees).map(|(_, cause)| cause).collect()
}

fn verify_marks(names: &Names, marks: &Marks, lanes: &[u64], found: &mut Verification) {
    for (id, name) in &names.by_id {
        for priority in Priority::ALL {
            let counted = marks.lane(*id, priority).map_or(0, |mark| mark.stored);
            let there = lanes.get(usize::from(*id) * 3 + priority.rank()).copied().unwrap_or(0);
            if counted != there {
                let consumer = name.clone();
                found.note(Problem::Lane { consumer, priority, counted, found: there });
            }
        }
    }
}
