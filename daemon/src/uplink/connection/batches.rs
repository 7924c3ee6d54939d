//! Events that become batches, on one connection: when they are sent, and what follows a refusal.

use tidegate_buffer::{Record, Stamp};

use super::{Connection, Ended, InFlight, at};
use crate::broker::reason::{self, Verdict};
use crate::uplink::batch::Waiting;

/// What an event in a batch needs beside topic and payload, about; only to know when enough waits.
const FRAME_BYTES: usize = 100;
impl Connection<'_> {
    /// How many more events may be read.
    pub(super) fn room_for_events(&self) -> usize {
        let publishes = self.room();
        let waiting = self.waiting.as_ref();
        waiting.map_or(publishes, |waiting| waiting.room(publishes, self.batch_events_max(waiting)))
    }

    /// The most events of a batch, now.
    fn batch_events_max(&self, waiting: &Waiting<Record>) -> usize {
        let singly = self.memory.singles > 0 || self.memory.suspects.suspects_any();
        if singly { 1 } else { waiting.events_max() }
    }

    /// Has a record wait for others, if events become batches; gives it back otherwise.
    pub(super) fn set_waiting(&mut self, record: Record, now: Stamp) -> Option<Record> {
        let Some(waiting) = &mut self.waiting else { return Some(record) };
        let bytes = bytes(&record);
        waiting.push(record, bytes, now.mono_ms);
        None
    }

    /// Sends the batches that are due, while the window has room.
    pub(super) fn send_batches(&mut self, now: Stamp) {
        while let Some(waiting) = &self.waiting {
            let events_max = self.batch_events_max(waiting);
            let due_ms = waiting.deadline_ms();
            if self.room() == 0 || !self.wire.has_room() {
                return;
            }
            if !waiting.is_due(events_max, now.mono_ms) {
                self.fill_due_ms = [self.fill_due_ms, due_ms].into_iter().flatten().min();
                return;
            }
            let records = self.gather(events_max);
            self.send_batch(records, now);
        }
    }

    /// Writes the next batch; gives what is in it.
    fn gather(&mut self, events_max: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(waiting) = &mut self.waiting else { return records };
        // Room for what stands around the payload.
        let bytes_max = self.packer.packet_bytes_max().saturating_sub(FRAME_BYTES);
        while records.len() < events_max
            && let Some(record) = waiting.pop_within(self.packer.batch_bytes(), bytes_max)
        {
            match self.packer.add(&record, &self.uplink.settings.topic) {
                Ok(()) => records.push(record),
                Err(cause) => self.uplink.quarantine(&record, &cause),
            }
        }
        self.memory.singles = self.memory.singles.saturating_sub(records.len());
        records
    }

    fn send_batch(&mut self, records: Vec<Record>, now: Stamp) {
        let (window, mut records) = (&mut self.window, Some(records));
        let number = || window.handle_sent(InFlight::Batch(records.take().unwrap_or_default()), now.mono_ms);
        let sent = self.packer.send_batch(&mut self.wire, number);
        let left = records.unwrap_or_default();
        match sent {
            None => {}
            Some(Ok(sent)) => {
                self.pace.spend(sent.bytes);
                self.keep_alive.handle_written(now.mono_ms);
                if !sent.is_acknowledged {
                    self.keep_alive.handle_doubt(now.mono_ms);
                    self.acknowledged.extend(left.iter().map(at));
                }
            }
            Some(Err(cause)) => self.handle_oversize(left, &cause, now),
        }
    }

    /// A batch is larger than the cloud takes, since its events were estimated too low. One by one it shows which is too large.
    fn handle_oversize(&mut self, records: Vec<Record>, cause: &str, now: Stamp) {
        match (records.as_slice(), &mut self.waiting) {
            ([record], _) => self.uplink.quarantine(record, cause),
            (_, None) => {}
            (_, Some(waiting)) => {
                self.memory.singles += records.len();
                for record in records.into_iter().rev() {
                    let bytes = bytes(&record);
                    waiting.push_front(record, bytes, now.mono_ms);
                }
            }
        }
    }

    /// Of several events nobody knows which was meant, so all that is in flight is sent again one by one.
    pub(super) fn handle_verdict_of_batch(
        &mut self,
        mut records: Vec<Record>,
        code: u8,
    ) -> Result<(), Ended> {
        match reason::of_publish(code) {
            Verdict::Later => return Err(Ended::Refused(code)),
            Verdict::SetAside | Verdict::Retry if records.len() > 1 => {
                let in_flight = self.window.take_all().iter().map(InFlight::events).sum::<usize>();
                self.memory.singles = records.len() + in_flight;
                return Err(Ended::Batch(code));
            }
            _ => {}
        }
        records.drain(..).try_for_each(|record| self.handle_verdict_of_event(record, code))
    }
}

impl InFlight {
    /// How many events it is.
    fn events(&self) -> usize {
        match self {
            InFlight::Event(_) => 1,
            InFlight::Batch(records) => records.len(),
            InFlight::Status | InFlight::Answer(_) => 0,
        }
    }
}

/// About what a record takes in a batch.
fn bytes(record: &Record) -> usize {
    record.topic.len() + record.payload.len() + FRAME_BYTES
}
