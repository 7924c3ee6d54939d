//! CONNECT, which fixes the version for everything that follows (section 3.1).

use super::DecodeError;
use super::DecodeError::{Malformed, Protocol};
use super::cursor::Cursor;
use super::decode::Frame;
use super::packet::{Connect, Version, Will};
use super::properties::{self, PublishProperties, allow, id};
use tidegate_rules::check_topic_name;

const CONNECT_PROPERTIES: u64 = allow(&[
    id::SESSION_EXPIRY,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REQUEST_PROBLEM_INFORMATION,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
]);

const WILL_PROPERTIES: u64 = allow(&[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::WILL_DELAY,
    id::USER_PROPERTY,
]);

/// Decodes the first packet of a connection, which has to be CONNECT.
pub(crate) fn decode_connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, DecodeError> {
    if frame.first >> 4 != 1 {
        return Err(Protocol("the first packet is not CONNECT"));
    }
    if frame.first != 0x10 {
        return Err(Malformed("flags of the fixed header"));
    }
    let mut body = Cursor::new(frame.body);
    let version = version(&mut body)?;
    let flags = Flags::read(&mut body, version)?;
    let mut connect = Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive_s: body.u16()?,
        client_id: "",
        will: None,
        username: None,
        password: None,
        receive_maximum: u16::MAX,
        packet_bytes_max: u32::MAX,
        session_expiry_s: if version != Version::V5 && !flags.clean_start { u32::MAX } else { 0 },
        topic_alias_max: 0,
        problem_information: true,
        enhanced_authentication: false,
    };
    if version == Version::V5 {
        read_properties(&mut connect, body.section()?)?;
    }
    connect.client_id = body.text()?;
    if flags.will {
        connect.will = Some(will(&mut body, version, &flags)?);
    }
    // In 3.1 the packet's length decides, not the flag (its section 3.1).
    let cut = version == Version::V31 && body.is_empty();
    if flags.username && !cut {
        connect.username = Some(body.text()?);
    }
    let cut = version == Version::V31 && body.is_empty();
    if flags.password && !cut {
        connect.password = Some(body.binary()?);
    }
    if !body.is_empty() {
        return Err(Malformed("bytes after the end of CONNECT"));
    }
    Ok(connect)
}

fn version(body: &mut Cursor<'_>) -> Result<Version, DecodeError> {
    let name = body.binary()?;
    let level = body.u8()?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", level) => Err(DecodeError::Version(level)),
        _ => Err(Protocol("the protocol is not MQTT")),
    }
}

struct Flags {
    username: bool,
    password: bool,
    will_retain: bool,
    will_qos: u8,
    will: bool,
    clean_start: bool,
}

impl Flags {
    fn read(body: &mut Cursor<'_>, version: Version) -> Result<Flags, DecodeError> {
        let byte = body.u8()?;
        let flags = Flags {
            username: byte & 0x80 != 0,
            password: byte & 0x40 != 0,
            will_retain: byte & 0x20 != 0,
            will_qos: (byte >> 3) & 3,
            will: byte & 0x04 != 0,
            clean_start: byte & 0x02 != 0,
        };
        if byte & 1 != 0 {
            return Err(Malformed("the reserved connect flag is set"));
        }
        if flags.will_qos == 3 || !flags.will && (flags.will_qos != 0 || flags.will_retain) {
            return Err(Malformed("will flags contradict each other"));
        }
        if version != Version::V5 && flags.password && !flags.username {
            return Err(Malformed("a password without a user name"));
        }
        Ok(flags)
    }
}

fn read_properties(connect: &mut Connect<'_>, section: Cursor<'_>) -> Result<(), DecodeError> {
    properties::read(section, CONNECT_PROPERTIES, |id, value| match id {
        id::SESSION_EXPIRY => connect.session_expiry_s = value.number(),
        id::RECEIVE_MAXIMUM => connect.receive_maximum = value.number_16(),
        id::MAXIMUM_PACKET_SIZE => connect.packet_bytes_max = value.number(),
        id::AUTHENTICATION_METHOD => connect.enhanced_authentication = true,
        id::TOPIC_ALIAS_MAXIMUM => connect.topic_alias_max = value.number_16(),
        id::REQUEST_PROBLEM_INFORMATION => connect.problem_information = value.number() == 1,
        _ => {}
    })
}

fn will<'a>(body: &mut Cursor<'a>, version: Version, flags: &Flags) -> Result<Will<'a>, DecodeError> {
    let mut delay_s = 0;
    let properties = match version {
        Version::V31 | Version::V311 => PublishProperties::default(),
        Version::V5 => {
            let section = body.section()?;
            properties::read(section, WILL_PROPERTIES, |id, value| {
                if id == id::WILL_DELAY {
                    delay_s = value.number();
                }
            })?;
            PublishProperties::read(section, WILL_PROPERTIES)?
        }
    };
    let topic = body.text()?;
    check_topic_name(topic).map_err(|_| DecodeError::TopicName)?;
    if let Some(response_topic) = properties.response_topic {
        check_topic_name(response_topic).map_err(|_| DecodeError::TopicName)?;
    }
    let payload = body.binary()?;
    if properties.payload_is_text && str::from_utf8(payload).is_err() {
        return Err(Malformed("the will's payload is not the text it claims to be"));
    }
    Ok(Will { topic, payload, qos: flags.will_qos, retain: flags.will_retain, delay_s, properties })
}
