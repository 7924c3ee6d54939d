//! Clouds that go away without saying so, the way to another broker and back, and events that a cloud does not survive.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::cloud::Cloud;
use tidegate_tests::event::Event;
use tidegate_tests::gateway::run_to_end;
use tidegate_tests::oracle::audit;
use tidegate_tests::wire::Version;
use tidegate_tests::{
    Broker, Collector, Device, Gateway, Must, Plan, Relay, binary, device, fleet, gateway, wait_for,
};

const LIMIT: Duration = Duration::from_secs(20);
/// What the gateways here give a cloud to answer in, rather than 10 s and 8 s.
const IMPATIENT: &str = "ack_timeout = \"1s\"\nconnect_timeout = \"1s\"";
/// Within this the cloud has to be noticed to be gone, and another to be used.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);

fn to(urls: &[u16], lines: &str) -> Gateway {
    let urls: Vec<String> = urls.iter().map(|port| format!("\"mqtt://127.0.0.1:{port}\"")).collect();
    let lines = format!("urls = [{}]\nforward = [\"events/#\"]\n{IMPATIENT}\n{lines}", urls.join(", "));
    gateway!().uplink_with(&lines).start()
}

fn publish(gateway: &Gateway, name: &str, events: u64) -> [Device; 1] {
    let mut device = [Device::raw(Plan::new(name, gateway.port(), 0..events))];
    fleet::finish(&mut device);
    device
}

#[test]
fn the_second_broker_serves_while_the_first_is_away_and_the_first_again_once_it_is_back() {
    let (first, second) = (Cloud::start(), Cloud::start());
    first.cut();
    let mut gateway = to(&[first.port(), second.port()], "return_after = \"1s\"");
    let before = publish(&gateway, "before", 500);
    wait_for("the second has the events", LIMIT, || second.count() == 500);

    first.heal();
    wait_for("the first is used again", LIMIT, || first.connections() > 0);
    let after = publish(&gateway, "after", 500);
    wait_for("the first has the events", LIMIT, || first.count() == 500);
    assert_eq!((second.count(), second.connections()), (500, 1));
    let accounts = [device::accounts(&before), device::accounts(&after)].concat();
    let arrivals = [second.arrivals().clone(), first.arrivals().clone()].concat();
    audit(&accounts, arrivals.iter().map(|(t, p)| (t.as_str(), p.as_str()))).assert_exactly_once();

    first.cut();
    let last = publish(&gateway, "last", 100);
    wait_for("the second has what came last", LIMIT, || second.count() >= 600);
    second.audit(&[device::accounts(&before), device::accounts(&last)].concat()).assert_whole();
    gateway.stop();
}

#[test]
fn a_broker_that_is_stopped_with_its_sockets_open_is_left_in_time() {
    let (first, second) = (Broker::start(), Cloud::start());
    let mut gateway = to(&[first.port(), second.port()], "");
    let collector = Collector::start(&first, &["events/#"]);
    publish(&gateway, "warm-up", 1);
    collector.wait_count(1, LIMIT);
    signal(first.pid(), "STOP");

    let stopped = Instant::now();
    let device = publish(&gateway, "d", 200);
    assert!(stopped.elapsed() < NOTICED_WITHIN, "devices were kept waiting for {:?}", stopped.elapsed());
    wait_for("the second has the events", NOTICED_WITHIN, || second.count() >= 200);
    second.audit(&device::accounts(&device)).assert_whole();
    signal(first.pid(), "CONT");
    gateway.stop();
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.must("run kill").success());
}

#[test]
fn a_cloud_that_falls_silent_is_noticed_and_costs_devices_nothing() {
    let cloud = Cloud::start();
    let relay = Relay::start(cloud.port(), Version::V5);
    let mut gateway = to(&[relay.port()], "");
    let first = publish(&gateway, "warm-up", 1);
    wait_for("the first event", LIMIT, || cloud.count() == 1);
    let before = relay.record().connections;
    relay.set_ack_delay(Duration::from_secs(3600));

    let silent = Instant::now();
    let device = publish(&gateway, "d", 100);
    assert!(silent.elapsed() < Duration::from_secs(1), "devices waited for {:?}", silent.elapsed());
    wait_for("the gateway connects anew", NOTICED_WITHIN, || relay.record().connections > before);
    relay.set_ack_delay(Duration::ZERO);
    relay.drop_connections();
    let accounts = [device::accounts(&first), device::accounts(&device)].concat();
    cloud.drained(&accounts, Duration::from_secs(5), LIMIT).assert_whole();
    gateway.stop();
}

#[test]
fn a_portal_that_answers_in_place_of_the_broker_is_no_broker() {
    let portal = TcpListener::bind("127.0.0.1:0").must("bind the portal");
    let port = portal.local_addr().must("know the port").port();
    thread::spawn(move || {
        for stream in portal.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1024]);
            let page = "x".repeat(300);
            let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n{page}");
        }
    });
    let second = Cloud::start();
    let mut gateway = to(&[port, second.port()], "");
    let device = publish(&gateway, "d", 100);
    wait_for("the second has the events", NOTICED_WITHIN, || second.count() == 100);
    second.audit(&device::accounts(&device)).assert_exactly_once();
    let log = gateway.log();
    assert!(log.contains("no MQTT packet") || log.contains("another packet"), "{log}");
    gateway.stop();
}

#[test]
fn the_status_topic_says_who_is_there_and_who_is_lost() {
    let broker = Broker::start();
    let collector = Collector::with(broker.port(), &["gw/#"], &[]);
    let lines = format!(
        "url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]\n{IMPATIENT}\nstatus_topic = \"gw/a/status\"",
        broker.port()
    );
    let mut gateway = gateway!().uplink_with(&lines).start();
    let said = |state: &str, count: usize| {
        let state = format!("\"state\":\"{state}\"");
        wait_for(&format!("{state} number {count}"), LIMIT, || {
            let arrivals = collector.arrivals();
            arrivals
                .iter()
                .filter(|(topic, payload)| topic == "gw/a/status" && payload.contains(&state))
                .count()
                == count
        });
    };
    said("online", 1);
    gateway.kill();
    said("offline", 1);
    gateway.restart();
    said("online", 2);
    gateway.stop();
    said("offline", 2);
    let (_, goodbye) = collector.arrivals().pop().must("a message");
    assert!(goodbye.contains("\"until\""), "{goodbye}");
}

fn set_aside(gateway: &Gateway) -> String {
    let config = gateway.dir().join("tidegate.toml");
    let config = config.to_str().must("a path of text");
    let arguments = ["buffer", "--config", config, "--json", "quarantine", "list"];
    let outcome = run_to_end(&binary!(), &arguments, &[]);
    outcome.assert(0, &[]);
    outcome.stdout
}

/// A gateway whose cloud ends the connection on whatever has `poison` in it, and what became of 2,000 events.
fn poisoned(cloud: &Cloud, poison: &str) -> (Gateway, [Device; 1]) {
    cloud.set_poison(poison);
    let lines = "backoff_min = \"10ms\"\nbackoff_max = \"100ms\"\nstatus_topic = \"gw/{gateway}/status\"";
    let gateway = to(&[cloud.port()], lines);
    let device = publish(&gateway, "d", 2000);
    (gateway, device)
}

#[test]
fn the_event_that_ends_connections_is_set_aside_and_the_others_arrive() {
    let cloud = Cloud::start();
    let (mut gateway, device) = poisoned(&cloud, "\"seq\":1000,");
    let findings = || cloud.audit(&device::accounts(&device));
    wait_for("all others arrive", LIMIT, || findings().lost.len() == 1);
    wait_for("it is set aside", LIMIT, || set_aside(&gateway).contains("alone on the line"));
    let findings = findings();
    assert_eq!(findings.lost, [Event::new("d", 1000)]);
    assert!(findings.repeated.len() <= 3 * 100, "{} events came again", findings.repeated.len());
    assert!(cloud.connections() <= 20, "{} connections", cloud.connections());
    assert_eq!(set_aside(&gateway).matches("alone on the line").count(), 1);
    gateway.stop();
}

#[test]
fn a_cloud_that_takes_its_status_and_no_event_convicts_none() {
    let cloud = Cloud::start();
    let (mut gateway, device) = poisoned(&cloud, "\"device\"");
    wait_for("many attempts", LIMIT, || cloud.connections() > 40);
    assert!(!set_aside(&gateway).contains("cause"), "{}", set_aside(&gateway));
    cloud.set_poison("nothing has this in it");
    wait_for("all arrive", LIMIT, || cloud.audit(&device::accounts(&device)).lost.is_empty());
    gateway.stop();
}
