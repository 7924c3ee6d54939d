//! The receiver in the cloud: counts, and says how long each event was on its way, with as little work as possible.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tidegate_tests::connection::Received;
use tidegate_tests::wire::{self, Frame, Version};
use tidegate_tests::{Connection, Must};

use crate::load;

#[derive(Default)]
struct Seen {
    count: usize,
    distinct: HashSet<Vec<u8>>,
    took_us: Vec<u64>,
}

/// A subscriber to `events/#` at a broker.
pub(crate) struct Subscriber {
    seen: Arc<Mutex<Seen>>,
}

impl Subscriber {
    pub(crate) fn start(port: u16) -> Self {
        let mut connection = Connection::clean(port, Version::V311, "bench-subscriber");
        connection.send(&wire::subscribe(Version::V311, 1, &[("events/#", 1)])).must("subscribe");
        assert_eq!(connection.expect("a SUBACK").kind(), 9);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || receive(&mut connection, &shared));
        Self { seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that arrived.
    pub(crate) fn count(&self) -> usize {
        self.seen().count
    }

    /// Different events that arrived.
    pub(crate) fn distinct(&self) -> usize {
        self.seen().distinct.len()
    }

    /// How long so many of a hundred were on their way at most, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut took_us = self.seen().took_us.clone();
        took_us.sort_unstable();
        let us = took_us.get(took_us.len() * percent / 100).copied().unwrap_or_default();
        crate::number(us) / 1000.0
    }
}

// Ends with the broker.
fn receive(connection: &mut Connection, seen: &Mutex<Seen>) {
    let mut acks = Vec::new();
    loop {
        match connection.receive(Duration::from_secs(1)) {
            Received::Frame(frame) => note(&frame, seen, &mut acks),
            Received::Nothing => {}
            Received::Closed => return,
        }
        while let Some(frame) = connection.buffered() {
            note(&frame, seen, &mut acks);
        }
        if connection.send(&acks).is_err() {
            return;
        }
        acks.clear();
    }
}

fn note(frame: &Frame, seen: &Mutex<Seen>, acks: &mut Vec<u8>) {
    let Some(publish) = frame.publish(Version::V311) else { return };
    acks.extend(wire::puback(publish.packet_id));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.count += 1;
    // The first event, by which the way is tried, says nothing of itself.
    let Some((name, sent_us)) = load::read(&publish.payload) else { return };
    if seen.distinct.insert(name.to_vec()) {
        seen.took_us.push(load::now_us().saturating_sub(sent_us));
    }
}
