//! Forwarding to one cloud broker: reads records from the spool, keeps the window full, takes acknowledgements.
//!
//! The uplink reads only from the spool; live traffic and catching up are one path. Each connection is a new
//! [`wire::Wire`]; when it ends, whatever it had in flight is read from the spool again. It knows nothing of devices,
//! rules or disks.

mod backoff;
mod keep_alive;
mod secret;
mod tls;
pub(crate) mod window;
pub(crate) mod wire;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{ConsumerId, Priority, Record, Spool, Stamp};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::gaps;
use crate::meta::{self, Meta};
use crate::mqtt::{self, Delivery, reason};
use backoff::Backoff;
use keep_alive::{Due, KeepAlive};
use window::Window;
use wire::{Answer, Wire, WireError};

/// How many bytes are read from the spool at a time.
const READ_BYTES_MAX: usize = 256 * 1024;
/// The longest this task sleeps.
const BEAT_MS: u64 = 5_000;
/// What it may be late by before it counts as hung; connecting is within it.
const GRACE_MS: u64 = 15_000;

/// What an uplink needs of the gateway.
pub(crate) struct Uplink {
    pub(crate) settings: tidegate_config::Uplink,
    pub(crate) gateway_id: String,
    pub(crate) consumer: ConsumerId,
    pub(crate) spool: Arc<Spool>,
    pub(crate) clock: Clock,
    /// Rises when the spool has something for this uplink.
    pub(crate) readable: Arc<Notify>,
    pub(crate) status: Rc<Status>,
}

/// What others may know of an uplink.
#[derive(Debug, Default)]
pub(crate) struct Status {
    online: Cell<bool>,
    alive_until_ms: Cell<u64>,
}

impl Status {
    /// True while the cloud has the connection.
    pub(crate) fn is_online(&self) -> bool {
        self.online.get()
    }

    /// False if the task should have shown a sign of life by now.
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        now_ms <= self.alive_until_ms.get()
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    NotInFlight(#[from] window::NotInFlight),
    #[error("nothing acknowledged for {0} ms")]
    AckTimeout(u64),
    #[error("a ping was not answered for {0} ms")]
    PingTimeout(u64),
    #[error("the cloud refused a publish with reason {0:#04x}; it is sent again later")]
    Refused(u8),
    #[error("gateway is stopping")]
    Stopping,
}

/// Keeps the uplink going until `stop` becomes true.
pub(crate) async fn run(uplink: Uplink, mut stop: watch::Receiver<bool>) {
    let settings = &uplink.settings;
    let name = settings.name.as_str();
    let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
    let mut reported_away = false;
    loop {
        uplink.expect_until(uplink.clock.now_ms());
        let ended = one_connection(&uplink, &mut backoff, &mut stop).await;
        let was_online = uplink.status.online.replace(false);
        uplink.spool.set_online(uplink.consumer, false);
        uplink.spool.rewind(uplink.consumer);
        if matches!(ended, Ended::Stopping) {
            return;
        }
        if was_online || !reported_away {
            warn!(uplink = name, "cloud is away: {}:{}: {ended}", settings.url.host, settings.url.port);
            reported_away = true;
        } else {
            debug!(uplink = name, "cloud is still away: {ended}");
        }
        let delay = backoff.handle_failure(random());
        uplink.expect_until(uplink.clock.now_ms().saturating_add(millis(delay)));
        tokio::select! {
            () = sleep(delay) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Connects, and forwards until the connection ends.
async fn one_connection(uplink: &Uplink, backoff: &mut Backoff, stop: &mut watch::Receiver<bool>) -> Ended {
    let connected = tokio::select! {
        connected = Connection::connect(uplink) => connected,
        _ = stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(ended) => return ended,
    };
    uplink.status.online.set(true);
    uplink.spool.set_online(uplink.consumer, true);
    let ended = tokio::select! {
        ended = connection.run() => ended,
        _ = stop.wait_for(|stop| *stop) => Ended::Stopping,
    };
    if connection.acknowledged_any {
        backoff.handle_success();
    }
    if matches!(ended, Ended::Stopping) {
        connection.wire.disconnect().await;
    }
    ended
}

/// Jitter needs no more than the hasher's own randomness.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [.., a, b, c, d] = RandomState::new().hash_one(0u8).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Uplink {
    /// Says until when this task will have shown itself.
    fn expect_until(&self, time_ms: u64) {
        self.status.alive_until_ms.set(time_ms.saturating_add(GRACE_MS));
    }

    fn ack_timeout_ms(&self) -> u64 {
        millis(self.settings.ack_timeout)
    }
}

struct Connection<'a> {
    uplink: &'a Uplink,
    wire: Wire,
    window: Window<Record>,
    keep_alive: KeepAlive,
    /// The most a packet may have, ours and the broker's bound.
    packet_bytes_max: usize,
    acknowledged_any: bool,
    acknowledged: Vec<(Priority, u64)>,
    records: Vec<Record>,
    /// When the backlog's share allows for more.
    backlog_due_ms: Option<u64>,
    topic: String,
    properties: Vec<u8>,
}

impl<'a> Connection<'a> {
    async fn connect(uplink: &'a Uplink) -> Result<Self, Ended> {
        let settings = &uplink.settings;
        let (wire, terms) = Wire::connect(settings).await?;
        info!(uplink = %settings.name, "connected to {}:{}", settings.url.host, settings.url.port);
        let keep_alive_ms = millis(terms.keep_alive.unwrap_or(settings.keep_alive));
        let now_ms = uplink.clock.now_ms();
        Ok(Connection {
            uplink,
            wire,
            window: Window::new(settings.window.min(terms.receive_maximum)),
            keep_alive: KeepAlive::new(keep_alive_ms, uplink.ack_timeout_ms(), now_ms),
            packet_bytes_max: terms.packet_bytes_max,
            acknowledged_any: false,
            acknowledged: Vec::new(),
            records: Vec::new(),
            backlog_due_ms: None,
            topic: String::new(),
            properties: Vec::new(),
        })
    }

    /// Lives until the connection does not.
    async fn run(&mut self) -> Ended {
        loop {
            self.fill();
            let now_ms = self.uplink.clock.now_ms();
            let deadline_ms = match self.handle_time(now_ms) {
                Ok(deadline_ms) => {
                    deadline_ms.min(now_ms + BEAT_MS).min(self.backlog_due_ms.unwrap_or(u64::MAX))
                }
                Err(ended) => return ended,
            };
            self.uplink.expect_until(deadline_ms);
            let wants_records = self.window.room() > 0 && self.wire.has_room();
            tokio::select! {
                progress = self.wire.progress() => {
                    if let Err(ended) = progress.map_err(Ended::from).and_then(|()| self.handle_answers()) {
                        return ended;
                    }
                }
                () = self.uplink.readable.notified(), if wants_records => {}
                () = sleep_until(self.uplink.clock.instant(deadline_ms)) => {}
            }
        }
    }

    /// Pings when it is time, and notices a cloud that has gone; returns when to look again.
    fn handle_time(&mut self, now_ms: u64) -> Result<u64, Ended> {
        let ack_timeout_ms = self.uplink.ack_timeout_ms();
        let ack_deadline_ms = self.window.deadline_ms(ack_timeout_ms).unwrap_or(u64::MAX);
        if now_ms >= ack_deadline_ms {
            return Err(Ended::AckTimeout(ack_timeout_ms));
        }
        match self.keep_alive.poll(now_ms) {
            Due::Nothing => {}
            Due::Lost => return Err(Ended::PingTimeout(ack_timeout_ms)),
            Due::Ping => {
                self.wire.ping();
                self.keep_alive.handle_ping(now_ms);
            }
        }
        Ok(ack_deadline_ms.min(self.keep_alive.deadline_ms()))
    }

    /// Sends records while the window has room and the spool has records.
    fn fill(&mut self) {
        let room = self.window.room();
        if room == 0 || !self.wire.has_room() {
            self.backlog_due_ms = None;
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        let read = self.uplink.spool.read(self.uplink.consumer, room, READ_BYTES_MAX, &mut records);
        let now = self.uplink.clock.stamp();
        if !records.is_empty() {
            self.keep_alive.handle_written(now.mono_ms);
        }
        for record in records.drain(..) {
            if let Err(cause) = self.publish(&record, now) {
                self.quarantine(&record, &cause);
            }
        }
        self.records = records;
        self.backlog_due_ms = read.again_in_ms.map(|ms| now.mono_ms.saturating_add(ms));
    }

    /// Sends one record. The error is why this cloud can never take it.
    fn publish(&mut self, record: &Record, now: Stamp) -> Result<(), Cow<'static, str>> {
        let uplink = self.uplink;
        let meta = meta::read(&record.meta).ok_or("the record's header cannot be read")?;
        let topic = str::from_utf8(&record.topic).map_err(|_| "the topic is not text")?;
        self.topic.clear();
        uplink.settings.topic.render(topic, &mut self.topic);
        // A notice of the gateway's own keeps its `$` only where something stands before it.
        if topic == gaps::TOPIC && self.topic.starts_with('$') {
            self.topic.remove(0);
        }
        if let Err(error) = tidegate_rules::check_topic_name(&self.topic) {
            return Err(format!("the topic is not valid towards the cloud: {error}").into());
        }
        self.properties.clear();
        if self.wire.has_properties() {
            write_properties(&uplink.gateway_id, record, &meta, now, &mut self.properties);
        }
        let mut delivery = Delivery {
            qos: meta.qos,
            retain: meta.retain,
            dup: false,
            packet_id: 0,
            topic: &self.topic,
            properties: &self.properties,
            payload: &record.payload,
        };
        let packet_bytes = self.wire.publish_bytes(&delivery);
        if packet_bytes > self.packet_bytes_max {
            let most = self.packet_bytes_max;
            return Err(format!("its packet has {packet_bytes} bytes; the cloud takes {most}").into());
        }
        if meta.qos == 0 {
            // Nothing will be heard of it.
            self.acknowledged.push((record.priority, record.seq));
        } else {
            delivery.packet_id = self.window.handle_sent(record.clone(), now.mono_ms);
        }
        self.wire.publish(&delivery);
        Ok(())
    }

    /// Sets a record aside that this cloud can never take, so that the rest flows.
    fn quarantine(&mut self, record: &Record, cause: &str) {
        warn!(uplink = %self.uplink.settings.name, seq = record.seq, "event quarantined: {cause}");
        let at = (record.priority, record.seq);
        self.uplink.spool.quarantine(self.uplink.consumer, at, record, cause);
    }

    /// Takes everything that the cloud has said, and hands its acknowledgements to the spool at once.
    fn handle_answers(&mut self) -> Result<(), Ended> {
        let now_ms = self.uplink.clock.now_ms();
        let result = self.take_answers(now_ms);
        if !self.acknowledged.is_empty() {
            self.uplink.spool.ack(self.uplink.consumer, &self.acknowledged);
            self.acknowledged.clear();
            self.acknowledged_any = true;
        }
        result
    }

    fn take_answers(&mut self, now_ms: u64) -> Result<(), Ended> {
        while let Some(answer) = self.wire.poll_answer()? {
            self.keep_alive.handle_heard();
            let Answer::Acknowledged(packet_id, code) = answer else { continue };
            let record = self.window.handle_acknowledged(packet_id, now_ms)?;
            if code >= 0x80 {
                self.handle_refused(&record, code)?;
            } else {
                self.acknowledged.push((record.priority, record.seq));
            }
        }
        Ok(())
    }

    /// The cloud said no to one publish. What can never succeed is set aside; the rest is worth another attempt, later.
    fn handle_refused(&mut self, record: &Record, code: u8) -> Result<(), Ended> {
        const NEVER: [u8; 3] =
            [reason::NOT_AUTHORIZED, reason::TOPIC_NAME_INVALID, reason::PAYLOAD_FORMAT_INVALID];
        if !NEVER.contains(&code) {
            return Err(Ended::Refused(code));
        }
        self.quarantine(record, &format!("the cloud refused it with reason {code:#04x}"));
        Ok(())
    }
}

/// What a publish tells the cloud beside topic and payload: the event's id, by which duplicates are found, when the
/// gateway received it (milliseconds since 1970, UTC), what is left of its life, and what the device said.
fn write_properties(gateway_id: &str, record: &Record, meta: &Meta<'_>, now: Stamp, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(gateway_id.len() + 20);
    tidegate_rules::write_event_id(gateway_id, record.seq, &mut text);
    mqtt::user_property("event-id", &text, out);
    text.clear();
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", record.received.wall_ms);
    mqtt::user_property("event-time", &text, out);
    if !record.stamp_trusted {
        mqtt::user_property("event-clock", "unset", out);
    }
    if let Some(left_ms) = record.expires_in_ms(now) {
        // A record that has less than a second left is sent with that second.
        mqtt::message_expiry(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1), out);
    }
    mqtt::publish_properties(&meta.properties, out);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
