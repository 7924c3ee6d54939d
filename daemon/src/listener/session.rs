//! The protocol of one connection, as a state machine: bytes in, bytes out, and a [`Host`] that does what reaches beyond
//! this connection.
//!
//! It knows the packets; it knows no socket, no clock (time is an argument) and nothing of rules or storage. What a session
//! keeps beyond its connection is the bus's. The one promise it is built around: PUBACK and PUBREC are written when the
//! event's receipt has resolved, in the order of arrival (MQTT 5.0, section 4.6), and never before.

mod aliases;
mod connect;
mod connected;
mod deliver;
#[cfg(test)]
mod fuzz;
#[cfg(all(fuzzing, not(test)))]
pub(crate) mod fuzz;
#[cfg(test)]
mod model;
mod publish;
mod subscribe;
#[cfg(test)]
mod testing;
#[cfg(all(fuzzing, not(test)))]
mod testing;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use tidegate_buffer::Stamp;

use super::acks::{Ack, Acks};
use super::{Access, Cause, Limits};
use crate::bus::{Answer, Bus, ConnectionId, Ending, Handle};
use crate::durable::Durable;
use crate::event::Event;
use crate::mqtt::{self, AckKind, Packet, Version, reason};
use connected::Connected;

/// What a session needs of the gateway.
pub(super) trait Host: Access {
    /// May an event on this topic be taken now?
    fn admission(&self, topic: &str, retain: bool) -> Admission;
    /// The number of this connection.
    fn connection(&self) -> ConnectionId;
    /// What came of the login: the user name that was proved, by a password or a certificate, or the reason code of
    /// CONNACK (5.0, section 3.2.2.2). Whatever CONNECT says, no other name counts.
    fn login(&self) -> Result<Option<Box<str>>, u8>;
    /// A client id for one who brought none.
    fn assign_client_id(&mut self) -> String;
    /// This connection got a session.
    fn connected(&mut self, handle: Handle);
    /// Takes an event. `receipt` is the number that comes back by [`Session::handle_receipt`]; `None` at QoS 0.
    /// `packet_id` is that of its publish; at QoS 2 it is stored with the event.
    fn publish(&mut self, event: &Event<'_>, handle: Handle, packet_id: u16, receipt: Option<u32>);
    /// Counts an event that was refused.
    fn refused(&mut self);
    /// The bus, to look at.
    fn bus(&self) -> &Bus;
    /// Changes the bus. True if the change has to become durable: then `receipt` comes back when it has.
    fn with_bus<R>(
        &mut self,
        receipt: Option<u32>,
        change: impl FnOnce(&mut Bus, Stamp, &mut dyn Durable) -> R,
    ) -> (R, bool);
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

impl From<tidegate_buffer::Admission> for Admission {
    fn from(admission: tidegate_buffer::Admission) -> Self {
        match admission {
            tidegate_buffer::Admission::Open => Self::Open,
            tidegate_buffer::Admission::Wait => Self::Wait,
            tidegate_buffer::Admission::Refuse(_) => Self::Refuse,
        }
    }
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

/// One client's connection. Made at accept; CONNECT fills it.
pub(super) struct Session {
    limits: Rc<Limits>,
    connected: Option<Connected>,
    /// CONNACK waits for its receipt: nothing else may be read or written before it.
    connack_owed: bool,
    /// Bytes of a packet that has not arrived whole, or that has to wait.
    input: Vec<u8>,
    output: Vec<u8>,
    acks: Acks,
    /// The receipt of a publish whose acknowledgement is waited for, and when the publish came.
    timed: Option<(u32, u64)>,
    heard_ms: u64,
    opened_ms: u64,
}

impl Session {
    pub(super) fn new(limits: Rc<Limits>, now_ms: u64) -> Self {
        Session {
            limits,
            connected: None,
            connack_owed: false,
            input: Vec::new(),
            output: Vec::new(),
            acks: Acks::default(),
            timed: None,
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
        // Each publish owes two answers at most, and what else is answered is bounded beside it.
        let owed_max = 16 + 2 * usize::from(self.limits.inflight_max);
        if self.connack_owed || self.acks.len() > owed_max || self.output.len() > OUTPUT_BYTES_MAX {
            return Flow::WaitForClient;
        }
        let Some(version) = self.version() else {
            return match mqtt::decode_connect(frame) {
                Ok(connect) => self.handle_connect(&connect, host),
                Err(error) => self.refuse_version(error),
            };
        };
        match mqtt::decode(version, frame) {
            Ok(Packet::Publish(publish)) => self.handle_publish(&publish, host),
            Ok(packet) => self.handle_packet(packet, host),
            Err(error) => Flow::Close(error.into()),
        }
    }

    fn handle_packet(&mut self, packet: Packet<'_>, host: &mut impl Host) -> Flow {
        match packet {
            Packet::PingReq => mqtt::pingresp(&mut self.output),
            Packet::Ack { kind, packet_id, reason } => return self.handle_ack(kind, packet_id, reason, host),
            Packet::Subscribe(subscribe) => return self.handle_subscribe(&subscribe, host),
            Packet::Unsubscribe { packet_id, filters } => self.handle_unsubscribe(packet_id, &filters, host),
            Packet::Disconnect { reason, session_expiry_s } => {
                return self.handle_disconnect(reason, session_expiry_s);
            }
            Packet::Auth => {
                return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, "AUTH without a method"));
            }
            Packet::Publish(_) => {}
        }
        Flow::Read
    }

    fn handle_ack(&mut self, kind: AckKind, packet_id: u16, reason: u8, host: &mut impl Host) -> Flow {
        let Some(connected) = &self.connected else { return Flow::Close(Cause::Lost) };
        let (version, handle) = (connected.version, connected.handle);
        if kind == AckKind::Rel {
            let receipt = self.acks.expect(Ack::success(AckKind::Comp, packet_id));
            let release =
                |bus: &mut Bus, _, durable: &mut dyn Durable| bus.release(handle, packet_id, durable);
            let ((), waits) = host.with_bus(Some(receipt), release);
            self.answer_unless(waits, receipt);
            return Flow::Read;
        }
        let acknowledge = |bus: &mut Bus, _, durable: &mut dyn Durable| {
            bus.acknowledge(handle, kind, packet_id, reason, durable)
        };
        match host.with_bus(None, acknowledge).0 {
            Answer::None => {}
            Answer::Release => {
                mqtt::ack(version, AckKind::Rel, packet_id, reason::SUCCESS, "", &mut self.output);
            }
            Answer::Violation => {
                let why = "an acknowledgement of another quality of service than the publish";
                return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, why));
            }
        }
        Flow::Read
    }

    fn handle_disconnect(&mut self, reason: u8, session_expiry_s: Option<u32>) -> Flow {
        let Some(connected) = &mut self.connected else { return Flow::Close(Cause::Lost) };
        if session_expiry_s.is_some_and(|expiry_s| expiry_s > 0) && connected.expiry_s == 0 {
            let why = "a session expiry at DISCONNECT, where CONNECT had none";
            return Flow::Close(Cause::NotSupported(reason::PROTOCOL_ERROR, why));
        }
        // Any other reason asks for the will, or complains (5.0, section 3.1.2.5).
        connected.ending = Ending { without_will: reason == reason::SUCCESS, expiry_s: session_expiry_s };
        Flow::Close(Cause::Disconnected)
    }

    /// The receipt of something taken resolved: its answer may leave, behind those that came before it.
    pub(super) fn handle_receipt(&mut self, receipt: u32) {
        self.acks.resolve(receipt);
    }

    /// Lets an answer leave at once, in its turn, unless it waits for a receipt.
    fn answer_unless(&mut self, waits: bool, receipt: u32) {
        if !waits {
            self.acks.resolve(receipt);
            self.write_acks();
        }
    }

    /// Whether a publish is timed, from when it came to its acknowledgement. One of those in flight is, so that it costs an event
    /// nothing; the next one once that is acknowledged.
    pub(super) fn is_timing(&self) -> bool {
        self.timed.is_some()
    }

    /// How long the publish that was timed took, if it is acknowledged.
    pub(super) fn poll_timed(&mut self, now_ms: u64) -> Option<u64> {
        let (_, from_ms) = self.timed.take_if(|(receipt, _)| self.acks.is_given(*receipt))?;
        Some(now_ms.saturating_sub(from_ms))
    }

    /// Writes every answer whose turn has come.
    pub(super) fn write_acks(&mut self) {
        let Some(version) = self.version() else { return };
        let with_words = self.connected.as_ref().is_some_and(|connected| connected.problem_information);
        while let Some(ack) = self.acks.poll() {
            match ack {
                Ack::Publish { kind, packet_id, reason, words } => {
                    let words = if with_words { words } else { "" };
                    mqtt::ack(version, kind, packet_id, reason, words, &mut self.output);
                }
                Ack::Packet(packet) => self.output.extend_from_slice(&packet),
            }
            // Where CONNACK is owed, it is the first.
            self.connack_owed = false;
        }
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
        let Some(connected) = &self.connected else { return };
        let Some(reason) = cause.reason().filter(|_| !self.connack_owed) else { return };
        let words = cause.words();
        // Reason, lengths and property id take less than 16 bytes.
        let fits = words.len() + 16 <= connected.packet_bytes_max;
        mqtt::disconnect(connected.version, reason, if fits { &words } else { "" }, &mut self.output);
    }

    /// The connection has ended: the bus keeps the session, or ends it, and sees to the will.
    pub(super) fn close(&mut self, cause: Cause, host: &mut impl Host) {
        let Some(connected) = self.connected.take() else { return };
        let (handle, ending) = match cause {
            Cause::Disconnected => (connected.handle, connected.ending),
            _ => (connected.handle, Ending::LOST),
        };
        host.with_bus(None, |bus, now, durable| bus.disconnect(handle, ending, now, durable));
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
}
