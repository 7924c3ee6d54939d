//! The four devices that most tests use: one of each kind, together 20,000 events.

use std::time::Duration;

use crate::collector::Collector;
use crate::device::{Device, Plan, accounts, finish_all};
use crate::oracle::{Findings, audit};
use crate::wire::Version;

/// Events of the whole fleet.
pub const FLEET_EVENTS: usize = 20_000;
/// Upper bound of what the fleet has in flight at one time.
pub const FLEET_WINDOW: usize = 100 + 100 + 50 + 50;
/// How long the fleet may take.
pub const FLEET_LIMIT: Duration = Duration::from_secs(90);

const EACH: u64 = 5_000;

/// `mosquitto_pub`, paho with MQTT 3.1.1, and raw devices of either version.
pub fn mixed(port: u16) -> Vec<Device> {
    vec![
        Device::mosquitto_pub(Plan::new("pub", port, 0..EACH)),
        Device::paho(Plan::new("paho", port, 0..EACH).version(Version::V311).window(50)),
        Device::raw(Plan::new("raw-3", port, 0..EACH).version(Version::V311)),
        Device::raw(Plan::new("raw-5", port, 0..EACH)),
    ]
}

/// Devices that keep each event until it is acknowledged, through any number of lost connections: paho with either
/// version, and raw devices of either version. (`mosquitto_pub -l` gives up when its connection is refused.)
pub fn enduring(port: u16) -> Vec<Device> {
    vec![
        Device::paho(Plan::new("paho-5", port, 0..EACH).window(50)),
        Device::paho(Plan::new("paho-3", port, 0..EACH).version(Version::V311).window(50)),
        Device::raw(Plan::new("raw-3", port, 0..EACH).version(Version::V311)),
        Device::raw(Plan::new("raw-5", port, 0..EACH)),
    ]
}

/// Waits until all devices have finished.
#[track_caller]
pub fn finish(devices: &mut [Device]) {
    finish_all(devices, FLEET_LIMIT);
    for device in devices {
        assert_eq!(device.misordered_acks(), 0, "PUBACKs leave in the order of arrival (MQTT 4.6)");
    }
}

/// Audits what arrived at the collector.
pub fn audit_arrivals(devices: &[Device], collector: &Collector) -> Findings {
    let arrivals = collector.arrivals();
    audit(&accounts(devices), arrivals.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())))
}
