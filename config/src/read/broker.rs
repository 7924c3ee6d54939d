//! What uplinks and sources say of their broker: where it is, how it is reached, who the gateway is to it.

use std::path::Path;
use std::time::Duration;

use super::buffer::path;
use super::name::check_plain;
use super::secret::{login, secret};
use super::url;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::Value;
use crate::{Broker, Proxy, Tls, TlsVersion, Url, Version};

/// The most URLs of a broker.
const URLS_MAX: usize = 8;

const HOUR: Duration = Duration::from_secs(3600);

/// A broker as far as it could be read.
pub(super) struct Draft {
    /// False with a mistake among the URLs: then it is nowhere.
    pub(super) has_url: bool,
    pub(super) broker: Broker,
}

/// Takes all of it; `client_id` is the one that counts if none is written. What is wrong with other settings is found even
/// if there is no URL.
pub(super) fn broker(section: &mut Section<'_, '_>, folder: &Path, client_id: String) -> Draft {
    let urls = urls(section);
    let return_after = section.duration("return_after", Duration::from_secs(1)..=24 * HOUR);
    if let (Some(1), Some(place)) = (urls.as_ref().map(Vec::len), section.key("return_after")) {
        let mistake = Mistake::error(place, "`return_after` goes with several `urls` only");
        section
            .mistakes
            .push(mistake.help("leave it out, or write `urls = [\"mqtts://first\", \"mqtts://second\"]`"));
    }
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(100)..=HOUR);
    let proxy = proxy(section, folder);
    let tls = tls(section, urls.as_deref(), folder);
    let version = version(section);
    let written = section.text("client_id").and_then(|text| check_plain(text, "client_id", section.mistakes));
    let (username, password) = login(section, version, folder);
    let has_url = urls.is_some();
    let mut urls = urls.unwrap_or_default().into_iter();
    let first = urls.next().unwrap_or_else(|| Url::plain("", 0));
    let defaults = Broker::new(&written.unwrap_or(client_id), first);
    let (backoff_min, backoff_max) = backoff(section, &defaults);
    let ack_timeout = section.duration("ack_timeout", Duration::from_millis(100)..=HOUR);
    let broker = Broker {
        fallbacks: urls.collect(),
        return_after: return_after.unwrap_or(defaults.return_after),
        proxy,
        version,
        username,
        password,
        keep_alive: keep_alive(section, &defaults),
        connect_timeout: connect_timeout.unwrap_or(defaults.connect_timeout),
        ack_timeout: ack_timeout.unwrap_or(defaults.ack_timeout),
        backoff_min,
        backoff_max,
        tls,
        ..defaults
    };
    Draft { has_url, broker }
}

fn urls(section: &mut Section<'_, '_>) -> Option<Vec<Url>> {
    if let Some(place) = section.key("urls") {
        if section.key("url").is_some() {
            let mistake = Mistake::error(place, "there are both `url` and `urls`");
            section.mistakes.push(mistake.help("write all of them into `urls`, the one to prefer first"));
        }
        let _ = section.take("url");
        let help = "write `urls = [\"mqtts://first\", \"mqtts://second\"]`";
        let texts = section.texts("urls", 1..=URLS_MAX, help)?;
        let urls = texts.into_iter().map(|text| url(section, text)).collect::<Vec<_>>();
        return urls.into_iter().collect::<Option<Vec<_>>>().filter(|urls| !urls.is_empty());
    }
    let node = section.require("url", "write `url = \"mqtts://host\"`")?;
    let text = section.as_text(node, "url")?;
    url(section, text).map(|url| vec![url])
}

fn url(section: &mut Section<'_, '_>, text: Text<'_>) -> Option<Url> {
    match url::parse(text.value) {
        Ok(url) => Some(url),
        Err((message, help)) => {
            section.mistakes.push(Mistake::error(text.place, message).help(help));
            None
        }
    }
}

/// Takes `proxy`: a URL, or a table with a URL and a login.
fn proxy(section: &mut Section<'_, '_>, folder: &Path) -> Option<Proxy> {
    let node = section.take("proxy")?;
    if let Value::Text(value) = &node.value {
        let (host, port) = proxy_url(section, Text { value, place: &node.place })?;
        return Some(Proxy { host, port, username: None, password: None });
    }
    let mut inner = Section::open(node, "proxy", section.mistakes)?;
    let url = inner.require("url", "write `proxy = { url = \"http://host:3128\" }`");
    let url = url.and_then(|node| inner.as_text(node, "url"));
    let url = url.and_then(|text| proxy_url(&mut inner, text));
    let username = inner.text("username").and_then(|text| check_plain(text, "username", inner.mistakes));
    let password = inner.take("password").and_then(|node| secret(&mut inner, node, folder));
    if let (Some(place), None) | (None, Some(place)) = (inner.key("username"), inner.key("password")) {
        inner.mistakes.push(Mistake::error(place, "`username` and `password` of a proxy need each other"));
    }
    // Basic authentication separates the two by a colon (RFC 7617, 2).
    if let Some(place) =
        inner.key("username").filter(|_| username.as_ref().is_some_and(|name| name.contains(':')))
    {
        inner.mistakes.push(Mistake::error(place, "the user name of a proxy cannot have a colon in it"));
    }
    inner.finish();
    url.map(|(host, port)| Proxy { host, port, username, password })
}

fn proxy_url(section: &mut Section<'_, '_>, text: Text<'_>) -> Option<(String, u16)> {
    url::parse_proxy(text.value)
        .map_err(|(message, help)| section.mistakes.push(Mistake::error(text.place, message).help(help)))
        .ok()
}

/// Takes `tls`. `urls` is `None` if they are wrong, and do not say.
fn tls(section: &mut Section<'_, '_>, urls: Option<&[Url]>, folder: &Path) -> Option<Tls> {
    let encrypted = urls.map(|urls| urls.iter().any(|url| url.encrypted));
    let read = section.take("tls").and_then(|node| {
        let mut inner = Section::open(node, "tls", section.mistakes)?;
        if encrypted == Some(false) {
            let mistake =
                Mistake::error(&node.place, "`tls` needs a URL that begins with `mqtts://` or `wss://`");
            inner.mistakes.push(mistake.help("change the URL, or leave out `tls`"));
        }
        let versions = [("1.2", Some(TlsVersion::V12)), ("1.3", Some(TlsVersion::V13))];
        let tls = Tls {
            ca: path(&mut inner, "ca", folder),
            cert: path(&mut inner, "cert", folder),
            key: path(&mut inner, "key", folder),
            alpn: alpn(&mut inner),
            server_name: server_name(&mut inner),
            version_min: inner.word("version_min", &versions).unwrap_or_default(),
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

/// A protocol has 1 to 255 bytes (RFC 7301, 3.1).
fn alpn(section: &mut Section<'_, '_>) -> Vec<String> {
    let help = "write `alpn = [\"mqtt\"]`";
    let texts = section.texts("alpn", 1..=8, help).unwrap_or_default();
    for text in &texts {
        if !(1..=255).contains(&text.value.len()) {
            let mistake = Mistake::error(text.place, "the name of a protocol has 1 to 255 bytes");
            section.mistakes.push(mistake.help(help));
        }
    }
    texts.into_iter().map(|text| text.value.to_owned()).collect()
}

fn server_name(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.text("server_name")?;
    if !url::is_host(text.value) {
        let message = format!("`{}` is no host name and no address", text.value);
        section.mistakes.push(Mistake::error(text.place, message));
        return None;
    }
    Some(text.value.to_owned())
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

/// MQTT counts it in seconds, with 16 bits (MQTT 5.0, 3.1.2.10).
fn keep_alive(section: &mut Section<'_, '_>, defaults: &Broker) -> Duration {
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

fn backoff(section: &mut Section<'_, '_>, defaults: &Broker) -> (Duration, Duration) {
    let range = Duration::from_millis(10)..=HOUR;
    let min = section.duration("backoff_min", range.clone()).unwrap_or(defaults.backoff_min);
    let max = section.duration("backoff_max", range).unwrap_or(defaults.backoff_max);
    if max < min {
        let place = section.key("backoff_max").or(section.key("backoff_min")).unwrap_or(section.place);
        section.mistakes.push(Mistake::error(place, "`backoff_max` has to be at least `backoff_min`"));
    }
    (min, max)
}
