//! The uplink over TLS, with a CA made here by the openssl command; passwords, certificates and proxies on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::Builder;
use tidegate_tests::{Authority, Broker, Collector, Device, Must, Plan, Proxy, fleet, gateway};

const LIMIT: Duration = Duration::from_secs(10);
const PASSWORD: &str = "correct horse battery staple";

/// An authority, and a broker's certificate of it.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("broker", "broker", "IP:127.0.0.1,DNS:localhost");
    authority
}

// A broker that speaks TLS only and knows one user.
fn broker(authority: &Authority) -> Broker {
    let passwords = authority.path("passwords");
    let status = Command::new("mosquitto_passwd").args(["-b", "-c", &passwords, "plant", PASSWORD]).status();
    assert!(status.must("run mosquitto_passwd (apt-get install mosquitto)").success());
    let global = format!("allow_anonymous false\npassword_file {passwords}");
    let listener =
        format!("certfile {}\nkeyfile {}", authority.path("broker.crt"), authority.path("broker.key"));
    Broker::with(Setup { global: &global, listener: &listener, ..Setup::default() })
}

fn collector(broker: &Broker, authority: &Authority) -> Collector {
    let ca = authority.path("ca.crt");
    Collector::with(broker.port(), &["events/#"], &["--cafile", &ca, "-u", "plant", "-P", PASSWORD])
}

fn uplink(builder: Builder, broker: &Broker, ca: &str, password: &str) -> Builder {
    builder.uplink_with(&format!(
        "url = \"mqtts://localhost:{}\"\nforward = [\"events/#\"]\nusername = \"plant\"\n\
         password = {password}\ntls = {{ ca = \"{ca}\" }}",
        broker.port()
    ))
}

fn write_password(dir: &Path, password: &str) -> PathBuf {
    let file = dir.join("password");
    fs::write(&file, format!("{password}\n")).must("write the password");
    file
}

#[test]
fn events_arrive_over_tls_with_a_password_from_a_file_a_credential_the_environment_or_a_program() {
    let authority = authority();
    let broker = broker(&authority);
    let collector = collector(&broker, &authority);
    let sources = [
        ("file", "{ file = \"password\" }"),
        // As systemd hands it over: a file in a folder that the environment names.
        ("credential", "{ credential = \"password\" }"),
        ("env", "{ env = \"CLOUD_PASSWORD\" }"),
        ("command", "{ command = [\"/bin/sh\", \"-c\", \"echo $CLOUD_PASSWORD\"] }"),
    ];
    for (name, password) in sources {
        let builder = uplink(gateway!(), &broker, &authority.path("ca.crt"), password);
        write_password(builder.dir(), PASSWORD);
        let credentials = builder.dir().to_str().must("a path of text").to_owned();
        let builder = builder.environment("CREDENTIALS_DIRECTORY", &credentials);
        let mut gateway = builder.environment("CLOUD_PASSWORD", PASSWORD).start();
        let before = collector.count();
        let mut device = [Device::raw(Plan::new(name, gateway.port(), 0..2000))];
        fleet::finish(&mut device);
        collector.wait_count(before + 2000, LIMIT);
        assert!(!gateway.log().contains(PASSWORD), "the password is in the log");
        gateway.stop();
    }
    let accounts = sources.map(|(name, _)| name).map(|name| tidegate_tests::oracle::Account {
        device: name.to_owned(),
        planned: 0..2000,
        acked: (0..2000).collect(),
        resent: [].into(),
    });
    let arrivals = collector.arrivals();
    tidegate_tests::oracle::audit(&accounts, arrivals.iter().map(|(t, p)| (t.as_str(), p.as_str())))
        .assert_exactly_once();
}

#[test]
fn a_broker_of_another_authority_is_refused_and_the_events_wait() {
    let (right, wrong) = (authority(), authority());
    let broker = broker(&right);
    let collector = collector(&broker, &right);
    let builder = uplink(gateway!(), &broker, "ca.crt", "{ file = \"password\" }");
    let ca = builder.dir().join("ca.crt");
    fs::copy(wrong.path("ca.crt"), &ca).must("copy the wrong CA");
    write_password(builder.dir(), PASSWORD);
    let mut gateway = builder.start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..100))];
    fleet::finish(&mut device);
    gateway.process().wait_stderr("warning about the certificate", LIMIT, |line| {
        line.contains("cloud") && line.to_lowercase().contains("certificate")
    });
    assert_eq!(collector.count(), 0);
    gateway.stop();

    fs::copy(right.path("ca.crt"), ca).must("copy the right CA");
    gateway.restart();
    collector.wait_count(100, LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
}

#[test]
fn a_wrong_password_is_reported_without_showing_it_and_the_events_wait() {
    let authority = authority();
    let broker = broker(&authority);
    let collector = collector(&broker, &authority);
    let builder = uplink(gateway!(), &broker, &authority.path("ca.crt"), "{ file = \"password\" }");
    let file = write_password(builder.dir(), "not-the-password");
    let mut gateway = builder.start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..100))];
    fleet::finish(&mut device);
    gateway.process().wait_stderr("warning about the refusal", LIMIT, |line| {
        let line = line.to_lowercase();
        line.contains("cloud")
            && (line.contains("authori") || line.contains("password") || line.contains("refused"))
    });
    assert!(!gateway.log().contains("not-the-password"), "the password is in the log");
    // The file is read for each connection, so a corrected password needs no restart.
    fs::write(file, PASSWORD).must("correct the password");
    collector.wait_count(100, Duration::from_secs(20));
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
}

#[test]
fn a_broker_that_wants_a_certificate_gets_the_one_that_is_there_now() {
    let authority = authority();
    let [ca, cert, key] = ["ca.crt", "broker.crt", "broker.key"].map(|name| authority.path(name));
    let listener = format!(
        "cafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\nallow_anonymous true"
    );
    let broker = Broker::with(Setup { listener: &listener, ..Setup::default() });
    authority.issue("collector", "collector", "DNS:collector");
    let [cert, key] = ["collector.crt", "collector.key"].map(|name| authority.path(name));
    let login = ["--cafile", &ca, "--cert", &cert, "--key", &key];
    let collector = Collector::with(broker.port(), &["events/#"], &login);

    let lines = format!(
        "url = \"mqtts://localhost:{}\"\nforward = [\"events/#\"]\nbackoff_max = \"200ms\"\n\
         tls = {{ ca = \"{ca}\", cert = \"gateway.crt\", key = \"gateway.key\" }}",
        broker.port()
    );
    let builder = gateway!().uplink_with(&lines);
    let folder = builder.dir().to_owned();
    let install = |from: &Authority| {
        from.issue("gateway", "gateway", "DNS:gateway");
        for file in ["gateway.key", "gateway.crt"] {
            fs::copy(from.path(file), folder.join(file)).must("install the certificate");
        }
    };
    // One of a stranger is refused; a renewed one needs no restart.
    install(&Authority::new());
    let mut gateway = builder.start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..100))];
    fleet::finish(&mut device);
    gateway.process().wait_stderr("warning about the refusal", LIMIT, |line| line.contains("cloud is away"));
    assert_eq!(collector.count(), 0);
    install(&authority);
    collector.wait_count(100, LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
    gateway.stop();
}

#[test]
fn an_http_proxy_leads_to_a_broker_with_tls_once_the_login_is_right() {
    let authority = authority();
    let broker = broker(&authority);
    let collector = collector(&broker, &authority);
    // "me:open sesame" in base64 (RFC 7617, 2).
    let proxy = Proxy::start("\r\nProxy-Authorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n");
    let port = proxy.port();
    let builder = uplink(gateway!(), &broker, &authority.path("ca.crt"), "{ env = \"CLOUD_PASSWORD\" }");
    let builder = builder.uplink_with(&format!(
        "backoff_max = \"200ms\"\nproxy = {{ url = \"http://127.0.0.1:{port}\", username = \"me\", \
         password = {{ file = \"password\" }} }}"
    ));
    let file = write_password(builder.dir(), "wrong");
    let mut gateway = builder.environment("CLOUD_PASSWORD", PASSWORD).start();
    let mut device = [Device::raw(Plan::new("d", gateway.port(), 0..100))];
    fleet::finish(&mut device);
    gateway
        .process()
        .wait_stderr("warning about the proxy", LIMIT, |line| line.contains("proxy: it refused: 407"));
    assert_eq!((proxy.count(), collector.count()), (0, 0));
    fs::write(file, "open sesame").must("correct the password");
    collector.wait_count(100, LIMIT);
    fleet::audit_arrivals(&device, &collector).assert_exactly_once();
    assert_eq!(proxy.count(), 1);
    gateway.stop();
}
