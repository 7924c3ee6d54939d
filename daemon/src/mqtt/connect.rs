//! CONNECT, which fixes the version for everything that follows (section 3.1).

use super::DecodeError;
use super::DecodeError::{Malformed, Protocol};
use super::cursor::Cursor;
use super::decode::Frame;
use super::packet::{Connect, Version, Will};
use super::properties::{self, PublishProperties, allow, id};

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
        session_expiry_s: if version == Version::V311 && !flags.clean_start { u32::MAX } else { 0 },
        enhanced_authentication: false,
    };
    if version == Version::V5 {
        read_properties(&mut connect, body.section()?)?;
    }
    connect.client_id = body.text()?;
    if flags.will {
        connect.will = Some(will(&mut body, version, &flags)?);
    }
    if flags.username {
        connect.username = Some(body.text()?);
    }
    if flags.password {
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
        if version == Version::V311 && flags.password && !flags.username {
            return Err(Malformed("a password without a user name"));
        }
        Ok(flags)
    }
}

fn read_properties(connect: &mut Connect<'_>, section: Cursor<'_>) -> Result<(), DecodeError> {
    properties::read(section, CONNECT_PROPERTIES, |id, value| match id {
        id::SESSION_EXPIRY => connect.session_expiry_s = value.number(),
        id::RECEIVE_MAXIMUM => connect.receive_maximum = u16::try_from(value.number()).unwrap_or(u16::MAX),
        id::MAXIMUM_PACKET_SIZE => connect.packet_bytes_max = value.number(),
        id::AUTHENTICATION_METHOD => connect.enhanced_authentication = true,
        _ => {}
    })
}

fn will<'a>(body: &mut Cursor<'a>, version: Version, flags: &Flags) -> Result<Will<'a>, DecodeError> {
    let properties = match version {
        Version::V311 => PublishProperties::default(),
        Version::V5 => PublishProperties::read(body.section()?, WILL_PROPERTIES)?,
    };
    let topic = body.text()?;
    tidegate_rules::check_topic_name(topic).map_err(|_| DecodeError::TopicName)?;
    let payload = body.binary()?;
    if properties.payload_is_text && str::from_utf8(payload).is_err() {
        return Err(Malformed("the will's payload is not the text it claims to be"));
    }
    Ok(Will { topic, payload, qos: flags.will_qos, retain: flags.will_retain, properties })
}
