//! The uplink's window: what was sent and is not acknowledged by the cloud yet, by packet id.
//!
//! It numbers packets itself, so that what an acknowledgement means is never a guess. An acknowledgement of something
//! that is not in flight means that the two sides disagree; then nothing may be taken for acknowledged, and the
//! connection has to go.

use std::collections::{HashMap, VecDeque};

/// What is in flight on one connection; `T` says which record a packet is.
#[derive(Debug)]
pub(crate) struct Window<T> {
    size: usize,
    /// Asked twice for each event, and the numbers are ours: a hash need not be safe from those who choose them.
    sent: HashMap<u16, Flight<T>, foldhash::fast::RandomState>,
    /// Packet ids in the order of sending, with the flight's number; those that are done are passed over when they come
    /// to the front.
    order: VecDeque<(u16, u64)>,
    next_id: u16,
    next_number: u64,
    /// The latest flight that was acknowledged.
    acknowledged: Option<u64>,
    /// When the cloud last acknowledged something, or when the window stopped being empty.
    heard_ms: u64,
    /// How long the last acknowledgement took.
    took_ms: u64,
}

#[derive(Debug)]
struct Flight<T> {
    record: T,
    /// Counts what is sent.
    number: u64,
    sent_ms: u64,
}

/// The cloud acknowledged what is not in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet {0} was acknowledged but is not in flight")]
pub(crate) struct NotInFlight(u16);

impl<T> Window<T> {
    /// A window for `size` packets, at most 65,535.
    pub(crate) fn new(size: u16) -> Self {
        Window {
            size: size.into(),
            sent: HashMap::default(),
            order: VecDeque::new(),
            next_id: 1,
            next_number: 0,
            acknowledged: None,
            heard_ms: 0,
            took_ms: 0,
        }
    }

    /// How many packets may be in flight.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many more packets may be sent.
    #[cfg(any(test, feature = "demo"))]
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.sent.len())
    }

    /// How many packets are in flight.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// A record is sent; gives its packet id, which is none of those in flight. To be called with room only.
    pub(crate) fn handle_sent(&mut self, record: T, now_ms: u64) -> u16 {
        if self.sent.is_empty() {
            self.heard_ms = now_ms;
        }
        let mut packet_id = self.next_id;
        while self.sent.contains_key(&packet_id) {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
        }
        self.next_id = packet_id.checked_add(1).unwrap_or(1);
        let number = self.next_number;
        self.next_number += 1;
        self.order.push_back((packet_id, number));
        self.sent.insert(packet_id, Flight { record, number, sent_ms: now_ms });
        packet_id
    }

    /// The cloud has a packet of QoS 2, and will say once more that it is done with it (PUBREC, section 4.3.3).
    pub(crate) fn handle_received(&mut self, packet_id: u16, now_ms: u64) -> Result<(), NotInFlight> {
        self.heard_ms = now_ms;
        let flight = self.sent.get_mut(&packet_id).ok_or(NotInFlight(packet_id))?;
        flight.sent_ms = now_ms;
        Ok(())
    }

    /// The cloud has acknowledged a packet.
    pub(crate) fn handle_acknowledged(&mut self, packet_id: u16, now_ms: u64) -> Result<T, NotInFlight> {
        self.heard_ms = now_ms;
        let flight = self.sent.remove(&packet_id).ok_or(NotInFlight(packet_id))?;
        self.took_ms = now_ms.saturating_sub(flight.sent_ms);
        self.acknowledged = self.acknowledged.max(Some(flight.number));
        while let Some((packet_id, number)) = self.order.front()
            && self.sent.get(packet_id).is_none_or(|flight| flight.number != *number)
        {
            self.order.pop_front();
        }
        Ok(flight.record)
    }

    /// How long the acknowledgement took that came last; at QoS 2, its second half.
    pub(crate) fn took_ms(&self) -> u64 {
        self.took_ms
    }

    /// When the connection is to be given up if nothing is acknowledged until then; `None` with nothing in flight. A packet
    /// that others have overtaken has no longer than if it were alone.
    pub(crate) fn deadline_ms(&self, ack_timeout_ms: u64) -> Option<u64> {
        let (packet_id, number) = self.order.front()?;
        let overtaken = self.acknowledged.is_some_and(|latest| latest > *number);
        let from_ms = match self.sent.get(packet_id) {
            Some(flight) if overtaken => flight.sent_ms.min(self.heard_ms),
            _ => self.heard_ms,
        };
        Some(from_ms.saturating_add(ack_timeout_ms))
    }

    /// What is in flight, in the order of sending; the window is empty then.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.order.clear();
        let mut flights: Vec<_> = self.sent.drain().map(|(_, flight)| flight).collect();
        flights.sort_unstable_by_key(|flight| flight.number);
        flights.into_iter().map(|flight| flight.record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{NotInFlight, Window};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn acknowledgements_find_their_record_in_any_order() {
        let mut window = Window::new(3);
        let ids = ["a", "b", "c"].map(|record| window.handle_sent(record, 0));
        assert_eq!((ids, window.len()), ([1, 2, 3], 3));
        assert_eq!(window.handle_acknowledged(2, 5), Ok("b"));
        assert_eq!(window.len(), 2);
        assert_eq!(window.handle_acknowledged(3, 5), Ok("c"));
        assert_eq!(window.handle_acknowledged(1, 5), Ok("a"));
        assert_eq!(window.handle_acknowledged(1, 5), Err(NotInFlight(1)));
    }

    #[test]
    fn a_number_in_flight_is_passed_over_when_the_count_comes_round() {
        let mut window = Window::new(10);
        window.handle_sent("stays", 0);
        for _ in 0..65_534 {
            let packet_id = window.handle_sent("goes", 0);
            window.handle_acknowledged(packet_id, 0).unwrap();
        }
        assert_eq!(window.handle_sent("next", 0), 2, "0 is no packet id, and 1 is in flight");
    }

    #[test]
    fn the_deadline_runs_from_the_last_acknowledgement() {
        let mut window = Window::new(3);
        assert_eq!(window.deadline_ms(100), None);
        let first = window.handle_sent("a", 1000);
        window.handle_sent("b", 1050);
        assert_eq!(window.deadline_ms(100), Some(1100));
        window.handle_acknowledged(first, 1090).unwrap();
        assert_eq!(window.deadline_ms(100), Some(1190));
    }

    #[test]
    fn a_packet_that_others_overtake_is_not_waited_for_for_ever() {
        let mut window = Window::new(3);
        let slow = window.handle_sent("slow", 1000);
        for now_ms in [1010, 1020, 1030] {
            let other = window.handle_sent("other", now_ms);
            assert_eq!(window.handle_acknowledged(other, now_ms), Ok("other"));
        }
        assert_eq!(window.deadline_ms(100), Some(1100), "from when it was sent");
        window.handle_received(slow, 1050).unwrap();
        assert_eq!(window.deadline_ms(100), Some(1150), "a PUBREC is a sign of life");
        assert_eq!(window.handle_acknowledged(slow, 1060), Ok("slow"));
        assert_eq!(window.deadline_ms(100), None);
        assert_eq!(window.handle_received(slow, 1070), Err(NotInFlight(slow)));
    }

    #[test]
    fn what_is_left_comes_in_the_order_of_sending() {
        let mut window = Window::new(5);
        let ids = [1, 2, 3, 4, 5].map(|record| window.handle_sent(record, 0));
        window.handle_acknowledged(ids[1], 0).unwrap();
        window.handle_sent(6, 0);
        assert_eq!(window.take_all(), [1, 3, 4, 5, 6]);
        assert_eq!((window.len(), window.deadline_ms(1)), (0, None));
    }

    proptest! {
        /// Whatever order the cloud acknowledges in, each record comes back once, and the window is never exceeded.
        #[test]
        fn every_record_comes_back_once(size in 1u16..50, picks in proptest::collection::vec(any::<usize>(), 0..400)) {
            let mut window = Window::new(size);
            let (mut next, mut in_flight, mut done) = (0u32, Vec::new(), Vec::new());
            for pick in picks {
                if window.len() < window.size() && (pick % 2 == 0 || in_flight.is_empty()) {
                    in_flight.push((window.handle_sent(next, 0), next));
                    next += 1;
                } else {
                    let (packet_id, record) = in_flight.swap_remove(pick % in_flight.len());
                    prop_assert_eq!(window.handle_acknowledged(packet_id, 0), Ok(record));
                    done.push(record);
                }
                prop_assert!(in_flight.len() <= usize::from(size));
                prop_assert_eq!(window.len(), in_flight.len());
            }
            done.sort_unstable();
            done.dedup();
            prop_assert_eq!(done.len() + in_flight.len(), next as usize);
        }
    }
}
