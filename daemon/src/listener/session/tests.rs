//! The session against a host that records what it is asked, packet by packet.

use std::rc::Rc;

use super::testing::{Site, limits};
use super::{Admission, Flow, Limits, Session};
use crate::bus::{Bounds, Notice, QueueBounds};
use crate::listener::Cause;

fn site() -> Site {
    Site::new(Bounds { subscriptions_max: 2, ..Bounds::for_tests() })
}

fn new_session() -> Session {
    Session::new(Rc::new(limits()), 0)
}

const CONNECT_4: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c";

/// A session that has said CONNECT, with nothing left to write.
fn connected(connect: &[u8], host: &mut Site) -> Session {
    let mut session = new_session();
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
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(&[publish(1), publish(2)].concat(), 0, &mut host);
    session.write_acks();
    assert_eq!(session.output(), b"");
    let receipts: Vec<u32> = host.published.iter().map(|event| event.receipt.unwrap()).collect();
    session.handle_receipt(receipts[1]);
    session.write_acks();
    assert_eq!(session.output(), b"", "the second does not overtake the first");
    session.handle_receipt(receipts[0]);
    session.write_acks();
    assert_eq!(session.output(), b"\x40\x02\0\x01\x40\x02\0\x02");
}

#[test]
fn qos_0_is_published_and_never_acknowledged() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x30\x03\0\x01t", 0, &mut host);
    let event = &host.published[0];
    assert_eq!((event.topic.as_str(), event.qos, event.receipt), ("t", 0, None));
    session.write_acks();
    assert_eq!(session.output(), b"");
}

#[test]
fn packets_may_come_in_any_pieces() {
    let whole = [CONNECT_4.to_vec(), publish(1), vec![0xc0, 0], publish(2)].concat();
    for size in 1..whole.len() {
        let mut host = site();
        let mut session = new_session();
        for piece in whole.chunks(size) {
            assert_eq!(session.handle_input(piece, 0, &mut host), Flow::Read, "pieces of {size}");
        }
        assert_eq!(host.published.len(), 2, "pieces of {size}");
    }
}

#[test]
fn without_room_it_stops_reading_and_goes_on_where_it_was() {
    let mut host = site();
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
    let mut host = site();
    let mut session = connected(CONNECT_5, &mut host);
    session.handle_input(&publish_5(1), 0, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(&publish_5(2), 0, &mut host), Flow::Read);
    assert_eq!(session.output(), b"", "the refusal waits for the answer before it");
    assert_eq!(host.refused, 1);
    session.handle_receipt(1);
    session.write_acks();
    let refusal = [b"\x40\x21\0\x02\x97\x1d\x1f\0\x1a".as_slice(), b"the buffer cannot store it"].concat();
    assert_eq!(session.output(), &[b"\x40\x02\0\x01", refusal.as_slice()].concat());
}

#[test]
fn a_refused_event_closes_a_connection_of_version_4_without_an_acknowledgement() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(&publish(1), 0, &mut host), Flow::Close(Cause::Refused));
    assert_eq!(session.output(), b"");
    assert!(host.published.is_empty());
}

#[test]
fn a_refused_event_of_qos_0_is_counted_and_the_connection_goes_on() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    host.admission = Admission::Refuse;
    assert_eq!(session.handle_input(b"\x30\x03\0\x01t", 0, &mut host), Flow::Read);
    assert_eq!((host.refused, host.published.len()), (1, 0));
}

#[test]
fn past_the_inflight_bound_version_4_waits_and_version_5_is_told() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    let four: Vec<u8> = (1..=4).flat_map(publish).collect();
    assert_eq!(session.handle_input(&four, 0, &mut host), Flow::WaitForClient);
    assert_eq!(host.published.len(), 3);
    session.handle_receipt(1);
    session.write_acks();
    assert_eq!(session.handle_input(b"", 0, &mut host), Flow::Read);
    assert_eq!(host.published.len(), 4);

    let mut session = connected(CONNECT_5, &mut host);
    let four: Vec<u8> = (1..=4).flat_map(publish_5).collect();
    assert!(matches!(session.handle_input(&four, 0, &mut host), Flow::Close(Cause::NotSupported(0x93, _))));
    assert_eq!(session.output()[2], 0x93);
}

#[test]
fn subscriptions_are_granted_bounded_replaced_and_removed() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x82\x0e\0\x01\0\x01a\x02\0\x01b\0\0\x01c\x01", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x05\0\x01\x02\0\x80", "the third is over the bound");
    session.output().clear();
    session.handle_input(b"\x82\x06\0\x02\0\x01a\0", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x03\0\x02\0");
    session.output().clear();
    session.handle_input(b"\xa2\x05\0\x03\0\x01b", 0, &mut host);
    assert_eq!(session.output(), b"\xb0\x02\0\x03");
    assert!(!host.bus.is_empty());
    session.close(Cause::Disconnected, &mut host);
    assert!(host.bus.is_empty());
}

/// Publishes as somebody else would: at QoS 2, so that the subscription's QoS decides.
fn publish_to(host: &mut Site, payload: &[u8]) {
    use crate::bus::{BusEvent, Publication};
    use bytes::Bytes;
    let publication = Publication { topic: "t", qos: 2, retain: false, promised: true, origin: None };
    let payload = Bytes::copy_from_slice(payload);
    let event =
        || BusEvent { topic: "t".into(), payload, properties: Box::default(), qos: 2, expires_at_ms: None };
    super::Host::with_bus(host, None, |bus, now, durable| bus.publish(&publication, now, durable, event));
}

fn filled(session: &mut Session, host: &mut Site) -> Vec<u8> {
    session.output().clear();
    session.fill_output(host);
    session.output().clone()
}

const SUBSCRIBE_4: &[u8] = b"\x82\x06\0\x01\0\x01t\x01";
const SUBSCRIBE_5: &[u8] = b"\x82\x07\0\x01\0\0\x01t\x01";

#[test]
fn deliveries_keep_to_the_window_and_number_packets() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(SUBSCRIBE_4, 0, &mut host);
    for _ in 0..4 {
        publish_to(&mut host, b"x");
    }
    let sent = filled(&mut session, &mut host);
    assert_eq!(sent, b"\x32\x06\0\x01t\0\x01x\x32\x06\0\x01t\0\x02x\x32\x06\0\x01t\0\x03x");
    assert_eq!(filled(&mut session, &mut host), b"", "three at a time");
    session.handle_input(b"\x40\x02\0\x02", 0, &mut host);
    assert_eq!(filled(&mut session, &mut host), b"\x32\x06\0\x01t\0\x04x");
}

#[test]
fn a_delivery_of_qos_2_goes_through_its_four_packets() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x82\x06\0\x01\0\x01t\x02", 0, &mut host);
    publish_to(&mut host, b"x");
    assert_eq!(filled(&mut session, &mut host), b"\x34\x06\0\x01t\0\x01x");
    session.handle_input(b"\x50\x02\0\x01", 0, &mut host);
    assert_eq!(filled(&mut session, &mut host), b"\x62\x02\0\x01");
    assert_eq!(session.handle_input(b"\x70\x02\0\x01", 0, &mut host), Flow::Read);
    assert_eq!(filled(&mut session, &mut host), b"");
    // An acknowledgement of something that is not known is no fault; one of another kind is.
    session.handle_input(b"\x50\x02\0\x09", 0, &mut host);
    assert_eq!(session.output(), b"\x62\x02\0\x09");
    publish_to(&mut host, b"y");
    filled(&mut session, &mut host);
    let flow = session.handle_input(b"\x40\x02\0\x02", 0, &mut host);
    assert!(matches!(flow, Flow::Close(Cause::NotSupported(0x82, _))), "{flow:?}");
}

#[test]
fn a_publish_of_qos_2_is_one_event_however_often_it_comes() {
    let mut host = site();
    let mut session = connected(CONNECT_4, &mut host);
    let publish = b"\x34\x05\0\x01t\0\x07";
    session.handle_input(publish, 0, &mut host);
    assert_eq!(session.output(), b"", "PUBREC waits for the receipt");
    session.handle_input(b"\x3c\x05\0\x01t\0\x07", 0, &mut host);
    assert_eq!(host.published.len(), 1);
    session.handle_receipt(1);
    session.write_acks();
    assert_eq!(session.output(), b"\x50\x02\0\x07\x50\x02\0\x07");
    session.output().clear();
    session.handle_input(b"\x62\x02\0\x07", 0, &mut host);
    assert_eq!(session.output(), b"\x70\x02\0\x07");
    session.handle_input(publish, 0, &mut host);
    assert_eq!(host.published.len(), 2, "the packet id is free again");
}

/// CONNECT of client `c` whose session is kept for 100 s.
const CONNECT_KEPT: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x0a\x05\x11\0\0\0\x64\0\x01c";

#[test]
fn of_a_kept_session_suback_pubrec_and_pubcomp_wait_until_they_are_durable() {
    let mut host = site();
    let mut session = connected(CONNECT_KEPT, &mut host);
    let packets = [SUBSCRIBE_5, b"\x34\x06\0\x01u\0\x07\0", b"\x62\x02\0\x07"].concat();
    session.handle_input(&packets, 0, &mut host);
    assert_eq!(session.output(), b"");
    for receipt in host.resolve_all(1) {
        session.handle_receipt(receipt);
    }
    session.write_acks();
    assert_eq!(session.output(), b"\x90\x04\0\x01\0\x01\x50\x02\0\x07\x70\x02\0\x07");
}

#[test]
fn a_kept_session_goes_on_after_a_cut_and_after_a_crash() {
    for crash in [false, true] {
        let mut host = site();
        let mut session = connected(CONNECT_KEPT, &mut host);
        session.handle_input(b"\x82\x07\0\x01\0\0\x01t\x02", 0, &mut host);
        publish_to(&mut host, b"x");
        host.commit();
        host.resolve_all(1);
        assert_eq!(filled(&mut session, &mut host), b"\x34\x07\0\x01t\0\x01\0x");
        if crash {
            host.crash();
        } else {
            session.close(Cause::Lost, &mut host);
        }
        publish_to(&mut host, b"y");
        host.commit();
        host.resolve_all(0);
        let mut session = new_session();
        host.connection = 2;
        session.handle_input(CONNECT_KEPT, 0, &mut host);
        assert_eq!(session.output()[2..4], [1, 0], "session present");
        let expected = b"\x3c\x07\0\x01t\0\x01\0x\x34\x07\0\x01t\0\x02\0y".as_slice();
        assert_eq!(filled(&mut session, &mut host), expected, "crash: {crash}");
    }
}

#[test]
fn a_clean_start_is_answered_once_the_old_session_is_gone_for_good() {
    let mut host = site();
    let session = connected(CONNECT_KEPT, &mut host);
    host.resolve_all(1);
    drop(session);
    let mut session = new_session();
    host.connection = 2;
    let input = [CONNECT_5, b"\xc0\0"].concat();
    assert_eq!(session.handle_input(&input, 0, &mut host), Flow::WaitForClient);
    assert_eq!(session.output(), b"");
    let receipts = host.resolve_all(2);
    receipts.into_iter().for_each(|receipt| session.handle_receipt(receipt));
    session.write_acks();
    assert_eq!((session.output()[0], session.output()[2], session.output()[3]), (0x20, 0, 0));
    assert_eq!(session.handle_input(b"", 0, &mut host), Flow::Read);
    assert!(session.output().ends_with(b"\xd0\0"));
    assert!(host.stored.is_empty(), "{:?}", host.stored);
    host.commit();
    assert_eq!(host.notices, [Notice::TakenOver(1)]);
}

#[test]
fn a_disconnect_may_change_how_long_the_session_is_kept() {
    for (goodbye, kept) in [(&b"\xe0\0"[..], true), (b"\xe0\x07\0\x05\x11\0\0\0\0", false)] {
        let mut host = site();
        let mut session = connected(CONNECT_KEPT, &mut host);
        let flow = session.handle_input(goodbye, 0, &mut host);
        assert_eq!(flow, Flow::Close(Cause::Disconnected));
        session.close(Cause::Disconnected, &mut host);
        host.resolve_all(1);
        assert_eq!(!host.stored.is_empty(), kept);
        let mut session = new_session();
        session.handle_input(CONNECT_KEPT, 0, &mut host);
        assert_eq!(session.output()[2] == 1, kept);
    }
}

#[test]
fn topic_aliases_work_both_ways() {
    let mut host = site();
    let connect = b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x03\x22\0\x05\0\x01c";
    let mut session = connected(connect, &mut host);
    let set = b"\x30\x07\0\x01t\x03\x23\0\x02";
    let used = b"\x30\x06\0\0\x03\x23\0\x02";
    session.handle_input(&[set.as_slice(), used].concat(), 0, &mut host);
    let topics: Vec<_> = host.published.iter().map(|event| event.topic.as_str()).collect();
    assert_eq!(topics, ["t", "t"]);
    session.handle_input(SUBSCRIBE_5, 0, &mut host);
    publish_to(&mut host, b"x");
    publish_to(&mut host, b"y");
    let expected = b"\x32\x0a\0\x01t\0\x01\x03\x23\0\x01x\x32\x09\0\0\0\x02\x03\x23\0\x01y";
    assert_eq!(filled(&mut session, &mut host), expected);
    for bad in [b"\x30\x06\0\0\x03\x23\0\x01", b"\x30\x06\0\0\x03\x23\0\0", b"\x30\x06\0\0\x03\x23\0\x03"] {
        let mut session = connected(CONNECT_5, &mut host);
        let flow = session.handle_input(bad, 0, &mut host);
        assert!(matches!(flow, Flow::Close(Cause::NotSupported(0x94, _))), "{bad:?}: {flow:?}");
    }
}

#[test]
fn subscription_identifiers_and_the_expiry_that_is_left_come_with_the_delivery() {
    let mut host = site();
    let mut session = connected(CONNECT_5, &mut host);
    session.handle_input(b"\x82\x09\0\x01\x02\x0b\x09\0\x01t\0", 0, &mut host);
    let mut publisher = new_session();
    host.connection = 2;
    publisher.handle_input(b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01p", 0, &mut host);
    let expiring = b"\x30\x0a\0\x01t\x05\x02\0\0\0\x09x";
    for (after_s, sent) in [(0, &b"\x30\x0c\0\x01t\x07\x02\0\0\0\x09\x0b\x09x"[..]), (9, b"")] {
        publisher.handle_input(expiring, 0, &mut host);
        host.advance(after_s);
        assert_eq!(filled(&mut session, &mut host), sent, "after {after_s} s");
    }
    publisher.handle_input(expiring, 0, &mut host);
    host.advance(4);
    assert_eq!(filled(&mut session, &mut host)[10], 5);
}

#[test]
fn the_server_says_what_counts_in_place_of_what_was_asked_for() {
    let mut host = Site::new(Bounds { session_expiry_max_s: 60, ..Bounds::for_tests() });
    let server = Limits { keep_alive_max_s: Some(5), ..limits() };
    let mut session = Session::new(Rc::new(server), 0);
    session.handle_input(CONNECT_KEPT, 0, &mut host);
    let connack = session.output().clone();
    assert!(connack.windows(5).any(|window| window == [0x11, 0, 0, 0, 60]), "{connack:?}");
    assert!(connack.windows(3).any(|window| window == [0x13, 0, 5]), "{connack:?}");
    assert_eq!(session.deadline_ms(), Some(7_500));
}

#[test]
fn mqtt_31_is_served_where_a_setting_says_so() {
    let connect = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c";
    let mut host = site();
    let mut session = new_session();
    assert!(matches!(session.handle_input(connect, 0, &mut host), Flow::Close(_)));
    assert_eq!(session.output(), b"\x20\x02\0\x01");
    let mut session = Session::new(Rc::new(Limits { mqtt31: true, ..limits() }), 0);
    // SUBSCRIBE may have DUP set there.
    let subscribe = b"\x8a\x06\0\x01\0\x01t\x01";
    assert_eq!(session.handle_input(&[connect.as_slice(), subscribe].concat(), 0, &mut host), Flow::Read);
    assert_eq!(session.output(), b"\x20\x02\0\0\x90\x03\0\x01\x01");
}

#[test]
fn a_session_too_many_is_refused() {
    let mut host = Site::new(Bounds { sessions_max: 1, ..Bounds::for_tests() });
    connected(CONNECT_KEPT, &mut host);
    host.connection = 2;
    let other = b"\x10\x13\0\x04MQTT\x05\0\0\x0a\x05\x11\0\0\0\x64\0\x01d";
    let mut session = new_session();
    let flow = session.handle_input(other, 0, &mut host);
    assert!(matches!(flow, Flow::Close(Cause::NotSupported(0x97, _))), "{flow:?}");
    assert_eq!(session.output()[3], 0x97);
    connected(CONNECT_KEPT, &mut host);
    let clean = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01d";
    connected(clean, &mut host);
}

#[test]
fn a_retained_message_too_many_is_refused_where_it_can_be_said() {
    let mut host = Site::new(Bounds { retained_max: 0, ..Bounds::for_tests() });
    let mut session = connected(CONNECT_5, &mut host);
    session.handle_input(b"\x33\x07\0\x01t\0\x01\0x", 0, &mut host);
    assert_eq!((session.output()[0], session.output()[4]), (0x40, 0x97));
    assert_eq!((host.published.len(), host.refused), (0, 1));
    let mut session = connected(CONNECT_4, &mut host);
    session.handle_input(b"\x33\x06\0\x01t\0\x01x", 0, &mut host);
    assert_eq!(host.published.len(), 1, "3.1.1 cannot be told: it is an event, and not retained");
    assert_eq!(host.bus.take_undelivered().unretained, 1);
}

#[test]
fn a_slow_subscriber_whose_session_is_not_kept_is_told() {
    let queue = QueueBounds { events_max: 1, bytes_max: 1000 };
    for (connect, notice) in [(CONNECT_5, Notice::TooSlow(1)), (CONNECT_KEPT, Notice::Full("c".into()))] {
        let mut host = Site::new(Bounds { queue, ..Bounds::for_tests() });
        let mut session = connected(connect, &mut host);
        session.handle_input(SUBSCRIBE_5, 0, &mut host);
        for _ in 0..3 {
            publish_to(&mut host, b"x");
        }
        host.commit();
        host.notices.retain(|notice| !matches!(notice, Notice::Deliver(_)));
        host.notices.dedup();
        assert_eq!(host.notices, [notice]);
        assert_eq!(host.bus.take_undelivered().dropped, 2);
    }
}

#[test]
fn a_packet_over_the_clients_maximum_is_not_sent() {
    let mut host = site();
    let connect = b"\x10\x13\0\x04MQTT\x05\x02\0\x0a\x05\x27\0\0\0\x0c\0\x01c";
    let mut session = connected(connect, &mut host);
    session.handle_input(SUBSCRIBE_5, 0, &mut host);
    for payload in [b"12345".as_slice(), b"1234", b"1234", b"1234"] {
        publish_to(&mut host, payload);
    }
    let sent = filled(&mut session, &mut host);
    assert_eq!(sent.len(), 36, "the first counts as done, and takes no place of the window: {sent:?}");
    assert_eq!(host.bus.take_undelivered().dropped, 1);
}

#[test]
fn keep_alive_and_the_connect_deadline() {
    let mut host = site();
    let mut session = Session::new(Rc::new(limits()), 100);
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
        let mut host = site();
        let mut session = connected(CONNECT_WILL, &mut host);
        session.handle_input(goodbye, 0, &mut host);
        session.close(cause, &mut host);
        host.commit();
        assert_eq!(host.published.len(), wills, "{goodbye:?}");
    }
}

#[test]
fn version_5_may_ask_for_its_will_at_the_end() {
    let mut host = site();
    let connect = b"\x10\x16\0\x04MQTT\x05\x06\0\x0a\0\0\x01c\0\0\x01w\0\x02by";
    let mut session = connected(connect, &mut host);
    assert_eq!(session.handle_input(b"\xe0\x01\x04", 0, &mut host), Flow::Close(Cause::Disconnected));
    session.close(Cause::Disconnected, &mut host);
    host.commit();
    assert_eq!(host.published[0].topic, "w");
}

#[test]
fn what_is_not_supported_is_refused_with_its_reason() {
    for (packet, code) in [(&b"\xf0\0"[..], 0x82), (b"\xe0\x07\0\x05\x11\0\0\0\x05", 0x82)] {
        let mut host = site();
        let mut session = connected(CONNECT_5, &mut host);
        let flow = session.handle_input(packet, 0, &mut host);
        assert!(matches!(flow, Flow::Close(Cause::NotSupported(reason, _)) if reason == code), "{flow:?}");
        let words = &session.output()[7..];
        assert!(words.is_ascii() && words.len() > 10, "it says why: {words:?}");
    }
}

#[test]
fn reasons_in_words_are_left_out_where_they_are_not_wanted_or_do_not_fit() {
    let small = b"\x10\x13\0\x04MQTT\x05\x02\0\x0a\x05\x27\0\0\0\x1e\0\x01c";
    let mut host = site();
    let mut session = connected(small, &mut host);
    session.handle_input(b"\xf0\0", 0, &mut host);
    assert_eq!(session.output(), b"\xe0\x02\x82\0");
    let no_words = b"\x10\x10\0\x04MQTT\x05\x02\0\x0a\x02\x17\0\0\x01c";
    let mut session = connected(no_words, &mut host);
    host.admission = Admission::Refuse;
    session.handle_input(&publish_5(1), 0, &mut host);
    assert_eq!(session.output(), b"\x40\x03\0\x01\x97");
}

#[test]
fn connects_that_are_refused_are_told_why() {
    let table: [(&[u8], &[u8]); 4] = [
        (b"\x10\x0c\0\x04MQTT\x03\x02\0\x0a\0\0", b"\x20\x02\0\x01"),
        (b"\x10\x0c\0\x04MQTT\x06\x02\0\x0a\0\0", b"\x20\x03\0\x84\0"),
        (b"\x10\x0c\0\x04MQTT\x04\0\0\x0a\0\0", b"\x20\x02\0\x02"),
        (
            b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x04\x15\0\x01m\0\0",
            b"\x20\x2e\0\x8c\x2b\x1f\0\x28enhanced authentication is not supported",
        ),
    ];
    for (connect, answer) in table {
        let mut session = new_session();
        let flow = session.handle_input(connect, 0, &mut site());
        assert!(matches!(flow, Flow::Close(_)), "{connect:?}");
        assert_eq!(session.output(), answer, "{connect:?}");
    }
}

#[test]
fn a_malformed_packet_ends_the_connection_and_keeps_what_came_before() {
    let mut host = site();
    let mut session = connected(CONNECT_5, &mut host);
    let input = [publish_5(1), b"\x36\x05\0\x01t\0\x02".to_vec()].concat();
    assert!(matches!(session.handle_input(&input, 0, &mut host), Flow::Close(Cause::Decode(_))));
    assert_eq!(host.published.len(), 1);
    assert_eq!((session.output()[0], session.output()[2]), (0xe0, 0x81));
}

proptest::proptest! {
    /// Noise after CONNECT, in random pieces: the session ends or goes on, and never panics.
    #[test]
    fn noise_does_no_harm(pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..20)) {
        for connect in [CONNECT_4, CONNECT_5] {
            let mut host = site();
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
    let mut host = site();
    let mut session = connected(CONNECT_5, &mut host);
    assert_eq!(session.handle_input(secret_5, 0, &mut host), Flow::Read);
    assert_eq!(session.output()[..5], *b"\x40\x15\0\x07\x87", "PUBACK with Not authorized");
    session.output().clear();
    session.handle_input(b"\x82\x0d\0\x01\0\0\x07secretX\x01", 0, &mut host);
    assert_eq!(session.output(), b"\x90\x04\0\x01\0\x87");
    assert!(host.published.is_empty() && host.bus.is_empty());

    let mut session = connected(CONNECT_4, &mut host);
    assert_eq!(session.handle_input(secret_4, 0, &mut host), Flow::Close(Cause::NotAuthorized));
    assert_eq!(session.output(), b"");
    // At QoS 0 nothing can be said, and the connection stays.
    let mut session = connected(CONNECT_4, &mut host);
    assert_eq!(session.handle_input(b"\x30\x08\0\x06secret", 0, &mut host), Flow::Read);
    assert_eq!(host.published, []);
}

#[test]
fn ids_and_topics_have_bounds() {
    let long_id = [b"\x10\x21\0\x04MQTT\x04\x02\0\x0a\0\x15".as_slice(), &[b'c'; 21]].concat();
    let mut host = site();
    let flow = new_session().handle_input(&long_id, 0, &mut host);
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
fn a_will_needs_access_too() {
    let with_will = b"\x10\x18\0\x04MQTT\x04\x06\0\x0a\0\x01c\0\x06secret\0\x01x";
    for (username, connack) in [(None, b"\x20\x02\0\x05"), (Some("admin"), b"\x20\x02\0\0")] {
        let mut host = site();
        host.login = Ok(username);
        let mut session = new_session();
        session.handle_input(with_will, 0, &mut host);
        assert_eq!(session.output(), connack, "{username:?}");
    }
}

#[test]
fn a_login_that_was_refused_is_told_and_ends_the_session() {
    for (connect, connack) in
        [(CONNECT_4, b"\x20\x02\0\x04".as_slice()), (CONNECT_5, b"\x20\x03\0\x86\0".as_slice())]
    {
        let mut host = site();
        host.login = Err(0x86);
        let mut session = new_session();
        assert_eq!(session.handle_input(connect, 0, &mut host), Flow::Close(Cause::LoginRefused));
        assert_eq!(session.output(), connack);
    }
}
