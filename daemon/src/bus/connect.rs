//! Connections come and go; sessions begin, go on and end (MQTT 5.0, sections 3.1.2.4, 3.1.2.5, 3.1.2.11.2 and 3.1.4).

use std::rc::Rc;

use tidegate_buffer::Stamp;

use super::key::Key;
use super::outbox::Outbox;
use super::session::{SessionState, Will};
use super::{Bus, ConnectionId, DueWill, Handle, Notice, SessionId, index};
use crate::durable::Durable;
use crate::mqtt::Version;

/// A client that wants a session.
pub(crate) struct Connecting<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    /// How many publishes of QoS 1 and 2 it takes unacknowledged.
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<Will>,
}

/// The session that it got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) handle: Handle,
    /// The session of an earlier connection goes on.
    pub(crate) present: bool,
    /// How long it is kept without a connection.
    pub(crate) expiry_s: u32,
    /// A stored session was thrown away: only once that is durable may the client begin to use its packet ids anew.
    pub(crate) discarded: bool,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The client said DISCONNECT without asking for its will.
    pub(crate) without_will: bool,
    /// The session expiry that it asked for at the end.
    pub(crate) expiry_s: Option<u32>,
}

impl Ending {
    /// Without a word.
    pub(crate) const LOST: Ending = Ending { without_will: false, expiry_s: None };
}

impl Bus {
    /// A client connects. `None` if there are as many sessions as may be, and this would be one more.
    pub(crate) fn connect(
        &mut self,
        connecting: Connecting<'_>,
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> Option<Accepted> {
        let expiry_s = connecting.expiry_s.min(self.bounds.session_expiry_max_s);
        let known = self.by_client.get(connecting.client_id).copied();
        let old = known.and_then(|session| Some((session, self.sessions.get(index(session))?)));
        let was_kept = old.as_ref().is_some_and(|(_, state)| state.is_kept());
        if expiry_s > 0 && self.kept - usize::from(was_kept) >= self.bounds.sessions_max {
            return None;
        }
        // A session that belongs to somebody else is not handed over with its client id.
        let goes_on = old.filter(|(_, state)| {
            !connecting.clean_start && state.is_kept() && state.username.as_deref() == connecting.username
        });
        let present = goes_on.is_some();
        if let Some(session) = known {
            self.leave_connection(session, present, durable);
            if !present {
                self.end_session(session, now, durable);
            }
        }
        let session = match known.filter(|_| present) {
            Some(session) => session,
            None => self.found(connecting.client_id, connecting.version),
        };
        let handle = Handle { session, connection: connecting.connection };
        self.attach(handle, connecting, expiry_s, now, durable);
        Some(Accepted { handle, present, expiry_s, discarded: was_kept && !present })
    }

    /// A new session without anything in it.
    pub(super) fn found(&mut self, client_id: &str, version: Version) -> SessionId {
        let client_id: Rc<str> = client_id.into();
        let outbox = Outbox::new(self.first_number);
        let session = self.sessions.insert(SessionState::new(Rc::clone(&client_id), version, outbox));
        let session = u32::try_from(session).unwrap_or(u32::MAX);
        self.by_client.insert(client_id, session);
        session
    }

    /// The connection that had the session, if there is one, is to go. Its will is published, unless a session that
    /// goes on was to wait with it (section 3.1.3.2.2).
    fn leave_connection(&mut self, session: SessionId, goes_on: bool, durable: &mut dyn Durable) {
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        if let Some(connection) = state.connection.take() {
            self.undelivered.dropped += state.outbox.disconnect();
            self.notices.push_back(Notice::TakenOver(connection));
            let waits = state.will.as_ref().is_some_and(|will| goes_on && will.delay_s > 0);
            if !waits {
                self.publish_will(session, durable);
            }
        }
        if goes_on {
            self.forget_will(session, durable);
        }
    }

    fn attach(
        &mut self,
        handle: Handle,
        connecting: Connecting<'_>,
        expiry_s: u32,
        now: Stamp,
        durable: &mut dyn Durable,
    ) {
        let Some(state) = self.sessions.get_mut(index(handle.session)) else { return };
        self.kept += usize::from(expiry_s > 0);
        self.kept -= usize::from(state.is_kept());
        let kept_before = state.is_kept();
        state.username = connecting.username.map(Box::from);
        state.version = connecting.version;
        state.connection = Some(handle.connection);
        state.expiry_s = expiry_s;
        state.ends_at_ms = None;
        state.will_at_ms = None;
        state.woken = false;
        state.outbox.connect(connecting.receive_maximum);
        state.will = connecting.will.map(Box::new);
        if state.is_kept() {
            durable.put(Key::Session(&state.client_id).encode(), state.write(now));
            if let Some(will) = state.will.as_ref().filter(|will| will.delay_s > 0) {
                durable.put(Key::Will(&state.client_id).encode(), will.write(None, now));
            }
        } else if kept_before {
            // The client now asks for a session that ends with this connection: nothing of it is to come back.
            forget(state, durable);
        }
    }

    /// A connection has ended. One that has been taken over changes nothing.
    pub(crate) fn disconnect(
        &mut self,
        handle: Handle,
        ending: Ending,
        now: Stamp,
        durable: &mut dyn Durable,
    ) {
        let expiry_max_s = self.bounds.session_expiry_max_s;
        let Some(state) = self.session_mut(handle) else { return };
        state.connection = None;
        let was_kept = state.is_kept();
        if let Some(expiry_s) = ending.expiry_s {
            state.expiry_s = expiry_s.min(expiry_max_s);
        }
        let (expiry_s, kept) = (state.expiry_s, state.is_kept());
        let delay_s = state.will.as_ref().map_or(0, |will| will.delay_s).min(expiry_s);
        let dropped = state.outbox.disconnect();
        self.undelivered.dropped += dropped;
        if ending.without_will {
            self.forget_will(handle.session, durable);
        } else if delay_s == 0 {
            self.publish_will(handle.session, durable);
        }
        if !kept {
            if was_kept {
                self.kept -= 1;
                self.forget_stored(handle.session, durable);
            }
            return self.end_session(handle.session, now, durable);
        }
        self.wait_for_return(handle.session, delay_s, now, durable);
        self.hand_over(handle.session, false, now, durable);
    }

    /// Sets and stores how long the session and its will wait for the client.
    fn wait_for_return(&mut self, session: SessionId, delay_s: u32, now: Stamp, durable: &mut dyn Durable) {
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        let after = |seconds: u32| now.mono_ms.saturating_add(u64::from(seconds) * 1000);
        state.ends_at_ms = (state.expiry_s < u32::MAX).then(|| after(state.expiry_s));
        self.timers.extend(state.ends_at_ms.map(|at_ms| (at_ms, session)));
        durable.put(Key::Session(&state.client_id).encode(), state.write(now));
        if let Some(will) = &state.will {
            state.will_at_ms = Some(after(delay_s));
            self.timers.insert((after(delay_s), session));
            durable.put(Key::Will(&state.client_id).encode(), will.write(state.will_at_ms, now));
        }
    }

    /// Time has passed: wills are due, sessions end, and retained messages that could wait are stored.
    pub(crate) fn handle_time(&mut self, now: Stamp, durable: &mut dyn Durable) {
        self.store_retained(false, now, durable);
        while let Some((at_ms, session)) = self.timers.first().copied()
            && at_ms <= now.mono_ms
        {
            self.timers.pop_first();
            let Some(state) = self.sessions.get(index(session)) else { continue };
            let (ends, will_is_due) = (state.ends_at_ms == Some(at_ms), state.will_at_ms == Some(at_ms));
            if will_is_due {
                self.publish_will(session, durable);
            }
            if ends {
                self.end_session(session, now, durable);
            }
        }
    }

    /// The session is over: what it had is given back, what waited for it through a shared subscription goes to another
    /// member, and a will that was to wait longer does not (section 3.1.3.2.2).
    fn end_session(&mut self, session: SessionId, now: Stamp, durable: &mut dyn Durable) {
        self.publish_will(session, durable);
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        for subscription in std::mem::take(&mut state.subscriptions) {
            self.subscriptions.remove(session, &subscription);
        }
        self.hand_over(session, true, now, durable);
        if let Some(state) = self.sessions.get(index(session))
            && state.is_kept()
        {
            self.kept -= 1;
            forget(state, durable);
        }
        if let Some(state) = self.sessions.try_remove(index(session)) {
            self.by_client.remove(&state.client_id);
            self.first_number = self.first_number.max(state.outbox.next_number());
            state.ends_at_ms.map(|at_ms| self.timers.remove(&(at_ms, session)));
            state.will_at_ms.map(|at_ms| self.timers.remove(&(at_ms, session)));
        }
    }

    /// Everything stored of a session is taken away; it lives on until its connection ends.
    fn forget_stored(&mut self, session: SessionId, durable: &mut dyn Durable) {
        if let Some(state) = self.sessions.get(index(session)) {
            forget(state, durable);
        }
    }

    fn publish_will(&mut self, session: SessionId, durable: &mut dyn Durable) {
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        let (client_id, username) = (Rc::clone(&state.client_id), state.username.clone());
        if let Some(will) = self.forget_will(session, durable) {
            self.due_wills.push_back(DueWill { client_id, username, will });
        }
    }

    fn forget_will(&mut self, session: SessionId, durable: &mut dyn Durable) -> Option<Box<Will>> {
        let state = self.sessions.get_mut(index(session))?;
        if let Some(at_ms) = state.will_at_ms.take()
            && state.ends_at_ms != Some(at_ms)
        {
            self.timers.remove(&(at_ms, session));
        }
        let will = state.will.take()?;
        if state.is_kept() && will.delay_s > 0 {
            durable.delete(Key::Will(&state.client_id).encode());
        }
        Some(will)
    }
}

/// Takes everything stored of a session away.
fn forget(state: &SessionState, durable: &mut dyn Durable) {
    let client_id = &state.client_id;
    durable.delete(Key::Session(client_id).encode());
    durable.delete(Key::Will(client_id).encode());
    for packet_id in &state.received {
        durable.delete(Key::Received(client_id, *packet_id).encode());
    }
    let (outgoing, released) = state.outbox.numbers();
    for number in outgoing {
        durable.delete(Key::Outgoing(client_id, number).encode());
    }
    for number in released {
        durable.delete(Key::Released(client_id, number).encode());
    }
}
