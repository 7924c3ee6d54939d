//! `[alerts]` and `[sys]`: what the gateway says of itself, as events and as topics.

use std::time::Duration;

use super::table;
use crate::files::Files;
use crate::literal::in_literal;
use crate::mistake::Mistake;
use crate::section::Section;
use crate::{Alerts, TopicTemplate};

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn alerts(root: &mut Section<'_, '_>, files: &Files, gateway: &str) -> Option<Alerts> {
    table(root, "alerts", |section| {
        let range = Duration::ZERO..=30 * DAY;
        Alerts {
            topic: topic(section, files, gateway).unwrap_or_else(|| "tidegate/alerts".to_owned()),
            disk_percent: section.number("disk_percent", 1..=100).unwrap_or(90),
            uplink_away_after: section
                .duration("uplink_away_after", range.clone())
                .unwrap_or(Duration::from_secs(300)),
            clock_after: section.duration("clock_after", range).unwrap_or(Duration::from_secs(600)),
            certificate_days: section.number("certificate_days", 0..=3650).unwrap_or(30),
        }
    })
}

/// What stands before the kind of an alert.
fn topic(section: &mut Section<'_, '_>, files: &Files, gateway: &str) -> Option<String> {
    let text = section.text("topic")?;
    let template = TopicTemplate::parse(text.value, gateway, "");
    let template = match template {
        Ok(template) => template,
        Err(error) => {
            let place = in_literal(files, text.place, &error.span);
            section.mistakes.push(Mistake { help: error.help, ..Mistake::error(&place, error.message) });
            return None;
        }
    };
    let fixed = template.fixed().map(str::to_owned);
    if fixed.is_none() {
        let mistake = Mistake::error(text.place, "`topic` of `[alerts]` cannot have `{topic}` in it");
        section.mistakes.push(mistake.help("write `topic = \"tidegate/alerts\"`; `{gateway}` may be in it"));
    }
    fixed
}

/// How often counters are published below `$SYS/tidegate`.
pub(super) fn sys(root: &mut Section<'_, '_>) -> Option<Duration> {
    let range = Duration::from_secs(1)..=DAY;
    table(root, "sys", |section| section.duration("every", range).unwrap_or(Duration::from_secs(10)))
}
