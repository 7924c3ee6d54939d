//! The books themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::RangeInclusive;

use crate::findings::Findings;
use crate::order::{Order, Streams};

/// An event as the test names it. Events are ordered as they were sent, at least within a line.
pub trait Event: Ord + Clone + fmt::Debug + fmt::Display {
    /// What keeps its order.
    type Line: Ord + Clone + fmt::Debug;

    /// The line of this event.
    fn line(&self) -> Self::Line;
}

/// The books of one run, over events `E` and receivers `R`.
#[derive(Debug, Clone)]
pub struct Oracle<E: Event, R> {
    sent: BTreeMap<E, Sent>,
    receivers: BTreeMap<R, Receiver<E>>,
    findings: Findings<E>,
}

#[derive(Debug, Clone)]
struct Sent {
    /// Of the bytes, which are not kept.
    digest: u64,
    acknowledged: bool,
    again: bool,
}

/// What one receiver is owed and has.
#[derive(Debug, Clone)]
struct Receiver<E: Event> {
    order: Order,
    copies: BTreeMap<E, Delivery>,
    lines: BTreeMap<E::Line, Line<E>>,
    write_offs: Vec<WriteOff<E>>,
}

/// How far one event has come at one receiver.
#[derive(Debug, Default, Clone, Copy)]
struct Delivery {
    arrived: bool,
    /// The receiver has it and has not settled it since.
    out: bool,
    settled: bool,
    /// That it was settled survives a crash.
    durable: bool,
    /// It may arrive once more.
    may_repeat: bool,
    written_off: bool,
}

#[derive(Debug, Clone)]
struct Line<E> {
    first_arrivals: Streams<E>,
    since_break: Streams<E>,
}

/// Up to so many of these events were given up.
#[derive(Debug, Clone)]
struct WriteOff<E> {
    events: RangeInclusive<E>,
    left: u64,
}

impl<E: Event> Receiver<E> {
    fn new(order: Order) -> Self {
        Self { order, copies: BTreeMap::new(), lines: BTreeMap::new(), write_offs: Vec::new() }
    }

    fn line(&mut self, event: &E) -> &mut Line<E> {
        let new = || Line { first_arrivals: Streams::default(), since_break: Streams::default() };
        self.lines.entry(event.line()).or_insert_with(new)
    }

    /// Ends a connection: all arrivals begin anew, and those that this excuses may come again.
    fn end(&mut self, excuses: impl Fn(&Delivery) -> bool) {
        for delivery in self.copies.values_mut() {
            delivery.may_repeat |= delivery.arrived && excuses(delivery);
            delivery.out = false;
        }
        self.lines.values_mut().for_each(|line| line.since_break = Streams::default());
    }

    /// Whether a write-off is left for this event, which is then used: the one that ends first, so that events asked
    /// for in their order find one if there is any way to divide them.
    fn write_off(&mut self, event: &E) -> bool {
        let open = self.write_offs.iter_mut().filter(|w| w.left > 0 && w.events.contains(event));
        open.min_by(|a, b| a.events.end().cmp(b.events.end())).map(|w| w.left -= 1).is_some()
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl<E: Event, R: Ord + fmt::Display> Default for Oracle<E, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Event, R: Ord + fmt::Display> Oracle<E, R> {
    /// Empty books.
    pub fn new() -> Self {
        Self { sent: BTreeMap::new(), receivers: BTreeMap::new(), findings: Findings::default() }
    }

    /// Adds a receiver, or changes what order it is to be given from now on.
    pub fn receiver(&mut self, receiver: R, order: Order) {
        self.receivers.entry(receiver).or_insert_with(|| Receiver::new(order)).order = order;
    }

    /// The event was, or may have been, sent to these receivers; unknown ones are added, with strict order.
    pub fn sent(&mut self, event: &E, receivers: impl IntoIterator<Item = R>, content: &[u8]) {
        let sent = Sent { digest: digest(content), acknowledged: false, again: false };
        self.sent.entry(event.clone()).or_insert(sent);
        for receiver in receivers {
            let receiver = self.receivers.entry(receiver).or_insert_with(|| Receiver::new(Order::Streams(1)));
            receiver.copies.entry(event.clone()).or_default();
        }
    }

    /// The sender itself sent the event again: the system under test cannot know that it is the same.
    pub fn sent_again(&mut self, event: &E) {
        if let Some(sent) = self.sent.get_mut(event) {
            sent.again = true;
        }
    }

    /// The sender was promised the event: each of its receivers is owed it.
    pub fn acknowledged(&mut self, event: &E) {
        match self.sent.get_mut(event) {
            Some(sent) => sent.acknowledged = true,
            None => self.findings.invented.push(format!("the acknowledgement of {event}")),
        }
    }

    /// The event arrived; it is owed until the receiver has settled it too.
    pub fn arrived(&mut self, receiver: &R, event: &E, content: &[u8]) {
        let sent = self.sent.get(event);
        let Some((sent, to)) = sent.zip(self.receivers.get_mut(receiver)) else {
            return self.findings.invented.push(format!("{event} at {receiver}"));
        };
        let Some(delivery) = to.copies.get_mut(event) else {
            return self.findings.invented.push(format!("{event} at {receiver}"));
        };
        if sent.digest != digest(content) {
            return self.findings.damaged.push(format!("{event} at {receiver}"));
        }
        let before = std::mem::replace(delivery, Delivery { arrived: true, out: true, ..*delivery });
        if before.arrived {
            let excused = std::mem::take(&mut delivery.may_repeat);
            let repeats = match (excused, sent.again) {
                (true, _) => &mut self.findings.excused,
                (false, true) => &mut self.findings.resent,
                (false, false) => &mut self.findings.repeated,
            };
            repeats.push(event.clone());
            if !excused {
                return;
            }
        }
        let order = to.order;
        let line = to.line(event);
        let in_order = before.arrived || line.first_arrivals.take(event, order);
        if !line.since_break.take(event, order) || !in_order {
            self.findings.misordered.push(event.clone());
        }
    }

    /// Something arrived that is no event at all.
    pub fn arrived_unreadable(&mut self, what: impl fmt::Display) {
        self.findings.damaged.push(what.to_string());
    }

    /// The receiver is done with the event and has said so.
    pub fn settled(&mut self, receiver: &R, event: &E) {
        let delivery = self.receivers.get_mut(receiver).and_then(|r| r.copies.get_mut(event));
        if let Some(delivery) = delivery.filter(|delivery| delivery.out) {
            delivery.out = false;
            delivery.settled = true;
        }
    }

    /// From now on a crash does not make the receivers' settled events come again.
    pub fn settled_durably(&mut self) {
        for delivery in self.receivers.values_mut().flat_map(|receiver| receiver.copies.values_mut()) {
            delivery.durable |= delivery.settled && !delivery.out && !delivery.may_repeat;
        }
    }

    /// The receiver's connection was lost: what it has not settled may come again.
    pub fn broke(&mut self, receiver: &R) {
        if let Some(receiver) = self.receivers.get_mut(receiver) {
            receiver.end(|delivery| delivery.out);
        }
    }

    /// The system under test crashed: what is not durably settled may come again, to each receiver.
    pub fn crashed(&mut self) {
        self.receivers.values_mut().for_each(|receiver| receiver.end(|delivery| !delivery.durable));
    }

    /// The event is owed to this receiver no more: it expired, was set aside, ….
    pub fn written_off(&mut self, receiver: &R, event: &E) {
        if let Some(delivery) = self.receivers.get_mut(receiver).and_then(|r| r.copies.get_mut(event)) {
            delivery.written_off = true;
        }
    }

    /// Up to `count` of these events are owed to this receiver no more; which ones is not known.
    pub fn written_off_some(&mut self, receiver: &R, events: RangeInclusive<E>, count: u64) {
        if let Some(receiver) = self.receivers.get_mut(receiver) {
            receiver.write_offs.push(WriteOff { events, left: count });
        }
    }

    /// What came in must be what went out by these ways.
    pub fn balance(&mut self, books: impl fmt::Display, income: u64, ways: &[(&str, u64)]) {
        let gone: u64 = ways.iter().map(|(_, count)| count).sum();
        if gone != income {
            self.findings.unbalanced.push(format!("{books}: {income} came, {gone} went: {ways:?}"));
        }
    }

    /// The events that are acknowledged, and whose obligation to this receiver is open.
    pub fn open(&self, receiver: &R) -> BTreeSet<&E> {
        let Some(receiver) = self.receivers.get(receiver) else { return BTreeSet::new() };
        let open = receiver.copies.iter().filter(|(event, delivery)| self.is_owed(event, delivery));
        open.map(|(event, _)| event).collect()
    }

    fn is_owed(&self, event: &E, delivery: &Delivery) -> bool {
        let acknowledged = self.sent.get(event).is_some_and(|sent| sent.acknowledged);
        acknowledged && !delivery.settled && !delivery.written_off
    }

    /// What is wrong, now that faults have stopped and all that can arrive has arrived.
    pub fn judge(mut self) -> Findings<E> {
        let mut receivers = std::mem::take(&mut self.receivers);
        for receiver in receivers.values_mut() {
            self.findings.arrived += receiver.copies.values().filter(|delivery| delivery.arrived).count();
            let owed = receiver.copies.iter().filter(|(event, delivery)| self.is_owed(event, delivery));
            let owed: Vec<E> = owed.map(|(event, _)| event.clone()).collect();
            self.findings.lost.extend(owed.into_iter().filter(|event| !receiver.write_off(event)));
        }
        self.findings
    }
}

#[cfg(test)]
mod tests;
