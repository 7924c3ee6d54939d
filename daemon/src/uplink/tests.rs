//! The uplink against a broker that does what the test says, with a real spool behind it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{Append, Consumers, NewRecord, Priority};
use tidegate_config::{EventProperties, Rate, Url, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::{Status, Uplink, run};
use crate::meta;
use crate::mqtt::{self, AckKind, Packet};
use crate::testing::World;

/// What the broker does with a publish: the reason of its PUBACK, silence, or the end of the connection.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Reason(u8),
    Silence,
    Close,
}

/// A publish as the broker saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    topic: String,
    payload: String,
    user: Vec<(String, String)>,
    expiry_s: Option<u32>,
    qos: u8,
    /// What stood in the packet: a topic, or a number for it.
    alias: Option<u16>,
}

/// Decides by the publish and by how many there were with it.
type Decide = dyn Fn(&Seen, usize) -> Answer;

struct Broker {
    seen: RefCell<Vec<Seen>>,
    connections: RefCell<usize>,
    /// The most that was unacknowledged at once.
    inflight_max: RefCell<usize>,
    answer: Box<Decide>,
    /// CONNACK's properties.
    connack: &'static [u8],
}

impl Broker {
    fn new(answer: impl Fn(&Seen, usize) -> Answer + 'static) -> Broker {
        Broker {
            seen: RefCell::default(),
            connections: RefCell::default(),
            inflight_max: RefCell::default(),
            answer: Box::new(answer),
            connack: b"",
        }
    }

    fn payloads(&self) -> Vec<String> {
        self.seen.borrow().iter().map(|seen| seen.payload.clone()).collect()
    }

    async fn serve(self: Rc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            *self.connections.borrow_mut() += 1;
            spawn_local(Rc::clone(&self).connection(stream));
        }
    }

    async fn connection(self: Rc<Self>, mut stream: TcpStream) {
        let (mut input, mut version, mut inflight) = (Vec::new(), None, 0_usize);
        let mut aliases = HashMap::new();
        let mut chunk = [0; 4096];
        loop {
            let Ok(count) = stream.read(&mut chunk).await else { return };
            if count == 0 {
                return;
            }
            input.extend_from_slice(&chunk[..count]);
            let (mut used, mut output) = (0, Vec::new());
            while let Some(frame) = mqtt::frame(&input[used..], 1 << 20).unwrap() {
                let first = input[used];
                let packet_id: Vec<u8> = input[used..].iter().skip(2).take(2).copied().collect();
                used += frame.packet_bytes;
                if first == 0x62 {
                    // PUBREL, for which the client has to have a PUBREC.
                    output.extend([&[0x70, 2], packet_id.as_slice()].concat());
                    inflight -= 1;
                    continue;
                }
                let Some(version) = version else {
                    let connect = mqtt::decode_connect(&frame).unwrap();
                    version = Some(connect.version);
                    output.extend(connack(connect.version, self.connack));
                    continue;
                };
                let Ok(Packet::Publish(publish)) = mqtt::decode(version, &frame) else { continue };
                inflight += 1;
                let deepest = inflight.max(*self.inflight_max.borrow());
                *self.inflight_max.borrow_mut() = deepest;
                let seen = seen(&publish, &mut aliases);
                self.seen.borrow_mut().push(seen.clone());
                match (self.answer)(&seen, self.seen.borrow().len()) {
                    Answer::Silence => {}
                    Answer::Close => return,
                    Answer::Reason(_) if publish.qos == 0 => inflight -= 1,
                    Answer::Reason(0) if publish.qos == 2 => {
                        output.extend([&[0x50, 2], publish.packet_id.to_be_bytes().as_slice()].concat());
                    }
                    Answer::Reason(reason) => {
                        inflight -= 1;
                        mqtt::ack(version, AckKind::Ack, publish.packet_id, reason, "", &mut output);
                    }
                }
            }
            input.drain(..used);
            if stream.write_all(&output).await.is_err() {
                return;
            }
        }
    }
}

fn connack(version: mqtt::Version, properties: &[u8]) -> Vec<u8> {
    if version == mqtt::Version::V311 {
        return vec![0x20, 2, 0, 0];
    }
    let length = u8::try_from(properties.len()).unwrap();
    [&[0x20, 3 + length, 0, 0, length], properties].concat()
}

fn seen(publish: &mqtt::Publish<'_>, aliases: &mut HashMap<u16, String>) -> Seen {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let alias = publish.properties.topic_alias;
    if let Some(alias) = alias.filter(|_| !publish.topic.is_empty()) {
        aliases.insert(alias, publish.topic.to_owned());
    }
    let known = alias.filter(|_| publish.topic.is_empty()).map(|alias| aliases[&alias].clone());
    Seen {
        topic: known.unwrap_or_else(|| publish.topic.to_owned()),
        qos: publish.qos,
        alias,
        payload: String::from_utf8_lossy(publish.payload).into_owned(),
        user: publish.properties.user_properties().map(owned).collect(),
        expiry_s: publish.properties.expiry_s,
    }
}

/// What a test changes of the settings.
type Change = dyn Fn(&mut tidegate_config::Uplink);

fn settings(port: u16, version: Version) -> tidegate_config::Uplink {
    let url = Url::plain("127.0.0.1", port);
    let broker = tidegate_config::Broker {
        version,
        ack_timeout: Duration::from_millis(200),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(5),
        ..tidegate_config::Broker::new("gateway", url.clone())
    };
    tidegate_config::Uplink {
        broker,
        window: 10,
        packet_bytes_max: 300,
        poison_after: 3,
        ..tidegate_config::Uplink::new("cloud", "gateway", url)
    }
}

fn append(world: &World, payloads: &[&str]) {
    let mut consumers = Consumers::EMPTY;
    consumers.insert(world.cloud);
    let mut append = Append::new();
    let first = FIRST.with(|next| next.replace(next.get() + payloads.len() as u64));
    let first_seq = world.first_seq + first;
    for (seq, payload) in (first_seq..).zip(payloads) {
        append.begin(seq);
        append.record(NewRecord {
            seq,
            consumers,
            priority: Priority::Normal,
            received: world.gateway.clock.stamp(),
            expires_after_ms: Some(3_600_000),
            topic: "a/topic".into(),
            // A payload may say its own quality of service.
            meta: meta::plain(
                match payload.as_bytes() {
                    [b'q', qos @ b'0'..=b'2', ..] => qos - b'0',
                    _ => 1,
                },
                false,
            ),
            payload: payload.to_string().into(),
        });
    }
    world.gateway.spool.append(&mut append).unwrap();
}

thread_local! {
    /// How many records the test on this thread has appended.
    static FIRST: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Runs a broker and an uplink to it, until `done`.
fn play(
    broker: Broker,
    version: Version,
    payloads: &[&str],
    done: impl Fn(&World, &Broker) -> bool,
) -> (World, Rc<Broker>) {
    play_with(broker, &move |uplink| uplink.broker.version = version, payloads, done)
}

/// As [`play`], with other settings.
fn play_with(
    broker: Broker,
    change: &Change,
    payloads: &[&str],
    done: impl Fn(&World, &Broker) -> bool,
) -> (World, Rc<Broker>) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    let broker = Rc::new(broker);
    tasks.block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        spawn_local(Rc::clone(&broker).serve(listener));
        let uplink = Uplink {
            line: None,
            settings: {
                let mut settings = settings(port, Version::V5);
                change(&mut settings);
                settings
            },
            gateway_id: "g".into(),
            consumer: world.cloud,
            spool: Arc::clone(&world.gateway.spool),
            clock: world.gateway.clock,
            readable: world.signals.bell(world.cloud),
            status: Rc::new(Status::default()),
        };
        let (stop, stopping) = watch::channel(false);
        let task = spawn_local(run(uplink, stopping));
        append(&world, payloads);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !done(&world, &broker) {
            assert!(std::time::Instant::now() < deadline, "not done in time; seen {:?}", broker.payloads());
            yield_now().await;
        }
        stop.send(true).unwrap();
        task.await.unwrap();
    });
    (world, broker)
}

fn backlog(world: &World) -> u64 {
    world.gateway.spool.usage().lanes.iter().map(|lane| lane.backlog).sum()
}

fn quarantined(world: &World) -> u64 {
    world.gateway.spool.usage().lanes.iter().map(|lane| lane.quarantined).sum()
}

#[test]
fn everything_arrives_in_order_with_its_id_and_its_time() {
    for version in [Version::V5, Version::V311] {
        let payloads: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let (world, broker) =
            play(Broker::new(|_, _| Answer::Reason(0)), version, &payloads, |world, _| backlog(world) == 0);
        assert_eq!(broker.payloads(), payloads);
        let seen = &broker.seen.borrow()[7];
        if version == Version::V5 {
            let id = format!("g-{:x}", world.first_seq + FIRST.get() - 100 + 7);
            assert_eq!(seen.user[0], ("event-id".to_owned(), id));
            assert_eq!(seen.user[1].0, "event-time");
            assert!(seen.expiry_s.is_some_and(|seconds| (3590..=3600).contains(&seconds)), "{seen:?}");
        } else {
            assert!(seen.user.is_empty());
        }
    }
}

#[test]
fn a_connection_that_breaks_costs_no_event_and_repeats_no_more_than_the_window() {
    let payloads: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let broker = Broker::new(|_, count| if count % 25 == 0 { Answer::Close } else { Answer::Reason(0) });
    let (_, broker) = play(broker, Version::V5, &payloads, |world, _| backlog(world) == 0);
    let mut arrived = broker.payloads();
    let connections = *broker.connections.borrow();
    assert!(connections > 1);
    assert!(
        arrived.len() <= 60 + 10 * (connections - 1),
        "{} publishes in {connections} connections",
        arrived.len()
    );
    arrived.sort_by_key(|payload| payload.parse::<u32>().unwrap());
    arrived.dedup();
    assert_eq!(arrived, payloads);
}

#[test]
fn a_broker_that_goes_silent_is_given_up_and_tried_again() {
    let broker = Broker::new(|_, count| if count <= 3 { Answer::Silence } else { Answer::Reason(0) });
    let (_, broker) = play(broker, Version::V311, &["a", "b", "c"], |world, _| backlog(world) == 0);
    assert_eq!(broker.payloads(), ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(*broker.connections.borrow(), 2);
}

#[test]
fn the_window_is_never_exceeded_not_even_the_brokers_smaller_one() {
    for (connack, most) in [(&b""[..], 10), (b"\x21\0\x03", 3)] {
        let payloads = ["x"; 30];
        let broker = Broker { connack, ..Broker::new(|_, _| Answer::Silence) };
        let full = move |_: &World, broker: &Broker| *broker.connections.borrow() > 1;
        let (_, broker) = play(broker, Version::V5, &payloads, full);
        assert_eq!(*broker.inflight_max.borrow(), most);
    }
}

#[test]
fn what_the_cloud_will_never_take_is_set_aside_and_the_rest_flows() {
    let broker = Broker::new(|seen, _| Answer::Reason(if seen.payload == "bad" { 0x99 } else { 0 }));
    let (world, broker) = play(broker, Version::V5, &["a", "bad", "b"], |world, _| backlog(world) == 0);
    assert_eq!(broker.payloads(), ["a", "bad", "b"]);
    assert_eq!(quarantined(&world), 1);
}

#[test]
fn a_refusal_that_may_pass_is_tried_again_later() {
    let broker = Broker::new(|_, count| Answer::Reason(if count <= 2 { 0x97 } else { 0 }));
    let (world, broker) = play(broker, Version::V5, &["a"], |world, _| backlog(world) == 0);
    assert_eq!(broker.payloads(), ["a", "a", "a"]);
    assert_eq!((quarantined(&world), *broker.connections.borrow()), (0, 3));
}

#[test]
fn an_event_that_is_too_large_is_never_sent() {
    let big = "x".repeat(300);
    let (world, broker) =
        play(Broker::new(|_, _| Answer::Reason(0)), Version::V311, &["a", &big, "b"], |world, _| {
            backlog(world) == 0
        });
    assert_eq!(broker.payloads(), ["a", "b"]);
    assert_eq!(quarantined(&world), 1);
}

#[test]
fn the_brokers_own_maximum_counts_too() {
    let payload = "x".repeat(100);
    let broker = Broker { connack: b"\x27\0\0\0\x64", ..Broker::new(|_, _| Answer::Reason(0)) };
    let (world, broker) = play(broker, Version::V5, &[&payload, "b"], |world, _| backlog(world) == 0);
    assert_eq!(broker.payloads(), ["b"]);
    assert_eq!(quarantined(&world), 1);
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn every_quality_of_service_is_served_and_the_brokers_maximum_kept() {
    for (connack, qos) in [(&b""[..], [0, 1, 2]), (b"\x24\x01", [0, 1, 1]), (b"\x24\0", [0, 0, 0])] {
        let broker = Broker { connack, ..Broker::new(|_, _| Answer::Reason(0)) };
        let payloads = ["q0", "q1", "q2"];
        let arrived = |world: &World, broker: &Broker| backlog(world) == 0 && broker.seen.borrow().len() == 3;
        let (_, broker) = play(broker, Version::V5, &payloads, arrived);
        assert_eq!(broker.payloads(), payloads);
        assert_eq!(broker.seen.borrow().iter().map(|seen| seen.qos).collect::<Vec<_>>(), qos);
        assert_eq!(*broker.connections.borrow(), 1);
    }
    let broker = Broker::new(|_, _| Answer::Reason(0));
    let (_, broker) = play(broker, Version::V311, &["q2", "q2", "q1"], |world, _| backlog(world) == 0);
    assert_eq!(broker.payloads(), ["q2", "q2", "q1"]);
}

#[test]
fn a_refused_publish_of_qos_2_is_set_aside_like_any_other() {
    let broker = Broker::new(|seen, _| Answer::Reason(if seen.payload == "q2 bad" { 0x90 } else { 0 }));
    let (world, broker) =
        play(broker, Version::V5, &["q2 a", "q2 bad", "q2 b"], |world, _| backlog(world) == 0);
    assert_eq!((broker.payloads().len(), quarantined(&world)), (3, 1));
}

#[test]
fn a_topic_is_sent_once_on_a_connection_and_anew_on_the_next() {
    let payloads = numbers(20);
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let close = |_: &Seen, count| if count == 10 { Answer::Close } else { Answer::Reason(0) };
    let broker = Broker { connack: b"\x22\0\x05", ..Broker::new(close) };
    let (_, broker) = play(broker, Version::V5, &payloads, |world, _| backlog(world) == 0);
    let seen = broker.seen.borrow();
    assert!(seen.iter().all(|seen| seen.alias == Some(1) && seen.topic == "a/topic"), "{seen:?}");
    let without = Broker::new(|_, _| Answer::Reason(0));
    let (_, broker) = play(without, Version::V5, &["a"], |world, _| backlog(world) == 0);
    assert_eq!(broker.seen.borrow()[0].alias, None, "the broker takes none");
}

#[test]
fn an_event_that_ends_the_connection_is_found_and_the_others_arrive() {
    let mut payloads = numbers(40);
    payloads[17] = "bad".to_owned();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let broker = Broker::new(|seen, _| if seen.payload == "bad" { Answer::Close } else { Answer::Reason(0) });
    let (world, broker) = play(broker, Version::V5, &payloads, |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 1);
    let mut arrived = broker.payloads();
    let sent = arrived.len();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), 40, "{arrived:?}");
    assert!(sent <= 40 + 3 * 10, "{sent} publishes for a window of 10");
}

#[test]
fn an_event_that_is_never_acknowledged_is_found_too() {
    let broker =
        Broker::new(|seen, _| if seen.payload == "bad" { Answer::Silence } else { Answer::Reason(0) });
    let (world, broker) = play(broker, Version::V311, &["a", "bad", "b", "c"], |world, _| {
        if backlog(world) == 1 && quarantined(world) == 0 {
            // Others have to come, or there is nothing to compare with.
            append(world, &["more"]);
        }
        backlog(world) == 0
    });
    assert_eq!(quarantined(&world), 1);
    assert!(["a", "b", "c"].iter().all(|good| broker.payloads().contains(&(*good).to_owned())));
}

#[test]
fn an_event_that_is_refused_again_and_again_is_set_aside_once_others_are_taken() {
    let broker = Broker::new(|seen, _| Answer::Reason(if seen.payload == "bad" { 0x80 } else { 0 }));
    let (world, broker) = play(broker, Version::V5, &["a", "bad", "b"], |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 1);
    assert_eq!(broker.payloads().iter().filter(|payload| *payload == "bad").count(), 3, "poison_after");
}

#[test]
fn a_cloud_that_ends_every_connection_for_a_while_convicts_nobody() {
    let payloads = numbers(30);
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let broker = Broker::new(|_, count| if count < 40 { Answer::Close } else { Answer::Reason(0) });
    let (world, broker) = play(broker, Version::V5, &payloads, |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 0);
    assert!(payloads.iter().all(|payload| broker.payloads().contains(&(*payload).to_owned())));
}

#[test]
fn properties_are_those_that_were_asked_for() {
    let said = EventProperties { event_id: false, event_time: false, gateway: true };
    let (_, broker) = play_with(
        Broker::new(|_, _| Answer::Reason(0)),
        &move |uplink| uplink.properties = said,
        &["a"],
        |world, _| backlog(world) == 0,
    );
    assert_eq!(broker.seen.borrow()[0].user, [("gateway".to_owned(), "g".to_owned())]);
}

#[test]
fn no_more_is_sent_than_the_rate_allows() {
    let start = std::time::Instant::now();
    let payload = "x".repeat(100);
    let rate = Rate { bytes_per_s: 20_000, burst_bytes: 1000 };
    let (_, broker) = play_with(
        Broker::new(|_, _| Answer::Reason(0)),
        &move |uplink| uplink.rate = Some(rate),
        &[payload.as_str(); 80],
        |world, _| backlog(world) == 0,
    );
    assert_eq!(broker.payloads().len(), 80);
    // More than 100 bytes each, of which 1,000 go at once.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
}

#[test]
fn the_gateways_own_status_is_said_first_and_last() {
    let (_, broker) = play_with(
        Broker::new(|_, _| Answer::Reason(0)),
        &|uplink| uplink.status_topic = Some("gw/g/status".into()),
        &["a"],
        |world, _| backlog(world) == 0,
    );
    let seen = broker.seen.borrow();
    assert_eq!((seen[0].topic.as_str(), seen[0].qos), ("gw/g/status", 1));
    assert!(seen[0].payload.contains(r#""state":"online""#), "{seen:?}");
    assert_eq!(seen[1].payload, "a");
}

/// Batches of at most four events.
fn batched(settings: &mut tidegate_config::Uplink) {
    settings.packet_bytes_max = 2000;
    settings.batch = Some(tidegate_config::Batch {
        topic: "b".into(),
        format: tidegate_config::BatchFormat::JsonArray,
        zstd: false,
        events_max: 4,
        bytes_max: 1500,
        delay: Duration::from_millis(20),
    });
}

/// The payloads of the events in a batch.
fn in_batch(seen: &str) -> Vec<u64> {
    let events: Vec<serde_json::Value> = serde_json::from_str(seen).unwrap();
    events.iter().map(|event| event["payload"].as_u64().unwrap()).collect()
}

#[test]
fn batches_have_as_many_events_as_there_are_up_to_their_bounds_and_are_settled_together() {
    let payloads: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let broker = Broker::new(|_, _| Answer::Reason(0));
    let (world, broker) = play_with(broker, &batched, &payloads, |world, _| backlog(world) == 0);
    let seen = broker.seen.borrow();
    let batches: Vec<Vec<u64>> = seen.iter().map(|seen| in_batch(&seen.payload)).collect();
    assert_eq!(batches.concat(), (0..10).collect::<Vec<_>>(), "in order, each once");
    assert!(batches.iter().all(|batch| batch.len() <= 4) && batches.len() < 10, "{batches:?}");
    assert!(seen.iter().all(|seen| seen.topic == "b" && seen.qos == 1));
    let first: Vec<serde_json::Value> = serde_json::from_str(&seen[0].payload).unwrap();
    let id = format!("g-{:x}", world.first_seq + FIRST.get() - 10);
    assert_eq!((first[0]["id"].as_str(), first[0]["topic"].as_str()), (Some(id.as_str()), Some("a/topic")));
}

#[test]
fn of_a_refused_batch_only_the_event_that_is_meant_is_set_aside() {
    let payloads: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let bad = |seen: &Seen| in_batch(&seen.payload).contains(&6);
    let broker = Broker::new(move |seen, _| Answer::Reason(if bad(seen) { 0x99 } else { 0 }));
    let (world, broker) = play_with(broker, &batched, &payloads, |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 1);
    let taken: Vec<u64> = broker
        .payloads()
        .iter()
        .map(|payload| in_batch(payload))
        .filter(|batch| !batch.contains(&6))
        .flatten()
        .collect();
    let mut order = taken.clone();
    order.dedup();
    assert!(
        order.windows(2).all(|pair| pair[0] < pair[1] || pair[1] <= 4),
        "in order but for what is repeated: {taken:?}"
    );
    let mut each = taken;
    each.sort_unstable();
    each.dedup();
    assert_eq!(each, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]);
}

#[test]
fn an_event_in_a_batch_that_ends_the_connection_is_found() {
    let payloads: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let bad = |seen: &Seen| in_batch(&seen.payload).contains(&6);
    let broker = Broker::new(move |seen, _| if bad(seen) { Answer::Close } else { Answer::Reason(0) });
    let (world, _) = play_with(broker, &batched, &payloads, |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 1);
}

#[test]
fn an_event_that_is_larger_than_the_cloud_takes_is_set_aside_out_of_its_batch() {
    let large = format!("\"{}\"", "x".repeat(3000));
    let broker = Broker::new(|_, _| Answer::Reason(0));
    let (world, broker) = play_with(broker, &batched, &["1", &large, "2"], |world, _| backlog(world) == 0);
    assert_eq!(quarantined(&world), 1);
    let taken: Vec<u64> = broker.payloads().iter().flat_map(|payload| in_batch(payload)).collect();
    assert_eq!(taken, [1, 2]);
}
