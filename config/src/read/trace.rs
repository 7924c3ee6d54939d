//! `[trace]`: what is remembered of the way of events.

use super::table;
use crate::Trace;
use crate::section::Section;

pub(super) fn trace(root: &mut Section<'_, '_>) -> Trace {
    let read = |section: &mut Section<'_, '_>| {
        (section.number("events_max", 0..=100_000), section.number("one_in", 1..=1_000_000_000))
    };
    let (events_max, one_in) = table(root, "trace", read).unwrap_or_default();
    Trace { events_max: events_max.unwrap_or(0), one_in: one_in.unwrap_or(1) }
}
