//! Answers in order of arrival: each waits for its receipt, and for all before it (MQTT 5.0, section 4.6).

use std::collections::VecDeque;

use crate::mqtt::{AckKind, reason};

/// An answer that a session owes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// To a publish, or to a step of its handshake.
    Publish { kind: AckKind, packet_id: u16, reason: u8, words: &'static str },
    /// Any other packet, encoded.
    Packet(Box<[u8]>),
}

impl Ack {
    pub(crate) fn success(kind: AckKind, packet_id: u16) -> Ack {
        Ack::Publish { kind, packet_id, reason: reason::SUCCESS, words: "" }
    }

    fn is_puback(&self) -> bool {
        matches!(self, Ack::Publish { kind: AckKind::Ack, .. })
    }
}

/// The answers a session owes.
#[derive(Default)]
pub(crate) struct Acks {
    owed: VecDeque<Owed>,
    /// The receipt number of the front.
    front: u32,
    publishes: usize,
}

struct Owed {
    ack: Ack,
    ready: bool,
}

impl Acks {
    /// How many answers are owed.
    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    /// How many publishes of QoS 1 are not acknowledged yet.
    pub(crate) fn publishes(&self) -> usize {
        self.publishes
    }

    /// Something was taken; returns the number under which its receipt will come.
    pub(crate) fn expect(&mut self, ack: Ack) -> u32 {
        self.push(ack, false)
    }

    /// Something is answered without a receipt; the answer keeps its place in the order.
    pub(crate) fn answer(&mut self, ack: Ack) {
        self.push(ack, true);
    }

    /// The answer to `receipt`, now that it is known.
    pub(crate) fn amend(&mut self, receipt: u32, packet: Box<[u8]>) {
        let place = self.place(receipt);
        if let Some(owed) = self.owed.get_mut(place) {
            owed.ack = Ack::Packet(packet);
        }
    }

    /// Where it stands among what is owed; beyond that if it is not.
    fn place(&self, receipt: u32) -> usize {
        usize::try_from(receipt.wrapping_sub(self.front)).unwrap_or(usize::MAX)
    }

    /// Whether the answer to `receipt`, which was owed, is given.
    pub(crate) fn is_given(&self, receipt: u32) -> bool {
        self.place(receipt) >= self.owed.len()
    }

    /// The receipt came. One that is not owed any more is ignored.
    pub(crate) fn resolve(&mut self, receipt: u32) {
        let place = self.place(receipt);
        if let Some(owed) = self.owed.get_mut(place) {
            owed.ready = true;
        }
    }

    /// The next answer whose turn has come.
    pub(crate) fn poll(&mut self) -> Option<Ack> {
        let front = self.owed.pop_front_if(|owed| owed.ready)?;
        self.front = self.front.wrapping_add(1);
        self.publishes -= usize::from(front.ack.is_puback());
        if self.owed.is_empty() && self.owed.capacity() > 16 {
            self.owed = VecDeque::new();
        }
        Some(front.ack)
    }

    fn push(&mut self, ack: Ack, ready: bool) -> u32 {
        // The session stops reading long before this many are owed.
        let offset = u32::try_from(self.owed.len()).unwrap_or(u32::MAX);
        self.publishes += usize::from(ack.is_puback());
        self.owed.push_back(Owed { ack, ready });
        self.front.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ack, AckKind, Acks};

    fn puback(packet_id: u16) -> Ack {
        Ack::success(AckKind::Ack, packet_id)
    }

    fn drain(acks: &mut Acks) -> Vec<Ack> {
        std::iter::from_fn(|| acks.poll()).collect()
    }

    #[test]
    fn leave_in_order_of_arrival_whatever_the_order_of_receipts() {
        let mut acks = Acks::default();
        let receipts: Vec<u32> = (10..14).map(|packet_id| acks.expect(puback(packet_id))).collect();
        acks.resolve(receipts[2]);
        acks.resolve(receipts[1]);
        assert_eq!(drain(&mut acks), []);
        acks.resolve(receipts[0]);
        assert_eq!(drain(&mut acks), [puback(10), puback(11), puback(12)]);
        assert_eq!(acks.len(), 1);
    }

    #[test]
    fn an_answer_without_a_receipt_keeps_its_place() {
        let mut acks = Acks::default();
        let first = acks.expect(puback(1));
        let refusal = || Ack::Publish { kind: AckKind::Rec, packet_id: 2, reason: 0x97, words: "why" };
        acks.answer(refusal());
        acks.answer(Ack::Packet([0xd0, 0].into()));
        assert_eq!(drain(&mut acks), []);
        assert_eq!(acks.publishes(), 1, "the one of QoS 1");
        acks.resolve(first);
        assert_eq!(drain(&mut acks), [puback(1), refusal(), Ack::Packet([0xd0, 0].into())]);
    }

    #[test]
    fn a_receipt_that_is_not_owed_changes_nothing() {
        let mut acks = Acks::default();
        let first = acks.expect(puback(1));
        acks.resolve(first);
        assert_eq!(drain(&mut acks), [puback(1)]);
        let second = acks.expect(puback(2));
        acks.resolve(first);
        acks.resolve(second.wrapping_add(1));
        assert_eq!(drain(&mut acks), []);
    }

    #[test]
    fn the_count_wraps_around() {
        let mut acks = Acks { front: u32::MAX, ..Acks::default() };
        let receipts = [acks.expect(puback(1)), acks.expect(puback(2))];
        assert_eq!(receipts, [u32::MAX, 0]);
        acks.resolve(receipts[1]);
        acks.resolve(receipts[0]);
        assert_eq!(drain(&mut acks), [puback(1), puback(2)]);
    }
}
