//! To the cloud, and from a broker, in WebSocket frames: plain, with TLS, and through an HTTP proxy.

use std::time::Duration;

use tidegate_tests::broker::Setup;
use tidegate_tests::{
    Authority, Broker, Collector, Device, Plan, Port, Proxy, device, fleet, gateway, wait_for,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A mosquitto that speaks WebSocket on its port, with TLS if there is an authority, and plain MQTT on another.
fn broker(authority: Option<&Authority>) -> (Broker, Port) {
    let plain = Port::reserve();
    let tls = authority.map_or_else(String::new, |authority| {
        let [cert, key] = ["broker.crt", "broker.key"].map(|name| authority.path(name));
        format!("certfile {cert}\nkeyfile {key}\n")
    });
    let listener = format!("protocol websockets\n{tls}listener {} 127.0.0.1\n", plain.number());
    (Broker::with(Setup { persistent: true, listener: &listener, ..Setup::default() }), plain)
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("broker", "broker", "IP:127.0.0.1,DNS:localhost");
    authority
}

#[test]
fn events_arrive_over_websocket_and_survive_lost_connections() {
    let (mut broker, plain) = broker(None);
    let collector = Collector::with(plain.number(), &["events/#"], &[]);
    let lines = format!("url = \"ws://127.0.0.1:{}/mqtt\"\nforward = [\"events/#\"]", broker.port());
    let mut gateway = gateway!().uplink_with(&lines).start();
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..4000).paced(2000))];
    device::wait_acked(&devices, 1000, LIMIT);
    broker.stop();
    broker.restart();
    fleet::finish(&mut devices);
    collector.wait_count(4000, LIMIT);
    fleet::audit_arrivals(&devices, &collector).assert_whole();
    gateway.stop();
}

#[test]
fn events_arrive_over_websocket_with_tls_through_a_proxy() {
    let authority = authority();
    let (broker, plain) = broker(Some(&authority));
    let collector = Collector::with(plain.number(), &["events/#"], &[]);
    let proxy = Proxy::start("");
    let lines = format!(
        "url = \"wss://localhost:{}\"\nforward = [\"events/#\"]\ntls = {{ ca = \"{}\" }}\nproxy = \"http://127.0.0.1:{}\"",
        broker.port(),
        authority.path("ca.crt"),
        proxy.port()
    );
    let mut gateway = gateway!().uplink_with(&lines).start();
    let mut devices = fleet::mixed(gateway.port());
    fleet::finish(&mut devices);
    wait_for("all has arrived", LIMIT, || fleet::audit_arrivals(&devices, &collector).lost.is_empty());
    fleet::audit_arrivals(&devices, &collector).assert_exactly_once();
    assert_eq!(proxy.count(), 1);
    gateway.stop();
}
