//! The raw device: one thread, one socket, its own window.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Received};
use crate::event::Event;
use crate::wire::{self, Connect, Frame};

use super::{Plan, Progress};

const RETRY_AFTER: Duration = Duration::from_millis(10);
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);
// How late an event of a paced device may be.
const PACE: Duration = Duration::from_millis(2);

/// Publishes until every event is acknowledged or the device is dropped.
pub(super) fn run(plan: &Plan, progress: &Progress) {
    let (fresh, unacked, started) = (plan.events.clone(), VecDeque::new(), Instant::now());
    let mut work = Work { plan, progress, fresh, unacked, started };
    while !work.is_done() && !progress.is_stopped() {
        if let Ok(connection) = Connection::open(plan.port, &Connect::new(plan.version, &plan.name)) {
            progress.connections.fetch_add(1, Ordering::Relaxed);
            connection.set_send_limit(LOOK_UP_EVERY);
            work.serve(connection);
            progress.add_resent(work.unacked.iter().copied());
        }
        thread::sleep(RETRY_AFTER);
    }
}

struct Work<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    fresh: Range<u64>,
    // Published and not acknowledged, oldest first.
    unacked: VecDeque<u64>,
    started: Instant,
}

impl Work<'_> {
    fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.unacked.is_empty()
    }

    fn serve(&mut self, mut connection: Connection) {
        let mut out = Outgoing::default();
        for &seq in &self.unacked {
            out.bytes.extend(self.packet(seq));
        }
        loop {
            while self.unacked.len() < self.plan.window
                && self.is_due()
                && let Some(seq) = self.fresh.next()
            {
                out.bytes.extend(self.packet(seq));
                self.unacked.push_back(seq);
                self.progress.sent.fetch_add(1, Ordering::Relaxed);
            }
            if self.is_done() {
                let _ = connection.send(&wire::DISCONNECT);
                return;
            }
            if self.progress.is_stopped() || !out.flush(&mut connection) || !self.read_acks(&mut connection) {
                return;
            }
        }
    }

    // Whether the next event's time has come.
    fn is_due(&self) -> bool {
        let Some(events_per_s) = self.plan.events_per_s else { return true };
        let due_ms = (self.fresh.start - self.plan.events.start) * 1000 / u64::from(events_per_s);
        self.started.elapsed() >= Duration::from_millis(due_ms)
    }

    fn packet(&self, seq: u64) -> Vec<u8> {
        let Plan { name, version, .. } = self.plan;
        let payload = Event::new(name, seq).payload();
        wire::publish(*version, &Event::topic(name), payload.as_bytes(), 1, packet_id(seq))
    }

    fn read_acks(&mut self, connection: &mut Connection) -> bool {
        let limit = if self.plan.events_per_s.is_some() { PACE } else { LOOK_UP_EVERY };
        match connection.receive(limit) {
            Received::Frame(frame) if !self.handle(&frame) => return false,
            Received::Closed => return false,
            Received::Frame(_) | Received::Nothing => {}
        }
        while let Some(frame) = connection.buffered() {
            if !self.handle(&frame) {
                return false;
            }
        }
        true
    }

    // False ends the connection: a refused event is published again on a new one, in its place.
    fn handle(&mut self, frame: &Frame) -> bool {
        let (4, Some(id), Some(reason)) = (frame.kind(), frame.packet_id(), frame.reason()) else {
            return true;
        };
        if reason >= 0x80 {
            self.progress.add_refusal(reason);
            return false;
        }
        let Some(place) = self.unacked.iter().position(|&seq| packet_id(seq) == id) else { return true };
        if place > 0 {
            self.progress.misordered_acks.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(seq) = self.unacked.remove(place) {
            self.progress.add_acked(seq);
        }
        true
    }
}

// Bytes that could not be sent yet: under back-pressure the device goes on reading acknowledgements.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
}

impl Outgoing {
    fn flush(&mut self, connection: &mut Connection) -> bool {
        match connection.send_some(&self.bytes) {
            Ok(sent) => {
                self.bytes.drain(..sent);
                true
            }
            Err(_) => false,
        }
    }
}

fn packet_id(seq: u64) -> u16 {
    u16::try_from(seq % 65_535 + 1).unwrap_or(1)
}
