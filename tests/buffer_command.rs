//! `tidegate buffer`, on a buffer that is at rest and beside a running gateway; and what the cloud hears of evictions.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::{Outcome, run_to_end};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{
    Broker, Collector, Connection, Device, Gateway, Must, Plan, Relay, binary, fleet, gateway, wait_for,
};

const LIMIT: Duration = Duration::from_secs(20);

fn buffer(gateway: &Gateway, arguments: &[&str]) -> Outcome {
    let config = gateway.dir().join("tidegate.toml");
    let mut all = vec!["buffer", "--config", config.to_str().must("a path in UTF-8")];
    all.extend(arguments);
    run_to_end(&binary!(), &all, &[])
}

fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let outcome = buffer(gateway, &[&["--json"], arguments].concat());
    outcome.assert(0, &[]);
    serde_json::from_str(&outcome.stdout).must("JSON on standard output")
}

/// The lane of an uplink's normal priority, as `status --json` has it.
fn normal_lane<'a>(status: &'a Value, uplink: &str) -> &'a Value {
    let lanes = status["lanes"].as_array().must("lanes");
    let is_it = |lane: &&Value| lane["uplink"] == uplink && lane["priority"] == "normal";
    lanes.iter().find(is_it).must("the lane")
}

fn with_backlog(broker: &Broker, events: u64) -> Gateway {
    let gateway = gateway!().uplink(broker.port()).start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..events))];
    fleet::finish(&mut device);
    gateway
}

#[test]
fn a_backlog_is_shown_beside_the_gateway_and_after_it() {
    let broker = Broker::stopped(Setup::default());
    let mut gateway = with_backlog(&broker, 500);
    for running in [true, false] {
        if !running {
            gateway.stop();
        }
        let status = json(&gateway, &["status"]);
        assert_eq!(status["running"], running);
        assert_eq!(normal_lane(&status, "cloud")["stored"], 500, "{status}");
        assert!(normal_lane(&status, "cloud")["oldest"].is_string(), "{status}");
        let text = buffer(&gateway, &["status"]);
        text.assert(0, &[]);
        assert!(text.stdout.contains("cloud") && text.stdout.contains("500"), "{}", text.stdout);

        let batches = json(&gateway, &["list"]);
        let events: u64 =
            batches.as_array().must("batches").iter().filter_map(|batch| batch["events"].as_u64()).sum();
        assert_eq!(events, 500);
        let first = json(&gateway, &["peek", "-n", "1"]);
        assert_eq!(first[0]["topic"], "events/d");
        assert!(first[0]["id"].as_str().must("an id").starts_with("gw-"), "{first}");
        buffer(&gateway, &["verify"]).assert(0, &[]);
    }
}

#[test]
fn an_export_has_every_event_with_its_payload() {
    let broker = Broker::stopped(Setup::default());
    let gateway = with_backlog(&broker, 300);
    let lines = buffer(&gateway, &["export"]);
    lines.assert(0, &["300 events exported"]);
    let events: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).must("JSON")).collect();
    let expected: Vec<String> =
        (0..300).map(|seq| tidegate_tests::event::Event::new("d", seq).payload()).collect();
    let payloads: Vec<&str> = events.iter().filter_map(|event| event["payload"].as_str()).collect();
    assert_eq!(payloads, expected);

    let file = gateway.dir().join("events.cbor");
    let out = ["export", "--format", "cbor", "--out", file.to_str().must("a path in UTF-8")];
    buffer(&gateway, &out).assert(0, &["300 events exported"]);
    let bytes = fs::read(&file).must("read the export");
    for payload in &expected {
        assert!(bytes.windows(payload.len()).any(|window| window == payload.as_bytes()), "{payload}");
    }
    buffer(&gateway, &out).assert(74, &["exists"]);
}

#[test]
fn purge_gives_up_what_waits_and_asks_first() {
    let mut broker = Broker::stopped(Setup::default());
    let mut gateway = with_backlog(&broker, 200);
    buffer(&gateway, &["purge", "--uplink", "cloud"]).assert(64, &["nothing was purged", "--yes"]);
    buffer(&gateway, &["purge", "--uplink", "clod", "--yes"]).assert(74, &["knows no uplink `clod`"]);
    assert_eq!(json(&gateway, &["purge", "--uplink", "cloud", "--priority", "low", "--yes"])["purged"], 0);
    assert_eq!(json(&gateway, &["purge", "--uplink", "cloud", "--yes"])["purged"], 200);

    let mut later = [Device::raw(Plan::new("later", gateway.port(), 0..10))];
    fleet::finish(&mut later);
    gateway.stop();
    assert_eq!(normal_lane(&json(&gateway, &["status"]), "cloud")["stored"], 10);
    broker.restart();
    let collector = Collector::start(&broker, &["events/#"]);
    gateway.restart();
    collector.wait_count(10, LIMIT);
    fleet::audit_arrivals(&later, &collector).assert_exactly_once();
}

#[test]
fn what_waits_for_an_uplink_that_is_gone_stays_until_it_is_back_or_purged() {
    let broker = Broker::stopped(Setup::default());
    let mut gateway = with_backlog(&broker, 100);
    gateway.stop();
    let path = gateway.dir().join("tidegate.toml");
    let text = fs::read_to_string(&path).must("read tidegate.toml");
    fs::write(&path, text.replace("name = \"cloud\"", "name = \"other\"")).must("write tidegate.toml");
    gateway.restart();
    assert!(gateway.log().contains("cloud"), "{}", gateway.log());
    assert_eq!(normal_lane(&json(&gateway, &["status"]), "cloud")["stored"], 100);
    gateway.stop();
    assert_eq!(json(&gateway, &["purge", "--uplink", "cloud", "--yes"])["purged"], 100);
    assert_eq!(normal_lane(&json(&gateway, &["status"]), "cloud")["stored"], 0);
}

/// A gateway that has set two events aside, since the cloud takes no packets of their size, and delivered one.
fn with_quarantine(broker: &Broker) -> Gateway {
    let lines = format!("url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]", broker.port());
    let gateway = gateway!().uplink_with(&format!("{lines}\npacket_bytes_max = \"1 KiB\"")).start();
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    for (number, bytes) in [(1, 2000), (2, 10), (3, 3000)] {
        let packet = wire::publish(Version::V5, "events/big", &vec![b'x'; bytes], 1, number);
        connection.send(&packet).must("publish");
        connection.expect("a PUBACK");
    }
    let entries = || json(&gateway, &["quarantine", "list"]).as_array().map_or(0, Vec::len);
    wait_for("two events to be set aside", LIMIT, || entries() == 2);
    gateway
}

fn allow_large_packets(gateway: &Gateway) {
    let path = gateway.dir().join("tidegate.toml");
    let text = fs::read_to_string(&path).must("read tidegate.toml");
    fs::write(&path, text.replace("packet_bytes_max = \"1 KiB\"", "")).must("write tidegate.toml");
}

#[test]
fn quarantined_events_are_replayed_by_the_running_gateway() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = with_quarantine(&broker);
    let entries = json(&gateway, &["quarantine", "list"]);
    assert!(entries[0]["cause"].as_str().must("a cause").contains("bytes"), "{entries}");
    gateway.stop();
    allow_large_packets(&gateway);
    gateway.restart();
    assert_eq!(json(&gateway, &["quarantine", "replay", "--all"])["replayed"], 2);
    collector.wait_count(3, LIMIT);
    let mut lengths: Vec<usize> = collector.arrivals().iter().map(|(_, payload)| payload.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [10, 2000, 3000]);
    let empty = || json(&gateway, &["quarantine", "list"]).as_array().is_some_and(Vec::is_empty);
    wait_for("an empty quarantine", LIMIT, empty);
}

#[test]
fn quarantined_events_are_replayed_and_dropped_while_no_gateway_runs() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = with_quarantine(&broker);
    collector.wait_count(1, LIMIT);
    gateway.stop();
    let entries = json(&gateway, &["quarantine", "list"]);
    let id = |at: usize| entries[at]["id"].to_string();
    assert_eq!(json(&gateway, &["quarantine", "drop", &id(1)])["dropped"], 1);
    assert_eq!(json(&gateway, &["quarantine", "replay", &id(0)])["replayed"], 1);
    assert_eq!(json(&gateway, &["quarantine", "list"]), Value::Array(Vec::new()));
    buffer(&gateway, &["quarantine", "replay", "7"]).assert(74, &["7"]);
    allow_large_packets(&gateway);
    gateway.restart();
    collector.wait_count(2, LIMIT);
    assert_eq!(collector.arrivals()[1].1.len(), 2000);
}

#[test]
fn a_folder_without_a_buffer_is_said_to_be_one() {
    let folder = gateway!();
    let dir = folder.dir().join("nothing");
    let outcome =
        run_to_end(&binary!(), &["buffer", "status", "--dir", dir.to_str().must("a path in UTF-8")], &[]);
    outcome.assert(66, &["there is no buffer in"]);
    assert!(!dir.exists(), "looking makes nothing");
}

#[test]
fn the_cloud_is_told_what_was_evicted() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let collector = Collector::start(&broker, &["gw/#"]);
    let lines = format!(
        "url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]\ntopic = \"gw/{{gateway}}/{{topic}}\"",
        relay.port()
    );
    let gateway = gateway!().uplink_with(&lines).buffer("max_bytes = \"1 MiB\"").start();
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    let sent = 1000;
    for number in 1..=sent {
        let mut payload = String::new();
        while payload.len() < 4000 {
            payload.push_str(&format!("{:016x}", RandomState::new().build_hasher().finish()));
        }
        let packet = wire::publish(Version::V5, "events/bulk", payload.as_bytes(), 1, number);
        connection.send(&packet).must("publish");
        connection.expect("a PUBACK");
    }
    relay.heal();
    let notice = "gw/gw/$tidegate/gap";
    let told = || -> u64 {
        let arrivals = collector.arrivals();
        let notices = arrivals.iter().filter(|(topic, _)| topic == notice);
        let count = |(_, payload): &(String, String)| {
            let notice: Value = serde_json::from_str(payload).must("JSON");
            assert_eq!((&notice["lane"], &notice["reason"]), (&"cloud/normal".into(), &"full".into()));
            notice["count"].as_u64().must("a count")
        };
        notices.map(count).sum()
    };
    let delivered = || collector.arrivals().iter().filter(|(topic, _)| topic != notice).count() as u64;
    wait_for("a notice", LIMIT, || told() > 0);
    let all = || told() + delivered();
    wait_for("all but a few", LIMIT, || all() + 10 >= u64::from(sent));
    assert_eq!(all(), u64::from(sent), "{} told, {} delivered", told(), delivered());
    assert!(delivered() > 0 && told() > delivered(), "{} told, {} delivered", told(), delivered());
}
