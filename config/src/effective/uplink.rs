//! The settings in effect of an uplink.

use tidegate_buffer::{BacklogShare, Drain};

use super::{EffectiveTable, bytes, duration, inline, path, text, texts};
use crate::units::format_bytes;
use crate::{EventProperties, Proxy, Secret, Tls, TlsVersion, Uplink, Url, Version};

pub(super) fn uplink(uplink: &Uplink) -> EffectiveTable {
    let mut settings = vec![("name", text(&uplink.name))];
    broker(uplink, &mut settings);
    login(uplink, &mut settings);
    sending(uplink, &mut settings);
    times(uplink, &mut settings);
    backlog(uplink, &mut settings);
    EffectiveTable { header: "[[uplink]]", name: format!("uplink {}", uplink.name), settings }
}

type Settings = Vec<(&'static str, String)>;

fn broker(uplink: &Uplink, settings: &mut Settings) {
    if uplink.fallbacks.is_empty() {
        settings.push(("url", text(&url(&uplink.url))));
    } else {
        let all = std::iter::once(&uplink.url).chain(&uplink.fallbacks);
        settings.push(("urls", texts(all.map(url))));
        settings.push(("return_after", duration(uplink.return_after)));
    }
    settings.extend(uplink.proxy.as_ref().map(|of| ("proxy", proxy(of))));
    settings.extend(uplink.tls.as_ref().map(|of| ("tls", tls(of))));
    let version = match uplink.version {
        Version::V311 => "3",
        Version::V5 => "5",
    };
    settings.push(("version", version.to_owned()));
}

fn url(url: &Url) -> String {
    format!("{}://{url}", if url.encrypted { "mqtts" } else { "mqtt" })
}

fn proxy(proxy: &Proxy) -> String {
    let address = Url { host: proxy.host.clone(), port: proxy.port, encrypted: false };
    let mut parts = vec![("url", text(&format!("http://{address}")))];
    parts.extend(proxy.username.as_ref().map(|name| ("username", text(name))));
    parts.extend(proxy.password.as_ref().map(|of| ("password", secret(of))));
    inline(&parts)
}

fn tls(tls: &Tls) -> String {
    let mut parts = Vec::new();
    let files = [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)];
    parts.extend(files.into_iter().filter_map(|(key, file)| Some((key, path(file.as_deref()?)))));
    if !tls.alpn.is_empty() {
        parts.push(("alpn", texts(&tls.alpn)));
    }
    parts.extend(tls.server_name.as_ref().map(|name| ("server_name", text(name))));
    let version = match tls.version_min {
        TlsVersion::V12 => "1.2",
        TlsVersion::V13 => "1.3",
    };
    parts.push(("version_min", text(version)));
    inline(&parts)
}

fn login(uplink: &Uplink, settings: &mut Settings) {
    settings.push(("client_id", text(&uplink.client_id)));
    settings.extend(uplink.username.as_ref().map(|name| ("username", text(name))));
    settings.extend(uplink.password.as_ref().map(|of| ("password", secret(of))));
}

/// Where it is, never what it is.
fn secret(secret: &Secret) -> String {
    match secret {
        Secret::Credential(name) => inline(&[("credential", text(name))]),
        Secret::File(file) => inline(&[("file", path(file))]),
        Secret::Env(name) => inline(&[("env", text(name))]),
        Secret::Command { command, timeout } => {
            // Somebody may have put a secret among the arguments.
            let hidden = command.iter().skip(1).map(|_| "…");
            let shown = command.iter().take(1).map(String::as_str).chain(hidden);
            inline(&[("command", texts(shown)), ("timeout", duration(*timeout))])
        }
    }
}

fn sending(uplink: &Uplink, settings: &mut Settings) {
    settings.extend([
        ("topic", text(&uplink.topic.to_string())),
        ("forward", texts(&uplink.forward)),
        ("window", uplink.window.to_string()),
        ("spread", duration(uplink.spread)),
        ("properties", properties(uplink.properties)),
        ("topic_alias_max", uplink.topic_alias_max.to_string()),
        ("poison_after", uplink.poison_after.to_string()),
        ("packet_bytes_max", bytes(uplink.packet_bytes_max as u64)),
    ]);
    settings.extend(uplink.status_topic.as_ref().map(|topic| ("status_topic", text(topic))));
    if let Some(rate) = uplink.rate {
        settings.push(("rate", text(&format!("{}/s", format_bytes(rate.bytes_per_s)))));
        settings.push(("burst", bytes(rate.burst_bytes)));
    }
}

fn properties(properties: EventProperties) -> String {
    let all = [
        (properties.event_id, "event-id"),
        (properties.event_time, "event-time"),
        (properties.gateway, "gateway"),
    ];
    texts(all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name))
}

fn times(uplink: &Uplink, settings: &mut Settings) {
    settings.extend([
        ("connect_timeout", duration(uplink.connect_timeout)),
        ("keep_alive", duration(uplink.keep_alive)),
        ("ack_timeout", duration(uplink.ack_timeout)),
        ("backoff_min", duration(uplink.backoff_min)),
        ("backoff_max", duration(uplink.backoff_max)),
    ]);
}

fn backlog(uplink: &Uplink, settings: &mut Settings) {
    let order = match uplink.drain {
        Drain::OldestFirst => "oldest-first",
        Drain::NewestFirst => "newest-first",
        Drain::LiveFirst { .. } => "live-first",
    };
    settings.push(("drain", text(order)));
    if let Drain::LiveFirst { backlog } = uplink.drain {
        let share = match backlog {
            // As the least whole part of the window that gives so many.
            BacklogShare::InFlight(records) => {
                format!("{}%", (u64::from(records) * 100).div_ceil(u64::from(uplink.window.max(1))).min(100))
            }
            BacklogShare::EventsPerS(events) => format!("{events}/s"),
            BacklogShare::BytesPerS(bytes) => format!("{}/s", format_bytes(bytes)),
        };
        settings.push(("backlog_share", text(&share)));
    }
    let retention = uplink.retention;
    settings.extend(retention.max_bytes.map(|most| ("max_bytes", bytes(most))));
    settings.extend(retention.max_records.map(|most| ("max_events", most.to_string())));
    settings.extend(retention.max_age.map(|age| ("max_age", duration(age))));
}
