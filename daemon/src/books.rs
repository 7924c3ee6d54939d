//! What the gateway counts of its own doing: the part of the books that the spool does not keep.

use std::cell::Cell;
use std::sync::Arc;

use crate::bus::Undelivered;
use crate::moderation::Load;

/// Counters of one run.
#[derive(Debug, Default)]
pub(crate) struct Books {
    load: Arc<Load>,
    unrouted: Cell<u64>,
    refused: Cell<u64>,
    local_dropped: Cell<u64>,
    local_expired: Cell<u64>,
    unretained: Cell<u64>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Events accepted from devices.
    pub(crate) received: u64,
    /// Of these, events that no rule and no route asked for.
    pub(crate) unrouted: u64,
    /// Events that the spool could not take; at QoS 1 their devices know.
    pub(crate) refused: u64,
    /// Deliveries to local subscribers that found no room.
    pub(crate) local_dropped: u64,
    /// Deliveries to local subscribers that expired while they waited.
    pub(crate) local_expired: u64,
    /// Events that were to be retained and were not, for want of room.
    pub(crate) unretained: u64,
}

impl Books {
    pub(crate) fn new(load: Arc<Load>) -> Self {
        Books { load, ..Books::default() }
    }

    pub(crate) fn received(&self, routed: bool) {
        self.load.note_received();
        if !routed {
            self.unrouted.set(self.unrouted.get() + 1);
        }
    }

    /// A device has waited so long for an acknowledgement.
    pub(crate) fn waited(&self, wait_ms: u64) {
        self.load.note_wait(wait_ms);
    }

    pub(crate) fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    pub(crate) fn undelivered(&self, count: Undelivered) {
        self.local_dropped.set(self.local_dropped.get() + count.dropped);
        self.local_expired.set(self.local_expired.get() + count.expired);
        self.unretained.set(self.unretained.get() + count.unretained);
    }

    pub(crate) fn counted(&self) -> Counted {
        Counted {
            received: self.load.received(),
            unrouted: self.unrouted.get(),
            refused: self.refused.get(),
            local_dropped: self.local_dropped.get(),
            local_expired: self.local_expired.get(),
            unretained: self.unretained.get(),
        }
    }
}
