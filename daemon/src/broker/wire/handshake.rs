//! CONNECT and CONNACK in either version: who we are, and on which terms the broker takes us.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::{QoS, v4};
use rumqttc::v5::mqttbytes::{QoS as QoS5, v5};
use tidegate_config::{Broker, Version};

use super::{INPUT_BYTES_MAX, WireError};

/// What is said of the gateway itself when it connects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduction {
    /// Topic and payload of the will.
    pub(crate) will: Option<(String, Vec<u8>)>,
    /// The broker may have said that it keeps no retained messages, or takes no more than QoS 0.
    pub(crate) will_is_plain: bool,
    /// The session that goes on from one connection to the next; `None` for one that ends with its connection.
    pub(crate) session: Option<Session>,
    /// The largest packet that the broker may send where no session says so, in bytes. `None`: it has little to say.
    pub(crate) packet_bytes_max: Option<usize>,
}

impl Introduction {
    /// The largest packet that the broker may send, in bytes.
    pub(super) fn input_bytes_max(&self) -> usize {
        let of_session = self.session.as_ref().map(|session| session.packet_bytes_max);
        of_session.or(self.packet_bytes_max).unwrap_or(INPUT_BYTES_MAX)
    }
}

/// A session that the broker keeps, and what it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// How long it is kept without a connection; of MQTT 3.1.1 the broker decides.
    pub(crate) expiry_s: u32,
    /// How many publishes it may send unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet it may send, in bytes.
    pub(crate) packet_bytes_max: usize,
}

/// What CONNACK said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How many publishes of QoS 1 and 2 the broker takes unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet it takes, in bytes.
    pub(crate) packet_bytes_max: usize,
    /// The highest quality of service it takes.
    pub(crate) qos_max: u8,
    /// Whether it takes publishes that are to be retained.
    pub(crate) retain_available: bool,
    /// How many topics it remembers by a number.
    pub(crate) topic_alias_max: u16,
    /// The keep-alive it wants in place of ours.
    pub(crate) keep_alive: Option<Duration>,
    /// It has kept the session of an earlier connection.
    pub(crate) session_present: bool,
}

impl Terms {
    /// A broker that sets no bounds.
    pub(crate) const UNLIMITED: Terms = Terms {
        receive_maximum: u16::MAX,
        packet_bytes_max: usize::MAX,
        qos_max: 2,
        retain_available: true,
        topic_alias_max: 0,
        keep_alive: None,
        session_present: false,
    };

    /// With our own bound of packets.
    pub(crate) fn within(self, packet_bytes_max: usize) -> Terms {
        Terms { packet_bytes_max: self.packet_bytes_max.min(packet_bytes_max), ..self }
    }
}

/// Appends CONNECT.
pub(super) fn write_connect(
    broker: &Broker,
    password: Option<String>,
    introduction: &Introduction,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let username = broker.username.clone().or(password.as_ref().map(|_| String::new()));
    let login = username.map(|username| (username, password.unwrap_or_default()));
    let mut packet = BytesMut::new();
    let written = match broker.version {
        Version::V311 => {
            let connect = connect_v311(broker, login, introduction);
            connect.write(&mut packet).map_err(|error| error.to_string())
        }
        Version::V5 => {
            let login = login.map(|(username, password)| v5::Login { username, password });
            let will = will_v5(introduction);
            connect_v5(broker, introduction)
                .write(&will, &login, &mut packet)
                .map_err(|error| error.to_string())
        }
    };
    written.map_err(WireError::Malformed)?;
    out.extend_from_slice(&packet);
    Ok(())
}

fn keep_alive(broker: &Broker) -> u16 {
    u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX)
}

fn connect_v311(broker: &Broker, login: Option<(String, String)>, said: &Introduction) -> v4::Connect {
    let mut connect = v4::Connect::new(&broker.client_id);
    connect.keep_alive = keep_alive(broker);
    connect.clean_session = said.session.is_none();
    connect.login = login.map(|(username, password)| v4::Login { username, password });
    connect.last_will = said.will.as_ref().map(|(topic, payload)| v4::LastWill {
        topic: topic.clone(),
        message: payload.clone().into(),
        qos: if said.will_is_plain { QoS::AtMostOnce } else { QoS::AtLeastOnce },
        retain: !said.will_is_plain,
    });
    connect
}

fn connect_v5(broker: &Broker, said: &Introduction) -> v5::Connect {
    let mut properties = v5::ConnectProperties::new();
    properties.max_packet_size = u32::try_from(said.input_bytes_max()).ok();
    properties.receive_maximum = said.session.map(|session| session.receive_maximum);
    properties.session_expiry_interval = said.session.map(|session| session.expiry_s);
    v5::Connect {
        keep_alive: keep_alive(broker),
        client_id: broker.client_id.clone(),
        clean_start: said.session.is_none(),
        properties: Some(properties),
    }
}

fn will_v5(said: &Introduction) -> Option<v5::LastWill> {
    let (topic, payload) = said.will.clone()?;
    let qos = if said.will_is_plain { QoS5::AtMostOnce } else { QoS5::AtLeastOnce };
    Some(v5::LastWill::new(topic, payload, qos, !said.will_is_plain, None))
}

/// The terms of a broker of MQTT 3.1.1, which sets none.
pub(super) fn terms_v311(packet: v4::Packet) -> Result<Terms, WireError> {
    use v4::ConnectReturnCode as Code;
    let v4::Packet::ConnAck(connack) = packet else { return Err(WireError::NotConnack) };
    let code = match connack.code {
        Code::Success => return Ok(Terms { session_present: connack.session_present, ..Terms::UNLIMITED }),
        Code::RefusedProtocolVersion => 0x84,
        Code::BadClientId => 0x85,
        Code::ServiceUnavailable => 0x88,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
    };
    Err(WireError::Refused(code, format!("{:?}", connack.code)))
}

/// The terms of a broker of MQTT 5.
pub(super) fn terms_v5(packet: v5::Packet) -> Result<Terms, WireError> {
    let v5::Packet::ConnAck(connack) = packet else { return Err(WireError::NotConnack) };
    if connack.code != v5::ConnectReturnCode::Success {
        let said = connack.properties.and_then(|properties| properties.reason_string);
        let said = said.unwrap_or_else(|| format!("{:?}", connack.code));
        return Err(WireError::Refused(code(connack.code), said));
    }
    let session_present = connack.session_present;
    let Some(properties) = connack.properties else {
        return Ok(Terms { session_present, ..Terms::UNLIMITED });
    };
    let packet_bytes_max = properties.max_packet_size.and_then(|bytes| usize::try_from(bytes).ok());
    Ok(Terms {
        receive_maximum: properties.receive_max.unwrap_or(u16::MAX),
        packet_bytes_max: packet_bytes_max.unwrap_or(usize::MAX),
        qos_max: properties.max_qos.unwrap_or(2),
        retain_available: properties.retain_available != Some(0),
        topic_alias_max: properties.topic_alias_max.unwrap_or(0),
        keep_alive: properties.server_keep_alive.map(|seconds| Duration::from_secs(seconds.into())),
        session_present,
    })
}

/// The code of a CONNACK's reason (section 3.2.2.2).
fn code(code: v5::ConnectReturnCode) -> u8 {
    use v5::ConnectReturnCode as Code;
    match code {
        Code::Success => 0x00,
        Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => 0x84,
        Code::BadClientId | Code::ClientIdentifierNotValid => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServiceUnavailable | Code::ServerUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8a,
        Code::BadAuthenticationMethod => 0x8c,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9a,
        Code::QoSNotSupported => 0x9b,
        Code::UseAnotherServer => 0x9c,
        Code::ServerMoved => 0x9d,
        Code::ConnectionRateExceeded => 0x9f,
    }
}
