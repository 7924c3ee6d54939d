//! Devices over TLS, with and without certificates of their own.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::wire::Version;
use tidegate_tests::{Authority, Connection, Gateway, Must, Port, client, gateway};

struct Scene {
    authority: Authority,
    tls: Port,
    gateway: Gateway,
}

// A gateway with a TLS listener beside the plain one; `tls` is what its table says beside certificate and key.
fn scene(tls_lines: &str, access: &str) -> Scene {
    let authority = Authority::new();
    authority.issue("gateway", "gateway", "IP:127.0.0.1,DNS:localhost");
    authority.issue("device", "pump-7", "DNS:pump-7.plant");
    let tls = Port::reserve();
    let [cert, key, ca] = ["gateway.crt", "gateway.key", "ca.crt"].map(|name| authority.path(name));
    let table = format!(
        "[[listener]]\nbind = \"127.0.0.1:{}\"\naccess = {{ {access} }}\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\"{} }}",
        tls.number(),
        tls_lines.replace("CA", &format!("\"{ca}\"")),
    );
    let builder = gateway!();
    fs::write(builder.dir().join("acl"), "user pump-7\ntopic pump-7/#\nuser pump-7.plant\ntopic plant/#\n")
        .must("write the access list");
    let gateway = builder.tables(&table).limits("handshake_timeout = \"1s\"").start();
    Scene { authority, tls, gateway }
}

impl Scene {
    // Arguments of mosquitto's clients; with the device's certificate or without.
    fn arguments(&self, certificate: bool) -> Vec<String> {
        let path = |name| self.authority.path(name);
        let mut arguments = vec!["-h".into(), "localhost".into(), "-p".into(), self.tls.number().to_string()];
        arguments.extend(["--cafile".into(), path("ca.crt")]);
        if certificate {
            arguments.extend(["--cert".into(), path("device.crt"), "--key".into(), path("device.key")]);
        }
        arguments
    }
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn real_clients_of_both_versions_of_tls_and_mqtt() {
    let scene = scene("", "");
    let arguments = scene.arguments(false);
    for (tls, mqtt) in [("tlsv1.2", "311"), ("tlsv1.3", "5")] {
        let arguments = [words(&arguments), vec!["--tls-version", tls, "-V", mqtt]].concat();
        client::mosquitto_round_trip("a/b", &arguments);
    }
    let (port, ca) = (scene.tls.number().to_string(), scene.authority.path("ca.crt"));
    for version in ["3.1.1", "5"] {
        // More than one TLS record, both ways.
        let bytes = ["--bytes", "200000"];
        let arguments = [["--port", &port], ["--version", version], ["--ca", &ca], bytes].concat();
        client::paho_round_trip(&arguments).assert_ok();
    }
}

#[test]
fn a_certificate_is_asked_for_and_its_name_is_the_user() {
    for (identity, allowed, refused) in [("cn", "pump-7/x", "plant/x"), ("san", "plant/x", "pump-7/x")] {
        let tls = format!(", client_ca = CA, identity = \"{identity}\"");
        let mut scene = scene(&tls, "anonymous = false, acl_file = \"acl\"");
        let arguments = scene.arguments(true);
        client::mosquitto_round_trip(allowed, &words(&arguments));
        let arguments = [words(&arguments), vec!["-V", "5"]].concat();
        client::mosquitto_pub(refused, &arguments).assert_refused("not authorized");
        let without = scene.arguments(false);
        let ended = client::mosquitto_pub(allowed, &words(&without));
        assert_ne!(ended.code, Some(0), "without a certificate: {}", ended.said);
        scene.gateway.process().wait_stderr("audit line", Duration::from_secs(5), |line| {
            line.contains("audit: 127.0.0.1:") && line.contains("refused")
        });
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let mut scene = scene(", client_ca = CA, identity = \"cn\"", "anonymous = false");
    let other = Authority::new();
    other.issue("device", "pump-7", "DNS:x");
    let right = scene.arguments(true);
    client::mosquitto_pub("pump-7/x", &words(&right)).assert_ok();
    let wrong: Vec<String> = right
        .iter()
        .map(|argument| {
            if argument.contains("device.") {
                other.path(&argument[argument.len() - 10..])
            } else {
                argument.clone()
            }
        })
        .collect();
    let ended = client::mosquitto_pub("pump-7/x", &words(&wrong));
    assert_ne!(ended.code, Some(0), "{}", ended.said);
    scene.gateway.process().wait_stderr("audit line", Duration::from_secs(5), |line| {
        line.contains("audit") && line.contains("TLS")
    });
}

#[test]
fn a_certificate_may_be_left_to_the_device() {
    let tls = ", client_ca = CA, require_client_cert = false, identity = \"cn\"";
    let scene = scene(tls, "anonymous = true, acl_file = \"acl\"");
    client::mosquitto_pub("pump-7/x", &words(&scene.arguments(true))).assert_ok();
    let without = scene.arguments(false);
    let without = [words(&without), vec!["-V", "5"]].concat();
    client::mosquitto_pub("pump-7/x", &without).assert_refused("not authorized");
}

#[test]
fn handshakes_that_go_nowhere_hold_up_nobody_and_end() {
    let scene = scene("", "");
    let started = Instant::now();
    let mut silent: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(("127.0.0.1", scene.tls.number())).must("connect")).collect();
    client::mosquitto_pub("a", &words(&scene.arguments(false))).assert_ok();
    Connection::clean(scene.gateway.port(), Version::V5, "plain");
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).must("set a timeout");
        assert_eq!(stream.read(&mut [0; 10]).must("be closed"), 0);
    }
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
}

#[test]
fn an_idle_connection_costs_little() {
    const CONNECTIONS: u64 = 200;
    let scene = scene("", "");
    let [port, ca] = [scene.tls.number().to_string(), scene.authority.path("ca.crt")];
    let script = concat!(
        "import socket,ssl,sys,time\nc=ssl.create_default_context(cafile=sys.argv[2])\nk=[]\n",
        "for i in range(int(sys.argv[3])):\n",
        "  s=c.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[1]))),server_hostname='localhost')\n",
        "  n=b'%05d'%i\n  s.sendall(b'\\x10\\x11\\0\\x04MQTT\\x04\\x02\\0\\0\\0\\x05'+n)\n",
        "  assert s.recv(4)==b'\\x20\\x02\\0\\0'\n  k.append(s)\nprint('there',flush=True)\ntime.sleep(60)\n"
    );
    let connect = |count: u64| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script, &port, &ca, &count.to_string()]);
        let process = tidegate_tests::process::Process::start("clients", "python3", &mut command);
        tidegate_tests::wait_for("the clients", Duration::from_secs(60), || {
            process.stdout.lock().iter().any(|line| line == "there")
        });
        process
    };
    // What TLS needs once is not what a connection costs.
    let few = connect(10);
    let before = scene.gateway.rss_kib();
    let many = connect(CONNECTIONS);
    let each = scene.gateway.rss_kib().saturating_sub(before) * 1024 / CONNECTIONS;
    drop((few, many));
    assert!(each <= 24 * 1024, "{each} bytes for an idle TLS connection");
}
