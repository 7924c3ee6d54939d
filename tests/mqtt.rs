//! MQTT 3.1.1 and 5 as devices see them: the basics, through mosquitto's clients and raw bytes.

use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::connection::Received;
use tidegate_tests::process::Process;
use tidegate_tests::wire::{self, Connect, Frame, Version};
use tidegate_tests::{Collector, Connection, Gateway, Must, gateway, wait_for};

const BOTH: [Version; 2] = [Version::V311, Version::V5];
const LIMIT: Duration = Duration::from_secs(10);
// In which nothing must come; short, because a fence packet behind it decides wherever that is possible.
const QUIET: Duration = Duration::from_millis(300);

fn start() -> Gateway {
    gateway!().limits("packet_bytes_max = \"4 KiB\"").start()
}

fn subscriber(gateway: &Gateway, version: Version, name: &str, filters: &[(&str, u8)]) -> Connection {
    let mut connection = Connection::clean(gateway.port(), version, name);
    connection.send(&wire::subscribe(version, 1, filters)).must("subscribe");
    let suback = connection.expect("a SUBACK");
    assert_eq!((suback.kind(), suback.packet_id()), (9, Some(1)));
    let granted: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
    assert_eq!(suback.codes(version), Some(granted));
    connection
}

fn publish(connection: &mut Connection, version: Version, topic: &str, payload: &[u8]) {
    connection.send(&wire::publish(version, topic, payload, 1, 9)).must("publish");
    let puback = connection.expect("a PUBACK");
    assert_eq!((puback.kind(), puback.packet_id(), puback.reason()), (4, Some(9), Some(0)));
}

#[test]
fn mosquitto_clients_talk_through_the_gateway() {
    let gateway = start();
    let port = gateway.port().to_string();
    let collector = |filter: &str, version: &str| {
        let arguments = ["-p", &port, "-V", version, "-q", "1", "-F", "%t %p", "-t", filter];
        let process = Process::start(
            "mosquitto_sub",
            "mosquitto-clients",
            Command::new("mosquitto_sub").args(arguments),
        );
        (process, filter.to_owned())
    };
    let subscribers = [
        collector("plant/+/temp", "311"),
        collector("plant/#", "5"),
        collector("#", "5"),
        collector("other", "311"),
    ];
    let mut number = 0;
    let mut send = |topic: &str, qos: &str, version: &str| {
        number += 1;
        let arguments = ["-p", &port, "-V", version, "-q", qos, "-t", topic, "-m", &number.to_string()];
        let status = Command::new("mosquitto_pub").args(arguments).status().must("run mosquitto_pub");
        assert!(status.success(), "mosquitto_pub to {topic}: {status}");
    };
    // Nobody knows when a mosquitto_sub has subscribed, so a first publish is repeated until all have seen it.
    for (process, filter) in &subscribers {
        let topic = if filter == "other" { "other" } else { "plant/probe/temp" };
        wait_for("the subscription", LIMIT, || {
            send(topic, "0", "311");
            !process.stdout.lock().is_empty()
        });
        process.stdout.lock().clear();
    }
    for (process, _) in &subscribers {
        process.stdout.lock().clear();
    }
    for version in ["311", "5"] {
        for qos in ["0", "1"] {
            send("plant/7/temp", qos, version);
            send("plant/7/pressure/a", qos, version);
            send("elsewhere", qos, version);
        }
    }
    let seen =
        |process: &Process, word: &str| process.stdout.lock().iter().filter(|l| l.contains(word)).count();
    wait_for("the deliveries", LIMIT, || seen(&subscribers[2].0, "elsewhere") == 4);
    wait_for("the deliveries", LIMIT, || seen(&subscribers[1].0, "plant/7") == 8);
    wait_for("the deliveries", LIMIT, || seen(&subscribers[0].0, "plant/7/temp") == 4);
    for (subscriber, word) in
        [(0, "pressure"), (0, "elsewhere"), (1, "elsewhere"), (3, "plant/7"), (3, "elsewhere")]
    {
        assert_eq!(seen(&subscribers[subscriber].0, word), 0, "{} got {word}", subscribers[subscriber].1);
    }
}

#[test]
fn a_publish_reaches_the_subscribers_of_either_version() {
    let gateway = start();
    for version in BOTH {
        let mut subscribers = BOTH.map(|v| {
            let name = format!("{version:?}-{v:?}");
            (v, subscriber(&gateway, v, &name, &[("a/+", 1), ("b/#", 0)]))
        });
        let mut publisher = Connection::clean(gateway.port(), version, "publisher");
        publish(&mut publisher, version, "a/1", "grüße".as_bytes());
        publish(&mut publisher, version, "b/1/2", b"");
        for (v, connection) in &mut subscribers {
            let first = connection.expect_publish("the QoS 1 delivery");
            assert_eq!((first.topic.as_str(), first.qos, first.dup), ("a/1", 1, false));
            assert_eq!(first.payload, "grüße".as_bytes());
            connection.send(&wire::puback(first.packet_id)).must("acknowledge");
            let second = connection.expect_publish("the QoS 0 delivery");
            assert_eq!((second.topic.as_str(), second.qos, second.payload.len()), ("b/1/2", 0, 0), "{v:?}");
        }
    }
}

#[test]
fn after_unsubscribe_nothing_comes() {
    let gateway = start();
    for version in BOTH {
        let mut connection = subscriber(&gateway, version, "subscriber", &[("a", 0), ("b", 0)]);
        connection.send(&wire::unsubscribe(version, 2, &["a", "never"])).must("unsubscribe");
        let unsuback = connection.expect("an UNSUBACK");
        assert_eq!((unsuback.kind(), unsuback.packet_id()), (11, Some(2)));
        if version == Version::V5 {
            assert_eq!(unsuback.codes(version), Some(vec![0x00, 0x11]));
        }
        for topic in ["a", "b"] {
            connection.send(&wire::publish(version, topic, b"x", 0, 0)).must("publish");
        }
        assert_eq!(connection.expect_publish("what is still subscribed").topic, "b");
    }
}

#[test]
fn dollar_topics_are_not_for_wildcards() {
    let gateway = start();
    let mut connection = subscriber(&gateway, Version::V5, "subscriber", &[("#", 0), ("+/x", 0)]);
    for topic in ["$private/x", "fence"] {
        connection.send(&wire::publish(Version::V5, topic, b"", 0, 0)).must("publish");
    }
    assert_eq!(connection.expect_publish("the fence").topic, "fence");
}

#[test]
fn a_ping_is_answered_and_a_silent_client_is_dropped() {
    let gateway = start();
    for version in BOTH {
        let connect = Connect { keep_alive: 1, ..Connect::new(version, "silent") };
        let mut connection = Connection::open(gateway.port(), &connect).must("connect");
        connection.send(&wire::PINGREQ).must("ping");
        assert_eq!(connection.expect("a PINGRESP"), Frame { first: 0xD0, body: vec![] });
        let silent = Instant::now();
        let frames = connection.expect_close("keep-alive");
        let waited = silent.elapsed();
        assert!((Duration::from_millis(1400)..Duration::from_secs(4)).contains(&waited), "after {waited:?}");
        assert_disconnect(version, &frames, 0x8D);
    }
}

#[test]
fn a_second_connection_with_the_client_id_takes_over() {
    let gateway = start();
    for version in BOTH {
        let mut first = subscriber(&gateway, version, "twin", &[("t", 0)]);
        let mut second = Connection::clean(gateway.port(), version, "twin");
        assert_disconnect(version, &first.expect_close("the takeover"), 0x8E);
        publish(&mut second, version, "t", b"for nobody");
        assert_eq!(second.receive(QUIET), Received::Nothing, "a clean session has no old subscriptions");
    }
}

#[test]
fn a_will_is_published_when_the_client_is_lost_and_only_then() {
    let gateway = start();
    for version in BOTH {
        let mut watcher = subscriber(&gateway, version, "watcher", &[("wills/#", 0)]);
        let with_will = |topic| {
            let name = format!("mortal-{topic}");
            let connect = Connect { will: Some((topic, b"gone")), ..Connect::new(version, &name) };
            Connection::open(gateway.port(), &connect).must("connect")
        };
        let mut polite = with_will("wills/polite");
        polite.send(&wire::DISCONNECT).must("disconnect");
        polite.expect_close("the end after DISCONNECT");
        with_will("wills/cut").cut();
        let will = watcher.expect_publish("the will");
        assert_eq!((will.topic.as_str(), will.payload.as_slice()), ("wills/cut", &b"gone"[..]));
    }
}

#[test]
fn a_packet_over_the_limit_ends_the_connection_and_no_other() {
    let gateway = start();
    for version in BOTH {
        let mut neighbour = Connection::clean(gateway.port(), version, "neighbour");
        let mut connection = Connection::clean(gateway.port(), version, "large");
        publish(&mut connection, version, "t", &[b'x'; 4000]);
        // The gateway may close before all of it is sent.
        let _ = connection.send(&wire::publish(version, "t", &[b'x'; 5000], 1, 2));
        assert_disconnect(version, &connection.expect_close("the limit"), 0x95);
        publish(&mut neighbour, version, "t", b"still here");
    }
}

#[test]
fn a_subscriber_never_sees_packets_over_its_own_limit() {
    let gateway = start();
    let connect = Connect { packet_bytes_max: Some(100), ..Connect::new(Version::V5, "small") };
    let mut small = Connection::open(gateway.port(), &connect).must("connect");
    small.send(&wire::subscribe(Version::V5, 1, &[("t/#", 1)])).must("subscribe");
    small.expect("a SUBACK");
    let mut publisher = Connection::clean(gateway.port(), Version::V5, "publisher");
    publish(&mut publisher, Version::V5, "t/large", &[b'x'; 200]);
    publish(&mut publisher, Version::V5, "t/small", b"x");
    assert_eq!(small.expect_publish("what fits").topic, "t/small");
}

#[test]
fn qos_2_goes_through_its_four_packets_in_both_directions() {
    let gateway = start();
    for version in BOTH {
        let mut subscriber = subscriber(&gateway, version, "subscriber", &[("t", 2)]);
        let mut publisher = Connection::clean(gateway.port(), version, "publisher");
        for _ in 0..2 {
            publisher.send(&wire::publish(version, "t", b"x", 2, 7)).must("publish");
            let pubrec = publisher.expect("a PUBREC");
            assert_eq!((pubrec.kind(), pubrec.packet_id()), (5, Some(7)), "also for one that came before");
        }
        publisher.send(&wire::pubrel(7)).must("release");
        assert_eq!(publisher.expect("a PUBCOMP").kind(), 7);
        let delivery = subscriber.expect_publish("the delivery");
        assert_eq!((delivery.qos, delivery.dup), (2, false));
        subscriber.send(&wire::pubrec(delivery.packet_id)).must("acknowledge");
        assert_eq!(subscriber.expect("a PUBREL").kind(), 6);
        subscriber.send(&wire::pubcomp(delivery.packet_id)).must("complete");
        assert_eq!(subscriber.receive(QUIET), Received::Nothing, "once");
    }
}

#[test]
fn a_kept_session_gets_what_came_while_its_client_was_away() {
    let gateway = start();
    for version in BOTH {
        let name = format!("kept-{version:?}");
        let kept = Connect { clean: false, session_expiry_s: Some(60), ..Connect::new(version, &name) };
        let mut first = Connection::open(gateway.port(), &kept).must("connect");
        first.send(&wire::subscribe(version, 1, &[("t", 1)])).must("subscribe");
        first.expect("a SUBACK");
        first.cut();
        let mut publisher = Connection::clean(gateway.port(), version, "publisher");
        publish(&mut publisher, version, "t", b"while away");
        let mut second = Connection::dial(gateway.port(), version).must("connect");
        second.send(&kept.encode()).must("connect");
        let connack = second.expect("a CONNACK");
        assert_eq!(connack.body.first(), Some(&1), "session present");
        let delivery = second.expect_publish("what waited");
        assert_eq!((delivery.payload.as_slice(), delivery.qos), (&b"while away"[..], 1));
        second.cut();
        let mut third = Connection::open(gateway.port(), &kept).must("connect");
        let again = third.expect_publish("what was not acknowledged");
        assert_eq!((again.packet_id, again.dup), (delivery.packet_id, true));
        third.send(&wire::puback(again.packet_id)).must("acknowledge");
        assert_eq!(third.receive(QUIET), Received::Nothing);
    }
}

#[test]
fn retained_messages_come_to_new_subscribers_until_they_are_cleared() {
    let gateway = start();
    for version in BOTH {
        let mut publisher = Connection::clean(gateway.port(), version, "publisher");
        publisher.send(&wire::retained(wire::publish(version, "state", b"on", 1, 9))).must("publish");
        publisher.expect("a PUBACK");
        let mut late = subscriber(&gateway, version, "late", &[("state", 1)]);
        let delivery = late.expect_publish("the retained message");
        assert_eq!((delivery.payload.as_slice(), delivery.retain), (&b"on"[..], true));
        publisher.send(&wire::retained(wire::publish(version, "state", b"", 1, 9))).must("clear");
        publisher.expect("a PUBACK");
        let live = late.expect_publish("the empty message, live");
        assert_eq!((live.payload.len(), live.retain), (0, false));
        let mut later = subscriber(&gateway, version, "later", &[("state", 1)]);
        assert_eq!(later.receive(QUIET), Received::Nothing);
    }
}

#[test]
fn a_retained_message_survives_a_crash_if_it_was_acknowledged_and_a_stop_in_any_case() {
    let mut gateway = start();
    let version = Version::V5;
    let mut publisher = Connection::clean(gateway.port(), version, "publisher");
    publisher.send(&wire::retained(wire::publish(version, "promised", b"1", 1, 9))).must("publish");
    assert_eq!(publisher.expect("a PUBACK").kind(), 4);
    gateway.kill();
    gateway.restart();
    let mut publisher = Connection::clean(gateway.port(), version, "publisher");
    publisher.send(&wire::retained(wire::publish(version, "unpromised", b"0", 0, 0))).must("publish");
    publisher.send(&wire::packet(0xc0, &[])).must("ping");
    assert_eq!(publisher.expect("a PINGRESP, behind the publish").kind(), 13);
    gateway.stop();
    gateway.restart();
    for (topic, payload) in [("promised", b"1"), ("unpromised", b"0")] {
        let mut late = subscriber(&gateway, version, topic, &[(topic, 1)]);
        assert_eq!(late.expect_publish(topic).payload, payload);
    }
}

#[test]
fn a_shared_subscription_gives_each_event_to_one_member() {
    let gateway = start();
    let mut members =
        ["m-1", "m-2"].map(|name| subscriber(&gateway, Version::V5, name, &[("$share/g/t", 0)]));
    let mut publisher = Connection::clean(gateway.port(), Version::V5, "publisher");
    for payload in ["1", "2", "3", "4"] {
        publish(&mut publisher, Version::V5, "t", payload.as_bytes());
    }
    for (member, expected) in members.iter_mut().zip([["1", "3"], ["2", "4"]]) {
        let got = expected.map(|_| member.expect_publish("its turn").payload);
        assert_eq!(got, expected.map(|payload| payload.as_bytes().to_vec()));
    }
}

#[test]
fn an_unrouted_publish_is_acknowledged_and_stays_here() {
    let broker = tidegate_tests::Broker::start();
    let collector = Collector::start(&broker, &["#"]);
    let gateway = gateway!().uplink(broker.port()).start();
    let mut connection = Connection::clean(gateway.port(), Version::V5, "c");
    publish(&mut connection, Version::V5, "unrouted", b"x");
    publish(&mut connection, Version::V5, "events/fence", b"y");
    collector.wait_count(1, LIMIT);
    assert_eq!(collector.arrivals(), [("events/fence".to_owned(), "y".to_owned())]);
}

// MQTT 5 says why it closes; 3.1.1 only closes.
#[track_caller]
fn assert_disconnect(version: Version, frames: &[Frame], reason: u8) {
    let reasons: Vec<_> = frames.iter().filter(|frame| frame.kind() == 14).map(Frame::reason).collect();
    match version {
        Version::V5 => assert_eq!(reasons, [Some(reason)], "{frames:?}"),
        Version::V311 => assert_eq!(reasons, [], "3.1.1 knows no DISCONNECT from the server"),
    }
    assert!(frames.iter().all(|frame| frame.kind() != 4), "a PUBACK came: {frames:?}");
}
