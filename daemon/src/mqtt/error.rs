//! Why a packet was refused.

use super::reason;

/// A packet that the standard does not allow, or that is over a limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes do not form a packet (MQTT 5.0, section 1.2, "Malformed Packet").
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The packet is well formed, but not allowed here ("Protocol Error").
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The packet's header claims more bytes than the listener takes.
    #[error("packet of {packet_bytes} bytes is over the limit of {packet_bytes_max} bytes")]
    TooLarge { packet_bytes: usize, packet_bytes_max: usize },
    /// A topic name with a wildcard, too many levels, or nothing in it.
    #[error("topic name is not valid")]
    TopicName,
    /// A topic filter that breaks the rules of section 4.7.
    #[error("topic filter is not valid")]
    TopicFilter,
    /// CONNECT asks for a version that is neither 4 (3.1.1) nor 5.
    #[error("protocol version {0} is not supported")]
    Version(u8),
}

impl DecodeError {
    /// The reason code that an MQTT 5 client is told.
    pub(crate) fn reason(self) -> u8 {
        match self {
            DecodeError::Malformed(_) => reason::MALFORMED_PACKET,
            DecodeError::Protocol(_) => reason::PROTOCOL_ERROR,
            DecodeError::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            DecodeError::TopicName => reason::TOPIC_NAME_INVALID,
            DecodeError::TopicFilter => reason::TOPIC_FILTER_INVALID,
            DecodeError::Version(_) => reason::UNSUPPORTED_PROTOCOL_VERSION,
        }
    }
}
