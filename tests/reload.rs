//! The configuration is read anew while the gateway serves: nothing is lost, nobody is disconnected, and what has not
//! changed goes on as it was.
//!
//! `TIDEGATE_RELOADS=500` makes the long form of the random one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::device::wait_acked;
use tidegate_tests::gateway::{Outcome, run_to_end};
use tidegate_tests::wait::within;
use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{
    Broker, Collector, Connection, Device, Gateway, Must, Plan, Port, Random, binary, fleet, gateway,
    wait_for,
};

const LIMIT: Duration = Duration::from_secs(30);
/// A session window is open for as long as events come, however many reloads that takes.
const KEPT: &str = "[[rule]]\nname = \"kept\"\nsql = \"SELECT count(*) AS n, sum(seq) AS sum FROM 'events/+' GROUP BY session('5s')\"\n\
                    to = { uplink = \"cloud\", topic = \"kept\" }\n";

fn config(gateway: &Gateway) -> String {
    gateway.dir().join("tidegate.toml").display().to_string()
}

/// `tidegate COMMAND… --config FILE`, run to its end.
fn command(gateway: &Gateway, words: &[&str]) -> Outcome {
    let config = config(gateway);
    run_to_end(&binary!(), &[words, &["--config", &config]].concat(), &[])
}

fn write(gateway: &Gateway, name: &str, text: &str) {
    let path = gateway.dir().join(name);
    fs::create_dir_all(path.parent().must("a folder")).must("make the folder");
    // In one step, as an operator's tools do it: no half file is ever read.
    let new = path.with_extension("new");
    fs::write(&new, text).must("write a file");
    fs::rename(new, path).must("put a file in its place");
}

/// What the gateway says of itself.
fn status(gateway: &Gateway) -> Value {
    let outcome = command(gateway, &["status", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).must("JSON")
}

/// How many records of an uplink were appended, and how many are with its cloud.
fn books(gateway: &Gateway, uplink: &str) -> (u64, u64) {
    let status = status(gateway);
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let uplinks = list(&status, "uplinks").into_iter();
    let found = uplinks.filter(|found| found.get("name").is_some_and(|name| name == uplink));
    let lanes: Vec<Value> = found.flat_map(|uplink| list(&uplink, "lanes")).collect();
    let sum = |path: &str| lanes.iter().filter_map(|lane| lane.pointer(path)?.as_u64()).sum();
    (sum("/appended"), sum("/left/acked"))
}

/// Settings that are good, each other than the last ones with some luck.
struct Draw {
    random: Random,
    listener: u16,
    broker: u16,
}

impl Draw {
    /// The main file: the uplink `cloud` in some form, and perhaps another one.
    fn settings(&mut self) -> String {
        let Draw { random, listener, broker } = self;
        let (window, keep_alive) = (random.one_of(&[20, 100, 100, 100]), random.one_of(&[30, 30, 30, 60]));
        // Only this drain keeps the order in all that an uplink gets.
        let events = random.one_of(&[1_000_000, 2_000_000]);
        let level = random.one_of(&["info", "debug", "warn"]);
        let queue = random.one_of(&[1000, 2000]);
        let other = if random.once_in(2) {
            format!(
                "[[uplink]]\nname = \"other\"\nurl = \"mqtt://127.0.0.1:{broker}\"\ntopic = \"other/{{topic}}\"\nforward = [\"events/+\"]\n"
            )
        } else {
            String::new()
        };
        format!(
            "[gateway]\nid = \"gw\"\n[log]\nlevel = \"{level}\"\n[[listener]]\nbind = \"127.0.0.1:{listener}\"\n\
             [access]\nanonymous = true\npassword_file = \"passwd\"\nacl_file = \"acl\"\n[buffer]\ndir = \"buffer\"\n\
             [limits]\nqueue_events_max = {queue}\n[[uplink]]\nname = \"cloud\"\nurl = \"mqtt://127.0.0.1:{broker}\"\n\
             window = {window}\nkeep_alive = \"{keep_alive}s\"\ndrain = \"oldest-first\"\nmax_events = {events}\nforward = [\"events/#\"]\n{other}"
        )
    }

    fn rule(&mut self) -> String {
        let threshold = self.random.within(0..5);
        format!(
            "[[rule]]\nname = \"changing\"\nsql = \"SELECT count(*) AS n FROM 'events/+' WHERE seq > {threshold} GROUP BY tumbling('1h')\"\n\
             to = {{ uplink = \"cloud\", topic = \"changing/{threshold}\" }}\n"
        )
    }

    fn acl(&mut self) -> String {
        format!("topic readwrite #\nuser u{}\ntopic read #\n", self.random.within(0..5))
    }

    /// Makes one thing wrong, which a word of what is said names.
    fn spoil(&mut self, gateway: &Gateway) -> &'static str {
        let settings = self.settings();
        let wrong = [
            ("tidegate.toml", settings.replace("window =", "windw ="), "windw"),
            ("tidegate.toml", settings.replace("[access]", "[access"), "tidegate.toml"),
            ("tidegate.toml", settings.replace("\"acl\"", "\"no-acl\""), "no-acl"),
            ("tidegate.toml", settings.replace("id = \"gw\"", "id = \"other\""), "restart"),
            ("rules.d/changing.toml", self.rule().replace("WHERE seq", "WERE seq"), "changing.toml"),
            ("acl", "topc readwrite #\n".to_owned(), "acl"),
        ];
        let which = usize::try_from(self.random.within(0..6)).must("a number");
        let (file, text, said) = wrong.into_iter().nth(which).must("one of them");
        write(gateway, file, &text);
        said
    }

    fn mend(&mut self, gateway: &Gateway) {
        write(gateway, "tidegate.toml", &self.settings());
        write(gateway, "rules.d/changing.toml", &self.rule());
        write(gateway, "acl", &self.acl());
    }
}

fn reloads() -> u64 {
    std::env::var("TIDEGATE_RELOADS").map_or(20, |count| count.parse().must("a number in TIDEGATE_RELOADS"))
}

/// Reloads by the command, or by the signal; `said` is in the answer to one that cannot be.
fn reload(gateway: &mut Gateway, by_signal: bool, wrong: Option<&str>) {
    if by_signal {
        let ends = |log: &str| log.matches("reloaded").count();
        let before = ends(&gateway.log());
        gateway.process().signal("HUP");
        // At level `warn` a success is not logged; the next one waits for it in any case.
        let _ = within(Duration::from_millis(200), || (ends(&gateway.log()) > before).then_some(()));
        return;
    }
    let outcome = command(gateway, &["reload"]);
    match wrong {
        None => assert_eq!(outcome.code, Some(0), "{outcome:?}"),
        Some(said) => {
            assert_eq!(outcome.code, Some(78), "{outcome:?}");
            assert!(outcome.stderr.contains(said), "no `{said}` in {}", outcome.stderr);
        }
    }
}

#[test]
fn random_reloads_under_load_lose_nothing_and_disconnect_nobody() {
    const EACH: u64 = 80;
    let (reloads, random) = (reloads(), Random::new(Random::seed()));
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["events/#"]);
    let kept = Collector::start(&broker, &["kept"]);
    let mut draw = Draw { random, listener: 0, broker: broker.port() };
    let builder = gateway!().rules("kept.toml", KEPT);
    for (name, text) in [("passwd", ""), ("acl", "topic readwrite #\n")] {
        fs::write(builder.dir().join(name), text).must("write a file");
    }
    let mut gateway = builder.start_from(|port| {
        draw.listener = port;
        // At `warn` it would not say that it is ready.
        draw.settings().replace("level = \"warn\"", "level = \"info\"")
    });
    let plan = |name, version| {
        Plan::new(name, gateway.port(), 0..reloads * EACH / 2 + 500).version(version).window(50).paced(400)
    };
    let mut devices = [plan("five", Version::V5), plan("three", Version::V311)].map(Device::raw);
    for round in 0..reloads {
        let wrong = draw.random.once_in(3).then(|| draw.spoil(&gateway));
        let by_signal = draw.random.once_in(4);
        reload(&mut gateway, by_signal, wrong);
        draw.mend(&gateway);
        reload(&mut gateway, false, None);
        wait_acked(&devices, usize::try_from(round * EACH).must("a count"), LIMIT);
    }
    fleet::finish(&mut devices);
    let events: u64 = 2 * (reloads * EACH / 2 + 500);
    collector.wait_count(usize::try_from(events).must("a count"), LIMIT);
    fleet::audit_arrivals(&devices, &collector).assert_whole();
    assert!(devices.iter().all(|device| device.connections() == 1), "nobody was disconnected");
    let (_, window) = kept.wait_arrival("the window over all reloads", LIMIT, |_, _| true);
    let sum: u64 = 2 * (0..events / 2).sum::<u64>();
    assert_eq!(window, format!("{{\"n\":{events},\"sum\":{sum}}}"));
    // What an uplink was owed when it went, it gets when it is there again.
    while status(&gateway)["uplinks"].as_array().is_none_or(|all| all.len() < 2) {
        draw.mend(&gateway);
        reload(&mut gateway, false, None);
    }
    for uplink in ["cloud", "other"] {
        wait_for("all that was owed", LIMIT, || {
            let (appended, acked) = books(&gateway, uplink);
            appended == acked
        });
    }
    gateway.stop();
}

fn simple(listener: u16, broker: u16, more: &str) -> String {
    format!(
        "gateway.id = \"gw\"\naccess.anonymous = true\nbuffer.dir = \"buffer\"\n[[listener]]\nbind = \"127.0.0.1:{listener}\"\n\
         [[uplink]]\nname = \"cloud\"\nurl = \"mqtt://127.0.0.1:{broker}\"\nforward = [\"events/#\"]\n{more}\n"
    )
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["late/#"]);
    let (mut listener, more) = (0, Port::reserve());
    let gateway = gateway!().start_from(|port| {
        listener = port;
        simple(port, broker.port(), "")
    });
    let nothing = command(&gateway, &["reload"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (Some(0), "reloaded; nothing is another than before")
    );
    let added = format!(
        "topic = \"late/{{topic}}\"\n[limits]\nsubscriptions_max = 7\n[status]\nbind = \"127.0.0.1:9\"\n[[listener]]\nbind = \"127.0.0.1:{}\"",
        more.number()
    );
    write(&gateway, "tidegate.toml", &simple(listener, broker.port(), &added));
    for round in 0..2 {
        let outcome = command(&gateway, &["reload", "--json"]);
        let report: Value = serde_json::from_str(&outcome.stdout).must("JSON");
        let lines = |name: &str| report[name].as_array().must("lines").clone();
        let restart = ["status: added".to_owned(), format!("listener 127.0.0.1:{}: added", more.number())];
        assert_eq!(lines("restart"), restart, "round {round}");
        let changed = [
            "limits: subscriptions_max was 100, is 7",
            "uplink cloud: topic was \"{topic}\", is \"late/{topic}\"",
        ];
        let expected: &[&str] = if round == 0 { &changed } else { &[] };
        assert_eq!(lines("changed"), expected, "round {round}");
    }
    let mut device = Device::raw(Plan::new("d", gateway.port(), 0..10));
    device.finish(LIMIT);
    collector.wait_count(10, LIMIT);
}

#[test]
fn a_crash_after_a_reload_finds_the_state_that_the_reload_left() {
    let broker = Broker::start();
    let kept = Collector::start(&broker, &["kept"]);
    let mut listener = 0;
    let mut gateway = gateway!().rules("kept.toml", KEPT).start_from(|port| {
        listener = port;
        simple(port, broker.port(), "")
    });
    let publish = |range| Device::raw(Plan::new("d", listener, range)).finish(LIMIT);
    publish(0..100);
    // The rule goes, and its window with it; the one that comes is a new one, whatever the journal had.
    write(&gateway, "rules.d/kept.toml", "");
    let outcome = command(&gateway, &["reload"]);
    assert_eq!(outcome.stdout, "rule kept: removed; what it remembered is gone");
    write(&gateway, "rules.d/kept.toml", KEPT);
    assert_eq!(command(&gateway, &["reload"]).stdout, "rule kept: added");
    publish(100..150);
    gateway.kill();
    gateway.restart();
    publish(150..170);
    let moved = KEPT.replace("topic = \"kept\"", "topic = \"kept\", qos = 0");
    write(&gateway, "rules.d/kept.toml", &moved);
    let outcome = command(&gateway, &["reload"]);
    assert_eq!(outcome.stdout, "rule kept: changed; it keeps what it remembers");
    gateway.kill();
    gateway.restart();
    let (_, window) = kept.wait_arrival("the window", LIMIT, |_, _| true);
    assert_eq!(window, format!("{{\"n\":70,\"sum\":{}}}", (100..170).sum::<u64>()));
}

fn passwd(folder: &Path, arguments: &[&str]) {
    let output = Command::new("mosquitto_passwd").args(arguments).current_dir(folder).output();
    let output = output.must("run mosquitto_passwd (apt-get install mosquitto)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn connected(port: u16, user: &str, password: &str) -> Connection {
    Connection::open(port, &Connect { login: Some((user, password)), ..Connect::new(Version::V5, user) })
        .must("connect")
}

#[test]
fn users_and_their_rights_change_under_those_who_are_there() {
    let broker = Broker::start();
    let builder = gateway!();
    let folder = builder.dir().to_owned();
    for (flags, user) in [(&["-c", "-b"][..], "stays"), (&["-b"], "goes"), (&["-b"], "changes")] {
        passwd(&folder, &[flags, &["passwd", user, "old"]].concat());
    }
    fs::write(folder.join("acl"), "topic readwrite #\npattern readwrite #\n").must("write the access list");
    let files = "[access]\nanonymous = false\npassword_file = \"passwd\"\nacl_file = \"acl\"";
    let settings = |port| simple(port, broker.port(), files).replace("access.anonymous = true\n", "");
    let gateway = builder.start_from(settings);
    let port = gateway.port();
    let [mut stays, mut goes, mut changes] =
        ["stays", "goes", "changes"].map(|user| connected(port, user, "old"));
    passwd(&folder, &["-D", "passwd", "goes"]);
    passwd(&folder, &["-b", "passwd", "changes", "new"]);
    write(&gateway, "acl", "pattern read #\n");
    let outcome = command(&gateway, &["reload"]);
    assert_eq!(outcome.stdout, format!("listener 127.0.0.1:{port}: its users, or what they may do"));
    for gone in [&mut goes, &mut changes] {
        let frames = gone.expect_close("who would not be let in is not kept");
        assert_eq!(frames.last().and_then(wire::Frame::reason), Some(0x87), "{frames:?}");
    }
    stays.send(&wire::publish(Version::V5, "events/x", b"x", 1, 1)).must("publish");
    assert_eq!(stays.expect("a PUBACK").reason(), Some(0x87), "the new access list counts for who is there");
    connected(port, "changes", "new");
}

#[test]
fn a_certificate_is_renewed_without_a_disconnection() {
    let authority = tidegate_tests::Authority::new();
    authority.issue("first", "first", "IP:127.0.0.1,DNS:localhost");
    authority.issue("second", "second", "IP:127.0.0.1,DNS:localhost");
    let (broker, tls) = (Broker::start(), Port::reserve());
    let builder = gateway!();
    let folder = builder.dir().to_owned();
    let put = |name: &str| {
        for end in ["crt", "key"] {
            fs::copy(authority.path(&format!("{name}.{end}")), folder.join(format!("gw.{end}"))).must("copy");
        }
    };
    put("first");
    let listener = format!(
        "[[listener]]\nbind = \"127.0.0.1:{}\"\ntls = {{ cert = \"gw.crt\", key = \"gw.key\" }}",
        tls.number()
    );
    let gateway = builder.start_from(|port| simple(port, broker.port(), &listener));
    let subject = || {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", tls.number())])
            .stdin(std::process::Stdio::null())
            .output()
            .must("run openssl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("subject")).must("a subject").to_owned()
    };
    assert!(subject().contains("first"));
    let stays = Connection::clean(gateway.port(), Version::V5, "stays");
    fs::write(folder.join("gw.key"), "no key").must("write a file");
    let outcome = command(&gateway, &["reload"]);
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert!(outcome.stderr.contains("gw.key"), "{}", outcome.stderr);
    assert!(subject().contains("first"), "a key that is none changes nothing");
    put("second");
    assert_eq!(command(&gateway, &["reload"]).code, Some(0));
    assert!(subject().contains("second"));
    let mut stays = stays;
    stays.send(&wire::publish(Version::V5, "events/x", b"x", 1, 1)).must("publish");
    assert_eq!(stays.expect("a PUBACK").packet_id(), Some(1));
}
