//! PUBLISH from the client (MQTT 5.0, sections 3.3 and 4.3).

use super::{Admission, Flow, Host, Session};
use crate::bus::Bus;
use crate::durable::Durable;
use crate::listener::acks::Ack;
use crate::listener::{Action, Cause};
use crate::mqtt::{AckKind, Publish, Version, reason};

/// Why a publish was refused.
struct Refusal {
    code: u8,
    words: &'static str,
    /// What a client that cannot be told is closed with.
    cause: Cause,
}

impl Session {
    pub(super) fn handle_publish(&mut self, publish: &Publish<'_>, host: &mut impl Host) -> Flow {
        let Some(connected) = &mut self.connected else { return Flow::Close(Cause::Lost) };
        let Some(alias) = publish.properties.topic_alias else {
            return self.handle_publish_to(publish.topic, publish, host);
        };
        match connected.aliases_in.resolve(alias, publish.topic).map(str::to_owned) {
            Some(topic) => self.handle_publish_to(&topic, publish, host),
            None => {
                let why = "a topic alias that is 0, over the Topic Alias Maximum, or not set";
                Flow::Close(Cause::NotSupported(reason::TOPIC_ALIAS_INVALID, why))
            }
        }
    }

    fn handle_publish_to(&mut self, topic: &str, publish: &Publish<'_>, host: &mut impl Host) -> Flow {
        let Some(connected) = &self.connected else { return Flow::Close(Cause::Lost) };
        let handle = connected.handle;
        if !self.limits.takes_topic(topic) {
            let why = "topic is over `topic_bytes_max` or `topic_levels_max`";
            return Flow::Close(Cause::NotSupported(reason::TOPIC_NAME_INVALID, why));
        }
        if publish.qos == 2 && host.bus().is_received(handle, publish.packet_id) {
            return self.confirm_received(publish.packet_id, host);
        }
        if !host.may(Action::Publish, &connected.client(), topic) {
            let refusal = Refusal {
                code: reason::NOT_AUTHORIZED,
                words: "not authorized",
                cause: Cause::NotAuthorized,
            };
            return self.refuse_publish(publish, &refusal);
        }
        if publish.qos > 0 && self.is_at_inflight_max(host) {
            return match connected.version {
                Version::V31 | Version::V311 => Flow::WaitForClient,
                Version::V5 => Flow::Close(Cause::NotSupported(
                    reason::RECEIVE_MAXIMUM_EXCEEDED,
                    "more unacknowledged publishes than our Receive Maximum",
                )),
            };
        }
        if publish.retain && publish.qos > 0 && connected.version == Version::V5 {
            let bytes = publish.payload.len();
            if !host.with_bus(None, |bus, now, durable| bus.retains(topic, bytes, now, durable)).0 {
                let words = "no room for another retained message";
                let refusal = Refusal { code: reason::QUOTA_EXCEEDED, words, cause: Cause::Refused };
                host.refused();
                return self.refuse_publish(publish, &refusal);
            }
        }
        match host.admission(topic, publish.retain) {
            Admission::Open => {}
            Admission::Wait => return Flow::WaitForRoom,
            Admission::Refuse => {
                host.refused();
                let words = "the buffer cannot store it";
                let refusal = Refusal { code: reason::QUOTA_EXCEEDED, words, cause: Cause::Refused };
                return self.refuse_publish(publish, &refusal);
            }
        }
        let receipt = answer(publish.qos).map(|kind| self.acks.expect(Ack::success(kind, publish.packet_id)));
        if self.timed.is_none() {
            self.timed = receipt.map(|receipt| (receipt, self.heard_ms));
        }
        host.publish(&connected.event(topic, publish), handle, publish.packet_id, receipt);
        Flow::Read
    }

    /// A publish of QoS 2 that is here already came again: it is no event, and PUBREC says once more that it is stored.
    fn confirm_received(&mut self, packet_id: u16, host: &mut impl Host) -> Flow {
        let Some(connected) = &self.connected else { return Flow::Close(Cause::Lost) };
        let handle = connected.handle;
        let receipt = self.acks.expect(Ack::success(AckKind::Rec, packet_id));
        let receive = |bus: &mut Bus, _, durable: &mut dyn Durable| bus.receive(handle, packet_id, durable);
        let (_, waits) = host.with_bus(Some(receipt), receive);
        self.answer_unless(waits, receipt);
        Flow::Read
    }

    /// Whether the client has as many publishes in flight as it may (section 4.9). Before 5.0 it does not know the bound
    /// and is not read until answers have left; PUBRELs are behind its publishes then, so only answers count.
    fn is_at_inflight_max(&self, host: &impl Host) -> bool {
        let Some(connected) = &self.connected else { return false };
        let inflight = match connected.version {
            Version::V31 | Version::V311 => self.acks.len(),
            Version::V5 => self.acks.publishes() + host.bus().received_len(connected.handle),
        };
        inflight >= usize::from(self.limits.inflight_max)
    }

    fn refuse_publish(&mut self, publish: &Publish<'_>, refusal: &Refusal) -> Flow {
        // At QoS 0 there is no way to say so, and none is expected.
        let Some(kind) = answer(publish.qos) else { return Flow::Read };
        if self.version() != Some(Version::V5) {
            return Flow::Close(refusal.cause);
        }
        let Refusal { code, words, .. } = *refusal;
        self.acks.answer(Ack::Publish { kind, packet_id: publish.packet_id, reason: code, words });
        self.write_acks();
        Flow::Read
    }
}

/// The packet that answers a publish.
fn answer(qos: u8) -> Option<AckKind> {
    match qos {
        0 => None,
        1 => Some(AckKind::Ack),
        _ => Some(AckKind::Rec),
    }
}
