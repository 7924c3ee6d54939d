//! The session against devices that keep to the standard: random publishes, cuts, takeovers and crashes of the gateway, in
//! both versions.
//!
//! The devices are the reference: each does what the standard asks of a client (MQTT 5.0, sections 4.3, 4.4 and 4.6) and
//! checks what it sees: answers in order and never before the event is durable, packet ids that are free, no more in
//! flight than it allows. From time to time everything is let through, and then each event of QoS 2 was taken, and
//! delivered to each session that was there, exactly once, each of QoS 1 at least once, in order.
//!
//! `TIDEGATE_MODEL_STEPS=1000000 cargo test -p tidegate --release model` runs the long form, `TIDEGATE_MODEL_SEED`
//! another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::testing::{Site, limits};
use super::{Flow, Limits, Session};
use crate::bus::{Bounds, ConnectionId, Notice, QueueBounds};
use crate::listener::Cause;
use crate::mqtt::{self, Version};

/// xorshift64*, so that a seed is all that a run depends on.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A publish of a device that is not done with.
struct Unacked {
    packet_id: u16,
    qos: u8,
    event: u32,
    /// PUBREC has come.
    received: bool,
}

struct Connection {
    id: ConnectionId,
    session: Session,
    /// Answers that are to come: first byte and packet id, in this order.
    expected: VecDeque<(u8, u16)>,
    /// What the device will send as acknowledgements.
    acks: VecDeque<Vec<u8>>,
    /// Deliveries of QoS 1 and 2 on this connection that the device has not acknowledged.
    inflight: BTreeSet<u16>,
    accepted: bool,
}

/// A client that keeps to the standard.
struct Device {
    name: char,
    version: Version,
    connection: Option<Connection>,
    clean_start: bool,
    /// A clean start was asked for and not answered: until it is, the old session may come back.
    clean_pending: bool,
    /// SUBACK has come: from now on the session must be there, and everything must come.
    subscribed: bool,
    next_packet_id: u16,
    unacked: VecDeque<Unacked>,
    /// Packet ids of QoS 2 that were received and not released.
    received: BTreeSet<u16>,
    /// How often each event came; and the order in which they came first.
    got: BTreeMap<u32, u32>,
    first: Vec<u32>,
    /// How many events were durable when the subscription became so.
    owed_from: usize,
    /// The subscription is new since everything was let through. Then a repetition at QoS 1 may be the first that it sees
    /// of an event, behind later ones.
    is_late: bool,
}

const RECEIVE_MAXIMUM: u16 = 3;
const SUBSCRIBE_ID: u16 = 60_000;

struct Model {
    site: Site,
    limits: Rc<Limits>,
    random: Random,
    devices: Vec<Device>,
    last_connection: ConnectionId,
    last_event: u32,
    /// QoS and publisher of each event since everything was let through.
    events: BTreeMap<u32, (u8, char)>,
    /// Events that a device counts as done.
    done: BTreeSet<u32>,
}

#[test]
fn agrees_with_clients_that_keep_to_the_standard() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let steps = setting("TIDEGATE_MODEL_STEPS").unwrap_or(20_000);
    let mut model = Model::new(setting("TIDEGATE_MODEL_SEED").unwrap_or(1));
    for step in 1..=steps {
        model.step();
        if step % 400 == 0 || step == steps {
            model.settle();
        }
    }
}

impl Model {
    fn new(seed: u64) -> Model {
        let queue = QueueBounds { events_max: 100_000, bytes_max: 100_000_000 };
        let device = |(name, version)| Device::new(name, version);
        let devices = [('a', Version::V5), ('b', Version::V311), ('c', Version::V5), ('d', Version::V311)];
        Model {
            site: Site::new(Bounds { queue, session_expiry_max_s: u32::MAX, ..Bounds::for_tests() }),
            limits: Rc::new(Limits { inflight_max: 8, ..limits() }),
            random: Random(seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            devices: devices.map(device).into(),
            last_connection: 0,
            last_event: 0,
            events: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.devices.len());
        match self.random.below(100) {
            0..30 => self.publish(at),
            30..55 => drop(self.resolve()),
            55..80 => self.pump(at),
            80..94 => drop(self.acknowledge(at)),
            94..97 => self.cut(at),
            97..99 => self.connect(at),
            _ if self.random.one_in(4) => self.crash(),
            _ => {}
        }
        self.dispatch();
    }

    /// Lets everything through and compares.
    fn settle(&mut self) {
        for at in 0..self.devices.len() {
            if self.devices[at].connection.is_none() {
                self.connect(at);
            }
        }
        let mut quiet = 0;
        while quiet < 3 {
            let mut moved = self.resolve();
            for at in 0..self.devices.len() {
                self.pump(at);
                moved |= self.acknowledge(at);
            }
            self.dispatch();
            quiet = if moved { 0 } else { quiet + 1 };
        }
        self.compare();
    }

    fn compare(&mut self) {
        let stored: Vec<u32> = self.site.stored_events.iter().map(|event| number(&event.payload)).collect();
        let taken = |event: u32| stored.iter().filter(|stored| **stored == event).count();
        for device in &self.devices {
            assert!(device.unacked.is_empty(), "{}: every publish is done with", device.name);
        }
        for event in &self.done {
            let (qos, _) = self.events[event];
            let times = taken(*event);
            assert!(
                times == 1 || qos == 1 && times > 1,
                "event {event} of QoS {qos} was taken {times} times"
            );
        }
        for device in &mut self.devices {
            let owed: BTreeSet<u32> = stored.iter().skip(device.owed_from).copied().collect();
            for event in owed.iter().filter(|_| device.subscribed) {
                let (qos, _) = self.events[event];
                let times = device.got.get(event).copied().unwrap_or(0);
                let right = match qos {
                    0 => true,
                    1 => times >= 1,
                    _ => times == 1,
                };
                assert!(right, "{} got event {event} of QoS {qos} {times} times", device.name);
            }
            for name in ('a'..='d').filter(|_| !device.is_late) {
                let from =
                    |event: &&u32| self.events.get(event).is_some_and(|(qos, by)| *qos > 0 && *by == name);
                let firsts: Vec<_> = device.first.iter().filter(from).collect();
                assert!(firsts.is_sorted(), "{} got those of {name} as {firsts:?}", device.name);
            }
            device.got.clear();
            device.first.clear();
            device.owed_from = 0;
            device.is_late = false;
        }
        self.site.stored_events.clear();
        self.site.published.clear();
        self.events.clear();
        self.done.clear();
    }

    fn connect(&mut self, at: usize) {
        self.last_connection += 1;
        let clean = self.random.one_in(20) || self.devices[at].clean_pending;
        if clean && self.devices[at].version == Version::V311 {
            self.throw_away(at);
        }
        let id = self.last_connection;
        let mut session = Session::new(Rc::clone(&self.limits), self.site.now.mono_ms);
        let device = &mut self.devices[at];
        device.clean_start = clean && device.version == Version::V5;
        device.clean_pending = device.clean_start;
        if clean {
            // What the device had is given up; those it published may or may not have been taken.
            device.forget();
        }
        self.site.connection = id;
        let flow = session.handle_input(&device.connect_packet(), self.site.now.mono_ms, &mut self.site);
        assert!(matches!(flow, Flow::Read), "{flow:?}");
        let old = self.devices[at].connection.replace(Connection {
            id,
            session,
            expected: VecDeque::new(),
            acks: VecDeque::new(),
            inflight: BTreeSet::new(),
            accepted: false,
        });
        self.site.commit();
        self.dispatch();
        if let Some(mut old) = old {
            // It has been taken over, and its task finds out.
            self.site.connection = old.id;
            old.session.close(Cause::TakenOver, &mut self.site);
            self.site.commit();
        }
    }

    /// In 3.1.1 a clean session ends with its connection, so one that is kept takes two.
    fn throw_away(&mut self, at: usize) {
        self.cut(at);
        let mut session = Session::new(Rc::clone(&self.limits), self.site.now.mono_ms);
        self.devices[at].clean_start = true;
        self.site.connection = self.last_connection;
        session.handle_input(&self.devices[at].connect_packet(), self.site.now.mono_ms, &mut self.site);
        self.site.commit();
        while self.resolve() {}
        self.site.connection = self.last_connection;
        session.close(Cause::Lost, &mut self.site);
        self.site.commit();
        self.last_connection += 1;
    }

    fn cut(&mut self, at: usize) {
        let Some(mut connection) = self.devices[at].connection.take() else { return };
        self.site.connection = connection.id;
        connection.session.close(Cause::Lost, &mut self.site);
        self.site.commit();
    }

    fn crash(&mut self) {
        for device in &mut self.devices {
            device.connection = None;
        }
        self.site.crash();
    }

    fn publish(&mut self, at: usize) {
        let qos = u8::try_from(self.random.below(3)).unwrap();
        let device = &mut self.devices[at];
        let Some(connection) = device.connection.as_mut().filter(|connection| connection.accepted) else {
            return;
        };
        if device.unacked.len() >= 8 {
            return;
        }
        self.last_event += 1;
        let event = self.last_event;
        self.events.insert(event, (qos, device.name));
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = device.next_packet_id;
            device.next_packet_id = packet_id % 100 + 1;
            while device.unacked.iter().any(|unacked| unacked.packet_id == device.next_packet_id) {
                device.next_packet_id = device.next_packet_id % 100 + 1;
            }
            device.unacked.push_back(Unacked { packet_id, qos, event, received: false });
            connection.expected.push_back((answer_to(qos), packet_id));
        }
        let packet = publish_packet(device.version, qos, false, packet_id, event);
        self.send(at, &packet);
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(connection) = &mut self.devices[at].connection else { return };
        self.site.connection = connection.id;
        let flow = connection.session.handle_input(bytes, self.site.now.mono_ms, &mut self.site);
        assert!(!matches!(flow, Flow::Close(_)), "{flow:?} after {bytes:?}");
        self.site.commit();
    }

    /// The oldest entry becomes durable.
    fn resolve(&mut self) -> bool {
        let Some(receipt) = self.site.resolve() else { return false };
        let Some((id, receipt)) = receipt else { return true };
        let owner = self
            .devices
            .iter()
            .position(|device| device.connection.as_ref().is_some_and(|connection| connection.id == id));
        if let Some(at) = owner {
            if let Some(connection) = &mut self.devices[at].connection {
                connection.session.handle_receipt(receipt);
                connection.session.write_acks();
            }
            // What had to wait for answers goes on.
            self.send(at, b"");
        }
        true
    }

    fn dispatch(&mut self) {
        for notice in std::mem::take(&mut self.site.notices) {
            assert!(!matches!(notice, Notice::TooSlow(_) | Notice::Full(_)), "{notice:?}");
        }
    }

    /// The device reads everything that was written to it.
    fn pump(&mut self, at: usize) {
        let Some(connection) = &mut self.devices[at].connection else { return };
        self.site.connection = connection.id;
        connection.session.fill_output(&mut self.site);
        self.site.commit();
        let bytes = std::mem::take(connection.session.output());
        let mut rest = bytes.as_slice();
        while let Some(frame) = mqtt::frame(rest, 1 << 20).unwrap() {
            rest = &rest[frame.packet_bytes..];
            self.receive(at, frame.first, frame.body);
        }
        assert!(rest.is_empty(), "whole packets");
    }

    fn receive(&mut self, at: usize, first: u8, body: &[u8]) {
        let packet_id = || u16::from_be_bytes([body[0], body[1]]);
        match first >> 4 {
            2 => self.handle_connack(at, body),
            3 => self.devices[at].handle_publish(first, body),
            4 | 5 | 7 => self.handle_answer(at, first, packet_id()),
            6 => self.devices[at].handle_pubrel(packet_id()),
            9 => {
                let durable = self.site.stored_events.len();
                let device = &mut self.devices[at];
                if !device.subscribed {
                    device.subscribed = true;
                    device.owed_from = durable;
                    device.is_late = true;
                }
            }
            _ => panic!("a packet {first:#x}"),
        }
    }

    fn handle_connack(&mut self, at: usize, body: &[u8]) {
        let device = &mut self.devices[at];
        let present = body[0] == 1;
        assert_eq!(body[1], 0);
        assert!(!(present && device.clean_start), "{}: a clean start has no session", device.name);
        assert!(present || !device.subscribed, "{}: the session that was promised is gone", device.name);
        if !present {
            device.forget_received();
        }
        device.clean_pending = false;
        let Some(connection) = &mut device.connection else { return };
        connection.accepted = true;
        let mut packets = Vec::new();
        for unacked in &device.unacked {
            if unacked.received && present {
                connection.expected.push_back((0x70, unacked.packet_id));
                packets.extend(ack_packet(0x62, unacked.packet_id));
            } else {
                connection.expected.push_back((answer_to(unacked.qos), unacked.packet_id));
                let Unacked { packet_id, qos, event, .. } = *unacked;
                packets.extend(publish_packet(device.version, qos, true, packet_id, event));
            }
        }
        if !device.subscribed {
            packets.extend(device.subscribe_packet());
        }
        self.send(at, &packets);
    }

    fn handle_answer(&mut self, at: usize, first: u8, packet_id: u16) {
        let device = &mut self.devices[at];
        let Some(connection) = &mut device.connection else { return };
        assert_eq!(connection.expected.pop_front(), Some((first, packet_id)), "{}: in order", device.name);
        let place = device.unacked.iter().position(|unacked| unacked.packet_id == packet_id).unwrap();
        let event = device.unacked[place].event;
        if first != 0x70 {
            let is_durable = self.site.stored_events.iter().any(|stored| number(&stored.payload) == event);
            // What was durable before everything was let through is not looked up any more.
            let is_old = !self.events.contains_key(&event);
            assert!(is_durable || is_old, "{}: event {event} was acknowledged too early", device.name);
        }
        if first == 0x50 {
            device.unacked[place].received = true;
            connection.expected.push_back((0x70, packet_id));
            self.send(at, &ack_packet(0x62, packet_id));
        } else {
            device.unacked.remove(place);
            self.done.insert(event);
        }
    }

    /// The device sends its oldest acknowledgement.
    fn acknowledge(&mut self, at: usize) -> bool {
        let Some(connection) = &mut self.devices[at].connection else { return false };
        let Some(ack) = connection.acks.pop_front() else { return false };
        if ack[0] != 0x50 {
            connection.inflight.remove(&u16::from_be_bytes([ack[2], ack[3]]));
        }
        self.send(at, &ack);
        true
    }
}

impl Device {
    fn new(name: char, version: Version) -> Device {
        Device {
            name,
            version,
            connection: None,
            clean_start: false,
            subscribed: false,
            clean_pending: false,
            next_packet_id: 1,
            unacked: VecDeque::new(),
            received: BTreeSet::new(),
            got: BTreeMap::new(),
            first: Vec::new(),
            owed_from: 0,
            is_late: false,
        }
    }

    /// The device gives its session up.
    fn forget(&mut self) {
        self.unacked.clear();
        self.forget_received();
        self.subscribed = false;
        self.got.clear();
        self.first.clear();
    }

    fn forget_received(&mut self) {
        self.received.clear();
    }

    fn connect_packet(&self) -> Vec<u8> {
        let flags = if self.clean_start { 2 } else { 0 };
        let name = u8::try_from(self.name).unwrap();
        match self.version {
            Version::V5 => {
                let properties = [0x11, 0xff, 0xff, 0xff, 0xff, 0x21, 0, 3, 0x22, 0, 4];
                let mut body = [b"\0\x04MQTT\x05".as_slice(), &[flags, 0, 0, 11], &properties].concat();
                body.extend([0, 1, name]);
                packet(0x10, &body)
            }
            _ => packet(0x10, &[b"\0\x04MQTT\x04".as_slice(), &[flags, 0, 0, 0, 1, name]].concat()),
        }
    }

    fn subscribe_packet(&self) -> Vec<u8> {
        let [high, low] = SUBSCRIBE_ID.to_be_bytes();
        let properties: &[u8] = if self.version == Version::V5 { &[0] } else { &[] };
        packet(0x82, &[&[high, low], properties, b"\0\x01#\x02"].concat())
    }

    fn handle_publish(&mut self, first: u8, body: &[u8]) {
        let (qos, dup) = ((first >> 1) & 3, first & 8 != 0);
        let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let rest = &body[2 + topic_bytes..];
        let event = number(&body[body.len() - 4..]);
        if qos == 0 {
            self.take(event);
            return;
        }
        let packet_id = u16::from_be_bytes([rest[0], rest[1]]);
        let Some(connection) = &mut self.connection else { return };
        let window = if self.version == Version::V5 { RECEIVE_MAXIMUM } else { 8 };
        assert!(connection.inflight.insert(packet_id), "{}: packet id {packet_id} is in use", self.name);
        assert!(connection.inflight.len() <= usize::from(window), "{}: over Receive Maximum", self.name);
        if qos == 1 {
            connection.acks.push_back(ack_packet(0x40, packet_id));
            return self.take(event);
        }
        connection.acks.push_back(ack_packet(0x50, packet_id));
        let is_new = self.received.insert(packet_id);
        assert!(is_new || dup, "{}: packet id {packet_id} given to another event", self.name);
        if is_new {
            self.take(event);
        }
    }

    fn handle_pubrel(&mut self, packet_id: u16) {
        self.received.remove(&packet_id);
        let Some(connection) = &mut self.connection else { return };
        connection.acks.push_back(ack_packet(0x70, packet_id));
    }

    fn take(&mut self, event: u32) {
        let times = self.got.entry(event).or_insert(0);
        *times += 1;
        if *times == 1 {
            self.first.push(event);
        }
    }
}

fn answer_to(qos: u8) -> u8 {
    if qos == 1 { 0x40 } else { 0x50 }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().unwrap())
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

fn ack_packet(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}

fn publish_packet(version: Version, qos: u8, dup: bool, packet_id: u16, event: u32) -> Vec<u8> {
    let mut body = b"\0\x01t".to_vec();
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(event.to_be_bytes());
    packet(0x30 | qos << 1 | u8::from(dup) << 3, &body)
}
