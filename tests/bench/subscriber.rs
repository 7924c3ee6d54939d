//! The receiver in the cloud: counts, with as little work as possible.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tidegate_tests::connection::Received;
use tidegate_tests::wire::{self, Frame, Version};
use tidegate_tests::{Connection, Must};

#[derive(Default)]
struct Seen {
    count: usize,
    // Topic and the part of the payload that names the event.
    distinct: HashSet<(String, Vec<u8>)>,
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

    /// Everything that arrived.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Different events that arrived.
    pub(crate) fn distinct(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).distinct.len()
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
    let name = publish.payload.into_iter().take(40).collect();
    seen.distinct.insert((publish.topic, name));
}
