//! Settings from the cloud: tried, and kept only if the cloud still hears the gateway with them, through wrong endpoints and
//! certificates and kills at any moment. No gateway is stranded, and no event is lost.
//!
//! `TIDEGATE_REMOTE_CONFIGS=200` makes the long form of the random one.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::{Outcome, run_to_end};
use tidegate_tests::wait::within;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{
    Authority, Broker, Collector, Connection, Device, Gateway, Must, Plan, Port, Random, binary, client,
    fleet, gateway, wait_for,
};

const LIMIT: Duration = Duration::from_secs(30);
const COMMANDS: &str = "gw/gw/config/set";
const ANSWERS: &str = "gw/gw/config/set/answer";

/// A gateway whose cloud may send settings, which have five seconds; `more` stands in `remote_config` too.
fn start(cloud: &Broker, more: &str) -> Gateway {
    let lines = format!(
        "url = \"mqtt://127.0.0.1:{}\"\nforward = [\"events/#\"]\n\
         remote_config = {{ topic = \"gw/{{gateway}}/config/set\", confirm_within = \"5s\"{more} }}",
        cloud.port()
    );
    gateway!().uplink_with(&lines).start()
}

/// Who sends settings, and reads the answers.
struct Operator {
    cloud: Connection,
    collector: Collector,
    packet_id: u16,
}

impl Operator {
    fn new(cloud: &Broker) -> Operator {
        let collector = Collector::start(cloud, &[ANSWERS]);
        Operator { cloud: Connection::clean(cloud.port(), Version::V5, "operator"), collector, packet_id: 0 }
    }

    fn send(&mut self, payload: &str) {
        self.packet_id = self.packet_id % 60_000 + 1;
        let packet = wire::publish(Version::V5, COMMANDS, payload.as_bytes(), 1, self.packet_id);
        self.cloud.send(&packet).must("publish settings");
        assert_eq!(self.cloud.expect("a PUBACK").kind(), 4);
    }

    fn answers(&self) -> Vec<Value> {
        let arrivals = self.collector.arrivals();
        arrivals.iter().map(|(_, payload)| serde_json::from_str(payload).must("an answer in JSON")).collect()
    }

    /// The answer to settings of this number that says what has become of them.
    fn outcome_within(&self, sequence: u64, limit: Duration) -> Option<Value> {
        within(limit, || {
            let mut answers = self.answers();
            answers.retain(|answer| {
                answer.get("sequence").and_then(Value::as_u64) == Some(sequence)
                    && word(answer, "result") != "trial"
            });
            answers.pop()
        })
    }

    /// Sends settings until it is answered what has become of them: a gateway that is away does not hear.
    #[track_caller]
    fn ask(&mut self, sequence: u64, config: &str) -> Value {
        let command = json!({ "sequence": sequence, "config": config }).to_string();
        let asked = (0..20).find_map(|_| {
            self.send(&command);
            self.outcome_within(sequence, Duration::from_secs(10))
        });
        asked.must("an answer")
    }

    #[track_caller]
    fn expect(&mut self, sequence: u64, config: &str, result: &str, why: &str) {
        let answer = self.ask(sequence, config);
        assert_eq!(word(&answer, "result"), result, "{answer}");
        let said = word(&answer, "why");
        assert!(said.contains(why), "no {why:?} in {said}");
    }
}

/// A broker that answers with a certificate of an authority that is not the one of `tls`.
struct Stranger {
    broker: Broker,
    tls: String,
    _authorities: [Authority; 2],
}

impl Stranger {
    fn start() -> Stranger {
        let (own, trusted) = (Authority::new(), Authority::new());
        own.issue("broker", "broker", "IP:127.0.0.1");
        let listener = format!("certfile {}\nkeyfile {}", own.path("broker.crt"), own.path("broker.key"));
        let broker = Broker::with(Setup { listener: &listener, ..Setup::default() });
        let tls = format!("tls = {{ ca = \"{}\" }}", trusted.path("ca.crt"));
        Stranger { broker, tls, _authorities: [own, trusted] }
    }

    fn url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.broker.port())
    }
}

fn word<'v>(answer: &'v Value, key: &str) -> &'v str {
    answer.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The uplink's topics are below this one.
fn topic(below: &str) -> String {
    format!("[[uplink]]\nname = \"cloud\"\ntopic = \"{below}/{{topic}}\"\n")
}

fn command(gateway: &Gateway, words: &[&str]) -> Outcome {
    let config = gateway.dir().join("tidegate.toml").display().to_string();
    run_to_end(&binary!(), &[words, &["--config", &config]].concat(), &[])
}

#[test]
fn what_the_cloud_acknowledges_is_kept_over_a_kill_and_taken_back_by_other_settings() {
    let cloud = Broker::start();
    let events = Collector::start(&cloud, &["+/events/#", "events/#", "+/hot", "hot"]);
    let mut operator = Operator::new(&cloud);
    let mut gateway = start(&cloud, "");
    let publish = |gateway: &Gateway, number| {
        Device::raw(Plan::new("d", gateway.port(), number..number + 1)).finish(LIMIT);
    };
    operator.expect(3, &topic("new"), "accepted", "");
    let trial = operator.answers().into_iter().find(|answer| answer["result"] == "trial").must("a trial");
    assert_eq!(trial["changed"], json!(["uplink cloud: topic was \"{topic}\", is \"new/{topic}\""]));
    assert_eq!((&trial["gateway"], &trial["confirm_within_s"]), (&json!("gw"), &json!(5)));
    publish(&gateway, 0);
    events.wait_arrival("an event below the new topic", LIMIT, |topic, _| topic == "new/events/d");
    let shown = command(&gateway, &["config", "show"]);
    assert!(shown.stdout.contains("topic = \"new/{topic}\""), "{shown:?}");

    gateway.kill();
    gateway.restart();
    let before = events.count();
    publish(&gateway, 1);
    events.wait_count(before + 1, LIMIT);
    assert_eq!(events.arrivals().last().must("an event").0, "new/events/d", "it is kept");

    // Rules alone leave the settings as they are.
    let rules = "[[rule]]\nname = \"hot\"\nsql = \"SELECT seq FROM 'events/+'\"\nto = { uplink = \"cloud\", topic = \"hot\" }\n";
    operator.send(&json!({ "sequence": 4, "gateway": "gw", "rules": rules }).to_string());
    assert_eq!(operator.outcome_within(4, LIMIT).must("an answer")["result"], "accepted");
    publish(&gateway, 2);
    events.wait_arrival("what the rule makes", LIMIT, |topic, _| topic == "new/hot");

    // Numbers grow; the last one is answered as before.
    operator.expect(2, "", "refused", "greater than 4");
    let count = operator.answers().len();
    operator.expect(4, "other", "accepted", "");
    assert!(operator.answers().len() <= count + 1, "nothing is tried twice");
    operator.expect(5, "", "accepted", "");
    let before = events.count();
    publish(&gateway, 3);
    events.wait_count(before + 2, LIMIT);
    assert!(events.arrivals().iter().any(|(topic, _)| topic == "events/d"), "as the files have it");
    gateway.stop();
}

#[test]
fn what_is_wrong_is_refused_as_a_whole_and_says_so() {
    let cloud = Broker::start();
    let mut operator = Operator::new(&cloud);
    let gateway = start(&cloud, "");
    let before = command(&gateway, &["config", "show"]).stdout;
    let port = Port::reserve().number();
    for (config, said) in [
        ("[limits]\nconections_max = 1\n", "did you mean `connections_max`"),
        ("[limits\n", "config:4:8"),
        (
            "[buffer]\nmax_bytes = \"64 MiB\"\n",
            "needs a restart, which is not done from afar: buffer: max_bytes",
        ),
        (&format!("[[listener]]\nbind = \"127.0.0.1:{port}\"\n"), "needs a restart"),
        ("[gateway]\nid = \"other\"\n", "gateway: id"),
        (
            "[[uplink]]\nname = \"cloud\"\nremote_config = { topic = \"x\" }\n",
            "not decided by those who send them",
        ),
        (
            "[[uplink]]\nname = \"cloud\"\nusername = \"u\"\npassword = { command = [\"/bin/true\"] }\n",
            "not named from afar",
        ),
    ] {
        let config =
            format!("{}{config}", if config.contains("cloud") { String::new() } else { topic("new") });
        operator.expect(1, &config, "refused", said);
        // It can be mended and sent again, but is another answer then.
        operator.collector = Collector::start(&cloud, &[ANSWERS]);
    }
    for (payload, said) in [
        ("nonsense", "no command"),
        ("{\"sequence\": 1, \"gateway\": \"g\", \"config\": \"\"}", "for gateway `g`"),
    ] {
        operator.send(payload);
        operator
            .collector
            .wait_arrival(said, LIMIT, |_, answer| answer.contains(said) && answer.contains("refused"));
    }
    assert_eq!(command(&gateway, &["config", "show"]).stdout, before);
    operator.expect(1, &topic("new"), "accepted", "");
}

#[test]
fn a_wrong_endpoint_or_certificate_is_taken_back_also_by_a_kill_in_the_midst_of_the_trial() {
    let cloud = Broker::start();
    let events = Collector::start(&cloud, &["+/events/#", "events/#"]);
    let mut operator = Operator::new(&cloud);
    let mut gateway = start(&cloud, "");
    let mut devices = [Device::raw(Plan::new("d", gateway.port(), 0..3000).paced(200))];
    let nobody = Port::reserve();
    let wrong = |url: &str, more: &str| format!("[[uplink]]\nname = \"cloud\"\nurl = \"{url}\"\n{more}");
    let endpoint = wrong(&format!("mqtt://127.0.0.1:{}", nobody.number()), "");
    operator.expect(1, &endpoint, "rolled-back", "did not acknowledge the answer in time");
    let stranger = Stranger::start();
    let certificate = wrong(&stranger.url(), &stranger.tls);
    operator.expect(2, &certificate, "rolled-back", "in time");
    assert!(gateway.log().contains("invalid peer certificate"), "{}", gateway.log());

    operator.send(&json!({ "sequence": 3, "config": endpoint }).to_string());
    // Each of those before was a reload there and one back.
    wait_for("the trial in effect", LIMIT, || gateway.log().matches("reloaded").count() >= 5);
    gateway.kill();
    gateway.restart();
    let answer = operator.outcome_within(3, LIMIT).must("an answer");
    assert_eq!(answer["result"], "rolled-back", "{answer}");
    assert!(answer["why"].as_str().is_some_and(|why| why.contains("started anew")), "{answer}");

    operator.expect(4, &topic("new"), "accepted", "");
    fleet::finish(&mut devices);
    let all = || events.arrivals().into_iter().map(|(topic, payload)| (plain(&topic), payload));
    within(LIMIT, || (all().count() >= 3000).then_some(())).must("all events");
    let arrivals: Vec<(String, String)> = all().collect();
    let accounts: Vec<_> = devices.iter().map(Device::account).collect();
    let arrivals = arrivals.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str()));
    tidegate_tests::oracle::audit(&accounts, arrivals).assert_whole();
}

/// The topic as the device had it.
fn plain(topic: &str) -> String {
    topic.find("events/").and_then(|at| topic.get(at..)).unwrap_or(topic).to_owned()
}

#[test]
fn with_a_key_only_what_is_signed_by_it_counts_and_a_sender_may_say_where_the_answer_goes() {
    let cloud = Broker::start();
    let mut operator = Operator::new(&cloud);
    let keys = tempfile::tempdir().must("a folder");
    let path = |name: &str| keys.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().must("run openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &path("key.pem")]);
    openssl(&["pkey", "-in", &path("key.pem"), "-pubout", "-out", &path("config.pub")]);
    let gateway = start(&cloud, &format!(", public_key = \"{}\"", path("config.pub")));
    let signed = |text: &str| {
        fs::write(path("command.json"), text).must("write the command");
        let (key, text_file, out) = (path("key.pem"), path("command.json"), path("signature"));
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &text_file, "-out", &out]);
        openssl(&["base64", "-A", "-in", &out, "-out", &path("signature.txt")]);
        let signature = fs::read_to_string(path("signature.txt")).must("the signature");
        json!({ "signed": text, "signature": signature }).to_string()
    };
    let text = json!({ "sequence": 1, "gateway": "gw", "config": topic("new") }).to_string();
    for (payload, said) in [
        (text.clone(), "takes signed commands"),
        (signed(&text).replace("new", "old"), "not that of the gateway"),
    ] {
        operator.send(&payload);
        operator.collector.wait_arrival(said, LIMIT, |_, answer| answer.contains(said));
    }
    // MQTT 5: a response topic, and what tells answers apart.
    let port = cloud.port().to_string();
    let mut request = Command::new("mosquitto_rr");
    request.args([
        "-V",
        "5",
        "-p",
        &port,
        "-q",
        "1",
        "-W",
        "20",
        "-t",
        COMMANDS,
        "-e",
        "my/answers",
        "-m",
        &signed(&text),
    ]);
    request.args(["-D", "publish", "correlation-data", "7", "-F", "%D %p"]);
    let answered = client::run("mosquitto-clients", &mut request);
    assert!(
        answered.said.starts_with("7 {") && answered.said.contains("\"result\":\"trial\""),
        "{}",
        answered.said
    );
    // What was signed once does not count twice, with whatever answer.
    operator.send(&signed(&text));
    let answer = operator.outcome_within(1, LIMIT).must("an answer");
    assert!(["accepted", "rolled-back"].map(Value::from).contains(&answer["result"]), "{answer}");
    let shown = command(&gateway, &["config", "show"]);
    assert!(shown.stdout.contains("config.pub"), "{shown:?}");
}

fn rounds() -> u64 {
    std::env::var("TIDEGATE_REMOTE_CONFIGS")
        .map_or(10, |count| count.parse().must("a number in TIDEGATE_REMOTE_CONFIGS"))
}

#[test]
fn kills_at_any_moment_of_applying_strand_no_gateway_and_lose_no_event() {
    const EACH: u64 = 300;
    let (rounds, mut random) = (rounds(), Random::new(Random::seed()));
    let cloud = Broker::start();
    let events = Collector::start(&cloud, &["+/events/#", "events/#"]);
    let mut operator = Operator::new(&cloud);
    let mut gateway = start(&cloud, "");
    let (nobody, stranger) = (Port::reserve(), Stranger::start());
    let mut devices = ["a", "b"]
        .map(|name| Device::raw(Plan::new(name, gateway.port(), 0..rounds * EACH).paced(100).window(20)));
    let uplink = |lines: &str| format!("[[uplink]]\nname = \"cloud\"\n{lines}\n");
    let mut in_effect = "events/".to_owned();
    for sequence in 1..=rounds {
        let good = topic(&format!("r{sequence}"));
        // The first is good and left alone: from then on, there is something to lose.
        let (config, is_good) = match random.below(4) {
            _ if sequence == 1 => (good, true),
            0 => (uplink("window = 0"), false),
            1 => (uplink(&format!("url = \"mqtt://127.0.0.1:{}\"", nobody.number())), false),
            2 => (uplink(&format!("url = \"{}\"\n{}", stranger.url(), stranger.tls)), false),
            _ => (good, true),
        };
        operator.send(&json!({ "sequence": sequence, "config": config }).to_string());
        if sequence > 1 && !random.once_in(5) {
            // From before it is read to after it is confirmed.
            std::thread::sleep(random.millis(0..60));
            gateway.kill();
            gateway.restart();
        }
        let answer = operator.ask(sequence, &config);
        let expected: &[&str] =
            if is_good { &["accepted", "rolled-back"] } else { &["refused", "rolled-back"] };
        assert!(expected.iter().any(|result| answer["result"] == *result), "{config}: {answer}");
        if answer["result"] == "accepted" {
            in_effect = format!("topic = \"r{sequence}/{{topic}}\"");
        }
        assert!(sequence > 1 || answer["result"] == "accepted", "the first: {answer}");
        let status = command(&gateway, &["status", "--json"]).stdout;
        let status: Value = serde_json::from_str(&status).must("JSON");
        let standing = &status["remote_config"];
        // What is refused is not tried, so the one before stands.
        assert!(
            standing["result"] == answer["result"] || answer["result"] == "refused",
            "{answer} {standing}"
        );
        let shown = command(&gateway, &["config", "show"]).stdout;
        assert!(shown.contains(&in_effect), "round {sequence}: no {in_effect} in {shown}");
    }
    let last = operator.ask(rounds + 1, &topic("last"));
    assert_eq!(last["result"], "accepted", "not stranded: {last}");
    fleet::finish(&mut devices);
    let count = usize::try_from(2 * rounds * EACH).must("a count");
    within(LIMIT, || (events.count() >= count).then_some(())).must("all events");
    let arrivals: Vec<_> =
        events.arrivals().into_iter().map(|(topic, payload)| (plain(&topic), payload)).collect();
    let accounts: Vec<_> = devices.iter().map(Device::account).collect();
    tidegate_tests::oracle::audit(
        &accounts,
        arrivals.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())),
    )
    .assert_whole();
    gateway.stop();
}
