//! A cloud that dies, stops, stalls and drops under load loses nothing, and repeats at most a window each time.
//!
//! What a killed mosquitto has acknowledged and then forgets is beyond any client. So what reached it is taken from the
//! relay, which sees its PUBACKs; duplicates are what the gateway sent more than once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidegate_tests::broker::Setup;
use tidegate_tests::device::{accounts, wait_acked};
use tidegate_tests::fleet::{self, FLEET_EVENTS, FLEET_LIMIT};
use tidegate_tests::oracle::audit;
use tidegate_tests::wire::Version;
use tidegate_tests::{Broker, Collector, Device, Gateway, Must, Relay, gateway, wait_for};

const WINDOW: usize = 100;
const FAULTS: usize = 3;

struct Scene {
    broker: Broker,
    relay: Relay,
    collector: Collector,
    gateway: Gateway,
    devices: Vec<Device>,
}

fn scene(setup: Setup<'_>, version: Version) -> Scene {
    let broker = Broker::with(setup);
    let relay = Relay::start(broker.port(), version);
    let collector = Collector::start(&broker, &["events/#"]);
    let number = if version == Version::V5 { "5" } else { "\"3.1.1\"" };
    let lines = format!("version = {number}\nwindow = {WINDOW}");
    let gateway = gateway!().uplink(relay.port()).uplink_with(&lines).start();
    let devices = fleet::enduring(gateway.port());
    Scene { broker, relay, collector, gateway, devices }
}

impl Scene {
    // Runs the fault at spread-out moments of the load, then waits for all to be acknowledged by the broker.
    fn run(&mut self, mut fault: impl FnMut(&mut Broker, &Relay)) {
        for round in 1..=FAULTS {
            wait_acked(&self.devices, round * FLEET_EVENTS / (FAULTS + 1), FLEET_LIMIT);
            let before = self.relay.record().connections;
            fault(&mut self.broker, &self.relay);
            wait_for("the gateway is connected again", FLEET_LIMIT, || {
                self.relay.record().connections > before
            });
        }
        fleet::finish(&mut self.devices);
        wait_for("every event acknowledged by the broker", Duration::from_secs(20), || {
            self.relay.record().acked().collect::<HashSet<_>>().len() >= FLEET_EVENTS
        });
        self.gateway.stop();
    }

    // MQTT 5: what is sent again carries the id it had before, so that a receiver can drop it.
    fn assert_same_ids(&self) {
        let record = self.relay.record();
        let mut ids: HashMap<&[u8], HashSet<&str>> = HashMap::new();
        for (publish, _) in &record.publishes {
            let id = publish.properties.iter().find(|(name, _)| name == "event-id").must("an event id");
            assert!(publish.properties.iter().any(|(name, _)| name == "event-time"), "{publish:?}");
            ids.entry(&publish.payload).or_default().insert(&id.1);
        }
        assert!(ids.values().all(|of_event| of_event.len() == 1), "an event was sent under two ids");
        let different: HashSet<_> = ids.values().flatten().collect();
        assert_eq!(different.len(), ids.len(), "two events have one id");
    }

    fn assert_reached_the_broker(&self) {
        let record = self.relay.record();
        let reached =
            record.acked().map(|(topic, payload)| (topic, std::str::from_utf8(payload).unwrap_or("?")));
        audit(&accounts(&self.devices), reached).assert_whole();
        let (drops, repeats) = (record.connections - 1, record.repeats());
        assert!(drops >= FAULTS, "{drops} drops");
        assert!(repeats <= drops * WINDOW, "{repeats} sent again over {drops} drops");
    }
}

#[test]
fn a_killed_broker_that_forgets_its_session() {
    for version in [Version::V5, Version::V311] {
        let mut scene = scene(Setup::default(), version);
        scene.run(|broker, _| {
            broker.kill();
            broker.restart();
        });
        scene.assert_reached_the_broker();
    }
}

#[test]
fn a_stopped_broker_that_keeps_its_session() {
    let mut scene = scene(Setup { persistent: true, ..Setup::default() }, Version::V5);
    scene.run(|broker, _| {
        broker.stop();
        broker.restart();
    });
    scene.assert_reached_the_broker();
    scene.assert_same_ids();
    scene.collector.wait_count(FLEET_EVENTS, Duration::from_secs(20));
    let findings = fleet::audit_arrivals(&scene.devices, &scene.collector);
    assert!(
        findings.lost.is_empty() && findings.invented.is_empty() && findings.damaged.is_empty(),
        "{findings}"
    );
}

#[test]
fn late_acknowledgements_and_then_a_dropped_link() {
    for version in [Version::V5, Version::V311] {
        let mut scene = scene(Setup::default(), version);
        scene.run(|_, relay| {
            relay.set_ack_delay(Duration::from_millis(300));
            let before = relay.record().publishes.len();
            // A full window and more has to wait for late acknowledgements before the link goes.
            wait_for("traffic over the slow link", FLEET_LIMIT, || {
                relay.record().publishes.len() >= before + 3 * WINDOW
            });
            relay.drop_connections();
            relay.set_ack_delay(Duration::ZERO);
        });
        scene.assert_reached_the_broker();
        scene.collector.wait_count(FLEET_EVENTS, Duration::from_secs(10));
        fleet::audit_arrivals(&scene.devices, &scene.collector).assert_whole();
    }
}
