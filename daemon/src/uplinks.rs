//! All uplinks of the gateway: each is a task that can be started, stopped and replaced while the others go on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{ConsumerId, Histogram, Spool};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use tracing::warn;

use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::remote::Desk;
use crate::signals::Signals;
use crate::source;
use crate::sources;
use crate::uplink::{self, Status, Uplink};

/// How long an uplink may take to say goodbye.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Uplinks {
    gateway: Rc<Gateway>,
    spool: Arc<Spool>,
    signals: Arc<Signals>,
    clock: Clock,
    /// Where settings from the cloud come in.
    desk: Rc<Desk>,
    running: RefCell<Vec<Running>>,
}

struct Running {
    settings: tidegate_config::Uplink,
    consumer: ConsumerId,
    status: Rc<Status>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// What it takes from its cloud.
    downlink: Option<(Rc<Status>, JoinHandle<()>)>,
}

/// An uplink as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) online: bool,
    /// How long it has been so.
    pub(crate) for_ms: u64,
    pub(crate) acks: Histogram,
    /// As it is set, and as it is: the broker may take less. 0 before the first connection.
    pub(crate) window: (u16, u16),
}

impl Uplinks {
    pub(crate) fn new(gateway: &Rc<Gateway>, signals: &Arc<Signals>, desk: &Rc<Desk>) -> Rc<Uplinks> {
        Rc::new(Uplinks {
            gateway: Rc::clone(gateway),
            spool: Arc::clone(&gateway.spool),
            signals: Arc::clone(signals),
            clock: gateway.clock,
            desk: Rc::clone(desk),
            running: RefCell::default(),
        })
    }

    /// Starts an uplink; none of this name may run.
    pub(crate) fn start(&self, settings: tidegate_config::Uplink, consumer: ConsumerId) {
        let status = Rc::new(Status::default());
        let line = settings.remote_config.is_some().then(|| self.desk.line(&settings.name));
        let uplink = Uplink {
            line,
            settings: settings.clone(),
            gateway_id: self.gateway.id.clone(),
            consumer,
            spool: Arc::clone(&self.spool),
            clock: self.clock,
            readable: self.signals.bell(consumer),
            status: Rc::clone(&status),
        };
        let (stop, stopping) = watch::channel(false);
        let task = spawn_local(uplink::run(uplink, stopping));
        let downlink = settings.downlink.clone().map(|downlink| source::start(downlink, &self.gateway));
        self.running.borrow_mut().push(Running { settings, consumer, status, stop, task, downlink });
    }

    /// Stops those that are not to go on, and waits for it. What they had in flight is sent again by whoever comes next;
    /// what waits for them stays.
    pub(crate) async fn stop_unless(&self, goes_on: impl Fn(&tidegate_config::Uplink) -> bool) {
        let stopped: Vec<Running> =
            self.running.borrow_mut().extract_if(.., |running| !goes_on(&running.settings)).collect();
        for running in &stopped {
            let _ = running.stop.send(true);
            // What it has not acknowledged comes again.
            running.downlink.iter().for_each(|(_, task)| task.abort());
        }
        for mut running in stopped {
            if timeout(STOP_TIMEOUT, &mut running.task).await.is_err() {
                warn!(uplink = running.settings.name, "it did not stop in time, and was ended");
                running.task.abort();
                self.spool.set_online(running.consumer, false);
                self.spool.rewind(running.consumer);
            }
        }
    }

    /// What they were told.
    pub(crate) fn settings(&self) -> Vec<tidegate_config::Uplink> {
        self.running.borrow().iter().map(|running| running.settings.clone()).collect()
    }

    /// Whether one runs with these settings.
    pub(crate) fn has(&self, is_meant: impl Fn(&tidegate_config::Uplink) -> bool) -> bool {
        self.running.borrow().iter().any(|running| is_meant(&running.settings))
    }

    /// Whether the uplink of a name has its connection; with no name, whether any has.
    pub(crate) fn is_online(&self, name: Option<&str>) -> bool {
        let running = self.running.borrow();
        let mut asked =
            running.iter().filter(|running| name.is_none_or(|name| name == running.settings.name));
        asked.any(|running| running.status.is_online())
    }

    /// Whether each has shown itself in time.
    pub(crate) fn are_alive(&self, now_ms: u64) -> bool {
        self.running.borrow().iter().all(|running| {
            let downlink = running.downlink.iter().all(|(status, _)| status.is_alive(now_ms));
            downlink && running.status.is_alive(now_ms)
        })
    }

    /// What comes down from their clouds, by name of the uplink.
    pub(crate) fn downlinks_seen(&self) -> Vec<sources::Seen> {
        let now_ms = self.clock.now_ms();
        let running = self.running.borrow();
        let downlinks = running.iter().filter_map(|running| {
            let (settings, (status, _)) =
                running.settings.downlink.as_ref().zip(running.downlink.as_ref())?;
            Some(sources::Seen::of(settings, status, now_ms))
        });
        downlinks.collect()
    }

    /// All of them, by name.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let running = self.running.borrow();
        let seen = running.iter().map(|Running { settings, status, .. }| Seen {
            name: settings.name.clone(),
            address: settings.broker.url.to_string(),
            online: status.is_online(),
            for_ms: self.clock.now_ms().saturating_sub(status.since_ms()),
            acks: status.acks(),
            window: (settings.window, status.window()),
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen
    }
}
