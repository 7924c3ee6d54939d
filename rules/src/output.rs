//! What rules produce.

/// Where rules put what they produce. One value is reused for all events: [`Output::clear`] keeps the memory.
#[derive(Debug, Default)]
pub struct Output {
    /// What is to be published, in the order of the rules and their destinations.
    pub publishes: Vec<Publish>,
    /// The changes of state that came with it. They have to become durable together with the publishes; see
    /// [`crate::RuleSet::replay`].
    pub journal: Vec<u8>,
    /// What each rule did with the event, if somebody wants to know; `None` costs nothing. [`Output::clear`] empties it.
    pub trace: Option<Vec<Trace>>,
}

/// What a rule did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The index of the rule in its set.
    pub rule: u32,
    /// What it did.
    pub step: Step,
}

/// One thing that a rule did with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The payload could not be read, and the rule looks at it.
    Undecodable,
    /// So many evaluations failed.
    Errors(u64),
    /// This part of WHERE is not TRUE for it.
    Rejected(String),
    /// `throttle` or `dedup` let it not pass.
    HeldBack,
    /// It came too late for its windows, or has no usable time.
    Late,
    /// It was put into the windows of a group.
    Gathered,
    /// So many windows ended.
    Closed(u64),
    /// So many publishes came of it.
    Published(u64),
    /// Its result was dropped because an evaluation failed.
    Dropped,
}

impl Output {
    /// An output with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.publishes.clear();
        self.journal.clear();
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
    }

    /// Takes note of what a rule did; `step` is asked only if somebody wants to know.
    pub(crate) fn trace(&mut self, rule: u32, step: impl FnOnce() -> Step) {
        if let Some(trace) = &mut self.trace {
            trace.push(Trace { rule, step: step() });
        }
    }
}

/// One message that a rule produced for one of its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The index of the rule in its set.
    pub rule: u32,
    /// The index of the destination in the rule.
    pub destination: u32,
    /// The topic to publish to, a legal topic name.
    pub topic: Topic,
    /// The payload.
    pub payload: Payload,
    /// Whether this is the result of a window; else it stems from the one event at hand.
    pub from_window: bool,
}

/// The topic of a [`Publish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// That of the event.
    Input,
    /// This one.
    Owned(String),
}

/// The payload of a [`Publish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// That of the event, untouched.
    Input,
    /// These bytes.
    Owned(Vec<u8>),
}

/// Where an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// How many rules have a filter that matches its topic; with none, the event is unrouted.
    pub rules: u32,
}

/// What a rule has done since its set was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events whose topic matched.
    pub matched: u64,
    /// Events that passed WHERE.
    pub passed: u64,
    /// Evaluation errors.
    pub errors: u64,
    /// Groups that were closed, or forgotten, before their time, because there were too many.
    pub groups_closed_early: u64,
    /// Events that came after their windows were closed, or have no usable time.
    pub late: u64,
    /// Events that left a sliding window before their time, because there were too many in it.
    pub left_out: u64,
    /// Publishes produced.
    pub results: u64,
}
