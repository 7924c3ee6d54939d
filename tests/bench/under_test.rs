//! The two gateways: tidegate, and a mosquitto that bridges.

use std::path::Path;

use tidegate_tests::broker::Setup;
use tidegate_tests::gateway::Builder;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Connection, Gateway, Must};

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tidegate,
    Bridge,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Tidegate, Kind::Bridge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Bridge => "mosquitto bridge",
        }
    }
}

/// A running gateway.
pub(crate) enum UnderTest {
    Tidegate(Box<Gateway>),
    Bridge(Box<Broker>),
}

impl UnderTest {
    /// Starts a gateway that forwards `events/#` to the cloud with QoS 1 and a window of 100.
    pub(crate) fn start(kind: Kind, cloud: u16, binary: &Path, folder: &str) -> Self {
        match kind {
            Kind::Tidegate => {
                let gateway = Builder::new(binary.to_owned(), folder).uplink(cloud).start();
                Self::Tidegate(Box::new(gateway))
            }
            Kind::Bridge => {
                let bridge = format!(
                    "connection cloud\naddress 127.0.0.1:{cloud}\ntopic events/# out 1\ncleansession false\n\
                     bridge_protocol_version mqttv50\nnotifications false\nrestart_timeout 1\n"
                );
                let global = "max_inflight_messages 100";
                let setup = Setup { persistent: true, global, listener: &bridge };
                Self::Bridge(Box::new(Broker::with(setup)))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Tidegate(gateway) => gateway.pid(),
            Self::Bridge(broker) => broker.pid(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Tidegate(gateway) => gateway.port(),
            Self::Bridge(broker) => broker.port(),
        }
    }

    /// One publish and its PUBACK.
    pub(crate) fn first_puback(&self) {
        let mut connection = Connection::clean(self.port(), Version::V5, "first");
        connection.send(&wire::publish(Version::V5, "events/first", b"first", 1, 1)).must("publish");
        assert_eq!(connection.expect("a PUBACK").kind(), 4);
    }
}
