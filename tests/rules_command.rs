//! Rules without a gateway (`tidegate rules`), and watched in one (`tidegate tap`, `tidegate trace`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::gateway::{Builder, Outcome, run_to_end};
use tidegate_tests::process::Process;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Collector, Connection, Gateway, Must, binary, gateway, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

/// Every kind of state, arrival and event time, a table, and ids.
const RULES: &str = r#"
[[table]]
name = "rooms"
file = "rooms.csv"
key = "id"

[[rule]]
name = "changes"
sql = '''
  SELECT d, v, delta(v) AS by, lookup('rooms', d, 'room') AS room, event_id() AS id, timestamp() AS at, clientid AS c
  FROM "in/{d}" WHERE changed(v, 2)
'''
to = { uplink = "cloud", topic = "changes/{d}" }

[[rule]]
name = "seconds"
sql = '''
  SELECT d, count(*) AS n, avg(v) AS avg, percentile(v, 0.9) AS p, window_end() AS at
  FROM "in/{d}" GROUP BY d, hopping('1s', '500ms')
'''
to = { uplink = "cloud", topic = "seconds/{d}" }

[[rule]]
name = "bursts"
sql = "SELECT d, count(*) AS n, window_start() AS at FROM 'in/{d}' GROUP BY d, session('300ms')"
to = [{ uplink = "cloud", topic = "bursts/{d}" }, { local = "local/{d}" }]

[[rule]]
name = "by-event-time"
sql = "SELECT d, sum(v) AS sum, window_end() AS at FROM 'in/{d}' GROUP BY d, tumbling('10s')"
time = { field = "ts", unit = "s", lateness = "15s", idle = "1s", ahead = "3650d" }
to = { uplink = "cloud", topic = "sums/{d}" }
late = { uplink = "cloud", topic = "late/{d}" }

[[rule]]
name = "tens"
sql = "SELECT d, max(v) AS max, collect(v) AS all FROM 'in/{d}' WHERE v % 3 <> 0 GROUP BY d, rows(10)"
to = { uplink = "cloud", topic = "tens/{d}", encoding = "json" }

[[rule]]
name = "strict"
sql = "SELECT CAST(text AS INTEGER) AS number FROM 'in/{d}' WHERE d = 'a'"
on_error = "dead-letter"
to = { uplink = "cloud", topic = "numbers/{d}" }
dead_letter = { uplink = "cloud", topic = "dead/{topic}" }
"#;

fn tidegate(builder_dir: &Path, arguments: &[&str]) -> Outcome {
    let config = builder_dir.join("tidegate.toml");
    let mut all: Vec<&str> = arguments.to_vec();
    all.extend(["--config", config.to_str().must("a path in UTF-8")]);
    run_to_end(&binary!(), &all, &[])
}

fn with_rules(rules: &str) -> Builder {
    let builder = gateway!();
    fs::write(builder.dir().join("rooms.csv"), "id,room\na,hall\nb,\"the, roof\"\n").must("write the table");
    builder.rules("rules.toml", rules)
}

fn start(broker: &Broker, rules: &str, rest: &str) -> Gateway {
    let lines = format!("url = \"mqtt://127.0.0.1:{}\"\ntopic = \"gw/{{gateway}}/{{topic}}\"", broker.port());
    with_rules(rules).uplink_with(&lines).tables(rest).start()
}

/// A tap that is open.
fn tap(gateway: &Gateway, arguments: &[&str]) -> Process {
    let mut command = Command::new::<std::path::PathBuf>(binary!());
    command.arg("tap").arg("--config").arg(gateway.dir().join("tidegate.toml")).args(arguments);
    let mut process = Process::start("tap", "(build it)", &mut command);
    process.wait_stderr("line that it captures", LIMIT, |line| line.contains("capturing"));
    process
}

/// Publishes and waits for the acknowledgement.
fn publish(connection: &mut Connection, topic: &str, payload: &str) {
    connection.send(&wire::publish(Version::V5, topic, payload.as_bytes(), 1, 1)).must("publish");
    connection.expect("a PUBACK");
}

/// Events of three devices: values, event times that go back and forth, payloads that are none.
fn publish_many(gateway: &Gateway, count: u64) {
    let mut connections = ["a", "b", "c"]
        .map(|id| (id, Connection::clean(gateway.port(), Version::V5, &format!("client-{id}"))));
    for number in 0..count {
        for (id, connection) in &mut connections {
            let payload = match number % 17 {
                16 => "no JSON".to_owned(),
                _ => format!(
                    r#"{{"v":{},"ts":{},"text":"{}{}"}}"#,
                    (number * 7) % 23,
                    (number * 3).saturating_sub((number % 11) * 4),
                    number,
                    if number % 5 == 0 { "x" } else { "" },
                ),
            };
            publish(connection, &format!("in/{id}"), &payload);
        }
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).must("JSON lines")).collect()
}

fn sent(lines: &[Value], to: &str) -> Vec<(String, String)> {
    let of = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let is_it = |line: &&Value| line["stage"] == "out" && line["uplink"] == to;
    lines.iter().filter(is_it).map(|line| (of(line, "topic"), of(line, "payload"))).collect()
}

#[test]
fn a_replay_gives_what_the_live_run_sent_byte_for_byte() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["gw/#"]);
    let gateway = start(&broker, RULES, "");
    let capture = gateway.dir().join("capture.jsonl");
    let path = capture.to_str().must("a path in UTF-8");
    let _tap = tap(&gateway, &["#", "--out", path]);
    publish_many(&gateway, 200);
    let text = || fs::read_to_string(&capture).must("read the capture");
    wait_for("all events in the capture", LIMIT, || text().matches("\"stage\":\"in\"").count() == 600);

    let replayed = tidegate(gateway.dir(), &["rules", "replay", path, "--advance", "1m"]);
    replayed.assert(0, &["600 events"]);
    let expected = sent(&lines(&replayed.stdout), "cloud");
    for topic in ["changes/a", "seconds/b", "bursts/c", "sums/a", "late/", "tens/b", "numbers/a", "dead/in/a"]
    {
        let topic = format!("gw/gw/{topic}");
        assert!(expected.iter().any(|(each, _)| each.starts_with(&topic)), "nothing at {topic}");
    }
    wait_for("all outputs at the cloud", LIMIT, || collector.arrivals().len() >= expected.len());
    assert_eq!(collector.arrivals(), expected);
    // What the tap showed after the rules is the same again.
    wait_for("all outputs in the capture", LIMIT, || sent(&lines(&text()), "cloud").len() == expected.len());
    assert_eq!(sent(&lines(&text()), "cloud"), expected);

    let again = tidegate(gateway.dir(), &["rules", "replay", path, "--advance", "1m"]);
    assert_eq!(again.stdout, replayed.stdout, "a replay depends on nothing but its events");
    let one = tidegate(gateway.dir(), &["rules", "replay", path, "--rule", "tens"]);
    assert!(lines(&one.stdout).iter().all(|line| line["rule"] == "tens") && !one.stdout.is_empty());
}

#[test]
fn a_tap_that_is_not_read_costs_its_own_lines_only() {
    let broker = Broker::start();
    let gateway = start(&broker, RULES, "");
    let capture = gateway.dir().join("capture.jsonl");
    let tap = tap(&gateway, &["in/#", "--out", capture.to_str().must("a path in UTF-8")]);
    tap.signal("STOP");
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    let payload = format!(r#"{{"v":1,"fill":"{}"}}"#, "x".repeat(4000));
    for _ in 0..3000 {
        publish(&mut connection, "in/d", &payload);
    }
    assert!(gateway.rss_kib() < 64 * 1024, "{} KiB", gateway.rss_kib());
    tap.signal("CONT");
    let text = || fs::read_to_string(&capture).must("read the capture");
    wait_for("the tap to tell what it lost", LIMIT, || {
        publish(&mut connection, "in/d", "{}");
        text().contains("\"stage\":\"lost\"")
    });
    let whole = text();
    let seen = whole.matches("\"stage\":\"in\"").count();
    assert!(seen < 3000, "{seen} were shown, so nothing was lost");
    let replayed = tidegate(gateway.dir(), &["rules", "replay", capture.to_str().must("a path in UTF-8")]);
    replayed.assert(0, &["lines are missing in the capture"]);
}

#[test]
fn a_tap_ends_after_so_many_events_and_needs_a_gateway() {
    let broker = Broker::start();
    let mut gateway = start(&broker, RULES, "");
    let capture = gateway.dir().join("capture.jsonl");
    let mut process = tap(&gateway, &["in/+", "-n", "2", "--out", capture.to_str().must("a path in UTF-8")]);
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    for topic in ["in/a", "other", "in/b", "in/c"] {
        publish(&mut connection, topic, r#"{"v":1}"#);
    }
    assert!(process.wait_exit(LIMIT).success());
    let found = lines(&fs::read_to_string(&capture).must("read the capture"));
    let topics: Vec<_> =
        found.iter().filter(|line| line["stage"] == "in").map(|line| &line["topic"]).collect();
    assert_eq!(topics, ["in/a", "in/b"]);
    tidegate(gateway.dir(), &["tap", "a/#/b"]).assert(64, &["a/#/b"]);
    gateway.stop();
    tidegate(gateway.dir(), &["tap", "#"]).assert(69, &["no gateway is running"]);
}

#[test]
fn a_trace_says_what_the_rules_did_with_an_event() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["gw/#"]);
    let gateway = start(&broker, RULES, "[trace]\nevents_max = 100\n");
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    publish(&mut connection, "in/a", r#"{"v":5,"text":"7"}"#);
    let id = || {
        let arrivals = collector.arrivals();
        let change = arrivals.iter().find(|(topic, _)| topic == "gw/gw/changes/a");
        change.map(|(_, payload)| {
            let row: Value = serde_json::from_str(payload).must("JSON");
            row["id"].as_str().must("an id").to_owned()
        })
    };
    wait_for("the change at the cloud", LIMIT, || id().is_some());
    let id = id().must("an id");
    let traced = tidegate(gateway.dir(), &["trace", &id]);
    traced.assert(0, &[]);
    for said in [
        "in/a from d",
        "changes: made 1 output of it",
        "seconds: put it into its windows",
        "by-event-time: counted it as late",
        "changes -> cloud/normal",
        "gw/gw/changes/a",
    ] {
        assert!(traced.stdout.contains(said), "{said}\n{}", traced.stdout);
    }
    tidegate(gateway.dir(), &["trace", "gw-1"]).assert(66, &["not among the latest"]);
    let off = start(&broker, RULES, "");
    tidegate(off.dir(), &["trace", &id]).assert(66, &["events_max"]);
}

#[test]
fn a_table_is_reloaded_when_its_file_changes_and_a_bad_one_leaves_it() {
    let broker = Broker::start();
    let collector = Collector::start(&broker, &["gw/#"]);
    let gateway = start(&broker, RULES, "");
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    let mut value = 0;
    let mut rooms = || {
        value += 10;
        publish(&mut connection, "in/a", &format!(r#"{{"v":{value}}}"#));
        let wanted = format!("\"v\":{value},");
        let mut room = Value::Null;
        wait_for("the room at the cloud", LIMIT, || {
            let arrivals = collector.arrivals();
            let found =
                arrivals.iter().find(|(topic, row)| topic == "gw/gw/changes/a" && row.contains(&wanted));
            let row = found.map(|(_, payload)| serde_json::from_str::<Value>(payload).must("JSON"));
            room = row.as_ref().map(|row| row["room"].clone()).unwrap_or_default();
            row.is_some()
        });
        room
    };
    assert_eq!(rooms(), "hall");
    let file = gateway.dir().join("rooms.csv");
    fs::write(&file, "id,room\na,cellar\n").must("write the table");
    wait_for("the new table", LIMIT, || rooms() == "cellar");
    for (bad, said) in [("id,room\na\n", "line 2"), ("id,floor\na,1\n", "no column `room`")] {
        fs::write(&file, bad).must("write the table");
        wait_for("the warning", LIMIT, || gateway.log().contains(said));
        assert_eq!(rooms(), "cellar");
    }
    fs::remove_file(&file).must("remove the table");
    wait_for("the warning", LIMIT, || gateway.log().contains("is gone"));
    assert_eq!(rooms(), "cellar");
}

#[test]
fn what_waits_in_a_buffer_can_be_replayed_through_new_rules() {
    let broker = Broker::stopped(Default::default());
    let mut gateway = gateway!().uplink(broker.port()).start();
    let mut connection = Connection::clean(gateway.port(), Version::V5, "d");
    for number in 0..50 {
        publish(&mut connection, "events/d", &format!(r#"{{"v":{number}}}"#));
    }
    gateway.stop();
    let builder = with_rules(&RULES.replace("in/{d}", "events/{d}")).uplink(broker.port());
    builder.write(0);
    let dir = gateway.buffer_dir();
    let dir = dir.to_str().must("a path in UTF-8");
    let outcome =
        tidegate(builder.dir(), &["rules", "replay", "--buffer", dir, "--rule", "tens", "--uplink", "cloud"]);
    outcome.assert(0, &["50 events, 3 outputs"]);
    let first = &lines(&outcome.stdout)[0];
    assert_eq!(first["payload"], r#"{"d":"d","max":14,"all":[1,2,4,5,7,8,10,11,13,14]}"#);
    tidegate(builder.dir(), &["rules", "replay", "--buffer", "/no/such"]).assert(66, &["no buffer"]);
}

#[test]
fn rules_are_checked_explained_and_tried() {
    let builder = with_rules(RULES).uplink(1883);
    builder.write(0);
    let check = tidegate(builder.dir(), &["rules", "check"]);
    check.assert(0, &[]);
    assert!(
        check.stdout.contains("by-event-time") && check.stdout.contains("table rooms: 2 rows"),
        "{}",
        check.stdout
    );
    let explain = tidegate(builder.dir(), &["rules", "explain", "tens"]);
    explain.assert(0, &[]);
    assert!(explain.stdout.starts_with("tens\n  takes events of in/+\n"), "{}", explain.stdout);
    assert!(
        explain.stdout.contains("destination 1: the uplink cloud, normal priority, QoS 1"),
        "{}",
        explain.stdout
    );
    tidegate(builder.dir(), &["rules", "explain", "ten"]).assert(64, &["did you mean `tens`?"]);

    let tried = tidegate(
        builder.dir(),
        &[
            "rules",
            "try",
            "in/a",
            r#"{"v": 5, "text": "x"}"#,
            "--at",
            "2026-11-21T12:00:00Z",
            "--advance",
            "2s",
        ],
    );
    tried.assert(0, &[]);
    for said in [
        "changes: made 1 output of it",
        r#"  -> cloud  changes/a  {"d":"a","v":5,"by":null,"room":"hall","id":"gw-1","at":1795262400000,"c":"try"}"#,
        "strict: 1 evaluation failed and gave NULL",
        "  -> cloud  dead/in/a  {\"v\": 5, \"text\": \"x\"}",
        "seconds: closed 1 window",
        "  -> local  local/a  ",
    ] {
        assert!(tried.stdout.contains(said), "{said}\n{}", tried.stdout);
    }
    tidegate(builder.dir(), &["rules", "try", "other", "{}"]).assert(0, &["no rule and no route"]);
    tidegate(builder.dir(), &["rules", "try", "in/+", "{}"]).assert(64, &["wildcards"]);
    tidegate(builder.dir(), &["rules", "try", "in/a", "{}", "--at", "noon"]).assert(64, &["noon"]);

    let file = builder.dir().join("wrong.jsonl");
    for (text, said) in
        [("{\"time\":1,\"topic\":\"a\"}\n{", ":2:"), ("{\"topic\":\"a\"}", "`time` is missing")]
    {
        fs::write(&file, text).must("write a capture");
        tidegate(builder.dir(), &["rules", "replay", file.to_str().must("UTF-8")]).assert(65, &[said]);
    }
}

#[test]
fn tests_of_rules_show_what_differs() {
    let tests = r#"
[[rule.test]]
name = "numbers pass"
given = [{ topic = "in/a", payload = { text = "7" } }, { topic = "in/b", payload = { text = "8" } }]
expect = [{ topic = "numbers/a", payload = { number = 7 } }]

[[rule.test]]
name = "text is a dead letter"
given = [{ topic = "in/a", payload = { text = "x" } }]
expect = [{ topic = "numbers/a", payload = { number = 7 } }]
"#;
    let builder = with_rules(&format!("{RULES}{tests}")).uplink(1883);
    builder.write(0);
    let outcome = tidegate(builder.dir(), &["rules", "test"]);
    outcome.assert(1, &[]);
    let place = "rules.d/rules.toml:";
    for said in [
        "strict\n  ok      numbers pass\n  FAILED  text is a dead letter, ",
        place,
        "          - numbers/a {\"number\":7}\n",
        "          + dead/in/a {\"text\":\"x\"}\n",
        "1 passed, 1 failed",
    ] {
        assert!(outcome.stdout.contains(said), "{said}\n{}", outcome.stdout);
    }
    tidegate(builder.dir(), &["rules", "test", "tens"]).assert(0, &[]);
    tidegate(builder.dir(), &["rules", "test", "nothing"]).assert(64, &["there is no rule `nothing`"]);
}
