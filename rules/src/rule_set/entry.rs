//! One rule at work: its condition, its windows, its memory, its counters.

use super::{Match, journal, order, recollection, recycle};
use crate::{
    aggregate::Aggregate,
    expr::Env,
    memory::Memory,
    message::Message,
    output::{Counters, Output, Step},
    result::{publish, publish_event},
    rule::{OnError, Rule, TimePlan, TimeUnit, WindowPlan},
    state::{Reader, StateError},
    table::Tables,
    value::{Fault, Value},
    window::{Closed, Input, Touched, Windows, put_key},
};

/// A rule and what it remembers.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: Rule,
    pub(super) state: State,
    pub(super) counters: Counters,
}

/// What a rule remembers.
#[derive(Debug)]
pub(super) struct State {
    pub(super) windows: Option<Windows>,
    pub(super) memory: Memory,
}

impl State {
    fn new(rule: &Rule) -> Self {
        let windows = rule.plan.window.as_ref();
        Self {
            windows: windows.map(|plan| Windows::new(plan.shape, plan.event_clock, rule.groups_max)),
            memory: Memory::new(&rule.plan.memory, rule.groups_max),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(windows) = &self.windows {
            windows.write(out);
        }
        self.memory.write(out);
    }

    /// Reads what [`Self::write`] wrote, for the same rule.
    pub(super) fn read(rule: &Rule, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let fresh = Self::new(rule);
        let windows = match (&rule.plan.window, fresh.windows) {
            (Some(plan), Some(windows)) => Some(windows.read(plan.keys.len(), &plan.aggregates, reader)?),
            _ => None,
        };
        Ok(Self { windows, memory: Memory::read(&rule.plan.memory, rule.groups_max, reader)? })
    }
}

/// What all rules have around them.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'e> {
    pub(super) gateway: &'e str,
    pub(super) tables: &'e Tables,
}

/// An event on its way through the rules.
pub(super) struct Event<'e> {
    pub(super) around: Surroundings<'e>,
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
        Self { state: State::new(&rule), rule, counters: Counters::default() }
    }

    /// When there is next something to do.
    pub(super) fn deadline_ms(&mut self) -> Option<i64> {
        self.state.windows.as_mut().and_then(Windows::deadline_ms)
    }

    /// The latest time by the gateway's clock that its windows have heard of.
    pub(super) fn heard_ms(&self) -> i64 {
        self.state.windows.as_ref().map_or(i64::MIN, Windows::heard_ms)
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
        let results = recollection::places(&plan.memory);
        let env = Env {
            gateway: event.around.gateway,
            tables: Some(event.around.tables),
            message: Some(event.message),
            captures: filter.map_or(&[], |filter| &filter.captures),
            slots: event.slots,
            fields,
            memory: &results,
            ..Env::default()
        };
        if !event.decoded && !fields.is_empty() {
            env.count_error();
            output.trace(place.rule, || Step::Undecodable);
        }
        let arrived_ms = event.message.received_at_ms;
        let stamp_ms = match &plan.time {
            Some(time) => stamp_of(time, &env),
            None => Some(arrived_ms),
        };
        let memory_ms = stamp_ms.unwrap_or(arrived_ms);
        let (rule, memory) = (&self.rule, &mut self.state.memory);
        self.counters.groups_closed_early += recollection::remember(rule, memory, memory_ms, &env, output);
        let mut touched = Touched::default();
        if is_wanted(rule, place.rule, &env, output)
            && recollection::passes(rule, memory, memory_ms, place.rule, &env, output)
        {
            self.counters.passed += 1;
            match (&plan.window, &mut self.state.windows) {
                (Some(plan), Some(windows)) => {
                    let gathering = Gathering { rule, index: place.rule, plan, windows };
                    match gathering.gather(stamp_ms, arrived_ms, &env, event, output) {
                        Some(found) => touched = found,
                        None => self.counters.late += 1,
                    }
                }
                _ => self.counters.results += publish(rule, place.rule, false, &env, output),
            }
        }
        let errors = env.errors.get();
        self.counters.errors += errors + touched.errors;
        if errors > 0 {
            output.trace(place.rule, || Step::Errors(errors));
            if rule.on_error == OnError::DeadLetter {
                publish_event(rule, place.rule, rule.plan.dead_letters(), &env, output);
            }
        }
        self.counters.groups_closed_early += touched.evicted;
        self.counters.left_out += touched.left_out;
        let around = event.around;
        self.publish_closed(&around, place.rule, touched.closed, output);
        if plan_has_stamps(&self.rule) {
            self.handle_time(&around, place.rule, arrived_ms, output);
        }
    }

    /// Closes the windows that have ended.
    pub(super) fn handle_time(
        &mut self,
        around: &Surroundings<'_>,
        index: u32,
        now_ms: i64,
        output: &mut Output,
    ) {
        let (Some(plan), Some(windows)) = (&self.rule.plan.window, &mut self.state.windows) else { return };
        let Some(until_ms) = windows.ended_ms(now_ms) else { return };
        journal::put_closed(&self.rule, until_ms, &mut output.journal);
        let closed = windows.close(until_ms, &plan.aggregates);
        self.publish_closed(around, index, closed, output);
    }

    /// The gateway's clock was set back.
    pub(super) fn handle_clock_set_back(
        &mut self,
        around: &Surroundings<'_>,
        index: u32,
        now_ms: i64,
        output: &mut Output,
    ) {
        let (Some(plan), Some(windows)) = (&self.rule.plan.window, &mut self.state.windows) else { return };
        if windows.is_ahead(now_ms) {
            journal::put_rewound(&self.rule, now_ms, &mut output.journal);
            let closed = windows.rewind(now_ms, &plan.aggregates);
            self.publish_closed(around, index, closed, output);
        }
    }

    fn publish_closed(
        &mut self,
        around: &Surroundings<'_>,
        index: u32,
        closed: Vec<Closed>,
        output: &mut Output,
    ) {
        let Some(plan) = &self.rule.plan.window else { return };
        if closed.is_empty() {
            return;
        }
        output.trace(index, || Step::Closed(closed.len() as u64));
        let (published, errors) = order::publish(&self.rule, plan, around, index, &closed, output);
        self.counters.results += published;
        self.counters.errors += errors;
    }

    /// Repeats a journal entry of this rule.
    pub(super) fn replay(&mut self, entry: &mut Reader<'_>) -> Result<(), StateError> {
        let plan = &self.rule.plan;
        let change = journal::Change::read(entry, plan)?;
        let memory = &mut self.state.memory;
        let mut show = |number: usize, time_ms: i64, key: &[u8], arguments: &[Value<'_>]| {
            if let Some(site) = plan.memory.sites.get(number) {
                let (_, forgot) = memory.update(&plan.memory, site, time_ms, key, arguments);
                self.counters.groups_closed_early += u64::from(forgot);
            }
        };
        match change {
            journal::Change::Memory { time_ms, shown } => {
                shown.iter().for_each(|(number, key, arguments)| show(*number, time_ms, key, arguments));
                return Ok(());
            }
            journal::Change::Gate { time_ms, site, key, arguments } => {
                show(site, time_ms, key, &arguments);
                return Ok(());
            }
            _ => {}
        }
        let (Some(plan), Some(windows)) = (&plan.window, &mut self.state.windows) else {
            return Err(entry.damaged());
        };
        match change {
            journal::Change::Closed { until_ms } => drop(windows.close(until_ms, &plan.aggregates)),
            journal::Change::Rewound { now_ms } => drop(windows.rewind(now_ms, &plan.aggregates)),
            journal::Change::Event { time_ms, arrived_ms, key, arguments } => {
                let input = Input { time_ms, arrived_ms, key, arguments: &arguments };
                let touched = windows.touch(&input, &plan.aggregates);
                self.counters.groups_closed_early += touched.evicted;
            }
            journal::Change::Memory { .. } | journal::Change::Gate { .. } => {}
        }
        Ok(())
    }

    /// Forgets what the rule remembers.
    pub(super) fn reset(&mut self) {
        self.state = State::new(&self.rule);
    }
}

fn plan_has_stamps(rule: &Rule) -> bool {
    rule.plan.window.as_ref().is_some_and(|window| window.event_clock.is_some())
}

/// Whether all parts of WHERE are TRUE.
fn is_wanted(rule: &Rule, index: u32, env: &Env<'_>, output: &mut Output) -> bool {
    match rule.plan.conditions.iter().find(|condition| !condition.expr.is_true(env)) {
        None => true,
        Some(condition) => {
            output.trace(index, || Step::Rejected(condition.text.clone().into_string()));
            false
        }
    }
}

/// The time that an event says, in ms. One that says none, or no usable one, is an evaluation error.
fn stamp_of(time: &TimePlan, env: &Env<'_>) -> Option<i64> {
    let value = time.expr.eval(env);
    let stamp_ms = match (time.unit, &value) {
        (TimeUnit::Text, Value::Text(text)) => crate::function::parse_rfc_3339(text),
        (TimeUnit::Text, _) => None,
        (unit, value) => value.as_number().and_then(|number| scaled(number, unit)),
    };
    if stamp_ms.is_none() {
        env.count_error();
    }
    stamp_ms
}

fn scaled(number: crate::number::Number, unit: TimeUnit) -> Option<i64> {
    use crate::number::{Number, truncate};
    let per_ms = match unit {
        TimeUnit::Seconds => return truncate((number.to_float() * 1000.0).round()),
        TimeUnit::Microseconds => 1_000,
        TimeUnit::Nanoseconds => 1_000_000,
        TimeUnit::Milliseconds | TimeUnit::Text => 1,
    };
    match number {
        Number::Int(int) => Some(int.div_euclid(per_ms)),
        Number::Float(float) => truncate((float / per_ms as f64).floor()),
    }
}

/// A rule with windows, about to take an event.
struct Gathering<'g> {
    rule: &'g Rule,
    index: u32,
    plan: &'g WindowPlan,
    windows: &'g mut Windows,
}

impl Gathering<'_> {
    /// Puts an event into its windows and the journal. `None` if it came too late for that.
    fn gather(
        self,
        stamp_ms: Option<i64>,
        arrived_ms: i64,
        env: &Env<'_>,
        event: &mut Event<'_>,
        output: &mut Output,
    ) -> Option<Touched> {
        event.key.clear();
        self.plan.keys.iter().for_each(|key| put_key(&key.eval(env), event.key));
        let Some(time_ms) = stamp_ms.and_then(|stamp_ms| self.windows.admit(stamp_ms, arrived_ms, event.key))
        else {
            output.trace(self.index, || Step::Late);
            publish_event(self.rule, self.index, self.rule.plan.late(), env, output);
            return None;
        };
        let mut arguments = recycle(std::mem::take(event.arguments));
        for aggregate in &self.plan.aggregates {
            put_arguments(aggregate, env, &mut arguments);
        }
        let mut touched = Touched::default();
        if self.rule.on_error == OnError::Null || env.errors.get() == 0 {
            let times = (time_ms, arrived_ms);
            journal::put_event(self.rule, times, event.key, &arguments, &mut output.journal);
            let input = Input { time_ms, arrived_ms, key: event.key, arguments: &arguments };
            touched = self.windows.touch(&input, &self.plan.aggregates);
            output.trace(self.index, || Step::Gathered);
        } else {
            output.trace(self.index, || Step::Dropped);
        }
        *event.arguments = recycle(arguments);
        Some(touched)
    }
}

/// The values of an aggregate's arguments; NULL for one that the aggregate cannot use.
fn put_arguments<'v>(aggregate: &'v Aggregate, env: &Env<'v>, arguments: &mut Vec<Value<'v>>) {
    for argument in &aggregate.arguments {
        let value = argument.eval(env);
        if aggregate.kind.check(&value) == Err(Fault::Error) {
            env.count_error();
            arguments.push(Value::Null);
        } else {
            arguments.push(value);
        }
    }
}
