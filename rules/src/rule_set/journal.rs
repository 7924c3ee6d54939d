//! State that survives: the journal of its changes, and snapshots of all of it.
//!
//! A journal is a row of entries: the length of what follows (32 bits), the fingerprint of the rule (64 bits), and the
//! change. All numbers are little-endian. A snapshot is a version and, for each rule, its fingerprint and its windows.

use super::{RuleSet, earliest};
use crate::{
    rule::{Rule, WindowPlan},
    state::{Reader, StateError, put_bytes, put_count, put_value},
    value::Value,
};

const SNAPSHOT_VERSION: u8 = 1;

mod tag {
    pub(super) const EVENT: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
}

/// A change of a rule's windows.
#[derive(Debug, PartialEq)]
pub(super) enum Change<'a> {
    /// An event was put into its window.
    Event {
        /// When it came in. The window follows from that and from the changes before.
        time_ms: i64,
        key: &'a [u8],
        arguments: Vec<Value<'a>>,
    },
    /// Windows that ended by this time were closed.
    Closed { until_ms: i64 },
}

impl<'a> Change<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, plan: &WindowPlan) -> Result<Self, StateError> {
        let tag = reader.byte()?;
        let time_ms = reader.time_ms()?;
        let change = match tag {
            tag::CLOSED => Self::Closed { until_ms: time_ms },
            tag::EVENT => {
                let key = reader.bytes()?;
                crate::window::read_key(key, plan.keys.len()).map_err(|_| reader.damaged())?;
                let argument = |has_argument| if has_argument { reader.value() } else { Ok(Value::Null) };
                let present = plan.aggregates.iter().map(|aggregate| aggregate.argument.is_some());
                let arguments = present.map(argument).collect::<Result<_, _>>()?;
                Self::Event { time_ms, key, arguments }
            }
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(change)
    }
}

/// Appends the entry of an event. Arguments that aggregates do not have are left out.
pub(super) fn put_event(
    fingerprint: u64,
    time_ms: i64,
    key: &[u8],
    plan: &WindowPlan,
    arguments: &[Value<'_>],
    journal: &mut Vec<u8>,
) {
    put_entry(fingerprint, journal, |journal| {
        journal.push(tag::EVENT);
        journal.extend_from_slice(&time_ms.to_le_bytes());
        put_bytes(key, journal);
        for (argument, aggregate) in arguments.iter().zip(&plan.aggregates) {
            if aggregate.argument.is_some() {
                put_value(argument, journal);
            }
        }
    });
}

/// Appends the entry of windows that were closed.
pub(super) fn put_closed(fingerprint: u64, until_ms: i64, journal: &mut Vec<u8>) {
    put_entry(fingerprint, journal, |journal| {
        journal.push(tag::CLOSED);
        journal.extend_from_slice(&until_ms.to_le_bytes());
    });
}

fn put_entry(fingerprint: u64, journal: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) {
    let start = journal.len();
    journal.extend_from_slice(&[0; 4]);
    journal.extend_from_slice(&fingerprint.to_le_bytes());
    change(journal);
    let length = u32::try_from(journal.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = journal.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

impl RuleSet {
    /// Repeats what a journal says, without producing anything. Entries of rules that are not in this set are left out.
    ///
    /// A set that has restored the last snapshot and replayed the journal since is where the set that wrote them was.
    ///
    /// # Errors
    /// The journal is damaged; what stands before the damage has been repeated.
    pub fn replay(&mut self, journal: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(journal);
        let mut result = Ok(());
        while result.is_ok() && !reader.is_empty() {
            result = self.replay_entry(&mut reader);
        }
        self.update_deadline();
        result
    }

    fn replay_entry(&mut self, reader: &mut Reader<'_>) -> Result<(), StateError> {
        let mut entry = reader.short_part()?;
        let fingerprint = entry.fingerprint()?;
        match self.by_fingerprint.get(&fingerprint).and_then(|index| self.entries.get_mut(*index)) {
            Some(found) => found.replay(&mut entry),
            None => {
                self.state_ignored += 1;
                Ok(())
            }
        }
    }

    /// Appends all state to `out`.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        out.push(SNAPSHOT_VERSION);
        let stateful: Vec<_> =
            self.entries.iter().filter_map(|entry| Some((&entry.rule, entry.windows.as_ref()?))).collect();
        put_count(stateful.len() as u64, out);
        let mut part = Vec::new();
        for (rule, windows) in stateful {
            out.extend_from_slice(&Rule::fingerprint(rule).to_le_bytes());
            part.clear();
            windows.write(&mut part);
            put_bytes(&part, out);
        }
    }

    /// Replaces all state by that of a snapshot. State of rules that are not in this set is left out, and rules that are
    /// not in the snapshot start afresh.
    ///
    /// # Errors
    /// The snapshot is damaged or of another version; the state is as it was.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(snapshot);
        let found = reader.byte()?;
        if found != SNAPSHOT_VERSION {
            return Err(StateError::Version { found });
        }
        let mut restored = Vec::new();
        let mut ignored = 0;
        for _ in 0..reader.count()? {
            let fingerprint = reader.fingerprint()?;
            let mut part = reader.part()?;
            let index = self.by_fingerprint.get(&fingerprint).copied();
            match index.and_then(|index| Some((index, self.entries.get(index)?))) {
                Some((index, entry)) => restored.push((index, entry.read_windows(&mut part)?)),
                None => {
                    ignored += 1;
                    continue;
                }
            }
            part.finish()?;
        }
        reader.finish()?;
        self.state_ignored += ignored;
        self.entries.iter_mut().for_each(super::Entry::reset);
        for (index, windows) in restored {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.windows = Some(windows);
            }
        }
        self.update_deadline();
        Ok(())
    }

    fn update_deadline(&mut self) {
        self.deadline_ms = self.entries.iter().map(super::Entry::deadline_ms).fold(None, earliest);
    }
}
