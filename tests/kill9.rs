//! Kill -9 of the gateway under load loses nothing that was acknowledged, and repeats only what was in flight.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tidegate_tests::device::wait_acked;
use tidegate_tests::fleet::{self, FLEET_EVENTS, FLEET_LIMIT, FLEET_WINDOW};
use tidegate_tests::wire::Version;
use tidegate_tests::{Broker, Collector, Relay, gateway};

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
    let mut marker = [tidegate_tests::Device::raw(tidegate_tests::Plan::new("marker", gateway.port(), 0..1))];
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

// Ten counts of acknowledged events, in order, spread over the run.
fn random_moments() -> Vec<usize> {
    let step = FLEET_EVENTS / (KILLS + 1);
    (0..KILLS).map(|kill| kill * step + 1 + random(step)).collect()
}

// The standard library seeds each RandomState afresh.
fn random(below: usize) -> usize {
    let value = RandomState::new().build_hasher().finish() % u64::try_from(below).unwrap_or(1);
    usize::try_from(value).unwrap_or(0)
}
