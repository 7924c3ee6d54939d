//! All rules together: which of them an event concerns, and what comes of it.

mod entry;
mod extraction;
mod journal;
mod order;
mod recollection;

use std::sync::Arc;

use entry::{Entry, Event, Surroundings};
use extraction::Extractions;
use hashbrown::HashMap;

use crate::{
    field::Format,
    message::Message,
    output::{Counters, Matched, Output},
    rule::Rule,
    table::Tables,
    topic_tree::TopicTree,
    value::Value,
    window::{CLOCK_BACK_MS_MAX, CLOCK_SET_MS},
};

/// A board without a battery starts in 1970. So long is waited for somebody to tell it the time.
const CLOCK_UNSET_MS_MAX: i64 = 3_600_000;

/// A set of rules and their state.
///
/// Everything in it depends on nothing but the calls made: the same messages and times give the same results.
#[derive(Debug)]
pub struct RuleSet {
    gateway: String,
    entries: Vec<Entry>,
    tree: TopicTree<Match>,
    extractions: Extractions,
    by_fingerprint: HashMap<u64, usize, foldhash::fast::RandomState>,
    tables: Arc<Tables>,
    /// The latest time that it was told.
    clock_ms: i64,
    /// Since when the clock has said that it is not set, though it was before.
    unset_since_ms: Option<i64>,
    /// When the first window of any rule ends.
    deadline_ms: Option<i64>,
    state_ignored: u64,
    scratch: Scratch,
}

/// A rule, and which of its filters matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Match {
    rule: u32,
    filter: u32,
}

/// Memory that is used again for each event.
#[derive(Debug, Default)]
struct Scratch {
    matches: Vec<Match>,
    slots: Vec<Value<'static>>,
    arguments: Vec<Value<'static>>,
    key: Vec<u8>,
}

impl RuleSet {
    /// A set of rules without state. `gateway` is what `gateway()` gives.
    pub fn new(gateway: &str, rules: Vec<Rule>) -> Self {
        let mut tree = TopicTree::new();
        for (rule, each) in (0..).zip(&rules) {
            for (filter, plan) in (0..).zip(&each.plan.filters) {
                tree.insert(&plan.filter, Match { rule, filter });
            }
        }
        let by_fingerprint =
            rules.iter().enumerate().map(|(index, rule)| (rule.fingerprint(), index)).collect();
        Self {
            gateway: gateway.to_owned(),
            entries: rules.into_iter().map(Entry::new).collect(),
            tree,
            extractions: Extractions::default(),
            by_fingerprint,
            tables: Arc::default(),
            clock_ms: i64::MIN,
            unset_since_ms: None,
            deadline_ms: None,
            state_ignored: 0,
            scratch: Scratch::default(),
        }
    }

    /// Replaces all lookup tables at once.
    pub fn set_tables(&mut self, tables: Arc<Tables>) {
        self.tables = tables;
    }

    /// Takes over what rules of an earlier set have, if they are the same by [`Rule::fingerprint`]: their windows, their
    /// memory and their counters, and the tables of that set. Other rules begin afresh; gives the names of those of the
    /// earlier set whose state is gone with them.
    pub fn inherit(&mut self, earlier: Self) -> Vec<String> {
        let Self { entries, tables, clock_ms, unset_since_ms, .. } = earlier;
        (self.tables, self.clock_ms, self.unset_since_ms) = (tables, clock_ms, unset_since_ms);
        let mut lost = Vec::new();
        for entry in entries {
            let same = self.by_fingerprint.get(&entry.rule.fingerprint());
            match same.and_then(|index| self.entries.get_mut(*index)) {
                Some(found) => (found.state, found.counters) = (entry.state, entry.counters),
                None if entry.rule.has_state() => lost.push(entry.rule.name().to_owned()),
                None => {}
            }
        }
        self.deadline_ms = self.entries.iter_mut().map(Entry::deadline_ms).fold(None, earliest);
        lost
    }

    /// Takes an event through all rules whose filter matches, in their order. Windows that have ended by the time it
    /// came in are closed first, so that results do not depend on when [`Self::handle_time`] is called.
    pub fn handle_message(&mut self, message: &Message<'_>, output: &mut Output) -> Matched {
        self.handle_time(message.received_at_ms, output);
        let matches = &mut self.scratch.matches;
        matches.clear();
        self.tree.for_each_match(message.topic, |each| matches.push(*each));
        if matches.is_empty() {
            return Matched { rules: 0 };
        }
        // An event goes through a rule once; the first filter says what the captures are.
        matches.sort_unstable();
        matches.dedup_by_key(|each| each.rule);
        let extraction = self.extractions.find(matches, |rule| {
            let entry = self.entries.get(usize::try_from(rule).unwrap_or(usize::MAX));
            entry.map_or(&[], |entry| &entry.rule.plan.fields)
        });
        let mut slots = recycle(std::mem::take(&mut self.scratch.slots));
        let format = Format::guess(message.content_type, message.payload);
        let decoded = extraction.projection.extract(format, message.payload, &mut slots).is_ok();
        let mut event = Event {
            around: Surroundings { gateway: &self.gateway, tables: &self.tables },
            message,
            slots: &slots,
            decoded,
            arguments: &mut self.scratch.arguments,
            key: &mut self.scratch.key,
        };
        for (each, fields) in matches.iter().zip(&extraction.fields) {
            let index = usize::try_from(each.rule).unwrap_or(usize::MAX);
            let Some(entry) = self.entries.get_mut(index) else { continue };
            entry.handle(*each, fields, &mut event, output);
            self.deadline_ms = earliest(self.deadline_ms, entry.deadline_ms());
        }
        self.scratch.slots = recycle(slots);
        Matched { rules: u32::try_from(self.scratch.matches.len()).unwrap_or(u32::MAX) }
    }

    /// Whether a rule, by its number in the set, remembers anything from one event to the next.
    pub fn has_state(&self, rule: u32) -> bool {
        let entry = usize::try_from(rule).ok().and_then(|rule| self.entries.get(rule));
        entry.is_none_or(|entry| entry.rule.has_state())
    }

    /// Whether any rule is about this topic.
    pub fn is_concerned(&self, topic: &str) -> bool {
        self.tree.any(topic, |_| true)
    }

    /// Closes the windows that have ended by `now_ms`, in ms since the Unix epoch.
    ///
    /// A clock that was set back by up to a minute is waited for. If it was set back by more, windows that lie in what is
    /// now the future are closed as they stand, and their rules go on in the new time: a clock that ran ahead by mistake
    /// does not hold them. A clock that says a time before 2024 has not been set, and is waited for up to an hour.
    pub fn handle_time(&mut self, now_ms: i64, output: &mut Output) {
        let set_back = self.is_set_back(now_ms);
        if !set_back && self.deadline_ms.is_none_or(|deadline_ms| deadline_ms > now_ms) {
            return;
        }
        self.deadline_ms = None;
        let around = Surroundings { gateway: &self.gateway, tables: &self.tables };
        for (index, entry) in (0..).zip(&mut self.entries) {
            if set_back {
                entry.handle_clock_set_back(&around, index, now_ms, output);
            }
            entry.handle_time(&around, index, now_ms, output);
            self.deadline_ms = earliest(self.deadline_ms, entry.deadline_ms());
        }
    }

    /// Takes note of the time, and says whether the clock was set back by more than is waited for.
    fn is_set_back(&mut self, now_ms: i64) -> bool {
        if now_ms >= self.clock_ms.saturating_sub(CLOCK_BACK_MS_MAX) {
            self.clock_ms = self.clock_ms.max(now_ms);
            self.unset_since_ms = None;
            return false;
        }
        if now_ms < CLOCK_SET_MS && self.clock_ms >= CLOCK_SET_MS {
            let since_ms = *self.unset_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) < CLOCK_UNSET_MS_MAX {
                return false;
            }
        }
        self.unset_since_ms = None;
        self.clock_ms = now_ms;
        true
    }

    /// Forgets all state and counters, as if it were new.
    pub fn forget(&mut self) {
        for entry in &mut self.entries {
            entry.reset();
            entry.counters = Counters::default();
        }
        (self.clock_ms, self.deadline_ms, self.state_ignored) = (i64::MIN, None, 0);
    }

    /// When [`Self::handle_time`] is next worth calling; `None` while no window is open.
    pub fn poll_deadline_ms(&self) -> Option<i64> {
        self.deadline_ms
    }

    /// The name of each rule and what it has done, in the order of the rules.
    pub fn counters(&self) -> impl Iterator<Item = (&str, &Counters)> {
        self.entries.iter().map(|entry| (entry.rule.name(), &entry.counters))
    }

    /// How many journal entries and snapshots of rules were left out because this set does not have the rule.
    pub fn state_ignored(&self) -> u64 {
        self.state_ignored
    }
}

/// The earlier of two times, if there are any.
fn earliest(left: Option<i64>, right: Option<i64>) -> Option<i64> {
    [left, right].into_iter().flatten().min()
}

/// Forgets values and keeps their memory, for values that live shorter or longer.
fn recycle<'v>(mut values: Vec<Value<'_>>) -> Vec<Value<'v>> {
    values.clear();
    // An empty vector mapped in place: the standard library hands the allocation on.
    values.into_iter().map(|_| Value::Null).collect()
}

#[cfg(test)]
mod tests;
