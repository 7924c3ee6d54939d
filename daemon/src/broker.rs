//! The gateway as a client of a broker: from its name to packets, and what follows the end of a connection.
//!
//! Uplinks and sources share it. [`dial`] makes a stream of bytes, [`wire`] moves packets over it. Everything that decides is
//! a state machine without I/O: `keep_alive` (when silence means that the broker is gone), `recovery` and `endpoints` (which
//! broker is next, and when), `reason` (what its codes mean). Nothing here knows what is sent, or what for.

mod backoff;
pub(crate) mod dial;
pub(crate) mod endpoints;
pub(crate) mod keep_alive;
mod lookout;
pub(crate) mod reason;
pub(crate) mod recovery;
mod secret;
mod tls;
pub(crate) mod wire;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tidegate_buffer::Histogram;
use tidegate_config::{Broker, Secret};

use crate::clock::millis;
use backoff::Backoff;
use endpoints::Endpoints;
pub(crate) use lookout::Lookout;
use recovery::Recovery;

/// What a task may be late by before it counts as hung.
const GRACE_MS: u64 = 15_000;

/// What others may know of an uplink or a source.
#[derive(Debug, Default)]
pub(crate) struct Status {
    online: Cell<bool>,
    /// Since when it is online, or away.
    since_ms: Cell<u64>,
    alive_until_ms: Cell<u64>,
    acks: RefCell<Histogram>,
    /// Events that were taken from it, and bytes of their payloads.
    taken: Cell<(u64, u64)>,
    /// How many publishes may be in flight; 0 before the first connection.
    window: Cell<u16>,
}

impl Status {
    /// True while the broker has the connection.
    pub(crate) fn is_online(&self) -> bool {
        self.online.get()
    }

    /// Since when it has been so.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// How long the broker took to acknowledge.
    pub(crate) fn acks(&self) -> Histogram {
        self.acks.borrow().clone()
    }

    pub(crate) fn observe_ack(&self, took_ms: u64) {
        self.acks.borrow_mut().observe(Duration::from_millis(took_ms));
    }

    /// Events that were taken from it, and bytes of their payloads.
    pub(crate) fn taken(&self) -> (u64, u64) {
        self.taken.get()
    }

    pub(crate) fn count_taken(&self, payload_bytes: usize) {
        let (events, bytes) = self.taken.get();
        self.taken.set((events + 1, bytes + payload_bytes as u64));
    }

    /// How many publishes may be in flight: as many as we want, or as the broker takes. 0 before the first connection.
    pub(crate) fn window(&self) -> u16 {
        self.window.get()
    }

    /// Gives what it was.
    pub(crate) fn set_window(&self, window: u16) -> u16 {
        self.window.replace(window)
    }

    /// Says whether the broker has the connection; gives what it was.
    pub(crate) fn set_online(&self, online: bool, now_ms: u64) -> bool {
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

    /// Says that it has begun, and is away so far.
    pub(crate) fn begin(&self, now_ms: u64) {
        self.since_ms.set(now_ms);
    }

    /// Says until when the task will have shown itself.
    pub(crate) fn expect_until(&self, time_ms: u64) {
        self.alive_until_ms.set(time_ms.saturating_add(GRACE_MS));
    }
}

/// How the way back to this broker begins.
pub(crate) fn recovery(broker: &Broker, now_ms: u64) -> Recovery {
    let endpoints = Endpoints::new(1 + broker.fallbacks.len(), millis(broker.return_after));
    Recovery::new(endpoints, Backoff::new(broker.backoff_min, broker.backoff_max), now_ms)
}

/// How long connecting may take.
pub(crate) fn connect_ms_max(broker: &Broker) -> u64 {
    let command = match &broker.password {
        Some(Secret::Command { timeout, .. }) => *timeout,
        _ => Duration::ZERO,
    };
    millis(broker.connect_timeout.saturating_add(command))
}

/// Jitter needs no more than the hasher's own randomness.
pub(crate) fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [.., a, b, c, d] = RandomState::new().hash_one(0u8).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
