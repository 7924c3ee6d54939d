//! Finds the event that makes the cloud end the connection, so that it can be set aside and the rest flows.
//!
//! When a connection ends with events in flight, any of them may be the reason, or none, since lines break too. So what is
//! in flight is bounded on the next connection: first the oldest alone, since brokers work in order, then halves, until
//! one event is alone when the connection ends. That is a strike. For its last two strikes an event is held back until the
//! cloud has acknowledged another one on the same connection; only if the connection ends on it even then is it guilty.
//! A cloud that takes nothing at all convicts nobody, nor does one that takes the gateway's own status and no event.
//!
//! A state machine without I/O and without time; `I` names an event.

/// The search, across the connections of an uplink.
#[derive(Debug)]
pub(crate) struct Suspects<I> {
    /// How many strikes an event has; 0 if nothing is ever set aside.
    strikes_max: u8,
    /// What was in flight when the last connection ended, in the order of sending, without what was acknowledged since.
    suspected: Vec<I>,
    /// The oldest of them was alone in flight, and acknowledged.
    oldest_cleared: bool,
    strikes: Vec<(I, Strikes)>,
    /// What is not sent until another event was acknowledged.
    held: Vec<I>,
    /// Something was acknowledged on this connection.
    acknowledged_here: bool,
    /// How many connections have ended since something was acknowledged.
    fruitless: u32,
    /// How many others were acknowledged while there are suspects.
    others: usize,
}

/// How often an event was alone when the connection ended.
#[derive(Debug, Clone, Copy, Default)]
struct Strikes {
    all: u8,
    /// On a connection that had taken another event.
    controlled: u8,
}

/// So many strikes have to be controlled ones: one may be a line that breaks by chance.
const CONTROLLED_MIN: u8 = 2;
/// The most that is held back: a cloud that ends the connection on so many different events is itself the matter.
const HELD_MAX: usize = 16;
/// After so many others were acknowledged, suspects that were not seen again are not waited for.
const OTHERS_MAX: usize = 200;
/// The most events that strikes are kept of.
const STRIKES_MAX: usize = 64;
/// For so many connections in a row a search goes on without ever longer pauses.
const QUICK_ENDS_MAX: u32 = 16;

impl<I: Copy + Eq> Suspects<I> {
    /// Nobody is suspected. An event is guilty after so many strikes, 0 for never.
    pub(crate) fn new(strikes_max: u8) -> Self {
        Suspects {
            strikes_max,
            suspected: Vec::new(),
            oldest_cleared: false,
            strikes: Vec::new(),
            held: Vec::new(),
            acknowledged_here: false,
            fruitless: 0,
            others: 0,
        }
    }

    /// A connection begins.
    pub(crate) fn handle_connected(&mut self) {
        self.acknowledged_here = false;
    }

    /// How many events may be in flight, of a window of `window`.
    pub(crate) fn limit(&self, window: usize) -> usize {
        let limit = match self.suspected.len() {
            _ if !self.held.is_empty() => 1,
            0 => window,
            _ if !self.oldest_cleared => 1,
            count => count.div_ceil(2),
        };
        limit.min(window)
    }

    /// True while an event that may end connections is being looked for: what is in flight together is suspected together.
    pub(crate) fn suspects_any(&self) -> bool {
        !self.suspected.is_empty() || !self.held.is_empty()
    }

    /// True if this event is not to be sent yet.
    pub(crate) fn is_held(&self, event: I) -> bool {
        self.held.contains(&event)
    }

    /// True once what is held back is to be sent, each alone.
    pub(crate) fn tries_held(&self) -> bool {
        self.acknowledged_here && !self.held.is_empty()
    }

    /// True if the next connection may come soon, since the search goes on with it.
    pub(crate) fn is_searching(&self) -> bool {
        self.suspects_any() && self.fruitless <= QUICK_ENDS_MAX
    }

    /// The cloud has this event.
    pub(crate) fn handle_acknowledged(&mut self, event: I) {
        self.acknowledged_here = true;
        self.fruitless = 0;
        if self.suspected.is_empty() && self.strikes.is_empty() {
            return;
        }
        if self.suspected.first() == Some(&event) {
            self.oldest_cleared = true;
        }
        let count = self.suspected.len() + self.held.len();
        self.forget(event);
        self.others = if self.suspected.len() + self.held.len() == count { self.others + 1 } else { 0 };
        if self.others > OTHERS_MAX {
            self.suspected.clear();
            self.held.clear();
            self.others = 0;
        }
    }

    /// This event is not sent any more.
    pub(crate) fn forget(&mut self, event: I) {
        self.suspected.retain(|other| *other != event);
        self.strikes.retain(|(other, _)| *other != event);
        self.held.retain(|other| *other != event);
    }

    /// The cloud, or the line, has ended the connection with these events in flight, in the order of sending. The result is
    /// the guilty one.
    pub(crate) fn handle_ended(&mut self, in_flight: &[I]) -> Option<I> {
        self.fruitless = self.fruitless.saturating_add(1);
        match in_flight {
            _ if self.strikes_max == 0 => None,
            [] => None,
            [event] => self.strike(*event),
            several => {
                // The first time the oldest is tried; after that it is one of these, wherever it stands.
                self.oldest_cleared = !self.suspected.is_empty();
                self.suspected = several.to_vec();
                None
            }
        }
    }

    /// The cloud has refused this event for a reason that may pass. The result is the event if it is guilty.
    pub(crate) fn handle_refused(&mut self, event: I) -> Option<I> {
        if self.strikes_max == 0 { None } else { self.strike(event) }
    }

    fn strike(&mut self, event: I) -> Option<I> {
        self.suspected.clear();
        let strikes = self.count_strike(event);
        let wanted = CONTROLLED_MIN.min(self.strikes_max).saturating_sub(strikes.controlled);
        if wanted == 0 && strikes.all >= self.strikes_max {
            self.forget(event);
            return Some(event);
        }
        if strikes.all.saturating_add(wanted) < self.strikes_max {
            // Alone again.
            self.suspected.push(event);
            self.oldest_cleared = false;
        } else if !self.held.contains(&event) {
            self.held.push(event);
        }
        if self.held.len() > HELD_MAX {
            self.held.clear();
            self.strikes.clear();
        }
        None
    }

    fn count_strike(&mut self, event: I) -> Strikes {
        let known = self.strikes.iter().position(|(other, _)| *other == event);
        let before = known.map_or(Strikes::default(), |place| self.strikes.remove(place).1);
        let strikes = Strikes {
            all: before.all.saturating_add(1),
            controlled: before.controlled.saturating_add(u8::from(self.acknowledged_here)),
        };
        self.strikes.drain(..(self.strikes.len() + 1).saturating_sub(STRIKES_MAX));
        self.strikes.push((event, strikes));
        strikes
    }
}

#[cfg(test)]
mod tests;
