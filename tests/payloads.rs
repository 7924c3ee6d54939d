//! JSON and CBOR in, JSON and CBOR out, through rules; and what is neither.

use serde_json::Value;
use tidegate_tests::wire::{self, Version};
use tidegate_tests::{Broker, Connection, Gateway, Must, gateway};

const RULE: &str = r#"
[[rule]]
name = "climate"
sql = '''
  SELECT d, temp * 2 AS twice, upper(name) AS name
  FROM "in/{d}"
  WHERE temp > 30
'''
to = [
  { uplink = "cloud", topic = "json/{d}" },
  { uplink = "cloud", topic = "cbor/{d}", encoding = "cbor" },
]
"#;

// {"temp": 35, "name": "äb"}
const CBOR: &[u8] = b"\xa2\x64temp\x18\x23\x64name\x63\xc3\xa4b";
// {"d": "1", "twice": 70, "name": "ÄB"}
const CBOR_OUT: &[u8] = b"\xa3\x61d\x611\x65twice\x18\x46\x64name\x63\xc3\x84B";

fn subscriber(port: u16) -> Connection {
    let mut connection = Connection::clean(port, Version::V311, "reader");
    connection.send(&wire::subscribe(Version::V311, 1, &[("json/#", 0), ("cbor/#", 0)])).must("subscribe");
    connection.expect("a SUBACK");
    connection
}

// What two publishes at the cloud say, by topic.
fn two(cloud: &mut Connection) -> [(String, Vec<u8>); 2] {
    let mut found = [(); 2].map(|()| {
        let publish = cloud.expect_publish("an output of the rule");
        (publish.topic, publish.payload)
    });
    found.sort();
    found
}

#[test]
fn either_format_becomes_either_and_what_is_neither_gives_nothing() {
    let broker = Broker::start();
    let mut cloud = subscriber(broker.port());
    let gateway: Gateway = gateway!().uplink(broker.port()).rules("climate.toml", RULE).start();
    let mut device = Connection::clean(gateway.port(), Version::V311, "device");
    let mut publish = |packet_id: u16, payload: &[u8]| {
        device.send(&wire::publish(Version::V311, "in/1", payload, 1, packet_id)).must("publish");
        let ack = device.expect("a PUBACK");
        assert_eq!(ack.packet_id(), Some(packet_id), "{payload:?}");
    };
    let expected: Value = serde_json::json!({"d": "1", "twice": 70, "name": "ÄB"});
    for (packet_id, payload) in
        [(1, CBOR), (2, r#"{"name": "äb", "temp": 35, "more": [1, {"x": null}]}"#.as_bytes())]
    {
        publish(packet_id, payload);
        let [(cbor_topic, cbor), (json_topic, json)] = two(&mut cloud);
        assert_eq!((cbor_topic.as_str(), json_topic.as_str()), ("cbor/1", "json/1"));
        assert_eq!(cbor, CBOR_OUT);
        assert_eq!(serde_json::from_slice::<Value>(&json).must("a row of JSON"), expected);
    }
    // None of these has a temperature over 30. Each is taken, for nothing is wrong with the publish.
    for (packet_id, payload) in
        [(3, &b"garbage"[..]), (4, b""), (5, b"\xff\xff"), (6, b"{\"temp\": 31"), (7, b"[31]")]
    {
        publish(packet_id, payload);
    }
    publish(8, br#"{"temp": 31, "name": ""}"#);
    let last = two(&mut cloud);
    assert_eq!(last[1].1, br#"{"d":"1","twice":62,"name":""}"#, "and nothing came in between");
}
