//! The stand-in cloud: rumqttd, an observer of what reaches it, and a relay in front that can be cut.
//!
//! rumqttd cannot be stopped from within, so the cloud goes away by its link: the relay drops the connections it has
//! and refuses new ones, which is what a lost uplink looks like from the gateway.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use rumqttd::{Broker, ConnectionSettings, Notification, RouterConfig, ServerSettings};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::exit::{Exit, Fatal};

/// A publish that reached the cloud.
pub(super) struct Arrival {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// Starts the broker on threads of its own; gives its ports for MQTT 5 and 3.1.1, and everything that reaches it.
pub(super) fn start() -> Result<(SocketAddr, SocketAddr, UnboundedReceiver<Arrival>), Fatal> {
    let v5 = free_address().map_err(no_port)?;
    let v4 = free_address().map_err(no_port)?;
    let config = rumqttd::Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 8 * 1024 * 1024,
            max_segment_count: 8,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("v4".to_owned(), server("v4", v4))])),
        v5: Some(HashMap::from([("v5".to_owned(), server("v5", v5))])),
        ..rumqttd::Config::default()
    };
    let mut broker = Broker::new(config);
    let (mut subscribe, mut link) = broker
        .link("observer")
        .map_err(|error| Fatal::new(Exit::Software, format!("the stand-in cloud: {error}")))?;
    subscribe
        .subscribe("#")
        .map_err(|error| Fatal::new(Exit::Software, format!("the stand-in cloud: {error}")))?;
    let (arrivals_tx, arrivals) = unbounded_channel();
    spawn("cloud", move || drop(broker.start()))?;
    spawn("observer", move || {
        // The subscription lives as long as its sending half.
        let _subscribe = subscribe;
        while let Ok(notification) = link.recv() {
            observe(&link, notification, &arrivals_tx);
        }
    })?;
    Ok((v5, v4, arrivals))
}

fn observe(
    link: &rumqttd::local::LinkRx,
    notification: Option<Notification>,
    arrivals: &UnboundedSender<Arrival>,
) {
    match notification {
        Some(Notification::Forward(forward)) => {
            let topic = String::from_utf8_lossy(&forward.publish.topic).into_owned();
            let _ = arrivals.send(Arrival { topic, payload: forward.publish.payload });
        }
        // The router has paused this link, and waits to be told that there is room again.
        Some(Notification::Unschedule) => drop(link.ready()),
        _ => {}
    }
}

fn server(name: &str, listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 1024 * 1024,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Fatal> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(|error| Fatal::new(Exit::Os, format!("cannot start a thread: {error}")))
}

fn no_port(error: io::Error) -> Fatal {
    Fatal::new(Exit::Unavailable, format!("no free port on 127.0.0.1: {error}"))
}

/// An address on loopback that nobody listens on at this moment.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The link between gateway and cloud.
pub(super) struct Relay {
    /// Where the gateway finds the cloud.
    pub(super) address: SocketAddr,
    up: watch::Sender<bool>,
    is_up: Rc<Cell<bool>>,
}

impl Relay {
    /// Starts a relay to `cloud`, with the link up.
    pub(super) async fn start(cloud: SocketAddr) -> Result<Relay, Fatal> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let (up, changes) = watch::channel(true);
        spawn_local(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                // A connection made while the link is cut is dropped at once.
                if *changes.borrow() {
                    spawn_local(relay(gateway, cloud, changes.clone()));
                }
            }
        });
        Ok(Relay { address, up, is_up: Rc::new(Cell::new(true)) })
    }

    pub(super) fn set_up(&self, up: bool) {
        self.is_up.set(up);
        let _ = self.up.send(up);
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.get()
    }
}

async fn relay(mut gateway: TcpStream, cloud: SocketAddr, mut up: watch::Receiver<bool>) {
    let Ok(mut cloud) = TcpStream::connect(cloud).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut gateway, &mut cloud) => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}
