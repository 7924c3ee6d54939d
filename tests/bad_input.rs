//! Bad input: each kind gets a clear error in the right place, the gateway lives, and nothing acknowledged is lost.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_tests::event::Event;
use tidegate_tests::fleet;
use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Broker, Collector, Connection, Device, Gateway, Must, Plan, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

fn publish(connection: &mut Connection, topic: &str, payload: &[u8]) {
    connection.send(&wire::publish(Version::V5, topic, payload, 1, 1)).must("publish");
    let puback = connection.expect("a PUBACK");
    assert_eq!((puback.kind(), puback.reason()), (4, Some(0)), "{topic}");
}

// What a client of either version may send after CONNECT, and must not.
fn malformed(version: Version) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a length of five bytes", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("packet type 0", vec![0x00, 0x00]),
        ("a second CONNECT", Connect::new(version, "again").encode()),
        ("a CONNACK from a client", vec![0x20, 0x02, 0x00, 0x00]),
        ("PINGREQ with flags", vec![0xC1, 0x00]),
        ("PINGREQ with a body", vec![0xC0, 0x01, 0x00]),
        ("SUBSCRIBE with wrong flags", wire::packet(0x80, b"\0\x01\0\0\x01a\x01")),
        ("SUBSCRIBE without a filter", wire::subscribe(version, 1, &[])),
        ("SUBSCRIBE with QoS 3", wire::subscribe(version, 1, &[("a", 3)])),
        ("SUBSCRIBE with packet id 0", wire::subscribe(version, 0, &[("a", 1)])),
        ("SUBSCRIBE to a#", wire::subscribe(version, 1, &[("a#", 1)])),
        ("UNSUBSCRIBE without a filter", wire::unsubscribe(version, 1, &[])),
        ("PUBLISH with QoS 3", wire::packet(0x36, b"\0\x01a\0\x01\0")),
        ("PUBLISH with packet id 0", wire::publish(version, "a", b"x", 1, 0)),
        ("PUBLISH to an empty topic", wire::publish(version, "", b"x", 1, 1)),
        ("PUBLISH to a topic with +", wire::publish(version, "a/+/b", b"x", 1, 1)),
        ("PUBLISH to a topic with #", wire::publish(version, "a/#", b"x", 1, 1)),
        ("PUBLISH to a topic with U+0000", wire::publish(version, "a\0b", b"x", 1, 1)),
        ("PUBLISH to a topic that is not UTF-8", wire::packet(0x30, b"\0\x02\xffa\0x")),
        ("PUBLISH to a topic with a surrogate", wire::packet(0x30, b"\0\x03\xed\xa0\x80\0x")),
        ("PUBLISH whose topic is longer than the packet", wire::packet(0x30, b"\0\x09a")),
        ("PUBLISH of nothing", wire::packet(0x32, b"")),
        ("PUBACK cut short", wire::packet(0x40, b"\0")),
    ]
}

#[test]
fn a_malformed_packet_ends_its_connection_and_no_other() {
    let mut gateway = gateway!().start();
    let mut neighbour = Connection::clean(gateway.port(), Version::V5, "neighbour");
    for version in [Version::V311, Version::V5] {
        for (what, bytes) in malformed(version) {
            let mut connection = Connection::clean(gateway.port(), version, "hostile");
            connection.send(&bytes).must("send");
            let frames = connection.expect_close(&format!("{what} ({version:?})"));
            for frame in frames {
                let said = (frame.kind(), frame.reason().unwrap_or(0) >= 0x80);
                assert_eq!((version, said), (Version::V5, (14, true)), "{what}: answered {frame:?}");
            }
            publish(&mut neighbour, "t", b"still served");
        }
    }
    assert!(gateway.process().is_running());
}

#[test]
fn what_is_not_a_connect_is_turned_away() {
    let gateway = gateway!().limits("connect_timeout = \"1s\"").start();
    let mut bad_flags = Connect::new(Version::V311, "c").encode();
    bad_flags[9] |= 1;
    let mut bad_name = Connect::new(Version::V311, "c").encode();
    bad_name[4] = b'X';
    let mut bad_version = Connect::new(Version::V311, "c").encode();
    bad_version[8] = 9;
    let attempts: [(&str, &[u8]); 7] = [
        ("a PUBLISH first", &wire::publish(Version::V311, "t", b"x", 1, 1)),
        ("a reserved flag", &bad_flags),
        ("another protocol's name", &bad_name),
        ("a version of the future", &bad_version),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("silence", b""),
    ];
    for (what, bytes) in attempts {
        let mut connection = Connection::dial(gateway.port(), Version::V311).must("connect");
        connection.send(bytes).must("send");
        let frames = connection.expect_close(what);
        assert!(
            frames.iter().all(|frame| frame.kind() == 2 && frame.reason() != Some(0)),
            "{what}: {frames:?}"
        );
    }
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let gateway = gateway!().start();
    let before = gateway.rss_kib();
    let mut connections = Vec::new();
    for number in 0..50 {
        let mut connection = Connection::clean(gateway.port(), Version::V311, &format!("claims-{number}"));
        // A header that claims 250 KB, which is allowed, and then nothing.
        let whole = wire::publish(Version::V311, "t", &vec![0; 250_000], 0, 0);
        connection.send(&whole[..20]).must("send");
        connections.push(connection);
    }
    let mut huge = Connection::clean(gateway.port(), Version::V5, "claims-all");
    huge.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]).must("send");
    huge.expect_close("256 MB");
    let growth = gateway.rss_kib().saturating_sub(before);
    assert!(growth < 4096, "RSS grew by {growth} KiB for packets that never came");
}

#[test]
fn payloads_that_a_rule_does_not_expect_harm_nobody() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["#"]);
    let rules = r#"
        [[rule]]
        name = "hot"
        sql = 'SELECT temp, temp * 2 AS twice FROM "events/#" WHERE temp > 30'
        to = [{ uplink = "cloud", topic = "hot" }]
    "#;
    let gateway = gateway!().uplink(broker.port()).rules("hot.toml", rules).start();
    let mut connection = Connection::clean(gateway.port(), Version::V5, "c");
    let deep = format!(r#"{{"temp":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let payloads: [&[u8]; 10] = [
        b"",
        b"not json",
        b"{\"temp\":",
        b"[1,2,3]",
        b"null",
        b"{\"temp\":\"hot\"}",
        b"{\"temp\":1e999}",
        b"{\"temp\":null}",
        b"\xff\xfe\x00\x80",
        deep.as_bytes(),
    ];
    for payload in payloads {
        publish(&mut connection, "events/odd", payload);
    }
    publish(&mut connection, "events/last", b"{\"temp\":31}");
    collector.wait_arrival("the rule's result", LIMIT, |topic, _| topic == "hot");
    collector.wait_count(payloads.len() + 2, LIMIT);
    let arrivals = collector.arrivals();
    let hot: Vec<_> = arrivals.iter().filter(|(topic, _)| topic == "hot").collect();
    assert_eq!(hot, [&("hot".to_owned(), r#"{"temp":31,"twice":62}"#.to_owned())]);
    assert_eq!(arrivals.len(), payloads.len() + 2, "the route passes every payload on");
}

#[test]
fn a_cloud_that_cannot_be_resolved_is_reported_and_waited_for() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let unresolvable = "url = \"mqtt://no-such-host.invalid:1883\"\nforward = [\"events/#\"]";
    let mut gateway = gateway!().uplink_with(unresolvable).start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..500))];
    fleet::finish(&mut device);
    gateway
        .process()
        .wait_stderr("warning that names the host", LIMIT, |line| line.contains("no-such-host.invalid"));
    gateway.stop();

    let path = gateway.dir().join("tidegate.toml");
    let text = fs::read_to_string(&path).must("read tidegate.toml");
    let text = text.replace("no-such-host.invalid:1883", &format!("127.0.0.1:{}", broker.port()));
    fs::write(path, text).must("write tidegate.toml");
    gateway.restart();
    collector.wait_count(500, LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
}

// A gateway with 3,000 events of three devices stored, stopped.
fn stopped_with_backlog(broker: &Broker) -> (Gateway, Vec<Device>) {
    let mut gateway = gateway!().uplink(broker.port()).start();
    let mut devices: Vec<_> =
        ["a", "b", "c"].map(|name| Device::raw(Plan::new(name, gateway.port(), 0..1000))).into();
    fleet::finish(&mut devices);
    gateway.stop();
    (gateway, devices)
}

fn database(gateway: &Gateway) -> PathBuf {
    gateway.buffer_dir().join("buffer.db")
}

#[test]
fn a_database_that_is_not_one_is_set_aside_and_the_gateway_serves() {
    let mut broker = Broker::stopped(Default::default());
    let (mut gateway, _) = stopped_with_backlog(&broker);
    let file = database(&gateway);
    fs::write(&file, b"this is not a database\n".repeat(1000)).must("damage the database");
    let files_before = fs::read_dir(gateway.buffer_dir()).must("list the buffer").count();
    broker.restart();
    let collector = Collector::start(&broker, &["events/#"]);
    gateway.restart();
    let log = gateway.log();
    assert!(log.contains("damaged"), "the log says what was done: {log}");
    assert!(fs::read_dir(gateway.buffer_dir()).must("list the buffer").count() > files_before, "it is kept");
    let mut device = [Device::raw(Plan::new("after", gateway.port(), 0..100))];
    fleet::finish(&mut device);
    collector.wait_count(100, LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
}

#[test]
fn of_a_damaged_database_what_is_whole_is_delivered() {
    for (at, length) in [(0.35, 2000), (0.6, 5000), (0.9, 100)] {
        let mut broker = Broker::stopped(Default::default());
        let (mut gateway, mut devices) = stopped_with_backlog(&broker);
        let file = database(&gateway);
        let mut bytes = fs::read(&file).must("read the database");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a small file"
        )]
        let start = (bytes.len() as f64 * at) as usize;
        for byte in bytes.iter_mut().skip(start).take(length) {
            *byte ^= 0x55;
        }
        fs::write(&file, bytes).must("damage the database");
        broker.restart();
        let collector = Collector::start(&broker, &["events/#"]);
        gateway.restart();
        devices.push(Device::raw(Plan::new("after", gateway.port(), 0..100)));
        fleet::finish(&mut devices[3..]);
        let after = Event::topic("after");
        wait_for("the events after the damage", LIMIT, || {
            collector.arrivals().iter().filter(|(topic, _)| *topic == after).count() == 100
        });
        let findings = fleet::audit_arrivals(&devices, &collector);
        assert!(findings.damaged.is_empty() && findings.invented.is_empty(), "{findings}");
        assert!(findings.misordered.is_empty() && findings.repeated.is_empty(), "{findings}");
        assert!(findings.lost.iter().all(|event| event.device != "after"), "{findings}");
    }
}
