//! CONNECT and its answer (MQTT 5.0, sections 3.1 and 3.2).

use super::aliases::{Incoming, Outgoing};
use super::connected::Connected;
use super::{Flow, Host, Session};
use crate::bus::{Accepted, Bus, Connecting, Ending, Will};
use crate::durable::Durable;
use crate::listener::acks::Ack;
use crate::listener::{Action, Cause, Client, Limits};
use crate::mqtt::{self, Connack, Connect, DecodeError, Version, reason};

impl Session {
    /// The first packet is not a CONNECT that can be read.
    pub(super) fn refuse_version(&mut self, error: DecodeError) -> Flow {
        if let DecodeError::Version(level) = error {
            // A client of a later version is told in the way it can read (5.0, section 3.1.2.2).
            let version = if level > 5 { Version::V5 } else { Version::V311 };
            let connack = Connack { reason: error.reason(), ..Connack::default() };
            mqtt::connack(version, &connack, &mut self.output);
        }
        Flow::Close(error.into())
    }

    pub(super) fn handle_connect(&mut self, connect: &Connect<'_>, host: &mut impl Host) -> Flow {
        if let Some((code, why)) = not_supported(connect, &self.limits) {
            return self.refuse_connect(connect, code, why);
        }
        let username = match host.login() {
            Ok(username) => username,
            Err(code) => {
                let connack = Connack { reason: code, ..Connack::default() };
                mqtt::connack(connect.version, &connack, &mut self.output);
                return Flow::Close(Cause::LoginRefused);
            }
        };
        let assigned = connect.client_id.is_empty().then(|| host.assign_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let client = Client { client_id, username: username.as_deref() };
        if connect.will.as_ref().is_some_and(|will| !host.may(Action::Publish, &client, will.topic)) {
            return self.refuse_connect(
                connect,
                reason::NOT_AUTHORIZED,
                "not authorized to publish the will",
            );
        }
        let connecting = Connecting {
            connection: host.connection(),
            client_id,
            username: username.as_deref(),
            version: connect.version,
            clean_start: connect.clean_start,
            expiry_s: connect.session_expiry_s,
            receive_maximum: connect.receive_maximum.min(self.limits.inflight_max),
            will: connect.will.as_ref().map(owned),
        };
        // CONNACK is the first answer there is.
        let accept = |bus: &mut Bus, now, durable: &mut dyn Durable| bus.connect(connecting, now, durable);
        let (Some(accepted), stored) = host.with_bus(Some(0), accept) else {
            let why = "as many sessions as `sessions_max` allows are kept already";
            return self.refuse_connect(connect, reason::QUOTA_EXCEEDED, why);
        };
        host.connected(accepted.handle);
        self.connected = Some(self.connected(connect, client_id, username.clone(), &accepted));
        self.answer_connect(connect, assigned.as_deref(), &accepted, stored && accepted.discarded);
        Flow::Read
    }

    fn connected(
        &self,
        connect: &Connect<'_>,
        client_id: &str,
        username: Option<Box<str>>,
        accepted: &Accepted,
    ) -> Connected {
        let keep_alive_s = self.server_keep_alive_s(connect).unwrap_or(connect.keep_alive_s);
        Connected {
            version: connect.version,
            handle: accepted.handle,
            client_id: client_id.into(),
            username,
            keep_alive_ms: u64::from(keep_alive_s) * 1500,
            packet_bytes_max: usize::try_from(connect.packet_bytes_max).unwrap_or(usize::MAX),
            expiry_s: connect.session_expiry_s,
            problem_information: connect.problem_information,
            aliases_in: Incoming::new(self.limits.topic_alias_max),
            aliases_out: Outgoing::new(connect.topic_alias_max.min(self.limits.topic_alias_max)),
            ending: Ending::LOST,
        }
    }

    /// The keep-alive that counts in place of the client's, if its own is over the bound. Before 5.0 a client cannot be
    /// told, and its own counts.
    fn server_keep_alive_s(&self, connect: &Connect<'_>) -> Option<u16> {
        let max_s = self.limits.keep_alive_max_s?;
        let over = connect.keep_alive_s == 0 || connect.keep_alive_s > max_s;
        (over && connect.version == Version::V5).then_some(max_s)
    }

    fn answer_connect(
        &mut self,
        connect: &Connect<'_>,
        assigned: Option<&str>,
        accepted: &Accepted,
        waits: bool,
    ) {
        let connack = Connack {
            reason: reason::SUCCESS,
            session_present: accepted.present,
            receive_maximum: self.limits.inflight_max,
            packet_bytes_max: self.limits.packet_bytes_max,
            topic_alias_max: self.limits.topic_alias_max,
            assigned_client_id: assigned,
            session_expiry_s: Some(accepted.expiry_s)
                .filter(|expiry_s| *expiry_s != connect.session_expiry_s),
            server_keep_alive_s: self.server_keep_alive_s(connect),
            reason_string: "",
        };
        let mut packet = Vec::new();
        mqtt::connack(connect.version, &connack, &mut packet);
        let receipt = self.acks.expect(Ack::Packet(packet.into()));
        self.connack_owed = waits;
        self.answer_unless(waits, receipt);
    }

    fn refuse_connect(&mut self, connect: &Connect<'_>, code: u8, why: &'static str) -> Flow {
        let connack = Connack { reason: code, reason_string: why, ..Connack::default() };
        mqtt::connack(connect.version, &connack, &mut self.output);
        Flow::Close(Cause::NotSupported(code, why))
    }
}

/// What a CONNECT asks for that is not to be had.
fn not_supported(connect: &Connect<'_>, limits: &Limits) -> Option<(u8, &'static str)> {
    let no_id = connect.client_id.is_empty();
    match connect.version {
        Version::V31 if !limits.mqtt31 => {
            return Some((reason::UNSUPPORTED_PROTOCOL_VERSION, "MQTT 3.1 needs `mqtt31 = true`"));
        }
        Version::V31 if no_id => {
            return Some((reason::CLIENT_IDENTIFIER_NOT_VALID, "MQTT 3.1 needs a client id"));
        }
        Version::V311 if no_id && !connect.clean_start => {
            let why = "an empty client id needs a clean session";
            return Some((reason::CLIENT_IDENTIFIER_NOT_VALID, why));
        }
        _ => {}
    }
    if connect.enhanced_authentication {
        return Some((reason::BAD_AUTHENTICATION_METHOD, "enhanced authentication is not supported"));
    }
    if connect.client_id.len() > limits.client_id_bytes_max {
        return Some((reason::CLIENT_IDENTIFIER_NOT_VALID, "client id is over `client_id_bytes_max`"));
    }
    let will_topic = connect.will.as_ref().map(|will| will.topic);
    if will_topic.is_some_and(|topic| !limits.takes_topic(topic)) {
        let why = "the will's topic is over `topic_bytes_max` or `topic_levels_max`";
        return Some((reason::TOPIC_NAME_INVALID, why));
    }
    None
}

fn owned(will: &mqtt::Will<'_>) -> Will {
    let mut properties = Vec::new();
    mqtt::publish_properties(&will.properties, &mut properties);
    Will {
        topic: will.topic.into(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        delay_s: will.delay_s,
        expiry_s: will.properties.expiry_s,
        properties: properties.into(),
    }
}
