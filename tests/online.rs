//! With the cloud there, all arrives, in order, once.

use std::time::Duration;

use tidegate_tests::fleet::{self, FLEET_EVENTS};
use tidegate_tests::{Broker, Collector, gateway};

#[test]
fn twenty_thousand_events_arrive_in_order_and_once() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = gateway!().uplink(broker.port()).start();
    let mut devices = fleet::mixed(gateway.port());
    fleet::finish(&mut devices);
    collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));

    let findings = fleet::audit_arrivals(&devices, &collector);
    findings.assert_exactly_once();
    assert_eq!(findings.arrived, FLEET_EVENTS);
    gateway.stop();
    assert_eq!(collector.count(), FLEET_EVENTS, "stopping sends nothing twice");
}

#[test]
fn an_uplink_of_3_1_1_carries_the_same() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let gateway = gateway!().uplink(broker.port()).uplink_with("version = \"3.1.1\"").start();
    let mut devices = fleet::enduring(gateway.port());
    fleet::finish(&mut devices);
    collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));
    fleet::audit_arrivals(&devices, &collector).assert_exactly_once();
}
