//! The bus as an earlier run left it.

use std::fmt;
use std::rc::Rc;

use tidegate_buffer::Stamp;

use super::key::Key;
use super::session::{self, StoredSession, Will};
use super::{Bus, SessionId, index, time};
use crate::durable::Durable;

/// How many messages may have been in flight for one client.
const INFLIGHT_MAX: usize = 65_535;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) sessions: usize,
    pub(crate) retained: usize,
    /// Deliveries that wait for clients.
    pub(crate) waiting: usize,
    /// Retained messages whose time was over; they are taken away.
    pub(crate) expired: usize,
    /// Pairs that cannot be read or belong to nothing; they are taken away.
    pub(crate) dropped: usize,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Restored { sessions, retained, waiting, expired, dropped } = self;
        write!(
            f,
            "sessions={sessions} waiting={waiting} retained={retained} expired={expired} dropped={dropped}"
        )
    }
}

/// What becomes of a pair that can be read.
enum Read {
    Kept,
    Expired,
}

impl Bus {
    /// Takes what is stored, in the order of its keys. All clients are away; those that were there when the gateway
    /// stopped count as away since now.
    pub(crate) fn restore(
        &mut self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> Restored {
        let mut restored = Restored::default();
        // Sessions first: what else is stored belongs to one, or stands alone.
        let is_session = |key: &[u8]| matches!(Key::decode(key), Some(Key::Session(_)));
        for (key, value) in pairs.iter().filter(|(key, _)| is_session(key)) {
            match self.restore_session(key, value, now) {
                Some(()) => restored.sessions += 1,
                None => {
                    restored.dropped += 1;
                    durable.delete(key.clone());
                }
            }
        }
        for (key, value) in pairs.iter().filter(|(key, _)| !is_session(key)) {
            match self.restore_pair(key, value, now, &mut restored) {
                Some(Read::Kept) => continue,
                Some(Read::Expired) => restored.expired += 1,
                None => restored.dropped += 1,
            }
            durable.delete(key.clone());
        }
        // Sessions that ended while the gateway did not run, and wills that have become due.
        self.handle_time(now, durable);
        restored
    }

    fn restore_session(&mut self, key: &[u8], value: &[u8], now: Stamp) -> Option<()> {
        let Some(Key::Session(client_id)) = Key::decode(key) else { return None };
        let stored = StoredSession::read(value)?;
        let session = self.found(client_id, stored.version);
        let state = self.sessions.get_mut(index(session))?;
        state.expiry_s = stored.expiry_s.min(self.bounds.session_expiry_max_s);
        state.username = stored.username.map(Box::from);
        state.subscriptions.clone_from(&stored.subscriptions);
        for subscription in &stored.subscriptions {
            self.subscriptions.insert(session, subscription);
        }
        let whole_ms = u64::from(state.expiry_s) * 1000;
        let ends = stored.ends.map(|ends| time::again(ends, now)).filter(|_| !stored.connected);
        let latest_ms = now.mono_ms.saturating_add(whole_ms);
        state.ends_at_ms =
            (state.expiry_s < u32::MAX).then(|| ends.map_or(latest_ms, |ends_ms| ends_ms.min(latest_ms)));
        self.timers.extend(state.ends_at_ms.map(|at_ms| (at_ms, session)));
        self.kept += 1;
        Some(())
    }

    fn restore_pair(
        &mut self,
        key: &[u8],
        value: &[u8],
        now: Stamp,
        restored: &mut Restored,
    ) -> Option<Read> {
        match Key::decode(key)? {
            // A fence has done its work.
            Key::Session(_) | Key::Fence => {}
            Key::Received(client_id, packet_id) => {
                let session = *self.by_client.get(client_id)?;
                self.sessions.get_mut(index(session))?.received.insert(packet_id);
            }
            Key::Outgoing(client_id, number) => {
                let session = *self.by_client.get(client_id)?;
                self.restore_outgoing(session, number, value, now)?;
                restored.waiting += 1;
            }
            Key::Released(client_id, number) => {
                let session = *self.by_client.get(client_id)?;
                self.sessions.get_mut(index(session))?.outbox.restore_released(number);
            }
            Key::Retained(topic) => {
                let event = session::read_retained(value, now).filter(|event| *event.topic == *topic)?;
                if event.is_expired(now.mono_ms) {
                    return Some(Read::Expired);
                }
                self.retained.set(&Rc::new(event));
                restored.retained = self.retained.len();
            }
            Key::Will(client_id) => {
                let (will, due) = Will::read(value)?;
                let session = *self.by_client.get(client_id)?;
                let state = self.sessions.get_mut(index(session))?;
                let whole_ms = u64::from(will.delay_s.min(state.expiry_s)) * 1000;
                let latest_ms = now.mono_ms.saturating_add(whole_ms);
                let due_ms = due.map_or(latest_ms, |due| time::again(due, now).min(latest_ms));
                state.will = Some(Box::new(will));
                state.will_at_ms = Some(due_ms);
                self.timers.insert((due_ms, session));
            }
        }
        Some(Read::Kept)
    }

    fn restore_outgoing(&mut self, session: SessionId, number: u64, value: &[u8], now: Stamp) -> Option<()> {
        let outgoing = session::read_outgoing(number, value, &self.subscriptions.shares, now)?;
        let state = self.sessions.get_mut(index(session))?;
        // Which of them were sent is not known, so all are sent as if they had been.
        let sent = state.outbox.inflight_len() < INFLIGHT_MAX;
        state.outbox.restore(outgoing, sent);
        Some(())
    }
}
