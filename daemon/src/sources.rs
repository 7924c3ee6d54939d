//! All sources of the gateway: each is a task that can be started, ended and replaced while the others go on.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use tidegate_config::Source;
use tokio::task::JoinHandle;

use crate::broker::Status;
use crate::gateway::Gateway;
use crate::source;

/// See the module.
pub(crate) struct Sources {
    gateway: Rc<Gateway>,
    running: RefCell<Vec<Running>>,
}

struct Running {
    settings: Source,
    status: Rc<Status>,
    task: JoinHandle<()>,
}

/// A source as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) online: bool,
    /// How long it has been so.
    pub(crate) for_ms: u64,
    /// What it brought since it was started.
    pub(crate) events: u64,
    pub(crate) payload_bytes: u64,
}

impl Seen {
    pub(crate) fn of(settings: &Source, status: &Status, now_ms: u64) -> Seen {
        let (events, payload_bytes) = status.taken();
        Seen {
            name: settings.name.clone(),
            address: settings.broker.url.to_string(),
            online: status.is_online(),
            for_ms: now_ms.saturating_sub(status.since_ms()),
            events,
            payload_bytes,
        }
    }
}

impl Sources {
    pub(crate) fn new(gateway: &Rc<Gateway>) -> Rc<Sources> {
        Rc::new(Sources { gateway: Rc::clone(gateway), running: RefCell::default() })
    }

    /// Has these run, and no others. Those that have not changed go on; of those that end, what is not acknowledged comes
    /// again to whoever takes their session up.
    pub(crate) fn run_these(&self, sources: Vec<Source>) {
        let mut running = self.running.borrow_mut();
        for ended in running.extract_if(.., |running| !sources.contains(&running.settings)) {
            ended.task.abort();
        }
        for settings in sources {
            if running.iter().all(|running| running.settings != settings) {
                let (status, task) = source::start(settings.clone(), &self.gateway);
                running.push(Running { settings, status, task });
            }
        }
    }

    /// Whether each has shown itself in time.
    pub(crate) fn are_alive(&self, now_ms: u64) -> bool {
        self.running.borrow().iter().all(|running| running.status.is_alive(now_ms))
    }

    /// All of them, by name.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let now_ms = self.gateway.clock.now_ms();
        let running = self.running.borrow();
        let seen = running.iter().map(|running| Seen::of(&running.settings, &running.status, now_ms));
        let mut seen: Vec<Seen> = seen.collect();
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_config::{Source, Url};
    use tokio::task::LocalSet;

    use super::Sources;
    use crate::testing::World;

    #[test]
    fn who_has_not_changed_goes_on_and_who_is_not_wanted_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let folder = tempfile::tempdir().unwrap();
            let world = World::open(folder.path(), &[]);
            let sources = Sources::new(&world.gateway);
            // Nobody listens there.
            let source = |name: &str| Source::new(name, name, Url::plain("127.0.0.1", 9));
            sources.run_these(vec![source("b"), source("a")]);
            let names = || sources.seen().into_iter().map(|seen| seen.name).collect::<Vec<_>>();
            assert_eq!(names(), ["a", "b"]);
            let ids = || sources.running.borrow().iter().map(|running| running.task.id()).collect::<Vec<_>>();
            let before = ids();
            let changed = Source { window: 7, ..source("a") };
            sources.run_these(vec![source("b"), changed.clone()]);
            let after = ids();
            assert_eq!((before[0], after.len()), (after[0], 2), "b has not changed");
            assert_ne!(before[1], after[1]);
            tokio::time::sleep(Duration::ZERO).await;
            assert!(sources.are_alive(world.gateway.clock.now_ms()));
            sources.run_these(vec![]);
            assert!(sources.seen().is_empty());
        });
    }
}
