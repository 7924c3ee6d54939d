//! One connection to a cloud broker, in either protocol version: bytes out, acknowledgements in.
//!
//! rumqttc gives the packets that a client sends once and those that a broker answers with. Its client and event loop are
//! not used: they write every publish by a system call of its own, number packets by themselves and queue what a broken
//! connection then loses. Here a batch is one write, packet ids are the caller's, and nothing is kept beyond the
//! connection. Every method can be cancelled between two polls without losing a byte.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use tidegate_config::{Uplink, Version};

use super::{secret, tls};
use crate::mqtt::{self, Delivery};

/// How long name lookup, TCP, TLS and CONNACK may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// What may wait to be written before nothing more is taken.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// The largest packet taken from a broker; it has nothing to send but acknowledgements.
const INPUT_BYTES_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 8 * 1024;

/// What a broker may say after CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// PUBACK with its reason; 0x80 and more is a refusal.
    Acknowledged(u16, u8),
    /// Anything else that calls for nothing, PINGRESP among them.
    Other,
}

/// What CONNACK said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How many QoS 1 publishes the broker takes unacknowledged.
    pub(crate) receive_maximum: u16,
    /// The largest packet it takes, in bytes.
    pub(crate) packet_bytes_max: usize,
    /// The keep-alive it wants in place of ours.
    pub(crate) keep_alive: Option<Duration>,
}

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no CONNACK within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    #[error("the broker ended the connection: {0}")]
    Disconnected(String),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker sent what is no MQTT packet: {0}")]
    Malformed(String),
    #[error("the broker answered CONNECT with another packet")]
    NotConnack,
}

/// A stream of bytes to the broker.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// The connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    version: Version,
    output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// A TLS stream may still hold what it was given.
    unflushed: bool,
    input: BytesMut,
}

impl Wire {
    /// Connects, up to CONNACK. Passwords and certificates are read, and the name is looked up, anew each time.
    pub(crate) async fn connect(uplink: &Uplink) -> Result<(Wire, Terms), WireError> {
        timeout(CONNECT_TIMEOUT, Wire::establish(uplink)).await.unwrap_or(Err(WireError::Timeout))
    }

    async fn establish(uplink: &Uplink) -> Result<(Wire, Terms), WireError> {
        let password = uplink.password.as_ref().map(secret::read).transpose()?;
        let tls = uplink.tls.as_ref().map(tls::client_config).transpose()?;
        let url = &uplink.url;
        let tcp = TcpStream::connect((url.host.as_str(), url.port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(url.host.clone()).map_err(tls::TlsError::from)?;
                Box::new(TlsConnector::from(config).connect(name, tcp).await?)
            }
        };
        let mut wire = Wire {
            stream,
            version: uplink.version,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            input: BytesMut::new(),
        };
        wire.write_connect(uplink, password)?;
        let terms = loop {
            if let Some(terms) = wire.poll_connack()? {
                break terms;
            }
            wire.progress().await?;
        };
        Ok((wire, Terms { packet_bytes_max: terms.packet_bytes_max.min(uplink.packet_bytes_max), ..terms }))
    }

    fn write_connect(&mut self, uplink: &Uplink, password: Option<String>) -> Result<(), WireError> {
        let keep_alive = u16::try_from(uplink.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let username = uplink.username.clone().or(password.as_ref().map(|_| String::new()));
        let login = username.map(|username| (username, password.unwrap_or_default()));
        let mut packet = BytesMut::new();
        let written = match self.version {
            Version::V311 => {
                let mut connect = v4::Connect::new(&uplink.client_id);
                connect.keep_alive = keep_alive;
                connect.login = login.map(|(username, password)| v4::Login { username, password });
                connect.write(&mut packet).map_err(|error| error.to_string())
            }
            Version::V5 => {
                let connect = v5::Connect {
                    keep_alive,
                    client_id: uplink.client_id.clone(),
                    clean_start: true,
                    properties: None,
                };
                let login = login.map(|(username, password)| v5::Login { username, password });
                connect.write(&None, &login, &mut packet).map_err(|error| error.to_string())
            }
        };
        written.map_err(WireError::Malformed)?;
        self.output.extend_from_slice(&packet);
        Ok(())
    }

    /// True while more publishes may be handed over.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX
    }

    /// Puts a publish into the output; [`Wire::progress`] writes it, with all the others.
    pub(crate) fn publish(&mut self, delivery: &Delivery<'_>) {
        mqtt::publish(self.mqtt_version(), delivery, &mut self.output);
    }

    /// The whole length of that publish, in bytes.
    pub(crate) fn publish_bytes(&self, delivery: &Delivery<'_>) -> usize {
        mqtt::publish_bytes(self.mqtt_version(), delivery)
    }

    /// True if a publish carries properties, as it does in MQTT 5.
    pub(crate) fn has_properties(&self) -> bool {
        self.version == Version::V5
    }

    pub(crate) fn ping(&mut self) {
        self.output.extend_from_slice(&[0xc0, 0]);
    }

    /// Says DISCONNECT and writes what is left, for a moment.
    pub(crate) async fn disconnect(mut self) {
        self.output.extend_from_slice(&[0xe0, 0]);
        let _ = timeout(Duration::from_millis(500), async {
            while (!self.output.is_empty() || self.unflushed) && self.progress().await.is_ok() {}
        })
        .await;
    }

    fn mqtt_version(&self) -> mqtt::Version {
        match self.version {
            Version::V311 => mqtt::Version::V311,
            Version::V5 => mqtt::Version::V5,
        }
    }

    /// Writes and reads until something was read, or all was written that was to be.
    pub(crate) async fn progress(&mut self) -> Result<(), WireError> {
        poll_fn(|context| self.poll_progress(context)).await
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let written_all = self.poll_write(context)?.is_ready();
        let mut chunk = [0; READ_BYTES];
        let mut read = ReadBuf::new(&mut chunk);
        match Pin::new(&mut self.stream).poll_read(context, &mut read)? {
            Poll::Ready(()) if read.filled().is_empty() => Poll::Ready(Err(WireError::Closed)),
            Poll::Ready(()) => {
                self.input.extend_from_slice(read.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Pending if written_all => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what waits. Ready if that was something, and is all written.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() && !self.unflushed {
            return Poll::Pending;
        }
        self.unflushed = true;
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(context, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.written += count,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.output.clear();
        self.written = 0;
        let flushed = Pin::new(&mut self.stream).poll_flush(context)?;
        self.unflushed = flushed.is_pending();
        flushed.map(Ok)
    }

    /// The next answer that was read; `None` when more has to be read first.
    pub(crate) fn poll_answer(&mut self) -> Result<Option<Answer>, WireError> {
        match self.version {
            Version::V311 => Ok(self.packet_v311()?.map(|packet| match packet {
                v4::Packet::PubAck(ack) => Answer::Acknowledged(ack.pkid, 0),
                _ => Answer::Other,
            })),
            Version::V5 => match self.packet_v5()? {
                Some(v5::Packet::PubAck(ack)) => Ok(Some(Answer::Acknowledged(ack.pkid, reason(ack.reason)))),
                Some(v5::Packet::Disconnect(disconnect)) => {
                    Err(WireError::Disconnected(format!("{:?}", disconnect.reason_code)))
                }
                packet => Ok(packet.map(|_| Answer::Other)),
            },
        }
    }

    fn poll_connack(&mut self) -> Result<Option<Terms>, WireError> {
        let unlimited = Terms { receive_maximum: u16::MAX, packet_bytes_max: usize::MAX, keep_alive: None };
        match self.version {
            Version::V311 => match self.packet_v311()? {
                None => Ok(None),
                Some(v4::Packet::ConnAck(connack)) if connack.code == v4::ConnectReturnCode::Success => {
                    Ok(Some(unlimited))
                }
                Some(v4::Packet::ConnAck(connack)) => Err(WireError::Refused(format!("{:?}", connack.code))),
                Some(_) => Err(WireError::NotConnack),
            },
            Version::V5 => match self.packet_v5()? {
                None => Ok(None),
                Some(v5::Packet::ConnAck(connack)) if connack.code == v5::ConnectReturnCode::Success => {
                    Ok(Some(connack.properties.map_or(unlimited, |properties| terms(&properties))))
                }
                Some(v5::Packet::ConnAck(connack)) => Err(WireError::Refused(format!("{:?}", connack.code))),
                Some(_) => Err(WireError::NotConnack),
            },
        }
    }

    fn packet_v311(&mut self) -> Result<Option<v4::Packet>, WireError> {
        match v4::Packet::read(&mut self.input, INPUT_BYTES_MAX) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }

    fn packet_v5(&mut self) -> Result<Option<v5::Packet>, WireError> {
        match v5::Packet::read(&mut self.input, u32::try_from(INPUT_BYTES_MAX).ok()) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes5::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }
}

fn terms(properties: &v5::ConnAckProperties) -> Terms {
    let packet_bytes_max = properties.max_packet_size.and_then(|bytes| usize::try_from(bytes).ok());
    Terms {
        receive_maximum: properties.receive_max.unwrap_or(u16::MAX),
        packet_bytes_max: packet_bytes_max.unwrap_or(usize::MAX),
        keep_alive: properties.server_keep_alive.map(|seconds| Duration::from_secs(seconds.into())),
    }
}

/// The code of a PUBACK's reason (section 3.4.2.1).
fn reason(reason: v5::PubAckReason) -> u8 {
    use v5::PubAckReason as Reason;
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
