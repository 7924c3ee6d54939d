//! Reading the configuration anew while the gateway serves: judged as a whole, then in effect at once, or not at all. What
//! cannot change under a running gateway is named, and stays as it was.
//!
//! Connections and sessions stay. Rules that have not changed keep what they remember; uplinks that have not changed keep
//! their connection; what waits for one that goes stays in the buffer.

mod report;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidegate_buffer::ConsumerOptions;
use tidegate_config::{
    Access, Config, EffectiveTable, Layer, Level, Loaded, Source, Table, Uplink, differences,
};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_blocking, spawn_local};
use tracing::{error, info, warn};

use crate::gateway::Gateway;
use crate::listener::{Door, Listener};
use crate::pipeline::Routing;
use crate::sources::Sources;
use crate::uplinks::Uplinks;
use crate::{log, notify, remote, settings, tables};

pub(crate) use report::Report;
use report::{RuleSeen, compare_rules, sort, take_effect};

/// See the module.
pub(crate) struct Reloader {
    path: PathBuf,
    gateway: Rc<Gateway>,
    uplinks: Rc<Uplinks>,
    sources: Rc<Sources>,
    /// In the order of [`Settings::access`].
    listeners: Vec<Rc<Listener>>,
    running: RefCell<Settings>,
    /// What came through an uplink, and lies over the files.
    layer: RefCell<Option<Layer>>,
    /// The task that looks at the files of tables.
    tables: RefCell<Option<AbortHandle>>,
    /// One reload at a time; true once the gateway stops.
    stopping: Mutex<bool>,
}

/// What is in effect, as far as the next reload has to know it.
pub(crate) struct Settings {
    tables: Vec<EffectiveTable>,
    rules: Vec<RuleSeen>,
    /// The tables and columns that rules look up.
    lookups: Vec<(String, String)>,
    /// By the address of the listener, as it is written.
    access: Vec<(String, Access)>,
}

impl Settings {
    /// To be asked before the rules are taken out of it.
    pub(crate) fn of(config: &Config) -> Settings {
        let access =
            config.listeners.iter().map(|listener| (listener.bind.to_string(), listener.access.clone()));
        Settings {
            tables: config.effective(),
            rules: config.rules.iter().map(|rule| RuleSeen::of(rule, &config.uplinks)).collect(),
            lookups: tables::lookups(&config.rules),
            access: access.collect(),
        }
    }
}

/// Everything that could fail has not.
struct Prepared {
    settings: Settings,
    routing: Routing,
    tables: Vec<Table>,
    /// For each listener that there is, if it is still written.
    doors: Vec<Option<(Door, Access)>>,
    limits: tidegate_config::Limits,
    uplinks: Vec<Uplink>,
    sources: Vec<Source>,
    level: Level,
}

impl Reloader {
    /// `running` is what the gateway was started with, of the files with `layer` over them, and `listeners` are those of it,
    /// in order.
    pub(crate) fn new(
        path: &Path,
        layer: Option<Layer>,
        running: Settings,
        gateway: &Rc<Gateway>,
        (uplinks, sources): (&Rc<Uplinks>, &Rc<Sources>),
        listeners: Vec<Rc<Listener>>,
    ) -> Rc<Reloader> {
        Rc::new(Reloader {
            path: path.to_owned(),
            gateway: Rc::clone(gateway),
            uplinks: Rc::clone(uplinks),
            sources: Rc::clone(sources),
            listeners,
            running: RefCell::new(running),
            layer: RefCell::new(layer),
            tables: RefCell::default(),
            stopping: Mutex::new(false),
        })
    }

    /// Looks at the files of these tables from now on, in place of those before.
    pub(crate) fn watch_tables(&self, tables: Vec<Table>) {
        let lookups = self.running.borrow().lookups.clone();
        let watch = spawn_local(tables::watch(Rc::clone(&self.gateway), tables, lookups));
        if let Some(before) = self.tables.replace(Some(watch.abort_handle())) {
            before.abort();
        }
    }

    /// Reads the configuration and switches to it. What came of it is logged too, and told to the service manager.
    ///
    /// # Errors
    /// Why everything is as it was, in words for people: every mistake with its place.
    pub(crate) async fn reload(&self) -> Result<Report, String> {
        let stopping = self.stopping.lock().await;
        let layer = self.layer.borrow().clone();
        let read = self.read(move |path| {
            let (loaded, left_out) = remote::load_fitting(path, layer.as_ref());
            if let Some(said) = left_out {
                error!("{}", said.trim_end());
            }
            loaded
        });
        self.reload_with(*stopping, read).await
    }

    /// As [`Reloader::reload`], with another layer over the files from now on.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn lay(&self, layer: Option<Layer>) -> Result<Report, String> {
        let stopping = self.stopping.lock().await;
        let over = layer.clone();
        let read = self.read(move |path| remote::load(path, over.as_ref()));
        let result = self.reload_with(*stopping, read).await;
        if result.is_ok() {
            *self.layer.borrow_mut() = layer;
        }
        result
    }

    /// Whether another layer over the files could take effect, as a whole and without a restart.
    ///
    /// # Errors
    /// Why not: every mistake with its place, or what would need a restart.
    pub(crate) async fn check(&self, layer: Option<Layer>) -> Result<(), String> {
        let _stopping = self.stopping.lock().await;
        let new = valid(self.read(move |path| remote::load(path, layer.as_ref())).await?)?.effective();
        let before = self.layer.borrow().clone();
        let old = self.read(move |path| remote::load_fitting(path, before.as_ref()).0).await?;
        let old = valid(old)?.effective();
        let (_, restart) = sort(&differences(&old, &new));
        if restart.is_empty() {
            return Ok(());
        }
        Err(format!("it needs a restart, which is not done from afar: {}", restart.join("; ")))
    }

    async fn reload_with(
        &self,
        stopping: bool,
        read: impl Future<Output = Result<Loaded, String>>,
    ) -> Result<Report, String> {
        if stopping {
            return Err("the gateway is stopping".to_owned());
        }
        notify::reloading();
        let result = self.read_and_switch(read).await;
        notify::ready();
        match &result {
            Ok(report) => {
                report.changed.iter().for_each(|line| info!("reload: {line}"));
                report.restart.iter().for_each(|line| warn!("reload: not before a restart: {line}"));
                info!(changes = report.changed.len(), "reloaded");
            }
            Err(why) => error!("not reloaded, everything is as it was: {}", why.trim_end()),
        }
        result
    }

    /// Waits for a reload that is at work, and lets no other begin.
    pub(crate) async fn stop(&self) {
        *self.stopping.lock().await = true;
    }

    /// Reads the files, away from the main path.
    async fn read(&self, read: impl FnOnce(&Path) -> Loaded + Send + 'static) -> Result<Loaded, String> {
        let path = self.path.clone();
        let loaded = spawn_blocking(move || read(&path)).await;
        loaded.map_err(|error| format!("the configuration could not be read: {error}"))
    }

    async fn read_and_switch(
        &self,
        read: impl Future<Output = Result<Loaded, String>>,
    ) -> Result<Report, String> {
        let loaded = read.await?;
        let said = if loaded.report.is_empty() { String::new() } else { loaded.report.render(false) };
        let prepared = self.prepare(valid(loaded)?)?;
        let report = self.switch(prepared).await;
        Ok(Report { warnings: said, ..report })
    }

    /// Makes everything that can fail to be made. The buffer knows all uplinks afterwards, those that go and those that
    /// come, which harms nobody.
    fn prepare(&self, mut config: Config) -> Result<Prepared, String> {
        let settings = Settings::of(&config);
        let found = differences(&self.running.borrow().tables, &settings.tables);
        if let Some(id) = found.iter().find(|found| found.table == "gateway" && found.key == Some("id")) {
            return Err(format!("{id}: event ids and topics have it, so it cannot change before a restart"));
        }
        let bytes_max = config.limits.packet_bytes_max;
        let door = |(bind, _): &(String, Access)| {
            let Some(of) = config.listeners.iter().find(|listener| listener.bind.to_string() == *bind) else {
                return Ok(None);
            };
            let door = Door::new(of, bytes_max).map_err(|error| format!("listener {bind}: {error}"))?;
            Ok(Some((door, of.access.clone())))
        };
        let doors = self.running.borrow().access.iter().map(door).collect::<Result<_, String>>()?;
        self.make_consumers(&config.uplinks)?;
        let routing =
            settings::routing(&mut config, &self.gateway.spool).map_err(|error| error.to_string())?;
        Ok(Prepared {
            settings,
            routing,
            tables: config.tables,
            doors,
            limits: config.limits,
            uplinks: config.uplinks,
            sources: config.sources,
            level: config.log.level,
        })
    }

    fn make_consumers(&self, uplinks: &[Uplink]) -> Result<(), String> {
        let mut all: Vec<ConsumerOptions> = uplinks.iter().map(settings::consumer_options).collect();
        let going =
            self.uplinks.settings().into_iter().filter(|old| uplinks.iter().all(|new| new.name != old.name));
        all.extend(going.map(|uplink| settings::consumer_options(&uplink)));
        self.gateway.spool.configure(&all).map(|_| ()).map_err(|error| format!("buffer: {error}"))
    }

    /// Events meet the new rules before anything else happens. Then come the uplinks: those that go, or change, say
    /// goodbye, which takes a moment.
    async fn switch(&self, prepared: Prepared) -> Report {
        let Prepared { settings, routing, tables: of_rules, doors, limits, uplinks, sources, level } =
            prepared;
        let lost = {
            let mut pipeline = self.gateway.pipeline.borrow_mut();
            let lost = pipeline.reload(routing);
            pipeline.set_tables(tables::together(&of_rules));
            lost
        };
        self.gateway.set_limits(settings::limits(&limits), settings::bounds(&limits));
        log::set_level(level);
        let mut report = self.take_over(settings, &lost);
        self.watch_tables(of_rules);
        self.open_doors(doors, &mut report);
        self.sources.run_these(sources);
        for old in self.uplinks.settings() {
            let begins = format!("uplink {}:", old.name);
            let is_changed = uplinks.iter().any(|new| new.name == old.name && !is_reached_alike(&old, new));
            if is_changed && report.changed.iter().all(|line| !line.starts_with(&begins)) {
                report.changed.push(format!("{begins} something that is not shown"));
            }
        }
        self.uplinks.stop_unless(|old| uplinks.iter().any(|new| is_reached_alike(old, new))).await;
        let options: Vec<ConsumerOptions> = uplinks.iter().map(settings::consumer_options).collect();
        match self.gateway.spool.configure(&options) {
            Ok(consumers) => {
                let missing = uplinks.into_iter().zip(consumers);
                let missing =
                    missing.filter(|(uplink, _)| !self.uplinks.has(|running| running.name == uplink.name));
                for (uplink, consumer) in missing.collect::<Vec<_>>() {
                    self.uplinks.start(uplink, consumer);
                }
            }
            // These names were taken a moment ago.
            Err(error) => error!("the buffer does not serve its uplinks, which is a defect: {error}"),
        }
        report
    }

    /// Remembers what is in effect now, and says what is another than before.
    fn take_over(&self, settings: Settings, lost: &[String]) -> Report {
        let mut running = self.running.borrow_mut();
        let found = differences(&running.tables, &settings.tables);
        let (mut changed, restart) = sort(&found);
        changed.extend(compare_rules(&running.rules, &settings.rules, lost));
        let tables = take_effect(&running.tables, settings.tables, &found);
        // Listeners stay what they are, and so does their order.
        let access = std::mem::take(&mut running.access);
        *running = Settings { tables, access, ..settings };
        Report { changed, restart, warnings: String::new() }
    }

    /// New connections meet new doors; those that are there are asked again who they are if that may matter.
    fn open_doors(&self, doors: Vec<Option<(Door, Access)>>, report: &mut Report) {
        let mut running = self.running.borrow_mut();
        let mut is_changed = false;
        for ((listener, door), (bind, access)) in self.listeners.iter().zip(doors).zip(&mut running.access) {
            let Some((door, new)) = door else { continue };
            listener.replace_door(door);
            if *access != new {
                if access.password_file == new.password_file && access.acl_file == new.acl_file {
                    report.changed.push(format!("listener {bind}: its users, or what they may do"));
                }
                listener.replace_access(&new);
                *access = new;
                is_changed = true;
            }
        }
        drop(running);
        if is_changed {
            self.gateway.ask_again();
        }
    }
}

/// What was read, or every mistake in it.
fn valid(loaded: Loaded) -> Result<Config, String> {
    loaded.config.ok_or_else(|| loaded.report.render(false))
}

/// Whether an uplink can go on: the order and the bounds of what waits are the buffer's business, and routes the rules'.
fn is_reached_alike(old: &Uplink, new: &Uplink) -> bool {
    let there = |uplink: &Uplink| Uplink {
        drain: tidegate_buffer::Drain::OldestFirst,
        retention: tidegate_buffer::Retention::default(),
        forward: Vec::new(),
        ..uplink.clone()
    };
    there(old) == there(new)
}
