//! Who may connect, and what they may do: mosquitto's own files, made by mosquitto's own program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tidegate_tests::gateway::Builder;
use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{Connection, Gateway, Must, Port, client, gateway};

const LIMIT: Duration = Duration::from_secs(10);

const ACL: &str = "\
# without a user name
topic read public/#

user seven
topic room/+/temp
topic deny room/9/#

user six
topic write log
topic read room/#

pattern readwrite d/%u/%c/#
";

fn passwd(folder: &Path, arguments: &[&str]) {
    let status = Command::new("mosquitto_passwd").args(arguments).current_dir(folder).output();
    let output = status.must("run mosquitto_passwd (apt-get install mosquitto)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

// Two users, one of each kind of hash, as mosquitto_passwd writes them.
fn write_files(builder: &Builder) {
    let folder = builder.dir();
    passwd(folder, &["-c", "-b", "passwd", "seven", "pass word:7"]);
    passwd(folder, &["-H", "sha512", "-b", "passwd", "six", "sechs"]);
    let text = fs::read_to_string(folder.join("passwd")).must("read the password file");
    assert!(text.contains("seven:$7$") && text.contains("six:$6$"), "{text}");
    fs::write(folder.join("acl"), ACL).must("write the access list");
}

fn scene(access: &str, limits: &str) -> (Gateway, Port) {
    let builder = gateway!();
    write_files(&builder);
    let port = Port::reserve();
    let table = format!(
        "[[listener]]\nbind = \"127.0.0.1:{}\"\naccess = {{ password_file = \"passwd\", acl_file = \"acl\", {access} }}",
        port.number()
    );
    (builder.tables(&table).limits(limits).start(), port)
}

fn connack(port: u16, version: Version, login: Option<(&str, &str)>) -> u8 {
    let mut connection = Connection::dial(port, version).must("connect");
    let connect = Connect { login, ..Connect::new(version, "c") };
    connection.send(&connect.encode()).must("send CONNECT");
    connection.expect("a CONNACK").reason().must("a reason")
}

#[test]
fn passwords_of_mosquitto_passwd_let_in_whom_they_should() {
    let (gateway, port) = scene("anonymous = false", "");
    for (login, v5, v311) in [
        (Some(("seven", "pass word:7")), 0, 0),
        (Some(("six", "sechs")), 0, 0),
        (Some(("seven", "sechs")), 0x86, 4),
        (Some(("six", "")), 0x86, 4),
        (Some(("eight", "sechs")), 0x86, 4),
        (None, 0x87, 5),
    ] {
        assert_eq!(connack(port.number(), Version::V5, login), v5, "{login:?}");
        assert_eq!(connack(port.number(), Version::V311, login), v311, "{login:?}");
    }
    let port = port.number().to_string();
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-u", "seven", "-P", "pass word:7"];
    client::mosquitto_round_trip("room/1/temp", &arguments);
    client::mosquitto_pub("room/1/temp", &["-h", "127.0.0.1", "-p", &port, "-u", "seven", "-P", "x"])
        .assert_refused("bad user name or password");
    for version in ["3.1.1", "5"] {
        let arguments =
            ["--port", &port, "--version", version, "--username", "six", "--password", "sechs", "--topic"];
        client::paho_round_trip(&[&arguments[..], &["d/six/round-trip/x"]].concat()).assert_ok();
    }
    let log = gateway.log();
    assert!(log.contains("audit") && log.contains("user=Some(\"eight\")"), "{log}");
    assert!(!log.contains("sechs") && !log.contains("pass word"), "a password is in the log");
}

// Connects as `user` and says what came of a publish and of a subscription.
fn rights(port: u16, user: Option<(&str, &str)>, topic: &str) -> (u8, u8) {
    let connect = Connect { login: user, ..Connect::new(Version::V5, "dev") };
    let mut connection = Connection::open(port, &connect).must("connect");
    connection.send(&wire::publish(Version::V5, topic, b"x", 1, 1)).must("publish");
    let publish = connection.expect("a PUBACK").reason().must("a reason");
    connection.send(&wire::subscribe(Version::V5, 2, &[(topic, 1)])).must("subscribe");
    let suback = connection.expect("a SUBACK");
    (publish, suback.codes(Version::V5).and_then(|codes| codes.first().copied()).must("a code"))
}

#[test]
fn an_access_list_is_read_as_mosquitto_reads_it() {
    const NO: u8 = 0x87;
    let (_gateway, port) = scene("anonymous = true", "");
    let (seven, six) = (Some(("seven", "pass word:7")), Some(("six", "sechs")));
    for (user, topic, publish, subscribe) in [
        (None, "public/a", NO, 1),
        (None, "room/1/temp", NO, NO),
        (seven, "room/1/temp", 0, 1),
        (seven, "room/9/temp", NO, NO),
        (seven, "public/a", NO, NO),
        (six, "log", 0, NO),
        (six, "room/9/temp", NO, 1),
        (six, "d/six/dev/x", 0, 1),
        (six, "d/six/other/x", NO, NO),
        (six, "d/seven/dev/x", NO, NO),
    ] {
        assert_eq!(rights(port.number(), user, topic), (publish, subscribe), "{user:?} {topic}");
    }
}

#[test]
fn what_one_may_not_read_is_not_delivered_and_3_1_1_is_closed() {
    let (gateway, port) = scene("anonymous = true", "");
    let connect = Connect { login: Some(("seven", "pass word:7")), ..Connect::new(Version::V5, "sub") };
    let mut subscriber = Connection::open(port.number(), &connect).must("connect");
    subscriber.send(&wire::subscribe(Version::V5, 1, &[("room/#", 0)])).must("subscribe");
    subscriber.expect("a SUBACK");
    // By the listener that knows no list.
    let mut publisher = Connection::clean(gateway.port(), Version::V5, "pub");
    for topic in ["room/9/temp", "room/1/humidity", "room/1/temp"] {
        publisher.send(&wire::publish(Version::V5, topic, b"x", 0, 0)).must("publish");
    }
    assert_eq!(subscriber.expect_publish("the one it may read").topic, "room/1/temp");

    let mut old = Connection::clean(port.number(), Version::V311, "old");
    old.send(&wire::publish(Version::V311, "room/1/temp", b"x", 1, 1)).must("publish");
    assert_eq!(old.expect_close("3.1.1 can only be refused by closing"), []);
}

#[test]
fn guessing_is_slowed_down_and_others_are_served() {
    let (mut gateway, port) = scene("anonymous = true", "failed_logins_per_minute_max = 5");
    let answers: Vec<u8> =
        (0..8).map(|_| connack(port.number(), Version::V5, Some(("seven", "guess")))).collect();
    assert_eq!(answers, [0x86, 0x86, 0x86, 0x86, 0x86, 0x9f, 0x9f, 0x9f]);
    assert_eq!(
        connack(port.number(), Version::V5, Some(("seven", "pass word:7"))),
        0x9f,
        "not even the right one"
    );
    assert_eq!(connack(port.number(), Version::V5, None), 0, "who brings no password is not concerned");
    gateway.process().signal("TERM");
    gateway.process().wait_stderr("counts", LIMIT, |line| line.contains("logins_refused=9"));
}

#[test]
fn every_mistake_in_the_files_is_reported_with_its_line() {
    let builder = gateway!();
    write_files(&builder);
    let add = |name: &str, lines: &str| {
        let path = builder.dir().join(name);
        let text = fs::read_to_string(&path).must("read") + lines;
        fs::write(path, text).must("write");
    };
    add("passwd", "plain:hunter2\nsix:$5$x$y\n");
    add("acl", "topic reed x\n");
    let table =
        "[[listener]]\nbind = \"unix:x.sock\"\naccess = { password_file = \"passwd\", acl_file = \"acl\" }";
    let outcome = builder.tables(table).outcome("check", 1883);
    outcome.assert(78, &["passwd:3:1", "not hashed", "passwd:4:1", "acl:13:1", "`reed` is no permission"]);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}
