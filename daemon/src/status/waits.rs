//! Since when events wait on disk, and how much is set aside: asked of the database now and then, beside the gateway, since
//! the buffer itself need not know it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::inspect::{Inspector, Waiting};
use tidegate_buffer::{Priority, Spool, Stamp, Usage};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::debug;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waits(RefCell<Waiting>);

impl Waits {
    /// How long ago the oldest record of a lane on disk arrived.
    pub(super) fn oldest_ms(&self, consumer: &str, priority: Priority) -> Option<u64> {
        let known = self.0.borrow();
        let mut lanes = known.oldest.iter().filter(|(name, rank, _)| name == consumer && *rank == priority);
        let wall_ms = lanes.next().map(|(_, _, wall_ms)| *wall_ms)?;
        u64::try_from(Stamp::now().wall_ms.saturating_sub(wall_ms)).ok()
    }

    /// Entries of the quarantine.
    pub(super) fn quarantined(&self) -> u64 {
        self.0.borrow().quarantined.0
    }
}

/// Looks for ever, while there is something to find.
pub(crate) async fn watch(waits: Rc<Waits>, spool: Arc<Spool>, dir: PathBuf) {
    let mut had_any = true;
    loop {
        let has_any = is_worth_it(&spool.usage());
        if has_any || had_any {
            let dir = dir.clone();
            let look =
                spawn_blocking(move || Inspector::open(dir).and_then(|mut inspector| inspector.waiting()));
            match look.await {
                Ok(Ok(found)) => *waits.0.borrow_mut() = found,
                // A database that is being salvaged, most likely.
                Ok(Err(error)) => debug!("status: {error}"),
                Err(_) => return,
            }
        }
        had_any = has_any;
        sleep(PERIOD).await;
    }
}

fn is_worth_it(usage: &Usage) -> bool {
    usage.lanes.iter().any(|lane| lane.stored > 0 || lane.quarantined > 0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tidegate_buffer::inspect::Waiting;
    use tidegate_buffer::{Priority, Stamp};

    use super::Waits;

    #[test]
    fn ages_are_of_now() {
        let wall_ms = Stamp::now().wall_ms;
        let oldest = vec![
            ("a".to_owned(), Priority::High, wall_ms - 60_000),
            ("a".to_owned(), Priority::Low, wall_ms + 60_000),
        ];
        let waits = Waits(RefCell::new(Waiting { oldest, quarantined: (3, 7) }));
        let age_ms = waits.oldest_ms("a", Priority::High).unwrap();
        assert!((60_000..120_000).contains(&age_ms), "{age_ms}");
        assert_eq!(waits.oldest_ms("a", Priority::Low), None, "a clock that was set back gives no age");
        assert_eq!((waits.oldest_ms("b", Priority::High), waits.quarantined()), (None, 3));
    }
}
