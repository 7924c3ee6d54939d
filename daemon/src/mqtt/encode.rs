//! Encoders: each appends one packet to an output buffer.

use super::packet::{AckKind, Version};
use super::properties::id;

/// What CONNACK says of this server (section 3.2).
#[derive(Debug, Default)]
pub(crate) struct Connack<'a> {
    /// Reason code of MQTT 5; translated for the versions before.
    pub(crate) reason: u8,
    /// The session of an earlier connection goes on.
    pub(crate) session_present: bool,
    /// How many publishes of QoS 1 and 2 we take unacknowledged.
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: usize,
    pub(crate) topic_alias_max: u16,
    pub(crate) assigned_client_id: Option<&'a str>,
    /// How long the session is kept, if that is not what the client asked for.
    pub(crate) session_expiry_s: Option<u32>,
    /// The keep-alive that counts in place of the client's.
    pub(crate) server_keep_alive_s: Option<u16>,
    /// Why, in words; empty for none.
    pub(crate) reason_string: &'a str,
}

/// Appends CONNACK.
pub(crate) fn connack(version: Version, connack: &Connack<'_>, out: &mut Vec<u8>) {
    let session_present = u8::from(connack.session_present && connack.reason == 0);
    match version {
        // In 3.1 the byte is reserved.
        Version::V31 => return out.extend_from_slice(&[0x20, 2, 0, return_code(connack.reason)]),
        Version::V311 => {
            return out.extend_from_slice(&[0x20, 2, session_present, return_code(connack.reason)]);
        }
        Version::V5 => {}
    }
    let mut properties = Vec::with_capacity(32);
    if connack.reason == 0 {
        connack_properties(connack, &mut properties);
    }
    reason_string(connack.reason_string, &mut properties);
    let mut body = vec![session_present, connack.reason];
    variable(properties.len(), &mut body);
    body.extend_from_slice(&properties);
    out.push(0x20);
    variable(body.len(), out);
    out.extend_from_slice(&body);
}

/// What a client has to know (section 3.2.2.3). What is left out has the standard's default: QoS 2, retained messages,
/// wildcards, subscription identifiers and shared subscriptions are there.
fn connack_properties(connack: &Connack<'_>, out: &mut Vec<u8>) {
    out.push(id::RECEIVE_MAXIMUM);
    out.extend_from_slice(&connack.receive_maximum.to_be_bytes());
    out.push(id::MAXIMUM_PACKET_SIZE);
    let packet_bytes_max = u32::try_from(connack.packet_bytes_max).unwrap_or(u32::MAX);
    out.extend_from_slice(&packet_bytes_max.to_be_bytes());
    if connack.topic_alias_max > 0 {
        out.push(id::TOPIC_ALIAS_MAXIMUM);
        out.extend_from_slice(&connack.topic_alias_max.to_be_bytes());
    }
    if let Some(expiry_s) = connack.session_expiry_s {
        out.push(id::SESSION_EXPIRY);
        out.extend_from_slice(&expiry_s.to_be_bytes());
    }
    if let Some(keep_alive_s) = connack.server_keep_alive_s {
        out.push(id::SERVER_KEEP_ALIVE);
        out.extend_from_slice(&keep_alive_s.to_be_bytes());
    }
    if let Some(client_id) = connack.assigned_client_id {
        out.push(id::ASSIGNED_CLIENT_ID);
        text(client_id, out);
    }
}

fn reason_string(words: &str, out: &mut Vec<u8>) {
    if !words.is_empty() {
        out.push(id::REASON_STRING);
        text(words, out);
    }
}

/// The 3.1.1 return code nearest to an MQTT 5 reason (3.1.1, section 3.2.2.3).
fn return_code(reason: u8) -> u8 {
    match reason {
        0x00 => 0,
        0x84 => 1,
        0x85 => 2,
        0x86 => 4,
        0x87 | 0x8c => 5,
        _ => 3,
    }
}

/// Appends PUBACK or one of its three relatives. Before 5.0 there is no reason: only success may be sent there. `words`
/// say why, and may be empty.
pub(crate) fn ack(
    version: Version,
    kind: AckKind,
    packet_id: u16,
    reason: u8,
    words: &str,
    out: &mut Vec<u8>,
) {
    let [high, low] = packet_id.to_be_bytes();
    if version != Version::V5 || reason == 0 {
        out.extend_from_slice(&[kind.first(), 2, high, low]);
    } else if words.is_empty() {
        out.extend_from_slice(&[kind.first(), 3, high, low, reason]);
    } else {
        let mut properties = Vec::with_capacity(3 + words.len());
        reason_string(words, &mut properties);
        out.push(kind.first());
        variable(3 + variable_bytes(properties.len()) + properties.len(), out);
        out.extend_from_slice(&[high, low, reason]);
        variable(properties.len(), out);
        out.extend_from_slice(&properties);
    }
}

/// Appends SUBACK with a code for each filter (granted QoS, or a reason of 0x80 and more).
pub(crate) fn suback(version: Version, packet_id: u16, codes: &[u8], out: &mut Vec<u8>) {
    out.push(0x90);
    variable(codes.len() + 2 + usize::from(version == Version::V5), out);
    out.extend_from_slice(&packet_id.to_be_bytes());
    match version {
        Version::V31 | Version::V311 => {
            out.extend(codes.iter().map(|&code| if code < 0x80 { code } else { 0x80 }))
        }
        Version::V5 => {
            out.push(0);
            out.extend_from_slice(codes);
        }
    }
}

/// Appends SUBSCRIBE, as a client sends it, with the highest QoS that each filter wants. By MQTT 5 retained messages come with
/// their flag, and only where a subscription is new (section 3.8.3.1).
pub(crate) fn subscribe<'f>(
    version: Version,
    packet_id: u16,
    filters: impl Iterator<Item = (&'f str, u8)>,
    out: &mut Vec<u8>,
) {
    const RETAIN_AS_PUBLISHED: u8 = 0x08;
    const RETAINED_IF_NEW: u8 = 0x10;
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        text(filter, &mut body);
        body.push(if version == Version::V5 { qos | RETAIN_AS_PUBLISHED | RETAINED_IF_NEW } else { qos });
    }
    out.push(0x82);
    variable(body.len(), out);
    out.extend_from_slice(&body);
}

/// Appends UNSUBACK.
pub(crate) fn unsuback(version: Version, packet_id: u16, codes: &[u8], out: &mut Vec<u8>) {
    let codes = if version == Version::V5 { codes } else { &[] };
    out.push(0xb0);
    variable(codes.len() + 2 + usize::from(version == Version::V5), out);
    out.extend_from_slice(&packet_id.to_be_bytes());
    if version == Version::V5 {
        out.push(0);
        out.extend_from_slice(codes);
    }
}

/// Appends PINGRESP.
pub(crate) fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xd0, 0]);
}

/// Appends DISCONNECT with its reason, and with `words` that say why, unless they are empty. 3.1.1 has no such packet
/// from a server: nothing is sent.
pub(crate) fn disconnect(version: Version, reason: u8, words: &str, out: &mut Vec<u8>) {
    if version != Version::V5 {
        return;
    }
    let mut properties = Vec::with_capacity(3 + words.len());
    reason_string(words, &mut properties);
    out.push(0xe0);
    variable(1 + variable_bytes(properties.len()) + properties.len(), out);
    out.push(reason);
    variable(properties.len(), out);
    out.extend_from_slice(&properties);
}

/// A publish towards a subscriber or the cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Sent before, and not acknowledged.
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) topic: &'a str,
    /// Encoded properties without their length, empty for 3.1.1.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The whole length of [`publish`]'s packet, in bytes, for the client's Maximum Packet Size.
pub(crate) fn publish_bytes(version: Version, delivery: &Delivery<'_>) -> usize {
    let body = body_bytes(version, delivery);
    1 + variable_bytes(body) + body
}

fn body_bytes(version: Version, delivery: &Delivery<'_>) -> usize {
    let properties = match version {
        Version::V31 | Version::V311 => 0,
        Version::V5 => variable_bytes(delivery.properties.len()) + delivery.properties.len(),
    };
    let packet_id = if delivery.qos == 0 { 0 } else { 2 };
    2 + delivery.topic.len() + packet_id + properties + delivery.payload.len()
}

/// Appends PUBLISH.
pub(crate) fn publish(version: Version, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
    out.reserve(5 + body_bytes(version, delivery));
    out.push(0x30 | u8::from(delivery.dup) << 3 | delivery.qos << 1 | u8::from(delivery.retain));
    variable(body_bytes(version, delivery), out);
    text(delivery.topic, out);
    if delivery.qos > 0 {
        out.extend_from_slice(&delivery.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        variable(delivery.properties.len(), out);
        out.extend_from_slice(delivery.properties);
    }
    out.extend_from_slice(delivery.payload);
}

/// Appends a user property (section 3.3.2.3.7) to a publish's properties.
pub(crate) fn user_property(key: &str, value: &str, out: &mut Vec<u8>) {
    out.push(id::USER_PROPERTY);
    text(key, out);
    text(value, out);
}

/// Appends the content type (section 3.3.2.3.9) to a publish's properties.
pub(crate) fn content_type(value: &str, out: &mut Vec<u8>) {
    out.push(id::CONTENT_TYPE);
    text(value, out);
}

/// Appends correlation data (section 3.3.2.3.6) to a publish's properties.
pub(crate) fn correlation_data(data: &[u8], out: &mut Vec<u8>) {
    out.push(id::CORRELATION_DATA);
    binary(data, out);
}

/// Appends the message expiry in seconds (section 3.3.2.3.3) to a publish's properties.
pub(crate) fn message_expiry(expiry_s: u32, out: &mut Vec<u8>) {
    out.push(id::MESSAGE_EXPIRY);
    out.extend_from_slice(&expiry_s.to_be_bytes());
}

/// Appends a topic alias (section 3.3.2.3.4) to a publish's properties.
pub(crate) fn topic_alias(alias: u16, out: &mut Vec<u8>) {
    out.push(id::TOPIC_ALIAS);
    out.extend_from_slice(&alias.to_be_bytes());
}

/// Appends a subscription identifier (section 3.3.2.3.8) to a publish's properties.
pub(crate) fn subscription_identifier(identifier: u32, out: &mut Vec<u8>) {
    out.push(id::SUBSCRIPTION_IDENTIFIER);
    variable(usize::try_from(identifier).unwrap_or(0), out);
}

/// Appends properties that a subscriber of a publish is told (section 3.3.2.3).
pub(crate) fn publish_properties(properties: &super::PublishProperties<'_>, out: &mut Vec<u8>) {
    if properties.payload_is_text {
        out.extend_from_slice(&[id::PAYLOAD_FORMAT, 1]);
    }
    if let Some(content_type) = properties.content_type {
        out.push(id::CONTENT_TYPE);
        text(content_type, out);
    }
    if let Some(response_topic) = properties.response_topic {
        out.push(id::RESPONSE_TOPIC);
        text(response_topic, out);
    }
    if let Some(data) = properties.correlation_data {
        correlation_data(data, out);
    }
    for (key, value) in properties.user_properties() {
        user_property(key, value, out);
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    binary(text.as_bytes(), out);
}

/// Two bytes of length and the bytes. Whatever comes here was read from a packet or bounded at load, so it fits;
/// were it longer, it is cut rather than corrupting the stream.
fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.get(..length.into()).unwrap_or(bytes));
}

fn variable_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

fn variable(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
