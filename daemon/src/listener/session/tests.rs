//! The session against a host that records what it is asked, packet by packet.

use std::rc::Rc;

use super::{Admission, Flow, Host, Session};
use crate::bus::BusEvent;
use crate::event::Event;
use crate::listener::{Access, Action, Cause, Client, Limits, QueueBounds};
use crate::testing;
use bytes::Bytes;
use tidegate_rules::TopicFilter;

struct Recorder {
    admission: Admission,
    published: Vec<(String, u8, Option<u32>)>,
    subscriptions: Vec<(String, u8)>,
    refused: usize,
    login: Result<Option<&'static str>, u8>,
}

impl Recorder {
    fn new() -> Self {
        Recorder {
            admission: Admission::Open,
            published: Vec::new(),
            subscriptions: Vec::new(),
            refused: 0,
            login: Ok(None),
        }
    }
}

/// Everything but the topics that begin with `secret`.
impl Access for Recorder {
    fn may(&self, _action: Action, client: &Client<'_>, topic: &str) -> bool {
        !topic.starts_with("secret") || client.username == Some("admin")
    }
}

impl Host for Recorder {
    fn login(&self) -> Result<Option<Box<str>>, u8> {
        self.login.map(|username| username.map(Box::from))
    }
    fn admission(&self, _topic: &str) -> Admission {
        self.admission
    }
    fn connected(&mut self, _client_id: &str) {}
    fn assign_client_id(&mut self) -> String {
        "assigned".into()
    }
    fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>) {
        self.published.push((event.topic.into(), event.qos, receipt));
    }
    fn refused(&mut self) {
        self.refused += 1;
    }
    fn subscribe(&mut self, filter: &TopicFilter, qos: u8) {
        self.subscriptions.push((filter.as_str().into(), qos));
    }
    fn unsubscribe(&mut self, filter: &TopicFilter, qos: u8) {
        self.subscriptions.retain(|known| *known != (filter.as_str().into(), qos));
    }
}

fn limits() -> Rc<Limits> {
    Rc::new(Limits {
        packet_bytes_max: 1000,
        client_id_bytes_max: 20,
        topic_bytes_max: 40,
        topic_levels_max: 4,
        inflight_max: 3,
        subscriptions_max: 2,
        connect_timeout_ms: 10_000,
        queue: QueueBounds { events_max: 10, bytes_max: 1000 },
        ..testing::limits()
    })
}

const CONNECT_4: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c";

/// A session that has said CONNECT, with nothing left to write.
fn connected(connect: &[u8], host: &mut Recorder) -> Session {
    let mut session = Session::new(limits(), 0);
    assert_eq!(session.handle_input(connect, 0, host), Flow::Read);
    assert_eq!(session.output().first(), Some(&0x20));
    session.output().clear();
    session
}

fn publish(packet_id: u8) -> Vec<u8> {
    vec![0x32, 5, 0, 1, b't', 0, packet_id]
}

/// PUBLISH of QoS 1 as version 5 has it.
fn publish_5(packet_id: u8) -> Vec<u8> {
    vec![0x32, 6, 0, 1, b't', 0, packet_id, 0]
}

#[test]
fn an_acknowledgement_waits_for_its_receipt_and_for_those_before_it() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(&[publish(1), publish(2)].concat(), 0, &mut host);
    session.write_acks();
    assert_eq!(session.output(), b"");
    let receipts: Vec<u32> = host.published.iter().map(|(_, _, receipt)| receipt.unwrap()).collect();
    session.handle_receipt(receipts[1]);
    session.write_acks();
    assert_eq!(session.output(), b"", "the second does not overtake the first");
    session.handle_receipt(receipts[0]);
    session.write_acks();
    assert_eq!(session.output(), b"\x40\x02\0\x01\x40\x02\0\x02");
}

#[test]
fn qos_0_is_published_and_never_acknowledged() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x30\x03\0\x01t", 0, &mut host);
    assert_eq!(host.published, [("t".to_owned(), 0, None)]);
    session.write_acks();
    assert_eq!(session.output(), b"");
}

#[test]
fn packets_may_come_in_any_pieces() {
    let whole = [CONNECT_4.to_vec(), publish(1), vec![0xc0, 0], publish(2)].concat();
    for size in 1..whole.len() {
        let mut host = Recorder::new();
        let mut session = Session::new(limits(), 0);
        for piece in whole.chunks(size) {
            assert_eq!(session.handle_input(piece, 0, &mut host), Flow::Read, "pieces of {size}");
        }
        assert_eq!(host.published.len(), 2, "pieces of {size}");
    }
}

#[test]
fn without_room_it_stops_reading_and_goes_on_where_it_was() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    host.admission = Admission::Wait;
    let input = [vec![0xc0, 0], publish(1), publish(2)].concat();
    assert_eq!(session.handle_input(&input, 0, &mut host), Flow::WaitForRoom);
    assert_eq!(session.output(), b"\xd0\x00", "what came before the publish is answered");
    assert!(host.published.is_empty());
    host.admission = Admission::Open;
    assert_eq!(session.handle_input(b"", 0, &mut host), Flow::Read);
    assert_eq!(host.published.len(), 2);
}

#[test]
fn a_refused_event_is_refused_in_order_on_version_5() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_5, &mut host);
    session.handle_input(&publish_5(1), 0, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(&publish_5(2), 0, &mut host), Flow::Read);
    assert_eq!(session.output(), b"", "the refusal waits for the answer before it");
    assert_eq!(host.refused, 1);
    session.handle_receipt(0);
    session.write_acks();
    assert_eq!(session.output(), b"\x40\x02\0\x01\x40\x03\0\x02\x97");
}

#[test]
fn a_refused_event_closes_a_connection_of_version_4_without_an_acknowledgement() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(&publish(1), 0, &mut host), Flow::Close(Cause::Refused));
    assert_eq!(session.output(), b"");
    assert!(host.published.is_empty());
}

#[test]
fn a_refused_event_of_qos_0_is_counted_and_the_connection_goes_on() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(b"\x30\x03\0\x01t", 0, &mut host), Flow::Read);
    assert_eq!((host.refused, host.published.len()), (1, 0));
}

#[test]
fn past_the_inflight_bound_version_4_waits_and_version_5_is_told() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    let four: Vec<u8> = (1..=4).flat_map(publish).collect();
    assert_eq!(session.handle_input(&four, 0, &mut host), Flow::WaitForClient);
    assert_eq!(host.published.len(), 3);
    session.handle_receipt(0);
    session.write_acks();
    assert_eq!(session.handle_input(b"", 0, &mut host), Flow::Read);
    assert_eq!(host.published.len(), 4);

    let mut session = connected(CONNECT_5, &mut host);
    let four: Vec<u8> = (1..=4).flat_map(publish_5).collect();
    assert!(matches!(session.handle_input(&four, 0, &mut host), Flow::Close(Cause::NotSupported(0x93, _))));
    assert_eq!(session.output(), b"\xe0\x02\x93\x00");
}

#[test]
fn subscriptions_are_granted_bounded_replaced_and_removed() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x82\x0e\0\x01\0\x01a\x02\0\x01b\0\0\x01c\x01", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x05\0\x01\x01\0\x80", "QoS 2 becomes 1, the third is over the bound");
    session.output().clear();
    session.handle_input(b"\x82\x06\0\x02\0\x01a\0", 0, &mut host);
    assert_eq!(host.subscriptions, [("b".to_owned(), 0), ("a".to_owned(), 0)]);
    session.output().clear();
    session.handle_input(b"\xa2\x05\0\x03\0\x01b", 0, &mut host);
    assert_eq!(session.output(), b"\xb0\x02\0\x03");
    session.close(Cause::Disconnected, &mut host);
    assert_eq!(host.subscriptions, []);
}

#[test]
fn a_shared_subscription_is_refused_by_its_reason() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_5, &mut host);
    session.handle_input(b"\x82\x10\0\x01\0\0\x0a$share/g/a\x01", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x04\0\x01\0\x9e");
}

fn event(payload: &'static [u8]) -> BusEvent {
    BusEvent { topic: "t".into(), payload: Bytes::from_static(payload), properties: Box::default() }
}

#[test]
fn deliveries_keep_to_the_window_and_number_packets() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_4, &mut host);
    for _ in 0..3 {
        assert!(session.takes_delivery(1));
        assert!(session.handle_delivery(&event(b"x"), 1));
    }
    assert!(!session.takes_delivery(1));
    assert!(session.takes_delivery(0), "QoS 0 has no window");
    session.handle_input(b"\x40\x02\0\x02", 0, &mut host);
    assert!(session.takes_delivery(1));
    session.output().clear();
    session.handle_delivery(&event(b"x"), 1);
    assert_eq!(session.output(), b"\x32\x06\0\x01t\0\x04x");
}

#[test]
fn a_packet_over_the_clients_maximum_is_not_sent() {
    let mut host = Recorder::new();
    let connect = b"\x10\x13\0\x04MQTT\x05\x02\0\x0a\x05\x27\0\0\0\x0a\0\x01c";
    let mut session = connected(connect, &mut host);
    assert!(session.handle_delivery(&event(b"1234"), 0));
    session.output().clear();
    assert!(!session.handle_delivery(&event(b"12345"), 0));
    assert_eq!(session.output(), b"");
}

#[test]
fn keep_alive_and_the_connect_deadline() {
    let mut host = Recorder::new();
    let mut session = Session::new(limits(), 100);
    assert_eq!(session.handle_time(10_099), None);
    assert_eq!(session.handle_time(10_100), Some(Cause::ConnectTimeout));
    session.handle_input(CONNECT_4, 200, &mut host);
    assert_eq!(session.handle_time(15_199), None);
    assert_eq!(session.handle_time(15_200), Some(Cause::KeepAlive));
    session.handle_input(b"\xc0\0", 15_000, &mut host);
    assert_eq!(session.handle_time(15_200), None);
    let no_keep_alive = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
    let session = connected(no_keep_alive, &mut host);
    assert_eq!(session.deadline_ms(), None);
}

/// CONNECT with a will on topic `w`.
const CONNECT_WILL: &[u8] = b"\x10\x14\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x01w\0\x02by";

#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    for (goodbye, cause, wills) in
        [(&b""[..], Cause::Lost, 1), (b"\xe0\0", Cause::Disconnected, 0), (b"\xff", Cause::Lost, 1)]
    {
        let mut host = Recorder::new();
        let mut session = connected(CONNECT_WILL, &mut host);
        session.handle_input(goodbye, 0, &mut host);
        session.close(cause, &mut host);
        assert_eq!(host.published.len(), wills, "{goodbye:?}");
    }
}

#[test]
fn what_is_not_built_is_refused_with_its_reason() {
    let v5 = |packet: &[u8]| {
        let mut host = Recorder::new();
        let mut session = connected(CONNECT_5, &mut host);
        let Flow::Close(Cause::NotSupported(code, _)) = session.handle_input(packet, 0, &mut host) else {
            panic!("{packet:?} was taken");
        };
        assert_eq!(session.output(), &[0xe0, 2, code, 0]);
        assert!(host.published.is_empty());
        code
    };
    assert_eq!(v5(b"\x34\x06\0\x01t\0\x01\0"), 0x9b, "QoS 2");
    assert_eq!(v5(b"\x31\x04\0\x01t\0"), 0x9a, "retain");
    assert_eq!(v5(b"\x30\x06\0\0\x03\x23\0\x01"), 0x94, "topic alias");
    assert_eq!(v5(b"\xf0\0"), 0x82, "AUTH");
    assert_eq!(v5(b"\xe0\x07\0\x05\x11\0\0\0\x05"), 0x82, "session expiry at DISCONNECT");
}

#[test]
fn connects_that_are_refused_are_told_why() {
    let table: [(&[u8], &[u8]); 4] = [
        (b"\x10\x0c\0\x04MQTT\x03\x02\0\x0a\0\0", b"\x20\x02\0\x01"),
        (b"\x10\x0c\0\x04MQTT\x06\x02\0\x0a\0\0", b"\x20\x03\0\x84\0"),
        (b"\x10\x0c\0\x04MQTT\x04\0\0\x0a\0\0", b"\x20\x02\0\x02"),
        (b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x04\x15\0\x01m\0\0", b"\x20\x03\0\x8c\0"),
    ];
    for (connect, answer) in table {
        let mut session = Session::new(limits(), 0);
        let flow = session.handle_input(connect, 0, &mut Recorder::new());
        assert!(matches!(flow, Flow::Close(_)), "{connect:?}");
        assert_eq!(session.output(), answer, "{connect:?}");
    }
}

#[test]
fn a_malformed_packet_ends_the_connection_and_keeps_what_came_before() {
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_5, &mut host);
    let input = [publish_5(1), b"\x36\x05\0\x01t\0\x02".to_vec()].concat();
    assert!(matches!(session.handle_input(&input, 0, &mut host), Flow::Close(Cause::Decode(_))));
    assert_eq!(host.published.len(), 1);
    assert_eq!(session.output(), b"\xe0\x02\x81\0");
}

proptest::proptest! {
    /// Noise after CONNECT, in random pieces: the session ends or goes on, and never panics.
    #[test]
    fn noise_does_no_harm(pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..20)) {
        for connect in [CONNECT_4, CONNECT_5] {
            let mut host = Recorder::new();
            let mut session = connected(connect, &mut host);
            for piece in &pieces {
                if let Flow::Close(_) = session.handle_input(piece, 0, &mut host) {
                    break;
                }
            }
            session.close(Cause::Lost, &mut host);
        }
    }
}

#[test]
fn what_access_refuses_is_told_as_the_version_can() {
    let secret_4 = b"\x32\x0a\0\x06secret\0\x07".as_slice();
    let secret_5 = b"\x32\x0b\0\x06secret\0\x07\0".as_slice();
    let mut host = Recorder::new();
    let mut session = connected(CONNECT_5, &mut host);
    assert_eq!(session.handle_input(secret_5, 0, &mut host), Flow::Read);
    assert_eq!(session.output(), b"\x40\x03\0\x07\x87", "PUBACK with Not authorized");
    session.output().clear();
    session.handle_input(b"\x82\x0d\0\x01\0\0\x07secretX\x01", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x04\0\x01\0\x87");
    assert_eq!((host.published.len(), host.subscriptions.len()), (0, 0));

    let mut session = connected(CONNECT_4, &mut host);
    assert_eq!(session.handle_input(secret_4, 0, &mut host), Flow::Close(Cause::NotAuthorized));
    assert_eq!(session.output(), b"");
    // At QoS 0 nothing can be said, and the connection stays.
    let mut session = connected(CONNECT_4, &mut host);
    assert_eq!(session.handle_input(b"\x30\x08\0\x06secret", 0, &mut host), Flow::Read);
    assert_eq!(host.published, []);
}

#[test]
fn a_will_needs_access_too() {
    let with_will = b"\x10\x18\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x06secret\0\x01x";
    for (username, published) in [(None, 0), (Some("admin"), 1)] {
        let mut host = Recorder { login: Ok(username), ..Recorder::new() };
        let mut session = connected(with_will, &mut host);
        session.close(Cause::Lost, &mut host);
        assert_eq!(host.published.len(), published, "{username:?}");
    }
}

#[test]
fn ids_and_topics_have_bounds() {
    let long_id = [b"\x10\x21\0\x04MQTT\x04\x02\0\x0a\0\x15".as_slice(), &[b'c'; 21]].concat();
    let mut host = Recorder::new();
    let flow = Session::new(limits(), 0).handle_input(&long_id, 0, &mut host);
    assert!(matches!(flow, Flow::Close(Cause::NotSupported(0x85, _))), "{flow:?}");
    let long = "t".repeat(41);
    for (topic, taken) in [("a/b/c/d", true), ("a/b/c/d/e", false), (long.as_str(), false)] {
        let mut session = connected(CONNECT_4, &mut host);
        let length = u8::try_from(topic.len()).unwrap();
        let publish = [&[0x30, length + 2, 0, length], topic.as_bytes()].concat();
        let flow = session.handle_input(&publish, 0, &mut host);
        assert_eq!(flow == Flow::Read, taken, "{topic}: {flow:?}");
        let mut session = connected(CONNECT_4, &mut host);
        let subscribe = [&[0x82, length + 5, 0, 1, 0, length], topic.as_bytes(), &[0]].concat();
        session.handle_input(&subscribe, 0, &mut host);
        assert_eq!(session.output().ends_with(b"\x90\x03\0\x01\0"), taken, "{topic}");
    }
}

#[test]
fn a_login_that_was_refused_is_told_and_ends_the_session() {
    for (connect, connack) in
        [(CONNECT_4, b"\x20\x02\0\x04".as_slice()), (CONNECT_5, b"\x20\x03\0\x86\0".as_slice())]
    {
        let mut host = Recorder { login: Err(0x86), ..Recorder::new() };
        let mut session = Session::new(limits(), 0);
        assert_eq!(session.handle_input(connect, 0, &mut host), Flow::Close(Cause::LoginRefused));
        assert_eq!(session.output(), connack);
    }
}
