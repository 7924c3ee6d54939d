//! `[[uplink]]`: the brokers that events are forwarded to.

use std::time::Duration;

use super::Input;
use super::broker::broker;
use super::buffer::path;
use super::drain::{drain, rate, retention};
use super::limits::PACKET_BYTES;
use super::name::{check_name, twice};
use super::source::downlink;
use crate::literal::in_literal;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::{Batch, BatchFormat, EventProperties, RemoteConfig, Source, TopicTemplate, Uplink, Url};

/// The buffer knows who has a record from the bits of 64.
const UPLINKS_MAX: usize = 64;

/// The most filters of `forward`.
const FORWARD_MAX: usize = 100;

/// Shorter than what the buffer waits before it writes to the disk.
const BATCH_DELAY: Duration = Duration::from_millis(20);

/// Less is hardly time for a new connection, and the more it is the longer a mistake lasts.
const CONFIRM_WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=HOUR;

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
    Draft { name, uplink, forward }
}

fn uplink(section: &mut Section<'_, '_>, name: &str, context: &Context<'_>) -> Option<Uplink> {
    let folder = context.input.folder;
    let client_id = format!("tidegate-{}-{name}", context.gateway);
    let broker = broker(section, folder, client_id);
    let defaults = Uplink::new(name, "", Url::plain("", 0));
    let window = section.number("window", 1..=10_000).unwrap_or(defaults.window);
    let packet_bytes_max = section.bytes("packet_bytes_max", PACKET_BYTES);
    let packet_bytes_max = packet_bytes_max.unwrap_or(defaults.packet_bytes_max);
    let batch = batch(section, context, name);
    let remote_config = remote_config(section, context, name);
    let downlink = downlink(section, context, name, &broker.broker);
    let uplink = Uplink {
        topic: template(section, "topic", context, name).unwrap_or_else(TopicTemplate::unchanged),
        window,
        drain: drain(section, window),
        retention: retention(section),
        rate: rate(section),
        spread: section.duration("spread", Duration::ZERO..=HOUR).unwrap_or(defaults.spread),
        packet_bytes_max,
        topic_alias_max: section.number("topic_alias_max", 0..=65_535).unwrap_or(defaults.topic_alias_max),
        properties: properties(section),
        status_topic: status_topic(section, context, name),
        poison_after: section.number("poison_after", 0..=100).unwrap_or(defaults.poison_after),
        batch,
        remote_config,
        downlink: downlink.map(|downlink| Source { packet_bytes_max, ..downlink }),
        broker: broker.broker,
        ..defaults
    };
    broker.has_url.then_some(uplink)
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

/// The whole topic of the gateway's own status.
fn status_topic(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> Option<String> {
    fixed_topic(section, "status_topic", context, name, "write `status_topic = \"gw/{gateway}/status\"`")
}

/// A whole topic; there is no event whose topic could be in it.
fn fixed_topic(
    section: &mut Section<'_, '_>,
    key: &'static str,
    context: &Context<'_>,
    name: &str,
    help: &str,
) -> Option<String> {
    let template = template(section, key, context, name)?;
    let topic = template.fixed();
    if topic.is_none() {
        let place = section.key(key).unwrap_or(section.place);
        let mistake = Mistake::error(place, format!("`{key}` cannot have `{{topic}}` in it"));
        section.mistakes.push(mistake.help(help));
    }
    topic.map(str::to_owned)
}

/// The `topic` of a table that is of no use without; empty after a mistake.
fn needed_topic(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str, help: &str) -> String {
    if section.key("topic").is_none() {
        section.mistakes.push(Mistake::error(section.place, "`topic` is missing").help(help));
    }
    fixed_topic(section, "topic", context, name, help).unwrap_or_default()
}

/// Takes `batch`: how many events become one publish.
fn batch(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> Option<Batch> {
    let node = section.take("batch")?;
    let mut inner = Section::open(node, "batch", section.mistakes)?;
    let help = "write `batch = { topic = \"gw/{gateway}/batch\" }`";
    let topic = needed_topic(&mut inner, context, name, help);
    let formats = [
        ("json-array", Some(BatchFormat::JsonArray)),
        ("json-lines", Some(BatchFormat::JsonLines)),
        ("cbor-array", Some(BatchFormat::CborArray)),
    ];
    let batch = Batch {
        topic,
        format: inner.word("format", &formats).unwrap_or_default(),
        zstd: inner.word("compress", &[("none", Some(false)), ("zstd", Some(true))]).unwrap_or(false),
        events_max: inner.number("events_max", 2..=10_000).unwrap_or(100),
        bytes_max: inner.bytes("bytes_max", PACKET_BYTES).unwrap_or(64 << 10),
        delay: inner.duration("delay", Duration::ZERO..=Duration::from_secs(60)).unwrap_or(BATCH_DELAY),
    };
    inner.finish();
    Some(batch)
}

/// Takes `remote_config`: whether the cloud may send settings.
fn remote_config(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> Option<RemoteConfig> {
    let node = section.take("remote_config")?;
    let mut inner = Section::open(node, "remote_config", section.mistakes)?;
    let help = "write `remote_config = { topic = \"gw/{gateway}/config/set\" }`";
    let topic = needed_topic(&mut inner, context, name, help);
    let answer_topic = fixed_topic(&mut inner, "answer_topic", context, name, help);
    let remote_config = RemoteConfig {
        answer_topic: answer_topic.unwrap_or_else(|| format!("{topic}/answer")),
        topic,
        public_key: path(&mut inner, "public_key", context.input.folder),
        confirm_within: inner.duration("confirm_within", CONFIRM_WITHIN).unwrap_or(Duration::from_secs(60)),
    };
    inner.finish();
    Some(remote_config)
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

fn forward<'t>(section: &mut Section<'t, '_>) -> Vec<Text<'t>> {
    section.texts("forward", 0..=FORWARD_MAX, "write `forward = [\"events/#\"]`").unwrap_or_default()
}
