//! From a record to a publish towards the cloud: its topic, its properties, its size, and whether it can be sent at all.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use tidegate_buffer::{Record, Stamp};
use tidegate_config::EventProperties;

use super::aliases::{Alias, Aliases};
use super::batch::{Described, Writer};
use crate::broker::wire::{Terms, Wire};
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
    batch: Option<Batch>,
}

/// The batch that is being written.
struct Batch {
    topic: String,
    writer: Writer,
    /// The highest quality of service among its events.
    qos: u8,
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
            batch: None,
        }
    }

    /// Gathers events into batches.
    pub(crate) fn with_batches(self, batch: &tidegate_config::Batch) -> io::Result<Self> {
        let writer = Writer::new(batch)?;
        Ok(Packer { batch: Some(Batch { topic: batch.topic.clone(), writer, qos: 0 }), ..self })
    }

    /// The largest packet that the cloud takes, in bytes.
    pub(crate) fn packet_bytes_max(&self) -> usize {
        self.terms.packet_bytes_max
    }

    /// How many bytes the batch has so far.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.writer.bytes())
    }

    /// Adds one record to the batch. The error is why this cloud can never take it.
    pub(crate) fn add(
        &mut self,
        record: &Record,
        template: &tidegate_config::TopicTemplate,
    ) -> Result<(), Cow<'static, str>> {
        let meta = self.describe(record, template)?;
        let mut id = String::with_capacity(self.gateway_id.len() + 20);
        tidegate_rules::write_event_id(&self.gateway_id, record.seq, &mut id);
        let Some(batch) = &mut self.batch else { return Ok(()) };
        batch.qos = batch.qos.max(meta.qos);
        batch.writer.add(&Described {
            id: &id,
            topic: &self.topic,
            time_ms: record.received.wall_ms,
            time_trusted: record.stamp_trusted,
            retain: meta.retain,
            payload: &record.payload,
        })
    }

    /// Hands the batch to the wire; `None` if nothing was added to it. The error is why this cloud can never take it.
    pub(crate) fn send_batch(
        &mut self,
        wire: &mut Wire,
        packet_id: impl FnOnce() -> u16,
    ) -> Option<Result<Sent, Cow<'static, str>>> {
        let batch = self.batch.as_mut()?;
        let (payload, qos) = (batch.writer.finish(), std::mem::take(&mut batch.qos));
        if payload.is_empty() {
            return None;
        }
        self.properties.clear();
        mqtt::content_type(batch.writer.content_type(), &mut self.properties);
        if self.said.gateway {
            mqtt::user_property("gateway", &self.gateway_id, &mut self.properties);
        }
        let delivery = Delivery {
            qos: qos.min(self.terms.qos_max),
            retain: false,
            dup: false,
            packet_id: 0,
            topic: &batch.topic,
            properties: if wire.has_properties() { &self.properties } else { &[] },
            payload: &payload,
        };
        Some(hand_over(delivery, self.terms, wire, packet_id))
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
        let meta = self.describe(record, template)?;
        let alias = if wire.has_properties() { self.aliases.find(&self.topic) } else { Alias::None };
        self.properties.clear();
        if wire.has_properties() {
            self.write_properties(record, &meta, alias, now);
        }
        let delivery = Delivery {
            qos: meta.qos.min(self.terms.qos_max),
            retain: meta.retain && self.terms.retain_available,
            dup: false,
            packet_id: 0,
            topic: if let Alias::Known(_) = alias { "" } else { &self.topic },
            properties: &self.properties,
            payload: &record.payload,
        };
        let sent = hand_over(delivery, self.terms, wire, packet_id)?;
        self.aliases.handle_sent(&self.topic, alias);
        Ok(sent)
    }

    /// Reads what the record says of itself, and writes what the cloud sees as its topic.
    fn describe<'r>(
        &mut self,
        record: &'r Record,
        template: &tidegate_config::TopicTemplate,
    ) -> Result<Meta<'r>, Cow<'static, str>> {
        let meta = meta::read(&record.meta).ok_or("the record's header cannot be read")?;
        let topic = str::from_utf8(&record.topic).map_err(|_| "the topic is not text")?;
        self.render(template, topic)?;
        Ok(meta)
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

/// Gives a publish to the wire, with a number if it is to be acknowledged, unless it is larger than the cloud takes.
fn hand_over(
    mut delivery: Delivery<'_>,
    terms: Terms,
    wire: &mut Wire,
    packet_id: impl FnOnce() -> u16,
) -> Result<Sent, Cow<'static, str>> {
    let bytes = wire.publish_bytes(&delivery);
    if bytes > terms.packet_bytes_max {
        let most = terms.packet_bytes_max;
        return Err(format!("its packet has {bytes} bytes; the cloud takes {most}").into());
    }
    let is_acknowledged = delivery.qos > 0;
    if is_acknowledged {
        delivery.packet_id = packet_id();
    }
    wire.publish(&delivery);
    Ok(Sent { is_acknowledged, bytes })
}
