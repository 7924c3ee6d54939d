//! `to`: where results of a rule or events of a route go.

use std::time::Duration;

use tidegate_buffer::Priority;
use tidegate_rules::{DestinationSource, Encoding};

use super::uplink;
use crate::files::Place;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::{Node, Value};
use crate::{Destination, Target};

/// The most destinations of a rule.
const DESTINATIONS_MAX: usize = 64;

/// The longest time to live: ten years.
const TTL_MAX: Duration = Duration::from_secs(3650 * 86_400);

const HELP: &str = "write `to = { uplink = \"…\" }`, or `to = { local = \"…\" }` for the local bus";

/// Whose destinations these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Rule,
    /// Its events pass through as they are.
    Route,
}

/// A destination as far as it could be read: its texts are checked with the rule even if something else is
/// wrong.
pub(super) struct Draft<'t> {
    pub(super) place: &'t Place,
    /// `None` if something is wrong with it.
    pub(super) destination: Option<Destination>,
    pub(super) topic: Option<Text<'t>>,
    pub(super) payload: Option<Text<'t>>,
    encoding: Encoding,
}

impl<'t> Draft<'t> {
    /// An uplink with all defaults.
    pub(super) fn forward(place: &'t Place, uplink: usize) -> Self {
        Self {
            place,
            destination: Some(Destination {
                target: Target::Uplink(uplink),
                qos: 1,
                retain: false,
                priority: Priority::Normal,
                ttl: None,
            }),
            topic: None,
            payload: None,
            encoding: Encoding::Json,
        }
    }

    pub(super) fn goes_to(&self, target: Target) -> bool {
        self.destination.is_some_and(|destination| destination.target == target)
    }

    /// What the rules need to know of it.
    pub(super) fn source(&self) -> DestinationSource<'t> {
        DestinationSource {
            topic: self.topic.map(|text| text.value),
            payload: self.payload.map(|text| text.value),
            encoding: self.encoding,
        }
    }
}

/// Takes `to`: one destination or an array of them. There has to be one.
pub(super) fn destinations<'t>(
    section: &mut Section<'t, '_>,
    owner: Owner,
    uplinks: &[uplink::Draft<'_>],
) -> Vec<Draft<'t>> {
    section.require("to", HELP);
    outlets(section, "to", owner, uplinks)
}

/// Takes the destinations of a key that need not be there.
pub(super) fn outlets<'t>(
    section: &mut Section<'t, '_>,
    key: &'static str,
    owner: Owner,
    uplinks: &[uplink::Draft<'_>],
) -> Vec<Draft<'t>> {
    let Some(node) = section.take(key) else { return Vec::new() };
    let nodes = match &node.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        section.mistakes.push(
            Mistake::error(&node.place, format!("`{key}` is empty"))
                .help(HELP.replace("to =", &format!("{key} ="))),
        );
    }
    if let Some(node) = nodes.get(DESTINATIONS_MAX) {
        let message = format!("there can be at most {DESTINATIONS_MAX} destinations");
        section.mistakes.push(Mistake::error(&node.place, message));
    }
    let read = |node| destination(node, key, owner, uplinks, section.mistakes);
    nodes.iter().take(DESTINATIONS_MAX).filter_map(read).collect()
}

fn destination<'t>(
    node: &'t Node,
    key: &str,
    owner: Owner,
    uplinks: &[uplink::Draft<'_>],
    mistakes: &mut Vec<Mistake>,
) -> Option<Draft<'t>> {
    let mut section = Section::open(node, key, mistakes)?;
    let (target, topic) = target(&mut section, uplinks);
    let (payload, encoding) = body(&mut section, owner);
    let qos = section.number("qos", 0..=2).unwrap_or(1);
    let retain = section.flag("retain").unwrap_or(false);
    let lanes =
        [("high", Some(Priority::High)), ("normal", Some(Priority::Normal)), ("low", Some(Priority::Low))];
    let priority = section.word("priority", &lanes).unwrap_or(Priority::Normal);
    let ttl = section.duration("ttl", Duration::from_secs(1)..=TTL_MAX);
    section.finish();
    let destination = target.map(|target| Destination { target, qos, retain, priority, ttl });
    Some(Draft { place: &node.place, destination, topic, payload, encoding })
}

/// Takes `uplink` and its `topic`, or `local`.
fn target<'t>(
    section: &mut Section<'t, '_>,
    uplinks: &[uplink::Draft<'_>],
) -> (Option<Target>, Option<Text<'t>>) {
    let uplink = section.text("uplink");
    let local = section.text("local");
    match (section.key("uplink"), section.key("local")) {
        (Some(_), None) => {
            let target = uplink.and_then(|name| find(section, name, uplinks));
            (target, section.text("topic"))
        }
        (None, Some(_)) => {
            section.misplaced("topic", "a local destination has its topic in `local`", "leave out `topic`");
            let help = "leave it out: the local bus delivers at once";
            for key in ["priority", "ttl"] {
                section.misplaced(key, &format!("`{key}` is for uplinks"), help);
            }
            (local.map(|_| Target::Local), local)
        }
        _ => {
            let mistake = Mistake::error(section.place, "a destination is either an `uplink` or `local`");
            section.mistakes.push(mistake.help("write `uplink = \"…\"`, or `local = \"topic\"`"));
            (None, section.text("topic"))
        }
    }
}

fn find(section: &mut Section<'_, '_>, name: Text<'_>, uplinks: &[uplink::Draft<'_>]) -> Option<Target> {
    let names = || uplinks.iter().filter_map(|draft| draft.name).map(|name| name.value);
    let index = uplinks.iter().position(|draft| draft.name.is_some_and(|other| other.value == name.value));
    if index.is_none() {
        let mistake = Mistake::error(name.place, format!("there is no uplink `{}`", name.value));
        section.mistakes.push(match names().next() {
            Some(_) => mistake.suggest(name.value, names()),
            None => mistake.help("uplinks are written in `tidegate.toml`: `[[uplink]]`"),
        });
    }
    index.map(Target::Uplink)
}

/// Takes `payload` and `encoding`, which routes have not.
fn body<'t>(section: &mut Section<'t, '_>, owner: Owner) -> (Option<Text<'t>>, Encoding) {
    if owner == Owner::Route {
        for key in ["payload", "encoding"] {
            section.misplaced(
                key,
                &format!("a route has no `{key}`"),
                "payloads pass through a route as they are; write a `[[rule]]`",
            );
        }
        return (None, Encoding::Json);
    }
    let words =
        [("json", Some(Encoding::Json)), ("cbor", Some(Encoding::Cbor)), ("raw", Some(Encoding::Raw))];
    let payload = section.text("payload");
    (payload, section.word("encoding", &words).unwrap_or(Encoding::Json))
}
