//! What consumers do: they come and go, read, acknowledge, and start over; and the rows that are loaded for them.

use super::counters::Reason;
use super::drain::{Pick, Share};
use super::gaps::GapRow;
use super::lane::Stream;
use super::plan::{Damage, Load, Loaded};
use super::{Policy, Search};
use crate::gap::GapReason;
use crate::incident::Incident;
use crate::record::{ConsumerId, Priority, Record, Stamp, bit, bits};
use crate::spool::ReadOutcome;

impl Policy {
    /// Hands out the consumer's next records.
    pub(crate) fn read(
        &mut self,
        consumer: ConsumerId,
        (max_records, max_bytes): (usize, usize),
        now: Stamp,
        out: &mut Vec<Record>,
    ) -> ReadOutcome {
        let mut outcome = ReadOutcome::default();
        let index = usize::from(consumer.0);
        let Some(reading) = self.readings.get_mut(index).filter(|_| self.online & bit(consumer) != 0) else {
            return outcome;
        };
        reading.share.refill(now.mono_ms);
        let (before, mut bytes_left) = (out.len(), max_bytes);
        while out.len() - before < max_records {
            let (Some(lanes), Some(reading)) =
                (self.lanes.get(index * 3..index * 3 + 3), self.readings.get_mut(index))
            else {
                break;
            };
            let Some(pick) = reading.pick(lanes, &self.memory) else {
                self.hungry |= bit(consumer);
                outcome.again_in_ms = reading.again_in_ms(lanes, &self.memory);
                break;
            };
            let most = max_records - (out.len() - before);
            let may_exceed = out.len() == before;
            if !self.read_stream(index, pick, (most, &mut bytes_left, may_exceed), now, out) {
                break;
            }
        }
        outcome.records = out.len() - before;
        outcome
    }

    /// Reads one record of the stream, or as many as there are when nothing else waits; whether the bytes sufficed.
    fn read_stream(
        &mut self,
        index: usize,
        pick: Pick,
        (most, bytes_left, mut may_exceed): (usize, &mut usize, bool),
        now: Stamp,
        out: &mut Vec<Record>,
    ) -> bool {
        let at = index * 3 + pick.rank;
        let (Some(lane), Some(reading)) = (self.lanes.get_mut(at), self.readings.get_mut(index)) else {
            return false;
        };
        let max_age_ms = self.keeps.get(index).map_or(u64::MAX, |keep| keep.max_age_ms);
        let shared = pick.stream == Stream::Backlog && pick.rank > 0 && reading.share != Share::All;
        let most = if pick.alone && !shared { most } else { 1 };
        for _ in 0..most {
            let bytes = lane.next_bytes(pick.stream, &self.memory);
            if !may_exceed && bytes > *bytes_left {
                return false;
            }
            match lane.take(pick.stream, &mut self.memory, now, max_age_ms) {
                Some(Ok(record)) => {
                    *bytes_left = bytes_left.saturating_sub(bytes);
                    may_exceed = false;
                    out.push(record);
                    if shared {
                        reading.share.spend(bytes);
                    }
                }
                Some(Err((reason, record))) => {
                    if reason == Reason::EvictedAge {
                        let wall_ms = record.received.wall_ms;
                        self.gaps.note(GapRow::one(at, GapReason::Age, record.seq, wall_ms));
                    }
                    self.cursor_moved_ms.get_or_insert(now.mono_ms);
                    self.counters_moved_ms.get_or_insert(now.mono_ms);
                }
                None => {}
            }
            if !lane.has_next(pick.stream, &self.memory) {
                break;
            }
        }
        true
    }

    /// The consumer has these records.
    pub(crate) fn ack(&mut self, consumer: ConsumerId, acks: &[(Priority, u64)], now_ms: u64) {
        for (priority, seq) in acks {
            let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, priority.rank())) else { continue };
            lane.settle(&mut self.memory, *seq, Reason::Acked);
            if lane.is_on_disk() {
                self.cursor_moved_ms.get_or_insert(now_ms);
            }
        }
        self.counters_moved_ms.get_or_insert(now_ms);
        // Room in the window of the backlog.
        let reading = self.readings.get(usize::from(consumer.0));
        if self.hungry & bit(consumer) != 0
            && reading.is_some_and(|reading| matches!(reading.share, Share::InFlight(_)))
        {
            self.tell_readable(bit(consumer));
        }
    }

    /// The consumer's connection was lost.
    pub(crate) fn rewind(&mut self, consumer: ConsumerId) {
        for rank in 0..3 {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.rewind(&mut self.memory);
            }
        }
        self.tell_readable(bit(consumer));
    }

    /// Whether the consumer is there to read.
    pub(crate) fn set_online(&mut self, consumer: ConsumerId, online: bool) {
        let mask = bit(consumer) & self.registered;
        if online {
            self.online |= mask;
            self.tell_readable(mask);
            return;
        }
        self.online &= !mask;
        self.urgent = true;
        for rank in 0..3 {
            if let Some(lane) = self.lanes.get_mut(Self::lane_at(consumer, rank)) {
                lane.unload();
            }
        }
    }

    /// Tells the consumers of the mask that have something to read, and wait for it.
    pub(super) fn tell_readable(&mut self, mask: u64) {
        for consumer in bits(mask & self.online) {
            let index = usize::from(consumer.0);
            let lanes = self.lanes.get(index * 3..index * 3 + 3).unwrap_or_default();
            if self.readings.get(index).is_some_and(|reading| reading.can_pick(lanes, &self.memory)) {
                self.events.readable |= bit(consumer);
            }
        }
    }

    /// The next row that a lane needs; lanes take turns, high priority first.
    pub(crate) fn poll_load(&mut self) -> Option<Load> {
        let count = self.lanes.len();
        for rank in 0..3 {
            for step in 0..count / 3 {
                let consumer = (self.loads_after + 1 + step) % (count / 3).max(1);
                let at = consumer * 3 + rank;
                if let Some(load) = self.load(at, rank) {
                    self.loads_after = consumer;
                    return Some(load);
                }
            }
        }
        None
    }

    /// Whether `poll_load` would give something.
    pub(crate) fn wants_load(&self) -> bool {
        self.lanes.iter().any(|lane| lane.wants_load() && self.online & lane.bit != 0)
    }

    fn load(&mut self, at: usize, rank: usize) -> Option<Load> {
        let priority = Priority::ALL.get(rank).copied()?;
        let lane = self.lanes.get_mut(at)?;
        if !lane.wants_load() || self.online & lane.bit == 0 {
            return None;
        }
        let Some(want) = lane.want() else {
            self.settle_missing(at);
            return None;
        };
        lane.loading = true;
        let (generation, consumer_bit) = (lane.generation, lane.bit);
        Some(Load { lane: at, generation, consumer_bit, priority, want })
    }

    /// Records that are counted and were not found are looked for once, in every page of the database: damage can hide
    /// rows from the tree and leave it a tree. What is missing then is lost.
    fn settle_missing(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let records = lane.missing();
        match self.search {
            Search::Idle if records > 0 => {
                self.search = Search::Due;
                return;
            }
            Search::Due | Search::Running if records > 0 => return,
            _ => {}
        }
        lane.write_off_missing();
        if records > 0 {
            self.events.incidents.push(Incident::RecordsMissing { records });
        }
    }

    /// Whether the database is to be salvaged now, for records that were not found.
    pub(crate) fn poll_search(&mut self) -> bool {
        let is_due = self.search == Search::Due;
        if is_due {
            self.search = Search::Running;
        }
        is_due
    }

    /// The reader's answer.
    pub(crate) fn handle_loaded(&mut self, load: &Load, loaded: Loaded) {
        let Some(lane) = self.lanes.get_mut(load.lane).filter(|lane| lane.generation == load.generation)
        else {
            return;
        };
        self.disk.read_failing &= matches!(loaded, Loaded::Failed { .. });
        lane.loading = false;
        match loaded {
            Loaded::Row { first_seq, records } => {
                lane.handle_loaded(load.want, first_seq, records);
                self.settle_missing(load.lane);
            }
            Loaded::End => {
                lane.handle_end(load.want);
                self.settle_missing(load.lane);
            }
            Loaded::Damaged { first_seq, cause } => {
                lane.loading = true;
                self.repairing.push(load.lane);
                self.damage.push(Damage { priority: load.priority, first_seq, cause });
            }
            Loaded::Failed { message } => {
                if !std::mem::replace(&mut self.disk.read_failing, true) {
                    self.events.incidents.push(Incident::ReadFailed { message });
                }
            }
        }
        self.tell_readable(load.consumer_bit & self.hungry);
    }
}
