//! `time` of a rule: how its events say when they were.

use std::time::Duration;

use tidegate_rules::{EventTime, TimeUnit};

use crate::section::{Section, Text};
use crate::tree::Node;
use crate::units::millis;

/// The longest wait for events that come late: ten years, as the longest window.
const LATENESS_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// What `time` says.
pub(super) struct Draft<'t> {
    pub(super) field: Text<'t>,
    unit: TimeUnit,
    lateness: Option<Duration>,
    idle: Option<Duration>,
    ahead: Option<Duration>,
}

impl<'t> Draft<'t> {
    /// What the rules need to know of it.
    pub(super) fn source(&self) -> EventTime<'t> {
        let default = EventTime::new(self.field.value);
        EventTime {
            unit: self.unit,
            lateness_ms: self.lateness.map_or(default.lateness_ms, millis),
            idle_ms: self.idle.map_or(default.idle_ms, millis),
            ahead_ms: self.ahead.map_or(default.ahead_ms, millis),
            ..default
        }
    }
}

/// Takes `time`.
pub(super) fn event_time<'t>(section: &mut Section<'t, '_>) -> Option<Draft<'t>> {
    let node = section.take("time")?;
    read(node, section)
}

fn read<'t>(node: &'t Node, parent: &mut Section<'t, '_>) -> Option<Draft<'t>> {
    let mut section = Section::open(node, "time", parent.mistakes)?;
    let help = "write `time = { field = \"ts\", unit = \"ms\" }`";
    let field = section.require("field", help).and_then(|node| section.as_text(node, "field"));
    let units = [
        ("s", Some(TimeUnit::Seconds)),
        ("ms", Some(TimeUnit::Milliseconds)),
        ("us", Some(TimeUnit::Microseconds)),
        ("ns", Some(TimeUnit::Nanoseconds)),
        ("rfc3339", Some(TimeUnit::Text)),
    ];
    let unit = section.word("unit", &units).unwrap_or_default();
    let lateness = section.duration("lateness", Duration::ZERO..=LATENESS_MAX);
    let idle = section.duration("idle", Duration::from_millis(1)..=LATENESS_MAX);
    let ahead = section.duration("ahead", Duration::ZERO..=LATENESS_MAX);
    section.finish();
    Some(Draft { field: field?, unit, lateness, idle, ahead })
}
