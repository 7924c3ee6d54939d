//! While the cloud answers quickly, events cost no disk writes.

use std::time::Duration;

use tidegate_tests::fleet::{self, FLEET_EVENTS};
use tidegate_tests::{Broker, Collector, gateway};

const WRITTEN_BYTES_MAX: u64 = 1_000_000;

#[test]
fn twenty_thousand_events_online_write_less_than_a_megabyte() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let gateway = gateway!().uplink(broker.port()).start();
    let mut devices = fleet::mixed(gateway.port());
    fleet::finish(&mut devices);
    collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));
    // The reserve is written once in a gateway's life, some seconds after its first start: no event costs it.
    let reserve = std::fs::metadata(gateway.buffer_dir().join("buffer.reserve")).map_or(0, |file| file.len());
    let written = gateway.storage_bytes().saturating_sub(reserve);
    fleet::audit_arrivals(&devices, &collector).assert_exactly_once();
    assert!(written < WRITTEN_BYTES_MAX, "{written} bytes written");
}

#[test]
fn the_measure_sees_what_is_stored() {
    let broker = Broker::stopped(Default::default());
    let gateway = gateway!().uplink(broker.port()).start();
    let mut devices = fleet::mixed(gateway.port());
    fleet::finish(&mut devices);
    let written = gateway.storage_bytes();
    assert!(
        written > WRITTEN_BYTES_MAX,
        "{written} bytes: with the cloud away, the measure counts what is stored"
    );
}
