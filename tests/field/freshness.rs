//! Fresh data beside a backlog: how long a live event takes to the cloud while a million old ones drain over the same link, beside
//! how long it takes without them; and alarms, which go ahead of both.
//!
//! The link takes so many events a second and no more. Live events and alarms carry the moment of their publishing, and
//! devices and the cloud are one process with one clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::device::finish_all;
use tidegate_tests::gateway::{Builder, Gateway};
use tidegate_tests::wire::{self, Publish, Version};
use tidegate_tests::{Cloud, Connection, Device, Must, Plan, wait_for};

use crate::{Site, say};

const LIVE_PER_S: u64 = 500;
const ALARMS_PER_S: u64 = 20;
const BASELINE: Duration = Duration::from_secs(10);
// The first seconds with a backlog are those of connecting again.
const SETTLING: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(600);
const DEVICES: usize = 4;
const RATIO_MAX: f64 = 1.5;
// One event of the backlog in flight: what it has in flight stands before a live event on the line.
const UPLINK: &str = "window = 100\ndrain = \"live-first\"\nbacklog_share = \"1%\"";
const RULES: &str = "[[rule]]\nname = \"alarm\"\nsql = '''SELECT at FROM \"alarms/#\"'''\n\
[[rule.to]]\nuplink = \"cloud\"\ntopic = \"alarms/passed\"\npriority = \"high\"\n";

/// What has arrived.
#[derive(Default)]
struct Seen {
    backlog: usize,
    // Of live events and of alarms: the moment of publishing, and how long it took.
    live: Vec<(Instant, Duration)>,
    alarms: Vec<(Instant, Duration)>,
}

/// Latencies of a time.
struct Latencies {
    live: Vec<Duration>,
    alarms: Vec<Duration>,
}

struct Scene {
    seen: Arc<Mutex<Seen>>,
    cloud: Cloud,
    gateway: Gateway,
    start: Instant,
}

/// Measures with a backlog of so many events. Holds if live events keep their pace and alarms are ahead of them.
pub(crate) fn run(site: &Site, backlog: usize, events_per_s: usize) -> bool {
    let scene = Scene::start(site, u32::try_from(events_per_s).must("a rate below 2^32"));
    let alone = scene.measure(BASELINE, || false);
    scene.cloud.cut();
    let begun = Instant::now();
    scene.publish_backlog(backlog);
    say(&format!("a backlog of {backlog} events after {:.1?}", begun.elapsed()));
    scene.cloud.heal();
    let begun = Instant::now();
    let beside = scene.measure(LIMIT, || scene.seen().backlog >= backlog);
    let drained = scene.seen().backlog;
    say(&format!("{drained} of them drained in {:.1?} beside live events", begun.elapsed()));
    let after = scene.measure(BASELINE, || false);
    report(&[("before", &alone), ("beside the backlog", &beside), ("after", &after)]);
    let baseline = percentile(&alone.live, 99).max(percentile(&after.live, 99));
    let ratio = percentile(&beside.live, 99).as_secs_f64() / baseline.as_secs_f64();
    let ahead = percentile(&beside.alarms, 99) <= percentile(&beside.live, 99);
    say(&format!(
        "live p99 beside the backlog is {ratio:.2} of that without; alarms ahead of live events: {ahead}"
    ));
    drained >= backlog && ratio <= RATIO_MAX && ahead
}

impl Scene {
    fn start(site: &Site, events_per_s: u32) -> Self {
        let (seen, start) = (Arc::new(Mutex::new(Seen::default())), Instant::now());
        let noting = Arc::clone(&seen);
        let cloud = Cloud::handing_to(move |publish, arrived| {
            note(&publish, arrived, start, &mut noting.lock().unwrap_or_else(PoisonError::into_inner));
        });
        cloud.set_events_per_s(events_per_s);
        let folder = site.folder.to_str().must("a path in UTF-8");
        let url =
            format!("url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\", \"live/#\"]", cloud.port());
        let builder = Builder::new(site.binary.clone(), folder).uplink_with(&url).uplink_with(UPLINK);
        let gateway = builder.rules("alarm.toml", RULES).start();
        wait_for("the uplink", LIMIT, || cloud.connections() > 0);
        Self { seen, cloud, gateway, start }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_backlog(&self, backlog: usize) {
        let each = u64::try_from(backlog.div_ceil(DEVICES)).must("count events");
        let plan = |n| Plan::new(&format!("old-{n}"), self.gateway.port(), 0..each);
        let mut devices: Vec<_> = (0..DEVICES).map(|n| Device::raw(plan(n))).collect();
        finish_all(&mut devices, LIMIT);
    }

    // Publishes live events and alarms for a time, or until something is done, and gives the latencies of what was published
    // after the first moments.
    fn measure(&self, time: Duration, done: impl Fn() -> bool) -> Latencies {
        let begun = Instant::now();
        let mut live = Steady::new("live", LIVE_PER_S, self);
        let mut alarms = Steady::new("alarms", ALARMS_PER_S, self);
        while begun.elapsed() < time && !done() {
            live.turn(begun.elapsed());
            alarms.turn(begun.elapsed());
            thread::sleep(Duration::from_micros(500));
        }
        let ended = Instant::now();
        wait_for("the last live events and alarms", LIMIT, || {
            live.turn(Duration::ZERO);
            alarms.turn(Duration::ZERO);
            let seen = self.seen();
            let of_time = |list: &[(Instant, Duration)]| list.iter().filter(|(at, _)| *at >= begun).count();
            of_time(&seen.live) >= live.sent && of_time(&seen.alarms) >= alarms.sent
        });
        let counts = |at: &Instant| *at >= begun + SETTLING && *at <= ended;
        let of_time = |list: &[(Instant, Duration)]| {
            let mut found: Vec<_> = list.iter().filter(|(at, _)| counts(at)).map(|(_, took)| *took).collect();
            found.sort();
            found
        };
        let seen = self.seen();
        Latencies { live: of_time(&seen.live), alarms: of_time(&seen.alarms) }
    }
}

// Live events and alarms hold the nanoseconds of their publishing since the start.
fn note(publish: &Publish, arrived: Instant, start: Instant, seen: &mut Seen) {
    let text = std::str::from_utf8(&publish.payload).unwrap_or_default();
    let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
    let published = || Some(start + Duration::from_nanos(digits.parse().ok()?));
    let list = match publish.topic.split('/').next() {
        Some("live") => &mut seen.live,
        Some("alarms") => &mut seen.alarms,
        _ => {
            seen.backlog += 1;
            return;
        }
    };
    if let Some(published) = published() {
        list.push((published, arrived.saturating_duration_since(published)));
    }
}

/// A device that publishes at a steady rate and takes its acknowledgements as they come.
struct Steady {
    connection: Connection,
    topic: String,
    per_s: u64,
    start: Instant,
    sent: usize,
}

impl Steady {
    fn new(name: &str, per_s: u64, scene: &Scene) -> Self {
        let connection = Connection::clean(scene.gateway.port(), Version::V5, name);
        connection.set_nonblocking();
        Self { connection, topic: format!("{name}/device"), per_s, start: scene.start, sent: 0 }
    }

    fn turn(&mut self, elapsed: Duration) {
        while self.connection.buffered().is_some() {}
        assert!(self.connection.fill(), "the gateway closed the connection");
        let due = elapsed.as_millis() * u128::from(self.per_s) / 1000;
        while (u128::try_from(self.sent).unwrap_or(u128::MAX)) < due {
            let id = u16::try_from(self.sent % 60_000 + 1).must("number a packet");
            let payload = format!(r#"{{"at":{}}}"#, self.start.elapsed().as_nanos());
            let packet = wire::publish(Version::V5, &self.topic, payload.as_bytes(), 1, id);
            self.connection.send(&packet).must("publish (the gateway pushes back at this rate)");
            self.sent += 1;
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(Duration::MAX)
}

fn report(rows: &[(&str, &Latencies)]) {
    say(
        "| | live events | p50 | p99 | alarms | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    );
    for (name, latencies) in rows {
        let of = |list: &[Duration]| {
            let [p50, p99] = [50, 99].map(|percent| percentile(list, percent));
            format!("{} | {p50:.2?} | {p99:.2?}", list.len())
        };
        say(&format!("| {name} | {} | {} |", of(&latencies.live), of(&latencies.alarms)));
    }
}
