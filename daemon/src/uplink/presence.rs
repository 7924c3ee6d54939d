//! What the gateway says of itself at the cloud: a retained message while it is there, and a will for when it is not.

use serde::Serialize;
use tidegate_buffer::Stamp;

use crate::broker::wire::{Terms, Wire};
use crate::mqtt::Delivery;
use crate::text;

/// The message on the status topic.
#[derive(Debug, Serialize)]
struct Message<'a> {
    gateway: &'a str,
    uplink: &'a str,
    state: &'static str,
    /// When the connection of which it speaks was begun.
    since: String,
    /// When the gateway said goodbye. A will cannot know.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// Writes the messages of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    gateway: String,
    uplink: String,
    topic: String,
    since: String,
}

impl Presence {
    /// `None` if the uplink has no status topic.
    pub(crate) fn new(gateway: &str, uplink: &tidegate_config::Uplink, now: Stamp) -> Option<Presence> {
        let topic = uplink.status_topic.clone()?;
        let (gateway, uplink) = (gateway.to_owned(), uplink.name.clone());
        Some(Presence { gateway, uplink, topic, since: text::time(now.wall_ms) })
    }

    /// Topic and payload of what the cloud says once the gateway is lost.
    pub(crate) fn will(&self) -> (String, Vec<u8>) {
        (self.topic.clone(), self.payload("offline", None))
    }

    /// Says that the gateway is there; `packet_id` numbers it if it is to be acknowledged.
    pub(crate) fn hello(&self, wire: &mut Wire, terms: Terms, packet_id: impl FnOnce() -> u16) {
        let qos = terms.qos_max.min(1);
        let packet_id = if qos > 0 { packet_id() } else { 0 };
        self.publish(wire, terms, (qos, packet_id), &self.payload("online", None));
    }

    /// Says that the gateway goes. Nobody waits for an acknowledgement any more.
    pub(crate) fn goodbye(&self, wire: &mut Wire, terms: Terms, now: Stamp) {
        let until = Some(text::time(now.wall_ms));
        self.publish(wire, terms, (0, 0), &self.payload("offline", until));
    }

    fn publish(&self, wire: &mut Wire, terms: Terms, (qos, packet_id): (u8, u16), payload: &[u8]) {
        let retain = terms.retain_available;
        wire.publish(&Delivery {
            qos,
            retain,
            dup: false,
            packet_id,
            topic: &self.topic,
            properties: &[],
            payload,
        });
    }

    fn payload(&self, state: &'static str, until: Option<String>) -> Vec<u8> {
        let (gateway, uplink, since) = (self.gateway.as_str(), self.uplink.as_str(), self.since.clone());
        // A struct of strings can always be written.
        serde_json::to_vec(&Message { gateway, uplink, state, since, until }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Presence;

    #[test]
    fn messages_say_who_and_since_when() {
        let presence = Presence {
            gateway: "g".into(),
            uplink: "cloud".into(),
            topic: "gw/g/status".into(),
            since: "2026-11-18T11:06:40Z".into(),
        };
        let (topic, will) = presence.will();
        let expected = r#"{"gateway":"g","uplink":"cloud","state":"offline","since":"2026-11-18T11:06:40Z"}"#;
        assert_eq!((topic.as_str(), String::from_utf8(will).unwrap().as_str()), ("gw/g/status", expected));
        let goodbye = presence.payload("offline", Some("2026-11-18T12:00:00Z".into()));
        assert!(String::from_utf8(goodbye).unwrap().ends_with(r#","until":"2026-11-18T12:00:00Z"}"#));
    }
}
