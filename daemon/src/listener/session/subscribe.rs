//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0, sections 3.8 to 3.11).

use super::{Flow, Host, Session};
use crate::bus::Bus;
use crate::durable::Durable;
use crate::listener::acks::Ack;
use crate::listener::{Action, Cause};
use crate::mqtt::{self, Subscribe, reason};
use tidegate_buffer::Stamp;

impl Session {
    pub(super) fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>, host: &mut impl Host) -> Flow {
        let Some(connected) = &self.connected else { return Flow::Close(Cause::Lost) };
        let (version, handle, packet_id) = (connected.version, connected.handle, subscribe.packet_id);
        let client = connected.client();
        let refusal = |filter: &str| {
            if !self.limits.takes_topic(filter) {
                Some(reason::TOPIC_FILTER_INVALID)
            } else if !host.may(Action::Subscribe, &client, filter) {
                Some(reason::NOT_AUTHORIZED)
            } else {
                None
            }
        };
        let refusals: Vec<Option<u8>> = subscribe.filters.iter().map(|(filter, _)| refusal(filter)).collect();
        // The answer is known only afterwards; its place in the order is taken now.
        let receipt = self.acks.expect(Ack::Packet(Box::default()));
        let change = |bus: &mut Bus, now: Stamp, durable: &mut dyn Durable| -> Vec<u8> {
            let each = subscribe.filters.iter().zip(&refusals);
            let codes = each.map(|((filter, options), refusal)| {
                refusal.unwrap_or_else(|| bus.subscribe(handle, filter, *options, subscribe.identifier))
            });
            let codes = codes.collect();
            bus.store_subscriptions(handle, now, durable);
            codes
        };
        let (codes, waits) = host.with_bus(Some(receipt), change);
        let mut packet = Vec::with_capacity(codes.len() + 8);
        mqtt::suback(version, packet_id, &codes, &mut packet);
        self.acks.amend(receipt, packet.into());
        self.answer_unless(waits, receipt);
        Flow::Read
    }

    pub(super) fn handle_unsubscribe(&mut self, packet_id: u16, filters: &[&str], host: &mut impl Host) {
        let Some(connected) = &self.connected else { return };
        let (version, handle) = (connected.version, connected.handle);
        let receipt = self.acks.expect(Ack::Packet(Box::default()));
        let change = |bus: &mut Bus, now: Stamp, durable: &mut dyn Durable| -> Vec<u8> {
            let codes = filters.iter().map(|filter| bus.unsubscribe(handle, filter)).collect();
            bus.store_subscriptions(handle, now, durable);
            codes
        };
        let (codes, waits) = host.with_bus(Some(receipt), change);
        let mut packet = Vec::with_capacity(codes.len() + 8);
        mqtt::unsuback(version, packet_id, &codes, &mut packet);
        self.acks.amend(receipt, packet.into());
        self.answer_unless(waits, receipt);
    }
}
