//! Connections over a pipe in memory, with a real gateway behind them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::{Access, AclRule, AclWho, HashMethod, Login, PasswordHash, Permission};
use tidegate_rules::Query;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::super::access::CurrentPolicy;
use super::super::guest::Guest;
use super::super::socket::Peer;
use super::super::{Cause, Limits, Link};
use super::serve;
use crate::testing::{PANIC_TOPIC, To, World, limits};

const CONNECT_4: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01c";
const PUBLISH: &[u8] = b"\x32\x06\0\x01t\0\x01x";

/// The client's end of a connection, and what ended the gateway's.
struct Client {
    stream: DuplexStream,
    ended: Rc<RefCell<Option<Cause>>>,
}

fn connect(world: &World) -> Client {
    connect_with(world, Access { anonymous: true, ..Default::default() })
}

fn connect_with(world: &World, access: Access) -> Client {
    let (stream, gateway_end) = duplex(4096);
    let link = Link::new();
    let id = world.gateway.register(&link);
    let peer = Peer::Address("192.0.2.1:1".parse().unwrap());
    let guest = Guest::new(CurrentPolicy::new(&access), peer, None, Rc::default());
    let ended = Rc::new(RefCell::new(None));
    let (gateway, end) = (Rc::clone(&world.gateway), Rc::clone(&ended));
    spawn_local(async move {
        let connect_by = Instant::now() + Duration::from_millis(gateway.limits().connect_timeout_ms);
        let cause = serve(gateway_end, gateway, id, link, guest, connect_by).await;
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

    /// Closes this end, and says why the gateway's has ended.
    async fn ended(self) -> Cause {
        let Client { stream, ended } = self;
        drop(stream);
        loop {
            if let Some(cause) = *ended.borrow() {
                return cause;
            }
            tokio::task::yield_now().await;
        }
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
    run_with(rules, limits(), test);
}

fn run_with<F: Future<Output = ()>>(
    rules: &[(Query<'_>, To)],
    limits: Limits,
    test: impl FnOnce(Rc<World>) -> F,
) {
    let folder = tempfile::tempdir().unwrap();
    let world = Rc::new(World::open_with(folder.path(), rules, limits));
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
        assert_eq!(client.ended().await, Cause::Lost);
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
        assert!(client.rest().await.ends_with(b"malformed packet: QoS 3"));
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

#[test]
fn a_panic_ends_its_own_connection_and_no_other() {
    run(&[], async |world| {
        let mut other = connect(&world);
        other.send(&[CONNECT_4, b"\x82\x06\0\x01\0\x01t\x01"].concat()).await;
        other.expect(b"\x20\x02\0\0\x90\x03\0\x01\x01").await;
        for _ in 0..3 {
            let mut unlucky = connect(&world);
            let subscribe_to_all = b"\x82\x07\0\x01\0\0\x01#\x01".as_slice();
            let will = b"\x10\x15\0\x04MQTT\x05\x06\0\x0a\0\0\x01d\0\0\x01t\0\x01w".as_slice();
            let publish = [&[0x30, 8, 0, 5], PANIC_TOPIC.as_bytes(), &[0]].concat();
            unlucky.send(&[will, subscribe_to_all, &publish].concat()).await;
            assert!(unlucky.rest().await.ends_with(b"\xe0\x02\x80\0"), "it is told");
            assert_eq!(unlucky.ended().await, Cause::Panicked);
            other.expect(b"\x30\x04\0\x01tw").await;
        }
        assert!(world.gateway.reception.counts().to_string().ends_with("connections_panicked=3"));
        assert_eq!(world.gateway.connection_count(), 1);
        other.send(PUBLISH).await;
        let mut bytes = [0; 12];
        other.stream.read_exact(&mut bytes).await.unwrap();
    });
}

#[test]
fn a_client_over_its_rate_is_read_later_and_loses_nothing() {
    run_with(&[], Limits { publishes_per_s_max: Some(10), ..limits() }, async |world| {
        let mut client = connect(&world);
        client.send(CONNECT_4).await;
        client.expect(b"\x20\x02\0\0").await;
        let started = std::time::Instant::now();
        // The burst, then five more, each in a read of its own.
        for number in 0..15_u8 {
            client.send(&[0x32, 6, 0, 1, b't', 0, number + 1, b'x']).await;
            client.expect(&[0x40, 2, 0, number + 1]).await;
        }
        let elapsed = started.elapsed();
        assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&elapsed), "{elapsed:?}");
    });
}

#[test]
fn who_is_idle_for_too_long_is_closed() {
    run_with(&[], Limits { idle_timeout_ms: Some(300), ..limits() }, async |world| {
        let mut client = connect(&world);
        let keep_alive_off = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c";
        client.send(keep_alive_off).await;
        assert!(client.rest().await.ends_with(b"\xe0\x02\x8d\0"));
        assert_eq!(client.ended().await, Cause::Idle);
    });
}

/// Nobody has the password that gives this hash.
fn users() -> Access {
    let password = PasswordHash { method: HashMethod::Sha512, salt: vec![1], hash: vec![0; 64] };
    let logins = Some([Login { username: "u".into(), password }].into());
    Access { anonymous: true, logins, ..Access::default() }
}

#[test]
fn failed_logins_are_limited_and_others_are_served() {
    run(&[], async |world| {
        let with_password = b"\x10\x13\0\x04MQTT\x04\xc2\0\x0a\0\x01c\0\x01u\0\x01p";
        // Three attempts are checked, the fourth is not.
        for code in [4, 4, 4, 3] {
            let mut client = connect_with(&world, users());
            client.send(with_password).await;
            assert_eq!(client.rest().await, [0x20, 2, 0, code]);
            assert_eq!(client.ended().await, Cause::LoginRefused);
        }
        let mut client = connect_with(&world, users());
        client.send(CONNECT_4).await;
        client.expect(b"\x20\x02\0\0").await;
        assert!(world.gateway.reception.counts().to_string().contains("logins_refused=4"));
    });
}

#[test]
fn what_a_client_may_not_read_is_not_delivered() {
    run(&[], async |world| {
        let rule =
            |permission, filter: &str| AclRule { who: AclWho::Anonymous, permission, filter: filter.into() };
        let rules = [rule(Permission::ReadWrite, "t/+"), rule(Permission::Deny, "t/secret")];
        let mut client =
            connect_with(&world, Access { anonymous: true, acl: Some(rules.into()), ..Access::default() });
        client.send(&[CONNECT_4, b"\x82\x08\0\x01\0\x03t/#\0"].concat()).await;
        client.expect(b"\x20\x02\0\0\x90\x03\0\x01\0").await;
        let mut publisher = connect(&world);
        publisher.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01d").await;
        publisher.send(b"\x30\x0a\0\x08t/secret").await;
        publisher.send(b"\x30\x05\0\x03t/a").await;
        client.expect(b"\x30\x05\0\x03t/a").await;
    });
}

#[test]
fn connect_may_come_in_pieces_with_more_behind_it() {
    run(&[], async |world| {
        let mut client = connect(&world);
        let bytes = [CONNECT_4, b"\xc0\0"].concat();
        for byte in &bytes {
            client.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        client.expect(b"\x20\x02\0\0\xd0\0").await;
    });
}
