//! Events from a broker that is there already, and what the cloud sends down: the gateway as a subscriber.
//!
//! To the rest of the gateway a source is a device: what it brings goes through the pipeline, and the broker gets its PUBACK
//! when the receipt has come. The broker keeps the session, so what was not acknowledged comes again, whoever of the two
//! was away. `connection` moves packets; `intake` decides what becomes of each, and knows no I/O.

mod connection;
mod intake;

use std::rc::Rc;

use tidegate_config::Broker;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::broker::dial::Dialer;
use crate::broker::recovery::{End, Recovery};
use crate::broker::{Status, connect_ms_max, random, recovery};
use crate::clock::millis;
use crate::gateway::Gateway;
use connection::{Connection, Ended};

/// What a source needs of the gateway.
struct Source {
    settings: tidegate_config::Source,
    gateway: Rc<Gateway>,
    status: Rc<Status>,
}

/// What a source remembers from one connection to the next.
struct Memory {
    dialer: Dialer,
    recovery: Recovery,
    /// The broker has taken the subscriptions, so that a session that is gone is worth a word.
    has_subscribed: bool,
    reported_away: bool,
}

/// Starts a source; gives what it shows of itself, and its task, which may be ended at any time.
pub(crate) fn start(
    settings: tidegate_config::Source,
    gateway: &Rc<Gateway>,
) -> (Rc<Status>, JoinHandle<()>) {
    let status = Rc::<Status>::default();
    let source = Source { settings, gateway: Rc::clone(gateway), status: Rc::clone(&status) };
    (status, spawn_local(run(source)))
}

/// Keeps the source going until the gateway stops.
async fn run(source: Source) {
    let name = source.settings.name.as_str();
    let clock = source.gateway.clock;
    let mut memory = Memory {
        dialer: Dialer::new(),
        recovery: recovery(source.broker(), clock.now_ms()),
        has_subscribed: false,
        reported_away: false,
    };
    source.status.begin(clock.now_ms());
    while !source.gateway.is_stopping() {
        source.status.expect_until(clock.now_ms().saturating_add(connect_ms_max(source.broker())));
        let url = source.broker().url_at(memory.recovery.endpoints.current());
        let (ended, end) = one_connection(&source, &mut memory).await;
        let was_online = source.status.set_online(false, clock.now_ms());
        match &ended {
            Ended::Stopping => return,
            Ended::Returning => info!(source = name, "{url} is left: {ended}"),
            _ if was_online || !memory.reported_away => {
                warn!(source = name, "broker is away: {url}: {ended}");
                memory.reported_away = true;
            }
            _ => debug!(source = name, "broker is still away: {url}: {ended}"),
        }
        let now_ms = clock.now_ms();
        let delay = memory.recovery.handle_end(end, ended.calls_for_patience(), now_ms, random());
        source.status.expect_until(now_ms.saturating_add(millis(delay)));
        sleep(delay).await;
    }
}

/// Connects, and takes what comes until the connection ends.
async fn one_connection(source: &Source, memory: &mut Memory) -> (Ended, End) {
    let mut connection = match Connection::connect(source, memory).await {
        Ok(connection) => connection,
        Err(ended) => return (ended, End::Failure),
    };
    let ended = connection.run().await;
    let end = match ended {
        Ended::Returning => End::Return,
        _ if connection.is_useful => End::Lost,
        _ => End::Failure,
    };
    if matches!(ended, Ended::Stopping | Ended::Returning) {
        connection.disconnect().await;
    }
    (ended, end)
}

impl Source {
    fn broker(&self) -> &Broker {
        &self.settings.broker
    }
}

#[cfg(test)]
mod tests;
