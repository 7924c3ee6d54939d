//! PUBLISH and PUBREL towards the client (MQTT 5.0, sections 3.3 and 4.3).

use super::connected::Connected;
use super::{Host, OUTPUT_BYTES_MAX, Session};
use crate::bus::{Bus, Handle, Next, Outgoing};
use crate::durable::Durable;
use crate::listener::Action;
use crate::mqtt::{self, AckKind, Delivery, Version, reason};
use tidegate_buffer::Stamp;

impl Session {
    /// The session that deliveries come from, once they may be written.
    pub(in crate::listener) fn delivers_from(&self) -> Option<Handle> {
        self.connected.as_ref().filter(|_| !self.connack_owed).map(|connected| connected.handle)
    }

    /// Moves what waits for the client into the output, as far as there is room and its Receive Maximum allows.
    pub(in crate::listener) fn fill_output(&mut self, host: &mut impl Host) {
        let Some(connected) = self.connected.as_mut().filter(|_| !self.connack_owed) else { return };
        let (version, handle) = (connected.version, connected.handle);
        while self.output.len() < OUTPUT_BYTES_MAX {
            let poll = |bus: &mut Bus, now: Stamp, durable: &mut dyn Durable| {
                (bus.poll_next(handle, now, durable), now.mono_ms)
            };
            let ((next, now_ms), _) = host.with_bus(None, poll);
            match next {
                None => return,
                Some(Next::Release { packet_id }) => {
                    mqtt::ack(version, AckKind::Rel, packet_id, reason::SUCCESS, "", &mut self.output);
                }
                Some(Next::Publish { packet_id, dup, outgoing }) => {
                    let may = host.may(Action::Deliver, &connected.client(), &outgoing.event.topic);
                    if !(may && connected.write_publish(packet_id, dup, &outgoing, now_ms, &mut self.output))
                    {
                        // What a client may not read is no loss; what is too large for it is.
                        host.with_bus(None, |bus, _, durable| bus.discard(handle, packet_id, may, durable));
                    }
                }
            }
        }
    }
}

impl Connected {
    /// Writes a publish. Returns false, and writes nothing, if it is over the client's Maximum Packet Size, which the
    /// client has asked never to see (section 3.1.2.11.4).
    fn write_publish(
        &mut self,
        packet_id: u16,
        dup: bool,
        outgoing: &Outgoing,
        now_ms: u64,
        output: &mut Vec<u8>,
    ) -> bool {
        let event = &outgoing.event;
        let mut properties = Vec::new();
        let mut alias = None;
        if self.version == Version::V5 {
            if let Some(expiry_s) = event.expiry_left_s(now_ms) {
                mqtt::message_expiry(expiry_s, &mut properties);
            }
            for identifier in outgoing.identifiers.iter().flat_map(|identifiers| identifiers.iter()) {
                mqtt::subscription_identifier(*identifier, &mut properties);
            }
            alias = self.aliases_out.alias(&event.topic);
            if let Some((alias, _)) = alias {
                mqtt::topic_alias(alias, &mut properties);
            }
            if !properties.is_empty() {
                properties.extend_from_slice(&event.properties);
            }
        }
        let shared: &[u8] = if self.version == Version::V5 { &event.properties } else { &[] };
        let by_alias = alias.is_some_and(|(_, known)| known);
        let delivery = Delivery {
            qos: outgoing.qos,
            retain: outgoing.retain,
            dup,
            packet_id,
            topic: if by_alias { "" } else { &event.topic },
            properties: if properties.is_empty() { shared } else { &properties },
            payload: &event.payload,
        };
        if mqtt::publish_bytes(self.version, &delivery) > self.packet_bytes_max {
            return false;
        }
        mqtt::publish(self.version, &delivery, output);
        if let Some((alias, false)) = alias {
            self.aliases_out.set(&event.topic, alias);
        }
        true
    }
}
