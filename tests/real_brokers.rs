//! RabbitMQ and NATS as the cloud: away, back, killed; nothing is lost, and commands come down.

use std::time::Duration;

use tidegate_tests::device::{self, wait_acked};
use tidegate_tests::real_broker::{Product, RealBroker};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Collector, Connection, Device, Must, Plan, client, fleet, gateway, wait_for};

const EVENTS: u64 = 1500;
const EVENTS_PER_S: u32 = 500;
const LIMIT: Duration = Duration::from_secs(90);

fn away_back_and_killed(product: Product) {
    let mut broker = RealBroker::start(product);
    let collector = Collector::with(broker.port(), &["events/#"], &[]);
    let lines = format!(
        "url = \"mqtt://127.0.0.1:{}\"\nversion = 3\nforward = [\"events/#\"]\nsubscribe = [\"cmd/#\"]",
        broker.port()
    );
    let mut gateway = gateway!().uplink_with(&lines).start();
    gateway.process().wait_stderr("word of the subscription", LIMIT, |line| line.contains("subscribed"));
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..EVENTS).paced(EVENTS_PER_S))];

    // Killed in the middle, and away for a while.
    wait_acked(&devices, 400, LIMIT);
    broker.kill();
    wait_acked(&devices, 900, LIMIT);
    broker.restart();
    device::finish_all(&mut devices, LIMIT);
    wait_for("nothing is missing", LIMIT, || fleet::audit_arrivals(&devices, &collector).lost.is_empty());
    let findings = fleet::audit_arrivals(&devices, &collector);
    assert!(findings.invented.is_empty() && findings.damaged.is_empty(), "{findings}");

    let mut local = Connection::clean(gateway.port(), Version::V5, "local");
    local.send(&wire::subscribe(Version::V5, 1, &[("cmd/#", 1)])).must("subscribe");
    assert_eq!(local.expect("a SUBACK").kind(), 9);
    client::mosquitto_pub("cmd/valve", &["-p", &broker.port().to_string()]).assert_ok();
    let command = local.expect_publish("the command");
    assert_eq!((command.topic.as_str(), &command.payload[..]), ("cmd/valve", &b"hello"[..]));
    gateway.stop();
}

#[test]
fn rabbit_mq() {
    away_back_and_killed(Product::RabbitMq);
}

#[test]
fn nats() {
    away_back_and_killed(Product::Nats);
}
