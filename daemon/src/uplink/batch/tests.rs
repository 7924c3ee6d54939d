use std::time::Duration;

use tidegate_config::{Batch, BatchFormat};

use super::{Described, Waiting, Writer};

fn settings(format: BatchFormat, zstd: bool) -> Batch {
    Batch {
        topic: "b".into(),
        format,
        zstd,
        events_max: 3,
        bytes_max: 1000,
        delay: Duration::from_millis(50),
    }
}

fn described(payload: &[u8]) -> Described<'_> {
    Described {
        id: "g-1f",
        topic: "a/\"b",
        time_ms: 1_763_000_000_123,
        time_trusted: true,
        retain: false,
        payload,
    }
}

/// The payload of a batch with these events.
fn written(format: BatchFormat, events: &[Described<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(&settings(format, false)).unwrap();
    events.iter().for_each(|event| writer.add(event).unwrap());
    writer.finish()
}

#[test]
fn json_payloads_stand_as_they_are_and_others_in_base64() {
    let unset = Described { time_trusted: false, retain: true, ..described(b"\xff\x00") };
    let array = written(BatchFormat::JsonArray, &[described(b"{\"n\": 1.50,\r\n \"s\": \"\\n\"}"), unset]);
    let expected = "[{\"id\":\"g-1f\",\"topic\":\"a/\\\"b\",\"time\":1763000000123,\"payload\":{\"n\": 1.50,   \"s\": \"\\n\"}},\
                    {\"id\":\"g-1f\",\"topic\":\"a/\\\"b\",\"time\":1763000000123,\"clock\":\"unset\",\"retain\":true,\
                    \"base64\":\"/wA=\"}]";
    assert_eq!(String::from_utf8(array).unwrap(), expected);
    for (payload, key) in
        [(&b"21.5"[..], "payload"), (b"\"text\"", "payload"), (b"text", "base64"), (b"", "base64")]
    {
        let one = written(BatchFormat::JsonArray, &[described(payload)]);
        let value: serde_json::Value = serde_json::from_slice(&one).unwrap();
        assert!(value[0].get(key).is_some(), "{payload:?}: {value}");
    }
}

#[test]
fn lines_are_one_object_each() {
    let lines = written(BatchFormat::JsonLines, &[described(b"{\n}"), described(b"2")]);
    let lines = String::from_utf8(lines).unwrap();
    let values: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((values.len(), &values[1]["payload"]), (2, &serde_json::json!(2)));
    assert!(lines.ends_with('\n'));
}

#[test]
fn cbor_has_the_payload_as_bytes() {
    let array = written(BatchFormat::CborArray, &[described(b"x\xff"), described(b"")]);
    let value: serde_cbor::Value = serde_cbor::from_slice(&array).unwrap();
    let serde_cbor::Value::Array(events) = value else { panic!("{value:?}") };
    let serde_cbor::Value::Map(first) = &events[0] else { panic!("{events:?}") };
    let text = |text: &str| serde_cbor::Value::Text(text.to_owned());
    assert_eq!(events.len(), 2);
    assert_eq!(first[&text("id")], text("g-1f"));
    assert_eq!(first[&text("payload")], serde_cbor::Value::Bytes(b"x\xff".to_vec()));
    assert_eq!(first[&text("time")], serde_cbor::Value::Integer(1_763_000_000_123));
}

#[test]
fn one_payload_after_the_other_is_whole_and_compressed_if_that_is_wanted() {
    let mut writer = Writer::new(&settings(BatchFormat::JsonArray, true)).unwrap();
    assert_eq!(writer.finish(), b"");
    for _ in 0..2 {
        for _ in 0..50 {
            writer.add(&described(b"{\"temperature\": 21.5}")).unwrap();
        }
        let before = writer.bytes();
        let payload = writer.finish();
        assert!(payload.len() < before / 5, "{} of {before} bytes", payload.len());
        let plain = zstd::bulk::decompress(&payload, 1 << 20).unwrap();
        let value: Vec<serde_json::Value> = serde_json::from_slice(&plain).unwrap();
        assert_eq!((value.len(), writer.bytes()), (50, 0));
    }
    assert_eq!(writer.content_type(), "application/json+zstd");
}

#[test]
fn what_waits_is_due_by_number_by_size_or_by_time() {
    let mut waiting = Waiting::new(&settings(BatchFormat::JsonArray, false));
    assert!(!waiting.is_due(3, 1000) && waiting.deadline_ms().is_none());
    waiting.push(1, 10, 1000);
    waiting.push(2, 10, 1040);
    assert!(!waiting.is_due(3, 1049));
    assert!(waiting.is_due(3, 1050) && waiting.is_due(2, 1040));
    assert_eq!((waiting.deadline_ms(), waiting.room(2, 3), waiting.room(0, 3)), (Some(1050), 4, 0));
    waiting.push(3, 980, 1040);
    assert!(waiting.is_due(10, 1040), "by size");
}

#[test]
fn a_batch_takes_what_has_room_in_it_and_at_least_one() {
    let mut waiting = Waiting::new(&settings(BatchFormat::JsonArray, false));
    for (event, bytes) in [(1, 5000), (2, 400), (3, 400), (4, 400)] {
        waiting.push(event, bytes, 0);
    }
    let mut pop = |bytes| waiting.pop_within(bytes, 100_000);
    assert_eq!((pop(0), pop(5100)), (Some(1), None), "larger than a batch: alone");
    assert_eq!((pop(0), pop(400), pop(800)), (Some(2), Some(3), None));
    assert_eq!((pop(0), pop(400)), (Some(4), None));
    assert!(waiting.deadline_ms().is_none(), "nothing is left");
}
