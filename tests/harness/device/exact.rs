//! The raw device at QoS 2: its half of each flow outlives every connection (MQTT 5.0, sections 4.3.3 and 4.4), and its packet
//! ids are few, so that one is used again as soon as it is free.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::connection::{Connection, Received};
use crate::event::Event;
use crate::wire::{self, Connect, Frame};

use super::{Plan, Progress};

const RETRY_AFTER: Duration = Duration::from_millis(5);
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// Publishes until every flow is complete or the device is dropped.
pub(super) fn run(plan: &Plan, progress: &Progress) {
    let free = (1..=u16::MAX).take(plan.window).collect();
    let mut work =
        Work { plan, progress, fresh: plan.events.clone(), free, flows: VecDeque::new(), kept: false };
    while !work.is_done() && !progress.is_stopped() {
        if let Some(mut connection) = work.connect() {
            progress.connections.fetch_add(1, Ordering::Relaxed);
            work.serve(&mut connection);
        }
        thread::sleep(RETRY_AFTER);
    }
}

/// An event on its way.
struct Flow {
    seq: u64,
    packet_id: u16,
    /// PUBREC has come: from then on the event is the gateway's.
    received: bool,
}

struct Work<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    fresh: Range<u64>,
    free: VecDeque<u16>,
    /// In the order of publishing.
    flows: VecDeque<Flow>,
    /// A PUBREC has come, so the gateway has a session with it.
    kept: bool,
}

impl Work<'_> {
    fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.flows.is_empty()
    }

    fn connect(&self) -> Option<Connection> {
        let Plan { name, port, version, .. } = self.plan;
        let (connection, present) = Connection::resume(*port, &Connect::kept(*version, name)).ok()?;
        assert!(present || !self.kept, "{name}: the session is gone, and with it what was received");
        Some(connection)
    }

    fn serve(&mut self, connection: &mut Connection) {
        let mut out = self.again();
        loop {
            while let Some(publish) = self.next() {
                out.extend(publish);
            }
            if self.is_done() || self.progress.is_stopped() || connection.send(&out).is_err() {
                return;
            }
            out.clear();
            match connection.receive(LOOK_UP_EVERY) {
                Received::Frame(frame) => out.extend(self.handle(&frame)),
                Received::Closed => return,
                Received::Nothing => {}
            }
            while let Some(frame) = connection.buffered() {
                out.extend(self.handle(&frame));
            }
        }
    }

    /// What a new connection begins with: everything that is not complete.
    fn again(&self) -> Vec<u8> {
        let again = |flow: &Flow| match flow.received {
            true => wire::pubrel(flow.packet_id),
            false => wire::duplicate(self.publish(flow)),
        };
        self.flows.iter().flat_map(again).collect()
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.fresh.is_empty() {
            return None;
        }
        let flow = Flow { packet_id: self.free.pop_front()?, seq: self.fresh.next()?, received: false };
        let publish = self.publish(&flow);
        self.flows.push_back(flow);
        self.progress.sent.fetch_add(1, Ordering::Relaxed);
        Some(publish)
    }

    fn publish(&self, flow: &Flow) -> Vec<u8> {
        let Plan { name, version, .. } = self.plan;
        let payload = Event::new(name, flow.seq).payload();
        wire::publish(*version, &Event::topic(name), payload.as_bytes(), 2, flow.packet_id)
    }

    /// Gives the answer to a packet, if it wants one.
    fn handle(&mut self, frame: &Frame) -> Vec<u8> {
        let place = frame.packet_id().and_then(|id| self.flows.iter().position(|flow| flow.packet_id == id));
        let Some(place) = place else { return Vec::new() };
        match frame.kind() {
            5 => self.handle_pubrec(place, frame),
            7 => {
                let done = self.flows.remove(place);
                assert!(done.as_ref().is_some_and(|flow| flow.received), "PUBCOMP before PUBREC");
                self.free.extend(done.map(|flow| flow.packet_id));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn handle_pubrec(&mut self, place: usize, frame: &Frame) -> Vec<u8> {
        if let Some(reason) = frame.reason().filter(|reason| *reason >= 0x80) {
            self.progress.add_refusal(reason);
        }
        if self.flows.iter().take(place).any(|flow| !flow.received) {
            self.progress.misordered_acks.fetch_add(1, Ordering::Relaxed);
        }
        let Some(flow) = self.flows.get_mut(place) else { return Vec::new() };
        flow.received = true;
        self.kept = true;
        self.progress.add_acked(flow.seq);
        wire::pubrel(flow.packet_id)
    }
}
