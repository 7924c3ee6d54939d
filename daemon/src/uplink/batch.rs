//! Many events in one publish: what waits to become one, and what it is written as. It knows no I/O; time is an argument.
//!
//! Each event keeps its id, its topic and its time, so that a receiver needs nothing else to tell duplicates.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;

use serde::Serialize;
use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use tidegate_config::BatchFormat;

use crate::clock::millis;

/// Speed before size: what is gained beyond is little for text that repeats itself.
const ZSTD_LEVEL: i32 = 1;

/// An event as a batch has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described<'a> {
    pub(super) id: &'a str,
    /// As the cloud sees it.
    pub(super) topic: &'a str,
    /// When the gateway received it, in milliseconds since 1970 (UTC).
    pub(super) time_ms: i64,
    /// False if the gateway's clock was not set yet.
    pub(super) time_trusted: bool,
    pub(super) retain: bool,
    pub(super) payload: &'a [u8],
}

/// What is to be sent, in its order; `T` is an event.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    settings: tidegate_config::Batch,
    events: VecDeque<Event<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Event<T> {
    event: T,
    bytes: usize,
    since_ms: u64,
}

impl<T> Waiting<T> {
    pub(super) fn new(settings: &tidegate_config::Batch) -> Self {
        Waiting { settings: settings.clone(), events: VecDeque::new(), bytes: 0 }
    }

    /// Adds an event that takes about so many bytes.
    pub(super) fn push(&mut self, event: T, bytes: usize, now_ms: u64) {
        self.bytes += bytes;
        self.events.push_back(Event { event, bytes, since_ms: now_ms });
    }

    /// Puts an event back where it came from.
    pub(super) fn push_front(&mut self, event: T, bytes: usize, now_ms: u64) {
        self.bytes += bytes;
        self.events.push_front(Event { event, bytes, since_ms: now_ms });
    }

    /// The next event for a batch of so many bytes already; `None` if it has no room for it.
    pub(super) fn pop_within(&mut self, batch_bytes: usize, packet_bytes_max: usize) -> Option<T> {
        let bytes_max = self.settings.bytes_max.min(packet_bytes_max);
        // One that is larger than a batch goes alone.
        let fits = |event: &mut Event<T>| batch_bytes == 0 || batch_bytes + event.bytes <= bytes_max;
        let event = self.events.pop_front_if(fits)?;
        self.bytes -= event.bytes;
        Some(event.event)
    }

    /// How many more may be read while this many publishes may be sent.
    pub(super) fn room(&self, publishes: usize, events_max: usize) -> usize {
        publishes.saturating_mul(events_max).saturating_sub(self.events.len())
    }

    /// Whether what waits is enough for a publish, or has waited long enough.
    pub(super) fn is_due(&self, events_max: usize, now_ms: u64) -> bool {
        self.events.len() >= events_max
            || self.bytes >= self.settings.bytes_max
            || self.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// When the first has waited long enough.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let first = self.events.front()?;
        Some(first.since_ms.saturating_add(millis(self.settings.delay)))
    }

    /// The most events of a publish.
    pub(super) fn events_max(&self) -> usize {
        self.settings.events_max
    }
}

/// Writes payloads, one after the other into the same buffer.
pub(super) struct Writer {
    format: BatchFormat,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    payload: Vec<u8>,
    events: usize,
}

impl Writer {
    /// The error is why there is no compression, which is for want of memory.
    pub(super) fn new(settings: &tidegate_config::Batch) -> io::Result<Self> {
        let compressor = settings.zstd.then(|| zstd::bulk::Compressor::new(ZSTD_LEVEL)).transpose()?;
        Ok(Writer { format: settings.format, compressor, payload: Vec::new(), events: 0 })
    }

    /// How many bytes have been written.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Adds an event.
    pub(super) fn add(&mut self, event: &Described<'_>) -> Result<(), Cow<'static, str>> {
        let start = self.payload.len();
        let separator: &[u8] = match (self.format, self.events) {
            (BatchFormat::JsonArray, 0) => b"[",
            (BatchFormat::JsonArray, _) => b",",
            // An array whose length is not said, ended by a break (RFC 8949, 3.2.2).
            (BatchFormat::CborArray, 0) => &[0x9f],
            _ => b"",
        };
        self.payload.extend_from_slice(separator);
        let written = match self.format {
            BatchFormat::JsonArray | BatchFormat::JsonLines => write_json(event, &mut self.payload),
            BatchFormat::CborArray => {
                serde_cbor::to_writer(&mut self.payload, &Cbor(event)).map_err(io::Error::other)
            }
        };
        if let Err(error) = written {
            self.payload.truncate(start);
            return Err(format!("it cannot be written into a batch: {error}").into());
        }
        if self.format == BatchFormat::JsonLines {
            self.payload.push(b'\n');
        }
        self.events += 1;
        Ok(())
    }

    /// The payload, with nothing left for the next; empty if nothing was added.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.events) == 0 {
            return Vec::new();
        }
        match self.format {
            BatchFormat::JsonArray => self.payload.push(b']'),
            BatchFormat::JsonLines => {}
            BatchFormat::CborArray => self.payload.push(0xff),
        }
        let capacity = self.payload.capacity();
        let payload = std::mem::replace(&mut self.payload, Vec::with_capacity(capacity));
        // Compression fails for want of memory only; the receiver sees by the content type what it has got.
        match self.compressor.as_mut().map(|compressor| compressor.compress(&payload)) {
            Some(Ok(compressed)) => compressed,
            _ => payload,
        }
    }

    /// What a publish says of its payload.
    pub(super) fn content_type(&self) -> &'static str {
        match (self.format, self.compressor.is_some()) {
            (BatchFormat::JsonArray, false) => "application/json",
            (BatchFormat::JsonLines, false) => "application/x-ndjson",
            (BatchFormat::CborArray, false) => "application/cbor",
            (BatchFormat::JsonArray, true) => "application/json+zstd",
            (BatchFormat::JsonLines, true) => "application/x-ndjson+zstd",
            (BatchFormat::CborArray, true) => "application/cbor+zstd",
        }
    }
}

/// Payloads that are JSON stand as they are, except that no line ends in them; others in base64.
fn write_json(event: &Described<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, event.id)?;
    out.extend_from_slice(b",\"topic\":");
    serde_json::to_writer(&mut *out, event.topic)?;
    out.extend_from_slice(b",\"time\":");
    serde_json::to_writer(&mut *out, &event.time_ms)?;
    if !event.time_trusted {
        out.extend_from_slice(b",\"clock\":\"unset\"");
    }
    if event.retain {
        out.extend_from_slice(b",\"retain\":true");
    }
    if serde_json::from_slice::<IgnoredAny>(event.payload).is_ok() {
        out.extend_from_slice(b",\"payload\":");
        // Inside strings JSON has no line ends as they are (RFC 8259, 7).
        let plain = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        out.extend(event.payload.iter().map(plain));
    } else {
        use base64::Engine;
        out.extend_from_slice(b",\"base64\":");
        serde_json::to_writer(&mut *out, &base64::engine::general_purpose::STANDARD.encode(event.payload))?;
    }
    out.push(b'}');
    Ok(())
}

/// An event as a CBOR map; the payload is a byte string, as it came.
struct Cbor<'a>(&'a Described<'a>);

impl Serialize for Cbor<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let count = 4 + usize::from(!event.time_trusted) + usize::from(event.retain);
        let mut map = serializer.serialize_map(Some(count))?;
        map.serialize_entry("id", event.id)?;
        map.serialize_entry("topic", event.topic)?;
        map.serialize_entry("time", &event.time_ms)?;
        if !event.time_trusted {
            map.serialize_entry("clock", "unset")?;
        }
        if event.retain {
            map.serialize_entry("retain", &true)?;
        }
        map.serialize_entry("payload", &Bytes(event.payload))?;
        map.end()
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests;
