//! One connection to the cloud: keeps its window full, takes its acknowledgements, and notices when it is of no use.

mod batches;
mod settings;

use tidegate_buffer::{Priority, Record, Stamp};
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::batch::Waiting;
use super::pace::{Pace, hold_ms};
use super::packer::Packer;
use super::presence::Presence;
use super::window::{NotInFlight, Window};
use super::{Memory, Uplink};
use crate::broker::keep_alive::{Due, KeepAlive};
use crate::broker::reason::{self, Verdict};
use crate::broker::wire::{Answer, Introduction, Terms, Wire, WireError};
use crate::broker::{Lookout, random};
use crate::clock::millis;

/// How many bytes are read from the spool at a time.
const READ_BYTES_MAX: usize = 256 * 1024;
/// The longest this task sleeps.
const BEAT_MS: u64 = 5_000;

/// What the spool knows a record by.
pub(super) type At = (Priority, u64);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    NotInFlight(#[from] NotInFlight),
    #[error("nothing acknowledged for {0} ms")]
    AckTimeout(u64),
    #[error("a ping was not answered for {0} ms")]
    PingTimeout(u64),
    #[error("the cloud refused a publish with reason {0:#04x}; it is sent again later")]
    Refused(u8),
    #[error("the cloud refused a batch with reason {0:#04x}; its events are sent one by one")]
    Batch(u8),
    #[error("the first broker answers again")]
    Returning,
    #[error("there is no memory for compression: {0}")]
    Compression(std::io::Error),
    #[error("gateway is stopping")]
    Stopping,
}

/// What is in flight.
#[derive(Debug)]
enum InFlight {
    Event(Record),
    Batch(Vec<Record>),
    /// The gateway's own message on its status topic.
    Status,
    /// What it says of settings from the cloud, by its number.
    Answer(u64),
}

/// The connection, and what it makes of the uplink's memory of earlier ones.
pub(super) struct Connection<'a> {
    uplink: &'a Uplink,
    memory: &'a mut Memory,
    wire: Wire,
    terms: Terms,
    window: Window<InFlight>,
    keep_alive: KeepAlive,
    packer: Packer,
    pace: Pace,
    presence: Option<Presence>,
    /// The cloud has acknowledged an event on this connection.
    pub(super) is_useful: bool,
    acknowledged: Vec<At>,
    records: Vec<Record>,
    /// Read, and not to be sent before another was acknowledged.
    aside: Vec<Record>,
    /// Read, and waiting for others to become a batch with; `None` if each event is a publish.
    waiting: Option<Waiting<Record>>,
    /// When there may be more to send although nothing is announced.
    fill_due_ms: Option<u64>,
    /// Before this nothing is sent.
    hold_until_ms: u64,
    /// Nothing more is sent: the first broker is to be used once all is acknowledged.
    is_returning: bool,
    /// Whether the first broker answers.
    lookout: Lookout,
    /// The last answer, about settings from the cloud, that was sent on this connection.
    answered: u64,
}

impl<'a> Connection<'a> {
    pub(super) async fn connect(uplink: &'a Uplink, memory: &'a mut Memory) -> Result<Self, Ended> {
        let settings = &uplink.settings;
        let presence = Presence::new(&uplink.gateway_id, settings, uplink.clock.stamp());
        let introduction = Introduction {
            will: presence.as_ref().map(Presence::will),
            will_is_plain: memory.will_is_plain,
            session: None,
            packet_bytes_max: uplink.line.as_ref().map(|_| settings.packet_bytes_max),
        };
        let url = uplink.url(memory);
        let (wire, terms) = Wire::connect(uplink.broker(), url, &memory.dialer, &introduction).await?;
        let terms = terms.within(settings.packet_bytes_max);
        info!(uplink = %settings.name, "connected to {url}");
        let now_ms = uplink.clock.now_ms();
        let away_ms = memory.recovery.handle_connected(now_ms, random());
        memory.suspects.handle_connected();
        let keep_alive_ms = millis(terms.keep_alive.unwrap_or(settings.broker.keep_alive));
        let mut connection = Connection {
            uplink,
            memory,
            wire,
            terms,
            window: Window::new(settings.window.min(terms.receive_maximum)),
            keep_alive: KeepAlive::new(keep_alive_ms, uplink.ack_timeout_ms(), now_ms),
            packer: packer(uplink, terms)?,
            pace: Pace::new(settings.rate, now_ms),
            presence,
            is_useful: false,
            acknowledged: Vec::new(),
            records: Vec::new(),
            aside: Vec::new(),
            waiting: settings.batch.as_ref().map(Waiting::new),
            fill_due_ms: None,
            hold_until_ms: now_ms + hold_ms(settings.spread, away_ms, random()),
            is_returning: false,
            lookout: Lookout::new(),
            answered: 0,
        };
        connection.say_window();
        connection.say_hello(now_ms);
        connection.ask_for_settings();
        Ok(connection)
    }

    /// Says once that the broker takes less at a time than it is to get (Receive Maximum, MQTT 5.0, 3.2.2.3.3).
    fn say_window(&self) {
        let settings = &self.uplink.settings;
        let window = settings.window.min(self.terms.receive_maximum);
        if self.uplink.status.set_window(window) != window && window < settings.window {
            warn!(
                uplink = %settings.name,
                "the broker takes {window} publishes at a time, so a `window` of {} is {window}", settings.window
            );
        }
    }

    fn say_hello(&mut self, now_ms: u64) {
        if let Some(presence) = &self.presence {
            let window = &mut self.window;
            presence.hello(&mut self.wire, self.terms, || window.handle_sent(InFlight::Status, now_ms));
        }
    }

    /// Says goodbye, and writes what is left, for a moment.
    pub(super) async fn disconnect(mut self) {
        if let Some(presence) = &self.presence {
            presence.goodbye(&mut self.wire, self.terms, self.uplink.clock.stamp());
        }
        self.wire.disconnect().await;
    }

    /// Lives until the connection does not.
    pub(super) async fn run(&mut self) -> Ended {
        loop {
            self.send_answers();
            self.fill();
            let now_ms = self.uplink.clock.now_ms();
            let deadline_ms = match self.handle_time(now_ms) {
                Ok(deadline_ms) => {
                    deadline_ms.min(now_ms + BEAT_MS).min(self.fill_due_ms.unwrap_or(u64::MAX))
                }
                Err(ended) => return ended,
            };
            self.uplink.expect_until(deadline_ms);
            let wants_records = self.room_for_events() > 0 && self.wire.has_room();
            tokio::select! {
                progress = self.wire.progress() => {
                    if let Err(ended) = progress.map_err(Ended::from).and_then(|()| self.handle_answers()) {
                        return ended;
                    }
                }
                () = self.uplink.readable.notified(), if wants_records => {}
                () = settings::another_answer(self.uplink) => {}
                answered = self.lookout.ended() => {
                    let now_ms = self.uplink.clock.now_ms();
                    self.memory.recovery.endpoints.handle_look(answered, now_ms);
                }
                () = sleep_until(self.uplink.clock.instant(deadline_ms)) => {}
            }
        }
    }

    /// Pings when it is time, notices a cloud that has gone, and looks after the first of several brokers; returns when to
    /// look again.
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
        let look_ms = self.look_after_the_first(now_ms)?;
        Ok(ack_deadline_ms.min(self.keep_alive.deadline_ms()).min(look_ms))
    }

    /// Sees whether the first broker answers while another is used; ends this connection once it has for long enough.
    fn look_after_the_first(&mut self, now_ms: u64) -> Result<u64, Ended> {
        if self.is_returning {
            return if self.window.len() == 0 { Err(Ended::Returning) } else { Ok(u64::MAX) };
        }
        let (endpoints, dialer) = (&self.memory.recovery.endpoints, &self.memory.dialer);
        match self.lookout.poll(endpoints, dialer, self.uplink.broker(), now_ms) {
            Some(look_ms) => Ok(look_ms),
            None => {
                self.is_returning = true;
                self.look_after_the_first(now_ms)
            }
        }
    }

    /// How many more events may be sent.
    fn room(&self) -> usize {
        if self.is_returning {
            return 0;
        }
        self.memory.suspects.limit(self.window.size()).saturating_sub(self.window.len())
    }

    /// Sends records while the window has room and the spool has records.
    fn fill(&mut self) {
        self.fill_due_ms = None;
        let now = self.uplink.clock.stamp();
        self.fill_from_spool(now);
        self.send_batches(now);
    }

    fn fill_from_spool(&mut self, now: Stamp) {
        let room = self.room_for_events();
        if room == 0 || !self.wire.has_room() {
            return;
        }
        if now.mono_ms < self.hold_until_ms {
            self.fill_due_ms = Some(self.hold_until_ms);
            return;
        }
        let Some(bytes_max) = self.pace.room(now.mono_ms) else {
            self.fill_due_ms = self.pace.deadline_ms();
            return;
        };
        if self.memory.suspects.tries_held() && self.send_aside(now) {
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        let bytes_max = bytes_max.min(READ_BYTES_MAX);
        let read = self.uplink.spool.read(self.uplink.consumer, room, bytes_max, &mut records);
        let nothing_else = records.is_empty();
        for record in records.drain(..) {
            if self.memory.suspects.is_held(at(&record)) && !self.memory.suspects.tries_held() {
                self.aside.push(record);
                // Another may be sent in its place.
                self.fill_due_ms = Some(now.mono_ms);
            } else {
                self.send(record, now);
            }
        }
        self.records = records;
        if nothing_else && self.window.len() == 0 {
            // What is held back is tried if there is nothing that could clear it.
            self.send_aside(now);
        }
        let again_ms = read.again_in_ms.map(|ms| now.mono_ms.saturating_add(ms));
        self.fill_due_ms = [self.fill_due_ms, again_ms].into_iter().flatten().min();
    }

    /// Sends the first of what was held back; false if there is none.
    fn send_aside(&mut self, now: Stamp) -> bool {
        if self.aside.is_empty() {
            return false;
        }
        let record = self.aside.remove(0);
        self.send(record, now);
        true
    }

    /// Sends one record, or sets it aside if this cloud can never take it. If events become batches it waits for others.
    fn send(&mut self, record: Record, now: Stamp) {
        let Some(record) = self.set_waiting(record, now) else { return };
        let at = (record.priority, record.seq);
        let (window, template) = (&mut self.window, &self.uplink.settings.topic);
        let number = || window.handle_sent(InFlight::Event(record.clone()), now.mono_ms);
        match self.packer.send(&record, template, now, &mut self.wire, number) {
            Ok(sent) => {
                self.pace.spend(sent.bytes);
                self.keep_alive.handle_written(now.mono_ms);
                if !sent.is_acknowledged {
                    // Nothing will be heard of it.
                    self.keep_alive.handle_doubt(now.mono_ms);
                    self.acknowledged.push(at);
                }
            }
            Err(cause) => self.uplink.quarantine(&record, &cause),
        }
    }

    /// Takes everything that the cloud has said, and hands its acknowledgements to the spool at once.
    fn handle_answers(&mut self) -> Result<(), Ended> {
        let now_ms = self.uplink.clock.now_ms();
        let result = self.take_answers(now_ms);
        if !self.acknowledged.is_empty() {
            self.uplink.spool.ack(self.uplink.consumer, &self.acknowledged);
            self.acknowledged.clear();
        }
        result
    }

    fn take_answers(&mut self, now_ms: u64) -> Result<(), Ended> {
        while let Some(answer) = self.wire.poll_answer()? {
            self.keep_alive.handle_heard();
            match answer {
                Answer::Other => {}
                Answer::Subscribed(codes) => self.handle_subscribed(&codes),
                Answer::Publish(packet) => self.take_settings(&packet)?,
                Answer::Received(packet_id, code) if code < 0x80 => {
                    self.window.handle_received(packet_id, now_ms)?;
                    self.wire.release(packet_id);
                }
                Answer::Received(packet_id, code) | Answer::Acknowledged(packet_id, code) => {
                    self.handle_verdict(packet_id, code, now_ms)?;
                }
            }
        }
        Ok(())
    }

    /// The cloud is done with a packet.
    fn handle_verdict(&mut self, packet_id: u16, code: u8, now_ms: u64) -> Result<(), Ended> {
        let acknowledged = self.window.handle_acknowledged(packet_id, now_ms)?;
        self.uplink.status.observe_ack(self.window.took_ms());
        match acknowledged {
            InFlight::Event(record) => self.handle_verdict_of_event(record, code),
            InFlight::Batch(records) => self.handle_verdict_of_batch(records, code),
            InFlight::Answer(number) => {
                self.handle_answer_told(number, code);
                Ok(())
            }
            InFlight::Status => {
                // That it is taken says nothing of events: other topics, other rights.
                if code >= 0x80 {
                    warn!(uplink = %self.uplink.settings.name, "the cloud refused the status message with reason {code:#04x}");
                }
                Ok(())
            }
        }
    }

    fn handle_verdict_of_event(&mut self, record: Record, code: u8) -> Result<(), Ended> {
        let at = at(&record);
        match reason::of_publish(code) {
            Verdict::Accepted => {
                self.acknowledged.push(at);
                self.memory.suspects.handle_acknowledged(at);
                self.memory.haste.handle_acknowledged();
                if !self.is_useful {
                    self.is_useful = true;
                    self.memory.recovery.handle_useful();
                }
                Ok(())
            }
            Verdict::SetAside => {
                self.uplink.quarantine(&record, &format!("the cloud refused it with reason {code:#04x}"));
                self.memory.suspects.forget(at);
                Ok(())
            }
            Verdict::Later => Err(Ended::Refused(code)),
            Verdict::Retry => {
                if self.memory.suspects.handle_refused(at).is_none() {
                    return Err(Ended::Refused(code));
                }
                let cause =
                    format!("the cloud refused it with reason {code:#04x} again and again, and took others");
                self.uplink.quarantine(&record, &cause);
                Ok(())
            }
        }
    }

    /// The connection has ended: finds out whether an event is to blame, and sets it aside then.
    pub(super) fn blame(&mut self, ended: &Ended) {
        if !ended.may_mean_an_event() {
            return;
        }
        let records = self.window.take_all().into_iter();
        let records: Vec<Record> = records
            .flat_map(|in_flight| match in_flight {
                InFlight::Event(record) => vec![record],
                InFlight::Batch(records) => records,
                InFlight::Status | InFlight::Answer(_) => Vec::new(),
            })
            .collect();
        let in_flight: Vec<At> = records.iter().map(at).collect();
        if let Some(guilty) = self.memory.suspects.handle_ended(&in_flight)
            && let Some(record) = records.iter().find(|record| at(record) == guilty)
        {
            let cause = format!(
                "alone on the line it ended the connection again and again, and others did not: {ended}"
            );
            self.uplink.quarantine(record, &cause);
            self.memory.haste.handle_guilty();
        }
    }
}

impl Ended {
    /// Whether an event that was in flight may have been the reason.
    fn may_mean_an_event(&self) -> bool {
        match self {
            Ended::Wire(WireError::Disconnected(code, _)) => reason::may_mean_an_event(*code),
            Ended::Wire(_) | Ended::NotInFlight(_) | Ended::AckTimeout(_) => true,
            Ended::PingTimeout(_)
            | Ended::Refused(_)
            | Ended::Batch(_)
            | Ended::Returning
            | Ended::Compression(_)
            | Ended::Stopping => false,
        }
    }

    /// Whether it is of no use to connect again soon.
    pub(super) fn calls_for_patience(&self) -> bool {
        match self {
            Ended::Wire(WireError::Disconnected(code, _) | WireError::Refused(code, _))
            | Ended::Refused(code) => reason::calls_for_patience(*code),
            _ => false,
        }
    }

    /// Whether the other side ended it, rather than fell silent.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Ended::Wire(_) | Ended::NotInFlight(_) | Ended::Refused(_))
    }
}

fn packer(uplink: &Uplink, terms: Terms) -> Result<Packer, Ended> {
    let packer = Packer::new(&uplink.gateway_id, &uplink.settings, terms);
    match &uplink.settings.batch {
        Some(batch) => packer.with_batches(batch).map_err(Ended::Compression),
        None => Ok(packer),
    }
}

fn at(record: &Record) -> At {
    (record.priority, record.seq)
}
