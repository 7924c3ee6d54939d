//! One rule at work: its condition, its windows, its counters.

use super::{Match, journal, recycle};
use crate::{
    aggregate::Aggregate,
    expr::Env,
    message::Message,
    output::{Counters, Output},
    result::publish,
    rule::{OnError, Rule, WindowPlan},
    state::{Reader, StateError},
    value::{Fault, Value},
    window::{Group, Windows, put_key, read_key},
};

/// A rule and what it remembers.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: Rule,
    pub(super) windows: Option<Windows>,
    pub(super) counters: Counters,
}

/// An event on its way through the rules.
pub(super) struct Event<'e> {
    pub(super) gateway: &'e str,
    pub(super) message: &'e Message<'e>,
    pub(super) slots: &'e [Value<'e>],
    /// Whether the payload could be read.
    pub(super) decoded: bool,
    /// Memory for the arguments of aggregates.
    pub(super) arguments: &'e mut Vec<Value<'static>>,
    /// Memory for the key of a group.
    pub(super) key: &'e mut Vec<u8>,
}

impl Entry {
    pub(super) fn new(rule: Rule) -> Self {
        Self { windows: empty_windows(&rule), rule, counters: Counters::default() }
    }

    /// When the first open window ends.
    pub(super) fn deadline_ms(&self) -> Option<i64> {
        self.windows.as_ref().and_then(Windows::deadline_ms)
    }

    /// Takes an event. `fields` are the slots of the rule's fields.
    pub(super) fn handle(
        &mut self,
        place: Match,
        fields: &[usize],
        event: &mut Event<'_>,
        output: &mut Output,
    ) {
        self.counters.matched += 1;
        let plan = &self.rule.plan;
        let filter = usize::try_from(place.filter).ok().and_then(|filter| plan.filters.get(filter));
        let env = Env {
            gateway: event.gateway,
            message: Some(event.message),
            captures: filter.map_or(&[], |filter| &filter.captures),
            slots: event.slots,
            fields,
            ..Env::default()
        };
        if !event.decoded && !fields.is_empty() {
            env.count_error();
        }
        let mut evicted = None;
        if plan.condition.as_ref().is_none_or(|condition| condition.is_true(&env)) {
            self.counters.passed += 1;
            match (&plan.window, &mut self.windows) {
                (Some(plan), Some(windows)) => {
                    evicted = gather(&self.rule, plan, windows, &env, event, output);
                }
                _ => self.counters.results += publish(&self.rule, place.rule, false, &env, output),
            }
        }
        self.counters.errors += env.errors.get();
        if let Some(group) = evicted {
            self.counters.groups_closed_early += 1;
            self.publish_group(event.gateway, place.rule, &group, output);
        }
    }

    /// Closes the windows that have ended.
    pub(super) fn handle_time(&mut self, gateway: &str, index: u32, now_ms: i64, output: &mut Output) {
        if self.deadline_ms().is_none_or(|deadline_ms| deadline_ms > now_ms) {
            return;
        }
        let Some(windows) = &mut self.windows else { return };
        let until_ms = windows.ended_ms(now_ms);
        journal::put_closed(self.rule.fingerprint(), until_ms, &mut output.journal);
        for group in windows.close(until_ms) {
            self.publish_group(gateway, index, &group, output);
        }
    }

    fn publish_group(&mut self, gateway: &str, index: u32, group: &Group, output: &mut Output) {
        let (Some(plan), Some(windows)) = (&self.rule.plan.window, &self.windows) else { return };
        // The key was written by this program or checked when it was read.
        let groups = read_key(&group.key, plan.keys.len()).unwrap_or_default();
        let finished = group.accumulators.iter().zip(&plan.aggregates);
        let aggregates: Vec<_> =
            finished.map(|(accumulator, aggregate)| accumulator.finish(aggregate.kind)).collect();
        let window = windows.bounds_ms(group);
        let env = Env { gateway, groups: &groups, aggregates: &aggregates, window, ..Env::default() };
        if plan.having.as_ref().is_none_or(|having| having.is_true(&env)) {
            self.counters.results += publish(&self.rule, index, true, &env, output);
        }
        self.counters.errors += env.errors.get();
    }

    /// Repeats a journal entry of this rule.
    pub(super) fn replay(&mut self, entry: &mut Reader<'_>) -> Result<(), StateError> {
        let (Some(plan), Some(windows)) = (&self.rule.plan.window, &mut self.windows) else {
            return Err(entry.damaged());
        };
        match journal::Change::read(entry, plan)? {
            journal::Change::Closed { until_ms } => drop(windows.close(until_ms)),
            journal::Change::Event { time_ms, key, arguments } => {
                let touched = windows.touch(time_ms, key, &plan.aggregates, &arguments);
                self.counters.groups_closed_early += u64::from(touched.evicted.is_some());
            }
        }
        Ok(())
    }

    /// Reads the windows of a snapshot.
    pub(super) fn read_windows(&self, reader: &mut Reader<'_>) -> Result<Windows, StateError> {
        match (&self.rule.plan.window, empty_windows(&self.rule)) {
            (Some(plan), Some(windows)) => windows.read(plan.keys.len(), &plan.aggregates, reader),
            _ => Err(reader.damaged()),
        }
    }

    /// Forgets what the rule remembers.
    pub(super) fn reset(&mut self) {
        self.windows = empty_windows(&self.rule);
    }
}

fn empty_windows(rule: &Rule) -> Option<Windows> {
    rule.plan.window.as_ref().map(|plan| Windows::new(plan.tumbling, rule.groups_max))
}

/// Puts an event into its window and the journal. Gives the group that had to make room.
fn gather(
    rule: &Rule,
    plan: &WindowPlan,
    windows: &mut Windows,
    env: &Env<'_>,
    event: &mut Event<'_>,
    output: &mut Output,
) -> Option<Group> {
    event.key.clear();
    plan.keys.iter().for_each(|key| put_key(&key.eval(env), event.key));
    let mut arguments = recycle(std::mem::take(event.arguments));
    arguments.extend(plan.aggregates.iter().map(|aggregate| argument(aggregate, env)));
    let mut evicted = None;
    if rule.on_error == OnError::Null || env.errors.get() == 0 {
        let time_ms = event.message.received_at_ms;
        journal::put_event(rule.fingerprint(), time_ms, event.key, plan, &arguments, &mut output.journal);
        let touched = windows.touch(time_ms, event.key, &plan.aggregates, &arguments);
        env.errors.set(env.errors.get() + touched.errors);
        evicted = touched.evicted;
    }
    *event.arguments = recycle(arguments);
    evicted
}

/// The value of an aggregate's argument; NULL if it is one that the aggregate cannot use.
fn argument<'v>(aggregate: &'v Aggregate, env: &Env<'v>) -> Value<'v> {
    let Some(argument) = &aggregate.argument else { return Value::Null };
    let value = argument.eval(env);
    if aggregate.kind.check(&value) == Err(Fault::Error) {
        env.count_error();
        return Value::Null;
    }
    value
}
