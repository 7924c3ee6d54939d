//! A rule: its text, and what it is compiled to.

use crate::{
    aggregate::Aggregate,
    compile,
    expr::Expr,
    field::Path,
    fnv::Fnv,
    memory::MemoryPlan,
    mistake::Mistake,
    pattern::Capture,
    table::Tables,
    template::Part,
    topic::TopicFilter,
    window::GROUPS_MAX,
    window::{EventClock, Shape},
};

/// The text of a rule, as somebody wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name, unique in its set.
    pub name: &'a str,
    /// What it looks at.
    pub query: Query<'a>,
    /// How many groups its windows may have at a time; past it the least recently touched closes early.
    pub max_groups: usize,
    /// What an evaluation error does to the result it happens in.
    pub on_error: OnError,
    /// Where its results go.
    pub destinations: &'a [DestinationSource<'a>],
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// `SELECT … FROM …`
    Sql(&'a str),
    /// A topic filter, with captures if wanted, whose events pass through untouched.
    Route(&'a str),
}

/// Where results of a rule go.
#[derive(Debug, Clone, Copy)]
pub struct DestinationSource<'a> {
    /// The topic, with placeholders such as `{device}`. `None` is the topic of the event.
    pub topic: Option<&'a str>,
    /// The payload, with placeholders such as `${device}`. `None` is the selected row.
    pub payload: Option<&'a str>,
    /// How the payload is written.
    pub encoding: Encoding,
}

/// How a payload is written. `SELECT *` alone passes the payload through as it is, whatever the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON (RFC 8259); bytes are written as base64 text.
    #[default]
    Json,
    /// CBOR (RFC 8949).
    Cbor,
    /// The one selected column, text or bytes as they are.
    Raw,
}

/// What an evaluation error does; it is counted in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The value becomes NULL.
    #[default]
    Null,
    /// The result is not produced.
    Drop,
    /// The result is not produced, and the event goes to [`Options::dead_letter`].
    DeadLetter,
}

/// What a rule may have beyond its [`Source`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// How events say when they were; without it, windows go by when they came in.
    pub time: Option<EventTime<'a>>,
    /// Where events go whose windows are closed already. Their numbers follow those of the rule's destinations.
    pub late: &'a [DestinationSource<'a>],
    /// Where events go whose evaluation failed, with [`OnError::DeadLetter`]. Their numbers follow those of `late`.
    pub dead_letter: &'a [DestinationSource<'a>],
    /// The tables there are, to check `lookup` against. Without them it is not checked.
    pub tables: Option<&'a Tables>,
}

/// How events say when they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime<'a> {
    /// The field that says it, such as `ts` or `meta.ts`.
    pub field: &'a str,
    /// What that field counts.
    pub unit: TimeUnit,
    /// How much later than others an event may come, in ms.
    pub lateness_ms: u64,
    /// After so many ms without events, time goes on with the gateway's clock.
    pub idle_ms: u64,
    /// An event stamped more than so many ms ahead of the gateway's clock is taken for late: nobody knows when its window
    /// would end. A clock that says a time before 2024 has not been set, and is not believed in this.
    pub ahead_ms: u64,
}

impl<'a> EventTime<'a> {
    /// Milliseconds in a field, no lateness, idle after a minute, a day ahead at most.
    pub fn new(field: &'a str) -> Self {
        Self { field, unit: TimeUnit::Milliseconds, lateness_ms: 0, idle_ms: 60_000, ahead_ms: 86_400_000 }
    }

    pub(crate) fn clock(&self) -> EventClock {
        let int = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        EventClock {
            lateness_ms: int(self.lateness_ms),
            idle_ms: int(self.idle_ms),
            ahead_ms: int(self.ahead_ms),
        }
    }
}

/// What a field of event time counts, from 1970-01-01 00:00 UTC on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// Seconds, fractions allowed.
    Seconds,
    /// Milliseconds.
    #[default]
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// It is text as in `2024-02-29T12:00:00Z` (RFC 3339).
    Text,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    name: String,
    fingerprint: u64,
    digest: u64,
    pub(crate) groups_max: usize,
    pub(crate) on_error: OnError,
    pub(crate) plan: Plan,
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// Everything that is wrong with it; never empty. A text that cannot be read at all has one mistake.
    pub fn compile(source: &Source<'_>) -> Result<Self, Vec<Mistake>> {
        Self::compile_with(source, &Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// Everything that is wrong with it; never empty.
    pub fn compile_with(source: &Source<'_>, options: &Options<'_>) -> Result<Self, Vec<Mistake>> {
        Ok(Self {
            name: source.name.to_owned(),
            fingerprint: fingerprint(source, options),
            digest: digest(source, options),
            groups_max: source.max_groups.min(GROUPS_MAX),
            on_error: source.on_error,
            plan: compile::compile(source, options)?,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells apart rules whose state means different things; the same in every run for the same rule.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Tells apart rules that are not written the same, where results go included.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The filters of the events that the rule looks at; captures are `+` or `#` in them.
    pub fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.plan.filters.iter().map(|plan| &plan.filter)
    }

    /// The tables, and their columns, that it looks up by name.
    pub fn lookups(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plan.lookups.iter().map(|(table, column)| (table.as_str(), column.as_str()))
    }

    /// Whether the rule remembers anything from one event to the next.
    pub fn has_state(&self) -> bool {
        self.plan.window.is_some() || !self.plan.memory.sites.is_empty()
    }
}

/// What a rule is compiled to.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) filters: Vec<FilterPlan>,
    /// The payload fields that its expressions look at.
    pub(crate) fields: Vec<Path>,
    /// The tables and columns that it names.
    pub(crate) lookups: Vec<(String, String)>,
    /// All have to be TRUE; cheap ones first.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) memory: MemoryPlan,
    pub(crate) time: Option<TimePlan>,
    pub(crate) window: Option<WindowPlan>,
    pub(crate) columns: Columns,
    /// Of results, then of late events, then of events that failed.
    pub(crate) destinations: Vec<Destination>,
    /// How many destinations are for results.
    pub(crate) results: usize,
    /// Where the destinations for late events end.
    pub(crate) late_end: usize,
}

impl Plan {
    pub(crate) fn late(&self) -> std::ops::Range<usize> {
        self.results..self.late_end
    }

    pub(crate) fn dead_letters(&self) -> std::ops::Range<usize> {
        self.late_end..self.destinations.len()
    }
}

/// A part of WHERE.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) expr: Expr,
    /// As it is written.
    pub(crate) text: Box<str>,
}

/// Where an event says when it was.
#[derive(Debug)]
pub(crate) struct TimePlan {
    pub(crate) expr: Expr,
    pub(crate) unit: TimeUnit,
}

/// A filter, and what the captures of the rule are in its topics.
#[derive(Debug)]
pub(crate) struct FilterPlan {
    pub(crate) filter: TopicFilter,
    /// One for each capture of the rule; `None` if only other filters have it.
    pub(crate) captures: Vec<Option<Capture>>,
}

/// GROUP BY, HAVING, ORDER BY and LIMIT.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(crate) shape: Shape,
    pub(crate) event_clock: Option<EventClock>,
    pub(crate) keys: Vec<Expr>,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) having: Option<Expr>,
    pub(crate) order_by: Vec<Order>,
    pub(crate) limit: Option<usize>,
}

/// A key of ORDER BY.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
}

/// The SELECT list.
#[derive(Debug)]
pub(crate) enum Columns {
    /// `SELECT *` and nothing else: the payload itself.
    Passthrough,
    Row(Vec<Column>),
}

/// An item of the SELECT list.
#[derive(Debug)]
pub(crate) struct Column {
    /// `None` for `*`: all members of the value, except those of other columns and these.
    pub(crate) name: Option<String>,
    pub(crate) except: Vec<String>,
    pub(crate) expr: Expr,
}

/// Where results go, compiled.
#[derive(Debug)]
pub(crate) struct Destination {
    /// `None` is the topic of the event.
    pub(crate) topic: Option<Vec<Part>>,
    /// `None` is the row.
    pub(crate) payload: Option<Vec<Part>>,
    pub(crate) encoding: Encoding,
}

/// Changed whenever the meaning or the form of stored state changes, so that old state is not taken for new.
const STATE_VERSION: u64 = 2;

fn fingerprint(source: &Source<'_>, options: &Options<'_>) -> u64 {
    let (kind, query) = match source.query {
        Query::Sql(sql) => (0, sql),
        Query::Route(filter) => (1, filter),
    };
    let hash = Fnv::new()
        .number(STATE_VERSION)
        .text(source.name)
        .number(kind)
        .text(query)
        .number(source.max_groups as u64)
        .number(source.on_error as u64);
    match &options.time {
        None => hash.finish(),
        Some(time) => hash
            .text(time.field)
            .number(time.unit as u64)
            .number(time.lateness_ms)
            .number(time.idle_ms)
            .number(time.ahead_ms)
            .finish(),
    }
}

fn digest(source: &Source<'_>, options: &Options<'_>) -> u64 {
    let optional = |hash: Fnv, text: Option<&str>| match text {
        None => hash.number(0),
        Some(text) => hash.number(1).text(text),
    };
    let mut hash = Fnv::new().number(fingerprint(source, options));
    for destinations in [source.destinations, options.late, options.dead_letter] {
        hash = hash.number(destinations.len() as u64);
        for destination in destinations {
            hash = optional(optional(hash, destination.topic), destination.payload);
            hash = hash.number(destination.encoding as u64);
        }
    }
    hash.finish()
}
