//! A clean stop: SIGTERM under load loses nothing and repeats nothing; and what systemd is told on the way.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::device::wait_acked;
use tidegate_tests::fleet::{self, FLEET_EVENTS, FLEET_LIMIT};
use tidegate_tests::{Broker, Collector, Must, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn sigterm_under_load_loses_nothing_and_repeats_nothing() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = gateway!().uplink(broker.port()).start();
    let mut devices = fleet::enduring(gateway.port());
    for stop in 1..=3 {
        wait_acked(&devices, stop * FLEET_EVENTS / 4, FLEET_LIMIT);
        gateway.stop();
        gateway.restart();
    }
    fleet::finish(&mut devices);
    collector.wait_count(FLEET_EVENTS, LIMIT);
    gateway.stop();
    let findings = fleet::audit_arrivals(&devices, &collector);
    findings.assert_whole();
    assert!(
        findings.repeated.is_empty(),
        "what the cloud acknowledged before the stop is not sent again: {findings}"
    );
}

#[test]
fn systemd_is_told_ready_alive_and_stopping() {
    let dir = TempDir::new().must("make a temporary folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).must("bind the notify socket");
    socket.set_nonblocking(true).must("set non-blocking mode");
    let mut told = String::new();
    let mut is_told = |word: &str| {
        let mut bytes = [0; 4096];
        while let Ok(count) = socket.recv(&mut bytes) {
            told.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()));
            told.push('\n');
        }
        told.lines().filter(|line| line.starts_with(word)).count()
    };

    let path = path.to_str().must("a path in UTF-8");
    let builder = gateway!().environment("NOTIFY_SOCKET", path).environment("WATCHDOG_USEC", "400000");
    let mut gateway = builder.start();
    wait_for("READY=1", LIMIT, || is_told("READY=1") == 1);
    wait_for("the watchdog fed again and again", LIMIT, || is_told("WATCHDOG=1") >= 3);
    assert_eq!(is_told("STOPPING=1"), 0);
    gateway.stop();
    assert_eq!(is_told("STOPPING=1"), 1);
}
