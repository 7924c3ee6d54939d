//! What is appended, as the oracle knows it.

use std::fmt;

use bytes::Bytes;
use tidegate_buffer::{Priority, Record};
use tidegate_oracle::Event;

use crate::rng::Rng;

/// A record: its lane at every consumer, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The lane.
    pub priority: Priority,
    /// The number.
    pub seq: u64,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:x}", self.priority, self.seq)
    }
}

impl Event for Item {
    type Line = Priority;

    fn line(&self) -> Priority {
        self.priority
    }
}

/// The opaque parts of a record.
#[derive(Debug, Clone)]
pub struct Body {
    /// As the record has it.
    pub topic: Bytes,
    /// As the record has it.
    pub meta: Bytes,
    /// As the record has it.
    pub payload: Bytes,
}

impl Body {
    /// One with a payload of so many bytes; half of them text that compresses, as an event would be.
    pub fn new(seq: u64, payload_bytes: usize, rng: &mut Rng) -> Self {
        let mut payload = format!(r#"{{"seq":{seq},"value":"#).into_bytes();
        let noise = rng.bytes(payload_bytes / 2);
        payload.extend(noise);
        payload.resize(payload.len() + payload_bytes / 2, b'0');
        let meta = if rng.percent(20) { rng.bytes(8) } else { Vec::new() };
        Self {
            topic: format!("plant/{}/temperature", rng.pick(0..5)).into(),
            meta: meta.into(),
            payload: payload.into(),
        }
    }

    /// All that must come out as it went in.
    pub fn content(&self) -> Vec<u8> {
        content(&self.topic, &self.meta, &self.payload)
    }
}

/// The name and the content of a record that was read.
pub fn read(record: &Record) -> (Item, Vec<u8>) {
    let item = Item { priority: record.priority, seq: record.seq };
    (item, content(&record.topic, &record.meta, &record.payload))
}

fn content(topic: &[u8], meta: &[u8], payload: &[u8]) -> Vec<u8> {
    [topic, meta, payload]
        .iter()
        .flat_map(|part| [&(part.len() as u64).to_le_bytes()[..], part].concat())
        .collect()
}
