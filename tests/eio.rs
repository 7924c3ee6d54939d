//! The PUBACK is true. A disk that does not sync gives no success, and a healed one gives it after all.

use std::time::Duration;

use tidegate_tests::connection::Received;
use tidegate_tests::disk::{Disk, Fault};
use tidegate_tests::event::Event;
use tidegate_tests::fleet;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Collector, Connection, Device, Gateway, Must, Plan, Relay, gateway};

// How long a false PUBACK has time to show itself: many times the spill and a commit.
const WATCHED: Duration = Duration::from_secs(3);
const HEALED_LIMIT: Duration = Duration::from_secs(30);

struct Scene {
    broker: Broker,
    relay: Relay,
    gateway: Gateway,
    // Last, so that it is unmounted after the gateway has gone.
    disk: Disk,
}

fn scene() -> Scene {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let disk = Disk::mount(env!("CARGO_TARGET_TMPDIR"));
    let gateway = gateway!().uplink(relay.port()).buffer_dir(&disk.path().join("buffer")).start();
    Scene { broker, relay, gateway, disk }
}

#[test]
fn no_puback_of_success_leaves_while_the_disk_fails() {
    for fault in [Fault::Sync, Fault::Write, Fault::Full] {
        for version in [Version::V5, Version::V311] {
            let scene = scene();
            scene.disk.set(fault);
            let mut connection = Connection::clean(scene.gateway.port(), version, "watched");
            for id in 1..=20 {
                let payload = Event::new("watched", id.into()).payload();
                let packet = wire::publish(version, "events/watched", payload.as_bytes(), 1, id);
                connection.send(&packet).must("publish");
            }
            assert_no_success(&mut connection, version, fault);
        }
    }
}

// Silence is back-pressure; reason 0x97 (MQTT 5) and a closed connection are refusals.
#[track_caller]
fn assert_no_success(connection: &mut Connection, version: Version, fault: Fault) {
    loop {
        match connection.receive(WATCHED) {
            Received::Nothing | Received::Closed => return,
            Received::Frame(frame) if matches!(frame.kind(), 4 | 14) => {
                assert_eq!(version, Version::V5, "{fault:?}: 3.1.1 has no refusal but {frame:?} came");
                assert_eq!(frame.reason(), Some(0x97), "{fault:?}: {frame:?}");
            }
            Received::Frame(frame) => assert_ne!(frame.kind(), 4, "{fault:?}: {frame:?}"),
        }
    }
}

#[test]
fn a_healed_disk_gives_the_acknowledgements_and_nothing_is_lost() {
    for fault in [Fault::Sync, Fault::Write, Fault::Full] {
        let scene = scene();
        let collector = Collector::start(&scene.broker, &["events/#"]);
        let mut before = Device::raw(Plan::new("before", scene.gateway.port(), 0..100));
        before.finish(HEALED_LIMIT);

        scene.disk.set(fault);
        let mut during = Device::raw(Plan::new("during", scene.gateway.port(), 0..300).window(20));
        let acked = tidegate_tests::wait::within(WATCHED, || (during.acked() > 0).then_some(()));
        assert!(acked.is_none(), "{fault:?}: {} acknowledged on a disk that fails", during.acked());

        scene.disk.set(Fault::None);
        during.finish(HEALED_LIMIT);
        assert!(during.refusals().iter().all(|reason| *reason == 0x97), "{:?}", during.refusals());
        scene.relay.heal();
        collector.wait_count(400, HEALED_LIMIT);
        let findings = fleet::audit_arrivals(&[before, during], &collector);
        findings.assert_whole();
        assert!(findings.repeated.is_empty(), "{findings}");
    }
}

#[test]
fn events_are_acknowledged_by_the_cloud_while_the_disk_fails() {
    let mut scene = scene();
    let collector = Collector::start(&scene.broker, &["events/#"]);
    scene.relay.heal();
    let mut before = Device::raw(Plan::new("before", scene.gateway.port(), 0..1));
    before.finish(HEALED_LIMIT);
    collector.wait_count(1, HEALED_LIMIT);

    scene.disk.set(Fault::Write);
    let mut during = Device::raw(Plan::new("during", scene.gateway.port(), 0..500));
    during.finish(HEALED_LIMIT);
    collector.wait_count(501, HEALED_LIMIT);
    fleet::audit_arrivals(&[before, during], &collector).assert_whole();
    scene.disk.set(Fault::None);
    scene.gateway.stop();
}
