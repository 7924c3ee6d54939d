//! One stored event as programs get it.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tidegate_buffer::inspect::StoredRecord;

use super::{Place, event_id};
use crate::meta;
use crate::text;

/// A stored record with what its bytes mean.
///
/// Written as a map. JSON has the payload as text under `payload`, or as base64 under `payload_base64` where it is no
/// UTF-8; CBOR always has it as bytes under `payload`.
pub(super) struct Event<'a> {
    pub(super) record: &'a StoredRecord,
    pub(super) id: String,
    pub(super) binary: bool,
}

impl<'a> Event<'a> {
    pub(super) fn new(place: &Place, record: &'a StoredRecord, binary: bool) -> Self {
        Event { record, id: event_id(place, record.seq), binary }
    }
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("seq", &record.seq)?;
        map.serialize_entry("uplinks", &*record.consumers)?;
        map.serialize_entry("priority", record.priority.name())?;
        map.serialize_entry("time", &text::time(record.received.wall_ms))?;
        if !record.stamp_trusted {
            map.serialize_entry("clock", "unset")?;
        }
        map.serialize_entry("topic", &String::from_utf8_lossy(&record.topic))?;
        if let Some(meta) = meta::read(&record.meta) {
            map.serialize_entry("qos", &meta.qos)?;
            map.serialize_entry("retain", &meta.retain)?;
            if let Some(content_type) = meta.properties.content_type {
                map.serialize_entry("content_type", content_type)?;
            }
            let properties: Vec<(&str, &str)> = meta.properties.user_properties().collect();
            if !properties.is_empty() {
                map.serialize_entry("user_properties", &properties)?;
            }
        }
        if let Some(ms) = record.expires_after_ms {
            map.serialize_entry("expires_after_ms", &ms)?;
        }
        match str::from_utf8(&record.payload) {
            _ if self.binary => map.serialize_entry("payload", &Bytes(&record.payload))?,
            Ok(text) => map.serialize_entry("payload", text)?,
            Err(_) => map.serialize_entry("payload_base64", &base64(&record.payload))?,
        }
        map.end()
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use tidegate_buffer::inspect::StoredRecord;
    use tidegate_buffer::{Priority, Stamp};

    use super::super::Place;
    use super::Event;
    use crate::meta;

    fn record(payload: &'static [u8]) -> StoredRecord {
        StoredRecord {
            seq: 0x10_000_000_001,
            priority: Priority::High,
            consumers: Arc::new(["cloud".to_owned()]),
            received: Stamp { mono_ms: 5, wall_ms: 1_795_000_000_000 },
            stamp_trusted: true,
            expires_after_ms: Some(5000),
            topic: "a/b".into(),
            meta: meta::with_properties(1, true, b"\x03\x00\x04text\x26\x00\x01k\x00\x01v"),
            payload: payload.into(),
        }
    }

    fn place(gateway: Option<&str>) -> Place {
        Place { dir: PathBuf::new(), gateway: gateway.map(str::to_owned) }
    }

    #[test]
    fn as_json() {
        let record = record(b"{}");
        let text = serde_json::to_string(&Event::new(&place(Some("g")), &record, false)).unwrap();
        let expected = concat!(
            r#"{"id":"g-10000000001","seq":1099511627777,"uplinks":["cloud"],"priority":"high","#,
            r#""time":"2026-11-18T11:06:40Z","topic":"a/b","qos":1,"retain":true,"content_type":"text","#,
            r#""user_properties":[["k","v"]],"expires_after_ms":5000,"payload":"{}"}"#
        );
        assert_eq!(text, expected);
        let text =
            serde_json::to_string(&Event::new(&place(None), &self::record(b"\xff\x00"), false)).unwrap();
        assert!(
            text.starts_with(r#"{"id":"10000000001","#) && text.ends_with(r#""payload_base64":"/wA="}"#),
            "{text}"
        );
    }

    #[test]
    fn as_cbor_the_payload_is_bytes() {
        let record = record(b"{}");
        let bytes = serde_cbor::to_vec(&Event::new(&place(Some("g")), &record, true)).unwrap();
        let value: serde_cbor::Value = serde_cbor::from_slice(&bytes).unwrap();
        let serde_cbor::Value::Map(map) = value else { panic!("{value:?}") };
        let payload = map.get(&serde_cbor::Value::Text("payload".into()));
        assert_eq!(payload, Some(&serde_cbor::Value::Bytes(b"{}".to_vec())));
    }

    #[test]
    fn a_record_of_another_kind_has_no_quality_of_service() {
        let other = StoredRecord { meta: b"\xff".as_slice().into(), ..record(b"") };
        let text = serde_json::to_string(&Event::new(&place(None), &other, false)).unwrap();
        assert!(!text.contains("qos"), "{text}");
    }
}
