//! The local bus: who is connected, who wants what, and what each session still has to be sent.
//!
//! Delivery here does not wait for the cloud, so that a site acts while it is away. A session that outlives its
//! connection is stored: with the event that causes a delivery, the delivery is put into the durable map, in the same
//! entry; so the publisher's acknowledgement means that too. Everything is bounded (see [`Bounds`]).
//!
//! The bus is a state machine: it knows no packets, no sockets and no disk, and time is an argument. What has to be done
//! outside it leaves as a [`Notice`] or a [`DueWill`], and what has to last goes to a [`Durable`].

mod bytes;
mod connect;
mod event;
mod key;
mod outbox;
mod outgoing;
mod restore;
mod retained;
mod session;
mod shared;
mod shares;
mod subscribe;
mod subscriptions;
#[cfg(test)]
mod tests;
mod time;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use slab::Slab;
use tidegate_buffer::Stamp;

use crate::durable::Durable;
use key::Key;
use retained::{Change, Retained};
use session::SessionState;
use shares::ShareId;
use subscriptions::{Match, Subscriptions};

pub(crate) use connect::{Accepted, Connecting, Ending};
pub(crate) use event::BusEvent;
pub(crate) use outbox::{Next, Outgoing};
pub(crate) use outgoing::Answer;
pub(crate) use restore::Restored;
pub(crate) use session::Will;

/// The number of a connection; 0 is none.
pub(crate) type ConnectionId = u32;

/// The number of a session while it lasts; given again afterwards.
pub(crate) type SessionId = u32;

/// The version of stored values.
const VERSION: u8 = 1;

/// The bounds of what the bus keeps. Each is a setting of `[limits]`.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Sessions that outlive their connection, connected or not.
    pub(crate) sessions_max: usize,
    /// The longest that a session is kept for a client that is away, in seconds; `u32::MAX` is for ever.
    pub(crate) session_expiry_max_s: u32,
    /// Subscriptions of one session.
    pub(crate) subscriptions_max: usize,
    /// What waits for one session.
    pub(crate) queue: QueueBounds,
    pub(crate) retained_max: usize,
    pub(crate) retained_bytes_max: usize,
}

/// The bounds of a session's queue. What is in flight counts as bytes, not as events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueBounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// A session as its connection knows it. After a takeover it stands for nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) session: SessionId,
    pub(crate) connection: ConnectionId,
}

/// What is to be published locally.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Somebody is promised that it is stored; else a retained message may be stored some seconds later.
    pub(crate) promised: bool,
    /// The session that published it, for No Local.
    pub(crate) origin: Option<SessionId>,
}

/// What the bus wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// There is something to send on this connection.
    Deliver(ConnectionId),
    /// It has to end: another one uses the client id.
    TakenOver(ConnectionId),
    /// It has to end: it does not read what it was promised.
    TooSlow(ConnectionId),
    /// The queue of this client, which is kept, is full; what is newer is dropped until there is room.
    Full(Rc<str>),
}

/// A will whose time has come.
#[derive(Debug)]
pub(crate) struct DueWill {
    pub(crate) client_id: Rc<str>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) will: Box<Will>,
}

/// What was not delivered, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// A queue was full.
    pub(crate) dropped: u64,
    /// It expired while it waited.
    pub(crate) expired: u64,
    /// It was to be retained, and there is no room; it was delivered to those who were there.
    pub(crate) unretained: u64,
}

/// See the module.
pub(crate) struct Bus {
    bounds: Bounds,
    sessions: Slab<SessionState>,
    by_client: HashMap<Rc<str>, SessionId>,
    /// Sessions that outlive their connection.
    kept: usize,
    /// Where the numbers of a new session's deliveries begin: above all that ended ones had, so that a key is not used
    /// again before its deletion is durable.
    first_number: u64,
    subscriptions: Subscriptions,
    retained: Retained,
    /// When sessions end and wills are due; entries that have become wrong are passed over.
    timers: BTreeSet<(u64, SessionId)>,
    notices: VecDeque<Notice>,
    due_wills: VecDeque<DueWill>,
    undelivered: Undelivered,
    /// The fence that is to be written next, and the last that has passed.
    fence: u64,
    fence_wanted: bool,
    fenced: u64,
    /// Who waits for a fence.
    behind_fence: VecDeque<(u64, SessionId)>,
    matched: Vec<Match>,
    matched_shares: Vec<ShareId>,
}

/// One copy of an event on its way to one session.
struct Delivery<'a> {
    to: SessionId,
    event: &'a Rc<BusEvent>,
    qos: u8,
    retain: bool,
    identifiers: Option<Rc<[u32]>>,
    share: Option<ShareId>,
}

impl Bus {
    /// Other bounds count from now on. What is beyond them already stays.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    pub(crate) fn new(bounds: Bounds) -> Self {
        Bus {
            bounds,
            sessions: Slab::new(),
            by_client: HashMap::new(),
            kept: 0,
            first_number: 0,
            subscriptions: Subscriptions::default(),
            retained: Retained::default(),
            timers: BTreeSet::new(),
            notices: VecDeque::new(),
            due_wills: VecDeque::new(),
            undelivered: Undelivered::default(),
            fence: 1,
            fence_wanted: false,
            fenced: 0,
            behind_fence: VecDeque::new(),
            matched: Vec::new(),
            matched_shares: Vec::new(),
        }
    }

    /// True where an event that is not retained concerns no one, so that nothing need be prepared.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Whether an event would have to be stored: it is to be retained, or a session that outlives its connection wants it.
    pub(crate) fn stores(&self, topic: &str, retain: bool) -> bool {
        let is_kept = |session| self.sessions.get(index(session)).is_some_and(SessionState::is_kept);
        retain
            || self
                .subscriptions
                .any(topic, |subscriber| subscriber.options.qos() > 0 && is_kept(subscriber.session))
    }

    /// Whether a retained message would fit.
    pub(crate) fn retains(
        &mut self,
        topic: &str,
        payload_bytes: usize,
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> bool {
        payload_bytes == 0 || self.make_room(topic, 64 + topic.len() + payload_bytes, now, durable)
    }

    /// Whether a retained message fits, after those that have expired were taken away if need be.
    fn make_room(&mut self, topic: &str, bytes: usize, now: Stamp, durable: &mut dyn Durable) -> bool {
        self.retained.fits(topic, bytes, &self.bounds) || {
            self.retained.expire(now.mono_ms, |topic| durable.delete(Key::Retained(topic).encode()));
            self.retained.fits(topic, bytes, &self.bounds)
        }
    }

    /// Delivers to everyone who wants it, and retains it if that is asked for. `make` is called if anyone does.
    pub(crate) fn publish(
        &mut self,
        publication: &Publication<'_>,
        now: Stamp,
        durable: &mut dyn Durable,
        make: impl FnOnce() -> BusEvent,
    ) {
        let mut matched = std::mem::take(&mut self.matched);
        let mut shares = std::mem::take(&mut self.matched_shares);
        self.subscriptions.matches(publication.topic, publication.origin, &mut matched);
        if !self.subscriptions.shares.is_empty() {
            self.subscriptions.shares_of(publication.topic, &mut shares);
        }
        if publication.retain || !matched.is_empty() || !shares.is_empty() {
            let event = Rc::new(make());
            if publication.retain {
                self.retain(&event, publication.promised, now, durable);
            }
            for matched in matched.drain(..) {
                let delivery = Delivery {
                    to: matched.session,
                    event: &event,
                    qos: matched.qos.min(event.qos),
                    retain: publication.retain && matched.retain_as_published,
                    identifiers: matched.identifiers,
                    share: None,
                };
                self.deliver(delivery, now, durable);
            }
            for share in shares.drain(..) {
                self.deliver_shared(share, &event, publication.retain, now, durable);
            }
        }
        self.matched = matched;
        self.matched_shares = shares;
    }

    fn retain(&mut self, event: &Rc<BusEvent>, promised: bool, now: Stamp, durable: &mut dyn Durable) {
        if !event.payload.is_empty() && !self.make_room(&event.topic, event.cost(), now, durable) {
            self.undelivered.unretained += 1;
            return;
        }
        let change = self.retained.set(event);
        if !promised {
            if matches!(change, Change::Set | Change::Cleared) {
                self.retained.defer(&event.topic, now.mono_ms);
            }
            return;
        }
        // What is there already may have been left for later, when nobody was promised anything.
        let deferred = self.retained.settle(&event.topic);
        let key = Key::Retained(&event.topic);
        match change {
            Change::Set => durable.put(key.encode(), session::write_retained(event, now)),
            Change::Same if deferred => durable.put(key.encode(), session::write_retained(event, now)),
            Change::Cleared => durable.delete(key.encode()),
            Change::Nothing if deferred => durable.delete(key.encode()),
            Change::Same | Change::Nothing => {}
        }
    }

    /// Stores what changed in retained messages and was left for later: what is due, or `all`.
    pub(crate) fn store_retained(&mut self, all: bool, now: Stamp, durable: &mut dyn Durable) {
        self.retained.poll_unwritten(now.mono_ms, all, |topic, event| {
            let key = Key::Retained(topic).encode();
            match event.filter(|event| !event.is_expired(now.mono_ms)) {
                Some(event) => durable.put(key, session::write_retained(event, now)),
                None => durable.delete(key),
            }
        });
    }

    /// Queues one copy; says whether it was queued.
    fn deliver(&mut self, delivery: Delivery<'_>, now: Stamp, durable: &mut dyn Durable) -> bool {
        let Delivery { to, event, qos, retain, identifiers, share } = delivery;
        let Some(state) = self.sessions.get_mut(index(to)) else { return false };
        // Nothing is promised at QoS 0 to someone who is not there.
        if qos == 0 && state.connection.is_none() {
            return false;
        }
        if !state.outbox.has_room(event, self.bounds.queue) {
            self.undelivered.dropped += 1;
            if qos > 0 {
                self.refuse_delivery(to);
            }
            return false;
        }
        let stored = state.is_kept() && qos > 0;
        let fence = if stored && qos == 2 { self.fence } else { 0 };
        let event = Rc::clone(event);
        let mut outgoing = Outgoing { event, number: 0, qos, retain, identifiers, share, fence };
        let value = stored.then(|| session::write_outgoing(&outgoing, &self.subscriptions.shares, now));
        outgoing.number = state.outbox.push(outgoing.clone());
        if let Some(value) = value {
            durable.insert(Key::Outgoing(&state.client_id, outgoing.number).encode(), value);
        }
        if fence > 0 {
            self.wait_for_fence(to);
        } else {
            self.wake(to);
        }
        true
    }

    /// A promise cannot be kept: a session that ends with its connection is told so, one that is kept goes on without
    /// what is newest, as mosquitto's do.
    fn refuse_delivery(&mut self, session: SessionId) {
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        match state.connection {
            Some(connection) if !state.is_kept() => self.notices.push_back(Notice::TooSlow(connection)),
            _ if state.full => {}
            _ => {
                state.full = true;
                self.notices.push_back(Notice::Full(Rc::clone(&state.client_id)));
            }
        }
    }

    fn wake(&mut self, session: SessionId) {
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        if let Some(connection) = state.connection
            && !state.woken
        {
            state.woken = true;
            self.notices.push_back(Notice::Deliver(connection));
        }
    }

    fn wait_for_fence(&mut self, session: SessionId) {
        self.fence_wanted = true;
        let place = (self.fence, session);
        if self.behind_fence.back() != Some(&place) {
            self.behind_fence.push_back(place);
        }
    }

    /// Whether something waits for what was put so far to be durable: then an entry of its own is to be made, with a put
    /// of [`Bus::fence_key`], and [`Bus::handle_fence`] called with this number when its receipt has resolved.
    pub(crate) fn poll_fence(&mut self) -> Option<u64> {
        std::mem::take(&mut self.fence_wanted).then(|| {
            self.fence += 1;
            self.fence - 1
        })
    }

    /// The key that a fence puts.
    pub(crate) fn fence_key() -> Vec<u8> {
        Key::Fence.encode()
    }

    /// As [`Bus::handle_fence`], for a fence of which only the low half is known: it is the next one that has it.
    pub(crate) fn handle_fence_low(&mut self, low: u32) {
        let (_, passed) = split(self.fenced);
        self.handle_fence(self.fenced + u64::from(low.wrapping_sub(passed)));
    }

    /// Everything that was put before this fence is durable.
    pub(crate) fn handle_fence(&mut self, fence: u64) {
        self.fenced = self.fenced.max(fence);
        while let Some((_, session)) = self.behind_fence.pop_front_if(|(place, _)| *place <= fence) {
            self.wake(session);
        }
    }

    /// What has to be done outside.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front()?;
        if self.notices.is_empty() && self.notices.capacity() > 64 {
            self.notices = VecDeque::new();
        }
        Some(notice)
    }

    /// The topic of the next will that is to be published.
    pub(crate) fn due_will(&self) -> Option<&Will> {
        self.due_wills.front().map(|due| &*due.will)
    }

    pub(crate) fn pop_due_will(&mut self) -> Option<DueWill> {
        self.due_wills.pop_front()
    }

    /// What was not delivered since the last call.
    pub(crate) fn take_undelivered(&mut self) -> Undelivered {
        std::mem::take(&mut self.undelivered)
    }

    /// When [`Bus::handle_time`] is to be called, in milliseconds since boot.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let timer_ms = self.timers.first().map(|(deadline_ms, _)| *deadline_ms);
        timer_ms.into_iter().chain(self.retained.write_at_ms()).min()
    }

    /// The client id of a session.
    pub(crate) fn client_id(&self, handle: Handle) -> Option<&str> {
        self.session(handle).map(|state| &*state.client_id)
    }

    fn session(&self, handle: Handle) -> Option<&SessionState> {
        let state = self.sessions.get(index(handle.session))?;
        (state.connection == Some(handle.connection)).then_some(state)
    }

    fn session_mut(&mut self, handle: Handle) -> Option<&mut SessionState> {
        let state = self.sessions.get_mut(index(handle.session))?;
        (state.connection == Some(handle.connection)).then_some(state)
    }
}

/// The two halves of a number.
fn split(number: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// A session's place in the slab.
fn index(session: SessionId) -> usize {
    usize::try_from(session).unwrap_or(usize::MAX)
}

#[cfg(any(test, fuzzing))]
impl Bounds {
    /// Bounds that no test meets by chance.
    pub(crate) fn for_tests() -> Bounds {
        Bounds {
            sessions_max: 10,
            session_expiry_max_s: 1000,
            subscriptions_max: 10,
            queue: QueueBounds { events_max: 10, bytes_max: 100_000 },
            retained_max: 10,
            retained_bytes_max: 100_000,
        }
    }
}
