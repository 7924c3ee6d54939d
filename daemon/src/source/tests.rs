//! A source against a broker that does what the test says, with a real gateway behind it.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::{Broker, Subscription, Url, Version};
use tidegate_rules::Query;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use crate::broker::Status;
use crate::listener::Cause;
use crate::mqtt::{self, Delivery};
use crate::testing::{To, World};

const LIMIT: Duration = Duration::from_secs(5);

/// A broker that waits for its source.
struct Stage {
    world: World,
    listener: TcpListener,
    settings: tidegate_config::Source,
}

/// The broker's end of a connection.
struct Client {
    stream: TcpStream,
    version: Version,
}

/// Runs a test with a stage for a source of this version, and the dispatcher that `run` would start.
fn play<F: Future<Output = ()>>(version: Version, test: impl FnOnce(Stage) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let rules = [(Query::Route("a/#"), To::CloudAsIs)];
    let world = World::open(folder.path(), &rules);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (gateway, signals) = (Rc::clone(&world.gateway), world.signals.clone());
        spawn_local(async move {
            loop {
                signals.resolved.notified().await;
                gateway.dispatch_receipts(&mut Vec::new());
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = Url::plain("127.0.0.1", listener.local_addr().unwrap().port());
        let broker = Broker {
            version,
            ack_timeout: Duration::from_millis(300),
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(2),
            ..Broker::new("g-plant", url.clone())
        };
        let subscriptions = vec![Subscription::new("$share/g/in/#", Some("a/#"), 1).unwrap()];
        let defaults = tidegate_config::Source::new("plant", "", url);
        let settings = tidegate_config::Source { broker, subscriptions, window: 4, ..defaults };
        test(Stage { world, listener, settings }).await;
    });
}

impl Stage {
    fn start(&self) -> (Rc<Status>, JoinHandle<()>) {
        super::start(self.settings.clone(), &self.world.gateway)
    }

    /// Takes the source's next connection, up to CONNACK; says whether it wanted a session that is kept.
    async fn accept(&self, session_present: bool) -> (Client, bool) {
        let (stream, _) = timeout(LIMIT, self.listener.accept()).await.unwrap().unwrap();
        let mut client = Client { stream, version: self.settings.broker.version };
        let connect = client.packet().await;
        let frame = mqtt::frame(&connect, 1 << 20).unwrap().unwrap();
        let connect = mqtt::decode_connect(&frame).unwrap();
        assert_eq!(connect.client_id, "g-plant");
        if client.version == Version::V5 {
            let said = (connect.session_expiry_s, connect.receive_maximum, connect.packet_bytes_max);
            assert_eq!(said, (7 * 24 * 3600, 4, 256 << 10));
        }
        let present = u8::from(session_present);
        match client.version {
            Version::V311 => client.send(&[0x20, 2, present, 0]).await,
            Version::V5 => client.send(&[0x20, 3, present, 0, 0]).await,
        }
        (client, !connect.clean_start)
    }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet, byte by byte.
    async fn packet(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while mqtt::frame(&bytes, 1 << 20).unwrap().is_none() {
            bytes.push(timeout(LIMIT, self.stream.read_u8()).await.unwrap().unwrap());
        }
        bytes
    }

    /// Answers the SUBSCRIBE that has to come, with this code.
    async fn grant(&mut self, code: u8) {
        let packet = self.packet().await;
        let (tail, suback): (&[u8], &[u8]) = match self.version {
            Version::V311 => (b"\0\x0d$share/g/in/#\x01", &[0x90, 3, 0, 1, code]),
            Version::V5 => (b"\0\0\x0d$share/g/in/#\x19", &[0x90, 4, 0, 1, 0, code]),
        };
        assert_eq!(packet[2..], [&[0, 1], tail].concat());
        self.send(suback).await;
    }

    async fn publish(&mut self, packet_id: u16, topic: &str, payload: &[u8]) {
        let version = match self.version {
            Version::V311 => mqtt::Version::V311,
            Version::V5 => mqtt::Version::V5,
        };
        let qos = u8::from(packet_id > 0);
        let delivery =
            Delivery { qos, retain: false, dup: false, packet_id, topic, properties: &[], payload };
        let mut out = Vec::new();
        mqtt::publish(version, &delivery, &mut out);
        self.send(&out).await;
    }
}

#[test]
fn an_event_is_acknowledged_to_the_broker_once_it_is_stored() {
    for version in [Version::V5, Version::V311] {
        play(version, async |stage| {
            let (status, _task) = stage.start();
            let (mut client, kept) = stage.accept(false).await;
            assert!(kept && !status.is_online());
            client.grant(1).await;
            client.publish(7, "in/x", b"one").await;
            assert_eq!(client.packet().await, b"\x40\x02\0\x07");
            assert!(status.is_online());
            let usage = stage.world.gateway.spool.usage();
            assert_eq!((usage.commits > 0, usage.receipts_open), (true, 0));
            let records = stage.world.at_cloud(1);
            assert_eq!((&records[0].topic[..], &records[0].payload[..]), (&b"a/x"[..], &b"one"[..]));
        });
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_on_the_next_connection() {
    play(Version::V5, async |stage| {
        // With the cloud there, and silent, nothing is written for a while: the receipts stay open.
        let _task = stage.start();
        let (mut client, _) = stage.accept(false).await;
        client.grant(1).await;
        client.publish(1, "in/x", b"one").await;
        drop(client);
        let (mut client, _) = stage.accept(true).await;
        // A broker that keeps sessions may have lost what they had subscribed to.
        client.grant(1).await;
        client.publish(1, "in/x", b"one").await;
        client.publish(2, "in/y", b"two").await;
        assert_eq!(client.packet().await, b"\x40\x02\0\x01");
        assert_eq!(client.packet().await, b"\x40\x02\0\x02");
        drop(client);
        let (mut client, _) = stage.accept(false).await;
        client.grant(0).await;
        client.publish(0, "in/z", b"three").await;
        let received = |stage: &Stage| stage.world.gateway.books.counted().received;
        while received(&stage) < 4 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_broker_that_refuses_the_subscription_or_is_silent_is_tried_again() {
    play(Version::V5, async |stage| {
        let (status, _task) = stage.start();
        let (mut refusing, _) = stage.accept(false).await;
        refusing.grant(0x87).await;
        let (_silent, _) = stage.accept(false).await;
        let (mut client, _) = stage.accept(false).await;
        assert!(!status.is_online());
        client.grant(1).await;
        client.publish(1, "in/x", b"one").await;
        assert_eq!(client.packet().await, b"\x40\x02\0\x01");
    });
}

#[test]
fn no_more_is_read_than_the_window_and_what_the_gateway_takes() {
    play(Version::V311, async |stage| {
        // The cloud is there and says nothing: receipts stay open until they are spilled, and then acknowledgements come.
        let _task = stage.start();
        let (mut client, _) = stage.accept(false).await;
        client.grant(1).await;
        for packet_id in 1..=100 {
            client.publish(packet_id, "in/x", b"0123456789").await;
        }
        for packet_id in 1..=100_u16 {
            let [high, low] = packet_id.to_be_bytes();
            assert_eq!(client.packet().await, [0x40, 2, high, low], "in order");
        }
    });
}

#[test]
fn a_packet_that_is_too_large_or_of_qos_2_ends_the_connection() {
    play(Version::V311, async |mut stage| {
        stage.settings.packet_bytes_max = 200;
        let _task = stage.start();
        let (mut client, _) = stage.accept(false).await;
        client.grant(1).await;
        client.publish(1, "in/x", &[b'x'; 300]).await;
        let (mut client, _) = stage.accept(false).await;
        client.grant(1).await;
        client.send(b"\x34\x08\0\x04in/x\0\x01").await;
        let (mut client, _) = stage.accept(true).await;
        client.grant(1).await;
        client.publish(2, "in/x", b"good").await;
        assert_eq!(client.packet().await, b"\x40\x02\0\x02");
    });
}

#[test]
fn a_stop_acknowledges_what_is_stored_and_says_goodbye() {
    play(Version::V5, async |stage| {
        let (_, task) = stage.start();
        let (mut client, _) = stage.accept(false).await;
        client.grant(1).await;
        client.publish(1, "in/x", b"one").await;
        assert_eq!(client.packet().await, b"\x40\x02\0\x01");
        stage.world.gateway.close_connections(Cause::Stopping);
        assert_eq!(client.packet().await, b"\xe0\0");
        timeout(LIMIT, task).await.unwrap().unwrap();
    });
}
