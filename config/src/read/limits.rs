//! `[limits]`: what devices may take.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::table;
use crate::Limits;
use crate::mistake::Mistake;
use crate::section::Section;

/// Bounds of a packet, here and at uplinks: small enough for a small gateway, and room for a CONNECT.
pub(super) const PACKET_BYTES: RangeInclusive<u64> = 1 << 10..=16 << 20;

pub(super) const PACKET_BYTES_DEFAULT: usize = 256 << 10;

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
    topic_alias_max: 10,
    keep_alive_max: None,
    mqtt31: false,
    sessions_max: 10_000,
    session_expiry_max: Duration::from_secs(30 * 24 * 3600),
    retained_max: 10_000,
    retained_bytes_max: 16 << 20,
    handshake_timeout: Duration::from_secs(5),
    connect_timeout: Duration::from_secs(10),
    idle_timeout: None,
};

/// How long a stage before the first packet may take.
const STAGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

pub(super) fn limits(root: &mut Section<'_, '_>) -> Limits {
    let mut limits = LIMITS;
    table(root, "limits", |section| {
        connection_limits(section, &mut limits);
        client_limits(section, &mut limits);
        session_limits(section, &mut limits);
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

fn session_limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    set(&mut limits.mqtt31, section.flag("mqtt31"));
    set(&mut limits.topic_alias_max, section.number("topic_alias_max", 0..=65_535));
    limits.keep_alive_max = section.duration("keep_alive_max", seconds(1)..=seconds(65_535));
    set(&mut limits.sessions_max, section.number("sessions_max", 0..=1_000_000));
    let expiry = section.duration("session_expiry_max", seconds(1)..=seconds(3650 * 24 * 3600));
    set(&mut limits.session_expiry_max, expiry);
    set(&mut limits.retained_max, section.number("retained_max", 0..=1_000_000));
    set(&mut limits.retained_bytes_max, section.bytes("retained_bytes_max", 1 << 10..=1 << 30));
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
