//! The rules of a pipeline, and where their outputs go.

use bytes::Bytes;
use tidegate_buffer::{Consumers, NewRecord, Priority, Stamp};
use tidegate_rules::{Rule, RuleSet, TopicTree};

use super::content::Shared;
use crate::labels::Labels;
use crate::meta;
use crate::trace::Traces;

/// Where a rule's output goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    /// Into the spool, for these consumers.
    Spool(Lane),
    /// To the subscribers of this gateway.
    Local { qos: u8, retain: bool },
}

impl Destination {
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Destination::Spool(lane) if lane.priority == Priority::High)
    }
}

/// Which lane a record goes to, and how it is to be published from there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub(crate) consumers: Consumers,
    pub(crate) priority: Priority,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// How long it is worth sending.
    pub(crate) ttl_ms: Option<u64>,
}

impl Lane {
    pub(super) fn record(
        &self,
        seq: u64,
        received: Stamp,
        topic: &str,
        content: &mut Shared<'_>,
    ) -> NewRecord {
        let meta = match content.properties() {
            [] => meta::plain(self.qos, self.retain),
            properties => meta::with_properties(self.qos, self.retain, properties),
        };
        NewRecord {
            seq,
            consumers: self.consumers,
            priority: self.priority,
            received,
            expires_after_ms: self.ttl_ms.into_iter().chain(content.expiry_ms()).min(),
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            meta,
            payload: content.payload(),
        }
    }
}

/// The rules, and where their outputs go.
pub(crate) struct Routing {
    pub(crate) rules: RuleSet,
    pub(super) gateway: String,
    pub(super) labels: Labels,
    pub(super) traces: Traces,
    pub(super) destinations: Vec<Vec<Destination>>,
    /// The filters of rules with a destination of high priority.
    pub(super) urgent: TopicTree<()>,
}

impl Routing {
    /// `destinations` are per rule.
    pub(crate) fn new(gateway: &str, rules: Vec<Rule>, destinations: Vec<Vec<Destination>>) -> Self {
        let mut urgent = TopicTree::new();
        for (rule, destinations) in rules.iter().zip(&destinations) {
            if destinations.iter().any(Destination::is_urgent) {
                rule.filters().for_each(|filter| urgent.insert(filter, ()));
            }
        }
        Routing {
            rules: RuleSet::new(gateway, rules),
            gateway: gateway.to_owned(),
            labels: Labels::default(),
            traces: Traces::default(),
            destinations,
            urgent,
        }
    }

    /// With what taps and traces need to know.
    pub(crate) fn shown(self, labels: Labels, traces: Traces) -> Self {
        Routing { labels, traces, ..self }
    }
}
