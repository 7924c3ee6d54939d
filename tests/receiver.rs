//! The receiver of docs/receiver.md, run as it stands there: each event exactly once, single or in batches, whatever is cut or
//! killed on the way.

use std::fs;
use std::path::Path;
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

/// What stands in the page's block of this language.
fn block(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receiver.md");
    let page = fs::read_to_string(page).must("read docs/receiver.md");
    let (_, rest) = page.split_once(&format!("```{language}\n")).must("a block of it in docs/receiver.md");
    rest.split_once("```").must("its end").0.to_owned()
}

/// The program of the page.
fn recipe(folder: &Path) {
    fs::write(folder.join("receiver.py"), block("python")).must("write the program");
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
        let said = self.query("SELECT topic || ' ' || CAST(payload AS TEXT) FROM event ORDER BY time, id");
        let row =
            |line: &str| line.split_once(' ').map(|(topic, payload)| (topic.to_owned(), payload.to_owned()));
        said.lines().filter_map(row).collect()
    }

    /// How many are in its table.
    fn count(&self) -> u64 {
        self.query("SELECT count(*) FROM event").trim().parse().must("a count")
    }

    /// What a query says, a line for each row of one column.
    fn query(&self, query: &str) -> String {
        let program = "import sqlite3, sys\n\
                       for row in sqlite3.connect(sys.argv[1], timeout=60).execute(sys.argv[2]): print(*row)";
        let database = self.folder.path().join("events.db");
        let mut python = Command::new("/usr/bin/python3");
        let ended = client::run("python3", python.args(["-c", program]).arg(database).arg(query));
        ended.assert_ok();
        ended.said
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
    let limit = LIMIT + Duration::from_millis(20) * u32::try_from(cuts).must("count cuts");
    wait_for("every event is in the table", limit, || way.receiver.count() >= cuts * EVENTS_PER_CUT);
    // What a device sent twice counts as two: the last may still be on the way.
    let mut rows = Vec::new();
    wait_for("none is missing", limit, || {
        rows = way.receiver.rows();
        audit(&accounts, &rows).lost.is_empty()
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

/// Two of these four are one, and have to be in the table once; the one that was there first stays.
const ARRIVALS: [(&str, &str); 4] =
    [("gw-1", "first"), ("gw-2", "other"), ("gw-1", "again"), ("gw-3", "last")];
const IN_THE_TABLE: &str = "gw-1 first\ngw-2 other\ngw-3 last";

#[test]
fn the_sql_of_the_page_keeps_each_id_once_in_sqlite() {
    let program = "import sqlite3, sys\n\
                   create, insert = [part for part in sys.argv[1].split(';') if part.strip()]\n\
                   store = sqlite3.connect(':memory:')\n\
                   for _ in range(2): store.execute(create)\n\
                   for arrival in sys.argv[2:]:\n\
                   \tid, payload = arrival.split()\n\
                   \tstore.execute(insert, dict(id=id, topic='t', time=1700000000000, payload=payload))\n\
                   for row in store.execute('SELECT id, payload FROM event ORDER BY id'): print(*row)";
    let arrivals = ARRIVALS.map(|(id, payload)| format!("{id} {payload}"));
    let mut python = Command::new("/usr/bin/python3");
    let ended = client::run("python3", python.args(["-c", program, &block("sql")]).args(arrivals));
    ended.assert_ok();
    assert_eq!(ended.said.trim(), IN_THE_TABLE);
}

/// In the folder of the server's programs.
fn postgres(folder: &Path, program: &str, arguments: &[&str]) -> client::Ended {
    // It refuses to run as root; its package has made a user for it.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    client::run("postgresql", command.arg(folder.join(program)).args(arguments).current_dir("/"))
}

#[test]
fn the_sql_of_the_page_keeps_each_id_once_in_postgresql() {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let Some(programs) = versions.map(|version| version.path().join("bin")).max() else {
        eprintln!("SKIPPED: there is no PostgreSQL (apt-get install postgresql)");
        return;
    };
    // Changed as the page says.
    let sql =
        block("sql").replace(" WITHOUT ROWID", "").replace("BLOB", "BYTEA").replace("INTEGER", "BIGINT");
    let (create, insert) = sql.split_once(';').must("two statements");
    let inserts = ARRIVALS.map(|(id, payload)| {
        let insert = insert.replace(":id", &format!("'{id}'")).replace(":payload", &format!("'{payload}'"));
        insert.replace(":topic", "'t'").replace(":time", "1700000000000")
    });
    let select = "SELECT id || ' ' || convert_from(payload, 'UTF8') FROM event ORDER BY id;";
    let text = format!("{create};{create};{}{select}", inserts.concat());

    let folder = TempDir::new().must("make a temporary folder");
    let own = Command::new("chown").arg("postgres").arg(folder.path()).status();
    assert!(own.must("run chown").success());
    let data = folder.path().join("data");
    let (data, socket) =
        (data.to_str().must("a path of text"), folder.path().to_str().must("a path of text"));
    postgres(&programs, "initdb", &["-D", data, "-A", "trust", "--no-sync"]).assert_ok();
    let options = format!("-c listen_addresses= -c unix_socket_directories={socket}");
    postgres(
        &programs,
        "pg_ctl",
        &["-D", data, "-w", "-l", &format!("{socket}/log"), "-o", &options, "start"],
    )
    .assert_ok();
    let ended = postgres(&programs, "psql", &["-h", socket, "-d", "postgres", "-qtA", "-c", &text]);
    postgres(&programs, "pg_ctl", &["-D", data, "-m", "immediate", "stop"]).assert_ok();
    ended.assert_ok();
    assert!(ended.said.trim().starts_with(IN_THE_TABLE), "{}", ended.said);
}
