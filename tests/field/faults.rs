//! The table of faults: what each fault costs with each setting, for tidegate and for a mosquitto bridge, by one command.

mod fault;
mod setting;
mod stage;
mod table;

use std::fs;
use std::path::Path;

use tidegate_tests::Must;

use crate::{Site, say};
use fault::Fault;
use setting::Setting;

/// What one fault did with one setting.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sent: usize,
    acked: usize,
    // Acknowledged, never delivered, and not announced as evicted either.
    lost: usize,
    // Acknowledged, and given up by the policy that the setting chose, which the gateway said.
    evicted: usize,
    duplicated: usize,
    reordered: usize,
    // Invented or damaged: must not happen with anybody.
    wrong: usize,
}

/// Measures each fault and setting whose name has these words, and writes the page. Holds if tidegate has lost, invented and
/// damaged nothing.
pub(crate) fn run(site: &mut Site, page: &Path, fault: &str, setting: &str) -> bool {
    let wanted = setting::ALL.into_iter().filter(|column| column.name.contains(setting));
    let (settings, unbuilt): (Vec<_>, Vec<_>) =
        wanted.partition(|setting| setting.is_built(&site.binary, &site.folder));
    for setting in unbuilt {
        say(&format!("left out, since this binary does not know it: {}", setting.name));
    }
    let mut rows = Vec::new();
    for fault in Fault::ALL.into_iter().filter(|row| row.name().contains(fault)) {
        let mut cells = Vec::new();
        for setting in &settings {
            let cell = stage::measure(site, fault, *setting);
            say(&format!("{}, {}: {cell:?}", fault.name(), setting.name));
            cells.push(cell);
        }
        rows.push((fault, cells));
    }
    fs::write(page, table::render(&settings, &rows)).must("write the table");
    let clean = |(setting, cell): (&Setting, &Cell)| !setting.is_ours() || cell.lost + cell.wrong == 0;
    rows.iter().all(|(_, cells)| settings.iter().zip(cells).all(clean))
}
