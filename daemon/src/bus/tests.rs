//! The bus by itself: sessions, wills, shared subscriptions, retained messages, bounds, and what is stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{any, prop, proptest};
use tidegate_buffer::Stamp;

use super::restore::Restored;
use super::{
    Accepted, Answer, Bounds, Bus, BusEvent, Connecting, Ending, Handle, Next, Notice, Publication,
    QueueBounds, Will,
};
use crate::durable::Durable;
use crate::mqtt::{AckKind, SubscriptionOptions, Version};

impl Durable for BTreeMap<Vec<u8>, Vec<u8>> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        BTreeMap::insert(self, key, value);
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        assert_eq!(BTreeMap::insert(self, key, value), None, "the key is new");
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.remove(&key);
    }
}

/// A bus whose every change is durable at once.
struct World {
    bus: Bus,
    bounds: Bounds,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    now: Stamp,
}

/// How a client connects.
#[derive(Clone, Copy)]
struct Client {
    id: &'static str,
    connection: u32,
    expiry_s: u32,
    clean: bool,
    /// Delay of its will.
    will_s: Option<u32>,
}

fn client(id: &'static str, connection: u32) -> Client {
    Client { id, connection, expiry_s: 100, clean: false, will_s: None }
}

fn world() -> World {
    World::new(Bounds::for_tests())
}

impl World {
    fn new(bounds: Bounds) -> World {
        let now = Stamp { mono_ms: 50_000, wall_ms: 1_800_000_000_000 };
        World { bus: Bus::new(bounds.clone()), bounds, stored: BTreeMap::new(), now }
    }

    fn connect(&mut self, client: Client) -> Accepted {
        let will = client.will_s.map(|delay_s| Will {
            topic: format!("will/{}", client.id).into(),
            payload: b"gone".as_slice().into(),
            qos: 1,
            retain: false,
            delay_s,
            expiry_s: None,
            properties: Box::default(),
        });
        let connecting = Connecting {
            connection: client.connection,
            client_id: client.id,
            username: None,
            version: Version::V5,
            clean_start: client.clean,
            expiry_s: client.expiry_s,
            receive_maximum: 2,
            will,
        };
        self.bus.connect(connecting, self.now, &mut self.stored).unwrap()
    }

    fn subscribe(&mut self, handle: Handle, filter: &str, options: u8) {
        let options = SubscriptionOptions::new(Version::V5, options).unwrap();
        assert!(self.bus.subscribe(handle, filter, options, 0) <= 2);
        self.bus.store_subscriptions(handle, self.now, &mut self.stored);
    }

    fn publish(&mut self, topic: &str, payload: &'static str, qos: u8, retain: bool) {
        self.publish_for(None, topic, payload, qos, retain);
    }

    /// As `publish`; it expires after `expiry_s`.
    fn publish_for(
        &mut self,
        expiry_s: Option<u64>,
        topic: &str,
        payload: &'static str,
        qos: u8,
        retain: bool,
    ) {
        let expires_at_ms = expiry_s.map(|expiry_s| self.now.mono_ms + expiry_s * 1000);
        let publication = Publication { topic, qos, retain, promised: qos > 0, origin: None };
        self.bus.publish(&publication, self.now, &mut self.stored, || BusEvent {
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            properties: Box::default(),
            qos,
            expires_at_ms,
        });
        let fence = self.bus.poll_fence();
        fence.into_iter().for_each(|fence| self.bus.handle_fence(fence));
    }

    fn lose(&mut self, handle: Handle) {
        self.bus.disconnect(handle, Ending::LOST, self.now, &mut self.stored);
    }

    fn advance(&mut self, seconds: u64) {
        self.now.mono_ms += seconds * 1000;
        self.now.wall_ms += i64::try_from(seconds).unwrap() * 1000;
        self.bus.handle_time(self.now, &mut self.stored);
    }

    /// A new run after `seconds` of standing still.
    fn restart(&mut self, seconds: i64) -> Restored {
        self.now = Stamp { mono_ms: 7_000, wall_ms: self.now.wall_ms + seconds * 1000 };
        self.bus = Bus::new(self.bounds.clone());
        let pairs: Vec<_> = self.stored.clone().into_iter().collect();
        let restored = self.bus.restore(&pairs, self.now, &mut self.stored);
        assert_eq!(restored.dropped, 0);
        restored
    }

    /// What is sent, as text: topic, payload, QoS, `d` for DUP, `r` for RETAIN; and PUBRELs.
    fn sent(&mut self, handle: Handle) -> Vec<String> {
        let next = || self.bus.poll_next(handle, self.now, &mut self.stored);
        let shown = |next| match next {
            Next::Release { packet_id } => format!("release {packet_id}"),
            Next::Publish { dup, outgoing, .. } => {
                let payload = String::from_utf8_lossy(&outgoing.event.payload).into_owned();
                let marks = [if dup { "d" } else { "" }, if outgoing.retain { "r" } else { "" }].concat();
                format!("{} {payload} {}{marks}", outgoing.event.topic, outgoing.qos)
            }
        };
        std::iter::from_fn(next).map(shown).collect()
    }

    fn ack(&mut self, handle: Handle, kind: AckKind, packet_id: u16) -> Answer {
        let answer = self.bus.acknowledge(handle, kind, packet_id, 0, &mut self.stored);
        let fence = self.bus.poll_fence();
        fence.into_iter().for_each(|fence| self.bus.handle_fence(fence));
        answer
    }

    fn wills(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.bus.pop_due_will()).map(|due| due.will.topic.into()).collect()
    }

    fn stored(&self, tag: u8) -> usize {
        self.stored.keys().filter(|key| key[0] == tag).count()
    }
}

#[test]
fn a_session_waits_for_its_client_as_long_as_was_agreed() {
    let mut world = world();
    let first = world.connect(client("c", 1));
    assert!(!first.present);
    world.subscribe(first.handle, "a/#", 1);
    world.lose(first.handle);
    world.advance(99);
    let second = world.connect(client("c", 2));
    assert!(second.present && !second.discarded);
    world.publish("a/1", "x", 1, false);
    assert_eq!(world.sent(second.handle), ["a/1 x 1"]);
    world.lose(second.handle);
    world.advance(100);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
    assert!(!world.connect(client("c", 3)).present);
}

#[test]
fn what_waits_survives_a_restart_in_order_and_is_sent_until_it_is_acknowledged() {
    let mut world = world();
    let first = world.connect(client("c", 1));
    world.subscribe(first.handle, "#", 2);
    for (payload, qos) in [("1", 1), ("2", 2), ("3", 2), ("0", 0), ("4", 1)] {
        world.publish("t", payload, qos, false);
    }
    assert_eq!(world.sent(first.handle), ["t 1 1", "t 2 2"], "two at a time");
    world.ack(first.handle, AckKind::Rec, 2);
    assert_eq!(world.sent(first.handle), ["release 2"]);
    assert_eq!((world.stored(b'o'), world.stored(b'p')), (3, 1));
    world.restart(3);
    let second = world.connect(client("c", 1));
    assert!(second.present);
    // All that is not acknowledged may have been sent, as far as the new run knows.
    assert_eq!(world.sent(second.handle), ["t 1 1d", "release 2", "t 3 2d"]);
    assert_eq!(world.ack(second.handle, AckKind::Comp, 2), Answer::None);
    world.ack(second.handle, AckKind::Ack, 1);
    assert_eq!(world.sent(second.handle), ["t 4 1d"]);
    world.ack(second.handle, AckKind::Rec, 3);
    world.ack(second.handle, AckKind::Comp, 3);
    world.ack(second.handle, AckKind::Ack, 4);
    assert_eq!((world.stored(b'o'), world.stored(b'p'), world.stored(b's')), (0, 0, 1));
}

#[test]
fn after_a_restart_all_that_waits_may_have_been_sent() {
    let mut world = world();
    let first = world.connect(client("c", 1));
    world.subscribe(first.handle, "#", 1);
    world.publish("t", "1", 1, false);
    world.sent(first.handle);
    world.publish("t", "2", 1, false);
    world.lose(first.handle);
    world.publish("t", "3", 1, false);
    world.restart(0);
    let second = world.connect(client("c", 1));
    world.ack(second.handle, AckKind::Ack, 9);
    assert_eq!(world.sent(second.handle), ["t 1 1d", "t 2 1d"]);
}

#[test]
fn time_without_the_gateway_counts() {
    for (seconds, present) in [(99, true), (100, false)] {
        let mut world = world();
        let handle = world.connect(client("c", 1)).handle;
        world.lose(handle);
        world.restart(seconds);
        assert_eq!(world.connect(client("c", 1)).present, present, "{seconds} s");
    }
}

#[test]
fn a_takeover_moves_the_session_and_the_old_connection_can_do_nothing_any_more() {
    let mut world = world();
    let first = world.connect(client("c", 1));
    world.subscribe(first.handle, "a", 1);
    let second = world.connect(client("c", 2));
    assert!(second.present);
    assert_eq!(world.bus.poll_notice(), Some(Notice::TakenOver(1)));
    world.lose(first.handle);
    world.publish("a", "x", 1, false);
    assert_eq!(world.sent(first.handle), [""; 0]);
    assert_eq!(world.sent(second.handle), ["a x 1"]);
}

#[test]
fn wills_come_when_the_standard_says() {
    type Then = fn(&mut World, Handle);
    let nothing: Then = |_, _| {};
    let back: Then = |world, _| {
        world.connect(client("c", 2));
    };
    let back_clean: Then = |world, _| {
        world.connect(Client { clean: true, ..client("c", 2) });
    };
    let table: [(&str, Client, u64, Then, usize); 7] = [
        ("at once without a delay", Client { will_s: Some(0), ..client("c", 1) }, 0, nothing, 1),
        ("not before its delay", Client { will_s: Some(5), ..client("c", 1) }, 4, nothing, 0),
        ("after its delay", Client { will_s: Some(5), ..client("c", 1) }, 5, nothing, 1),
        ("with the end of the session", Client { will_s: Some(500), ..client("c", 1) }, 100, nothing, 1),
        ("not if the client is back", Client { will_s: Some(5), ..client("c", 1) }, 0, back, 0),
        ("with a session given up", Client { will_s: Some(5), ..client("c", 1) }, 0, back_clean, 1),
        (
            "at once without a session",
            Client { will_s: Some(5), expiry_s: 0, ..client("c", 1) },
            0,
            nothing,
            1,
        ),
    ];
    for (what, client, seconds, then, wills) in table {
        let mut world = world();
        let handle = world.connect(client).handle;
        world.lose(handle);
        world.advance(seconds);
        then(&mut world, handle);
        assert_eq!(world.wills().len(), wills, "{what}");
        world.advance(1000);
        assert_eq!(world.stored(b'w'), 0, "{what}");
    }
}

#[test]
fn a_takeover_publishes_the_will_unless_it_was_to_wait() {
    for (delay_s, clean, wills) in [(0, false, 1), (5, false, 0), (5, true, 1)] {
        let mut world = world();
        world.connect(Client { will_s: Some(delay_s), ..client("c", 1) });
        world.connect(Client { clean, ..client("c", 2) });
        assert_eq!(world.wills().len(), wills, "{delay_s} s, clean: {clean}");
    }
}

#[test]
fn a_crash_of_the_gateway_sends_a_delayed_will() {
    let mut world = world();
    world.connect(Client { will_s: Some(5), ..client("c", 1) });
    world.restart(60);
    assert_eq!(world.wills(), [""; 0], "the client may come back");
    world.advance(5);
    assert_eq!(world.wills(), ["will/c"]);
    assert_eq!(world.stored(b'w'), 0);
}

#[test]
fn members_of_a_group_get_events_in_turn_and_what_one_leaves_goes_to_another() {
    let mut world = world();
    let [a, b] = [client("a", 1), client("b", 2)].map(|client| {
        let handle = world.connect(client).handle;
        world.subscribe(handle, "$share/g/t", 2);
        handle
    });
    for payload in ["1", "2", "3", "4"] {
        world.publish("t", payload, 1, false);
    }
    assert_eq!(world.sent(a), ["t 1 1", "t 3 1"]);
    assert_eq!(world.sent(b), ["t 2 1", "t 4 1"]);
    world.ack(b, AckKind::Ack, 1);
    world.ack(b, AckKind::Ack, 2);
    world.lose(a);
    assert_eq!(world.sent(b), ["t 1 1", "t 3 1"]);
    world.lose(b);
    world.publish("t", "5", 1, false);
    let waiting =
        |world: &World| world.bus.sessions.iter().map(|(_, state)| state.outbox.queue_len()).sum::<usize>();
    assert_eq!(waiting(&world), 1, "one of them will get it");
    world.advance(100);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn of_qos_2_what_a_member_was_sent_stays_with_it() {
    let mut world = world();
    let [a, b] = [client("a", 1), client("b", 2)].map(|client| {
        let handle = world.connect(client).handle;
        world.subscribe(handle, "$share/g/t", 2);
        handle
    });
    for payload in ["1", "2", "3", "4", "5"] {
        world.publish("t", payload, 2, false);
    }
    assert_eq!(world.sent(a), ["t 1 2", "t 3 2"]);
    world.lose(a);
    assert_eq!(world.sent(b), ["t 2 2", "t 4 2"]);
    world.ack(b, AckKind::Rec, 1);
    world.ack(b, AckKind::Comp, 1);
    assert_eq!(world.sent(b), ["release 1", "t 5 2"], "5 was never sent to the other");
    let a = world.connect(client("a", 3)).handle;
    assert_eq!(world.sent(a), ["t 1 2d", "t 3 2d"]);
}

#[test]
fn retained_messages_come_with_a_subscription_as_it_asks() {
    let mut world = world();
    for topic in ["a/1", "a/2", "b"] {
        world.publish(topic, "x", 1, true);
    }
    let handle = world.connect(client("c", 1)).handle;
    let table: [(u8, &[&str]); 5] = [
        (0x01, &["a/1 x 1r", "a/2 x 1r"]),
        (0x10, &[]),
        (0x00, &["a/1 x 0r", "a/2 x 0r"]),
        (0x20, &[]),
        (0x01, &["a/1 x 1r", "a/2 x 1r"]),
    ];
    for (options, expected) in table {
        world.subscribe(handle, "a/+", options);
        assert_eq!(world.sent(handle), expected, "options {options:#x}");
        for number in 1..=9 {
            world.ack(handle, AckKind::Ack, number);
        }
    }
    world.subscribe(handle, "$share/g/b", 0x01);
    assert_eq!(world.sent(handle), [""; 0], "not to shared ones");
    world.publish("a/1", "y", 1, true);
    assert_eq!(world.sent(handle), ["a/1 y 1"], "not marked where it is live");
    world.subscribe(handle, "b", 0x19);
    world.ack(handle, AckKind::Ack, 5);
    assert_eq!(world.sent(handle), ["b x 1r"], "new, so it is sent");
    world.publish("b", "y", 0, true);
    assert_eq!(world.sent(handle), ["b y 0r", "b y 0"], "as it was published; and once by the shared one");
}

#[test]
fn more_retained_messages_than_the_queue_takes_come_all_the_same() {
    let queue = QueueBounds { events_max: 3, bytes_max: 100_000 };
    let mut world = World::new(Bounds { queue, retained_max: 100, ..Bounds::for_tests() });
    let topics: Vec<String> = (10..90).map(|number| format!("t/{number}")).collect();
    for topic in &topics {
        world.publish(topic, "x", 0, true);
    }
    let handle = world.connect(client("c", 1)).handle;
    world.subscribe(handle, "#", 0);
    let expected: Vec<String> = topics.iter().map(|topic| format!("{topic} x 0r")).collect();
    assert_eq!(world.sent(handle), expected);
    assert_eq!(world.bus.take_undelivered().dropped, 0);
}

#[test]
fn retained_messages_survive_a_restart_until_they_are_cleared() {
    let mut world = world();
    world.publish("a", "1", 1, true);
    world.publish("b", "2", 1, true);
    world.publish("a", "", 1, true);
    world.restart(5);
    let handle = world.connect(client("c", 1)).handle;
    world.subscribe(handle, "#", 1);
    assert_eq!(world.sent(handle), ["b 2 1r"]);
    assert_eq!(world.stored(b'r'), 1);
}

#[test]
fn what_expired_while_the_gateway_was_away_is_no_damage() {
    let mut world = world();
    world.publish_for(Some(5), "short", "1", 1, true);
    world.publish_for(Some(50), "long", "2", 1, true);
    let restored = world.restart(10);
    assert_eq!((restored.retained, restored.expired, restored.dropped), (1, 1, 0));
    assert_eq!(world.stored(b'r'), 1);
}

#[test]
fn what_is_retained_and_expires_leaves_the_disk_as_well() {
    let mut world = World::new(Bounds { retained_max: 2, ..Bounds::for_tests() });
    for topic in ["a", "b", "c", "d", "e"] {
        world.advance(4);
        world.publish_for(Some(5), topic, "x", 1, true);
    }
    assert_eq!(world.stored(b'r'), 2);
    assert_eq!(world.bus.take_undelivered().unretained, 0);
    assert!(!world.bus.retains("f", 1, world.now, &mut world.stored), "two are there");
    world.advance(10);
    assert!(world.bus.retains("f", 1, world.now, &mut world.stored));
    assert_eq!(world.stored(b'r'), 0);
}

#[test]
fn what_is_retained_at_qos_0_is_stored_some_seconds_later_and_once() {
    let mut world = world();
    for payload in ["1", "2", "3"] {
        world.publish("a", payload, 0, true);
    }
    assert_eq!(world.bus.deadline_ms(), Some(world.now.mono_ms + 5_000));
    world.advance(4);
    assert_eq!(world.stored(b'r'), 0, "nobody was promised anything");
    world.advance(1);
    assert_eq!((world.stored(b'r'), world.bus.deadline_ms()), (1, None));
    world.publish("a", "", 0, true);
    assert_eq!(world.stored(b'r'), 1);
    world.bus.store_retained(true, world.now, &mut world.stored);
    assert_eq!(world.stored(b'r'), 0, "the gateway stops");
}

#[test]
fn a_promise_for_what_could_wait_is_kept_at_once() {
    let mut world = world();
    world.publish("a", "1", 0, true);
    // Nothing changes by it, and it is promised all the same.
    let event = BusEvent {
        topic: "a".into(),
        payload: Bytes::from_static(b"1"),
        properties: Box::default(),
        qos: 0,
        expires_at_ms: None,
    };
    let publication = Publication { topic: "a", qos: 0, retain: true, promised: true, origin: None };
    world.bus.publish(&publication, world.now, &mut world.stored, || event);
    assert_eq!(world.stored(b'r'), 1);
    world.publish("a", "", 0, true);
    world.publish("a", "", 1, true);
    assert_eq!(world.stored(b'r'), 0, "cleared by the second");
    world.publish("a", "2", 1, true);
    world.publish("a", "3", 0, true);
    world.restart(1);
    let handle = world.connect(client("c", 1)).handle;
    world.subscribe(handle, "#", 1);
    assert_eq!(world.sent(handle), ["a 2 1r"], "what was promised is what a crash leaves");
}

#[test]
fn many_topics_that_could_wait_are_stored_in_parts() {
    let mut world = World::new(Bounds { retained_max: 1000, ..Bounds::for_tests() });
    for number in 0..600 {
        world.publish(&format!("t/{number}"), "x", 0, true);
    }
    world.advance(5);
    assert_eq!(world.stored(b'r'), 256);
    assert_eq!(world.bus.deadline_ms(), Some(world.now.mono_ms + 20));
    world.publish("t/0", "changed again", 0, true);
    world.advance(1);
    world.advance(1);
    assert_eq!(world.stored(b'r'), 600, "one that changes all the time holds up no other");
    assert_eq!(world.bus.deadline_ms(), Some(world.now.mono_ms + 5_000));
    world.advance(5);
    assert_eq!(world.bus.deadline_ms(), None);
}

#[test]
fn a_full_queue_drops_what_is_newest_and_counts_it() {
    let queue = QueueBounds { events_max: 2, bytes_max: 100_000 };
    let mut world = World::new(Bounds { queue, ..Bounds::for_tests() });
    let handle = world.connect(client("c", 1)).handle;
    world.subscribe(handle, "#", 1);
    world.lose(handle);
    for payload in ["1", "2", "3", "4"] {
        world.publish("t", payload, 1, false);
    }
    assert_eq!(world.bus.take_undelivered().dropped, 2);
    assert_eq!(world.bus.poll_notice(), Some(Notice::Full("c".into())), "said once");
    assert_eq!(world.bus.poll_notice(), None);
    let handle = world.connect(client("c", 2)).handle;
    assert_eq!(world.sent(handle), ["t 1 1", "t 2 1"]);
}

#[test]
fn acknowledgements_of_the_wrong_kind_are_told_from_unknown_ones() {
    let mut world = world();
    let handle = world.connect(client("c", 1)).handle;
    world.subscribe(handle, "#", 2);
    world.publish("t", "1", 1, false);
    world.publish("t", "2", 2, false);
    world.sent(handle);
    assert_eq!(world.ack(handle, AckKind::Rec, 1), Answer::Violation);
    assert_eq!(world.ack(handle, AckKind::Ack, 2), Answer::Violation);
    assert_eq!(world.ack(handle, AckKind::Comp, 2), Answer::Violation);
    assert_eq!(world.ack(handle, AckKind::Ack, 77), Answer::None);
    assert_eq!(world.ack(handle, AckKind::Rec, 77), Answer::Release);
    assert_eq!(world.ack(handle, AckKind::Rec, 2), Answer::None);
    assert_eq!(world.ack(handle, AckKind::Rec, 2), Answer::None, "its PUBREL is on its way");
}

#[test]
fn a_client_id_of_another_user_gives_no_session() {
    let mut world = world();
    world.connect(client("c", 1));
    let connecting = Connecting {
        connection: 2,
        client_id: "c",
        username: Some("other"),
        version: Version::V5,
        clean_start: false,
        expiry_s: 100,
        receive_maximum: 2,
        will: None,
    };
    let accepted = world.bus.connect(connecting, world.now, &mut world.stored).unwrap();
    assert!(!accepted.present && accepted.discarded);
}

proptest! {
    /// Whatever lies in the store: what can be read is taken, the rest is taken away, and nothing panics.
    #[test]
    fn damaged_pairs_are_dropped_and_counted(
        noise in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..5),
        at in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut world = world();
        let handle = world.connect(Client { will_s: Some(5), ..client("c", 1) }).handle;
        world.subscribe(handle, "$share/g/#", 2);
        world.publish("t", "1", 2, true);
        let mut pairs: Vec<_> = world.stored.clone().into_iter().collect();
        let pair = at.index(pairs.len());
        let value = &mut pairs[pair].1;
        if !value.is_empty() {
            let place = place.index(value.len());
            value[place] = byte;
        }
        pairs.extend(noise);
        pairs.sort();
        let mut bus = Bus::new(Bounds::for_tests());
        let mut stored: BTreeMap<_, _> = pairs.iter().cloned().collect();
        let before = stored.len();
        let restored = bus.restore(&pairs, world.now, &mut stored);
        assert!(restored.dropped <= before);
    }
}
