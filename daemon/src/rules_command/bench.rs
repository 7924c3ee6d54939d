//! Rules on the bench: they get events and time, and what comes of it is told instead of sent.

use tidegate_config::Config;
use tidegate_rules::{Message, Output, Payload, Publish, RuleSet, Topic, Trace};

use super::unknown;
use crate::exit::Fatal;
use crate::labels::Labels;
use crate::tables;

/// Rules that run for nobody.
pub(super) struct Bench {
    rules: RuleSet,
    pub(super) labels: Labels,
    output: Output,
}

/// What came of an event, or of time that went by.
pub(super) struct Outcome<'o> {
    pub(super) labels: &'o Labels,
    /// When, by the gateway's clock.
    pub(super) time_ms: i64,
    topic: &'o str,
    payload: &'o [u8],
    publishes: &'o [Publish],
    /// What each rule did.
    pub(super) steps: &'o [Trace],
}

impl Bench {
    /// All rules, or one.
    pub(super) fn new(mut config: Config, name: Option<&str>) -> Result<Bench, Fatal> {
        if let Some(name) = name {
            if !config.rules.iter().any(|rule| rule.rule.name() == name) {
                return Err(unknown(name, &config.rules));
            }
            config.rules.retain(|rule| rule.rule.name() == name);
        }
        let labels = Labels::new(&config);
        let compiled = config.rules.into_iter().map(|rule| rule.rule).collect();
        let mut rules = RuleSet::new(&config.gateway.id, compiled);
        rules.set_tables(tables::together(&config.tables));
        Ok(Bench { rules, labels, output: Output { trace: Some(Vec::new()), ..Output::new() } })
    }

    /// An event comes in; windows that end before it end first. Says how many rules take it.
    pub(super) fn handle_message(
        &mut self,
        message: &Message<'_>,
        mut tell: impl FnMut(&Outcome<'_>),
    ) -> u32 {
        self.handle_time(message.received_at_ms, &mut tell);
        let matched = self.rules.handle_message(message, &mut self.output);
        self.tell(message.received_at_ms, (message.topic, message.payload), &mut tell);
        matched.rules
    }

    /// Lets time pass as it does in a gateway: from one deadline to the next.
    pub(super) fn handle_time(&mut self, until_ms: i64, tell: &mut impl FnMut(&Outcome<'_>)) {
        while let Some(deadline_ms) = self.rules.poll_deadline_ms().filter(|deadline| *deadline <= until_ms) {
            self.rules.handle_time(deadline_ms, &mut self.output);
            self.tell(deadline_ms, ("", b""), tell);
            if self.rules.poll_deadline_ms() == Some(deadline_ms) {
                break;
            }
        }
    }

    /// Whether windows wait for their end.
    pub(super) fn has_open_windows(&self) -> bool {
        self.rules.poll_deadline_ms().is_some()
    }

    fn tell(&mut self, time_ms: i64, (topic, payload): (&str, &[u8]), tell: &mut impl FnMut(&Outcome<'_>)) {
        let Output { publishes, trace, .. } = &self.output;
        let steps = trace.as_deref().unwrap_or_default();
        if !publishes.is_empty() || !steps.is_empty() {
            tell(&Outcome { labels: &self.labels, time_ms, topic, payload, publishes, steps });
        }
        self.output.clear();
    }
}

impl Outcome<'_> {
    /// Each output: the numbers of its rule and destination, its topic and its payload.
    pub(super) fn outputs(&self) -> impl Iterator<Item = ((u32, u32), &str, &[u8])> {
        self.publishes.iter().map(|publish| {
            let topic = match &publish.topic {
                Topic::Input => self.topic,
                Topic::Owned(topic) => topic,
            };
            let payload = match &publish.payload {
                Payload::Input => self.payload,
                Payload::Owned(payload) => payload,
            };
            ((publish.rule, publish.destination), topic, payload)
        })
    }
}
