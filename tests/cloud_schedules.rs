//! Random schedules of faults between the gateway and its cloud: slow acknowledgements, cut lines, a broker that is killed,
//! stopped, or silent. And events that the cloud does not survive, one in a thousand.
//!
//! What a killed mosquitto has acknowledged and then forgets is beyond any client, so what reached it is taken from the relay.

use std::collections::HashSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::broker::Setup;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::device::{self, wait_acked};
use tidegate_tests::wire::Version;
use tidegate_tests::{Broker, Device, Must, Plan, Random, Relay, gateway, wait_for};

const EVENTS: u64 = 600;
const EVENTS_PER_S: u32 = 1500;
const FAULTS: u64 = 3;
const LIMIT: Duration = Duration::from_secs(30);

/// How many schedules: `TIDEGATE_SCHEDULES`, or a few.
fn schedules() -> u64 {
    std::env::var("TIDEGATE_SCHEDULES").map_or(4, |text| text.parse().must("a number in TIDEGATE_SCHEDULES"))
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.must("run kill").success());
}

fn fault(random: &mut Random, broker: &mut Broker, relay: &Relay) {
    match random.within(0..6) {
        0 => relay.drop_connections(),
        1 => {
            relay.cut();
            thread::sleep(random.millis(0..300));
            relay.heal();
        }
        // Slower than it is sent, so that the window is full when the line breaks.
        2 => {
            relay.set_ack_delay(Duration::from_millis(300));
            thread::sleep(random.millis(100..700));
            relay.drop_connections();
            relay.set_ack_delay(Duration::ZERO);
        }
        3 => {
            broker.kill();
            broker.restart();
        }
        4 => {
            broker.stop();
            broker.restart();
        }
        // Shorter than `ack_timeout` at times, and longer at others.
        _ => {
            signal(broker.pid(), "STOP");
            thread::sleep(random.millis(100..1500));
            signal(broker.pid(), "CONT");
        }
    }
}

fn schedule(random: &mut Random) {
    let version = random.one_of(&[Version::V311, Version::V5]);
    let window: u16 = random.one_of(&[1, 7, 100]);
    let mut broker = Broker::with(Setup { persistent: true, ..Setup::default() });
    let relay = Relay::start(broker.port(), version);
    let number = if version == Version::V5 { 5 } else { 3 };
    let lines =
        format!("version = {number}\nwindow = {window}\nack_timeout = \"1s\"\nconnect_timeout = \"2s\"");
    let mut gateway = gateway!().uplink(relay.port()).uplink_with(&lines).start();
    let plan = Plan::new("d", gateway.port(), 0..EVENTS).paced(EVENTS_PER_S);
    let mut devices = [Device::raw(plan)];
    for _ in 0..FAULTS {
        let due = random.within(0..EVENTS);
        wait_acked(&devices, usize::try_from(due).must("count events"), LIMIT);
        fault(random, &mut broker, &relay);
    }
    device::finish_all(&mut devices, LIMIT);
    let whole = usize::try_from(EVENTS).must("count events");
    wait_for("every event is acknowledged by the broker", LIMIT, || {
        relay.record().acked().collect::<HashSet<_>>().len() >= whole
    });
    gateway.stop();
    let record = relay.record();
    // A connection that ends costs at most the window; what each fault ends is one, and its successor may end too.
    let most = usize::from(window) * usize::try_from(2 * FAULTS).must("count faults");
    assert!(record.repeats() <= most, "{} repeated with a window of {window}", record.repeats());
}

#[test]
fn no_schedule_of_faults_loses_an_event_or_repeats_more_than_what_was_in_flight() {
    let mut random = Random::new(Random::seed());
    for _ in 0..schedules() {
        schedule(&mut random);
    }
}

const STREAM: u64 = 5000;

/// How long a stream of events takes to the cloud, and how many publishes were repeated on the way; `poison` are those that
/// the cloud does not survive.
fn stream(poison: Option<&str>, expected: u64) -> (Duration, usize) {
    let cloud = Cloud::start();
    if let Some(part) = poison {
        cloud.set_poison(part);
    }
    let relay = Relay::start(cloud.port(), Version::V5);
    let mut gateway = gateway!().uplink(relay.port()).uplink_with("backoff_min = \"50ms\"").start();
    let start = Instant::now();
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..STREAM).paced(500))];
    device::finish_all(&mut devices, Duration::from_secs(60));
    let mut arrived = HashSet::new();
    wait_for("all but the poison is at the cloud", Duration::from_secs(60), || {
        arrived = cloud.arrivals().iter().map(|(_, payload)| payload.clone()).collect();
        arrived.len() as u64 >= expected
    });
    let (elapsed, repeats) = (start.elapsed(), relay.record().repeats());
    assert_eq!(arrived.len() as u64, expected);
    gateway.stop();
    (elapsed, repeats)
}

#[test]
fn one_event_in_a_thousand_that_the_cloud_does_not_survive_costs_little() {
    // Numbers that end in 999, as the payload of an event has them.
    let (plain, _) = stream(None, STREAM);
    let poisons = STREAM / 1000;
    let (poisoned, repeats) = stream(Some("999,\"pad"), STREAM - poisons);
    let most = usize::try_from(3 * 100 * poisons).must("count events");
    println(&format!(
        "{STREAM} events: {plain:?}; with {poisons} poisons: {poisoned:?}, {repeats} publishes repeated"
    ));
    assert!(repeats <= most, "{repeats} repeated for {poisons} poisons, more than three windows each");
    assert!(poisoned.as_secs_f64() <= plain.as_secs_f64() * 1.05, "{poisoned:?} against {plain:?}");
}

#[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
fn println(text: &str) {
    eprintln!("{text}");
}
