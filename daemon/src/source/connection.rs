//! One connection to a broker that events are taken from.

use std::cell::RefMut;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use tidegate_buffer::Stamp;
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::intake::{Host, Intake, Taken};
use super::{Memory, Source};
use crate::broker::keep_alive::{Due, KeepAlive};
use crate::broker::reason;
use crate::broker::wire::{Answer, Introduction, Session, Terms, Wire, WireError};
use crate::broker::{Lookout, Status, random};
use crate::bus::ConnectionId;
use crate::clock::millis;
use crate::event::Event;
use crate::gateway::Gateway;
use crate::listener::{Admission, Link, Registered};
use crate::mqtt::{self, Packet};
use crate::pipeline::{Origin, Pipeline};

/// The longest this task sleeps.
const BEAT_MS: u64 = 5_000;
/// How long what the spool refuses waits before it is tried again.
const AGAIN_MS: u64 = 1_000;
/// The packet id of SUBSCRIBE; nothing else that is sent has one.
const SUBSCRIBE_ID: u16 = 1;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0} was not answered for {1} ms")]
    Timeout(&'static str, u64),
    #[error("the broker lets nothing be subscribed to: reason {0:#04x}")]
    Refused(u8),
    #[error("the first broker answers again")]
    Returning,
    #[error("gateway is stopping")]
    Stopping,
}

impl Ended {
    /// Whether it is of no use to connect again soon.
    pub(super) fn calls_for_patience(&self) -> bool {
        match self {
            Ended::Wire(WireError::Disconnected(code, _) | WireError::Refused(code, _)) => {
                reason::calls_for_patience(*code)
            }
            // It would send the same packet again, until somebody changes a setting.
            Ended::Refused(_) | Ended::Wire(WireError::NotTaken(_)) => true,
            _ => false,
        }
    }
}

/// The connection, and what it makes of the source's memory of earlier ones.
pub(super) struct Connection<'a> {
    source: &'a Source,
    memory: &'a mut Memory,
    wire: Wire,
    intake: Intake<'a>,
    link: Rc<Link>,
    registered: Registered,
    keep_alive: KeepAlive,
    lookout: Lookout,
    /// A publish that the gateway cannot take now; nothing is read meanwhile.
    held: Option<Bytes>,
    /// When it is tried again although no room is announced.
    again_ms: Option<u64>,
    /// Until when SUBACK has to be there.
    suback_due_ms: Option<u64>,
    /// Nothing more is read: the first broker is to be used once all is acknowledged.
    is_returning: bool,
    /// Said already that something comes that is not subscribed to, or that is over the limits.
    has_complained: bool,
    /// The broker lets us subscribe.
    pub(super) is_useful: bool,
}

impl<'a> Connection<'a> {
    pub(super) async fn connect(source: &'a Source, memory: &'a mut Memory) -> Result<Self, Ended> {
        let (settings, gateway) = (&source.settings, &source.gateway);
        let session = Session {
            expiry_s: u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX),
            receive_maximum: settings.window,
            packet_bytes_max: settings.packet_bytes_max,
        };
        let introduction = Introduction { session: Some(session), ..Introduction::default() };
        let url = source.broker().url_at(memory.recovery.endpoints.current());
        let (wire, terms) = Wire::connect(source.broker(), url, &memory.dialer, &introduction).await?;
        info!(source = %settings.name, "connected to {url}");
        let now_ms = gateway.clock.now_ms();
        memory.recovery.handle_connected(now_ms, random());
        let keep_alive_ms = millis(terms.keep_alive.unwrap_or(settings.broker.keep_alive));
        let link = Link::new();
        let mut connection = Connection {
            source,
            memory,
            wire,
            intake: Intake::new(settings),
            registered: Registered::new(gateway, &link),
            link,
            keep_alive: KeepAlive::new(keep_alive_ms, source.answer_ms(), now_ms),
            lookout: Lookout::new(),
            held: None,
            again_ms: None,
            suback_due_ms: None,
            is_returning: false,
            has_complained: false,
            is_useful: false,
        };
        connection.subscribe(terms, now_ms);
        Ok(connection)
    }

    /// Subscribes, also where the broker has kept the session: one that was killed (RabbitMQ is such) may have its session still
    /// and not what was subscribed to. By MQTT 3.1.1 that brings retained messages again.
    fn subscribe(&mut self, terms: Terms, now_ms: u64) {
        if self.memory.has_subscribed && !terms.session_present {
            warn!(source = %self.source.settings.name, "the broker has not kept the session, and what it had for it");
        }
        let subscriptions = self.source.settings.subscriptions.iter();
        let filters = subscriptions.map(|subscription| (subscription.filter.as_str(), subscription.qos));
        self.wire.subscribe(SUBSCRIBE_ID, filters);
        self.suback_due_ms = Some(now_ms.saturating_add(self.source.answer_ms()));
    }

    fn handle_useful(&mut self) {
        self.is_useful = true;
        self.memory.has_subscribed = true;
        self.memory.reported_away = false;
        self.memory.recovery.handle_useful();
        self.source.status.set_online(true, self.source.gateway.clock.now_ms());
    }

    /// Says goodbye; the broker keeps the session.
    pub(super) async fn disconnect(self) {
        self.wire.disconnect().await;
    }

    /// Lives until the connection does not.
    pub(super) async fn run(&mut self) -> Ended {
        let gateway = Rc::clone(&self.source.gateway);
        loop {
            if let Err(ended) = self.take_all(&gateway) {
                return ended;
            }
            let now_ms = gateway.clock.now_ms();
            let deadline_ms = match self.handle_time(now_ms) {
                Ok(deadline_ms) => deadline_ms.min(now_ms + BEAT_MS),
                Err(ended) => return ended,
            };
            self.source.status.expect_until(deadline_ms);
            let reads = self.reads();
            tokio::select! {
                progress = progress(&mut self.wire, reads) => {
                    if let Err(error) = progress {
                        return error.into();
                    }
                }
                () = poll_fn(|context| self.link.poll_signal(context)) => {
                    if self.link.closing().is_some() {
                        self.take_receipts();
                        return Ended::Stopping;
                    }
                }
                answered = self.lookout.ended() => {
                    self.memory.recovery.endpoints.handle_look(answered, gateway.clock.now_ms());
                }
                () = sleep_until(gateway.clock.instant(deadline_ms)) => {}
            }
        }
    }

    /// Whether more may come.
    fn reads(&self) -> bool {
        self.held.is_none() && !self.intake.is_full() && !self.is_returning
    }

    /// Pings when it is time, notices a broker that has gone, and looks after the first of several; returns when to look
    /// again.
    fn handle_time(&mut self, now_ms: u64) -> Result<u64, Ended> {
        let answer_ms = self.source.answer_ms();
        if !self.reads() {
            // The broker cannot be heard, and its silence is ours.
            self.keep_alive.handle_heard();
            self.suback_due_ms = self.suback_due_ms.map(|_| now_ms.saturating_add(answer_ms));
        }
        if self.suback_due_ms.is_some_and(|due_ms| now_ms >= due_ms) {
            return Err(Ended::Timeout("SUBSCRIBE", answer_ms));
        }
        match self.keep_alive.poll(now_ms) {
            Due::Nothing => {}
            Due::Lost => return Err(Ended::Timeout("a ping", answer_ms)),
            Due::Ping => {
                self.wire.ping();
                self.keep_alive.handle_ping(now_ms);
            }
        }
        let look_ms = self.look_after_the_first(now_ms)?;
        let others = [self.suback_due_ms, self.again_ms].into_iter().flatten();
        Ok(others.fold(look_ms.min(self.keep_alive.deadline_ms()), u64::min))
    }

    fn look_after_the_first(&mut self, now_ms: u64) -> Result<u64, Ended> {
        let (endpoints, dialer) = (&self.memory.recovery.endpoints, &self.memory.dialer);
        if !self.is_returning {
            match self.lookout.poll(endpoints, dialer, self.source.broker(), now_ms) {
                Some(look_ms) => return Ok(look_ms),
                None => self.is_returning = true,
            }
        }
        if self.intake.is_empty() { Err(Ended::Returning) } else { Ok(u64::MAX) }
    }

    /// Takes the receipts that have come, then everything that was read, and writes the acknowledgements that are due.
    fn take_all(&mut self, gateway: &Gateway) -> Result<(), Ended> {
        self.take_receipts();
        let result = if self.held.is_some() || self.wire.has_input() {
            let now = gateway.clock.stamp();
            let (pipeline, id) = (gateway.pipeline.borrow_mut(), self.registered.id);
            let status = Rc::clone(&self.source.status);
            let mut host = GatewayHost { gateway, status, pipeline, id, now };
            let result = self.take_answers(&mut host);
            host.pipeline.commit(now);
            result
        } else {
            Ok(())
        };
        self.write_acks();
        result
    }

    fn take_receipts(&mut self) {
        let intake = &mut self.intake;
        self.link.drain_receipts(|receipt| intake.handle_receipt(receipt));
        self.write_acks();
    }

    fn write_acks(&mut self) {
        while let Some((packet_id, reason)) = self.intake.poll_ack() {
            self.wire.acknowledge(packet_id, reason);
        }
    }

    fn take_answers(&mut self, host: &mut GatewayHost<'_>) -> Result<(), Ended> {
        if let Some(packet) = self.held.take() {
            self.take_publish(packet, host)?;
        }
        while self.reads()
            && let Some(answer) = self.wire.poll_answer()?
        {
            self.keep_alive.handle_heard();
            match answer {
                Answer::Publish(packet) => self.take_publish(packet, host)?,
                Answer::Subscribed(codes) => self.handle_subscribed(&codes)?,
                // Nothing is published here.
                Answer::Acknowledged(..) | Answer::Received(..) | Answer::Other => {}
            }
        }
        Ok(())
    }

    fn take_publish(&mut self, packet: Bytes, host: &mut GatewayHost<'_>) -> Result<(), Ended> {
        self.again_ms = None;
        let frame = mqtt::frame(&packet, self.source.settings.packet_bytes_max).map_err(WireError::from)?;
        let Some(frame) = frame else { return Ok(()) };
        let decoded = mqtt::decode(self.wire.mqtt_version(), &frame).map_err(WireError::from)?;
        let Packet::Publish(publish) = decoded else { return Ok(()) };
        if publish.qos > 1 {
            let said = "a publish of QoS 2, which was not asked for";
            return Err(WireError::Malformed(said.to_owned()).into());
        }
        match self.intake.handle_publish(&publish, host) {
            Taken::Yes => {}
            Taken::Stranger => {
                self.complain(publish.topic, "no setting subscribes to it; the session is an older one's")
            }
            Taken::OverLimits => {
                self.complain(publish.topic, "it is over `topic_bytes_max` or `topic_levels_max`");
            }
            Taken::Wait => {
                self.link.wait_for_room();
                self.held = Some(packet);
            }
            Taken::Later => {
                self.again_ms = Some(host.now.mono_ms.saturating_add(AGAIN_MS));
                self.held = Some(packet);
            }
        }
        Ok(())
    }

    fn complain(&mut self, topic: &str, why: &str) {
        if !std::mem::replace(&mut self.has_complained, true) {
            let name = &self.source.settings.name;
            warn!(source = %name, "what the broker sends on {topic:?}, and the like, is dropped: {why}");
        }
    }

    /// SUBACK: what is refused is said; if all of it is, the connection is of no use.
    fn handle_subscribed(&mut self, codes: &[u8]) -> Result<(), Ended> {
        self.suback_due_ms = None;
        let (name, subscriptions) = (&self.source.settings.name, &self.source.settings.subscriptions);
        for (subscription, code) in subscriptions.iter().zip(codes).filter(|(_, code)| **code >= 0x80) {
            warn!(source = %name, "the broker refused the subscription to {}: reason {code:#04x}", subscription.filter);
        }
        match codes.iter().min() {
            Some(code) if *code >= 0x80 => Err(Ended::Refused(*code)),
            _ => {
                let granted = codes.iter().filter(|code| **code < 0x80).count();
                info!(source = %name, "subscribed to {granted} of {} filters", subscriptions.len());
                self.handle_useful();
                Ok(())
            }
        }
    }
}

/// Moves packets; while nothing is to be read only outwards.
async fn progress(wire: &mut Wire, reads: bool) -> Result<(), WireError> {
    if reads { wire.progress().await } else { wire.flush().await }
}

impl Source {
    /// How long the broker may take to answer.
    fn answer_ms(&self) -> u64 {
        millis(self.broker().ack_timeout)
    }
}

/// The gateway as one connection sees it, for as long as a wake-up lasts.
struct GatewayHost<'a> {
    gateway: &'a Gateway,
    status: Rc<Status>,
    pipeline: RefMut<'a, Pipeline>,
    id: ConnectionId,
    now: Stamp,
}

impl Host for GatewayHost<'_> {
    fn takes_topic(&self, topic: &str) -> bool {
        self.gateway.limits().takes_topic(topic)
    }

    fn admission(&self, topic: &str, retain: bool) -> Admission {
        self.pipeline.admission(topic, retain)
    }

    fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>) {
        let receipt = receipt.map(|receipt| (self.id, receipt));
        self.status.count_taken(event.payload.len());
        self.pipeline.accept(event, &Origin { session: None, receipt, received: None }, self.now);
    }

    fn refused(&mut self) {
        self.gateway.books.refused();
    }
}
