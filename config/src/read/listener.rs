//! `[[listener]]`, `[access]` and `[limits]`: what devices meet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::table;
use crate::mistake::Mistake;
use crate::section::{Section, Text};
use crate::{Access, Limits, Listener};

/// The port of MQTT without TLS, as registered with IANA.
const PORT: u16 = 1883;

const LISTENERS_MAX: usize = 64;

/// Bounds of a packet, here and at uplinks: small enough for a small gateway, and room for a CONNECT.
pub(super) const PACKET_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

pub(super) const PACKET_BYTES_DEFAULT: usize = 256 << 10;

pub(super) fn listeners(root: &mut Section<'_, '_>) -> Vec<Listener> {
    let nodes = root.tables("listener");
    if let Some(node) = nodes.get(LISTENERS_MAX) {
        root.mistakes
            .push(Mistake::error(&node.place, format!("there can be at most {LISTENERS_MAX} listeners")));
    }
    let mut bound: Vec<(SocketAddr, Text<'_>)> = Vec::new();
    for node in nodes.iter().take(LISTENERS_MAX) {
        let Some(mut section) = Section::open(node, "listener", root.mistakes) else { continue };
        if let Some((bind, text)) = bind(&mut section) {
            match bound.iter().find(|(other, _)| *other == bind && bind.port() != 0) {
                Some((_, first)) => section.mistakes.push(super::name::twice("the address", text, *first)),
                None => bound.push((bind, text)),
            }
        }
        section.not_built("tls", "devices connect without TLS; bind to an address that only they reach");
        section.not_built("websocket", "devices connect with MQTT over TCP");
        section.finish();
    }
    if nodes.is_empty() {
        return vec![Listener { bind: (Ipv4Addr::LOCALHOST, PORT).into() }];
    }
    bound.into_iter().map(|(bind, _)| Listener { bind }).collect()
}

fn bind<'t>(section: &mut Section<'t, '_>) -> Option<(SocketAddr, Text<'t>)> {
    let help = "write an IP address and a port, such as \"0.0.0.0:1883\"";
    let node = section.require("bind", help)?;
    let text = section.as_text(node, "bind")?;
    match text.value.parse() {
        Ok(bind) => Some((bind, text)),
        Err(_) => {
            let mistake =
                Mistake::error(text.place, format!("`{}` is not an address to listen on", text.value));
            section.mistakes.push(mistake.help(bind_help(text.value).unwrap_or_else(|| help.to_owned())));
            None
        }
    }
}

/// What somebody meant who wrote half an address.
fn bind_help(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(format!("write \"{}\"", SocketAddr::new(address, PORT)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok()?;
    match host {
        "" | "*" => Some(format!("write \"0.0.0.0:{port}\" for every address of this host")),
        "localhost" => Some(format!("write \"127.0.0.1:{port}\"")),
        _ => None,
    }
}

pub(super) fn access(root: &mut Section<'_, '_>) -> Access {
    let help = "add `anonymous = true` to `[access]`; password files are not built yet in this version";
    let place = root.key("access").unwrap_or(root.place);
    let read = |section: &mut Section<'_, '_>| {
        let anonymous = section.flag("anonymous");
        section.not_built("password_file", "devices connect with `anonymous = true`");
        section.not_built("acl_file", "every device may publish and subscribe to everything");
        // A value of the wrong type is reported already.
        anonymous.unwrap_or_else(|| section.key("anonymous").is_some())
    };
    let written = table(root, "access", read);
    let anonymous = written.unwrap_or(false);
    if !anonymous {
        root.mistakes
            .push(Mistake::error(place, "no device may connect: `access.anonymous` is false").help(help));
    }
    Access { anonymous }
}

/// What one device may take, unless the settings say otherwise.
const LIMITS: Limits = Limits {
    connections_max: 1000,
    connections_per_address_max: 500,
    connects_per_s_max: 1000,
    failed_logins_per_minute_max: 20,
    packet_bytes_max: PACKET_BYTES_DEFAULT,
    client_id_bytes_max: 1024,
    topic_bytes_max: 4096,
    topic_levels_max: 128,
    publishes_per_s_max: None,
    receive_bytes_per_s_max: None,
    inflight_max: 100,
    queue_bytes_max: 1 << 20,
    queue_events_max: 1000,
    subscriptions_max: 100,
    handshake_timeout: Duration::from_secs(5),
    connect_timeout: Duration::from_secs(10),
    idle_timeout: None,
};

/// How long a stage before the first packet may take.
const STAGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

pub(super) fn limits(root: &mut Section<'_, '_>) -> Limits {
    let mut limits = LIMITS;
    table(root, "limits", |section| {
        connection_limits(section, &mut limits);
        client_limits(section, &mut limits);
        if limits.queue_bytes_max < limits.packet_bytes_max {
            let place =
                section.key("queue_bytes_max").or(section.key("packet_bytes_max")).unwrap_or(section.place);
            let message =
                "`queue_bytes_max` is below `packet_bytes_max`: the largest packets reach no subscriber";
            section.mistakes.push(Mistake::warning(place, message));
        }
    });
    limits
}

/// Sets what was written.
fn set<T>(setting: &mut T, written: Option<T>) {
    if let Some(written) = written {
        *setting = written;
    }
}

fn connection_limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    set(&mut limits.connections_max, section.number("connections_max", 1..=100_000));
    let per_address = section.number("connections_per_address_max", 1..=100_000);
    set(&mut limits.connections_per_address_max, per_address);
    set(&mut limits.connects_per_s_max, section.number("connects_per_s_max", 1..=1_000_000));
    let failed = section.number("failed_logins_per_minute_max", 1..=100_000);
    set(&mut limits.failed_logins_per_minute_max, failed);
    set(&mut limits.handshake_timeout, section.duration("handshake_timeout", STAGE));
    set(&mut limits.connect_timeout, section.duration("connect_timeout", STAGE));
    let idle = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
    limits.idle_timeout = section.duration("idle_timeout", idle);
}

fn client_limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    set(&mut limits.packet_bytes_max, section.bytes("packet_bytes_max", PACKET_BYTES));
    set(&mut limits.client_id_bytes_max, section.number("client_id_bytes_max", 23..=65_535));
    set(&mut limits.topic_bytes_max, section.bytes("topic_bytes_max", 16..=65_535));
    set(&mut limits.topic_levels_max, section.number("topic_levels_max", 1..=128));
    limits.publishes_per_s_max = section.number("publishes_per_s_max", 1..=1_000_000);
    limits.receive_bytes_per_s_max = section.bytes("receive_bytes_per_s_max", 1 << 10..=1 << 30);
    set(&mut limits.inflight_max, section.number("inflight_max", 1..=65_535));
    set(&mut limits.queue_bytes_max, section.bytes("queue_bytes_max", 1 << 10..=1 << 30));
    set(&mut limits.queue_events_max, section.number("queue_events_max", 1..=1_000_000));
    set(&mut limits.subscriptions_max, section.number("subscriptions_max", 1..=100_000));
}

#[cfg(test)]
mod tests {
    use super::bind_help;

    #[test]
    fn half_addresses() {
        for (text, help) in [
            ("1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            (":1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            ("*:1883", Some("write \"0.0.0.0:1883\" for every address of this host")),
            ("localhost:1884", Some("write \"127.0.0.1:1884\"")),
            ("10.0.0.1", Some("write \"10.0.0.1:1883\"")),
            ("::1", Some("write \"[::1]:1883\"")),
            ("gateway.local:1883", None),
            ("1.2.3.4:99999", None),
            ("", None),
        ] {
            assert_eq!(bind_help(text).as_deref(), help, "{text}");
        }
    }
}
