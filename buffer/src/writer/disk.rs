//! A full file system is a normal state: the reserve is given up, and from then on the database is bounded by the size
//! that it has, or by half of the reserve if that is more; the other half is for the log. So old rows make room for new ones, or new ones are dropped or refused, as was chosen for `max_bytes`;
//! and what is smaller than a batch (cursors, deletions, quarantine) goes on. Once the file system has room again, the
//! reserve is made again, and the bound is the old one.

use std::time::{Duration, Instant};

use crate::options::WhenFull;
use crate::policy::{Committed, Limits, Plan};
use crate::store::{Reserve, Store, StoreError};

/// How often the file system is asked for room, and the reserve grows.
const STEP_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Disk {
    reserve: Reserve,
    /// As chosen.
    chosen: Limits,
    /// As they are now.
    limits: Limits,
    full: bool,
    stepped: Instant,
}

impl Disk {
    pub(super) fn new(reserve: Reserve, limits: Limits) -> Self {
        Self { reserve, chosen: limits, limits, full: false, stepped: Instant::now() }
    }

    /// How many bytes the database may have now, and whether that is because the file system is full.
    pub(super) fn bound(&self) -> (u64, bool) {
        (self.limits.max_bytes, self.full)
    }

    /// Commits the plan; on a full file system once more, with the room of the reserve, and within the present size.
    pub(super) fn commit(&mut self, store: &mut Store, plan: &Plan) -> Result<Committed, StoreError> {
        match store.commit(plan, &self.limits) {
            Err(error) if error.is_full() && self.give_way(store) => store.commit(plan, &self.limits),
            result => result,
        }
    }

    /// Whether another try may do better.
    fn give_way(&mut self, store: &mut Store) -> bool {
        let gained = self.reserve.give_up();
        let begins = !std::mem::replace(&mut self.full, true);
        drop(store.set_room(false));
        let bytes = store.file_bytes().unwrap_or(self.limits.max_bytes);
        self.limits.max_bytes = bytes.max(self.reserve.bytes() / 2).min(self.chosen.max_bytes);
        gained || begins || self.limits.when_full == WhenFull::EvictOldest
    }

    /// Works on the reserve, at most once a second; whether the bound has changed.
    pub(super) fn step(&mut self, store: &mut Store) -> bool {
        if self.reserve.is_whole() && !self.full {
            return false;
        }
        if self.stepped.elapsed() < STEP_EVERY {
            return false;
        }
        self.stepped = Instant::now();
        if !self.reserve.step() || !self.full {
            return false;
        }
        self.full = false;
        drop(store.set_room(true));
        self.limits = self.chosen;
        true
    }
}
