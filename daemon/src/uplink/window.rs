//! The uplink's window: what was handed to the wire and is not acknowledged by the cloud yet.
//!
//! The wire numbers publishes by itself and reports each number when the packet is written, in the order in which the
//! publishes were handed over. So the window keeps two things: the handed-over in their order, and what each number
//! stands for. A number that makes no sense means that wire and window disagree; then nothing may be taken for
//! acknowledged, and the connection has to go.

use std::collections::{HashMap, VecDeque};

/// What is in flight on one connection; `T` says which record a publish is.
#[derive(Debug)]
pub(crate) struct Window<T> {
    size: usize,
    handed_over: VecDeque<(T, u8)>,
    sent: HashMap<u16, T>,
    /// When the cloud last acknowledged something, or when the window stopped being empty.
    heard_ms: u64,
}

/// The wire reported a packet id that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Confused {
    /// More packets were written than handed over.
    #[error("packet {0} was written but never handed over")]
    NeverHandedOver(u16),
    /// The number is in flight already.
    #[error("packet id {0} is in flight twice")]
    InUse(u16),
    /// The cloud acknowledged what is not in flight.
    #[error("packet {0} was acknowledged but is not in flight")]
    NotInFlight(u16),
}

impl<T> Window<T> {
    pub(crate) fn new(size: u16) -> Self {
        Window { size: size.into(), handed_over: VecDeque::new(), sent: HashMap::new(), heard_ms: 0 }
    }

    /// How many more publishes may be handed over.
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.handed_over.len() + self.sent.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handed_over.is_empty() && self.sent.is_empty()
    }

    /// A publish goes to the wire.
    pub(crate) fn handle_handed_over(&mut self, record: T, qos: u8, now_ms: u64) {
        if self.is_empty() {
            self.heard_ms = now_ms;
        }
        self.handed_over.push_back((record, qos));
    }

    /// The wire has written the next publish. At QoS 0 that is all that will be heard of it: it is returned as done.
    pub(crate) fn handle_sent(&mut self, packet_id: u16) -> Result<Option<T>, Confused> {
        let (record, qos) = self.handed_over.pop_front().ok_or(Confused::NeverHandedOver(packet_id))?;
        if qos == 0 {
            return Ok(Some(record));
        }
        match self.sent.insert(packet_id, record) {
            None => Ok(None),
            Some(_) => Err(Confused::InUse(packet_id)),
        }
    }

    /// The cloud has acknowledged a packet.
    pub(crate) fn handle_acknowledged(&mut self, packet_id: u16, now_ms: u64) -> Result<T, Confused> {
        self.heard_ms = now_ms;
        self.sent.remove(&packet_id).ok_or(Confused::NotInFlight(packet_id))
    }

    /// When the connection is to be given up if nothing is acknowledged until then; `None` with nothing in flight.
    pub(crate) fn deadline_ms(&self, ack_timeout_ms: u64) -> Option<u64> {
        (!self.is_empty()).then_some(self.heard_ms + ack_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Confused, Window};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn acknowledgements_find_their_record_in_any_order() {
        let mut window = Window::new(3);
        for record in ["a", "b", "c"] {
            window.handle_handed_over(record, 1, 0);
        }
        assert_eq!(window.room(), 0);
        for packet_id in [1, 2, 3] {
            assert_eq!(window.handle_sent(packet_id), Ok(None));
        }
        assert_eq!(window.handle_acknowledged(2, 5), Ok("b"));
        assert_eq!(window.room(), 1);
        assert_eq!(window.handle_acknowledged(3, 5), Ok("c"));
        assert_eq!(window.handle_acknowledged(1, 5), Ok("a"));
        assert!(window.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let mut window = Window::new(3);
        assert_eq!(window.handle_sent(1), Err(Confused::NeverHandedOver(1)));
        assert_eq!(window.handle_acknowledged(1, 0), Err(Confused::NotInFlight(1)));
        window.handle_handed_over("a", 1, 0);
        window.handle_handed_over("b", 1, 0);
        assert_eq!(window.handle_sent(7), Ok(None));
        assert_eq!(window.handle_sent(7), Err(Confused::InUse(7)));
    }

    #[test]
    fn at_qos_0_written_is_done() {
        let mut window = Window::new(3);
        window.handle_handed_over("a", 0, 0);
        assert_eq!(window.handle_sent(0), Ok(Some("a")));
        assert!(window.is_empty());
    }

    #[test]
    fn the_deadline_runs_from_the_last_acknowledgement() {
        let mut window = Window::new(3);
        assert_eq!(window.deadline_ms(100), None);
        window.handle_handed_over("a", 1, 1000);
        window.handle_handed_over("b", 1, 1050);
        assert_eq!(window.deadline_ms(100), Some(1100));
        window.handle_sent(1).unwrap();
        window.handle_acknowledged(1, 1090).unwrap();
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
                    let packet_id = u16::try_from(next % 60_000).unwrap() + 1;
                    window.handle_handed_over(next, 1, 0);
                    prop_assert_eq!(window.handle_sent(packet_id), Ok(None));
                    in_flight.push((packet_id, next));
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
