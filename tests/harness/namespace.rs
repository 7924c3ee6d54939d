//! A network of its own, joined to ours by one line that can become a black hole: a network namespace and a veth pair.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::must::Must;

/// A network namespace; taken away, with its line, when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    here: String,
    there: String,
}

/// The line's end within.
const FAR: &str = "far";

impl Namespace {
    /// Makes one with a line to it, which works. Needs root.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tg{}-{number}", std::process::id());
        // Four addresses each of the network for benchmarks of network devices (RFC 2544).
        let place = (std::process::id().wrapping_mul(37).wrapping_add(number)) % 16_384 * 4;
        let address = |host: u32| format!("198.18.{}.{}", (place + host) / 256, (place + host) % 256);
        let made = Self { name, here: address(1), there: address(2) };
        made.join();
        made
    }

    fn join(&self) {
        let Self { name, here, there } = self;
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name {FAR} netns {name}"));
        ip(&format!("addr add {here}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} addr add {there}/30 dev {FAR}"));
        ip(&format!("-n {name} link set {FAR} up"));
        // A line that goes dead is one thing, a neighbour that does not answer any more another, with an error.
        let mac = std::fs::read_to_string(format!("/sys/class/net/{name}/address")).must("read an address");
        ip(&format!("-n {name} neigh replace {here} lladdr {} dev {FAR} nud permanent", mac.trim()));
        let link = ip(&format!("-n {name} -br link show {FAR}"));
        let mac = link.split_whitespace().nth(2).must("the address of the far end").to_owned();
        ip(&format!("neigh replace {there} lladdr {mac} dev {name} nud permanent"));
    }

    /// Where a server within is reached from here.
    pub fn address(&self) -> &str {
        &self.there
    }

    /// A program that is to run within.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// From now on everything that goes over the line is lost, in both directions, and nobody is told.
    pub fn swallow(&self) {
        ip(&format!("-n {} link set {FAR} down", self.name));
    }

    /// From now on what comes from within is lost; what goes there arrives.
    pub fn swallow_answers(&self) {
        ip(&format!("-n {} route replace blackhole {}/32", self.name, self.here));
    }

    /// The line works again.
    pub fn heal(&self) {
        ip(&format!("-n {} link set {FAR} up", self.name));
        // There is no such route after the other fault.
        let _ = run(&format!("-n {} route del blackhole {}/32", self.name, self.here));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be taken away cannot be helped here.
        let _ = run(&format!("link del {}", self.name));
        let _ = run(&format!("netns del {}", self.name));
    }
}

fn run(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.must("run ip (apt-get install iproute2)");
    let [said, complaint] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(said) } else { Err(complaint) }
}

fn ip(arguments: &str) -> String {
    run(arguments).must(&format!("ip {arguments} (as root)"))
}
