//! `url`, `urls`, `proxy`, `tls`: where the broker of an uplink is and how it is reached.

use std::path::Path;
use std::time::Duration;

use super::buffer::path;
use super::name::check_plain;
use super::secret::secret;
use super::url;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::tree::Value;
use crate::{Proxy, Tls, TlsVersion, Uplink, Url};

/// The most URLs of an uplink.
const URLS_MAX: usize = 8;

/// Where a broker is, and how it is reached.
#[derive(Default)]
pub(super) struct Broker {
    urls: Vec<Url>,
    return_after: Option<Duration>,
    connect_timeout: Option<Duration>,
    proxy: Option<Proxy>,
    tls: Option<Tls>,
}

impl Broker {
    /// An uplink there, with defaults for all else.
    pub(super) fn uplink(self, name: &str, client_id: &str) -> Uplink {
        let mut urls = self.urls.into_iter();
        let nowhere = Url { host: String::new(), port: 0, encrypted: false };
        let defaults = Uplink::new(name, client_id, urls.next().unwrap_or(nowhere));
        Uplink {
            fallbacks: urls.collect(),
            return_after: self.return_after.unwrap_or(defaults.return_after),
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            proxy: self.proxy,
            tls: self.tls,
            ..defaults
        }
    }
}

/// Takes all of it; `None` with a mistake among the URLs.
pub(super) fn broker(section: &mut Section<'_, '_>, folder: &Path) -> Option<Broker> {
    let urls = urls(section);
    let hour = Duration::from_secs(3600);
    let return_after = section.duration("return_after", Duration::from_secs(1)..=24 * hour);
    if let (Some(1), Some(place)) = (urls.as_ref().map(Vec::len), section.key("return_after")) {
        let mistake = Mistake::error(place, "`return_after` goes with several `urls` only");
        section
            .mistakes
            .push(mistake.help("leave it out, or write `urls = [\"mqtts://first\", \"mqtts://second\"]`"));
    }
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(100)..=hour);
    let proxy = proxy(section, folder);
    let tls = tls(section, urls.as_deref(), folder);
    Some(Broker { urls: urls?, return_after, connect_timeout, proxy, tls })
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
            let mistake = Mistake::error(&node.place, "`tls` needs a URL that begins with `mqtts://`");
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
