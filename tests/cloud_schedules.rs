//! Random schedules of faults between the gateway and its cloud: slow acknowledgements, cut lines, lines that swallow what they
//! are given, a portal in place of the broker, a broker that is killed, stopped, or silent; and what local clients feel of it.
//! And events that the cloud does not survive, one in a thousand.
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
use tidegate_tests::{Broker, Device, Must, Plan, Pulse, Random, Relay, gateway, pulse, wait_for};

const EVENTS: u64 = 600;
const EVENTS_PER_S: u32 = 1500;
const FAULTS: u64 = 3;
/// What local clients may feel of a fault.
const FELT_MAX: Duration = Duration::from_millis(5);
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
    match random.within(0..8) {
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
        5 => {
            relay.swallow();
            thread::sleep(random.millis(100..1500));
            relay.heal();
        }
        6 => {
            relay.set_portal();
            thread::sleep(random.millis(0..500));
            relay.heal();
        }
        // Shorter than `ack_timeout` at times, and longer at others.
        _ => {
            signal(broker.pid(), "STOP");
            thread::sleep(random.millis(100..1500));
            signal(broker.pid(), "CONT");
        }
    }
}

/// How long local round trips took while nothing was wrong, and while something was.
#[derive(Default)]
struct Felt {
    quiet: Vec<[Duration; 3]>,
    faulty: Vec<[Duration; 3]>,
}

fn schedule(random: &mut Random, felt: &mut Felt) {
    let version = random.one_of(&[Version::V311, Version::V5]);
    let window: u16 = random.one_of(&[1, 7, 100]);
    let mut broker = Broker::with(Setup { persistent: true, ..Setup::default() });
    let relay = Relay::start(broker.port(), version);
    let number = if version == Version::V5 { 5 } else { 3 };
    let lines =
        format!("version = {number}\nwindow = {window}\nack_timeout = \"1s\"\nconnect_timeout = \"2s\"");
    let mut gateway = gateway!().uplink(relay.port()).uplink_with(&lines).start();
    let pulse = Pulse::start(gateway.port(), gateway.pid());
    // As many events as the schedule has, with nothing wrong: what the same load costs local clients then.
    let mut before = [Device::raw(Plan::new("before", gateway.port(), 0..EVENTS).paced(EVENTS_PER_S))];
    device::finish_all(&mut before, LIMIT);
    felt.quiet.extend(pulse.take());
    let plan = Plan::new("d", gateway.port(), 0..EVENTS).paced(EVENTS_PER_S);
    let mut devices = [Device::raw(plan)];
    for _ in 0..FAULTS {
        let due = random.within(0..EVENTS);
        wait_acked(&devices, usize::try_from(due).must("count events"), LIMIT);
        fault(random, &mut broker, &relay);
    }
    device::finish_all(&mut devices, LIMIT);
    felt.faulty.extend(pulse.take());
    drop(pulse);
    let whole = usize::try_from(2 * EVENTS).must("count events");
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
    let mut felt = Felt::default();
    for _ in 0..schedules() {
        schedule(&mut random, &mut felt);
    }
    let (quiet, faulty) = (pulse::p99(&felt.quiet), pulse::p99(&felt.faulty));
    println(&format!(
        "local p99 of {:?}: {quiet:?} of {}, with faults {faulty:?} of {}",
        pulse::KINDS,
        felt.quiet.len(),
        felt.faulty.len()
    ));
    for (quiet, faulty) in quiet.into_iter().zip(faulty) {
        assert!(faulty <= quiet + FELT_MAX, "local p99 {faulty:?}, with nothing wrong {quiet:?}");
    }
}

/// What keeps a stream from being faster.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Each device publishes so many events a second.
    Device(u32),
    /// The line to the cloud takes so many.
    Line(u32),
    /// Nothing but the machine.
    None,
}

/// What became of a stream.
struct Stream {
    elapsed: Duration,
    repeats: usize,
    connections: usize,
}

/// How many devices share the events of a stream.
const DEVICES: u64 = 4;

/// A stream of events to a cloud; `poison` are those that it does not survive, every thousandth.
fn stream(events: u64, pace: Pace, poison: Option<&str>) -> Stream {
    let cloud = Cloud::start();
    let events_per_s = match pace {
        Pace::Device(events_per_s) => Some(events_per_s),
        Pace::Line(events_per_s) => {
            cloud.set_events_per_s(events_per_s);
            None
        }
        Pace::None => None,
    };
    let mut expected = events;
    if let Some(part) = poison {
        cloud.set_poison(part);
        expected -= events / 1000;
    }
    let relay = Relay::start(cloud.port(), Version::V5);
    let mut gateway = gateway!().uplink(relay.port()).uplink_with("backoff_min = \"50ms\"").start();
    let start = Instant::now();
    let plan = |name: &str| Plan { events_per_s, ..Plan::new(name, gateway.port(), 0..events / DEVICES) };
    let names = (0..DEVICES).map(|number| format!("d{number}"));
    let mut devices: Vec<_> = names.map(|name| Device::raw(plan(&name))).collect();
    device::finish_all(&mut devices, Duration::from_secs(60));
    let arrived = || {
        let arrivals = cloud.arrivals();
        if (arrivals.len() as u64) < expected {
            return 0;
        }
        arrivals.iter().map(|(_, payload)| payload.as_str()).collect::<HashSet<_>>().len() as u64
    };
    wait_for("all but the poison is at the cloud", Duration::from_secs(60), || arrived() >= expected);
    let record = relay.record();
    let stream =
        Stream { elapsed: start.elapsed(), repeats: record.repeats(), connections: record.connections };
    drop(record);
    assert_eq!(arrived(), expected);
    gateway.stop();
    stream
}

/// Numbers that end in 999, as the payload of an event has them.
const POISON: &str = "999,\"pad";

/// How long each poison holds up the stream; nothing is re-sent more often than it may.
fn cost_of_poison(events: u64, pace: Pace) -> (Duration, Duration) {
    let plain = stream(events, pace, None).elapsed;
    let poisons = events / 1000;
    let poisoned = stream(events, pace, Some(POISON));
    let Stream { elapsed, repeats, connections } = poisoned;
    println(&format!(
        "{events} events, {pace:?}: {plain:?}; with {poisons} poisons {elapsed:?} ({:.3}x), {repeats} publishes repeated, \
         {connections} connections",
        elapsed.as_secs_f64() / plain.as_secs_f64()
    ));
    let most = usize::try_from(3 * 100 * poisons).must("count events");
    assert!(repeats <= most, "{repeats} repeated for {poisons} poisons, more than three windows each");
    (plain, elapsed)
}

fn assert_costs_little((plain, poisoned): (Duration, Duration)) {
    assert!(poisoned.as_secs_f64() <= plain.as_secs_f64() * 1.05, "{poisoned:?} against {plain:?}");
}

#[test]
fn one_event_in_a_thousand_that_the_cloud_does_not_survive_costs_little_at_a_steady_rate() {
    assert_costs_little(cost_of_poison(8000, Pace::Device(125)));
}

#[test]
fn such_events_cost_little_on_a_line_that_is_full() {
    assert_costs_little(cost_of_poison(3000, Pace::Line(250)));
}

/// Six connections for each, in the time of which a cloud in the same machine takes hundreds of other events.
#[test]
fn such_events_are_found_in_milliseconds() {
    let (plain, poisoned) = cost_of_poison(60_000, Pace::None);
    let each = poisoned.saturating_sub(plain) / 60;
    println(&format!("{each:?} for each poison"));
    assert!(each <= Duration::from_millis(100), "{each:?} for each poison");
}

#[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
fn println(text: &str) {
    eprintln!("{text}");
}
