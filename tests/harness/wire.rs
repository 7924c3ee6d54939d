//! Just enough MQTT 3.1.1 and 5 to speak and to listen in, written apart from the daemon's codec on purpose: a mistake in
//! one of them must not be hidden by the same mistake in the other.

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];
/// DISCONNECT with nothing in it, of either version.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What a CONNECT says.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// Protocol version.
    pub version: Version,
    /// Client id.
    pub client_id: &'a str,
    /// Clean session (3.1.1) or clean start (5).
    pub clean: bool,
    /// Keep-alive in seconds, 0 for none.
    pub keep_alive: u16,
    /// Maximum Packet Size; MQTT 5 only.
    pub packet_bytes_max: Option<u32>,
    /// Session Expiry Interval in seconds; MQTT 5 only.
    pub session_expiry_s: Option<u32>,
    /// Topic and payload of a QoS 0 will.
    pub will: Option<(&'a str, &'a [u8])>,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
}

impl<'a> Connect<'a> {
    /// A clean connection with no keep-alive.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            client_id,
            clean: true,
            keep_alive: 0,
            packet_bytes_max: None,
            session_expiry_s: None,
            will: None,
            login: None,
        }
    }

    /// Of a session that is kept for a day (3.1.1: for ever).
    pub fn kept(version: Version, client_id: &'a str) -> Self {
        Self { clean: false, session_expiry_s: Some(24 * 3600), ..Self::new(version, client_id) }
    }

    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, "MQTT");
        body.push(if self.version == Version::V5 { 5 } else { 4 });
        body.push(
            u8::from(self.clean) << 1
                | u8::from(self.will.is_some()) << 2
                | if self.login.is_some() { 0xc0 } else { 0 },
        );
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            let mut properties = Vec::new();
            if let Some(bytes) = self.packet_bytes_max {
                properties.push(0x27);
                properties.extend(bytes.to_be_bytes());
            }
            if let Some(seconds) = self.session_expiry_s {
                properties.push(0x11);
                properties.extend(seconds.to_be_bytes());
            }
            put_length(&mut body, properties.len());
            body.extend(properties);
        }
        put_text(&mut body, self.client_id);
        if let Some((topic, payload)) = self.will {
            if self.version == Version::V5 {
                body.push(0);
            }
            put_text(&mut body, topic);
            put_bytes(&mut body, payload);
        }
        if let Some((username, password)) = self.login {
            put_text(&mut body, username);
            put_text(&mut body, password);
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH with no properties; `packet_id` counts for QoS 1 and 2 only.
pub fn publish(version: Version, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 8);
    put_text(&mut body, topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// A SUBSCRIBE.
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = numbered(version, packet_id);
    for (filter, qos) in filters {
        put_text(&mut body, filter);
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// An UNSUBSCRIBE.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = numbered(version, packet_id);
    filters.iter().for_each(|filter| put_text(&mut body, filter));
    packet(0xA2, &body)
}

/// A PUBACK of success.
pub fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

/// A PUBREC of success.
pub fn pubrec(packet_id: u16) -> Vec<u8> {
    packet(0x50, &packet_id.to_be_bytes())
}

/// A PUBREL of success.
pub fn pubrel(packet_id: u16) -> Vec<u8> {
    packet(0x62, &packet_id.to_be_bytes())
}

/// A PUBCOMP of success.
pub fn pubcomp(packet_id: u16) -> Vec<u8> {
    packet(0x70, &packet_id.to_be_bytes())
}

/// A PUBLISH with its DUP flag set.
pub fn duplicate(mut publish: Vec<u8>) -> Vec<u8> {
    if let Some(first) = publish.first_mut() {
        *first |= 8;
    }
    publish
}

/// A PUBLISH with its RETAIN flag set.
pub fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    if let Some(first) = publish.first_mut() {
        *first |= 1;
    }
    publish
}

/// A packet of this first byte and body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.push(first);
    put_length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Appends a length-prefixed UTF-8 string.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Appends length-prefixed bytes, cut at 65,535.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(bytes.iter().take(usize::from(length)));
}

/// Appends a variable byte integer.
pub fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7F).unwrap_or(0);
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

fn numbered(version: Version, packet_id: u16) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body
}

/// A received packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Type and flags.
    pub first: u8,
    /// All after the length.
    pub body: Vec<u8>,
}

/// A PUBLISH as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Topic name.
    pub topic: String,
    /// Quality of service.
    pub qos: u8,
    /// Marked as sent before.
    pub dup: bool,
    /// Marked as retained.
    pub retain: bool,
    /// Packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// The topic's alias (MQTT 5); with an empty topic it stands for it.
    pub alias: Option<u16>,
    /// MQTT 5 user properties.
    pub properties: Vec<(String, String)>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Who a CONNECT says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    /// Protocol version.
    pub version: Version,
    /// The connect flags (MQTT 5.0, 3.1.2.3).
    pub flags: u8,
    /// Keep-alive in seconds.
    pub keep_alive: u16,
    /// Client id.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
}

impl Frame {
    /// The packet type, 1 to 15.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Takes the first whole packet out of `bytes` from `at` on, and moves `at` behind it.
    pub fn take(bytes: &[u8], at: &mut usize) -> Option<Self> {
        let mut reader = Reader { bytes: bytes.get(*at..)? };
        let first = reader.byte()?;
        let length = reader.length()?;
        let body = reader.take(length)?.to_vec();
        *at = bytes.len() - reader.bytes.len();
        Some(Self { first, body })
    }

    /// The packet id of an acknowledgement.
    pub fn packet_id(&self) -> Option<u16> {
        Reader { bytes: &self.body }.number()
    }

    /// The client id of a CONNECT.
    pub fn client_id(&self) -> Option<String> {
        self.introduced().map(|said| said.client_id)
    }

    /// What a CONNECT says, but for its properties and its will.
    pub fn introduced(&self) -> Option<Introduced> {
        let mut reader = Reader { bytes: &self.body };
        if self.kind() != 1 {
            return None;
        }
        reader.text()?;
        // A bridge of mosquitto sets the highest bit.
        let version = if reader.byte()? & 0x7F == 5 { Version::V5 } else { Version::V311 };
        let (flags, keep_alive) = (reader.byte()?, reader.number()?);
        reader.skip_properties(version)?;
        let client_id = reader.text()?;
        if flags & 4 != 0 {
            reader.skip_properties(version)?;
            reader.text()?;
            let length = reader.number()?;
            reader.take(usize::from(length))?;
        }
        let username = if flags & 0x80 != 0 { Some(reader.text()?) } else { None };
        let password = if flags & 0x40 != 0 { Some(reader.text()?) } else { None };
        Some(Introduced { version, flags, keep_alive, client_id, username, password })
    }

    /// The packet id of a SUBSCRIBE, and its first filter with the QoS that is asked for.
    pub fn subscribed(&self, version: Version) -> Option<(u16, String, u8)> {
        let mut reader = Reader { bytes: &self.body };
        let packet_id = reader.number()?;
        reader.skip_properties(version)?;
        Some((packet_id, reader.text()?, reader.byte()? & 3))
    }

    /// The reason of an acknowledgement (0 if it has none), or the return code of a CONNACK.
    pub fn reason(&self) -> Option<u8> {
        match self.kind() {
            2 => self.body.get(1).copied(),
            4..=7 => Some(self.body.get(2).copied().unwrap_or(0)),
            14 => Some(self.body.first().copied().unwrap_or(0)),
            _ => None,
        }
    }

    /// The codes at the end of a SUBACK or an UNSUBACK.
    pub fn codes(&self, version: Version) -> Option<Vec<u8>> {
        let mut reader = Reader { bytes: &self.body };
        reader.number()?;
        reader.skip_properties(version)?;
        Some(reader.bytes.to_vec())
    }

    /// The packet as a PUBLISH.
    pub fn publish(&self, version: Version) -> Option<Publish> {
        if self.kind() != 3 {
            return None;
        }
        let mut reader = Reader { bytes: &self.body };
        let topic = reader.text()?;
        let qos = self.first >> 1 & 3;
        let packet_id = if qos > 0 { reader.number()? } else { 0 };
        let (alias, properties) =
            if version == Version::V5 { reader.publish_properties()? } else { (None, Vec::new()) };
        let payload = reader.bytes.to_vec();
        Some(Publish {
            topic,
            qos,
            dup: self.first & 8 != 0,
            retain: self.first & 1 != 0,
            packet_id,
            alias,
            properties,
            payload,
        })
    }
}

/// Names and values.
type UserProperties = Vec<(String, String)>;

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn skip_properties(&mut self, version: Version) -> Option<()> {
        if version == Version::V5 {
            let length = self.length()?;
            self.take(length)?;
        }
        Some(())
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        String::from_utf8(self.take(usize::from(length))?.to_vec()).ok()
    }

    // The topic alias and the user properties of a PUBLISH (MQTT 5, 3.3.2.3); the others are stepped over.
    fn publish_properties(&mut self) -> Option<(Option<u16>, UserProperties)> {
        let length = self.length()?;
        let mut section = Reader { bytes: self.take(length)? };
        let (mut alias, mut found) = (None, Vec::new());
        while let Some(id) = section.byte() {
            match id {
                0x01 => drop(section.take(1)?),
                0x02 => drop(section.take(4)?),
                0x23 => alias = Some(section.number()?),
                0x0B => drop(section.length()?),
                0x03 | 0x08 | 0x09 => {
                    let length = section.number()?;
                    section.take(usize::from(length))?;
                }
                0x26 => found.push((section.text()?, section.text()?)),
                _ => return None,
            }
        }
        Some((alias, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_the_bytes_of_the_standard() {
        let connect = Connect { keep_alive: 10, ..Connect::new(Version::V311, "a") };
        assert_eq!(connect.encode(), b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01a");
        for version in [Version::V311, Version::V5] {
            let bytes = Connect { packet_bytes_max: Some(9), ..Connect::new(version, "a-1") }.encode();
            let read = Frame::take(&bytes, &mut 0).and_then(|frame| frame.client_id());
            assert_eq!(read.as_deref(), Some("a-1"));
        }
        assert_eq!(publish(Version::V311, "a/b", b"xy", 0, 7), b"\x30\x07\0\x03a/bxy");
        assert_eq!(publish(Version::V5, "a/b", b"xy", 1, 7), b"\x32\x0a\0\x03a/b\0\x07\0xy");
        assert_eq!(subscribe(Version::V311, 1, &[("#", 1)]), b"\x82\x06\0\x01\0\x01#\x01");
    }

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole() {
        let mut bytes = publish(Version::V5, "t", &[9; 200], 1, 515);
        bytes.extend(PINGREQ);
        for cut in 0..bytes.len() - PINGREQ.len() {
            assert_eq!(Frame::take(&bytes[..cut], &mut 0), None, "cut at {cut}");
        }
        let mut at = 0;
        let read = Frame::take(&bytes, &mut at).and_then(|frame| frame.publish(Version::V5)).unwrap();
        assert_eq!((read.topic.as_str(), read.packet_id, read.payload.len()), ("t", 515, 200));
        assert_eq!(Frame::take(&bytes, &mut at).map(|frame| frame.kind()), Some(12));
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn user_properties_are_read_among_others() {
        let section = b"\x01\x01\x02\0\0\0\x05\x23\0\x01\x03\0\x01c\x0b\x81\x01\x26\0\x01k\0\x02vv";
        let mut body = b"\0\x01t".to_vec();
        put_length(&mut body, section.len());
        body.extend(section);
        body.extend(b"pay");
        let read = Frame { first: 0x30, body }.publish(Version::V5).unwrap();
        assert_eq!(read.properties, [("k".to_owned(), "vv".to_owned())]);
        assert_eq!(read.payload, b"pay");
    }
}
