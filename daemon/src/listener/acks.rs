//! Acknowledgements in order of arrival: each waits for its receipt, and for all before it.

use std::collections::VecDeque;

/// The acknowledgements a session owes.
#[derive(Default)]
pub(super) struct Acks {
    owed: VecDeque<Owed>,
    /// The receipt number of the front.
    front: u32,
}

struct Owed {
    packet_id: u16,
    /// The reason to send, once it is known.
    reason: Option<u8>,
}

impl Acks {
    /// How many publishes are not acknowledged yet.
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// A publish was taken; returns the number under which its receipt will come.
    pub(super) fn expect(&mut self, packet_id: u16) -> u32 {
        self.push(packet_id, None)
    }

    /// A publish was refused; the answer keeps its place in the order.
    pub(super) fn refuse(&mut self, packet_id: u16, reason: u8) {
        self.push(packet_id, Some(reason));
    }

    /// The receipt came. One that is not owed any more is ignored.
    pub(super) fn resolve(&mut self, receipt: u32) {
        let index = receipt.wrapping_sub(self.front);
        let owed = usize::try_from(index).ok().and_then(|index| self.owed.get_mut(index));
        if let Some(owed) = owed {
            owed.reason = Some(0);
        }
    }

    /// The next acknowledgement whose turn has come: packet id and reason.
    pub(super) fn poll(&mut self) -> Option<(u16, u8)> {
        let front = self.owed.front()?;
        let ready = (front.packet_id, front.reason?);
        self.owed.pop_front();
        self.front = self.front.wrapping_add(1);
        if self.owed.is_empty() && self.owed.capacity() > 16 {
            self.owed = VecDeque::new();
        }
        Some(ready)
    }

    fn push(&mut self, packet_id: u16, reason: Option<u8>) -> u32 {
        // A session owes at most Receive Maximum (a u16) acknowledgements, so the count fits.
        let offset = u32::try_from(self.owed.len()).unwrap_or(u32::MAX);
        self.owed.push_back(Owed { packet_id, reason });
        self.front.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::Acks;

    fn drain(acks: &mut Acks) -> Vec<(u16, u8)> {
        std::iter::from_fn(|| acks.poll()).collect()
    }

    #[test]
    fn leave_in_order_of_arrival_whatever_the_order_of_receipts() {
        let mut acks = Acks::default();
        let receipts: Vec<u32> = (10..14).map(|packet_id| acks.expect(packet_id)).collect();
        acks.resolve(receipts[2]);
        acks.resolve(receipts[1]);
        assert_eq!(drain(&mut acks), []);
        acks.resolve(receipts[0]);
        assert_eq!(drain(&mut acks), [(10, 0), (11, 0), (12, 0)]);
        assert_eq!(acks.len(), 1);
    }

    #[test]
    fn a_refusal_keeps_its_place() {
        let mut acks = Acks::default();
        let first = acks.expect(1);
        acks.refuse(2, 0x97);
        assert_eq!(drain(&mut acks), []);
        acks.resolve(first);
        assert_eq!(drain(&mut acks), [(1, 0), (2, 0x97)]);
    }

    #[test]
    fn a_receipt_that_is_not_owed_changes_nothing() {
        let mut acks = Acks::default();
        let first = acks.expect(1);
        acks.resolve(first);
        assert_eq!(drain(&mut acks), [(1, 0)]);
        let second = acks.expect(2);
        acks.resolve(first);
        acks.resolve(second.wrapping_add(1));
        assert_eq!(drain(&mut acks), []);
    }

    #[test]
    fn the_count_wraps_around() {
        let mut acks = Acks { front: u32::MAX, ..Acks::default() };
        let receipts = [acks.expect(1), acks.expect(2)];
        assert_eq!(receipts, [u32::MAX, 0]);
        acks.resolve(receipts[1]);
        acks.resolve(receipts[0]);
        assert_eq!(drain(&mut acks), [(1, 0), (2, 0)]);
    }
}
