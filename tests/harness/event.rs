//! The numbered event that devices send and the oracle knows again.

use std::fmt;

/// Size of an event's payload in bytes.
pub const EVENT_BYTES: usize = 200;

/// Event number `seq` of `device`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// The device that sent it.
    pub device: String,
    /// Its number.
    pub seq: u64,
}

impl Event {
    /// Names an event.
    pub fn new(device: &str, seq: u64) -> Self {
        Self { device: device.to_owned(), seq }
    }

    /// Where devices publish.
    pub fn topic(device: &str) -> String {
        format!("events/{device}")
    }

    /// The payload: JSON of exactly [`EVENT_BYTES`] bytes, every one of which follows from device and number.
    pub fn payload(&self) -> String {
        let mut text = format!(r#"{{"device":"{}","seq":{},"pad":""#, self.device, self.seq);
        let filler = char::from(b'a' + u8::try_from(self.seq % 26).unwrap_or(0));
        while text.len() < EVENT_BYTES - 2 {
            text.push(filler);
        }
        text.push_str(r#""}"#);
        text
    }

    /// Reads a payload back; nothing if a single byte differs from what was sent.
    pub fn read(payload: &str) -> Option<Self> {
        let rest = payload.strip_prefix(r#"{"device":""#)?;
        let (device, rest) = rest.split_once(r#"","seq":"#)?;
        let (seq, _) = rest.split_once(',')?;
        let event = Self::new(device, seq.parse().ok()?);
        (event.payload() == payload).then_some(event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.device, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_200_bytes_of_json_and_reads_back() {
        for seq in [0, 1, 25, 26, 19_999, 1_000_000] {
            let event = Event::new("d-1", seq);
            let payload = event.payload();
            assert_eq!(payload.len(), EVENT_BYTES);
            assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
            assert_eq!(Event::read(&payload), Some(event));
        }
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        let payload = Event::new("d-1", 7).payload();
        for place in 0..payload.len() {
            let mut bytes = payload.clone().into_bytes();
            bytes[place] ^= 1;
            let damaged = String::from_utf8(bytes).unwrap();
            assert_ne!(Event::read(&damaged), Some(Event::new("d-1", 7)), "byte {place}");
        }
    }
}
