//! A cloud of a few threads: it takes QoS 1 publishes, keeps what arrives in its order, and is slow, away or gone when told.
//!
//! It stands where a mosquitto costs too much or cannot be told to misbehave. An arrival is noted before its PUBACK leaves,
//! so whatever the gateway believes to be delivered is here.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Received};
use crate::must::Must;
use crate::oracle::{Account, Findings, audit};
use crate::port::Port;
use crate::wait::drained;
use crate::wire::{self, Frame, Publish, Version};

// A sleep is late by about this much, so a link is paced in portions of it.
const PACE: Duration = Duration::from_micros(500);
const EVENTS: &str = "events/";
const GAP: &str = "tidegate/gap";
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);

/// What the cloud does with an event: the publish and the moment at which the link had brought it.
type Sink = Box<dyn Fn(Publish, Instant) + Send + Sync>;

struct Shared {
    open: AtomicBool,
    ended: AtomicBool,
    ack_delay_ms: AtomicU64,
    events_per_s: AtomicU32,
    connections: AtomicUsize,
    connected_at: Mutex<Option<Instant>>,
    arrivals: Mutex<Vec<(String, String)>>,
    streams: Mutex<Vec<TcpStream>>,
    // Client ids that have been here.
    sessions: Mutex<HashSet<String>>,
    // The connection ends on an event whose payload has this in it.
    poison: Mutex<Option<String>>,
    sink: Option<Sink>,
}

/// A cloud on a port that stays its own.
pub struct Cloud {
    port: Port,
    shared: Arc<Shared>,
}

impl Cloud {
    /// Starts a cloud that answers at once and keeps all that arrives.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// Starts a cloud that hands what arrives to `sink` and keeps nothing.
    pub fn handing_to(sink: impl Fn(Publish, Instant) + Send + Sync + 'static) -> Self {
        Self::with(Some(Box::new(sink)))
    }

    fn with(sink: Option<Sink>) -> Self {
        let port = Port::reserve();
        let (number, listener) = (port.number(), listen(port.number()).must("bind the cloud"));
        let shared = Arc::new(Shared {
            open: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            ack_delay_ms: AtomicU64::new(0),
            events_per_s: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            connected_at: Mutex::default(),
            arrivals: Mutex::default(),
            streams: Mutex::default(),
            sessions: Mutex::default(),
            poison: Mutex::default(),
            sink,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&accepting, number, listener));
        Self { port, shared }
    }

    /// Where gateways connect to.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Ends all connections; new ones are refused.
    pub fn cut(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        self.drop_connections();
        // Wakes the accepting thread, so that it listens no more.
        let _ = TcpStream::connect(("127.0.0.1", self.port.number()));
    }

    /// Ends all connections; new ones are welcome at once.
    pub fn drop_connections(&self) {
        for stream in lock(&self.shared.streams).drain(..) {
            // One that has ended already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.shared.open.store(true, Ordering::SeqCst);
    }

    /// Sends each PUBACK this much later.
    pub fn set_ack_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.ack_delay_ms.store(delay, Ordering::SeqCst);
    }

    /// Takes no more than this many events a second from a connection; 0 sets no bound.
    pub fn set_events_per_s(&self, events_per_s: u32) {
        self.shared.events_per_s.store(events_per_s, Ordering::SeqCst);
    }

    /// Ends the connection on each event whose payload has `part` in it, without a word, and takes it never.
    pub fn set_poison(&self, part: &str) {
        *lock(&self.shared.poison) = Some(part.to_owned());
    }

    /// Connections that were let through so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// When the last CONNECT came.
    pub fn connected_at(&self) -> Option<Instant> {
        *lock(&self.shared.connected_at)
    }

    /// How many have arrived so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.arrivals).len()
    }

    /// Topic and payload of all that has arrived so far, in order.
    pub fn arrivals(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        lock(&self.shared.arrivals)
    }

    /// Compares these accounts with the events that have arrived so far.
    pub fn audit(&self, accounts: &[Account]) -> Findings {
        let arrivals = self.arrivals();
        let events = arrivals.iter().filter(|(topic, _)| topic.starts_with(EVENTS));
        audit(accounts, events.map(|(topic, payload)| (topic.as_str(), payload.as_str())))
    }

    /// How many events the gateway has announced as given up, by its notices of gaps.
    pub fn announced_gaps(&self) -> usize {
        let arrivals = self.arrivals();
        let notices = arrivals.iter().filter(|(topic, _)| topic.ends_with(GAP));
        notices.filter_map(|(_, payload)| count_of_gap(payload)).sum()
    }

    /// Waits until all that these accounts hold an acknowledgement for has arrived, or nothing has for `quiet`; the
    /// findings at that moment.
    #[track_caller]
    pub fn drained(&self, accounts: &[Account], quiet: Duration, limit: Duration) -> Findings {
        drained(|| self.count(), || self.audit(accounts), quiet, limit)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
    }
}

// While the cloud is away nobody listens, so that who connects is refused, as by a machine without a broker.
fn accept(shared: &Arc<Shared>, port: u16, first: TcpListener) {
    let mut listening = Some(first);
    while !shared.ended.load(Ordering::SeqCst) {
        if !shared.open.load(Ordering::SeqCst) {
            listening = None;
        } else if listening.is_none() {
            listening = listen(port).ok();
        }
        match listening.as_ref().map(TcpListener::accept) {
            Some(Ok((stream, _))) => welcome(shared, stream),
            Some(Err(_)) | None => thread::sleep(LOOK_AGAIN),
        }
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

fn welcome(shared: &Arc<Shared>, stream: TcpStream) {
    // Dropping the stream of one that is turned away closes it.
    let Ok(kept) = stream.try_clone() else { return };
    let mut streams = lock(&shared.streams);
    if shared.open.load(Ordering::SeqCst) {
        streams.push(kept);
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&shared, stream));
    }
}

// Ends with the connection.
fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(to) = stream.try_clone() else { return };
    let mut client = Client { shared, version: Version::V311, due: Instant::now(), out: Vec::new() };
    let (sender, receiver) = channel();
    thread::spawn(move || send_when_due(&receiver, to));
    let mut connection = Connection::of(stream, Version::V311);
    loop {
        let mut next = match connection.receive(LOOK_UP_EVERY) {
            Received::Frame(frame) => Some(frame),
            Received::Nothing => None,
            Received::Closed => return,
        };
        let mut ended = false;
        while let Some(frame) = next.filter(|_| !ended) {
            ended = client.is_poison(&frame);
            if !ended {
                client.handle(&frame);
            }
            next = connection.buffered();
        }
        // What came before is answered; the end of the channel ends the connection.
        if client.answer(&sender).is_none() || ended {
            return;
        }
    }
}

struct Client<'a> {
    shared: &'a Shared,
    version: Version,
    // When the link has brought all that was taken from it.
    due: Instant,
    out: Vec<u8>,
}

impl Client<'_> {
    fn is_poison(&self, frame: &Frame) -> bool {
        let poison = lock(&self.shared.poison);
        let Some(part) = poison.as_ref().filter(|_| frame.kind() == 3) else { return false };
        let publish = frame.publish(self.version);
        publish.is_some_and(|publish| String::from_utf8_lossy(&publish.payload).contains(part))
    }

    fn handle(&mut self, frame: &Frame) {
        match frame.kind() {
            1 => self.connect(frame),
            3 => self.publish(frame),
            8 => self.answer_list(frame, 0x90),
            10 => self.answer_list(frame, 0xB0),
            12 => self.out.extend([0xD0, 0]),
            _ => {}
        }
    }

    // CONNACK without properties (MQTT 5, 3.2). A session is there for who comes again and wants it.
    fn connect(&mut self, frame: &Frame) {
        // The protocol level stands behind the name; a bridge of mosquitto sets its highest bit.
        let v5 = frame.body.get(6).is_some_and(|level| level & 0x7F == 5);
        self.version = if v5 { Version::V5 } else { Version::V311 };
        let clean = frame.body.get(7).is_none_or(|flags| flags & 2 != 0);
        let known = !lock(&self.shared.sessions).insert(frame.client_id().unwrap_or_default());
        let present = u8::from(known && !clean);
        *lock(&self.shared.connected_at) = Some(Instant::now());
        self.shared.connections.fetch_add(1, Ordering::SeqCst);
        let body = [present, 0, 0];
        self.out.extend(wire::packet(0x20, if v5 { &body } else { &body[..2] }));
    }

    fn publish(&mut self, frame: &Frame) {
        let Some(publish) = frame.publish(self.version) else { return };
        self.pace();
        if publish.qos > 0 {
            self.out.extend(wire::puback(publish.packet_id));
        }
        match &self.shared.sink {
            Some(sink) => sink(publish, Instant::now()),
            None => {
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                lock(&self.shared.arrivals).push((publish.topic, payload));
            }
        }
    }

    fn pace(&mut self) {
        let rate = self.shared.events_per_s.load(Ordering::Relaxed);
        if rate > 0 {
            let now = Instant::now();
            self.due = self.due.max(now) + Duration::from_secs(1) / rate;
            if self.due > now + PACE {
                thread::sleep(self.due - now);
            }
        }
    }

    // Subscriptions are granted and lead to nothing: a bridge makes some.
    fn answer_list(&mut self, frame: &Frame, first: u8) {
        let Some(id) = frame.packet_id() else { return };
        let mut body = id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        if first == 0x90 || self.version == Version::V5 {
            body.push(0);
        }
        self.out.extend(wire::packet(first, &body));
    }

    fn answer(&mut self, sender: &Sender<(Instant, Vec<u8>)>) -> Option<()> {
        if self.out.is_empty() {
            return Some(());
        }
        let delay = Duration::from_millis(self.shared.ack_delay_ms.load(Ordering::SeqCst));
        sender.send((Instant::now() + delay, std::mem::take(&mut self.out))).ok()
    }
}

fn count_of_gap(payload: &str) -> Option<usize> {
    let notice: serde_json::Value = serde_json::from_str(payload).ok()?;
    notice.get("count")?.as_u64()?.try_into().ok()
}

fn send_when_due(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, data)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&data).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
