//! The harness itself, proved against mosquitto alone: what it says of a gateway is worth what it says here.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tidegate_tests::device::{accounts, finish_all, wait_acked};
use tidegate_tests::disk::{Disk, Fault};
use tidegate_tests::oracle::audit;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Cloud, Collector, Connection, Device, LoopDisk, Must, Plan, Relay, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn every_kind_of_device_is_collected_in_order_and_once() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let port = broker.port();
    let mut devices = [
        Device::raw(Plan::new("raw-5", port, 0..500)),
        Device::raw(Plan::new("raw-3", port, 0..500).version(Version::V311).window(7)),
        Device::paho(Plan::new("paho-5", port, 0..300).window(20)),
        Device::paho(Plan::new("paho-3", port, 0..300).version(Version::V311).window(20)),
        Device::mosquitto_pub(Plan::new("pub", port, 0..300)),
    ];
    finish_all(&mut devices, LIMIT);
    collector.wait_count(1900, LIMIT);
    let arrivals = collector.arrivals();
    let findings = audit(&accounts(&devices), arrivals.iter().map(|(t, p)| (t.as_str(), p.as_str())));
    findings.assert_exactly_once();
    assert_eq!(findings.arrived, 1900);
    assert_eq!(devices[0].connections(), 1);
    assert_eq!(devices[0].misordered_acks(), 0);
}

#[test]
fn devices_and_the_collector_come_back_after_a_restart_of_the_broker() {
    let mut broker = Broker::with(tidegate_tests::broker::Setup { persistent: true, ..Default::default() });
    let collector = Collector::start(&broker, &["events/#"]);
    let mut devices = [
        Device::raw(Plan::new("raw", broker.port(), 0..3000)),
        Device::paho(Plan::new("paho", broker.port(), 0..3000)),
    ];
    wait_acked(&devices, 1000, LIMIT);
    broker.stop();
    broker.restart();
    collector.wait_back(broker.port());
    finish_all(&mut devices, LIMIT);
    collector.wait_count(6000, LIMIT);
    let arrivals = collector.arrivals();
    let findings = audit(&accounts(&devices), arrivals.iter().map(|(t, p)| (t.as_str(), p.as_str())));
    assert!(findings.lost.is_empty() && findings.damaged.is_empty(), "{findings}");
    assert_eq!(devices[0].connections(), 2);
}

#[test]
fn the_relay_counts_cuts_and_delays() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let mut connection = Connection::clean(relay.port(), Version::V5, "c");
    connection.send(&wire::publish(Version::V5, "t", b"one", 1, 1)).must("publish");
    assert_eq!(connection.expect("a PUBACK").packet_id(), Some(1));
    assert_eq!(relay.record().acked().collect::<Vec<_>>(), [("t", &b"one"[..])]);

    relay.set_ack_delay(Duration::from_secs(60));
    connection.send(&wire::publish(Version::V5, "t", b"two", 1, 2)).must("publish");
    wait_for("the broker's PUBACK at the relay", LIMIT, || relay.record().acked().count() == 2);
    relay.cut();
    assert_eq!(connection.expect_close("a cut"), []);
    assert!(Connection::open(relay.port(), &wire::Connect::new(Version::V5, "c")).is_err());
    assert_eq!((relay.refused(), relay.record().connections), (1, 1));

    relay.heal();
    relay.set_ack_delay(Duration::ZERO);
    let mut connection = Connection::clean(relay.port(), Version::V5, "c");
    connection.send(&wire::publish(Version::V5, "t", b"two", 1, 1)).must("publish");
    connection.expect("a PUBACK");
    let record = relay.record();
    assert_eq!((record.publishes.len(), record.repeats()), (3, 1));
}

#[test]
fn the_disk_fails_on_request_and_heals() {
    let disk = Disk::mount(env!("CARGO_TARGET_TMPDIR"));
    let mut file = File::create(disk.path().join("file")).must("create a file");
    file.write_all(b"one").must("write");
    file.sync_all().must("sync");

    disk.set(Fault::Sync);
    file.write_all(b"two").must("write while sync fails");
    let error = file.sync_data().err().must("an error of fdatasync");
    assert_eq!(error.raw_os_error(), Some(5));
    disk.set(Fault::Write);
    assert_eq!(file.write_all(b"three").err().and_then(|e| e.raw_os_error()), Some(5));
    disk.set(Fault::Full);
    assert_eq!(file.write_all(b"four").err().and_then(|e| e.raw_os_error()), Some(28));

    disk.set(Fault::None);
    file.write_all(b"five").must("write");
    file.sync_all().must("sync");
    assert_eq!(fs::read(disk.path().join("file")).must("read"), b"onetwofive");
}

#[test]
fn our_cloud_takes_what_every_kind_of_device_publishes_and_is_away_when_told() {
    let cloud = Cloud::start();
    let mut devices = [
        Device::raw(Plan::new("raw-5", cloud.port(), 0..500)),
        Device::raw(Plan::new("raw-3", cloud.port(), 0..500).version(Version::V311)),
        Device::paho(Plan::new("paho-5", cloud.port(), 0..100).window(20)),
        Device::mosquitto_pub(Plan::new("pub", cloud.port(), 0..100)),
    ];
    finish_all(&mut devices, LIMIT);
    cloud.audit(&accounts(&devices)).assert_exactly_once();
    assert_eq!(cloud.count(), 1200);

    cloud.cut();
    assert!(Connection::open(cloud.port(), &wire::Connect::new(Version::V5, "late")).is_err());
    cloud.heal();
    cloud.set_ack_delay(Duration::from_millis(300));
    let begun = std::time::Instant::now();
    Device::raw(Plan::new("slow", cloud.port(), 0..1)).finish(LIMIT);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_only_that() {
    let disk = LoopDisk::mount(Path::new(env!("CARGO_TARGET_TMPDIR")), 16 << 20);
    let cut = disk.arm();
    for (name, synced) in [("synced", true), ("unsynced", false)] {
        let mut file = File::create(disk.path().join(name)).must("make a file");
        file.write_all(b"content").must("write");
        if synced {
            file.sync_all().must("sync");
        }
    }
    cut.now();
    assert!(File::create(disk.path().join("later")).is_err(), "a disk without power takes nothing");
    disk.remount();
    assert_eq!(fs::read(disk.path().join("synced")).must("read what was synced"), b"content");
    assert_ne!(fs::read(disk.path().join("unsynced")).unwrap_or_default(), b"content");
}

#[test]
fn a_full_disk_takes_no_byte_and_a_freed_one_does() {
    let disk = LoopDisk::mount(Path::new(env!("CARGO_TARGET_TMPDIR")), 16 << 20);
    let put = || fs::write(disk.path().join("more"), [1; 64 << 10]);
    put().must("write to an empty disk");
    fs::remove_file(disk.path().join("more")).must("remove a file");
    disk.fill();
    assert_eq!(put().map_err(|error| error.kind()), Err(std::io::ErrorKind::StorageFull));
    disk.free();
    put().must("write to a freed disk");
}
