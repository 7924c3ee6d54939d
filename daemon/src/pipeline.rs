//! The heart: an event goes through the rules, and every effect of it becomes one entry of the spool.
//!
//! Events of one wake-up are collected and handed over together by [`Pipeline::commit`]. What the rules keep (open
//! windows) changes in the same entry as what they send, so that an event counts exactly once, whatever happens.
//! The pipeline knows no sockets and no disk.

mod content;
mod routing;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;
use tidegate_buffer::{Append, NewRecord, Priority, Spool, Stamp};
use tidegate_rules::{Message, Output, Payload, RuleSet, Tables, Topic, TopicFilter, TopicTree};
use tokio::sync::{Notify, oneshot};
use tracing::{debug, error, warn};

use crate::books::Books;
use crate::bus::{Bounds, Bus, BusEvent, ConnectionId, Handle, Notice, Publication, Restored};
use crate::capture::{Line, event_id};
use crate::clock::Clock;
use crate::durable::Durable;
use crate::event::Event;
use crate::labels::Labels;
use crate::listener::{Admission, Cause, Link};
use crate::tap::{Tapped, Taps};
use crate::trace::Traces;
use content::Shared;

pub(crate) use routing::{Destination, Lane, Routing};

/// Nobody waits for the receipt.
const NO_RECEIPT: u64 = 0;

/// No connection has this number: receipts of the gateway's own entries.
pub(crate) const GATEWAY: ConnectionId = 0;

/// How long what finds no room waits before it tries again.
const AGAIN_MS: i64 = 1000;

/// In place of a connection's number in the tags of fences (see [`Bus::poll_fence`]).
pub(crate) const FENCES: ConnectionId = ConnectionId::MAX;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    /// The session that published it; `None` for one that no connection of ours brought.
    pub(crate) session: Option<Handle>,
    /// Who is told, by which number, once every effect of it is durable.
    pub(crate) receipt: Option<(ConnectionId, u32)>,
    /// At QoS 2, the packet id, which is stored with the event so that it is taken once.
    pub(crate) received: Option<u16>,
}

/// The journal is worth a snapshot from this size on, and once it outweighs the last snapshot.
const SNAPSHOT_BYTES_MIN: u64 = 1024 * 1024;

/// Rules, bus and spool, in the order an event meets them.
pub(crate) struct Pipeline {
    rules: RuleSet,
    /// Per rule, per destination.
    destinations: Vec<Vec<Destination>>,
    /// The filters of rules with a destination of high priority.
    urgent: TopicTree<()>,
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
    /// The deadline that the ticker sleeps for, and its bell for an earlier one.
    deadline_ms: Option<i64>,
    deadline_moved: Rc<Notify>,
    books: Rc<Books>,
    /// Who waits for the receipts of the gateway's own entries.
    own_receipts: Slab<oneshot::Sender<()>>,
    gateway: String,
    labels: Labels,
    taps: Taps,
    traces: Traces,
}

impl Pipeline {
    pub(crate) fn new(
        rules: Routing,
        bus: Bus,
        spool: Arc<Spool>,
        first_seq: u64,
        clock: Clock,
        books: Rc<Books>,
    ) -> Self {
        let Routing { rules, gateway, labels, traces, destinations, urgent } = rules;
        Pipeline {
            rules,
            destinations,
            urgent,
            output: Output::new(),
            append: Append::new(),
            spool,
            bus,
            links: HashMap::new(),
            clock,
            next_seq: first_seq,
            snapshot_bytes: 0,
            journaled: false,
            deadline_ms: None,
            deadline_moved: Rc::default(),
            books,
            own_receipts: Slab::new(),
            gateway,
            labels,
            taps: Taps::default(),
            traces,
        }
    }

    /// May an event on this topic be taken now? To be asked before each: after `Open`, [`Pipeline::accept`] cannot
    /// fail. When the buffer is full, what may become an alarm still is, and what passes by the buffer: devices go on
    /// talking to each other.
    pub(crate) fn admission(&self, topic: &str, retain: bool) -> Admission {
        match self.admission_at(Priority::Normal) {
            Admission::Open => Admission::Open,
            _ if self.passes_by(topic, retain) => Admission::Open,
            Admission::Refuse if self.is_urgent(topic) => self.admission_at(Priority::High),
            admission => admission,
        }
    }

    /// Whether nothing of an event comes to the buffer: it is for clients that are connected now, or for nobody.
    fn passes_by(&self, topic: &str, retain: bool) -> bool {
        !self.rules.is_concerned(topic) && !self.bus.stores(topic, retain)
    }

    fn admission_at(&self, priority: Priority) -> Admission {
        self.spool.admission(priority).into()
    }

    fn is_urgent(&self, topic: &str) -> bool {
        self.urgent.any(topic, |()| true)
    }

    /// Takes an event: rules, local subscribers, spool. `received` is when the wake-up that brought it began.
    pub(crate) fn accept(&mut self, event: &Event<'_>, origin: &Origin, received: Stamp) {
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
        if !self.taps.is_empty() {
            self.taps.handle_event(&self.gateway, &message);
        }
        self.traces.handle_event(&message, &mut self.output);
        let matched = self.rules.handle_message(&message, &mut self.output);
        self.books.received(matched.rules > 0);
        self.append.begin(origin.receipt.map_or(NO_RECEIPT, tag));
        if let Some((handle, packet_id)) = origin.session.zip(origin.received) {
            let stored = self.bus.receive(handle, packet_id, &mut Entry::begun(&mut self.append));
            // Were it at the cloud before its packet id is durable, a crash would make it two events.
            if stored {
                self.append.hold();
            }
        }
        let mut shared = Shared::of(event);
        let promised = event.qos > 0;
        self.write_output(received, event.topic, promised, &mut shared);
        if event.retain || !self.bus.is_empty() {
            let publication = Publication {
                topic: event.topic,
                qos: event.qos,
                retain: event.retain,
                promised,
                origin: origin.session.map(|handle| handle.session),
            };
            self.publish_local(&publication, received, &mut shared);
        }
    }

    /// Lets time pass: windows whose end has come are closed, sessions end, wills are published. Returns the wall time of
    /// the gateway's clock, in ms, at which to call again.
    ///
    /// While the spool takes nothing, no window closes: its result could not be kept.
    pub(crate) fn handle_time(&mut self) -> Option<i64> {
        let now = self.clock.stamp();
        self.taps.handle_time();
        self.with_bus(None, |bus, durable| bus.handle_time(now, durable));
        // What the rules keep is bookkeeping, which goes on when the disk is full.
        if self.admission_at(Priority::High) == Admission::Open {
            self.output.clear();
            self.traces.handle_time(self.next_seq, now.wall_ms, &mut self.output);
            self.rules.handle_time(now.wall_ms, &mut self.output);
            if !self.output.publishes.is_empty() || !self.output.journal.is_empty() {
                self.append.begin(NO_RECEIPT);
                self.write_output(now, "", true, &mut Shared::default());
            }
            self.commit(now);
            self.deadline_ms = self.next_deadline_ms(now);
        } else {
            self.commit(now);
            self.deadline_ms = Some(now.wall_ms + AGAIN_MS);
        }
        self.deadline_ms
    }

    /// When time next matters, by the wall clock: to the rules, to sessions, or to a will that waits for room.
    fn next_deadline_ms(&mut self, now: Stamp) -> Option<i64> {
        let bus = self.bus.deadline_ms().map(|deadline_ms| {
            let ahead_ms = i64::try_from(deadline_ms.saturating_sub(now.mono_ms)).unwrap_or(i64::MAX);
            now.wall_ms.saturating_add(ahead_ms)
        });
        let wills = self.bus.due_will().is_some().then_some(now.wall_ms + AGAIN_MS);
        self.rules.poll_deadline_ms().into_iter().chain(bus).chain(wills).min()
    }

    /// Rings when [`Pipeline::handle_time`] is worth calling earlier than it last said.
    pub(crate) fn deadline_moved(&self) -> Rc<Notify> {
        Rc::clone(&self.deadline_moved)
    }

    /// Hands over what was taken since the last call, and wakes whom it concerns.
    pub(crate) fn commit(&mut self, now: Stamp) {
        self.publish_wills(now);
        self.dispatch_notices();
        if let Some(fence) = self.bus.poll_fence() {
            // The low half is enough to tell fences apart: few are on their way at a time.
            self.append.begin(tag((FENCES, untag(fence).1)));
            Entry::begun(&mut self.append).put(Bus::fence_key(), Vec::new());
        }
        if self.append.is_empty() && self.bus.due_will().is_none() {
            return;
        }
        if std::mem::take(&mut self.journaled) {
            self.snapshot_if_due();
        }
        let deadline_ms = self.next_deadline_ms(now);
        if deadline_ms.is_some_and(|new| self.deadline_ms.is_none_or(|known| new < known)) {
            self.deadline_ms = deadline_ms;
            self.deadline_moved.notify_one();
        }
        if !self.append.is_empty()
            && let Err(error) = self.spool.append(&mut self.append)
        {
            // Nothing of the batch is acknowledged, so the devices still have it.
            error!("the spool did not take a batch, which is a defect of this program: {error}");
            // What it does not take now it never will.
            self.append = Append::new();
        }
    }

    /// Appends records that no device sent, gives them their numbers, and tells when they are durable or with their
    /// clouds.
    pub(crate) fn submit(&mut self, records: impl IntoIterator<Item = NewRecord>) -> oneshot::Receiver<()> {
        let (told, receipt) = oneshot::channel();
        // Beyond u32 there is no number: the receipt is dropped, and whoever waits for it hears that.
        let number = u32::try_from(self.own_receipts.insert(told) + 1).unwrap_or(0);
        self.append.begin(tag((GATEWAY, number)));
        for record in records {
            self.append.record(NewRecord { seq: self.next_seq, ..record });
            self.next_seq += 1;
        }
        self.commit(self.clock.stamp());
        receipt
    }

    /// One of the gateway's own receipts has resolved.
    pub(crate) fn handle_own_receipt(&mut self, number: u32) {
        let told = usize::try_from(number)
            .ok()
            .and_then(|number| self.own_receipts.try_remove(number.checked_sub(1)?));
        if let Some(told) = told {
            // Nobody may be waiting any more.
            let _ = told.send(());
        }
    }

    /// Publishes something of the gateway's own to local subscribers. No rule sees it.
    pub(crate) fn announce(&mut self, topic: &str, payload: String) {
        let now = self.clock.stamp();
        let publication = Publication { topic, qos: 0, retain: false, promised: false, origin: None };
        let mut content = Shared::owned(payload.into(), None);
        let mut entry = Entry { append: &mut self.append, tag: NO_RECEIPT, begun: false };
        self.bus.publish(&publication, now, &mut entry, || BusEvent {
            topic: topic.into(),
            payload: content.payload(),
            properties: Box::default(),
            qos: 0,
            expires_at_ms: None,
        });
        self.commit(now);
    }

    /// Lets somebody see events and what comes of them.
    pub(crate) fn tap(&mut self, filter: TopicFilter) -> Result<Tapped, String> {
        self.taps.open(filter)
    }

    /// What is remembered of the way of events.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Other rules count from the next event on. Those that have not changed keep their state; gives the names of those whose
    /// state is gone. One entry makes it so on disk too: the snapshot replaces what the rules before it had stored, so that
    /// a rule that goes and comes back does not come back to what it had.
    pub(crate) fn reload(&mut self, routing: Routing) -> Vec<String> {
        let now = self.clock.stamp();
        self.commit(now);
        let Routing { mut rules, labels, traces, destinations, urgent, .. } = routing;
        let lost = rules.inherit(std::mem::replace(&mut self.rules, RuleSet::new("", Vec::new())));
        (self.rules, self.labels, self.destinations, self.urgent) = (rules, labels, destinations, urgent);
        self.traces.follow(traces);
        self.append_snapshot();
        self.commit(now);
        self.deadline_ms = self.next_deadline_ms(now);
        self.deadline_moved.notify_one();
        lost
    }

    /// Replaces all lookup tables at once.
    pub(crate) fn set_tables(&mut self, tables: Arc<Tables>) {
        self.rules.set_tables(tables);
    }

    /// Other bounds of what the bus keeps.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bus.set_bounds(bounds);
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Whether anything waits to be sent on a connection.
    pub(crate) fn has_deliveries(&mut self, handle: Handle) -> bool {
        self.bus.has_deliveries(handle)
    }

    /// Changes the bus. What has to last becomes an entry of its own: then the second value is true, and `receipt` says
    /// who is told, by which number, once it is durable. [`Pipeline::commit`] hands it over.
    pub(crate) fn with_bus<R>(
        &mut self,
        receipt: Option<(ConnectionId, u32)>,
        change: impl FnOnce(&mut Bus, &mut dyn Durable) -> R,
    ) -> (R, bool) {
        let mut entry =
            Entry { append: &mut self.append, tag: receipt.map_or(NO_RECEIPT, tag), begun: false };
        let result = change(&mut self.bus, &mut entry);
        (result, entry.begun)
    }

    /// Hands over what could wait to be stored: the gateway stops.
    pub(crate) fn store_all(&mut self) {
        let now = self.clock.stamp();
        self.with_bus(None, |bus, durable| bus.store_retained(true, now, durable));
        self.commit(now);
    }

    /// Takes up what an earlier run has stored.
    pub(crate) fn restore(&mut self, map: &[(Vec<u8>, Vec<u8>)]) -> Restored {
        let now = self.clock.stamp();
        let (restored, _) = self.with_bus(None, |bus, durable| bus.restore(map, now, durable));
        self.commit(now);
        restored
    }

    /// What was put before this fence is durable; `low` is the low half of its number.
    pub(crate) fn handle_fence(&mut self, low: u32) {
        self.bus.handle_fence_low(low);
        self.dispatch_notices();
    }

    /// Publishes wills whose time has come. They pass the rules as any event does; one that finds no room waits for it,
    /// one that is refused is counted: no one is left to be told.
    fn publish_wills(&mut self, now: Stamp) {
        while let Some(will) = self.bus.due_will() {
            let admission = self.admission(&will.topic, will.retain);
            if admission == Admission::Wait {
                return;
            }
            let Some(due) = self.bus.pop_due_will() else { return };
            if admission == Admission::Refuse {
                self.books.refused();
                continue;
            }
            let event = Event {
                topic: &due.will.topic,
                payload: &due.will.payload,
                qos: due.will.qos,
                retain: due.will.retain,
                client_id: &due.client_id,
                username: due.username.as_deref(),
                properties: due.will.event_properties(),
            };
            self.accept(&event, &Origin::default(), now);
        }
    }

    /// Does what the bus wants done.
    fn dispatch_notices(&mut self) {
        self.books.undelivered(self.bus.take_undelivered());
        while let Some(notice) = self.bus.poll_notice() {
            let (connection, cause) = match notice {
                Notice::Deliver(connection) => (connection, None),
                Notice::TakenOver(connection) => (connection, Some(Cause::TakenOver)),
                Notice::TooSlow(connection) => (connection, Some(Cause::SlowSubscriber)),
                Notice::Full(client_id) => {
                    warn!(
                        "the queue of client {client_id} is full: newer events are dropped until there is room"
                    );
                    continue;
                }
            };
            let Some(link) = self.links.get(&connection) else { continue };
            match cause {
                Some(cause) => link.close(cause),
                None => link.signal(),
            }
        }
    }

    /// What each rule has done, by name.
    pub(crate) fn rule_counters(&self) -> impl Iterator<Item = (&str, &tidegate_rules::Counters)> {
        self.rules.counters()
    }

    /// The mailboxes of the connections, by number.
    pub(crate) fn links(&mut self) -> &mut HashMap<ConnectionId, Rc<Link>> {
        &mut self.links
    }

    pub(crate) fn link(&self, connection: ConnectionId) -> Option<&Rc<Link>> {
        self.links.get(&connection)
    }

    /// Turns what the rules said into the current entry's records and into local publishes. `topic` and `input` are
    /// those of the event, for what passes through untouched; `promised` as in [`Publication`].
    fn write_output(&mut self, received: Stamp, topic: &str, promised: bool, input: &mut Shared<'_>) {
        let mut output = std::mem::take(&mut self.output);
        let first_seq = self.next_seq;
        let is_watched = !self.taps.is_empty() || self.traces.is_recording();
        for publish in output.publishes.drain(..) {
            let topic = match &publish.topic {
                Topic::Input => topic,
                Topic::Owned(topic) => topic,
            };
            let mut owned;
            let content = match publish.payload {
                Payload::Input => &mut *input,
                Payload::Owned(bytes) => {
                    let context = (!self.rules.has_state(publish.rule)).then(|| input.trace_context());
                    owned = Shared::owned(bytes.into(), context);
                    &mut owned
                }
            };
            if is_watched {
                self.show((publish.rule, publish.destination), received, topic, content);
            }
            match self.destination(publish.rule, publish.destination) {
                Some(Destination::Local { qos, retain }) => {
                    let publication = Publication { topic, qos, retain, promised, origin: None };
                    self.publish_local(&publication, received, content);
                }
                Some(Destination::Spool(lane)) => {
                    self.append.record(lane.record(self.next_seq, received, topic, content));
                    self.next_seq += 1;
                }
                None => {}
            }
        }
        if let Some(steps) = &output.trace {
            self.traces.finish(steps, &self.labels);
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
        rule.get(usize::try_from(destination).ok()?).copied()
    }

    /// Shows an output to whoever watches; it is the next that gets a number, if it goes to an uplink.
    fn show(&mut self, at: (u32, u32), received: Stamp, topic: &str, content: &mut Shared<'_>) {
        let Some(label) = self.labels.find(at.0, at.1) else { return };
        let seq = label.uplink().map(|_| self.next_seq);
        self.traces.handle_output(&label, seq, topic);
        let payload = content.payload();
        self.taps.handle_output(topic, || {
            let id = seq.map(|seq| event_id(&self.gateway, seq));
            Line::output(&label, id, received.wall_ms, topic, &payload).bytes()
        });
    }

    fn publish_local(&mut self, publication: &Publication<'_>, now: Stamp, content: &mut Shared<'_>) {
        let mut entry = Entry::begun(&mut self.append);
        self.bus.publish(publication, now, &mut entry, || BusEvent {
            topic: publication.topic.into(),
            payload: content.payload(),
            properties: content.properties().into(),
            qos: publication.qos,
            expires_at_ms: content.expiry_ms().map(|expiry_ms| now.mono_ms.saturating_add(expiry_ms)),
        });
    }

    fn snapshot_if_due(&mut self) {
        if self.spool.journal_bytes() < SNAPSHOT_BYTES_MIN.max(2 * self.snapshot_bytes) {
            return;
        }
        self.append_snapshot();
    }

    /// In an entry of its own.
    fn append_snapshot(&mut self) {
        let mut snapshot = Vec::new();
        self.rules.snapshot(&mut snapshot);
        debug!(bytes = snapshot.len(), "snapshot of the rules' state");
        self.snapshot_bytes = snapshot.len() as u64;
        self.append.begin(NO_RECEIPT);
        self.append.snapshot(snapshot);
    }
}

/// The entry that the bus writes into; begun with the first thing that has to last.
struct Entry<'a> {
    append: &'a mut Append,
    tag: u64,
    begun: bool,
}

impl<'a> Entry<'a> {
    /// The entry that was begun last.
    fn begun(append: &'a mut Append) -> Self {
        Entry { append, tag: NO_RECEIPT, begun: true }
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.append.begin(self.tag);
        }
    }
}

impl Durable for Entry<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.begin();
        self.append.put(key, value);
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.begin();
        self.append.insert(key, value);
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.begin();
        self.append.delete(key);
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

#[cfg(test)]
mod tests;
