//! The status port: what it says is so, it says it while the gateway works, and it does nothing else.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tidegate_tests::cloud::Cloud;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::port::Port;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Collector, Connection, Device, Must, Plan, Random, Relay, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const EVENTS: u16 = 300;

/// An answer: its status, head and body.
struct Answer {
    code: u16,
    head: String,
    body: String,
}

fn ask_with(port: u16, request: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).must("connect to the status port");
    stream.set_read_timeout(Some(LIMIT)).must("set a limit");
    stream.write_all(request.as_bytes()).must("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).must("read the answer");
    let (head, body) = answer.split_once("\r\n\r\n").must("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).must("a status");
    Answer { code, head: head.to_lowercase(), body: body.to_owned() }
}

fn get(port: u16, path: &str) -> Answer {
    ask_with(port, &format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"))
}

/// A gateway with a status port, and the port.
fn start(uplink: u16) -> (Gateway, Port) {
    let status = Port::reserve();
    let table = format!("[status]\nbind = \"127.0.0.1:{}\"", status.number());
    let rules = "[[rule]]\nname = \"hot\"\nsql = 'SELECT t FROM \"events/#\" WHERE t > 10'\nto = [{ local = \"hot\" }]\n";
    (gateway!().uplink(uplink).tables(&table).rules("r.toml", rules).start(), status)
}

fn publish(port: u16, count: u16) {
    let mut device = Connection::clean(port, Version::V5, "device");
    for n in 1..=count {
        let payload = format!("{{\"t\": {}, \"n\": {n}}}", n % 20);
        device.send(&wire::publish(Version::V5, "events/a", payload.as_bytes(), 1, n)).must("publish");
        assert_eq!(device.expect("a PUBACK").packet_id(), Some(n));
    }
}

/// The values of an exposition, by name and labels as they are written.
fn metrics(port: u16) -> HashMap<String, u64> {
    let answer = get(port, "/metrics");
    assert_eq!(answer.code, 200);
    assert!(answer.head.contains("content-type: application/openmetrics-text"), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"));
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    // Sums of seconds have fractions, and are no counts.
    let counts = samples.filter(|line| !line.contains("_seconds_sum"));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').must("a name and a value");
        (name.to_owned(), value.parse().must("a number"))
    };
    counts.map(sample).collect()
}

/// For each lane: appended = left + backlog.
fn assert_balanced(metrics: &HashMap<String, u64>) {
    for priority in ["high", "normal", "low"] {
        let labels = format!("uplink=\"cloud\",priority=\"{priority}\"");
        let value = |name: &str| metrics[&format!("tidegate_lane_{name}{{{labels}}}")];
        let left = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("tidegate_lane_left_total{") && name.contains(&labels));
        let left: u64 = left.map(|(_, count)| count).sum();
        assert_eq!(value("appended_total"), left + value("backlog"), "{priority}: {metrics:?}");
    }
}

#[test]
fn metrics_count_what_happened_and_the_books_balance() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let (gateway, status) = start(broker.port());
    publish(gateway.port(), EVENTS);
    collector.wait_count(EVENTS.into(), LIMIT);
    let acked = "tidegate_lane_left_total{uplink=\"cloud\",priority=\"normal\",reason=\"acked\"}";
    wait_for("the last acknowledgement in the metrics", LIMIT, || {
        let metrics = metrics(status.number());
        assert_balanced(&metrics);
        metrics[acked] == u64::from(EVENTS)
    });
    let metrics = metrics(status.number());
    let listener = format!("tidegate_listener_events_total{{listener=\"127.0.0.1:{}\"}}", gateway.port());
    let expected = [
        ("tidegate_events_received_total", EVENTS.into()),
        ("tidegate_events_refused_total", 0),
        ("tidegate_rule_matched_total{rule=\"hot\"}", EVENTS.into()),
        ("tidegate_rule_passed_total{rule=\"hot\"}", u64::from(EVENTS) * 9 / 20),
        ("tidegate_uplink_online{uplink=\"cloud\"}", 1),
        ("tidegate_ready", 1),
        ("tidegate_uplink_ack_seconds_count{uplink=\"cloud\"}", EVENTS.into()),
        ("tidegate_uplink_away_seconds{uplink=\"cloud\"}", 0),
        ("tidegate_connections_refused_total", 0),
        (&listener, EVENTS.into()),
    ];
    for (name, value) in expected {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
}

#[test]
fn a_backlog_shows_and_so_does_a_cloud_that_is_away() {
    let (gateway, status) = start(Port::reserve().number());
    publish(gateway.port(), EVENTS);
    let metrics = metrics(status.number());
    assert_balanced(&metrics);
    assert_eq!(metrics["tidegate_uplink_online{uplink=\"cloud\"}"], 0);
    assert_eq!(metrics["tidegate_lane_backlog{uplink=\"cloud\",priority=\"normal\"}"], u64::from(EVENTS));
    let shown: serde_json::Value =
        serde_json::from_str(&get(status.number(), "/status.json").body).must("the page's JSON");
    assert_eq!(shown["uplinks"][0]["online"], false);
    assert_eq!(shown["uplinks"][0]["lanes"][1]["backlog"], EVENTS);
    let warnings = shown["warnings"].as_array().must("warnings");
    let away = |line: &serde_json::Value| line["text"].as_str().is_some_and(|text| text.contains("away"));
    assert!(warnings.iter().any(away), "{warnings:?}");
}

#[test]
fn devices_are_shown_with_when_they_were_heard_and_what_a_source_brings_is_counted() {
    let (cloud, plant, status) = (Broker::start(), Broker::start(), Port::reserve());
    let tables = format!(
        "[status]\nbind = \"127.0.0.1:{}\"\n[[source]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\nsubscribe = [\"hall/#\"]",
        status.number(),
        plant.port()
    );
    let mut gateway = gateway!().uplink(cloud.port()).tables(&tables).start();
    gateway.process().wait_stderr("word of the subscription", LIMIT, |line| line.contains("subscribed"));
    publish(gateway.port(), 5);
    let _stays = Connection::clean(gateway.port(), Version::V5, "stays");
    let mut press = Connection::clean(plant.port(), Version::V5, "press");
    press.send(&wire::publish(Version::V5, "hall/x", b"four", 1, 1)).must("publish");
    assert_eq!(press.expect("a PUBACK").packet_id(), Some(1));
    wait_for("the event of the source", LIMIT, || {
        metrics(status.number())["tidegate_source_payload_bytes_total{source=\"plant\"}"] == 4
    });
    let found = metrics(status.number());
    assert_eq!(found["tidegate_source_events_total{source=\"plant\"}"], 1);
    assert_eq!(found["tidegate_source_online{source=\"plant\"}"], 1);
    assert_eq!(found["tidegate_puback_seconds_count"], 5, "one at a time");
    assert!(found["tidegate_uplink_window{uplink=\"cloud\"}"] <= 100);
    wait_for("the device to be away", LIMIT, || {
        let shown: serde_json::Value =
            serde_json::from_str(&get(status.number(), "/status.json").body).must("the page's JSON");
        let devices = shown["devices"].as_array().must("devices").iter();
        let states: HashMap<_, _> = devices
            .map(|device| (device["client_id"].as_str().must("a name"), &device["connected"]))
            .collect();
        assert_eq!((states.len(), &shown["devices_known"]), (2, &2.into()));
        states["stays"] == true && states["device"] == false
    });
}

#[test]
fn it_lives_and_is_ready_and_shows_a_page_of_its_own() {
    let (_gateway, status) = start(Port::reserve().number());
    for path in ["/livez", "/readyz"] {
        let answer = get(status.number(), path);
        assert_eq!((answer.code, answer.body.as_str()), (200, "ok\n"), "{path}");
    }
    let page = get(status.number(), "/");
    assert_eq!(page.code, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    for outside in ["http://", "https://", "//cdn", "@import", "url("] {
        let found = page.body.matches(outside).count();
        let namespaces = page.body.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(found, if outside == "http://" { namespaces } else { 0 }, "the page brings all it needs");
    }
}

#[test]
fn it_changes_nothing_and_takes_no_nonsense() {
    let (gateway, status) = start(Port::reserve().number());
    let port = status.number();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = format!(
            "{method} /metrics HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(ask_with(port, &request).code, 405, "{method}");
    }
    assert_eq!(get(port, "/etc/passwd").code, 404);
    let long = format!("GET /{} HTTP/1.1\r\nhost: g\r\n\r\n", "a".repeat(100_000));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).must("connect");
    // The answer may come, and the connection end, before all is written.
    drop(stream.write_all(long.as_bytes()));
    stream.set_read_timeout(Some(LIMIT)).must("set a limit");
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    publish(gateway.port(), 3);
}

/// Sixteen who ask nothing take all places of the status port; devices do not notice, and in the end they have to go.
#[test]
fn those_who_look_do_not_hold_up_devices() {
    let (gateway, status) = start(Port::reserve().number());
    let idle: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(("127.0.0.1", status.number())).must("connect to the status port"))
        .collect();
    let begun = Instant::now();
    publish(gateway.port(), 50);
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(idle);
    wait_for("a place at the status port", LIMIT, || get(status.number(), "/livez").code == 200);
}

#[test]
fn a_port_that_is_taken_is_an_error_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").must("take a port");
    let port = taken.local_addr().must("its address").port();
    let table = format!("[status]\nbind = \"127.0.0.1:{port}\"");
    let outcome = gateway!().tables(&table).outcome("run", Port::reserve().number());
    outcome.assert(69, &["status port", &port.to_string()]);
}

/// A line that comes and goes, and kills: whatever happens, each scrape balances, of all lanes.
/// `TIDEGATE_FAULT_MINUTES=30` is the long form; it prints how long a scrape took.
#[test]
fn the_books_balance_in_every_scrape_of_a_fault_run() {
    let minutes =
        std::env::var("TIDEGATE_FAULT_MINUTES").map(|text| text.parse::<u64>().must("a number of minutes"));
    let duration = minutes.map_or(Duration::from_secs(4), |minutes| Duration::from_secs(60 * minutes));
    let mut random = Random::new(Random::seed());
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let (mut gateway, status) = start(relay.port());
    let load = Device::raw(Plan::new("load", gateway.port(), 0..u64::MAX).paced(500));
    let (begun, mut scrapes, mut times) = (Instant::now(), 0_u32, Vec::new());
    while begun.elapsed() < duration {
        match random.within(0..40) {
            0..4 => relay.cut(),
            4..8 => relay.heal(),
            8..10 => relay.drop_connections(),
            10 => {
                gateway.kill();
                gateway.restart();
            }
            _ => {}
        }
        let asked = Instant::now();
        let found = metrics(status.number());
        times.push(asked.elapsed());
        assert_balanced(&found);
        scrapes += 1;
    }
    assert!(scrapes > 20 && load.acked() > 100, "{scrapes} scrapes, {} events", load.acked());
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    show(&format!("{scrapes} scrapes, {} events: p50 {:?}, p99 {:?}", load.acked(), at(50), at(99)));
}

/// Scrapes beside devices that send as fast as they can; it prints how long a scrape took, and what the devices got through
/// with and without. `TIDEGATE_BIN` is to be a release build where the figures are wanted.
#[test]
fn a_scrape_under_full_load_is_quick_and_holds_up_nobody() {
    const EACH: Duration = Duration::from_secs(3);
    let (cloud, status) = (Cloud::handing_to(|_, _| {}), Port::reserve());
    let table = format!("[status]\nbind = \"127.0.0.1:{}\"", status.number());
    let gateway = gateway!().uplink(cloud.port()).tables(&table).start();
    let devices: Vec<Device> = (0..4)
        .map(|n| Device::raw(Plan::new(&format!("d{n}"), gateway.port(), 0..u64::MAX).window(100)))
        .collect();
    let acked = || devices.iter().map(Device::acked).sum::<usize>();
    let mut through = [0, 0];
    let mut times = Vec::new();
    for (with_scrapes, through) in [false, true].into_iter().zip(&mut through) {
        let (begun, before) = (Instant::now(), acked());
        while begun.elapsed() < EACH {
            if with_scrapes {
                let asked = Instant::now();
                assert_eq!(get(status.number(), "/metrics").code, 200);
                times.push(asked.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        *through = acked() - before;
    }
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let [without, with] = through.map(|events| events / 3);
    show(&format!(
        "{} scrapes under load: p50 {:?}, p99 {:?}; events/s {without} without, {with} with them",
        times.len(),
        at(50),
        at(99)
    ));
    // Others may use this machine; a stall would be another order of magnitude.
    assert!(times.len() > 20 && at(99) < Duration::from_millis(250), "p99 {:?}", at(99));
    assert!(with * 2 > without, "{with} of {without} events/s");
}

#[expect(clippy::print_stderr, reason = "the figures of a long run are for who started it")]
fn show(text: &str) {
    eprintln!("{text}");
}
