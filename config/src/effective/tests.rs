use std::fs;
use std::path::Path;

use super::{differences, to_toml};
use crate::{Config, load};

const WHOLE: &str = r#"
gateway = { id = "plant-7", clock = { file = "/run/set" }, stop_timeout = "7s" }
log = { level = "warn", format = "json" }
status.bind = "127.0.0.1:9470"
alerts = { topic = "gw/{gateway}/alerts", disk_percent = 80, certificate_days = 7, clock_after = "1h", uplink_away_after = "1m" }
sys.every = "30s"
trace = { events_max = 7, one_in = 3 }
[[listener]]
bind = "0.0.0.0:8883"
tls = { cert = "gw.crt", key = "gw.key", client_ca = "ca.pem", require_client_cert = false, identity = "cn" }
websocket = true
access = { anonymous = true }
[[listener]]
bind = "unix:mqtt.sock"
mode = "0600"
[access]
password_file = "passwd"
acl_file = "acl"
[limits]
connections_max = 5
idle_timeout = "1h"
keep_alive_max = "5m"
publishes_per_s_max = 9
receive_bytes_per_s_max = "64 KiB"
[buffer]
dir = "buffer"
when_full = "refuse"
max_age = "30d"
[[uplink]]
name = "cloud"
urls = ["mqtts://a.example.com", "mqtts://[::1]:9000"]
proxy = { url = "http://proxy:3128", username = "p", password = { env = "P" } }
tls = { ca = "ca.pem", cert = "a", key = "b", alpn = ["mqtt"], server_name = "c", version_min = "1.3" }
version = 3
username = "u \"quoted\""
password = { command = ["/bin/token"], timeout = "3s" }
topic = "gw/{gateway}/{topic}/x"
window = 30
rate = "64 KiB/s"
status_topic = "gw/{gateway}/status"
drain = "live-first"
backlog_share = "33%"
max_events = 5
max_bytes = "2 MiB"
forward = ["a/#"]
remote_config = { topic = "gw/{gateway}/config/set", public_key = "config.pub", confirm_within = "2m" }
[[uplink]]
name = "other"
url = "mqtt://b"
password = { file = "secret" }
username = "o"
properties = []
drain = "live-first"
backlog_share = "500/s"
"#;

fn config(folder: &Path, text: &str) -> Config {
    fs::write(folder.join("tidegate.toml"), text).unwrap();
    for file in ["passwd", "acl"] {
        fs::write(folder.join(file), "").unwrap();
    }
    let loaded = load(&folder.join("tidegate.toml"));
    loaded.config.unwrap_or_else(|| panic!("{}", loaded.report.render(false)))
}

/// What is shown is read again as what it was, whatever was written.
#[test]
fn what_is_in_effect_is_a_configuration_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for text in [WHOLE, "access.anonymous = true", include_str!("../../../packaging/tidegate.toml")] {
        let read = config(folder.path(), text);
        let shown = to_toml(&read.effective());
        // Paths are whole now, so that the folder does not matter.
        let elsewhere = tempfile::tempdir().unwrap();
        let again = config(elsewhere.path(), &shown);
        assert_eq!(format!("{again:#?}"), format!("{read:#?}"), "{shown}");
        assert_eq!(to_toml(&again.effective()), shown);
    }
}

#[test]
fn differences_name_the_setting_and_both_values() {
    let folder = tempfile::tempdir().unwrap();
    let before = config(folder.path(), WHOLE).effective();
    let changed = WHOLE
        .replace("window = 30", "window = 40")
        .replace("max_events = 5", "")
        .replace("name = \"other\"", "name = \"another\"")
        .replace("backlog_share = \"33%\"", "");
    let after = config(folder.path(), &changed).effective();
    let said: Vec<String> = differences(&before, &after).iter().map(ToString::to_string).collect();
    let expected = [
        "uplink cloud: window was 30, is 40",
        "uplink cloud: backlog_share was \"30%\", is \"25%\"",
        "uplink cloud: max_events was 5, is off",
        "uplink other: removed",
        "uplink another: added",
    ];
    // The client id has the name in it.
    assert_eq!(said, expected);
    assert_eq!(differences(&before, &before), []);
}
