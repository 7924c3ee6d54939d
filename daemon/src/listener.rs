//! What devices talk to: accepts connections and gives each to a task.
//!
//! It knows sockets and the MQTT protocol (by [`session`]); of the gateway it knows what a [`session::Host`] needs.

mod access;
mod acks;
mod cause;
mod connection;
mod link;
mod session;

use std::cell::RefMut;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info, warn};

use crate::bus::ConnectionId;
use crate::event::Event;
use crate::gateway::Gateway;
use crate::pipeline::Pipeline;
use tidegate_rules::TopicFilter;

pub(crate) use access::{Access, Action, Client};
pub(crate) use cause::Cause;
pub(crate) use connection::ReadBuffer;
pub(crate) use link::{Link, QueueBounds};
pub(crate) use session::Admission;
use session::Host;

/// The bounds of one client, and of all together. Each is a setting of `[limits]`.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    pub(crate) packet_bytes_max: usize,
    pub(crate) client_id_bytes_max: usize,
    /// Of topic names and filters.
    pub(crate) topic_bytes_max: usize,
    pub(crate) topic_levels_max: usize,
    /// Unacknowledged QoS 1 publishes of a client; what we announce as Receive Maximum.
    pub(crate) inflight_max: u16,
    pub(crate) subscriptions_max: usize,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) queue: QueueBounds,
}

impl Limits {
    /// Whether a topic name or filter is within the limits.
    fn takes_topic(&self, topic: &str) -> bool {
        topic.len() <= self.topic_bytes_max && topic.split('/').count() <= self.topic_levels_max
    }
}

/// Binds a listener and says where.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    info!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Accepts connections for ever. Past `connections_max` a new one is closed at once; the others are still served.
pub(crate) async fn accept(listener: TcpListener, gateway: Rc<Gateway>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if gateway.connection_count() >= gateway.limits.connections_max => {
                debug!("connection refused: connections_max reached");
                drop(stream);
            }
            Ok((stream, peer)) => {
                let gateway = Rc::clone(&gateway);
                tokio::task::spawn_local(serve(stream, peer, gateway));
            }
            Err(error) => {
                // Out of file descriptors, most likely: what is open is served on, new ones wait.
                warn!("accepting a connection failed: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, gateway: Rc<Gateway>) {
    // Acknowledgements are small and awaited; they must not wait for each other.
    let _ = stream.set_nodelay(true);
    let link = Link::new(gateway.limits.queue);
    let id = gateway.register(&link);
    let guard = Registered { gateway: Rc::clone(&gateway), id };
    let cause = connection::serve(stream, gateway, id, link).await;
    drop(guard);
    match cause {
        Cause::Disconnected | Cause::Lost | Cause::Stopping => debug!("{peer}: {cause}"),
        _ => info!("{peer}: closed: {cause}"),
    }
}

/// Takes a connection off the gateway's books however its task ends, a panic included.
struct Registered {
    gateway: Rc<Gateway>,
    id: ConnectionId,
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
    id: ConnectionId,
}

impl<'a> ConnectionHost<'a> {
    fn new(gateway: &'a Gateway, id: ConnectionId) -> Self {
        ConnectionHost { gateway, pipeline: gateway.pipeline.borrow_mut(), id }
    }

    /// Hands everything that this wake-up published to the spool, at once.
    fn commit(&mut self) {
        self.pipeline.commit();
    }
}

impl Access for ConnectionHost<'_> {
    fn may(&self, _action: Action, _client: &Client<'_>, _topic: &str) -> bool {
        true
    }
}

impl Host for ConnectionHost<'_> {
    fn username(&self) -> Option<Box<str>> {
        None
    }

    fn admission(&self, topic: &str) -> Admission {
        self.pipeline.admission(topic)
    }

    fn connected(&mut self, client_id: &str) {
        let older = self.gateway.take_over(client_id, self.id);
        if let Some(link) = self.pipeline.link(self.id) {
            link.set_client_id(client_id);
        }
        if let Some(link) = older.and_then(|older| self.pipeline.link(older)) {
            link.close(Cause::TakenOver);
        }
    }

    fn assign_client_id(&mut self) -> String {
        format!("{}-{:x}-{:x}", self.gateway.id, self.gateway.clock.stamp().wall_ms, self.id)
    }

    fn publish(&mut self, event: &Event<'_>, receipt: Option<u32>) {
        self.pipeline.accept(event, receipt.map(|receipt| (self.id, receipt)));
    }

    fn refused(&mut self) {
        self.gateway.books.refused();
    }

    fn subscribe(&mut self, filter: &TopicFilter, qos: u8) {
        self.pipeline.bus().subscribe(filter, self.id, qos);
    }

    fn unsubscribe(&mut self, filter: &TopicFilter, qos: u8) {
        self.pipeline.bus().unsubscribe(filter, self.id, qos);
    }
}
