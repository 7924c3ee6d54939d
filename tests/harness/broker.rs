//! The cloud: a real mosquitto on a port that stays its own.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::must::Must;
use crate::namespace::Namespace;
use crate::port::Port;
use crate::process::Process;
use crate::wait::wait_for;

const START_LIMIT: Duration = Duration::from_secs(10);

/// How a broker is set up.
#[derive(Debug, Default, Clone, Copy)]
pub struct Setup<'a> {
    /// Keeps sessions over SIGTERM (not over SIGKILL: mosquitto saves when it stops).
    pub persistent: bool,
    /// Where it persists, if not in a folder of its own.
    pub location: Option<&'a Path>,
    /// Further lines of mosquitto.conf, ahead of the listener.
    pub global: &'a str,
    /// Further lines of mosquitto.conf that belong to the listener, such as TLS.
    pub listener: &'a str,
    /// Where it runs, if not in our own network.
    pub network: Option<&'a Arc<Namespace>>,
}

/// A mosquitto.
pub struct Broker {
    dir: TempDir,
    port: Port,
    network: Option<Arc<Namespace>>,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker that keeps nothing.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// Starts a broker with a setup.
    pub fn with(setup: Setup<'_>) -> Self {
        let mut broker = Self::stopped(setup);
        broker.restart();
        broker
    }

    /// A broker that is away for now: its port is known, nobody listens there.
    pub fn stopped(setup: Setup<'_>) -> Self {
        let dir = TempDir::new().must("make a temporary folder");
        let port = Port::reserve();
        let text = configuration(setup, port.number(), dir.path());
        fs::write(dir.path().join("mosquitto.conf"), text).must("write mosquitto.conf");
        Self { dir, port, network: setup.network.cloned(), process: None }
    }

    /// The port, running or not.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where it is reached.
    pub fn address(&self) -> &str {
        self.network.as_ref().map_or("127.0.0.1", |network| network.address())
    }

    /// The network in which it runs, if that is not ours.
    pub fn network(&self) -> Option<&Namespace> {
        self.network.as_deref()
    }

    /// The process id of the running broker.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Process::pid).must("the broker runs")
    }

    /// Starts it (again) on the same port and waits until it accepts.
    pub fn restart(&mut self) {
        self.try_restart().must("start mosquitto");
    }

    /// As [`Broker::restart`], but gives what it said if it ends at once: a damaged file in its folder keeps it down.
    pub fn try_restart(&mut self) -> Result<(), String> {
        let mut command = program(self.network.as_deref(), "mosquitto");
        command.arg("-c").arg(self.dir.path().join("mosquitto.conf"));
        // Debian has it in /usr/sbin, which is not on every user's path.
        command.env("PATH", path_with_sbin());
        let mut process = Process::start("mosquitto", "mosquitto", &mut command);
        let mut accepts = false;
        wait_for("mosquitto accepts connections, or ends", START_LIMIT, || {
            accepts = TcpStream::connect((self.address(), self.port.number())).is_ok();
            accepts || !process.is_running()
        });
        if !accepts {
            return Err(process.to_string());
        }
        self.process = Some(process);
        Ok(())
    }

    /// SIGTERM: sessions are kept if it is persistent.
    pub fn stop(&mut self) {
        let mut process = self.process.take().must("the broker runs");
        process.signal("TERM");
        process.wait_exit(START_LIMIT);
    }

    /// Whether it has been started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// SIGKILL: all is lost that was not on disk.
    pub fn kill(&mut self) {
        self.process.take().must("the broker runs").kill();
    }
}

/// A command that runs in this network.
pub(crate) fn program(network: Option<&Namespace>, name: &str) -> Command {
    network.map_or_else(|| Command::new(name), |network| network.command(name))
}

fn configuration(setup: Setup<'_>, port: u16, dir: &Path) -> String {
    let Setup { persistent, location, global, listener, network } = setup;
    let address = if network.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    let dir = location.unwrap_or(dir).display();
    format!(
        "user root\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         max_inflight_messages 1000\npersistence {persistent}\npersistence_location {dir}/\n\
         autosave_interval 0\nlog_type error\nlog_type warning\n{global}\n\
         listener {port} {address}\n{listener}\n"
    )
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}
