//! The local bus: events to the subscribers of this gateway, through one topic tree.
//!
//! Delivery here is immediate and does not wait for disk or cloud, so that a site acts while the cloud is away. A
//! subscriber's queue is bounded; what does not fit at QoS 0 is dropped and counted, at QoS 1 it ends that subscriber's
//! connection, so that nobody believes to have got what was lost. The bus knows no packets and no sockets.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tidegate_rules::{TopicFilter, TopicTree};

/// What is delivered, shared by all who get it.
#[derive(Debug)]
pub(crate) struct BusEvent {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// Properties of MQTT 5, encoded, that a subscriber is told.
    pub(crate) properties: Box<[u8]>,
}

/// The number of a connection; never used twice in a run.
pub(crate) type ConnectionId = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscriber {
    connection: ConnectionId,
    qos: u8,
}

/// All subscriptions.
pub(crate) struct Bus {
    subscribers: TopicTree<Subscriber>,
    matched: Vec<Subscriber>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Bus { subscribers: TopicTree::new(), matched: Vec::new() }
    }

    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, connection: ConnectionId, qos: u8) {
        self.subscribers.insert(filter, Subscriber { connection, qos });
    }

    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter, connection: ConnectionId, qos: u8) {
        self.subscribers.remove(filter, &Subscriber { connection, qos });
    }

    /// True where no one could get anything, so that nothing need be prepared.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Calls `deliver` once for each connection that wants `topic`, with the highest QoS of its matching
    /// subscriptions (MQTT 3.1.1, section 3.3.5), but no higher than the event's own.
    pub(crate) fn for_each_subscriber(
        &mut self,
        topic: &str,
        qos: u8,
        mut deliver: impl FnMut(ConnectionId, u8),
    ) {
        let matched = &mut self.matched;
        matched.clear();
        self.subscribers.for_each_match(topic, |subscriber| matched.push(*subscriber));
        matched.sort_unstable_by_key(|subscriber| (subscriber.connection, std::cmp::Reverse(subscriber.qos)));
        matched.dedup_by_key(|subscriber| subscriber.connection);
        for subscriber in matched {
            deliver(subscriber.connection, subscriber.qos.min(qos));
        }
    }
}

/// What one subscriber has not been sent yet.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<(Rc<BusEvent>, u8)>,
    waiting_bytes: usize,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits for the subscriber.
    Waiting,
    /// The queue is full; at QoS 0 the event is dropped for this subscriber.
    Dropped,
    /// The queue is full, and the event was promised: the subscriber has to be told.
    Overflow,
}

impl Queue {
    pub(crate) fn push(
        &mut self,
        event: &Rc<BusEvent>,
        qos: u8,
        events_max: usize,
        bytes_max: usize,
    ) -> Queued {
        let bytes = cost(event);
        if self.waiting.len() >= events_max || self.waiting_bytes + bytes > bytes_max {
            return if qos == 0 { Queued::Dropped } else { Queued::Overflow };
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back((Rc::clone(event), qos));
        Queued::Waiting
    }

    /// The QoS of what comes next.
    pub(crate) fn front_qos(&self) -> Option<u8> {
        self.waiting.front().map(|(_, qos)| *qos)
    }

    pub(crate) fn pop(&mut self) -> Option<(Rc<BusEvent>, u8)> {
        let next = self.waiting.pop_front()?;
        self.waiting_bytes -= cost(&next.0);
        if self.waiting.is_empty() && self.waiting.capacity() > 16 {
            self.waiting = VecDeque::new();
        }
        Some(next)
    }
}

/// What an event in a queue costs, in bytes; its own bookkeeping included, so that empty events are bounded too.
fn cost(event: &BusEvent) -> usize {
    64 + event.topic.len() + event.payload.len() + event.properties.len()
}

#[cfg(test)]
mod tests {
    use super::{Bus, BusEvent, Queue, Queued};
    use bytes::Bytes;
    use std::rc::Rc;
    use tidegate_rules::TopicFilter;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn deliveries(bus: &mut Bus, topic: &str, qos: u8) -> Vec<(u32, u8)> {
        let mut found = Vec::new();
        bus.for_each_subscriber(topic, qos, |connection, qos| found.push((connection, qos)));
        found
    }

    #[test]
    fn overlapping_subscriptions_give_one_copy_at_the_highest_qos() {
        let mut bus = Bus::new();
        bus.subscribe(&filter("a/#"), 1, 0);
        bus.subscribe(&filter("a/b"), 1, 1);
        bus.subscribe(&filter("+/b"), 2, 0);
        assert_eq!(deliveries(&mut bus, "a/b", 1), [(1, 1), (2, 0)]);
        assert_eq!(deliveries(&mut bus, "a/b", 0), [(1, 0), (2, 0)]);
        assert_eq!(deliveries(&mut bus, "a/c", 1), [(1, 0)]);
        bus.unsubscribe(&filter("a/b"), 1, 1);
        assert_eq!(deliveries(&mut bus, "a/b", 1), [(1, 0), (2, 0)]);
    }

    fn event(payload: &'static [u8]) -> Rc<BusEvent> {
        Rc::new(BusEvent {
            topic: "t".into(),
            payload: Bytes::from_static(payload),
            properties: Box::default(),
        })
    }

    #[test]
    fn a_queue_is_bounded_by_events_and_by_bytes() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(&event(b"1"), 0, 2, 1000), Queued::Waiting);
        assert_eq!(queue.push(&event(b"2"), 1, 2, 1000), Queued::Waiting);
        assert_eq!(queue.push(&event(b"3"), 0, 2, 1000), Queued::Dropped);
        assert_eq!(queue.push(&event(b"3"), 1, 2, 1000), Queued::Overflow);
        assert_eq!(queue.front_qos(), Some(0));
        assert_eq!(queue.pop().unwrap().0.payload, "1");
        assert_eq!(queue.push(&event(&[0; 900]), 1, 2, 1000), Queued::Overflow);
        assert_eq!(queue.pop().unwrap().0.payload, "2");
        assert_eq!(queue.waiting_bytes, 0);
    }
}
