//! What all listeners share: who is there, how fast they come, who failed to log in, and what was refused.
//!
//! Everything here gives back by itself: a place when its connection ends, a rate as time passes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate_buffer::Histogram;
use tokio::sync::Semaphore;

use super::Limits;
use super::attempts::Attempts;
use super::audit::Audit;
use super::rate::{Bucket, Rate};
use super::socket::Peer;
use crate::gateway::Gateway;

/// Passwords that are checked at a time, each on a thread beside the one that serves.
const CHECKS_MAX: usize = 1;

/// What all listeners share.
pub(crate) struct Reception {
    networks: RefCell<HashMap<IpAddr, usize>>,
    connects: RefCell<Bucket>,
    pub(super) attempts: RefCell<Attempts>,
    pub(super) turns: Semaphore,
    pub(super) audit: Audit,
    counts: Counts,
    acks: RefCell<Histogram>,
}

/// What was refused, and what went wrong, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    connections_refused: Cell<u64>,
    logins_refused: Cell<u64>,
    topics_refused: Cell<u64>,
    panicked: Cell<u64>,
}

/// Something that is refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// A connection, before CONNECT.
    Connection,
    /// A login.
    Login,
    /// A publish or a subscription.
    Topic,
}

impl Reception {
    pub(crate) fn new(limits: &Limits, now_ms: u64) -> Self {
        let failed = Rate::per_minute(limits.failed_logins_per_minute_max);
        Reception {
            networks: RefCell::default(),
            connects: RefCell::new(Bucket::full(Rate::per_second(limits.connects_per_s_max), now_ms)),
            attempts: RefCell::new(Attempts::new(failed)),
            turns: Semaphore::new(CHECKS_MAX),
            audit: Audit::new(),
            counts: Counts::default(),
            acks: RefCell::default(),
        }
    }

    /// Other limits count from now on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.attempts.borrow_mut().set_rate(Rate::per_minute(limits.failed_logins_per_minute_max));
    }

    /// Takes a new connection's turn; says how long it has to wait for it, and is to be asked again then.
    pub(super) fn turn(&self, limits: &Limits, now_ms: u64) -> Result<(), u64> {
        let rate = Rate::per_second(limits.connects_per_s_max);
        let mut connects = self.connects.borrow_mut();
        match connects.wait_ms(rate, now_ms) {
            0 => {
                connects.take(rate, 1, now_ms);
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    /// Notes in the audit and in the counts that something was refused.
    pub(super) fn refuse(&self, refused: Refused, peer: Peer, now_ms: u64, what: fmt::Arguments<'_>) {
        let count = match refused {
            Refused::Connection => &self.counts.connections_refused,
            Refused::Login => &self.counts.logins_refused,
            Refused::Topic => &self.counts.topics_refused,
        };
        count.set(count.get() + 1);
        self.audit.note(peer, now_ms, what);
    }

    /// A connection's task has panicked.
    pub(super) fn panicked(&self) {
        self.counts.panicked.set(self.counts.panicked.get() + 1);
    }

    /// A publish was acknowledged.
    pub(super) fn observe_ack(&self, took_ms: u64) {
        self.acks.borrow_mut().observe(Duration::from_millis(took_ms));
    }

    /// How long devices waited for acknowledgements.
    pub(crate) fn acks(&self) -> Histogram {
        self.acks.borrow().clone()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Counts {
    /// By name.
    pub(crate) fn by_name(&self) -> [(&'static str, u64); 4] {
        [
            ("connections_refused", self.connections_refused.get()),
            ("logins_refused", self.logins_refused.get()),
            ("topics_refused", self.topics_refused.get()),
            ("connections_panicked", self.panicked.get()),
        ]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.by_name();
        write!(f, "{}={}", first.0, first.1)?;
        rest.iter().try_for_each(|(name, count)| write!(f, " {name}={count}"))
    }
}

/// A connection's place among those of its address; given back when dropped.
pub(super) struct Seat {
    gateway: Rc<Gateway>,
    network: Option<IpAddr>,
}

impl Seat {
    /// `None` if the address has as many as it may. Programs of this host, by a Unix socket, have no address.
    pub(super) fn take(gateway: &Rc<Gateway>, peer: Peer) -> Option<Seat> {
        let network = peer.network();
        if let Some(network) = network {
            let mut networks = gateway.reception.networks.borrow_mut();
            let count = networks.entry(network).or_default();
            if *count >= gateway.limits().connections_per_address_max {
                return None;
            }
            *count += 1;
        }
        Some(Seat { gateway: Rc::clone(gateway), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut networks = self.gateway.reception.networks.borrow_mut();
        if let Some(count) = networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, Seat};
    use crate::testing::World;
    use std::rc::Rc;

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::open(folder.path(), &[]);
        let gateway = &world.gateway;
        let peer = |address: &str| Peer::Address(address.parse().unwrap());
        let one = peer("192.0.2.1:5");
        let mut seats: Vec<_> = (0..gateway.limits().connections_per_address_max)
            .map(|_| Seat::take(gateway, one).unwrap())
            .collect();
        assert!(Seat::take(gateway, peer("192.0.2.1:6")).is_none());
        let other = Seat::take(gateway, peer("192.0.2.2:5"));
        assert!(other.is_some() && Seat::take(gateway, Peer::Local).is_some());
        seats.pop();
        assert!(Seat::take(gateway, one).is_some());
        drop((seats, other));
        assert!(gateway.reception.networks.borrow().is_empty());
        assert_eq!(Rc::strong_count(gateway), 1);
    }

    #[test]
    fn who_comes_too_fast_waits() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::open(folder.path(), &[]);
        let (reception, limits) = (&world.gateway.reception, &world.gateway.limits());
        let now_ms = world.gateway.clock.now_ms() + 1000;
        for _ in 0..limits.connects_per_s_max {
            assert_eq!(reception.turn(limits, now_ms), Ok(()));
        }
        let wait_ms = reception.turn(limits, now_ms).unwrap_err();
        assert!((1..=1000).contains(&wait_ms), "{wait_ms}");
        assert_eq!(reception.turn(limits, now_ms + wait_ms), Ok(()));
    }
}
