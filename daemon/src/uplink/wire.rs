//! The wire to the cloud: rumqttc, in both protocol versions, behind one small face.
//!
//! One wire is one connection. rumqttc's own queue and its reconnecting lose events over slow links that drop, so
//! neither is used: the first error ends the wire, and what was in flight is read from the spool again. Its event
//! loop must never be cancelled while publishes are under way, so it runs in a task of its own.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::{TlsConfiguration, Transport, v5};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local};

use tidegate_config::{Uplink, Version};

use super::secret;
use super::tls;
use crate::mqtt::{PublishProperties, reason};

/// What the wire reports.
#[derive(Debug)]
pub(crate) enum WireEvent {
    /// The cloud took the connection, with these limits.
    Connected { receive_maximum: u16, packet_bytes_max: usize },
    /// The next publish handed over was written, with this packet id (0 at QoS 0).
    Sent(u16),
    /// The cloud answered a publish; a reason of 0x80 and more is a refusal.
    Acknowledged(u16, u8),
    /// The connection has ended. Nothing follows.
    Failed(String),
}

/// A publish towards the cloud.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: PublishProperties<'a>,
    /// User properties of ours, beside the event's own.
    pub(crate) added: [(&'static str, String); 2],
    pub(crate) expiry_s: Option<u32>,
}

/// The client could not be set up; the connection was not tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
}

/// The sending half of one connection. Dropping it ends the connection.
pub(crate) struct Wire {
    client: Client,
    reader: AbortHandle,
}

enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// How long TCP, TLS and CONNACK may take together, name lookup included.
const CONNECT_TIMEOUT_S: u64 = 8;

impl Wire {
    /// Starts a connection. What becomes of it comes by the receiver, beginning with `Connected` or `Failed`.
    pub(crate) fn connect(uplink: &Uplink) -> Result<(Wire, UnboundedReceiver<WireEvent>), SetupError> {
        let (events_tx, events_rx) = unbounded_channel();
        let login = match (&uplink.username, &uplink.password) {
            (None, None) => None,
            (username, password) => Some((
                username.clone().unwrap_or_default(),
                password.as_ref().map(secret::read).transpose()?.unwrap_or_default(),
            )),
        };
        let transport = match &uplink.tls {
            None => Transport::tcp(),
            Some(tls) => Transport::tls_with_config(TlsConfiguration::Rustls(tls::client_config(tls)?)),
        };
        let (client, reader) = match uplink.version {
            Version::V311 => connect_v311(uplink, login, transport, events_tx),
            Version::V5 => connect_v5(uplink, login, transport, events_tx),
        };
        Ok((Wire { client, reader }, events_rx))
    }

    /// Hands a publish over. False means that it was not taken: the topic is not valid, or the wire has ended.
    pub(crate) fn publish(&self, outgoing: Outgoing<'_>) -> bool {
        match &self.client {
            Client::V311(client) => {
                let qos = qos_v311(outgoing.qos);
                client.try_publish(outgoing.topic, qos, outgoing.retain, outgoing.payload).is_ok()
            }
            Client::V5(client) => {
                let qos = qos_v5(outgoing.qos);
                let properties = properties_v5(&outgoing);
                let (topic, retain, payload) = (outgoing.topic, outgoing.retain, outgoing.payload);
                client.try_publish_with_properties(topic, qos, retain, payload, properties).is_ok()
            }
        }
    }

    /// Says DISCONNECT, so that the cloud does not publish a will.
    pub(crate) fn disconnect(&self) {
        let _ = match &self.client {
            Client::V311(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn connect_v311(
    uplink: &Uplink,
    login: Option<(String, String)>,
    transport: Transport,
    events: UnboundedSender<WireEvent>,
) -> (Client, AbortHandle) {
    let mut options = rumqttc::MqttOptions::new(&uplink.client_id, &uplink.url.host, uplink.url.port);
    options.set_transport(transport).set_clean_session(true).set_keep_alive(uplink.keep_alive);
    options.set_max_packet_size(uplink.packet_bytes_max, uplink.packet_bytes_max);
    options.set_inflight(packet_ids(uplink.window));
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    let (client, mut event_loop) = rumqttc::AsyncClient::new(options, uplink.window.into());
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    event_loop.set_network_options(network);
    let packet_bytes_max = uplink.packet_bytes_max;
    let reader = spawn_local(async move {
        loop {
            let event = match event_loop.poll().await {
                Ok(event) => event_v311(&event, packet_bytes_max),
                Err(error) => Some(WireEvent::Failed(explain(&error))),
            };
            if !forward(&events, event) {
                return;
            }
        }
    });
    (Client::V311(client), reader.abort_handle())
}

fn connect_v5(
    uplink: &Uplink,
    login: Option<(String, String)>,
    transport: Transport,
    events: UnboundedSender<WireEvent>,
) -> (Client, AbortHandle) {
    let mut options = v5::MqttOptions::new(&uplink.client_id, &uplink.url.host, uplink.url.port);
    options.set_transport(transport).set_clean_start(true).set_keep_alive(uplink.keep_alive);
    options.set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_outgoing_inflight_upper_limit(packet_ids(uplink.window));
    options.set_max_packet_size(u32::try_from(uplink.packet_bytes_max).ok());
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_network_options(network);
    let (client, mut event_loop) = v5::AsyncClient::new(options, uplink.window.into());
    let packet_bytes_max = uplink.packet_bytes_max;
    let reader = spawn_local(async move {
        loop {
            let event = match event_loop.poll().await {
                Ok(event) => event_v5(&event, packet_bytes_max),
                Err(error) => Some(WireEvent::Failed(explain(&error))),
            };
            if !forward(&events, event) {
                return;
            }
        }
    });
    (Client::V5(client), reader.abort_handle())
}

/// Passes an event on; false once there is nothing more to do.
fn forward(events: &UnboundedSender<WireEvent>, event: Option<WireEvent>) -> bool {
    let Some(event) = event else { return true };
    let last = matches!(event, WireEvent::Failed(_));
    events.send(event).is_ok() && !last
}

/// An error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// rumqttc numbers packets from 1 to its own limit and goes wrong when a number comes round while it is in flight. A
/// limit well above our window keeps the numbers apart.
fn packet_ids(window: u16) -> u16 {
    window.saturating_mul(5)
}

fn event_v311(event: &rumqttc::Event, packet_bytes_max: usize) -> Option<WireEvent> {
    use rumqttc::{Event, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => {
            Some(WireEvent::Connected { receive_maximum: u16::MAX, packet_bytes_max })
        }
        Event::Incoming(Packet::PubAck(ack)) => Some(WireEvent::Acknowledged(ack.pkid, reason::SUCCESS)),
        Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => Some(WireEvent::Sent(*packet_id)),
        _ => None,
    }
}

fn event_v5(event: &v5::Event, packet_bytes_max: usize) -> Option<WireEvent> {
    match event {
        v5::Event::Incoming(packets5::Packet::ConnAck(connack)) => {
            let properties = connack.properties.as_ref();
            let broker_max = properties.and_then(|properties| properties.max_packet_size);
            let broker_max = broker_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
            Some(WireEvent::Connected {
                receive_maximum: properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX),
                packet_bytes_max: packet_bytes_max.min(broker_max),
            })
        }
        v5::Event::Incoming(packets5::Packet::PubAck(ack)) => {
            Some(WireEvent::Acknowledged(ack.pkid, reason_of(ack.reason)))
        }
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => Some(WireEvent::Sent(*packet_id)),
        _ => None,
    }
}

fn reason_of(reason: packets5::PubAckReason) -> u8 {
    use packets5::PubAckReason as Reason;
    match reason {
        Reason::Success => 0x00,
        Reason::NoMatchingSubscribers => 0x10,
        Reason::UnspecifiedError => 0x80,
        Reason::ImplementationSpecificError => 0x83,
        Reason::NotAuthorized => 0x87,
        Reason::TopicNameInvalid => 0x90,
        Reason::PacketIdentifierInUse => 0x91,
        Reason::QuotaExceeded => 0x97,
        Reason::PayloadFormatInvalid => 0x99,
    }
}

fn qos_v311(qos: u8) -> rumqttc::QoS {
    if qos == 0 { rumqttc::QoS::AtMostOnce } else { rumqttc::QoS::AtLeastOnce }
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    if qos == 0 { v5::mqttbytes::QoS::AtMostOnce } else { v5::mqttbytes::QoS::AtLeastOnce }
}

fn properties_v5(outgoing: &Outgoing<'_>) -> packets5::PublishProperties {
    let properties = &outgoing.properties;
    let own = outgoing.added.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let carried = properties.user_properties().map(|(key, value)| (key.to_owned(), value.to_owned()));
    packets5::PublishProperties {
        payload_format_indicator: properties.payload_is_text.then_some(1),
        message_expiry_interval: outgoing.expiry_s,
        response_topic: properties.response_topic.map(str::to_owned),
        correlation_data: properties.correlation_data.map(Bytes::copy_from_slice),
        user_properties: own.chain(carried).collect(),
        content_type: properties.content_type.map(str::to_owned),
        ..packets5::PublishProperties::default()
    }
}
