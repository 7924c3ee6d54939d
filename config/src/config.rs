//! What a gateway is told, once nothing is wrong with it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod broker;
mod source;
mod uplink;

pub use broker::{Broker, Proxy, Secret, Tls, TlsVersion, Url, Version};
pub use source::Source;
pub use uplink::{Batch, BatchFormat, EventProperties, Rate, RemoteConfig, Uplink};

use crate::units::millis;

/// Everything a gateway is told.
#[derive(Debug)]
pub struct Config {
    /// `[gateway]`: who this gateway is.
    pub gateway: Gateway,
    /// `[log]`: what is logged.
    pub log: Log,
    /// `[status] bind`: where metrics, health and the status page are; nowhere if it is not written.
    pub status: Option<SocketAddr>,
    /// `[alerts]`: what the gateway says of itself as events; nothing if it is not written.
    pub alerts: Option<Alerts>,
    /// `[sys] every`: how often counters are published on the local bus; never if it is not written.
    pub sys: Option<Duration>,
    /// `[[listener]]`: where devices connect; empty only if there are sources.
    pub listeners: Vec<Listener>,
    /// `[limits]`: what devices may take.
    pub limits: Limits,
    /// `[buffer]`: where and how much is stored.
    pub buffer: tidegate_buffer::Options,
    /// `[[uplink]]`: the brokers that events are forwarded to; at most 64.
    pub uplinks: Vec<Uplink>,
    /// `[[source]]`: the brokers that events are taken from; at most 64.
    pub sources: Vec<Source>,
    /// `[[rule]]`, `[[route]]` and `forward`, in the order of the files.
    pub rules: Vec<Rule>,
    /// `[[table]]`: what rules look up; at most 64.
    pub tables: Vec<Table>,
    /// `[trace]`: what is remembered of the way of events.
    pub trace: Trace,
}

/// Who this gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The name in topics, event ids and client ids: `[A-Za-z0-9._-]{1,64}`. Default: the host name.
    pub id: String,
    /// How long a stop waits for uplinks to take what is left in memory. Default 5 s.
    pub stop_timeout: Duration,
    /// From when on the wall clock is right. Default [`ClockTrust::Auto`].
    pub clock: ClockTrust,
}

/// From when on the wall clock is right. What was stamped before is corrected then, by the time that has passed since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClockTrust {
    /// Once systemd-timesyncd has set it; where that does not run, from any time on that is not plainly in the past.
    #[default]
    Auto,
    /// Always: the board has a clock with a battery, or something sets it before the gateway starts.
    Always,
    /// Once this file is there.
    File(PathBuf),
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged. Default [`Level::Info`].
    pub level: Level,
    /// How lines are written where nobody but a file or a terminal reads them. Default [`LogFormat::Text`].
    pub format: LogFormat,
}

/// How lines of the log are written to standard error. The journal of systemd gets fields of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object in each line, for programs.
    Json,
}

/// Which of its own states the gateway makes events of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// What stands before `/` and the kind of an alert. Default `tidegate/alerts`.
    pub topic: String,
    /// From how many percent of the buffer's bytes on. Default 90.
    pub disk_percent: u64,
    /// How long an uplink has to be away. Default 5 min.
    pub uplink_away_after: Duration,
    /// How long after the start the clock has to be set. Default 10 min.
    pub clock_after: Duration,
    /// How many days before a certificate ends. Default 30.
    pub certificate_days: u64,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody has to act.
    Error,
    /// Somebody should look.
    Warn,
    /// What an operator wants to read of an ordinary day.
    Info,
    /// What helps to find a mistake.
    Debug,
    /// Everything.
    Trace,
}

/// Where devices connect, and who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address or the path. Default, when there is neither a listener nor a source: 127.0.0.1:1883.
    pub bind: Bind,
    /// How connections are encrypted. Default: they are not.
    pub tls: Option<ListenerTls>,
    /// Whether MQTT comes in WebSocket frames (subprotocol `mqtt`). Default false.
    pub websocket: bool,
    /// Whether each connection has to begin with a header of the PROXY protocol, version 2. Default false.
    pub proxy_protocol: bool,
    /// Who may connect, and what they may do: `[access]`, with what the listener says otherwise.
    pub access: Access,
}

/// What a listener is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An address; port 0 takes any free port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// At most 107 bytes.
        path: PathBuf,
        /// The permissions of the socket's file. Default 0660.
        mode: u32,
    },
}

impl std::fmt::Display for Bind {
    /// As the setting is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the connections of a listener are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// A PEM file of our certificate and what leads from it to an authority.
    pub cert: PathBuf,
    /// A PEM file of our key.
    pub key: PathBuf,
    /// A PEM file of the authorities whose certificates devices may have.
    pub client_ca: Option<PathBuf>,
    /// Whether a device without a certificate is refused. Default: true if there is a `client_ca`.
    pub require_client_cert: bool,
    /// Which name of a certificate is the user name. Default none: a certificate opens the door, and a password or
    /// `anonymous` is asked for all the same.
    pub identity: Option<Identity>,
}

/// Which name of a certificate is the user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The common name of the subject.
    CommonName,
    /// The first DNS name, mail address or URI among the subject's alternative names.
    AlternativeName,
}

/// Who may connect, and what they may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether devices connect without a user name. Default false.
    pub anonymous: bool,
    /// The users and their passwords. `None`: no password lets anyone in.
    pub logins: Option<Arc<[Login]>>,
    /// Where they were read.
    pub password_file: Option<PathBuf>,
    /// What clients may do. `None`: everything.
    pub acl: Option<Arc<[AclRule]>>,
    /// Where that was read.
    pub acl_file: Option<PathBuf>,
}

/// A line of a password file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Unique in its file.
    pub username: String,
    /// What the password has to give.
    pub password: PasswordHash,
}

/// A salted hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// How it was made.
    pub method: HashMethod,
    /// At most 64 bytes.
    pub salt: Vec<u8>,
    /// 64 bytes.
    pub hash: Vec<u8>,
}

impl std::fmt::Debug for PasswordHash {
    /// A hash is in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHash").field("method", &self.method).finish_non_exhaustive()
    }
}

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashMethod {
    /// `$6$`: SHA-512 of the password and the salt.
    Sha512,
    /// `$7$`: PBKDF2 with HMAC-SHA-512 and this many iterations, at most 1,000,000.
    Pbkdf2(NonZeroU32),
}

/// A line of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRule {
    /// Whom it is for.
    pub who: AclWho,
    /// What it allows.
    pub permission: Permission,
    /// A topic filter; in the filter of [`AclWho::Everyone`], `%c` stands for the client id and `%u` for the user name.
    pub filter: String,
}

/// Whom a line of an access list is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclWho {
    /// `topic` before any `user`: clients without a user name.
    Anonymous,
    /// `topic` after this `user`.
    User(String),
    /// `pattern`.
    Everyone,
}

/// What a line of an access list allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To subscribe, and to be sent events.
    Read,
    /// To publish.
    Write,
    /// Both.
    ReadWrite,
    /// Neither, whatever other lines say.
    Deny,
}

/// What devices may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. Default 1000.
    pub connections_max: usize,
    /// Connections of one address at a time; of IPv6, of one /64. Default 500.
    pub connections_per_address_max: usize,
    /// New connections in a second; what comes faster waits in the kernel's queue. Default 1000.
    pub connects_per_s_max: u32,
    /// Failed logins in a minute, of one address and of one user name; past it logins are refused unchecked.
    /// Default 20.
    pub failed_logins_per_minute_max: u32,
    /// Bytes of an incoming packet (the Maximum Packet Size of MQTT 5.0, 3.2.2.3.6). Default 256 KiB.
    pub packet_bytes_max: usize,
    /// Bytes of a client id. Default 1024.
    pub client_id_bytes_max: usize,
    /// Bytes of a topic name or filter. Default 4 KiB.
    pub topic_bytes_max: usize,
    /// Levels of a topic name or filter. Default 128.
    pub topic_levels_max: usize,
    /// Publishes of a client in a second; past it the client is not read for a while. Default none.
    pub publishes_per_s_max: Option<u32>,
    /// Bytes that a client sends in a second; past it the client is not read for a while. Default none.
    pub receive_bytes_per_s_max: Option<u32>,
    /// Unacknowledged publishes of a client (the Receive Maximum of MQTT 5.0, 3.2.2.3.3). Default 100.
    pub inflight_max: u16,
    /// Bytes waiting for one subscriber. Default 1 MiB.
    pub queue_bytes_max: usize,
    /// Events waiting for one subscriber. Default 1000.
    pub queue_events_max: usize,
    /// Subscriptions of a client. Default 100.
    pub subscriptions_max: usize,
    /// Topic aliases in each direction of a connection (the Topic Alias Maximum of MQTT 5.0, 3.2.2.3.8); 0 for none.
    /// Default 10.
    pub topic_alias_max: u16,
    /// The longest keep-alive, in whole seconds; who asks for a longer one, or for none, gets this (the Server Keep Alive
    /// of MQTT 5.0, 3.2.2.3.14). Older clients cannot be told, and their own counts. Default none.
    pub keep_alive_max: Option<Duration>,
    /// Whether clients of MQTT 3.1 (`MQIsdp`) are served. Default false.
    pub mqtt31: bool,
    /// Sessions that outlive their connection, connected or not. Default 10,000.
    pub sessions_max: usize,
    /// How long a session is kept for a client that is away, in whole seconds. Default 30 d.
    pub session_expiry_max: Duration,
    /// Retained messages. Default 10,000.
    pub retained_max: usize,
    /// Bytes of all retained messages: topics, properties, payloads, and 64 for each. Default 16 MiB.
    pub retained_bytes_max: usize,
    /// How long each of the PROXY header, the TLS and the WebSocket handshake may take. Default 5 s.
    pub handshake_timeout: Duration,
    /// How long a connection may take to send its CONNECT, once the handshakes are done. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a connection may be without any packet in either direction. Default none: keep-alive decides.
    pub idle_timeout: Option<Duration>,
}

/// A rule or a route, with where its results go.
#[derive(Debug)]
pub struct Rule {
    /// The compiled rule; a route is named `route:FILTER`.
    pub rule: tidegate_rules::Rule,
    /// Where its outputs go, by the index of the rule's destinations: those of results, at least one, then those of late
    /// events, then those of events that failed.
    pub destinations: Vec<Destination>,
    /// `[[rule.test]]`, in the order of the file.
    pub tests: Vec<RuleTest>,
}

/// A test of a rule: events with times, and what is to come of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTest {
    /// What it is called; empty if it has no name.
    pub name: String,
    /// Where it stands: `FILE:LINE`.
    pub place: String,
    /// The events, in the order in which they come.
    pub given: Vec<Given>,
    /// How long time goes on after the last event. Default none.
    pub advance: Duration,
    /// What is to be published, in order.
    pub expect: Vec<Expected>,
}

impl RuleTest {
    /// Runs the test against a set that has its rule alone.
    ///
    /// # Errors
    /// What differs from what is expected.
    pub fn run(&self, rules: &mut tidegate_rules::RuleSet) -> Result<(), tidegate_rules::Difference> {
        let given: Vec<_> = self
            .given
            .iter()
            .map(|given| tidegate_rules::Given {
                at_ms: i64::try_from(millis(given.at)).unwrap_or(i64::MAX),
                topic: &given.topic,
                payload: &given.payload,
            })
            .collect();
        let expect: Vec<_> = self
            .expect
            .iter()
            .map(|expected| tidegate_rules::Expected {
                topic: expected.topic.as_deref(),
                payload: expected.payload.as_deref(),
            })
            .collect();
        tidegate_rules::RuleTest { given: &given, advance_ms: millis(self.advance), expect: &expect }
            .run(rules)
    }
}

/// An event that a test gives to its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// When it comes in, from the start of the test, which is 1970-01-01 00:00 UTC to the rule. Default at the start.
    pub at: Duration,
    /// The topic it is published to.
    pub topic: String,
    /// The payload: what is written as text as it is, all else as JSON.
    pub payload: Vec<u8>,
}

/// An output that a test expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The topic; `None` for any.
    pub topic: Option<String>,
    /// The payload as JSON; `None` for any.
    pub payload: Option<Vec<u8>>,
}

/// What is remembered of the way of events through the rules, for `tidegate trace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// How many events are remembered, the latest. Default 0: none, which costs nothing.
    pub events_max: usize,
    /// One event in so many is remembered. Default 1: each.
    pub one_in: u64,
}

/// A lookup table.
#[derive(Debug, Clone)]
pub struct Table {
    /// What `lookup` calls it: `[a-z0-9_-]{1,64}`, unique.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The column that rows are found by.
    pub key: String,
    /// Whether the file has comma-separated values or JSON lines.
    pub format: TableFormat,
    /// What was in it; empty if it could not be read, of which the report warns.
    pub rows: Arc<tidegate_rules::Table>,
}

/// What a table's file has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values whose first line names the columns (RFC 4180): `.csv`.
    Csv,
    /// An object in each line: `.jsonl`, `.ndjson` or `.json`.
    JsonLines,
}

/// Where results of a rule go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Who takes them.
    pub target: Target,
    /// The quality of service they are published with: 0, 1 or 2. Default 1.
    pub qos: u8,
    /// Whether they are published as retained. Default false.
    pub retain: bool,
    /// The lane they wait in. Default normal; always that for [`Target::Local`].
    pub priority: tidegate_buffer::Priority,
    /// How long they are worth sending. Default: for ever.
    pub ttl: Option<Duration>,
}

/// Who takes the results of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The uplink with this index in [`Config::uplinks`].
    Uplink(usize),
    /// The local bus.
    Local,
}
