//! The receiver of docs/receiver.md, run as it stands there: each event exactly once, single or in batches, whatever is cut or
//! killed on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::broker::Setup;
use tidegate_tests::process::Process;
use tidegate_tests::wire::{self, Connect, Version};
use tidegate_tests::{
    Broker, Connection, Device, Gateway, Must, Plan, Random, Relay, client, device, gateway, oracle, wait_for,
};

const EVENTS_PER_CUT: u64 = 100;
const EVENTS_PER_S: u32 = 1000;
const LIMIT: Duration = Duration::from_secs(30);

/// How many cuts there are in each format: `TIDEGATE_CUTS`, or a few.
fn cuts() -> u64 {
    std::env::var("TIDEGATE_CUTS").map_or(8, |cuts| cuts.parse().must("a number in TIDEGATE_CUTS"))
}

/// The program of the page.
fn recipe(folder: &Path) -> PathBuf {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receiver.md");
    let page = fs::read_to_string(page).must("read docs/receiver.md");
    let (_, rest) = page.split_once("```python\n").must("a program in docs/receiver.md");
    let (program, _) = rest.split_once("```").must("the end of the program");
    let path = folder.join("receiver.py");
    fs::write(&path, program).must("write the program");
    path
}

/// The receiver and its folder.
struct Receiver {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Receiver {
    /// Starts it; the broker keeps its session from then on.
    fn start(port: u16) -> Self {
        let kept = Connect::kept(Version::V5, "receiver");
        let mut session = Connection::open(port, &kept).must("open the receiver's session");
        session.send(&wire::subscribe(Version::V5, 1, &[("cloud/#", 1)])).must("subscribe");
        assert_eq!(session.expect("a SUBACK").kind(), 9);
        session.cut();
        let folder = TempDir::new().must("make a temporary folder");
        recipe(folder.path());
        let process = Self::run(folder.path(), port);
        Self { folder, port, process }
    }

    fn run(folder: &Path, port: u16) -> Process {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(folder.join("receiver.py")).args(["127.0.0.1", &port.to_string(), "cloud/#"]);
        command.arg(folder.join("events.db"));
        Process::start("the receiver", "python3-paho-mqtt python3-zstandard python3-cbor2", &mut command)
    }

    fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = Self::run(self.folder.path(), self.port);
    }

    /// What is in its table: topic and payload.
    fn rows(&self) -> Vec<(String, String)> {
        let query = "import sqlite3, sys\n\
                     rows = sqlite3.connect(sys.argv[1], timeout=60).execute('SELECT topic, payload FROM event ORDER BY time, id')\n\
                     for topic, payload in rows: print(topic, payload.decode())";
        let database = self.folder.path().join("events.db");
        let ended =
            client::run("python3", Command::new("/usr/bin/python3").args(["-c", query]).arg(database));
        ended.assert_ok();
        let row =
            |line: &str| line.split_once(' ').map(|(topic, payload)| (topic.to_owned(), payload.to_owned()));
        ended.said.lines().filter_map(row).collect()
    }
}

/// Everything between the device and the table.
struct Way {
    relay: Relay,
    gateway: Gateway,
    receiver: Receiver,
    _broker: Broker,
}

impl Way {
    fn new(lines: &str) -> Self {
        let broker = Broker::with(Setup { persistent: true, ..Setup::default() });
        let receiver = Receiver::start(broker.port());
        let relay = Relay::start(broker.port(), Version::V5);
        let builder = gateway!().uplink(relay.port());
        let gateway = builder.uplink_with(&format!("topic = \"cloud/{{topic}}\"\n{lines}")).start();
        Self { relay, gateway, receiver, _broker: broker }
    }

    fn cut(&mut self, random: &mut Random) {
        match random.within(0..4) {
            0 => {
                self.gateway.kill();
                self.gateway.restart();
            }
            1 => self.receiver.kill_and_restart(),
            _ => self.relay.drop_connections(),
        }
    }
}

fn audit(accounts: &[oracle::Account], rows: &[(String, String)]) -> oracle::Findings {
    let arrivals = rows.iter().map(|(topic, payload)| (topic.trim_start_matches("cloud/"), payload.as_str()));
    oracle::audit(accounts, arrivals)
}

fn each_event_once(lines: &str) {
    let mut random = Random::new(Random::seed());
    let mut way = Way::new(lines);
    let cuts = cuts();
    let plan = Plan::new("d", way.gateway.port(), 0..cuts * EVENTS_PER_CUT).paced(EVENTS_PER_S);
    let mut devices = [Device::raw(plan)];
    for cut in 0..cuts {
        let due = cut * EVENTS_PER_CUT + random.within(0..EVENTS_PER_CUT);
        device::wait_acked(&devices, usize::try_from(due).must("count events"), LIMIT);
        way.cut(&mut random);
    }
    device::finish_all(&mut devices, LIMIT);
    let accounts = device::accounts(&devices);
    let mut rows = Vec::new();
    // It commits event by event, if they come so.
    let limit = LIMIT + Duration::from_millis(300) * u32::try_from(cuts).must("count cuts");
    wait_for("every event is in the table", limit, || {
        rows = way.receiver.rows();
        rows.len() as u64 >= cuts * EVENTS_PER_CUT && audit(&accounts, &rows).lost.is_empty()
    });
    // A few cuts may all fall between two events.
    assert!(way.relay.record().repeats() > 0 || cuts < 100, "nothing came twice to be dropped");
    let findings = audit(&accounts, &rows);
    // What the device itself sent again, since the gateway was killed before it could acknowledge, is another event.
    assert!(
        findings.lost.is_empty() && findings.invented.is_empty() && findings.damaged.is_empty(),
        "{findings}"
    );
    assert!(findings.repeated.is_empty(), "{findings}");
}

#[test]
fn single_events_are_each_in_the_table_once() {
    each_event_once("");
}

#[test]
fn events_in_lines_of_json_are_each_in_the_table_once() {
    each_event_once("batch = { topic = \"cloud/batch\", format = \"json-lines\", events_max = 20 }");
}

#[test]
fn events_in_compressed_cbor_are_each_in_the_table_once() {
    each_event_once("batch = { topic = \"cloud/batch\", format = \"cbor-array\", compress = \"zstd\" }");
}
