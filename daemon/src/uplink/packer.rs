//! From a record to a publish towards the cloud: its topic, its properties, its size, and whether it can be sent at all.

use std::borrow::Cow;
use std::fmt::Write;

use tidegate_buffer::{Record, Stamp};
use tidegate_config::EventProperties;

use super::aliases::{Alias, Aliases};
use super::wire::{Terms, Wire};
use crate::gaps;
use crate::meta::{self, Meta};
use crate::mqtt::{self, Delivery};

/// Makes publishes for one connection. Its buffers serve one after the other.
pub(crate) struct Packer {
    gateway_id: String,
    said: EventProperties,
    terms: Terms,
    aliases: Aliases,
    topic: String,
    properties: Vec<u8>,
}

/// What was sent: whether the cloud will acknowledge it, and how many bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) is_acknowledged: bool,
    pub(crate) bytes: usize,
}

impl Packer {
    pub(crate) fn new(gateway_id: &str, uplink: &tidegate_config::Uplink, terms: Terms) -> Self {
        Packer {
            gateway_id: gateway_id.to_owned(),
            said: uplink.properties,
            terms,
            aliases: Aliases::new(uplink.topic_alias_max.min(terms.topic_alias_max)),
            topic: String::new(),
            properties: Vec::new(),
        }
    }

    /// Hands one record to the wire; `packet_id` numbers it if it is to be acknowledged. The error is why this cloud can
    /// never take it.
    pub(crate) fn send(
        &mut self,
        record: &Record,
        template: &tidegate_config::TopicTemplate,
        now: Stamp,
        wire: &mut Wire,
        packet_id: impl FnOnce() -> u16,
    ) -> Result<Sent, Cow<'static, str>> {
        let meta = meta::read(&record.meta).ok_or("the record's header cannot be read")?;
        let topic = str::from_utf8(&record.topic).map_err(|_| "the topic is not text")?;
        self.render(template, topic)?;
        let alias = if wire.has_properties() { self.aliases.find(&self.topic) } else { Alias::None };
        self.properties.clear();
        if wire.has_properties() {
            self.write_properties(record, &meta, alias, now);
        }
        let mut delivery = Delivery {
            qos: meta.qos.min(self.terms.qos_max),
            retain: meta.retain && self.terms.retain_available,
            dup: false,
            packet_id: 0,
            topic: if let Alias::Known(_) = alias { "" } else { &self.topic },
            properties: &self.properties,
            payload: &record.payload,
        };
        let bytes = wire.publish_bytes(&delivery);
        if bytes > self.terms.packet_bytes_max {
            let most = self.terms.packet_bytes_max;
            return Err(format!("its packet has {bytes} bytes; the cloud takes {most}").into());
        }
        let is_acknowledged = delivery.qos > 0;
        if is_acknowledged {
            delivery.packet_id = packet_id();
        }
        wire.publish(&delivery);
        self.aliases.handle_sent(&self.topic, alias);
        Ok(Sent { is_acknowledged, bytes })
    }

    /// What the cloud sees as the topic.
    fn render(
        &mut self,
        template: &tidegate_config::TopicTemplate,
        topic: &str,
    ) -> Result<(), Cow<'static, str>> {
        self.topic.clear();
        template.render(topic, &mut self.topic);
        // A notice of the gateway's own keeps its `$` only where something stands before it.
        if topic == gaps::TOPIC && self.topic.starts_with('$') {
            self.topic.remove(0);
        }
        tidegate_rules::check_topic_name(&self.topic)
            .map_err(|error| format!("the topic is not valid towards the cloud: {error}").into())
    }

    /// What a publish tells the cloud beside topic and payload: the event's id, by which duplicates are found, when the
    /// gateway received it (milliseconds since 1970, UTC), what is left of its life, and what the device said.
    fn write_properties(&mut self, record: &Record, meta: &Meta<'_>, alias: Alias, now: Stamp) {
        let out = &mut self.properties;
        if let Alias::New(number) | Alias::Known(number) = alias {
            mqtt::topic_alias(number, out);
        }
        let mut text = String::with_capacity(self.gateway_id.len() + 20);
        if self.said.event_id {
            tidegate_rules::write_event_id(&self.gateway_id, record.seq, &mut text);
            mqtt::user_property("event-id", &text, out);
        }
        if self.said.event_time {
            text.clear();
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", record.received.wall_ms);
            mqtt::user_property("event-time", &text, out);
            if !record.stamp_trusted {
                mqtt::user_property("event-clock", "unset", out);
            }
        }
        if self.said.gateway {
            mqtt::user_property("gateway", &self.gateway_id, out);
        }
        if let Some(left_ms) = record.expires_in_ms(now) {
            // A record that has less than a second left is sent with that second.
            mqtt::message_expiry(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1), out);
        }
        mqtt::publish_properties(&meta.properties, out);
    }
}
