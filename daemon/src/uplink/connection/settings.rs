//! Settings from the cloud, on one connection: what is subscribed to, and the answers.

use bytes::Bytes;
use tracing::warn;

use super::{Connection, InFlight};
use crate::broker::wire::WireError;
use crate::mqtt::{self, Delivery, Packet, reason};
use crate::remote::{Address, Answer, Incoming};
use crate::uplink::Uplink;

/// The packet id of SUBSCRIBE; it is answered before the window has come round to it.
const SUBSCRIBE_ID: u16 = u16::MAX;

impl Connection<'_> {
    /// Subscribes to the topic of settings, if the cloud may send any.
    pub(super) fn ask_for_settings(&mut self) {
        let settings = &self.uplink.settings;
        let Some(how) = &settings.remote_config else { return };
        if self.terms.qos_max == 0 {
            warn!(uplink = %settings.name, "settings from the cloud are not taken: the broker acknowledges nothing");
            return;
        }
        self.wire.subscribe(SUBSCRIBE_ID, std::iter::once((how.topic.as_str(), 1)));
    }

    pub(super) fn handle_subscribed(&self, codes: &[u8]) {
        if let Some(code) = codes.iter().find(|code| **code >= 0x80) {
            let name = &self.uplink.settings.name;
            warn!(uplink = %name, "the cloud cannot send settings: it refused the subscription with reason {code:#04x}");
        }
    }

    /// Takes a publish of what is subscribed to. The answer says what comes of it; that the packet has come is acknowledged
    /// at once, so that nothing is owed to a session that ends with its connection.
    pub(super) fn take_settings(&mut self, packet: &Bytes) -> Result<(), WireError> {
        let Some(frame) = mqtt::frame(packet, packet.len())? else { return Ok(()) };
        let Packet::Publish(publish) = mqtt::decode(self.wire.mqtt_version(), &frame)? else { return Ok(()) };
        if publish.qos > 0 {
            self.wire.acknowledge(publish.packet_id, reason::SUCCESS);
        }
        let Uplink { settings, line, .. } = self.uplink;
        let (Some(how), Some(line)) = (&settings.remote_config, line) else { return Ok(()) };
        let properties = &publish.properties;
        let to = Address {
            uplink: settings.name.clone(),
            topic: properties.response_topic.unwrap_or(&how.answer_topic).to_owned(),
            correlation: properties.correlation_data.map(<[u8]>::to_vec),
        };
        // An empty payload is what clears a retained message.
        if publish.topic == how.topic && !publish.payload.is_empty() {
            let payload = packet.slice_ref(publish.payload);
            if !line.handle_command(Incoming { to, payload }) {
                warn!(uplink = %settings.name, "settings from the cloud are dropped: others are being looked at");
            }
        }
        Ok(())
    }

    /// Publishes answers while the window has room.
    pub(super) fn send_answers(&mut self) {
        let Some(line) = &self.uplink.line else { return };
        let now_ms = self.uplink.clock.now_ms();
        while self.terms.qos_max > 0
            && self.window.len() < self.window.size()
            && let Some((number, answer)) = line.next(self.answered)
        {
            self.answered = number;
            let packet_id = self.window.handle_sent(InFlight::Answer(number), now_ms);
            self.publish_answer(&answer, packet_id);
            self.keep_alive.handle_written(now_ms);
        }
    }

    fn publish_answer(&mut self, answer: &Answer, packet_id: u16) {
        let mut properties = Vec::new();
        if self.wire.has_properties() {
            mqtt::content_type("application/json", &mut properties);
            answer.to.correlation.iter().for_each(|data| mqtt::correlation_data(data, &mut properties));
        }
        self.wire.publish(&Delivery {
            qos: 1,
            retain: false,
            dup: false,
            packet_id,
            topic: &answer.to.topic,
            properties: &properties,
            payload: &answer.payload(&self.uplink.gateway_id),
        });
    }

    pub(super) fn handle_answer_told(&self, number: u64, code: u8) {
        if code >= 0x80 {
            let name = &self.uplink.settings.name;
            warn!(uplink = %name, "the cloud refused an answer about settings with reason {code:#04x}");
        }
        if let Some(line) = &self.uplink.line {
            line.handle_told(number, code < 0x80);
        }
    }
}

/// Waits until there may be another answer.
pub(super) async fn another_answer(uplink: &Uplink) {
    match &uplink.line {
        Some(line) => line.waiting.notified().await,
        None => std::future::pending().await,
    }
}
