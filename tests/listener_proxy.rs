//! A balancer in front, which says by the PROXY protocol whom a connection comes from.

use std::time::Duration;
use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Connection, Must, Port, gateway, wait_for};

// A header for a connection from 192.0.2.`host`.
fn header(host: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, host, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
}

fn open(port: u16, host: u8, name: &str) -> Option<Connection> {
    let mut connection = Connection::dial(port, Version::V5).must("connect");
    connection.send(&[header(host), Connect::new(Version::V5, name).encode()].concat()).ok()?;
    match connection.receive(Duration::from_secs(10)) {
        tidegate_tests::connection::Received::Frame(frame) => {
            (frame.reason() == Some(0)).then_some(connection)
        }
        _ => None,
    }
}

#[test]
fn limits_count_by_the_address_of_the_header_and_free_themselves() {
    let port = Port::reserve();
    let table = format!("[[listener]]\nbind = \"127.0.0.1:{}\"\nproxy_protocol = true", port.number());
    let limits = "connections_per_address_max = 3\nhandshake_timeout = \"1s\"";
    let gateway = gateway!().tables(&table).limits(limits).start();
    let open = |host, name: &str| open(port.number(), host, name);
    let mut connections: Vec<_> = (0..3).map(|n| open(1, &format!("a{n}")).must("connect")).collect();
    assert!(open(1, "a4").is_none(), "the fourth of one address");
    let other = open(2, "b").must("connect from another address");
    for connection in &mut connections {
        connection.send(&wire::PINGREQ).must("ping");
        assert_eq!(connection.expect("a PINGRESP").kind(), 13, "the others are served");
    }
    connections.pop().must("a connection").cut();
    wait_for("a place for one more", Duration::from_secs(5), || open(1, "a5").is_some());
    drop(other);
    let log = gateway.log();
    assert!(log.contains("audit: 192.0.2.1:12345: connections_per_address_max reached"), "{log}");
}

#[test]
fn a_connection_without_a_header_is_refused() {
    let port = Port::reserve();
    let table = format!("[[listener]]\nbind = \"127.0.0.1:{}\"\nproxy_protocol = true", port.number());
    let gateway = gateway!().tables(&table).limits("handshake_timeout = \"1s\"").start();
    let connect = Connect::new(Version::V5, "c").encode();
    for (what, bytes) in [
        ("none", connect.clone()),
        ("version 1", [b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".as_slice(), &connect].concat()),
        ("half of one", header(1)[..20].to_vec()),
        ("silence", Vec::new()),
    ] {
        let mut connection = Connection::dial(port.number(), Version::V5).must("connect");
        connection.send(&bytes).must("send");
        assert_eq!(connection.expect_close(what), [], "{what}");
    }
    // A header where none is wanted is no MQTT either.
    let mut connection = Connection::dial(gateway.port(), Version::V5).must("connect");
    connection.send(&[header(1), connect].concat()).must("send");
    assert_eq!(connection.expect_close("a header on a plain port"), []);
}
