//! What local clients feel of the gateway: a publisher and a subscriber that exchange something every few milliseconds, whatever
//! becomes of the cloud meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::must::Must;
use crate::usage;
use crate::wire::{self, Version};

const EVERY: Duration = Duration::from_millis(4);
const ROUND_TRIP: &str = "pulse/round-trip";
const ACKED: &str = "pulse/acked";
/// PUBACK.
const PUBACK: u8 = 4;

/// What is measured.
pub const KINDS: [&str; 3] = ["PUBACK", "QoS 0 round trip", "QoS 1 round trip"];

/// How long each of [`KINDS`] took, without what the threads of gateway and clients waited for a processor: that is other
/// programs' doing.
pub type Beat = [Duration; 3];

/// The 99th percentile of each.
pub fn p99(beats: &[Beat]) -> Beat {
    let of = |kind: usize| {
        let mut took: Vec<Duration> = beats.iter().filter_map(|beat| beat.get(kind).copied()).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    };
    [of(0), of(1), of(2)]
}

/// A publisher and a subscriber at one gateway.
pub struct Pulse {
    beats: Arc<Mutex<Vec<Beat>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Starts them at a gateway, which must stay for as long as they do.
    pub fn start(port: u16, gateway: u32) -> Self {
        let (beats, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let mut clients = Clients::connect(port, gateway);
        let (noted, stopped) = (Arc::clone(&beats), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let beat = clients.beat();
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(beat);
                thread::sleep(EVERY);
            }
        });
        Self { beats, stop, thread: Some(thread) }
    }

    /// What was measured since the last time.
    pub fn take(&self) -> Vec<Beat> {
        std::mem::take(&mut self.beats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What failed in it has been printed.
            let _ = thread.join();
        }
    }
}

struct Clients {
    publisher: Connection,
    subscriber: Connection,
    gateway: u32,
}

impl Clients {
    fn connect(port: u16, gateway: u32) -> Self {
        let connect = |name: &str| Connection::clean(port, Version::V5, name);
        let (publisher, mut subscriber) = (connect("pulse-publisher"), connect("pulse-subscriber"));
        subscriber.send(&wire::subscribe(Version::V5, 1, &[(ROUND_TRIP, 1)])).must("subscribe");
        assert_eq!(subscriber.expect("a SUBACK").kind(), 9);
        Self { publisher, subscriber, gateway }
    }

    fn beat(&mut self) -> Beat {
        let acked = self.timed(|clients| {
            clients.publish(ACKED, 1);
            assert_eq!(clients.publisher.expect("a PUBACK").kind(), PUBACK);
        });
        let qos_0 = self.timed(|clients| {
            clients.publish(ROUND_TRIP, 0);
            clients.subscriber.expect_publish("what was published");
        });
        let mut packet_id = 0;
        let qos_1 = self.timed(|clients| {
            clients.publish(ROUND_TRIP, 1);
            packet_id = clients.subscriber.expect_publish("what was published").packet_id;
        });
        assert_eq!(self.publisher.expect("a PUBACK").kind(), PUBACK);
        self.subscriber.send(&wire::puback(packet_id)).must("acknowledge");
        [acked, qos_0, qos_1]
    }

    fn publish(&mut self, topic: &str, qos: u8) {
        self.publisher.send(&wire::publish(Version::V5, topic, b"{}", qos, 1)).must("publish");
    }

    fn timed(&mut self, step: impl FnOnce(&mut Self)) -> Duration {
        let (start, waited) = (Instant::now(), usage::waited(self.gateway));
        step(self);
        start.elapsed().saturating_sub(usage::waited(self.gateway).saturating_sub(waited))
    }
}
