//! The page of the table, in Markdown.

use std::fmt::Write as _;

use super::Cell;
use super::fault::Fault;
use super::setting::Setting;

const HEAD: &str = "# What each fault costs\n\n\
This page is written by `tests/faults/run`, which makes each fault happen to each gateway and compares what devices hold an\n\
acknowledgement for with what reached the cloud. Four devices publish 2,500 events of 200 bytes each, QoS 1, 5,000 a second in all.\n\
Where the cloud is away, it is from the start until all devices have finished. A power cut is an ext4 that is shut down without\n\
writing its journal; only what was acknowledged before it counts, and as many events follow it. `tidegate` alone means its\n\
defaults (`spill_after = \"50ms\"`, `when_full = \"evict-oldest\"`, `drain = \"oldest-first\"`); each other column of tidegate changes\n\
one setting. The bridges run with `persistence true` and `max_queued_messages 0`; the second saves at every change\n\
(`autosave_interval 1`).\n\n";

const COSTS: &str = "## Lost, duplicated, reordered\n\n\
Events that were acknowledged and never delivered; deliveries of an event beyond its first (of those that a device sent once);\n\
events that arrived after a later one of their device. \"+ n evicted\" are acknowledged events that a policy gave up for newer ones,\n\
and that the gateway has counted and announced. Draining newest or live events first reorders on purpose.\n\n";

const COUNTS: &str = "\n## Sent and acknowledged\n\n";

/// Puts the page together.
pub(super) fn render(settings: &[Setting], rows: &[(Fault, Vec<Cell>)]) -> String {
    let mut out = HEAD.to_owned() + COSTS;
    table(&mut out, settings, rows, costs);
    out.push_str(COUNTS);
    table(&mut out, settings, rows, |cell| format!("{}, {}", cell.sent, cell.acked));
    out
}

// Writing to a String does not fail.
fn table(
    out: &mut String,
    settings: &[Setting],
    rows: &[(Fault, Vec<Cell>)],
    text: impl Fn(&Cell) -> String,
) {
    out.push_str("| fault |");
    for setting in settings {
        let _ = write!(out, " {} |", setting.name);
    }
    let _ = writeln!(out, "\n| --- |{}", " ---: |".repeat(settings.len()));
    for (fault, cells) in rows {
        let _ = write!(out, "| {} |", fault.name());
        for cell in cells {
            let _ = write!(out, " {} |", text(cell));
        }
        out.push('\n');
    }
}

fn costs(cell: &Cell) -> String {
    let Cell { lost, evicted, duplicated, reordered, wrong, .. } = cell;
    let mut text = format!("{lost}, {duplicated}, {reordered}");
    if *evicted > 0 {
        let _ = write!(text, " + {evicted} evicted");
    }
    if *wrong > 0 {
        let _ = write!(text, " + {wrong} damaged");
    }
    text
}
