//! What the spool's threads tell the gateway's tasks.

use std::sync::Arc;

use tidegate_buffer::{ConsumerId, Incident, Listener};
use tokio::sync::Notify;
use tracing::warn;

/// As many consumers as a spool can have.
const CONSUMERS_MAX: usize = 64;

/// The bells that the spool rings. Each task waits for its own.
pub(crate) struct Signals {
    /// Receipts have resolved.
    pub(crate) resolved: Notify,
    /// There is room for events again.
    pub(crate) room: Notify,
    /// Something was evicted that its cloud has not heard of.
    pub(crate) gap: Notify,
    /// By the number of the consumer: one for each that there can be, so that consumers come and go without a lock.
    readable: Vec<Arc<Notify>>,
}

impl Signals {
    pub(crate) fn new() -> Arc<Signals> {
        Arc::new(Signals {
            resolved: Notify::new(),
            room: Notify::new(),
            gap: Notify::new(),
            readable: (0..CONSUMERS_MAX).map(|_| Arc::default()).collect(),
        })
    }

    /// The bell of a consumer. What rang while nobody waited is heard once.
    pub(crate) fn bell(&self, consumer: ConsumerId) -> Arc<Notify> {
        self.readable.get(consumer.index()).map(Arc::clone).unwrap_or_default()
    }
}

impl Listener for Signals {
    fn resolved(&self) {
        self.resolved.notify_one();
    }

    fn readable(&self, consumer: ConsumerId) {
        if let Some(bell) = self.readable.get(consumer.index()) {
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
