//! Kill -9 of the gateway under load loses nothing that was acknowledged, and repeats only what was in flight.

use std::time::Duration;

use tidegate_tests::device::{self, Plan, wait_acked};
use tidegate_tests::fleet::{self, FLEET_EVENTS, FLEET_LIMIT, FLEET_WINDOW};
use tidegate_tests::wire::Version;
use tidegate_tests::{
    Broker, Collector, Device, ExactSubscriber, Must, Random, Relay, gateway, oracle, wait_for,
};

const KILLS: usize = 10;

#[test]
fn ten_kills_while_the_cloud_is_away_lose_nothing() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = gateway!().uplink(relay.port()).start();
    let mut devices = fleet::enduring(gateway.port());
    for moment in random_moments() {
        wait_acked(&devices, moment, FLEET_LIMIT);
        gateway.kill();
        gateway.restart();
    }
    fleet::finish(&mut devices);
    relay.heal();
    collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));
    // The marker is behind everything that the backlog holds.
    let mut marker = [Device::raw(Plan::new("marker", gateway.port(), 0..1))];
    fleet::finish(&mut marker);
    collector.wait_arrival("the marker", Duration::from_secs(10), |topic, _| topic == "events/marker");

    devices.extend(marker);
    let findings = fleet::audit_arrivals(&devices, &collector);
    findings.assert_whole();
    assert!(findings.repeated.is_empty(), "only what a device sent again may come twice: {findings}");
    assert!(findings.resent.len() <= KILLS * FLEET_WINDOW, "{findings}");
    assert!(devices.iter().any(|device| device.connections() > 1), "the kills were felt");
}

#[test]
fn kills_while_the_cloud_is_there_repeat_at_most_what_was_in_flight() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = gateway!().uplink(relay.port()).start();
    let mut devices = fleet::enduring(gateway.port());
    for moment in random_moments().into_iter().step_by(3) {
        wait_acked(&devices, moment, FLEET_LIMIT);
        gateway.kill();
        gateway.restart();
    }
    fleet::finish(&mut devices);
    collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));
    fleet::audit_arrivals(&devices, &collector).assert_whole();
    for (id, payloads) in relay.record().payloads_by_id("event-id") {
        assert_eq!(payloads.len(), 1, "event id {id} names more than one event");
    }
}

/// Kills during flows of QoS 2: `TIDEGATE_KILLS`, or a few.
fn kills() -> u64 {
    std::env::var("TIDEGATE_KILLS").map_or(12, |kills| kills.parse().must("a number in TIDEGATE_KILLS"))
}

const EXACT_EVENTS_PER_KILL: u64 = 60;
const EXACT_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn kills_during_flows_of_qos_2_take_each_event_in_exactly_once() {
    let (kills, mut random) = (kills(), Random::new(Random::seed()));
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    // Nothing may be dropped for the subscriber, however long it cannot be reached.
    let room = "queue_events_max = 1000000\nqueue_bytes_max = \"512 MiB\"";
    let mut gateway = gateway!().uplink(relay.port()).limits(room).start();
    let port = gateway.port();
    let subscriber = ExactSubscriber::start(port, Version::V5, "subscriber", "events/#");
    let plan = |name, version, share| Plan::new(name, port, 0..kills * share).version(version).exact();
    // Who has one in flight waits for the disk twice an event.
    let mut devices = [
        plan("exact-5", Version::V5, 30),
        plan("exact-3", Version::V311, 25).window(7),
        plan("one", Version::V5, 5).window(1),
    ]
    .map(Device::raw);
    let events = usize::try_from(kills * EXACT_EVENTS_PER_KILL).must("count events");
    for _ in 0..kills {
        let acked = devices.iter().map(Device::acked).sum::<usize>();
        let more = usize::try_from(random.within(0..EXACT_EVENTS_PER_KILL)).must("count events");
        wait_acked(&devices, (acked + more).min(events - 1), EXACT_LIMIT);
        gateway.kill();
        if random.once_in(4) {
            relay.cut()
        } else {
            relay.heal()
        }
        gateway.restart();
    }
    relay.heal();
    fleet::finish(&mut devices);
    wait_for("all events at the subscriber", EXACT_LIMIT, || subscriber.count() >= events);
    wait_for("all events at the cloud", EXACT_LIMIT, || {
        relay.record().once_by_id("event-id").len() >= events
    });

    let audit = |arrivals: &[(String, String)]| {
        let arrivals = arrivals.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str()));
        oracle::audit(&device::accounts(&devices), arrivals).assert_exactly_once();
    };
    audit(&subscriber.finish());
    let owned =
        |(topic, payload): (&str, &[u8])| (topic.to_owned(), String::from_utf8_lossy(payload).into_owned());
    let record = relay.record();
    audit(&record.once_by_id("event-id").into_iter().map(owned).collect::<Vec<_>>());
    assert!(devices.iter().all(|device| device.connections() > 1), "the kills were felt");
}

// Ten counts of acknowledged events, in order, spread over the run.
fn random_moments() -> Vec<usize> {
    let step = FLEET_EVENTS / (KILLS + 1);
    let mut random = Random::new(Random::seed());
    (0..KILLS).map(|kill| kill * step + 1 + random.below(step)).collect()
}
