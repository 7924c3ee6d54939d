//! Framing, and the packets that may follow CONNECT.

use super::DecodeError;
use super::DecodeError::{Malformed, Protocol};
use super::cursor::Cursor;
use super::packet::{AckKind, Packet, Publish, Subscribe, SubscriptionOptions, Version, split_share};
use super::properties::{self, PublishProperties, allow, id};
use tidegate_rules::{TopicFilter, check_topic_name};

const PUBLISH_PROPERTIES: u64 = allow(&[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::TOPIC_ALIAS,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);
const ACK_PROPERTIES: u64 = allow(&[id::REASON_STRING, id::USER_PROPERTY]);
const SUBSCRIBE_PROPERTIES: u64 = allow(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
const UNSUBSCRIBE_PROPERTIES: u64 = allow(&[id::USER_PROPERTY]);
const DISCONNECT_PROPERTIES: u64 = allow(&[id::SESSION_EXPIRY, id::REASON_STRING, id::USER_PROPERTY]);
const AUTH_PROPERTIES: u64 =
    allow(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING, id::USER_PROPERTY]);

/// A whole packet in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Packet type and flags (section 2.1).
    pub(crate) first: u8,
    /// What follows the fixed header.
    pub(crate) body: &'a [u8],
    /// The whole packet's length, header included.
    pub(crate) packet_bytes: usize,
}

/// Finds the first packet in `buffer`. `None` means that more bytes are needed.
///
/// A packet over `packet_bytes_max` is refused as soon as its length is known, before anything is buffered for it.
pub(crate) fn frame(buffer: &[u8], packet_bytes_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut header = Cursor::new(rest);
    let body_bytes = match header.variable() {
        Ok(length) => length,
        Err(_) if rest.len() < 4 && rest.iter().all(|byte| byte & 0x80 != 0) => return Ok(None),
        Err(error) => return Err(error),
    };
    let header_bytes = buffer.len() - header.rest().len();
    let packet_bytes = header_bytes + body_bytes;
    if packet_bytes > packet_bytes_max {
        return Err(DecodeError::TooLarge { packet_bytes, packet_bytes_max });
    }
    Ok(header.rest().get(..body_bytes).map(|body| Frame { first, body, packet_bytes }))
}

/// Decodes any packet but the first of a connection.
pub(crate) fn decode<'a>(version: Version, frame: &Frame<'a>) -> Result<Packet<'a>, DecodeError> {
    let kind = frame.first >> 4;
    let flags = frame.first & 0x0f;
    let expected = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
    // 3.1 has DUP in these three as well (its sections 3.6, 3.8 and 3.10).
    let repeated = version == Version::V31 && expected == 2 && flags == 0x0a;
    if kind != 3 && flags != expected && !repeated {
        return Err(Malformed("flags of the fixed header"));
    }
    let body = Cursor::new(frame.body);
    match kind {
        1 => Err(Protocol("a second CONNECT")),
        3 => publish(version, flags, body).map(Packet::Publish),
        4 => ack(version, AckKind::Ack, body),
        5 => ack(version, AckKind::Rec, body),
        6 => ack(version, AckKind::Rel, body),
        7 => ack(version, AckKind::Comp, body),
        8 => subscribe(version, body).map(Packet::Subscribe),
        10 => unsubscribe(version, body),
        12 if body.is_empty() => Ok(Packet::PingReq),
        14 => disconnect(version, body),
        15 if version == Version::V5 => auth(body),
        12 => Err(Malformed("PINGREQ has a body")),
        2 | 9 | 11 | 13 => Err(Protocol("a packet that only servers send")),
        _ => Err(Malformed("packet type")),
    }
}

/// Decodes SUBACK, which only servers send (section 3.9): a code for each filter.
pub(crate) fn decode_suback<'a>(version: Version, frame: &Frame<'a>) -> Result<&'a [u8], DecodeError> {
    if frame.first != 0x90 {
        return Err(Malformed("flags of the fixed header"));
    }
    let mut body = Cursor::new(frame.body);
    body.packet_id()?;
    if version == Version::V5 {
        properties::read(body.section()?, ACK_PROPERTIES, |_, _| {})?;
    }
    match body.rest() {
        [] => Err(Protocol("SUBACK without a code")),
        codes => Ok(codes),
    }
}

fn publish<'a>(version: Version, flags: u8, mut body: Cursor<'a>) -> Result<Publish<'a>, DecodeError> {
    let (dup, qos, retain) = (flags & 8 != 0, (flags >> 1) & 3, flags & 1 != 0);
    if qos == 3 {
        return Err(Malformed("QoS 3"));
    }
    if qos == 0 && dup {
        return Err(Malformed("DUP is set at QoS 0"));
    }
    let topic = body.text()?;
    let packet_id = if qos == 0 { 0 } else { body.packet_id()? };
    let properties = match version {
        Version::V31 | Version::V311 => PublishProperties::default(),
        Version::V5 => PublishProperties::read(body.section()?, PUBLISH_PROPERTIES)?,
    };
    let aliased = topic.is_empty() && properties.topic_alias.is_some();
    if !aliased {
        check_topic_name(topic).map_err(|_| DecodeError::TopicName)?;
    }
    if let Some(response_topic) = properties.response_topic {
        check_topic_name(response_topic).map_err(|_| DecodeError::TopicName)?;
    }
    let payload = body.rest();
    if properties.payload_is_text && str::from_utf8(payload).is_err() {
        return Err(Malformed("the payload is not the text it claims to be"));
    }
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload })
}

/// PUBACK and its three relatives: packet id, and in MQTT 5 a reason and properties that may be left out.
fn ack<'a>(version: Version, kind: AckKind, mut body: Cursor<'a>) -> Result<Packet<'a>, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut reason = 0;
    if version == Version::V5 && !body.is_empty() {
        reason = body.u8()?;
        if !kind.allows(reason) {
            return Err(Protocol("a reason code that this acknowledgement may not have"));
        }
        if !body.is_empty() {
            properties::read(body.section()?, ACK_PROPERTIES, |_, _| {})?;
        }
    }
    end(body, Packet::Ack { kind, packet_id, reason })
}

fn subscribe<'a>(version: Version, mut body: Cursor<'a>) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut identifier = 0;
    if version == Version::V5 {
        properties::read(body.section()?, SUBSCRIBE_PROPERTIES, |id, value| {
            if id == id::SUBSCRIPTION_IDENTIFIER {
                identifier = value.number();
            }
        })?;
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.text()?;
        let shared = check_filter(filter)?;
        let options =
            SubscriptionOptions::new(version, body.u8()?).ok_or(Malformed("subscription options"))?;
        if shared && options.no_local() {
            return Err(Protocol("No Local on a shared subscription"));
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return Err(Protocol("SUBSCRIBE without a filter"));
    }
    Ok(Subscribe { packet_id, identifier, filters })
}

/// Checks a filter, with `$share/NAME/` in front or without (section 4.8.2); says whether it is a shared one.
fn check_filter(filter: &str) -> Result<bool, DecodeError> {
    let (shared, inner) = match split_share(filter) {
        Some(("", _)) => return Err(DecodeError::TopicFilter),
        Some((_, inner)) => (true, inner),
        None => (false, filter),
    };
    TopicFilter::parse(inner).map_err(|_| DecodeError::TopicFilter)?;
    Ok(shared)
}

fn unsubscribe<'a>(version: Version, mut body: Cursor<'a>) -> Result<Packet<'a>, DecodeError> {
    let packet_id = body.packet_id()?;
    if version == Version::V5 {
        properties::read(body.section()?, UNSUBSCRIBE_PROPERTIES, |_, _| {})?;
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.text()?;
        check_filter(filter)?;
        filters.push(filter);
    }
    if filters.is_empty() {
        return Err(Protocol("UNSUBSCRIBE without a filter"));
    }
    Ok(Packet::Unsubscribe { packet_id, filters })
}

fn disconnect(version: Version, mut body: Cursor<'_>) -> Result<Packet<'static>, DecodeError> {
    let (mut reason, mut session_expiry_s) = (0, None);
    if version == Version::V5 && !body.is_empty() {
        reason = body.u8()?;
        if !matches!(reason, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
            return Err(Protocol("a reason code that DISCONNECT may not have"));
        }
        if !body.is_empty() {
            properties::read(body.section()?, DISCONNECT_PROPERTIES, |id, value| {
                if id == id::SESSION_EXPIRY {
                    session_expiry_s = Some(value.number());
                }
            })?;
        }
    }
    end(body, Packet::Disconnect { reason, session_expiry_s })
}

fn auth(mut body: Cursor<'_>) -> Result<Packet<'static>, DecodeError> {
    if !body.is_empty() {
        body.u8()?;
        if !body.is_empty() {
            properties::read(body.section()?, AUTH_PROPERTIES, |_, _| {})?;
        }
    }
    end(body, Packet::Auth)
}

fn end<T>(body: Cursor<'_>, value: T) -> Result<T, DecodeError> {
    if body.is_empty() { Ok(value) } else { Err(Malformed("bytes after the end of the packet")) }
}
