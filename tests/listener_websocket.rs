//! Browsers and other clients over WebSocket, with TLS and without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidegate_tests::{Authority, Gateway, Must, Port, client, gateway};

struct Scene {
    authority: Authority,
    plain: Port,
    tls: Port,
    gateway: Gateway,
}

fn scene() -> Scene {
    let authority = Authority::new();
    authority.issue("gateway", "gateway", "IP:127.0.0.1,DNS:localhost");
    let (plain, tls) = (Port::reserve(), Port::reserve());
    let [cert, key] = ["gateway.crt", "gateway.key"].map(|name| authority.path(name));
    let tables = format!(
        "[[listener]]\nbind = \"127.0.0.1:{}\"\nwebsocket = true\n\
         [[listener]]\nbind = \"127.0.0.1:{}\"\nwebsocket = true\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}",
        plain.number(),
        tls.number()
    );
    let gateway = gateway!().tables(&tables).limits("handshake_timeout = \"1s\"").start();
    Scene { authority, plain, tls, gateway }
}

#[test]
fn paho_of_both_versions_with_tls_and_without() {
    let scene = scene();
    let (plain, tls) = (scene.plain.number().to_string(), scene.tls.number().to_string());
    let ca = scene.authority.path("ca.crt");
    for version in ["3.1.1", "5"] {
        let arguments = ["--transport", "websockets", "--version", version, "--bytes", "200000", "--port"];
        client::paho_round_trip(&[&arguments[..], &[&plain]].concat()).assert_ok();
        client::paho_round_trip(&[&arguments[..], &[&tls, "--ca", &ca]].concat()).assert_ok();
    }
}

#[test]
fn mqtt_js_of_both_versions_with_tls_and_without() {
    let scene = scene();
    let plain = format!("ws://127.0.0.1:{}/mqtt", scene.plain.number());
    let tls = format!("wss://localhost:{}/mqtt", scene.tls.number());
    let ca = scene.authority.path("ca.crt");
    for version in ["4", "5"] {
        let Some(ended) = client::mqtt_js_round_trip(&[&plain, version]) else { return };
        ended.assert_ok();
        client::mqtt_js_round_trip(&[&tls, version, &ca]).must("still there").assert_ok();
    }
}

#[test]
fn what_is_no_websocket_is_refused_and_holds_up_nobody() {
    let mut scene = scene();
    let dial = || {
        let stream = TcpStream::connect(("127.0.0.1", scene.plain.number())).must("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).must("set a timeout");
        stream
    };
    let head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let endless = format!("{head}X: {}", "x".repeat(200_000));
    for (what, bytes) in [
        ("plain MQTT", "\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c\r\n\r\n"),
        ("plain HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("another protocol", &format!("{head}Sec-WebSocket-Protocol: chat\r\n\r\n")),
        ("half a request", head),
        ("a request without end", &endless),
        ("silence", ""),
    ] {
        let mut stream = dial();
        // It may be closed before all is written.
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains(" 101 "), "{what}: {answer}");
        assert!(end.is_ok() || answer.is_empty(), "{what}: not closed: {end:?}");
    }
    let port = scene.plain.number().to_string();
    client::paho_round_trip(&["--transport", "websockets", "--version", "5", "--port", &port]).assert_ok();
    assert!(scene.gateway.process().is_running());
}
