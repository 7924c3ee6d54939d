//! What a connection sends and what its client acknowledges, and the inbound half of QoS 2 (MQTT 5.0, section 4.3).

use tidegate_buffer::Stamp;

use super::key::Key;
use super::outbox::{Acked, Next};
use super::{Bus, Handle};
use crate::durable::Durable;
use crate::mqtt::AckKind;

/// What an acknowledgement asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// PUBREL: the client goes on about a publish that is not known here.
    Release,
    /// The client acknowledges by the wrong packet (section 4.3).
    Violation,
}

impl Bus {
    /// Whether anything waits for a connection, if only for its turn. A connection is told of what comes after it asked.
    pub(crate) fn has_deliveries(&mut self, handle: Handle) -> bool {
        let Some(state) = self.session_mut(handle) else { return false };
        state.woken = false;
        state.outbox.has_any() || !state.replays.is_empty()
    }

    /// What is to be sent next on a connection.
    pub(crate) fn poll_next(
        &mut self,
        handle: Handle,
        now: Stamp,
        durable: &mut dyn Durable,
    ) -> Option<Next> {
        loop {
            let fenced = self.fenced;
            let mut expired = 0;
            let state = self.session_mut(handle)?;
            state.woken = false;
            let (client_id, kept) = (&state.client_id, state.is_kept());
            let next = state.outbox.poll(fenced, now.mono_ms, |outgoing| {
                expired += 1;
                if kept && outgoing.qos > 0 {
                    durable.delete(Key::Outgoing(client_id, outgoing.number()).encode());
                }
            });
            state.full &= next.is_none() && state.outbox.queue_len() > 0;
            let replay = next.is_none() && state.can_replay();
            self.undelivered.expired += expired;
            if !(replay && self.replay(handle, now, durable)) {
                return next;
            }
        }
    }

    /// A delivery could not be sent, since the client may not read it, or its packet is larger than the client takes
    /// (section 3.1.2.11.4): it is done. `is_loss` says whether that counts.
    pub(crate) fn discard(
        &mut self,
        handle: Handle,
        packet_id: u16,
        is_loss: bool,
        durable: &mut dyn Durable,
    ) {
        self.undelivered.dropped += u64::from(is_loss);
        let Some(state) = self.session_mut(handle) else { return };
        let number = state.outbox.discard(packet_id);
        if let Some(number) = number.filter(|_| state.is_kept()) {
            durable.delete(Key::Outgoing(&state.client_id, number).encode());
        }
    }

    /// PUBACK, PUBREC or PUBCOMP came for a delivery.
    pub(crate) fn acknowledge(
        &mut self,
        handle: Handle,
        kind: AckKind,
        packet_id: u16,
        reason: u8,
        durable: &mut dyn Durable,
    ) -> Answer {
        let next_fence = self.fence;
        let Some(state) = self.session_mut(handle) else { return Answer::None };
        let (client_id, kept) = (&state.client_id, state.is_kept());
        let received = kind == AckKind::Rec && reason < 0x80;
        let fence = if kept { next_fence } else { 0 };
        let acked = match kind {
            AckKind::Rec if received => state.outbox.receive(packet_id, fence),
            AckKind::Rec => state.outbox.acknowledge(packet_id, 2),
            AckKind::Comp => state.outbox.complete(packet_id),
            AckKind::Ack | AckKind::Rel => state.outbox.acknowledge(packet_id, 1),
        };
        let number = match acked {
            Acked::Number(number) => number,
            Acked::Released => return Answer::None,
            Acked::Unknown if received => return Answer::Release,
            Acked::Unknown => return Answer::None,
            Acked::WrongKind => return Answer::Violation,
        };
        if !kept {
            return Answer::None;
        }
        let outgoing = Key::Outgoing(client_id, number).encode();
        let released = Key::Released(client_id, number).encode();
        if received {
            durable.delete(outgoing);
            durable.insert(released, Vec::new());
            self.wait_for_fence(handle.session);
        } else {
            durable.delete(if kind == AckKind::Comp { released } else { outgoing });
        }
        Answer::None
    }

    /// Whether a publish of QoS 2 with this packet id was received and not released.
    pub(crate) fn is_received(&self, handle: Handle, packet_id: u16) -> bool {
        self.session(handle).is_some_and(|state| state.received.contains(&packet_id))
    }

    /// How many publishes of QoS 2 were received and not released.
    pub(crate) fn received_len(&self, handle: Handle) -> usize {
        self.session(handle).map_or(0, |state| state.received.len())
    }

    /// A publish of QoS 2 was received, for the first time or again. That it is stored twice does no harm; and once
    /// the second is durable, the first is. True if it is stored: the session outlives its connection.
    pub(crate) fn receive(&mut self, handle: Handle, packet_id: u16, durable: &mut dyn Durable) -> bool {
        let Some(state) = self.session_mut(handle) else { return false };
        state.received.insert(packet_id);
        let stored = state.is_kept();
        if stored {
            durable.put(Key::Received(&state.client_id, packet_id).encode(), Vec::new());
        }
        stored
    }

    /// PUBREL came. Also where the packet id is not known: the deletion of an earlier connection may not be durable yet,
    /// and PUBCOMP waits for it.
    pub(crate) fn release(&mut self, handle: Handle, packet_id: u16, durable: &mut dyn Durable) {
        let Some(state) = self.session_mut(handle) else { return };
        state.received.remove(&packet_id);
        if state.is_kept() {
            durable.delete(Key::Received(&state.client_id, packet_id).encode());
        }
    }
}
