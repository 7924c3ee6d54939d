//! The status port: metrics for Prometheus, liveness and readiness for supervisors, and one page for people.
//!
//! It is read only: nothing that is asked of it changes anything. It takes no part in the way of an event; each
//! answer is made of counters that are kept anyway.

mod health;
mod history;
mod metrics;
mod server;
mod snapshot;
mod waits;

use std::rc::Rc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

pub(crate) use health::Health;
#[cfg(test)]
pub(crate) use snapshot::Uplink;
pub(crate) use snapshot::{Lane, Snapshot, Watched};
pub(crate) use waits::Waits;
pub(crate) use waits::watch as watch_waits;

use crate::devices;
use crate::log::{self, Line};
use crate::remote::{Desk, Standing};
use history::{History, Sample};

/// What the port shows.
pub(crate) struct Status {
    watched: Watched,
    health: Rc<Health>,
    desk: Rc<Desk>,
    history: History,
}

impl Status {
    pub(crate) fn new(watched: Watched, health: Rc<Health>, desk: Rc<Desk>) -> Rc<Status> {
        Rc::new(Status { watched, health, desk, history: History::default() })
    }
}

/// Everything that is shown, to the page and to the command line.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    snapshot: Snapshot,
    /// Why it does not live; nothing if it does.
    live: Option<&'static str>,
    /// Why it cannot store; nothing if it can.
    ready: Option<&'static str>,
    /// The last settings from the cloud that were tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_config: Option<Standing>,
    history: Vec<Sample>,
    /// Those that were heard last, and how many are known.
    devices: Vec<devices::Seen>,
    devices_known: usize,
    warnings: Vec<Line>,
}

impl Status {
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.watched.snapshot()
    }

    pub(crate) fn shown(&self) -> Shown {
        let (devices, devices_known) = self.watched.devices();
        Shown {
            snapshot: self.watched.snapshot(),
            live: self.health.live().err(),
            ready: self.health.ready().err(),
            remote_config: self.desk.standing(),
            history: self.history.samples(),
            devices,
            devices_known,
            warnings: log::recent(),
        }
    }
}

/// Keeps the last hour, and serves the port if there is one.
pub(crate) fn start(listener: Option<TcpListener>, status: Rc<Status>) {
    spawn_local(history::keep(Rc::clone(&status)));
    if let Some(listener) = listener {
        spawn_local(server::serve(listener, status));
    }
}
