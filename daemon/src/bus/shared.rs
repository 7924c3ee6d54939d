//! Deliveries through shared subscriptions (MQTT 5.0, section 4.8.2).

use std::rc::Rc;

use tidegate_buffer::Stamp;

use super::event::BusEvent;
use super::key::Key;
use super::shares::ShareId;
use super::subscriptions::Subscriber;
use super::{Bus, Delivery, SessionId, index};
use crate::durable::Durable;

impl Bus {
    /// Gives an event to one member of a group: in turn to those who are there and have room, else to one whose queue
    /// is kept.
    pub(super) fn deliver_shared(
        &mut self,
        share: ShareId,
        event: &Rc<BusEvent>,
        retain: bool,
        now: Stamp,
        durable: &mut dyn Durable,
    ) {
        let (sessions, queue) = (&self.sessions, self.bounds.queue);
        let member = self.subscriptions.shares.pick(share, |member| {
            let state = sessions.get(index(member.session))?;
            let has_room = state.outbox.has_room(event, queue);
            Some(match state.connection {
                Some(_) if has_room => 3,
                None if has_room && member.options.qos().min(event.qos) > 0 => 2,
                // Nobody has room: the drop is counted where it happens.
                Some(_) => 1,
                None => 0,
            })
        });
        if let Some(member) = member {
            self.deliver_to_member(member, share, event, retain, now, durable);
        }
    }

    /// Offers what waits for this session through shared subscriptions to other members; while the session lasts, only
    /// to those who are there.
    pub(super) fn hand_over(
        &mut self,
        session: SessionId,
        ends: bool,
        now: Stamp,
        durable: &mut dyn Durable,
    ) {
        if self.subscriptions.shares.is_empty() {
            return;
        }
        let Some(state) = self.sessions.get_mut(index(session)) else { return };
        let (client_id, kept) = (Rc::clone(&state.client_id), state.is_kept());
        let mut outbox = std::mem::take(&mut state.outbox);
        outbox.hand_over(|outgoing| {
            let Some(share) = outgoing.share else { return false };
            let taken = self.pass_on(share, (session, ends), &outgoing.event, now, durable);
            if taken && kept {
                durable.delete(Key::Outgoing(&client_id, outgoing.number).encode());
            }
            taken
        });
        if let Some(state) = self.sessions.get_mut(index(session)) {
            state.outbox = outbox;
        }
    }

    /// Gives an event that one member has not acknowledged to another; says whether one took it.
    fn pass_on(
        &mut self,
        share: ShareId,
        (from, ends): (SessionId, bool),
        event: &Rc<BusEvent>,
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> bool {
        let (sessions, queue) = (&self.sessions, self.bounds.queue);
        let member = self.subscriptions.shares.pick(share, |member| {
            let state = sessions.get(index(member.session)).filter(|_| member.session != from)?;
            let can = state.outbox.has_room(event, queue) && member.options.qos().min(event.qos) > 0;
            match state.connection {
                Some(_) if can => Some(2),
                None if can && ends => Some(1),
                _ => None,
            }
        });
        member.is_some_and(|member| self.deliver_to_member(member, share, event, false, now, durable))
    }

    fn deliver_to_member(
        &mut self,
        member: Subscriber,
        share: ShareId,
        event: &Rc<BusEvent>,
        retain: bool,
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> bool {
        let delivery = Delivery {
            to: member.session,
            event,
            qos: member.options.qos().min(event.qos),
            retain: retain && member.options.retain_as_published(),
            identifiers: (member.identifier > 0).then(|| [member.identifier].into()),
            share: Some(share),
        };
        self.deliver(delivery, now, durable)
    }
}
