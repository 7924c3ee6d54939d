//! Limits of one client and of all together: at each of them others are served, and the limit frees itself.

use std::time::{Duration, Instant};

use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Connection, Gateway, Must, gateway};

const LIMIT: Duration = Duration::from_secs(20);

fn start(limits: &str) -> Gateway {
    gateway!().limits(limits).start()
}

fn acknowledged(connection: &mut Connection, topic: &str, payload: &[u8], count: u16) -> Duration {
    let started = Instant::now();
    for number in 1..=count {
        connection.send(&wire::publish(Version::V5, topic, payload, 1, number)).must("publish");
        let puback = connection.expect("a PUBACK");
        assert_eq!((puback.kind(), puback.packet_id(), puback.reason()), (4, Some(number), Some(0)));
    }
    started.elapsed()
}

#[test]
fn a_client_over_its_rate_waits_and_no_other_does() {
    for (limits, payload, count) in
        [("publishes_per_s_max = 50", 10, 100), ("receive_bytes_per_s_max = \"10 KiB\"", 200, 96)]
    {
        let gateway = start(limits);
        let mut fast = Connection::clean(gateway.port(), Version::V5, "fast");
        let mut other = Connection::clean(gateway.port(), Version::V5, "other");
        let payload = vec![b'x'; payload];
        let (slow, quick) = std::thread::scope(|scope| {
            let slow = scope.spawn(|| acknowledged(&mut fast, "t", &payload, count));
            let quick = acknowledged(&mut other, "t", b"x", 30);
            (slow.join().must_join(), quick)
        });
        // Twice the burst: a second to wait, less what came back on the way.
        assert!((Duration::from_millis(700)..Duration::from_secs(5)).contains(&slow), "{limits}: {slow:?}");
        assert!(quick < Duration::from_millis(600), "{limits}: {quick:?}");
    }
}

trait MustJoin<T> {
    fn must_join(self) -> T;
}

impl<T> MustJoin<T> for std::thread::Result<T> {
    fn must_join(self) -> T {
        self.unwrap_or_else(|_| tidegate_tests::fail("a thread failed"))
    }
}

#[test]
fn connections_that_come_too_fast_wait_their_turn() {
    let gateway = start("connects_per_s_max = 20");
    let started = Instant::now();
    let mut connections: Vec<_> =
        (0..40).map(|n| Connection::clean(gateway.port(), Version::V5, &format!("c{n}"))).collect();
    let elapsed = started.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(5)).contains(&elapsed), "{elapsed:?}");
    for connection in &mut connections {
        assert!(acknowledged(connection, "t", b"x", 1) < LIMIT);
    }
}

#[test]
fn ids_and_topics_are_bounded() {
    let gateway = start("client_id_bytes_max = 23\ntopic_bytes_max = 16\ntopic_levels_max = 3");
    let mut too_long = Connection::dial(gateway.port(), Version::V5).must("connect");
    too_long.send(&Connect::new(Version::V5, &"c".repeat(24)).encode()).must("send CONNECT");
    assert_eq!(too_long.expect("a CONNACK").reason(), Some(0x85));
    let id = "c".repeat(23);
    for (topic, taken) in
        [("a/b/c", true), ("a/b/c/d", false), ("0123456789abcdef", true), ("0123456789abcdefg", false)]
    {
        let mut connection = Connection::clean(gateway.port(), Version::V5, &id);
        connection.send(&wire::subscribe(Version::V5, 1, &[(topic, 1)])).must("subscribe");
        let codes = connection.expect("a SUBACK").codes(Version::V5).must("codes");
        assert_eq!(codes[0] < 0x80, taken, "{topic}: {codes:?}");
        connection.send(&wire::publish(Version::V5, topic, b"x", 0, 0)).must("publish");
        if taken {
            assert_eq!(connection.expect_publish("its own event").topic, topic);
        } else {
            let frames = connection.expect_close("a topic over the bound");
            assert_eq!(frames.last().and_then(wire::Frame::reason), Some(0x90), "{frames:?}");
        }
    }
}

#[test]
fn who_says_nothing_is_closed_in_time_and_others_are_not() {
    let gateway = start("connect_timeout = \"500ms\"\nidle_timeout = \"1s\"");
    let mut silent = Connection::dial(gateway.port(), Version::V5).must("connect");
    let mut idle = Connection::clean(gateway.port(), Version::V5, "idle");
    let mut busy = Connection::clean(gateway.port(), Version::V5, "busy");
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1800) {
        acknowledged(&mut busy, "t", b"x", 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(silent.expect_close("no CONNECT"), []);
    let frames = idle.expect_close("idle");
    assert_eq!(frames.last().and_then(wire::Frame::reason), Some(0x8d), "{frames:?}");
    acknowledged(&mut busy, "t", b"x", 1);
}

#[test]
fn an_idle_connection_costs_little() {
    const CONNECTIONS: usize = 1000;
    let gateway = start("connections_max = 2000\nconnections_per_address_max = 2000");
    let open = |count: usize, name: &str| -> Vec<Connection> {
        (0..count).map(|n| Connection::clean(gateway.port(), Version::V311, &format!("{name}{n}"))).collect()
    };
    let few = open(50, "few");
    let before = gateway.rss_kib();
    let many = open(CONNECTIONS, "many");
    let each = gateway.rss_kib().saturating_sub(before) * 1024 / CONNECTIONS as u64;
    drop((few, many));
    assert!(each <= 4 * 1024, "{each} bytes for an idle connection");
}

#[test]
fn connack_says_what_the_settings_bound() {
    let gateway = start("keep_alive_max = \"30s\"\nsession_expiry_max = \"1m\"\ntopic_alias_max = 3");
    let mut client = Connection::dial(gateway.port(), Version::V5).must("connect");
    let connect =
        Connect { clean: false, session_expiry_s: Some(3600), ..Connect::new(Version::V5, "bounded") };
    client.send(&connect.encode()).must("send CONNECT");
    let connack = client.expect("a CONNACK");
    for (what, property) in [
        ("session expiry", &[0x11, 0, 0, 0, 60][..]),
        ("server keep-alive", &[0x13, 0, 30]),
        ("topic alias maximum", &[0x22, 0, 3]),
    ] {
        assert!(connack.body.windows(property.len()).any(|part| part == property), "{what}: {connack:?}");
    }
}

#[test]
fn sessions_and_retained_messages_are_bounded() {
    let gateway = start("sessions_max = 1\nretained_max = 1");
    let kept = |name| Connect { clean: false, session_expiry_s: Some(60), ..Connect::new(Version::V5, name) };
    let _first = Connection::open(gateway.port(), &kept("first")).must("connect");
    let mut second = Connection::dial(gateway.port(), Version::V5).must("connect");
    second.send(&kept("second").encode()).must("send CONNECT");
    assert_eq!(second.expect("a CONNACK").body.get(1), Some(&0x97));
    // One that ends with its connection is served.
    let mut publisher = Connection::clean(gateway.port(), Version::V5, "publisher");
    for (topic, reason) in [("a", 0), ("b", 0x97), ("a", 0)] {
        let publish = wire::publish(Version::V5, topic, b"x", 1, 7);
        publisher.send(&wire::retained(publish)).must("publish");
        assert_eq!(publisher.expect("a PUBACK").reason(), Some(reason), "{topic}");
    }
}

#[test]
fn clients_of_mqtt_3_1_are_served_where_that_is_set() {
    for (limits, code) in [("", 1), ("mqtt31 = true", 0)] {
        let gateway = start(limits);
        let mut old = Connection::dial(gateway.port(), Version::V311).must("connect");
        let mut body = Vec::new();
        wire::put_text(&mut body, "MQIsdp");
        body.extend([3, 2, 0, 0]);
        wire::put_text(&mut body, "old");
        old.send(&wire::packet(0x10, &body)).must("send CONNECT");
        assert_eq!(old.expect("a CONNACK").body, [0, code], "{limits}");
    }
}
