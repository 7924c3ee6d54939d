//! A rule: its text, and what it is compiled to.

use crate::{
    aggregate::Aggregate, compile, expr::Expr, field::Path, fnv::Fnv, mistake::Mistake, pattern::Capture,
    template::Part, topic::TopicFilter, window::Tumbling,
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
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    name: String,
    fingerprint: u64,
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
        Ok(Self {
            name: source.name.to_owned(),
            fingerprint: fingerprint(source),
            groups_max: source.max_groups,
            on_error: source.on_error,
            plan: compile::compile(source)?,
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

    /// The filters of the events that the rule looks at; captures are `+` or `#` in them.
    pub fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.plan.filters.iter().map(|plan| &plan.filter)
    }

    /// Whether the rule remembers anything from one event to the next.
    pub fn has_state(&self) -> bool {
        self.plan.window.is_some()
    }
}

/// What a rule is compiled to.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) filters: Vec<FilterPlan>,
    /// The payload fields that its expressions look at.
    pub(crate) fields: Vec<Path>,
    pub(crate) condition: Option<Expr>,
    pub(crate) window: Option<WindowPlan>,
    pub(crate) columns: Columns,
    pub(crate) destinations: Vec<Destination>,
}

/// A filter, and what the captures of the rule are in its topics.
#[derive(Debug)]
pub(crate) struct FilterPlan {
    pub(crate) filter: TopicFilter,
    /// One for each capture of the rule; `None` if only other filters have it.
    pub(crate) captures: Vec<Option<Capture>>,
}

/// GROUP BY and HAVING.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(crate) tumbling: Tumbling,
    pub(crate) keys: Vec<Expr>,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) having: Option<Expr>,
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
const STATE_VERSION: u64 = 1;

fn fingerprint(source: &Source<'_>) -> u64 {
    let (kind, query) = match source.query {
        Query::Sql(sql) => (0, sql),
        Query::Route(filter) => (1, filter),
    };
    Fnv::new()
        .number(STATE_VERSION)
        .text(source.name)
        .number(kind)
        .text(query)
        .number(source.max_groups as u64)
        .number(u64::from(source.on_error == OnError::Drop))
        .finish()
}
