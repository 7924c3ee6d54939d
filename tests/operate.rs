//! The command line of an operator: how the gateway is, what it is told, who may connect, and what helpers are given.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::{Outcome, run_to_end};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{
    Broker, Collector, Connection, Device, Gateway, Must, Plan, Port, binary, client, gateway, wait_for,
};

const LIMIT: Duration = Duration::from_secs(20);

fn command(gateway: &Gateway, words: &[&str]) -> Outcome {
    let config = gateway.dir().join("tidegate.toml").display().to_string();
    run_to_end(&binary!(), &[words, &["--config", &config]].concat(), &[])
}

#[test]
fn status_and_top_say_how_it_is_and_the_exit_code_whether_that_is_well() {
    let (broker, away) = (Broker::start(), Port::reserve());
    let collector = Collector::start(&broker, &["events/#"]);
    let other = format!(
        "[[uplink]]\nname = \"other\"\nurl = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]",
        away.number()
    );
    let mut gateway = gateway!().uplink(broker.port()).tables(&other).start();
    let mut device = Device::raw(Plan::new("d", gateway.port(), 0..300));
    device.finish(LIMIT);
    collector.wait_count(300, LIMIT);
    let outcome = command(&gateway, &["status"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for said in ["gw · tidegate", "lives and can store", "300 received", "route:events/#", "AWAY"] {
        assert!(outcome.stdout.contains(said), "no {said:?} in\n{}", outcome.stdout);
    }
    let outcome = command(&gateway, &["top", "--once", "--interval", "50ms"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("comes in") && outcome.stdout.contains("OUT/S"), "{}", outcome.stdout);
    // How old what waits is, is asked of the database now and then.
    wait_for("the age of what waits", LIMIT, || {
        let status: Value =
            serde_json::from_str(&command(&gateway, &["status", "--json"]).stdout).must("JSON");
        let uplinks = status["uplinks"].as_array().must("uplinks").clone();
        let ages: Vec<bool> = uplinks.iter().map(|uplink| uplink["lanes"][1]["oldest_ms"].is_u64()).collect();
        assert_eq!(ages.len(), 2);
        ages == [false, true]
    });
    gateway.stop();
    command(&gateway, &["status"]).assert(69, &["no gateway is running"]);
}

#[test]
fn the_settings_in_effect_are_shown_and_are_settings() {
    let gateway = gateway!().uplink(Port::reserve().number()).limits("inflight_max = 7").start();
    let shown = command(&gateway, &["config", "show"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for said in
        ["inflight_max = 7", "connections_max = 1000", "backoff_min = \"50ms\"", "forward = [\"events/#\"]"]
    {
        assert!(shown.stdout.contains(said), "no {said:?} in\n{}", shown.stdout);
    }
    let copy = gateway.dir().join("copy.toml");
    fs::write(&copy, &shown.stdout).must("write a file");
    let copy = copy.display().to_string();
    let again = run_to_end(&binary!(), &["config", "show", "--config", &copy], &[]);
    assert_eq!(again.stdout, shown.stdout);
    let schema = run_to_end(&binary!(), &["config", "schema"], &[]);
    let schema: Value = serde_json::from_str(&schema.stdout).must("a schema in JSON");
    assert_eq!(schema["properties"]["limits"]["properties"]["inflight_max"]["default"], 100);
}

/// `tidegate passwd passwd …` with a password on standard input.
fn passwd(gateway: &Gateway, password: &str, arguments: &[&str]) -> Option<i32> {
    let mut child = Command::new(binary!())
        .args(["passwd", "passwd"])
        .args(arguments)
        .current_dir(gateway.dir())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .must("run tidegate passwd");
    // One that wants no password may have ended already.
    let _ = child.stdin.take().must("its standard input").write_all(password.as_bytes());
    child.wait().must("its end").code()
}

#[test]
fn users_that_it_writes_are_let_in_by_the_gateway_and_by_mosquitto() {
    let builder = gateway!();
    fs::write(builder.dir().join("passwd"), "# users\n").must("write the password file");
    let listener = Port::reserve();
    let table = format!(
        "[[listener]]\nbind = \"127.0.0.1:{}\"\naccess = {{ anonymous = false, password_file = \"passwd\" }}",
        listener.number()
    );
    let gateway = builder.tables(&table).start();
    let file = || fs::read_to_string(gateway.dir().join("passwd")).must("read the password file");
    assert_eq!(passwd(&gateway, "first\n", &["pump 7", "--iterations", "101"]), Some(0));
    assert_eq!(passwd(&gateway, "other\n", &["other", "--iterations", "101"]), Some(0));
    // It lets in who brings no name, and checks the password of who brings one.
    let password_file = format!("password_file {}", gateway.dir().join("passwd").display());
    let of_mosquitto = Broker::with(Setup { global: &password_file, ..Setup::default() });
    command(&gateway, &["reload"]).assert(0, &[]);
    for port in [listener.number(), of_mosquitto.port()] {
        let port = port.to_string();
        let arguments = |password| ["-h", "127.0.0.1", "-p", &port, "-u", "pump 7", "-P", password];
        client::mosquitto_round_trip("a/b", &arguments("first"));
        client::mosquitto_pub("a/b", &arguments("wrong")).assert_refused("Connection Refused");
    }
    assert_eq!(passwd(&gateway, "second\n", &["pump 7"]), Some(0));
    command(&gateway, &["reload"]).assert(0, &[]);
    let port = listener.number().to_string();
    let arguments = |password| ["-h", "127.0.0.1", "-p", &port, "-u", "pump 7", "-P", password];
    client::mosquitto_round_trip("a/b", &arguments("second"));
    client::mosquitto_pub("a/b", &arguments("first")).assert_refused("Connection Refused");
    assert_eq!(passwd(&gateway, "", &["other", "--delete"]), Some(0));
    assert_eq!(passwd(&gateway, "", &["other", "--delete"]), Some(66));
    assert_eq!(passwd(&gateway, "", &["other"]), Some(66), "an empty password is none");
    assert_eq!(passwd(&gateway, "x\n", &["a:b"]), Some(64));
    let text = file();
    assert!(text.starts_with("# users\npump 7:$7$10000$") && text.lines().count() == 2, "{text}");
}

#[test]
fn a_support_bundle_has_what_helps_and_no_secret() {
    let gateway = gateway!()
        .uplink_with(&format!(
            "url = \"mqtt://127.0.0.1:{}\"\nforward = [\"#\"]\nusername = \"u\"\npassword = {{ env = \"CLOUD\" }}",
            Port::reserve().number()
        ))
        .environment("CLOUD", "SECRET-environment")
        .start();
    let mut device = Device::raw(Plan::new("d", gateway.port(), 0..10));
    device.finish(LIMIT);
    let out = gateway.dir().join("bundle.txt").display().to_string();
    command(&gateway, &["support-bundle", "--out", &out]).assert(0, &["read it before you send it"]);
    let text = fs::read_to_string(&out).must("read the bundle");
    for said in [
        "no mistakes",
        "env = \"CLOUD\"",
        "\"received\": 10",
        "a gateway is running",
        "buffer.db",
        "MemTotal",
    ] {
        assert!(text.contains(said), "no {said:?} in\n{text}");
    }
    assert!(!text.contains("SECRET"), "{text}");
    command(&gateway, &["support-bundle", "--out", &out]).assert(74, &["exists"]);
}

#[test]
fn what_the_gateway_notices_about_itself_is_an_event_and_its_counters_are_topics() {
    let (broker, away) = (Broker::start(), Port::reserve());
    let collector = Collector::start(&broker, &["self/#"]);
    let tables = format!(
        "[alerts]\ntopic = \"self/{{gateway}}\"\nuplink_away_after = \"0s\"\n[sys]\nevery = \"1s\"\n\
         [[uplink]]\nname = \"other\"\nurl = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]",
        away.number()
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"\nforward = [\"self/#\"]", broker.port());
    let gateway = gateway!().uplink_with(&url).tables(&tables).start();
    let mut subscriber = Connection::clean(gateway.port(), Version::V5, "dashboard");
    subscriber
        .send(&wire::subscribe(Version::V5, 1, &[("$SYS/tidegate/uplinks/other/#", 0)]))
        .must("subscribe");
    assert_eq!(subscriber.expect("a SUBACK").kind(), 9);
    let published = subscriber.expect_publish("a counter");
    assert!(published.topic.starts_with("$SYS/tidegate/uplinks/other/"), "{published:?}");
    let is_raised = |topic: &str, payload: &str| {
        topic == "self/gw/uplink-away" && payload.contains("\"of\":\"other\",\"state\":\"raised\"")
    };
    collector.wait_arrival("the alert", LIMIT, is_raised);
}
