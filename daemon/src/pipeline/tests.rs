//! The pipeline with real rules and a real spool.

use tidegate_buffer::{Options, WhenFull};
use tidegate_rules::Query;

use super::{Origin, tag, untag};
use crate::bus::{Connecting, Handle, Next};
use crate::event::Event;
use crate::listener::{Admission, Link};
use crate::meta;
use crate::mqtt;
use crate::mqtt::{PublishProperties, SubscriptionOptions, Version};
use crate::testing::{To, World, limits, wait};

fn event<'a>(topic: &'a str, payload: &'a [u8]) -> Event<'a> {
    Event {
        topic,
        payload,
        qos: 1,
        retain: false,
        client_id: "device",
        username: None,
        properties: PublishProperties::default(),
    }
}

fn publish(world: &World, event: &Event<'_>, receipt: Option<(u32, u32)>) {
    let now = world.gateway.clock.stamp();
    let mut pipeline = world.gateway.pipeline.borrow_mut();
    pipeline.accept(event, &Origin { receipt, ..Origin::default() }, now);
    pipeline.commit(now);
}

#[test]
fn a_route_stores_the_event_as_it_is_with_its_properties() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path(), &[(Query::Route("a/#"), To::CloudAsIs)]);
    let section = b"\x03\x00\x02ct\x26\x00\x01k\x00\x01v";
    let mut properties = PublishProperties::decode(section).unwrap();
    properties.expiry_s = Some(5);
    publish(&world, &Event { properties, ..event("a/b", b"\xff\x00payload") }, None);
    let records = world.at_cloud(1);
    assert_eq!((&*records[0].topic, &*records[0].payload), (&b"a/b"[..], &b"\xff\x00payload"[..]));
    let meta = meta::read(&records[0].meta).unwrap();
    assert_eq!((meta.qos, meta.properties.content_type), (1, Some("ct")));
    assert_eq!(meta.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    let left_ms = records[0].expires_in_ms(world.gateway.clock.stamp()).unwrap();
    assert!(left_ms <= 5000, "the publish's own expiry is shorter than the destination's: {left_ms}");
}

#[test]
fn what_a_rule_makes_of_an_event_lives_by_the_destination_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sql = Query::Sql("SELECT 1 AS one FROM 'a'");
    let world = World::open(folder.path(), &[(sql, To::Cloud("one"))]);
    let mut properties = PublishProperties::default();
    properties.expiry_s = Some(5);
    publish(&world, &Event { properties, ..event("a", b"{}") }, None);
    let left_ms = world.at_cloud(1)[0].expires_in_ms(world.gateway.clock.stamp()).unwrap();
    assert!(left_ms > 50_000, "{left_ms}");
}

#[test]
fn what_a_rule_makes_of_one_event_stays_in_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [
        (Query::Sql("SELECT x FROM 'a'"), To::Cloud("alone")),
        (Query::Sql("SELECT lag(x) AS before FROM 'a'"), To::Cloud("of-two")),
    ];
    let world = World::open(folder.path(), &rules);
    let mut section = Vec::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (key, value) in [("traceparent", parent), ("other", "x"), ("tracestate", "a=b")] {
        mqtt::user_property(key, value, &mut section);
    }
    let properties = PublishProperties::decode(&section).unwrap();
    publish(&world, &Event { properties, ..event("a", b"{\"x\": 1}") }, None);
    publish(&world, &event("a", b"{\"x\": 2}"), None);
    let records = world.at_cloud(4);
    let said: Vec<Vec<(&str, &str)>> = records
        .iter()
        .map(|record| meta::read(&record.meta).unwrap().properties.user_properties().collect())
        .collect();
    let none = Vec::new();
    assert_eq!(
        said,
        [vec![("traceparent", parent), ("tracestate", "a=b")], none.clone(), none.clone(), none]
    );
}

#[test]
fn what_nothing_asks_for_is_counted_and_resolved_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path(), &[(Query::Route("a/#"), To::CloudAsIs)]);
    publish(&world, &event("b", b""), Some((7, 3)));
    let mut resolved = Vec::new();
    world.gateway.spool.poll_resolved(&mut resolved);
    assert_eq!(resolved, [tag((7, 3))]);
    let counted = world.gateway.books.counted();
    assert_eq!((counted.received, counted.unrouted), (1, 1));
}

#[test]
fn every_event_has_a_number_of_its_own_stored_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [(Query::Route("a/#"), To::CloudAsIs), (Query::Route("a/b"), To::CloudAsIs)];
    let world = World::open(folder.path(), &rules);
    for topic in ["a/b", "none", "a/c"] {
        publish(&world, &event(topic, b""), None);
    }
    let records = world.at_cloud(3);
    let first = records[0].seq;
    let seqs: Vec<u64> = records.iter().map(|record| record.seq - first).collect();
    assert_eq!(seqs, [0, 1, 3], "the event that nothing asked for took number 2");
}

#[test]
fn while_the_cloud_is_away_a_receipt_resolves_by_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path(), &[(Query::Route("#"), To::CloudAsIs)]);
    publish(&world, &event("a", b"x"), Some((1, 0)));
    let mut resolved = Vec::new();
    wait(|| {
        world.gateway.spool.poll_resolved(&mut resolved);
        !resolved.is_empty()
    });
    assert_eq!(resolved.iter().map(|tag| untag(*tag)).collect::<Vec<_>>(), [(1, 0)]);
    drop(world);
    let world = World::open(folder.path(), &[(Query::Route("#"), To::CloudAsIs)]);
    assert_eq!(world.at_cloud(1)[0].payload, "x");
}

/// A client that has subscribed to everything; its session is kept so long.
fn subscriber(world: &World, expiry_s: u32) -> Handle {
    let connection = world.gateway.register(&Link::new());
    let connecting = Connecting {
        connection,
        client_id: "subscriber",
        username: None,
        version: Version::V5,
        clean_start: true,
        expiry_s,
        receive_maximum: 10,
        will: None,
    };
    let mut pipeline = world.gateway.pipeline.borrow_mut();
    let options = SubscriptionOptions::new(Version::V5, 1).unwrap();
    let now = world.gateway.clock.stamp();
    let subscribed = pipeline.with_bus(None, |bus, durable| {
        let handle = bus.connect(connecting, now, durable).unwrap().handle;
        assert_eq!(bus.subscribe(handle, "#", options, 0), 1);
        handle
    });
    subscribed.0
}

#[test]
fn a_subscriber_gets_events_and_what_rules_publish_locally() {
    let folder = tempfile::tempdir().unwrap();
    let sql = Query::Sql(r#"SELECT d, temp FROM "s/{d}" WHERE temp > 30"#);
    let world = World::open(folder.path(), &[(sql, To::Local("fan/{d}"))]);
    let handle = subscriber(&world, 0);
    publish(&world, &Event { qos: 0, ..event("s/1", br#"{"temp": 31}"#) }, None);
    publish(&world, &event("s/2", br#"{"temp": 20}"#), None);
    let mut got = Vec::new();
    let mut pipeline = world.gateway.pipeline.borrow_mut();
    let now = world.gateway.clock.stamp();
    let mut next = || pipeline.with_bus(None, |bus, durable| bus.poll_next(handle, now, durable)).0;
    while let Some(Next::Publish { outgoing, .. }) = next() {
        let event = &outgoing.event;
        got.push((
            event.topic.to_string(),
            String::from_utf8_lossy(&event.payload).into_owned(),
            outgoing.qos,
        ));
    }
    let expected = [
        ("fan/1", r#"{"d":"1","temp":31}"#, 1),
        ("s/1", r#"{"temp": 31}"#, 0),
        ("s/2", r#"{"temp": 20}"#, 1),
    ];
    assert_eq!(got, expected.map(|(topic, payload, qos)| (topic.to_owned(), payload.to_owned(), qos)));
}

#[test]
fn at_qos_2_nothing_reaches_the_cloud_before_its_packet_id_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path(), &[(Query::Route("#"), To::CloudAsIs)]);
    let session = Some(subscriber(&world, 60));
    world.gateway.spool.set_online(world.cloud, true);
    for number in 0..20 {
        let now = world.gateway.clock.stamp();
        let origin = Origin { session, receipt: Some((1, number)), received: Some(7) };
        {
            let mut pipeline = world.gateway.pipeline.borrow_mut();
            pipeline.accept(&Event { qos: 2, ..event("a", b"x") }, &origin, now);
            pipeline.commit(now);
        }
        let (mut records, mut resolved) = (Vec::new(), Vec::new());
        wait(|| {
            world.gateway.spool.read(world.cloud, 10, 1 << 20, &mut records);
            !records.is_empty()
        });
        world.gateway.spool.poll_resolved(&mut resolved);
        assert_eq!(resolved, [tag((1, number))], "what the cloud gets is durable");
    }
}

#[test]
fn a_window_goes_on_after_a_crash_and_counts_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let rules = || {
        let sql = Query::Sql(r#"SELECT d, count(*) AS n FROM "s/{d}" GROUP BY d, tumbling('1d')"#);
        [(sql, To::Cloud("n/{d}"))]
    };
    for run in 1..=3 {
        let world = World::open(folder.path(), &rules());
        publish(&world, &event("s/1", b"{}"), Some((run, 0)));
        let mut resolved = Vec::new();
        wait(|| {
            world.gateway.spool.poll_resolved(&mut resolved);
            !resolved.is_empty()
        });
    }
    let world = World::open(folder.path(), &rules());
    let mut output = tidegate_rules::Output::new();
    let mut pipeline = world.gateway.pipeline.borrow_mut();
    pipeline.rules.handle_time(i64::MAX / 2, &mut output);
    let tidegate_rules::Payload::Owned(row) = &output.publishes[0].payload else { panic!("no row") };
    assert_eq!(String::from_utf8_lossy(row), r#"{"d":"1","n":3}"#);
}

#[test]
fn when_the_buffer_is_full_what_passes_by_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let full = WhenFull::Refuse;
    let options = Options { max_bytes: 100_000, when_full: full, ..Options::new(folder.path()) };
    let world = World::open_at(options, &[(Query::Route("a/#"), To::CloudAsIs)], limits());
    let admission = |topic, retain| world.gateway.pipeline.borrow().admission(topic, retain);
    // A database of fewer pages than this cannot be.
    let payload: Vec<u8> = (0..200_000_u32).flat_map(|number| (number ^ 0x5a5a).to_be_bytes()).collect();
    publish(&world, &event("a/b", &payload), None);
    wait(|| admission("a/b", false) == Admission::Refuse);
    assert_eq!(admission("b", false), Admission::Open, "no one wants it");
    assert_eq!(admission("b", true), Admission::Refuse, "it is to be retained");
    subscriber(&world, 0);
    assert_eq!(admission("b", false), Admission::Open, "for one who is here");
    subscriber(&world, 60);
    assert_eq!(admission("b", false), Admission::Refuse, "for one whose session is kept");
}

#[test]
fn tags_keep_connection_and_receipt_apart() {
    for receipt in [(1, 0), (1, u32::MAX), (u32::MAX, 5), (0x1234_5678, 0x9abc_def0)] {
        assert_eq!(untag(tag(receipt)), receipt);
    }
}
