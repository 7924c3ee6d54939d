//! What one session has to be sent: a bounded queue, and the window of what was sent and is not acknowledged.
//!
//! Deliveries of QoS 1 and 2 are numbered. The packet id follows from the number, so that it is the same after a
//! reconnect and after a restart. What was sent and not acknowledged is sent again on the next connection, in its
//! order (MQTT 5.0, section 4.4); what waits for an acknowledgement is never thrown away.

use std::collections::VecDeque;
use std::rc::Rc;

use super::QueueBounds;
use super::event::BusEvent;
use super::shares::ShareId;

/// One delivery to one session.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) event: Rc<BusEvent>,
    /// Its number; 0 at QoS 0.
    pub(super) number: u64,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// The identifiers of the subscriptions that asked for it.
    pub(crate) identifiers: Option<Rc<[u32]>>,
    /// The shared subscription it comes from: then another member may get it in place of this one.
    pub(super) share: Option<ShareId>,
    /// Not to be sent before this fence has passed; 0 for at once.
    pub(super) fence: u64,
}

impl Outgoing {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// What to send next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A publish.
    Publish {
        /// 0 at QoS 0.
        packet_id: u16,
        /// It may have been sent before.
        dup: bool,
        outgoing: Outgoing,
    },
    /// PUBREL.
    Release { packet_id: u16 },
}

/// What an acknowledgement was for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// The delivery with this number.
    Number(u64),
    /// A delivery that was received already: its PUBREL is on its way.
    Released,
    /// Nothing that is known: after a restart of ours a client may well hold one.
    Unknown,
    /// A delivery that has to be acknowledged by another packet.
    WrongKind,
}

#[derive(Debug)]
enum Stage {
    /// Sent on this connection, or on an earlier one; PUBACK or PUBREC is to come.
    Sent(Outgoing),
    /// PUBREC has come; PUBREL leaves once this fence has passed, and PUBCOMP is to come.
    Released { fence: u64 },
}

#[derive(Debug)]
struct Inflight {
    number: u64,
    stage: Stage,
    /// It takes a place of the client's Receive Maximum.
    counted: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    inflight: VecDeque<Inflight>,
    /// From here on, what is in flight has not been sent on this connection.
    resend_at: usize,
    /// PUBRELs to be sent, by number, each behind its fence, in the order of their PUBRECs.
    releases: VecDeque<(u64, u64)>,
    queue: VecDeque<Outgoing>,
    bytes: usize,
    next_number: u64,
    /// The client's Receive Maximum.
    window: u16,
    counted: u16,
}

/// How far apart numbers with the same packet id are.
const PACKET_IDS: u64 = 65_535;

pub(super) fn packet_id(number: u64) -> u16 {
    u16::try_from(number % PACKET_IDS + 1).unwrap_or(u16::MAX)
}

impl Outbox {
    /// Numbers begin with `next_number`.
    pub(super) fn new(next_number: u64) -> Self {
        Outbox { next_number, ..Outbox::default() }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// A connection begins: everything in flight is to be sent again.
    pub(super) fn connect(&mut self, receive_maximum: u16) {
        self.window = receive_maximum;
        self.counted = 0;
        self.resend_at = 0;
        self.releases.clear();
        self.inflight.iter_mut().for_each(|inflight| inflight.counted = false);
    }

    /// A connection has ended. What waits at QoS 0 is not kept; returns how much that was.
    pub(super) fn disconnect(&mut self) -> u64 {
        let before = self.queue.len();
        let bytes = &mut self.bytes;
        self.queue.retain(|outgoing| {
            let keep = outgoing.qos > 0;
            *bytes -= if keep { 0 } else { outgoing.event.cost() };
            keep
        });
        self.shrink();
        u64::try_from(before - self.queue.len()).unwrap_or(u64::MAX)
    }

    /// Whether this event fits.
    pub(super) fn has_room(&self, event: &BusEvent, bounds: QueueBounds) -> bool {
        self.queue.len() < bounds.events_max && self.bytes + event.cost() <= bounds.bytes_max
    }

    /// Adds a delivery at the end; returns its number.
    pub(super) fn push(&mut self, mut outgoing: Outgoing) -> u64 {
        if outgoing.qos > 0 {
            outgoing.number = self.next_number;
            self.next_number += 1;
        }
        let number = outgoing.number;
        self.bytes += outgoing.event.cost();
        self.queue.push_back(outgoing);
        number
    }

    /// Adds what an earlier run has stored; in the order of its numbers. `sent` if it may have been sent.
    pub(super) fn restore(&mut self, outgoing: Outgoing, sent: bool) {
        let number = outgoing.number;
        self.next_number = self.next_number.max(number + 1);
        self.bytes += outgoing.event.cost();
        if sent {
            self.inflight.push_back(Inflight { number, stage: Stage::Sent(outgoing), counted: false });
        } else {
            self.queue.push_back(outgoing);
        }
    }

    /// As [`Outbox::restore`], for what had been received and not completed.
    pub(super) fn restore_released(&mut self, number: u64) {
        self.next_number = self.next_number.max(number + 1);
        let at = self.inflight.partition_point(|inflight| inflight.number < number);
        self.inflight.insert(at, Inflight { number, stage: Stage::Released { fence: 0 }, counted: false });
    }

    pub(super) fn inflight_len(&self) -> usize {
        self.inflight.len()
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// All numbers that are stored for a session that is kept: what waits or was sent, and what was released.
    pub(super) fn numbers(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut outgoing, mut released) = (Vec::new(), Vec::new());
        for inflight in &self.inflight {
            match inflight.stage {
                Stage::Sent(_) => outgoing.push(inflight.number),
                Stage::Released { .. } => released.push(inflight.number),
            }
        }
        outgoing
            .extend(self.queue.iter().filter(|outgoing| outgoing.qos > 0).map(|outgoing| outgoing.number));
        (outgoing, released)
    }

    /// Whether there is anything to be sent, now or later.
    pub(super) fn has_any(&self) -> bool {
        !self.queue.is_empty() || !self.releases.is_empty() || self.resend_at < self.inflight.len()
    }

    /// What is to be sent next. `fenced` is the last fence that has passed. Deliveries that have expired are handed to
    /// `expired` and forgotten; what was sent once does not expire.
    pub(super) fn poll(
        &mut self,
        fenced: u64,
        now_ms: u64,
        mut expired: impl FnMut(&Outgoing),
    ) -> Option<Next> {
        if let Some((number, fence)) = self.releases.front().copied()
            && fence <= fenced
        {
            self.releases.pop_front();
            return Some(Next::Release { packet_id: packet_id(number) });
        }
        if self.resend_at < self.inflight.len() {
            return self.poll_resend(fenced);
        }
        while let Some(outgoing) = self.queue.front() {
            if outgoing.event.is_expired(now_ms) {
                expired(outgoing);
                self.bytes -= outgoing.event.cost();
                self.queue.pop_front();
                continue;
            }
            return self.poll_queue(fenced);
        }
        self.shrink();
        None
    }

    fn poll_resend(&mut self, fenced: u64) -> Option<Next> {
        let window_open = self.window_open();
        let inflight = self.inflight.get_mut(self.resend_at)?;
        let packet_id = packet_id(inflight.number);
        match &inflight.stage {
            Stage::Released { fence } if *fence <= fenced => {
                self.resend_at += 1;
                Some(Next::Release { packet_id })
            }
            Stage::Sent(outgoing) if window_open && outgoing.fence <= fenced => {
                inflight.counted = true;
                self.counted += 1;
                self.resend_at += 1;
                Some(Next::Publish { packet_id, dup: true, outgoing: outgoing.clone() })
            }
            Stage::Sent(_) | Stage::Released { .. } => None,
        }
    }

    fn poll_queue(&mut self, fenced: u64) -> Option<Next> {
        let front = self.queue.front()?;
        if front.qos > 0 && !(self.window_open() && front.fence <= fenced && self.is_free(front.number)) {
            return None;
        }
        let outgoing = self.queue.pop_front()?;
        if outgoing.qos == 0 {
            self.bytes -= outgoing.event.cost();
            return Some(Next::Publish { packet_id: 0, dup: false, outgoing });
        }
        let (number, stage) = (outgoing.number, Stage::Sent(outgoing.clone()));
        self.inflight.push_back(Inflight { number, stage, counted: true });
        self.counted += 1;
        self.resend_at += 1;
        Some(Next::Publish { packet_id: packet_id(number), dup: false, outgoing })
    }

    fn window_open(&self) -> bool {
        self.counted < self.window
    }

    /// Whether nothing in flight has the packet id of this number. Numbers rise, so the oldest decides.
    fn is_free(&self, number: u64) -> bool {
        self.inflight.front().is_none_or(|oldest| number.saturating_sub(oldest.number) < PACKET_IDS)
    }

    /// PUBACK, or PUBREC with a failure: the delivery is done.
    pub(super) fn acknowledge(&mut self, packet_id: u16, qos: u8) -> Acked {
        let Some(at) = self.position(packet_id) else { return Acked::Unknown };
        match self.inflight.get(at).map(|inflight| &inflight.stage) {
            Some(Stage::Sent(outgoing)) if outgoing.qos == qos => {}
            _ => return Acked::WrongKind,
        }
        self.remove(at).map_or(Acked::Unknown, Acked::Number)
    }

    /// The delivery cannot be sent and is done with, whatever its QoS.
    pub(super) fn discard(&mut self, packet_id: u16) -> Option<u64> {
        let at = self.position(packet_id)?;
        self.remove(at)
    }

    /// PUBREC: the client has it. The PUBREL leaves once the fence has passed.
    pub(super) fn receive(&mut self, packet_id: u16, fence: u64) -> Acked {
        let Some(at) = self.position(packet_id) else { return Acked::Unknown };
        let Some(inflight) = self.inflight.get_mut(at) else { return Acked::Unknown };
        match &inflight.stage {
            Stage::Sent(outgoing) if outgoing.qos == 2 => {
                self.bytes -= outgoing.event.cost();
                inflight.stage = Stage::Released { fence };
                let number = inflight.number;
                // What is still to be sent again has its PUBREL then.
                if at < self.resend_at {
                    self.releases.push_back((number, fence));
                }
                Acked::Number(number)
            }
            Stage::Sent(_) => Acked::WrongKind,
            Stage::Released { .. } => Acked::Released,
        }
    }

    /// PUBCOMP.
    pub(super) fn complete(&mut self, packet_id: u16) -> Acked {
        let Some(at) = self.position(packet_id) else { return Acked::Unknown };
        match self.inflight.get(at).map(|inflight| &inflight.stage) {
            Some(Stage::Released { .. }) => self.remove(at).map_or(Acked::Unknown, Acked::Number),
            _ => Acked::WrongKind,
        }
    }

    /// Offers what another member of a shared subscription may get in place of this session, and forgets what was
    /// taken: what was never sent, and of QoS 1 also what was; of QoS 2 that must not be (section 4.8.2).
    pub(super) fn hand_over(&mut self, mut take: impl FnMut(&Outgoing) -> bool) {
        let mut bytes = 0;
        let mut take = |outgoing: &Outgoing| {
            let taken = outgoing.share.is_some() && take(outgoing);
            bytes += if taken { outgoing.event.cost() } else { 0 };
            !taken
        };
        self.inflight.retain(|inflight| match &inflight.stage {
            Stage::Sent(outgoing) if outgoing.qos == 1 => take(outgoing),
            _ => true,
        });
        self.queue.retain(&mut take);
        self.bytes -= bytes;
        self.resend_at = 0;
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        let of = |inflight: &Inflight| self::packet_id(inflight.number);
        self.inflight.iter().position(|inflight| of(inflight) == packet_id)
    }

    fn remove(&mut self, at: usize) -> Option<u64> {
        let inflight = self.inflight.remove(at)?;
        if at < self.resend_at {
            self.resend_at -= 1;
        }
        self.counted -= u16::from(inflight.counted);
        if let Stage::Sent(outgoing) = &inflight.stage {
            self.bytes -= outgoing.event.cost();
        }
        Some(inflight.number)
    }

    fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 16 {
            self.queue = VecDeque::new();
        }
        if self.inflight.is_empty() && self.inflight.capacity() > 16 {
            self.inflight = VecDeque::new();
        }
    }
}
