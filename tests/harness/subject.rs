//! What stands in the gateway's place: tidegate, or a mosquitto that bridges. Either takes `events/#` from devices and brings
//! it to the cloud with QoS 1.

use std::path::{Path, PathBuf};

use crate::broker::{Broker, Setup};
use crate::connection::Connection;
use crate::gateway::{Builder, Gateway};
use crate::must::Must;
use crate::wire::{self, Version};

/// How a subject is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings<'a> {
    /// tidegate with these further lines of `[buffer]` and of its uplink.
    Tidegate {
        /// Lines of `[buffer]`.
        buffer: &'a str,
        /// Lines of `[[uplink]]`.
        uplink: &'a str,
    },
    /// tidegate with these rules in place of what it forwards as it is.
    TidegateWithRules {
        /// A file of rules.d.
        rules: &'a str,
    },
    /// A mosquitto bridge with persistence and these further global lines of its configuration.
    Bridge {
        /// Lines ahead of the listener.
        global: &'a str,
    },
}

/// A gateway of either kind, running or not.
pub enum Subject {
    /// tidegate.
    Tidegate(Box<Gateway>),
    /// mosquitto.
    Bridge(Box<Broker>),
}

impl Subject {
    /// Starts `binary`, or a mosquitto, with what it stores in `storage` and everything else in a folder below `parent`.
    pub fn start(
        settings: Settings<'_>,
        binary: &Path,
        parent: &Path,
        storage: Option<&Path>,
        cloud: u16,
    ) -> Self {
        match settings {
            Settings::Tidegate { buffer, uplink } => {
                let parent = parent.to_str().must("a path in UTF-8");
                let builder = Builder::new(binary.to_owned(), parent).uplink(cloud);
                let builder = builder.buffer(buffer).uplink_with(uplink);
                let builder = match storage {
                    Some(storage) => builder.buffer_dir(&storage.join("buffer")),
                    None => builder,
                };
                Self::Tidegate(Box::new(builder.start()))
            }
            Settings::TidegateWithRules { rules } => {
                let parent = parent.to_str().must("a path in UTF-8");
                let url = format!("url = \"mqtt://127.0.0.1:{cloud}\"");
                let builder =
                    Builder::new(binary.to_owned(), parent).uplink_with(&url).rules("rules.toml", rules);
                Self::Tidegate(Box::new(builder.start()))
            }
            Settings::Bridge { global } => {
                let bridge = format!(
                    "connection cloud\naddress 127.0.0.1:{cloud}\ntopic events/# out 1\ncleansession false\n\
                     bridge_protocol_version mqttv50\nnotifications false\nrestart_timeout 1\n"
                );
                let global = format!("max_inflight_messages 100\n{global}");
                let listener = &bridge;
                let setup =
                    Setup { persistent: true, location: storage, global: &global, listener, network: None };
                Self::Bridge(Box::new(Broker::with(setup)))
            }
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Tidegate(gateway) => gateway.pid(),
            Self::Bridge(broker) => broker.pid(),
        }
    }

    /// Where devices connect.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tidegate(gateway) => gateway.port(),
            Self::Bridge(broker) => broker.port(),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        match self {
            Self::Tidegate(gateway) => gateway.kill(),
            Self::Bridge(broker) => broker.kill(),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        match self {
            Self::Tidegate(gateway) => gateway.stop(),
            Self::Bridge(broker) => broker.stop(),
        }
    }

    /// Starts it again; a mosquitto may say why it does not.
    pub fn restart(&mut self) -> Result<(), String> {
        match self {
            Self::Tidegate(gateway) => {
                gateway.restart();
                Ok(())
            }
            Self::Bridge(broker) => broker.try_restart(),
        }
    }

    /// What tidegate has said since its last start; mosquitto's warnings are its own.
    pub fn log(&self) -> String {
        match self {
            Self::Tidegate(gateway) => gateway.log(),
            Self::Bridge(_) => String::new(),
        }
    }

    /// One publish and its PUBACK.
    pub fn first_puback(&self) {
        let mut connection = Connection::clean(self.port(), Version::V5, "first");
        connection.send(&wire::publish(Version::V5, "events/first", b"first", 1, 1)).must("publish");
        assert_eq!(connection.expect("a PUBACK").kind(), 4);
    }
}

/// The binary that commands test: the one that `TIDEGATE_BIN` names.
pub fn binary_of_environment() -> PathBuf {
    std::env::var_os("TIDEGATE_BIN").map(PathBuf::from).must("the path of a tidegate in TIDEGATE_BIN")
}
