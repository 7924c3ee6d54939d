//! A relay between the gateway and the cloud: it can refuse, cut and delay, and it writes down what passes. So it is known
//! what reached the broker even when the broker is killed and forgets it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::must::Must;
use crate::port::Port;
use crate::wire::{Frame, Publish, Version};

/// What passed towards the broker.
#[derive(Debug, Default)]
pub struct Record {
    /// Every PUBLISH in the order it passed, with whether the broker acknowledged it.
    pub publishes: Vec<(Publish, bool)>,
    /// Connections made to the broker.
    pub connections: usize,
}

impl Record {
    /// Topic and payload of what the broker acknowledged.
    pub fn acked(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.publishes
            .iter()
            .filter(|(_, acked)| *acked)
            .map(|(p, _)| (p.topic.as_str(), p.payload.as_slice()))
    }

    /// How many PUBLISHes repeated one that had passed before, by topic and payload.
    pub fn repeats(&self) -> usize {
        let different: BTreeSet<_> = self.publishes.iter().map(|(p, _)| (&p.topic, &p.payload)).collect();
        self.publishes.len() - different.len()
    }

    /// What a receiver keeps that drops repetitions by event id (the value of user property `property`): topic and payload.
    pub fn once_by_id(&self, property: &str) -> Vec<(&str, &[u8])> {
        let mut seen = BTreeSet::new();
        let is_new = |publish: &&Publish| {
            let id = publish.properties.iter().find(|(name, _)| name == property);
            id.is_none_or(|(_, id)| seen.insert(id.clone()))
        };
        let acked = self.publishes.iter().filter(|(_, acked)| *acked).map(|(publish, _)| publish);
        acked.filter(is_new).map(|p| (p.topic.as_str(), p.payload.as_slice())).collect()
    }

    /// Every event id (the value of user property `property`) with the different payloads that carried it.
    pub fn payloads_by_id(&self, property: &str) -> BTreeMap<&str, BTreeSet<&[u8]>> {
        let mut found: BTreeMap<&str, BTreeSet<&[u8]>> = BTreeMap::new();
        for (publish, _) in &self.publishes {
            let id = publish.properties.iter().find(|(name, _)| name == property);
            if let Some((_, id)) = id {
                found.entry(id).or_default().insert(&publish.payload);
            }
        }
        found
    }
}

struct Shared {
    target: u16,
    version: Version,
    open: AtomicBool,
    swallows: AtomicBool,
    is_portal: AtomicBool,
    ended: AtomicBool,
    ack_delay_ms: AtomicU64,
    refused: AtomicU16,
    record: Mutex<Record>,
    streams: Mutex<Vec<TcpStream>>,
}

/// A TCP relay to a broker.
pub struct Relay {
    port: Port,
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts an open relay to `target`, for traffic of `version`.
    pub fn start(target: u16, version: Version) -> Self {
        let port = Port::reserve();
        let listener = TcpListener::bind(("127.0.0.1", port.number())).must("bind the relay");
        let shared = Arc::new(Shared {
            target,
            version,
            open: AtomicBool::new(true),
            swallows: AtomicBool::new(false),
            is_portal: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ack_delay_ms: AtomicU64::new(0),
            refused: AtomicU16::new(0),
            record: Mutex::default(),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&accepting, &listener));
        Self { port, shared }
    }

    /// Where the gateway connects to.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Cuts all connections and turns new ones away.
    pub fn cut(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Cuts all connections; new ones are welcome at once.
    pub fn drop_connections(&self) {
        for stream in lock(&self.shared.streams).drain(..) {
            // One that has ended already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes everything from now on, passes nothing on, and says nothing.
    pub fn swallow(&self) {
        self.shared.swallows.store(true, Ordering::SeqCst);
    }

    /// Cuts all connections; new ones are answered by a page to log in, as by the portal of a hotel.
    pub fn set_portal(&self) {
        self.shared.is_portal.store(true, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Lets connections through again; those that something was swallowed of are cut.
    pub fn heal(&self) {
        self.shared.is_portal.store(false, Ordering::SeqCst);
        if self.shared.swallows.swap(false, Ordering::SeqCst) {
            self.drop_connections();
        }
        self.shared.open.store(true, Ordering::SeqCst);
    }

    /// Holds back everything from the broker for this long.
    pub fn set_ack_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.ack_delay_ms.store(delay, Ordering::SeqCst);
    }

    /// How many connections were turned away.
    pub fn refused(&self) -> u16 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// What has passed so far.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.shared.record)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.drop_connections();
        // Wakes the accepting thread so that it sees the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port.number()));
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(gateway) = stream else { continue };
        if shared.is_portal.load(Ordering::SeqCst) {
            thread::spawn(move || answer_by_a_page(gateway));
            continue;
        }
        let broker = TcpStream::connect(("127.0.0.1", shared.target));
        let open = shared.open.load(Ordering::SeqCst);
        match broker {
            Ok(broker) if open => connect(shared, gateway, broker),
            _ => {
                shared.refused.fetch_add(1, Ordering::SeqCst);
                // Turned away: dropping the stream closes it.
                drop(gateway);
            }
        }
    }
}

fn answer_by_a_page(mut gateway: TcpStream) {
    // Whoever has gone need not be told.
    let _ = gateway.read(&mut [0; 1024]);
    let page = "x".repeat(300);
    let _ = write!(gateway, "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n{page}");
}

fn connect(shared: &Arc<Shared>, gateway: TcpStream, broker: TcpStream) {
    let pair = [gateway, broker].map(|stream| {
        stream.set_nodelay(true).must("set TCP_NODELAY");
        lock(&shared.streams).push(stream.try_clone().must("clone a socket"));
        stream
    });
    lock(&shared.record).connections += 1;
    let unacked = Arc::new(Mutex::new(HashMap::new()));
    let [gateway, broker] = pair;
    let (from_gateway, to_broker) = (gateway.try_clone(), broker.try_clone());
    let aliases = HashMap::new();
    let up = Up { shared: Arc::clone(shared), unacked: Arc::clone(&unacked), bytes: Vec::new(), aliases };
    let down = Down { shared: Arc::clone(shared), unacked, bytes: Vec::new() };
    let (from, to) = (from_gateway.must("clone a socket"), to_broker.must("clone a socket"));
    thread::spawn(move || up.run(from, to));
    thread::spawn(move || down.run(broker, gateway));
}

// Packet id of an unacknowledged PUBLISH of one connection -> its place in the record.
type Unacked = Arc<Mutex<HashMap<u16, usize>>>;

struct Up {
    shared: Arc<Shared>,
    unacked: Unacked,
    bytes: Vec<u8>,
    /// Topic names by their alias (MQTT 5, 3.3.2.3.4), which live as long as the connection.
    aliases: HashMap<u16, String>,
}

impl Up {
    fn run(mut self, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let Some(data) = chunk.get(..count) else { break };
            if self.shared.swallows.load(Ordering::SeqCst) {
                continue;
            }
            // Noted before it is sent on, so that its PUBACK finds it.
            self.note(data);
            if to.write_all(data).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    fn note(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        let mut at = 0;
        while let Some(frame) = Frame::take(&self.bytes, &mut at) {
            let Some(mut publish) = frame.publish(self.shared.version) else { continue };
            match publish.alias {
                None => {}
                Some(alias) if publish.topic.is_empty() => {
                    publish.topic = self.aliases.get(&alias).cloned().unwrap_or_default();
                }
                Some(alias) => drop(self.aliases.insert(alias, publish.topic.clone())),
            }
            let mut record = lock(&self.shared.record);
            if publish.qos > 0 {
                lock(&self.unacked).insert(publish.packet_id, record.publishes.len());
            }
            record.publishes.push((publish, false));
        }
        self.bytes.drain(..at);
    }
}

struct Down {
    shared: Arc<Shared>,
    unacked: Unacked,
    bytes: Vec<u8>,
}

impl Down {
    fn run(mut self, mut from: TcpStream, to: TcpStream) {
        let (sender, receiver) = channel();
        let end = to.try_clone();
        thread::spawn(move || send_when_due(&receiver, to));
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let Some(data) = chunk.get(..count) else { break };
            if self.shared.swallows.load(Ordering::SeqCst) {
                continue;
            }
            self.note(data);
            if self.forward(&sender, data).is_none() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        if let Ok(end) = end {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn forward(&self, sender: &Sender<(Instant, Vec<u8>)>, data: &[u8]) -> Option<()> {
        let delay = Duration::from_millis(self.shared.ack_delay_ms.load(Ordering::SeqCst));
        sender.send((Instant::now() + delay, data.to_vec())).ok()
    }

    fn note(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        let mut at = 0;
        while let Some(frame) = Frame::take(&self.bytes, &mut at) {
            if frame.kind() != 4 || frame.reason().is_some_and(|reason| reason >= 0x80) {
                continue;
            }
            let Some(place) = frame.packet_id().and_then(|id| lock(&self.unacked).remove(&id)) else {
                continue;
            };
            if let Some((_, acked)) = lock(&self.shared.record).publishes.get_mut(place) {
                *acked = true;
            }
        }
        self.bytes.drain(..at);
    }
}

fn send_when_due(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, data)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&data).is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
