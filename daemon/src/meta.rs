//! What a record keeps of a publish beside topic and payload: a byte of flags, then properties in MQTT 5's own
//! encoding, so that they need no second format.

use bytes::Bytes;

use crate::mqtt::PublishProperties;

const QOS: u8 = 0b011;
const RETAIN: u8 = 0b100;

/// How a record is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta<'a> {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: PublishProperties<'a>,
}

/// The bytes of a record without properties, which cost nothing to make.
pub(crate) fn plain(qos: u8, retain: bool) -> Bytes {
    const PLAIN: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    let start = usize::from(flags(qos, retain));
    Bytes::from_static(PLAIN.get(start..=start).unwrap_or(&[1]))
}

/// The bytes of a record with properties.
pub(crate) fn with_properties(qos: u8, retain: bool, properties: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + properties.len());
    bytes.push(flags(qos, retain));
    bytes.extend_from_slice(properties);
    bytes.into()
}

/// Reads a record's meta. `None` if the bytes are not what this module writes.
pub(crate) fn read(bytes: &[u8]) -> Option<Meta<'_>> {
    let (&flags, section) = bytes.split_first()?;
    if flags & !(QOS | RETAIN) != 0 || flags & QOS > 2 {
        return None;
    }
    let properties = PublishProperties::decode(section).ok()?;
    Some(Meta { qos: flags & QOS, retain: flags & RETAIN != 0, properties })
}

fn flags(qos: u8, retain: bool) -> u8 {
    qos & QOS | if retain { RETAIN } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{plain, read, with_properties};
    use crate::mqtt;

    #[test]
    fn what_is_written_is_read() {
        for (qos, retain) in [(0, false), (1, false), (1, true), (2, true)] {
            let bytes = plain(qos, retain);
            let meta = read(&bytes).unwrap();
            assert_eq!((meta.qos, meta.retain), (qos, retain));
            assert!(meta.properties.is_empty());
        }
        let section = b"\x03\x00\x04text\x26\x00\x01k\x00\x01v";
        let bytes = with_properties(1, false, section);
        let meta = read(&bytes).unwrap();
        assert_eq!(meta.properties.content_type, Some("text"));
        assert_eq!(meta.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
        let mut again = Vec::new();
        mqtt::publish_properties(&meta.properties, &mut again);
        assert_eq!(again, section);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b""[..], b"\x03", b"\xff", b"\x01\x03\x00"] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
