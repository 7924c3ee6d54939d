//! Everything has a bound. The buffer at its own refuses and loses nothing, or evicts the oldest and says so; a client too
//! many is turned away; a subscriber that does not read costs no memory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Broker, Collector, Connection, Gateway, Must, Relay, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const QUOTA_EXCEEDED: u8 = 0x97;
// Four times the bound of the buffer.
const PUBLISHES: u16 = 1_000;

struct Scene {
    collector: Collector,
    relay: Relay,
    gateway: Gateway,
    _broker: Broker,
}

fn scene(when_full: &str) -> Scene {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let collector = Collector::start(&broker, &["events/#"]);
    let lines = format!("max_bytes = \"1 MiB\"\nreserve_bytes = \"1 MiB\"\nwhen_full = \"{when_full}\"");
    let gateway = gateway!().uplink(relay.port()).buffer(&lines).start();
    Scene { collector, relay, gateway, _broker: broker }
}

// About 4 KB that do not compress: the number, then hexadecimal digits of fresh hashes.
fn payload(number: u16) -> String {
    let mut text = format!("{number} ");
    while text.len() < 4_000 {
        text.push_str(&format!("{:016x}", RandomState::new().build_hasher().finish()));
    }
    text
}

// Publishes one event and gives the reason of its PUBACK.
fn publish(connection: &mut Connection, number: u16) -> u8 {
    let packet = wire::publish(Version::V5, "events/bulk", payload(number).as_bytes(), 1, number);
    connection.send(&packet).must("publish");
    let puback = connection.expect("a PUBACK");
    assert_eq!((puback.kind(), puback.packet_id()), (4, Some(number)));
    puback.reason().must("a reason")
}

fn arrived(collector: &Collector) -> Vec<u16> {
    let number = |(_, payload): (String, String)| payload.split(' ').next().and_then(|n| n.parse().ok());
    collector.arrivals().into_iter().map(|arrival| number(arrival).must("a number")).collect()
}

#[test]
fn a_full_buffer_that_refuses_loses_nothing_and_takes_events_again_later() {
    let scene = scene("refuse");
    let mut connection = Connection::clean(scene.gateway.port(), Version::V5, "bulk");
    let mut accepted = Vec::new();
    for number in 1..=PUBLISHES {
        match publish(&mut connection, number) {
            0 => accepted.push(number),
            reason => assert_eq!(reason, QUOTA_EXCEEDED, "event {number}"),
        }
    }
    let refused = usize::from(PUBLISHES) - accepted.len();
    assert!(accepted.len() > 100, "{} accepted", accepted.len());
    assert!(refused > 100, "{refused} refused");
    assert_eq!(scene.collector.count(), 0);

    let mut old = Connection::clean(scene.gateway.port(), Version::V311, "old");
    old.send(&wire::publish(Version::V311, "events/bulk", payload(0).as_bytes(), 1, 1)).must("publish");
    assert_eq!(old.expect_close("3.1.1 can only be refused by closing"), []);

    scene.relay.heal();
    scene.collector.wait_count(accepted.len(), LIMIT);
    assert_eq!(
        arrived(&scene.collector),
        accepted,
        "what was accepted arrives, in order, once; nothing else does"
    );
    wait_for("room again", LIMIT, || publish(&mut connection, PUBLISHES + 1) == 0);
}

#[test]
fn a_full_buffer_that_evicts_keeps_the_newest_and_says_so() {
    let scene = scene("evict-oldest");
    let mut connection = Connection::clean(scene.gateway.port(), Version::V5, "bulk");
    for number in 1..=PUBLISHES {
        assert_eq!(publish(&mut connection, number), 0, "event {number}");
    }
    let database: u64 = std::fs::read_dir(scene.gateway.buffer_dir())
        .must("list the buffer")
        .map(|entry| entry.and_then(|entry| entry.metadata()).must("look at a file").len())
        .sum();
    // The database, its log and the reserve.
    assert!(database < 8 << 20, "{database} bytes on disk for a bound of 1 MiB");
    assert!(scene.gateway.log().contains("evict"), "{}", scene.gateway.log());

    scene.relay.heal();
    wait_for("the newest event", LIMIT, || arrived(&scene.collector).last() == Some(&PUBLISHES));
    let arrived = arrived(&scene.collector);
    assert!(arrived.len() > 100 && arrived.len() < usize::from(PUBLISHES), "{} arrived", arrived.len());
    let first = PUBLISHES + 1 - u16::try_from(arrived.len()).must("count arrivals");
    assert_eq!(arrived, (first..=PUBLISHES).collect::<Vec<_>>(), "the newest, without a gap, in order");
}

#[test]
fn a_client_too_many_is_turned_away_until_there_is_room() {
    let gateway = gateway!().limits("connections_max = 5").start();
    let open = |name: &str| Connection::open(gateway.port(), &Connect::new(Version::V5, name));
    let mut connections: Vec<_> = (0..5).map(|n| open(&format!("c-{n}")).must("connect")).collect();
    assert!(open("too-many").is_err(), "the sixth of five");
    for connection in &mut connections {
        assert_eq!(publish(connection, 1), 0, "the others are served");
    }
    connections.pop().must("a connection").cut();
    wait_for("room for one more", LIMIT, || open("again").is_ok());
}

#[test]
fn a_subscriber_that_does_not_read_costs_no_memory_and_holds_nobody_up() {
    let gateway = gateway!().start();
    let mut lazy = Connection::clean(gateway.port(), Version::V5, "lazy");
    lazy.send(&wire::subscribe(Version::V5, 1, &[("events/#", 0)])).must("subscribe");
    lazy.expect("a SUBACK");
    let mut publisher = Connection::clean(gateway.port(), Version::V5, "publisher");
    assert_eq!(publish(&mut publisher, 1), 0);
    let before = gateway.rss_kib();
    // 40 MB, of which the lazy one takes nothing beyond what the sockets hold.
    for number in 1..=10_000 {
        assert_eq!(publish(&mut publisher, number), 0);
    }
    let growth = gateway.rss_kib().saturating_sub(before);
    assert!(growth < 6 * 1024, "RSS grew by {growth} KiB");
}
