//! What devices talk to: accepts connections and gives each to a task.
//!
//! It knows sockets and the MQTT protocol (by [`session`]); of the gateway it knows what a [`session::Host`] needs.

mod access;
mod acks;
mod attempts;
mod audit;
mod cause;
mod connection;
mod guest;
mod link;
mod pace;
mod rate;
mod reception;
mod session;
mod socket;
mod transport;

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::bus::{Bus, ConnectionId, Handle};
use crate::durable::Durable;
use crate::event::Event;
use crate::gateway::Gateway;
use crate::pipeline::{Origin, Pipeline};
use tidegate_buffer::Stamp;

pub(crate) use access::{Access, Action, Client};
pub(crate) use acks::{Ack, Acks};
pub(crate) use cause::Cause;
pub(crate) use connection::ReadBuffer;
pub(crate) use link::Link;
pub(crate) use reception::Reception;
pub(crate) use session::Admission;
#[cfg(fuzzing)]
pub(crate) use session::fuzz;
pub(crate) use transport::certificate_ends_ms;

use access::{CurrentPolicy, Refusal};
use guest::Guest;
use reception::{Refused, Seat};
use session::Host;
use socket::{Acceptor, Peer, Socket};
use transport::{Carried, Carrier, TlsError};

/// The bounds of one client, and of all together. Each is a setting of `[limits]`.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) connects_per_s_max: u32,
    pub(crate) failed_logins_per_minute_max: u32,
    pub(crate) publishes_per_s_max: Option<u32>,
    pub(crate) receive_bytes_per_s_max: Option<u32>,
    pub(crate) packet_bytes_max: usize,
    pub(crate) client_id_bytes_max: usize,
    /// Of topic names and filters.
    pub(crate) topic_bytes_max: usize,
    pub(crate) topic_levels_max: usize,
    /// Unacknowledged publishes of a client; what we announce as Receive Maximum, and the most that we send it.
    pub(crate) inflight_max: u16,
    /// Topic aliases in each direction of a connection; 0 for none.
    pub(crate) topic_alias_max: u16,
    /// The longest keep-alive, in seconds; `None` leaves it to the client.
    pub(crate) keep_alive_max_s: Option<u16>,
    /// Whether clients of MQTT 3.1 are served.
    pub(crate) mqtt31: bool,
    pub(crate) handshake_timeout_ms: u64,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) idle_timeout_ms: Option<u64>,
}

impl Gateway {
    /// Notes that something was refused to `peer`.
    fn refuse(&self, refused: Refused, peer: Peer, what: std::fmt::Arguments<'_>) {
        self.reception.refuse(refused, peer, self.clock.now_ms(), what);
    }

    /// Notes what happened to `peer`.
    fn note(&self, peer: Peer, what: std::fmt::Arguments<'_>) {
        self.reception.audit.note(peer, self.clock.now_ms(), what);
    }
}

impl Limits {
    /// Whether a topic name or filter is within the limits.
    pub(crate) fn takes_topic(&self, topic: &str) -> bool {
        // What is shorter cannot have as many levels.
        let levels = || topic.bytes().filter(|byte| *byte == b'/').count() + 1;
        topic.len() <= self.topic_bytes_max
            && (topic.len() < self.topic_levels_max || levels() <= self.topic_levels_max)
    }
}

/// Where devices connect, and who may.
pub(crate) struct Listener {
    acceptor: Acceptor,
    door: RefCell<Rc<Door>>,
    policy: Rc<CurrentPolicy>,
    /// As the setting is written.
    name: String,
    traffic: Rc<Traffic>,
}

/// What came in by a listener since the start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Connections that were accepted.
    pub(crate) connections: Cell<u64>,
    /// Connections that are open.
    pub(crate) open: Cell<u64>,
    /// Events that were accepted.
    pub(crate) events: Cell<u64>,
    /// Bytes of their payloads.
    pub(crate) payload_bytes: Cell<u64>,
}

/// An open connection, as long as it is.
struct Open(Rc<Traffic>);

impl Open {
    fn new(traffic: &Rc<Traffic>) -> Open {
        traffic.connections.set(traffic.connections.get() + 1);
        traffic.open.set(traffic.open.get() + 1);
        Open(Rc::clone(traffic))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// How connections of a listener are made.
pub(crate) struct Door {
    carrier: Carrier,
    proxy_protocol: bool,
}

impl Door {
    /// Reads certificates and keys.
    pub(crate) fn new(
        settings: &tidegate_config::Listener,
        packet_bytes_max: usize,
    ) -> Result<Door, TlsError> {
        let carrier = Carrier::new(settings, packet_bytes_max)?;
        Ok(Door { carrier, proxy_protocol: settings.proxy_protocol })
    }
}

/// A listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}{hint}", hint = hint(.0))]
    Bind(#[from] std::io::Error),
}

fn hint(error: &std::io::Error) -> &'static str {
    let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
    if in_use { "; is another broker running there?" } else { "" }
}

impl Listener {
    /// Binds a listener and says where.
    pub(crate) async fn bind(
        settings: &tidegate_config::Listener,
        packet_bytes_max: usize,
    ) -> Result<Listener, ListenError> {
        let door = Door::new(settings, packet_bytes_max)?;
        let acceptor = Acceptor::bind(&settings.bind).await?;
        info!("listening on {acceptor}");
        let policy = CurrentPolicy::new(&settings.access);
        let (name, traffic) = (settings.bind.to_string(), Rc::default());
        Ok(Listener { acceptor, door: RefCell::new(Rc::new(door)), policy, name, traffic })
    }

    /// What it is called, and what came in by it.
    pub(crate) fn traffic(&self) -> (String, Rc<Traffic>) {
        (self.name.clone(), Rc::clone(&self.traffic))
    }

    /// New connections are made in another way from now on.
    pub(crate) fn replace_door(&self, door: Door) {
        *self.door.borrow_mut() = Rc::new(door);
    }

    /// Others may connect from now on, or do other things. Those who are there have to be asked again by
    /// [`Link::signal_policy`].
    pub(crate) fn replace_access(&self, access: &tidegate_config::Access) {
        self.policy.replace(access);
    }
}

/// Accepts connections for ever, no faster than `connects_per_s_max`: what comes faster waits in the kernel's queue.
/// Past `connections_max` a new one is closed at once; the others are still served.
pub(crate) async fn accept(listener: Rc<Listener>, gateway: Rc<Gateway>) {
    loop {
        while let Err(wait_ms) = gateway.reception.turn(&gateway.limits(), gateway.clock.now_ms()) {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        match listener.acceptor.accept().await {
            Ok((_, peer)) if gateway.connection_count() >= gateway.limits().connections_max => {
                gateway.refuse(Refused::Connection, peer, format_args!("connections_max reached"));
            }
            Ok((socket, peer)) => {
                tokio::task::spawn_local(serve(socket, peer, Rc::clone(&listener), Rc::clone(&gateway)));
            }
            Err(error) => {
                // Out of file descriptors, most likely: what is open is served on, new ones wait.
                warn!("accepting a connection failed: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection from its first byte to its last. Not an `async fn`, which would hold its arguments twice.
#[expect(clippy::manual_async_fn, reason = "half the room")]
fn serve(
    socket: Socket,
    peer: Peer,
    listener: Rc<Listener>,
    gateway: Rc<Gateway>,
) -> impl Future<Output = ()> {
    async move {
        let link = Link::new();
        let registered = Registered::new(&gateway, &link);
        let open = Open::new(&listener.traffic);
        let (door, policy) = (Rc::clone(&listener.door.borrow()), Rc::clone(&listener.policy));
        drop(listener);
        // In boxes of their own: an idle connection does not hold the room that a handshake needs, and one that has not
        // said anything none that a session needs.
        let meeting = Box::pin(meet(socket, peer, door, Rc::clone(&gateway)));
        let (peer, cause) = match unless_closed(&link, meeting).await {
            Ok(met) => Box::pin(attend(met, policy, gateway, registered.id, link, &open)).await,
            Err(cause) => (peer, cause),
        };
        match cause {
            Cause::Disconnected | Cause::Lost | Cause::Stopping => debug!("{peer}: {cause}"),
            // These are in the audit already.
            Cause::Handshake(_) | Cause::HandshakeTimeout(_) | Cause::TooMany | Cause::LoginRefused => {}
            _ => registered.gateway.note(peer, format_args!("closed: {cause}")),
        }
    }
}

/// Serves a client from its CONNECT on. Says who it was, and what ended it.
async fn attend(
    met: Box<Met>,
    policy: Rc<CurrentPolicy>,
    gateway: Rc<Gateway>,
    id: ConnectionId,
    link: Rc<Link>,
    open: &Open,
) -> (Peer, Cause) {
    let Met { carried, peer, connect_by, _seat } = *met;
    let guest = Guest::new(policy, peer, carried.username, Rc::clone(&open.0));
    (peer, connection::serve(carried.transport, gateway, id, link, guest, connect_by).await)
}

/// A client whose handshakes are done, and who has a place.
struct Met {
    carried: Carried,
    peer: Peer,
    connect_by: Instant,
    _seat: Seat,
}

/// Makes the handshakes that the listener wants, each with its deadline. What needs room is made once the client has said
/// something, in a box: thousands that say nothing must not grow the heap, whose top they would hold when they go.
#[expect(clippy::manual_async_fn, reason = "half the room")]
fn meet(
    mut socket: Socket,
    mut peer: Peer,
    door: Rc<Door>,
    gateway: Rc<Gateway>,
) -> impl Future<Output = Result<Box<Met>, Cause>> {
    async move {
        let limit = Duration::from_millis(gateway.limits().handshake_timeout_ms);
        let connect_limit = Duration::from_millis(gateway.limits().connect_timeout_ms);
        if door.proxy_protocol {
            let reading = Box::pin(transport::read_proxy(&mut socket));
            if let Some(source) = stage("PROXY", timeout(limit, reading).await, peer, &gateway)? {
                peer = Peer::Address(source);
            }
        }
        let Some(_seat) = Seat::take(&gateway, peer) else {
            gateway.refuse(Refused::Connection, peer, format_args!("connections_per_address_max reached"));
            return Err(Cause::TooMany);
        };
        let begun = Instant::now();
        let Some(first) = door.carrier.first_handshake() else {
            let heard = timeout(connect_limit, socket.heard()).await;
            heard.map_err(|_| Cause::ConnectTimeout)?.map_err(|_| Cause::Lost)?;
            let carried = Carried::plain(socket);
            return Ok(Box::new(Met { carried, peer, connect_by: begun + connect_limit, _seat }));
        };
        stage(first, timeout(limit, socket.heard()).await, peer, &gateway)?;
        let securing = Box::pin(door.carrier.secure(socket));
        let secured = stage("TLS", timeout_at(begun + limit, securing).await, peer, &gateway)?;
        let begun = if secured.is_tls() { Instant::now() } else { begun };
        let framing = Box::pin(door.carrier.frame(secured));
        let carried = stage("WebSocket", timeout_at(begun + limit, framing).await, peer, &gateway)?;
        Ok(Box::new(Met { carried, peer, connect_by: Instant::now() + connect_limit, _seat }))
    }
}

/// What came of a handshake; a failure is noted.
fn stage<T, E: std::fmt::Display>(
    name: &'static str,
    result: Result<Result<T, E>, tokio::time::error::Elapsed>,
    peer: Peer,
    gateway: &Gateway,
) -> Result<T, Cause> {
    let (cause, error) = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => (Cause::Handshake(name), error.to_string()),
        Err(_) => (Cause::HandshakeTimeout(name), "handshake_timeout reached".to_owned()),
    };
    gateway.refuse(Refused::Connection, peer, format_args!("{name} handshake: {error}"));
    Err(cause)
}

/// Performs `stage` unless the connection is told to close before.
async fn unless_closed<T>(link: &Link, stage: impl Future<Output = Result<T, Cause>>) -> Result<T, Cause> {
    let mut stage = pin!(stage);
    poll_fn(|context| {
        while link.poll_signal(context).is_ready() {
            if let Some(cause) = link.closing() {
                return Poll::Ready(Err(cause));
            }
        }
        stage.as_mut().poll(context)
    })
    .await
}

/// Takes a connection off the gateway's books however its task ends, a panic included.
pub(crate) struct Registered {
    gateway: Rc<Gateway>,
    pub(crate) id: ConnectionId,
}

impl Registered {
    /// Gives a connection its number, under which `link` is known from now on.
    pub(crate) fn new(gateway: &Rc<Gateway>, link: &Rc<Link>) -> Self {
        Registered { gateway: Rc::clone(gateway), id: gateway.register(link) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.gateway.disconnected(self.id);
    }
}

/// The gateway as one session sees it.
struct ConnectionHost<'a> {
    gateway: &'a Gateway,
    pipeline: RefMut<'a, Pipeline>,
    guest: &'a Guest,
    id: ConnectionId,
    /// When the wake-up began; the clock is not read again for each packet.
    now: Stamp,
}

impl<'a> ConnectionHost<'a> {
    fn new(gateway: &'a Gateway, guest: &'a Guest, id: ConnectionId, now: Stamp) -> Self {
        ConnectionHost { gateway, pipeline: gateway.pipeline.borrow_mut(), guest, id, now }
    }

    /// Hands everything that this wake-up published to the spool, at once.
    fn commit(&mut self) {
        self.pipeline.commit(self.now);
    }
}

impl Access for ConnectionHost<'_> {
    fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool {
        let may = self.guest.may(action, client, topic);
        if !may && action != Action::Deliver {
            let Client { client_id, username } = *client;
            let what =
                format_args!("{action:?} refused: topic={topic:?} client={client_id:?} user={username:?}");
            self.gateway.refuse(Refused::Topic, self.guest.peer, what);
        }
        may
    }
}

impl Host for ConnectionHost<'_> {
    fn login(&self) -> Result<Option<Box<str>>, Refusal> {
        self.guest.login()
    }

    fn admission(&self, topic: &str, retain: bool) -> Admission {
        self.pipeline.admission(topic, retain)
    }

    fn connection(&self) -> ConnectionId {
        self.id
    }

    fn connected(&mut self, handle: Handle) {
        if let Some(link) = self.pipeline.link(self.id) {
            link.set_session(handle.session);
        }
        if let Some(client_id) = self.pipeline.bus().client_id(handle) {
            let mut devices = self.gateway.devices.borrow_mut();
            devices.handle_connected(client_id, self.guest.peer.to_string(), self.id, self.now.mono_ms);
        }
    }

    fn assign_client_id(&mut self) -> String {
        format!("{}-{:x}-{:x}", self.gateway.id, self.now.wall_ms, self.id)
    }

    fn publish(&mut self, event: &Event<'_>, handle: Handle, packet_id: u16, receipt: Option<u32>) {
        #[cfg(test)]
        crate::testing::provoke(event.topic);
        self.guest.note_published(event.payload.len());
        let receipt = receipt.map(|receipt| (self.id, receipt));
        let received = (event.qos == 2).then_some(packet_id);
        self.pipeline.accept(event, &Origin { session: Some(handle), receipt, received }, self.now);
    }

    fn refused(&mut self) {
        self.gateway.books.refused();
    }

    fn bus(&self) -> &Bus {
        self.pipeline.bus()
    }

    fn with_bus<R>(
        &mut self,
        receipt: Option<u32>,
        change: impl FnOnce(&mut Bus, Stamp, &mut dyn Durable) -> R,
    ) -> (R, bool) {
        let now = self.now;
        let change = |bus: &mut Bus, durable: &mut dyn Durable| change(bus, now, durable);
        self.pipeline.with_bus(receipt.map(|receipt| (self.id, receipt)), change)
    }
}
