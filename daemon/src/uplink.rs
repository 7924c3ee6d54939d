//! Forwarding to one cloud broker: reads records from the spool, keeps the window full, takes acknowledgements.
//!
//! The uplink reads only from the spool; live traffic and catching up are one path. Each connection is a new
//! [`wire::Wire`]; when it ends, whatever it had in flight is read from the spool again. What outlives a connection is
//! small: which broker is next and when (`recovery`), and which event may be to blame (`suspects`). It knows nothing of
//! devices, rules or disks.

mod aliases;
mod backoff;
mod connection;
pub(crate) mod dial;
mod endpoints;
mod keep_alive;
mod pace;
mod packer;
mod presence;
mod reason;
mod recovery;
mod secret;
mod suspects;
mod tls;
pub(crate) mod window;
pub(crate) mod wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{ConsumerId, Histogram, Record, Spool};
use tidegate_config::{Secret, Url};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use backoff::Backoff;
use connection::{At, Connection, Ended};
use dial::Dialer;
use endpoints::Endpoints;
use recovery::{End, Recovery};
use suspects::Suspects;
use wire::WireError;

/// What the task may be late by before it counts as hung.
const GRACE_MS: u64 = 15_000;

/// What an uplink needs of the gateway.
pub(crate) struct Uplink {
    pub(crate) settings: tidegate_config::Uplink,
    pub(crate) gateway_id: String,
    pub(crate) consumer: ConsumerId,
    pub(crate) spool: Arc<Spool>,
    pub(crate) clock: Clock,
    /// Rises when the spool has something for this uplink.
    pub(crate) readable: Arc<Notify>,
    pub(crate) status: Rc<Status>,
}

/// What others may know of an uplink.
#[derive(Debug, Default)]
pub(crate) struct Status {
    online: Cell<bool>,
    /// Since when it is online, or away.
    since_ms: Cell<u64>,
    alive_until_ms: Cell<u64>,
    acks: RefCell<Histogram>,
}

impl Status {
    /// True while the cloud has the connection.
    pub(crate) fn is_online(&self) -> bool {
        self.online.get()
    }

    /// Since when it has been so.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// How long the cloud took to acknowledge.
    pub(crate) fn acks(&self) -> Histogram {
        self.acks.borrow().clone()
    }

    fn observe_ack(&self, took_ms: u64) {
        self.acks.borrow_mut().observe(Duration::from_millis(took_ms));
    }

    /// Says whether the cloud has the connection; gives what it was.
    fn set_online(&self, online: bool, now_ms: u64) -> bool {
        let was_online = self.online.replace(online);
        if was_online != online {
            self.since_ms.set(now_ms);
        }
        was_online
    }

    /// False if the task should have shown a sign of life by now.
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        now_ms <= self.alive_until_ms.get()
    }
}

/// What an uplink remembers from one connection to the next.
struct Memory {
    dialer: Dialer,
    recovery: Recovery,
    suspects: Suspects<At>,
    /// The broker did not take a will that is retained or acknowledged.
    will_is_plain: bool,
    reported_away: bool,
}

/// Keeps the uplink going until `stop` becomes true.
pub(crate) async fn run(uplink: Uplink, mut stop: watch::Receiver<bool>) {
    let name = uplink.settings.name.as_str();
    let mut memory = uplink.memory();
    uplink.status.since_ms.set(uplink.clock.now_ms());
    loop {
        uplink.expect_until(uplink.clock.now_ms().saturating_add(uplink.connect_ms_max()));
        let url = uplink.url(&memory);
        let (ended, end) = one_connection(&uplink, &mut memory, &mut stop).await;
        let was_online = uplink.status.set_online(false, uplink.clock.now_ms());
        uplink.spool.set_online(uplink.consumer, false);
        uplink.spool.rewind(uplink.consumer);
        match &ended {
            Ended::Stopping => return,
            Ended::Returning => info!(uplink = name, "{url} is left: {ended}"),
            _ if was_online || !memory.reported_away => {
                warn!(uplink = name, "cloud is away: {url}: {ended}");
                memory.reported_away = true;
            }
            _ => debug!(uplink = name, "cloud is still away: {url}: {ended}"),
        }
        if let Ended::Wire(WireError::Refused(0x9a | 0x9b, _)) = ended {
            memory.will_is_plain = true;
        }
        let now_ms = uplink.clock.now_ms();
        let delay = memory.recovery.handle_end(end, ended.calls_for_patience(), now_ms, random());
        uplink.expect_until(now_ms.saturating_add(millis(delay)));
        tokio::select! {
            () = sleep(delay) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Connects, and forwards until the connection ends.
async fn one_connection(
    uplink: &Uplink,
    memory: &mut Memory,
    stop: &mut watch::Receiver<bool>,
) -> (Ended, End) {
    let connected = tokio::select! {
        connected = Connection::connect(uplink, memory) => connected,
        _ = stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(ended) => return (ended, End::Failure),
    };
    uplink.status.set_online(true, uplink.clock.now_ms());
    uplink.spool.set_online(uplink.consumer, true);
    let ended = tokio::select! {
        ended = connection.run() => ended,
        _ = stop.wait_for(|stop| *stop) => Ended::Stopping,
    };
    let was_useful = connection.is_useful;
    match ended {
        Ended::Stopping | Ended::Returning => connection.disconnect().await,
        _ => connection.blame(&ended),
    }
    let end = match ended {
        Ended::Returning => End::Return,
        _ if was_useful => End::Lost,
        _ if ended.is_an_answer() && memory.suspects.is_searching() => End::Search,
        _ => End::Failure,
    };
    (ended, end)
}

/// Jitter needs no more than the hasher's own randomness.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [.., a, b, c, d] = RandomState::new().hash_one(0u8).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Uplink {
    fn memory(&self) -> Memory {
        let settings = &self.settings;
        let endpoints = Endpoints::new(1 + settings.fallbacks.len(), millis(settings.return_after));
        let backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
        Memory {
            dialer: Dialer::new(),
            recovery: Recovery::new(endpoints, backoff, self.clock.now_ms()),
            suspects: Suspects::new(settings.poison_after),
            will_is_plain: false,
            reported_away: false,
        }
    }

    /// The broker to connect to, or that is connected.
    fn url(&self, memory: &Memory) -> &Url {
        self.settings.url_at(memory.recovery.endpoints.current())
    }

    /// Says until when this task will have shown itself.
    fn expect_until(&self, time_ms: u64) {
        self.status.alive_until_ms.set(time_ms.saturating_add(GRACE_MS));
    }

    /// How long connecting may take.
    fn connect_ms_max(&self) -> u64 {
        let command = match &self.settings.password {
            Some(Secret::Command { timeout, .. }) => *timeout,
            _ => Duration::ZERO,
        };
        millis(self.settings.connect_timeout.saturating_add(command))
    }

    fn ack_timeout_ms(&self) -> u64 {
        millis(self.settings.ack_timeout)
    }

    /// Sets a record aside that this cloud can never take, so that the rest flows.
    fn quarantine(&self, record: &Record, cause: &str) {
        warn!(uplink = %self.settings.name, seq = record.seq, "event quarantined: {cause}");
        self.spool.quarantine(self.consumer, (record.priority, record.seq), record, cause);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
