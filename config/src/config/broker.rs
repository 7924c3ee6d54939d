//! A broker that the gateway is a client of: where it is, how it is reached, and who the gateway is to it.

use std::path::PathBuf;
use std::time::Duration;

/// A broker, or several of one cloud, and how a client of it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
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
    /// The longest silence before a ping; whole seconds. Default 30 s.
    pub keep_alive: Duration,
    /// How long name lookup, TCP, TLS and CONNACK may take together. Default 8 s.
    pub connect_timeout: Duration,
    /// How long an acknowledgement may take before the connection counts as broken. Default 8 s.
    pub ack_timeout: Duration,
    /// The first wait before connecting again. Default 200 ms.
    pub backoff_min: Duration,
    /// The longest wait before connecting again; at least `backoff_min`. Default 30 s.
    pub backoff_max: Duration,
    /// How encrypted connections are; `Some` if and only if there is an encrypted URL.
    pub tls: Option<Tls>,
}

impl Broker {
    /// A broker with all defaults, at a URL that is not encrypted.
    pub fn new(client_id: &str, url: Url) -> Self {
        Broker {
            url,
            fallbacks: Vec::new(),
            return_after: Duration::from_secs(60),
            proxy: None,
            version: Version::V5,
            client_id: client_id.to_owned(),
            username: None,
            password: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(8),
            ack_timeout: Duration::from_secs(8),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            tls: None,
        }
    }

    /// The URL at this place of the list that begins with [`Broker::url`]; that one also for a place beyond the list.
    pub fn url_at(&self, place: usize) -> &Url {
        place.checked_sub(1).and_then(|place| self.fallbacks.get(place)).unwrap_or(&self.url)
    }
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

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A host name or an IP address; an IPv6 address is without its brackets.
    pub host: String,
    /// The port. Default 1883, or 8883 with TLS; of WebSocket 80, or 443 with TLS.
    pub port: u16,
    /// Whether the connection is encrypted, as [`Broker::tls`] says.
    pub encrypted: bool,
    /// Where on that host MQTT is spoken in WebSocket frames (subprotocol `mqtt`): the path, and a query if there is one,
    /// from the slash on. Default `/mqtt`. `None`: MQTT is spoken as it is.
    pub websocket: Option<String>,
}

impl Url {
    /// A broker that speaks MQTT as it is, without TLS.
    pub fn plain(host: &str, port: u16) -> Self {
        Url { host: host.to_owned(), port, encrypted: false, websocket: None }
    }
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
