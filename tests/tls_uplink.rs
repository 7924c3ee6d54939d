//! The uplink over TLS, with a CA made here by the openssl command, and a password from a file or the environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::Builder;
use tidegate_tests::{Broker, Collector, Device, Must, Plan, fleet, gateway};

const LIMIT: Duration = Duration::from_secs(10);
const PASSWORD: &str = "correct horse battery staple";

struct Authority {
    dir: TempDir,
}

impl Authority {
    // A CA, and a certificate of it for 127.0.0.1 and localhost.
    fn new() -> Self {
        let authority = Self { dir: TempDir::new().must("make a temporary folder") };
        let [ca, ca_key, request, key, cert] =
            ["ca.crt", "ca.key", "b.csr", "b.key", "b.crt"].map(|n| authority.path(n));
        let extensions = authority.path("ext");
        let lines = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
        fs::write(&extensions, lines).must("write the extensions");
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {new_key} -days 2 -subj /CN=ca -keyout {ca_key} -out {ca}"));
        openssl(&format!("req -new {new_key} -subj /CN=broker -keyout {key} -out {request}"));
        openssl(&format!(
            "x509 -req -in {request} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {extensions} -out {cert}"
        ));
        authority
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().must("a path in UTF-8").to_owned()
    }
}

fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).output();
    let output = output.must("run openssl (apt-get install openssl)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

// A broker that speaks TLS only and knows one user.
fn broker(authority: &Authority) -> Broker {
    let passwords = authority.path("passwords");
    let status = Command::new("mosquitto_passwd").args(["-b", "-c", &passwords, "plant", PASSWORD]).status();
    assert!(status.must("run mosquitto_passwd (apt-get install mosquitto)").success());
    let global = format!("allow_anonymous false\npassword_file {passwords}");
    let listener = format!("certfile {}\nkeyfile {}", authority.path("b.crt"), authority.path("b.key"));
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
fn events_arrive_over_tls_with_a_password_from_a_file_a_credential_or_the_environment() {
    let authority = Authority::new();
    let broker = broker(&authority);
    let collector = collector(&broker, &authority);
    let sources = [
        ("file", "{ file = \"password\" }"),
        // As systemd hands it over: a file in a folder that the environment names.
        ("credential", "{ credential = \"password\" }"),
        ("env", "{ env = \"CLOUD_PASSWORD\" }"),
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
    let (right, wrong) = (Authority::new(), Authority::new());
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
    let authority = Authority::new();
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
