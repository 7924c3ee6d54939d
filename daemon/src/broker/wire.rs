//! One connection to a broker, in either protocol version: packets out, answers and publishes in.
//!
//! rumqttc gives the packets that a client sends once and those that a broker answers with. Its client and event loop are
//! not used: they write every publish by a system call of its own, number packets by themselves and queue what a broken
//! connection then loses. Here a batch is one write, packet ids are the caller's, and nothing is kept beyond the
//! connection. What is subscribed to comes as whole packets, which the listener's decoder reads. Every method can be
//! cancelled between two polls without losing a byte.

mod handshake;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use tidegate_config::{Broker, Url, Version};

use super::dial::{DialError, Dialer, Stream};
use super::secret;
use crate::mqtt::{self, AckKind, DecodeError, Delivery, Frame};
pub(crate) use handshake::{Introduction, Session, Terms};

/// What may wait to be written before nothing more is taken.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// The largest packet taken from a broker that has nothing to send but acknowledgements.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// The room that is made for reading, and the least that is read into.
const READ_BYTES: usize = 8 * 1024;
const READ_BYTES_MIN: usize = 1024;

/// What a broker may say after CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// PUBACK or PUBCOMP with its reason; 0x80 and more is a refusal.
    Acknowledged(u16, u8),
    /// PUBREC with its reason; 0x80 and more is a refusal, otherwise [`Wire::release`] is called for.
    Received(u16, u8),
    /// SUBACK: for each filter the QoS that is granted, or a reason of 0x80 and more.
    Subscribed(Vec<u8>),
    /// A whole PUBLISH, of what was subscribed to.
    Publish(Bytes),
    /// Anything else that calls for nothing, PINGRESP among them.
    Other,
}

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not connected within {0:?}")]
    Timeout(Duration),
    /// The code is one of MQTT 5, also for 3.1.1.
    #[error("the broker refused the connection with reason {0:#04x} ({1})")]
    Refused(u8, String),
    #[error("the broker ended the connection with reason {0:#04x} ({1})")]
    Disconnected(u8, String),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker sent what is no MQTT packet: {0}")]
    Malformed(String),
    #[error("the broker sent a packet that is not taken: {0}")]
    NotTaken(#[from] DecodeError),
    #[error("the broker answered CONNECT with another packet")]
    NotConnack,
}

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
    /// The largest packet that is taken.
    input_bytes_max: usize,
}

impl Wire {
    /// Connects to one of the brokers, up to CONNACK. The password is read anew each time, and may take the time
    /// that it has of its own.
    pub(crate) async fn connect(
        broker: &Broker,
        url: &Url,
        dialer: &Dialer,
        introduction: &Introduction,
    ) -> Result<(Wire, Terms), WireError> {
        let password = match &broker.password {
            Some(password) => Some(secret::read(password).await?),
            None => None,
        };
        let limit = broker.connect_timeout;
        let established = timeout(limit, async {
            let stream = dialer.dial(broker, url).await?;
            let wire = Wire::new(stream, broker.version, introduction.input_bytes_max());
            wire.shake_hands(broker, password, introduction).await
        });
        established.await.unwrap_or(Err(WireError::Timeout(limit)))
    }

    fn new(stream: Box<dyn Stream>, version: Version, input_bytes_max: usize) -> Wire {
        Wire {
            stream,
            version,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            input: BytesMut::new(),
            input_bytes_max,
        }
    }

    async fn shake_hands(
        mut self,
        broker: &Broker,
        password: Option<String>,
        introduction: &Introduction,
    ) -> Result<(Wire, Terms), WireError> {
        handshake::write_connect(broker, password, introduction, &mut self.output)?;
        loop {
            let terms = match self.version {
                Version::V311 => self.packet_v311()?.map(handshake::terms_v311),
                Version::V5 => self.packet_v5()?.map(handshake::terms_v5),
            };
            if let Some(terms) = terms {
                return Ok((self, terms?));
            }
            self.progress().await?;
        }
    }

    /// True while more publishes may be handed over.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX
    }

    /// True if something was read that [`Wire::poll_answer`] has not given yet; it may be part of a packet.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
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

    /// PUBREL: the second half of QoS 2 (section 4.3.3).
    pub(crate) fn release(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.output.extend_from_slice(&[0x62, 2, high, low]);
    }

    /// SUBSCRIBE to these filters; each has the quality of service that is asked for.
    pub(crate) fn subscribe<'f>(&mut self, packet_id: u16, filters: impl Iterator<Item = (&'f str, u8)>) {
        mqtt::subscribe(self.mqtt_version(), packet_id, filters, &mut self.output);
    }

    /// PUBACK: of MQTT 5 with its reason.
    pub(crate) fn acknowledge(&mut self, packet_id: u16, reason: u8) {
        mqtt::ack(self.mqtt_version(), AckKind::Ack, packet_id, reason, "", &mut self.output);
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

    /// The version that the listener's decoder knows it by.
    pub(crate) fn mqtt_version(&self) -> mqtt::Version {
        match self.version {
            Version::V311 => mqtt::Version::V311,
            Version::V5 => mqtt::Version::V5,
        }
    }

    /// Writes and reads until something was read, or all was written that was to be.
    pub(crate) async fn progress(&mut self) -> Result<(), WireError> {
        poll_fn(|context| self.poll_progress(context)).await
    }

    /// Writes until all is written that was to be; for ever if there is nothing. What comes in is left to come in later.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        Ok(poll_fn(|context| self.poll_write(context)).await?)
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let written_all = self.poll_write(context)?.is_ready();
        match self.poll_read(context)? {
            Poll::Ready(0) => Poll::Ready(Err(WireError::Closed)),
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending if written_all => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads into what the input has room for, which nothing clears before: most polls find nothing to read.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
        // It keeps nothing between two polls, so that one of its own for each poll loses nothing.
        pin!(self.stream.read_buf(&mut self.input)).poll(context)
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
        match self.input.first().map(|first| first >> 4) {
            Some(3) => return Ok(self.whole_packet()?.map(Answer::Publish)),
            Some(9) => return self.poll_suback(),
            _ => {}
        }
        match self.version {
            Version::V311 => Ok(self.packet_v311()?.map(|packet| match packet {
                v4::Packet::PubAck(ack) => Answer::Acknowledged(ack.pkid, 0),
                v4::Packet::PubRec(received) => Answer::Received(received.pkid, 0),
                v4::Packet::PubComp(complete) => Answer::Acknowledged(complete.pkid, 0),
                _ => Answer::Other,
            })),
            Version::V5 => self.packet_v5()?.map(answer_v5).transpose(),
        }
    }

    /// Takes the first packet out of the input as it is.
    fn whole_packet(&mut self) -> Result<Option<Bytes>, WireError> {
        let packet_bytes = match mqtt::frame(&self.input, self.input_bytes_max)? {
            Some(frame) => frame.packet_bytes,
            None => return Ok(None),
        };
        Ok(Some(self.input.split_to(packet_bytes).freeze()))
    }

    fn poll_suback(&mut self) -> Result<Option<Answer>, WireError> {
        let (version, input_bytes_max) = (self.mqtt_version(), self.input_bytes_max);
        let Some(packet) = self.whole_packet()? else { return Ok(None) };
        let frame: Option<Frame<'_>> = mqtt::frame(&packet, input_bytes_max)?;
        let codes = frame.map(|frame| mqtt::decode_suback(version, &frame)).transpose()?;
        Ok(codes.map(|codes| Answer::Subscribed(codes.to_vec())))
    }

    fn packet_v311(&mut self) -> Result<Option<v4::Packet>, WireError> {
        match v4::Packet::read(&mut self.input, self.input_bytes_max) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }

    fn packet_v5(&mut self) -> Result<Option<v5::Packet>, WireError> {
        match v5::Packet::read(&mut self.input, u32::try_from(self.input_bytes_max).ok()) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes5::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Malformed(error.to_string())),
        }
    }
}

fn answer_v5(packet: v5::Packet) -> Result<Answer, WireError> {
    match packet {
        v5::Packet::PubAck(ack) => Ok(Answer::Acknowledged(ack.pkid, puback_code(ack.reason))),
        v5::Packet::PubRec(received) => Ok(Answer::Received(received.pkid, pubrec_code(received.reason))),
        // A packet id that the broker does not know any more is one that it is done with (section 4.3.3).
        v5::Packet::PubComp(complete) => Ok(Answer::Acknowledged(complete.pkid, 0)),
        v5::Packet::Disconnect(disconnect) => {
            let said = disconnect.properties.and_then(|properties| properties.reason_string);
            let code = disconnect.reason_code;
            Err(WireError::Disconnected(code as u8, said.unwrap_or_else(|| format!("{code:?}"))))
        }
        _ => Ok(Answer::Other),
    }
}

/// The code of a PUBACK's reason (section 3.4.2.1).
fn puback_code(reason: v5::PubAckReason) -> u8 {
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

/// The code of a PUBREC's reason (section 3.5.2.1).
fn pubrec_code(reason: v5::PubRecReason) -> u8 {
    use v5::PubRecReason as Reason;
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
