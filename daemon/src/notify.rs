//! What systemd is told: READY, STOPPING, and the watchdog's feed, which depends on work getting done.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tidegate_buffer::Spool;
use tracing::{debug, error};

use crate::status::Health;

/// The gateway serves.
pub(crate) fn ready() {
    send(NotifyState::Ready);
}

/// The configuration is read anew; [`ready`] ends it.
pub(crate) fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    // In one datagram, as sd_notify(3) wants them.
    send_all(&[NotifyState::Reloading, now]);
}

/// The gateway has begun to stop.
pub(crate) fn stopping() {
    send(NotifyState::Stopping);
}

fn send(state: NotifyState<'_>) {
    send_all(&[state]);
}

fn send_all(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager was not told: {error}");
    }
}

/// Feeds the watchdog, if the unit has one, while the spool's writer moves and every uplink shows itself in time. When
/// one of them hangs, the feed stops, and systemd restarts the gateway; what was acknowledged is on disk.
pub(crate) async fn feed_watchdog(spool: Arc<Spool>, health: Rc<Health>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut progress = spool.progress();
    loop {
        tokio::time::sleep((limit / 3).max(Duration::from_millis(10))).await;
        let moved = std::mem::replace(&mut progress, spool.progress()) != progress;
        let alive = health.are_clients_alive();
        if moved && alive {
            send(NotifyState::Watchdog);
        } else {
            error!(spool = moved, uplinks = alive, "no progress: the watchdog is not fed");
        }
    }
}
