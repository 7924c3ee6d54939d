//! The gateway's life: builds every part in the order in which data flows, says ready, waits, and stops in the same
//! order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{ConsumerId, ConsumerOptions, Consumers, OpenError, Opened, Spool};
use tidegate_config::{Bind, Config, Target};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::books::Books;
use crate::bus::{Bounds, Bus, QueueBounds};
use crate::clock::{Clock, trust};
use crate::exit::{Exit, Fatal};
use crate::gateway::Gateway;
use crate::labels::Labels;
use crate::listener::{self, Cause, Limits, ListenError, Listener};
use crate::pipeline::{Destination, Lane, Pipeline, Routing};
use crate::signals::Signals;
use crate::status::{self, Health, Status, Watched, WatchedUplink};
use crate::trace::Traces;
use crate::uplink::{self, Uplink};
use crate::{control, gaps, notify, operator, tables};

/// Runs the gateway until it is told to stop.
pub(crate) fn run(config: Config) -> Result<ExitCode, Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(Exit::Os, format!("cannot start the runtime: {error}")))?;
    let stop_timeout = config.gateway.stop_timeout;
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, live(config));
    // With the tasks goes every hold on the spool but the one that came back.
    drop(tasks);
    // A name lookup that hangs must not hold up the end.
    runtime.shutdown_background();
    close(result?, stop_timeout)?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Closes the store. What cannot be written any more was not acknowledged either.
fn close(spool: Arc<Spool>, stop_timeout: Duration) -> Result<(), Fatal> {
    let spool =
        Arc::into_inner(spool).ok_or_else(|| Fatal::new(Exit::Software, "the buffer is still in use"))?;
    spool.close(stop_timeout.max(Duration::from_secs(1))).map_err(|error| {
        Fatal::new(Exit::Io, format!("buffer: {error}; what is not in it was not acknowledged"))
    })
}

/// The gateway from start to stop; gives back the spool for closing.
async fn live(mut config: Config) -> Result<Arc<Spool>, Fatal> {
    let mut terminate = Terminate::new()?;
    let clock = Clock::start();
    let (opened, signals) = open_spool(&config)?;
    let lookups = tables::lookups(&config.rules);
    let gateway = build(&mut config, opened, clock)?;
    let spool = Arc::clone(&gateway.spool);
    let (stop_tx, stopping) = watch::channel(false);
    let listeners = bind(&config).await?;
    let status_port = bind_status(config.status).await?;
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| spawn_local(listener::accept(listener, Rc::clone(&gateway))).abort_handle())
        .collect();
    let uplinks = start_uplinks(&config, &spool, &signals, clock, &stopping)?;
    spawn_local(dispatch_receipts(Rc::clone(&gateway), Arc::clone(&signals)));
    spawn_local(dispatch_room(Rc::clone(&gateway), Arc::clone(&signals)));
    spawn_local(tick(Rc::clone(&gateway)));
    spawn_local(tables::watch(Rc::clone(&gateway), std::mem::take(&mut config.tables), lookups));
    spawn_local(trust::watch(Arc::clone(&spool), config.gateway.clock.clone()));
    spawn_local(gaps::announce(Rc::clone(&gateway), Arc::clone(&signals), online(&uplinks)));
    spawn_local(serve_operator(Rc::clone(&gateway), config.buffer.dir.clone()));
    let watched: Vec<_> = uplinks.iter().map(|uplink| Rc::clone(&uplink.status)).collect();
    if let Some(port) = status_port {
        let health = Health::new(Arc::clone(&spool), watched.clone(), clock);
        status::start(port, Status::new(watch_all(&config, &gateway, &uplinks), health));
    }
    spawn_local(notify::feed_watchdog(Arc::clone(&spool), watched, clock));
    info!(gateway = %gateway.id, "ready");
    notify::ready();

    terminate.wait().await;
    info!("stopping");
    notify::stopping();
    accepting.iter().for_each(tokio::task::AbortHandle::abort);
    stop(&gateway, uplinks, config.gateway.stop_timeout, &stop_tx).await;
    Ok(spool)
}

fn open_spool(config: &Config) -> Result<(Opened, Arc<Signals>), Fatal> {
    let consumers: Vec<ConsumerOptions> = config.uplinks.iter().map(consumer_options).collect();
    let signals = Signals::new();
    let opened =
        Spool::open(config.buffer.clone(), &consumers, Arc::clone(&signals) as _).map_err(|error| {
            let exit = match error {
                OpenError::Database { .. } => Exit::Io,
                OpenError::Thread(_) => Exit::Os,
                _ => Exit::CantCreate,
            };
            Fatal::new(exit, format!("buffer: {error}"))
        })?;
    opened.incidents.iter().for_each(|incident| warn!("buffer: {incident}"));
    if !opened.gaps.is_empty() {
        signals.gap.notify_one();
    }
    Ok((opened, signals))
}

fn consumer_options(uplink: &tidegate_config::Uplink) -> ConsumerOptions {
    ConsumerOptions { name: uplink.name.clone(), drain: uplink.drain, retention: uplink.retention }
}

/// Puts rules, bus and spool together, with the state that the rules had when the gateway last ran.
fn build(config: &mut Config, opened: Opened, clock: Clock) -> Result<Rc<Gateway>, Fatal> {
    let books = Rc::new(Books::default());
    let spool = Arc::new(opened.spool);
    let labels = Labels::new(config);
    let (rules, destinations): (Vec<_>, Vec<_>) =
        std::mem::take(&mut config.rules).into_iter().map(|rule| (rule.rule, rule.destinations)).unzip();
    let resolve = |destination| resolve(destination, &config.uplinks, &spool);
    let destinations =
        destinations.iter().map(|rule| rule.iter().map(resolve).collect()).collect::<Result<_, _>>()?;
    let mut routing =
        Routing::new(&config.gateway.id, rules, destinations).shown(labels, Traces::new(config.trace));
    let rules = &mut routing.rules;
    rules.set_tables(tables::together(&config.tables));
    if let Some(snapshot) = &opened.snapshot
        && let Err(error) = rules.restore(snapshot)
    {
        error!("the stored state of the rules cannot be read; open windows start anew: {error}");
    }
    for entry in &opened.journal {
        if let Err(error) = rules.replay(entry) {
            error!("an entry of the rules' journal cannot be read and is left out: {error}");
        }
    }
    let bus = Bus::new(bounds(&config.limits));
    let mut pipeline =
        Pipeline::new(routing, bus, Arc::clone(&spool), opened.first_seq, clock, Rc::clone(&books));
    let restored = pipeline.restore(&opened.map);
    info!("from an earlier run: {restored}");
    Ok(Gateway::new(config.gateway.id.clone(), clock, limits(&config.limits), pipeline, spool, books))
}

/// A destination of the configuration, with the spool's number for its uplink.
fn resolve(
    destination: &tidegate_config::Destination,
    uplinks: &[tidegate_config::Uplink],
    spool: &Spool,
) -> Result<Destination, Fatal> {
    let Target::Uplink(index) = destination.target else {
        return Ok(Destination::Local { qos: destination.qos, retain: destination.retain });
    };
    let mut consumers = Consumers::EMPTY;
    consumers.insert(consumer(spool, uplinks.get(index).map_or("", |uplink| &uplink.name))?);
    Ok(Destination::Spool(Lane {
        consumers,
        priority: destination.priority,
        qos: destination.qos,
        retain: destination.retain,
        ttl_ms: destination.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
    }))
}

fn limits(limits: &tidegate_config::Limits) -> Limits {
    Limits {
        connections_max: limits.connections_max,
        packet_bytes_max: limits.packet_bytes_max,
        client_id_bytes_max: limits.client_id_bytes_max,
        topic_bytes_max: limits.topic_bytes_max,
        topic_levels_max: limits.topic_levels_max,
        inflight_max: limits.inflight_max,
        topic_alias_max: limits.topic_alias_max,
        keep_alive_max_s: limits
            .keep_alive_max
            .map(|longest| u16::try_from(longest.as_secs()).unwrap_or(u16::MAX)),
        mqtt31: limits.mqtt31,
        connections_per_address_max: limits.connections_per_address_max,
        connects_per_s_max: limits.connects_per_s_max,
        failed_logins_per_minute_max: limits.failed_logins_per_minute_max,
        publishes_per_s_max: limits.publishes_per_s_max,
        receive_bytes_per_s_max: limits.receive_bytes_per_s_max,
        handshake_timeout_ms: milliseconds(limits.handshake_timeout),
        connect_timeout_ms: milliseconds(limits.connect_timeout),
        idle_timeout_ms: limits.idle_timeout.map(milliseconds),
    }
}

/// The bounds of sessions and of retained messages.
fn bounds(limits: &tidegate_config::Limits) -> Bounds {
    Bounds {
        sessions_max: limits.sessions_max,
        session_expiry_max_s: u32::try_from(limits.session_expiry_max.as_secs()).unwrap_or(u32::MAX),
        subscriptions_max: limits.subscriptions_max,
        queue: QueueBounds { events_max: limits.queue_events_max, bytes_max: limits.queue_bytes_max },
        retained_max: limits.retained_max,
        retained_bytes_max: limits.retained_bytes_max,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn bind(config: &Config) -> Result<Vec<Listener>, Fatal> {
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for settings in &config.listeners {
        let listener = Listener::bind(settings, config.limits.packet_bytes_max).await;
        listeners.push(listener.map_err(|error| {
            let place = match &settings.bind {
                Bind::Tcp(address) => address.to_string(),
                Bind::Unix { path, .. } => format!("unix:{}", path.display()),
            };
            let exit = match error {
                ListenError::Tls(_) => Exit::Config,
                ListenError::Bind(_) => Exit::Unavailable,
            };
            Fatal::new(exit, format!("listener {place}: {error}"))
        })?);
    }
    Ok(listeners)
}

async fn bind_status(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Fatal> {
    let Some(address) = address else { return Ok(None) };
    let listener = status::bind(address).await;
    let fatal = |error| Fatal::new(Exit::Unavailable, format!("status port {address}: {error}"));
    listener.map(Some).map_err(fatal)
}

/// What the status port shows.
fn watch_all(config: &Config, gateway: &Rc<Gateway>, uplinks: &[StartedUplink]) -> Watched {
    let watched = config.uplinks.iter().zip(uplinks).map(|(settings, uplink)| WatchedUplink {
        name: uplink.name.clone(),
        address: format!("{}:{}", settings.url.host, settings.url.port),
        status: Rc::clone(&uplink.status),
    });
    Watched::new(Rc::clone(gateway), watched.collect())
}

/// Tells whether the uplink of a name has its connection; with no name, whether any has.
fn online(uplinks: &[StartedUplink]) -> impl Fn(Option<&str>) -> bool + use<> {
    let statuses: Vec<_> =
        uplinks.iter().map(|uplink| (uplink.name.clone(), Rc::clone(&uplink.status))).collect();
    move |name| {
        let mut asked = statuses.iter().filter(|(known, _)| name.is_none_or(|name| name == known));
        asked.any(|(_, status)| status.is_online())
    }
}

async fn serve_operator(gateway: Rc<Gateway>, dir: PathBuf) {
    let folder = dir.clone();
    let handle = move |request| operator::handle(Rc::clone(&gateway), folder.clone(), request);
    control::serve(&dir, handle).await;
}

/// An uplink's task, and what it shows of itself.
struct StartedUplink {
    name: String,
    status: Rc<uplink::Status>,
    task: JoinHandle<()>,
}

fn start_uplinks(
    config: &Config,
    spool: &Arc<Spool>,
    signals: &Signals,
    clock: Clock,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<StartedUplink>, Fatal> {
    let consumers = config.uplinks.iter().map(|uplink| consumer(spool, &uplink.name));
    let consumers: Vec<ConsumerId> = consumers.collect::<Result<_, _>>()?;
    let bells = signals.hang_up(consumers.iter().copied());
    let started = config.uplinks.iter().zip(consumers).zip(bells).map(|((settings, consumer), readable)| {
        let status = Rc::new(uplink::Status::default());
        let uplink = Uplink {
            settings: settings.clone(),
            gateway_id: config.gateway.id.clone(),
            consumer,
            spool: Arc::clone(spool),
            clock,
            readable,
            status: Rc::clone(&status),
        };
        let task = spawn_local(uplink::run(uplink, stop.clone()));
        StartedUplink { name: settings.name.clone(), status, task }
    });
    Ok(started.collect())
}

/// The spool's number for an uplink; every uplink of the configuration was registered at open.
fn consumer(spool: &Spool, name: &str) -> Result<ConsumerId, Fatal> {
    let consumer = spool.consumer(name);
    consumer.ok_or_else(|| Fatal::new(Exit::Software, format!("the buffer does not know uplink {name}")))
}

/// Carries resolved receipts from the spool to the sessions that owe an acknowledgement for them.
async fn dispatch_receipts(gateway: Rc<Gateway>, signals: Arc<Signals>) {
    let mut resolved = Vec::new();
    loop {
        signals.resolved.notified().await;
        gateway.dispatch_receipts(&mut resolved);
    }
}

async fn dispatch_room(gateway: Rc<Gateway>, signals: Arc<Signals>) {
    loop {
        signals.room.notified().await;
        gateway.wake_for_room();
    }
}

/// Closes windows when their time has come. Looks every few seconds too, since the wall clock may be set.
async fn tick(gateway: Rc<Gateway>) {
    const LONGEST: Duration = Duration::from_secs(5);
    let deadline_moved = gateway.pipeline.borrow().deadline_moved();
    loop {
        let deadline_ms = gateway.pipeline.borrow_mut().handle_time();
        let Some(wall_ms) = deadline_ms else {
            deadline_moved.notified().await;
            continue;
        };
        let deadline = gateway.clock.instant_of_wall(wall_ms).min(Instant::now() + LONGEST);
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = deadline_moved.notified() => {}
        }
    }
}

/// Stops in the order in which data flows: what devices sent is committed and acknowledged, then they are told, and the
/// cloud gets what it takes within the deadline.
async fn stop(
    gateway: &Gateway,
    uplinks: Vec<StartedUplink>,
    stop_timeout: Duration,
    stop: &watch::Sender<bool>,
) {
    const PAUSE: Duration = Duration::from_millis(10);
    let spool = &gateway.spool;
    let deadline = Instant::now() + stop_timeout;
    let flushing = Arc::clone(spool);
    // Whether it was in time shows when the store is closed.
    let _ = spawn_blocking(move || flushing.flush(stop_timeout)).await;
    gateway.dispatch_receipts(&mut Vec::new());
    gateway.close_connections(Cause::Stopping);
    let draining = || backlog(spool) > 0 && uplinks.iter().any(|uplink| uplink.status.is_online());
    while Instant::now() < deadline && (draining() || gateway.connection_count() > 0) {
        sleep(PAUSE).await;
    }
    let _ = stop.send(true);
    for uplink in uplinks {
        let _ = timeout(Duration::from_secs(1), uplink.task).await;
    }
    gateway.pipeline.borrow_mut().store_all();
    let counted = gateway.books.counted();
    info!(
        received = counted.received,
        unrouted = counted.unrouted,
        refused = counted.refused,
        local_dropped = counted.local_dropped,
        local_expired = counted.local_expired,
        unretained = counted.unretained,
        backlog = backlog(spool),
        "books of this run"
    );
    info!("listeners of this run: {}", gateway.reception.counts());
}

fn backlog(spool: &Spool) -> u64 {
    spool.usage().lanes.iter().map(|lane| lane.backlog).sum()
}

/// SIGTERM or Ctrl-C.
struct Terminate {
    terminate: Signal,
    interrupt: Signal,
}

impl Terminate {
    fn new() -> Result<Terminate, Fatal> {
        let handle = |kind| {
            signal(kind).map_err(|error| Fatal::new(Exit::Os, format!("cannot handle signals: {error}")))
        };
        Ok(Terminate {
            terminate: handle(SignalKind::terminate())?,
            interrupt: handle(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
