//! The MQTT session of one connected client, as a state machine: bytes in, bytes out, and a [`Host`] that does what
//! reaches beyond this client.
//!
//! It knows the protocol; it knows no socket, no clock (time is an argument) and nothing of rules or storage. The one
//! promise it is built around: PUBACK is written when the event's receipt has resolved, in the order of arrival
//! (MQTT 5.0, section 4.6), and never before.

mod connected;

use std::rc::Rc;

use super::acks::Acks;
use super::{Access, Action, Cause, Limits};
use crate::bus::BusEvent;
use crate::event::Event;
use crate::mqtt::{self, Connack, Connect, DecodeError, Delivery, Packet, Publish, Version, reason};
use connected::{Connected, Inflight, OwnedWill};
use tidegate_rules::TopicFilter;

/// What a session needs of the gateway.
pub(super) trait Host: Access {
    /// May an event on this topic be taken now?
    fn admission(&self, topic: &str) -> Admission;
    /// A client connected under this id; whoever held it before is to be taken over.
    fn connected(&mut self, client_id: &str);
    /// What came of the login: the user name that was proved, by a password or a certificate, or the reason code of
    /// CONNACK (5.0, section 3.2.2.2). Whatever CONNECT says, no other name counts.
    fn login(&self) -> Result<Option<Box<str>>, u8>;
    /// A client id for one who brought none.
    fn assign_client_id(&mut self) -> String;
    /// Takes an event. `receipt` is the number that comes back by [`Session::handle_receipt`]; `None` at QoS 0.
    fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>);
    /// Counts an event that was refused.
    fn refused(&mut self);
    /// Adds a subscription to the local bus.
    fn subscribe(&mut self, filter: &TopicFilter, qos: u8);
    /// Removes one.
    fn unsubscribe(&mut self, filter: &TopicFilter, qos: u8);
}

impl From<tidegate_buffer::Admission> for Admission {
    fn from(admission: tidegate_buffer::Admission) -> Self {
        match admission {
            tidegate_buffer::Admission::Open => Self::Open,
            tidegate_buffer::Admission::Wait => Self::Wait,
            tidegate_buffer::Admission::Refuse(_) => Self::Refuse,
        }
    }
}

/// May an event be taken?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes.
    Open,
    /// Not now: stop reading until there is room.
    Wait,
    /// No, and waiting will not help soon: say so to the client.
    Refuse,
}

/// What is to happen after input was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Read on.
    Read,
    /// Do not read: the gateway has no room for events.
    WaitForRoom,
    /// Do not read: the client has as much unacknowledged as it may, or does not read what it is sent.
    WaitForClient,
    /// Write what is in the output, then close.
    Close(Cause),
}

/// How many bytes may wait for the client to read them before nothing more is taken from it.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// One client's state. Made at accept; CONNECT fills it.
pub(super) struct Session {
    limits: Rc<Limits>,
    connected: Option<Connected>,
    /// Bytes of a packet that has not arrived whole, or that has to wait.
    input: Vec<u8>,
    output: Vec<u8>,
    acks: Acks,
    heard_ms: u64,
    opened_ms: u64,
}

impl Session {
    pub(super) fn new(limits: Rc<Limits>, now_ms: u64) -> Self {
        Session {
            limits,
            connected: None,
            input: Vec::new(),
            output: Vec::new(),
            acks: Acks::default(),
            heard_ms: now_ms,
            opened_ms: now_ms,
        }
    }

    /// Takes what was read and handles every whole packet in it, as far as there is room.
    ///
    /// An empty `bytes` goes on with what an earlier call had to leave.
    pub(super) fn handle_input(&mut self, bytes: &[u8], now_ms: u64, host: &mut impl Host) -> Flow {
        if !bytes.is_empty() {
            self.heard_ms = now_ms;
        }
        let mut kept = std::mem::take(&mut self.input);
        let direct = kept.is_empty();
        if !direct {
            kept.extend_from_slice(bytes);
        }
        let all = if direct { bytes } else { &kept };
        let (used, flow) = self.handle_packets(all, host);
        let rest = all.get(used..).unwrap_or_default();
        if direct {
            self.input.extend_from_slice(rest);
        } else if !rest.is_empty() {
            kept.drain(..used);
            self.input = kept;
        }
        if let Flow::Close(cause) = flow {
            self.write_disconnect(cause);
        }
        flow
    }

    /// Handles packets from the front of `bytes`; returns how many bytes were used and what is to happen next.
    fn handle_packets(&mut self, bytes: &[u8], host: &mut impl Host) -> (usize, Flow) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let frame = match mqtt::frame(rest, self.limits.packet_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (used, Flow::Read),
                Err(error) => return (used, Flow::Close(error.into())),
            };
            match self.handle_frame(&frame, host) {
                Flow::Read => used += frame.packet_bytes,
                Flow::Close(cause) => return (used + frame.packet_bytes, Flow::Close(cause)),
                wait => return (used, wait),
            }
        }
    }

    fn handle_frame(&mut self, frame: &mqtt::Frame<'_>, host: &mut impl Host) -> Flow {
        if self.output.len() > OUTPUT_BYTES_MAX {
            return Flow::WaitForClient;
        }
        let Some(version) = self.version() else {
            return match mqtt::decode_connect(frame) {
                Ok(connect) => self.handle_connect(&connect, host),
                Err(error) => self.refuse_connect(error),
            };
        };
        match mqtt::decode(version, frame) {
            Ok(Packet::Publish(publish)) => self.handle_publish(&publish, host),
            Ok(packet) => self.handle_packet(packet, host),
            Err(error) => Flow::Close(error.into()),
        }
    }

    fn refuse_connect(&mut self, error: DecodeError) -> Flow {
        if let DecodeError::Version(level) = error {
            // A client of a later version is told in the way it can read (5.0, section 3.1.2.2).
            let version = if level > 5 { Version::V5 } else { Version::V311 };
            self.write_connack(version, error.reason(), None, false);
        }
        Flow::Close(error.into())
    }

    fn handle_connect(&mut self, connect: &Connect<'_>, host: &mut impl Host) -> Flow {
        if let Some((code, why)) = not_supported(connect) {
            self.write_connack(connect.version, code, None, false);
            self.connected = None;
            return Flow::Close(Cause::NotSupported(code, why));
        }
        if connect.client_id.len() > self.limits.client_id_bytes_max {
            let code = reason::CLIENT_IDENTIFIER_NOT_VALID;
            self.write_connack(connect.version, code, None, false);
            return Flow::Close(Cause::NotSupported(code, "client id is over `client_id_bytes_max`"));
        }
        let username = match host.login() {
            Ok(username) => username,
            Err(code) => {
                self.write_connack(connect.version, code, None, false);
                return Flow::Close(Cause::LoginRefused);
            }
        };
        let assigned = connect.client_id.is_empty().then(|| host.assign_client_id());
        let client_id: Box<str> = assigned.as_deref().unwrap_or(connect.client_id).into();
        host.connected(&client_id);
        let window = connect.receive_maximum.min(self.limits.inflight_max);
        self.write_connack(
            connect.version,
            reason::SUCCESS,
            assigned.as_deref(),
            connect.session_expiry_s > 0,
        );
        self.connected = Some(Connected {
            version: connect.version,
            client_id,
            username,
            keep_alive_ms: u64::from(connect.keep_alive_s) * 1500,
            packet_bytes_max: usize::try_from(connect.packet_bytes_max).unwrap_or(usize::MAX),
            will: connect.will.as_ref().map(OwnedWill::of),
            subscriptions: Vec::new(),
            inflight: Inflight::new(window),
        });
        Flow::Read
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, host: &mut impl Host) -> Flow {
        let Some(connected) = &self.connected else { return Flow::Close(Cause::Lost) };
        let version = connected.version;
        if let Some((code, why)) = publish_not_supported(version, publish) {
            return Flow::Close(Cause::NotSupported(code, why));
        }
        if !self.limits.takes_topic(publish.topic) {
            let why = "topic is over `topic_bytes_max` or `topic_levels_max`";
            return Flow::Close(Cause::NotSupported(reason::TOPIC_NAME_INVALID, why));
        }
        if !host.may(Action::Publish, &connected.client(), publish.topic) {
            return self.refuse_publish(version, publish, Cause::NotAuthorized, reason::NOT_AUTHORIZED);
        }
        if publish.qos > 0 && self.acks.len() >= usize::from(self.limits.inflight_max) {
            return match version {
                Version::V311 => Flow::WaitForClient,
                Version::V5 => Flow::Close(Cause::NotSupported(
                    reason::RECEIVE_MAXIMUM_EXCEEDED,
                    "more unacknowledged publishes than our Receive Maximum",
                )),
            };
        }
        match host.admission(publish.topic) {
            Admission::Open => {}
            Admission::Wait => return Flow::WaitForRoom,
            Admission::Refuse => {
                host.refused();
                return self.refuse_publish(version, publish, Cause::Refused, reason::QUOTA_EXCEEDED);
            }
        }
        let receipt = (publish.qos > 0).then(|| self.acks.expect(publish.packet_id));
        host.publish(&connected.event(publish), receipt);
        Flow::Read
    }

    fn refuse_publish(&mut self, version: Version, publish: &Publish<'_>, cause: Cause, reason: u8) -> Flow {
        match version {
            // There is no way to say so, and none is expected.
            _ if publish.qos == 0 => Flow::Read,
            Version::V311 => Flow::Close(cause),
            Version::V5 => {
                self.acks.refuse(publish.packet_id, reason);
                self.write_acks();
                Flow::Read
            }
        }
    }

    fn handle_packet(&mut self, packet: Packet<'_>, host: &mut impl Host) -> Flow {
        let Some(connected) = &mut self.connected else { return Flow::Close(Cause::Lost) };
        let version = connected.version;
        match packet {
            Packet::PingReq => mqtt::pingresp(&mut self.output),
            Packet::PubAck { packet_id } => connected.inflight.acknowledge(packet_id),
            Packet::Subscribe(subscribe) => {
                if subscribe.subscription_identifier.is_some() {
                    let code = 0xa1;
                    return Flow::Close(Cause::NotSupported(
                        code,
                        "subscription identifiers are not built yet",
                    ));
                }
                let limits = Rc::clone(&self.limits);
                let codes: Vec<u8> = subscribe
                    .filters
                    .iter()
                    .map(|(filter, qos)| connected.subscribe(filter, *qos, &limits, host))
                    .collect();
                mqtt::suback(version, subscribe.packet_id, &codes, &mut self.output);
            }
            Packet::Unsubscribe { packet_id, filters } => {
                let codes: Vec<u8> =
                    filters.iter().map(|filter| connected.unsubscribe(filter, host)).collect();
                mqtt::unsuback(version, packet_id, &codes, &mut self.output);
            }
            Packet::Disconnect { reason, session_expiry_s } => {
                return connected.handle_disconnect(reason, session_expiry_s);
            }
            Packet::QoS2 => {
                let why = "a packet of the QoS 2 handshake; QoS 2 is not built yet";
                return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, why));
            }
            Packet::Auth => {
                return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, "AUTH without a method"));
            }
            Packet::Publish(_) => {}
        }
        Flow::Read
    }

    /// The receipt of an event resolved: its PUBACK may leave, behind those that came before it.
    pub(super) fn handle_receipt(&mut self, receipt: u32) {
        self.acks.resolve(receipt);
    }

    /// Writes every acknowledgement whose turn has come.
    pub(super) fn write_acks(&mut self) {
        let Some(version) = self.version() else { return };
        while let Some((packet_id, reason)) = self.acks.poll() {
            mqtt::puback(version, packet_id, reason, &mut self.output);
        }
    }

    /// True if a delivery of this QoS can be written now.
    pub(super) fn takes_delivery(&self, qos: u8) -> bool {
        let window_open = self.connected.as_ref().is_some_and(|connected| connected.inflight.is_open());
        self.output.len() < OUTPUT_BYTES_MAX && (qos == 0 || window_open)
    }

    /// Writes a publish to the subscriber. Returns false, and writes nothing, if it is over the client's Maximum
    /// Packet Size, which the client has asked never to see (section 3.1.2.11.4).
    pub(super) fn handle_delivery(&mut self, event: &BusEvent, qos: u8) -> bool {
        let Some(connected) = &mut self.connected else { return false };
        let version = connected.version;
        let properties = if version == Version::V5 { &*event.properties } else { &[] };
        let mut delivery = Delivery {
            qos,
            retain: false,
            packet_id: 0,
            topic: &event.topic,
            properties,
            payload: &event.payload,
        };
        if mqtt::publish_bytes(version, &delivery) > connected.packet_bytes_max {
            return false;
        }
        if qos > 0 {
            delivery.packet_id = connected.inflight.next();
        }
        mqtt::publish(version, &delivery, &mut self.output);
        true
    }

    /// When the connection has to be closed if nothing is heard until then; `None` with keep-alive off.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match &self.connected {
            None => Some(self.opened_ms + self.limits.connect_timeout_ms),
            Some(connected) if connected.keep_alive_ms == 0 => None,
            Some(connected) => Some(self.heard_ms + connected.keep_alive_ms),
        }
    }

    /// Time has passed; says whether the deadline has.
    pub(super) fn handle_time(&mut self, now_ms: u64) -> Option<Cause> {
        let late = self.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
        let cause = if self.connected.is_some() { Cause::KeepAlive } else { Cause::ConnectTimeout };
        late.then_some(cause)
    }

    /// The connection ends: writes the reason, as far as the client can be told.
    pub(super) fn write_disconnect(&mut self, cause: Cause) {
        if let (Some(version), Some(reason)) = (self.version(), cause.reason()) {
            mqtt::disconnect(version, reason, &mut self.output);
        }
    }

    /// The connection has ended: takes the subscriptions off the bus and publishes the will, if one is due
    /// (section 3.1.2.5). The will waits for nothing: no one is left to be told of a refusal.
    pub(super) fn close(&mut self, cause: Cause, host: &mut impl Host) {
        let Some(connected) = self.connected.take() else { return };
        for (filter, qos) in &connected.subscriptions {
            host.unsubscribe(filter, *qos);
        }
        match connected.will.as_ref().filter(|_| cause != Cause::Disconnected) {
            None => {}
            Some(will) if !host.may(Action::Publish, &connected.client(), &will.topic) => {}
            Some(will) if host.admission(&will.topic) == Admission::Open => {
                host.publish(&connected.will_event(will), None);
            }
            Some(_) => host.refused(),
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Gives back what an idle session need not hold.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > 1024 {
                *buffer = Vec::new();
            }
        }
    }

    fn version(&self) -> Option<Version> {
        self.connected.as_ref().map(|connected| connected.version)
    }

    fn write_connack(&mut self, version: Version, reason: u8, assigned: Option<&str>, expiry_is_zero: bool) {
        let connack = Connack {
            reason,
            receive_maximum: self.limits.inflight_max,
            packet_bytes_max: self.limits.packet_bytes_max,
            assigned_client_id: assigned,
            session_expiry_is_zero: expiry_is_zero,
        };
        mqtt::connack(version, &connack, &mut self.output);
    }
}

/// What a CONNECT asks for that is not to be had.
fn not_supported(connect: &Connect<'_>) -> Option<(u8, &'static str)> {
    let v5 = connect.version == Version::V5;
    if connect.enhanced_authentication {
        return Some((reason::BAD_AUTHENTICATION_METHOD, "enhanced authentication is not supported"));
    }
    if connect.version == Version::V311 && connect.client_id.is_empty() && !connect.clean_start {
        return Some((reason::CLIENT_IDENTIFIER_NOT_VALID, "an empty client id needs a clean session"));
    }
    match &connect.will {
        Some(will) if will.qos > 1 => Some((reason::QOS_NOT_SUPPORTED, "a will of QoS 2 is not built yet")),
        Some(will) if will.retain && v5 => {
            Some((reason::RETAIN_NOT_SUPPORTED, "a retained will is not built yet"))
        }
        _ => None,
    }
}

/// What a PUBLISH asks for that CONNACK has said is not to be had. Retained messages of 3.1.1, which has no way to
/// say so, are taken as ordinary ones.
fn publish_not_supported(version: Version, publish: &Publish<'_>) -> Option<(u8, &'static str)> {
    if publish.qos > 1 {
        return Some((reason::QOS_NOT_SUPPORTED, "QoS 2 is not built yet"));
    }
    if publish.retain && version == Version::V5 {
        return Some((reason::RETAIN_NOT_SUPPORTED, "retained messages are not built yet"));
    }
    if publish.properties.topic_alias.is_some() {
        return Some((reason::TOPIC_ALIAS_INVALID, "topic aliases are not built yet"));
    }
    None
}

#[cfg(test)]
mod tests;
