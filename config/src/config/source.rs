//! What a source is told: which broker it has, and what it takes from there.

use std::time::Duration;

use super::{Broker, Url};
use crate::Subscription;

/// A broker that events are taken from, as from a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name in metrics and logs, and the client id that rules see: `[a-z0-9_-]{1,64}`. That of a downlink is its
    /// uplink's; no source and no uplink have the same.
    pub name: String,
    /// Where the events come from.
    pub broker: Broker,
    /// What is taken; 1 to 100 of them.
    pub subscriptions: Vec<Subscription>,
    /// Publishes that are taken and not acknowledged yet (the Receive Maximum of MQTT 5.0, 3.1.2.11.3). Default 100.
    pub window: u16,
    /// Bytes of an incoming packet (the Maximum Packet Size of MQTT 5.0, 3.1.2.11.4). Default 256 KiB.
    pub packet_bytes_max: usize,
    /// How long the broker is asked to keep the session while the gateway is away, in whole seconds. MQTT 3.1.1 leaves
    /// that to the broker. Default 7 d.
    pub session_expiry: Duration,
}

impl Source {
    /// A source with all defaults and without a subscription, at a URL that is not encrypted.
    pub fn new(name: &str, client_id: &str, url: Url) -> Self {
        Source {
            name: name.to_owned(),
            broker: Broker::new(client_id, url),
            subscriptions: Vec::new(),
            window: 100,
            packet_bytes_max: 256 << 10,
            session_expiry: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
