//! The listener alone: what devices cost a gateway, tidegate beside a mosquitto, in the same run.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::Builder;
use tidegate_tests::wire::Version;
use tidegate_tests::{Authority, Broker, Connection, Gateway, Must, Port, usage, wait_for};

use crate::load::Shape;
use crate::number;

const LIMIT: Duration = Duration::from_secs(120);
const CONNECTS: u32 = 2000;
const IDLE: u64 = 800;

/// Which server, as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tidegate,
    Mosquitto,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Tidegate, Kind::Mosquitto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Mosquitto => "mosquitto",
        }
    }
}

/// The loads of the requirement.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape {
        name: "1 device, window 100, flat out",
        devices: 1,
        window: 100,
        events_per_s: None,
        events: 40_000,
    },
    Shape {
        name: "100 devices, window 10, flat out",
        devices: 100,
        window: 10,
        events_per_s: None,
        events: 40_000,
    },
    Shape {
        name: "100 devices, 10,000/s in all",
        devices: 100,
        window: 100,
        events_per_s: Some(10_000),
        events: 40_000,
    },
    Shape {
        name: "100 devices, 2,000/s in all",
        devices: 100,
        window: 100,
        events_per_s: Some(2_000),
        events: 8_000,
    },
];

/// What becomes of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing asks for it.
    Taken,
    /// It is for a cloud that is away. tidegate acknowledges it when it is on disk; mosquitto when it is in memory.
    Kept,
}

impl Fate {
    pub(crate) const ALL: [Fate; 2] = [Fate::Taken, Fate::Kept];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fate::Taken => "taken, for nobody",
            Fate::Kept => "kept for a cloud that is away",
        }
    }
}

/// Publishes of one shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishes {
    pub(crate) cpu_us_per_event: f64,
    pub(crate) events_per_s: f64,
}

/// What connections cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connections {
    pub(crate) per_s: f64,
    pub(crate) cpu_us_each: f64,
    pub(crate) rss_idle_kib: f64,
    pub(crate) plain_kib_each: f64,
    pub(crate) tls_kib_each: f64,
}

/// A gateway of either kind, with a port of TLS beside the plain one.
enum Server {
    Tidegate(Box<Gateway>),
    Mosquitto(Box<Broker>),
}

impl Server {
    fn start(kind: Kind, fate: Fate, binary: &Path, folder: &str, away: u16, tls: (&Authority, u16)) -> Self {
        let (authority, tls_port) = tls;
        let [cert, key] = ["server.crt", "server.key"].map(|name| authority.path(name));
        match kind {
            Kind::Tidegate => {
                let limits = "connections_max = 3000\nconnections_per_address_max = 3000\nconnects_per_s_max = 1000000";
                let listener = format!(
                    "[[listener]]\nbind = \"127.0.0.1:{tls_port}\"\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}"
                );
                let builder = Builder::new(binary.to_owned(), folder).limits(limits).tables(&listener);
                let builder = if fate == Fate::Kept { builder.uplink(away) } else { builder };
                Self::Tidegate(Box::new(builder.start()))
            }
            Kind::Mosquitto => {
                let mut listener = format!("listener {tls_port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\n");
                if fate == Fate::Kept {
                    listener += &format!(
                        "connection cloud\naddress 127.0.0.1:{away}\ntopic events/# out 1\ncleansession false\n"
                    );
                }
                let global = "max_inflight_messages 100\nmax_queued_messages 0\nset_tcp_nodelay true\n";
                let setup = Setup { persistent: true, global, listener: &listener, ..Setup::default() };
                Self::Mosquitto(Box::new(Broker::with(setup)))
            }
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Tidegate(gateway) => gateway.port(),
            Self::Mosquitto(broker) => broker.port(),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Tidegate(gateway) => gateway.pid(),
            Self::Mosquitto(broker) => broker.pid(),
        }
    }
}

/// Measures one shape on a fresh gateway.
pub(crate) fn publishes(kind: Kind, fate: Fate, shape: Shape, binary: &Path, folder: &str) -> Publishes {
    let (authority, tls_port, away) = (authority(), Port::reserve(), Port::reserve());
    let server = Server::start(kind, fate, binary, folder, away.number(), (&authority, tls_port.number()));
    let mut devices = shape.devices(server.port());
    let before = usage::cpu_of_threads(server.pid());
    let start = Instant::now();
    shape.drive(&mut devices);
    let elapsed = start.elapsed();
    let cpu = usage::cpu_of_threads(server.pid()).saturating_sub(before);
    Publishes {
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / number(shape.events),
        events_per_s: number(shape.events) / elapsed.as_secs_f64(),
    }
}

/// Measures connections, each kind on a fresh gateway: what one has freed another would use again.
pub(crate) fn connections(kind: Kind, binary: &Path, folder: &str) -> Connections {
    let (authority, tls_port) = (authority(), Port::reserve());
    let start = || Server::start(kind, Fate::Taken, binary, folder, 0, (&authority, tls_port.number()));
    let ca = authority.path("ca.crt");
    let tls_kib_each = idle(&start(), tls_port.number(), Some(&ca));
    let server = start();
    drop(Connection::clean(server.port(), Version::V311, "first"));
    let rss_idle_kib = number(usage::rss_kib(server.pid()));
    let plain_kib_each = idle(&server, server.port(), None);

    let (started, before) = (Instant::now(), usage::cpu_of_threads(server.pid()));
    for number in 0..CONNECTS {
        Connection::clean(server.port(), Version::V311, &format!("connect-{number}")).cut();
    }
    let elapsed = started.elapsed();
    let cpu = usage::cpu_of_threads(server.pid()).saturating_sub(before);
    Connections {
        per_s: f64::from(CONNECTS) / elapsed.as_secs_f64(),
        cpu_us_each: cpu.as_secs_f64() * 1e6 / f64::from(CONNECTS),
        rss_idle_kib,
        plain_kib_each,
        tls_kib_each,
    }
}

/// How much larger the server is for each of many connections that do nothing.
fn idle(server: &Server, port: u16, ca: Option<&str>) -> f64 {
    let before = usage::rss_kib(server.pid());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/idle.py");
    let mut client = Command::new("/usr/bin/python3");
    client.arg(script).args([port.to_string(), IDLE.to_string()]).args(ca);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().must("run python3");
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(client.stdout.take().must("its output"));
    std::io::BufRead::read_line(&mut stdout, &mut said).must("hear of it");
    assert_eq!(said.trim(), "idle");
    let more = usage::rss_kib(server.pid()).saturating_sub(before);
    // Its input ends, and with it the connections.
    drop(client.stdin.take().map(|mut stdin| stdin.flush()));
    wait_for("the end of the idle clients", LIMIT, || client.try_wait().must("wait for it").is_some());
    number(more) / number(IDLE)
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("server", "localhost", "DNS:localhost");
    authority
}
