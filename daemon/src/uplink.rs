//! Forwarding to one cloud broker: reads records from the spool, keeps the window full, takes acknowledgements.
//!
//! The uplink reads only from the spool; live traffic and catching up are one path. Each connection is a new
//! [`Wire`](crate::broker::wire::Wire); when it ends, whatever it had in flight is read from the spool again. What outlives a connection is
//! small: which broker is next and when (`recovery`), and which event may be to blame (`suspects`, and `haste` for a
//! cloud that is known for it). It knows nothing of
//! devices, rules or disks.

mod aliases;
mod batch;
mod connection;
#[cfg(test)]
mod fleet;
mod haste;
mod pace;
mod packer;
mod presence;
mod suspects;
pub(crate) mod window;

use std::rc::Rc;
use std::sync::Arc;

use tidegate_buffer::{ConsumerId, Record, Spool};
use tidegate_config::{Broker, Url};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::broker::dial::Dialer;
use crate::broker::recovery::{End, Recovery};
use crate::broker::wire::WireError;
use crate::broker::{connect_ms_max, random, recovery};
use crate::clock::{Clock, millis};
use crate::remote::Line;
use connection::{At, Connection, Ended};
use haste::Haste;
use suspects::Suspects;

pub(crate) use crate::broker::Status;

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
    /// Where its cloud's settings go, if it may send any.
    pub(crate) line: Option<Rc<Line>>,
}

/// What an uplink remembers from one connection to the next.
struct Memory {
    dialer: Dialer,
    recovery: Recovery,
    suspects: Suspects<At>,
    haste: Haste,
    /// The broker did not take a will that is retained or acknowledged.
    will_is_plain: bool,
    /// So many events are sent one by one: a batch that had one of them was refused.
    singles: usize,
    reported_away: bool,
}

/// Keeps the uplink going until `stop` becomes true.
pub(crate) async fn run(uplink: Uplink, mut stop: watch::Receiver<bool>) {
    let name = uplink.settings.name.as_str();
    let mut memory = uplink.memory();
    uplink.status.begin(uplink.clock.now_ms());
    loop {
        uplink.expect_until(uplink.clock.now_ms().saturating_add(connect_ms_max(uplink.broker())));
        let url = uplink.url(&memory);
        let (ended, end) = one_connection(&uplink, &mut memory, &mut stop).await;
        let was_online = uplink.status.set_online(false, uplink.clock.now_ms());
        uplink.spool.rewind(uplink.consumer);
        let patient = ended.calls_for_patience();
        let may_be_an_event = matches!(end, End::Lost | End::Search) && ended.is_an_answer() && !patient;
        if may_be_an_event && memory.haste.handle_ended() {
            // The spool need not know: what waits in memory goes out before it would be written.
            debug!(uplink = name, "{url} ended the connection, perhaps for an event: {ended}");
            continue;
        }
        uplink.spool.set_online(uplink.consumer, false);
        match &ended {
            Ended::Stopping => return,
            Ended::Returning => info!(uplink = name, "{url} is left: {ended}"),
            _ if was_online || !memory.reported_away => {
                warn!(uplink = name, "cloud is away: {url}: {ended}");
                memory.reported_away = true;
            }
            _ => debug!(uplink = name, "cloud is still away: {url}: {ended}"),
        }
        if let Ended::Wire(WireError::Refused(0x9a | 0x9b, _)) = ended {
            memory.will_is_plain = true;
        }
        let now_ms = uplink.clock.now_ms();
        let delay = memory.recovery.handle_end(end, patient, now_ms, random());
        uplink.expect_until(now_ms.saturating_add(millis(delay)));
        tokio::select! {
            () = sleep(delay) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Connects, and forwards until the connection ends.
async fn one_connection(
    uplink: &Uplink,
    memory: &mut Memory,
    stop: &mut watch::Receiver<bool>,
) -> (Ended, End) {
    let connected = tokio::select! {
        connected = Connection::connect(uplink, memory) => connected,
        _ = stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(ended) => return (ended, End::Failure),
    };
    uplink.status.set_online(true, uplink.clock.now_ms());
    uplink.spool.set_online(uplink.consumer, true);
    let ended = tokio::select! {
        ended = connection.run() => ended,
        _ = stop.wait_for(|stop| *stop) => Ended::Stopping,
    };
    let was_useful = connection.is_useful;
    match ended {
        Ended::Stopping | Ended::Returning => connection.disconnect().await,
        _ => connection.blame(&ended),
    }
    let end = match ended {
        Ended::Returning => End::Return,
        Ended::Batch(_) => End::Search,
        _ if was_useful => End::Lost,
        _ if ended.is_an_answer() && memory.suspects.is_searching() => End::Search,
        _ => End::Failure,
    };
    (ended, end)
}

impl Uplink {
    fn memory(&self) -> Memory {
        Memory {
            dialer: Dialer::new(),
            recovery: recovery(self.broker(), self.clock.now_ms()),
            suspects: Suspects::new(self.settings.poison_after),
            haste: Haste::default(),
            will_is_plain: false,
            singles: 0,
            reported_away: false,
        }
    }

    fn broker(&self) -> &Broker {
        &self.settings.broker
    }

    /// The broker to connect to, or that is connected.
    fn url(&self, memory: &Memory) -> &Url {
        self.broker().url_at(memory.recovery.endpoints.current())
    }

    /// Says until when this task will have shown itself.
    fn expect_until(&self, time_ms: u64) {
        self.status.expect_until(time_ms);
    }

    fn ack_timeout_ms(&self) -> u64 {
        millis(self.broker().ack_timeout)
    }

    /// Sets a record aside that this cloud can never take, so that the rest flows.
    fn quarantine(&self, record: &Record, cause: &str) {
        warn!(uplink = %self.settings.name, seq = record.seq, "event quarantined: {cause}");
        self.spool.quarantine(self.consumer, (record.priority, record.seq), record, cause);
    }
}

#[cfg(test)]
mod tests;
