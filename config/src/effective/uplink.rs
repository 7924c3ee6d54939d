//! The settings in effect of an uplink.

use tidegate_buffer::{BacklogShare, Drain};

use super::{EffectiveTable, bytes, duration, inline, path, text, texts};
use crate::units::format_bytes;
use crate::{
    Batch, BatchFormat, Broker, EventProperties, Proxy, RemoteConfig, Secret, Source, Subscription, Tls,
    TlsVersion, Uplink, Url, Version,
};

pub(super) fn uplink(uplink: &Uplink) -> EffectiveTable {
    let mut settings = vec![("name", text(&uplink.name))];
    broker(&uplink.broker, &mut settings);
    sending(uplink, &mut settings);
    times(&uplink.broker, &mut settings);
    backlog(uplink, &mut settings);
    EffectiveTable { header: "[[uplink]]", name: format!("uplink {}", uplink.name), settings }
}

type Settings = Vec<(&'static str, String)>;

fn broker(of: &Broker, settings: &mut Settings) {
    if of.fallbacks.is_empty() {
        settings.push(("url", text(&url(&of.url))));
    } else {
        let all = std::iter::once(&of.url).chain(&of.fallbacks);
        settings.push(("urls", texts(all.map(url))));
        settings.push(("return_after", duration(of.return_after)));
    }
    settings.extend(of.proxy.as_ref().map(|of| ("proxy", proxy(of))));
    settings.extend(of.tls.as_ref().map(|of| ("tls", tls(of))));
    let version = match of.version {
        Version::V311 => "3",
        Version::V5 => "5",
    };
    settings.push(("version", version.to_owned()));
    settings.push(("client_id", text(&of.client_id)));
    settings.extend(of.username.as_ref().map(|name| ("username", text(name))));
    settings.extend(of.password.as_ref().map(|of| ("password", secret(of))));
}

fn url(url: &Url) -> String {
    let scheme = match (url.encrypted, &url.websocket) {
        (false, None) => "mqtt",
        (true, None) => "mqtts",
        (false, Some(_)) => "ws",
        (true, Some(_)) => "wss",
    };
    format!("{scheme}://{url}{}", url.websocket.as_deref().unwrap_or_default())
}

fn proxy(proxy: &Proxy) -> String {
    let address = Url::plain(&proxy.host, proxy.port);
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
    settings.extend(uplink.batch.as_ref().map(|of| ("batch", batch(of))));
    settings.extend(uplink.downlink.iter().flat_map(subscribed));
    settings.extend(uplink.remote_config.as_ref().map(|of| ("remote_config", remote_config(of))));
    settings.extend(uplink.status_topic.as_ref().map(|topic| ("status_topic", text(topic))));
    if let Some(rate) = uplink.rate {
        settings.push(("rate", text(&format!("{}/s", format_bytes(rate.bytes_per_s)))));
        settings.push(("burst", bytes(rate.burst_bytes)));
    }
}

fn batch(batch: &Batch) -> String {
    let format = match batch.format {
        BatchFormat::JsonArray => "json-array",
        BatchFormat::JsonLines => "json-lines",
        BatchFormat::CborArray => "cbor-array",
    };
    inline(&[
        ("topic", text(&batch.topic)),
        ("format", text(format)),
        ("compress", text(if batch.zstd { "zstd" } else { "none" })),
        ("events_max", batch.events_max.to_string()),
        ("bytes_max", bytes(batch.bytes_max as u64)),
        ("delay", duration(batch.delay)),
    ])
}

fn remote_config(of: &RemoteConfig) -> String {
    let mut parts = vec![("topic", text(&of.topic)), ("answer_topic", text(&of.answer_topic))];
    parts.extend(of.public_key.as_deref().map(|file| ("public_key", path(file))));
    parts.push(("confirm_within", duration(of.confirm_within)));
    inline(&parts)
}

/// What is taken from a broker, and for how long that keeps it.
fn subscribed(source: &Source) -> [(&'static str, String); 2] {
    let one = |of: &Subscription| {
        let mut parts = vec![("from", text(&of.filter))];
        parts.extend(of.to().map(|to| ("to", text(to.as_str()))));
        parts.push(("qos", of.qos.to_string()));
        inline(&parts)
    };
    let all: Vec<String> = source.subscriptions.iter().map(one).collect();
    [("subscribe", format!("[{}]", all.join(", "))), ("session_expiry", duration(source.session_expiry))]
}

pub(super) fn source(source: &Source) -> EffectiveTable {
    let mut settings = vec![("name", text(&source.name))];
    broker(&source.broker, &mut settings);
    settings.extend(subscribed(source));
    settings.push(("window", source.window.to_string()));
    settings.push(("packet_bytes_max", bytes(source.packet_bytes_max as u64)));
    times(&source.broker, &mut settings);
    EffectiveTable { header: "[[source]]", name: format!("source {}", source.name), settings }
}

fn properties(properties: EventProperties) -> String {
    let all = [
        (properties.event_id, "event-id"),
        (properties.event_time, "event-time"),
        (properties.gateway, "gateway"),
    ];
    texts(all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name))
}

fn times(of: &Broker, settings: &mut Settings) {
    settings.extend([
        ("connect_timeout", duration(of.connect_timeout)),
        ("keep_alive", duration(of.keep_alive)),
        ("ack_timeout", duration(of.ack_timeout)),
        ("backoff_min", duration(of.backoff_min)),
        ("backoff_max", duration(of.backoff_max)),
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
