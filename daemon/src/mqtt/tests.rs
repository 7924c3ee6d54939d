//! Packets by the table: what is served, what is refused and why, and that no bytes make the decoder panic.

use super::packet::Packet;
use super::{
    AckKind, Connack, DecodeError, Delivery, Version, connack, decode, decode_connect, frame, publish, suback,
};
use proptest::prelude::{any, proptest};

const MAX: usize = 256 * 1024;

/// A packet from its first byte and body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn decoded(version: Version, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let frame = frame(bytes, MAX)?.expect("a whole packet");
    assert_eq!(frame.packet_bytes, bytes.len());
    decode(version, &frame)
}

mod framing {
    use super::{DecodeError, MAX, frame, packet};

    #[test]
    fn waits_for_the_whole_packet() {
        let bytes = packet(0x30, &[0; 300]);
        for length in 0..bytes.len() {
            assert_eq!(frame(&bytes[..length], MAX), Ok(None), "{length} bytes");
        }
        assert_eq!(frame(&bytes, MAX).unwrap().unwrap().body.len(), 300);
    }

    #[test]
    fn leaves_what_follows() {
        let mut bytes = packet(0xc0, &[]);
        bytes.extend_from_slice(b"rest");
        assert_eq!(frame(&bytes, MAX).unwrap().unwrap().packet_bytes, 2);
    }

    #[test]
    fn refuses_an_oversize_packet_by_its_header_alone() {
        let header = [0x30, 0xff, 0xff, 0xff, 0x7f];
        let refused = frame(&header, MAX).unwrap_err();
        assert_eq!(refused, DecodeError::TooLarge { packet_bytes: 5 + 268_435_455, packet_bytes_max: MAX });
        assert_eq!(frame(&packet(0x30, &[0; 98]), 100).map(|found| found.is_some()), Ok(true));
        assert!(frame(&packet(0x30, &[0; 99]), 100).is_err());
    }

    #[test]
    fn refuses_a_length_of_five_bytes_or_in_a_long_form() {
        assert!(matches!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff], MAX), Err(DecodeError::Malformed(_))));
        assert!(matches!(frame(&[0x30, 0x80, 0x00], MAX), Err(DecodeError::Malformed(_))));
    }
}

mod connecting {
    use super::{DecodeError, MAX, Version, decode_connect, frame, packet};

    /// CONNECT with this level, these flags, and what follows keep-alive.
    fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend_from_slice(&[level, flags, 0, 60]);
        body.extend_from_slice(rest);
        packet(0x10, &body)
    }

    fn refused(bytes: &[u8]) -> DecodeError {
        decode_connect(&frame(bytes, MAX).unwrap().unwrap()).unwrap_err()
    }

    #[test]
    fn reads_everything_of_version_4() {
        let bytes = connect(4, 0xee, b"\x00\x02id\x00\x01w\x00\x02by\x00\x04user\x00\x02\xff\x00");
        let frame = frame(&bytes, MAX).unwrap().unwrap();
        let connect = decode_connect(&frame).unwrap();
        assert_eq!(connect.version, Version::V311);
        assert_eq!((connect.client_id, connect.keep_alive_s, connect.clean_start), ("id", 60, true));
        assert_eq!((connect.username, connect.password), (Some("user"), Some(&b"\xff\x00"[..])));
        let will = connect.will.unwrap();
        assert_eq!((will.topic, will.payload, will.qos, will.retain), ("w", &b"by"[..], 1, true));
    }

    #[test]
    fn reads_the_properties_of_version_5() {
        let properties = b"\x0d\x11\0\0\0\x0a\x21\0\x05\x27\0\0\x01\0\0\x03abc";
        let bytes = connect(5, 2, properties);
        let frame = frame(&bytes, MAX).unwrap().unwrap();
        let connect = decode_connect(&frame).unwrap();
        assert_eq!((connect.session_expiry_s, connect.receive_maximum), (10, 5));
        assert_eq!((connect.packet_bytes_max, connect.client_id), (256, "abc"));
    }

    #[test]
    fn refuses_what_the_standard_does_not_allow() {
        let table: [(&str, Vec<u8>); 12] = [
            ("level 3 by the new name", connect(3, 2, b"\0\0")),
            ("level 6", connect(6, 2, b"\0\0")),
            ("reserved flag", connect(4, 3, b"\0\0")),
            ("will QoS without a will", connect(4, 0x0a, b"\0\0")),
            ("will QoS 3", connect(4, 0x1e, b"\0\0\0\x01t\0\0")),
            ("password without user name", connect(4, 0x42, b"\0\0\0\x01p")),
            ("wildcard in the will's topic", connect(4, 6, b"\0\0\0\x01#\0\0")),
            ("bytes after the end", connect(4, 2, b"\0\0x")),
            ("client id cut short", connect(4, 2, b"\0\x05ab")),
            ("receive maximum of 0", connect(5, 2, b"\x03\x21\0\0\0\0")),
            ("a property twice", connect(5, 2, b"\x06\x21\0\x01\x21\0\x01\0\0")),
            ("a property of another packet", connect(5, 2, b"\x03\x23\0\x01\0\0")),
        ];
        for (what, bytes) in table {
            assert!(matches!(frame(&bytes, MAX), Ok(Some(_))), "{what}");
            refused(&bytes);
        }
        assert_eq!(refused(&connect(3, 2, b"\0\0")), DecodeError::Version(3));
        assert!(matches!(refused(&packet(0xc0, b"")), DecodeError::Protocol(_)));
        assert!(matches!(refused(&packet(0x11, b"")), DecodeError::Malformed(_)));
    }
}

mod packets {
    use super::{AckKind, DecodeError, Packet, Version, decoded, packet};

    #[test]
    fn publish_of_both_versions() {
        let bytes = packet(0x33, b"\x00\x03a/b\x00\x07hello");
        let Ok(Packet::Publish(publish)) = decoded(Version::V311, &bytes) else { panic!("not a publish") };
        assert_eq!((publish.topic, publish.packet_id, publish.payload), ("a/b", 7, &b"hello"[..]));
        assert_eq!((publish.qos, publish.retain, publish.dup), (1, true, false));

        let bytes = packet(0x30, b"\x00\x01t\x0e\x01\x01\x26\x00\x01k\x00\x01v\x03\x00\x02ctx");
        let Ok(Packet::Publish(publish)) = decoded(Version::V5, &bytes) else { panic!("not a publish") };
        assert!(publish.properties.payload_is_text);
        assert_eq!(publish.properties.content_type, Some("ct"));
        assert_eq!(publish.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
        assert_eq!(publish.payload, b"x");
    }

    #[test]
    fn subscribe_unsubscribe_and_the_small_ones() {
        let bytes = packet(0x82, b"\x00\x09\x00\x03a/#\x01\x00\x01+\x02");
        let Ok(Packet::Subscribe(subscribe)) = decoded(Version::V311, &bytes) else {
            panic!("not a subscribe")
        };
        let filters: Vec<_> =
            subscribe.filters.iter().map(|(filter, options)| (*filter, options.qos())).collect();
        assert_eq!((subscribe.packet_id, filters), (9, vec![("a/#", 1), ("+", 2)]));
        let puback = || Packet::Ack { kind: AckKind::Ack, packet_id: 1, reason: 0 };
        assert_eq!(
            decoded(Version::V5, &packet(0xa2, b"\x00\x09\x00\x00\x01a")),
            Ok(Packet::Unsubscribe { packet_id: 9, filters: vec!["a"] })
        );
        assert_eq!(decoded(Version::V311, &packet(0xc0, b"")), Ok(Packet::PingReq));
        assert_eq!(decoded(Version::V311, &packet(0x40, b"\0\x01")), Ok(puback()));
        for (first, kind, reason) in [
            (0x40, AckKind::Ack, 0x10),
            (0x50, AckKind::Rec, 0x97),
            (0x62, AckKind::Rel, 0x92),
            (0x70, AckKind::Comp, 0),
        ] {
            let expected = Packet::Ack { kind, packet_id: 1, reason };
            assert_eq!(decoded(Version::V5, &packet(first, &[0, 1, reason])), Ok(expected));
        }
        let goodbye = Packet::Disconnect { reason: 4, session_expiry_s: None };
        assert_eq!(decoded(Version::V5, &packet(0xe0, b"\x04")), Ok(goodbye));
    }

    #[test]
    fn refusals() {
        let v4 = Version::V311;
        let v5 = Version::V5;
        let table: [(&str, Version, u8, &[u8]); 31] = [
            ("QoS 3", v4, 0x36, b"\0\x01t\0\x01"),
            ("DUP at QoS 0", v4, 0x38, b"\0\x01t"),
            ("packet id 0", v4, 0x32, b"\0\x01t\0\0"),
            ("empty topic", v4, 0x30, b"\0\0"),
            ("wildcard in a topic", v4, 0x30, b"\0\x01#"),
            ("topic not UTF-8", v4, 0x30, b"\0\x01\xff"),
            ("surrogate in a topic", v4, 0x30, b"\0\x03\xed\xa0\x80"),
            ("U+0000 in a topic", v4, 0x30, b"\0\x01\0"),
            ("empty topic with no alias", v5, 0x30, b"\0\0\0"),
            ("alias given twice", v5, 0x30, b"\0\0\x06\x23\0\x01\x23\0\x02"),
            ("subscription identifier from a client", v5, 0x30, b"\0\x01t\x02\x0b\x01"),
            ("text payload that is not text", v5, 0x30, b"\0\x01t\x02\x01\x01\xff"),
            ("flag of 2", v5, 0x30, b"\0\x01t\x02\x01\x02"),
            ("SUBSCRIBE with other flags", v4, 0x80, b"\0\x01\0\x01a\0"),
            ("SUBSCRIBE without a filter", v4, 0x82, b"\0\x01"),
            ("SUBSCRIBE with QoS 3", v4, 0x82, b"\0\x01\0\x01a\x03"),
            ("SUBSCRIBE with reserved options", v5, 0x82, b"\0\x01\0\0\x01a\x40"),
            ("bad filter", v4, 0x82, b"\0\x01\0\x02a#\0"),
            ("filter in a SUBSCRIBE cut short", v4, 0x82, b"\0\x01\0\x09a"),
            ("UNSUBSCRIBE without a filter", v4, 0xa2, b"\0\x01"),
            ("PINGREQ with a body", v4, 0xc0, b"x"),
            ("a server's packet", v4, 0xd0, b""),
            ("AUTH in version 4", v4, 0xf0, b""),
            ("DISCONNECT with a body in version 4", v4, 0xe0, b"\0"),
            ("DISCONNECT with a server's reason", v5, 0xe0, b"\x8e"),
            ("PUBACK with a reason of SUBACK", v5, 0x40, b"\0\x01\x8f"),
            ("PUBREL with a reason of PUBREC", v5, 0x62, b"\0\x01\x97"),
            ("PUBREL with DUP", v4, 0x6a, b"\0\x01"),
            ("shared without a filter", v5, 0x82, b"\0\x01\0\0\x08$share/g\0"),
            ("shared with a wildcard in the name", v5, 0x82, b"\0\x01\0\0\x0b$share/g+/a\0"),
            ("No Local on a shared one", v5, 0x82, b"\0\x01\0\0\x0a$share/g/a\x04"),
        ];
        for (what, version, first, body) in table {
            assert!(decoded(version, &packet(first, body)).is_err(), "{what}");
        }
        assert_eq!(decoded(v4, &packet(0x30, b"\0\x01+")), Err(DecodeError::TopicName));
        assert!(matches!(decoded(v4, &packet(0x10, b"")), Err(DecodeError::Protocol(_))));
    }
}

mod encoding {
    use super::{Connack, Delivery, Packet, Version, connack, decoded, publish, suback};
    use crate::mqtt::{publish_bytes, unsuback};

    #[test]
    fn a_publish_comes_back_as_it_was() {
        for (version, qos, packet_id) in [(Version::V311, 0, 0), (Version::V311, 1, 5), (Version::V5, 1, 9)] {
            let properties: &[u8] = if version == Version::V5 { b"\x26\0\x01k\0\x01v" } else { b"" };
            let delivery = Delivery {
                qos,
                retain: false,
                dup: false,
                packet_id,
                topic: "a/b",
                properties,
                payload: &[7; 200],
            };
            let mut out = Vec::new();
            publish(version, &delivery, &mut out);
            assert_eq!(out.len(), publish_bytes(version, &delivery));
            let Ok(Packet::Publish(back)) = decoded(version, &out) else { panic!("not a publish") };
            assert_eq!((back.topic, back.qos, back.packet_id), ("a/b", qos, packet_id));
            assert_eq!(back.payload, [7; 200]);
            assert_eq!(back.properties.user_properties().count(), properties.len().min(1));
        }
    }

    #[test]
    fn connack_in_both_versions() {
        let answer = Connack {
            reason: 0,
            session_present: true,
            receive_maximum: 100,
            packet_bytes_max: 0x4_0000,
            topic_alias_max: 7,
            assigned_client_id: Some("x"),
            session_expiry_s: Some(9),
            server_keep_alive_s: Some(5),
            reason_string: "",
        };
        let mut out = Vec::new();
        connack(Version::V311, &answer, &mut out);
        assert_eq!(out, [0x20, 2, 1, 0]);
        out.clear();
        connack(Version::V31, &answer, &mut out);
        assert_eq!(out, [0x20, 2, 0, 0], "the byte is reserved there");
        out.clear();
        connack(Version::V5, &answer, &mut out);
        let expected = [
            0x20, 26, 1, 0, 23, 0x21, 0, 100, 0x27, 0, 4, 0, 0, 0x22, 0, 7, 0x11, 0, 0, 0, 9, 0x13, 0, 5,
            0x12, 0, 1, b'x',
        ];
        assert_eq!(out, expected);
        out.clear();
        connack(Version::V311, &Connack { reason: 0x84, ..answer }, &mut out);
        assert_eq!(out, [0x20, 2, 0, 1]);
    }

    #[test]
    fn suback_and_unsuback_in_both_versions() {
        let mut out = Vec::new();
        suback(Version::V311, 1, &[1, 0x97], &mut out);
        assert_eq!(out, [0x90, 4, 0, 1, 1, 0x80]);
        out.clear();
        suback(Version::V5, 1, &[1, 0x97], &mut out);
        assert_eq!(out, [0x90, 5, 0, 1, 0, 1, 0x97]);
        out.clear();
        unsuback(Version::V311, 2, &[0], &mut out);
        unsuback(Version::V5, 2, &[0x11], &mut out);
        assert_eq!(out, [0xb0, 2, 0, 2, 0xb0, 4, 0, 2, 0, 0x11]);
    }
}

proptest! {
    /// Any bytes: an error or a packet, never a panic, and never more used than there is.
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some(found)) = frame(&bytes, MAX) {
            assert!(found.packet_bytes <= bytes.len());
            let _ = decode_connect(&found);
            let _ = decode(Version::V311, &found);
            let _ = decode(Version::V5, &found);
        }
    }

    /// Near misses of a real packet, which get further than noise does.
    #[test]
    fn no_damage_makes_it_panic(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let publish = packet(0x32, b"\x00\x03a/b\x00\x07\x15\x01\x01\x03\x00\x02ct\x26\x00\x01k\x00\x01v\x02\0\0\0\x09text");
        let connect = packet(0x10, b"\0\x04MQTT\x05\xc6\0\x0a\x03\x21\0\x05\0\x02id\x05\x18\0\0\0\x01\0\x01t\0\x01w\0\x01u\0\x01p");
        let subscribe = packet(0x82, b"\0\x01\x02\x0b\x01\0\x03a/#\x01");
        for mut bytes in [publish, connect, subscribe] {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut % 5));
            if let Ok(Some(found)) = frame(&bytes, MAX) {
                let _ = decode_connect(&found);
                let _ = decode(Version::V5, &found);
                let _ = decode(Version::V311, &found);
            }
        }
    }
}
