//! What is delivered to subscribers, and how it is stored.

use bytes::Bytes;
use tidegate_buffer::Stamp;

use super::bytes::{Reader, Writer};
use super::time::{self, Moment};

/// A publish on its way to subscribers, shared by all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BusEvent {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// Properties of MQTT 5, encoded, that a subscriber is told; the message expiry is not among them.
    pub(crate) properties: Box<[u8]>,
    /// The quality of service it was published with.
    pub(crate) qos: u8,
    /// When it is worth nothing any more, in milliseconds since boot.
    pub(crate) expires_at_ms: Option<u64>,
}

impl BusEvent {
    /// What it costs to keep, in bytes; its own bookkeeping included, so that empty events are bounded too.
    pub(crate) fn cost(&self) -> usize {
        64 + self.topic.len() + self.payload.len() + self.properties.len()
    }

    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms)
    }

    /// The message expiry that a subscriber is told: what is left of it, in whole seconds, and never 0
    /// (MQTT 5.0, section 3.3.2.3.3).
    pub(crate) fn expiry_left_s(&self, now_ms: u64) -> Option<u32> {
        let left_ms = self.expires_at_ms?.saturating_sub(now_ms);
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1))
    }

    pub(super) fn write(&self, now: Stamp, out: &mut Writer) {
        out.text(&self.topic);
        out.u8(self.qos);
        Moment::write(self.expires_at_ms, now, out);
        out.bytes(&self.properties);
        out.bytes(&self.payload);
    }

    pub(super) fn read(now: Stamp, bytes: &mut Reader<'_>) -> Option<Self> {
        let topic = bytes.text()?;
        tidegate_rules::check_topic_name(topic).ok()?;
        let qos = bytes.u8().filter(|qos| *qos <= 2)?;
        let expires_at_ms = Moment::read(bytes)?.map(|moment| time::again(moment, now));
        let properties = bytes.bytes()?;
        crate::mqtt::PublishProperties::decode(properties).ok()?;
        Some(BusEvent {
            topic: topic.into(),
            qos,
            expires_at_ms,
            properties: properties.into(),
            payload: Bytes::copy_from_slice(bytes.bytes()?),
        })
    }
}
