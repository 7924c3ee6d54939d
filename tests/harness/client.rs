//! Other people's clients, each taken once there and back: it subscribes, publishes with QoS 1, and gets its own event.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::must::Must;
use crate::process::Process;
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(20);

/// How a client ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// What it said on both of its outputs.
    pub said: String,
}

impl Ended {
    /// Holds if it ended well.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert_eq!(self.code, Some(0), "{}", self.said);
    }

    /// Holds if it said that it was refused, and why. The exit code says nothing: mosquitto_pub ends well when a broker
    /// refuses what it publishes.
    #[track_caller]
    pub fn assert_refused(&self, why: &str) {
        assert!(self.said.to_lowercase().contains(&why.to_lowercase()), "no `{why}` in: {}", self.said);
    }
}

/// Runs a client to its end.
#[track_caller]
pub fn run(package: &str, command: &mut Command) -> Ended {
    let mut process = Process::start("a client", package, command);
    let status = process.wait_exit(LIMIT);
    let (stdout, stderr) = (process.stdout.lock().join("\n"), process.stderr.text());
    Ended { code: status.code(), said: stdout + &stderr }
}

/// `mosquitto_pub` of one event with QoS 1.
#[track_caller]
pub fn mosquitto_pub(topic: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-t", topic, "-m", "hello", "-q", "1"]).args(arguments);
    run("mosquitto-clients", &mut command)
}

/// `mosquitto_sub` and `mosquitto_pub` with the same arguments: what the one publishes the other gets.
#[track_caller]
pub fn mosquitto_round_trip(topic: &str, arguments: &[&str]) {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-t", topic, "-q", "1", "-C", "1", "-W", "15"]).args(arguments);
    let mut subscriber = Process::start("mosquitto_sub", "mosquitto-clients", &mut command);
    // Until it has subscribed, and is gone again.
    wait_for("the subscriber to get an event", LIMIT, || {
        mosquitto_pub(topic, arguments).assert_ok();
        !subscriber.is_running()
    });
    let status = subscriber.wait_exit(LIMIT);
    assert!(status.success(), "mosquitto_sub ended with {status}\n{subscriber}");
    assert_eq!(*subscriber.stdout.lock(), ["hello"]);
}

/// The paho client for Python: `devices/round_trip.py` with these arguments.
#[track_caller]
pub fn paho_round_trip(arguments: &[&str]) -> Ended {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("devices/round_trip.py");
    run("python3-paho-mqtt", Command::new("/usr/bin/python3").arg(script).args(arguments))
}

/// MQTT.js: `devices/round_trip.mjs` with these arguments. Nothing if npm is not there, or cannot fetch it.
pub fn mqtt_js_round_trip(arguments: &[&str]) -> Option<Ended> {
    let folder = mqtt_js()?;
    let script = folder.join("round_trip.mjs");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("devices/round_trip.mjs");
    // Beside its modules: that is where node looks for them.
    std::fs::copy(source, &script).must("copy the script");
    Some(run("nodejs", Command::new("node").arg(script).args(arguments)))
}

/// The folder in which MQTT.js is installed.
fn mqtt_js() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join("npm");
    if folder.join("node_modules/mqtt/package.json").exists() {
        return Some(folder);
    }
    std::fs::create_dir_all(&folder).must("make the folder of npm");
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "mqtt@5"]).current_dir(&folder);
    match npm.output() {
        Ok(output) if output.status.success() => Some(folder),
        Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "what a test run leaves out belongs into its report")]
fn skipped(why: &str) -> Option<PathBuf> {
    eprintln!("SKIPPED: MQTT.js could not be installed by npm: {why}");
    None
}
