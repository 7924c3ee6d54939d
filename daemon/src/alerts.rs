//! What the gateway notices about itself, as ordinary events: rules and routes see them like those of devices, so that
//! whoever watches the plant watches the gateway too. Each is published when it begins and when it is over.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tidegate_buffer::Priority;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::event::Event;
use crate::gateway::Gateway;
use crate::listener::{Admission, certificate_ends_ms};
use crate::mqtt::PublishProperties;
use crate::pipeline::Origin;
use crate::uplinks::Uplinks;
use crate::{pem, text};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// Certificates are read again so often.
const LOOKS_PER_READING: u32 = 720;
const DAY_MS: i64 = 86_400_000;

/// What the gateway is judged by.
pub(crate) struct Watched {
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) uplinks: Rc<Uplinks>,
    /// Whether the time of day is known.
    pub(crate) clock_is_set: Rc<Cell<bool>>,
    /// The bound of the database.
    pub(crate) bytes_max: u64,
    /// Of listeners.
    pub(crate) certificates: Vec<PathBuf>,
}

/// What is wrong: its kind, whom it concerns, and in words.
type Found = BTreeMap<(&'static str, String), String>;

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Alert {
    alert: &'static str,
    /// The uplink or the file; empty for the gateway as a whole.
    of: String,
    /// `raised` or `cleared`.
    state: &'static str,
    text: String,
}

/// Which alerts have been raised.
#[derive(Debug, Default)]
struct Alerts {
    raised: Found,
}

impl Alerts {
    /// What is new since the last look, and what is over.
    fn handle_look(&mut self, found: Found) -> Vec<Alert> {
        let alert = |state: &'static str, ((kind, of), text): (&(&'static str, String), &String)| Alert {
            alert: kind,
            of: of.clone(),
            state,
            text: text.clone(),
        };
        let over = self.raised.iter().filter(|(key, _)| !found.contains_key(key));
        let new = found.iter().filter(|(key, _)| !self.raised.contains_key(key));
        let alerts = over
            .map(|entry| alert("cleared", entry))
            .chain(new.map(|entry| alert("raised", entry)))
            .collect();
        self.raised = found;
        alerts
    }
}

/// Looks for ever.
pub(crate) async fn watch(settings: tidegate_config::Alerts, watched: Watched) {
    let (mut alerts, mut certificates) = (Alerts::default(), Vec::new());
    let started_ms = watched.gateway.clock.now_ms();
    for look in 0_u32.. {
        if look.is_multiple_of(LOOKS_PER_READING) {
            let files = watched.certificate_files();
            certificates = spawn_blocking(move || read_ends(&files)).await.unwrap_or_default();
        }
        let mut found = watched.look(&settings, started_ms);
        found.extend(ending(&certificates, &settings, watched.gateway.clock.stamp().wall_ms));
        // While nothing can be stored nothing can be said: the next look says it.
        if watched.gateway.pipeline.borrow().admission(&settings.topic, false) == Admission::Open {
            for alert in alerts.handle_look(found) {
                watched.publish(&settings.topic, &alert);
            }
        }
        sleep(PERIOD).await;
    }
}

impl Watched {
    fn look(&self, settings: &tidegate_config::Alerts, started_ms: u64) -> Found {
        let mut found = Found::new();
        let spool = &self.gateway.spool;
        let percent = spool.usage().disk_bytes.saturating_mul(100) / self.bytes_max.max(1);
        if percent >= settings.disk_percent {
            let text = format!("the buffer has {} % of its bytes, or more", settings.disk_percent);
            found.insert(("disk-nearly-full", String::new()), text);
        }
        if let tidegate_buffer::Admission::Refuse(_) = spool.admission(Priority::Normal) {
            let text = "events are refused: the disk is full, or does not take them".to_owned();
            found.insert(("cannot-store", String::new()), text);
        }
        for uplink in self.uplinks.seen() {
            if !uplink.online && u128::from(uplink.for_ms) >= settings.uplink_away_after.as_millis() {
                found.insert(("uplink-away", uplink.name), format!("{} does not answer", uplink.address));
            }
        }
        let up_ms = self.gateway.clock.now_ms().saturating_sub(started_ms);
        if !self.clock_is_set.get() && u128::from(up_ms) >= settings.clock_after.as_millis() {
            let text = "nobody has set the clock; events are corrected when it is set".to_owned();
            found.insert(("clock-not-set", String::new()), text);
        }
        found
    }

    fn certificate_files(&self) -> Vec<PathBuf> {
        let of_uplinks = self.uplinks.settings().into_iter().filter_map(|uplink| uplink.broker.tls?.cert);
        let mut files: Vec<_> = self.certificates.iter().cloned().chain(of_uplinks).collect();
        files.sort();
        files.dedup();
        files
    }

    fn publish(&self, topic: &str, alert: &Alert) {
        match alert.state {
            "raised" => warn!(of = alert.of, "alert: {}: {}", alert.alert, alert.text),
            _ => info!(of = alert.of, "alert is over: {}: {}", alert.alert, alert.text),
        }
        let now = self.gateway.clock.stamp();
        // A struct of strings can always be written.
        let payload = serde_json::to_vec(alert).unwrap_or_default();
        let event = Event {
            topic: &format!("{topic}/{}", alert.alert),
            payload: &payload,
            qos: 1,
            retain: false,
            client_id: &self.gateway.id,
            username: None,
            properties: PublishProperties::default(),
        };
        let mut pipeline = self.gateway.pipeline.borrow_mut();
        pipeline.accept(&event, &Origin::default(), now);
        pipeline.commit(now);
    }
}

/// When the first certificate of each file ends; one that cannot be read says so where it is used.
fn read_ends(files: &[PathBuf]) -> Vec<(PathBuf, i64)> {
    let end = |path: &Path| certificate_ends_ms(pem::certificates(path).ok()?.first()?);
    files.iter().filter_map(|path| Some((path.clone(), end(path)?))).collect()
}

/// Those that end soon, or have ended.
fn ending(ends: &[(PathBuf, i64)], settings: &tidegate_config::Alerts, now_ms: i64) -> Found {
    let days = i64::try_from(settings.certificate_days).unwrap_or(i64::MAX);
    let soon = ends.iter().filter(|(_, end_ms)| end_ms.saturating_sub(now_ms) <= days.saturating_mul(DAY_MS));
    soon.map(|(path, end_ms)| {
        (("certificate-ends", path.display().to_string()), format!("it ends {}", text::time(*end_ms)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Alerts, Found, ending};

    fn found(all: &[(&'static str, &str)]) -> Found {
        all.iter().map(|(kind, of)| ((*kind, (*of).to_owned()), "why".to_owned())).collect()
    }

    #[test]
    fn an_alert_is_raised_once_and_cleared_once() {
        let mut alerts = Alerts::default();
        let mut look = |all: &[(&'static str, &str)]| -> Vec<(&str, String, &str)> {
            let new = alerts.handle_look(found(all)).into_iter();
            new.map(|alert| (alert.alert, alert.of, alert.state)).collect()
        };
        assert_eq!(look(&[]), []);
        assert_eq!(look(&[("uplink-away", "a")]), [("uplink-away", "a".to_owned(), "raised")]);
        assert_eq!(look(&[("uplink-away", "a")]), []);
        let both = [("uplink-away", "a".to_owned(), "cleared"), ("uplink-away", "b".to_owned(), "raised")];
        assert_eq!(look(&[("uplink-away", "b")]), both);
        assert_eq!(look(&[]), [("uplink-away", "b".to_owned(), "cleared")]);
    }

    #[test]
    fn a_certificate_ends_in_days() {
        let settings = tidegate_config::Alerts {
            topic: "t".into(),
            disk_percent: 90,
            uplink_away_after: Duration::ZERO,
            clock_after: Duration::ZERO,
            certificate_days: 30,
        };
        let day = 86_400_000;
        let ends =
            [("gone", -day), ("soon", 29 * day), ("later", 31 * day)].map(|(name, ms)| (name.into(), ms));
        let found: Vec<_> = ending(&ends, &settings, 0).into_keys().map(|(_, of)| of).collect();
        assert_eq!(found, ["gone", "soon"]);
    }
}
