//! The uplink's window: what was sent and is not acknowledged by the cloud yet, by packet id.
//!
//! It numbers packets itself, so that what an acknowledgement means is never a guess. An acknowledgement of something
//! that is not in flight means that the two sides disagree; then nothing may be taken for acknowledged, and the
//! connection has to go.

use std::collections::HashMap;

/// What is in flight on one connection; `T` says which record a packet is.
#[derive(Debug)]
pub(crate) struct Window<T> {
    size: usize,
    sent: HashMap<u16, T>,
    next: u16,
    /// When the cloud last acknowledged something, or when the window stopped being empty.
    heard_ms: u64,
}

/// The cloud acknowledged what is not in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet {0} was acknowledged but is not in flight")]
pub(crate) struct NotInFlight(u16);

impl<T> Window<T> {
    /// A window for `size` packets, at most 65,535.
    pub(crate) fn new(size: u16) -> Self {
        Window { size: size.into(), sent: HashMap::new(), next: 1, heard_ms: 0 }
    }

    /// How many more packets may be sent.
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.sent.len())
    }

    /// A record is sent; gives its packet id, which is none of those in flight. To be called with room only.
    pub(crate) fn handle_sent(&mut self, record: T, now_ms: u64) -> u16 {
        if self.sent.is_empty() {
            self.heard_ms = now_ms;
        }
        let mut packet_id = self.next;
        while self.sent.contains_key(&packet_id) {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
        }
        self.next = packet_id.checked_add(1).unwrap_or(1);
        self.sent.insert(packet_id, record);
        packet_id
    }

    /// The cloud has acknowledged a packet.
    pub(crate) fn handle_acknowledged(&mut self, packet_id: u16, now_ms: u64) -> Result<T, NotInFlight> {
        self.heard_ms = now_ms;
        self.sent.remove(&packet_id).ok_or(NotInFlight(packet_id))
    }

    /// When the connection is to be given up if nothing is acknowledged until then; `None` with nothing in flight.
    pub(crate) fn deadline_ms(&self, ack_timeout_ms: u64) -> Option<u64> {
        (!self.sent.is_empty()).then_some(self.heard_ms + ack_timeout_ms)
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
        assert_eq!((ids, window.room()), ([1, 2, 3], 0));
        assert_eq!(window.handle_acknowledged(2, 5), Ok("b"));
        assert_eq!(window.room(), 1);
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

    proptest! {
        /// Whatever order the cloud acknowledges in, each record comes back once, and the window is never exceeded.
        #[test]
        fn every_record_comes_back_once(size in 1u16..50, picks in proptest::collection::vec(any::<usize>(), 0..400)) {
            let mut window = Window::new(size);
            let (mut next, mut in_flight, mut done) = (0u32, Vec::new(), Vec::new());
            for pick in picks {
                if window.room() > 0 && (pick % 2 == 0 || in_flight.is_empty()) {
                    in_flight.push((window.handle_sent(next, 0), next));
                    next += 1;
                } else {
                    let (packet_id, record) = in_flight.swap_remove(pick % in_flight.len());
                    prop_assert_eq!(window.handle_acknowledged(packet_id, 0), Ok(record));
                    done.push(record);
                }
                prop_assert!(in_flight.len() <= usize::from(size));
                prop_assert_eq!(window.room(), usize::from(size) - in_flight.len());
            }
            done.sort_unstable();
            done.dedup();
            prop_assert_eq!(done.len() + in_flight.len(), next as usize);
        }
    }
}
