//! The state of a session (MQTT 5.0, section 4.1): what the gateway keeps of a client beyond its connection.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use tidegate_buffer::Stamp;
use tidegate_rules::TopicFilter;

use super::bytes::{Reader, Writer};
use super::event::BusEvent;
use super::outbox::{Outbox, Outgoing};
use super::shares::Shares;
use super::subscriptions::{self, Subscription};
use super::time::Moment;
use super::{ConnectionId, VERSION};
use crate::mqtt::{PublishProperties, SubscriptionOptions, Version};

/// One client's session.
pub(super) struct SessionState {
    pub(super) client_id: Rc<str>,
    pub(super) username: Option<Box<str>>,
    pub(super) version: Version,
    /// `None` while the client is away.
    pub(super) connection: Option<ConnectionId>,
    /// How long it is kept without a connection; `u32::MAX` is for ever, 0 not at all.
    pub(super) expiry_s: u32,
    /// When it ends, if the client stays away.
    pub(super) ends_at_ms: Option<u64>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) outbox: Outbox,
    /// Packet ids of publishes of QoS 2 that were received and not released.
    pub(super) received: BTreeSet<u16>,
    pub(super) will: Option<Box<Will>>,
    /// When the will is published, if the client stays away.
    pub(super) will_at_ms: Option<u64>,
    /// Retained messages that a new subscription is still to be sent.
    pub(super) replays: VecDeque<Replay>,
    /// A wake-up is on its way already.
    pub(super) woken: bool,
    /// Said already that its queue is full.
    pub(super) full: bool,
}

/// What is published if the client is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
    /// As in [`BusEvent`].
    pub(crate) properties: Box<[u8]>,
}

/// Retained messages on their way to a new subscription.
pub(super) struct Replay {
    pub(super) filter: TopicFilter,
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: u32,
    /// The topic that came last.
    pub(super) after: Option<Box<str>>,
}

impl SessionState {
    pub(super) fn new(client_id: Rc<str>, version: Version, outbox: Outbox) -> Self {
        SessionState {
            client_id,
            username: None,
            version,
            connection: None,
            expiry_s: 0,
            ends_at_ms: None,
            subscriptions: Vec::new(),
            outbox,
            received: BTreeSet::new(),
            will: None,
            will_at_ms: None,
            replays: VecDeque::new(),
            woken: false,
            full: false,
        }
    }

    /// Whether it outlives its connection, and so is stored.
    pub(super) fn is_kept(&self) -> bool {
        self.expiry_s > 0
    }

    pub(super) fn write(&self, now: Stamp) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        out.u8(self.version.level());
        out.u32(self.expiry_s);
        out.u8(u8::from(self.connection.is_some()));
        Moment::write(self.ends_at_ms, now, &mut out);
        out.u8(u8::from(self.username.is_some()));
        out.text(self.username.as_deref().unwrap_or_default());
        self.subscriptions.iter().for_each(|subscription| {
            out.text(&subscription.text);
            out.u8(subscription.options.byte());
            out.u32(subscription.identifier);
        });
        out.into_vec()
    }
}

/// A session as it was stored.
pub(super) struct StoredSession<'a> {
    pub(super) version: Version,
    pub(super) expiry_s: u32,
    /// It was written while the client was there.
    pub(super) connected: bool,
    pub(super) ends: Option<Moment>,
    pub(super) username: Option<&'a str>,
    pub(super) subscriptions: Vec<Subscription>,
}

impl<'a> StoredSession<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut bytes = Reader::new(bytes);
        bytes.u8().filter(|version| *version == VERSION)?;
        let version = Version::of_level(bytes.u8()?)?;
        let expiry_s = bytes.u32().filter(|expiry_s| *expiry_s > 0)?;
        let connected = bytes.u8()? == 1;
        let ends = Moment::read(&mut bytes)?;
        let has_username = bytes.u8()? == 1;
        let username = bytes.text()?;
        let mut subscriptions = Vec::new();
        while !bytes.is_empty() {
            let text = bytes.text()?;
            subscriptions::parse(text)?;
            let options = SubscriptionOptions::new(Version::V5, bytes.u8()?)?;
            subscriptions.push(Subscription { text: text.into(), options, identifier: bytes.u32()? });
        }
        let username = has_username.then_some(username);
        Some(StoredSession { version, expiry_s, connected, ends, username, subscriptions })
    }
}

impl Will {
    /// The properties without the expiry, which counts from when the will is published.
    pub(crate) fn event_properties(&self) -> PublishProperties<'_> {
        let mut properties = PublishProperties::decode(&self.properties).unwrap_or_default();
        properties.expiry_s = self.expiry_s;
        properties
    }

    pub(super) fn write(&self, due_ms: Option<u64>, now: Stamp) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        out.text(&self.topic);
        out.u8(self.qos);
        out.u8(u8::from(self.retain));
        out.u32(self.delay_s);
        out.u8(u8::from(self.expiry_s.is_some()));
        out.u32(self.expiry_s.unwrap_or(0));
        Moment::write(due_ms, now, &mut out);
        out.bytes(&self.properties);
        out.bytes(&self.payload);
        out.into_vec()
    }

    /// The will, and when it was due, if the client was away.
    pub(super) fn read(bytes: &[u8]) -> Option<(Will, Option<Moment>)> {
        let mut bytes = Reader::new(bytes);
        bytes.u8().filter(|version| *version == VERSION)?;
        let topic = bytes.text()?;
        tidegate_rules::check_topic_name(topic).ok()?;
        let qos = bytes.u8().filter(|qos| *qos <= 2)?;
        let retain = bytes.u8()? == 1;
        let delay_s = bytes.u32()?;
        let (has_expiry, expiry_s) = (bytes.u8()? == 1, bytes.u32()?);
        let due = Moment::read(&mut bytes)?;
        let properties = bytes.bytes()?;
        PublishProperties::decode(properties).ok()?;
        let payload = bytes.bytes()?;
        let expiry_s = has_expiry.then_some(expiry_s);
        let (topic, properties, payload) = (topic.into(), properties.into(), payload.into());
        bytes.is_empty().then_some((Will { topic, payload, qos, retain, delay_s, expiry_s, properties }, due))
    }
}

/// A delivery as it is stored for a session.
pub(super) fn write_outgoing(outgoing: &Outgoing, shares: &Shares, now: Stamp) -> Vec<u8> {
    let mut out = Writer::new(VERSION);
    out.u8(outgoing.qos);
    out.u8(u8::from(outgoing.retain));
    let identifiers = outgoing.identifiers.as_deref().unwrap_or_default();
    let count = u16::try_from(identifiers.len()).unwrap_or(u16::MAX);
    out.u16(count);
    identifiers.iter().take(count.into()).for_each(|identifier| out.u32(*identifier));
    out.text(outgoing.share.and_then(|share| shares.text(share)).unwrap_or_default());
    outgoing.event.write(now, &mut out);
    out.into_vec()
}

pub(super) fn read_outgoing(number: u64, bytes: &[u8], shares: &Shares, now: Stamp) -> Option<Outgoing> {
    let mut bytes = Reader::new(bytes);
    bytes.u8().filter(|version| *version == VERSION)?;
    let qos = bytes.u8().filter(|qos| matches!(qos, 1 | 2))?;
    let retain = bytes.u8()? == 1;
    let count = bytes.u16()?;
    let identifiers: Option<Vec<u32>> = (0..count).map(|_| bytes.u32()).collect();
    let identifiers = identifiers.filter(|_| count > 0).map(Rc::from);
    let share = shares.id(bytes.text()?);
    let event = Rc::new(BusEvent::read(now, &mut bytes)?);
    bytes.is_empty().then_some(Outgoing { event, number, qos, retain, identifiers, share, fence: 0 })
}

pub(super) fn write_retained(event: &BusEvent, now: Stamp) -> Vec<u8> {
    let mut out = Writer::new(VERSION);
    event.write(now, &mut out);
    out.into_vec()
}

pub(super) fn read_retained(bytes: &[u8], now: Stamp) -> Option<BusEvent> {
    let mut bytes = Reader::new(bytes);
    bytes.u8().filter(|version| *version == VERSION)?;
    let event = BusEvent::read(now, &mut bytes)?;
    bytes.is_empty().then_some(event)
}
