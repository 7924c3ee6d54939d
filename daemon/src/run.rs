//! The gateway's life: builds every part in the order in which data flows, says ready, waits, and stops in the same
//! order.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_buffer::{ConsumerOptions, OpenError, Opened, Spool};
use tidegate_config::Config;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use crate::books::Books;
use crate::bus::Bus;
use crate::clock::{Clock, trust};
use crate::exit::{Exit, Fatal};
use crate::gateway::Gateway;
use crate::listener::{self, Cause, ListenError, Listener};
use crate::moderation::{Load, Moderation};
use crate::operator::{self, Operator};
use crate::pipeline::Pipeline;
use crate::reload::{self, Reloader};
use crate::remote::{self, Desk, Remote};
use crate::signals::Signals;
use crate::sources::Sources;
use crate::status::{self, Health, Status, Waits, Watched};
use crate::uplinks::Uplinks;
use crate::{alerts, control, gaps, notify, settings, sys, tables};

/// Runs the gateway until it is told to stop; `path` is where its configuration is read anew.
pub(crate) fn run(path: &Path, config: Config) -> Result<ExitCode, Fatal> {
    let load = Arc::<Load>::default();
    let moderation = Mutex::new(Moderation::new(Arc::clone(&load), std::time::Instant::now()));
    let rest = move || {
        let mut moderation = moderation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = moderation.rest(std::time::Instant::now()) {
            std::thread::sleep(rest);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(rest)
        .build()
        .map_err(|error| Fatal::new(Exit::Os, format!("cannot start the runtime: {error}")))?;
    let stop_timeout = config.gateway.stop_timeout;
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, live(path, config, load));
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
async fn live(path: &Path, mut config: Config, load: Arc<Load>) -> Result<Arc<Spool>, Fatal> {
    let (mut terminate, hang_up) = (Terminate::new()?, handle_signal(SignalKind::hangup())?);
    let clock = Clock::start();
    let (opened, signals) = open_spool(&config)?;
    let running = reload::Settings::of(&config);
    let gateway = build(&mut config, opened, clock, load)?;
    let spool = Arc::clone(&gateway.spool);
    let listeners = bind(&config).await?;
    let status_port = bind_status(config.status).await?;
    let accept = |listener| spawn_local(listener::accept(listener, Rc::clone(&gateway))).abort_handle();
    let accepting: Vec<_> = listeners.iter().map(Rc::clone).map(accept).collect();
    let traffic = listeners.iter().map(|listener| listener.traffic()).collect();
    let (desk, remote_state) = (Rc::<Desk>::default(), remote::stored(&config.buffer.dir));
    let uplinks = Uplinks::new(&gateway, &signals, &desk);
    for settings in &config.uplinks {
        uplinks.start(settings.clone(), settings::consumer(&spool, &settings.name)?);
    }
    let sources = Sources::new(&gateway);
    sources.run_these(std::mem::take(&mut config.sources));
    spawn_local(dispatch_receipts(Rc::clone(&gateway), Arc::clone(&signals)));
    spawn_local(dispatch_room(Rc::clone(&gateway), Arc::clone(&signals)));
    spawn_local(tick(Rc::clone(&gateway)));
    let clock_is_set = Rc::default();
    let clock_file = config.gateway.clock.clone();
    spawn_local(trust::watch(Arc::clone(&spool), clock_file, Rc::clone(&clock_is_set)));
    let online = Rc::clone(&uplinks);
    spawn_local(gaps::announce(Rc::clone(&gateway), Arc::clone(&signals), move |name| {
        online.is_online(name)
    }));
    let layer = remote_state.accepted.layer();
    let reloader = Reloader::new(path, layer, running, &gateway, (&uplinks, &sources), listeners);
    reloader.watch_tables(std::mem::take(&mut config.tables));
    spawn_local(reload_on(hang_up, Rc::clone(&reloader)));
    let remote = Remote {
        gateway_id: gateway.id.clone(),
        dir: config.buffer.dir.clone(),
        clock,
        desk: Rc::clone(&desk),
        uplinks: Rc::clone(&uplinks),
        reloader: Rc::clone(&reloader),
    };
    spawn_local(remote::run(remote, remote_state));
    let health = Rc::new(Health::new(Arc::clone(&spool), Rc::clone(&uplinks), Rc::clone(&sources), clock));
    let waits = Rc::new(Waits::default());
    spawn_local(status::watch_waits(Rc::clone(&waits), Arc::clone(&spool), config.buffer.dir.clone()));
    let watched = Watched::new(Rc::clone(&gateway), (Rc::clone(&uplinks), sources), traffic, waits);
    let status = Status::new(watched, Rc::clone(&health), desk);
    spawn_local(serve_operator(Operator::new(&gateway, &status, &reloader), config.buffer.dir.clone()));
    speak(&config, &gateway, &uplinks, &status, clock_is_set);
    status::start(status_port, status);
    spawn_local(notify::feed_watchdog(Arc::clone(&spool), health));
    info!(gateway = %gateway.id, "ready");
    notify::ready();

    terminate.wait().await;
    info!("stopping");
    notify::stopping();
    reloader.stop().await;
    accepting.iter().for_each(tokio::task::AbortHandle::abort);
    stop(&gateway, &uplinks, config.gateway.stop_timeout).await;
    Ok(spool)
}

/// Has the gateway say how it is, as events and as topics, if that is wanted.
fn speak(
    config: &Config,
    gateway: &Rc<Gateway>,
    uplinks: &Rc<Uplinks>,
    status: &Rc<Status>,
    clock_is_set: Rc<Cell<bool>>,
) {
    let of_listeners =
        config.listeners.iter().filter_map(|listener| Some(listener.tls.as_ref()?.cert.clone()));
    if let Some(alerts) = &config.alerts {
        let watched = alerts::Watched {
            gateway: Rc::clone(gateway),
            uplinks: Rc::clone(uplinks),
            clock_is_set,
            bytes_max: config.buffer.max_bytes,
            certificates: of_listeners.collect(),
        };
        spawn_local(alerts::watch(alerts.clone(), watched));
    }
    if let Some(every) = config.sys {
        spawn_local(sys::publish(Rc::clone(gateway), Rc::clone(status), every));
    }
}

/// Reads the configuration anew at each SIGHUP.
async fn reload_on(mut hang_up: Signal, reloader: Rc<Reloader>) {
    while hang_up.recv().await.is_some() {
        // What came of it is in the log.
        let _ = reloader.reload().await;
    }
}

fn open_spool(config: &Config) -> Result<(Opened, Arc<Signals>), Fatal> {
    let consumers: Vec<ConsumerOptions> = config.uplinks.iter().map(settings::consumer_options).collect();
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

/// Puts rules, bus and spool together, with the state that the rules had when the gateway last ran.
fn build(config: &mut Config, opened: Opened, clock: Clock, load: Arc<Load>) -> Result<Rc<Gateway>, Fatal> {
    let books = Rc::new(Books::new(load));
    let spool = Arc::new(opened.spool);
    let mut routing = settings::routing(config, &spool)?;
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
    let bus = Bus::new(settings::bounds(&config.limits));
    let mut pipeline =
        Pipeline::new(routing, bus, Arc::clone(&spool), opened.first_seq, clock, Rc::clone(&books));
    let restored = pipeline.restore(&opened.map);
    info!("from an earlier run: {restored}");
    let limits = settings::limits(&config.limits);
    Ok(Gateway::new(config.gateway.id.clone(), clock, limits, pipeline, spool, books))
}

async fn bind(config: &Config) -> Result<Vec<Rc<Listener>>, Fatal> {
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for settings in &config.listeners {
        let listener = Listener::bind(settings, config.limits.packet_bytes_max).await;
        listeners.push(listener.map(Rc::new).map_err(|error| {
            let exit = match error {
                ListenError::Tls(_) => Exit::Config,
                ListenError::Bind(_) => Exit::Unavailable,
            };
            Fatal::new(exit, format!("listener {}: {error}", settings.bind))
        })?);
    }
    Ok(listeners)
}

async fn bind_status(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Fatal> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let fatal = |error| {
        let hint = "is another program there? `[status] bind` says where";
        Fatal::new(Exit::Unavailable, format!("status port {address}: {error}; {hint}"))
    };
    listener.map(Some).map_err(fatal)
}

async fn serve_operator(operator: Rc<Operator>, dir: PathBuf) {
    let folder = dir.clone();
    let handle = move |request| operator::handle(Rc::clone(&operator), folder.clone(), request);
    control::serve(&dir, handle).await;
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
async fn stop(gateway: &Gateway, uplinks: &Uplinks, stop_timeout: Duration) {
    const PAUSE: Duration = Duration::from_millis(10);
    let spool = &gateway.spool;
    let deadline = Instant::now() + stop_timeout;
    let flushing = Arc::clone(spool);
    // Whether it was in time shows when the store is closed.
    let _ = spawn_blocking(move || flushing.flush(stop_timeout)).await;
    gateway.dispatch_receipts(&mut Vec::new());
    gateway.close_connections(Cause::Stopping);
    let draining = || backlog(spool) > 0 && uplinks.is_online(None);
    while Instant::now() < deadline && (draining() || gateway.connection_count() > 0) {
        sleep(PAUSE).await;
    }
    uplinks.stop_unless(|_| false).await;
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

fn handle_signal(kind: SignalKind) -> Result<Signal, Fatal> {
    signal(kind).map_err(|error| Fatal::new(Exit::Os, format!("cannot handle signals: {error}")))
}

/// SIGTERM or Ctrl-C.
struct Terminate {
    terminate: Signal,
    interrupt: Signal,
}

impl Terminate {
    fn new() -> Result<Terminate, Fatal> {
        Ok(Terminate {
            terminate: handle_signal(SignalKind::terminate())?,
            interrupt: handle_signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
