//! A gateway without rules and without a disk: a real bus, and a durable map that becomes durable when the test says so.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidegate_buffer::Stamp;

use super::{Admission, Host, Limits};
use crate::bus::{Bounds, Bus, BusEvent, ConnectionId, Handle, Notice, Publication};
use crate::durable::Durable;
use crate::event::Event;
use crate::listener::{Access, Action, Client};

/// What was taken as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) receipt: Option<u32>,
}

enum Change {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

/// What becomes durable together.
#[derive(Default)]
struct Entry {
    receipt: Option<(ConnectionId, u32)>,
    fence: Option<u64>,
    event: Option<Published>,
    changes: Vec<Change>,
}

impl Durable for Entry {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put(key, value));
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Insert(key, value));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.changes.push(Change::Delete(key));
    }
}

/// See the module. Everything but topics that begin with `secret` is allowed.
pub(super) struct Site {
    pub(super) bus: Bus,
    bounds: Bounds,
    pub(super) admission: Admission,
    /// Whose host it is at the moment.
    pub(super) connection: ConnectionId,
    pub(super) now: Stamp,
    pub(super) login: Result<Option<&'static str>, u8>,
    pub(super) published: Vec<Published>,
    pub(super) refused: usize,
    pub(super) handle: Option<Handle>,
    pub(super) notices: Vec<Notice>,
    entries: VecDeque<Entry>,
    pub(super) stored: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Events whose entries are durable.
    pub(super) stored_events: Vec<Published>,
}

impl Site {
    pub(super) fn new(bounds: Bounds) -> Site {
        Site {
            bus: Bus::new(bounds.clone()),
            bounds,
            admission: Admission::Open,
            connection: 1,
            now: Stamp { mono_ms: 1_000_000, wall_ms: 1_800_000_000_000 },
            login: Ok(None),
            published: Vec::new(),
            refused: 0,
            handle: None,
            notices: Vec::new(),
            entries: VecDeque::new(),
            stored: BTreeMap::new(),
            stored_events: Vec::new(),
        }
    }

    /// What the pipeline does at the end of a wake-up.
    pub(super) fn commit(&mut self) {
        while let Some(due) = self.bus.pop_due_will() {
            let event = Event {
                topic: &due.will.topic,
                payload: &due.will.payload,
                qos: due.will.qos,
                retain: due.will.retain,
                client_id: &due.client_id,
                username: due.username.as_deref(),
                properties: due.will.event_properties(),
            };
            self.accept(&event, None, None, None);
        }
        self.notices.extend(std::iter::from_fn(|| self.bus.poll_notice()));
        if let Some(fence) = self.bus.poll_fence() {
            self.entries.push_back(Entry { fence: Some(fence), ..Entry::default() });
        }
    }

    fn accept(
        &mut self,
        event: &Event<'_>,
        session: Option<Handle>,
        received: Option<u16>,
        receipt: Option<u32>,
    ) {
        let published =
            Published { topic: event.topic.into(), payload: event.payload.into(), qos: event.qos, receipt };
        let receipt = receipt.map(|receipt| (self.connection, receipt));
        let mut entry = Entry { receipt, event: Some(published.clone()), ..Entry::default() };
        if let Some((handle, packet_id)) = session.zip(received) {
            self.bus.receive(handle, packet_id, &mut entry);
        }
        let publication = Publication {
            topic: event.topic,
            qos: event.qos,
            retain: event.retain,
            promised: event.qos > 0,
            origin: session.map(|handle| handle.session),
        };
        let mut properties = Vec::new();
        crate::mqtt::publish_properties(&event.properties, &mut properties);
        let expiry_ms = event.properties.expiry_s.map(|expiry_s| u64::from(expiry_s) * 1000);
        self.bus.publish(&publication, self.now, &mut entry, || BusEvent {
            topic: event.topic.into(),
            payload: Bytes::copy_from_slice(event.payload),
            properties: properties.into(),
            qos: event.qos,
            expires_at_ms: expiry_ms.map(|expiry_ms| self.now.mono_ms + expiry_ms),
        });
        self.published.push(published);
        self.entries.push_back(entry);
    }

    /// Whether anything is on its way to be durable.
    pub(super) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The oldest entry becomes durable; its receipt.
    pub(super) fn resolve(&mut self) -> Option<Option<(ConnectionId, u32)>> {
        let entry = self.entries.pop_front()?;
        for change in entry.changes {
            match change {
                Change::Put(key, value) => drop(self.stored.insert(key, value)),
                Change::Insert(key, value) => {
                    assert_eq!(self.stored.insert(key, value), None, "the key is new");
                }
                Change::Delete(key) => drop(self.stored.remove(&key)),
            }
        }
        self.stored_events.extend(entry.event);
        if let Some(fence) = entry.fence {
            self.bus.handle_fence(fence);
        }
        Some(entry.receipt)
    }

    /// All entries become durable; the receipts of one connection.
    pub(super) fn resolve_all(&mut self, connection: ConnectionId) -> Vec<u32> {
        let mut receipts = Vec::new();
        while let Some(receipt) = self.resolve() {
            receipts.extend(receipt.filter(|(owner, _)| *owner == connection).map(|(_, receipt)| receipt));
        }
        receipts
    }

    /// Everything that is not durable is gone; a new run takes up what is.
    pub(super) fn crash(&mut self) {
        self.entries.clear();
        self.notices.clear();
        self.bus = Bus::new(self.bounds.clone());
        let pairs: Vec<_> = self.stored.clone().into_iter().collect();
        let mut entry = Entry::default();
        let restored = self.bus.restore(&pairs, self.now, &mut entry);
        assert_eq!(restored.dropped, 0, "what was stored can be read");
        self.entries.push_back(entry);
        self.commit();
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, seconds: u64) {
        self.now.mono_ms += seconds * 1000;
        self.now.wall_ms += i64::try_from(seconds).unwrap() * 1000;
        let now = self.now;
        self.with_bus(None, |bus, _, durable| bus.handle_time(now, durable));
        self.commit();
    }
}

impl Access for Site {
    fn may(&self, _: Action, client: &Client<'_>, topic: &str) -> bool {
        !topic.starts_with("secret") || client.username == Some("admin")
    }
}

impl Host for Site {
    fn admission(&self, _: &str, _: bool) -> Admission {
        self.admission
    }

    fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn login(&self) -> Result<Option<Box<str>>, u8> {
        self.login.map(|username| username.map(Box::from))
    }

    fn assign_client_id(&mut self) -> String {
        "assigned".into()
    }

    fn connected(&mut self, handle: Handle) {
        self.handle = Some(handle);
    }

    fn publish(&mut self, event: &Event<'_>, handle: Handle, packet_id: u16, receipt: Option<u32>) {
        self.accept(event, Some(handle), (event.qos == 2).then_some(packet_id), receipt);
    }

    fn refused(&mut self) {
        self.refused += 1;
    }

    fn bus(&self) -> &Bus {
        &self.bus
    }

    fn with_bus<R>(
        &mut self,
        receipt: Option<u32>,
        change: impl FnOnce(&mut Bus, Stamp, &mut dyn Durable) -> R,
    ) -> (R, bool) {
        let receipt = receipt.map(|receipt| (self.connection, receipt));
        let mut entry = Entry { receipt, ..Entry::default() };
        let result = change(&mut self.bus, self.now, &mut entry);
        let waits = !entry.changes.is_empty();
        if waits {
            self.entries.push_back(entry);
        }
        (result, waits)
    }
}

/// Limits that a test meets only where it means to.
pub(super) fn limits() -> Limits {
    Limits {
        packet_bytes_max: 1000,
        client_id_bytes_max: 20,
        topic_bytes_max: 40,
        topic_levels_max: 4,
        inflight_max: 3,
        topic_alias_max: 2,
        keep_alive_max_s: None,
        mqtt31: false,
        connect_timeout_ms: 10_000,
        ..crate::testing::limits()
    }
}
