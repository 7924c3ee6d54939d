//! The bench: what a gateway costs for the whole job, tidegate beside a mosquitto bridge in the same run.
//!
//! `tidegate-bench BINARY FOLDER ROUNDS [listener]`; `tests/bench/run` and `tests/bench/listener` build and call it.

mod listener;
mod load;
mod subscriber;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_tests::subject::{Settings, Subject};
use tidegate_tests::{Broker, Must, usage, wait_for};

use load::Load;
use subscriber::Subscriber;

const LIMIT: Duration = Duration::from_secs(60);

/// Which gateway, as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tidegate,
    Bridge,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Tidegate, Kind::Bridge];

    fn name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Bridge => "mosquitto bridge",
        }
    }

    /// As a listener; without a bridge it is a mosquitto all the same.
    fn listener_name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Bridge => "mosquitto",
        }
    }

    fn settings(self) -> Settings<'static> {
        match self {
            Kind::Tidegate => Settings::Tidegate { buffer: "", uplink: "" },
            Kind::Bridge => Settings::Bridge { global: "" },
        }
    }
}

/// What one round of one load measured.
#[derive(Debug, Clone, Copy)]
struct Round {
    cpu_us_per_event: f64,
    events_per_s: f64,
    rss_idle_kib: f64,
    rss_peak_kib: f64,
    lost: f64,
    duplicated: f64,
    start_ms: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let binary = PathBuf::from(arguments.next().must("the binary as the first argument"));
    let folder = arguments.next().must("a folder as the second argument");
    let rounds: usize =
        arguments.next().and_then(|n| n.parse().ok()).must("the rounds as the third argument");
    if arguments.next().as_deref() == Some("listener") {
        return table::print_listener(&binary, &folder, rounds.max(1));
    }
    let mut results = Vec::new();
    for load in Load::ALL {
        let mut of_load = Kind::ALL.map(|kind| (kind, Vec::new()));
        for _ in 0..rounds.max(1) {
            for (kind, measured) in &mut of_load {
                measured.push(measure(*kind, load, &binary, &folder));
            }
        }
        results.push((load, of_load));
    }
    table::print(&binary, rounds, &results);
}

fn measure(kind: Kind, load: Load, binary: &Path, folder: &str) -> Round {
    let cloud = Broker::start();
    let subscriber = Subscriber::start(cloud.port());
    let started = Instant::now();
    let gateway = Subject::start(kind.settings(), binary, Path::new(folder), None, cloud.port());
    gateway.first_puback();
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    // The first event's arrival shows that the way to the cloud is open.
    wait_for("the first event in the cloud", LIMIT, || subscriber.count() == 1);

    let pid = gateway.pid();
    let (rss_idle, cpu_before) = (usage::rss_kib(pid), usage::cpu(pid));
    let loaded = Instant::now();
    load.run(gateway.port());
    wait_for("the load in the cloud", LIMIT, || subscriber.distinct() > load::EVENTS);
    let elapsed = loaded.elapsed();
    let (cpu, rss_peak) = (usage::cpu(pid).saturating_sub(cpu_before), usage::rss_peak_kib(pid));
    let (count, distinct) = (subscriber.count(), subscriber.distinct());
    Round {
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / number(load::EVENTS),
        events_per_s: number(load::EVENTS) / elapsed.as_secs_f64(),
        rss_idle_kib: number(rss_idle),
        rss_peak_kib: number(rss_peak),
        lost: number(load::EVENTS + 1 - distinct.min(load::EVENTS + 1)),
        duplicated: number(count - distinct),
        start_ms,
    }
}

// Counts here are far below the 2^53 that a float holds exactly.
fn number(count: impl TryInto<u32>) -> f64 {
    count.try_into().map(f64::from).unwrap_or(f64::NAN)
}
