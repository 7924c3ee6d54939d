//! The MQTT wire format, as a server sees it, and what a subscriber needs beside: versions 3.1.1 and 5.0 (OASIS standards of 2014 and 2019), and 3.1 (IBM
//! and Eurotech, 2010), which differs from 3.1.1 in CONNECT alone.
//!
//! [`frame`] finds a whole packet in a read buffer and refuses an oversize one from its header alone;
//! [`decode_connect`] and [`decode`] turn its body into a packet that borrows from that buffer; the encoders
//! append to an output buffer. Everything is strict: what the standard calls malformed is an error here.
//!
//! This module knows bytes only. It knows no socket, no session, no time; it answers nothing by itself.

mod connect;
mod cursor;
mod decode;
mod encode;
mod error;
mod packet;
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use connect::decode_connect;
pub(crate) use decode::{Frame, decode, decode_suback, frame};
pub(crate) use encode::{
    Connack, Delivery, ack, connack, content_type, correlation_data, disconnect, message_expiry, pingresp,
    publish, publish_bytes, publish_properties, suback, subscribe, subscription_identifier, topic_alias,
    unsuback, user_property,
};
pub(crate) use error::DecodeError;
pub(crate) use packet::{
    AckKind, Connect, Packet, Publish, Subscribe, SubscriptionOptions, Version, Will, split_share,
};
pub(crate) use properties::PublishProperties;

/// Reason codes of MQTT 5.0 (section 2.4) that this server sends or reads.
pub(crate) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub(crate) const UNSPECIFIED_ERROR: u8 = 0x80;
    pub(crate) const MALFORMED_PACKET: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
    pub(crate) const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
    pub(crate) const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
    pub(crate) const SERVER_SHUTTING_DOWN: u8 = 0x8b;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
    pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
    pub(crate) const SESSION_TAKEN_OVER: u8 = 0x8e;
    pub(crate) const TOPIC_FILTER_INVALID: u8 = 0x8f;
    pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
    pub(crate) const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub(crate) const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
    pub(crate) const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    pub(crate) const CONNECTION_RATE_EXCEEDED: u8 = 0x9f;
}
