//! The heart: an event goes through the rules, and every effect of it becomes one entry of the spool.
//!
//! Events of one wake-up are collected and handed over together by [`Pipeline::commit`]. What the rules keep (open
//! windows) changes in the same entry as what they send, so that an event counts exactly once, whatever happens.
//! The pipeline knows no sockets and no disk.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_buffer::{Append, Consumers, NewRecord, Priority, Spool, Stamp};
use tidegate_rules::{Message, Output, Payload, RuleSet, Topic};
use tracing::{debug, error};

use crate::books::Books;
use crate::bus::{Bus, BusEvent, ConnectionId, Queued};
use crate::clock::Clock;
use crate::event::Event;
use crate::listener::{Admission, Link};
use crate::meta;
use crate::mqtt;

/// Where a rule's output goes.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// Into the spool, for these consumers.
    Spool { consumers: Consumers, priority: Priority, qos: u8, retain: bool, ttl_ms: Option<u64> },
    /// To the subscribers of this gateway.
    Local { qos: u8 },
}

/// Nobody waits for the receipt.
const NO_RECEIPT: u64 = 0;

/// The journal is worth a snapshot from this size on, and once it outweighs the last snapshot.
const SNAPSHOT_BYTES_MIN: u64 = 1024 * 1024;

/// Rules, bus and spool, in the order an event meets them.
pub(crate) struct Pipeline {
    rules: RuleSet,
    /// Per rule, per destination.
    destinations: Vec<Vec<Destination>>,
    output: Output,
    append: Append,
    spool: Arc<Spool>,
    bus: Bus,
    links: HashMap<ConnectionId, Rc<Link>>,
    clock: Clock,
    next_seq: u64,
    /// Bytes of the last snapshot, to know when the next is worth it.
    snapshot_bytes: u64,
    journaled: bool,
    books: Rc<Books>,
}

impl Pipeline {
    pub(crate) fn new(
        rules: RuleSet,
        destinations: Vec<Vec<Destination>>,
        spool: Arc<Spool>,
        first_seq: u64,
        clock: Clock,
        books: Rc<Books>,
    ) -> Self {
        Pipeline {
            rules,
            destinations,
            output: Output::new(),
            append: Append::new(),
            spool,
            bus: Bus::new(),
            links: HashMap::new(),
            clock,
            next_seq: first_seq,
            snapshot_bytes: 0,
            journaled: false,
            books,
        }
    }

    /// May an event be taken now? To be asked before each: after `Open`, [`Pipeline::accept`] cannot fail.
    pub(crate) fn admission(&self) -> Admission {
        match self.spool.admission() {
            tidegate_buffer::Admission::Open => Admission::Open,
            tidegate_buffer::Admission::Wait => Admission::Wait,
            tidegate_buffer::Admission::Refuse(_) => Admission::Refuse,
        }
    }

    /// Takes an event: rules, local subscribers, spool. `receipt` says who is told, by which number, once every
    /// effect of it is durable.
    pub(crate) fn accept(&mut self, event: &Event<'_>, receipt: Option<(ConnectionId, u32)>) {
        let received = self.clock.stamp();
        let user_properties = user_properties(event);
        let message = Message {
            topic: event.topic,
            payload: event.payload,
            client_id: event.client_id,
            username: event.username,
            qos: event.qos,
            retained: event.retain,
            content_type: event.properties.content_type,
            user_properties: &user_properties,
            received_at_ms: received.wall_ms,
            seq: self.next_seq,
        };
        self.output.clear();
        let matched = self.rules.handle_message(&message, &mut self.output);
        self.books.received(matched.rules > 0);
        self.append.begin(receipt.map_or(NO_RECEIPT, tag));
        self.write_output(received, Some(event));
        if !self.bus.is_empty() {
            let shared = Shared::of(event);
            self.publish_local(event.topic, event.qos, shared);
        }
    }

    /// Lets time pass for the rules: windows whose end has come are closed.
    pub(crate) fn handle_time(&mut self) {
        let now = self.clock.stamp();
        self.output.clear();
        self.rules.handle_time(now.wall_ms, &mut self.output);
        if self.output.publishes.is_empty() && self.output.journal.is_empty() {
            return;
        }
        self.append.begin(NO_RECEIPT);
        self.write_output(now, None);
        self.commit();
    }

    /// When [`Pipeline::handle_time`] is next worth calling: wall time of the gateway's clock, in ms.
    pub(crate) fn deadline_ms(&self) -> Option<i64> {
        self.rules.poll_deadline_ms()
    }

    /// Hands over what was taken since the last call.
    pub(crate) fn commit(&mut self) {
        if self.append.is_empty() {
            return;
        }
        if std::mem::take(&mut self.journaled) {
            self.snapshot_if_due();
        }
        if let Err(error) = self.spool.append(&mut self.append) {
            // Nothing of the batch is acknowledged, so the devices still have it.
            error!("the spool did not take a batch, which is a defect of this program: {error}");
        }
    }

    pub(crate) fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    /// The mailboxes of the connections, by number.
    pub(crate) fn links(&mut self) -> &mut HashMap<ConnectionId, Rc<Link>> {
        &mut self.links
    }

    pub(crate) fn link(&self, connection: ConnectionId) -> Option<&Rc<Link>> {
        self.links.get(&connection)
    }

    /// Turns what the rules said into the current entry's records and into local publishes.
    fn write_output(&mut self, received: Stamp, event: Option<&Event<'_>>) {
        let mut output = std::mem::take(&mut self.output);
        let first_seq = self.next_seq;
        let mut shared = event.map(Shared::of).unwrap_or_default();
        for publish in output.publishes.drain(..) {
            let Some(destination) = self.destination(publish.rule, publish.destination) else { continue };
            let (payload, passes_through) = match publish.payload {
                Payload::Input => (shared.payload(), true),
                Payload::Owned(bytes) => (bytes.into(), false),
            };
            let topic = match &publish.topic {
                Topic::Input => event.map_or("", |event| event.topic),
                Topic::Owned(topic) => topic,
            };
            match destination {
                Destination::Local { qos } => {
                    let properties = if passes_through { shared.properties().into() } else { Box::default() };
                    self.publish_local(
                        topic,
                        qos,
                        Shared { event: None, payload: Some(payload), properties: Some(properties) },
                    );
                }
                Destination::Spool { consumers, priority, qos, retain, ttl_ms } => {
                    let properties = if passes_through { shared.properties() } else { &[] };
                    let meta = if properties.is_empty() {
                        meta::plain(qos, retain)
                    } else {
                        meta::with_properties(qos, retain, properties)
                    };
                    let expiry_ms =
                        event.and_then(|event| event.properties.expiry_s).map(|s| u64::from(s) * 1000);
                    self.append.record(NewRecord {
                        seq: self.next_seq,
                        consumers,
                        priority,
                        received,
                        expires_after_ms: ttl_ms.into_iter().chain(expiry_ms).min(),
                        topic: Bytes::copy_from_slice(topic.as_bytes()),
                        meta,
                        payload,
                    });
                    self.next_seq += 1;
                }
            }
        }
        // An event takes a number even if nothing of it is stored: its id must not name another one.
        self.next_seq = self.next_seq.max(first_seq + 1);
        if !output.journal.is_empty() {
            self.append.journal(&output.journal);
            self.journaled = true;
        }
        self.output = output;
    }

    fn destination(&self, rule: u32, destination: u32) -> Option<Destination> {
        let rule = self.destinations.get(usize::try_from(rule).ok()?)?;
        rule.get(usize::try_from(destination).ok()?).cloned()
    }

    fn publish_local(&mut self, topic: &str, qos: u8, mut shared: Shared<'_>) {
        let mut made: Option<Rc<BusEvent>> = None;
        let (links, books) = (&self.links, &self.books);
        self.bus.for_each_subscriber(topic, qos, |connection, qos| {
            let Some(link) = links.get(&connection) else { return };
            let event = made.get_or_insert_with(|| {
                Rc::new(BusEvent {
                    topic: topic.into(),
                    payload: shared.payload(),
                    properties: shared.properties().into(),
                })
            });
            if link.push_delivery(event, qos) != Queued::Waiting {
                books.local_dropped(1);
            }
        });
    }

    fn snapshot_if_due(&mut self) {
        if self.spool.journal_bytes() < SNAPSHOT_BYTES_MIN.max(2 * self.snapshot_bytes) {
            return;
        }
        let mut snapshot = Vec::new();
        self.rules.snapshot(&mut snapshot);
        debug!(bytes = snapshot.len(), "snapshot of the rules' state");
        self.snapshot_bytes = snapshot.len() as u64;
        self.append.begin(NO_RECEIPT);
        self.append.snapshot(snapshot);
    }
}

/// What several outputs of one event share, made when the first of them asks.
#[derive(Default)]
struct Shared<'a> {
    event: Option<&'a Event<'a>>,
    payload: Option<Bytes>,
    properties: Option<Box<[u8]>>,
}

impl<'a> Shared<'a> {
    fn of(event: &'a Event<'a>) -> Self {
        Shared { event: Some(event), payload: None, properties: None }
    }

    fn payload(&mut self) -> Bytes {
        let event = self.event;
        let payload = self.payload.get_or_insert_with(|| match event {
            Some(event) => Bytes::copy_from_slice(event.payload),
            None => Bytes::new(),
        });
        payload.clone()
    }

    fn properties(&mut self) -> &[u8] {
        let event = self.event;
        self.properties.get_or_insert_with(|| {
            let mut encoded = Vec::new();
            if let Some(event) = event.filter(|event| !event.properties.is_empty()) {
                mqtt::publish_properties(&event.properties, &mut encoded);
            }
            encoded.into()
        })
    }
}

/// The receipt's number, and whose it is, in the one number the spool hands back.
fn tag((connection, receipt): (ConnectionId, u32)) -> u64 {
    u64::from(connection) << 32 | u64::from(receipt)
}

/// Undoes [`tag`].
pub(crate) fn untag(tag: u64) -> (ConnectionId, u32) {
    let [a, b, c, d, e, f, g, h] = tag.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn user_properties(event: &Event<'_>) -> Vec<(String, String)> {
    let properties = event.properties.user_properties();
    properties.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
