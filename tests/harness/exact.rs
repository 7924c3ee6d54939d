//! A subscriber of QoS 2 whose session and half of each flow outlive every connection (MQTT 5.0, sections 4.3.3 and 4.4).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::connection::{Connection, Received};
use crate::must::fail;
use crate::wait::wait_for;
use crate::wire::{self, Connect, Frame, Version};

const RETRY_AFTER: Duration = Duration::from_millis(5);
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Seen {
    arrivals: Mutex<Vec<(String, String)>>,
    subscribed: AtomicBool,
    stop: AtomicBool,
}

/// Takes each event that the gateway hands over, and knows a repetition by its packet id alone.
pub struct ExactSubscriber {
    seen: Arc<Seen>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ExactSubscriber {
    /// Subscribes to `filter`; the subscription stands when this returns.
    pub fn start(port: u16, version: Version, name: &str, filter: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let (shared, name, filter) = (Arc::clone(&seen), name.to_owned(), filter.to_owned());
        let thread = thread::spawn(move || run(port, version, &name, &filter, &shared));
        wait_for("the subscription", Duration::from_secs(10), || seen.subscribed.load(Ordering::Relaxed));
        Self { seen, thread: Some(thread) }
    }

    /// How many have arrived so far.
    pub fn count(&self) -> usize {
        self.seen.arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends it; topic and payload of all that has arrived, in order.
    pub fn finish(mut self) -> Vec<(String, String)> {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(thread::JoinHandle::join) {
            fail("the subscriber failed");
        }
        std::mem::take(&mut *self.seen.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ExactSubscriber {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
    }
}

fn run(port: u16, version: Version, name: &str, filter: &str, seen: &Seen) {
    let mut received = BTreeSet::new();
    while !seen.stop.load(Ordering::Relaxed) {
        if let Ok((mut connection, present)) = Connection::resume(port, &Connect::kept(version, name)) {
            let subscribed = seen.subscribed.load(Ordering::Relaxed);
            assert!(present || !subscribed, "{name}: the session is gone, and with it what waited");
            let subscribe = || wire::subscribe(version, 1, &[(filter, 2)]);
            let first = if subscribed { Vec::new() } else { subscribe() };
            serve(&mut connection, first, version, seen, &mut received);
        }
        thread::sleep(RETRY_AFTER);
    }
}

fn serve(
    connection: &mut Connection,
    first: Vec<u8>,
    version: Version,
    seen: &Seen,
    received: &mut BTreeSet<u16>,
) {
    let mut out = first;
    while !seen.stop.load(Ordering::Relaxed) && connection.send(&out).is_ok() {
        out.clear();
        match connection.receive(LOOK_UP_EVERY) {
            Received::Frame(frame) => out.extend(handle(&frame, version, seen, received)),
            Received::Closed => return,
            Received::Nothing => {}
        }
        while let Some(frame) = connection.buffered() {
            out.extend(handle(&frame, version, seen, received));
        }
    }
}

/// Gives the answer to a packet, if it wants one.
fn handle(frame: &Frame, version: Version, seen: &Seen, received: &mut BTreeSet<u16>) -> Vec<u8> {
    if let Some(publish) = frame.publish(version) {
        if received.insert(publish.packet_id) {
            let payload = String::from_utf8_lossy(&publish.payload).into_owned();
            seen.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push((publish.topic, payload));
        } else {
            assert!(publish.dup, "packet id {} was given to another event", publish.packet_id);
        }
        return wire::pubrec(publish.packet_id);
    }
    match (frame.kind(), frame.packet_id()) {
        (6, Some(packet_id)) => {
            received.remove(&packet_id);
            wire::pubcomp(packet_id)
        }
        (9, _) => {
            seen.subscribed.store(true, Ordering::Relaxed);
            Vec::new()
        }
        _ => Vec::new(),
    }
}
