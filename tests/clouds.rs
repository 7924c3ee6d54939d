//! The uplinks of docs/clouds.md as they stand there, against stand-ins with the demands of their clouds: protocol name and
//! certificate in TLS, client id, user name and password, version, sizes, topics, qualities of service. What does not fit is refused
//! there as the cloud would, so each demand is shown to be one by a setting that breaks it.
//!
//! The gateway connects to the hosts and ports of the page; a proxy leads it to the stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tidegate_tests::stand_in::{Demands, Login, StandIn};
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Authority, Connection, Device, Gateway, Must, Plan, Proxy, device, gateway, wait_for};

const EVENTS: u64 = 300;
const LIMIT: Duration = Duration::from_secs(20);
const PASSWORD: &str = "secret of plant-7";
/// What the example for Azure calls to make a token.
const SAS_TOKEN: &str = "/usr/local/bin/sas-token";

/// A cloud of the page.
struct Cloud {
    /// Its heading.
    name: &'static str,
    demands: Demands,
    /// Where the gateway has to want to go.
    host_and_port: &'static str,
}

const AWS: &[Login] = &[
    Login { client_id: "plant-7", credentials: None },
    // The downlink.
    Login { client_id: "plant-7-down", credentials: None },
];

fn aws() -> Cloud {
    let hosts = &["a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"];
    let demands = Demands {
        alpn: Some("x-amzn-mqtt-ca"),
        client_certificate: true,
        keep_alive_s: 30..=1200,
        packet_bytes_max: 128 << 10,
        levels_max: 8,
        qos_max: 1,
        retains: false,
        unacknowledged_max: 100,
        command: Some(("cmd/plant-7/valve", "open")),
        ..Demands::new(hosts, AWS)
    };
    Cloud {
        name: "AWS IoT Core",
        demands,
        host_and_port: "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com:443",
    }
}

const AZURE: &[Login] = &[
    Login {
        client_id: "plant-7",
        credentials: Some(("plant.azure-devices.net/plant-7/?api-version=2021-04-12", "token of plant-7")),
    },
    // The identity of the source.
    Login {
        client_id: "plant-7-commands",
        credentials: Some((
            "plant.azure-devices.net/plant-7-commands/?api-version=2021-04-12",
            "token of plant-7-commands",
        )),
    },
];

fn azure() -> Cloud {
    let demands = Demands {
        versions: &[Version::V311],
        keep_alive_s: 1..=1767,
        packet_bytes_max: 256 << 10,
        topic_prefix: "devices/plant-7/messages/events/",
        qos_max: 1,
        retains: false,
        command: Some(("devices/plant-7-commands/messages/devicebound/valve", "open")),
        ..Demands::new(&["plant.azure-devices.net"], AZURE)
    };
    Cloud { name: "Azure IoT Hub", demands, host_and_port: "plant.azure-devices.net:8883" }
}

const HIVEMQ_HOST: &str = "0123456789abcdef.s1.eu.hivemq.cloud";

fn hivemq() -> Cloud {
    const LOGINS: &[Login] = &[
        Login { client_id: "tidegate-plant-7-hivemq", credentials: Some(("plant-7", PASSWORD)) },
        Login { client_id: "tidegate-plant-7-hivemq-down", credentials: Some(("plant-7", PASSWORD)) },
    ];
    let demands = Demands {
        websocket: Some("/mqtt"),
        packet_bytes_max: 5 << 20,
        topic_prefix: "gw/plant-7/",
        command: Some(("cmd/plant-7/valve", "open")),
        ..Demands::new(&[HIVEMQ_HOST], LOGINS)
    };
    Cloud { name: "HiveMQ", demands, host_and_port: "0123456789abcdef.s1.eu.hivemq.cloud:8884" }
}

fn emqx() -> Cloud {
    const LOGINS: &[Login] = &[
        Login { client_id: "tidegate-plant-7-emqx", credentials: Some(("plant-7", PASSWORD)) },
        Login { client_id: "tidegate-plant-7-emqx-down", credentials: Some(("plant-7", PASSWORD)) },
    ];
    let demands = Demands {
        versions: &[Version::V5],
        topic_prefix: "gw/plant-7/",
        unacknowledged_max: 32,
        command: Some(("cmd/plant-7/valve", "open")),
        ..Demands::new(&["emqx-1.example.com", "emqx-2.example.com"], LOGINS)
    };
    Cloud { name: "EMQX", demands, host_and_port: "emqx-1.example.com:8883" }
}

fn rabbitmq() -> Cloud {
    const LOGINS: &[Login] = &[
        Login { client_id: "plant-7", credentials: Some(("telemetry:plant-7", PASSWORD)) },
        Login { client_id: "plant-7-down", credentials: Some(("telemetry:plant-7", PASSWORD)) },
    ];
    let demands = Demands {
        versions: &[Version::V311],
        topic_prefix: "gw/plant-7/",
        qos_max: 1,
        command: Some(("cmd/plant-7/valve", "open")),
        ..Demands::new(&["rabbitmq.example.com"], LOGINS)
    };
    Cloud { name: "RabbitMQ", demands, host_and_port: "rabbitmq.example.com:8883" }
}

/// The block below a heading of the page.
fn block(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clouds.md");
    let page = fs::read_to_string(page).must("read docs/clouds.md");
    let section = page.split(&format!("\n## {name}\n")).nth(1).must("its section");
    let (_, rest) = section.split_once("```toml\n").must("its block");
    rest.split_once("```").must("the end of its block").0.to_owned()
}

/// A gateway with the example, through a proxy to a stand-in.
struct Site {
    stand_in: StandIn,
    proxy: Proxy,
    gateway: Gateway,
    // The gateway reads its files at each connection.
    _authority: Authority,
}

impl Site {
    /// With the example as it stands, but for one text that is another; further routes may be added.
    fn start(cloud: &Cloud, change: (&str, &str), routes: &str) -> Self {
        let authority = Authority::new();
        let stand_in = StandIn::start(cloud.demands.clone(), &authority);
        let proxy = Proxy::leading_to(stand_in.port());
        let mut builder = gateway!().rules("routes.toml", routes);
        let folder = builder.dir().to_owned();
        write_files(&folder, &authority);
        let token = folder.join("sas-token");
        let through = format!("proxy = \"http://127.0.0.1:{}\"", proxy.port());
        let lines = |table: &str| format!("{table}\n{through}");
        let example = block(cloud.name);
        assert!(example.contains(change.0), "nothing to change in {}: {}", cloud.name, change.0);
        let example = example
            .replace(change.0, change.1)
            .replace(SAS_TOKEN, token.to_str().must("a path of text"))
            .replace("[[uplink]]", &lines("[[uplink]]"))
            .replace("[[source]]", &lines("[[source]]"));
        let environment = [
            ("CREDENTIALS_DIRECTORY", folder.to_str().must("a path of text").to_owned()),
            // Where no file is named, the authorities are those of the system.
            ("SSL_CERT_FILE", authority.path("ca.crt")),
        ];
        for (name, value) in environment {
            builder = builder.environment(name, &value);
        }
        let gateway = builder.start_from(|port| {
            format!(
                "gateway.id = \"plant-7\"\naccess.anonymous = true\nbuffer.dir = \"buffer\"\n\
                 [[listener]]\nbind = \"127.0.0.1:{port}\"\n{example}"
            )
        });
        Self { stand_in, proxy, gateway, _authority: authority }
    }

    fn refusals(&self) -> Vec<String> {
        self.stand_in.story().refusals.clone()
    }
}

/// What the examples name: certificates, passwords, and a program that makes tokens.
fn write_files(folder: &Path, authority: &Authority) {
    authority.issue("device", "plant-7", "DNS:plant-7");
    for (from, to) in [
        ("ca.crt", "AmazonRootCA1.pem"),
        ("device.crt", "plant-7.pem.crt"),
        ("device.key", "plant-7.pem.key"),
    ] {
        fs::copy(authority.path(from), folder.join(to)).must("copy a file");
    }
    for name in ["hivemq-password", "emqx-password", "rabbitmq-password"] {
        fs::write(folder.join(name), PASSWORD).must("write a password");
    }
    let token = folder.join("sas-token");
    fs::write(&token, "#!/bin/sh\necho \"token of $1\"\n").must("write a program");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o755)).must("let it be run");
}

/// All that devices may do reaches the cloud, which refuses nothing; and a command comes down.
fn example_fits(cloud: &Cloud, topic_of_command: &str) {
    let unchanged = ("[[uplink]]", "[[uplink]]");
    let site = Site::start(cloud, unchanged, "");
    let mut local = Connection::clean(site.gateway.port(), Version::V5, "local");
    local.send(&wire::subscribe(Version::V5, 1, &[("cmd/#", 1)])).must("subscribe");
    assert_eq!(local.expect("a SUBACK").kind(), 9);

    let mut devices = [Device::raw(Plan::new("d", site.gateway.port(), 0..EVENTS))];
    device::finish_all(&mut devices, LIMIT);
    // What a cloud may not take, devices send all the same: retained, with QoS 2, and about as large as they may.
    let mut other = Connection::clean(site.gateway.port(), Version::V5, "other");
    let large = vec![b'x'; 100 << 10];
    for packet in [
        wire::retained(wire::publish(Version::V5, "events/retained", b"kept", 1, 1)),
        wire::publish(Version::V5, "events/exact", b"once", 2, 2),
        wire::publish(Version::V5, "events/large", &large, 1, 3),
        wire::pubrel(2),
    ] {
        other.send(&packet).must("publish");
    }
    let events = usize::try_from(EVENTS).must("count events");
    wait_for("all events are there", LIMIT, || arrived(&site) >= events + 3);
    let command = local.expect_publish("the command");
    assert_eq!((command.topic.as_str(), &command.payload[..]), (topic_of_command, &b"open"[..]));
    wait_for("the command is acknowledged", LIMIT, || site.stand_in.story().commands_acked > 0);
    assert_eq!(site.refusals(), [""; 0], "{}", site.gateway.log());
    assert!(site.proxy.asked().iter().all(|asked| asked == cloud.host_and_port), "{:?}", site.proxy.asked());
}

/// How many events have arrived, each a publish or one of a batch.
fn arrived(site: &Site) -> usize {
    let count = |(topic, payload): &(String, Vec<u8>)| match () {
        () if topic.ends_with("/status") => 0,
        () if topic.ends_with("/batch") || topic.ends_with("/messages/events/") => {
            serde_json::from_slice::<Vec<serde_json::Value>>(payload).must("a batch").len()
        }
        () => 1,
    };
    site.stand_in.story().arrivals.iter().map(count).sum()
}

/// Each of these changes of the example is refused there, for a reason that has this text in it.
fn each_demand_counts(cloud: &Cloud, changes: &[(&str, &str, &str)]) {
    for (from, to, why) in changes {
        let site = Site::start(cloud, (from, to), "");
        let mut device = Connection::clean(site.gateway.port(), Version::V5, "d");
        // As many levels as a device may have in front of a cloud that wants fewer, and more than a packet there may have.
        device
            .send(&wire::publish(Version::V5, "events/1/2/3/4/5/6/7/8", &[b'x'; 300], 1, 1))
            .must("publish");
        let refused = || site.refusals().iter().any(|refusal| refusal.contains(why));
        let refusal = tidegate_tests::wait::within(LIMIT, || refused().then_some(()));
        assert!(
            refusal.is_some(),
            "{} for `{to}`: {:?}, {}",
            cloud.name,
            site.refusals(),
            site.gateway.log()
        );
    }
}

#[test]
fn aws_iot_core() {
    example_fits(&aws(), "cmd/valve");
    each_demand_counts(
        &aws(),
        &[
            (", alpn = [\"x-amzn-mqtt-ca\"]", "", "ALPN"),
            ("cert = \"plant-7.pem.crt\", key = \"plant-7.pem.key\", ", "", "TLS"),
            ("client_id = \"plant-7\"", "client_id = \"plant-8\"", "client id: `plant-8`"),
            ("keep_alive = \"60s\"", "keep_alive = \"10s\"", "keep-alive: 10 s"),
            ("topic_levels_max = 6", "topic_levels_max = 9", "a topic of 11 levels"),
        ],
    );
}

#[test]
fn azure_iot_hub() {
    example_fits(&azure(), "cmd/valve");
    each_demand_counts(
        &azure(),
        &[
            ("version = 3", "version = 5", "version: V5"),
            ("client_id = \"plant-7\"", "client_id = \"plant-8\"", "client id: `plant-8`"),
            ("plant-7/?api-version=2021-04-12", "plant-7", "user name or password of `plant-7`"),
            ("\"plant-7\"], timeout", "\"plant-8\"], timeout", "user name or password of `plant-7`"),
            ("devices/plant-7/messages/events/", "gw/batch", "topic: `gw/batch`"),
        ],
    );
}

#[test]
fn hivemq_cloud() {
    example_fits(&hivemq(), "cmd/valve");
    each_demand_counts(
        &hivemq(),
        &[
            (":8884/mqtt", ":8884/", "WebSocket"),
            ("credential = \"hivemq-password\"", "env = \"CREDENTIALS_DIRECTORY\"", "user name or password"),
        ],
    );
}

#[test]
fn emqx_cloud() {
    example_fits(&emqx(), "cmd/valve");
    each_demand_counts(
        &emqx(),
        &[
            ("username = \"plant-7\"", "username = \"plant-8\"", "user name or password"),
            ("return_after = \"5m\"", "version = 3", "version: V311"),
        ],
    );
}

#[test]
fn rabbit_mq() {
    example_fits(&rabbitmq(), "cmd/valve");
    each_demand_counts(
        &rabbitmq(),
        &[
            ("telemetry:plant-7", "plant-7", "user name or password"),
            ("version = 3", "version = 5", "version: V5"),
        ],
    );
}

#[test]
fn an_event_that_the_cloud_never_takes_is_set_aside_before_it_is_sent() {
    let cloud = aws();
    let route = "[[route]]\nfrom = \"large/#\"\nto = { uplink = \"aws\", qos = 2, retain = true }";
    let site = Site::start(&cloud, ("packet_bytes_max = \"128 KiB\"              #", "#"), route);
    let mut device = Connection::clean(site.gateway.port(), Version::V5, "d");
    for (id, bytes) in [(1, 140 << 10), (2, 100)] {
        device.send(&wire::publish(Version::V5, "large/x", &vec![b'x'; bytes], 1, id)).must("publish");
    }
    wait_for("what fits is there", LIMIT, || arrived(&site) == 1);
    wait_for("what does not is set aside", LIMIT, || site.gateway.log().contains("quarantined"));
    assert_eq!(site.refusals(), [""; 0], "QoS 2, retained, and too large are no matter of trying");
}
