//! With the cloud away from the start, all is kept and delivered soon after it comes back, in little memory.

use std::time::{Duration, Instant};

use tidegate_tests::broker::Setup;
use tidegate_tests::event::Event;
use tidegate_tests::fleet::{self, FLEET_EVENTS};
use tidegate_tests::{Broker, Collector, Device, Plan, Relay, gateway, usage, wait_for};

use tidegate_tests::wire::Version;

const RSS_GROWTH_KIB_MAX: u64 = 4 * 1024;
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

#[test]
fn what_is_acknowledged_while_the_cloud_is_away_arrives_when_it_is_back() {
    let broker = Broker::start();
    let relay = Relay::start(broker.port(), Version::V5);
    relay.cut();
    let collector = Collector::start(&broker, &["events/#"]);
    let mut gateway = gateway!().uplink(relay.port()).start();
    warm_up(gateway.port());
    let rss_before = gateway.rss_kib();

    let mut devices = fleet::mixed(gateway.port());
    fleet::finish(&mut devices);
    let rss_full = gateway.rss_kib();
    assert!(relay.refused() > 0, "the gateway has tried to reach the cloud");
    assert_eq!(collector.count(), 0);

    relay.heal();
    let healed = Instant::now();
    collector.wait_count(FLEET_EVENTS + 1, Duration::from_secs(30));
    let drained = healed.elapsed();
    let rss_peak = usage::rss_peak_kib(gateway.pid());

    let mut accounts = tidegate_tests::device::accounts(&devices);
    accounts.push(warm_up_account());
    let arrivals = collector.arrivals();
    let findings =
        tidegate_tests::oracle::audit(&accounts, arrivals.iter().map(|(t, p)| (t.as_str(), p.as_str())));
    findings.assert_exactly_once();
    assert!(drained < DRAIN_LIMIT, "the backlog took {drained:?} to arrive");
    for (when, rss) in [("with a full backlog", rss_full), ("at its peak", rss_peak)] {
        let growth = rss.saturating_sub(rss_before);
        assert!(growth < RSS_GROWTH_KIB_MAX, "RSS grew by {growth} KiB {when}, from {rss_before} KiB");
    }
    gateway.stop();
}

#[test]
fn a_backlog_outlives_a_clean_stop_and_a_broker_that_appears_later() {
    let mut broker = Broker::stopped(Setup::default());
    let mut gateway = gateway!().uplink(broker.port()).start();
    let mut device = [Device::raw(Plan::new("raw", gateway.port(), 0..2000))];
    fleet::finish(&mut device);
    gateway.stop();

    broker.restart();
    let collector = Collector::start(&broker, &["events/#"]);
    gateway.restart();
    collector.wait_count(2000, DRAIN_LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();

    gateway.stop();
    gateway.restart();
    let mut later = [Device::raw(Plan::new("later", gateway.port(), 0..1))];
    fleet::finish(&mut later);
    wait_for("the event after the restart", DRAIN_LIMIT, || collector.count() >= 2001);
    assert_eq!(collector.count(), 2001, "what was delivered before the restart is not sent again");
}

// One event through the whole path, so that what is allocated once does not count as growth.
fn warm_up(port: u16) {
    Device::raw(Plan::new("warm-up", port, 0..1)).finish(Duration::from_secs(10));
}

fn warm_up_account() -> tidegate_tests::oracle::Account {
    let first = Event::new("warm-up", 0);
    tidegate_tests::oracle::Account {
        device: first.device,
        planned: 0..1,
        acked: [first.seq].into(),
        resent: [].into(),
    }
}
