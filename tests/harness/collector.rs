//! The receiver in the cloud: a `mosquitto_sub` with a persistent session that misses nothing and keeps the order.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::broker::{Broker, program};
use crate::connection::Connection;
use crate::must::Must;
use crate::namespace::Namespace;
use crate::process::{Lines, Process};
use crate::wait::{wait_for, wait_some, within};
use crate::wire::{self, Version};

const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(10);

/// Collects what the broker delivers for some filters.
pub struct Collector {
    _process: Process,
    lines: Arc<Lines>,
    probe: String,
}

impl Collector {
    /// Subscribes to `filters` with QoS 1; the subscription stands when this returns.
    pub fn start(broker: &Broker, filters: &[&str]) -> Self {
        Self::within(broker.network(), broker.port(), filters, &[])
    }

    /// As [`Collector::start`], with further arguments for `mosquitto_sub` and any port.
    pub fn with(port: u16, filters: &[&str], arguments: &[&str]) -> Self {
        Self::within(None, port, filters, arguments)
    }

    fn within(network: Option<&Namespace>, port: u16, filters: &[&str], arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("collector-{port}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let probe = format!("probe/{name}");
        let mut command = program(network, "mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-q",
            "1",
            "-c",
            "-F",
            "%t %p",
            "-i",
            &name,
            "-p",
            &port.to_string(),
        ]);
        for filter in filters.iter().chain([&probe.as_str()]) {
            command.args(["-t", filter]);
        }
        command.args(arguments);
        // A first run ends as soon as the broker has acknowledged the subscription; the session keeps all from then on.
        let mut first = Command::new(command.get_program());
        first.args(command.get_args()).arg("-E");
        let status = Process::start(&name, "mosquitto-clients", &mut first).wait_exit(SUBSCRIBE_LIMIT);
        assert!(status.success(), "mosquitto_sub could not subscribe: {status}");
        let process = Process::start(&name, "mosquitto-clients", &mut command);
        let lines = Arc::clone(&process.stdout);
        Self { _process: process, lines, probe }
    }

    /// Waits until the subscription is back after a restart of the broker.
    pub fn wait_back(&self, port: u16) {
        self.lines.lock().retain(|line| !line.starts_with(&self.probe));
        let mut connection = Connection::clean(port, Version::V311, &self.probe);
        let probe = wire::publish(Version::V311, &self.probe, b"", 0, 0);
        wait_for("the collector is back", Duration::from_secs(20), || {
            connection.send(&probe).must("send a probe");
            let back = || self.lines.lock().iter().any(|line| line.starts_with(&self.probe)).then_some(());
            within(Duration::from_millis(50), back).is_some()
        });
    }

    /// Topic and payload of all that has arrived so far, in order.
    pub fn arrivals(&self) -> Vec<(String, String)> {
        let lines = self.lines.lock();
        let arrivals = lines.iter().filter(|line| !line.starts_with("probe/"));
        arrivals.map(|line| split(line)).map(|(t, p)| (t.to_owned(), p.to_owned())).collect()
    }

    /// How many have arrived so far.
    pub fn count(&self) -> usize {
        self.lines.lock().iter().filter(|line| !line.starts_with("probe/")).count()
    }

    /// Waits until at least `count` different ones have arrived.
    #[track_caller]
    pub fn wait_count(&self, count: usize, limit: Duration) {
        // Telling them apart is dearer than counting, and not needed before there are enough.
        let enough = || self.count() >= count && self.count_different() >= count;
        let arrived = within(limit, || enough().then_some(()));
        assert!(arrived.is_some(), "{} of {count} arrived within {limit:?}", self.count_different());
    }

    fn count_different(&self) -> usize {
        let lines = self.lines.lock();
        lines.iter().filter(|line| !line.starts_with("probe/")).collect::<HashSet<_>>().len()
    }

    /// Waits for one arrival that `wanted` accepts.
    #[track_caller]
    pub fn wait_arrival(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> (String, String) {
        wait_some(what, limit, || self.arrivals().into_iter().find(|(t, p)| wanted(t, p)))
    }
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}
