//! `[[uplink]]`: the brokers that events are forwarded to.

use std::path::Path;
use std::time::Duration;

use super::Input;
use super::buffer::path;
use super::drain::{drain, retention};
use super::limits::{PACKET_BYTES, PACKET_BYTES_DEFAULT};
use super::name::{check_name, check_plain, twice};
use super::url::{self, Parsed};
use crate::literal::in_literal;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::{Node, Value};
use crate::{Secret, Tls, TopicTemplate, Uplink, Version};

/// The buffer knows who has a record from the bits of 64.
const UPLINKS_MAX: usize = 64;

/// The most filters of `forward`.
const FORWARD_MAX: usize = 100;

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
    let url = url(section);
    let checked = name.and_then(|name| check_name(name, section.mistakes)).unwrap_or_default();
    let uplink = uplink(section, checked, url, context);
    let forward = forward(section);
    section.not_built("subscribe", "an uplink only forwards");
    Draft { name, uplink, forward }
}

fn uplink(
    section: &mut Section<'_, '_>,
    name: String,
    url: Option<Parsed>,
    context: &Context<'_>,
) -> Option<Uplink> {
    let encrypted = url.as_ref().map(|url| url.encrypted);
    let version = version(section);
    let client_id =
        section.text("client_id").and_then(|text| check_plain(text, "client_id", section.mistakes));
    let (username, password) = login(section, version, context.input.folder);
    let topic = topic(section, context, &name);
    let window = section.number("window", 1..=10_000).unwrap_or(100);
    let drain = drain(section, window);
    let retention = retention(section);
    let keep_alive = keep_alive(section);
    let ack_timeout = section.duration("ack_timeout", Duration::from_millis(100)..=Duration::from_secs(3600));
    let (backoff_min, backoff_max) = backoff(section);
    let packet_bytes_max = section.bytes("packet_bytes_max", PACKET_BYTES).unwrap_or(PACKET_BYTES_DEFAULT);
    let tls = tls(section, encrypted, context.input.folder);
    Some(Uplink {
        client_id: client_id.unwrap_or_else(|| format!("tidegate-{}-{name}", context.gateway)),
        name,
        url: url?.url,
        version,
        username,
        password,
        topic,
        window,
        drain,
        retention,
        keep_alive,
        ack_timeout: ack_timeout.unwrap_or(Duration::from_secs(10)),
        backoff_min,
        backoff_max,
        packet_bytes_max,
        tls,
    })
}

fn url(section: &mut Section<'_, '_>) -> Option<Parsed> {
    let node = section.require("url", "write `url = \"mqtts://host\"`")?;
    let text = section.as_text(node, "url")?;
    match url::parse(text.value) {
        Ok(parsed) => Some(parsed),
        Err((message, help)) => {
            section.mistakes.push(Mistake::error(text.place, message).help(help));
            None
        }
    }
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

fn login(section: &mut Section<'_, '_>, version: Version, folder: &Path) -> (Option<String>, Option<Secret>) {
    let username = section.text("username").and_then(|text| check_plain(text, "username", section.mistakes));
    let Some(node) = section.take("password") else { return (username, None) };
    // MQTT 3.1.1, 3.1.2.9: without a user name there is no password either.
    if version == Version::V311 && section.key("username").is_none() {
        let message = "MQTT 3.1.1 has no password without a user name";
        section.mistakes.push(Mistake::error(&node.place, message).help("add `username`"));
    }
    let secret = secret(section, node, folder);
    (username, secret)
}

const SECRET_HELP: &str =
    "write `{ credential = \"name\" }` (a systemd credential), `{ file = \"path\" }` or `{ env = \"NAME\" }`";

fn secret(section: &mut Section<'_, '_>, node: &Node, folder: &Path) -> Option<Secret> {
    if let Value::Text(_) = node.value {
        let mistake = Mistake::error(&node.place, "a password cannot stand in a settings file");
        section.mistakes.push(mistake.help(SECRET_HELP));
        return None;
    }
    let mut inner = Section::open(node, "password", section.mistakes)?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let credential = named(&mut inner, "credential", |name| name.bytes().all(word) && !name.starts_with('.'));
    let env = named(&mut inner, "env", |name| !name.contains(['=', '\0']));
    let file = path(&mut inner, "file", folder);
    let given = ["credential", "file", "env"].iter().filter(|key| inner.key(key).is_some()).count();
    if given != 1 {
        inner
            .mistakes
            .push(Mistake::error(&node.place, "`password` needs exactly one source").help(SECRET_HELP));
    }
    inner.finish();
    credential.map(Secret::Credential).or(file.map(Secret::File)).or(env.map(Secret::Env))
}

fn named(section: &mut Section<'_, '_>, key: &'static str, is_good: impl Fn(&str) -> bool) -> Option<String> {
    let text = section.text(key)?;
    if text.value.is_empty() || !is_good(text.value) {
        section
            .mistakes
            .push(Mistake::error(text.place, format!("`{}` cannot be the name of a secret", text.value)));
        return None;
    }
    Some(text.value.to_owned())
}

fn topic(section: &mut Section<'_, '_>, context: &Context<'_>, name: &str) -> TopicTemplate {
    let Some(text) = section.text("topic") else { return TopicTemplate::unchanged() };
    TopicTemplate::parse(text.value, context.gateway, name).unwrap_or_else(|error| {
        let place = in_literal(context.input.files, text.place, &error.span);
        let mistake = Mistake::error(&place, error.message);
        section.mistakes.push(Mistake { help: error.help, ..mistake });
        TopicTemplate::unchanged()
    })
}

/// MQTT counts it in seconds, with 16 bits (MQTT 5.0, 3.1.2.10).
fn keep_alive(section: &mut Section<'_, '_>) -> Duration {
    let default = Duration::from_secs(30);
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

fn backoff(section: &mut Section<'_, '_>) -> (Duration, Duration) {
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    let min = section.duration("backoff_min", range.clone()).unwrap_or(Duration::from_millis(200));
    let max = section.duration("backoff_max", range).unwrap_or(Duration::from_secs(30));
    if max < min {
        let place = section.key("backoff_max").or(section.key("backoff_min")).unwrap_or(section.place);
        section.mistakes.push(Mistake::error(place, "`backoff_max` has to be at least `backoff_min`"));
    }
    (min, max)
}

/// `encrypted` is `None` if the URL is wrong, and does not say.
fn tls(section: &mut Section<'_, '_>, encrypted: Option<bool>, folder: &Path) -> Option<Tls> {
    let read = section.take("tls").and_then(|node| {
        let mut inner = Section::open(node, "tls", section.mistakes)?;
        if encrypted == Some(false) {
            let mistake = Mistake::error(&node.place, "`tls` needs a URL that begins with `mqtts://`");
            inner.mistakes.push(mistake.help("change the URL, or leave out `tls`"));
        }
        let tls = Tls {
            ca: path(&mut inner, "ca", folder),
            cert: path(&mut inner, "cert", folder),
            key: path(&mut inner, "key", folder),
        };
        if let (Some(place), None) | (None, Some(place)) = (inner.key("cert"), inner.key("key")) {
            inner
                .mistakes
                .push(Mistake::error(place, "`cert` and `key` need each other").help("write both or none"));
        }
        inner.finish();
        Some(tls)
    });
    encrypted.unwrap_or(false).then(|| read.unwrap_or_default())
}

fn forward<'t>(section: &mut Section<'t, '_>) -> Vec<Text<'t>> {
    let Some(node) = section.take("forward") else { return Vec::new() };
    let wrong = |node: &Node, message| {
        let mistake = Mistake::error(&node.place, message).label(format!("this is {}", node.value.kind()));
        mistake.help("write `forward = [\"events/#\"]`")
    };
    let Value::Array(nodes) = &node.value else {
        section.mistakes.push(wrong(node, "`forward` has to be an array of topic filters"));
        return Vec::new();
    };
    if let Some(node) = nodes.get(FORWARD_MAX) {
        let message = format!("`forward` can have at most {FORWARD_MAX} filters");
        section.mistakes.push(Mistake::error(&node.place, message));
    }
    let mut filters = Vec::new();
    for node in nodes.iter().take(FORWARD_MAX) {
        match &node.value {
            Value::Text(value) => filters.push(Text { value, place: &node.place }),
            _ => section.mistakes.push(wrong(node, "a topic filter has to be a string")),
        }
    }
    filters
}
