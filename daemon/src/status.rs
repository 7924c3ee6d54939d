//! The status port: metrics for Prometheus, liveness and readiness for supervisors, and one page for people.
//!
//! It is read only: nothing that is asked of it changes anything. It takes no part in the way of an event; each
//! answer is made of counters that are kept anyway.

mod health;
mod history;
mod metrics;
mod server;
mod snapshot;

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::task::spawn_local;

pub(crate) use health::Health;
pub(crate) use snapshot::{Snapshot, Watched, WatchedUplink};

use history::History;

/// What the port shows.
pub(crate) struct Status {
    watched: Watched,
    health: Health,
    history: History,
}

impl Status {
    pub(crate) fn new(watched: Watched, health: Health) -> Rc<Status> {
        Rc::new(Status { watched, health, history: History::default() })
    }
}

/// Takes the port.
///
/// # Errors
/// Those of the system: it is in use, or not ours to take.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves the port, and keeps the page's last hour.
pub(crate) fn start(listener: TcpListener, status: Rc<Status>) {
    spawn_local(history::keep(Rc::clone(&status)));
    spawn_local(server::serve(listener, status));
}
