//! A window goes on over kill -9, and each acknowledged event counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::device::accounts;
use tidegate_tests::wire::Version;
use tidegate_tests::{Broker, Collector, Device, Gateway, Must, Plan, Relay, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

// The minute-average rule of RULES.md, with a window of two seconds and without its threshold.
const RULE: &str = r#"
[[rule]]
name = "average"
sql = '''
  SELECT device, avg(seq) AS avg, max(seq) AS max, min(seq) AS min, sum(seq) AS sum, count(*) AS n,
         window_start() AS start, window_end() AS at
  FROM "events/{device}"
  GROUP BY device, tumbling('2s')
'''
to = [{ uplink = "cloud", topic = "stats/{device}" }]
"#;

// All windows of one device together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    count: u64,
    sum: u64,
    windows: usize,
}

fn start(relay: &Relay) -> Gateway {
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", relay.port());
    gateway!().uplink_with(&url).rules("average.toml", RULE).start()
}

// A window's result enters the buffer once; over a broken uplink it may be sent twice, with the same bytes. Two different
// results of one window would be a window that closed twice.
fn totals(collector: &Collector) -> BTreeMap<String, Totals> {
    let results: BTreeSet<_> = collector.arrivals().into_iter().collect();
    let mut windows = BTreeSet::new();
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for (topic, payload) in results {
        let row: Value = serde_json::from_str(&payload).must("a row of JSON");
        let number = |name: &str| row.get(name).and_then(Value::as_u64).must(name);
        let device = topic.strip_prefix("stats/").must("the topic of a result").to_owned();
        assert_eq!(number("at") - number("start"), 2000, "{payload}");
        assert_eq!(number("start") % 2000, 0, "windows are aligned: {payload}");
        assert!(windows.insert((device.clone(), number("start"))), "a window closed twice: {payload}");
        let entry = totals.entry(device).or_default();
        entry.count += number("n");
        entry.sum += number("sum");
        entry.windows += 1;
    }
    totals
}

fn wait_totals(collector: &Collector, devices: &[&str], count: u64) -> BTreeMap<String, Totals> {
    wait_for("the windows of all events", LIMIT, || {
        let totals = totals(collector);
        devices.iter().all(|device| totals.get(*device).is_some_and(|t| t.count >= count))
    });
    totals(collector)
}

#[test]
fn a_window_goes_on_where_a_killed_gateway_stopped() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let collector = Collector::start(&broker, &["stats/#"]);
    let mut gateway = start(&relay);
    for round in 0..3 {
        let events = round * 400..(round + 1) * 400;
        let mut devices = ["a", "b"].map(|name| Device::raw(Plan::new(name, gateway.port(), events.clone())));
        devices.iter_mut().for_each(|device| device.finish(LIMIT));
        // All are acknowledged, so nothing is in flight and every count is exact.
        gateway.kill();
        gateway.restart();
    }
    let totals = wait_totals(&collector, &["a", "b"], 1200);
    for (device, found) in totals {
        assert_eq!((found.count, found.sum), (1200, 1199 * 1200 / 2), "{device}: {found:?}");
    }
}

#[test]
fn a_window_that_ended_while_the_gateway_was_down_closes_once() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let collector = Collector::start(&broker, &["stats/#"]);
    let mut gateway = start(&relay);
    let mut device = Device::raw(Plan::new("a", gateway.port(), 0..100));
    device.finish(LIMIT);
    gateway.kill();
    // The window's time goes by with nobody there; the results wait behind a cloud that is away, and a further kill.
    let ended = std::time::Instant::now() + Duration::from_millis(2100);
    wait_for("the end of the window", LIMIT, || std::time::Instant::now() >= ended);
    gateway.restart();
    gateway.kill();
    gateway.restart();
    relay.heal();
    let totals = wait_totals(&collector, &["a"], 100);
    assert_eq!(totals.get("a").map(|t| (t.count, t.sum)), Some((100, 4950)), "{totals:?}");
}

#[test]
fn under_load_only_events_that_were_sent_again_count_again() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    let collector = Collector::start(&broker, &["stats/#"]);
    let mut gateway = start(&relay);
    let mut devices = [Device::raw(Plan::new("a", gateway.port(), 0..10_000))];
    for kill in 1..=3 {
        tidegate_tests::device::wait_acked(&devices, kill * 2500, LIMIT);
        gateway.kill();
        gateway.restart();
    }
    devices.iter_mut().for_each(|device| device.finish(LIMIT));
    let totals = wait_totals(&collector, &["a"], 10_000);
    let resent = accounts(&devices).iter().map(|account| account.resent.len() as u64).sum::<u64>();
    let found = totals.get("a").must("the totals of a");
    assert!(found.count <= 10_000 + resent, "{found:?} with {resent} sent again");
}
