//! `[[source]]`, and `subscribe` of an uplink: what is taken from brokers.

use std::time::Duration;

use super::broker::broker;
use super::limits::PACKET_BYTES;
use super::name::{check_name, twice};
use super::uplink::Context;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::subscription::SubscriptionError;
use crate::tree::{Node, Value};
use crate::{Broker, Source, Subscription, Url};

const SOURCES_MAX: usize = 64;

/// The most subscriptions of a source.
const SUBSCRIPTIONS_MAX: usize = 100;

/// MQTT counts it in seconds, with 32 bits of which the highest value is for ever (MQTT 5.0, 3.1.2.11.2).
const SESSION_EXPIRY_MAX: Duration = Duration::from_secs(u32::MAX as u64 - 1);

const HELP: &str =
    "write `subscribe = [\"sensors/#\"]`, or `subscribe = [{ from = \"cmd/{gateway}/#\", to = \"cmd/#\" }]`";

/// Takes `[[source]]`; `None` if something is wrong with one of them. `uplinks` are the names that are taken.
pub(super) fn sources(
    root: &mut Section<'_, '_>,
    context: &Context<'_>,
    uplinks: &[Text<'_>],
) -> Option<Vec<Source>> {
    let nodes = root.tables("source");
    if let Some(node) = nodes.get(SOURCES_MAX) {
        root.mistakes
            .push(Mistake::error(&node.place, format!("there can be at most {SOURCES_MAX} sources")));
    }
    let mut names: Vec<Text<'_>> = Vec::new();
    let mut sources = Vec::new();
    for node in nodes.iter().take(SOURCES_MAX) {
        let Some(mut section) = Section::open(node, "source", root.mistakes) else {
            sources.push(None);
            continue;
        };
        let name = section.require("name", "metrics and logs call a source by its name: `name = \"plant\"`");
        let name = name.and_then(|node| section.as_text(node, "name"));
        if let Some(name) = name {
            let is_same = |other: &&Text<'_>| other.value == name.value;
            if let Some(first) = names.iter().find(is_same) {
                section.mistakes.push(twice("the source", name, *first));
            } else if let Some(first) = uplinks.iter().find(is_same) {
                let mistake = Mistake::error(name.place, format!("there is an uplink `{}` too", name.value));
                section
                    .mistakes
                    .push(mistake.also(first.place, "the uplink").help("give one of them another name"));
            }
            names.push(name);
        }
        let checked = name.and_then(|name| check_name(name, section.mistakes)).unwrap_or_default();
        sources.push(source(&mut section, context, &checked));
        section.finish();
    }
    sources.into_iter().collect()
}

fn source(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> Option<Source> {
    let client_id = format!("tidegate-{}-{name}", context.gateway);
    let broker = broker(section, context.input.folder, client_id);
    let defaults = Source::new(name, "", Url::plain("", 0));
    let packet_bytes_max = section.bytes("packet_bytes_max", PACKET_BYTES);
    let node = section.require("subscribe", HELP);
    let source = Source {
        subscriptions: node.map_or_else(Vec::new, |node| subscriptions(section, node, context.gateway)),
        window: section.number("window", 1..=10_000).unwrap_or(defaults.window),
        packet_bytes_max: packet_bytes_max.unwrap_or(defaults.packet_bytes_max),
        session_expiry: session_expiry(section).unwrap_or(defaults.session_expiry),
        broker: broker.broker,
        ..defaults
    };
    broker.has_url.then_some(source)
}

/// Takes `subscribe` of an uplink: its broker once more, under another client id, since a session that is kept and one that
/// is not cannot be the same.
pub(super) fn downlink(
    section: &mut Section<'_, '_>,
    context: &Context<'_>,
    name: &str,
    broker: &Broker,
) -> Option<Source> {
    let node = section.take("subscribe");
    let session_expiry = session_expiry(section);
    let Some(node) = node else {
        if let Some(place) = section.key("session_expiry") {
            section.mistakes.push(Mistake::error(place, "`session_expiry` goes with `subscribe` only"));
        }
        return None;
    };
    let defaults = Source::new(name, "", Url::plain("", 0));
    Some(Source {
        subscriptions: subscriptions(section, node, context.gateway),
        session_expiry: session_expiry.unwrap_or(defaults.session_expiry),
        broker: Broker { client_id: format!("{}-down", broker.client_id), ..broker.clone() },
        ..defaults
    })
}

fn session_expiry(section: &mut Section<'_, '_>) -> Option<Duration> {
    section.duration("session_expiry", Duration::from_secs(1)..=SESSION_EXPIRY_MAX)
}

fn subscriptions(section: &mut Section<'_, '_>, node: &Node, gateway: &str) -> Vec<Subscription> {
    let Value::Array(nodes) = &node.value else {
        let mistake = Mistake::error(&node.place, "`subscribe` has to be an array");
        section.mistakes.push(mistake.label(format!("this is {}", node.value.kind())).help(HELP));
        return Vec::new();
    };
    if !(1..=SUBSCRIPTIONS_MAX).contains(&nodes.len()) {
        let message = format!("`subscribe` can have 1 to {SUBSCRIPTIONS_MAX} items");
        section.mistakes.push(Mistake::error(&node.place, message).help(HELP));
    }
    nodes.iter().take(SUBSCRIPTIONS_MAX).filter_map(|node| subscription(section, node, gateway)).collect()
}

/// Reads a filter, or a table with `from`, `to` and `qos`.
fn subscription(section: &mut Section<'_, '_>, node: &Node, gateway: &str) -> Option<Subscription> {
    if let Value::Text(value) = &node.value {
        let from = Text { value, place: &node.place };
        return check(section, gateway, from, None, 1);
    }
    let mut inner = Section::open(node, "an item of `subscribe`", section.mistakes)?;
    let from = inner.require("from", HELP).and_then(|node| inner.as_text(node, "from"));
    let to = inner.text("to");
    let qos = inner.number("qos", 0..=1).unwrap_or(1);
    let subscription = from.and_then(|from| check(&mut inner, gateway, from, to, qos));
    inner.finish();
    subscription
}

fn check(
    section: &mut Section<'_, '_>,
    gateway: &str,
    from: Text<'_>,
    to: Option<Text<'_>>,
    qos: u8,
) -> Option<Subscription> {
    let filter = filled(section, gateway, from)?;
    let filled_to = match to {
        Some(to) => Some(filled(section, gateway, to)?),
        None => None,
    };
    let error = match Subscription::new(&filter, filled_to.as_deref(), qos) {
        Ok(subscription) => return Some(subscription),
        Err(error) => error,
    };
    let wrong = |text: Text<'_>, why: String| Mistake::error(text.place, format!("`{}` {why}", text.value));
    let mistake = match (error, to) {
        (SubscriptionError::From(error), _) => wrong(from, format!("is no topic filter: {error}")),
        (SubscriptionError::Share, _) => {
            wrong(from, "is no shared subscription".to_owned()).help("write `$share/name/filter`")
        }
        (SubscriptionError::To(error), to) => wrong(to.unwrap_or(from), format!("is no topic filter: {error}")),
        (SubscriptionError::Wildcards, to) => wrong(to.unwrap_or(from), "has other wildcards than `from`".to_owned())
            .help("what a `+` or `#` of `from` stands for goes where `to` has it: both have the same, in the same order"),
    };
    section.mistakes.push(mistake);
    None
}

/// The text with the gateway's id in it.
fn filled(section: &mut Section<'_, '_>, gateway: &str, text: Text<'_>) -> Option<String> {
    let filled = text.value.replace("{gateway}", gateway);
    if filled.contains(['{', '}']) {
        let mistake = Mistake::error(text.place, "a filter has no other placeholder than `{gateway}`");
        section.mistakes.push(mistake);
        return None;
    }
    Some(filled)
}
