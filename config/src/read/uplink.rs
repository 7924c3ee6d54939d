//! `[[uplink]]`: the brokers that events are forwarded to.

use std::time::Duration;

use super::Input;
use super::broker::broker;
use super::drain::{drain, rate, retention};
use super::limits::PACKET_BYTES;
use super::name::{check_name, check_plain, twice};
use super::secret::login;
use crate::literal::in_literal;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::Value;
use crate::{EventProperties, TopicTemplate, Uplink, Version};

/// The buffer knows who has a record from the bits of 64.
const UPLINKS_MAX: usize = 64;

/// The most filters of `forward`.
const FORWARD_MAX: usize = 100;

const HOUR: Duration = Duration::from_secs(3600);

/// What is known before uplinks are read.
pub(super) struct Context<'t> {
    pub(super) input: &'t Input<'t>,
    pub(super) gateway: &'t str,
}

/// An uplink as far as it could be read: rules may name one that has mistakes.
pub(super) struct Draft<'t> {
    pub(super) name: Option<Text<'t>>,
    /// `None` if something is wrong with it.
    pub(super) uplink: Option<Uplink>,
    /// `forward`: filters of events that go here with no rule.
    pub(super) forward: Vec<Text<'t>>,
}

pub(super) fn uplinks<'t>(root: &mut Section<'t, '_>, context: &Context<'_>) -> Vec<Draft<'t>> {
    let nodes = root.tables("uplink");
    if let Some(node) = nodes.get(UPLINKS_MAX) {
        root.mistakes
            .push(Mistake::error(&node.place, format!("there can be at most {UPLINKS_MAX} uplinks")));
    }
    let mut drafts: Vec<Draft<'t>> = Vec::new();
    for node in nodes.iter().take(UPLINKS_MAX) {
        let Some(mut section) = Section::open(node, "uplink", root.mistakes) else { continue };
        let draft = draft(&mut section, context);
        section.finish();
        let first = |name: Text<'_>| {
            drafts.iter().filter_map(|draft| draft.name).find(|other| other.value == name.value)
        };
        if let Some((name, first)) = draft.name.and_then(|name| Some((name, first(name)?))) {
            root.mistakes.push(twice("the uplink", name, first));
        }
        drafts.push(draft);
    }
    drafts
}

fn draft<'t>(section: &mut Section<'t, '_>, context: &Context<'_>) -> Draft<'t> {
    let name = section.require("name", "rules call an uplink by its name: `name = \"cloud\"`");
    let name = name.and_then(|node| section.as_text(node, "name"));
    let checked = name.and_then(|name| check_name(name, section.mistakes)).unwrap_or_default();
    let forward = forward(section);
    let uplink = uplink(section, &checked, context).map(|uplink| Uplink {
        forward: forward.iter().map(|filter| filter.value.to_owned()).collect(),
        ..uplink
    });
    section.not_built("subscribe", "an uplink only forwards");
    Draft { name, uplink, forward }
}

fn uplink(section: &mut Section<'_, '_>, name: &str, context: &Context<'_>) -> Option<Uplink> {
    let folder = context.input.folder;
    let broker = broker(section, folder);
    let version = version(section);
    let client_id =
        section.text("client_id").and_then(|text| check_plain(text, "client_id", section.mistakes));
    let client_id = client_id.unwrap_or_else(|| format!("tidegate-{}-{name}", context.gateway));
    let (username, password) = login(section, version, folder);
    let has_url = broker.is_some();
    // What is wrong with other settings is found even if there is no URL.
    let defaults = broker.unwrap_or_default().uplink(name, &client_id);
    let window = section.number("window", 1..=10_000).unwrap_or(defaults.window);
    let (backoff_min, backoff_max) = backoff(section, &defaults);
    let ack_timeout = section.duration("ack_timeout", Duration::from_millis(100)..=HOUR);
    let packet_bytes_max = section.bytes("packet_bytes_max", PACKET_BYTES);
    let uplink = Uplink {
        version,
        username,
        password,
        topic: template(section, "topic", context, name).unwrap_or_else(TopicTemplate::unchanged),
        window,
        drain: drain(section, window),
        retention: retention(section),
        rate: rate(section),
        spread: section.duration("spread", Duration::ZERO..=HOUR).unwrap_or(defaults.spread),
        keep_alive: keep_alive(section, &defaults),
        ack_timeout: ack_timeout.unwrap_or(defaults.ack_timeout),
        backoff_min,
        backoff_max,
        packet_bytes_max: packet_bytes_max.unwrap_or(defaults.packet_bytes_max),
        topic_alias_max: section.number("topic_alias_max", 0..=65_535).unwrap_or(defaults.topic_alias_max),
        properties: properties(section),
        status_topic: status_topic(section, context, name),
        poison_after: section.number("poison_after", 0..=100).unwrap_or(defaults.poison_after),
        ..defaults
    };
    has_url.then_some(uplink)
}

fn version(section: &mut Section<'_, '_>) -> Version {
    let Some(node) = section.take("version") else { return Version::V5 };
    match &node.value {
        Value::Integer(Some(5)) => return Version::V5,
        Value::Integer(Some(3)) => return Version::V311,
        Value::Text(text) if ["5", "5.0"].contains(&text.as_str()) => return Version::V5,
        Value::Text(text) if ["3", "3.1.1"].contains(&text.as_str()) => return Version::V311,
        _ => {}
    }
    let mistake = Mistake::error(&node.place, "`version` has to be a version of MQTT");
    section.mistakes.push(mistake.help("write 5, or 3 for MQTT 3.1.1"));
    Version::V5
}

fn template(
    section: &mut Section<'_, '_>,
    key: &'static str,
    context: &Context<'_>,
    name: &str,
) -> Option<TopicTemplate> {
    let text = section.text(key)?;
    match TopicTemplate::parse(text.value, context.gateway, name) {
        Ok(template) => Some(template),
        Err(error) => {
            let place = in_literal(context.input.files, text.place, &error.span);
            let mistake = Mistake::error(&place, error.message);
            section.mistakes.push(Mistake { help: error.help, ..mistake });
            None
        }
    }
}

/// The whole topic of the gateway's own status; there is no event whose topic could be in it.
fn status_topic(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> Option<String> {
    let template = template(section, "status_topic", context, name)?;
    let topic = template.fixed();
    if topic.is_none() {
        let place = section.key("status_topic").unwrap_or(section.place);
        let mistake = Mistake::error(place, "`status_topic` cannot have `{topic}` in it");
        section.mistakes.push(mistake.help("write `status_topic = \"gw/{gateway}/status\"`"));
    }
    topic.map(str::to_owned)
}

/// Takes `properties`: which of those that this gateway knows.
fn properties(section: &mut Section<'_, '_>) -> EventProperties {
    let help = "write `properties = [\"event-id\", \"event-time\", \"gateway\"]`, or fewer of them";
    let Some(texts) = section.texts("properties", 0..=3, help) else { return EventProperties::default() };
    let mut properties = EventProperties { event_id: false, event_time: false, gateway: false };
    for text in texts {
        match text.value {
            "event-id" => properties.event_id = true,
            "event-time" => properties.event_time = true,
            "gateway" => properties.gateway = true,
            other => {
                let mistake = Mistake::error(text.place, format!("there is no property `{other}`"));
                section.mistakes.push(mistake.suggest(other, ["event-id", "event-time", "gateway"]));
            }
        }
    }
    properties
}

/// MQTT counts it in seconds, with 16 bits (MQTT 5.0, 3.1.2.10).
fn keep_alive(section: &mut Section<'_, '_>, defaults: &Uplink) -> Duration {
    let default = defaults.keep_alive;
    let range = Duration::from_secs(1)..=Duration::from_secs(u64::from(u16::MAX));
    match section.duration("keep_alive", range) {
        Some(duration) if duration.subsec_nanos() != 0 => {
            let place = section.key("keep_alive").unwrap_or(section.place);
            section.mistakes.push(Mistake::error(place, "`keep_alive` has to be whole seconds"));
            default
        }
        duration => duration.unwrap_or(default),
    }
}

fn backoff(section: &mut Section<'_, '_>, defaults: &Uplink) -> (Duration, Duration) {
    let range = Duration::from_millis(10)..=HOUR;
    let min = section.duration("backoff_min", range.clone()).unwrap_or(defaults.backoff_min);
    let max = section.duration("backoff_max", range).unwrap_or(defaults.backoff_max);
    if max < min {
        let place = section.key("backoff_max").or(section.key("backoff_min")).unwrap_or(section.place);
        section.mistakes.push(Mistake::error(place, "`backoff_max` has to be at least `backoff_min`"));
    }
    (min, max)
}

fn forward<'t>(section: &mut Section<'t, '_>) -> Vec<Text<'t>> {
    section.texts("forward", 0..=FORWARD_MAX, "write `forward = [\"events/#\"]`").unwrap_or_default()
}
