//! State that survives: the journal of its changes, and snapshots of all of it.
//!
//! A journal is a row of entries: the length of what follows (32 bits), the fingerprint of the rule (64 bits), and the
//! change. All numbers are little-endian. What a change brings about follows from it and from the changes before, so that
//! it holds no results. A snapshot is a version and, for each rule, its fingerprint, its windows and its memory.

use super::{RuleSet, earliest, entry::State};
use crate::{
    expr::Expr,
    memory::{MemoryPlan, Site},
    rule::{Plan, Rule},
    state::{Reader, StateError, put_bytes, put_count, put_value},
    value::Value,
    window::read_key,
};

const SNAPSHOT_VERSION: u8 = 2;

mod tag {
    pub(super) const EVENT: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
    pub(super) const MEMORY: u8 = 3;
    pub(super) const GATE: u8 = 4;
    pub(super) const REWOUND: u8 = 5;
}

/// A change of a rule's state.
#[derive(Debug, PartialEq)]
pub(super) enum Change<'a> {
    /// An event was put into its windows. Which they are follows from its time and from the changes before.
    Event { time_ms: i64, arrived_ms: i64, key: &'a [u8], arguments: Vec<Value<'a>> },
    /// Windows that ended by this time were closed.
    Closed { until_ms: i64 },
    /// The memory functions were shown an event: for each site but gates, the key and the arguments.
    Memory { time_ms: i64, shown: Vec<(usize, &'a [u8], Vec<Value<'a>>)> },
    /// A gate let an event pass.
    Gate { time_ms: i64, site: usize, key: &'a [u8], arguments: Vec<Value<'a>> },
    /// The clock was set back to this time.
    Rewound { now_ms: i64 },
}

impl<'a> Change<'a> {
    pub(super) fn read<'r: 'a>(reader: &mut Reader<'r>, plan: &'a Plan) -> Result<Self, StateError> {
        let tag = reader.byte()?;
        let time_ms = reader.time_ms()?;
        let change = match tag {
            tag::CLOSED => Self::Closed { until_ms: time_ms },
            tag::REWOUND => Self::Rewound { now_ms: time_ms },
            tag::EVENT => {
                let Some(window) = &plan.window else { return Err(reader.damaged()) };
                let arrived_ms = match window.event_clock {
                    Some(_) => reader.time_ms()?,
                    None => time_ms,
                };
                let key = read_part_key(reader, window.keys.len())?;
                let count = window.aggregates.iter().map(|aggregate| aggregate.arguments.len()).sum();
                let arguments = (0..count).map(|_: usize| reader.value()).collect::<Result<_, _>>()?;
                Self::Event { time_ms, arrived_ms, key, arguments }
            }
            tag::MEMORY => {
                let mut shown = Vec::new();
                for (number, site) in plan.memory.sites.iter().enumerate() {
                    if !site.kind.is_gate() {
                        shown.push((
                            number,
                            site_key(reader, &plan.memory, site)?,
                            site_arguments(reader, site)?,
                        ));
                    }
                }
                Self::Memory { time_ms, shown }
            }
            tag::GATE => {
                let number = usize::try_from(reader.count()?).map_err(|_| reader.damaged())?;
                let site = plan.memory.sites.get(number).filter(|site| site.kind.is_gate());
                let Some(site) = site else { return Err(reader.damaged()) };
                let key = site_key(reader, &plan.memory, site)?;
                Self::Gate { time_ms, site: number, key, arguments: site_arguments(reader, site)? }
            }
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(change)
    }
}

fn read_part_key<'a>(reader: &mut Reader<'a>, keys: usize) -> Result<&'a [u8], StateError> {
    let key = reader.bytes()?;
    read_key(key, keys).map_err(|_| reader.damaged())?;
    Ok(key)
}

fn site_key<'a>(reader: &mut Reader<'a>, plan: &MemoryPlan, site: &Site) -> Result<&'a [u8], StateError> {
    let keys = plan.partitions.get(site.partition).map_or(0, |partition| partition.key.len());
    read_part_key(reader, keys)
}

/// The arguments of a site; constants are in the rule and not in the journal.
fn site_arguments<'a, 'r: 'a>(reader: &mut Reader<'r>, site: &'a Site) -> Result<Vec<Value<'a>>, StateError> {
    let argument = |expr: &'a Expr| -> Result<Value<'a>, StateError> {
        match expr {
            Expr::Constant(value) => Ok(value.reborrow()),
            _ => reader.value(),
        }
    };
    site.arguments.iter().map(argument).collect()
}

/// Appends the entry of an event that goes into windows.
pub(super) fn put_event(
    rule: &Rule,
    (time_ms, arrived_ms): (i64, i64),
    key: &[u8],
    arguments: &[Value<'_>],
    journal: &mut Vec<u8>,
) {
    let stamped = rule.plan.window.as_ref().is_some_and(|window| window.event_clock.is_some());
    put_entry(rule, tag::EVENT, time_ms, journal, |journal| {
        if stamped {
            journal.extend_from_slice(&arrived_ms.to_le_bytes());
        }
        put_bytes(key, journal);
        arguments.iter().for_each(|argument| put_value(argument, journal));
    });
}

/// Appends the entry of windows that were closed.
pub(super) fn put_closed(rule: &Rule, until_ms: i64, journal: &mut Vec<u8>) {
    put_entry(rule, tag::CLOSED, until_ms, journal, |_| {});
}

/// Appends the entry of a clock that was set back.
pub(super) fn put_rewound(rule: &Rule, now_ms: i64, journal: &mut Vec<u8>) {
    put_entry(rule, tag::REWOUND, now_ms, journal, |_| {});
}

/// Appends the entry of memory functions that are shown an event; `sites` appends what each of them is shown.
pub(super) fn put_memory(rule: &Rule, time_ms: i64, journal: &mut Vec<u8>, sites: impl FnOnce(&mut Vec<u8>)) {
    put_entry(rule, tag::MEMORY, time_ms, journal, sites);
}

/// Appends what a site is shown.
pub(super) fn put_site(site: &Site, key: &[u8], arguments: &[Value<'_>], journal: &mut Vec<u8>) {
    put_bytes(key, journal);
    for (argument, expr) in arguments.iter().zip(&site.arguments) {
        if !matches!(expr, Expr::Constant(_)) {
            put_value(argument, journal);
        }
    }
}

/// Appends the entry of a gate that let an event pass.
pub(super) fn put_gate(
    rule: &Rule,
    time_ms: i64,
    (number, site): (usize, &Site),
    key: &[u8],
    arguments: &[Value<'_>],
    journal: &mut Vec<u8>,
) {
    put_entry(rule, tag::GATE, time_ms, journal, |journal| {
        put_count(number as u64, journal);
        put_site(site, key, arguments, journal);
    });
}

fn put_entry(rule: &Rule, tag: u8, time_ms: i64, journal: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
    let start = journal.len();
    journal.extend_from_slice(&[0; 4]);
    journal.extend_from_slice(&rule.fingerprint().to_le_bytes());
    journal.push(tag);
    journal.extend_from_slice(&time_ms.to_le_bytes());
    rest(journal);
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
        self.update_times();
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
        let stateful: Vec<_> = self.entries.iter().filter(|entry| entry.rule.has_state()).collect();
        put_count(stateful.len() as u64, out);
        let mut part = Vec::new();
        for entry in stateful {
            out.extend_from_slice(&entry.rule.fingerprint().to_le_bytes());
            part.clear();
            entry.state.write(&mut part);
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
                Some((index, entry)) => restored.push((index, State::read(&entry.rule, &mut part)?)),
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
        for (index, state) in restored {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.state = state;
            }
        }
        self.update_times();
        Ok(())
    }

    /// What follows from the state.
    fn update_times(&mut self) {
        self.deadline_ms = self.entries.iter_mut().map(super::Entry::deadline_ms).fold(None, earliest);
        self.clock_ms = self.entries.iter().map(super::Entry::heard_ms).max().unwrap_or(i64::MIN);
    }
}
