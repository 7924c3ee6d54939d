//! The whole job: devices, a gateway, the cloud's broker, a subscriber there.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_tests::subject::{Settings, Subject};
use tidegate_tests::{Broker, Connection, Must, usage, wait_for, wire};

use crate::load::Shape;
use crate::number;
use crate::subscriber::Subscriber;

const LIMIT: Duration = Duration::from_secs(60);
/// Who has written nothing for so long has nothing to write.
const AT_REST: Duration = Duration::from_secs(3);

/// A rule as devices of many sites need one: it looks into each event. All of these pass, as they do where there is no rule.
const FILTER: &str = "[[rule]]\nname = \"filter\"\nsql = '''SELECT * FROM \"events/+\" WHERE seq >= 0'''\n\
                      to = { uplink = \"cloud\" }\n";

/// The loads.
pub(crate) const SHAPES: [Shape; 3] = [
    Shape {
        name: "4 devices, window 100, flat out",
        devices: 4,
        window: 100,
        events_per_s: None,
        events: 40_000,
    },
    Shape {
        name: "100 devices, 2,000 events/s in all",
        devices: 100,
        window: 100,
        events_per_s: Some(2000),
        events: 20_000,
    },
    Shape {
        name: "50 devices, 500 events/s in all",
        devices: 50,
        window: 100,
        events_per_s: Some(500),
        events: 5000,
    },
];

/// The first of them with one device: as many connections and unacknowledged publishes for the cloud as a gateway makes.
pub(crate) const ALONE: Shape = Shape { name: "1 device, window 100, flat out", devices: 1, ..SHAPES[0] };

/// How events get to the cloud, as the tables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through tidegate, with a filter rule.
    Tidegate,
    /// Through a mosquitto with persistence that bridges.
    Bridge,
    /// Each device is a client of the cloud.
    Direct,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Tidegate, Way::Bridge, Way::Direct];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Tidegate => "tidegate",
            Way::Bridge => "mosquitto bridge",
            Way::Direct => "direct",
        }
    }

    /// Starts the gateway, if there is one.
    fn start(self, binary: &Path, folder: &str, cloud: u16) -> Option<Subject> {
        let settings = match self {
            Way::Tidegate => Settings::TidegateWithRules { rules: FILTER },
            Way::Bridge => Settings::Bridge { global: "" },
            Way::Direct => return None,
        };
        Some(Subject::start(settings, binary, Path::new(folder), None, cloud))
    }
}

/// What one round of one load measured. Of the gateway, as far as there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) cpu_us_per_event: f64,
    pub(crate) events_per_s: f64,
    pub(crate) rss_idle_kib: f64,
    pub(crate) rss_peak_kib: f64,
    pub(crate) written_bytes_per_event: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) lost: f64,
    pub(crate) duplicated: f64,
    pub(crate) start_ms: f64,
}

/// What the kernel has counted of a process.
struct Counted {
    cpu: Duration,
    written_bytes: u64,
}

impl Counted {
    fn of(gateway: &Subject) -> Self {
        let pid = gateway.pid();
        Self { cpu: usage::cpu_of_threads(pid), written_bytes: usage::storage_bytes(pid) }
    }
}

/// Measures one way with one load, on fresh processes.
pub(crate) fn measure(way: Way, shape: Shape, binary: &Path, folder: &str) -> Round {
    let cloud = Broker::start();
    let subscriber = Subscriber::start(cloud.port());
    let started = Instant::now();
    let gateway = way.start(binary, folder, cloud.port());
    let port = gateway.as_ref().map_or(cloud.port(), Subject::port);
    first_puback(port);
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    // The first event's arrival shows that the way to the cloud is open.
    wait_for("the first event in the cloud", LIMIT, || subscriber.count() == 1);

    gateway.iter().for_each(settle);
    let rss_idle_kib = gateway.as_ref().map_or(0, |gateway| usage::rss_kib(gateway.pid()));
    let mut devices = shape.devices(port);
    let (before, loaded) = (gateway.as_ref().map(Counted::of), Instant::now());
    shape.drive(&mut devices);
    wait_for("the load in the cloud", LIMIT, || subscriber.distinct() >= shape.events);
    let (elapsed, after) = (loaded.elapsed(), gateway.as_ref().map(Counted::of));
    let (cpu, written_bytes) = before.zip(after).map_or((Duration::ZERO, 0), |(before, after)| {
        (after.cpu.saturating_sub(before.cpu), after.written_bytes - before.written_bytes)
    });
    let (count, distinct, events) = (subscriber.count() - 1, subscriber.distinct(), number(shape.events));
    Round {
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events,
        events_per_s: events / elapsed.as_secs_f64(),
        rss_idle_kib: number(rss_idle_kib),
        rss_peak_kib: gateway.as_ref().map_or(0.0, |gateway| number(usage::rss_peak_kib(gateway.pid()))),
        written_bytes_per_event: number(written_bytes) / events,
        p50_ms: subscriber.percentile_ms(50),
        p99_ms: subscriber.percentile_ms(99),
        lost: events - number(distinct),
        duplicated: number(count - distinct),
        start_ms,
    }
}

/// Waits until the gateway has written what it writes once: tidegate's buffer sets bytes aside for a full disk.
fn settle(gateway: &Subject) {
    let written = || usage::storage_bytes(gateway.pid());
    let (mut last, mut since) = (written(), Instant::now());
    wait_for("a gateway at rest", LIMIT, || {
        if written() != last {
            (last, since) = (written(), Instant::now());
        }
        since.elapsed() >= AT_REST
    });
}

/// One publish and its PUBACK. The rule drops what is no JSON, so it is some.
fn first_puback(port: u16) {
    let mut connection = Connection::clean(port, wire::Version::V5, "first");
    let publish = wire::publish(wire::Version::V5, "events/first", b"{\"seq\":0}", 1, 1);
    connection.send(&publish).must("publish");
    assert_eq!(connection.expect("a PUBACK").kind(), 4);
}
