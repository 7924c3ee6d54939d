//! Brokers that sites have, from Debian's packages: RabbitMQ with its MQTT plugin, NATS with JetStream. Each in a folder and on
//! ports of its own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::connection::Connection;
use crate::must::Must;
use crate::port::Port;
use crate::process::Process;
use crate::wait::wait_for;
use crate::wire::{Connect, Version};

/// RabbitMQ takes its time.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// RabbitMQ, MQTT 3.1.1 by its plugin.
    RabbitMq,
    /// NATS, MQTT 3.1.1 by JetStream.
    Nats,
}

/// A running broker; with its helpers killed when dropped.
pub struct RealBroker {
    product: Product,
    dir: TempDir,
    mqtt: Port,
    own: Port,
    names: Port,
    process: Option<Process>,
    // Erlang's registry of names, on a port of its own, so that none of the system is used or left behind.
    _epmd: Option<Process>,
}

impl RealBroker {
    /// Starts a broker that keeps what it has acknowledged.
    pub fn start(product: Product) -> Self {
        let [mqtt, own, names] = [(); 3].map(|()| Port::reserve());
        let epmd = (product == Product::RabbitMq).then(|| {
            let mut command = Command::new("epmd");
            command.args(["-port", &names.number().to_string(), "-address", "127.0.0.1"]);
            Process::start("epmd", "rabbitmq-server", &mut command)
        });
        let dir = TempDir::new().must("make a temporary folder");
        let mut broker = Self { product, dir, mqtt, own, names, process: None, _epmd: epmd };
        broker.configure();
        broker.restart();
        broker
    }

    /// Where MQTT is spoken.
    pub fn port(&self) -> u16 {
        self.mqtt.number()
    }

    /// SIGKILL, for all of its processes.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            kill_group(process.pid());
        }
    }

    /// Starts it (again), and waits until it lets clients in.
    pub fn restart(&mut self) {
        let mut command = match self.product {
            Product::RabbitMq => self.rabbit_mq(),
            Product::Nats => self.nats(),
        };
        // A group of its own: what is started is a script that starts others.
        command.process_group(0);
        let (name, package) = match self.product {
            Product::RabbitMq => ("RabbitMQ", "rabbitmq-server"),
            Product::Nats => ("NATS", "nats-server"),
        };
        self.process = Some(Process::start(name, package, &mut command));
        let port = self.port();
        wait_for("the broker lets clients in", START_LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                && Connection::open(port, &Connect::new(Version::V311, "probe")).is_ok()
        });
    }

    fn configure(&self) {
        let (dir, mqtt, own) = (self.dir.path(), self.port(), self.own.number());
        let write = |name: &str, text: String| fs::write(dir.join(name), text).must("write a configuration");
        match self.product {
            Product::RabbitMq => {
                write("enabled_plugins", "[rabbitmq_mqtt].".to_owned());
                write(
                    "rabbitmq.conf",
                    format!(
                        "listeners.tcp.1 = 127.0.0.1:{own}\nmqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}\n\
                         mqtt.allow_anonymous = true\nmqtt.prefetch = 1000\n"
                    ),
                );
            }
            Product::Nats => write(
                "nats.conf",
                format!(
                    "server_name: tests\nlisten: \"127.0.0.1:{own}\"\njetstream {{ store_dir: \"{}\" }}\n\
                     mqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\n",
                    dir.display()
                ),
            ),
        }
    }

    fn rabbit_mq(&self) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let path = |name: &str| dir.join(name);
        command
            .env("HOME", dir)
            .env("RABBITMQ_NODENAME", format!("tests{}@localhost", self.own.number()))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", path("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            // Below the range that the tests' own ports are from.
            .env("RABBITMQ_DIST_PORT", distribution_port(self.names.number()))
            .env("ERL_EPMD_PORT", self.names.number().to_string());
        command
    }

    fn nats(&self) -> Command {
        let mut command = Command::new(program("nats-server"));
        command.arg("-c").arg(self.dir.path().join("nats.conf"));
        command
    }
}

impl Drop for RealBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port for Erlang's distribution: the registry's own has a UDP twin that is held, its number plus a few thousand has not.
fn distribution_port(names: u16) -> String {
    (names.wrapping_sub(5000).max(1024)).to_string()
}

/// Debian has servers in /usr/sbin, which is not on every user's path.
fn program(name: &str) -> String {
    let in_sbin = format!("/usr/sbin/{name}");
    if Path::new(&in_sbin).exists() { in_sbin } else { name.to_owned() }
}

fn kill_group(pid: u32) {
    // Gone already is as good.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
}
