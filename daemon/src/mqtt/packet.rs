//! The packets a client sends, borrowed from the read buffer.

use super::properties::PublishProperties;

/// The protocol versions served (the level byte of CONNECT is 4 or 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

/// CONNECT (section 3.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    /// Seconds; 0 turns keep-alive off.
    pub(crate) keep_alive_s: u16,
    pub(crate) client_id: &'a str,
    pub(crate) will: Option<Will<'a>>,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    /// How many QoS 1 publishes the client takes unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet the client takes, in bytes.
    pub(crate) packet_bytes_max: u32,
    pub(crate) session_expiry_s: u32,
    /// The client wants enhanced authentication (section 4.12).
    pub(crate) enhanced_authentication: bool,
}

/// What is published for a client whose connection ends without DISCONNECT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: PublishProperties<'a>,
}

/// PUBLISH (section 3.3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: &'a str,
    /// 0 for QoS 0, which carries none.
    pub(crate) packet_id: u16,
    pub(crate) properties: PublishProperties<'a>,
    pub(crate) payload: &'a [u8],
}

/// SUBSCRIBE (section 3.8).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) packet_id: u16,
    pub(crate) subscription_identifier: Option<u32>,
    /// Validated filters with the QoS asked for.
    pub(crate) filters: Vec<(&'a str, u8)>,
}

/// Any packet but CONNECT that a client may send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Publish(Publish<'a>),
    PubAck {
        packet_id: u16,
    },
    Subscribe(Subscribe<'a>),
    Unsubscribe {
        packet_id: u16,
        filters: Vec<&'a str>,
    },
    PingReq,
    Disconnect {
        reason: u8,
        session_expiry_s: Option<u32>,
    },
    /// PUBREC, PUBREL or PUBCOMP: the handshake of QoS 2.
    QoS2,
    Auth,
}
