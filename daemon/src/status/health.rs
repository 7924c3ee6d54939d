//! Whether the gateway lives, and whether it can keep what it is given.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_buffer::{Admission, Priority, Refusal, Spool};

use crate::clock::Clock;
use crate::sources::Sources;
use crate::uplinks::Uplinks;

/// The spool's writer shows itself once a second; after so long without a sign it hangs.
const SILENCE_MS_MAX: u64 = 10_000;

/// What the gateway is judged by.
pub(crate) struct Health {
    spool: Arc<Spool>,
    uplinks: Rc<Uplinks>,
    sources: Rc<Sources>,
    clock: Clock,
    /// The writer's progress, and when it was seen to move.
    seen: Cell<(u64, u64)>,
}

impl Health {
    pub(crate) fn new(spool: Arc<Spool>, uplinks: Rc<Uplinks>, sources: Rc<Sources>, clock: Clock) -> Health {
        let seen = Cell::new((spool.progress(), clock.now_ms()));
        Health { spool, uplinks, sources, clock, seen }
    }

    /// An error says what hangs; a restart would help.
    pub(super) fn live(&self) -> Result<(), &'static str> {
        let now_ms = self.clock.now_ms();
        let (progress, moved_ms) = self.seen.get();
        let moved = self.spool.progress() != progress;
        if moved {
            self.seen.set((self.spool.progress(), now_ms));
        } else if now_ms.saturating_sub(moved_ms) > SILENCE_MS_MAX {
            return Err("the buffer's writer hangs");
        }
        if self.are_clients_alive() { Ok(()) } else { Err("an uplink or a source hangs") }
    }

    /// Whether each task that is a broker's client has shown itself in time.
    pub(crate) fn are_clients_alive(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.uplinks.are_alive(now_ms) && self.sources.are_alive(now_ms)
    }

    /// An error says why a device's event would be refused now; a restart would not help.
    pub(super) fn ready(&self) -> Result<(), &'static str> {
        match self.spool.admission(Priority::Normal) {
            Admission::Open | Admission::Wait => Ok(()),
            Admission::Refuse(Refusal::DiskFull) => Err("the buffer, or its disk, is full"),
            Admission::Refuse(Refusal::DiskFailing) => {
                Err("the disk fails, or is full: it does not take what is to be stored")
            }
        }
    }
}
