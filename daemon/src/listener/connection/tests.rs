//! Connections over a pipe in memory, with a real gateway behind them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_rules::Query;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::super::{Cause, Link};
use super::serve;
use crate::testing::{To, World};

const CONNECT_4: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c";
const PUBLISH: &[u8] = b"\x32\x06\0\x01t\0\x01x";

/// The client's end of a connection, and what ended the gateway's.
struct Client {
    stream: DuplexStream,
    ended: Rc<RefCell<Option<Cause>>>,
}

fn connect(world: &World) -> Client {
    let (stream, gateway_end) = duplex(4096);
    let link = Link::new(world.gateway.limits.queue);
    let id = world.gateway.register(&link);
    let ended = Rc::new(RefCell::new(None));
    let (gateway, end) = (Rc::clone(&world.gateway), Rc::clone(&ended));
    spawn_local(async move {
        let cause = serve(gateway_end, gateway, id, link).await;
        *end.borrow_mut() = Some(cause);
    });
    Client { stream, ended }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads exactly these bytes.
    async fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        timeout(Duration::from_secs(5), self.stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(bytes, expected);
    }

    /// Reads until the gateway closes.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        timeout(Duration::from_secs(5), self.stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        bytes
    }
}

/// Runs a test's tasks on one thread, with the dispatcher that `run` would start.
fn run<F: Future<Output = ()>>(rules: &[(Query<'_>, To)], test: impl FnOnce(Rc<World>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let world = Rc::new(World::open(folder.path(), rules));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let dispatching = Rc::clone(&world);
        spawn_local(async move {
            loop {
                dispatching.signals.resolved.notified().await;
                dispatching.gateway.dispatch_receipts(&mut Vec::new());
            }
        });
        test(Rc::clone(&world)).await;
    });
}

#[test]
fn a_publish_is_acknowledged_once_it_is_on_disk() {
    run(&[(Query::Route("#"), To::CloudAsIs)], async |world| {
        let mut client = connect(&world);
        client.send(&[CONNECT_4, PUBLISH].concat()).await;
        client.expect(b"\x20\x02\0\0\x40\x02\0\x01").await;
        let usage = world.gateway.spool.usage();
        assert_eq!((usage.commits > 0, usage.receipts_open), (true, 0));
    });
}

#[test]
fn while_the_cloud_is_there_its_acknowledgement_is_enough() {
    run(&[(Query::Route("#"), To::CloudAsIs)], async |world| {
        let (spool, cloud) = (&world.gateway.spool, world.cloud);
        spool.set_online(cloud, true);
        let mut client = connect(&world);
        client.send(&[CONNECT_4, PUBLISH].concat()).await;
        client.expect(b"\x20\x02\0\0").await;
        let mut records = Vec::new();
        while spool.read(cloud, 1, 1000, &mut records).records == 0 {
            tokio::task::yield_now().await;
        }
        spool.ack(cloud, &[(records[0].priority, records[0].seq)]);
        client.expect(b"\x40\x02\0\x01").await;
    });
}

#[test]
fn a_second_connection_takes_the_first_ones_place() {
    run(&[], async |world| {
        let mut first = connect(&world);
        first.send(CONNECT_5).await;
        let mut head = [0; 2];
        first.stream.read_exact(&mut head).await.unwrap();
        let mut second = connect(&world);
        second.send(CONNECT_4).await;
        second.expect(b"\x20\x02\0\0").await;
        let rest = first.rest().await;
        assert!(rest.ends_with(b"\xe0\x02\x8e\0"), "{rest:?}");
        drop(first);
        second.send(b"\xc0\0").await;
        second.expect(b"\xd0\0").await;
    });
}

#[test]
fn a_client_that_leaves_without_a_word_has_what_it_published_stored() {
    run(&[(Query::Route("#"), To::CloudAsIs)], async |world| {
        let mut client = connect(&world);
        client.send(&[CONNECT_4, PUBLISH].concat()).await;
        client.expect(b"\x20\x02\0\0").await;
        let ended = Rc::clone(&client.ended);
        drop(client);
        while ended.borrow().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*ended.borrow(), Some(Cause::Lost));
        assert_eq!(world.at_cloud(1).len(), 1);
        assert_eq!(world.gateway.connection_count(), 0);
    });
}

#[test]
fn a_subscriber_gets_what_is_published_and_acknowledges_it() {
    run(&[], async |world| {
        let mut client = connect(&world);
        client.send(&[CONNECT_4, b"\x82\x06\0\x01\0\x01t\x01", PUBLISH].concat()).await;
        client.expect(b"\x20\x02\0\0\x90\x03\0\x01\x01").await;
        // The acknowledgement of the publish and the delivery of it come in either order.
        let mut bytes = [0; 12];
        client.stream.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.windows(4).any(|window| window == b"\x40\x02\0\x01"), "{bytes:?}");
        assert!(bytes.windows(8).any(|window| window == PUBLISH), "{bytes:?}");
    });
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_told() {
    run(&[], async |world| {
        let mut slow = connect(&world);
        slow.send(&[CONNECT_5, b"\x82\x07\0\x01\0\0\x01t\x01"].concat()).await;
        let mut head = [0; 2];
        slow.stream.read_exact(&mut head).await.unwrap();
        let mut client = connect(&world);
        client.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01d").await;
        client.expect(b"\x20\x02\0\0").await;
        // Window 10, a queue of 4, and a pipe of 4 KiB: after that there is no more room.
        let big: Vec<u8> = [b"\x32\x88\x08\0\x01t\0\x01".to_vec(), vec![b'x'; 1027]].concat();
        let mut sent = 0;
        while slow.ended.borrow().is_none() && sent < 200 {
            client.send(&big).await;
            client.expect(b"\x40\x02\0\x01").await;
            sent += 1;
            if sent > 20 {
                break;
            }
        }
        let rest = slow.rest().await;
        assert!(rest.ends_with(b"\xe0\x02\x97\0"), "after {sent} events: {} bytes", rest.len());
    });
}

#[test]
fn a_stopping_gateway_says_so() {
    run(&[], async |world| {
        let mut client = connect(&world);
        client.send(CONNECT_5).await;
        let mut head = [0; 2];
        client.stream.read_exact(&mut head).await.unwrap();
        world.gateway.close_connections(Cause::Stopping);
        assert!(client.rest().await.ends_with(b"\xe0\x02\x8b\0"));
    });
}

#[test]
fn the_reason_of_a_refusal_arrives_before_the_close() {
    run(&[], async |world| {
        let mut client = connect(&world);
        client.send(&[CONNECT_5, b"\x36\x05\0\x01t\0\x01"].concat()).await;
        assert!(client.rest().await.ends_with(b"\xe0\x02\x81\0"));
    });
}

#[test]
fn a_silent_client_is_closed_by_its_own_keep_alive_not_by_the_connect_deadline() {
    run(&[], async |world| {
        let mut client = connect(&world);
        let keep_alive_1_s = b"\x10\x0e\0\x04MQTT\x05\x02\0\x01\0\0\x01c";
        client.send(keep_alive_1_s).await;
        let started = std::time::Instant::now();
        assert!(client.rest().await.ends_with(b"\xe0\x02\x8d\0"));
        let after = started.elapsed();
        assert!((Duration::from_millis(1450)..Duration::from_secs(4)).contains(&after), "{after:?}");
    });
}
