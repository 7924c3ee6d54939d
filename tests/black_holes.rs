//! Ways to the cloud that lead nowhere and do not say so: a line that swallows packets, a resolver that never answers, a portal
//! that answers in the cloud's place. Each is noticed within 10 s with the settings that nobody has changed, loses nothing, repeats
//! no more than was in flight, and local clients feel nothing of it.
//!
//! The line is a veth pair into a network namespace, the resolver is in the gateway's own /etc/resolv.conf: both need root.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_tests::broker::Setup;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::gateway::Builder;
use tidegate_tests::wire::Version;
use tidegate_tests::{
    Broker, Collector, Device, Gateway, Must, Namespace, Plan, Pulse, Random, Relay, Resolver, device, fleet,
    gateway, pulse, wait_for,
};

const EVENTS_PER_S: u32 = 200;
const WINDOW: usize = 100;
/// Within this a cloud that has gone has to be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// What local clients may feel of it.
const FELT_MAX: Duration = Duration::from_millis(5);
const QUIET: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(40);

/// How many holes there are with the short timeouts: `TIDEGATE_HOLES`, or a few.
fn holes() -> u64 {
    std::env::var("TIDEGATE_HOLES").map_or(2, |holes| holes.parse().must("a number in TIDEGATE_HOLES"))
}

/// A device that publishes all the time, local clients that are watched, and the gateway between them.
struct Site {
    gateway: Gateway,
    devices: [Device; 1],
    pulse: Pulse,
    quiet: pulse::Beat,
}

impl Site {
    /// Starts everything, and watches for a while how it is with nothing wrong; `arrived` says how many events the cloud has.
    fn start(builder: Builder, seconds: u64, arrived: impl Fn() -> usize) -> Self {
        let gateway = builder.start();
        let events = seconds * u64::from(EVENTS_PER_S);
        let devices = [Device::raw(Plan::new("d", gateway.port(), 0..events).paced(EVENTS_PER_S))];
        wait_for("the first event in the cloud", LIMIT, || arrived() > 0);
        let pulse = Pulse::start(gateway.port(), gateway.pid());
        let begun = Instant::now();
        wait_for("a while with nothing wrong", LIMIT, || begun.elapsed() >= QUIET);
        let quiet = pulse::p99(&pulse.take());
        Self { gateway, devices, pulse, quiet }
    }

    /// Ends all of it, the local clients first.
    fn end(self) {
        let Self { mut gateway, pulse, .. } = self;
        drop(pulse);
        gateway.stop();
    }

    /// How often the gateway has said that its cloud is away.
    fn complaints(&self) -> usize {
        self.gateway.log().matches("cloud is away").count()
    }

    /// Waits until the gateway has noticed what begun just now; `before` are its earlier complaints.
    fn wait_noticed(&self, before: usize, within: Duration) -> Duration {
        let begun = Instant::now();
        wait_for("the gateway notices", within, || self.complaints() > before);
        begun.elapsed()
    }

    /// Local clients have felt nothing since it has begun.
    fn assert_unfelt(&self, what: &str) {
        let beats = self.pulse.take();
        let (during, count) = (pulse::p99(&beats), beats.len());
        say(&format!("{what}: p99 of {:?} {during:?} of {count}, before {:?}", pulse::KINDS, self.quiet));
        for ((kind, during), quiet) in pulse::KINDS.iter().zip(during).zip(self.quiet) {
            assert!(during <= quiet + FELT_MAX, "{what}: p99 of {kind} {during:?}, before {quiet:?}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "the figures are what the test is run for")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// A broker behind a line of its own.
fn far_broker() -> (Arc<Namespace>, Broker, Collector) {
    let line = Arc::new(Namespace::new());
    let broker = Broker::with(Setup { network: Some(&line), ..Setup::default() });
    let collector = Collector::start(&broker, &["events/#"]);
    (line, broker, collector)
}

fn far_uplink(broker: &Broker, lines: &str) -> Builder {
    let url = format!("url = \"mqtt://{}:{}\"", broker.address(), broker.port());
    gateway!().uplink_with(&format!("{url}\nforward = [\"events/#\"]\nwindow = {WINDOW}\n{lines}"))
}

/// The device ends; all of its events are in the cloud, and so many at most came twice.
fn assert_all_arrived(site: &mut Site, collector: &Collector, repeated_max: usize) {
    site.devices.iter_mut().for_each(Device::halt);
    wait_for("nothing is missing", LIMIT, || fleet::audit_arrivals(&site.devices, collector).lost.is_empty());
    let findings = fleet::audit_arrivals(&site.devices, collector);
    assert!(findings.invented.is_empty() && findings.damaged.is_empty(), "{findings}");
    let repeated = findings.repeated.len();
    say(&format!("0 lost, {repeated} repeated, at most {repeated_max}"));
    assert!(repeated <= repeated_max, "{repeated} repeated");
}

#[test]
fn a_line_that_swallows_everything_is_noticed_and_costs_nobody_anything() {
    let (line, broker, collector) = far_broker();
    let mut site = Site::start(far_uplink(&broker, ""), 25, || collector.count());
    let before = site.complaints();
    line.swallow();
    let noticed = site.wait_noticed(before, NOTICED_WITHIN);
    say(&format!("noticed after {noticed:?}"));
    site.assert_unfelt("a line that swallows everything");
    line.heal();
    assert_all_arrived(&mut site, &collector, WINDOW);
    site.end();
}

#[test]
fn no_hole_loses_an_event_or_repeats_more_than_what_was_in_flight() {
    let mut random = Random::new(Random::seed());
    let (line, broker, collector) = far_broker();
    let holes = holes();
    let builder = far_uplink(&broker, "ack_timeout = \"1s\"\nconnect_timeout = \"1s\"");
    let mut site = Site::start(builder, 4 + 3 * holes, || collector.count());
    for _ in 0..holes {
        let arrived = collector.count();
        // Shorter than `ack_timeout` at times: then TCP brings what was swallowed.
        let deep = Instant::now() + random.millis(300..2500);
        if random.once_in(2) {
            line.swallow()
        } else {
            line.swallow_answers()
        }
        wait_for("the end of the hole", LIMIT, || Instant::now() >= deep);
        line.heal();
        wait_for("events arrive again", LIMIT, || collector.count() > arrived);
    }
    site.assert_unfelt("holes");
    assert_all_arrived(&mut site, &collector, WINDOW * usize::try_from(2 * holes).must("count holes"));
    site.end();
}

#[test]
fn a_resolver_that_never_answers_is_noticed_and_costs_nobody_anything() {
    let resolver = Resolver::start();
    let cloud = Cloud::start();
    let builder = gateway!().file_in_place_of("/etc/resolv.conf", &resolver.resolv_conf());
    let lines = format!("url = \"mqtt://cloud.test:{}\"\nforward = [\"events/#\"]", cloud.port());
    // What follows the first attempt is said there only.
    let builder = builder.tables("[log]\nlevel = \"debug\"");
    let mut site = Site::start(builder.uplink_with(&lines), 40, || cloud.count());
    resolver.set_answers(false);
    let asked = resolver.asked();
    cloud.drop_connections();
    // That the line has gone is said at once; that there is none any more, when the name was not found in time.
    wait_for("the resolver is asked", NOTICED_WITHIN, || resolver.asked() > asked);
    let again = Instant::now();
    wait_for("another attempt", NOTICED_WITHIN + Duration::from_secs(1), || attempts(&site.gateway) > 0);
    say(&format!("an attempt without an answer ended after {:?}", again.elapsed()));
    site.assert_unfelt("a resolver that never answers");
    let connections = cloud.connections();
    resolver.set_answers(true);
    wait_for("the gateway is back", LIMIT, || cloud.connections() > connections);
    device::finish_all(&mut site.devices, LIMIT);
    let findings = cloud.drained(&device::accounts(&site.devices), Duration::from_secs(5), LIMIT);
    assert!(findings.lost.is_empty() && findings.repeated.len() <= WINDOW, "{findings}");
    site.end();
}

/// Attempts that ended for want of time.
fn attempts(gateway: &Gateway) -> usize {
    gateway.log().matches("not connected within").count()
}

#[test]
fn a_second_broker_takes_over_while_the_name_of_the_first_is_not_found() {
    let resolver = Resolver::start();
    resolver.set_answers(false);
    let second = Cloud::start();
    let builder = gateway!().file_in_place_of("/etc/resolv.conf", &resolver.resolv_conf());
    let urls = format!("urls = [\"mqtt://cloud.test:1883\", \"mqtt://127.0.0.1:{}\"]", second.port());
    let started = Instant::now();
    let mut gateway = builder.uplink_with(&format!("{urls}\nforward = [\"events/#\"]")).start();
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..500))];
    device::finish_all(&mut devices, LIMIT);
    wait_for("the second has the events", NOTICED_WITHIN, || second.count() == 500);
    say(&format!("the second has the events after {:?}", started.elapsed()));
    second.audit(&device::accounts(&devices)).assert_exactly_once();
    gateway.stop();
}

#[test]
fn a_portal_in_place_of_the_cloud_is_noticed_and_costs_nobody_anything() {
    let cloud = Cloud::start();
    let way = Relay::start(cloud.port(), Version::V5);
    let lines = format!("url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]", way.port());
    let mut site = Site::start(gateway!().uplink_with(&lines), 10, || cloud.count());
    way.set_portal();
    wait_for("the gateway notices", NOTICED_WITHIN, || site.complaints() > 0);
    let watched = Instant::now();
    wait_for("some attempts", LIMIT, || watched.elapsed() > QUIET);
    site.assert_unfelt("a portal");
    way.heal();
    device::finish_all(&mut site.devices, LIMIT);
    let findings = cloud.drained(&device::accounts(&site.devices), Duration::from_secs(5), LIMIT);
    assert!(findings.lost.is_empty() && findings.repeated.len() <= WINDOW, "{findings}");
    site.end();
}
