//! Stand-ins for clouds that are particular: what does not fit their demands is refused as they do, by the end of the connection,
//! and written down with the reason. What they demand is what the providers document; `tests/clouds.rs` has it.

mod client;
mod socket;

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::authority::Authority;
use crate::must::Must;
use crate::wire::Version;

/// A client that is let in.
#[derive(Debug, Clone, Copy)]
pub struct Login {
    /// Its client id.
    pub client_id: &'static str,
    /// Its user name and password, if it has to have some.
    pub credentials: Option<(&'static str, &'static str)>,
}

/// What a cloud takes, and nothing else.
#[derive(Debug, Clone)]
pub struct Demands {
    /// The names that clients may ask for in TLS (SNI); the certificate has them.
    pub hosts: &'static [&'static str],
    /// The protocol that clients have to offer in TLS (ALPN).
    pub alpn: Option<&'static str>,
    /// Whether clients need a certificate of the authority.
    pub client_certificate: bool,
    /// The path of WebSocket (subprotocol `mqtt`), if it is spoken.
    pub websocket: Option<&'static str>,
    /// Versions of MQTT.
    pub versions: &'static [Version],
    /// Who is let in.
    pub logins: &'static [Login],
    /// Keep-alive, in seconds.
    pub keep_alive_s: RangeInclusive<u16>,
    /// Bytes of a packet.
    pub packet_bytes_max: usize,
    /// Levels of a topic.
    pub levels_max: usize,
    /// What a topic has to begin with.
    pub topic_prefix: &'static str,
    /// The highest quality of service.
    pub qos_max: u8,
    /// Whether it keeps retained messages.
    pub retains: bool,
    /// Publishes of a client that are not acknowledged yet.
    pub unacknowledged_max: usize,
    /// What it sends to who has subscribed to it: topic and payload.
    pub command: Option<(&'static str, &'static str)>,
}

impl Demands {
    /// A cloud by TLS that takes everything from a client of this name.
    pub fn new(hosts: &'static [&'static str], logins: &'static [Login]) -> Self {
        Self {
            hosts,
            alpn: None,
            client_certificate: false,
            websocket: None,
            versions: &[Version::V311, Version::V5],
            logins,
            keep_alive_s: 0..=u16::MAX,
            packet_bytes_max: 1 << 20,
            levels_max: 128,
            topic_prefix: "",
            qos_max: 2,
            retains: true,
            unacknowledged_max: usize::from(u16::MAX),
            command: None,
        }
    }
}

/// What has happened there.
#[derive(Debug, Default)]
pub struct Story {
    /// Topic and payload of each publish that was taken.
    pub arrivals: Vec<(String, Vec<u8>)>,
    /// Why connections were ended.
    pub refusals: Vec<String>,
    /// Client ids of connections that were let in.
    pub welcomed: Vec<String>,
    /// How often the command was acknowledged.
    pub commands_acked: usize,
}

struct Shared {
    demands: Demands,
    story: Mutex<Story>,
}

/// A cloud that refuses what does not fit.
pub struct StandIn {
    port: u16,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Starts it with a certificate of this authority.
    pub fn start(demands: Demands, authority: &Authority) -> Self {
        let names: Vec<String> = demands.hosts.iter().map(|host| format!("DNS:{host}")).collect();
        authority.issue("stand-in", "stand-in", &names.join(","));
        let tls = socket::server_config(&demands, authority);
        let listener = TcpListener::bind("127.0.0.1:0").must("bind the stand-in");
        let port = listener.local_addr().must("know the port").port();
        let shared = Arc::new(Shared { demands, story: Mutex::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&serving), Arc::clone(&tls));
                thread::spawn(move || {
                    if let Err(why) = socket::serve(&shared, &tls, stream) {
                        shared.story().refusals.push(why);
                    }
                });
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has happened so far.
    pub fn story(&self) -> MutexGuard<'_, Story> {
        self.shared.story()
    }
}

impl Shared {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
