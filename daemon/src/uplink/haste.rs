//! When the next connection may come at once: to a cloud that is there, and ends connections on events that it does not survive.
//!
//! The pauses between connections keep a fleet that has lost its cloud from coming back in step. Where an event was found to
//! be guilty not long ago, the next end is most likely of such an event too, and each is found by several connections. Those come
//! without a pause as long as the events that the cloud has acknowledged pay for them, so that connections stay few beside events.
//!
//! A state machine without I/O and without time.

/// What a connection costs, in acknowledged events.
const COST: u32 = 100;
/// The most that is saved up: what it takes to find some guilty events that stand close together.
const SAVED_MAX: u32 = 32 * COST;
/// After so many acknowledged events the last guilty one says nothing of the next end.
const RECENT: u32 = 10_000;

/// What was paid for.
#[derive(Debug, Default)]
pub(crate) struct Haste {
    saved: u32,
    since_guilty: Option<u32>,
}

impl Haste {
    /// The cloud has acknowledged an event.
    pub(crate) fn handle_acknowledged(&mut self) {
        if let Some(since) = &mut self.since_guilty {
            *since += 1;
            self.saved = (self.saved + 1).min(SAVED_MAX);
            if *since > RECENT {
                *self = Self::default();
            }
        }
    }

    /// An event was found that the cloud does not survive.
    pub(crate) fn handle_guilty(&mut self) {
        self.since_guilty = Some(0);
    }

    /// A connection has ended. True if the next is paid for.
    pub(crate) fn handle_ended(&mut self) -> bool {
        let left = self.saved.checked_sub(COST);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{COST, Haste, RECENT, SAVED_MAX};

    fn acknowledge(haste: &mut Haste, events: u32) {
        (0..events).for_each(|_| haste.handle_acknowledged());
    }

    #[test]
    fn a_line_that_breaks_is_no_reason_for_haste() {
        let mut haste = Haste::default();
        acknowledge(&mut haste, 10 * COST);
        assert!(!haste.handle_ended(), "nobody was found guilty");
    }

    #[test]
    fn connections_are_paid_for_by_events() {
        let mut haste = Haste::default();
        haste.handle_guilty();
        assert!(!haste.handle_ended());
        acknowledge(&mut haste, 2 * COST + COST / 2);
        assert_eq!([0; 3].map(|_| haste.handle_ended()), [true, true, false]);
        acknowledge(&mut haste, COST / 2);
        assert!(haste.handle_ended());
        acknowledge(&mut haste, 2 * SAVED_MAX);
        let paid = (0..).take_while(|_| haste.handle_ended()).count();
        assert_eq!(paid, 32, "no more is saved up");
    }

    #[test]
    fn what_is_long_ago_counts_no_more() {
        let mut haste = Haste::default();
        haste.handle_guilty();
        acknowledge(&mut haste, RECENT + 1);
        assert!(!haste.handle_ended());
        haste.handle_guilty();
        acknowledge(&mut haste, RECENT - 1);
        haste.handle_guilty();
        acknowledge(&mut haste, RECENT - 1);
        assert!(haste.handle_ended(), "another was found meanwhile");
    }
}
