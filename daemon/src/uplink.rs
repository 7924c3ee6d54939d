//! Forwarding to one cloud broker: reads records from the spool, keeps the window full, takes acknowledgements.
//!
//! The uplink reads only from the spool; live traffic and catching up are one path. Each connection is a new
//! [`wire::Wire`]; when it ends, whatever it had in flight is read from the spool again. It knows nothing of devices,
//! rules or disks.

mod backoff;
mod secret;
mod tls;
pub(crate) mod window;
pub(crate) mod wire;

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{ConsumerId, Priority, Record, Spool};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::meta;
use crate::mqtt::reason;
use backoff::Backoff;
use window::Window;
use wire::{Outgoing, Wire, WireEvent};

/// How many bytes are read from the spool at a time.
const READ_BYTES_MAX: usize = 256 * 1024;
/// What an uplink may be late by before it counts as hung.
const GRACE_MS: u64 = 10_000;

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
    #[error("{0}")]
    Setup(#[from] wire::SetupError),
    #[error("{0}")]
    Wire(String),
    #[error(transparent)]
    Confused(#[from] window::Confused),
    #[error("nothing acknowledged for {0} ms")]
    AckTimeout(u64),
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
        let mut connection = Connection::new(&uplink);
        let ended = connection.run(&mut stop).await;
        let was_online = uplink.status.online.replace(false);
        uplink.spool.set_online(uplink.consumer, false);
        uplink.spool.rewind(uplink.consumer);
        if connection.acknowledged_any {
            backoff.handle_success();
        }
        drop(connection);
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
        uplink.expect_within(delay);
        tokio::select! {
            () = sleep(delay) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Jitter needs no more than the hasher's own randomness.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [.., a, b, c, d] = RandomState::new().hash_one(0u8).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Uplink {
    fn expect_within(&self, wait: Duration) {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.status.alive_until_ms.set(self.clock.now_ms().saturating_add(wait_ms).saturating_add(GRACE_MS));
    }
}

struct Connection<'a> {
    uplink: &'a Uplink,
    window: Window<Record>,
    /// The most a packet may have, ours and the broker's bound.
    packet_bytes_max: usize,
    connected: bool,
    acknowledged_any: bool,
    acknowledged: Vec<(Priority, u64)>,
    records: Vec<Record>,
    topic: String,
}

impl<'a> Connection<'a> {
    fn new(uplink: &'a Uplink) -> Self {
        Connection {
            uplink,
            window: Window::new(uplink.settings.window),
            packet_bytes_max: uplink.settings.packet_bytes_max,
            connected: false,
            acknowledged_any: false,
            acknowledged: Vec::new(),
            records: Vec::new(),
            topic: String::new(),
        }
    }

    /// Lives until the connection does not.
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let (wire, mut events) = match Wire::connect(&self.uplink.settings) {
            Ok(wire) => wire,
            Err(error) => return error.into(),
        };
        let mut batch = Vec::new();
        loop {
            if let Err(ended) = self.fill(&wire) {
                return ended;
            }
            let wait = self.wait();
            self.uplink.expect_within(wait);
            let deadline = self.window.deadline_ms(self.ack_timeout_ms());
            tokio::select! {
                count = events.recv_many(&mut batch, 256) => {
                    let ended = match count {
                        0 => Err(Ended::Wire("the client has ended".into())),
                        _ => self.handle_events(&mut batch),
                    };
                    if let Err(ended) = ended {
                        return ended;
                    }
                }
                () = self.uplink.readable.notified(), if self.connected && self.window.room() > 0 => {}
                () = sleep_until(self.uplink.clock.instant(deadline.unwrap_or(0))), if deadline.is_some() => {
                    return Ended::AckTimeout(self.ack_timeout_ms());
                }
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {
                    say_goodbye(&wire, &mut events).await;
                    return Ended::Stopping;
                }
            }
        }
    }

    /// The longest this task sleeps; it shows itself alive after that.
    fn wait(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn ack_timeout_ms(&self) -> u64 {
        u64::try_from(self.uplink.settings.ack_timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// Hands records over while the window has room and the spool has records.
    fn fill(&mut self, wire: &Wire) -> Result<(), Ended> {
        if !self.connected || self.window.room() == 0 {
            return Ok(());
        }
        let mut records = std::mem::take(&mut self.records);
        self.uplink.spool.read(self.uplink.consumer, self.window.room(), READ_BYTES_MAX, &mut records);
        let now_ms = self.uplink.clock.now_ms();
        let result = records.drain(..).try_for_each(|record| self.publish(wire, record, now_ms));
        self.records = records;
        result
    }

    fn publish(&mut self, wire: &Wire, record: Record, now_ms: u64) -> Result<(), Ended> {
        match self.hand_over(wire, &record) {
            Ok(Some(qos)) => self.window.handle_handed_over(record, qos, now_ms),
            Ok(None) => return Err(Ended::Wire("the client does not take publishes any more".into())),
            Err(cause) => self.quarantine(&record, &cause),
        }
        Ok(())
    }

    /// Hands a record to the wire and gives its QoS; `None` if the wire does not take it. The error is why this cloud
    /// can never take the record.
    fn hand_over(&mut self, wire: &Wire, record: &Record) -> Result<Option<u8>, Cow<'static, str>> {
        let uplink = self.uplink;
        let meta = meta::read(&record.meta).ok_or("the record's header cannot be read")?;
        let topic = str::from_utf8(&record.topic).map_err(|_| "the topic is not text")?;
        self.topic.clear();
        uplink.settings.topic.render(topic, &mut self.topic);
        if let Err(error) = tidegate_rules::check_topic_name(&self.topic) {
            return Err(format!("the topic is not valid towards the cloud: {error}").into());
        }
        let added = added_properties(&uplink.gateway_id, record);
        let packet_bytes = packet_bytes(&self.topic, record, &added);
        if packet_bytes > self.packet_bytes_max {
            let most = self.packet_bytes_max;
            return Err(format!("its packet has up to {packet_bytes} bytes; the cloud takes {most}").into());
        }
        let expires_in_ms = record.expires_in_ms(uplink.clock.stamp());
        let taken = wire.publish(Outgoing {
            topic: &self.topic,
            payload: record.payload.clone(),
            qos: meta.qos,
            retain: meta.retain,
            properties: meta.properties,
            added,
            // A record that has less than a second left is sent with that second.
            expiry_s: expires_in_ms.map(|ms| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1)),
        });
        Ok(taken.then_some(meta.qos))
    }

    /// Sets a record aside that this cloud can never take, so that the rest flows.
    fn quarantine(&mut self, record: &Record, cause: &str) {
        warn!(uplink = %self.uplink.settings.name, seq = record.seq, "event quarantined: {cause}");
        let at = (record.priority, record.seq);
        self.uplink.spool.quarantine(self.uplink.consumer, at, record, cause);
    }

    fn handle_events(&mut self, batch: &mut Vec<WireEvent>) -> Result<(), Ended> {
        let now_ms = self.uplink.clock.now_ms();
        let result = batch.drain(..).try_for_each(|event| self.handle_event(event, now_ms));
        if !self.acknowledged.is_empty() {
            self.uplink.spool.ack(self.uplink.consumer, &self.acknowledged);
            self.acknowledged.clear();
            self.acknowledged_any = true;
        }
        result
    }

    fn handle_event(&mut self, event: WireEvent, now_ms: u64) -> Result<(), Ended> {
        match event {
            WireEvent::Connected { receive_maximum, packet_bytes_max } => {
                self.handle_connected(receive_maximum, packet_bytes_max);
            }
            WireEvent::Sent(packet_id) => {
                let done = self.window.handle_sent(packet_id)?;
                self.acknowledged.extend(done.map(|record| (record.priority, record.seq)));
            }
            WireEvent::Acknowledged(packet_id, code) => {
                let record = self.window.handle_acknowledged(packet_id, now_ms)?;
                if code >= 0x80 {
                    self.handle_refused(&record, code)?;
                } else {
                    self.acknowledged.push((record.priority, record.seq));
                }
            }
            WireEvent::Failed(error) => return Err(Ended::Wire(error)),
        }
        Ok(())
    }

    fn handle_connected(&mut self, receive_maximum: u16, packet_bytes_max: usize) {
        let settings = &self.uplink.settings;
        info!(uplink = %settings.name, "connected to {}:{}", settings.url.host, settings.url.port);
        self.window = Window::new(settings.window.min(receive_maximum));
        self.packet_bytes_max = packet_bytes_max;
        self.connected = true;
        self.uplink.status.online.set(true);
        self.uplink.spool.set_online(self.uplink.consumer, true);
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

/// Says DISCONNECT and waits a moment for it to be written.
async fn say_goodbye(wire: &Wire, events: &mut UnboundedReceiver<WireEvent>) {
    wire.disconnect();
    let _ = timeout(Duration::from_millis(500), async {
        while !matches!(events.recv().await, None | Some(WireEvent::Failed(_))) {}
    })
    .await;
}

/// What every event tells the cloud of itself in MQTT 5: its id, by which duplicates are found, and when the gateway
/// received it, in milliseconds since 1970 (UTC).
fn added_properties(gateway_id: &str, record: &Record) -> [(&'static str, String); 2] {
    let mut id = String::with_capacity(gateway_id.len() + 17);
    tidegate_rules::write_event_id(gateway_id, record.seq, &mut id);
    [("event-id", id), ("event-time", record.received.wall_ms.to_string())]
}

/// The most that a record's packet can have, in bytes.
fn packet_bytes(topic: &str, record: &Record, added: &[(&str, String)]) -> usize {
    /// Fixed header, topic length, packet id, property length, message expiry.
    const HEADERS: usize = 5 + 2 + 2 + 4 + 5;
    let added: usize = added.iter().map(|(key, value)| 5 + key.len() + value.len()).sum();
    HEADERS + topic.len() + record.meta.len() + added + record.payload.len()
}

#[cfg(test)]
mod tests;
