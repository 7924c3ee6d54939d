//! Events from a broker that is there already: nothing that it has acknowledged is lost on the way to the cloud, whoever is
//! killed, and a gateway that cannot store leaves them where they are.

use std::fs;
use std::time::Duration;

use tidegate_tests::broker::Setup;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::device::{self, wait_acked};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Connection, Device, Gateway, Must, Plan, client, gateway, wait_for};

const EVENTS: u64 = 3000;
const EVENTS_PER_S: u32 = 1500;
const LIMIT: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(5);

/// The source `plant` at a plain port here.
fn source(port: u16, client_id: &str, subscribe: &str) -> String {
    format!(
        "[[source]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{port}\"\nclient_id = \"{client_id}\"\n\
         subscribe = [{subscribe}]\nbackoff_min = \"20ms\"\nbackoff_max = \"100ms\"\n"
    )
}

/// Starts a gateway whose source has subscribed when this returns.
fn start(plant: u16, client_id: &str, subscribe: &str, cloud: u16) -> Gateway {
    let mut gateway = gateway!().uplink(cloud).tables(&source(plant, client_id, subscribe)).start();
    wait_subscribed(&mut gateway);
    gateway
}

fn wait_subscribed(gateway: &mut Gateway) {
    gateway.process().wait_stderr("word of the subscription", LIMIT, |line| line.contains("subscribed"));
}

fn half(of: u64) -> usize {
    usize::try_from(of / 2).must("count events")
}

#[test]
fn kills_of_the_gateway_lose_nothing_that_the_broker_has_acknowledged() {
    for version in ["5", "3"] {
        let (plant, cloud) = (Broker::start(), Cloud::start());
        let lines = format!("{}version = {version}\n", source(plant.port(), "gw", "\"events/#\""));
        let mut gateway = gateway!().uplink(cloud.port()).tables(&lines).start();
        wait_subscribed(&mut gateway);
        let plan = Plan::new("d", plant.port(), 0..EVENTS).paced(EVENTS_PER_S);
        let mut device = [Device::raw(plan)];
        for kill in 1..5 {
            wait_acked(&device, half(EVENTS) * kill / 3, LIMIT);
            gateway.kill();
            gateway.restart();
        }
        device::finish_all(&mut device, LIMIT);
        cloud.drained(&device::accounts(&device), QUIET, LIMIT).assert_whole();
        gateway.stop();
    }
}

#[test]
fn a_broker_that_restarts_keeps_the_session_and_what_waits_in_it() {
    let mut plant = Broker::with(Setup { persistent: true, ..Setup::default() });
    let cloud = Cloud::start();
    let mut gateway = start(plant.port(), "gw", "\"events/#\"", cloud.port());
    let mut device = [Device::raw(Plan::new("d", plant.port(), 0..EVENTS).paced(EVENTS_PER_S))];
    wait_acked(&device, half(EVENTS), LIMIT);
    plant.stop();
    plant.restart();
    // What comes while the gateway is away waits at the broker.
    gateway.kill();
    device::finish_all(&mut device, LIMIT);
    gateway.restart();
    cloud.drained(&device::accounts(&device), QUIET, LIMIT).assert_whole();
}

#[test]
fn what_the_buffer_has_no_room_for_stays_at_the_broker() {
    let (plant, cloud) = (Broker::start(), Cloud::start());
    cloud.cut();
    let lines = "max_bytes = \"1 MiB\"\nreserve_bytes = \"1 MiB\"\nwhen_full = \"refuse\"";
    let tables = source(plant.port(), "gw", "{ from = \"bulk/+\", to = \"events/+\" }");
    let mut gateway = gateway!().uplink(cloud.port()).buffer(lines).tables(&tables).start();
    wait_subscribed(&mut gateway);
    let mut connection = Connection::clean(plant.port(), Version::V5, "bulk");
    let payloads: Vec<String> = (0..1000).map(bulk).collect();
    for (number, payload) in (1..).zip(&payloads) {
        let packet = wire::publish(Version::V5, "bulk/x", payload.as_bytes(), 1, number);
        connection.send(&packet).must("publish");
        assert_eq!(connection.expect("a PUBACK").kind(), 4);
    }
    // Four times what the buffer takes. Devices go on talking to each other.
    gateway.process().wait_stderr("word of the full buffer", LIMIT, |line| line.contains("buffer: full"));
    client::mosquitto_round_trip("local", &["-p", &gateway.port().to_string()]);
    cloud.heal();
    wait_for("all has arrived", LIMIT, || cloud.count() >= payloads.len());
    let mut arrived: Vec<String> = cloud.arrivals().iter().map(|(_, payload)| payload.clone()).collect();
    arrived.dedup();
    assert_eq!(arrived, payloads, "in order, and nothing twice but by the broken connection to the cloud");
    gateway.stop();
}

/// About 4 KB that do not compress.
fn bulk(number: u64) -> String {
    let mut random = tidegate_tests::Random::new(number);
    let mut text = format!("{number} ");
    while text.len() < 4000 {
        text.push_str(&format!("{:016x}", random.number()));
    }
    text
}

#[test]
fn two_gateways_share_the_load_and_one_takes_over_when_the_other_is_killed() {
    // A gateway of its own is the broker here: it leaves nothing for a member that is away while another is there.
    let plant = gateway!().limits("queue_events_max = 100000").start();
    let cloud = Cloud::start();
    let shared = "\"$share/all/events/#\"";
    let mut first = start(plant.port(), "first", shared, cloud.port());
    let second = start(plant.port(), "second", shared, cloud.port());
    let plan = Plan::new("d", plant.port(), 0..EVENTS).paced(EVENTS_PER_S);
    let mut device = [Device::raw(plan)];
    wait_acked(&device, half(EVENTS), LIMIT);
    wait_for("both have some", LIMIT, || cloud.connections() >= 2);
    first.kill();
    device::finish_all(&mut device, LIMIT);
    first.restart();
    let findings = cloud.drained(&device::accounts(&device), QUIET, LIMIT);
    assert!(findings.lost.is_empty() && findings.damaged.is_empty(), "{findings}");
    drop(second);
}

/// What is changed under a source that runs, or gone for a while, costs no event: the broker keeps the session.
#[test]
fn reloads_that_change_and_remove_a_source_lose_nothing() {
    let (plant, cloud) = (Broker::start(), Cloud::start());
    let mut gateway = start(plant.port(), "gw", "\"events/#\"", cloud.port());
    let path = gateway.dir().join("tidegate.toml");
    let whole = fs::read_to_string(&path).must("read the settings");
    let source = source(plant.port(), "gw", "\"events/#\"");
    let plan = Plan::new("d", plant.port(), 0..EVENTS).paced(EVENTS_PER_S / 2);
    let mut device = [Device::raw(plan)];
    let settings = [
        whole.replace(&source, &format!("{source}window = 7\n")),
        whole.replace(&source, ""),
        whole.clone(),
        whole.replace(&source, &format!("{source}keep_alive = \"20s\"\n")),
    ];
    for (reload, text) in settings.iter().enumerate() {
        wait_acked(&device, half(EVENTS) * (reload + 1) / 3, LIMIT);
        let subscribed = gateway.log().matches("subscribed").count();
        fs::write(&path, text).must("write the settings");
        gateway.process().signal("HUP");
        wait_for("the reload", LIMIT, || gateway.log().matches("reloaded").count() > reload);
        if text.contains("[[source]]") {
            wait_for("the subscription", LIMIT, || gateway.log().matches("subscribed").count() > subscribed);
        }
    }
    let log = gateway.log();
    for said in ["source plant: window was 100, is 7", "source plant: removed", "source plant: added"] {
        assert!(log.contains(said), "no {said:?} in {log}");
    }
    assert!(!log.contains("not before a restart"), "{log}");
    device::finish_all(&mut device, LIMIT);
    cloud.drained(&device::accounts(&device), QUIET, LIMIT).assert_whole();
}
