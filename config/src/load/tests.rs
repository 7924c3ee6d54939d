use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_buffer::{BacklogShare, Drain, Priority, Retention, WhenFull};
use tidegate_rules::{Message, Output, RuleSet};

use super::{FILE_BYTES_MAX, FOLDER_FILES_MAX, Loaded, load_on};
use crate::testing::Random;
use crate::{Access, AclWho, Bind, Identity, Listener, ListenerTls};
use crate::{ClockTrust, Config, Destination, Level, Secret, TableFormat, Target, Tls, Trace, Version};

mod layer;
mod source;
mod uplink;

const BASE: &str = "gateway.id = 'g'\naccess.anonymous = true\n";
const CLOUD: &str = "[[uplink]]\nname = 'cloud'\nurl = 'mqtt://broker'\n";

/// Writes files and loads them, on a host called `host-1`.
fn loaded_in(folder: &Path, files: &[(&str, &[u8])]) -> Loaded {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    load_on(&folder.join("tidegate.toml"), None, || Some("host-1".to_owned()))
}

fn loaded(files: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    loaded_in(folder.path(), &files)
}

fn config(files: &[(&str, &str)]) -> Config {
    let loaded = loaded(files);
    assert_eq!(loaded.report.errors(), 0, "{}", loaded.report.render(false));
    loaded.config.unwrap()
}

/// What packages install is what counts where nothing is written, except that it lets programs of this host in.
#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = config(&[("tidegate.toml", WHOLE)]);
    let defaults = config(&[("tidegate.toml", "access.anonymous = true")]);
    assert_eq!(format!("{shipped:#?}"), format!("{defaults:#?}"));
    // What is off there is a setting all the same.
    let all = WHOLE.replace("#: ", "");
    let (settings, _) = all.split_once("# [[uplink]]").unwrap();
    let report = loaded(&[("tidegate.toml", settings)]).report.render(false);
    assert!(!report.contains("unknown setting"), "{report}");
    for key in [
        "idle_timeout",
        "keep_alive_max",
        "publishes_per_s_max",
        "receive_bytes_per_s_max",
        "password_file",
        "acl_file",
    ] {
        assert!(settings.contains(&format!("\n{key} = ")), "{key}");
    }
}

/// The report on a `tidegate.toml`.
fn report(files: &[(&str, &str)]) -> String {
    let loaded = loaded(files);
    assert!(loaded.config.is_none());
    loaded.report.render(false)
}

#[test]
fn defaults() {
    let config = config(&[("tidegate.toml", "access.anonymous = true")]);
    assert_eq!(config.gateway.id, "host-1");
    assert_eq!(config.gateway.stop_timeout, Duration::from_secs(5));
    assert_eq!(config.log.level, Level::Info);
    assert_eq!(config.listeners.len(), 1);
    let listener = Listener {
        bind: Bind::Tcp("127.0.0.1:1883".parse().unwrap()),
        tls: None,
        websocket: false,
        proxy_protocol: false,
        access: Access { anonymous: true, ..Access::default() },
    };
    assert_eq!(config.listeners, [listener]);
    assert_eq!(config.limits.connections_max, 1000);
    assert_eq!(config.limits.packet_bytes_max, 262_144);
    assert_eq!((config.limits.connections_per_address_max, config.limits.connects_per_s_max), (500, 1000));
    assert_eq!(config.limits.failed_logins_per_minute_max, 20);
    assert_eq!((config.limits.client_id_bytes_max, config.limits.topic_bytes_max), (1024, 4096));
    assert_eq!(config.limits.topic_levels_max, 128);
    assert_eq!((config.limits.publishes_per_s_max, config.limits.receive_bytes_per_s_max), (None, None));
    assert_eq!((config.limits.handshake_timeout, config.limits.idle_timeout), (Duration::from_secs(5), None));
    assert_eq!(config.limits.inflight_max, 100);
    assert_eq!(config.limits.queue_bytes_max, 1_048_576);
    assert_eq!(config.limits.queue_events_max, 1000);
    assert_eq!(config.limits.subscriptions_max, 100);
    assert_eq!((config.limits.topic_alias_max, config.limits.keep_alive_max), (10, None));
    assert!(!config.limits.mqtt31);
    assert_eq!(config.limits.sessions_max, 10_000);
    assert_eq!(config.limits.session_expiry_max, Duration::from_secs(30 * 24 * 3600));
    assert_eq!((config.limits.retained_max, config.limits.retained_bytes_max), (10_000, 16 << 20));
    assert_eq!(config.limits.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.buffer.dir, Path::new("/var/lib/tidegate"));
    assert_eq!(config.buffer.max_bytes, 2 << 30);
    assert_eq!(config.buffer.memory_bytes_max, 4 << 20);
    assert_eq!(config.buffer.spill_after, Duration::from_millis(50));
    assert_eq!(config.buffer.when_full, WhenFull::EvictOldest);
    assert_eq!((config.buffer.max_age, config.buffer.reserve_bytes), (None, 8 << 20));
    assert_eq!(config.gateway.clock, ClockTrust::Auto);
    assert!(config.uplinks.is_empty() && config.rules.is_empty());
}

#[test]
fn defaults_of_an_uplink() {
    let text = format!("{BASE}{CLOUD}forward = ['#']");
    let config = config(&[("tidegate.toml", &text)]);
    let uplink = &config.uplinks[0];
    assert_eq!((uplink.name.as_str(), uplink.broker.client_id.as_str()), ("cloud", "tidegate-g-cloud"));
    assert_eq!((uplink.broker.url.host.as_str(), uplink.broker.url.port), ("broker", 1883));
    assert_eq!(uplink.broker.version, Version::V5);
    assert_eq!((&uplink.broker.username, &uplink.broker.password, &uplink.broker.tls), (&None, &None, &None));
    assert_eq!((uplink.window, uplink.packet_bytes_max), (100, 262_144));
    assert_eq!((uplink.drain, uplink.retention), (Drain::OldestFirst, Retention::default()));
    assert_eq!(uplink.broker.keep_alive, Duration::from_secs(30));
    assert_eq!(uplink.broker.ack_timeout, Duration::from_secs(8));
    assert_eq!(uplink.broker.backoff_min, Duration::from_millis(200));
    assert_eq!(uplink.broker.backoff_max, Duration::from_secs(30));
    let mut topic = String::new();
    uplink.topic.render("a/b", &mut topic);
    assert_eq!(topic, "a/b");
}

/// Every setting, with a value that is not its default.
const EVERYTHING: &str = r#"
    [gateway]
    id = "Plant_7.a"
    stop_timeout = "1m"
    clock = "trusted"
    [log]
    level = "trace"
    [status]
    bind = "[::1]:9470"
    [[listener]]
    bind = "0.0.0.0:0"
    [[listener]]
    bind = "[::1]:1884"
    websocket = true
    proxy_protocol = true
    tls = { cert = "g.crt", key = "g.key", client_ca = "d.pem", require_client_cert = false, identity = "san" }
    access = { anonymous = false, acl_file = "other.acl" }
    [[listener]]
    bind = "unix:run/mqtt.sock"
    mode = "0600"
    [access]
    anonymous = true
    password_file = "passwd"
    acl_file = "acl"
    [limits]
    connections_max = 1
    connections_per_address_max = 2
    connects_per_s_max = 3
    failed_logins_per_minute_max = 4
    client_id_bytes_max = 23
    topic_bytes_max = 16
    topic_levels_max = 1
    publishes_per_s_max = 5
    receive_bytes_per_s_max = "1 KiB"
    handshake_timeout = "1s"
    idle_timeout = "1h"
    packet_bytes_max = 1024
    inflight_max = 65535
    queue_bytes_max = "2 KiB"
    queue_events_max = 3
    subscriptions_max = 4
    topic_alias_max = 0
    keep_alive_max = "90s"
    mqtt31 = true
    sessions_max = 0
    session_expiry_max = "1d"
    retained_max = 6
    retained_bytes_max = "4 KiB"
    connect_timeout = "100ms"
    [buffer]
    dir = "data"
    max_bytes = "1 MiB"
    memory_bytes_max = "64 KiB"
    spill_after = "10s"
    when_full = "refuse"
    max_age = "30d"
    reserve_bytes = "1 MiB"
    [[uplink]]
    name = "cloud-1_a"
    url = "mqtts://[::1]:8884"
    version = "3.1.1"
    client_id = "me"
    username = "user"
    password = { credential = "cloud.password" }
    topic = "gw/{gateway}/{uplink}/{topic}"
    window = 10000
    keep_alive = "65535s"
    ack_timeout = "1m"
    backoff_min = "10ms"
    backoff_max = "1h"
    packet_bytes_max = "16 MiB"
    tls = { ca = "/etc/ca.pem", cert = "x.crt", key = "x.key" }
    drain = "live-first"
    backlog_share = "10%"
    max_bytes = "64 KiB"
    max_events = 7
    max_age = "1d"
    forward = ["a/{device}", "b/#"]
"#;

/// One user, as `mosquitto_passwd` writes it.
const PASSWORDS: &str = "dev:$7$101$Zm9v$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n";

fn check_listeners(listeners: &[Listener], folder: &Path) {
    let [first, second, third] = listeners else { panic!("{listeners:?}") };
    assert_eq!(first.bind, Bind::Tcp("0.0.0.0:0".parse().unwrap()));
    assert_eq!((first.websocket, first.proxy_protocol, &first.tls), (false, false, &None));
    assert!(first.access.anonymous);
    let names = |access: &Access| -> Vec<String> {
        access.logins.iter().flat_map(|logins| logins.iter()).map(|login| login.username.clone()).collect()
    };
    assert_eq!(names(&first.access), ["dev"]);
    assert_eq!(first.access.acl.as_ref().unwrap()[0].who, AclWho::Anonymous);
    assert_eq!(second.bind, Bind::Tcp("[::1]:1884".parse().unwrap()));
    assert!(second.websocket && second.proxy_protocol && !second.access.anonymous);
    assert_eq!(names(&second.access), ["dev"], "what a listener does not say is as for all");
    assert_eq!(second.access.acl.as_ref().unwrap()[0].who, AclWho::Everyone);
    let tls = ListenerTls {
        cert: folder.join("g.crt"),
        key: folder.join("g.key"),
        client_ca: Some(folder.join("d.pem")),
        require_client_cert: false,
        identity: Some(Identity::AlternativeName),
    };
    assert_eq!(second.tls, Some(tls));
    assert_eq!(third.bind, Bind::Unix { path: folder.join("run/mqtt.sock"), mode: 0o600 });
    assert_eq!(third.access, first.access);
}

#[test]
fn everything_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded_in(
        folder.path(),
        &[
            ("tidegate.toml", EVERYTHING.as_bytes()),
            ("passwd", PASSWORDS.as_bytes()),
            ("acl", b"topic read a/#"),
            ("other.acl", b"user dev\npattern d/%c"),
        ],
    );
    assert!(loaded.report.is_empty(), "{}", loaded.report.render(false));
    let config = loaded.config.unwrap();
    assert_eq!((config.gateway.id.as_str(), config.gateway.stop_timeout.as_secs()), ("Plant_7.a", 60));
    assert_eq!(config.gateway.clock, ClockTrust::Always);
    assert_eq!(config.log.level, Level::Trace);
    check_listeners(&config.listeners, folder.path());
    let limits = config.limits;
    assert_eq!((limits.connections_max, limits.packet_bytes_max, limits.inflight_max), (1, 1024, 65_535));
    assert_eq!((limits.queue_bytes_max, limits.queue_events_max, limits.subscriptions_max), (2048, 3, 4));
    assert_eq!((limits.connections_per_address_max, limits.connects_per_s_max), (2, 3));
    assert_eq!((limits.failed_logins_per_minute_max, limits.client_id_bytes_max), (4, 23));
    assert_eq!((limits.topic_bytes_max, limits.topic_levels_max), (16, 1));
    assert_eq!((limits.publishes_per_s_max, limits.receive_bytes_per_s_max), (Some(5), Some(1024)));
    assert_eq!((limits.handshake_timeout.as_secs(), limits.connect_timeout.as_millis()), (1, 100));
    assert_eq!(limits.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((limits.topic_alias_max, limits.keep_alive_max), (0, Some(Duration::from_secs(90))));
    assert_eq!((limits.mqtt31, limits.sessions_max), (true, 0));
    assert_eq!(limits.session_expiry_max, Duration::from_secs(24 * 3600));
    assert_eq!((limits.retained_max, limits.retained_bytes_max), (6, 4096));
    assert_eq!(config.buffer.dir, folder.path().join("data"));
    assert_eq!((config.buffer.max_bytes, config.buffer.memory_bytes_max), (1 << 20, 64 << 10));
    assert_eq!((config.buffer.spill_after.as_secs(), config.buffer.when_full), (10, WhenFull::Refuse));
    let day = Duration::from_secs(24 * 3600);
    assert_eq!((config.buffer.max_age, config.buffer.reserve_bytes), (Some(30 * day), 1 << 20));
    let uplink = &config.uplinks[0];
    assert_eq!(uplink.drain, Drain::LiveFirst { backlog: BacklogShare::InFlight(1000) });
    let retention = Retention { max_bytes: Some(65_536), max_records: Some(7), max_age: Some(day) };
    assert_eq!(uplink.retention, retention);
    assert_eq!(
        (uplink.broker.url.host.as_str(), uplink.broker.url.port, uplink.broker.version),
        ("::1", 8884, Version::V311)
    );
    assert_eq!((uplink.broker.client_id.as_str(), uplink.broker.username.as_deref()), ("me", Some("user")));
    assert_eq!(uplink.broker.password, Some(Secret::Credential("cloud.password".to_owned())));
    assert_eq!((uplink.window, uplink.packet_bytes_max), (10_000, 16 << 20));
    assert_eq!((uplink.broker.keep_alive.as_secs(), uplink.broker.ack_timeout.as_secs()), (65_535, 60));
    assert_eq!((uplink.broker.backoff_min.as_millis(), uplink.broker.backoff_max.as_secs()), (10, 3600));
    let file = |name| Some(folder.path().join(name));
    assert_eq!(
        uplink.broker.tls,
        Some(Tls {
            ca: Some("/etc/ca.pem".into()),
            cert: file("x.crt"),
            key: file("x.key"),
            ..Tls::default()
        })
    );
    let mut topic = String::new();
    uplink.topic.render("a/b", &mut topic);
    assert_eq!(topic, "gw/Plant_7.a/cloud-1_a/a/b");
    let names: Vec<&str> = config.rules.iter().map(|rule| rule.rule.name()).collect();
    assert_eq!(names, ["route:a/{device}", "route:b/#"]);
}

#[test]
fn what_fills_a_buffer_how_it_drains_and_when_the_clock_is_right() {
    let read = |buffer: &str, uplink: &str| {
        config(&[("tidegate.toml", &format!("{BASE}[buffer]\n{buffer}\n{CLOUD}{uplink}\nforward = ['#']"))])
    };
    assert_eq!(read("when_full = 'evict-newest'", "").buffer.when_full, WhenFull::EvictNewest);
    let clock = |clock| config(&[("tidegate.toml", &format!("{BASE}gateway.clock = {clock}"))]).gateway.clock;
    assert_eq!(clock("'auto'"), ClockTrust::Auto);
    assert!(
        matches!(clock("{ file = '/run/set' }"), ClockTrust::File(path) if path == Path::new("/run/set"))
    );
    let drain = |uplink| read("", uplink).uplinks[0].drain;
    assert_eq!(drain("drain = 'newest-first'"), Drain::NewestFirst);
    let live_first = |backlog| Drain::LiveFirst { backlog };
    assert_eq!(drain("drain = 'live-first'"), live_first(BacklogShare::InFlight(25)));
    assert_eq!(drain("drain = 'live-first'\nwindow = 2"), live_first(BacklogShare::InFlight(1)));
    let by_rate = "drain = 'live-first'\nbacklog_share = '64 KiB/s'";
    assert_eq!(drain(by_rate), live_first(BacklogShare::BytesPerS(65_536)));
}

#[test]
fn a_lookup_in_a_table_that_is_not_there_is_a_mistake() {
    let main = format!("{BASE}{CLOUD}");
    let sql = "SELECT lookup('owners', device, 'name') AS owner FROM \"a/{device}\"";
    let rule = format!("[[rule]]\nname = 'r'\nsql = '''{sql}'''\nto = [{{ uplink = 'cloud', topic = 't' }}]");
    assert!(report(&[("tidegate.toml", &main), ("rules.d/r.toml", &rule)]).contains("owners"));
}

#[test]
fn secrets_have_a_source() {
    for (written, expected) in [
        ("{ file = 'x' }", None),
        ("{ file = '/run/x' }", Some(Secret::File("/run/x".into()))),
        ("{ env = 'X_Y' }", Some(Secret::Env("X_Y".to_owned()))),
        ("{ credential = 'x-1' }", Some(Secret::Credential("x-1".to_owned()))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{BASE}{CLOUD}forward = ['#']\npassword = {written}");
        let config = loaded_in(folder.path(), &[("tidegate.toml", text.as_bytes())]).config.unwrap();
        let expected = expected.unwrap_or_else(|| Secret::File(folder.path().join("x")));
        assert_eq!(config.uplinks[0].broker.password, Some(expected), "{written}");
    }
    for written in
        ["{}", "{ env = '' }", "{ credential = '../x' }", "{ env = 'A', file = 'b' }", "5", "{ file = '' }"]
    {
        let text = format!("{BASE}{CLOUD}forward = ['#']\npassword = {written}");
        assert!(report(&[("tidegate.toml", &text)]).contains("tidegate.toml:7:"), "{written}");
    }
}

#[test]
fn a_plain_password_is_never_shown() {
    for uplink in [
        "[[uplink]]\nname = 'x'\nurl = 'mqtt://b'\npassword = 'hunter2'",
        "[[uplink]]\nname = 'x'\nurl = 'mqtt://me:hunter2@b'",
        "uplink = [{ name = 'x', url = 'mqtt://b', passwort = 5, password = 'hunter2' }]",
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{uplink}"))]);
        assert!(!report.contains("hunter2") && report.contains("***"), "{report}");
    }
}

#[test]
fn files_are_merged_in_the_order_of_their_names() {
    let loaded = loaded(&[
        ("tidegate.toml", &format!("{BASE}log.level = 'info'\n{CLOUD}forward = ['a']\n")),
        (
            "conf.d/20.toml",
            "log.level = 'debug'\nlimits.inflight_max = 7\n[[uplink]]\nname = 'cloud'\nwindow = 5\n",
        ),
        (
            "conf.d/10.toml",
            "log.level = 'error'\nlimits.connections_max = 9\n[[listener]]\nbind = '127.0.0.1:0'\n",
        ),
        ("conf.d/.hidden.toml", "= ="),
        ("conf.d/10.toml~", "= ="),
        ("conf.d/notes.txt", "= ="),
        ("rules.d/b.toml", "[[route]]\nfrom = 'b'\nto.uplink = 'cloud'\n"),
        ("rules.d/a.toml", "[[route]]\nfrom = 'c'\nto.uplink = 'cloud'\n"),
    ]);
    let files: Vec<_> = loaded.report.files().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(files, ["tidegate.toml", "10.toml", "20.toml", "a.toml", "b.toml"]);
    let config = loaded.config.unwrap();
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!((config.limits.connections_max, config.limits.inflight_max), (9, 7));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!((config.uplinks.len(), config.uplinks[0].window), (1, 5));
    let names: Vec<&str> = config.rules.iter().map(|rule| rule.rule.name()).collect();
    assert_eq!(names, ["route:c", "route:b", "route:a"]);
}

#[test]
fn routes_and_forwards_of_one_filter_are_one_rule() {
    let other = CLOUD.replace("cloud", "other");
    let text = format!("{BASE}{CLOUD}forward = ['a/#', 'b']\n{other}forward = ['a/#', 'c/{{x}}']\n");
    let route = "[[route]]\nfrom = 'a/#'\nto = [{ local = 'copy', retain = true, qos = 0 }]\n\
                 [[route]]\nfrom = 'c/{x}'\nto = { uplink = 'other', topic = 't/{x}', priority = 'low', ttl = '7d' }";
    let config = config(&[("tidegate.toml", &text), ("rules.d/r.toml", route)]);
    let forward = |index| Destination {
        target: Target::Uplink(index),
        qos: 1,
        retain: false,
        priority: Priority::Normal,
        ttl: None,
    };
    let copy =
        Destination { target: Target::Local, qos: 0, retain: true, priority: Priority::Normal, ttl: None };
    let low =
        Destination { priority: Priority::Low, ttl: Some(Duration::from_secs(7 * 86_400)), ..forward(1) };
    let found: Vec<_> =
        config.rules.iter().map(|rule| (rule.rule.name(), rule.destinations.clone())).collect();
    assert_eq!(
        found,
        [
            ("route:a/#", vec![copy, forward(0), forward(1)]),
            ("route:c/{x}", vec![low, forward(1)]),
            ("route:b", vec![forward(0)]),
        ]
    );
}

#[test]
fn compiled_rules_know_their_destinations() {
    let text = format!("{BASE}{CLOUD}forward = ['a/#']\n");
    let config =
        config(&[("tidegate.toml", &text), ("rules.d/r.toml", "[[route]]\nfrom = 'a/#'\nto.local = 'copy'")]);
    let mut rules = RuleSet::new("g", config.rules.into_iter().map(|rule| rule.rule).collect());
    let mut output = Output::new();
    let message = Message {
        topic: "a/b",
        payload: b"1",
        client_id: "d",
        username: None,
        qos: 1,
        retained: false,
        content_type: None,
        user_properties: &[],
        received_at_ms: 0,
        seq: 1,
    };
    assert_eq!(rules.handle_message(&message, &mut output).rules, 1);
    let found: Vec<(u32, u32)> = output.publishes.iter().map(|each| (each.rule, each.destination)).collect();
    assert_eq!(found, [(0, 0), (0, 1)]);
}

#[test]
fn mistakes_of_sql_stand_where_they_are_in_the_file() {
    // The mistake is the lone `)`; it is found behind line ends, escapes and quotes of every kind of string.
    for (literal, line, column) in [
        ("'SELECT ) FROM \"a\"'", 3, 15),
        ("\"SELECT ) FROM \\\"a\\\"\"", 3, 15),
        ("\"\\tSELECT\\u0020) FROM 'a'\"", 3, 22),
        ("'''\nSELECT\n  ) FROM \"a\"'''", 5, 3),
        ("\"\"\"\r\nSELECT \\\r\n    ) FROM 'a'\"\"\"", 5, 5),
    ] {
        let rule = format!("[[rule]]\nname = 'x'\nsql = {literal}\nto.local = 'y'\n");
        let report = report(&[("tidegate.toml", BASE), ("rules.d/r.toml", &rule)]);
        assert!(report.contains(&format!("rules.d/r.toml:{line}:{column}\n")), "{literal}\n{report}");
    }
}

#[test]
fn mistakes_of_rules() {
    let rule = |body: &str| format!("[[rule]]\nname = 'x'\nsql = 'SELECT a FROM \"t/{{d}}\"'\n{body}\n");
    for (body, said) in [
        ("to = []", "`to` is empty"),
        ("", "`to` is missing"),
        ("to.local = 'y'\non_error = 'dead-letter'", "there is no destination for it"),
        ("to.local = 'y'\ndead_letter.local = 'z'", "nothing goes to `dead_letter`"),
        ("to.local = 'y'\non_error = 'nul'", "did you mean `null`?"),
        ("to.local = 'y'\nmax_groups = 0", "`max_groups` has to be 1 to 10000000"),
        ("to.local = 'y'\ntime = { field = '1 +' }", "rules.d/r.toml:5:22"),
        ("to.local = 'y'\ntime = { unit = 'ms' }", "`field` is missing"),
        ("to.local = 'y'\ntime = 'ts'", "`time` has to be a table"),
        ("to.local = 'y'\nlate.local = 'z'", "rules.d/r.toml:5:1\n"),
        ("to = { local = 'y', encoding = 'xml' }", "there is `json`, `cbor` and `raw`"),
        ("to = { local = 'y/{dd}' }", "rules.d/r.toml:4:"),
        ("to.local = 'y'\ntest = 5", "`test` has to be an array of tables"),
        ("to.local = 'y'\ntest = [{ expect = [], given = [{ at = 'now' }] }]", "`at` has to be a duration"),
        ("to.local = 'y'\ntest = [{ expect = [], given = [{ topic = 'a/+' }] }]", "wildcards"),
        ("to.local = 'y'\ntest = [{ expect = [{ at = '1s' }], given = [] }]", "unknown setting `at`"),
        ("to.local = 'y'\ntest = [{ }]", "`expect` is missing"),
        ("to.local = 'y'\n[[rule]]\nname = 'x'\nsql = ''\nto.local = 'z'", "the rule `x` is there twice"),
        ("to.local = 'y'\n[[rule]]\nname = 'X'\nsql = 5\nto.local = 'z'", "`X` cannot be a name"),
        ("to.local = 'y'\n[[rule]]", "`sql` is missing"),
    ] {
        let report = report(&[("tidegate.toml", BASE), ("rules.d/r.toml", &rule(body))]);
        assert!(report.contains(said), "{body}\n{report}");
    }
}

#[test]
fn event_time_late_events_and_dead_letters() {
    let rule = "[[rule]]\nname = 'x'\nsql = \"SELECT sum(v) AS s FROM 't/{d}' GROUP BY d, tumbling('1m')\"\n\
                on_error = 'dead-letter'\ntime = { field = 'meta.ts', unit = 's', lateness = '10s', idle = '5s', ahead = '1h' }\n\
                to = { local = 'sum/{d}' }\nlate = [{ local = 'late/{d}' }, { uplink = 'cloud' }]\n\
                dead_letter = { uplink = 'cloud', topic = 'dead/{topic}', priority = 'low' }\n";
    let config = config(&[("tidegate.toml", &format!("{BASE}{CLOUD}")), ("rules.d/r.toml", rule)]);
    let rule = &config.rules[0];
    let targets: Vec<_> = rule.destinations.iter().map(|each| each.target).collect();
    assert_eq!(targets, [Target::Local, Target::Local, Target::Uplink(0), Target::Uplink(0)]);
    assert_eq!(rule.destinations[3].priority, Priority::Low);
    assert!(rule.rule.explain().contains("late"), "{}", rule.rule.explain());
}

#[test]
fn tables_are_read_and_looked_up() {
    let rules = "[[table]]\nname = 'rooms'\nfile = 'rooms.csv'\nkey = 'id'\n[[table]]\nname = 'lines'\nfile = 'a/b.jsonl'\nkey = 'id'\n\
                 [[rule]]\nname = 'x'\nsql = \"SELECT lookup('rooms', d, 'room') AS r, lookup('lines', d, 'x') AS l FROM 't/{d}'\"\nto.local = 'y'\n";
    let config = config(&[
        ("tidegate.toml", BASE),
        ("rules.d/r.toml", rules),
        ("rooms.csv", "id,room\na,hall\n"),
        ("a/b.jsonl", "{\"id\": \"a\", \"x\": 1}\n"),
    ]);
    let found: Vec<_> =
        config.tables.iter().map(|table| (table.name.as_str(), table.format, table.rows.len())).collect();
    assert_eq!(found, [("rooms", TableFormat::Csv, 1), ("lines", TableFormat::JsonLines, 1)]);
    let lookups: Vec<_> = config.rules[0].rule.lookups().collect();
    assert_eq!(lookups, [("rooms", "room"), ("lines", "x")]);
}

#[test]
fn a_table_that_cannot_be_read_is_a_warning() {
    let rules = "[[table]]\nname = 'rooms'\nfile = 'rooms.csv'\nkey = 'id'\n\
                 [[rule]]\nname = 'x'\nsql = \"SELECT lookup('rooms', d, 'room') AS r FROM 't/{d}'\"\nto.local = 'y'\n";
    for (file, said) in [("rooms.csv.new", "cannot be read"), ("rooms.csv", "line 1")] {
        let loaded = loaded(&[("tidegate.toml", BASE), ("rules.d/r.toml", rules), (file, "")]);
        let report = loaded.report.render(false);
        assert_eq!((loaded.report.errors(), loaded.report.warnings()), (0, 1), "{report}");
        assert!(report.contains(said), "{report}");
        let table = &loaded.config.unwrap().tables[0];
        assert!(table.rows.is_empty());
    }
}

#[test]
fn tests_of_rules_are_read() {
    let rules = "[[rule]]\nname = 'x'\nsql = \"SELECT * FROM 't/#'\"\nto.local = 'y'\n\
                 [[rule.test]]\nname = 'n'\nadvance = '2m'\n\
                 given = [{ at = '1s', topic = 't/a', payload = { b = [1, 2.5, true, 'x\"'], a = {} } }, { topic = 't', payload = 'raw' },\n\
                 { topic = 't', payload_hex = '01 fF' }]\n\
                 expect = [{ topic = 'y', payload = '{\"a\":null}' }, { payload = 'raw' }, { payload = [] }, {}]\n";
    let config = config(&[("tidegate.toml", BASE), ("rules.d/r.toml", rules)]);
    let [test] = config.rules[0].tests.as_slice() else { panic!("one test") };
    assert_eq!((test.name.as_str(), test.advance), ("n", Duration::from_secs(120)));
    assert!(test.place.ends_with("rules.d/r.toml:5"), "{}", test.place);
    let given: Vec<_> =
        test.given.iter().map(|given| (given.at.as_secs(), given.payload.as_slice())).collect();
    let json = br#"{"a":{},"b":[1,2.5,true,"x\""]}"#;
    assert_eq!(given, [(1, &json[..]), (0, b"raw"), (0, b"\x01\xff")]);
    let expected: Vec<_> =
        test.expect.iter().map(|each| each.payload.as_deref().map(String::from_utf8_lossy)).collect();
    assert_eq!(expected, [Some("{\"a\":null}".into()), Some("\"raw\"".into()), Some("[]".into()), None]);
}

#[test]
fn traces() {
    let of = |text: &str| config(&[("tidegate.toml", &format!("{BASE}{text}"))]).trace;
    assert_eq!(of(""), Trace { events_max: 0, one_in: 1 });
    assert_eq!(of("[trace]\nevents_max = 100\none_in = 10"), Trace { events_max: 100, one_in: 10 });
}

#[test]
fn names_are_unique_over_all_files() {
    let rule = "[[rule]]\nname = 'x'\nsql = 'SELECT * FROM a'\nto.local = 'y'\n";
    let report = report(&[("tidegate.toml", BASE), ("rules.d/a.toml", rule), ("rules.d/b.toml", rule)]);
    assert!(report.contains("rules.d/b.toml:2:8\n") && report.contains("rules.d/a.toml:2:8\n"), "{report}");
}

#[test]
fn a_host_name_that_is_no_id_is_a_mistake() {
    for name in [None, Some("a b".to_owned())] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidegate.toml"), "access.anonymous = true").unwrap();
        let loaded = load_on(&folder.path().join("tidegate.toml"), None, || name);
        assert!(loaded.config.is_none());
        assert!(loaded.report.render(false).contains("the gateway has no id"));
    }
}

#[test]
fn nobody_may_connect_without_anonymous() {
    for text in ["", "[access]", "access.anonymous = false"] {
        assert!(report(&[("tidegate.toml", text)]).contains("no device may connect"), "{text}");
    }
}

#[test]
fn a_certificate_with_a_name_is_a_way_in() {
    let listener = "[[listener]]\nbind = '127.0.0.1:0'\ntls = { cert = 'c', key = 'k', client_ca = 'a', identity = 'cn' }";
    let config = config(&[("tidegate.toml", listener)]);
    let tls = config.listeners[0].tls.clone().unwrap();
    assert_eq!((tls.require_client_cert, tls.identity), (true, Some(Identity::CommonName)));
    assert!(
        report(&[("tidegate.toml", &listener.replace(", identity = 'cn'", ""))]).contains("no device may")
    );
}

#[test]
fn mistakes_of_listeners() {
    for (listener, said) in [
        ("bind = 'unix:'", "the path of a Unix socket"),
        ("bind = 'unix:a'\nmode = '0999'", "`0999` is no mode"),
        ("bind = 'unix:a'\nmode = 432", "`mode` has to be a string"),
        ("bind = 'unix:a'\ntls = { cert = 'c', key = 'k' }", "a Unix socket has no TLS"),
        ("bind = 'unix:a'\nproxy_protocol = true", "no address that a proxy could tell"),
        ("bind = '127.0.0.1:0'\nmode = '0600'", "only a Unix socket has a `mode`"),
        ("bind = '127.0.0.1:0'\ntls = { cert = 'c' }", "`key` is missing"),
        (
            "bind = '127.0.0.1:0'\ntls = { cert = 'c', key = 'k', identity = 'cn' }",
            "`identity` needs `client_ca`",
        ),
        ("bind = '127.0.0.1:0'\ntls = { cert = 'c', key = 'k', identity = 'ou' }", "there is `cn` and `san`"),
        (
            "bind = '127.0.0.1:0'\ntls = { cert = 'c', key = 'k', require_client_cert = true }",
            "`require_client_cert` needs `client_ca`",
        ),
        ("bind = '127.0.0.1:0'\naccess = { anonymus = true }", "did you mean `anonymous`?"),
        ("bind = '127.0.0.1:0'\naccess = { anonymous = false }", "no device may connect"),
        ("bind = 'unix:a'\n[[listener]]\nbind = 'unix:a'", "the address `unix:a` is there twice"),
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}[[listener]]\n{listener}"))]);
        assert!(report.contains(said), "{listener}\n{report}");
    }
}

#[test]
fn mistakes_in_files_of_access_are_all_said_at_once_and_show_no_hash() {
    let settings = format!(
        "{BASE}access.password_file = 'p'\naccess.acl_file = 'a'\n\
         [[listener]]\nbind = '127.0.0.1:0'\naccess = {{ password_file = 'p', acl_file = 'missing' }}"
    );
    let passwords = format!("{PASSWORDS}# comment\nplain:hunter2\n{PASSWORDS}");
    let acl = "topic read a/#\n  topic reed b\n";
    let report = report(&[("tidegate.toml", &settings), ("p", &passwords), ("a", acl)]);
    for said in ["p:3:1\n", "p:4:1\n", "a:2:3\n", "missing", "this password is not hashed", "is there twice"]
    {
        assert!(report.contains(said), "{said}\n{report}");
    }
    assert!(!report.contains("hunter2") && !report.contains("$7$101"), "{report}");
    assert_eq!(report.matches("error:").count(), 4, "each file is read once\n{report}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load_on(&folder.path().join("tidegate.toml"), None, || None);
    assert_eq!((missing.config.is_none(), missing.report.errors()), (true, 1));
    assert!(missing.report.render(false).contains("this file cannot be read"));
    assert_eq!(missing.report.files().count(), 0);

    fs::create_dir_all(folder.path().join("conf.d/folder.toml")).unwrap();
    let large = vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
    let loaded = loaded_in(
        folder.path(),
        &[
            ("tidegate.toml", b"access.anonymous = true\nunknown = 1"),
            ("conf.d/large.toml", &large),
            ("conf.d/latin.toml", b"[gateway]\nid = '\xe9'"),
            ("rules.d", b"a file"),
        ],
    );
    let report = loaded.report.render(false);
    for said in [
        "unknown setting",
        "this is not a file",
        "at most 1 MiB",
        "not UTF-8 text, from line 2",
        "this folder cannot be read",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    assert_eq!(loaded.report.errors(), 5);
}

#[test]
fn a_folder_of_too_many_files_is_refused() {
    let names: Vec<String> = (0..=FOLDER_FILES_MAX).map(|index| format!("conf.d/{index}.toml")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    files.push(("tidegate.toml", BASE));
    assert!(report(&files).contains("at most 1000 files"));
}

#[test]
fn long_reports_are_cut() {
    let text: String = (0..150).map(|index| format!("unknown-{index} = 1\n")).collect();
    let loaded = loaded(&[("tidegate.toml", &format!("{BASE}{text}"))]);
    assert_eq!(loaded.report.errors(), 150);
    let report = loaded.report.render(false);
    assert_eq!(report.matches("error: unknown").count(), 100);
    assert!(report.ends_with("… and 50 more\n\n"));
}

#[test]
fn colour_and_control_characters() {
    let loaded = loaded(&[("tidegate.toml", &format!("{BASE}\"a\\u001b[31m\\nb\" = 1"))]);
    let plain = loaded.report.render(false);
    assert!(!plain.contains('\u{1b}') && plain.contains("`a\\u{1b}[31m\\nb`"), "{plain}");
    assert!(loaded.report.render(true).contains("\u{1b}[1m"));
}

/// Settings and rules with everything in them.
const WHOLE: &str = include_str!("../../../packaging/tidegate.toml");

/// Whatever the bytes are, there is either a config or an error, and a report that can be written.
fn check_hostile(folder: &Path, settings: &[u8], rules: &[u8]) {
    let loaded = loaded_in(
        folder,
        &[("tidegate.toml", settings), ("rules.d/r.toml", rules), ("conf.d/c.toml", settings)],
    );
    assert_eq!(loaded.config.is_some(), loaded.report.errors() == 0);
    assert_eq!(loaded.report.render(false).is_empty(), loaded.report.is_empty());
    loaded.report.render(true);
}

#[test]
fn any_bytes_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    for round in 0..300 {
        let mut bytes = |count: usize| -> Vec<u8> {
            let alphabet: &[u8] = if round % 2 == 0 { b"[]{}='\"\\#.,\n\r\t a1_-\xc3\xa9" } else { b"" };
            let letter = |random: &mut Random| match alphabet.len() {
                0 => u8::try_from(random.below(256)).unwrap(),
                length => alphabet[random.below(length)],
            };
            (0..count).map(|_| letter(&mut random)).collect()
        };
        let (settings, rules) = (bytes(200), bytes(200));
        check_hostile(folder.path(), &settings, &rules);
    }
}

#[test]
fn changed_settings_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "[[rule]]\nname = 'x'\nsql = '''\nSELECT a AS b FROM \"t/{d}\" WHERE a > 1'''\nto = [{ uplink = 'cloud', topic = 'é/{d}' }]\n\
                 [[route]]\nfrom = \"a/\\u00e9/{x#}\"\nto = { local = '''\n{x}''' }\n";
    let settings = WHOLE.replace("# ", "");
    let parts = [
        "",
        "'",
        "\"",
        "'''",
        "=",
        "[",
        "]",
        "{",
        "\n",
        "\\",
        "0",
        "-",
        "é",
        "\0",
        "9999999999999999999",
        "#",
        "{x}",
        "\u{2028}",
    ];
    let mut random = Random::new(3);
    for _ in 0..400 {
        let mut texts = [settings.clone(), rules.to_owned()];
        for text in &mut texts {
            for _ in 0..=random.below(3) {
                let start = text.floor_char_boundary(random.below(text.len() + 1));
                let end = text.ceil_char_boundary((start + random.below(8)).min(text.len()));
                text.replace_range(start..end, parts[random.below(parts.len())]);
            }
        }
        check_hostile(folder.path(), texts[0].as_bytes(), texts[1].as_bytes());
    }
}

#[test]
fn everything_has_a_bound() {
    let listeners = "[[listener]]\nbind = '127.0.0.1:0'\n".repeat(65);
    let uplinks: String = (0..65).map(|index| CLOUD.replace("cloud", &format!("u{index}"))).collect();
    let filters = format!("{CLOUD}forward = [{}]", "'a', ".repeat(101));
    let destinations = format!("[[route]]\nfrom = 'a'\nto = [{}]", "{ local = 'x' }, ".repeat(65));
    for (settings, rules, said) in [
        (listeners.as_str(), "", "at most 64 listeners"),
        (&uplinks, "", "at most 64 uplinks"),
        (&filters, "", "`forward` can have 0 to 100 items"),
        ("", destinations.as_str(), "at most 64 destinations"),
    ] {
        let report = report(&[("tidegate.toml", &format!("{BASE}{settings}")), ("rules.d/r.toml", rules)]);
        assert!(report.contains(said), "{said}\n{report}");
    }
}
