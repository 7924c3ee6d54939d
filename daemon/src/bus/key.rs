//! The keys of the durable map: a byte that says what it is, the client id or topic behind its length, and for some a number.

use super::bytes::{Reader, Writer};

/// What a pair of the map is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A session: client id.
    Session(&'a str),
    /// A publish of QoS 2 that was received and not released: client id, packet id.
    Received(&'a str, u16),
    /// A publish that waits for a client, or for its acknowledgement: client id, number.
    Outgoing(&'a str, u64),
    /// A publish of QoS 2 that the client has and we have not heard the end of: client id, number.
    Released(&'a str, u64),
    /// A retained message: topic.
    Retained(&'a str),
    /// The will of a session: client id.
    Will(&'a str),
    /// Marks what was written before it; its value is nothing.
    Fence,
}

impl Key<'_> {
    pub(super) fn encode(self) -> Vec<u8> {
        let (tag, text) = match self {
            Key::Session(text) => (b's', text),
            Key::Received(text, _) => (b'q', text),
            Key::Outgoing(text, _) => (b'o', text),
            Key::Released(text, _) => (b'p', text),
            Key::Retained(text) => (b'r', text),
            Key::Will(text) => (b'w', text),
            Key::Fence => (b'f', ""),
        };
        let mut out = Writer::new(tag);
        out.text(text);
        match self {
            Key::Received(_, packet_id) => out.u16(packet_id),
            Key::Outgoing(_, number) | Key::Released(_, number) => out.u64(number),
            _ => {}
        }
        out.into_vec()
    }
}

impl<'a> Key<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Key<'a>> {
        let mut bytes = Reader::new(bytes);
        let (tag, text) = (bytes.u8()?, bytes.text()?);
        let key = match tag {
            b's' => Key::Session(text),
            b'q' => Key::Received(text, bytes.u16()?),
            b'o' => Key::Outgoing(text, bytes.u64()?),
            b'p' => Key::Released(text, bytes.u64()?),
            b'r' => Key::Retained(text),
            b'w' => Key::Will(text),
            b'f' => Key::Fence,
            _ => return None,
        };
        bytes.is_empty().then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let keys = [
            Key::Session("c"),
            Key::Session(""),
            Key::Received("c", 7),
            Key::Outgoing("c", 1 << 40),
            Key::Released("é", 0),
            Key::Retained("a/b"),
            Key::Will("c"),
            Key::Fence,
        ];
        for key in keys {
            let bytes = key.encode();
            assert_eq!(Key::decode(&bytes), Some(key));
            assert_eq!(Key::decode(&bytes[..bytes.len() - 1]), None, "{key:?} cut short");
            assert_eq!(Key::decode(&[bytes, vec![0]].concat()), None, "{key:?} with a byte more");
        }
        for bytes in [&b""[..], b"x\0\x01c", b"s\0\x02c", b"s\0\x01\xff"] {
            assert_eq!(Key::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_waits_for_one_client_lies_together_in_order() {
        let mut keys: Vec<_> = [300, 2, 70_000].map(|number| Key::Outgoing("c", number).encode()).into();
        keys.push(Key::Outgoing("d", 0).encode());
        keys.sort();
        let read: Vec<_> = keys.iter().map(|key| Key::decode(key).unwrap()).collect();
        assert_eq!(read[..3], [2, 300, 70_000].map(|number| Key::Outgoing("c", number)));
    }
}
