//! What the spool's threads tell the gateway's tasks.

use std::sync::{Arc, OnceLock};

use tidegate_buffer::{ConsumerId, Incident, Listener};
use tokio::sync::Notify;
use tracing::warn;

/// The bells that the spool rings. Each task waits for its own.
pub(crate) struct Signals {
    /// Receipts have resolved.
    pub(crate) resolved: Notify,
    /// There is room for events again.
    pub(crate) room: Notify,
    /// Something was evicted that its cloud has not heard of.
    pub(crate) gap: Notify,
    readable: OnceLock<Vec<(ConsumerId, Arc<Notify>)>>,
}

impl Signals {
    pub(crate) fn new() -> Arc<Signals> {
        Arc::new(Signals {
            resolved: Notify::new(),
            room: Notify::new(),
            gap: Notify::new(),
            readable: OnceLock::new(),
        })
    }

    /// Hangs up a bell for each consumer, once they have their numbers; returns the bells in the same order. What
    /// rings before is not heard, so a consumer looks before it waits for its bell.
    pub(crate) fn hang_up(&self, consumers: impl IntoIterator<Item = ConsumerId>) -> Vec<Arc<Notify>> {
        let bells: Vec<_> =
            consumers.into_iter().map(|consumer| (consumer, Arc::new(Notify::new()))).collect();
        let handed_out = bells.iter().map(|(_, bell)| Arc::clone(bell)).collect();
        // Only the first call can succeed, and there is only one.
        let _ = self.readable.set(bells);
        handed_out
    }
}

impl Listener for Signals {
    fn resolved(&self) {
        self.resolved.notify_one();
    }

    fn readable(&self, consumer: ConsumerId) {
        let bells = self.readable.get().map(Vec::as_slice).unwrap_or_default();
        if let Some((_, bell)) = bells.iter().find(|(known, _)| *known == consumer) {
            bell.notify_one();
        }
    }

    fn room(&self) {
        self.room.notify_one();
    }

    fn gap(&self) {
        self.gap.notify_one();
    }

    fn incident(&self, incident: Incident) {
        warn!("buffer: {incident}");
    }
}
