//! What an uplink is told: where its broker is, how it is reached, and what it gets.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_buffer::{Drain, Retention};

use crate::TopicTemplate;

/// A broker that events are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The name in rules, metrics and logs: `[a-z0-9_-]{1,64}`, unique.
    pub name: String,
    /// Where the broker is.
    pub url: Url,
    /// Where others are, in the order in which they are tried while it is away; at most 7.
    pub fallbacks: Vec<Url>,
    /// How long the first of several has to have answered before it is used again. Default 1 min.
    pub return_after: Duration,
    /// How the broker is reached if not directly.
    pub proxy: Option<Proxy>,
    /// The MQTT version spoken with it. Default [`Version::V5`].
    pub version: Version,
    /// The client id. Default `tidegate-{gateway}-{name}`.
    pub client_id: String,
    /// The user name.
    pub username: Option<String>,
    /// Where the password is.
    pub password: Option<Secret>,
    /// What becomes of an event's topic. Default `{topic}`: it stays as it is.
    pub topic: TopicTemplate,
    /// Filters of events that go there as they are: each is a route of its own among the rules.
    pub forward: Vec<String>,
    /// Unacknowledged publishes at a time. Default 100.
    pub window: u16,
    /// The order in which a backlog is sent. Default [`Drain::OldestFirst`].
    pub drain: Drain,
    /// The bounds of what waits for it, beside those of the buffer. Default none.
    pub retention: Retention,
    /// What is sent at most in a second. Default: what the line takes.
    pub rate: Option<Rate>,
    /// After an outage that was longer than this, the gateway waits a random part of it before it sends, so that a fleet
    /// does not come back at once. Default 0 s.
    pub spread: Duration,
    /// The longest silence before a ping; whole seconds. Default 30 s.
    pub keep_alive: Duration,
    /// How long name lookup, TCP, TLS and CONNACK may take together. Default 8 s.
    pub connect_timeout: Duration,
    /// How long an acknowledgement may take before the connection counts as broken. Default 10 s.
    pub ack_timeout: Duration,
    /// The first wait before connecting again. Default 200 ms.
    pub backoff_min: Duration,
    /// The longest wait before connecting again; at least `backoff_min`. Default 30 s.
    pub backoff_max: Duration,
    /// Bytes of an outgoing packet. Default 256 KiB.
    pub packet_bytes_max: usize,
    /// How many topics the broker is asked to remember on a connection (Topic Alias, MQTT 5.0, 3.3.2.3.4); 0 for none.
    /// Default 32.
    pub topic_alias_max: u16,
    /// What each publish says of its event by user properties of MQTT 5.
    pub properties: EventProperties,
    /// Where the gateway says whether it is online, as a retained message and as its will. Default: nowhere.
    pub status_topic: Option<String>,
    /// How often an event that is alone on the line may end the connection before it is set aside; 0 for never.
    /// Default 5.
    pub poison_after: u8,
    /// How encrypted connections are; `Some` if and only if there is an encrypted URL.
    pub tls: Option<Tls>,
}

impl Uplink {
    /// An uplink with all defaults, to a URL that is not encrypted.
    pub fn new(name: &str, client_id: &str, url: Url) -> Self {
        Uplink {
            name: name.to_owned(),
            url,
            fallbacks: Vec::new(),
            return_after: Duration::from_secs(60),
            proxy: None,
            version: Version::V5,
            client_id: client_id.to_owned(),
            username: None,
            password: None,
            topic: TopicTemplate::unchanged(),
            forward: Vec::new(),
            window: 100,
            drain: Drain::OldestFirst,
            retention: Retention::default(),
            rate: None,
            spread: Duration::ZERO,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(8),
            ack_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            packet_bytes_max: 256 << 10,
            topic_alias_max: 32,
            properties: EventProperties::default(),
            status_topic: None,
            poison_after: 5,
            tls: None,
        }
    }

    /// The URL at this place of the list that begins with [`Uplink::url`]; that one also for a place beyond the list.
    pub fn url_at(&self, place: usize) -> &Url {
        place.checked_sub(1).and_then(|place| self.fallbacks.get(place)).unwrap_or(&self.url)
    }
}

/// What is sent in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// On the average.
    pub bytes_per_s: u64,
    /// At once, after a pause. Default: what goes in a second.
    pub burst_bytes: u64,
}

/// A proxy that passes connections on (HTTP CONNECT, RFC 9110, 9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A host name or an IP address; an IPv6 address is without its brackets.
    pub host: String,
    /// The port. Default 3128.
    pub port: u16,
    /// The user name, for basic authentication (RFC 7617).
    pub username: Option<String>,
    /// Where the password is.
    pub password: Option<Secret>,
}

/// Which user properties a publish carries beside those of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventProperties {
    /// `event-id`: the same whenever the event is sent again. Default true.
    pub event_id: bool,
    /// `event-time`: when the gateway received it. Default true.
    pub event_time: bool,
    /// `gateway`: the gateway's id. Default false.
    pub gateway: bool,
}

impl Default for EventProperties {
    fn default() -> Self {
        EventProperties { event_id: true, event_time: true, gateway: false }
    }
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A host name or an IP address; an IPv6 address is without its brackets.
    pub host: String,
    /// The port. Default 1883, or 8883 with TLS.
    pub port: u16,
    /// Whether the connection is encrypted, as [`Uplink::tls`] says.
    pub encrypted: bool,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file of the authorities to trust. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// A PEM file of our certificate; there if and only if `key` is.
    pub cert: Option<PathBuf>,
    /// A PEM file of our key.
    pub key: Option<PathBuf>,
    /// Protocols to offer (ALPN, RFC 7301). Default none.
    pub alpn: Vec<String>,
    /// The name to ask for (SNI), which has to be in the broker's certificate. `None`: that of the URL.
    pub server_name: Option<String>,
    /// The least version. Default [`TlsVersion::V12`].
    pub version_min: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The systemd credential of this name.
    Credential(String),
    /// This file.
    File(PathBuf),
    /// The environment variable of this name.
    Env(String),
    /// What this program writes to its standard output.
    Command {
        /// The program, by its whole path, and its arguments; never empty.
        command: Vec<String>,
        /// How long it may take. Default 5 s.
        timeout: Duration,
    },
}
