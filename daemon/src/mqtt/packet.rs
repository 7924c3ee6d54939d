//! The packets a client sends, borrowed from the read buffer.

use super::properties::PublishProperties;

/// The protocol versions served (the level byte of CONNECT is 3, 4 or 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1, which old devices speak
    V31,
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

impl Version {
    /// The level byte of CONNECT (section 3.1.2.2).
    pub(crate) fn level(self) -> u8 {
        match self {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        }
    }

    /// The version of a level byte.
    pub(crate) fn of_level(level: u8) -> Option<Version> {
        [Version::V31, Version::V311, Version::V5].into_iter().find(|version| version.level() == level)
    }
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
    /// How many publishes of QoS 1 and 2 the client takes unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet the client takes, in bytes.
    pub(crate) packet_bytes_max: u32,
    /// How long the session is kept once its connection has ended; `u32::MAX` is for ever.
    pub(crate) session_expiry_s: u32,
    /// The highest topic alias that the client takes; 0 is none.
    pub(crate) topic_alias_max: u16,
    /// False if the client wants reasons in words on CONNACK and DISCONNECT at most (section 3.1.2.11.7).
    pub(crate) problem_information: bool,
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
    /// How long the will waits for the client to come back (section 3.1.3.2.2).
    pub(crate) delay_s: u32,
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
    /// 0 if there is none.
    pub(crate) identifier: u32,
    /// Validated filters, `$share/NAME/` included, with their options.
    pub(crate) filters: Vec<(&'a str, SubscriptionOptions)>,
}

/// What a subscription asks for (section 3.8.3.1), as the byte it came in; never one with reserved bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionOptions(u8);

impl SubscriptionOptions {
    /// Takes the byte of a packet; `None` if the version does not allow it.
    pub(crate) fn new(version: Version, byte: u8) -> Option<Self> {
        let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
        let legal = byte & reserved == 0 && byte & 3 != 3 && (byte >> 4) & 3 != 3;
        legal.then_some(SubscriptionOptions(byte))
    }

    pub(crate) fn byte(self) -> u8 {
        self.0
    }

    /// The highest QoS to be delivered.
    pub(crate) fn qos(self) -> u8 {
        self.0 & 3
    }

    /// What the subscriber itself publishes does not come back to it.
    pub(crate) fn no_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// The RETAIN flag is delivered as it was published.
    pub(crate) fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }

    /// When retained messages are sent: 0 always, 1 for a new subscription, 2 never.
    pub(crate) fn retain_handling(self) -> u8 {
        (self.0 >> 4) & 3
    }
}

/// Any packet but CONNECT that a client may send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        kind: AckKind,
        packet_id: u16,
        reason: u8,
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
    Auth,
}

/// The four packets that acknowledge a publish, step by step (sections 3.4 to 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// PUBACK.
    Ack,
    /// PUBREC.
    Rec,
    /// PUBREL.
    Rel,
    /// PUBCOMP.
    Comp,
}

impl AckKind {
    /// The first byte of its packet.
    pub(super) fn first(self) -> u8 {
        match self {
            AckKind::Ack => 0x40,
            AckKind::Rec => 0x50,
            AckKind::Rel => 0x62,
            AckKind::Comp => 0x70,
        }
    }

    /// Whether the standard lists this reason for the packet.
    pub(super) fn allows(self, reason: u8) -> bool {
        match self {
            AckKind::Ack | AckKind::Rec => {
                matches!(reason, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            AckKind::Rel | AckKind::Comp => matches!(reason, 0x00 | 0x92),
        }
    }
}

/// Takes `$share/NAME/` off a filter (section 4.8.2). `None` if the filter is not a shared one; the name is empty if it
/// is not a legal one.
pub(crate) fn split_share(filter: &str) -> Option<(&str, &str)> {
    let rest = filter.strip_prefix("$share/")?;
    let (name, filter) = rest.split_once('/').unwrap_or(("", ""));
    Some(if name.contains(['+', '#']) { ("", filter) } else { (name, filter) })
}
